// Counts that become memory: a sum or product of extents that no memory could hold is an error,
// where size_t would wrap around to a small number.

#ifndef ALEXNET_SIZE_H_
#define ALEXNET_SIZE_H_

#include <cstddef>
#include <cstdint>
#include <new>
#include <type_traits>

namespace alexnet {

// There is not as much memory as a shape asks for, or no machine could have it.
class OutOfMemory : public std::bad_alloc {
  public:
    const char* what() const noexcept override {
        return "not enough memory for what this operator computes with";
    }
};

// A number of elements, as a size_t whose sums and products are checked. Whatever makes a buffer
// takes one and nothing else becomes one by itself, so a count is computed as `Size{a} * b + c`.
class Size {
  public:
    static constexpr size_t kMost = SIZE_MAX / 16;  // its bytes can be counted, with pages around

    explicit constexpr Size(size_t count) : count_(count) {
        if (count > kMost) throw OutOfMemory();
    }
    constexpr operator size_t() const { return count_; }

    friend constexpr Size operator*(Size a, Size b) {
        if (b.count_ != 0 && a.count_ > kMost / b.count_) throw OutOfMemory();
        return Size{a.count_ * b.count_};
    }
    // Both are at most kMost: the sum does not wrap around before it is checked.
    friend constexpr Size operator+(Size a, Size b) { return Size{a.count_ + b.count_}; }

    template <typename T, typename = std::enable_if_t<std::is_integral_v<T>>>
    friend constexpr Size operator*(Size a, T b) {
        return a * Size{static_cast<size_t>(b)};
    }
    template <typename T, typename = std::enable_if_t<std::is_integral_v<T>>>
    friend constexpr Size operator*(T a, Size b) {
        return Size{static_cast<size_t>(a)} * b;
    }
    template <typename T, typename = std::enable_if_t<std::is_integral_v<T>>>
    friend constexpr Size operator+(Size a, T b) {
        return a + Size{static_cast<size_t>(b)};
    }
    template <typename T, typename = std::enable_if_t<std::is_integral_v<T>>>
    friend constexpr Size operator+(T a, Size b) {
        return Size{static_cast<size_t>(a)} + b;
    }

  private:
    size_t count_;
};

}  // namespace alexnet

#endif  // ALEXNET_SIZE_H_
