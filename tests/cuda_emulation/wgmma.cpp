// Of hopper.h: products of warpgroups.
//
// Each thread keeps a queue of what it has called and performs, when it waits, its own part: two
// rows of d, n / 4 columns each. Where the elements lie is read from the matrix descriptor.

#include <algorithm>
#include <cstring>
#include <deque>
#include <map>
#include <vector>

#include "counting.h"
#include "hopper.h"

namespace emulation::hopper {
namespace {

constexpr unsigned kWarp = 32, kWarpgroup = 128;
constexpr uint32_t kDepthBytes = 32;  // of a product: 8 elements of tf32, 16 of 16 bits

// A matrix in shared memory, rows of depths of which a product takes kDepthBytes. 16 bytes of it, a
// chunk, are neighbours along the depth (K-major) or, of 16 bits each, along eight rows (MN-major).
class Matrix {
  public:
    Matrix(uint64_t descriptor, bool along_depth)
        : along_depth_(along_depth),
          start_(bits(descriptor, 0)),
          leading_(bits(descriptor, 16)),
          stride_(bits(descriptor, 32)) {
        if ((descriptor >> 49 & 7) != 0)
            fail("a matrix whose base offset is not 0 is not emulated");
        constexpr uint32_t kSpans[] = {0, 128, 64, 32};
        span_ = kSpans[descriptor >> 62];
    }

    // Fails where the matrix, of so many rows, is none of the canonical layouts.
    void check(uint32_t rows) const {
        if (span_ == 0) return;
        const uint32_t pattern = 8 * span_, within = start_ % pattern;
        if (within + (along_depth_ ? kDepthBytes : span_) > span_) {
            fail("a matrix does not begin at a swizzle's pattern, and has no base offset");
        }
        if (stride_ % pattern != 0 || (!along_depth_ && leading_ % pattern != 0)) {
            fail("a matrix's offsets are not whole patterns of its swizzle");
        }
        if (!along_depth_ && 2 * rows % span_ != 0) {
            fail("a matrix across the depth is not whole spans of its swizzle");
        }
    }

    // Chunk `number` of all of some rows, in any order: they are 2 · rows.
    const unsigned char* chunk(uint32_t number) const {
        return along_depth_ ? chunk(number / 2, number % 2 * 16)
                            : chunk_across(number / 16 * 8, number % 16);
    }

    // All depths of a product, of one row.
    void read_row(Operands type, uint32_t row, float* to) const {
        if (type == Operands::kTf32) return read_row_of<Operands::kTf32, uint32_t>(row, to);
        if (type == Operands::kBfloat16) return read_row_of<Operands::kBfloat16, uint16_t>(row, to);
        read_row_of<Operands::kFloat16, uint16_t>(row, to);
    }

    static float as_float(Operands type, uint32_t value) {
        if (type == Operands::kTf32) return bits_as<float>(value & 0xffffe000);
        if (type == Operands::kBfloat16) return bits_as<float>(value << 16);
        return bits_as<_Float16>(static_cast<uint16_t>(value));
    }

  private:
    template <Operands type, class Bits>
    void read_row_of(uint32_t row, float* to) const {
        constexpr uint32_t kOfChunk = 16 / sizeof(Bits);
        for (uint32_t c = 0; c < 2; ++c) {
            Bits values[kOfChunk];
            if (along_depth_) {
                std::memcpy(values, chunk(row, c * 16), sizeof values);
            } else {
                for (uint32_t k = 0; k < kOfChunk; ++k) {
                    const unsigned char* eight = chunk_across(row, c * kOfChunk + k);
                    std::memcpy(values + k, eight + row % 8 * sizeof(Bits), sizeof(Bits));
                }
            }
            for (uint32_t k = 0; k < kOfChunk; ++k)
                to[c * kOfChunk + k] = as_float(type, values[k]);
        }
    }
    // The 16 bytes of a row that begin with the byte `depth`, a multiple of 16.
    const unsigned char* chunk(uint32_t row, uint32_t depth) const {
        const uint32_t group = start_ + row / 8 * stride_;
        const uint32_t plain = span_ == 0 ? group + depth / 16 * leading_ + row % 8 * 16
                                          : group + row % 8 * span_ + depth;
        return asynchronous(swizzled(plain, span_), 16);
    }
    // The eight rows among which this one is, at depth k.
    const unsigned char* chunk_across(uint32_t row, uint32_t k) const {
        const uint32_t byte = row / 8 * 16;
        const uint32_t plain =
            span_ == 0
                ? start_ + row / 8 * stride_ + k / 8 * leading_ + k % 8 * 16
                : start_ + byte / span_ * leading_ + k / 8 * stride_ + k % 8 * span_ + byte % span_;
        return asynchronous(swizzled(plain, span_), 16);
    }
    static uint32_t bits(uint64_t descriptor, int first) {
        return static_cast<uint32_t>(descriptor >> first & 0x3fff) << 4;
    }
    bool along_depth_;
    uint32_t start_, leading_, stride_, span_;
};

// What all threads of a warpgroup have to agree on.
struct Call {
    Operands type;
    int n;
    InShared a, b;
    bool registers;

