"""Runs the ladders for CUDA on a device: checked as on the CPU, timed with the device's events.

Between two runs a large array is written, so that no rung finds in L2 what another has left there.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np

from alexnet import runtime
from alexnet.comparison.peaks import Peaks
from alexnet.network.layers import Dense
from alexnet.study.measure import CHECKED_IMAGES, UNTOUCHED, Pace, Result, Table, is_untouched
from alexnet.study.problem import AnyArray, Problem
from alexnet.study.rungs import Rung, device_module
from alexnet.verification.tolerance import relative_error

FLUSH_BYTES = 2**28  # more than L2 has
PEAK_RUNS = 5  # the best one counts
PEAK_BLOCKS, PEAK_STEPS = 4096, 2000
CUDA_ISA = "cuda"  # by which a rung's function is found


@dataclass(frozen=True)
class DevicePeaks(Peaks):
    """Peaks of a device, whose name is `isa`; and of its tensor cores in tf32."""

    tensor_gflops: float

    def of(self, precision: str) -> float:
        """Peak of multiply-adds in a precision, in GFLOP/s."""
        return self.tensor_gflops if precision == "tf32" else self.fma_gflops


def obstacle() -> str | None:
    """Why no ladder can run on a device; None if one can."""
    if obstacle := runtime.cuda_obstacle():
        return obstacle
    return None if device_module() else "this build of alexnet has no CUDA ladders"


def measure_peaks(name: str) -> DevicePeaks:
    """Measure arithmetic on registers and copying of the current device."""
    cupy, study = import_module("cupy"), device_module()
    assert study is not None

    def loop(*, tensor_cores: bool) -> float:
        stream = cupy.cuda.get_current_stream().ptr
        flops = study.peak_loop(tensor_cores, PEAK_BLOCKS, PEAK_STEPS, stream)
        run = partial(study.peak_loop, tensor_cores, PEAK_BLOCKS, PEAK_STEPS, stream)
        return float(flops) / min(_seconds(run) for _ in range(PEAK_RUNS)) / 1e9

    source, target = (cupy.zeros((FLUSH_BYTES // 4,), cupy.float32) for _ in range(2))

    def copy() -> None:
        target[...] = source

    copying = 2 * FLUSH_BYTES / min(_seconds(copy) for _ in range(PEAK_RUNS)) / 1e9
    fma, tensor = loop(tensor_cores=False), loop(tensor_cores=True)
    return DevicePeaks(name, 1, fma, copying, copying, tensor)


def run_ladder(
    problem: Problem,
    rungs: Sequence[Rung],
    peaks: DevicePeaks,
    *,
    pace: Pace,
    advance: Callable[[str], None] = lambda _: None,
) -> Table:
    """Check and time rungs of a ladder for CUDA on the current device.

    Parameters
    ----------
    problem, rungs
        What they compute, and which of them.
    peaks
        Of the device, measured in the same run.
    pace
        How many rounds.
    advance
        Told each rung before it is checked and before each of its runs: rungs * (1 + rounds) calls.
    """
    cupy = import_module("cupy")
    whole = problem.case.batch_size
    few = whole if isinstance(problem.case.layer, Dense) else min(whole, CHECKED_IMAGES)
    checked = problem.with_batch_size(few)
    operands = checked.operands()
    expected = checked.expected(operands)
    on_device = [cupy.asarray(operand) for operand in operands]
    errors: dict[int, float | None] = {}
    for rung in rungs:
        advance(rung.idea)
        result = cupy.asnumpy(run(rung, checked, on_device))
        is_served = not (rung.serves and is_untouched(result))
        errors[rung.number] = relative_error(result, expected) if is_served else None
    bounds = {rung.number: problem.tolerance(rung.precision) for rung in rungs}
    arrays = [cupy.asarray(operand) for operand in problem.operands()]
    times: dict[int, list[float]] = {rung.number: [] for rung in rungs}
    flushed = cupy.zeros((FLUSH_BYTES // 4,), cupy.float32)
    target = cupy.zeros(problem.result_shape, cupy.float32)
    for _ in range(pace.rounds):
        for rung in rungs:
            advance(rung.idea)
            error = errors[rung.number]
            if error is not None and error <= bounds[rung.number]:
                call(rung, problem, [*arrays, target])  # finds its memory
                flushed[...] = 0
                seconds = _seconds(partial(call, rung, problem, [*arrays, target]))
                times[rung.number].append(seconds)
    return Table(
        problem,
        peaks,
        tuple(
            Result(
                rung,
                errors[rung.number],
                bounds[rung.number],
                statistics.median(times[rung.number]) if times[rung.number] else None,
                whole,
            )
            for rung in rungs
        ),
    )


def run(rung: Rung, problem: Problem, operands: list[Any]) -> Any:
    """Give what a rung makes of an array of NaN, on the device."""
    cupy = import_module("cupy")
    nan: AnyArray = np.full(problem.result_shape, UNTOUCHED).view(np.float32)
    result = cupy.asarray(nan)
    call(rung, problem, [*operands, result])
    return result


def call(rung: Rung, problem: Problem, arrays: list[Any]) -> None:
    """Put a rung on the current stream; the last array is its result.

    One that is for another device leaves that as it was, as one does that does not serve a shape.
    """
    study = device_module()
    assert study is not None
    if rung.capability is not None and CUDA_ISA not in rung.functions:
        return  # this build is for other devices
    stream = import_module("cupy").cuda.get_current_stream().ptr
    study.call(rung.function(CUDA_ISA), problem.shape, arrays, stream)


def _seconds(work: Callable[[], object]) -> float:
    """Time of what `work` puts on the current stream."""
    cuda = import_module("cupy").cuda
    begin, end = cuda.Event(), cuda.Event()
    begin.record()
    work()
    end.record()
    end.synchronize()
    return float(cuda.get_elapsed_time(begin, end)) / 1e3
