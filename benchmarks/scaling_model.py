"""How a network's step would scale to many cores, computed from what its tasks take on one.

    python benchmarks/scaling_model.py
    python benchmarks/scaling_model.py tf-tutorial --threads 16,64 --memory-bandwidth 200

The kernels cut each parallel region into tasks, deal them out in contiguous ranges, and let a
thread that is done take tasks of the others. One thread does all tasks here, cut for each number of
threads in turn, and notes the processor time of each (the minimum over the repetitions); then the
same dealing out is simulated. To that come what a region takes to begin and to end, and what is
serial: C++ between the regions of a kernel, and Python between kernels. With more than two threads
a region is taken to cost as much as with two, times log2 of their number. Python takes the longer
the more the kernels have driven out of the core's caches; it's recorded in steps of as few images
as each thread has, at least one.

What the model doesn't know: caches and memory that cores share (but for --memory-bandwidth: no
layer takes less than its arrays once through memory), sockets, two threads on one core, clocks that
fall with the number of busy cores, and other work on the machine. One core does all tasks, so it
finds in its caches what another would have to fetch, and sets up once what each thread would for
itself. So it says how much of a loss is the partition's; benchmarks/scaling.py measures the rest.
"""

from __future__ import annotations

import argparse
import heapq
import math
import os
import sys
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from time import perf_counter, thread_time
from typing import Any

import numpy as np

import alexnet
from alexnet import _cpu
from alexnet.commands.console import print_table
from alexnet.comparison.benchmark import FORWARD, FORWARD_BACKWARD
from alexnet.comparison.cases import NETWORK_TARGETS, TRAINING_STEP, NetworkCase
from alexnet.comparison.peaks import BLOCK_BYTES, measure_peaks
from alexnet.comparison.peers.ours import Alexnet
from alexnet.network.plan import Step
from alexnet.network.replay import Recording
from alexnet.network.variants import VARIANTS, variant_named

VARIANTS_SHOWN = ("tf-tutorial", "tf-full", "cifar10-bn")
THREADS = "1,2,4,8,16,32,64"
QUEUES = 64  # kMostQueues of cpp/cpu/parallel.h
OUTSIDE = "loss and update"  # the label of regions that are no layer's
PEAK_BYTES = 2**26
HEADER = (
    *("threads", "ms", "times as fast", "efficiency %", "lost %: tasks", "regions", "serial"),
    "memory",
)
LOSSES_HEADER = ("region", "tasks", "longest us", "share us", "takes us", "lost us", "% of step")


@dataclass(frozen=True)
class Region:
    """A parallel region of a call of a kernel; seconds of its tasks, dealt out to a team."""

    call: int
    team: int
    tasks: tuple[float, ...]


@dataclass(frozen=True)
class Profile:
    """A step on one thread: its regions, and the seconds before, between and after them."""

    regions: tuple[Region, ...]
    gaps: tuple[float, ...]

    @property
    def seconds(self) -> float:
        """All of it, one after the other."""
        return sum(self.gaps) + self.work

    @property
    def work(self) -> float:
        """All tasks."""
        return sum(sum(region.tasks) for region in self.regions)

    @property
    def inside_kernels(self) -> float:
        """Gaps between two regions of the same call."""
        inside = zip(pairwise(self.regions), self.gaps[1:-1], strict=True)
        return sum(gap for (before, after), gap in inside if before.call == after.call)


@dataclass(frozen=True)
class Layer:
    """What the regions from one number to another belong to, and the bytes of its arrays."""

    name: str
    regions: range
    bytes: int


@dataclass(frozen=True)
class Machine:
    """Seconds that a region of two threads begins and ends in; bytes a second, 0: not known."""

    region_seconds: float
    bandwidth: float = 0

    def region_cost(self, threads: int) -> float:
        """Seconds to begin and to end a region of a team."""
        return self.region_seconds * math.log2(threads) if threads > 1 else 0.0


@dataclass(frozen=True)
class Prediction:
    """Seconds of a step on some threads, and where they go; `tasks` is what threads wait for."""

    threads: int
    work: float
    tasks: float
    regions: float
    serial: float
    memory: float

    @property
    def seconds(self) -> float:
        """The whole step."""
        return self.work / self.threads + self.tasks + self.regions + self.serial + self.memory


# --- recording --------------------------------------------------------------------------------


@cache
def clock_seconds() -> float:
    """Measure what it takes to read the clock, which every task's time has in it."""
    times = [thread_time() for _ in range(1000)]
    return min(after - before for before, after in pairwise(times))


def _between(times: Iterable[tuple[float, float]]) -> tuple[float, ...]:
    return tuple(max(after - before - clock_seconds(), 0.0) for before, after in times)


