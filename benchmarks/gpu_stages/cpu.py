"""How the CPU kernels scale over the machine's cores: benchmarks/scaling.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from gpu_stages.record import reason
from gpu_stages.setting import ROOT, Setting

EACH = 3.0  # seconds expected of a number of threads, ours alone
BESIDE = 8.0  # beside other frameworks, whose programs take seconds to begin
PEERS = ("torch", "jax")


def run(setting: Setting) -> None:
    """A row for each number of threads: ours alone, then beside the frameworks that are installed.

    All cores and one come first, then the powers of two between; with frameworks the two alone.
    """
    from alexnet.comparison import peers

    cores = len(os.sched_getaffinity(0))
    between = [2**power for power in range(1, cores.bit_length()) if 2**power < cores]
    counts = setting.sizes([cores, 1, *reversed(between)], (1,))
    lacking = peers.missing(PEERS)
    setting.add(left_out=sorted(lacking))
    installed = ",".join(name for name in PEERS if name not in lacking)
    plan = [(count, "none") for count in counts]
    if installed and not setting.dry_run:
        plan += [(count, installed) for count in counts[:2]]
    for threads, names in plan:
        if not setting.has_time(EACH if names == "none" else BESIDE):
            setting.append("rows", {"threads": str(threads), "peers": names} | NO_TIME)
            continue
        for row in scaled(setting, threads, names):
            setting.append("rows", {"peers": names, **row})


NO_TIME = {"ours_ms": reason("the stage had no time left")}


def scaled(setting: Setting, threads: int, names: str) -> list[dict[str, Any]]:
    """What benchmarks/scaling.py measures with a number of threads, or why there is nothing."""
    network = ["cifar10-bn", "--batch-size", "1"] if setting.dry_run else ["tf-tutorial"]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "scaling.json"
        command = [sys.executable, "benchmarks/scaling.py", *network, "--target", "forward"]
        command += ["--threads", str(threads), "--peers", names, "--rounds", "1"]
        command += ["--seconds", "0.3", "--no-model", "--json", str(file)]
        left = max(setting.deadline - time.monotonic(), 1.0)
        try:
            ran = subprocess.run(
                command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=left
            )
            said = ran.stderr or ran.stdout
        except subprocess.TimeoutExpired:
            said = f"it took longer than {left:.0f} s"
        if not file.exists():  # a framework that fails leaves the others' rows
            return [{"threads": str(threads), "ours_ms": reason(said[-300:])}]
        rows: list[dict[str, Any]] = json.loads(file.read_text())
    return rows
