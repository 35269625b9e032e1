// Copies of image regions with a border of zeros.

#ifndef ALEXNET_CPU_WINDOW_COPY_H_
#define ALEXNET_CPU_WINDOW_COPY_H_

#include <cstddef>
#include <cstring>

#include "alexnet/size.h"
#include "microkernels/kernels.h"

namespace alexnet::cpu {

// An image (height × width × channels) as seen through a frame that begins `top` rows above and
// `left` columns left of it and is `rows` × `columns` pixels large; outside the image it shows 0.
struct Frame {
    size_t height, width, channels;
    size_t top, left;
    size_t rows, columns;

    Size size() const { return Size{rows} * columns * channels; }
    bool is_image() const { return top == 0 && left == 0 && rows <= height && columns == width; }
};

// A frame that shows the image from (-top, -left) on, its own rows where no border is needed.
inline Frame frame_for(size_t height, size_t width, size_t channels, size_t top, size_t left,
                       size_t rows, size_t columns) {
    const bool borderless = top == 0 && left == 0 && rows <= height && columns <= width;
    return {.height = height,
            .width = width,
            .channels = channels,
            .top = top,
            .left = left,
            .rows = rows,
            .columns = borderless ? width : columns};
}

// Rows first .. last of the frame into `target`.
inline void copy_frame_rows(const KernelTable& k, const Frame& f, const float* image, size_t first,
                            size_t last, float* target) {
    const size_t row_size = f.columns * f.channels;
    const size_t seen_end = f.left + f.width < f.columns ? f.left + f.width : f.columns;
    for (size_t r = first; r < last; ++r, target += row_size) {
        const bool inside = r >= f.top && r - f.top < f.height;
        if (!inside || seen_end <= f.left) {
            std::memset(target, 0, row_size * sizeof(float));
            continue;
        }
        const size_t begin = f.left * f.channels, end = seen_end * f.channels;
        std::memset(target, 0, begin * sizeof(float));
        k.copy(end - begin, image + (r - f.top) * f.width * f.channels, target + begin);
        std::memset(target + end, 0, (row_size - end) * sizeof(float));
    }
}

}  // namespace alexnet::cpu

#endif  // ALEXNET_CPU_WINDOW_COPY_H_
