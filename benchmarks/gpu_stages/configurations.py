"""Tiles, splits and stages of every product, by force, beside what the launcher chooses.

Tiles and splits are set at run time (`alexnet._cuda.force_blocking`); numbers of stages are builds
of their own, which --prebuild makes, each measured by a process of its own. The rule in
cpp/cuda/gemm_launch.cuh is then fitted to the best ones.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from gpu_stages.kernels import attempted, cases, our_work
from gpu_stages.record import reason
from gpu_stages.setting import FOLDER, MODULE, Setting
from gpu_stages.timing import our_calls

PRECISIONS = ("float32", "tf32")
BATCH_SIZES = (32, 128)
TILES = {"Conv2d": ((128, 64), (128, 128)), "Dense": ((32, 128), (128, 128))}
SPLITS = (1, 2, 3, 4, 6, 9, 16, 32, 64, 96)
STAGES = (2, 4)  # beside the 3 of the build itself
MULTIPROCESSORS, MOST_TURNS, LEAST_DEPTH = 132, 6, 128
BUDGET = 0.02  # seconds of a configuration's measured launches
CHILD_SECONDS = 10.0


def run(setting: Setting) -> None:
    """All tiles and splits of this build, then of the builds with other stages."""
    for row in measured(setting):
        setting.append("rows", row | {"stages": "built"})
    builds = sorted(FOLDER.glob("stages-*/_cuda*.so"))
    if not builds:
        setting.add(stages=reason("--prebuild has made no builds with other numbers of stages"))
    for number, module in enumerate(builds):
        stages = int(module.parent.name.removeprefix("stages-"))
        if not setting.has_time(CHILD_SECONDS):
            setting.add(stages=reason(f"no time was left for {stages} stages"))
            break
        left = setting.deadline - time.monotonic()
        for row in of_build(setting, module, time.monotonic() + left / (len(builds) - number)):
            setting.append("rows", row | {"stages": stages})
    setting.add(best=best(setting.record.stage(setting.name).get("rows", [])))


def measured(setting: Setting) -> Iterator[dict[str, Any]]:
    """A row for each case, precision, tile and number of splits that the stage has time for."""
    _ = setting.cupy
    from alexnet import _cuda

    for batch_size in setting.sizes(BATCH_SIZES, (1,)):
        for case in cases(setting, batch_size):
            choices = setting.sizes(choices_for(case), [None, (128, 64, 1), (128, 64, 2)])
            for precision in PRECISIONS if products(case) else ():
                calls = our_work(setting, case, precision)
                for choice in choices:
                    if not setting.has_time(0.5):
                        return
                    _cuda.force_blocking(*(choice or (0, 0, 0)))
                    try:
                        seconds = attempted(partial(our_calls, setting, calls, BUDGET))
                    finally:
                        _cuda.force_blocking(0, 0, 0)
                    yield {
                        "case": case.name,
                        "precision": precision,
                        "blocking": choice or "rule",
                        "ours": seconds,
                    }


def products(case: Any) -> tuple[int, int, int] | None:
    """Rows, columns and depth of the case's product, of one group; None where it has none."""
    kind = type(case.layer).__name__
    if kind not in TILES:
        return None
    weight = case.parameter_shapes["weight"]
    pixels = [math.prod(shape[:-1]) for shape in (case.output_shape, case.input_shape)]
    groups = getattr(case.layer, "groups", 1)
    *window, inputs, outputs = weight
    taps, outputs = math.prod(window), outputs // groups
    return {
        "forward": (pixels[0], outputs, taps * inputs),
        "backward_input": (pixels[1], inputs, taps * outputs),
        "backward_weight": (taps * inputs, outputs, pixels[0]),
    }[case.direction]


def choices_for(case: Any) -> list[tuple[int, int, int] | None]:
    """The rule's own choice, and what fills the device without splitting more than it needs."""
    product = products(case)
    if product is None:
        return []
    rows, columns, depth = product
    choices: list[tuple[int, int, int] | None] = [None]
    for tile in TILES[type(case.layer).__name__]:
        tiles = -(-rows // tile[0]) * -(-columns // tile[1])
        for splits in SPLITS:
            fills = MULTIPROCESSORS // 2 <= tiles * splits <= MOST_TURNS * MULTIPROCESSORS
            if splits == 1 or (fills and depth >= LEAST_DEPTH * splits):
                choices.append((*tile, splits))
    return choices


def of_build(setting: Setting, module: Path, deadline: float) -> list[dict[str, Any]]:
    """What `measured` gives with another build of the kernels, in a process that ends in time."""
    command = [sys.executable, "-m", "gpu_stages.configurations", str(deadline)]
    environment = {**os.environ, MODULE: str(module)}
    child = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if child.returncode != 0:
        setting.add(stages=reason(f"{module.parent.name}: {child.stderr[-200:]}"))
    return [json.loads(line) for line in child.stdout.splitlines() if line.startswith("{")]


def best(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of each case and precision the fastest configuration, and how much the rule's loses."""
    by_case: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        if "median" in row["ours"]:
            by_case.setdefault((row["case"], row["precision"]), []).append(row)
    result = []
    for (case, precision), found in by_case.items():
        fastest = min(found, key=lambda row: row["ours"]["median"])
        rule = next((r for r in found if (r["blocking"], r["stages"]) == ("rule", "built")), None)
        result.append(
            {
                "case": case,
                "precision": precision,
                "blocking": fastest["blocking"],
                "stages": fastest["stages"],
                "seconds": fastest["ours"]["median"],
                "rule_over_best": rule["ours"]["median"] / fastest["ours"]["median"]
                if rule
                else reason("the rule's own was not measured"),
            }
        )
    return result


def main() -> None:
    """Measure in this process, whose module is another build, and print a JSON line a row."""
    from gpu_stages.record import Record

    setting = Setting(Record(Path(os.devnull)), "configurations", False, float(sys.argv[1]))
    for row in measured(setting):
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
