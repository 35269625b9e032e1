// Working memory that stays: packed operands and tiles, kept from call to call because touching
// fresh pages costs more than a light kernel does.

#ifndef ALEXNET_CPU_SCRATCH_H_
#define ALEXNET_CPU_SCRATCH_H_

#include <cstddef>

namespace alexnet::cpu {

// What a buffer is for. A driver and the drivers it calls use different slots.
enum class Slot { kFrames, kPackedB, kColumns, kPartialSums, kChannelRows, kSpectra, kCount };

// At least `count` floats, aligned to 64 bytes, private to the calling thread and slot; valid until
// the next call with the same slot. The contents are whatever was left there. Call it outside of
// parallel regions and hand slices to the team; throws std::bad_alloc.
float* scratch(Slot slot, size_t count);

// The same, `count` doubles.
inline double* scratch_doubles(Slot slot, size_t count) {
    return reinterpret_cast<double*>(scratch(slot, 2 * count));
}

// `count` rounded up so that neighbouring slices share no cache line.
constexpr size_t padded(size_t count) { return (count + 15) / 16 * 16; }

}  // namespace alexnet::cpu

#endif  // ALEXNET_CPU_SCRATCH_H_
