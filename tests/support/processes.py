"""Code in a new process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

SPIN_SETTINGS = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


def python(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `code` in a new process with only these of the variables that alexnet reads."""
    read = ("ALEXNET_ISA", "ALEXNET_NUM_THREADS", "OMP_NUM_THREADS", *SPIN_SETTINGS)
    environment = {name: value for name, value in os.environ.items() if name not in read}
    return subprocess.run(
        [sys.executable, "-c", code],
        env=environment | variables,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def output_of(code: str, **variables: str) -> str:
    result = python(code, **variables)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def hear_ctrl_c() -> None:
    """For `preexec_fn`: a shell that runs pytest in the background makes it ignore SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
