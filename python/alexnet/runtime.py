"""What this build and this machine offer, and how many threads and which kernels are in use."""

from __future__ import annotations

import platform
from typing import Any

from alexnet import _cpu
from alexnet.checks import LARGEST_THREADS, check_int

__all__ = [
    "available_isas",
    "build_info",
    "cpu_isa",
    "get_num_threads",
    "has_cuda",
    "set_cpu_isa",
    "set_num_threads",
]


def build_info() -> dict[str, Any]:
    """How this copy was built: version, compiler, OpenMP, sanitizers, CUDA; plain JSON values."""
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        **_cpu.build_info(),
        "cuda": has_cuda(),
    }


def cpu_isa() -> str:
    """Instruction set of the CPU kernels in use: "avx512", "avx2" or "portable"."""
    return _cpu.cpu_isa()


def available_isas() -> tuple[str, ...]:
    """Instruction sets that this build, processor and operating system can run, best first."""
    return tuple(_cpu.available_isas())


def set_cpu_isa(name: str) -> None:
    """Use the kernels of another instruction set, process-wide, from the next call on.

    The environment variable ``ALEXNET_ISA`` does the same from the start.

    Raises
    ------
    ValueError
        `name` is not one of `available_isas()`.
    """
    if name not in available_isas():
        raise ValueError(
            f"set_cpu_isa: name is {name!r}, expected one of {', '.join(available_isas())}"
        )
    _cpu.set_cpu_isa(name)


def get_num_threads() -> int:
    """Threads that a kernel uses at most.

    At first ``ALEXNET_NUM_THREADS``, else ``OMP_NUM_THREADS``, else the number of processors that
    the process may run on (its affinity); 1 where the build has no OpenMP.
    """
    return _cpu.get_num_threads()


def set_num_threads(threads: int) -> None:
    """Let kernels use at most `threads` threads, process-wide, from the next call on.

    Results do not depend on it, bit for bit. A build without OpenMP keeps to one.

    Raises
    ------
    TypeError, ValueError
        `threads` is not an integer of at least 1.
    """
    _cpu.set_num_threads(check_int("set_num_threads", "threads", threads, 1, LARGEST_THREADS))


def has_cuda() -> bool:
    """Whether this build has the CUDA kernels. This version has none."""
    return False
