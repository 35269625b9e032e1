"""What tasks of parallel regions take on one thread, and from that what they would take on many.

`scaling_model.py` is the script, and says what the model knows and what it doesn't.
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_left
from collections import Counter
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
from alexnet.comparison.peaks import BLOCK_BYTES
from alexnet.network.plan import Step
from alexnet.network.replay import Recording

QUEUES = 64  # kMostQueues of cpp/cpu/parallel.h
OUTSIDE = "loss and update"  # the label of regions that are no layer's


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
    """Take each task and each gap at its fastest, of steps of one network.

    Steps with other regions than most are left out: Winograd leaves an image to the direct
    algorithm where its rounding could show, and dropout decides anew in each step whether it could.
    """
    kinds = Counter(map(_regions, profiles))
    usual = kinds.most_common(1)[0][0]
    alike = [profile for profile in profiles if _regions(profile) == usual]
    regions = []
    for same in zip(*(profile.regions for profile in alike), strict=True):
        tasks = zip(*(region.tasks for region in same), strict=True)
        regions.append(replace(same[0], tasks=tuple(map(min, tasks))))
    gaps = zip(*(profile.gaps for profile in alike), strict=True)
    return Profile(tuple(regions), tuple(map(min, gaps)))


def _regions(profile: Profile) -> tuple[tuple[int, int, int], ...]:
    return tuple((region.call, region.team, len(region.tasks)) for region in profile.regions)


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
