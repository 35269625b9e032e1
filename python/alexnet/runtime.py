"""What this build and this machine offer, and how many threads and which kernels are in use."""

from __future__ import annotations

import platform
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from alexnet import _cpu
from alexnet.contract.arguments import LARGEST_THREADS, check_int
from alexnet.messages import hint, shown

__all__ = [
    "available_isas",
    "build_info",
    "cpu_bfloat16",
    "cpu_isa",
    "cuda_obstacle",
    "get_num_threads",
    "has_cuda",
    "num_threads_from",
    "set_cpu_isa",
    "set_num_threads",
]


def build_info() -> dict[str, Any]:
    """How this copy was built: version, compiler, OpenMP, sanitizers, CUDA; plain JSON values."""
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        **_cpu.build_info(),
        "cuda": find_spec("alexnet._cuda") is not None,
    }


def cpu_isa() -> str:
    """Instruction set of the CPU kernels in use: "avx512", "avx2" or "portable"."""
    return _cpu.cpu_isa()


def cpu_bfloat16() -> str:
    """Instructions that multiply bfloat16 operands on the CPU.

    "amx" (tiles), "avx512_bf16" (vdpbf16ps), or "widening": float32 arithmetic of the instruction
    set in use.
    """
    return _cpu.bf16_instructions()


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
    if not isinstance(name, str) or name not in available_isas():
        isas = available_isas()
        expected = f"{', '.join(isas)}{hint(name, isas)}"
        raise ValueError(f"set_cpu_isa: name is {shown(name)}, expected one of {expected}")
    _cpu.set_cpu_isa(name)


def get_num_threads() -> int:
    """Threads that a kernel uses at most.

    At first ``ALEXNET_NUM_THREADS``, else ``OMP_NUM_THREADS``, else the number of processors that
    the process may run on (its affinity) or, if less, that its container's CPU quota is enough
    for; at most ``OMP_THREAD_LIMIT``. 1 where the build has no OpenMP.
    """
    return _cpu.get_num_threads()


def num_threads_from() -> str:
    """Where `get_num_threads()` comes from.

    "set_num_threads", the name of one of the variables, "CPU quota", "CPU affinity", "all
    processors" or "no OpenMP".
    """
    return _cpu.num_threads_from()


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
    """Whether `alexnet.cuda` can be used: CUDA kernels in this build, CuPy, and a device."""
    return cuda_obstacle() is None


def cuda_obstacle() -> str | None:
    """Why `alexnet.cuda` can't be used, and how to change that; None if it can.

    Only where there are kernels and CuPy is anything of CUDA loaded to find out.
    """
    if find_spec("alexnet._cuda") is None:
        return (
            "this build of alexnet has no CUDA kernels; to get them, install the CUDA toolkit "
            "(nvcc, version 12 or 13) and install alexnet again from its sources"
        )
    if find_spec("cupy") is None:
        return (
            'CuPy is not installed; pip install "alexnet[cuda12]" or "alexnet[cuda13]", by the '
            "version of CUDA that the driver has"
        )
    try:
        devices = import_module("cupy").cuda.runtime.getDeviceCount()
    except (RuntimeError, ImportError) as error:  # CuPy's own errors are RuntimeErrors
        return f"no CUDA device can be used: {error}"
    return None if devices else "no CUDA device is visible"
