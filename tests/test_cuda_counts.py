"""What the emulation counts of a kernel's accesses to memory, on patterns with known answers."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from cuda_emulation import load

pytestmark = pytest.mark.cuda

LANES = 32

# Wavefronts of shared memory that reads and asynchronous copies of products take, and need.
PRODUCTS = """
import importlib, json, sys
import numpy as np
from cuda_emulation import load
from test_cuda_counts import module

path = load.build(load.COUNTING, "-DALEXNET_COUNT=ON")
load.load(path)
counts = module("_cuda_counts", "_cuda")
import cupy

operators = importlib.import_module(sys.argv[1])
x = cupy.asarray(np.ones((2, 9, 9, 32), np.float32))
weight = cupy.asarray(np.ones((3, 3, 32, 64), np.float32))
counts.start(1)
y = operators.conv2d(x, weight)
operators.conv2d_backward_input(y, weight, x.shape)
operators.conv2d_backward_weight(y, x, (3, 3))
accesses = [
    a
    for launch in counts.stop()
    if launch["waits"]
    for a in launch["accesses"]
    if a["space"] == "shared" and a["writes"] == a["copies"]
]
print(json.dumps([len(accesses), *(sum(a[what] for a in accesses) for what in ("units", "least"))]))
"""


def module(name: str, library: str = "_cuda_patterns") -> ModuleType:
    """One of the two modules that a library of the counting build holds."""
    folder = load.build(load.COUNTING, "-DALEXNET_COUNT=ON").parent
    path = next(folder.glob(f"{library}.*.so"))
    specification = importlib.util.spec_from_file_location(name, path)
    assert specification is not None
    assert specification.loader is not None
    result = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(result)
    return result


@pytest.fixture(scope="module")
def patterns() -> ModuleType:
    return module("_cuda_patterns")


@pytest.fixture(scope="module")
def counts() -> ModuleType:
    return module("_cuda_counts")


def counted(
    patterns: ModuleType, counts: ModuleType, name: str, stride: int = 1, *, sample: int = 1
) -> dict[str, Any]:
    """What a launch of four blocks of a warp did, of which `sample` were run."""
    memory = np.zeros(4096 + 32, np.float32)
    aligned = memory[(-memory.ctypes.data // 4) % 32 :]  # to the 128 bytes of four sectors
    counts.start(sample)
    patterns.run(name, stride, 4, aligned[:2048], aligned[2048:])
    (launch,) = counts.stop()
    return dict(launch)


def only_access(launch: dict[str, Any]) -> dict[str, Any]:
    (access,) = launch["accesses"]
    return dict(access)


@pytest.mark.parametrize("direction", ["read", "write"])
@pytest.mark.parametrize(
    ("width", "stride", "sectors", "least"),
    [
        (4, 0, 1, 1),  # broadcast
        (4, 1, 4, 4),  # 32 lanes of 4 bytes are 128 neighbouring bytes
        (4, 2, 8, 4),
        (4, 32, 32, 4),
        (4, 33, 32, 4),
        (16, 0, 1, 1),
        (16, 4, 16, 16),
        (16, 8, 32, 16),
    ],
)
def test_sectors(
    patterns: ModuleType,
    counts: ModuleType,
    direction: str,
    width: int,
    stride: int,
    sectors: int,
    least: int,
) -> None:
    launch = counted(patterns, counts, f"{direction}_global {width}", stride)
    access = only_access(launch)
    assert access["space"] == "global"
    assert access["writes"] == (direction == "write")
    assert not access["copies"]
    assert (access["requests"], access["lanes"], access["width"]) == (1, LANES, width)
    assert access["bytes"] == LANES * width
    assert (access["units"], access["least"]) == (sectors, least)
    both = {"read": (sectors, 0), "write": (0, sectors)}
    assert (launch["read_sectors"], launch["written_sectors"]) == both[direction]


@pytest.mark.parametrize(
    ("width", "stride", "wavefronts", "least"),
    [
        (4, 0, 1, 1),  # broadcast
        (4, 1, 1, 1),
        (4, 2, 2, 1),
        (4, 32, 32, 1),  # all lanes in one bank
        (4, 33, 1, 1),  # as with a column of padding
        (8, 2, 2, 2),
        (8, 4, 4, 2),
        (16, 4, 4, 4),
        (16, 8, 8, 4),
        (16, 20, 4, 4),  # rows 20 words apart, as in a tile of float32 products
        (16, 32, 32, 4),
    ],
)
def test_bank_conflicts(
    patterns: ModuleType, counts: ModuleType, width: int, stride: int, wavefronts: int, least: int
) -> None:
    access = only_access(counted(patterns, counts, f"read_shared {width}", stride))
    assert access["space"] == "shared"
    assert (access["requests"], access["units"], access["least"]) == (1, wavefronts, least)


@pytest.mark.parametrize(
    ("width", "stride", "wavefronts", "least"),
    [(4, 0, 1, 1), (4, 1, 1, 1), (4, 2, 2, 1), (4, 32, 32, 1), (4, 33, 1, 1), (16, 4, 4, 4)],
)
def test_bank_conflicts_of_stores(
    patterns: ModuleType, counts: ModuleType, width: int, stride: int, wavefronts: int, least: int
) -> None:
    access = only_access(counted(patterns, counts, f"write_shared {width}", stride))
    assert (access["space"], access["writes"]) == ("shared", True)
    assert (access["requests"], access["units"], access["least"]) == (1, wavefronts, least)


@pytest.mark.parametrize(
    ("stride", "sectors", "wavefronts"),
    [
        (16, 16, 4),  # two rows of 16 words fill the 32 banks
        (20, 20, 8),  # of padded rows the second begins where the first has been; half a sector off
        (128, 16, 8),  # both begin in bank 0
    ],
)
def test_copies_of_rows(
    patterns: ModuleType, counts: ModuleType, stride: int, sectors: int, wavefronts: int
) -> None:
    source, target = counted(patterns, counts, "copy_rows", stride)["accesses"]
    assert (source["space"], source["units"], source["least"]) == ("global", sectors, 16)
    assert (target["space"], target["units"], target["least"]) == ("shared", wavefronts, 4)


@pytest.mark.parametrize(("stride", "sectors"), [(8, 8), (32, 8), (4, 5), (12, 12)])
def test_pairs_of_a_fragment(
    patterns: ModuleType, counts: ModuleType, stride: int, sectors: int
) -> None:
    access = only_access(counted(patterns, counts, "write_fragment", stride))
    assert (access["width"], access["requests"], access["lanes"]) == (8, 1, LANES)
    least = 5 if stride == 4 else 8  # rows of 8 floats that lie 4 apart overlap
    assert (access["units"], access["least"]) == (sectors, least)


def test_multiply_adds_and_shuffles(patterns: ModuleType, counts: ModuleType) -> None:
    launch = counted(patterns, counts, "arithmetic")
    assert launch["multiply_adds"] == 3 * LANES // 2
    assert launch["shuffles"] == 2 * LANES
    assert launch["warp_products"] == 0
    assert counted(patterns, counts, "pipeline")["multiply_adds"] == 0


def test_copies_barriers_and_products(patterns: ModuleType, counts: ModuleType) -> None:
    launch = counted(patterns, counts, "pipeline")
    assert launch["bytes_in_flight"] == 3 * LANES * 16, "three groups before the first wait"
    assert launch["waits"] == 2 * LANES
    assert launch["barriers"] == 2
    assert launch["warp_products"] == 1
    source, target = launch["accesses"]
    assert source["copies"]
    assert target["copies"]
    assert (source["space"], source["requests"], source["units"]) == ("global", 3, 3 * 16)
    assert (target["space"], target["requests"], target["units"]) == ("shared", 3, 3 * 4)


def test_lanes_that_do_nothing(patterns: ModuleType, counts: ModuleType) -> None:
    access = only_access(counted(patterns, counts, "half_of_the_lanes", 2))
    assert (access["requests"], access["lanes"]) == (3, 3 * LANES // 2)
    assert (access["units"], access["least"]) == (3 * 8, 3 * 2)


def test_lanes_begin_together_in_every_call(patterns: ModuleType, counts: ModuleType) -> None:
    access = only_access(counted(patterns, counts, "uneven", 1))
    assert (access["requests"], access["lanes"]) == (3 * 2, 3 * (2 * LANES - 1))
    assert access["units"] == 3 * 2, "no bank conflicts, since turns of different calls never mix"


def test_samples_of_a_grid(patterns: ModuleType, counts: ModuleType) -> None:
    everything = counted(patterns, counts, "read_global 4", sample=100)
    some = counted(patterns, counts, "read_global 4", sample=2)
    none = counted(patterns, counts, "read_global 4", sample=0)
    assert [launch["grid"] for launch in (everything, some, none)] == [(4, 1, 1)] * 3
    assert [launch["blocks_run"] for launch in (everything, some, none)] == [4, 2, 0]
    assert only_access(everything)["units"] == 4 * 4
    assert only_access(some)["units"] == 2 * 4
    assert none["accesses"] == []


def test_nothing_is_counted_unless_asked(patterns: ModuleType, counts: ModuleType) -> None:
    x = np.zeros(LANES, np.float32)
    patterns.run("read_global 4", 1, 4, x, x.copy())
    assert counts.stop() == []


@pytest.mark.parametrize("operators", ["alexnet.cuda", "alexnet.cuda.tf32"])
def test_main_loops_of_products_have_no_bank_conflicts(operators: str) -> None:
    run = subprocess.run(
        [sys.executable, "-c", PRODUCTS, operators], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    accesses, wavefronts, least = json.loads(run.stdout)
    assert accesses > 6, "reads and copies of three products"
    assert wavefronts == least
