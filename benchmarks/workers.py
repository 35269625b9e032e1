"""One framework in a process of its own, told what to do through a pipe.

Two OpenMP runtimes in a process disturb each other, and so do two frameworks' thread pools and
memory; so whatever is compared runs apart.
"""

from __future__ import annotations

import os
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any

import peers

if TYPE_CHECKING:
    from shapes import Arrays, Case

    from alexnet.peaks import Peaks


class _Server:
    """The worker's side: each method is a request."""

    def __init__(self, name: str, threads: int) -> None:
        self._peer = peers.load(name, threads)
        self._job: peers.Job | None = None

    def version(self) -> str:
        return self._peer.version()

    def modes(self, case: Case) -> tuple[str, ...]:
        return self._peer.modes(case)

    def contenders(self, case: Case) -> tuple[str, ...]:
        return self._peer.contenders(case)

    def prepare(self, case: Case, mode: str, operands: Arrays) -> Arrays:
        """Make a case ready, run it once, and return what it computed."""
        self._job = None  # its memory first
        self._job = self._peer.prepare(case, mode, operands)
        return self._job.outputs(self._job.run())

    def release(self) -> None:
        self._job = None

    def time(self, seconds: float) -> float:
        """Median seconds of a run over about `seconds`, after one that warms caches again."""
        self._job.run()
        durations: list[float] = []
        while not durations or sum(durations) < seconds:
            start = perf_counter()
            self._job.run()
            durations.append(perf_counter() - start)
        return median(durations)

    def peaks(self) -> Peaks:
        from alexnet.peaks import measure_peaks

        return measure_peaks()

    def fma_gflops(self) -> float:
        from alexnet.peaks import measure_fma_gflops

        return measure_fma_gflops()


class WorkerError(Exception):
    """A request failed in the worker; the message has its traceback."""


class Worker:
    """The near side. Requests are methods of `_Server`, called as ``worker.ask("time", 0.1)``."""

    def __init__(self, name: str, threads: int) -> None:
        self._connection, far = Pipe()
        command = [sys.executable, __file__, name, str(threads), str(far.fileno())]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        self._process = subprocess.Popen(command, env=environment, pass_fds=[far.fileno()])
        far.close()
        try:
            missing = self._connection.recv()
        except EOFError:
            raise WorkerError(f"{name}: its process ended with {self._process.wait()}") from None
        if missing is not None:
            self.close()
            raise peers.PeerMissingError(missing)

    def ask(self, request: str, *arguments: Any) -> Any:
        self._connection.send((request, arguments))
        try:
            error, result = self._connection.recv()
        except EOFError:
            raise WorkerError(f"{request}: the process ended, {self._process.wait()}") from None
        if error is not None:
            raise WorkerError(error)
        return result

    def close(self) -> None:
        self._connection.close()
        self._process.wait()


@contextmanager
def worker(name: str, threads: int) -> Iterator[Worker]:
    """Start a worker for the duration of a with statement."""
    started = Worker(name, threads)
    try:
        yield started
    finally:
        started.close()


def _serve(name: str, threads: int, connection: Connection) -> None:
    try:
        server = _Server(name, threads)
    except peers.PeerMissingError as error:
        connection.send(str(error))
        return
    connection.send(None)
    while True:
        try:
            request, arguments = connection.recv()
        except EOFError:
            return
        try:
            reply = (None, getattr(server, request)(*arguments))
        except Exception:
            reply = (traceback.format_exc(), None)
        connection.send(reply)


if __name__ == "__main__":
    _serve(sys.argv[1], int(sys.argv[2]), Connection(int(sys.argv[3])))
