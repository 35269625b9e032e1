"""The kernels under compute-sanitizer, one by one: a network adds none.

The tools make kernels tens of times slower.
"""

from __future__ import annotations

import shutil
import subprocess
import sys

from gpu_stages.record import reason
from gpu_stages.setting import ROOT, Setting

TOOLS = ("memcheck", "racecheck")
TESTS = ("tests/test_odd_shapes.py", "tests/test_cuda_device.py")
ONLY = "odd_shapes or unaligned"


def run(setting: Setting) -> None:
    """A row for each tool, with its summary; RuntimeError if one finds something."""
    if setting.dry_run:
        setting.add(tools=reason("compute-sanitizer needs a GPU; .ci/sanitize has the emulation"))
        return
    program = shutil.which("compute-sanitizer")
    if program is None:
        raise RuntimeError("compute-sanitizer is not on PATH")
    for tool in TOOLS:
        command = [program, "--tool", tool, "--error-exitcode", "1", "--target-processes", "all"]
        command += [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
        command += ["-m", "cuda", *TESTS, "-k", ONLY]
        ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
        said = " ".join(line for line in ran.stdout.splitlines() if "SUMMARY" in line)
        setting.append("tools", {"tool": tool, "status": ran.returncode, "said": said[-300:]})
        if ran.returncode != 0:
            raise RuntimeError(f"{tool}: {ran.stdout[-400:]}")
