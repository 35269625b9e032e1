// What the rungs for Hopper include instead of study.cuh: wgmma, mbarriers, the tensor copy engine and
// clusters (hopper_device.cuh), and what tells the engine how the operands of a convolution lie.
//
// They are compiled for sm_90a alone, where the build has it. On other devices, and in builds without
// it, they do not run: their functions return without a launch, or are not in the table of rungs.

#ifndef ALEXNET_STUDY_CUDA_HOPPER_CUH_
#define ALEXNET_STUDY_CUDA_HOPPER_CUH_

#include "hopper_device.cuh"
#include "hopper_tensor_map.cuh"
#include "turned.cuh"

namespace alexnet::cuda {

bool hopper_is_here();  // of hopper_launch.cuh

}  // namespace alexnet::cuda

namespace alexnet::study {

// The swizzle of 128 bytes permutes the 16-byte chunks of a row by its number within eight rows, which
// are counted from a multiple of this address.
constexpr size_t kPatternBytes = 1024;

// Shared memory from such an address on: kPatternBytes less than what the launch asks for.
__device__ inline float* aligned_shared() {
    unsigned char* shared = dynamic_shared<unsigned char>();
    return reinterpret_cast<float*>(shared + (0u - shared_address(shared)) % kPatternBytes);
}

// Axes of x as maps of windows take them.
inline WindowAxis axis_down(const Conv2d& s) {
    return {size_t(s.in_height), size_t(s.out_height), size_t(s.stride), -s.pad_top};
}
inline WindowAxis axis_across(const Conv2d& s) {
    return {size_t(s.in_width), size_t(s.out_width), size_t(s.stride), -s.pad_left};
}

// Whether the device has the engine, and maps can describe the windows of x.
inline bool has_maps(const Conv2d& s) {
    const size_t bytes = sizeof(float) * size_t(s.batch) * s.in_height * s.in_width * s.in_channels;
    return hopper_is_here() && axis_down(s).is_possible() && axis_across(s).is_possible() &&
           s.kernel_height <= 256 && s.kernel_width <= 256 && bytes >= kLeastMappedBytes;
}

// Boxes of x: 32 channels under one tap of so many windows.
inline CUtensorMap window_map(const Conv2d& s, const float* x, int windows) {
    return windows_map(x, s.batch, axis_down(s), axis_across(s), s.in_channels, s.in_channels,
                       windows);
}

// Boxes of turned weights, [tap][out][in]: 32 input channels of so many output channels under one tap.
inline CUtensorMap weight_map(const Conv2d& s, const float* turned, int columns) {
    const size_t in = s.in_channels, out = s.out_channels;
    const size_t taps = size_t(s.kernel_height) * s.kernel_width;
    return array_map<float, 3>(turned, {in, out, taps}, {in, in * out}, columns);
}

// --- lines of images, for convolutions of few channels -------------------------------------------

constexpr int kLineDepths = 32;  // of a row of weights, 128 bytes
constexpr int kFilled = 40;      // depths of a line of the window, filled up: five products

// What a block keeps in shared memory: weights of all depths, and a ring of lines of x.
struct ImageLines {
    int run;                // elements of a line of a window, at most kFilled
    int front;              // elements that a copy begins before its first window
    int weights;            // floats, in whole rows of depths
    int boxes, box, slots;  // copies of a line, elements of each; lines of the ring

    __host__ __device__ int pitch() const { return boxes * box; }
    size_t bytes() const {
        const size_t slot = pitch() * sizeof(float) + 2 * sizeof(uint64_t);
        return kPatternBytes + weights * sizeof(float) + slots * slot;
    }
};

// For so many windows beside each other, and output channels.
inline ImageLines lines_of(const Conv2d& s, int windows, int columns) {
    ImageLines of = {};
    of.run = s.kernel_width * s.in_channels;
    of.weights =
        (s.kernel_height * kFilled + kLineDepths - 1) / kLineDepths * kLineDepths * columns;
    // The engine takes copies that begin at multiples of 16 bytes alone, so that lines begin up to three
    // elements before a padding that is none.
    of.front = (4 - s.pad_left * s.in_channels % 4) % 4;
    const int elements = of.front + (windows - 1) * s.stride * s.in_channels + of.run;
    of.boxes = (elements + 255) / 256;  // a copy has at most 256 elements of a line
    of.box = (elements + of.boxes * 32 - 1) / (of.boxes * 32) * 32;
    of.slots = s.kernel_height + 2 * s.stride;
    return of;
}

// Whether the device has the engine, lines of x are whole pieces of 16 bytes, each is in some window,
// and all fits.
inline bool has_lines(const Conv2d& s, const ImageLines& of) {
    return hopper_is_here() && of.run <= kFilled && s.in_width * s.in_channels % 4 == 0 &&
           s.stride <= s.kernel_height && of.bytes() <= 227 * 1024;
}

}  // namespace alexnet::study

#endif  // ALEXNET_STUDY_CUDA_HOPPER_CUH_
