"""What threads may do at the same time with the objects that they share.

Threads may run one network as they like: activations and gradients are each thread's own, and what
they share, parameters and state, is read by any number of threads or changed by one (`Guard`). What
is a sequence of steps by its nature, as training is, belongs to one thread at a time (`OneThread`).
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager


class _Stay:
    """What a thread does with a guarded object."""

    depth = 0  # sections that it is in, one inside the other
    changing = False  # whether the outermost of them is one that changes
    changes = 0  # sections of this thread that have changed something, so far


class _Own(threading.local):
    def __init__(self) -> None:
        self.stay = _Stay()


class Guard:
    """Sections of many threads that read, or of one that changes: ``with guard.reading: ...``.

    A thread waits until it may enter, those that want to change before those that want to read. A
    section inside another of the same thread is entered at once; RuntimeError where the inner one
    changes what the outer one reads.
    """

    def __init__(self, subject: str) -> None:
        self._subject = subject
        self._changes = 0
        self._own = _Own()
        self._begin_alone()
        _guards.add(self)

    def _begin_alone(self) -> None:
        """Have no other thread in a section, nor waiting for one."""
        self._lock = threading.RLock()  # reentrant, since a section may end in the midst of another
        self._free = threading.Condition(self._lock)
        stay = self._own.stay
        self._is_changing = stay.depth > 0 and stay.changing
        self._readers = int(stay.depth > 0 and not stay.changing)
        self._waiting_to_change = 0

    @property
    def foreign_changes(self) -> int:
        """How many sections of other threads have changed something so far."""
        return self._changes - self._own.stay.changes

    @property
    def reading(self) -> AbstractContextManager[None]:
        """A section that reads."""
        return self._section(changing=False)

    @property
    def changing(self) -> AbstractContextManager[None]:
        """A section that changes."""
        return self._section(changing=True)

    # KeyboardInterrupt may come at every call of a Python function, also that of `__exit__`: then
    # the section ends as Python discards the generator. So there is no such call between what is
    # done in order to enter or leave and the note of it, and those that wait look by themselves
    # now and then, as it may keep `notify_all` from telling them.
    @contextmanager
    def _section(self, *, changing: bool) -> Iterator[None]:
        stay, entered = self._own.stay, False
        try:
            if stay.depth == 0:
                with self._lock:
                    self._wait_until_free(changing)
                    self._is_changing = stay.changing = changing
                    self._readers += not changing
                    stay.depth, entered = 1, True
            elif changing and not stay.changing:
                raise RuntimeError(
                    f"{self._subject}: a function that was called during a pass cannot change it"
                )
            else:
                stay.depth, entered = stay.depth + 1, True
            yield
        finally:
            if entered:
                stay.depth -= 1
                if stay.depth == 0:
                    with self._lock:
                        self._is_changing = False
                        self._readers -= not stay.changing
                        self._changes += stay.changing
                        stay.changes += stay.changing
                        self._free.notify_all()

    def _wait_until_free(self, changing: bool) -> None:
        self._waiting_to_change += changing
        try:
            while self._is_changing or (self._readers if changing else self._waiting_to_change):
                self._free.wait(LONGEST_WAIT)
        finally:
            self._waiting_to_change -= changing


LONGEST_WAIT = 1.0  # seconds

# A fork copies what the sections of other threads have noted, but not those threads.
_guards: weakref.WeakSet[Guard] = weakref.WeakSet()


def _begin_alone_after_fork() -> None:
    for guard in _guards:
        guard._begin_alone()


os.register_at_fork(after_in_child=_begin_alone_after_fork)


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

    def __exit__(self, *exception: object) -> None:
        self._lock.release()
