"""Whole training steps on real images, ours beside PyTorch's: images/s, and the wait for data.

    python benchmarks/training_throughput.py --cifar10 cifar-10-batches-py --photos catsdogs
    python benchmarks/training_throughput.py --cifar10 cifar-10-batches-py --rounds 5 --seconds 3

A step is: take the next batch (read or decoded, padded or resized, cropped and mirrored at random,
normalised), forward, loss, backward, Adam. PyTorch takes its batches from a DataLoader with two
worker processes and updates with the fused Adam, in both memory layouts. Ours keeps decoded photos
in memory; "decoding always" has it do without, as the DataLoader does.

Each contender is a process of its own. Round after round, each runs for some seconds in turn, so
that whatever else the machine does meets them all alike. Figures are medians over the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from alexnet.commands.console import write_json
from alexnet.commands.options import output_file
from alexnet.commands.table import print_table

OURS, DECODING, TORCH = "alexnet", "alexnet, decoding always", "torch"
CONTENDERS = {
    "cifar10": (OURS, f"{TORCH} nchw", f"{TORCH} channels_last"),
    "photos": (OURS, DECODING, f"{TORCH} nchw", f"{TORCH} channels_last"),
}
CASES = (
    ("cifar10", "cifar10-bn", 20),
    ("cifar10", "cifar10-bn", 128),
    ("photos", "pytorch-227", 32),
)
HEADER = ("network", "batch", "contender", "ms a step", "images/s", "waiting", "ours is faster by")


@dataclass(frozen=True)
class Case:
    """What one worker trains; plain values, which go to it as JSON."""

    contender: str
    variant: str
    batch_size: int
    data: str
    threads: int


class Worker:
    """A contender in its process; see training_worker.py."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.rounds: list[dict[str, float]] = []
        script = Path(__file__).with_name("training_worker.py")
        self._process = subprocess.Popen(
            [sys.executable, str(script), json.dumps(asdict(case))],
            env={**os.environ, "OMP_NUM_THREADS": str(case.threads)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, seconds: float) -> None:
        """One round: steps for about so long."""
        print(seconds, file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"{self.case.contender}: its process ended with {self._process.wait()}")
        self.rounds.append(json.loads(line))

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()

    @property
    def step_seconds(self) -> float:
        return median(entry["seconds"] / entry["steps"] for entry in self.rounds)

    @property
    def waiting_share(self) -> float:
        return median(entry["waited"] / entry["seconds"] for entry in self.rounds)


def _compare(cases: list[Case], rounds: int, seconds: float) -> list[Worker]:
    """Run the contenders of one network in turn; the first round is a warm-up and not counted."""
    workers = [Worker(case) for case in cases]
    try:
        for _ in range(rounds + 1):
            for worker in workers:
                worker.run(seconds)
            workers = [*workers[1:], workers[0]]
    finally:
        for worker in workers:
            worker.close()
    for worker in workers:
        del worker.rounds[0]
    return sorted(workers, key=lambda worker: cases.index(worker.case))


def _rows(workers: list[Worker]) -> list[list[str]]:
    ours = workers[0].step_seconds
    rows = []
    for worker in workers:
        case, step = worker.case, worker.step_seconds
        first = worker is workers[0]
        rows.append(
            [
                case.variant if first else "",
                str(case.batch_size) if first else "",
                case.contender,
                f"{step * 1e3:.1f}",
                f"{case.batch_size / step:.0f}",
                f"{worker.waiting_share:.1%}",
                "" if first else f"{step / ours:.2f}",
            ]
        )
    return rows


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cifar10", metavar="DIR", help="CIFAR-10, python version")
    parser.add_argument("--photos", metavar="DIR", help="folder with train/CLASS/*.jpg")
    available = len(os.sched_getaffinity(0))
    parser.add_argument("--threads", type=int, default=available, help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=9, help="default: %(default)s")
    parser.add_argument(
        "--seconds", type=float, default=5.0, help="of a contender in a round (default: 5)"
    )
    parser.add_argument(
        "--json", type=output_file, metavar="FILE", help="all figures, of every round"
    )
    options = parser.parse_args()
    if options.cifar10 is None and options.photos is None:
        parser.error("give --cifar10 DIR, --photos DIR or both")
    if min(options.threads, options.rounds) < 1 or not options.seconds > 0:
        parser.error("--threads and --rounds are at least 1, --seconds is above 0")
    return options


def main() -> None:
    options = _options()
    print(f"threads: {options.threads}, medians of {options.rounds} rounds", flush=True)
    figures: list[dict[str, Any]] = []
    for kind, variant, batch_size in CASES:
        data = getattr(options, kind)
        if data is None:
            continue
        cases = [
            Case(contender, variant, batch_size, data, options.threads)
            for contender in CONTENDERS[kind]
        ]
        workers = _compare(cases, options.rounds, options.seconds)
        print_table(sys.stdout, HEADER, _rows(workers), right=(1, 3, 4, 5, 6))
        print(flush=True)
        figures += [{**asdict(worker.case), "rounds": worker.rounds} for worker in workers]
    if options.json:
        write_json(options.json, figures)


if __name__ == "__main__":
    main()
