// The scheduler of the emulation: fibers on stacks of their own.

#undef _FORTIFY_SOURCE  // it forbids jumps to another stack

#include "emulation.h"

#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cstdlib>
#include <deque>
#include <memory>
#include <mutex>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "counting.h"
#include "hopper.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace emulation {
namespace {

constexpr unsigned kWarp = 32;
constexpr size_t kStackBytes = 256 * 1024;
constexpr unsigned char kPoison = 0xff;  // four of them are a NaN
#ifdef __SANITIZE_ADDRESS__
constexpr size_t kMargin = 0;  // the sanitizer guards what surrounds an allocation
constexpr bool kFibersGoOn = false;
#else
constexpr size_t kMargin = 256;     // bytes after shared memory that nobody may write
constexpr bool kFibersGoOn = true;  // with the next block: to begin anew asks the system for much
#endif

struct Free {
    void operator()(void* memory) const { std::free(memory); }
};
using Memory = std::unique_ptr<unsigned char, Free>;

Memory allocate(size_t bytes) {
    return Memory(static_cast<unsigned char*>(std::aligned_alloc(16, (bytes + 15) / 16 * 16)));
}

struct Copy {
    void* target;
    const void* source;
    size_t bytes;
};

enum class State { kBegins, kReady, kAtBarrier, kAtClusterBarrier, kInWarp, kUntil, kEnded };

// Where a stack goes on. swapcontext asks the system for the signal mask at each switch, which takes
// longer than most steps of a kernel: here it only begins a fiber, which then is left and entered by
// jumps. The address sanitizer does not follow such jumps from one stack to another.
struct Context {
    ucontext_t first;
    jmp_buf rest;
    bool begun = true;
};

void go(Context& from, Context& to) {
#ifdef __SANITIZE_ADDRESS__
    swapcontext(&from.first, &to.first);
#else
    if (_setjmp(from.rest) != 0) return;
    if (to.begun) _longjmp(to.rest, 1);
    to.begun = true;
    setcontext(&to.first);
#endif
}

struct Fiber {
    dim3 index;
    unsigned number;  // the same, counted
    unsigned rank;    // of its block
    State state = State::kReady;
    Place place = {};                             // where it waits
    unsigned mask = 0;                            // for which lanes
    unsigned char deposit[kLaneBytes];            // with which value
    const std::function<bool()>* done = nullptr;  // or until when
    const char* awaited = nullptr;                // and for what
    std::deque<std::vector<Copy>> copies;         // groups; the last one is open
    Memory stack;
    Context context;
    void* fake_stack = nullptr;  // the address sanitizer's
};

bool same(Place a, Place b) {
    return a.line == b.line && (a.file == b.file || std::strcmp(a.file, b.file) == 0);
}

std::string text(Place place) {
    const char* slash = std::strrchr(place.file, '/');
    return std::string(slash ? slash + 1 : place.file) + ":" + std::to_string(place.line);
}

std::vector<Memory> spare_stacks;

// Blocks that run together: one, or those of a cluster.
class Cluster {
  public:
    Cluster(const Launch& launch, const std::function<void()>& body, std::mt19937_64& order)
        : body_(body),
          order_(order),
          threads_(launch.block.x * launch.block.y * launch.block.z),
          warps_((threads_ + kWarp - 1) / kWarp),
          shared_bytes_(launch.shared_bytes),
          ended_(launch.cluster),
          fibers_(size_t{threads_} * launch.cluster),
          received_(size_t{warps_} * launch.cluster * kWarp * kLaneBytes) {
        for (unsigned rank = 0; rank < launch.cluster; ++rank) {
            shared_.push_back(allocate(shared_bytes_ + kMargin));
            memory_.push_back(shared_.back().get());
            turns_.push_back(rank);
        }
        for (unsigned i = 0; i < fibers_.size(); ++i) {
            const unsigned number = i % threads_;
            fibers_[i].number = number;
            fibers_[i].rank = i / threads_;
            fibers_[i].index = {number % launch.block.x, number / launch.block.x % launch.block.y,
                                number / launch.block.x / launch.block.y};
            if (spare_stacks.empty()) spare_stacks.push_back(allocate(kStackBytes));
            fibers_[i].stack = std::move(spare_stacks.back());
            spare_stacks.pop_back();
        }
    }
    ~Cluster() {  // stacks that were left in the middle of something are not used again
        for (Fiber& fiber : fibers_) {
            if (fiber.state == State::kEnded) spare_stacks.push_back(std::move(fiber.stack));
        }
    }

