// The search for tiles whose windows see values of different sizes; winograd_guard.h says why.

#include "winograd_guard.h"

namespace alexnet::cpu::winograd {

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

}  // namespace alexnet::cpu::winograd
