"""Clusters of blocks in the emulation of Hopper, and the faults that it has to find."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from types import ModuleType

import numpy as np
import pytest

from cuda_emulation import load

SEEDS = range(5)  # orders in which the threads run; a fault has to show in each

# As in cluster_faults.cu, with the message where the launch fails in every order; the others are
# seen in the result or by one of the messages.
NEVER = "the end of an mbarrier's phase"
FAULTS = {
    "none": None,
    "mask of itself": NEVER,
    "mask of the other": NEVER,
    "mask too wide": "a mask of blocks that the cluster has not",
    "half of the bytes": "",
    "the same half": "",
    "an arrival missing": NEVER,
    "no arrivals": "",
    "arrivals at itself": "",
    "rank too high": "a rank that the cluster has not",
    "unequal steps": NEVER,
    "no barrier before": "an mbarrier is used that was not initialised",
    "no fence for the cluster": "not fenced for the cluster",
    "no barrier after": "of a block that has ended",
    "a barrier of one block": "(of a block that has ended|not all threads of the cluster come)",
}


# Two tiles of 128 x 128 of a product of 64 depths in tf32: bytes from L2, and what is copied into
# shared memory, of both blocks.
BYTES = """
import json
import numpy as np
from cuda_emulation import load

path = load.build(load.COUNTING, "-DALEXNET_COUNT=ON")
load.load(path)
counts = load.import_from("_cuda_counts", path)
import cupy
from alexnet import cuda

x, weight = (cupy.asarray(np.ones(shape, np.float32)) for shape in ((128, 64), (64, 256)))
counts.start(10**9)
cuda.dense(x, weight, precision="tf32")
(product,) = [launch for launch in counts.stop() if launch["warpgroup_fma"]]
copied = [a["bytes"] for a in product["accesses"] if a["space"] == "shared" and a["copies"]]
print(json.dumps([32 * product["bypassing_units"], sum(copied), product["blocks_run"]]))
"""


@pytest.fixture(autouse=True)
def _hopper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALEXNET_EMULATED_CAPABILITY", "9.0")


@pytest.fixture(scope="module")
def clusters() -> ModuleType:
    path = load.beside("_cuda_clusters")
    return load.import_from("_cuda_clusters", path)


def is_right(clusters: ModuleType, fault: str, blocks: int = 2, depth: int = 196) -> bool:
    numbers = np.random.default_rng(1)
    a, b = (numbers.integers(-8, 8, (n, depth)).astype(np.float32) for n in (64 * blocks, 32))
    return np.array_equal(clusters.pipeline(a, b, list(FAULTS).index(fault)), a @ b.T)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("blocks", "depth"), [(2, 32), (2, 96), (2, 196), (6, 128)])
def test_a_sound_pipeline(clusters: ModuleType, blocks: int, depth: int, seed: int) -> None:
    clusters.set_seed(seed)
    assert is_right(clusters, "none", blocks, depth)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("fault", [name for name, message in FAULTS.items() if message])
def test_faults_that_end_the_launch(clusters: ModuleType, fault: str, seed: int) -> None:
    clusters.set_seed(seed)
    with pytest.raises(RuntimeError, match=f"^pipeline: .*{FAULTS[fault]}"):
        is_right(clusters, fault)
    assert is_right(clusters, "none"), "a failed launch leaves the next one alone"


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("fault", [name for name, message in FAULTS.items() if message == ""])
def test_faults_that_show(clusters: ModuleType, fault: str, seed: int) -> None:
    clusters.set_seed(seed)
    try:
        right = is_right(clusters, fault)
    except RuntimeError:
        return
    assert not right


def test_ranks(clusters: ModuleType) -> None:
    np.testing.assert_array_equal(clusters.ranks(6, 2), [0, 1] * 3)
    np.testing.assert_array_equal(clusters.ranks(3, 1), [0] * 3)


@pytest.mark.parametrize(
    ("blocks", "cluster", "capability"),
    [(5, 2, "9.0"), (18, 9, "9.0"), (4, 2, "8.0")],  # not whole clusters; too large; none there
)
def test_clusters_that_a_launch_refuses(
    clusters: ModuleType,
    blocks: int,
    cluster: int,
    capability: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ALEXNET_EMULATED_CAPABILITY", capability)
    with pytest.raises(RuntimeError, match="ranks: invalid value"):
        clusters.ranks(blocks, cluster)


@pytest.mark.parametrize("cluster", [1, 2])
def test_a_shared_tile_comes_from_l2_once(cluster: int) -> None:
    tile = {1: "128x128", 2: "128x128x2"}[cluster]
    run = subprocess.run(
        [sys.executable, "-c", BYTES],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "ALEXNET_EMULATED_TILE": tile},
    )
    assert run.returncode == 0, run.stderr
    from_l2, copied, blocks = json.loads(run.stdout)
    operand = 128 * 64 * 4  # bytes
    assert blocks == 2
    assert from_l2 == 2 * operand + (2 if cluster == 1 else 1) * operand
    assert copied == 4 * operand
