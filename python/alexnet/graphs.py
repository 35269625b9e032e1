"""CUDA graphs: work on a device that is the same every time, launched as one.

    graph = Graph(arrays, work, remember)
    result = graph.run(images, labels)

The first run does the work and notes what memory it takes, the second captures it, and from then on
a run copies the given arrays and numbers into place and launches the graph: no kernel is chosen, no
argument checked, no memory taken. The work has to have been done once before, so that what it makes
for good is there.

What changes from run to run lies in device memory, where the kernels find it: the arrays that are
given, and numbers such as a learning rate or the place in a stream of random numbers. Work asks
`numbers` for those, and says with `each_time` what the host has to do besides.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from alexnet.arrays import Array, ArrayKind

T = TypeVar("T")

SLOT = 64  # bytes for the numbers of one request, more than any has
MOST_SLOTS = 64


class _Thread(threading.local):
    run: _Run | None = None
    without = False


_thread = _Thread()


def is_running() -> bool:
    """Whether this thread is doing the work of a graph, be it to capture it or not."""
    return _thread.run is not None


def may_begin() -> bool:
    """Whether work of this thread may be done by a graph: not inside of another's."""
    return _thread.run is None and not _thread.without


@contextmanager
def without() -> Iterator[None]:
    """Have the passes of this thread done without graphs."""
    before, _thread.without = _thread.without, True
    try:
        yield
    finally:
        _thread.without = before


def numbers(make: Callable[[], Sequence[float]], dtype: npt.DTypeLike) -> Array:
    """Give an array on the device with what `make` returns at each run; None outside of graphs."""
    return None if _thread.run is None else _thread.run.numbers(make, np.dtype(dtype))


def each_time(work: Callable[[], None]) -> None:
    """Do something on the host now, and again at the same place of every run of a graph."""
    work()
    if _thread.run is not None:
        _thread.run.before_launch.append(work)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Have Python collect no garbage: a graph that is freed then ends the capture of another."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class _Memory:
    """What a graph's work takes from the memory pool: the same pieces in every run, and kept.

    Each piece is the graph's alone, so that what a kernel left there stays until the next run.
    """

    def __init__(self, allocate: Callable[[int], Any], pointer: Callable[[Any, int], Any]) -> None:
        self._allocate = allocate
        self._pointer = pointer
        self._pieces: list[tuple[int, Any]] = []
        self._next = 0
        self._is_complete = False

    def rewind(self) -> None:
        """Begin another run, which takes what the one before took."""
        self._next, self._is_complete = 0, True

    def take(self, size: int) -> Any:
        """Allocate as CuPy's pool does."""
        if not self._is_complete:
            self._pieces.append((size, self._allocate(size).mem))
        elif self._next == len(self._pieces) or self._pieces[self._next][0] != size:
            raise RuntimeError(
                f"the work asked for {size} bytes of device memory as number {self._next + 1}, "
                "which it did not the time before"
            )
        self._next += 1
        return self._pointer(self._pieces[self._next - 1][1], 0)


class _Run:
    """The work being done with all that a graph of it will have."""

    def __init__(self, device: Array, host: npt.NDArray[np.uint8], capturing: bool) -> None:
        self._device = device
        self._host = host
        self._capturing = capturing
        self.slots = 0
        self.before_launch: list[Callable[[], None]] = []

    def numbers(self, make: Callable[[], Sequence[float]], dtype: np.dtype[Any]) -> Array:
        """See the function."""
        if self.slots == MOST_SLOTS:
            raise RuntimeError(f"a graph has more than {MOST_SLOTS} sets of numbers that change")
        size = len(make_once := tuple(make())) * dtype.itemsize
        place = slice(self.slots * SLOT, self.slots * SLOT + size)
        self.slots += 1
        here = self._host[place].view(dtype)
        here[...] = make_once
        there = self._device[place].view(dtype)
        if not self._capturing:
            there.set(here)

        def renew() -> None:
            here[...] = make()

        self.before_launch.append(renew)
        return there


class Graph(Generic[T]):
    """Work that is done again and again on arrays of the same shapes.

    Parameters
    ----------
    arrays
        Of the device.
    work
        Called with the graph's own copies of the given arrays. What it returns lies in the graph's
        memory: the next run overwrites it.
    remember
        Called after the capture; what it returns is called after every later run, to leave the host
        as the work would have.
    """

    def __init__(
        self,
        arrays: ArrayKind,
        work: Callable[..., T],
        remember: Callable[[], Callable[[], None]],
    ) -> None:
        self._cupy = arrays.module
        self._work = work
        self._remember = remember
        cuda = self._cupy.cuda
        self._memory = _Memory(cuda.get_allocator(), cuda.MemoryPointer)
        self._given: list[Array] = []
        self._host = np.zeros(SLOT * MOST_SLOTS, np.uint8)
        self._device = self._cupy.zeros(self._host.shape, np.uint8)
        self._graph: Any = None
        self._has_numbers = False
        self._before_launch: list[Callable[[], None]] = []
        self._result: T
        self._restore: Callable[[], None] = lambda: None
        self._runs = 0

    @property
    def is_captured(self) -> bool:
        """Whether a run is a launch."""
        return self._graph is not None

    def run(self, *given: Array) -> T:
        """Do the work on the given arrays, of the host or the device, on the current stream.

        RuntimeError if it can't be captured.
        """
        if not self._given:
            self._given = [self._cupy.empty(array.shape, array.dtype) for array in given]
        stream = self._cupy.cuda.get_current_stream()
        for own, array in zip(self._given, given, strict=True):
            if isinstance(array, np.ndarray):
                own.set(np.ascontiguousarray(array), stream=stream)
            else:
                own[...] = array
        self._runs += 1
        if self._runs == 1:
            return self._done(capturing=False)[0]
        if self._graph is None:
            self._capture()
        else:
            for work in self._before_launch:
                work()
        if self._has_numbers:
            self._device.set(self._host, stream=stream)
        self._graph.launch()
        self._restore()
        return self._result

    def _done(self, *, capturing: bool) -> tuple[T, _Run]:
        """Do the work with the graph's memory; tell what is to be done before each launch."""
        run = _Run(self._device, self._host, capturing)
        _thread.run = run
        try:
            with self._cupy.cuda.using_allocator(self._memory.take):
                return self._work(*self._given), run
        finally:
            _thread.run = None
            self._memory.rewind()

    def _capture(self) -> None:
        cuda = self._cupy.cuda
        stream = cuda.Stream(non_blocking=True)  # the default one can't be captured
        with stream, _no_collection():
            stream.begin_capture(cuda.runtime.streamCaptureModeThreadLocal)
            try:
                result, run = self._done(capturing=True)
            except BaseException as error:
                self._abandon(stream)
                if not isinstance(error, Exception):
                    raise
                raise RuntimeError(
                    f"the work can't be captured as a CUDA graph: {error}; do it without: "
                    "graph=False, or --no-graph of a command"
                ) from error
            self._graph = stream.end_capture()
        self._result, self._before_launch = result, run.before_launch
        self._has_numbers = run.slots > 0
        self._restore = self._remember()

    def _abandon(self, stream: Any) -> None:
        """End a capture that has failed."""
        try:
            stream.end_capture()
        except self._cupy.cuda.runtime.CUDARuntimeError:  # CUDA's word for what failed before
            return
