// Pixels and blocks of pixels for the tiles; winograd_input.h has the drawing.
//
// A row or column outside the image is found by one comparison: indices are unsigned, so that one
// above or left of the image is larger than its size.

#include "winograd_input.h"

#include "winograd_guard.h"

namespace alexnet::cpu::winograd {

Size TileInput::memory_size(const Conv2dShape& s, const Problem& p) {
    const size_t rows = p.tiling.vertical.most_points();
    const Size pixels = Size{rows} * (s.out_width + p.window_width - 1);
    return p.stride > 1 ? pixels * (p.group_in + 1) : pixels;
}

void TileInput::set_tile_row(size_t number) {
    const size_t block = p_.stride;
    image_ = x_ + s_.input_pixel(number / p_.tiling.vertical.tiles, 0, 0);
    tile_row_ = number % p_.tiling.vertical.tiles;
    first_row_ = p_.tiling.vertical.start(tile_row_);
    if (block == 1) return;
    const size_t rows = p_.tiling.vertical.points(tile_row_);
    const size_t block_row = block * s_.in_channels;  // floats of a block in one row of pixels
    for (size_t r = 0; r < rows * block; ++r) {
        float* target = memory_ + r / block * columns() * p_.group_in + r % block * block_row;
        const size_t pixel_row = first_row_ * block + r - s_.pad_top;
        if (pixel_row < s_.in_height) {
            copy_pixel_row(image_ + pixel_row * s_.in_width * s_.in_channels, target);
        } else {
            k_.copy_rows(columns(), block_row, zeros_, 0, target, p_.group_in);
        }
    }
}

void TileInput::copy_pixel_row(const float* row, float* target) const {
    const size_t block = p_.stride, channels = s_.in_channels, block_row = block * channels;
    // Blocks that lie in the image as a whole, then those on its borders, pixel by pixel.
    const size_t first = std::min(ceil_div(s_.pad_left, block), columns());
    const size_t end = std::clamp((s_.pad_left + s_.in_width) / block, first, columns());
    k_.copy_rows(end - first, block_row, row + (first * block - s_.pad_left) * channels, block_row,
                 target + first * p_.group_in, p_.group_in);
    for (size_t column = 0; column < columns(); ++column) {
        if (column == first) column = end;
        if (column == columns()) break;
        for (size_t i = 0; i < block; ++i) {
            const size_t w = column * block + i - s_.pad_left;
            const float* pixel = w < s_.in_width ? row + w * channels : zeros_;
            std::copy_n(pixel, channels, target + column * p_.group_in + i * channels);
        }
    }
}

bool TileInput::is_alike(size_t group) const {
    const Axis& horizontal = p_.tiling.horizontal;
    const size_t rows = p_.tiling.vertical.points(tile_row_);
    const size_t most_rows = p_.tiling.vertical.most_points();
    float* grid = memory_ + (p_.stride > 1 ? most_rows * columns() * p_.group_in : 0);
    PixelMagnitudes magnitudes(k_, grid, rows, columns());
    // Columns of the image; blocks have all of them in memory.
    const size_t first = p_.stride > 1 ? 0 : std::min(s_.pad_left, columns());
    const size_t count = p_.stride > 1 ? columns() : std::min(s_.in_width, columns() - first);
    for (size_t r = 0; r < rows; ++r) {
        float* row = magnitudes.row(r);
        const size_t h = first_row_ + r - s_.pad_top;
        if (p_.stride > 1) {
            k_.magnitudes(columns(), p_.group_in, p_.group_in,
                          memory_ + r * columns() * p_.group_in, row);
        } else if (h < s_.in_height) {
            const size_t pixel = h * s_.in_width + first - s_.pad_left;
            std::fill_n(row, first, 0.0f);
            k_.magnitudes(count, p_.group_in, s_.in_channels,
                          image_ + pixel * s_.in_channels + group * p_.group_in, row + first);
            std::fill(row + first + count, row + columns(), 0.0f);
        } else {
            std::fill_n(row, columns(), 0.0f);
        }
    }
    if (magnitudes.all_alike()) return true;
    // A window that ends within a block does not see all of it, so only whole blocks count.
    const size_t window_rows = s_.kernel_height / p_.stride;
    const size_t window_columns = s_.kernel_width / p_.stride;
    for (size_t q = 0; q < horizontal.tiles; ++q) {
        const Range tile{horizontal.start(q), horizontal.start(q) + horizontal.points(q)};
        if (!magnitudes.tile_is_alike(tile, window_rows, window_columns)) return false;
    }
    return true;
}

std::span<const float> TileInput::floats(Range rows) const {
    if (rows.size() == 0) return {};
    const Axis& vertical = p_.tiling.vertical;
    // The first row of pixels that a row of tiles reads, or the one after its last.
    const auto pixel_row = [&](size_t row, bool after) {
        const size_t tile = row % vertical.tiles;
        const size_t h = (vertical.start(tile) + (after ? vertical.points(tile) : 0)) * p_.stride;
        const size_t inside = std::min(std::max(h, s_.pad_top) - s_.pad_top, s_.in_height);
        return row / vertical.tiles * s_.in_height + inside;
    };
    const size_t first = pixel_row(rows.begin, false), end = pixel_row(rows.end - 1, true);
    const size_t row_size = s_.in_width * s_.in_channels;
    return {x_ + first * row_size, (end - first) * row_size};
}

void TileInput::pointers(size_t q, size_t group, const float** pointers) const {
    const Axis &vertical = p_.tiling.vertical, &horizontal = p_.tiling.horizontal;
    for (size_t i = 0; i < vertical.points(tile_row_); ++i) {
        const size_t h = first_row_ + i - s_.pad_top;
        const size_t image_row = h < s_.in_height ? h * s_.in_width * s_.in_channels : 0;
        const float* pixels = image_ + image_row + group * s_.group_in();
        for (size_t j = 0; j < horizontal.points(q); ++j) {
            const size_t column = horizontal.start(q) + j;
            if (p_.stride > 1) {
                *pointers++ = memory_ + (i * columns() + column) * p_.group_in;
                continue;
            }
            const size_t w = column - s_.pad_left;
            const bool inside = h < s_.in_height && w < s_.in_width;
            *pointers++ = inside ? pixels + w * s_.in_channels : zeros_;
        }
    }
}

}  // namespace alexnet::cpu::winograd
