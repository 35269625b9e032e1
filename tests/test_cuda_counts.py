"""What the emulation counts of a kernel's accesses to memory, on patterns with known answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from cuda_emulation import load
from support.documents import ROOT

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
    if launch["waits"] or launch["warpgroup_fma"]
    for a in launch["accesses"]
    if a["space"] == "shared" and a["writes"] == a["copies"]
]
print(json.dumps([len(accesses), *(sum(a[what] for a in accesses) for what in ("units", "least"))]))
"""

# Copies of windows that are read as runs, whose lines are a multiple of 4 elements or not: of each
# product bytes that come from memory by width, and wavefronts of copies of 8 or 16 bytes
# that they take, and need.
RUNS = """
import json
import numpy as np
from cuda_emulation import load
from test_cuda_counts import module

path = load.build(load.COUNTING, "-DALEXNET_COUNT=ON")
load.load(path)
counts = module("_cuda_counts", "_cuda")
import cupy
from alexnet import cuda

results = []
for width in (16, 17):
    for dtype in (np.float32, np.float16):
        x = cupy.asarray(np.ones((8, 15, width, 3), dtype))
        weight = cupy.asarray(np.ones((11, 11, 3, 64), dtype))
        how = {"stride": 4, "padding": "same"}
        how.update({"precision": "tf32"} if dtype == np.float32 else {})
        counts.start(1000)
        y = cuda.conv2d(x, weight, **how)
        cuda.conv2d_backward_weight(y, x, (11, 11), **how)
        launches = counts.stop()
        for launch in launches:
            if not launch["warp_products"]:
                continue
            bytes_, wavefronts, least = {}, 0, 0
            for a in launch["accesses"]:
                if a["space"] == "global" and not a["writes"]:
                    bytes_[a["width"]] = bytes_.get(a["width"], 0) + a["bytes"]
                elif a["space"] == "shared" and a["copies"] and a["width"] >= 8:
                    wavefronts, least = wavefronts + a["units"], least + a["least"]
            results.append([width, np.dtype(dtype).name, bytes_, wavefronts, least])
print(json.dumps(results))
"""

