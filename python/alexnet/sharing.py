"""What threads may do at the same time with the objects that they share.

Threads may run one network as they like: activations and gradients are each thread's own, and what
they share, parameters and state, is read by any number of threads or changed by one (`Guard`). What
is a sequence of steps by its nature, as training is, belongs to one thread at a time (`OneThread`).
"""

from __future__ import annotations

import os
import threading
import weakref
from types import TracebackType


class _Entered(threading.local):
    """What this thread does with the guarded objects."""

    depth = 0  # sections that it is in, one inside the other
    changing = False  # whether the outermost of them is one that changes
    changes = 0  # sections of this thread that have changed something, so far


class Guard:
    """Sections of many threads that read, or of one that changes: ``with guard.reading: ...``.

    A thread waits until it may enter, those that want to change before those that want to read. A
    section inside another of the same thread is entered at once; RuntimeError where the inner one
    changes what the outer one reads.
    """

    def __init__(self, subject: str) -> None:
        self.reading = _Reading(self)
        self.changing = _Changing(self)
        self._subject = subject
        self._changes = 0
        self._entered = _Entered()
        self._begin_alone()
        _guards.add(self)

    def _begin_alone(self) -> None:
        """Have no other thread in a section, nor waiting for one."""
        self._lock = threading.Lock()
        self._free = threading.Condition(self._lock)
        self._is_changing = self._entered.depth > 0 and self._entered.changing
        self._readers = int(self._entered.depth > 0 and not self._entered.changing)
        self._waiting_to_change = 0

    @property
    def foreign_changes(self) -> int:
        """How many sections of other threads have changed something so far."""
        return self._changes - self._entered.changes

    def enter_reading(self) -> None:
        """Begin a section that reads."""
        entered = self._entered
        if entered.depth == 0:
            with self._lock:
                while self._is_changing or self._waiting_to_change:
                    self._free.wait()
                self._readers += 1
            entered.changing = False
        entered.depth += 1

    def enter_changing(self) -> None:
        """Begin a section that changes."""
        entered = self._entered
        if entered.depth == 0:
            with self._lock:
                self._waiting_to_change += 1
                try:
                    while self._is_changing or self._readers:
                        self._free.wait()
                finally:
                    self._waiting_to_change -= 1
                self._is_changing = True
            entered.changing = True
        elif not entered.changing:
            raise RuntimeError(
                f"{self._subject}: a function that was called during a pass cannot change it"
            )
        entered.depth += 1

    def leave(self) -> None:
        """End the section that was begun last."""
        entered = self._entered
        entered.depth -= 1
        if entered.depth:
            return
        with self._lock:
            if entered.changing:
                self._is_changing = False
                self._changes += 1
                entered.changes += 1
            else:
                self._readers -= 1
            if self._readers == 0:
                self._free.notify_all()


# A fork copies what the sections of other threads have noted, but not those threads.
_guards: weakref.WeakSet[Guard] = weakref.WeakSet()


def _begin_alone_after_fork() -> None:
    for guard in _guards:
        guard._begin_alone()


os.register_at_fork(after_in_child=_begin_alone_after_fork)


class _Section:
    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._guard.leave()


class _Reading(_Section):
    def __enter__(self) -> None:
        self._guard.enter_reading()


class _Changing(_Section):
    def __enter__(self) -> None:
        self._guard.enter_changing()


class OneThread:
    """Sections of one thread at a time; RuntimeError for a second one, which does not wait."""

    def __init__(self, subject: str) -> None:
        self._subject = subject
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            raise RuntimeError(
                f"{self._subject}: another thread is at work with it, expected one at a time"
            )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._lock.release()
