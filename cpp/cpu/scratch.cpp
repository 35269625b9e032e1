#include "scratch.h"

#include <pthread.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <memory>

namespace alexnet::cpu {
namespace {

constexpr size_t kSmallPage = 4096, kLargePage = size_t{2} << 20;
// What is larger gets whole large pages: its rows would take up too many entries of the TLB.
constexpr size_t kSmall = 64 * kSmallPage;

// `bytes` of fresh large pages, or null. The allocator would hand out again what was touched before
// in small pages, and it would keep those.
void* map_large_pages(size_t bytes) {
    void* mapped = mmap(nullptr, bytes + kLargePage, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED) return nullptr;
    char* begin = static_cast<char*>(mapped);
    const size_t before =
        (kLargePage - reinterpret_cast<uintptr_t>(begin) % kLargePage) % kLargePage;
    if (before > 0) munmap(begin, before);
    munmap(begin + before + bytes, kLargePage - before);
#if defined(MADV_HUGEPAGE)
    madvise(begin + before, bytes, MADV_HUGEPAGE);
#endif
    return begin + before;
}

class Buffer {
  public:
    Buffer() = default;
    Buffer(const Buffer&) = delete;
    ~Buffer() { release(); }

    float* grow(Size count) {
        if (count <= capacity_ && data_ != nullptr) return data_;
        release();
        const size_t floats = std::max<size_t>(count, 1);
        const bool large = floats * sizeof(float) > kSmall;
        const size_t page = large ? kLargePage : kSmallPage;
        const size_t bytes = (floats * sizeof(float) + page - 1) / page * page;
        data_ =
            static_cast<float*>(large ? map_large_pages(bytes) : std::aligned_alloc(page, bytes));
        if (data_ == nullptr) throw OutOfMemory();
        capacity_ = bytes / sizeof(float);
        return data_;
    }

  private:
    void release() {
        const size_t bytes = capacity_ * sizeof(float);
        if (bytes > kSmall) {
            munmap(data_, bytes);
        } else {
            std::free(data_);
        }
        data_ = nullptr;
        capacity_ = 0;
    }

    float* data_ = nullptr;
    size_t capacity_ = 0;
};

// All that a thread keeps.
struct Memory {
    Buffer buffers[static_cast<size_t>(Slot::kCount)];
    std::deque<Buffer> slices[static_cast<size_t>(Slot::kCount)];
};

// Made by the first call of a thread. A thread_local variable would be made then as well, but where
// there is no memory for it, or to note its destructor, the C library ends the process.
Memory& own_memory() {
    static const pthread_key_t key = [] {
        pthread_key_t made;
        const auto destroy = [](void* memory) { delete static_cast<Memory*>(memory); };
        if (pthread_key_create(&made, destroy) != 0) throw OutOfMemory();
        return made;
    }();
    if (void* memory = pthread_getspecific(key)) return *static_cast<Memory*>(memory);
    auto memory = std::make_unique<Memory>();
    if (pthread_setspecific(key, memory.get()) != 0) throw OutOfMemory();
    return *memory.release();
}

}  // namespace

float* scratch(Slot slot, Size count) {
    return own_memory().buffers[static_cast<size_t>(slot)].grow(count);
}

Slices::Slices(Slot slot, size_t slices, Size count) {
    std::deque<Buffer>& own = own_memory().slices[static_cast<size_t>(slot)];
    while (own.size() < slices) own.emplace_back();
    for (size_t i = 0; i < slices; ++i) data_.push_back(own[i].grow(count));
}

}  // namespace alexnet::cpu