# What the operators that memory bounds do to it, in all blocks: sectors that they need at least, of
# each array once; different ones of the whole launch; the same counted anew in every block, which
# is the traffic with L2; those that requests of 16 bytes touch, and need; widths; barriers of a
# block.
MEMORY_BOUND = """
import json, sys
import numpy as np
from cuda_emulation import load
from test_cuda_counts import module

path = load.build(load.COUNTING, "-DALEXNET_COUNT=ON")
load.load(path)
counts = module("_cuda_counts", "_cuda")
import cupy
from alexnet import cuda
results = {}

def array(*shape, dtype=np.float32):
    result = cupy.empty(shape, np.dtype(dtype))
    result[...] = cupy.asarray(np.random.default_rng(1).standard_normal(shape).astype(dtype))
    return result

def note(name, arrays, call):
    counts.start(10**9)
    call()
    launches = counts.stop()
    accesses = [a for l in launches for a in l["accesses"] if a["space"] == "global"]
    wide = [a for a in accesses if a["width"] == 16]
    results[name] = {
        "needed": sum(-(-a.nbytes // 32) for a in arrays),
        "memory": sum(l["memory_sectors"] for l in launches),
        "L2": sum(l["read_sectors"] + l["written_sectors"] for l in launches),
        "requests": sum(a["units"] for a in wide),
        "least": sum(a["least"] for a in wide),
        "widths": sorted({a["width"] for a in accesses}),
        "barriers": max(l["barriers"] / l["blocks_run"] for l in launches),
        "launches": len(launches),
    }

lrn = {"depth_radius": 4, "bias": 1.0, "alpha": 0.1, "beta": 0.75}
pool = {"window": 3, "stride": 2, "padding": "valid", "ceil_mode": False}
for dtype in (np.float32, np.float16):
    kind = np.dtype(dtype).name
    x, d = array(1, 15, 15, 192, dtype=dtype), array(1, 15, 15, 192, dtype=dtype)
    note(f"lrn {kind}", [x, x], lambda: cuda.lrn(x, **lrn))
    note(f"lrn_backward {kind}", [d, x, x], lambda: cuda.lrn_backward(d, x, **lrn))
    y, bytes_ = array(1, 7, 7, 192, dtype=dtype), cupy.empty((1, 7, 7, 192), cupy.uint8)
    layer = cuda.fused.MaxPool2d(pool)
    note(f"max_pool2d {kind}", [x, y], lambda: cuda.max_pool2d(x, out=y))
    saved = []
    note(f"max_pool2d training {kind}", [x, y, bytes_],
         lambda: saved.extend(layer.forward(x, y, True)))
    note(f"max_pool2d_backward {kind}", [y, bytes_, x],
         lambda: layer.backward(y, x, tuple(saved), True, d))
    note(f"lrn_max_pool2d {kind}", [x, y, bytes_],
         lambda: cuda.fused.lrn_max_pool2d(x, **lrn, **pool, out=y, positions=bytes_))
    note(f"lrn_max_pool2d_backward {kind}", [y, x, bytes_, x],
         lambda: cuda.fused.lrn_max_pool2d_backward(y, x, bytes_, **lrn, **pool))
    x, d = array(3000, 96, dtype=dtype), array(3000, 96, dtype=dtype)
    c = array(96)
    note(f"batch_norm {kind}", [x, x, x], lambda: cuda.batch_norm(x, c, c))
    note(f"batch_norm_backward {kind}", [d, x, d, x, x],
         lambda: cuda.batch_norm_backward(d, x, c, c, c))
    n = array(5000, dtype=dtype)
    note(f"relu {kind}", [n, n], lambda: cuda.relu(n))
    m = array(5000, dtype=dtype)
    note(f"relu_backward {kind}", [m, n, n], lambda: cuda.relu_backward(m, n))
    note(f"dropout {kind}", [n, n], lambda: cuda.dropout(n))
p, g, v, s = (array(5000) for _ in range(4))
note("sgd_update", [p, g, v, p, v], lambda: cuda.sgd_update(p, g, v, learning_rate=0.1))
note("adam_update", [p, g, v, s, p, v, s], lambda: cuda.adam_update(p, g, v, s, step=1))
c, scale = array(5000, dtype=np.float16), cuda.mixed_precision.LossScale()
sgd = {"learning_rate": 0.1, "momentum": 0.9, "weight_decay": 0.0}
adam = {"step": 1, "learning_rate": 0.1, "beta1": 0.9, "beta2": 0.99, "epsilon": 1e-8, **sgd}
del adam["momentum"]
note("sgd_update with a copy", [p, g, v, p, v, c],
     lambda: cuda.optimizer.update("sgd", sgd, [p, g, v], c, None))
note("adam_update with a copy", [p, g, v, s, p, v, s, c],
     lambda: cuda.optimizer.update("adam", adam, [p, g, v, s], c, None))
note("convert to float16", [p, c], lambda: cuda.mixed_precision.convert(p, c))
note("convert to float32", [c, p], lambda: cuda.mixed_precision.convert(c, p))
flag = cupy.zeros((1,), "uint32")
note("unscale_gradients", [g, g], lambda: scale.unscale(g, flag))
print(json.dumps(results))
"""


def module(name: str, library: str = "_cuda_patterns") -> ModuleType:
    """One of the two modules that a library of the counting build holds."""
    folder = load.build(load.COUNTING, "-DALEXNET_COUNT=ON").parent
    path = next(folder.glob(f"{library}.*.so"))
    return load.import_from(name, path)


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
    ("name", "stride", "wavefronts"),
    [
        ("read_matrices", 4, 4),  # neighbours
        ("read_matrices", 16, 16),  # rows of 64 bytes: of 8, four begin in the same bank
        ("read_matrices", 64, 32),  # rows four of them apart: all 8
        ("read_swizzled", 0, 4),  # the same with the masks
        ("read_matrices", 20, 4),  # rows of 80 bytes
    ],
)
def test_bank_conflicts_of_matrices(
    patterns: ModuleType, counts: ModuleType, name: str, stride: int, wavefronts: int
) -> None:
    access = only_access(counted(patterns, counts, name, stride))
    assert (access["space"], access["width"], access["requests"]) == ("shared", 16, 1)
    assert (access["units"], access["least"]) == (wavefronts, 4)


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


@pytest.mark.parametrize(
    ("operators", "capability"),
    [("alexnet.cuda", "8.0"), ("alexnet.cuda.tf32", "8.0"), ("alexnet.cuda.tf32", "9.0")],
)
def test_main_loops_of_products_have_no_bank_conflicts(operators: str, capability: str) -> None:
    run = subprocess.run(
        [sys.executable, "-c", PRODUCTS, operators],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "ALEXNET_EMULATED_CAPABILITY": capability},
    )
    assert run.returncode == 0, run.stderr
    accesses, wavefronts, least = json.loads(run.stdout)
    assert accesses > 6, "reads and copies of three products"
    assert wavefronts == least


