"""Convolutions far from AlexNet's: our default beside our direct algorithm and PyTorch.

    python benchmarks/foreign_shapes.py --threads 1
    python benchmarks/foreign_shapes.py "resnet*" --peers none --rounds 9

One table, a line a shape and direction, and at its end those where the default is slower than
`direct` beyond noise. Each contender runs in a process of its own, rounds interleaved, results
compared before timing. Times are medians over the rounds; with one thread they are CPU time, which
whatever else runs does not lengthen by taking the processor away.
"""

from __future__ import annotations

import argparse
import sys
import time
from fnmatch import fnmatchcase
from statistics import quantiles

from shapes import foreign_cases

from alexnet import runtime
from alexnet.commands.console import Progress
from alexnet.commands.table import print_table
from alexnet.comparison import peers
from alexnet.comparison.contest import Comparison, Contest, Timing

# Slower beyond noise: by more than this share of the median, and where the middle halves of the
# rounds do not overlap.
MARGIN = 0.03

HEADER = ("case", "auto ms", "direct ms", "direct / auto", "PyTorch ms", "PyTorch / auto", "")


def direct(comparison: Comparison) -> Timing:
    """The direct algorithm's times."""
    return next(timing for timing in comparison.timings if timing.mode.endswith("/direct"))


def is_slower(auto: Timing, other: Timing) -> bool:
    """Whether `auto` takes longer than the other beyond noise."""
    if auto.median <= other.median * (1 + MARGIN):
        return False
    if len(auto.seconds) < 2:
        return True
    first_quartile = quantiles(auto.seconds, n=4, method="inclusive")[0]
    return first_quartile > quantiles(other.seconds, n=4, method="inclusive")[2]


def row(comparison: Comparison) -> list[str]:
    """One line of the table; the best layout stands for PyTorch."""
    auto, peer = comparison.ours, comparison.best_peer
    cells = [comparison.case.name]
    cells += [f"{auto.median * 1e3:.3f}", f"{direct(comparison).median * 1e3:.3f}"]
    cells.append(f"{direct(comparison).median / auto.median:.2f}")
    cells += [f"{peer.median * 1e3:.3f}", f"{comparison.ratio:.2f}"] if peer else ["", ""]
    return [*cells, "slower than direct" if is_slower(auto, direct(comparison)) else ""]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="*", default=["*"], metavar="CASE", help="patterns of names")
    parser.add_argument("--threads", type=int, default=runtime.get_num_threads(), metavar="N")
    parser.add_argument("--rounds", type=int, default=5, metavar="R")
    parser.add_argument("--seconds", type=float, default=0.02, help="of a turn")
    parser.add_argument("--peers", choices=("torch", "none"), default="torch")
    options = parser.parse_args()
    if min(options.threads, options.rounds) < 1:
        parser.error("--threads and --rounds are at least 1")
    cases = [
        case
        for case in foreign_cases()
        if any(fnmatchcase(case.name, pattern) for pattern in options.cases)
    ]
    if not cases:
        parser.error(f"no case is named {' or '.join(options.cases)}")
    names = [] if options.peers == "none" else ["torch"]
    missing = peers.missing(names)
    if missing:
        print("left out: torch is not installed")
    clock = time.process_time if options.threads == 1 else time.perf_counter
    comparisons = []
    with (
        Contest([name for name in names if name not in missing], options.threads) as contest,
        Progress("comparing", len(cases)) as progress,
    ):
        for case in cases:
            comparison = contest.compare(case, options.rounds, options.seconds, clock=clock)
            comparisons.append(comparison)
            progress.advance()
    rows = [row(comparison) for comparison in comparisons]
    print_table(sys.stdout, HEADER, rows, right=range(1, 6))
    failures = [
        f"not counted: {comparison.case.name}: {contender}: {reason}"
        for comparison in comparisons
        for contender, reason in comparison.failures.items()
    ]
    slower = [
        comparison for comparison in comparisons if is_slower(comparison.ours, direct(comparison))
    ]
    for line in failures:
        print(line)
    print(
        f"{len(cases)} cases, threads: {options.threads}; slower than direct beyond noise: "
        f"{', '.join(comparison.case.name for comparison in slower) or 'none'}"
    )
    return int(bool(slower or failures))


if __name__ == "__main__":
    sys.exit(main())
