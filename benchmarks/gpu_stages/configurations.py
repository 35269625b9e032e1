"""Tiles, clusters, splits and stages of every product, by force, beside what the launcher chooses.

They are set at run time: of Hopper's products those that the launcher's own rule expects to be the
fastest (`alexnet._cuda.hopper_choices`, `force_hopper_cut`), of all others a few tiles that fill
the device (`force_blocking`). Numbers of stages are builds of their own, which --prebuild makes,
each measured by a process of its own; Hopper's kernels are alike in all of them. The rules in
cpp/cuda/hopper_launch.cu and gemm_launch.cuh are then fitted: benchmarks/gpu_fit.py.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from gpu_stages.kernels import attempted, cases, our_work
from gpu_stages.record import reason
from gpu_stages.setting import FOLDER, MODULE, Setting
from gpu_stages.timing import our_calls

# The most valuable first: what a step of the network takes, then dense layers, then exact float32.
ORDER = [
    (batch_size, precision, kind)
    for kind in ("Conv2d", "Dense")
    for batch_size in (32, 128)
    for precision in ("tf32", "bfloat16")
] + [(32, "float32", "Conv2d"), (32, "float32", "Dense")]
DRY_ORDER = [(1, "float32", "Conv2d"), (1, "tf32", "Conv2d")]
TILES = {"Conv2d": ((128, 64), (128, 128)), "Dense": ((32, 128), (128, 128))}
SPLITS = (1, 2, 3, 4, 6, 9, 16, 32, 64, 96)
STAGES = (2, 4)  # beside the 3 of the build itself
MULTIPROCESSORS, MOST_TURNS, LEAST_DEPTH = 132, 6, 128
CUTS, LOSS = 7, 1.5  # cuts of Hopper that are measured, and how much longer they may be expected
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


def measured(setting: Setting, *, hopper: bool = True) -> Iterator[dict[str, Any]]:
    """A row for each case, precision and configuration that the stage has time for.

    Without `hopper` the products that have its kernels are left out.
    """
    _ = setting.cupy
    from alexnet import _cuda

    for batch_size, precision, kind in setting.sizes(ORDER, DRY_ORDER):
        for case in cases(setting, batch_size):
            if type(case.layer).__name__ != kind or products(case) is None:
                continue
            if not setting.has_time(1.0):
                return
            calls = our_work(setting, case, precision)
            _cuda.hopper_choices()  # of what was launched before
            calls[0]()
            if (cuts := _cuda.hopper_choices()) and not hopper:
                continue
            others = setting.sizes(choices_for(case), [None, (128, 64, 1), (128, 64, 2)])
            for choice, cycles in promising(cuts) if cuts else [(other, None) for other in others]:
                if not setting.has_time(0.5):
                    return
                force = _cuda.force_hopper_cut if cuts else _cuda.force_blocking
                by_rule = (0,) * (4 if cuts else 3)
                force(*(choice or by_rule))
                try:
                    seconds = attempted(partial(our_calls, setting, calls, BUDGET))
                finally:
                    force(*by_rule)
                yield {
                    "case": case.name,
                    "precision": precision,
                    "kernels": "Hopper" if cuts else "tiles",
                    "blocking": choice or "rule",
                    "expected_cycles": cycles,
                    "ours": seconds,
                }


Cut = tuple[int, int, int, int]


def promising(cuts: list[tuple[Cut, int]]) -> list[tuple[Cut | None, int]]:
    """The rule's own (None), then of each tile and cluster the best two numbers of splits.

    They are in the order in which the rule expects them to be fast, as far as it may be wrong.
    """
    (own, least), *others = sorted(cuts, key=lambda cut: cut[1])
    result: list[tuple[Cut | None, int]] = [(None, least)]
    taken = Counter([own[:3]])
    for cut, cycles in others:
        if len(result) > CUTS or cycles > LOSS * least:
            break
        if taken[cut[:3]] < 2:
            taken[cut[:3]] += 1
            result.append((cut, cycles))
    return result


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
    left = max(deadline - time.monotonic(), 0.0) + 1.0
    with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as complaint:
        try:
            code = subprocess.run(
                command, env=environment, stdout=said, stderr=complaint, check=False, timeout=left
            ).returncode
        except subprocess.TimeoutExpired:  # what it has printed stays
            code = 0
        said.seek(0)
        complaint.seek(0)
        if code != 0:
            setting.add(stages=reason(f"{module.parent.name}: {complaint.read()[-200:]}"))
        return [json.loads(line) for line in said if line.startswith("{") and line.endswith("}\n")]


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
    for row in measured(setting, hopper=False):
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
