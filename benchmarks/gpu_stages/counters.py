"""Nsight Compute on the kernels that lost most: its counters beside what the static table predicts.

A kernel is one layer in one direction; it runs in a process of its own, whose first launches are
left out.
"""

from __future__ import annotations

import csv
import io
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from gpu_stages.kernels import cases, empty_results, operators_in, random_operands
from gpu_stages.record import Record, reason
from gpu_stages.setting import Setting

LOST = 5  # kernels
EACH = 8.0  # seconds expected of one
WARM = 2  # calls before the counted one
# What the static table says, by Nsight Compute's names for it.
METRICS = {
    "seconds": "gpu__time_duration.sum",
    "registers": "launch__registers_per_thread",
    "shared_bytes": "launch__shared_mem_per_block_dynamic",
    "blocks_by_registers": "launch__occupancy_limit_registers",
    "instructions": "smsp__inst_executed.sum",
    "issue_percent": "smsp__issue_active.avg.pct_of_peak_sustained_active",
    "tensor_percent": "sm__inst_executed_pipe_tensor.avg.pct_of_peak_sustained_active",
    "fma_percent": "sm__inst_executed_pipe_fma.avg.pct_of_peak_sustained_active",
    "alu_percent": "sm__inst_executed_pipe_alu.avg.pct_of_peak_sustained_active",
    "bank_conflicts": "l1tex__data_bank_conflicts_pipe_lsu.sum",
    "l2_sectors": "lts__t_sectors.sum",
    "memory_bytes": "dram__bytes.sum",
    "local_loads": "smsp__inst_executed_op_local_ld.sum",
}


def run(setting: Setting) -> None:
    """Count the worst, most lost time first."""
    rows = setting.record.stage("kernels").get("rows", [])
    worst = lost_most(rows)
    setting.add(chosen=[row["case"] for row in worst])
    tool = shutil.which("ncu")
    if tool is None or setting.dry_run:
        why = "ncu is not on PATH" if tool is None else "ncu needs a GPU"
        setting.add(counters=reason(why))
        return
    for row in worst:
        if not setting.has_time(EACH):
            setting.append("rows", {"case": row["case"], "counters": reason("no time left")})
            continue
        left = setting.deadline - time.monotonic()
        for launch in counted(tool, row, left) or [reason("ncu counted no launch")]:
            setting.append(
                "rows",
                {
                    "case": row["case"],
                    "precision": row["precision"],
                    "predicted": row["predicted"],
                    "counters": launch,
                },
            )


def lost_most(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with most seconds behind PyTorch or, where that is not there, the prediction."""

    def loss(row: dict[str, Any]) -> float:
        right = row["PyTorch"].get("median", row.get("predicted", {}).get("seconds"))
        return float(row["ours"]["median"]) - right if right else float(row["ours"]["median"])

    return sorted((r for r in rows if "median" in r["ours"]), key=loss, reverse=True)[:LOST]


def counted(tool: str, row: dict[str, Any], seconds: float) -> list[dict[str, Any]]:
    """The counters of each launch of one call; RuntimeError if ncu fails, or takes longer."""
    command = [tool, "--csv", "--page", "raw", "--clock-control", "none", "--target-processes"]
    command += ["all", "--profile-from-start", "off", "--metrics", ",".join(METRICS.values())]
    command += [sys.executable, "-m", "gpu_stages.counters", row["case"], row["precision"]]
    try:
        child = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=seconds
        )
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"ncu took longer than {seconds:.0f} s for {row['case']}") from None
    if child.returncode != 0:
        raise RuntimeError(f"ncu: {(child.stderr or child.stdout)[-300:]}")
    return parse(child.stdout)


SCALES = {"nsecond": 1e-9, "usecond": 1e-6, "msecond": 1e-3, "ns": 1e-9, "us": 1e-6, "ms": 1e-3}
SCALES |= {"Kbyte": 1e3, "Mbyte": 1e6, "Gbyte": 1e9, "Kbyte/block": 1e3}


def parse(text: str) -> list[dict[str, Any]]:
    """Launches of what `ncu --csv --page raw` prints: names, then units, then a line a launch."""
    lines = [line for line in text.splitlines() if line.startswith('"')]
    if len(lines) < 3:
        return []
    names, units, *launches = list(csv.reader(io.StringIO("\n".join(lines))))
    result = []
    for values in launches:
        cells = dict(zip(names, zip(values, units, strict=True), strict=True))
        launch: dict[str, Any] = {"kernel": cells["Kernel Name"][0][:120]}
        for ours, theirs in METRICS.items():
            value, unit = cells.get(theirs, ("", ""))
            number = value.replace(",", "")
            launch[ours] = float(number) * SCALES.get(unit, 1) if number else reason("not counted")
        result.append(launch)
    return result


def main() -> None:
    """Run one case; the call that is counted is between the profiler's start and stop."""
    name, precision = sys.argv[1:]
    setting = Setting(Record(Path(os.devnull)), "counters", False, float("inf"))
    cupy = setting.cupy
    from alexnet.comparison.peers.ours import layer_call

    batch_size = int(name.rpartition("/b")[2])
    case = next(case for case in cases(setting, batch_size) if case.name == name)
    operands = random_operands(setting, case.operand_shapes, precision)
    out = empty_results(setting, case.result_shapes, precision)
    call = layer_call(operators_in(precision), case, operands, out)
    for _ in range(WARM):
        call()
    cupy.cuda.Device().synchronize()
    from cupyx.profiler import profile

    with profile():
        call()
        cupy.cuda.Device().synchronize()


if __name__ == "__main__":
    main()
