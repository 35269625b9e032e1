"""What the commands share in talking to a person: a progress bar, JSON, signals."""

from __future__ import annotations

import io
import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

from rich.console import Console
from rich.live import Live
from rich.text import Text

from alexnet.files import json_text, naming, replacing
from alexnet.messages import printable

PATIENCE = 2.0  # seconds until a progress bar appears
REFRESH = 0.1  # seconds between two drawings of it
ECHO = 3  # columns that the bar leaves for the ^C that a terminal shows
LINE_EVERY = 15.0  # seconds between two lines of progress, where no bar can be drawn
NARROWEST_BAR, WIDEST_BAR = 10, 40  # columns
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


def shell_line(words: Sequence[str], file: TextIO) -> str:
    """Write a command as it can be copied into a shell from what `file` shows.

    A word with characters that are not printed as they are, or that the encoding of `file` lacks,
    comes as its bytes: $'...', as bash, zsh and ksh read them. So does a name in another encoding.
    """
    return " ".join(_shell_word(word, file.encoding or "ascii") for word in words)


def _shell_word(word: str, encoding: str) -> str:
    try:
        word.encode(encoding)
        if printable(word) == word:
            return shlex.quote(word)
    except UnicodeEncodeError:
        pass
    plain = (chr(byte) if _is_plain(byte) else f"\\{byte:03o}" for byte in os.fsencode(word))
    return f"$'{''.join(plain)}'"


def _is_plain(byte: int) -> bool:
    return chr(byte).isascii() and chr(byte).isprintable() and chr(byte) not in "'\\"


class Stopped(KeyboardInterrupt):
    """A signal asked this process to end; the exit status tells which."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(number.name)
        self.number = number


@contextmanager
def postponed_signals(notice: str = "") -> Iterator[Callable[[], signal.Signals | None]]:
    """Give a function that tells which signal has asked the process to end, or None.

    A terminal gets `notice` at the first signal, as it may be a while until the process ends.

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
            if notice and sys.stderr.isatty():  # not by `print`, which may be at work already
                with suppress(OSError):
                    os.write(sys.stderr.fileno(), f"\n{notice}\n".encode())
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
    """How far a work is that takes a while, on standard error.

    A terminal sees a line that changes, at most as wide as it is; one that can't move its cursor
    (TERM=dumb), and a file, get a line every 15 seconds. Either is written in the calls only, never
    by a thread of its own, so that what is timed between two calls is not disturbed.

    Parameters
    ----------
    title
        What is done.
    total, done
        How many steps that has, and how many of them were taken before; a `total` of 0 is for work
        that isn't counted, of which the title alone is shown.
    lines
        Whether there are lines where no bar can be drawn: False for a command with its own.

    """

    def __init__(self, title: str, total: int, *, done: int = 0, lines: bool = True) -> None:
        self._title, self._total, self._done, self._before = title, total, done, done
        self._console = Console(stderr=True)
        self._live = Live(
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=sys.stdout.isatty(),
        )
        self._on_terminal = self._console.is_terminal
        self._lines = lines
        self._start = time.monotonic()
        patience = PATIENCE if self._on_terminal else LINE_EVERY
        self._next_showing = self._start + patience

    @property
    def drawn(self) -> bool:
        """Whether there is a bar, and no lines."""
        return self._on_terminal and not self._console.is_dumb_terminal

    def advance(self, title: str | None = None, details: Sequence[str] = ()) -> None:
        """One more of `total` is done; see `show`."""
        self._done += 1
        self.show(title, details)

    def show(
        self, title: str | None = None, details: Sequence[str] = (), *, at_once: bool = False
    ) -> None:
        """Draw the bar if it is time to; `title` replaces the one before.

        The `details` stand behind it in the bar, the last of them left out where it is too narrow.
        At once is for what may take long itself, before the next call could draw it.
        """
        self._title = title or self._title
        if time.monotonic() < self._next_showing and not at_once:
            return
        if self.drawn:
            ascii_only = self._console.options.ascii_only
            line = self._line(details, self._console.width - ECHO, "#-" if ascii_only else "━─")
            self._live.start()
            self._live.update(Text(line, no_wrap=True, overflow="crop"), refresh=True)
        elif self._lines:
            try:
                print(printable(self._line((), 0, "")), file=sys.stderr, flush=True)
            except OSError:  # nobody reads that any more
                silence(sys.stderr)
        self._next_showing = time.monotonic() + (REFRESH if self.drawn else LINE_EVERY)

    def clear(self) -> None:
        """Take the bar away, until it is drawn the next time: a line comes in its place."""
        if self._live.is_started:  # stopping what was never drawn would print a line
            self._live.stop()
            self._next_showing = time.monotonic() + REFRESH

    def _line(self, details: Sequence[str], width: int, bar: str) -> str:
        """One line: title, details and a bar as they fit in `width` columns, steps, time left."""
        if self._total == 0:
            return self._title[:width] if width > 0 else self._title
        parts, end = [self._title], f"{self._done}/{self._total}{self._left()}"
        for detail in details:
            if len(" ".join([*parts, detail, end])) > width:
                break
            parts.append(detail)
        room = min(width - len(" ".join([*parts, end])) - 1, WIDEST_BAR)
        if room >= NARROWEST_BAR:
            full = room * min(self._done, self._total) // self._total
            parts.append(bar[0] * full + bar[1] * (room - full))
        text = " ".join([*parts, end])
        return text if width <= 0 or len(text) <= width else end[:width]

    def _left(self) -> str:
        """Time left, if the rest goes as fast as what was done so far."""
        steps = self._done - self._before
        if steps == 0:
            return ""
        seconds = (time.monotonic() - self._start) / steps * max(self._total - self._done, 0)
        return f" {timedelta(seconds=round(seconds))} left"

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exception: object) -> None:
        with suppress(OSError):  # a terminal that is gone shows no bar
            self.clear()
