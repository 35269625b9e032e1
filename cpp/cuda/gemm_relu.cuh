// A gradient with respect to an input that goes on through the ReLU before it:
//
//   C[i,j] = 0 where relu_output[i,j] is not positive, NaN included (relu.cu)
//
// A lane's sums take 64 or 128 registers, which leaves none for as many elements of relu_output. So a
// loop of its own, not unrolled, makes a bit of each before the sums are stored.
//
// Cost: relu_output is read once, 16 bytes at a time where the rows of a lane allow it.

#ifndef ALEXNET_CUDA_GEMM_RELU_CUH_
#define ALEXNET_CUDA_GEMM_RELU_CUH_

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "device.cuh"
#include "storage.cuh"

namespace alexnet::cuda {

// Whether C, with such rows, may be a gradient that goes on through a ReLU.
template <class Rows, class = void>
constexpr bool kThroughRelu = false;
template <class Rows>
constexpr bool kThroughRelu<Rows, std::enable_if_t<Rows::kThroughRelu>> = true;

// Which elements of a lane's part of C pass the ReLU: at first all.
template <class Fragment>
class Passing {
    static constexpr int kRows = Fragment::kRows, kColumns = Fragment::kColumns;
    static constexpr int kWords = (kRows * kColumns + 31) / 32;
    static_assert(kColumns < 32);

  public:
    __device__ Passing() {
#pragma unroll
        for (uint32_t& word : words_) word = ~0u;
    }
    // Of a product whose relu_output is not null, for rows from `row` on and columns from `column`
    // on. With `vectors` rows are read kRun elements at a time.
    template <class P>
    __device__ void read(const P& p, uint32_t row, uint32_t column, int lane, bool vectors) {
        constexpr int kRun = Fragment::kRun;
#pragma unroll 1
        for (int i = 0; i < kRows; ++i) {
            const uint32_t r = row + Fragment::row(lane, i);
            uint32_t bits = 0;
            if (r < p.m) {
                const auto* line = p.relu_output + p.rows(r) + size_t{blockIdx.z} * p.n;
#pragma unroll
                for (int j = 0; j < kColumns; j += kRun) {
                    const uint32_t c = column + Fragment::column(lane, j);
                    auto y = Floats<kRun>::of(0);
                    if (vectors) {
                        if (c < p.n) y = load_floats<kRun>(line + c);
                    } else {
#pragma unroll
                        for (int e = 0; e < kRun; ++e) {
                            if (c + e < p.n) y.at[e] = to_float(line[c + e]);
                        }
                    }
#pragma unroll
                    for (int e = 0; e < kRun; ++e) bits |= uint32_t{y.at[e] > 0} << (j + e);
                }
            }
            push(bits);
        }
    }
    __device__ float pass(float value, int i, int j) const {
        const int place = (kRows - 1 - i) * kColumns + j;
        return words_[place / 32] >> place % 32 & 1 ? value : 0.0f;
    }

  private:
    // A row's bits below those before it.
    __device__ void push(uint32_t bits) {
#pragma unroll
        for (int w = kWords - 1; w > 0; --w) {
            words_[w] = words_[w] << kColumns | words_[w - 1] >> (32 - kColumns);
        }
        words_[0] = words_[0] << kColumns | bits;
    }

    uint32_t words_[kWords];
};

}  // namespace alexnet::cuda

#endif  // ALEXNET_CUDA_GEMM_RELU_CUH_
