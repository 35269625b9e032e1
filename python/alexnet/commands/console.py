"""What the commands share in talking to a person: a progress bar, JSON, signals."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from alexnet.files import json_text, naming, replacing

PATIENCE = 2.0  # seconds until a progress bar appears
REFRESH = 0.1  # seconds between two drawings of it
OUTPUT = "standard output"  # in errors
TOGETHER = 1.0  # seconds in which one event may send several signals


def write_json(destination: str, figures: Any) -> None:
    """Write `figures` to the file of that name, or to standard output for "-"; see `json_text`."""
    text = json_text(figures)
    if destination == "-":
        with naming(OUTPUT):
            sys.stdout.write(text)
    else:
        with replacing(destination) as file:
            file.write(text.encode())


def silence(stream: TextIO) -> None:
    """Send what is still written to a stream nowhere: its reader is gone."""
    with suppress(io.UnsupportedOperation), Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())  # what has none is in memory


class Stopped(KeyboardInterrupt):
    """A signal asked this process to end; the exit status tells which."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(number.name)
        self.number = number


@contextmanager
def postponed_signals() -> Iterator[Callable[[], signal.Signals | None]]:
    """Give a function that tells which signal has asked the process to end, or None.

    These are SIGINT (Ctrl-C), SIGTERM (Slurm, containers) and SIGHUP (a terminal that closes).
    Another one a second later or more raises `Stopped` at once; earlier it is of the same event: a
    terminal that closes sends SIGHUP twice, through the shell and by itself, and what starts
    programs passes a Ctrl-C on that they had already. Those that are ignored, as after nohup, stay
    so, and the handlers from before come back at the end. Nothing happens outside of the main
    thread, which alone gets signals.
    """
    asked: signal.Signals | None = None
    first = 0.0

    def ask(number: int, _frame: FrameType | None) -> None:
        nonlocal asked, first
        if asked is None:
            asked, first = signal.Signals(number), time.monotonic()
        elif time.monotonic() - first >= TOGETHER:
            raise Stopped(signal.Signals(number))

    before = {}
    try:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    before[number] = signal.signal(number, ask)
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Progress:
    """A progress bar on standard error, where that is a terminal and the work takes a while.

    It is drawn in `advance` only, never by a thread of its own, so it does not disturb what is
    timed between two calls.
    """

    def __init__(self, title: str, total: int, *, done: int = 0) -> None:
        console = Console(stderr=True)
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        self._bar = Bar(
            *columns,
            console=console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=sys.stdout.isatty(),
        )
        self._task = self._bar.add_task(title, total=total, completed=done)
        self._terminal = console.is_terminal
        self._next_drawing = time.monotonic() + PATIENCE

    @property
    def on_terminal(self) -> bool:
        """Whether a person sees the bar."""
        return self._terminal

    @property
    def drawn(self) -> bool:
        """Whether there is a bar: on a terminal that can move its cursor."""
        return self._terminal and not self._bar.console.is_dumb_terminal

    def advance(self, title: str | None = None) -> None:
        """One more of `total` is done; see `show`."""
        self._bar.advance(self._task)
        self.show(title)

    def show(self, title: str | None = None, *, at_once: bool = False) -> None:
        """Draw the bar if it is time to, or at once; `title` replaces the text before it.

        At once is for what may take long itself, before the next call can draw it.
        """
        self._bar.update(self._task, description=title)
        if self._terminal and (at_once or time.monotonic() >= self._next_drawing):
            self._bar.start()
            self._bar.refresh()
            self._next_drawing = time.monotonic() + REFRESH

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar.live.is_started:  # stopping a bar that was never drawn would print a line
            with suppress(OSError):  # a terminal that is gone shows no bar
                self._bar.stop()
