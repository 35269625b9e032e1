"""Code in a new process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from alexnet.cli import main

SPIN_SETTINGS = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


def python(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `code` in a new process with only these of the variables that alexnet reads."""
    threads = ("ALEXNET_NUM_THREADS", "OMP_NUM_THREADS", "OMP_THREAD_LIMIT")
    read = ("ALEXNET_ISA", *threads, *SPIN_SETTINGS)
    environment = {name: value for name, value in os.environ.items() if name not in read}
    return subprocess.run(
        [sys.executable, "-c", code],
        env=environment | variables,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def output_of(code: str, **variables: str) -> str:
    result = python(code, **variables)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def status_of(arguments: Sequence[object]) -> int | str | None:
    """Exit status of the command in this process, whichever way it ends."""
    try:
        return main([str(argument) for argument in arguments])
    except SystemExit as stop:
        return stop.code


def default_signals() -> None:
    """For `preexec_fn`: whoever runs pytest may ignore them, as a shell does in the background."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@contextmanager
def started(command: Sequence[str], until: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Give a process that hears signals, once a line of its output has `until` in it."""
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=default_signals,
        **options,
    ) as process:
        assert process.stdout is not None
        while until not in process.stdout.readline():
            assert process.poll() is None
        yield process
