"""Ours beside other frameworks, each mode of each in a process of its own, rounds interleaved.

Before anything is timed, every framework gets the same weights and inputs and its results are
compared with ours in float32; one that disagrees is not counted. Then, round after round, each runs
for a moment in turn, so that whatever else the machine does meets them all alike; the machine's
peaks are measured in the same rounds. Figures are medians over the rounds.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from statistics import median, quantiles
from threading import Lock
from typing import Any, TypeAlias

from alexnet.comparison.accuracy import EXACT, Accuracy, accuracy, exact_output
from alexnet.comparison.agreement import DisagreementError
from alexnet.comparison.cases import FLOAT32, Arrays, Case, NetworkCase
from alexnet.comparison.disturbance import Disturbance, Watch
from alexnet.comparison.peaks import Peaks
from alexnet.comparison.peers import OURS
from alexnet.comparison.rates import rates
from alexnet.comparison.worker import Clock, Worker, WorkerError

PAUSE = 0.05  # seconds before each turn, in which the threads of the one before go to sleep
SECONDS = 0.1  # of a turn, at least one run

StartWorker: TypeAlias = Callable[[str, int], Worker]
Tell: TypeAlias = Callable[[str, str], None]
Compare: TypeAlias = Callable[[Arrays], Accuracy]

RATES = (
    ("gflops_per_second", "share_of_fma_peak"),
    ("gbytes_per_second", "share_of_copy_peak"),
)
HEADER = (
    *("contender", "ms", "+/-", "/ ours"),
    *("GFLOP/s", "% FMA", "GB/s", "% copy", "error"),
)


@dataclass(frozen=True)
class Timing:
    """One contender's time on one case: seconds a round; how close it is, and in what precision."""

    provider: str
    mode: str
    seconds: tuple[float, ...]
    accuracy: Accuracy
    precision: str = FLOAT32

    @property
    def contender(self) -> str:
        """Framework and mode."""
        return f"{self.provider} {self.mode}"

    @property
    def median(self) -> float:
        """Seconds of a run."""
        return median(self.seconds)

    @property
    def spread(self) -> float:
        """Half the distance between the quartiles, relative to the median."""
        if len(self.seconds) < 2:
            return 0.0
        low, _, high = quantiles(self.seconds, n=4, method="inclusive")
        return (high - low) / 2 / self.median


@dataclass(frozen=True)
class Comparison:
    """All contenders on one case, ours first, and the machine's peaks in the same rounds.

    `failures` are contenders that do not count, with the reason: wrong results, or a crash.
    `disturbance` is what others took meanwhile.
    """

    case: Case
    timings: tuple[Timing, ...]
    peaks: Peaks
    failures: dict[str, str]
    disturbance: Disturbance

    @property
    def ours(self) -> Timing:
        """Our default mode."""
        return self.timings[0]

    @property
    def best_peer(self) -> Timing | None:
        """The fastest mode of another framework."""
        others = (timing for timing in self.timings if timing.provider != OURS)
        return min(others, key=lambda timing: timing.median, default=None)

    @property
    def ratio(self) -> float | None:
        """How many times as long as ours the best peer takes."""
        return self.best_peer.median / self.ours.median if self.best_peer else None

    def label(self, timing: Timing) -> str:
        """Name a contender, with its precision where they differ in it."""
        return timing.contender + (f", {timing.precision}" if self._shows_precision else "")

    @property
    def _shows_precision(self) -> bool:
        return isinstance(self.case, NetworkCase) and self.case.precision != FLOAT32

    @property
    def _shows_agreement(self) -> bool:
        return any(timing.accuracy.agreement is not None for timing in self.timings)

    def header(self) -> list[str]:
        """Name the columns of `rows`."""
        contender, *others = HEADER
        precision = ["precision"] if self._shows_precision else []
        return [contender, *precision, *others, *(["top-1"] if self._shows_agreement else [])]

    def rows(self) -> list[list[str]]:
        """Make a line of the table for each contender."""
        lines = []
        for timing in self.timings:
            figures = rates(self.case, timing.median, self.peaks)
            cells = [timing.contender, *([timing.precision] if self._shows_precision else [])]
            cells += [f"{timing.median * 1e3:.2f}", f"{timing.spread:.0%}"]
            cells.append(f"{timing.median / self.ours.median:.2f}")
            for rate, share in RATES:
                known = rate in figures
                cells += [f"{figures[rate]:.1f}", f"{figures[share]:.0%}"] if known else ["", ""]
            cells.append(f"{timing.accuracy.error:.0e}")
            if timing.accuracy.agreement is not None:
                cells.append(f"{timing.accuracy.agreement:.1%}")
            lines.append(cells)
        return lines

    def figures(self) -> dict[str, Any]:
        """Everything as plain JSON values."""
        contenders = {
            timing.contender: {
                "median_seconds": timing.median,
                "relative_spread": timing.spread,
                "precision": timing.precision,
                "relative_error": timing.accuracy.error,
                "top1_agreement": timing.accuracy.agreement,
                "round_seconds": timing.seconds,
                **rates(self.case, timing.median, self.peaks),
            }
            for timing in self.timings
        }
        return {
            "case": self.case.name,
            "contenders": contenders,
            "failures": self.failures,
            "best_peer": self.best_peer.contender if self.best_peer else None,
            "ratio_to_best_peer": self.ratio,
            "peaks": {
                "fma_gflops_per_second": self.peaks.fma_gflops,
                "copy_gbytes_per_second": self.peaks.copy_gbs,
                "read_gbytes_per_second": self.peaks.read_gbs,
            },
            "disturbance": self.disturbance.figures(),
        }


