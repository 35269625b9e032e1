"""What a network's step launches, and what each launch does to memory, from the emulation.

The project's own launchers decide on kernels, grids and splits; here they run with kernels that are
compiled for the host (tests/cuda_emulation), at the network's true shapes, but only a few blocks of
each launch, in which everything is counted.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpu_model.disassembly import ROOT, demangle
from gpu_model.machine import WARP

SECTOR = 32  # bytes
BULK = 128  # the width that counting.h gives copies of tensors and products of warpgroups


@dataclass(frozen=True)
class Launch:
    """One kernel of a step. All counts are of a block, the mean of those that were run."""

    layer: str
    direction: str  # "forward" or "backward"
    kernel: str  # as disassembly.Kernel.name
    blocks: int
    threads: int
    shared_bytes: int
    counts: dict[str, Any]  # as counting_binding.cpp makes them
    read_bytes: int  # of the layer's arrays that it reads, each once

    @property
    def warps(self) -> int:
        """Warps of a block."""
        return -(-self.threads // WARP)

    def of_block(self, what: str) -> float:
        """One of the counts."""
        return float(self.counts[what]) / self.counts["blocks_run"]

    def accesses(self, what: str, **which: Any) -> float:
        """Sum of a count over the accesses that have these properties."""
        chosen = (a for a in self.counts["accesses"] if all(a[k] == v for k, v in which.items()))
        return sum(a[what] for a in chosen) / float(self.counts["blocks_run"])

    def requests(self) -> dict[str, float]:
        """Accesses of a warp by the instruction that makes them."""
        return {
            "LDG": self.accesses("requests", space="global", writes=False, copies=False),
            "STG": self.accesses("requests", space="global", writes=True),
            "LDS": self.accesses("requests", space="shared", writes=False)
            - self.accesses("requests", space="shared", writes=False, width=BULK),
            "STS": self.accesses("requests", space="shared", writes=True, copies=False),
            "LDGSTS": self.accesses("requests", space="shared", copies=True)
            - self.accesses("requests", space="shared", copies=True, width=BULK),
        }

    def conflicts(self, **which: Any) -> float:
        """Wavefronts of shared memory beyond those that its requests need, as a share of them."""
        least = self.accesses("least", space="shared", **which)
        return self.accesses("units", space="shared", **which) / least - 1 if least else 0.0

    @property
    def sectors(self) -> float:
        """Sectors that its requests touch, as a multiple of those that their bytes need."""
        least = self.accesses("least", space="global")
        return self.accesses("units", space="global") / least if least else 1.0

    @property
    def l2_bytes(self) -> float:
        """Traffic with L2: some copies pass L1, which is perfect within a block for all else."""
        sectors = self.of_block("bypassing_units") + self.of_block("l1_sectors")
        return SECTOR * (sectors + self.of_block("written_sectors"))

    @property
    def memory_bytes(self) -> float:
        """Traffic of all blocks with the device's memory: what they read again is in L2 by then."""
        read, written = (
            SECTOR * self.blocks * self.of_block(what)
            for what in ("read_sectors", "written_sectors")
        )
        return min(read, self.read_bytes) + written


workspaces: list[int] = []  # bytes, of each that was asked for


def _kernel_names(path: Path) -> dict[int, str]:
    """Names of the module's functions by their place in it."""
    run = subprocess.run(
        ["nm", "--defined-only", str(path)], capture_output=True, text=True, check=True
    )
    rows = re.findall(r"^([0-9a-f]+) [tTwW] (_Z\S+)$", run.stdout, re.MULTILINE)
    names = demangle([symbol for _, symbol in rows])
    return {int(place, 16): name for (place, _), name in zip(rows, names, strict=True)}


def _most_read(kernel: str, layer: str, arrays: int) -> int:
    """Bytes that a kernel reads of memory at most: of the layer's arrays, or of a workspace."""
    if kernel.startswith(("void sum_splits", "void hopper_sum", "void points_to")):
        return sys.maxsize  # each value that a kernel before has written, once
    if layer.startswith("conv") and "Product<MatrixOperand" in kernel:  # Winograd's products
        return max(workspaces)
    return arrays


def step(
    network: str, batch_size: int, precision: str, capability: str = "8.0", sample: int = 1
) -> list[Launch]:
    """All launches of one forward and backward step, `sample` blocks of each run.

    `capability` is the device's, by which the launchers choose their kernels.
    """
    os.environ["ALEXNET_EMULATED_CAPABILITY"] = capability
    sys.path.insert(0, str(ROOT / "tests"))
    from cuda_emulation import load

    path = load.build(load.COUNTING, "-DALEXNET_COUNT=ON")
    if not load.loaded:
        load.load(path)
    import cupy
    import numpy as np

    fresh = cupy.empty

    def numbers(shape: Any, dtype: Any) -> Any:
        """Zeros: what blocks that are not run leave to the next layer would be NaN."""
        array = fresh(shape, dtype)
        array[...] = 0
        if np.dtype(dtype) == np.uint8:
            workspaces.append(int(np.prod(shape)))
        return array

    cupy.empty = numbers
    counts = load.import_from("_cuda_counts", path)
    names = _kernel_names(path)

    from alexnet.comparison.benchmark import FORWARD_BACKWARD, Benchmark
    from alexnet.network.variants import variant_named

    variant = variant_named(network)
    benchmark = Benchmark(variant, batch_size, device="cuda", precision=precision)
    element = 2 if precision in ("bfloat16", "float16") else 4
    sizes = [element * int(np.prod(shape)) for shape in variant.shapes(batch_size)]
    read_bytes = {
        layer.name: (x + element * row.parameters, max(x, element * row.parameters) + y)
        for layer, row, x, y in zip(
            variant.layers, variant.summary().rows, sizes[:-1], sizes[1:], strict=True
        )
    }
    result: list[Launch] = []

    def observe(layer: str, direction: str, _: float) -> None:
        for count in counts.stop():
            (x, y, z), (i, j, k) = count["grid"], count["block"]
            kernel, shared = names[count["kernel"]], count["shared_bytes"]
            most = _most_read(kernel, layer, read_bytes[layer][direction == "backward"])
            blocks, threads = x * y * z, i * j * k
            launch = Launch(layer, direction, kernel, blocks, threads, shared, count, most)
            result.append(launch)
        workspaces.clear()
        counts.start(sample)

    counts.start(sample)
    benchmark.step(FORWARD_BACKWARD, observer=observe)
    counts.stop()
    return result
