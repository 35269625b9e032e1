"""A Ctrl-C while `python -m alexnet` imports the package: a line and 130, without a traceback.

Python imports `alexnet` itself before `alexnet.__main__` can catch anything: NumPy and the kernels,
some tenths of a second. So the package imports this module first. `sys.argv` begins with "-m" for
as long as Python looks for the module to run, and at no other time; what is not run in this way
keeps its handlers. The command `alexnet` has `alexnet_command` for the same.
"""

from __future__ import annotations

import signal
import sys
from types import FrameType

from alexnet_command import INTERRUPTED, say_interrupted

__all__ = ["imported"]


def _end(_number: int, _frame: FrameType | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # another one would end in a traceback, too
    say_interrupted()
    sys.exit(INTERRUPTED)


def imported() -> None:
    """Give Ctrl-C back to whoever catches it from now on."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


if sys.argv[:1] == ["-m"] and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, _end)