def record_once(run: Callable[[], object]) -> Profile:
    """Record what `run` does on this thread; its tasks are cut for `get_num_threads()` threads."""
    _cpu.start_task_times()
    try:
        begin = thread_time()
        run()
        end = thread_time()
    finally:
        regions = _cpu.stop_task_times()
    borders = [begin, *(time for *_, times in regions for time in (times[0], times[-1])), end]
    return Profile(
        tuple(Region(call, team, _between(pairwise(times))) for call, team, times in regions),
        _between(zip(borders[::2], borders[1::2], strict=True)),
    )


def fastest(profiles: Sequence[Profile]) -> Profile:
    """Take each task and each gap at its fastest; the profiles are of the same step."""
    regions = []
    for same in zip(*(profile.regions for profile in profiles), strict=True):
        tasks = zip(*(region.tasks for region in same), strict=True)
        regions.append(replace(same[0], tasks=tuple(map(min, tasks))))
    gaps = zip(*(profile.gaps for profile in profiles), strict=True)
    return Profile(tuple(regions), tuple(map(min, gaps)))


def find_layers(run: Callable[[], object]) -> list[Layer]:
    """Find which regions of a step are which layer's, on as many threads as are set.

    The step is made layer by layer, as in its first run; others make its calls again by a replay.
    """
    passes: list[tuple[str, int, float, float]] = []  # with begin and end

    def note(step: Step, direction: str, call: Callable[[], Any], arrays: Sequence[Any]) -> Any:
        begin = thread_time()
        result = call()
        end = thread_time()
        name = "+".join(layer.name for layer in step.layers)
        passes.append(
            (f"{name} {direction}", _bytes(step, direction, [*arrays, result]), begin, end)
        )
        return result

    _cpu.start_task_times()
    try:
        with _observed_steps(note):
            run()
    finally:
        begins = [times[0] for *_, times in _cpu.stop_task_times()]
    return [
        Layer(name, range(bisect_left(begins, begin), bisect_left(begins, end)), size)
        for name, size, begin, end in passes
    ]


def _bytes(step: Step, direction: str, arrays: Sequence[Any]) -> int:
    """Of the arrays that a pass of a step reads or writes at least, once each."""
    weights = sum(w.nbytes for context in step.contexts for w in context.parameters.values())
    if direction == "backward":
        arrays, weights = [*arrays, step.contexts[0].x], 2 * weights  # and their gradients
    return weights + sum(array.nbytes for array in arrays if array is not None)


@contextmanager
def _observed_steps(note: Callable[..., Any]) -> Iterator[None]:
    """Call note(step, direction, call, arrays) in the place of every step of a plan.

    No recording of earlier calls is made again meanwhile.
    """
    forward, backward, make = Step.forward, Step.backward, Recording.make

    def observed_forward(step: Step, x: Any, out: Any, training: bool) -> Any:
        return note(step, "forward", lambda: forward(step, x, out, training), [x])

    def observed_backward(step: Step, dy: Any, dx: Any) -> Any:
        return note(step, "backward", lambda: backward(step, dy, dx), [dy])

    Step.forward, Step.backward = observed_forward, observed_backward  # type: ignore[method-assign]
    Recording.make = lambda *_: False  # type: ignore[method-assign]
    try:
        yield
    finally:
        Step.forward, Step.backward = forward, backward  # type: ignore[method-assign]
        Recording.make = make  # type: ignore[method-assign]


