"""Ours beside the frameworks compared with, each in a process of its own, rounds interleaved.

    python benchmarks/compare.py                        the headline figures
    python benchmarks/compare.py "tf-full/*" --rounds 5
    python benchmarks/compare.py --list

Before anything is timed, every framework gets the same weights and inputs and its results are
compared with ours. Then, round after round, each runs for a moment in turn, so that whatever else
the machine does meets them all alike; the FMA peak is measured in the same rounds. Figures are
medians over the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import peers
from agreement import largest_error
from rates import rates
from shapes import Case, all_cases
from workers import Worker

from alexnet.console import Progress, print_table
from alexnet.peaks import Peaks

# Networks of the tutorial, its convolutions that take longest, its LRN.
HEADLINE = ("tf-tutorial/network/*/b32", "tf-tutorial/conv[345]/*/b32", "tf-tutorial/lrn*/*/b32")

RATES = (("gflops", "share_of_fma_peak"), ("gbytes", "share_of_copy_peak"))
HEADER = ("case", "contender", "ms", "±", "times ours", "", "GFLOP/s", "% of FMA", "GB/s")
HEADER += ("% of copy", "error")


@dataclass(frozen=True)
class Timing:
    """One contender's time on one case: seconds a round, and the error against ours."""

    provider: str
    mode: str
    seconds: tuple[float, ...]
    error: float

    @property
    def contender(self) -> str:
        return f"{self.provider} {self.mode}"

    @property
    def median(self) -> float:
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
    """All contenders on one case, ours first, and the machine's peaks in the same rounds."""

    case: Case
    timings: tuple[Timing, ...]
    peaks: Peaks

    @property
    def ours(self) -> Timing:
        """Our default mode."""
        return self.timings[0]

    @property
    def best_peer(self) -> Timing | None:
        """The fastest mode of another framework."""
        others = (timing for timing in self.timings if timing.provider != peers.OURS)
        return min(others, key=lambda timing: timing.median, default=None)

    @property
    def ratio(self) -> float | None:
        """How many times as long as ours the best peer takes."""
        return self.best_peer.median / self.ours.median if self.best_peer else None

    def rows(self) -> list[list[str]]:
        """A line of the table for each contender."""
        lines = []
        for timing in self.timings:
            figures = rates(self.case, timing.median, self.peaks)
            cells = [self.case.name if timing is self.ours else "", timing.contender]
            cells += [f"{timing.median * 1e3:.2f}", f"{timing.spread:.0%}"]
            cells.append(f"{timing.median / self.ours.median:.2f}")
            cells.append("best peer" if timing is self.best_peer else "")
            for rate, share in RATES:
                known = rate in figures
                cells += [f"{figures[rate]:.1f}", f"{figures[share]:.0%}"] if known else ["", ""]
            lines.append([*cells, f"{timing.error:.0e}"])
        return lines

    def figures(self) -> dict[str, Any]:
        """Everything as plain JSON values; times in seconds."""
        contenders = {
            timing.contender: {
                "median": timing.median,
                "spread": timing.spread,
                "relative_error": timing.error,
                "rounds": timing.seconds,
                **rates(self.case, timing.median, self.peaks),
            }
            for timing in self.timings
        }
        return {
            "case": self.case.name,
            "contenders": contenders,
            "best_peer": self.best_peer.contender if self.best_peer else None,
            "ratio_to_best_peer": self.ratio,
            "fma_gflops": self.peaks.fma_gflops,
        }


