"""Calls that are made at once and, where someone records them, noted to be made again.

A network makes the same calls on the same arrays in every step. To take them through the layers and
the checks of the operators again takes several times as long as it should: the kernels between have
driven all that Python needs out of the caches.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple


class Call(NamedTuple):
    """A function that works in place, and arguments that have passed all checks."""

    function: Callable[..., object]
    arguments: tuple[Any, ...]


class _Recording(threading.local):
    calls: list[Call] | None = None


_recording = _Recording()


def call_kernel(function: Callable[..., object], *arguments: Any) -> None:
    """Call a kernel or the like, and note the call where this thread is recording.

    Not those that the function makes in its turn.
    """
    calls, _recording.calls = _recording.calls, None
    try:
        function(*arguments)
    finally:
        _recording.calls = calls
    if calls is not None:
        calls.append(Call(function, arguments))


@contextmanager
def recorded() -> Iterator[list[Call]]:
    """Collect the calls that this thread runs in the block."""
    before, calls = _recording.calls, list[Call]()
    _recording.calls = calls
    try:
        yield calls
    finally:
        _recording.calls = before
