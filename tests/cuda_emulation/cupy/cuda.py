"""Stand-in for `cupy.cuda`: devices, memory, streams and events that have nothing to wait for.

Work on a stream is done at once, or noted between `begin_capture` and `end_capture`, to be done
when the graph is launched. What CUDA doesn't allow a thread meanwhile (in its mode "thread local")
is an error: to allocate, to wait for the device, or to copy between host and device.
"""

from __future__ import annotations

import itertools
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from types import SimpleNamespace, TracebackType
from typing import Any, ClassVar

import numpy as np

DEVICES = 2
ALIGNMENT = 512  # bytes, as CuPy's pool aligns
KEPT = 64 << 20  # bytes of released memory that nobody gets again yet
_current = 0


# --- memory ---------------------------------------------------------------------------------------


class Memory:
    """A piece of the device's memory. It is full of NaN at first, and again when it is released.

    Released memory is kept for a while, so that a kernel which still uses it finds the NaN.
    """

    _released: ClassVar[deque[np.ndarray]] = deque()

    def __init__(self, size: int) -> None:
        self._whole = np.full(size + ALIGNMENT, 0xFF, np.uint8)
        first = -self._whole.ctypes.data % ALIGNMENT
        self.bytes = self._whole[first : first + size]
        self.ptr, self.size = self.bytes.ctypes.data, size

    def __del__(self) -> None:
        released = self._released
        self._whole.fill(0xFF)
        released.append(self._whole)
        while sum(memory.nbytes for memory in released) > KEPT:
            released.popleft()


class MemoryPointer:
    def __init__(self, mem: Any, offset: int) -> None:
        self.mem = mem
        self.ptr = mem.ptr + offset


class _Thread(threading.local):
    def __init__(self) -> None:
        self.stream = Stream.null
        self.allocator: Callable[[int], MemoryPointer] = _allocate
        self.captured: Stream | None = None
        self.is_spoilt = False  # the capture


def _allocate(size: int) -> MemoryPointer:
    refuse_in_capture("an allocation")
    return MemoryPointer(Memory(size), 0)


def alloc(size: int) -> MemoryPointer:
    return _thread.allocator(size)


def get_allocator() -> Callable[[int], MemoryPointer]:
    return _thread.allocator


@contextmanager
def using_allocator(allocator: Callable[[int], MemoryPointer]) -> Iterator[None]:
    before, _thread.allocator = _thread.allocator, allocator
    try:
        yield
    finally:
        _thread.allocator = before


# --- devices --------------------------------------------------------------------------------------


class Device:
    """A device by number, or the current one; `with` makes it the current one."""

    compute_capability = "80"

    def __init__(self, number: int | None = None) -> None:
        self.id = _current if number is None else number

    def __enter__(self) -> Device:
        global _current
        self._before, _current = _current, self.id
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        global _current
        _current = self._before

    def synchronize(self) -> None:
        refuse_in_capture("waiting for the device")


# --- streams and graphs ---------------------------------------------------------------------------


def _recorder() -> Any:
    """The part of the emulated module that captures; its launches go the same way."""
    return sys.modules["_cuda_capture"]


def refuse_in_capture(what: str) -> None:
    if _thread.captured is not None:
        raise RuntimeError(
            "cudaErrorStreamCaptureUnsupported: operation not permitted when stream is capturing: "
            f"{what}"
        )


def enqueue(work: Callable[[], object]) -> None:
    """Do what a kernel of CuPy's would do, or note it where the current stream is captured."""
    if _thread.captured is None:
        work()
    elif _thread.captured is _thread.stream:
        _recorder().record(work)
    else:
        raise RuntimeError(
            "cudaErrorStreamCaptureImplicit: launch on a stream beside a captured one"
        )


class Graph:
    def __init__(self, works: Any) -> None:
        self._works = works

    def launch(self, stream: Stream | None = None) -> None:  # noqa: ARG002 - all are done at once
        refuse_in_capture("the launch of a graph")
        self._works.launch()

    def __len__(self) -> int:
        """How many kernels: CuPy's have no such method."""
        return len(self._works)

    def __del__(self) -> None:
        if _thread.captured is not None:  # CUDA: operation not permitted when stream is capturing
            _thread.is_spoilt = True


class Stream:
    null: ClassVar[Stream]
    _numbers: ClassVar[Iterator[int]] = itertools.count(1)

    def __init__(self, null: bool = False, non_blocking: bool = False) -> None:
        self.ptr = 0 if null else 4096 * next(self._numbers)
        self.is_non_blocking = non_blocking
        self._outer: list[Stream] = []

    def __enter__(self) -> Stream:
        self._outer.append(_thread.stream)
        _thread.stream = self
        return self

    def __exit__(self, *_: object) -> None:
        _thread.stream = self._outer.pop()

    def begin_capture(self, mode: int | None = None) -> None:
        if self.ptr == 0:
            raise RuntimeError("cannot capture on the default (legacy) stream")
        if mode != runtime.streamCaptureModeThreadLocal:
            raise NotImplementedError("the emulation knows the mode 'thread local' alone")
        _recorder().begin(self.ptr)
        _thread.captured = self

    def end_capture(self) -> Graph:
        _thread.captured = None
        graph, is_spoilt = Graph(_recorder().end()), _thread.is_spoilt
        _thread.is_spoilt = False
        if is_spoilt:
            raise runtime.CUDARuntimeError("operation failed due to a previous error in capture")
        return graph

    def is_capturing(self) -> bool:
        return _thread.captured is self

    def synchronize(self) -> None:
        refuse_in_capture("waiting for a stream")

    def wait_event(self, event: Event) -> None:
        if event.captured_in is not _thread.captured:
            refuse_in_capture("waiting for an event of another stream")


Stream.null = Stream(null=True)
_thread = _Thread()


def get_current_stream() -> Stream:
    return _thread.stream


class Event:
    captured_in: Stream | None = None

    def record(self, stream: Stream | None = None) -> None:  # noqa: ARG002 - all are done at once
        self.captured_in = _thread.captured
        self.time = perf_counter()

    def synchronize(self) -> None:
        refuse_in_capture("waiting for an event")


def get_elapsed_time(start: Event, end: Event) -> float:
    return (end.time - start.time) * 1e3


runtime = SimpleNamespace(
    getDeviceCount=lambda: DEVICES,
    getDeviceProperties=lambda _: {"name": b"emulated device", "major": 8, "minor": 0},
    CUDARuntimeError=RuntimeError,
    streamCaptureModeThreadLocal=1,
)
