"""The kernels under compute-sanitizer, one by one: a network adds none.

The tools make kernels tens of times slower. racecheck looks at shared memory between threads of a
block, and knows copies that are waited for by mbarriers only in part: products of Hopper, whose
stages are such copies, are left to memcheck.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time

from gpu_stages.record import reason
from gpu_stages.setting import ROOT, Setting

OTHERS = ("tests/test_odd_shapes.py", "tests/test_cuda_device.py")
# Each tool's tests, and which of them: the shortest first.
RUNS = (
    (
        "memcheck",
        (*OTHERS, "tests/test_cuda_hopper.py"),
        "within_the_bounds or unaligned or test_dense",
    ),
    ("racecheck", OTHERS, "within_the_bounds or unaligned"),
    ("memcheck", ("tests/test_cuda_hopper.py",), "test_convolution"),
)


def run(setting: Setting) -> None:
    """A row for each run, with its summary; RuntimeError if one finds something or has no time."""
    if setting.dry_run:
        setting.add(tools=reason("compute-sanitizer needs a GPU; .ci/sanitize has the emulation"))
        return
    program = shutil.which("compute-sanitizer")
    if program is None:
        raise RuntimeError("compute-sanitizer is not on PATH")
    for tool, tests, only in RUNS:
        command = [program, "--tool", tool, "--error-exitcode", "1", "--target-processes", "all"]
        # What CuPy asks the driver for and does not get is no fault of ours.
        command += ["--report-api-errors", "no"] if tool == "memcheck" else []
        command += [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
        command += ["-m", "cuda", *tests, "-k", only]
        status, said = ended(command, setting.deadline - time.monotonic())
        summary = " ".join(
            line for line in said.splitlines() if "SUMMARY" in line or " passed" in line
        )
        row = {"tool": tool, "tests": only, "status": status, "said": summary[-300:]}
        setting.append("tools", row)
        if status != 0:
            raise RuntimeError(f"{tool}: {said[-400:]}")


def ended(command: list[str], seconds: float) -> tuple[int, str]:
    """Exit status and output of a program; -1 where it was ended after so many seconds."""
    try:
        ran = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            cwd=ROOT,
            timeout=max(seconds, 1.0),
        )
    except subprocess.TimeoutExpired as late:
        before = late.stdout or b""
        text = before.decode(errors="replace") if isinstance(before, bytes) else before
        return -1, f"{text}\nended: no time left"
    return ran.returncode, ran.stdout
