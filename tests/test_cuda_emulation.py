"""The emulation that the CUDA kernels are tested in finds the faults that it has to find."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType

import numpy as np
import pytest

from cuda_emulation import load
from support.arrays import SENTINEL

SEEDS = range(5)  # orders in which the threads run; a fault has to show in each

# By message where the launch fails; the others are seen in what they leave in y.
MESSAGES = {
    "divergence": "not all threads of the block come to the barrier at faults.cu:",
    "early_end": "not all threads of the block come to the barrier at faults.cu:",
    "write_past_shared": "write past shared memory",
    "alignment": "asynchronous copy of 16 bytes is not aligned",
    "shuffle": "not all lanes of the mask come to faults.cu:",
    "indexed_shuffle": "not all lanes of the mask come to faults.cu:",
}
ENDS_A_SANITIZED_PROCESS = ("write_past_shared", "read_past_shared")
SILENT = (
    *("barrier", "second_barrier", "read_past_shared", "write_past_end", "wait"),
    *("fragment", "swizzle", "crossing_shuffle"),
)


@pytest.fixture(scope="module")
def faults() -> ModuleType:
    path = next(load.path().parent.glob("_cuda_faults*.so"))
    return load.import_from("_cuda_faults", path)


def is_right(faults: ModuleType, name: str, *, faulty: bool) -> bool:
    """Whether the kernel leaves in y what it should, and nothing behind y."""
    memory = np.random.default_rng(1).integers(1, 100, 68).astype(np.float32)
    aligned = (-memory.ctypes.data // 4) % 4
    x = memory[aligned : aligned + 64]
    y = np.full(72, SENTINEL, np.float32)
    faults.run(name, faulty, x, y)
    square = x.reshape(8, 8)
    expected = (square @ square).ravel() if name == "fragment" else x[::-1]
    return np.array_equal(y[:64], expected) and bool((y[64:] == SENTINEL).all())


def sanitizer_finds(faults: ModuleType, name: str) -> bool:
    """Whether the address sanitizer ends a process that runs the faulty kernel."""
    code = (
        "import importlib.util as u, numpy as np\n"
        f"s = u.spec_from_file_location('_cuda_faults', {faults.__file__!r})\n"
        "m = u.module_from_spec(s)\n"
        "s.loader.exec_module(m)\n"
        f"m.run({name!r}, True, np.ones(64, np.float32), np.ones(64, np.float32))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return run.returncode != 0 and "AddressSanitizer: heap-buffer-overflow" in run.stderr


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", [*MESSAGES, *SILENT])
def test_sound_kernels_pass(faults: ModuleType, name: str, seed: int) -> None:
    faults.set_seed(seed)
    assert is_right(faults, name, faulty=False)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", SILENT)
def test_faults_show_in_the_result(faults: ModuleType, name: str, seed: int) -> None:
    faults.set_seed(seed)
    if name in ENDS_A_SANITIZED_PROCESS and faults.sanitized:
        assert sanitizer_finds(faults, name)
    else:
        assert not is_right(faults, name, faulty=True)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", MESSAGES)
def test_faults_end_the_launch(faults: ModuleType, name: str, seed: int) -> None:
    faults.set_seed(seed)
    if name in ENDS_A_SANITIZED_PROCESS and faults.sanitized:
        assert sanitizer_finds(faults, name)
        return
    with pytest.raises(RuntimeError, match=f"^{name}: .*{MESSAGES[name]}"):
        is_right(faults, name, faulty=True)
    assert is_right(faults, name, faulty=False), "a failed launch leaves the next one alone"