    Matrix matrix_a() const { return {a.descriptor, a.along_depth}; }
    Matrix matrix_b() const { return {b.descriptor, b.along_depth}; }
    bool operator==(const Call& other) const {
        return type == other.type && n == other.n && a == other.a && b == other.b &&
               registers == other.registers;
    }
};

struct Product {
    Call call;
    float* d;
    const uint32_t* a;                  // this thread's registers, or null
    uint32_t registers[4];              // what was in them
    uint32_t rows[4][4];                // those of the four threads that share this thread's rows
    std::vector<unsigned char> memory;  // this thread's share of the operands, as it was
};

struct Thread {
    std::deque<std::vector<Product>> groups;    // the last one is open
    std::map<float*, std::vector<float>> sums;  // of accumulators on their way
    size_t called = 0;
    bool fenced = false;
};

std::vector<Thread> threads;           // of all blocks
std::vector<std::vector<Call>> calls;  // of each warpgroup of all blocks
size_t block_threads = 0;

// Of a thread of `threads`.
size_t warpgroup_of(size_t thread) {
    const size_t of_block = (block_threads + kWarpgroup - 1) / kWarpgroup;
    return thread / block_threads * of_block + thread % block_threads / kWarpgroup;
}

size_t running() { return block_rank() * block_threads + thread_number(); }

bool is_poison(const float* values, size_t count) {
    const auto* bytes = reinterpret_cast<const unsigned char*>(values);
    return std::all_of(bytes, bytes + count * sizeof(float), [](auto b) { return b == 0xff; });
}

// A thread's share of the shared memory that a product reads.
std::vector<unsigned char> share(const Call& call, unsigned thread) {
    std::vector<unsigned char> result;
    const auto add = [&](const Matrix& matrix, uint32_t rows) {
        for (uint32_t i = thread % kWarpgroup; i < 2 * rows; i += kWarpgroup) {
            const unsigned char* chunk = matrix.chunk(i);
            result.insert(result.end(), chunk, chunk + 16);
        }
    };
    add(call.matrix_b(), static_cast<uint32_t>(call.n));
    if (!call.registers) add(call.matrix_a(), 64);
    return result;
}

// Element k of one of this thread's two rows of A, from the registers of four threads: the layout
// of mma's fragments, 16 rows a warp.
float register_element(const Product& p, uint32_t half, uint32_t k) {
    if (p.call.type == Operands::kTf32) {
        return Matrix::as_float(Operands::kTf32, p.rows[k % 4][half + k / 4 * 2]);
    }
    const uint32_t pair = p.rows[k % 8 / 2][half + k / 8 * 2];
    return Matrix::as_float(p.call.type, k % 2 == 0 ? pair & 0xffff : pair >> 16);
}

void perform(const Product& p, unsigned thread, std::vector<float>& sums) {
    const Operands type = p.call.type;
    const uint32_t depth = type == Operands::kTf32 ? 8 : 16;
    const uint32_t lane = thread % kWarp, first = thread % kWarpgroup / kWarp * 16 + lane / 4;
    float a[2][16], b[16];
    for (uint32_t half = 0; half < 2; ++half) {
        if (!p.call.registers) {
            p.call.matrix_a().read_row(type, first + 8 * half, a[half]);
            continue;
        }
        for (uint32_t k = 0; k < depth; ++k) a[half][k] = register_element(p, half, k);
    }
    const Matrix matrix = p.call.matrix_b();
    for (uint32_t i = 0; i < static_cast<uint32_t>(p.call.n) / 4; ++i) {
        const uint32_t column = i / 2 * 8 + lane % 4 * 2 + i % 2;
        matrix.read_row(type, column, b);
        for (uint32_t half = 0; half < 2; ++half) {
            float& sum = sums[i / 2 * 4 + half * 2 + i % 2];
            for (uint32_t k = 0; k < depth; ++k) sum += a[half][k] * b[k];
        }
    }
}

void finish(Thread& thread, const Product& p) {
    auto& sums = thread.sums.at(p.d);
    if (counting::is_on()) return;
    const unsigned number = thread_number();
    if (share(p.call, number) != p.memory) {
        fail("shared memory of a warpgroup's product changed before it was waited for");
    }
    if (p.a && std::memcmp(p.a, p.registers, sizeof p.registers) != 0) {
        fail("registers of a warpgroup's product changed before it was waited for");
    }
    if (!is_poison(p.d, sums.size())) {
        fail("accumulators of a warpgroup's product changed before it was waited for");
    }
    perform(p, number, sums);
}

}  // namespace

void begin_products(size_t blocks, size_t count) {
    block_threads = count;
    threads.assign(blocks * count, {});
    for (Thread& thread : threads) thread.groups.emplace_back();
    calls.assign(warpgroup_of(threads.size() - 1) + 1, {});
}

std::string unfinished_products() {
    for (size_t i = 0; i < threads.size(); ++i) {
        if (!threads[i].sums.empty()) return "a thread ends before a warpgroup's products do";
        if (threads[i].called != calls[warpgroup_of(i)].size()) {
            return "not all threads of a warpgroup call its products";
        }
    }
    return "";
}

void multiply(Operands type, int n, float* d, const uint32_t* a, InShared matrix_a,
              InShared matrix_b, Place place) {
    const unsigned number = thread_number();
    Thread& thread = threads[running()];
    Product p = {{type, n, matrix_a, matrix_b, a != nullptr}, d, a, {}, {}, {}};
    if (a) std::copy(a, a + 4, p.registers);
    if (type == Operands::kTf32 && !(matrix_b.along_depth && (a || matrix_a.along_depth))) {
        fail("a matrix of tf32 has its depths side by side");
    }
    if (n < 8 || n > 256 || n % 8 != 0) fail("the columns of a product are eights, up to 256");
    p.call.matrix_b().check(static_cast<uint32_t>(n));
    if (!a) p.call.matrix_a().check(64);

    auto& common = calls[warpgroup_of(running())];
    if (thread.called == common.size()) common.push_back(p.call);
    if (!(common[thread.called++] == p.call)) {
        fail("threads of a warpgroup call different products");
    }
    const auto size = static_cast<size_t>(n / 2);
    auto [sums, first] = thread.sums.try_emplace(d);
    if (!thread.fenced && (first || a)) fail("a warpgroup's product without wgmma_fence before it");
    if (first) {
        sums->second.assign(d, d + size);
        std::memset(d, 0xff, size * sizeof(float));
    }
    const unsigned char* lanes = deposit(0xffffffff, p.registers, sizeof p.registers, place);
    for (unsigned c = 0; c < 4; ++c) {
        const unsigned lane = number % kWarp / 4 * 4 + c;
        std::memcpy(p.rows[c], lanes + lane * kLaneBytes, sizeof p.rows[c]);
    }
    if (!counting::is_on()) p.memory = share(p.call, number);
    if (number % kWarpgroup == 0) {
        // In multiply-adds of tf32: 16 depths of 16 bits take as long as 8 of these.
        const size_t rows = static_cast<size_t>(n) + (a ? 0 : 64);
        counting::note_warpgroup_product(64 * static_cast<size_t>(n) * 8, rows * kDepthBytes,
                                         __builtin_return_address(0));
    }
    thread.groups.back().push_back(std::move(p));
}

void fence_products() { threads[running()].fenced = true; }

void commit_products() {
    Thread& thread = threads[running()];
    thread.groups.emplace_back();
    thread.fenced = false;
}

void wait_for_products(int groups, Place place) {
    Thread& thread = threads[running()];
    for (; thread.groups.size() > static_cast<size_t>(groups) + 1; thread.groups.pop_front()) {
        for (const Product& p : thread.groups.front()) finish(thread, p);
    }
    const auto on_their_way = [&](const float* d) {
        for (const auto& group : thread.groups) {
            for (const Product& p : group) {
                if (p.d == d) return true;
            }
        }
        return false;
    };
    for (auto it = thread.sums.begin(); it != thread.sums.end();) {
        if (on_their_way(it->first)) {
            ++it;
            continue;
        }
        std::copy(it->second.begin(), it->second.end(), it->first);
        it = thread.sums.erase(it);
    }
    thread.fenced = false;
    wait_for_warp(0xffffffff, place);  // it is the warp that waits
}

}  // namespace emulation::hopper
