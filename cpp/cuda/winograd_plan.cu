// Tiles, and the choice of the algorithm, by a count in multiply-adds of the FMA units.
//
//   direct    products of all windows
//   winograd  elements · (rows · in · out + kValue · tiles · (in + out) + kValue · in · out)
//             + kLaunches
//
// Rows are the tiles of all images, in whole tiles of 128 of the matrix product. A value of V or M
// goes through memory twice, 8 bytes: at 3 TB/s the time in which the FMA units of an H100 do 80
// multiply-adds at their full rate, and the half of it where L2 has kept them. A launch more is
// 2 µs. The rule looks at the shape alone, and is the same for all devices.

#include <algorithm>
#include <utility>

#include "launch.cuh"
#include "winograd_plan.cuh"

namespace alexnet::cuda {
namespace {

constexpr double kValue = 40;
constexpr double kLaunches = 2.5e8;  // four more of them than `direct` has
constexpr size_t kLeastChannels = 32;
constexpr size_t kMostGroups = 512;  // grids have 65,535 matrices at most
constexpr size_t kTileRows = 128;    // of the matrix product

double cost(const Conv2dShape& s, size_t window, size_t outputs) {
    const size_t points = outputs + window - 1;
    const size_t tiles = s.batch * ceil_div(s.out_height, outputs) * ceil_div(s.out_width, outputs);
    const auto elements = static_cast<double>(points * points);
    const auto pairs = static_cast<double>(s.group_in() * s.out_channels);
    const auto values = static_cast<double>(tiles * (s.in_channels + s.out_channels));
    const auto rows = static_cast<double>(ceil_div(tiles, kTileRows) * kTileRows);
    return elements * (rows * pairs + kValue * values + kValue * pairs) + kLaunches;
}

// Outputs of a tile along an axis: 6 points, or 7 where that is less work, for windows of 3; 8 for
// those of 5. More than 8 points are too many for float32.
size_t tile_outputs(const Conv2dShape& s) {
    const size_t window = s.kernel_height;
    return window == 3 && cost(s, window, 5) < cost(s, window, 4) ? 5 : 4;
}

}  // namespace

WinogradPlan::WinogradPlan(const Conv2dShape& shape, size_t most_floats)
    : s(shape),
      window(s.kernel_height),
      outputs(tile_outputs(s)),
      down(ceil_div(s.out_height, outputs)),
      across(ceil_div(s.out_width, outputs)),
      chunk(1) {
    const size_t image = std::max<size_t>(1, v_floats() + m_floats());  // of a chunk of one
    const size_t chunks = ceil_div(s.batch, std::max<size_t>(1, most_floats / image));
    chunk = std::max<size_t>(1, ceil_div(s.batch, std::max<size_t>(1, chunks)));
}

Conv2dShape flipped(const Conv2dShape& s) {
    Conv2dShape f = s;
    std::swap(f.in_height, f.out_height);
    std::swap(f.in_width, f.out_width);
    std::swap(f.in_channels, f.out_channels);
    f.pad_top = s.kernel_height - 1 - s.pad_top;
    f.pad_left = s.kernel_width - 1 - s.pad_left;
    return f;
}

const char* winograd_unsupported(const Conv2dShape& s, ConvDirection direction) {
    if (s.stride_height != 1 || s.stride_width != 1) return "it has a stride";
    if (s.kernel_height != s.kernel_width || (s.kernel_height != 3 && s.kernel_height != 5)) {
        return "its kernel is neither 3 × 3 nor 5 × 5";
    }
    if (s.groups > kMostGroups) return "it has more than 512 groups";
    if (direction == ConvDirection::kBackwardInput &&
        (s.pad_top >= s.kernel_height || s.pad_left >= s.kernel_width)) {
        return "its padding is not smaller than its kernel";
    }
    return nullptr;
}

bool winograd_is_faster(const Conv2dShape& shape, ConvDirection direction) {
    if (winograd_unsupported(shape, direction)) return false;
    const Conv2dShape s = direction == ConvDirection::kBackwardInput ? flipped(shape) : shape;
    const size_t in = s.group_in(), out = s.group_out();
    if (std::min(in, out) < kLeastChannels || in % 4 != 0 || out % 4 != 0) return false;
    const double products = static_cast<double>(s.batch * shape.out_height * shape.out_width) *
                            static_cast<double>(shape.window() * shape.out_channels);
    return cost(s, s.kernel_height, tile_outputs(s)) < products;
}

}  // namespace alexnet::cuda
