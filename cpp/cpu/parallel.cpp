#include "parallel.h"

#include <pthread.h>

#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "alexnet/size.h"
#include "team.h"

namespace alexnet::cpu {
namespace {

#if defined(_OPENMP)

// Held while threads are tried and started: two that try at once would count the same ones.
std::mutex starting;

// The calling thread's team, and how many threads it was to have; made by its first kernel that has
// work for several, and ended with the thread. It stays as large as num_threads() says also where a
// kernel needs fewer.
struct OwnTeam {
    std::unique_ptr<Team> team;
    int wanted = 1;
    bool reserve_tried = false;
};
thread_local OwnTeam* own_team = nullptr;

// Ends a team with its thread, but not at the end of the process, when others may still compute.
void end_with_thread(OwnTeam* own) {
    static const pthread_key_t key = [] {
        pthread_key_t made;
        const auto end = [](void* ended) {
            own_team = nullptr;
            delete static_cast<OwnTeam*>(ended);
        };
        if (pthread_key_create(&made, end) != 0) throw OutOfMemory();
        return made;
    }();
    if (pthread_setspecific(key, own) != 0) throw OutOfMemory();
}

// A fork copies the team but not its threads, so a child starts a team of its own. Its one thread
// runs the handler. What it leaves behind is small, and could not be ended: there is nobody to join.
const int fork_handler = pthread_atfork([] { starting.lock(); }, [] { starting.unlock(); },
                                        [] {
                                            starting.unlock();
                                            Team::forget_all();
                                            if (own_team) (void)own_team->team.release();
                                        });

// How many threads the system lets this process start at once, at most `wanted`. The runtimes of
// OpenMP end the process where they can't start one (limits of processes, of a container's tasks,
// of address space), so as many are started here first.
int startable(int wanted) {
    std::mutex gate;
    std::vector<std::thread> trials;
    std::vector<long> ids;
    try {
        const std::lock_guard<std::mutex> closed(gate);
        ids.resize(static_cast<size_t>(wanted));
        trials.reserve(ids.size());
        for (long& id : ids) {
            trials.emplace_back([&gate, &id] {
                id = own_thread_id();
                const std::lock_guard<std::mutex> pass(gate);
            });
        }
    } catch (const std::exception&) {  // no memory, or no thread
    }
    for (std::thread& trial : trials) trial.join();
    wait_until_gone(ids);
    return static_cast<int>(trials.size());
}

// How many threads beyond the team an oversubscribed machine gets (Team::run). Two processors, eight busy
// processes, a step of cifar10-bn: 175 ms without, 90 with one, 40 with three, 28 with five.
constexpr int kReserve = 5;

void make_team(OwnTeam& own, int wanted, int reserve) {
    own.team.reset();
    own.wanted = wanted;
    own.reserve_tried = reserve > 0;
    const std::lock_guard<std::mutex> alone(starting);
    const int members = startable(wanted - 1 + reserve), size = std::min(wanted, members + 1);
    own.team = std::make_unique<Team>(size, members + 1 - size);
}

// The calling thread's; throws std::bad_alloc.
Team& own_team_of(int wanted) {
    if (own_team == nullptr) {
        auto made = std::make_unique<OwnTeam>();
        end_with_thread(made.get());
        own_team = made.release();
    }
    OwnTeam& own = *own_team;
    if (wanted != own.wanted || own.team == nullptr) make_team(own, wanted, 0);
    if (!own.reserve_tried && own.team->wants_reserve()) make_team(own, wanted, kReserve);
    return *own.team;
}

#endif  // _OPENMP

}  // namespace

void run_team(int threads, void (*body)(void*, int, int), void* context) {
#if defined(_OPENMP)
    if (threads > 1) {
        if (Team& team = own_team_of(num_threads()); team.size() > 1) {
            return team.run(threads, body, context);
        }
    }
#endif
    (void)threads;
    body(context, 0, 1);
}

}  // namespace alexnet::cpu
