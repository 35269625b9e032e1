// Working memory that stays: packed operands and tiles, kept from call to call because touching
// fresh pages costs more than a light kernel does.

#ifndef ALEXNET_CPU_SCRATCH_H_
#define ALEXNET_CPU_SCRATCH_H_

#include <algorithm>
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

// `count` rounded up so that what follows shares no cache line with it.
constexpr size_t padded(size_t count) { return (count + 15) / 16 * 16; }

// Working memory in slices, each of them written by one thread: as far apart as they are large, at
// most 1 MiB. On cores without a common L3 neighbouring slices slow each other down, although they
// share no line: the weight gradient of CIFAR-10's conv3 to conv5 took 1.4 times as long.
class Slices {
  public:
    Slices(Slot slot, size_t slices, size_t count)
        : size_(padded(count)),
          stride_(size_ + std::min(size_, kFarApart)),
          data_(scratch(slot, slices * stride_)) {}

    float* operator[](size_t slice) const { return data_ + slice * stride_; }
    size_t stride() const { return stride_; }

  private:
    static constexpr size_t kFarApart = size_t{256} << 10;  // floats
    size_t size_, stride_;
    float* data_;
};

}  // namespace alexnet::cpu

#endif  // ALEXNET_CPU_SCRATCH_H_
