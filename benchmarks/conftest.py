"""Every case on every framework that is installed, each in a process of its own.

Every case is compared with the project's own result before it is timed. A group holds all that did
the same work.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any

import pytest

from alexnet.comparison import peers
from alexnet.comparison.agreement import largest_error
from alexnet.comparison.cases import Arrays, Case
from alexnet.comparison.peaks import Peaks
from alexnet.comparison.rates import rates
from alexnet.comparison.worker import Worker

_workers = pytest.StashKey[dict[str, Worker]]()
_missing = pytest.StashKey[dict[str, str]]()


class Clock:
    """The seconds that workers have spent in runs, so that the way to them is in no figure."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


_clock = Clock()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("alexnet benchmarks")
    group.addoption(
        "--peers",
        default="all",
        metavar="P,...",
        help=f"frameworks beside ours: all, none or some of {','.join(peers.FRAMEWORKS)}",
    )
    group.addoption(
        "--threads",
        type=int,
        default=len(os.sched_getaffinity(0)),
        metavar="N",
        help="threads of every framework (default: the processors that may be used)",
    )


def pytest_configure(config: pytest.Config) -> None:
    try:
        names = peers.chosen(config.option.peers)
    except ValueError as error:
        raise pytest.UsageError(f"--peers: {error}") from error
    missing = config.stash[_missing] = peers.missing(names)
    installed = [peers.OURS, *(name for name in names if name not in missing)]
    threads = config.option.threads
    config.stash[_workers] = {name: Worker(name, threads) for name in installed}


def pytest_unconfigure(config: pytest.Config) -> None:
    for worker in config.stash.get(_workers, {}).values():
        worker.close()


def pytest_report_header(config: pytest.Config) -> list[str]:
    versions = [worker.ask("version") for worker in config.stash[_workers].values()]
    lines = [f"measured: {', '.join(versions)}; {config.option.threads} threads"]
    missing = config.stash[_missing]
    return lines + ([f"not installed: {', '.join(missing)}"] if missing else [])


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run every benchmark on each of its module's CASES, in each mode of each framework."""
    parameters = [
        pytest.param(case, name, mode, id=f"{case.name}-{name}-{mode.replace(' ', '-')}")
        for case in metafunc.module.CASES
        for name, worker in metafunc.config.stash[_workers].items()
        for mode in worker.ask("modes", case)
    ]
    metafunc.parametrize(("case", "peer", "mode"), parameters)
    metafunc.definition.add_marker(pytest.mark.benchmark(timer=_clock))


class Reference:
    """Our own results, and the machine's peaks."""

    def __init__(self, ours: Worker) -> None:
        self._ours = ours
        self.peaks: Peaks = ours.ask("peaks")
        self._case: Case | None = None
        self._results: tuple[Arrays, Arrays] = {}, {}

    def results(self, case: Case) -> tuple[Arrays, Arrays]:
        """Operands and what comes of them, kept until the next case."""
        if case != self._case:
            operands, mode = case.operands(), self._ours.ask("modes", case)[0]
            self._results = operands, self._ours.ask("prepare", case, mode, operands)
            self._ours.ask("release")
            self._case = case
        return self._results


@pytest.fixture(scope="session")
def reference(request: pytest.FixtureRequest) -> Reference:
    return Reference(request.config.stash[_workers][peers.OURS])


@pytest.fixture
def measure(
    benchmark: Any, reference: Reference, request: pytest.FixtureRequest
) -> Callable[[Case, str, str], None]:
    """Prepare a case, compare its results with ours, time it, note what the time means."""
    options = request.config.option

    def measured(case: Case, peer: str, mode: str) -> None:
        operands, expected = reference.results(case)
        worker = request.config.stash[_workers][peer]
        error = largest_error(case, worker.ask("prepare", case, mode, operands), expected)

        def run() -> None:
            _clock.seconds += worker.ask("run")

        duration = worker.ask("run")
        rounds = max(
            int(options.benchmark_min_rounds),
            math.ceil(float(options.benchmark_max_time) / duration),
        )
        benchmark.group = case.name
        benchmark.pedantic(run, rounds=rounds, warmup_rounds=1)
        worker.ask("release")
        benchmark.extra_info |= {
            "framework": worker.ask("version"),
            "mode": mode,
            "threads": options.threads,
            "relative_error": error,
            "fma_peak_gflops_per_second": reference.peaks.fma_gflops,
            "copy_peak_gbytes_per_second": reference.peaks.copy_gbs,
        }
        if benchmark.stats is not None:  # it is with --benchmark-disable
            benchmark.extra_info |= rates(case, benchmark.stats.stats.median, reference.peaks)

    return measured
