"""The command `alexnet` from its first moment: `alexnet.cli`, and a Ctrl-C while that is imported.

A package of its own, because any import of `alexnet` imports NumPy and the kernels first: some
tenths of a second, in which a Ctrl-C would end in a traceback.
"""

from __future__ import annotations

import contextlib
import os
import signal
from types import FrameType

INTERRUPTED = 130  # exit status: 128 and the number of SIGINT, as of every command


def main() -> int:
    """Run the command with the process's arguments and return its exit status."""
    take_interrupts()
    from alexnet.cli import main as run

    return_interrupts()
    return run()


def take_interrupts() -> None:
    """From now on a Ctrl-C ends the process with a line, where it would be an exception."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def return_interrupts() -> None:
    """Make a Ctrl-C the exception again."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(_number: int, _frame: FrameType | None) -> None:
    # Not by an exception: a compiled module that is being imported, as NumPy's are, may take it for
    # a module that is missing, and print its own traceback.
    with contextlib.suppress(OSError):
        os.write(2, b"alexnet: interrupted\n")
    os._exit(INTERRUPTED)
