"""Convolutions far from AlexNet's: our default beside our direct algorithm and PyTorch.

    python benchmarks/foreign_shapes.py --threads 1
    python benchmarks/foreign_shapes.py "resnet*" --peers none --rounds 9
    python benchmarks/foreign_shapes.py --threads 2 --part 1/4 --json part1.json

One table, a line a shape and direction, and at its end those where the default is slower than
`direct` beyond noise. Each contender runs in a process of its own, rounds interleaved, results
compared before timing. Times are medians over the rounds; with one thread they are CPU time, which
whatever else runs does not lengthen by taking the processor away. The last lines give the geometric
mean of PyTorch's time to ours and the worst case; `--part 2/4` takes every
fourth case, from the second on, so that a quiet machine is wanted for a quarter of the time, and
`--join` gives the last lines for the `--json` files of the parts together. Each part has all
directions where their number is no multiple of three.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from fnmatch import fnmatchcase
from pathlib import Path
from statistics import geometric_mean, quantiles

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


def ratios_of(comparisons: list[Comparison]) -> dict[str, float]:
    """PyTorch's time to ours, in its best layout, by the name of the case."""
    return {
        comparison.case.name: comparison.ratio
        for comparison in comparisons
        if comparison.ratio is not None
    }


def summary(ratios: dict[str, float]) -> str:
    """The geometric mean and the worst of the ratios."""
    worst = min(ratios, key=lambda name: ratios[name])
    return (
        f"PyTorch / auto of {len(ratios)} cases: geometric mean "
        f"{geometric_mean(ratios.values()):.2f}, worst {ratios[worst]:.2f} ({worst})"
    )


def part_of(text: str) -> tuple[int, int]:
    """Parse "2/3": the second of three parts."""
    number, _, parts = text.partition("/")
    if not (number.isdecimal() and parts.isdecimal() and 1 <= int(number) <= int(parts)):
        raise argparse.ArgumentTypeError(f"{text!r} is no part, such as 2/3")
    return int(number), int(parts)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="*", default=["*"], metavar="CASE", help="patterns of names")
    parser.add_argument("--threads", type=int, default=runtime.get_num_threads(), metavar="N")
    parser.add_argument("--rounds", type=int, default=5, metavar="R")
    parser.add_argument("--seconds", type=float, default=0.02, help="of a turn")
    parser.add_argument(
        "--part",
        type=part_of,
        default=(1, 1),
        metavar="K/N",
        help="every Nth case, from the Kth on",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="takes the ratios of the cases")
    parser.add_argument(
        "--join", type=Path, nargs="+", metavar="FILE", help="sum up these files, and run nothing"
    )
    parser.add_argument("--peers", choices=("torch", "none"), default="torch")
    options = parser.parse_args()
    if options.join:
        joined: dict[str, float] = {}
        for path in options.join:
            joined |= json.loads(path.read_text())
        print(summary(joined))
        return 0
    if min(options.threads, options.rounds) < 1:
        parser.error("--threads and --rounds are at least 1")
    cases = [
        case
        for case in foreign_cases()
        if any(fnmatchcase(case.name, pattern) for pattern in options.cases)
    ]
    number, parts = options.part
    cases = cases[number - 1 :: parts]
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
    ratios = ratios_of(comparisons)
    if ratios:
        print(summary(ratios))
    if options.json:
        options.json.write_text(json.dumps(ratios, indent=1))
    print(
        f"{len(cases)} cases, threads: {options.threads}; slower than direct beyond noise: "
        f"{', '.join(comparison.case.name for comparison in slower) or 'none'}"
    )
    return int(bool(slower or failures))


if __name__ == "__main__":
    sys.exit(main())