@dataclass
class _Contender:
    """A framework in one of its modes, what came of its check, and its times so far."""

    provider: str
    mode: str
    worker: Worker | None
    accuracy: Accuracy = EXACT
    precision: str = FLOAT32
    failure: str | None = None
    seconds: list[float] = field(default_factory=list)

    def ask(self, request: str, *arguments: Any) -> Any:
        assert self.worker is not None
        return self.worker.ask(request, *arguments)

    def check(self, case: Case, operands: Arrays, compare: Compare) -> None:
        """Prepare the case, and compare what comes of it."""
        try:
            self.accuracy = compare(self.ask("prepare", case, self.mode, operands))
            self.precision = self.ask("precision")
        except DisagreementError as error:
            self.failure = f"disagrees with ours: {error}"
        except WorkerError as error:
            self.failure = str(error)

    def time(self, seconds: float, clock: Clock) -> None:
        """Take a turn, after the others' threads have gone to sleep."""
        time.sleep(PAUSE)
        try:
            self.seconds.append(self.ask("time", seconds, clock))
        except WorkerError as error:
            self.failure = str(error)


class Contest:
    """The worker processes for one number of threads: one a framework and mode.

    Parameters
    ----------
    names
        The frameworks beside ours.
    threads
        Of each.
    start
        Makes a worker of a framework's name and the number of threads.
    tell
        Called before what may take long begins, with what that is, and with how far it is, such as
        "round 2 of 9", or "". Never twice at a time.

    """

    def __init__(
        self,
        names: Sequence[str],
        threads: int,
        *,
        start: StartWorker = Worker,
        tell: Tell = lambda *_: None,
    ) -> None:
        self._threads, self._start, self._tell = threads, start, tell
        self._telling = Lock()
        self._workers: dict[str, list[Worker]] = {name: [] for name in (OURS, *names)}
        self.versions: dict[str, str] = {}

    def compare(
        self,
        case: Case,
        rounds: int,
        seconds: float = SECONDS,
        on_step: Callable[[], None] = lambda: None,
        *,
        clock: Clock = time.perf_counter,
        trained: Arrays | None = None,
    ) -> Comparison:
        """Prepare and check every contender, then time all that agree, in turn.

        Frameworks start when the first case is compared. `seconds` is about the time of a turn, at
        least one run. `on_step` is called once when all are ready and after each round. `clock` may
        be `time.process_time` where one thread works. `trained` are the operands of a trained
        network and its images, in the place of the case's random ones.

        Raises
        ------
        WorkerError
            Our own worker failed.

        """
        operands = case.operands() if trained is None else trained
        ours, *others = self._enter(OURS, case)
        expected = self._in_float32(ours, case, operands)
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # nothing is timed yet
            exact = pool.submit(exact_output, case, operands)
            frameworks = (name for name in self._workers if name != OURS)
            for entered in pool.map(lambda name: self._try_to_enter(name, case), frameworks):
                others += entered
            contenders = [ours, *others]
            unchecked = [contender for contender in contenders if contender.failure is None]

            def compare(actual: Arrays) -> Accuracy:
                is_trained = trained is not None
                return accuracy(case, actual, expected, exact.result(), is_trained=is_trained)

            list(pool.map(lambda each: self._check(each, case, operands, compare), unchecked))
        on_step()
        turn = partial(_Contender.time, seconds=seconds, clock=clock)
        peaks, disturbance = self._time(case, contenders, rounds, turn, on_step)
        for contender in contenders:
            if contender.worker is not None and contender.worker.alive:
                contender.ask("release")
        if ours.failure:
            raise WorkerError(ours.failure)
        return Comparison(
            case,
            tuple(
                Timing(
                    contender.provider,
                    contender.mode,
                    tuple(contender.seconds),
                    contender.accuracy,
                    contender.precision,
                )
                for contender in contenders
                if contender.failure is None
            ),
            peaks,
            {
                f"{contender.provider} {contender.mode}".strip(): contender.failure
                for contender in contenders
                if contender.failure is not None
            },
            disturbance,
        )

    def _enter(self, name: str, case: Case) -> list[_Contender]:
        """One contender for each mode of a framework, with a worker each."""
        workers = self._workers[name]
        for worker in [worker for worker in workers if not worker.alive]:
            worker.close()
            workers.remove(worker)
        if not workers:
            number = list(self._workers).index(name)
            self._say(f"starting {name} ({number + 1} of {len(self._workers)})")
            workers.append(self._start(name, self._threads))
        self.versions[name] = workers[0].ask("version")
        modes = workers[0].ask("contenders", case)
        while len(workers) < len(modes):
            workers.append(self._start(name, self._threads))
        return [
            _Contender(name, mode, worker) for mode, worker in zip(modes, workers, strict=False)
        ]

    def _say(self, text: str, place: str = "") -> None:
        """Tell what is done, from any thread."""
        with self._telling:
            self._tell(text, place)

    @staticmethod
    def _in_float32(ours: _Contender, case: Case, operands: Arrays) -> Arrays:
        """Compute what the others' results are compared with."""
        if isinstance(case, NetworkCase):
            case = replace(case, precision=FLOAT32)
        results: Arrays = ours.ask("prepare", case, ours.ask("modes", case)[0], operands)
        return results

    def _check(self, contender: _Contender, case: Case, operands: Arrays, compare: Compare) -> None:
        self._say(f"preparing {contender.provider} {contender.mode} for {case.name}")
        contender.check(case, operands, compare)

    def _try_to_enter(self, name: str, case: Case) -> list[_Contender]:
        try:
            return self._enter(name, case)
        except WorkerError as error:
            return [_Contender(name, "", None, failure=str(error))]

    def _time(
        self,
        case: Case,
        contenders: Sequence[_Contender],
        rounds: int,
        turn: Callable[[_Contender], None],
        on_step: Callable[[], None],
    ) -> tuple[Peaks, Disturbance]:
        """Run rounds of one turn each, who is first moving on; medians of the machine's peaks."""
        order, watch = list(contenders), Watch()
        peaks: list[Peaks] = []
        for number in range(rounds):
            self._say(f"timing {case.name}", f"round {number + 1} of {rounds}")
            peaks.append(contenders[0].ask("peaks"))
            for contender in order:
                if contender.failure is None:
                    turn(contender)
            order = [*order[1:], order[0]]
            on_step()
        disturbance = watch.stop(self._threads)
        medians = Peaks(
            peaks[0].isa,
            peaks[0].threads,
            fma_gflops=median(peak.fma_gflops for peak in peaks),
            copy_gbs=median(peak.copy_gbs for peak in peaks),
            read_gbs=median(peak.read_gbs for peak in peaks),
        )
        share = medians.fma_gflops / max(peak.fma_gflops for peak in peaks)
        return medians, replace(disturbance, peak=share)

    def close(self) -> None:
        """End all processes."""
        for workers in self._workers.values():
            for worker in workers:
                worker.close()
            workers.clear()

    def __enter__(self) -> Contest:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
