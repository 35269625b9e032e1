// Whether a machine has other work to do, as a team's caller sees it: from the time for which it had
// no processor while it computed. Windows of 40 ms of computing are judged, each by itself.
//
// Involuntary switches of the thread (getrusage) would be cheaper to count, but a quiet machine has
// them, too, and they don't say how long they took.

#ifndef ALEXNET_CPU_LOAD_WATCH_H_
#define ALEXNET_CPU_LOAD_WATCH_H_

#include "waiting.h"

namespace alexnet::cpu {

class LoadWatch {
  public:
    // Around the caller's own work of every region. It does not sleep there, so what is missing of
    // its processor time was taken from it.
    void begin() {
        began_ = wall_time();
        had_ = processor_time();
    }
    void end() {
        const Nanoseconds now = wall_time(), took = now - began_;
        if (now < oversubscribed_until_) return;
        computing_ += took;
        if (took >= kShortest) taken_ += took - (processor_time() - had_);
        if (computing_ >= kWindow) decide(now);
    }

    // Others take so much that a thread that looks stands in the way of the one it waits for.
    bool busy() const { return busy_; }
    // They take so much that a team of its size hardly ever has two threads running.
    bool oversubscribed(Nanoseconds now) const { return now < oversubscribed_until_; }
    Nanoseconds began() const { return began_; }

  private:
    void decide(Nanoseconds now) {
        busy_ = taken_ * kBusyOneIn > computing_;
        oversubscribed_windows_ =
            taken_ * 100 > computing_ * kOversubscribedPercent ? oversubscribed_windows_ + 1 : 0;
        if (oversubscribed_windows_ >= kLasting) oversubscribed_until_ = now + kOversubscribedFor;
        computing_ = taken_ = 0;
    }

    static constexpr Nanoseconds kMillisecond = 1'000'000;
    // A shorter region is not looked at: others keep a processor longer once they have it.
    static constexpr Nanoseconds kShortest = kMillisecond / 2;
    static constexpr Nanoseconds kWindow = 40 * kMillisecond;  // several time slices
    static constexpr int kBusyOneIn = 5, kOversubscribedPercent = 65;
    static constexpr int kLasting = 3;  // windows one after the other
    // Then it is looked again, without what is done against it.
    static constexpr Nanoseconds kOversubscribedFor = 400 * kMillisecond;

    Nanoseconds began_ = 0, had_ = 0, computing_ = 0, taken_ = 0, oversubscribed_until_ = 0;
    int oversubscribed_windows_ = 0;
    bool busy_ = false;
};

}  // namespace alexnet::cpu

#endif  // ALEXNET_CPU_LOAD_WATCH_H_
