"""The peak measurement: figures that can be figures, whatever the machine; no bound on time."""

from __future__ import annotations

import math

import numpy as np
import pytest

import alexnet
from alexnet import _cpu
from alexnet.comparison.peaks import measure_peaks


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("threads", [1, 2])
def test_figures_are_positive_and_finite(threads: int) -> None:
    alexnet.set_num_threads(3)
    peaks = measure_peaks(threads, array_bytes=2**20)
    assert peaks.isa == alexnet.cpu_isa()
    assert peaks.threads == (threads if _cpu.build_info()["openmp"] else 1)
    for figure in (peaks.fma_gflops, peaks.copy_gbs, peaks.read_gbs):
        assert math.isfinite(figure)
        assert figure > 0
    assert alexnet.get_num_threads() == (3 if _cpu.build_info()["openmp"] else 1)


def test_threads_in_use_are_the_default() -> None:
    assert measure_peaks(array_bytes=1).threads == alexnet.get_num_threads()


@pytest.mark.usefixtures("isa")
def test_work_is_counted_for_every_thread() -> None:
    alexnet.set_num_threads(1)
    flops = _cpu.fma_loop(10)
    assert flops == 10 * _cpu.fma_loop(1) > 0
    assert flops % (2 * 10 * _cpu.vector_lanes()) == 0
    alexnet.set_num_threads(2)
    # A thread that the system does not let run in time takes no part, and its work is not counted:
    # so the work grows until all threads have the time to begin.
    team = alexnet.get_num_threads()
    for steps in [100 * 2**doubling for doubling in range(22)]:
        count = _cpu.fma_loop(steps)
        assert count in [steps // 10 * flops * threads for threads in range(1, team + 1)]
        if count == steps // 10 * flops * team:
            return
    pytest.fail(f"of {team} threads never all took part")


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("blocks", [1, 2, 3, 7])
def test_copy_is_whole(blocks: int) -> None:
    n = 128 * blocks
    memory = np.arange(3 * 128 + 2 * n, dtype=np.float32)
    start = -memory.ctypes.data % 512 // 4
    x, y = memory[start : start + n], memory[start + n : start + 2 * n]
    _cpu.copy_loop(x, y)
    np.testing.assert_array_equal(y, np.arange(start, start + n, dtype=np.float32))
    assert memory[start + 2 * n] == start + 2 * n


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="measure_peaks: threads is 0"):
        measure_peaks(0)
    with pytest.raises(TypeError, match="measure_peaks: array_bytes"):
        measure_peaks(1, array_bytes=1.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="x: expected whole blocks"):
        _cpu.read_loop(np.zeros(127, np.float32))
    aligned = np.zeros(3 * 128, np.float32)
    first = -aligned.ctypes.data % 512 // 4 + 1
    with pytest.raises(ValueError, match="y: expected whole blocks"):
        _cpu.copy_loop(aligned[first - 1 : first + 127], aligned[first : first + 128])
