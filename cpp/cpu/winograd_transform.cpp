// Which matrices the transforms of winograd_transform.h apply, by the points and values of each
// axis.

#include "winograd_transform.h"

namespace alexnet::cpu::winograd {

bool Transform::operator()(const float* const* in, size_t in_offset, size_t in_lanes,
                           float* const* out, size_t out_offset, size_t out_lanes,
                           const float* bias, bool relu) const {
    alignas(kLineBytes) float temporary[kTileElements * kLineFloats];
    vertical.columns(horizontal.in, in, in_offset, in_lanes, prefetch_distance, temporary);
    return horizontal.rows(vertical.out, temporary, out, out_offset, out_lanes, bias, relu, stream);
}

namespace {

// The same matrix for both axes: of tile (p, q), or of the window.
Transform of_tile(const KernelTable& k, const Tiling& t, size_t p, size_t q,
                  WinogradMatrix matrix) {
    const Axis &v = t.vertical, &h = t.horizontal;
    return {.vertical = k.winograd_step(matrix, v.points(p), v.size(p)),
            .horizontal = k.winograd_step(matrix, h.points(q), h.size(q))};
}

Transform of_window(const KernelTable& k, const Tiling& t, WinogradMatrix matrix) {
    const Axis &v = t.vertical, &h = t.horizontal;
    return {.vertical = k.winograd_step(matrix, v.most_points(), v.window),
            .horizontal = k.winograd_step(matrix, h.most_points(), h.window)};
}

}  // namespace

Transform input_transform(const KernelTable& k, const Tiling& t, size_t p, size_t q) {
    return of_tile(k, t, p, q, WinogradMatrix::kInput);
}

Transform output_transform(const KernelTable& k, const Tiling& t, size_t p, size_t q) {
    return of_tile(k, t, p, q, WinogradMatrix::kFromPoints);
}

Transform output_gradient_transform(const KernelTable& k, const Tiling& t, size_t p, size_t q) {
    return of_tile(k, t, p, q, WinogradMatrix::kToPoints);
}

Transform weight_transform(const KernelTable& k, const Tiling& t) {
    return of_window(k, t, WinogradMatrix::kToPoints);
}

Transform weight_gradient_transform(const KernelTable& k, const Tiling& t) {
    return of_window(k, t, WinogradMatrix::kFromPoints);
}

}  // namespace alexnet::cpu::winograd
