"""Times of work on the device: medians of events around launches, ours and PyTorch's alike.

Short work is captured in a CUDA graph many times over, with other arrays each time: so no time that
Python takes is in a figure, and no operand is in L2 from the time before.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from gpu_stages.setting import Setting

ROTATED_BYTES = 160 << 20  # of arrays that are gone through before the first comes again
MOST_SETS = 16
GRAPH_SECONDS = 2e-3  # that a graph of repeated work takes at least
BUDGET_SECONDS = 0.15  # of a figure's measured launches
LEAST, MOST = 5, 30  # launches

Call = Callable[[], Any]


def sets_for(setting: Setting, size: int) -> int:
    """How many sets of arrays of so many bytes are more than L2 holds."""
    return 2 if setting.dry_run else max(2, min(MOST_SETS, -(-ROTATED_BYTES // max(size, 1))))


def spread(seconds: Sequence[float], each: int = 1) -> dict[str, Any]:
    """Median, least and most of some runs of `each` calls, by call."""
    by_call = [value / each for value in seconds]
    return {
        "median": statistics.median(by_call),
        "least": min(by_call),
        "most": max(by_call),
        "runs": len(by_call),
    }


def runs_within(setting: Setting, first: float, budget: float) -> int:
    """How many runs of about `first` seconds are measured."""
    return 2 if setting.dry_run else max(LEAST, min(MOST, int(budget / max(first, 1e-6))))


def _measured(
    setting: Setting, timed: Callable[[], float], budget: float = BUDGET_SECONDS
) -> list[float]:
    timed()
    return [timed() for _ in range(runs_within(setting, timed(), budget))]


# --- ours -----------------------------------------------------------------------------------------


def our_launch(setting: Setting, run: Call, budget: float = BUDGET_SECONDS) -> list[float]:
    """Seconds of each of some runs, by CuPy's events on the current stream."""
    cuda = setting.cupy.cuda

    def timed() -> float:
        begin, end = cuda.Event(), cuda.Event()
        begin.record()
        run()
        end.record()
        end.synchronize()
        return float(cuda.get_elapsed_time(begin, end)) / 1e3

    return _measured(setting, timed, budget)


def our_calls(
    setting: Setting, calls: Sequence[Call], budget: float = BUDGET_SECONDS
) -> dict[str, Any]:
    """Seconds a call, the calls being the same work on different arrays."""
    from alexnet import cuda
    from alexnet.arrays import array_kind
    from alexnet.graphs import Graph

    for call in calls:
        call()
    once = statistics.median(our_launch(setting, calls[0], 0.0))
    number = _repetitions(setting, len(calls), once)

    def work() -> None:
        for call in itertools.islice(itertools.cycle(calls), number):
            call()

    graph: Graph[None] = Graph(array_kind(cuda), work, lambda: lambda: None)
    graph.run()
    graph.run()
    return spread(our_launch(setting, graph.run, budget), number)


def _repetitions(setting: Setting, sets: int, once: float) -> int:
    """How many calls a graph has: whole turns of the arrays."""
    turns = 1 if setting.dry_run else -(-GRAPH_SECONDS // max(once * sets, 1e-6))
    return sets * int(min(max(turns, 1), 64))


# --- PyTorch's ------------------------------------------------------------------------------------


def their_launch(setting: Setting, run: Call) -> list[float]:
    """Seconds of each of some runs on PyTorch's current stream; on the CPU by the clock."""
    torch = setting.torch

    def timed() -> float:
        if setting.torch_device == "cpu":
            start = time.perf_counter()
            run()
            return time.perf_counter() - start
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        run()
        end.record()
        end.synchronize()
        return float(begin.elapsed_time(end)) / 1e3

    return _measured(setting, timed)


def their_calls(setting: Setting, make: Callable[[], Sequence[Call]]) -> dict[str, Any]:
    """As `our_calls`; `make` makes the calls, on the stream that will be captured."""
    torch = setting.torch
    if setting.torch_device == "cpu":
        calls = make()
        return spread(their_launch(setting, calls[0]))
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        calls = make()
        for call in [*calls, *calls]:
            call()
        stream.synchronize()
        number = _repetitions(
            setting, len(calls), statistics.median(their_launch(setting, calls[0]))
        )
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        for call in itertools.islice(itertools.cycle(calls), number):
            call()
    return spread(their_launch(setting, graph.replay), number)
