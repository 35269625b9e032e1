// Windows of few channels for Hopper's products: image lines in a ring of shared memory.
//
// In NHWC memory a line of such a window is one run of neighbouring elements (conv2d_runs.cuh), and
// the runs of neighbouring windows overlap: 33 elements, 12 apart, in AlexNet's first. So no window is
// copied: the tensor copy engine brings lines of the image, each once for all windows that it lies
// under, and warps read their part of the windows from there, into the registers that wgmma takes A
// from. What lies outside of the image, left, right, above or below, the copy engine makes zero, and
// an element that is not the window's is never read.
//
// Items: a line of at most 64 windows each, its windows beside each other, in the order of memory
//   downwards. Windows of an item lie under the same kernel_height lines; of those of the item above it
//   knows all but the last stride_height, which alone are copied.
// Ring: `slots` lines, each with two mbarriers: it has arrived; all warps that multiply have given it
//   back. Its n-th line is in slot n mod slots.

#ifndef ALEXNET_CUDA_HOPPER_LINES_CUH_
#define ALEXNET_CUDA_HOPPER_LINES_CUH_

#include <type_traits>

#include "hopper_product.cuh"

namespace alexnet::cuda {

constexpr uint32_t kLineWindows = 64;    // of an item: the rows that a warpgroup multiplies
constexpr uint32_t kLineStep = 32;       // elements of a line of the window that are taken at once
constexpr uint32_t kMostRestLines = 16;  // lines of a window, of which single elements are taken

struct HopperLines {
    uint32_t images, segments, down;  // items of an image: segments of its lines of windows
    uint32_t across, windows;    // windows of a line; of a segment, of which the last has the rest
    uint32_t kernel_lines, run;  // of a window; elements of one of its lines
    int stride, top, left;       // in lines; the first line and element that are copied
    uint32_t step, front;        // elements from window to window; before an item's first window
    uint32_t lead;               // of these, how many steps begin with; they count as zero
    uint32_t boxes, box, pitch;  // copies of a line, elements of each, of all
    uint32_t slots;

    __host__ __device__ uint32_t items() const { return images * segments * down; }
    // Elements of a run, with those that lead to it, in whole steps, and the others.
    __host__ __device__ uint32_t chunks() const { return (lead + run) / kLineStep; }
    __host__ __device__ uint32_t rests() const { return (lead + run) % kLineStep; }
};

// A slot of a ring, and the parity of its turn.
struct HopperSlot {
    uint32_t number = 0, parity = 0;
    __device__ void advance(uint32_t slots) {
        if (++number < slots) return;
        number = 0;
        parity ^= 1;
    }
};

// An item of those that a block has, from the first on, and where its lines are among all that the
// block copies.
struct HopperLineItem {
    uint32_t image, segment, i;  // i: line of windows
    uint32_t first_line;

    static __device__ HopperLineItem of(const HopperLines& w, uint32_t number) {
        const uint32_t column = number / w.down, image = column / w.segments;
        return {image, column - image * w.segments, number - column * w.down, 0};
    }
    __device__ void advance(const HopperLines& w) {
        if (++i < w.down) {
            first_line += static_cast<uint32_t>(w.stride);
            return;
        }
        i = 0;
        first_line += w.kernel_lines;
        if (++segment < w.segments) return;
        segment = 0;
        ++image;
    }
    __device__ uint32_t first_window(const HopperLines& w) const {  // of all images
        return (image * w.down + i) * w.across + segment * w.windows;
    }
    __device__ uint32_t windows(const HopperLines& w) const {
        return min(w.windows, w.across - segment * w.windows);
    }
};

template <class T>
struct HopperRing {
    T* lines;
    uint64_t *full, *room;

    __device__ HopperRing(unsigned char* memory, const HopperLines& w)
        : lines(reinterpret_cast<T*>(memory)),
          full(reinterpret_cast<uint64_t*>(lines + w.slots * w.pitch)),
          room(full + w.slots) {}
    static size_t bytes(const HopperLines& w) {
        return w.slots * (w.pitch * sizeof(T) + 2 * sizeof(uint64_t));
    }
    // By one thread, before a barrier; `warps`: those that multiply.
    __device__ void begin(const HopperLines& w, uint32_t warps) const {
        for (uint32_t slot = 0; slot < w.slots; ++slot) {
            mbarrier_init(full + slot, 1);
            mbarrier_init(room + slot, warps);
        }
    }
};

// By one thread: have the lines of a block's items copied, as there is room.
template <class T>
class HopperLineCopies {
  public:
    __device__ HopperLineCopies(const HopperRing<T>& ring, const CUtensorMap& map,
                                const HopperLines& w)
        : ring_(ring), map_(map), w_(w) {}

