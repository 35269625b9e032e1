"""Runs a ladder: every rung checked against float64, then timed in turns with the others.

A rung whose result is wrong has no time. The naive ones would take minutes on a whole batch: one
that needs longer than a pace's patience for a run, and time in proportion to the images, is timed
on fewer of them and its time multiplied, which `Result.images` tells.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np

from alexnet.arrays import aligned_copy, aligned_empty
from alexnet.comparison.peaks import Peaks
from alexnet.network.layers import Dense
from alexnet.study.ladders import ARITHMETIC
from alexnet.study.problem import AnyArray, Problem
from alexnet.study.rungs import Rung, module
from alexnet.verification.tolerance import relative_error

CHECKED_IMAGES = 2  # the reference takes its time
# Of the time of as many single images, below which a rung has work that all images share, such as
# reading the weights: its time can't be multiplied.
PROPORTIONAL = 0.75
UNTOUCHED = np.uint32(0x7FC0A1E5)  # bits of a NaN that no arithmetic makes


@dataclass(frozen=True)
class Pace:
    """How many timed runs a rung has, and how many seconds one of them may take."""

    rounds: int
    patience: float


USUAL, QUICK = Pace(rounds=7, patience=0.25), Pace(rounds=3, patience=0.05)


@dataclass(frozen=True)
class Mistake:
    """The element of a wrong result that is farthest off; None for a `value` never written."""

    place: tuple[int, ...]
    value: float | None
    expected: float


@dataclass(frozen=True)
class Result:
    """What one rung did.

    `error` is None where the rung does not serve the shape. `seconds` is the median of a whole
    batch, timed on `images` of it; None where the rung is wrong or does not serve the shape. Where
    it is wrong, there is a `mistake`.
    """

    rung: Rung
    error: float | None
    bound: float
    seconds: float | None
    images: int
    mistake: Mistake | None = None

    @property
    def is_right(self) -> bool:
        """Whether the error is within its bound, which NaN is not, or there was nothing to do."""
        return self.error is None or self.error <= self.bound


@dataclass(frozen=True)
class Table:
    """The results of a ladder on one problem, beside the peaks of the same run."""

    problem: Problem
    peaks: Peaks
    results: tuple[Result, ...]

    @property
    def is_right(self) -> bool:
        """Whether every rung is."""
        return all(result.is_right for result in self.results)

    @property
    def place(self) -> str:
        """Where it ran: instruction set and threads, or the device."""
        if self.problem.ladder.device == "cuda":
            return self.peaks.isa
        threads = self.peaks.threads
        return f"{self.peaks.isa}, {'1 thread' if threads == 1 else f'{threads} threads'}"

    @property
    def is_arithmetic(self) -> bool:
        """Whether rates are in FLOP, not bytes."""
        return self.problem.ladder.bound == ARITHMETIC

    @property
    def unit(self) -> str:
        """Unit of the rates."""
        return "GFLOP/s" if self.is_arithmetic else "GB/s"

    @property
    def work(self) -> int:
        """FLOP of the definition, or the bytes that have to be moved at least."""
        return self.problem.flops if self.is_arithmetic else self.problem.bytes

    @property
    def peak(self) -> float:
        """Measured rate that shares are of: of multiply-adds, or of copying."""
        return self.peaks.fma_gflops if self.is_arithmetic else self.peaks.copy_gbs

    @property
    def memory_rate(self) -> float | None:
        """Of arithmetic: the rate at which every array passes once through memory, in GFLOP/s.

        The faster of reading and copying counts, as the roofline is a bound. What stays in a cache
        from one run to the next may exceed it.
        """
        if not self.is_arithmetic:
            return None
        intensity = self.problem.flops / self.problem.bytes
        return intensity * max(self.peaks.read_gbs, self.peaks.copy_gbs)

    def rate(self, result: Result) -> float | None:
        """10^9 FLOP or bytes a second, by the definition's count; None without a time."""
        return None if result.seconds is None else self.work / result.seconds / 1e9

    def share(self, result: Result) -> float | None:
        """Rate over the measured peak; of tensor cores, where the rung's precision is theirs."""
        rate = self.rate(result)
        of_precision = getattr(self.peaks, "of", None)
        peak = of_precision(result.rung.precision) if of_precision and self.is_arithmetic else None
        return None if rate is None else rate / (peak or self.peak)

    def factor(self, result: Result) -> float | None:
        """How many times as fast as the rung before it, of those that have a time."""
        before = None
        for other in self.results:
            if other is result:
                break
            before = other.seconds or before
        return before / result.seconds if before and result.seconds else None

    def figures(self) -> dict[str, Any]:
        """Plain JSON values of everything, as `alexnet.study.results` reads them."""
        return {
            **self.problem.figures(),
            "unit": self.unit,
            "peaks": {
                "fma_gflops": self.peaks.fma_gflops,
                "copy_gbs": self.peaks.copy_gbs,
                "read_gbs": self.peaks.read_gbs,
            },
            "memory_rate": self.memory_rate,
            "rungs": [
                {
                    **result.rung.figures(),
                    "seconds": result.seconds,
                    "rate": self.rate(result),
                    "share": self.share(result),
                    "factor": self.factor(result),
                    "error": result.error,
                    "bound": result.bound,
                    "right": result.is_right,
                    "images_timed": result.images,
                    "images": self.problem.case.batch_size,
                }
                for result in self.results
            ],
        }


