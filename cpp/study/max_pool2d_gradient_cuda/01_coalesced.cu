// Neighbouring threads are neighbouring channels.
//
// Change: the order of threads, nothing else.
// Why: lanes of one pixel share its windows and their bounds, and read 128 bytes in 4 sectors.
// Predicted: 8 times fewer sectors: 4 for a request instead of 32.
// Gained: 3.74 times fewer sectors, counted in the emulation. No GPU has timed it.

#include "study.cuh"

namespace {

// Whether the first maximum of a window is at (row, column) of it: nothing before it is as large,
// and nothing behind it larger.
__device__ bool is_first_maximum(const MaxPool2d& s, const float* window, int row, int column) {
    const float own = window[(row * s.in_width + column) * s.channels];
    for (int h = 0; h < s.window; ++h) {
        for (int w = 0; w < s.window; ++w) {
            const float other = window[(h * s.in_width + w) * s.channels];
            const bool before = h < row || (h == row && w < column);
            const bool nan = own != own;  // is more than every number
            const bool loses = before ? (nan ? other != other : other >= own || other != other)
                                      : !nan && (other > own || other != other);
            if (loses && (h != row || w != column)) return false;
        }
    }
    return true;
}

__global__ void coalesced(MaxPool2d s, const float* dy, const float* x, float* dx) {
    const int pixels = s.batch * s.in_height * s.in_width;
    const int c = thread_number() % s.channels, p = thread_number() / s.channels;
    if (p >= pixels) return;
    const int w = p % s.in_width, h = p / s.in_width % s.in_height,
              n = p / s.in_width / s.in_height;
    float sum = 0;
    // The windows that cover the pixel.
    const int first_oh = h < s.window ? 0 : (h - s.window) / s.stride + 1;
    const int first_ow = w < s.window ? 0 : (w - s.window) / s.stride + 1;
    for (int oh = first_oh; oh <= min(h / s.stride, s.out_height - 1); ++oh) {
        for (int ow = first_ow; ow <= min(w / s.stride, s.out_width - 1); ++ow) {
            const int corner = (n * s.in_height + oh * s.stride) * s.in_width + ow * s.stride;
            const float* window = x + corner * s.channels + c;
            if (!is_first_maximum(s, window, h - oh * s.stride, w - ow * s.stride)) continue;
            sum += dy[((n * s.out_height + oh) * s.out_width + ow) * s.channels + c];
        }
    }
    dx[p * s.channels + c] = sum;
}

}  // namespace

RUNG(const MaxPool2d& s, const float* dy, const float* x, const float*, float* dx, Stream stream) {
    const int inputs = s.batch * s.in_height * s.in_width * s.channels;
    launch("coalesced", coalesced, blocks(inputs, 256), 256, 0, stream, s, dy, x, dx);
}
