"""All that needs a GPU, in one command and without a network:

    benchmarks/gpu_check --prebuild              where there is no GPU, before
    benchmarks/gpu_check --json gpu.json         on the device machine, with build/gpu_check there

A short day, in 200 seconds: --stages 2,3,4 --limit 200.

Stages, most valuable first: each prints and saves what it measures before the next begins, has a
time limit of its own, and is noted where it fails. What was saved stays, also of a stage that is
interrupted. benchmarks/gpu_tables.py makes the tables of docs/gpu.md from the file.

The machine needs CuPy, nvcc where the build does not travel, and PyTorch for what is compared with.
--dry-run goes through all of it in the emulation, at sizes that take a moment; its times mean
nothing.
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gpu_stages import build
from gpu_stages.record import FAILED, NOT_RUN, PASSED, TIMED_OUT, Record, reason
from gpu_stages.setting import FOLDER, ROOT, Setting

LIMIT = 470  # seconds of all stages
GRACE = 5.0  # seconds that a stage has to end by itself before it is ended
LEAST = 3.0  # seconds with which a stage is begun
DRY = 10  # times as long may a stage take in the emulation


@dataclass(frozen=True)
class Stage:
    """A module of this package with a function `run`."""

    name: str
    title: str
    seconds: int  # at most


STAGES = (
    Stage("build", "build and tests", 300),
    Stage("kernels", "every kernel beside PyTorch's and its prediction", 100),
    Stage("networks", "networks beside PyTorch", 120),
    Stage("configurations", "tiles, splits and stages", 60),
    Stage("counters", "counters of the kernels that lost most", 30),
    Stage("sanitizer", "compute-sanitizer", 30),
    Stage("cpu", "the CPU's kernels on its cores", 30),
)


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    listed = ", ".join(f"{number} {stage.name}" for number, stage in enumerate(STAGES, 1))
    parser.add_argument("--stages", metavar="N,...", help=f"some of {listed} (default: all)")
    parser.add_argument(
        "--limit", type=float, metavar="SECONDS", help="of all, shared among the chosen stages"
    )
    parser.add_argument("--json", type=Path, default=FOLDER / "gpu.json", metavar="FILE")
    parser.add_argument("--dry-run", action="store_true", help="in the emulation")
    parser.add_argument("--prebuild", action="store_true", help="make what can travel, and end")
    parser.add_argument(
        "--python", default=sys.executable, metavar="P", help="of --prebuild: whose module to build"
    )
    parser.add_argument("--one", help=argparse.SUPPRESS)  # a stage in this process
    parser.add_argument("--deadline", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    numbers = range(1, len(STAGES) + 1)
    try:
        chosen = [int(n) for n in options.stages.split(",")] if options.stages else list(numbers)
    except ValueError:
        chosen = [0]
    if not set(chosen) <= set(numbers):
        parser.error(f"--stages: {options.stages!r}, expected some of 1 to {len(STAGES)}")
    options.chosen = [STAGES[number - 1] for number in sorted(set(chosen))]
    return options


def main(arguments: list[str]) -> int:
    """Run the stages; 1 if one of them did not pass."""
    options = parse(arguments)
    options.json = options.json.resolve()
    if options.prebuild:
        build.prebuild(options.python)
        return 0
    if options.one:
        setting = Setting(Record(options.json), options.one, options.dry_run, options.deadline)
        return in_this_process(setting)
    end = time.monotonic() + (options.limit or LIMIT)
    record = Record(options.json)
    record.data["made"] = time.strftime("%Y-%m-%d %H:%M:%S")
    record.data["dry_run"] = options.dry_run
    record.write()
    statuses = []
    for number, stage in enumerate(options.chosen):
        given = share(options.chosen[number:], end - time.monotonic()) if options.limit else None
        statuses.append(in_child(options, stage, end, given))
    print(f"\n{options.json}", flush=True)
    return int(any(status != PASSED for status in statuses))


def in_this_process(setting: Setting) -> int:
    """One stage; an error is put into the file and printed in a line."""
    try:
        importlib.import_module(f"gpu_stages.{setting.name}").run(setting)
    except Exception as error:  # whatever it is, the next stage begins
        setting.add(error=reason(f"{type(error).__name__}: {error}"))
        print(f"  {type(error).__name__}: {error}", flush=True)
        return 1
    return 0


def share(stages: list[Stage], left: float) -> float:
    """Seconds for the first of the stages that are to come; a build gets all that it may need."""
    first = stages[0]
    if first.name == "build":
        return min(float(first.seconds), left)
    return left * first.seconds / sum(stage.seconds for stage in stages)


def in_child(
    options: argparse.Namespace, stage: Stage, end: float, given: float | None = None
) -> str:
    """One stage in a process of its own, ended where it outlasts its time; its status.

    It has `given` seconds or, if that is None, its own.
    """
    start = time.monotonic()
    own = stage.seconds * (DRY if options.dry_run else 1)
    seconds = min(own if given is None else given, end - start)
    record = Record(options.json)
    print(f"\n=== {stage.title}, at most {max(seconds, 0):.0f} s", flush=True)
    if seconds < LEAST:
        record.add(stage.name, status=NOT_RUN, error=reason("no time was left for the stage"))
        return NOT_RUN
    record.begin(stage.name)
    command = [sys.executable, "-u", "-m", "gpu_stages", "--one", stage.name]
    command += ["--json", str(options.json), "--deadline", str(start + seconds - GRACE)]
    command += ["--dry-run"] if options.dry_run else []
    child = subprocess.Popen(
        command, env=environment(options.dry_run), start_new_session=True, cwd=ROOT
    )
    status = "interrupted"
    try:
        code = child.wait(seconds)
        status = PASSED if code == 0 else FAILED
    except subprocess.TimeoutExpired:
        status = TIMED_OUT
    finally:  # also of Ctrl-C
        _end(child)
        taken = time.monotonic() - start
        Record(options.json).add(stage.name, status=status, seconds=round(taken, 1))
        print(f"=== {status}, {taken:.0f} s", flush=True)
    return status


def _end(child: subprocess.Popen[bytes]) -> None:
    """End the child's processes, those of its own children too."""
    with suppress(ProcessLookupError):  # a tool that timed out may have left some behind
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def environment(dry_run: bool) -> dict[str, str]:
    """What the stages' processes see: the build of the run before all else."""
    folders = [str(ROOT / "benchmarks"), str(ROOT / "tests")]
    if not dry_run:
        folders.insert(0, str(build.SITE))
    before = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([*folders, *([before] if before else [])])}
