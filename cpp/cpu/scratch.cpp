#include "scratch.h"

#include <sys/mman.h>

#include <cstdlib>
#include <deque>
#include <new>

namespace alexnet::cpu {
namespace {

constexpr size_t kSmallPage = 4096, kLargePage = size_t{2} << 20;
// What is larger gets whole large pages: its rows would take up too many entries of the TLB.
constexpr size_t kSmall = 64 * kSmallPage;

class Buffer {
  public:
    Buffer() = default;
    Buffer(const Buffer&) = delete;
    ~Buffer() { std::free(data_); }

    float* grow(size_t count) {
        if (count <= capacity_) return data_;
        std::free(data_);
        data_ = nullptr;
        capacity_ = 0;
        const size_t page = count * sizeof(float) > kSmall ? kLargePage : kSmallPage;
        const size_t bytes = (count * sizeof(float) + page - 1) / page * page;
        data_ = static_cast<float*>(std::aligned_alloc(page, bytes));
        if (data_ == nullptr) throw std::bad_alloc();
#if defined(MADV_HUGEPAGE)
        if (page == kLargePage) madvise(data_, bytes, MADV_HUGEPAGE);
#endif
        capacity_ = bytes / sizeof(float);
        return data_;
    }

  private:
    float* data_ = nullptr;
    size_t capacity_ = 0;
};

}  // namespace

float* scratch(Slot slot, size_t count) {
    thread_local Buffer buffers[static_cast<size_t>(Slot::kCount)];
    return buffers[static_cast<size_t>(slot)].grow(count == 0 ? 1 : count);
}

Slices::Slices(Slot slot, size_t slices, size_t count) {
    thread_local std::deque<Buffer> buffers[static_cast<size_t>(Slot::kCount)];
    std::deque<Buffer>& own = buffers[static_cast<size_t>(slot)];
    while (own.size() < slices) own.emplace_back();
    for (size_t i = 0; i < slices; ++i) data_.push_back(own[i].grow(count == 0 ? 1 : count));
}

}  // namespace alexnet::cpu
