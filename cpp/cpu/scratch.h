// Working memory that stays: packed operands and tiles, kept from call to call because touching
// fresh pages costs more than a light kernel does.

#ifndef ALEXNET_CPU_SCRATCH_H_
#define ALEXNET_CPU_SCRATCH_H_

#include <cstddef>
#include <vector>

#include "alexnet/size.h"
#include "microkernels/kernels.h"

namespace alexnet::cpu {

// What a buffer is for. A driver and the drivers it calls use different slots.
enum class Slot {
    // One buffer of the calling thread, which its team reads or fills: with `scratch`.
    kPackedPanels,  // an operand packed into panels, or Winograd's transformed weights
    kPaddedImages,  // images copied with their border of zeros
    kIm2col,        // im2col's matrix
    kDoubleSums,    // sums in double, by chunk or by channel
    kOutside,       // what is outside of an array: zeros to read, rows that take what nobody reads

    // A slice for each thread, or each part of the work: with `Slices`.
    kThreadMemory,   // the tiles, panels, rows or padded images that a thread works on. Named for
                     // its sharing: all operators use the same memory, which stays in the caches
    kThreadOperand,  // beside it, an operand that a thread copies or transforms for itself
    kGradientSums,   // weight gradients of parts of the batch, or of tile elements
    kLrnRows,        // the rows of squares of LRN

    kCount
};

// At least `count` floats, aligned to a cache line, private to the calling thread and slot; valid
// until the next call with the same slot. The contents are whatever was left there. Call it outside
// of parallel regions and hand parts of it to the team; throws OutOfMemory.
float* scratch(Slot slot, Size count);

// The same, `count` doubles.
inline double* scratch_doubles(Slot slot, Size count) {
    return reinterpret_cast<double*>(scratch(slot, 2 * count));
}

// `count` rounded up so that what follows shares no cache line with it.
constexpr Size padded(Size count) {
    return Size{(count + kLineFloats - 1) / kLineFloats * kLineFloats};
}
constexpr size_t padded(size_t count) { return padded(Size{count}); }

// Working memory in slices, slice i for thread i of a team, or for part i of the work. A slice
// keeps its place from call to call, whatever its size and the operator: lines that another core
// wrote last are slow to write where the cores have no common L3. Otherwise as `scratch`, and in
// other memory than that.
class Slices {
  public:
    Slices(Slot slot, size_t slices, Size count);

    float* operator[](size_t slice) const { return data_[slice]; }

  private:
    std::vector<float*> data_;
};

}  // namespace alexnet::cpu

#endif  // ALEXNET_CPU_SCRATCH_H_