    // Those of the next item that the items before do not know.
    __device__ void copy(const HopperLineItem& item) {
        const int left = w_.left + static_cast<int>(item.segment * w_.windows * w_.step);
        const int top = w_.top + static_cast<int>(item.i) * w_.stride;
        const auto lines = static_cast<int>(w_.kernel_lines);
        for (int line = is_first_ || item.i == 0 ? 0 : lines - w_.stride; line < lines; ++line) {
            uint64_t* full = ring_.full + slot_.number;
            mbarrier_wait(ring_.room + slot_.number, slot_.parity ^ 1);
            mbarrier_arrive_expect(full, w_.pitch * sizeof(T));
            for (uint32_t box = 0; box < w_.boxes; ++box) {
                tensor_copy(ring_.lines + slot_.number * w_.pitch + box * w_.box, map_, full,
                            left + static_cast<int>(box * w_.box), top + line,
                            static_cast<int>(item.image));
            }
            slot_.advance(w_.slots);
        }
        is_first_ = false;
    }

  private:
    const HopperRing<T>& ring_;
    const CUtensorMap& map_;
    const HopperLines& w_;
    HopperSlot slot_;
    bool is_first_ = true;
};

// What a product takes from a line at once: 32 bytes of depths, of which a lane has two words of 4
// bytes, 16 bytes apart, in each of its two rows.
template <class T>
constexpr uint32_t kPiece = 32 / sizeof(T);
template <class T>
constexpr uint32_t kWord = 4 / sizeof(T);

// Elements as they are multiplied, in a word.
template <class T>
__device__ __forceinline__ uint32_t join_word(const T (&elements)[kWord<T>]) {
    if constexpr (std::is_same_v<T, float>) {
        return to_tf32(elements[0]);
    } else {
        return elements[0].bits | uint32_t{elements[1].bits} << 16;
    }
}

// A lane's first depth of word `later`, 0 or 1, of a piece.
template <class T>
__device__ __forceinline__ uint32_t word_depth(uint32_t piece, uint32_t later, uint32_t lane) {
    return piece * kPiece<T> + later * (kPiece<T> / 2) + lane % 4 * kWord<T>;
}

// d += a · b, with neighbours of b along the depth, or of 16 bits across it.
template <class T, uint32_t columns, bool b_along_depth>
__device__ __forceinline__ void multiply_piece(float (&d)[columns / 2], const uint32_t (&a)[4],
                                               uint64_t b) {
    if constexpr (std::is_same_v<T, float>) {
        wgmma_tf32<columns>(d, a, b);
    } else {
        wgmma_16<T, columns, b_along_depth>(d, a, b);
    }
}

// A multiplying warp's place in the ring: which lines it has waited for, and which given back.
template <class T>
class HopperLinesSeen {
  public:
    __device__ HopperLinesSeen(const HopperRing<T>& ring, const HopperLines& w)
        : ring_(ring), w_(w) {}

    // Give back the lines before `first`, and wait for those before `end`. One by one: other warps'
    // items lie between, and the ring need not have room for their lines beside those of this warp.
    __device__ void take(uint32_t first, uint32_t end) {
        for (; given_ < first; ++given_) {
            wait_for(given_ + 1);
            __syncwarp();
            if (threadIdx.x % kWarp == 0) mbarrier_arrive(ring_.room + oldest_.number, 0);
            oldest_.advance(w_.slots);
        }
        wait_for(end);
    }
    // Of a line of the window, from the first one on that was not given back.
    __device__ uint32_t slot(uint32_t line) const {
        const uint32_t slot = oldest_.number + line;
        return slot < w_.slots ? slot : slot - w_.slots;
    }

  private:
    __device__ void wait_for(uint32_t end) {
        for (; arrived_ < end; ++arrived_) {
            mbarrier_wait(ring_.full + next_.number, next_.parity);
            next_.advance(w_.slots);
        }
    }

    const HopperRing<T>& ring_;
    const HopperLines& w_;
    uint32_t arrived_ = 0, given_ = 0;  // lines
    HopperSlot next_, oldest_;
};

// A block's share of all items: the first, and the one behind the last.
struct HopperLineShare {
    uint32_t begin, end;

    static __device__ HopperLineShare of(const HopperLines& w, uint32_t block, uint32_t blocks) {
        const auto first = [&](uint32_t number) {
            return static_cast<uint32_t>(uint64_t{w.items()} * number / blocks);
        };
        return {first(block), first(block + 1)};
    }
};

}  // namespace alexnet::cuda

#endif  // ALEXNET_CUDA_HOPPER_LINES_CUH_
