"""A step of a network beside other work on the machine, ours and other frameworks'.

    python benchmarks/under_load.py
    python benchmarks/under_load.py --case tf-tutorial --peers tensorflow --busy 0,4
    python benchmarks/under_load.py --peers torch --busy 0,1 --rounds 3 --json figures.json

Forward and backward of cifar10-bn with 20 images, or forward of tf-tutorial with 32, beside so many
processes of each kind, and beside a second process that does the same step:

    busy       a loop that does nothing else
    spinning   NumPy, multiplying small matrices with all processors: its threads wait without
               sleeping
    compiling  one C++ file after the other

Each framework runs in a process of its own, in its default mode, and one that is not installed is
left out. Rounds are interleaved: in each, every framework takes its turn beside each kind of work.
Figures are of all steps of all rounds: means as well as medians, since other work delays some steps
far more than others. Meant for a machine that is quiet otherwise; the load average before is
printed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
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
from alexnet.comparison.benchmark import FORWARD, FORWARD_BACKWARD
from alexnet.comparison.cases import NetworkCase
from alexnet.comparison.contest import PAUSE
from alexnet.comparison.worker import Worker
from alexnet.network.variants import variant_named

CASES = {
    "cifar10-bn": NetworkCase(variant_named("cifar10-bn"), FORWARD_BACKWARD, 20),
    "tf-tutorial": NetworkCase(variant_named("tf-tutorial"), FORWARD, 32),
}
TWO_AT_ONCE = "a second of its own"
# Programs of the other work. Each ends by itself, too, when the process that started it is gone,
# however that came.
PROGRAMS = {
    "busy": """
import os, sys
print(flush=True)
while os.getppid() == int(sys.argv[1]):
    for _ in range(100_000):
        pass
""",
    "spinning": """
import os, sys
import numpy as np
x = np.ones((256, 256), np.float32)
print(flush=True)
while os.getppid() == int(sys.argv[1]):
    for _ in range(100):
        x @ x
""",
    "compiling": """
import os, subprocess, sys
command = [sys.argv[2], "-O2", "-include", "regex", "-x", "c++", "-S", os.devnull, "-o", "-"]
print(flush=True)
while os.getppid() == int(sys.argv[1]):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
""",
}
COMPILER = shutil.which("c++") or shutil.which("g++")
HEADER = ("beside", "contender", "steps", "mean ms", "median ms", "times quiet", "times ours")


@contextmanager
def other_work(kind: str, count: int) -> Iterator[None]:
    """Run `count` processes of a kind meanwhile, each in a group with those that it starts."""
    command = [sys.executable, "-c", PROGRAMS[kind], str(os.getpid()), str(COMPILER)]
    with ExitStack() as stack:
        for _ in range(count):
            process = stack.enter_context(
                subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
            )
            stack.callback(os.killpg, process.pid, signal.SIGKILL)
            process.stdout.readline()  # it runs
        yield


class Contender:
    """A framework's two processes, with the case made ready, and the seconds of its steps."""

    def __init__(self, name: str, case: NetworkCase, threads: int, stack: ExitStack) -> None:
        self.workers = [stack.enter_context(Worker(name, threads)) for _ in range(2)]
        mode = self.workers[0].ask("modes", case)[0]
        self.name = f"{name} {mode}"
        self.seconds: dict[str, list[list[float]]] = {}
        for worker in self.workers:
            worker.ask("prepare", case, mode, case.operands())

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


def measure(
    contenders: list[Contender], work: list[tuple[str, int]], rounds: int, seconds: float
) -> None:
    """Let all contenders take their turns, the first of one round being the last of the next."""
    order = list(contenders)
    for _ in range(rounds):
        for kind, count in work:
            with other_work(kind, count):
                for contender in order:
                    contender.turn(f"{count} {kind}" if count else "nothing", seconds)
        for contender in order:
            contender.turn(TWO_AT_ONCE, seconds)
        order = [*order[1:], order[0]]


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
    parser.add_argument("--case", choices=CASES, default="cifar10-bn")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="of each process")
    for kind, default in {"busy": "1,2,4,8", "spinning": "1", "compiling": "2"}.items():
        parser.add_argument(
            f"--{kind}",
            type=_counts,
            default=default,
            metavar="N,...",
            help=f"processes of that kind beside it (default: {default}), 0 for none",
        )
    parser.add_argument("--rounds", type=int, default=5, metavar="R")
    parser.add_argument("--seconds", type=float, default=2.0, metavar="S", help="of a turn")
    parser.add_argument("--json", metavar="FILE", help="the seconds of every step")
    options = parser.parse_args()
    try:
        options.peers = [] if options.peers == "none" else peers.chosen(options.peers)
    except ValueError as error:
        parser.error(f"--peers: {error}")
    if min(options.threads, options.rounds) < 1 or not options.seconds > 0:
        parser.error("--threads and --rounds are at least 1, --seconds above 0")
    counts = {kind: getattr(options, kind) for kind in PROGRAMS}
    options.work = [("busy", 0), *((kind, n) for kind in counts for n in counts[kind] if n)]
    if COMPILER is None and any(kind == "compiling" for kind, _ in options.work):
        parser.error("--compiling: no C++ compiler was found; leave it out with --compiling 0")
    if options.json and not Path(options.json).resolve().parent.is_dir():
        parser.error(f"--json: there is no folder {Path(options.json).resolve().parent}")
    return options


def _counts(text: str) -> list[int]:
    """Numbers of processes, least first."""
    try:
        counts = sorted({int(part) for part in text.split(",")})
    except ValueError:
        counts = [-1]
    if counts[0] < 0:
        raise argparse.ArgumentTypeError(f"{text!r}, expected numbers such as 1,2")
    return counts


def main() -> None:
    options = _options()
    missing = peers.missing(options.peers)
    for name in missing:
        print(f"left out: {name} is not installed")
    names = [peers.OURS, *(name for name in options.peers if name not in missing)]
    load, case = os.getloadavg()[0], CASES[options.case]
    print(
        f"{case.name}, {options.threads} threads on {len(os.sched_getaffinity(0))} processors, "
        f"{options.rounds} rounds of {options.seconds:g} s; load average before: {load:.1f}",
        flush=True,
    )
    with ExitStack() as stack:
        contenders = [Contender(name, case, options.threads, stack) for name in names]
        measure(contenders, options.work, options.rounds, options.seconds)
    print_table(sys.stdout, HEADER, rows(contenders), right=range(2, 7))
    if options.json:
        figures = {
            "case": case.name,
            "threads": options.threads,
            "load_average_before": load,
            "seconds": {contender.name: contender.seconds for contender in contenders},
        }
        Path(options.json).write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
