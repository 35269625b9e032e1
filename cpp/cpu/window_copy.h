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
// It may show some of the image's channels only: a group's.
struct Frame {
    size_t height, width, channels;
    size_t pixel;  // floats from one pixel of the image to the next: all of its channels
    size_t top, left;
    size_t rows, columns;

    Size size() const { return Size{rows} * columns * channels; }
    bool is_image() const {
        return top == 0 && left == 0 && rows <= height && columns == width && pixel == channels;
    }
};

// A frame that shows a group's channels from (-top, -left) on, the image's own rows where no border
// is needed.
inline Frame frame_for(size_t height, size_t width, size_t channels, size_t groups, size_t top,
                       size_t left, size_t rows, size_t columns) {
    const bool borderless = top == 0 && left == 0 && rows <= height && columns <= width;
    return {.height = height,
            .width = width,
            .channels = channels / groups,
            .pixel = channels,
            .top = top,
            .left = left,
            .rows = rows,
            .columns = borderless ? width : columns};
}

// Rows first .. last of the frame into `target`; `image` begins with the channels it shows.
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
        const float* row = image + (r - f.top) * f.width * f.pixel;
        if (f.pixel == f.channels) {
            k.copy(end - begin, row, target + begin);
        } else {
            k.copy_rows(seen_end - f.left, f.channels, row, f.pixel, target + begin, f.channels);
        }
        std::memset(target + end, 0, (row_size - end) * sizeof(float));
    }
}

// The same of all groups' frames of an image, that of group g from target + g · group_size on. Row
// by row, so that the image is read from front to back.
inline void copy_group_rows(const KernelTable& k, const Frame& f, const float* image, size_t first,
                            size_t last, float* target, size_t group_size) {
    const size_t row_size = f.columns * f.channels;
    for (size_t r = first; r < last; ++r) {
        for (size_t g = 0; g < f.pixel / f.channels; ++g) {
            copy_frame_rows(k, f, image + g * f.channels, r, r + 1,
                            target + g * group_size + (r - first) * row_size);
        }
    }
}

}  // namespace alexnet::cpu

#endif  // ALEXNET_CPU_WINDOW_COPY_H_
