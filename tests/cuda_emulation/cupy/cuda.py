"""Stand-in for `cupy.cuda`: devices, streams and events that have nothing to wait for."""

from __future__ import annotations

from time import perf_counter
from types import SimpleNamespace, TracebackType

DEVICES = 2
_current = 0


class MemoryPointer:
    def __init__(self, address: int) -> None:
        self.ptr = address


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
        pass


class Stream:
    ptr = 0

    def synchronize(self) -> None:
        pass


def get_current_stream() -> Stream:
    return Stream()


class Event:
    def record(self) -> None:
        self.time = perf_counter()

    def synchronize(self) -> None:
        pass


def get_elapsed_time(start: Event, end: Event) -> float:
    return (end.time - start.time) * 1e3


runtime = SimpleNamespace(
    getDeviceCount=lambda: DEVICES,
    getDeviceProperties=lambda _: {"name": b"emulated device", "major": 8, "minor": 0},
    CUDARuntimeError=RuntimeError,
)