def test_windows_of_few_channels_are_copied_by_fours_without_bank_conflicts() -> None:
    run = subprocess.run([sys.executable, "-c", RUNS], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    products = json.loads(run.stdout)
    assert len(products) == 2 * 2 * 2, "both directions of each"
    for width, dtype, given, wavefronts, least in products:
        moved = {int(bytes_of_copy): count for bytes_of_copy, count in given.items()}
        four, single = {"float32": (16, 4), "float16": (8, 2)}[dtype]
        assert set(moved) == {single, four, 16}, (width, dtype)
        assert moved[four] > 4 * moved[single], (width, dtype)
        assert wavefronts == least, (width, dtype)


@pytest.fixture(scope="module")
def memory_bound() -> dict[str, dict[str, Any]]:
    path = os.pathsep.join([str(ROOT / "benchmarks"), os.environ.get("PYTHONPATH", "")])
    run = subprocess.run(
        [sys.executable, "-c", MEMORY_BOUND],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    result: dict[str, dict[str, Any]] = json.loads(run.stdout)
    return result


# Traffic with L2 as a multiple of what is needed, where it is more than 1.05: blocks that own
# neighbouring rows and columns of windows read what is between them again; backward, positions and
# dy of the windows around.
L2 = {
    "max_pool2d": 1.25,
    "max_pool2d training": 1.25,
    "max_pool2d_backward": 1.15,
    "lrn_max_pool2d": 1.5,
    "lrn_max_pool2d_backward": 1.3,
    "batch_norm": 1.1,  # sums of blocks and coefficients
    "batch_norm_backward": 1.1,
}


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize(
    ("operator", "barriers", "widths"),
    [
        ("lrn", 0, [16]),
        ("lrn_backward", 0, [16]),
        ("max_pool2d", 0, [16]),
        ("max_pool2d training", 0, ["positions", 16]),
        ("max_pool2d_backward", 0, ["positions", 16]),
        ("lrn_max_pool2d", 0, ["positions", 16]),
        ("lrn_max_pool2d_backward", 0, ["positions", 16]),
        ("batch_norm", 1, None),
        ("batch_norm_backward", 1, None),
        ("relu", 0, [16]),
        ("relu_backward", 0, [16]),
        ("dropout", 0, [16]),
    ],
)
def test_arrays_pass_memory_once(
    memory_bound: dict[str, dict[str, Any]],
    operator: str,
    dtype: str,
    barriers: int,
    widths: list[Any] | None,
) -> None:
    count = memory_bound[f"{operator} {dtype}"]
    assert 1 <= count["memory"] / count["needed"] <= 1.05
    assert count["L2"] / count["needed"] <= L2.get(operator, 1.05)
    assert count["requests"] / count["least"] <= 1.05
    assert count["barriers"] <= barriers
    if widths is not None:  # batch norm's coefficients are doubles
        positions = {"float32": 4, "float16": 8}[dtype]
        assert count["widths"] == [positions if w == "positions" else w for w in widths]


@pytest.mark.parametrize("operator", ["sgd_update", "adam_update"])
def test_updates_pass_memory_once(memory_bound: dict[str, dict[str, Any]], operator: str) -> None:
    count = memory_bound[operator]
    assert count["memory"] == count["L2"] == count["requests"] == count["needed"]
    assert count["widths"] == [16]
    assert count["launches"] == 1


@pytest.mark.parametrize(
    ("operator", "widths"),
    [
        ("sgd_update with a copy", [8, 16]),
        ("adam_update with a copy", [8, 16]),
        ("convert to float16", [8, 16]),
        ("convert to float32", [8, 16]),
        ("unscale_gradients", [4, 16]),  # the scale, once a thread
    ],
)
def test_networks_in_16_bits_pass_memory_once(
    memory_bound: dict[str, dict[str, Any]], operator: str, widths: list[int]
) -> None:
    count = memory_bound[operator]
    assert 1 <= count["memory"] / count["needed"] <= 1.05
    assert count["L2"] / count["needed"] <= 1.05
    assert count["widths"] == widths
    assert count["launches"] == 1