    // Run those from block `first` of the grid on; the fault that ended them, or nothing.
    std::string run(dim3 first) {
        first_ = first;
        for (unsigned char* memory : memory_) std::memset(memory, kPoison, shared_bytes_ + kMargin);
        counting::begin_blocks(threads_, memory_, shared_bytes_);
        counting::exclude(received_.data(), received_.size());
        hopper::begin_blocks(threads_, memory_, shared_bytes_);
        std::fill(ended_.begin(), ended_.end(), 0);
        std::shuffle(turns_.begin(), turns_.end(), order_);
        for (Fiber& fiber : fibers_) start(fiber);
        std::vector<Fiber*> ready = released();
        while (!ready.empty()) {
            std::shuffle(ready.begin(), ready.end(), order_);
            for (Fiber* fiber : ready) {
                resume(*fiber);
                if (!fault_.empty()) return fault_;
            }
            counting::flush();
            ready = released();
        }
        counting::end_blocks();
        if (fault_.empty()) fault_ = hopper::end_blocks();
        for (const unsigned char* memory : memory_) {
            for (size_t i = 0; i < kMargin; ++i) {
                if (memory[shared_bytes_ + i] != kPoison) fault_ = "write past shared memory";
            }
        }
        return fault_;
    }

    Fiber& current() { return *current_; }
    void* shared() { return memory_[current_->rank]; }
    bool has_ended(unsigned rank) const { return ended_[rank] == threads_; }
    const unsigned char* received(const Fiber& fiber) {  // by its warp
        return received_of(fiber) - fiber.number % kWarp * kLaneBytes;
    }

    // Let the scheduler go on; returns when it comes back to the running fiber.
    void leave(State state) {
        Fiber& fiber = *current_;
        fiber.state = state;
        ended_[fiber.rank] += state == State::kEnded;
#ifdef __SANITIZE_ADDRESS__
        void** save = state == State::kEnded ? nullptr : &fiber.fake_stack;
        __sanitizer_start_switch_fiber(save, scheduler_stack_, scheduler_stack_bytes_);
#endif
        go(fiber.context, scheduler_);
#ifdef __SANITIZE_ADDRESS__
        __sanitizer_finish_switch_fiber(fiber.fake_stack, nullptr, nullptr);
#endif
    }
    void fail(const std::string& message) {
        fault_ = message;
        leave(State::kReady);  // for good
    }

  private:
    static void enter();
    void start(Fiber& fiber) {
        fiber.copies.assign(1, {});
        fiber.fake_stack = nullptr;
        const bool again = kFibersGoOn && fiber.state == State::kEnded;
        fiber.state = State::kBegins;
        if (again) return;
        fiber.context.begun = false;
        ucontext_t& context = fiber.context.first;
        getcontext(&context);
        context.uc_stack.ss_sp = fiber.stack.get();
        context.uc_stack.ss_size = kStackBytes;
        makecontext(&context, &Cluster::enter, 0);
#ifdef __SANITIZE_ADDRESS__
        // Once, and not at each switch: the sanitizer forgets what it guards on the stack of a context
        // that swapcontext enters, all of it, unless the context does not say where its stack is.
        __asan_unpoison_memory_region(fiber.stack.get(), kStackBytes);
        context.uc_stack.ss_size = 0;
#endif
    }
    void resume(Fiber& fiber) {
        current_ = &fiber;
        threadIdx = fiber.index;
        blockIdx = {first_.x + fiber.rank, first_.y, first_.z};
        counting::select_thread(fiber.rank * threads_ + fiber.number, fiber.stack.get(),
                                kStackBytes);
#ifdef __SANITIZE_ADDRESS__
        void* fake_stack;
        __sanitizer_start_switch_fiber(&fake_stack, fiber.stack.get(), kStackBytes);
#endif
        go(scheduler_, fiber.context);
#ifdef __SANITIZE_ADDRESS__
        __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
#endif
        hopper::note_writes(fiber.rank, fiber.number);
    }

