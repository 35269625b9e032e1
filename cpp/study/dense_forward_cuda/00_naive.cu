// A thread an output; neighbouring threads are neighbouring images.
//
// Change: the first rung.
// Why: the others are checked and counted against something that can be read in a minute.
// Predicted: nothing to compare with. With 8 images 32 lanes are 4 outputs: 8 sectors of x and 1 of
//   weights for 32 multiply-adds.
// Gained: nothing to compare with.

#include "study.cuh"

namespace {

__global__ void naive(Dense s, const float* x, const float* weight, float* y) {
    const int b = thread_number() % s.batch, o = thread_number() / s.batch;
    if (o >= s.out_features) return;
    float sum = 0;
    for (int i = 0; i < s.in_features; ++i) {
        sum = fmaf(x[b * s.in_features + i], weight[i * s.out_features + o], sum);
    }
    y[b * s.out_features + o] = sum;
}

}  // namespace

RUNG(const Dense& s, const float* x, const float* weight, float* y, Stream stream) {
    launch("naive", naive, blocks(s.batch * s.out_features, 256), 256, 0, stream, s, x, weight, y);
}
