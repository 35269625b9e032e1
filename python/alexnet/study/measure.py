"""Runs a ladder: every rung checked against float64, then timed in turns with the others.

A rung whose result is wrong has no time. The naive ones would take minutes on a whole batch: one
that needs longer than `PATIENCE` for a run is timed on fewer images and its time multiplied, which
`Result.images` tells.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from alexnet.comparison.peaks import Peaks
from alexnet.study.ladders import ARITHMETIC, AnyArray, Problem
from alexnet.study.rungs import Rung, module
from alexnet.verification.tolerance import relative_error

PATIENCE = 0.25  # seconds for one run of a rung
CHECKED_IMAGES = 1  # the reference takes its time
ROUNDS = 5


@dataclass(frozen=True)
class Result:
    """What one rung did.

    `error` is None where the rung does not serve the shape. `seconds` is the median of a whole
    batch, timed on `images` of it; None where the rung is wrong or does not serve the shape.
    """

    rung: Rung
    error: float | None
    bound: float
    seconds: float | None
    images: int

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

    def rate(self, result: Result) -> float | None:
        """10^9 FLOP or bytes a second, by the definition's count; None without a time."""
        work = self.problem.flops if self.is_arithmetic else self.problem.bytes
        return None if result.seconds is None else work / result.seconds / 1e9

    def share(self, result: Result) -> float | None:
        """Rate over the measured peak: of multiply-adds, or of copying."""
        rate = self.rate(result)
        peak = self.peaks.fma_gflops if self.is_arithmetic else self.peaks.copy_gbs
        return None if rate is None else rate / peak

    @property
    def is_arithmetic(self) -> bool:
        """Whether rates are in FLOP, not bytes."""
        return self.problem.ladder.bound == ARITHMETIC

    def factor(self, result: Result) -> float | None:
        """How many times as fast as the rung before it, of those that have a time."""
        before = None
        for other in self.results:
            if other is result:
                break
            before = other.seconds or before
        return before / result.seconds if before and result.seconds else None


def run_ladder(
    problem: Problem,
    rungs: Sequence[Rung],
    peaks: Peaks,
    *,
    threads: int,
    isa: str,
    rounds: int = ROUNDS,
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
    rounds
        Timed runs of each rung, in turns.
    advance
        Told each rung before it is checked and before each of its runs: rungs * (1 + rounds) calls.
    """
    study = module()
    study.set_num_threads(threads)
    study.set_isa(isa)
    checked = problem.with_batch_size(min(problem.case.batch_size, CHECKED_IMAGES))
    operands = checked.operands()
    expected = checked.expected(operands)
    bound = checked.tolerance()
    errors: dict[int, float | None] = {}
    batches = {}
    for rung in rungs:
        advance(rung.idea)
        result, seconds = _run(rung, isa, checked, operands)
        is_served = not (rung.serves and np.isnan(result).all())
        errors[rung.number] = relative_error(result, expected) if is_served else None
        per_image = seconds / checked.case.batch_size
        whole = problem.case.batch_size
        batches[rung.number] = min(whole, max(1, int(PATIENCE / max(per_image, 1e-9))))
    times: dict[int, list[float]] = {rung.number: [] for rung in rungs}
    problems = {size: problem.with_batch_size(size) for size in set(batches.values())}
    arrays = {size: smaller.operands() for size, smaller in problems.items()}
    for _ in range(rounds):
        for rung in rungs:
            advance(rung.idea)
            error = errors[rung.number]
            if error is not None and error <= bound:
                size = batches[rung.number]
                _, seconds = _run(rung, isa, problems[size], arrays[size])
                times[rung.number].append(seconds * problem.case.batch_size / size)
    results = tuple(
        Result(
            rung,
            errors[rung.number],
            bound,
            statistics.median(times[rung.number]) if times[rung.number] else None,
            batches[rung.number],
        )
        for rung in rungs
    )
    return Table(problem, peaks, results)


def _run(
    rung: Rung, isa: str, problem: Problem, operands: list[AnyArray]
) -> tuple[AnyArray, float]:
    """Give result and seconds of the second of two calls: the first one finds its memory."""
    result = np.full(problem.result_shape, np.nan, np.float32)
    seconds = 0.0
    for _ in range(2):
        start = perf_counter()
        module().call(rung.function(isa), problem.shape, [*operands, result])
        seconds = perf_counter() - start
    return result, seconds