class Contest:
    """The worker processes for one number of threads: one a framework and mode."""

    def __init__(self, names: list[str], threads: int) -> None:
        self._threads = threads
        self._workers = {name: [Worker(name, threads)] for name in names}
        self._ours = self._workers[peers.OURS][0]
        self.peaks: Peaks = self._ours.ask("peaks")

    def versions(self) -> list[str]:
        return [workers[0].ask("version") for workers in self._workers.values()]

    def close(self) -> None:
        for workers in self._workers.values():
            for worker in workers:
                worker.close()

    def _contenders(self, case: Case) -> dict[tuple[str, str], Worker]:
        """One worker for each provider and mode, ours and its default mode first."""
        contenders = {}
        for name, workers in self._workers.items():
            modes = workers[0].ask("contenders", case)
            while len(workers) < len(modes):
                workers.append(Worker(name, self._threads))
            contenders |= {
                (name, mode): worker for mode, worker in zip(modes, workers, strict=False)
            }
        return contenders

    def compare(self, case: Case, rounds: int, seconds: float) -> Comparison:
        contenders, operands = self._contenders(case), case.operands()
        results = {
            (name, mode): worker.ask("prepare", case, mode, operands)
            for (name, mode), worker in contenders.items()
        }
        expected = next(iter(results.values()))
        errors = {key: largest_error(case, actual, expected) for key, actual in results.items()}
        times: dict[tuple[str, str], list[float]] = {key: [] for key in contenders}
        fma = []
        order = list(contenders)
        for _ in range(rounds):
            fma.append(self._ours.ask("fma_gflops"))
            for key in order:
                times[key].append(contenders[key].ask("time", seconds))
            order = [*order[1:], order[0]]
        for worker in contenders.values():
            worker.ask("release")
        timings = tuple(Timing(*key, tuple(times[key]), errors[key]) for key in contenders)
        return Comparison(case, timings, replace(self.peaks, fma_gflops=median(fma)))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "cases",
        nargs="*",
        default=HEADLINE,
        metavar="CASE",
        help=f"names of cases, * and ? allowed (default: {' '.join(HEADLINE)})",
    )
    everyone = ",".join(name for name in peers.PEERS if name != peers.OURS)
    parser.add_argument(
        "--peers", default=everyone, metavar="P,...", help=f"frameworks (default: {everyone})"
    )
    available = len(os.sched_getaffinity(0))
    parser.add_argument(
        "--threads",
        default=",".join(map(str, sorted({1, available}))),
        metavar="N,...",
        help="numbers of threads, one table each (default: %(default)s)",
    )
    parser.add_argument("--rounds", type=int, default=9, help="default: %(default)s")
    parser.add_argument(
        "--seconds",
        type=float,
        default=0.1,
        help="time of a contender in a round, at least one run (default: %(default)s)",
    )
    parser.add_argument("--json", metavar="FILE", help="all figures, of every round")
    parser.add_argument("--list", action="store_true", help="print the names of all cases")
    options = parser.parse_args()
    cases = all_cases()
    if options.list:
        print(*(case.name for case in cases), sep="\n")
        sys.exit()
    chosen = [case for case in cases if any(fnmatch(case.name, name) for name in options.cases)]
    if not chosen:
        parser.error(f"no case is named {' or '.join(options.cases)}; see --list")
    options.cases = chosen
    options.peers = [name for name in options.peers.split(",") if name]
    unknown = sorted({*options.peers} - {*peers.PEERS})
    if unknown:
        parser.error(f"peers are {everyone}; unknown: {', '.join(unknown)}")
    try:
        options.threads = [int(text) for text in options.threads.split(",")]
    except ValueError:
        parser.error(f"--threads is {options.threads}, expected integers such as 1,2")
    if min(*options.threads, options.rounds) < 1:
        parser.error("--threads and --rounds are at least 1")
    return options


def _installed(names: list[str]) -> list[str]:
    """Those of the frameworks that start here; the others are named."""
    installed = []
    for name in names:
        try:
            Worker(name, 1).close()
        except peers.PeerMissingError as error:
            print(f"left out: {error}")
        else:
            installed.append(name)
    return installed


def main() -> None:
    options = _options()
    names = [peers.OURS, *_installed(options.peers)]
    results = []
    for threads in options.threads:
        contest = Contest(names, threads)
        try:
            peaks = contest.peaks
            print(f"{', '.join(contest.versions())}; {peaks.isa}, threads: {threads}")
            print(
                f"peaks: FMA {peaks.fma_gflops:.0f} GFLOP/s, copy {peaks.copy_gbs:.1f} GB/s, "
                f"read {peaks.read_gbs:.1f} GB/s; medians of {options.rounds} rounds",
                flush=True,
            )
            comparisons = []
            with Progress("comparing", len(options.cases)) as progress:
                for case in options.cases:
                    comparisons.append(contest.compare(case, options.rounds, options.seconds))
                    progress.advance()
            rows = [row for comparison in comparisons for row in comparison.rows()]
            print_table(sys.stdout, HEADER, rows, right=(2, 3, 4, *range(6, len(HEADER))))
            print(flush=True)
        finally:
            contest.close()
        figures = [comparison.figures() for comparison in comparisons]
        results.append({"peaks": asdict(peaks), "cases": figures})
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
