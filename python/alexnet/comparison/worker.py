"""One framework in a process of its own, told what to do through a pipe.

Two OpenMP runtimes in a process disturb each other, and so do two frameworks' thread pools and
memory; so whatever is compared runs apart.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib import import_module
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, TypeAlias

from alexnet.comparison.cases import Arrays, Case
from alexnet.comparison.peaks import Peaks, measure_peaks
from alexnet.comparison.peers import OURS
from alexnet.comparison.peers.interface import Job, Peer
from alexnet.runtime import cpu_isa

# A framework is imported first: it brings an OpenMP runtime of its own, and would otherwise be
# given the one that our compiled module has loaded under the same name.
PROGRAM = "import {first}; from alexnet.comparison.worker import serve; serve()"
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "JAX_PLATFORMS": "cpu"}
PEAKS_BYTES = 2**26  # of each of two arrays: past most caches, and short enough for every round
LONG_RUN = 0.3  # seconds, from which waking threads and filling caches is no share of a run

Clock: TypeAlias = Callable[[], float]


class _Server:
    """The worker's side: each method is a request."""

    def __init__(self, name: str, threads: int) -> None:
        module = import_module(f"alexnet.comparison.peers.{'ours' if name == OURS else name}")
        self._peer: Peer = module.PEER(threads)
        self._job: Job | None = None
        self._last = 0.0

    def version(self) -> str:
        return self._peer.version()

    def modes(self, case: Case) -> tuple[str, ...]:
        return self._peer.modes(case)

    def contenders(self, case: Case) -> tuple[str, ...]:
        return self._peer.contenders(case)

    def prepare(self, case: Case, mode: str, operands: Arrays) -> Arrays:
        """Make a case ready, run it once, and return what it computed."""
        self.release()
        self._job = self._peer.prepare(case, mode, operands)
        self._last = 0.0
        return self._job.outputs(self._job.run())

    def precision(self) -> str:
        """Tell what the job computes in."""
        assert self._job is not None
        return self._job.precision

    def release(self) -> None:
        """Give the job's memory back; frameworks' functions hold themselves in cycles."""
        self._job = None
        gc.collect()

    def run(self, clock: Clock = perf_counter) -> float:
        """Seconds of one run by the clock."""
        assert self._job is not None
        start = clock()
        self._job.run()
        self._last = clock() - start
        return self._last

    def durations(self, seconds: float, clock: Clock = perf_counter) -> list[float]:
        """Seconds of each run over about `seconds`, after one that warms caches again."""
        if self._last < LONG_RUN:
            self.run()
        durations = [self.run(clock)]
        while sum(durations) < seconds:
            durations.append(self.run(clock))
        return durations

    def time(self, seconds: float, clock: Clock = perf_counter) -> float:
        """Median seconds of such a run."""
        return median(self.durations(seconds, clock))

    def peaks(self) -> Peaks:
        return measure_peaks(array_bytes=PEAKS_BYTES)

    def peak_memory(self, case: Case, mode: str, runs: int) -> tuple[int, int]:
        """Bytes resident before the case, and at most during `runs` runs of it."""
        before = _memory("VmRSS")
        job = self._peer.prepare(case, mode, case.operands())
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # VmHWM starts again
        for _ in range(runs):
            job.run()
        return before, _memory("VmHWM")


def _memory(field: str) -> int:
    """Bytes that Linux tells of this process."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


class WorkerError(ChildProcessError):
    """A request failed in the worker, or its process ended; one line says how."""


class Worker:
    """The near side. Requests are methods of `_Server`, called as ``worker.ask("time", 0.1)``."""

    def __init__(self, name: str, threads: int) -> None:
        self._name = name
        self._connection, far = Pipe()
        program = PROGRAM.format(first=name)
        arguments = (name, str(threads), str(far.fileno()))
        environment = {**os.environ, **QUIET, "OMP_NUM_THREADS": str(threads)}
        environment["ALEXNET_ISA"] = cpu_isa()
        environment.pop("ALEXNET_NUM_THREADS", None)
        # Frameworks say much; the last line may matter.
        self._messages = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the worker
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter, and our own text
            [sys.executable, "-c", program, *arguments],
            env=environment,
            pass_fds=[far.fileno()],
            stderr=self._messages,
        )
        far.close()

    @property
    def alive(self) -> bool:
        """Whether the process can still be asked."""
        return self._process.poll() is None

    def ask(self, request: str, *arguments: Any) -> Any:
        """Do the request in the worker and return its result; `WorkerError` where that failed."""
        try:
            self._connection.send((request, arguments))
            error, result = self._connection.recv()
        except (EOFError, OSError):
            raise WorkerError(f"{self._name}: {self._end()}") from None
        if error is not None:
            raise WorkerError(f"{self._name}: {error}")
        return result

    def _end(self) -> str:
        """How the process ended, and the last that it said."""
        status = self._process.wait()
        self._messages.seek(0)
        lines = self._messages.read().decode(errors="replace").split("\n")
        said = next((f": {line.strip()}" for line in reversed(lines) if line.strip()), "")
        return f"its process ended with status {status}{said}"

    def close(self) -> None:
        """Let the process end, and wait for it."""
        self._connection.close()
        self._process.wait()
        self._messages.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def serve() -> None:
    """Answer requests until the other side closes the pipe."""
    name, threads, file = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    connection = Connection(file)
    server = _Server(name, threads)
    while True:
        try:
            request, arguments = connection.recv()
        except EOFError:
            return
        reply: tuple[str | None, Any]
        try:
            reply = (None, getattr(server, request)(*arguments))
        except Exception as error:
            reply = (f"{type(error).__name__}: {str(error).strip()}".partition("\n")[0], None)
        connection.send(reply)