def run_ladder(
    problem: Problem,
    rungs: Sequence[Rung],
    peaks: Peaks,
    *,
    threads: int,
    isa: str,
    pace: Pace = USUAL,
    advance: Callable[[str], None] = lambda _: None,
) -> Table:
    """Check and time rungs of one ladder on one problem.

    Parameters
    ----------
    problem
        What they compute.
    rungs
        Which of them.
    peaks
        Rates of this machine, measured in the same run.
    threads, isa
        How many threads and which instruction set.
    pace
        How long it may take.
    advance
        Told each rung before it is checked and before each of its runs: rungs * (1 + rounds) calls.
    """
    study = module()
    started = study.set_num_threads(threads)
    study.set_isa(isa)
    whole = problem.case.batch_size
    # Dense layers are matrices, whose rows are images: a few of them would not show every tile.
    few = whole if isinstance(problem.case.layer, Dense) else min(whole, CHECKED_IMAGES)
    checked, single = problem.with_batch_size(few), problem.with_batch_size(1)
    operands = checked.operands()
    one_image = [aligned_copy(operand) for operand in single.operands()]
    expected, bound = checked.expected(operands), checked.tolerance()
    errors: dict[int, float | None] = {}
    mistakes: dict[int, Mistake] = {}
    images = {}
    for rung in rungs:
        advance(rung.idea)
        rung.set_num_threads(started)
        start = perf_counter()
        result = run(rung, isa, checked, operands)
        seconds = perf_counter() - start
        is_served = not (rung.serves and is_untouched(result))
        error = relative_error(result, expected) if is_served else None
        errors[rung.number] = error
        if error is not None and not error <= bound:
            mistakes[rung.number] = largest_mistake(result, expected)
        images[rung.number] = whole
        if seconds / few * whole > pace.patience:
            alone = _timed(rung, isa, single, one_image, pace)
            if seconds >= PROPORTIONAL * few * alone:
                images[rung.number] = min(whole, max(1, int(pace.patience / alone)))
    times: dict[int, list[float]] = {rung.number: [] for rung in rungs}
    problems = {size: problem.with_batch_size(size) for size in set(images.values())}
    # As a network has them: a vector of 64 bytes that begins elsewhere takes two cache lines, and
    # no store can go past the caches.
    arrays = {
        size: [aligned_copy(operand) for operand in smaller.operands()]
        for size, smaller in problems.items()
    }
    for _ in range(pace.rounds):
        for rung in rungs:
            advance(rung.idea)
            error = errors[rung.number]
            if error is not None and error <= bound:
                size = images[rung.number]
                seconds = _timed(rung, isa, problems[size], arrays[size], pace)
                times[rung.number].append(seconds * whole / size)
    return Table(
        problem,
        peaks,
        tuple(
            Result(
                rung,
                errors[rung.number],
                bound,
                statistics.median(times[rung.number]) if times[rung.number] else None,
                images[rung.number],
                mistakes.get(rung.number),
            )
            for rung in rungs
        ),
    )


def run(rung: Rung, isa: str, problem: Problem, operands: list[AnyArray]) -> AnyArray:
    """Give what a rung makes of an array of NaN: an element that it does not write stays one."""
    result = np.full(problem.result_shape, UNTOUCHED).view(np.float32)
    module().call(rung.function(isa), problem.shape, [*operands, result])
    return result


def is_untouched(result: AnyArray) -> bool:
    """Whether a rung has left the whole array of `run` as it was: it does not serve the shape."""
    return bool((result.view(np.uint32) == UNTOUCHED).all())


def largest_mistake(result: AnyArray, expected: AnyArray) -> Mistake:
    """Find the element of `result`, of `run`, that is farthest from what is expected, or NaN."""
    distance = np.abs(result.astype(np.float64) - expected)
    distance[np.isnan(distance)] = np.inf
    place = tuple(map(int, np.unravel_index(distance.argmax(), distance.shape)))
    is_written = result.view(np.uint32)[place] != UNTOUCHED
    return Mistake(place, float(result[place]) if is_written else None, float(expected[place]))


def _timed(rung: Rung, isa: str, problem: Problem, operands: list[AnyArray], pace: Pace) -> float:
    """Seconds of the second of two calls: the first one finds its memory, unless that is little."""
    result = aligned_empty(problem.result_shape)
    seconds = 0.0
    for _ in range(2):
        start = perf_counter()
        module().call(rung.function(isa), problem.shape, [*operands, result])
        seconds = perf_counter() - start
        if seconds > pace.patience:
            break
    return seconds
