"""The build that the stages use, its tests, and `alexnet verify`; and what can be made beforehand.

--prebuild runs where there is no GPU: it leaves in build/gpu_check the package for a Python version
(site), the kernels with other numbers of stages (stages-N), and the static predictions
(static.json). The folder is carried to the device machine; a package that does not load there is
built there.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from gpu_stages.configurations import STAGES
from gpu_stages.kernels import BATCH_SIZES, PRECISIONS, STATIC
from gpu_stages.record import reason
from gpu_stages.setting import FOLDER, ROOT, Setting

SITE = FOLDER / "site"
ARCHITECTURES = "90-real"
TEST_FILES = (
    *("cuda_hopper_lines", "cuda_storage", "cuda_hopper", "cuda_fused", "odd_shapes"),
    *("cuda_device", "cuda_graph", "cuda_network", "conv2d", "dense"),
)
NETWORKS = ("tf-tutorial", "cifar10-bn")
TEST_SECONDS = 90.0  # of all tests, once there is a build
IMPORT = "import alexnet; assert alexnet.has_cuda(), alexnet.cuda_obstacle()"


def run(setting: Setting) -> None:
    """Take or make the build, then run the tests that need the device, the shortest first."""
    if setting.dry_run:
        setting.add(build="the emulation")
        tests(setting, ("cuda_emulation",), "-k", "sound and barrier")
        return
    usable = python("-c", IMPORT)
    setting.add(build="prebuilt" if usable.returncode == 0 else "built here")
    if usable.returncode != 0:
        print(f"  {usable.stderr.strip().splitlines()[-1:]}: building", flush=True)
        package(SITE, sys.executable, "native", isolated=False)
        usable = python("-c", IMPORT)
        if usable.returncode != 0:
            raise RuntimeError(usable.stderr[-500:])
    setting.add(info=python("-m", "alexnet", "info").stdout.splitlines())
    setting.deadline = min(setting.deadline, time.monotonic() + TEST_SECONDS)
    tests(setting, TEST_FILES, "-m", "cuda")
    for network in NETWORKS:
        verified = in_time(setting, "-m", "alexnet", "verify", network, "--device", "cuda")
        said = " ".join(verified.stdout.split()[-40:])
        setting.append("verify", {"network": network, "status": verified.returncode, "said": said})
    failed = [row for row in setting.record.stage(setting.name)["tests"] if row["status"] != 0]
    if failed:
        raise RuntimeError(f"tests failed: {', '.join(row['tests'] for row in failed)}")


def python(*arguments: str, seconds: float | None = None) -> Any:
    """Run this Python with what the stages see."""
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=seconds,
    )


def in_time(setting: Setting, *arguments: str) -> Any:
    """The same, ended where the stage's time is over: the status is then -1."""
    try:
        return python(*arguments, seconds=max(setting.deadline - time.monotonic(), 1.0))
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(arguments, -1, "ended: no time left", "")


def tests(setting: Setting, files: tuple[str, ...], *options: str) -> None:
    """A row for each file of tests: passed, failed, and the last lines."""
    for name in files:
        command = ("-m", "pytest", "-q", "-p", "no:cacheprovider", f"tests/test_{name}.py")
        ran = in_time(setting, *command, *options)
        said = " ".join(ran.stdout.splitlines()[-8:])[-800:]
        setting.append("tests", {"tests": name, "status": ran.returncode, "said": said})


# --- beforehand -----------------------------------------------------------------------------------


def package(
    site: Path, interpreter: str, architectures: str, flags: str = "", *, isolated: bool
) -> None:
    """Build and install the package with its CUDA kernels into a folder.

    `isolated` fetches what the build needs; the device machine has no network, and has it.
    """
    options = ["cmake.define.ALEXNET_CUDA=ON", f"build-dir={FOLDER / 'build' / site.name}"]
    if architectures != "native":
        options.append(f"cmake.define.ALEXNET_CUDA_ARCHITECTURES={architectures}")
    if flags:
        options.append(f"cmake.define.CMAKE_CUDA_FLAGS={flags}")
    command = [interpreter, "-m", "pip", "install", "--quiet", str(ROOT), "--target", str(site)]
    command += ["--upgrade", "--no-deps"]
    command += [] if isolated else ["--no-index", "--no-build-isolation"]
    command += [part for option in options for part in ("-C", option)]
    subprocess.run(command, check=True)


def prebuild(interpreter: str) -> None:
    """Leave all that can be made without a GPU; `interpreter` is of the device's Python version."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    static = [
        entry | {"batch_size": batch_size, "precision": precision}
        for batch_size in BATCH_SIZES
        for precision in PRECISIONS
        for entry in predicted(batch_size, precision)
    ]
    (FOLDER / STATIC).write_text(json.dumps(static, allow_nan=False))
    print(f"{FOLDER / STATIC}: {len(static)} predictions", flush=True)
    package(SITE, interpreter, ARCHITECTURES, isolated=True)
    print(f"{SITE}: the package", flush=True)
    for stages in STAGES:
        folder = FOLDER / f"stages-{stages}"
        folder.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory() as site:
            place = Path(site) / folder.name
            flag = f"-DALEXNET_GEMM_STAGES={stages}"
            package(place, interpreter, ARCHITECTURES, flag, isolated=True)
            for module in (place / "alexnet").glob("_cuda*.so"):
                shutil.copy(module, folder)
        print(f"{folder}: the kernels with {stages} stages", flush=True)
    shutil.rmtree(FOLDER / "build")


def predicted(batch_size: int, precision: str) -> list[dict[str, Any]]:
    """What benchmarks/gpu_static.py prints for the device's architecture."""
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu_static.py"), "--json"]
    command += ["--architectures", "90", "--precision", precision]
    command += ["--batch-size", str(batch_size)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode != 0:
        print(f"no static predictions: {reason(made.stderr)['reason']}", flush=True)
        return []
    result: list[dict[str, Any]] = json.loads(made.stdout)
    return result
