// Which convolutions Winograd's algorithm can compute, which it computes faster than direct, and by
// which schedule.
//
//     shape --> unsupported? --> is_faster? --> choose --> by rows, by elements, by panels
//                    |               |          (winograd_choice.h has the table)
//                    v               v
//                  direct          direct

#include "winograd_choice.h"

#include <utility>

#include "conv2d.h"

namespace alexnet::cpu::winograd {
namespace {

// By panels: V of all images at most, which each thread reads as a whole, and how many output
// channels there are at least for each tile.
constexpr size_t kFewFloats = 512 << 10;
constexpr size_t kChannelsPerTile = 3;
// By elements: V and M at most, in units of U. By rows each thread reads all of U, so with many
// threads it is a unit more for every four of them.
constexpr size_t kMostOfU = 2, kThreadsAUnit = 4;

}  // namespace

Schedule choose(size_t batch, const Tiling& tiling, size_t in_channels, size_t out_channels,
                size_t threads) {
    const size_t products = batch * tiling.products();
    if (products * in_channels <= kFewFloats && in_channels <= kDepthBlock &&
        kChannelsPerTile * batch * tiling.tiles() < out_channels) {
        return Schedule::kByPanels;
    }
    // It is then better to pass V and M from thread to thread than to read U once a thread. Tasks
    // are also many and small, so that all threads end at about the same time.
    if (products * (in_channels + out_channels) < std::max(kMostOfU, threads / kThreadsAUnit) *
                                                      tiling.elements() * in_channels *
                                                      out_channels) {
        return Schedule::kByElements;
    }
    return Schedule::kByRows;
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

// Costs in units of one multiply-add of the direct algorithm, fitted to measurements of some 300
// shapes with 32 channels and more.
bool is_faster(const Conv2dShape& s, ConvDirection direction) {
    constexpr double kProduct = 1.1;
    constexpr double kTransformedValue = 25;  // of the input or output
    // Of the weights: used at once, by way of memory, or a gradient.
    constexpr double kWeightAtOnce = 9, kStoredWeight = 40, kWeightGradient = 20;

    const size_t stride = s.stride_height;
    size_t in = s.group_in() * stride * stride, out = s.group_out();
    // With few channels the transforms outweigh the products, whose register tiles are ragged.
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
    const double weight = direction == ConvDirection::kBackwardWeight ? kWeightGradient
                          : choose(s.batch, tiling, in, out, 1) == Schedule::kByPanels
                              ? kWeightAtOnce
                              : kStoredWeight;
    return products * (kProduct * pairs + kTransformedValue * channels) +
               weight * static_cast<double>(tiling.elements()) * pairs <
           direct;
}

}  // namespace alexnet::cpu::winograd
