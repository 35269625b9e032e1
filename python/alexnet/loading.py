"""Loads the compiled module, before anything else of the package can: what has to be right then.

Importing this module does it.
"""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

__all__: list[str] = []

# A thread that waits at a barrier of GNU OpenMP looks this often whether it may go on, and then
# sleeps. By default it is 300,000 times, many milliseconds in which others could have had its
# processor. The kernels have waits of their own (cpp/cpu/waiting.h); the barriers that remain are
# those of the study's rungs, and of other libraries that use the same copy of libgomp.
SPINS = "5000"
SETTINGS = (b"GOMP_SPINCOUNT", b"OMP_WAIT_POLICY")  # of the user, who then has it as he wants


def _refuse_subinterpreters() -> None:
    for name in ("_interpreters", "_xxsubinterpreters"):  # from Python 3.13 on; before
        try:
            interpreters = import_module(name)
        except ModuleNotFoundError:
            continue
        if interpreters.get_current() != interpreters.get_main():
            raise ImportError(
                "alexnet can only be imported in the main interpreter of a process, and this is a "
                "sub-interpreter, which its compiled module and NumPy do not support; use a "
                "process of its own"
            )
        return


def _load() -> None:
    """Load the compiled module, and with it libgomp, which reads its environment just then.

    Only the C library's environment is changed, for as long as the file is being loaded, and put
    back: `os.environ` never sees it, nor does a child process, unless another thread starts it at
    that very moment. Nothing is set where the user has, and where another library has loaded
    libgomp before, what it read then stays.
    """
    spec = find_spec("alexnet._cpu")  # before, since other threads run while files are looked for
    if spec is None or spec.origin is None:
        raise ImportError(
            f"alexnet is not built: there is no compiled module _cpu in {Path(__file__).parent}; "
            "run pip install . in the root of its sources, and Python elsewhere than in their "
            "folder python/"
        )
    getenv = ctypes.CDLL(None).getenv
    getenv.restype = ctypes.c_char_p
    if any(getenv(name) is not None for name in SETTINGS):
        import_module("alexnet._cpu")
        return
    os.putenv("GOMP_SPINCOUNT", SPINS)
    try:
        with suppress(OSError):  # which the import below raises as an ImportError
            ctypes.CDLL(spec.origin)
    finally:
        os.unsetenv("GOMP_SPINCOUNT")
    import_module("alexnet._cpu")


_refuse_subinterpreters()
_load()
