"""How the CPU kernels scale over the machine's cores: benchmarks/scaling.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from gpu_stages.setting import ROOT, Setting

EACH = 6.0  # seconds expected of a number of threads


def run(setting: Setting) -> None:
    """A row for each power of two of threads, up to the cores: ours alone, then beside PyTorch."""
    cores = len(os.sched_getaffinity(0))
    counts = setting.sizes([2**power for power in range(cores.bit_length())], (1,))
    peers = ["none"] if setting.torch is None or setting.dry_run else ["none", "torch"]
    for peer in peers:
        for threads in counts:
            if not setting.has_time(EACH if peer == "none" else 4 * EACH):
                break
            for row in scaled(setting, threads, peer):
                setting.append("rows", row)


def scaled(setting: Setting, threads: int, peer: str) -> list[dict[str, str]]:
    """What benchmarks/scaling.py measures with a number of threads."""
    network = ["cifar10-bn", "--batch-size", "1"] if setting.dry_run else ["tf-tutorial"]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "scaling.json"
        command = [sys.executable, "benchmarks/scaling.py", *network, "--target", "forward"]
        command += ["--threads", str(threads), "--peers", peer, "--rounds", "1"]
        command += ["--seconds", "0.3", "--no-model", "--json", str(file)]
        subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
        rows: list[dict[str, str]] = json.loads(file.read_text())
    return rows
