// Images whose lines are no multiple of 4 elements, read as runs all the same (conv2d_runs.cuh): from
// a copy whose lines are one, and of 8, so that they have whole 16 bytes whatever the type. Behind its
// pixels a line of the copy has as many of zeros as that takes, which windows see as padding, if at
// all. 224 pixels of 3 channels need no copy; 227 become 232.
//
// The copy, once more for each direction, is made where windows read each pixel at least 4 times, each
// time with a quarter of the instructions that single elements take.

#ifndef ALEXNET_CUDA_CONV2D_EVEN_LINES_CUH_
#define ALEXNET_CUDA_CONV2D_EVEN_LINES_CUH_

#include "conv2d_runs.cuh"

namespace alexnet::cuda {

// The same convolution of the copy: wider images.
inline Conv2dShape with_even_lines(Conv2dShape s) {
    while (s.in_width * s.in_channels % 8 != 0) ++s.in_width;
    return s;
}

inline bool wants_even_lines(const Conv2dShape& s) {
    return s.in_width * s.in_channels % 4 != 0 && fits_runs(with_even_lines(s)) &&
           s.kernel_height * s.kernel_width >= 4 * s.stride_height * s.stride_width;
}

// Bytes of the copy if one is wanted, of elements of any type; a multiple of 16.
inline size_t even_lines_bytes(const Conv2dShape& s) {
    if (!wants_even_lines(s)) return 0;
    return with_even_lines(s).input_size() * sizeof(float) / 16 * 16 + 16;
}

// Write the copy to `even`, which is aligned to 16 bytes.
template <class T>
void write_even_lines(const Conv2dShape& s, const T* x, T* even, Stream stream);

// use(shape, x, workspace) for a convolution whose windows can be read as runs, where s is one, or has
// a copy that is: its shape and images, and what is left of the workspace behind even_lines_bytes(s).
// Whether it was called.
template <class T, class Use>
bool as_runs(const Conv2dShape& s, const T* x, void* workspace, Stream stream, Use use) {
    if (fits_runs(s) && is_aligned16(x)) {
        use(s, x, workspace);
        return true;
    }
    if (!wants_even_lines(s)) return false;
    T* even = static_cast<T*>(workspace);
    write_even_lines(s, x, even, stream);
    use(with_even_lines(s), even, static_cast<char*>(workspace) + even_lines_bytes(s));
    return true;
}

}  // namespace alexnet::cuda

#endif  // ALEXNET_CUDA_CONV2D_EVEN_LINES_CUH_
