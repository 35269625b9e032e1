"""A step of training beside other work on the machine, ours and other frameworks'.

    python benchmarks/under_load.py
    python benchmarks/under_load.py --peers torch --busy 0,1 --rounds 3 --json figures.json

Forward and backward of cifar10-bn, 20 images, beside so many processes that do nothing but keep a
processor busy, and beside a second process that does the same step. Each framework runs in a
process of its own, in its default mode, and one that is not installed is left out. Rounds are
interleaved: in each, every framework takes its turn beside each kind of work. Figures are of all
steps of all rounds: means as well as medians, since other work delays some steps far more than
others. Meant for a machine that is quiet otherwise; the load average before is printed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import mean, median

from alexnet.commands.table import print_table
from alexnet.comparison import peers
from alexnet.comparison.benchmark import FORWARD_BACKWARD
from alexnet.comparison.cases import NetworkCase
from alexnet.comparison.contest import PAUSE
from alexnet.comparison.worker import Worker
from alexnet.network.variants import variant_named

CASE = NetworkCase(variant_named("cifar10-bn"), FORWARD_BACKWARD, 20)
TWO_AT_ONCE = "a second of its own"
# Ends by itself, too, when the process that started it is gone, however that came.
BUSY_LOOP = """
import os, sys
print(flush=True)
while os.getppid() == int(sys.argv[1]):
    for _ in range(100_000):
        pass
"""
HEADER = ("beside", "contender", "steps", "mean ms", "median ms", "times quiet", "times ours")


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """Keep `count` processes busy meanwhile."""
    command = [sys.executable, "-c", BUSY_LOOP, str(os.getpid())]
    with ExitStack() as stack:
        for _ in range(count):
            process = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE))
            stack.callback(process.kill)
            process.stdout.readline()  # it runs
        yield


class Contender:
    """A framework's two processes, with the case made ready, and the seconds of its steps."""

    def __init__(self, name: str, threads: int, stack: ExitStack) -> None:
        self.workers = [stack.enter_context(Worker(name, threads)) for _ in range(2)]
        mode = self.workers[0].ask("modes", CASE)[0]
        self.name = f"{name} {mode}"
        self.seconds: dict[str, list[list[float]]] = {}
        for worker in self.workers:
            worker.ask("prepare", CASE, mode, CASE.operands())

    def turn(self, beside: str, seconds: float) -> None:
        """Do steps for so long, after the threads of the one before have gone to sleep."""
        time.sleep(PAUSE)
        workers = self.workers if beside == TWO_AT_ONCE else self.workers[:1]
        with ThreadPoolExecutor() as pool:
            turns = [pool.submit(worker.ask, "durations", seconds) for worker in workers]
            self.seconds.setdefault(beside, []).extend(turn.result() for turn in turns)

    def milliseconds(self, beside: str) -> list[float]:
        """Of every step of all rounds."""
        return [second * 1e3 for turn in self.seconds[beside] for second in turn]


def measure(contenders: list[Contender], busy: list[int], rounds: int, seconds: float) -> None:
    """Let all contenders take their turns, the first of one round being the last of the next."""
    order = list(contenders)
    for _ in range(rounds):
        for count in busy:
            with busy_processes(count):
                for contender in order:
                    contender.turn(_busy(count), seconds)
        for contender in order:
            contender.turn(TWO_AT_ONCE, seconds)
        order = [*order[1:], order[0]]


def _busy(count: int) -> str:
    return f"{count} busy" if count else "nothing"


def rows(contenders: list[Contender]) -> list[list[str]]:
    """Make a line for each kind of work and contender; ratios are of means."""
    lines = []
    for beside in contenders[0].seconds:
        ours = mean(contenders[0].milliseconds(beside))
        for contender in contenders:
            steps = contender.milliseconds(beside)
            quiet = next(iter(contender.seconds))
            lines.append(
                [
                    beside if contender is contenders[0] else "",
                    contender.name,
                    str(len(steps)),
                    f"{mean(steps):.1f}",
                    f"{median(steps):.1f}",
                    f"{mean(steps) / mean(contender.milliseconds(quiet)):.2f}",
                    f"{mean(steps) / ours:.2f}",
                ]
            )
    return lines


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peers", default="torch,tensorflow", metavar="P,...", help="or none")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="of each process")
    parser.add_argument("--busy", default="0,1,2,4,8", metavar="N,...", help="processes beside it")
    parser.add_argument("--rounds", type=int, default=5, metavar="R")
    parser.add_argument("--seconds", type=float, default=2.0, metavar="S", help="of a turn")
    parser.add_argument("--json", metavar="FILE", help="the seconds of every step")
    options = parser.parse_args()
    try:
        options.peers = [] if options.peers == "none" else peers.chosen(options.peers)
    except ValueError as error:
        parser.error(f"--peers: {error}")
    try:
        options.busy = [int(text) for text in options.busy.split(",")]
    except ValueError:
        parser.error(f"--busy: {options.busy!r}, expected numbers such as 0,1,2")
    if min(options.threads, options.rounds) < 1 or min(options.busy) < 0 or not options.seconds > 0:
        parser.error("--threads and --rounds are at least 1, --busy at least 0, --seconds above 0")
    options.busy = sorted({0, *options.busy})
    if options.json and not Path(options.json).resolve().parent.is_dir():
        parser.error(f"--json: there is no folder {Path(options.json).resolve().parent}")
    return options


def main() -> None:
    options = _options()
    missing = peers.missing(options.peers)
    for name in missing:
        print(f"left out: {name} is not installed")
    names = [peers.OURS, *(name for name in options.peers if name not in missing)]
    load = os.getloadavg()[0]
    print(
        f"{CASE.name}, {options.threads} threads on {len(os.sched_getaffinity(0))} processors, "
        f"{options.rounds} rounds of {options.seconds:g} s; load average before: {load:.1f}",
        flush=True,
    )
    with ExitStack() as stack:
        contenders = [Contender(name, options.threads, stack) for name in names]
        measure(contenders, options.busy, options.rounds, options.seconds)
    print_table(sys.stdout, HEADER, rows(contenders), right=range(2, 7))
    if options.json:
        figures = {
            "case": CASE.name,
            "threads": options.threads,
            "load_average_before": load,
            "seconds": {contender.name: contender.seconds for contender in contenders},
        }
        Path(options.json).write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
