"""The command `alexnet`: parses, calls, and turns what goes wrong into one line and a status.

Exit status: 0, also of `alexnet` alone, which prints its help, as pip does; 1 where a check failed,
a training diverged or an image could not be read; 2 on bad use; 130 after Ctrl-C. A training that
SIGTERM or SIGHUP stopped has 143 or 129.
"""

from __future__ import annotations

import argparse
import io
import logging
import os
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from alexnet import runtime
from alexnet.commands import (
    bench,
    compare,
    convert,
    describe,
    evaluate,
    predict,
    study,
    train,
    verify,
)
from alexnet.commands.console import OUTPUT, Stopped, silence
from alexnet.commands.options import check_kernels
from alexnet.commands.parser import BAD_USE, Parser
from alexnet.commands.table import sentence
from alexnet.files import naming
from alexnet.messages import described

COMMANDS = (describe, verify, bench, compare, train, evaluate, predict, convert, study)
CHECK_FAILED = 1
LAST_STREAM = 2  # descriptor of standard error
SIGNALLED = 128  # and the signal's number, as a shell has it


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with `arguments` (the process's own if None) and return its exit status."""
    warnings.filterwarnings("ignore", module="PIL")  # of photos, of which we say ourselves
    _open_streams()
    try:
        with _warnings_in_a_line():
            options = _parser().parse(arguments)
            check_kernels(options)
            passed: bool = options.run(options)
        with naming(OUTPUT):
            sys.stdout.flush()
    except Stopped as error:
        return _fail(
            "interrupted" if error.number == signal.SIGINT else f"stopped by {error.number.name}",
            SIGNALLED + error.number,
        )
    except KeyboardInterrupt:
        return _fail("interrupted", SIGNALLED + signal.SIGINT)
    except BrokenPipeError:  # the reader, `head` say, has enough
        silence(sys.stdout)
        silence(sys.stderr)
        return 0
    except FloatingPointError as error:
        return _fail(f"error: {described(error)}", CHECK_FAILED)
    except (ValueError, OSError, MemoryError, NotImplementedError) as error:
        return _fail(f"error: {described(error)}", BAD_USE)
    return 0 if passed else CHECK_FAILED


def _open_streams() -> None:
    """Open the standard streams that the caller closed, on nothing.

    The next files would get their numbers otherwise, and libraries that print would write into a
    checkpoint.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= LAST_STREAM:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):  # whatever the encoding, no name ends a command
            stream.reconfigure(errors="backslashreplace")


def _fail(message: str, status: int) -> int:
    try:
        sys.stdout.flush()
    except OSError:  # Python would try again at its end, say so, and end with 120
        silence(sys.stdout)
    try:
        print(sentence(f"alexnet: {message}", sys.stderr), file=sys.stderr, flush=True)
    except OSError:  # nobody is there to read it
        silence(sys.stderr)
    return status


class _Lines(logging.Handler):
    """Prints each warning of the library as a line of the command."""

    def emit(self, record: logging.LogRecord) -> None:
        line = f"alexnet: warning: {record.getMessage()}"
        print(sentence(line, sys.stderr), file=sys.stderr, flush=True)


@contextmanager
def _warnings_in_a_line() -> Iterator[None]:
    logger, handler = logging.getLogger("alexnet"), _Lines(logging.WARNING)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def _parser() -> Parser:
    parser = Parser(
        prog="alexnet",
        description="AlexNet on hand-written kernels: verify, benchmark, train, use.",
        epilog="example: alexnet bench tf-tutorial --batch-size 32 --steps 100",
    )
    version = runtime.build_info()["version"]
    parser.add_argument("--version", action="version", version=f"alexnet {version}")
    parser.set_defaults(run=_print_help)
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND")
    for command in COMMANDS:
        command.add_parsers(subparsers)
    return parser


def _print_help(options: argparse.Namespace) -> bool:
    options.parser.print_help()
    return True
