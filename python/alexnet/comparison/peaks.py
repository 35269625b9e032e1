"""What the machine can do at most, measured: the denominators of shares of a peak (`rates`).

Arithmetic is a loop of fused multiply-adds on registers, with the instruction set in use. Memory is
a read, and a copy by non-temporal stores (plain ones where the instruction set is portable), of two
arrays. `alexnet compare` and the benchmarks take 64 MiB each, which a very large L3 can hold; the
default, for callers of their own, is 512 MiB.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import numpy.typing as npt

from alexnet import _cpu
from alexnet.contract.arguments import LARGEST_SIZE, LARGEST_THREADS, check_int
from alexnet.runtime import cpu_isa, get_num_threads, set_num_threads

RUNS = 5  # of each loop; the best one counts, as whatever else runs can only make it slower
FMA_STEPS = 1_000_000  # a few ms
ARRAY_BYTES = 2**29
BLOCK_BYTES = 512  # of the loops over memory: kPeakBlock of alexnet/peak.h, 128 floats


@dataclass(frozen=True)
class Peaks:
    """Rates in 10^9 a second: FLOP, bytes copied (read and written both count), bytes read."""

    isa: str
    threads: int
    fma_gflops: float
    copy_gbs: float
    read_gbs: float


def measure_peaks(threads: int | None = None, *, array_bytes: int = ARRAY_BYTES) -> Peaks:
    """Measure arithmetic and memory, the best of several short runs each.

    Parameters
    ----------
    threads
        How many to use; as many as the kernels do if None. Kernels that run elsewhere in the
        process meanwhile get this number, too.
    array_bytes
        Size of each of two arrays, rounded up to whole blocks. The default is meant for memory;
        small arrays measure a cache instead.

    Raises
    ------
    TypeError, ValueError
        An argument is not an integer of at least 1.

    """
    before = get_num_threads()
    wanted = before if threads is None else threads
    threads = check_int("measure_peaks", "threads", wanted, 1, LARGEST_THREADS)
    size = check_int("measure_peaks", "array_bytes", array_bytes, 1, LARGEST_SIZE)
    source, destination = _array(size), _array(size)
    set_num_threads(threads)
    try:
        read = source.nbytes / _best_time(lambda: _cpu.read_loop(source))
        copy = 2 * source.nbytes / _best_time(lambda: _cpu.copy_loop(source, destination))
        threads = get_num_threads()  # a build without OpenMP keeps to one
        return Peaks(cpu_isa(), threads, _fma_gflops(), copy / 1e9, read / 1e9)
    finally:
        set_num_threads(before)


def _fma_gflops() -> float:
    """10^9 FLOP a second of fused multiply-adds, on as many threads as the kernels use."""
    rates = []
    for _ in range(RUNS):
        start = perf_counter()
        flops = _cpu.fma_loop(FMA_STEPS)  # of the threads that took part in this run
        rates.append(flops / (perf_counter() - start))
    return max(rates) / 1e9


def _best_time(run: Callable[[], object]) -> float:
    """Seconds of the fastest run."""
    times = []
    for _ in range(RUNS):
        start = perf_counter()
        run()
        times.append(perf_counter() - start)
    return min(times)


def _array(size: int) -> npt.NDArray[np.float32]:
    """Blocks of at least `size` bytes, aligned, every page touched."""
    blocks = -(-size // BLOCK_BYTES)
    memory = np.ones((blocks + 1) * BLOCK_BYTES // 4, np.float32)
    start = -memory.ctypes.data % BLOCK_BYTES // 4
    return memory[start : start + blocks * BLOCK_BYTES // 4]