def region_seconds(repetitions: int = 50_000) -> float:
    """Measure what a region of two threads takes to begin and to end, the fastest of many.

    On a busy machine the two seldom run at the same time.
    """
    memory = np.zeros(3 * BLOCK_BYTES // 4, np.float32)
    first = -memory.ctypes.data % BLOCK_BYTES // 4
    nothing = memory[first : first + 2 * BLOCK_BYTES // 4]  # a block for each thread
    fastest_seconds = []
    for threads in (1, 2):
        alexnet.set_num_threads(threads)
        times = []
        for _ in range(repetitions):
            begin = perf_counter()
            _cpu.read_loop(nothing)
            times.append(perf_counter() - begin)
        fastest_seconds.append(min(times))
    return max(fastest_seconds[1] - fastest_seconds[0], 0.0)


# --- the model --------------------------------------------------------------------------------


def makespan(tasks: Sequence[float], team: int) -> float:
    """Seconds until the last task is done, dealt out to a team as cpp/cpu/parallel.h does."""
    queues = min(team, QUEUES)
    following = [len(tasks) * i // queues for i in range(queues)]
    ends = [len(tasks) * (i + 1) // queues for i in range(queues)]
    done = 0.0
    free = [(0.0, thread) for thread in range(team)]  # when a thread asks for a task
    tried = [0] * team  # how many queues it has found empty, its own first
    while free:
        now, thread = heapq.heappop(free)
        done = max(done, now)
        while tried[thread] < queues:
            queue = (thread + tried[thread]) % queues
            if following[queue] < ends[queue]:
                heapq.heappush(free, (now + tasks[following[queue]], thread))
                following[queue] += 1
                break
            tried[thread] += 1
    return done


def predict(
    profile: Profile, layers: Sequence[Layer], threads: int, machine: Machine, serial: float
) -> Prediction:
    """Compute a step on `threads` threads, from a profile whose tasks are cut for as many."""
    spans = [makespan(region.tasks, region.team) for region in profile.regions]
    costs = [machine.region_cost(threads) * (region.team > 1) for region in profile.regions]
    memory = 0.0
    for layer in layers if machine.bandwidth else ():
        takes = sum(spans[number] + costs[number] for number in layer.regions)
        memory += max(layer.bytes / machine.bandwidth - takes, 0.0)
    return Prediction(
        threads=threads,
        work=profile.work,
        tasks=sum(spans) - profile.work / threads,
        regions=sum(costs),
        serial=serial,
        memory=memory,
    )


@dataclass(frozen=True)
class Loss:
    """A region that keeps threads waiting: its share is what each would do of it at best."""

    name: str
    tasks: int
    longest: float
    share: float
    takes: float

    @property
    def lost(self) -> float:
        """Seconds more than at best."""
        return self.takes - self.share


def losses(profile: Profile, layers: Sequence[Layer], threads: int, machine: Machine) -> list[Loss]:
    """Every region and what it loses, the largest loss first."""
    names = {
        number: f"{layer.name} {index + 1}/{len(layer.regions)}"
        for layer in layers
        for index, number in enumerate(layer.regions)
    }
    found = [
        Loss(
            names.get(number, OUTSIDE),
            len(region.tasks),
            max(region.tasks, default=0.0),
            sum(region.tasks) / threads,
            makespan(region.tasks, region.team) + machine.region_cost(threads) * (region.team > 1),
        )
        for number, region in enumerate(profile.regions)
    ]
    return sorted(found, key=lambda loss: -loss.lost)


# --- a network --------------------------------------------------------------------------------


class PreparedStep:
    """A case made ready."""

    def __init__(self, case: NetworkCase) -> None:
        peer = Alexnet(1)
        self.run = peer.prepare(case, peer.modes(case)[0], case.operands()).run

    def layers(self, threads: int) -> list[Layer]:
        """Layers and their regions, whose number may depend on that of the threads."""
        alexnet.set_num_threads(threads)
        return find_layers(self.run)

    def record(self, threads: Sequence[int], repetitions: int) -> dict[int, Profile]:
        """Record steps whose tasks are cut for each number of threads, in turns."""
        kept: dict[int, list[Profile]] = {count: [] for count in threads}
        for repetition in range(repetitions + 1):
            for count in threads:
                alexnet.set_num_threads(count)
                profile = record_once(self.run)
                if repetition > 0:  # the first makes room in memory
                    kept[count].append(profile)
        return {count: fastest(profiles) for count, profiles in kept.items()}

    def fastest_step(self, threads: int, repetitions: int) -> float:
        """Measure steps as they are, in seconds."""
        alexnet.set_num_threads(threads)
        times = []
        for _ in range(repetitions):
            begin = perf_counter()
            self.run()
            times.append(perf_counter() - begin)
        return min(times)


class Model:
    """What a case takes on each number of threads; the profiles are those of all its images."""

    def __init__(self, case: NetworkCase, threads: Sequence[int], repetitions: int) -> None:
        self.case, self.threads = case, threads
        step = PreparedStep(case)
        self.layers = {count: step.layers(count) for count in threads}
        first = step.fastest_step(2, 3 * repetitions)
        self.profiles = step.record(threads, repetitions)
        self.measured = min(first, step.fastest_step(2, 3 * repetitions))
        images = {count: -(-case.batch_size // count) for count in threads}
        python = {size: self._between_kernels(size, repetitions) for size in {*images.values()}}
        self.python = {count: python[size] for count, size in images.items()}

    def _between_kernels(self, images: int, repetitions: int) -> float:
        step = PreparedStep(replace(self.case, batch_size=images))
        profile = step.record([1], repetitions)[1]
        return sum(profile.gaps) - profile.inside_kernels

    def prediction(self, threads: int, machine: Machine) -> Prediction:
        """Compute what a step takes."""
        profile = self.profiles[threads]
        serial = profile.inside_kernels + self.python[threads]
        return predict(profile, self.layers[threads], threads, machine, serial)


def rows(predictions: Sequence[Prediction], one: float) -> list[list[str]]:
    """Make a line for each number of threads; `one` is the seconds of a step on one."""
    lines = []
    for p in predictions:
        parts = (p.tasks, p.regions, p.serial * (1 - 1 / p.threads), p.memory)
        lines.append(
            [
                str(p.threads),
                f"{p.seconds * 1e3:.2f}",
                f"{one / p.seconds:.1f}",
                f"{100 * one / p.seconds / p.threads:.0f}",
                *(f"{100 * part / p.seconds:.1f}" for part in parts),
            ]
        )
    return lines


def show(model: Model, machine: Machine, most_losses: int) -> None:
    """Print the tables of a case."""
    predictions = [model.prediction(threads, machine) for threads in model.threads]
    one = predictions[0].seconds
    print(f"\n{model.case.name}, {one * 1e3:.1f} ms on one thread")
    print_table(sys.stdout, HEADER, rows(predictions, one), right=range(len(HEADER)))
    two = next((p for p in predictions if p.threads == 2), None)
    if two is not None:
        print(
            f"two threads: model {two.seconds * 1e3:.2f} ms, measured {model.measured * 1e3:.2f} "
            f"(the fastest step), model / measured {two.seconds / model.measured:.2f}"
        )
    for prediction in predictions:
        if prediction.threads < 16 or most_losses == 0:
            continue
        threads = prediction.threads
        worst = losses(model.profiles[threads], model.layers[threads], threads, machine)[
            :most_losses
        ]
        lines = [
            [
                loss.name,
                str(loss.tasks),
                *(f"{1e6 * s:.0f}" for s in (loss.longest, loss.share, loss.takes, loss.lost)),
                f"{100 * loss.lost / prediction.seconds:.1f}",
            ]
            for loss in worst
        ]
        print(f"what loses most with {threads} threads")
        print_table(sys.stdout, LOSSES_HEADER, lines, right=range(1, len(LOSSES_HEADER)))


def default_targets(name: str) -> tuple[str, ...]:
    """Forward, and a training step where the network ends in classes."""
    has_classes = len(variant_named(name).output_shape) == 1
    return FORWARD, TRAINING_STEP if has_classes else FORWARD_BACKWARD


def numbers(text: str) -> list[int]:
    """The numbers of a list such as "1,2,4"."""
    return [int(part) for part in text.split(",")]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("variants", nargs="*", metavar="VARIANT", help="default: three of them")
    parser.add_argument("--batch-size", type=int, default=32, metavar="N")
    parser.add_argument("--target", metavar="T,...", help="default: forward and a training step")
    parser.add_argument("--threads", type=numbers, default=THREADS, metavar="N,...")
    parser.add_argument("--repetitions", type=int, default=10, metavar="R")
    parser.add_argument("--losses", type=int, default=8, metavar="N", help="regions to name")
    parser.add_argument(
        "--memory-bandwidth", type=float, default=0.0, metavar="GB/S", help="of the whole machine"
    )
    parser.add_argument(
        "--region-us", type=float, default=0.0, metavar="US", help="of two threads; else measured"
    )
    options = parser.parse_args(arguments)
    names = options.variants or VARIANTS_SHOWN
    if unknown := set(names) - set(VARIANTS):
        parser.error(f"{min(unknown)!r} is no variant: {', '.join(VARIANTS)}")
    if min(*options.threads, options.repetitions, options.batch_size) < 1:
        parser.error("--threads, --repetitions and --batch-size are at least 1")
    if min(options.losses, options.memory_bandwidth, options.region_us) < 0:
        parser.error("--losses, --memory-bandwidth and --region-us are at least 0")
    try:
        cases = [
            NetworkCase(variant_named(name), target, options.batch_size)
            for name in names
            for target in (options.target.split(",") if options.target else default_targets(name))
        ]
    except ValueError as error:
        parser.error(str(error))
    if unknown := {case.target for case in cases} - set(NETWORK_TARGETS):
        parser.error(f"--target: {min(unknown)!r}, expected some of {','.join(NETWORK_TARGETS)}")
    threads = sorted({1, *options.threads})
    copies = [measure_peaks(count, array_bytes=PEAK_BYTES).copy_gbs for count in (1, 2)]
    region = 1e-6 * options.region_us if options.region_us else region_seconds()
    machine = Machine(region, options.memory_bandwidth * 1e9)
    bandwidth = f"{options.memory_bandwidth:g} GB/s" if options.memory_bandwidth else "no bound"
    print(
        f"{len(os.sched_getaffinity(0))} processors, {alexnet.cpu_isa()}, load average "
        f"{os.getloadavg()[0]:.1f}; a region of two threads begins and ends in "
        f"{machine.region_seconds * 1e6:.1f} us, of n in log2(n) times that\n"
        f"copy with one thread {copies[0]:.0f} GB/s, with two {copies[1]:.0f}; memory in the "
        f"model: {bandwidth}",
        flush=True,
    )
    for case in cases:
        show(Model(case, threads, options.repetitions), machine, options.losses)
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
