#include "winograd.h"

#include <utility>

#include "conv2d.h"
#include "scratch.h"

namespace alexnet::cpu::winograd {

namespace {

constexpr size_t kMostValues = 6;         // of a tile or a window: winograd_step's limit
constexpr size_t kChannelsATile = 3;      // fewer make too few products of a transformed weight
constexpr size_t kFewFloats = 512 << 10;  // spectra that each thread may read as a whole

}  // namespace

Axis::Axis(size_t length, size_t window_size) : window(window_size) {
    const size_t most = std::min(kMostValues, kWinogradPoints - window + 1);
    tiles = ceil_div(length, most);
    base = length / tiles;
    longer = length % tiles;
}

size_t Tiling::products() const {
    size_t sum = 0;
    for (size_t f = 0; f < elements(); ++f) sum += tiles_with(f, {0, vertical.tiles});
    return sum;
}

TileElementPointers::TileElementPointers(const Tiling& tiling, size_t first, size_t row,
                                         float* transformed, size_t row_stride,
                                         size_t element_stride)
    : t_(tiling),
      first_(first),
      row_(row),
      transformed_(transformed),
      row_stride_(row_stride),
      element_stride_(element_stride) {}

void TileElementPointers::set() {
    const size_t width = t_.horizontal.most_points();
    count_ = 0;
    for (size_t i = 0; i < t_.vertical.points(row_ % t_.vertical.tiles); ++i) {
        const size_t above = t_.rows_with(i, row_) - t_.rows_with(i, first_);
        for (size_t j = 0; j < t_.horizontal.points(tile_); ++j) {
            const size_t tile = above * t_.horizontal.tiles_with(j) + tile_;
            places_[count_++] =
                transformed_ + (i * width + j) * element_stride_ + tile * row_stride_;
        }
    }
}

float* const* TileElementPointers::next() {
    if (tile_ == 0 || tile_ == t_.horizontal.longer) {
        set();
    } else {
        for (size_t i = 0; i < count_; ++i) places_[i] += row_stride_;
    }
    ++tile_;
    return places_;
}

bool Transform::operator()(const float* const* in, size_t in_offset, size_t in_lanes,
                           float* const* out, size_t out_offset, size_t out_lanes,
                           const float* bias, bool relu) const {
    alignas(64) float temporary[kPlaces * 16];
    vertical.columns(horizontal.in, in, in_offset, in_lanes, prefetch_distance, temporary);
    return horizontal.rows(vertical.out, temporary, out, out_offset, out_lanes, bias, relu, past);
}

Transform input_transform(const KernelTable& k, const Tiling& t, size_t p, size_t q) {
    return {k.winograd_step(WinogradMatrix::kInput, t.vertical.points(p), 0),
            k.winograd_step(WinogradMatrix::kInput, t.horizontal.points(q), 0)};
}

Transform output_transform(const KernelTable& k, const Tiling& t, size_t p, size_t q) {
    return {
        k.winograd_step(WinogradMatrix::kFromPoints, t.vertical.points(p), t.vertical.size(p)),
        k.winograd_step(WinogradMatrix::kFromPoints, t.horizontal.points(q), t.horizontal.size(q))};
}

Transform output_gradient_transform(const KernelTable& k, const Tiling& t, size_t p, size_t q) {
    return {
        k.winograd_step(WinogradMatrix::kToPoints, t.vertical.points(p), t.vertical.size(p)),
        k.winograd_step(WinogradMatrix::kToPoints, t.horizontal.points(q), t.horizontal.size(q))};
}

Transform weight_transform(const KernelTable& k, const Tiling& t) {
    const Axis &v = t.vertical, &h = t.horizontal;
    return {k.winograd_step(WinogradMatrix::kToPoints, v.most_points(), v.window),
            k.winograd_step(WinogradMatrix::kToPoints, h.most_points(), h.window)};
}

Transform weight_gradient_transform(const KernelTable& k, const Tiling& t) {
    const Axis &v = t.vertical, &h = t.horizontal;
    return {k.winograd_step(WinogradMatrix::kFromPoints, v.most_points(), v.window),
            k.winograd_step(WinogradMatrix::kFromPoints, h.most_points(), h.window)};
}

const char* unsupported(const Conv2dShape& s, ConvDirection direction) {
    if (s.stride_height != s.stride_width) return "its strides differ";
    if (s.stride_height > 1 && s.groups > 1) return "it has both a stride and groups";
    for (const size_t kernel : {s.kernel_height, s.kernel_width}) {
        const size_t window = ceil_div(kernel, s.stride_height);
        if (window < 2 || window > kMostValues) {
            return "its kernel size over its stride is not between 2 and 6";
        }
    }
    if (direction == ConvDirection::kBackwardInput) {
        if (s.stride_height > 1) return "it has a stride";
        if (s.pad_top >= s.kernel_height || s.pad_left >= s.kernel_width) {
            return "its padding is not smaller than its kernel";
        }
    }
    return nullptr;
}

bool few_images(size_t batch, const Tiling& tiling, size_t in_channels, size_t out_channels) {
    return batch * tiling.products() * in_channels <= kFewFloats && in_channels <= kDepthBlock &&
           kChannelsATile * batch * tiling.tiles() < out_channels;
}

// Costs in units of one multiply-add of the direct algorithm, fitted to measurements of some 300
// shapes with 32 channels and more: a product, transforming a value of the input or output, and one
// of the weights, which is used at once, goes through memory, or is a gradient.
bool is_faster(const Conv2dShape& s, ConvDirection direction) {
    const size_t stride = s.stride_height;
    size_t in = s.group_in() * stride * stride, out = s.group_out();
    // With few channels the transforms outweigh the products, and tiles of the products are ragged.
    if (std::min(in, out) < 16) return false;
    size_t height = s.out_height, width = s.out_width;
    if (direction == ConvDirection::kBackwardInput) {
        std::swap(in, out);
        height = s.in_height;
        width = s.in_width;
    }
    const Tiling tiling(height, width, ceil_div(s.kernel_height, stride),
                        ceil_div(s.kernel_width, stride));
    const double pairs = static_cast<double>(in * out), channels = static_cast<double>(in + out);
    const double products = static_cast<double>(tiling.products() * s.batch);
    const double direct = static_cast<double>(s.batch * s.out_height * s.out_width * s.window()) *
                          static_cast<double>(s.group_out());
    const double weight = direction == ConvDirection::kBackwardWeight ? 20
                          : few_images(s.batch, tiling, in, out)      ? 9
                                                                      : 40;
    return products * (1.1 * pairs + 25 * channels) +
               weight * static_cast<double>(tiling.elements()) * pairs <
           direct;
}

Problem::Problem(const Conv2dShape& s)
    : stride(s.stride_height),
      window_height(ceil_div(s.kernel_height, stride)),
      window_width(ceil_div(s.kernel_width, stride)),
      group_in(s.group_in() * stride * stride),
      tiling(s.out_height, s.out_width, window_height, window_width) {}

size_t rows_a_block(const Conv2dShape& s, const Problem& p, size_t floats) {
    const size_t total = s.batch * p.tiling.vertical.tiles;
    const size_t channels = p.group_in * s.groups + s.out_channels;
    const size_t row = p.tiling.products() * channels / p.tiling.vertical.tiles;
    return ceil_div(total, ceil_div(total, std::max(floats / row, size_t{1})));
}

float PixelMagnitudes::largest(Range rows, Range columns) const {
    float most = 0;
    for (size_t r = rows.begin; r < rows.end; ++r) {
        for (size_t c = columns.begin; c < columns.end; ++c) {
            most = std::max(most, grid_[r * columns_ + c]);
        }
    }
    return most;
}

bool PixelMagnitudes::tile_is_alike(Range columns, size_t window_rows,
                                    size_t window_columns) const {
    const float least = kLeastShare * largest({0, rows_}, columns);
    for (size_t r = 0; r + window_rows <= rows_; ++r) {
        for (size_t c = columns.begin; c + window_columns <= columns.end; ++c) {
            const float seen = largest({r, r + window_rows}, {c, c + window_columns});
            if (seen > 0 && seen < least) return false;
        }
    }
    return true;
}

Size Weights::memory_size(size_t columns) const {
    if (p_.stride > 1) return Size{0};
    return padded((Size{kChannels} * columns + kElementGap) * s_.kernel_height * s_.kernel_width);
}

const float* Weights::row(size_t tap, size_t group, size_t channel, size_t column) const {
    if (!flipped_) {
        return weight_ + (tap * s_.group_in() + channel) * s_.out_channels +
               group * s_.group_out() + column;
    }
    const size_t flipped_tap = s_.kernel_height * s_.kernel_width - 1 - tap;
    return weight_ + (flipped_tap * s_.group_out() + column) * s_.in_channels +
           group * s_.group_in() + channel;
}

void Weights::set_channels(size_t group, Range channels, Range columns, float* memory) {
    group_ = group;
    channels_ = channels;
    columns_ = columns;
    memory_ = memory;
    tap_size_ = kChannels * columns.size() + kElementGap;
    if (p_.stride > 1) return;
    for (size_t tap = 0; tap < s_.kernel_height * s_.kernel_width; ++tap) {
        const float* source = row(tap, group, channels.begin, columns.begin);
        float* target = memory + tap * tap_size_;
        if (!flipped_) {
            k_.copy_rows(channels.size(), columns.size(), source, s_.out_channels, target,
                         columns.size());
            continue;
        }
        k_.transpose(columns.size(), channels.size(), source, s_.in_channels, target,
                     columns.size());
    }
}

void Weights::places(size_t channel, const float** places) const {
    if (p_.stride > 1) {
        weight_pointers(s_, p_, weight_ + columns_.begin, zeros_, group_, channel, places);
        return;
    }
    for (size_t tap = 0; tap < s_.kernel_height * s_.kernel_width; ++tap) {
        *places++ = memory_ + tap * tap_size_ + (channel - channels_.begin) * columns_.size();
    }
}

void Weights::fetch(size_t group, Range channels, Range columns, size_t parts, size_t index) const {
    if (p_.stride > 1) return;
    // Rows of neighbouring output channels, or of input channels where they are flipped.
    const size_t rows = (flipped_ ? columns : channels).size();
    const size_t floats = (flipped_ ? channels : columns).size();
    const Range range = part(s_.kernel_height * s_.kernel_width * rows, parts, index);
    for (size_t i = range.begin; i < range.end; ++i) {
        const float* begin = row(i / rows, group, channels.begin + (flipped_ ? 0 : i % rows),
                                 columns.begin + (flipped_ ? i % rows : 0));
        for (size_t j = 0; j < floats; j += 16) __builtin_prefetch(begin + j, 0, 2);
    }
}

Size Source::frame_size(const Conv2dShape& s, const Problem& p) {
    const size_t rows = p.tiling.vertical.most_points();
    const Size pixels = Size{rows} * (s.out_width + p.window_width - 1);
    return p.stride > 1 ? pixels * (p.group_in + 1) : pixels;
}

void Source::set_tile_row(size_t number) {
    const size_t block = p_.stride;
    image_ = x_ + s_.input_pixel(number / p_.tiling.vertical.tiles, 0, 0);
    tile_row_ = number % p_.tiling.vertical.tiles;
    first_row_ = p_.tiling.vertical.start(tile_row_);
    if (block == 1) return;
    const size_t rows = p_.tiling.vertical.points(tile_row_);
    const size_t columns = s_.out_width + p_.window_width - 1;
    const size_t run = block * s_.in_channels;  // of one block in one row of pixels
    for (size_t r = 0; r < rows * block; ++r) {
        float* target = frame_ + r / block * columns * p_.group_in + r % block * run;
        // Unsigned: a row above the image is beyond its height.
        const size_t pixel_row = first_row_ * block + r - s_.pad_top;
        if (pixel_row < s_.in_height) {
            copy_pixel_row(image_ + pixel_row * s_.in_width * s_.in_channels, target);
        } else {
            k_.copy_rows(columns, run, zeros_, 0, target, p_.group_in);
        }
    }
}

void Source::copy_pixel_row(const float* row, float* target) const {
    const size_t block = p_.stride, channels = s_.in_channels, run = block * channels;
    const size_t columns = s_.out_width + p_.window_width - 1;
    // Blocks that lie in the image as a whole, then those on its borders, pixel by pixel.
    const size_t first = std::min(ceil_div(s_.pad_left, block), columns);
    const size_t end = std::clamp((s_.pad_left + s_.in_width) / block, first, columns);
    k_.copy_rows(end - first, run, row + (first * block - s_.pad_left) * channels, run,
                 target + first * p_.group_in, p_.group_in);
    for (size_t column = 0; column < columns; ++column) {
        if (column == first) column = end;
        if (column == columns) break;
        for (size_t i = 0; i < block; ++i) {
            const size_t w = column * block + i - s_.pad_left;
            const float* pixel = w < s_.in_width ? row + w * channels : zeros_;
            std::copy_n(pixel, channels, target + column * p_.group_in + i * channels);
        }
    }
}

bool Source::is_alike(size_t group) const {
    const Axis& horizontal = p_.tiling.horizontal;
    const size_t rows = p_.tiling.vertical.points(tile_row_);
    const size_t columns = s_.out_width + p_.window_width - 1;
    const size_t most_rows = p_.tiling.vertical.most_points();
    float* grid = frame_ + (p_.stride > 1 ? most_rows * columns * p_.group_in : 0);
    PixelMagnitudes magnitudes(k_, grid, rows, columns);
    // Columns of the image; with blocks the frame has all of them.
    const size_t first = p_.stride > 1 ? 0 : std::min(s_.pad_left, columns);
    const size_t count = p_.stride > 1 ? columns : std::min(s_.in_width, columns - first);
    for (size_t r = 0; r < rows; ++r) {
        float* row = magnitudes.row(r);
        const size_t h = first_row_ + r - s_.pad_top;  // unsigned
        if (p_.stride > 1) {
            k_.magnitudes(columns, p_.group_in, p_.group_in, frame_ + r * columns * p_.group_in,
                          row);
        } else if (h < s_.in_height) {
            const size_t pixel = h * s_.in_width + first - s_.pad_left;
            std::fill_n(row, first, 0.0f);
            k_.magnitudes(count, p_.group_in, s_.in_channels,
                          image_ + pixel * s_.in_channels + group * p_.group_in, row + first);
            std::fill(row + first + count, row + columns, 0.0f);
        } else {
            std::fill_n(row, columns, 0.0f);
        }
    }
    if (magnitudes.all_alike()) return true;
    // A window that ends within a block does not see all of it: only whole blocks count.
    const size_t window_rows = s_.kernel_height / p_.stride;
    const size_t window_columns = s_.kernel_width / p_.stride;
    for (size_t q = 0; q < horizontal.tiles; ++q) {
        const Range tile{horizontal.start(q), horizontal.start(q) + horizontal.points(q)};
        if (!magnitudes.tile_is_alike(tile, window_rows, window_columns)) return false;
    }
    return true;
}

Run Source::pixels(Range rows) const {
    if (rows.size() == 0) return {x_, 0};
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

void Source::places(size_t q, size_t group, const float** places) const {
    const Axis &vertical = p_.tiling.vertical, &horizontal = p_.tiling.horizontal;
    const bool blocks = p_.stride > 1;
    const size_t columns = s_.out_width + p_.window_width - 1;
    for (size_t i = 0; i < vertical.points(tile_row_); ++i) {
        // Unsigned: a pixel above or left of the image is beyond its size.
        const size_t h = first_row_ + i - s_.pad_top;
        const size_t image_row = h < s_.in_height ? h * s_.in_width * s_.in_channels : 0;
        const float* pixels = image_ + image_row + group * s_.group_in();
        for (size_t j = 0; j < horizontal.points(q); ++j) {
            const size_t column = horizontal.start(q) + j;
            if (blocks) {
                *places++ = frame_ + (i * columns + column) * p_.group_in;
                continue;
            }
            const size_t w = column - s_.pad_left;
            const bool inside = h < s_.in_height && w < s_.in_width;
            *places++ = inside ? pixels + w * s_.in_channels : zeros_;
        }
    }
}

}  // namespace alexnet::cpu::winograd
