"""One framework a pytest process: ``pytest benchmarks --provider torch`` measures PyTorch's.

Every case is compared with the project's own result, from a process of its own, before it is timed.
A group holds all that did the same work, so that tables of several runs stand side by side.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import peers
import pytest
from workers import Worker, worker

if TYPE_CHECKING:
    from shapes import Arrays, Case

    from alexnet.peaks import Peaks

_peer = pytest.StashKey[peers.Peer]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("alexnet benchmarks")
    group.addoption(
        "--provider",
        choices=tuple(peers.PEERS),
        default=peers.OURS,
        help=f"framework that is measured (default: {peers.OURS})",
    )
    group.addoption(
        "--threads",
        type=int,
        default=len(os.sched_getaffinity(0)),
        metavar="N",
        help="threads of every framework (default: the processors that may be used)",
    )


def pytest_configure(config: pytest.Config) -> None:
    # Before any benchmark is imported, and with it the project: a framework loads its own OpenMP.
    try:
        config.stash[_peer] = peers.load(config.option.provider, config.option.threads)
    except peers.PeerMissingError as error:
        raise pytest.UsageError(str(error)) from error


def pytest_report_header(config: pytest.Config) -> str:
    return f"provider: {config.stash[_peer].version()}, {config.option.threads} threads"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run every benchmark on each of its module's CASES, in each mode of the framework."""
    peer = metafunc.config.stash[_peer]
    parameters = [
        pytest.param(case, mode, id=f"{case.name}-{mode}")
        for case in metafunc.module.CASES
        for mode in peer.modes(case)
    ]
    metafunc.parametrize(("case", "mode"), parameters)


class Reference:
    """The project in a process of its own: what results should be, and the machine's peaks."""

    def __init__(self, ours: Worker) -> None:
        self._ours = ours
        self.peaks: Peaks = ours.ask("peaks")
        self._case: Case | None = None
        self._results: tuple[Arrays, Arrays] = {}, {}

    def results(self, case: Case) -> tuple[Arrays, Arrays]:
        """Operands and what comes of them, kept until the next case."""
        if case != self._case:
            operands = case.operands()
            mode = self._ours.ask("modes", case)[0]
            self._results = operands, self._ours.ask("prepare", case, mode, operands)
            self._ours.ask("release")
            self._case = case
        return self._results


@pytest.fixture(scope="session")
def reference(request: pytest.FixtureRequest) -> Iterator[Reference]:
    with worker(peers.OURS, request.config.option.threads) as ours:
        yield Reference(ours)


@pytest.fixture
def measure(
    benchmark: Any, reference: Reference, request: pytest.FixtureRequest
) -> Callable[[Any, str], None]:
    """Prepare a case, compare its results with the project's, time it, note what the time means."""
    from agreement import largest_error
    from rates import rates

    peer = request.config.stash[_peer]

    def run(case: Case, mode: str) -> None:
        operands, expected = reference.results(case)
        job = peer.prepare(case, mode, operands)
        error = largest_error(case, job.outputs(job.run()), expected)
        benchmark.group = case.name
        benchmark(job.run)
        benchmark.extra_info |= {
            "provider": peer.version(),
            "mode": mode,
            "threads": request.config.option.threads,
            "relative_error": error,
            "fma_peak_gflops": reference.peaks.fma_gflops,
            "copy_peak_gbytes": reference.peaks.copy_gbs,
        }
        if benchmark.stats is not None:  # it is with --benchmark-disable
            benchmark.extra_info |= rates(case, benchmark.stats.stats.median, reference.peaks)

    return run