    // Those that can go on, after all have ended or wait. Nobody, and a fault: they never will.
    std::vector<Fiber*> released() {
        std::vector<Fiber*> result;
        for (unsigned& rank : turns_) {
            result = released_of(rank);
            if (result.empty()) continue;
            std::swap(rank, turns_.front());  // this block goes on as long as it can
            break;
        }
        if (result.empty()) result = released_together();
        if (!fault_.empty()) return {};
        for (Fiber* fiber : result) {
            if (fiber->state == State::kInWarp) {
                std::memcpy(received_of(*fiber), fiber->deposit, kLaneBytes);
            }
        }
        for (Fiber* fiber : result) fiber->state = State::kReady;
        return result;
    }

    // Of one block.
    std::vector<Fiber*> released_of(unsigned rank) {
        std::vector<Fiber*> result;
        Fiber* const first = &fibers_[rank * threads_];
        for (Fiber* warp = first; warp < first + threads_; warp += kWarp) {
            const unsigned lanes = std::min<size_t>(kWarp, first + threads_ - warp);
            unsigned together = 0;  // lanes that go on, as all that they wait for are here
            for (unsigned lane = 0; lane < lanes; ++lane) {
                Fiber& fiber = warp[lane];
                if (fiber.state == State::kInWarp && (together >> lane & 1) == 0 &&
                    lanes_are_here(fiber, warp, lanes)) {
                    together |= fiber.mask;
                }
                if (fiber.state == State::kBegins || (together >> lane & 1) != 0 ||
                    (fiber.state == State::kUntil && (*fiber.done)())) {
                    result.push_back(&fiber);
                }
            }
        }
        if (result.empty() && all_are(State::kAtBarrier, first, threads_)) {
            result = of_barrier(first, threads_, "block");
        }
        return result;
    }

    // Where no block can go on by itself. What goes on without a thread does so as late as it can.
    std::vector<Fiber*> released_together() {
        if (all_are(State::kAtClusterBarrier, fibers_.data(), fibers_.size())) {
            std::shuffle(turns_.begin(), turns_.end(), order_);
            return of_barrier(fibers_.data(), fibers_.size(), "cluster");
        }
        if (all_are(State::kEnded, fibers_.data(), fibers_.size())) return {};
        if (hopper::progress(order_)) {
            std::shuffle(turns_.begin(), turns_.end(), order_);
            return released();
        }
        fault_ = stuck();
        return {};
    }

    static bool all_are(State state, const Fiber* first, size_t count) {
        return std::all_of(first, first + count, [&](const Fiber& f) { return f.state == state; });
    }

    // All of them, which wait at a barrier; a fault if it is not the same one.
    std::vector<Fiber*> of_barrier(Fiber* first, size_t count, const std::string& whose) {
        counting::note_barrier();
        std::vector<Fiber*> result;
        for (Fiber* fiber = first; fiber < first + count; ++fiber) {
            if (!same(fiber->place, first->place)) {
                fault_ = "threads of a " + whose +
                         " wait at different barriers: " + text(fiber->place) + " and " +
                         text(first->place);
            }
            result.push_back(fiber);
        }
        return result;
    }

    unsigned char* received_of(const Fiber& fiber) {
        return &received_[(fiber.rank * warps_ * kWarp + fiber.number) * kLaneBytes];
    }

