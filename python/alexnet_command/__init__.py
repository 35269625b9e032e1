"""The command `alexnet` from its first moment: `alexnet.cli`, and a Ctrl-C while that is imported.

A package of its own, because any import of `alexnet` imports NumPy and the kernels first: some
tenths of a second, in which a Ctrl-C would end in a traceback.
"""

from __future__ import annotations

import sys

INTERRUPTED = 130  # exit status: 128 and the number of SIGINT, as of every command


def main() -> int:
    """Run the command with the process's arguments and return its exit status."""
    try:
        from alexnet.cli import main as run
    except KeyboardInterrupt:
        say_interrupted()
        return INTERRUPTED
    return run()


def say_interrupted() -> None:
    """Print the line of an interruption."""
    print("alexnet: interrupted", file=sys.stderr)