    // Whether all lanes of its mask wait in the same place for the same lanes, itself among them.
    static bool lanes_are_here(const Fiber& fiber, const Fiber* warp, unsigned lanes) {
        if (lanes < kWarp && fiber.mask >> lanes != 0) return false;
        for (unsigned lane = 0; lane < lanes; ++lane) {
            if ((fiber.mask >> lane & 1) == 0) continue;
            const Fiber& other = warp[lane];
            if (other.state != State::kInWarp || other.mask != fiber.mask) return false;
            if (!same(other.place, fiber.place)) return false;
        }
        return (fiber.mask >> fiber.number % kWarp & 1) != 0;
    }

    std::string stuck() const {
        for (const Fiber& fiber : fibers_) {
            if (fiber.state == State::kInWarp) {
                return "not all lanes of the mask come to " + text(fiber.place);
            }
        }
        for (const Fiber& fiber : fibers_) {
            if (fiber.state == State::kUntil) {
                return std::string("what is waited for at ") + text(fiber.place) +
                       " never comes: " + fiber.awaited;
            }
        }
        for (const Fiber& fiber : fibers_) {
            if (fiber.state == State::kAtBarrier || fiber.state == State::kAtClusterBarrier) {
                const char* whose = fiber.state == State::kAtBarrier ? "block" : "cluster";
                return std::string("not all threads of the ") + whose + " come to the barrier at " +
                       text(fiber.place);
            }
        }
        return "nothing waits";  // unreachable
    }

    const std::function<void()>& body_;
    std::mt19937_64& order_;
    unsigned threads_, warps_;  // of a block
    size_t shared_bytes_;
    std::vector<Memory> shared_;  // of each block
    std::vector<unsigned char*> memory_;
    std::vector<unsigned> turns_;          // ranks; the first goes on for as long as it can
    std::vector<unsigned> ended_;          // threads of each block
    dim3 first_;                           // block of the cluster
    std::vector<Fiber> fibers_;            // block by block
    std::vector<unsigned char> received_;  // of each thread, in its warp's last exchange
    Fiber* current_ = nullptr;
    Context scheduler_;
    const void* scheduler_stack_ = nullptr;
    size_t scheduler_stack_bytes_ = 0;
    std::string fault_;
};

std::mutex one_launch;
std::mt19937_64 generator(1);
Cluster* running = nullptr;
std::string fault;

void Cluster::enter() {
    Cluster& cluster = *running;
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(nullptr, &cluster.scheduler_stack_,
                                    &cluster.scheduler_stack_bytes_);
#endif
    do {
        cluster.body_();
        cluster.leave(State::kEnded);
    } while (kFibersGoOn);
}

}  // namespace

int lane() { return static_cast<int>(running->current().number % kWarp); }
unsigned thread_number() { return running->current().number; }
unsigned block_rank() { return running->current().rank; }
bool has_ended(unsigned rank) { return running->has_ended(rank); }
void fail(const std::string& message) {
    running->fail(message);
    std::abort();  // a launch that failed is not gone on with
}
void* shared_memory() { return running->shared(); }
void set_seed(uint64_t seed) { generator.seed(seed); }
const char* last_fault() { return fault.c_str(); }

bool is_possible(const Launch& launch) {
    const auto outside = [](dim3 size, unsigned x, unsigned y, unsigned z) {
        return size.x == 0 || size.y == 0 || size.z == 0 || size.x > x || size.y > y || size.z > z;
    };
    const dim3 b = launch.block;
    if (launch.cluster > 1 && (launch.cluster > 8 || launch.grid.x % launch.cluster != 0 ||
                               b.x * b.y * b.z % kWarp != 0 || device_attribute(1) < 9)) {
        return false;  // of clusters' blocks, whole warps are what counting can tell apart
    }
    return launch.cluster > 0 && !outside(launch.grid, 0x7fffffff, 0xffff, 0xffff) &&
           !outside(b, 1024, 1024, 64) && size_t{b.x} * b.y * b.z <= 1024 &&
           launch.shared_bytes <= kMostShared;
}

bool run(const Launch& launch, const std::function<void()>& body) {
    const std::lock_guard<std::mutex> lock(one_launch);
    Cluster cluster(launch, body, generator);
    running = &cluster;
    blockDim = launch.block;
    gridDim = launch.grid;
    fault.clear();
    std::vector<size_t> order(size_t{launch.grid.x} / launch.cluster * launch.grid.y *
                              launch.grid.z);
    std::iota(order.begin(), order.end(), size_t{0});
    counting::begin_launch(launch);
    const size_t clusters = counting::clusters_to_run(order.size());
    for (size_t i = 0; i < clusters; ++i) {
        order[i] = order[(2 * i + 1) * order.size() / (2 * clusters)];
    }
    if (clusters == 1) {  // the middle of each axis: half of an even number of lines begins a line
        const dim3& n = launch.grid;
        const size_t across = n.x / launch.cluster;
        order[0] = (size_t{n.z / 2} * n.y + n.y / 2) * across + across / 2;
    }
    order.resize(clusters);
    std::shuffle(order.begin(), order.end(), generator);
    for (const size_t number : order) {
        const size_t block = number * launch.cluster, line = block / launch.grid.x;
        fault = cluster.run({static_cast<unsigned>(block % launch.grid.x),
                             static_cast<unsigned>(line % launch.grid.y),
                             static_cast<unsigned>(line / launch.grid.y)});
        if (!fault.empty()) break;
    }
    running = nullptr;
    return fault.empty();
}

void note_product() { counting::note_warp_product(); }
void note_shuffle() { counting::note_shuffle(); }

void wait_for_block(Place place) {
    running->current().place = place;
    running->leave(State::kAtBarrier);
}

void wait_for_cluster(Place place) {
    running->current().place = place;
    running->leave(State::kAtClusterBarrier);
}

void wait_for_warp(unsigned mask, Place place) { deposit(mask, nullptr, 0, place); }

void wait_until(const std::function<bool()>& done, const char* what, Place place) {
    Fiber& fiber = running->current();
    fiber.place = place;
    fiber.done = &done;
    fiber.awaited = what;
    running->leave(State::kUntil);
}

const unsigned char* deposit(unsigned mask, const void* value, size_t size, Place place) {
    Fiber& fiber = running->current();
    fiber.place = place;
    fiber.mask = mask;
    if (size > 0) std::memcpy(fiber.deposit, value, size);
    running->leave(State::kInWarp);
    return running->received(fiber);
}

void start_copy(void* target, const void* source, size_t bytes, bool through_l1) {
    const auto misaligned = [&](const void* p) { return reinterpret_cast<uintptr_t>(p) % bytes; };
    if (misaligned(target) || misaligned(source)) {
        running->fail("asynchronous copy of " + std::to_string(bytes) + " bytes is not aligned");
    }
    std::memset(target, kPoison, bytes);
    const void* instruction = __builtin_return_address(0);
    if (source) counting::note(source, bytes, false, true, instruction, through_l1);
    counting::note(target, bytes, true, true, instruction);
    counting::note_copy_started(bytes);
    running->current().copies.back().push_back({target, source, bytes});
}

void commit_copies() { running->current().copies.emplace_back(); }

void wait_for_copies(int groups) {
    auto& copies = running->current().copies;
    size_t arrived = 0;
    for (; copies.size() > static_cast<size_t>(groups) + 1; copies.pop_front()) {
        for (const Copy& copy : copies.front()) {
            arrived += copy.bytes;
            if (copy.source) {
                std::memcpy(copy.target, copy.source, copy.bytes);
            } else {
                std::memset(copy.target, 0, copy.bytes);
            }
        }
    }
    counting::note_wait(arrived);
}

}  // namespace emulation
