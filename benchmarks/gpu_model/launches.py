"""What a network's step launches, and what each launch does to memory, from the emulation.

The project's own launchers decide on kernels, grids and splits; here they run with kernels that are
compiled for the host (tests/cuda_emulation), at the network's true shapes, but only a few blocks of
each launch, in which everything is counted.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from gpu_model.disassembly import ROOT, demangle
from gpu_model.machine import WARP

SECTOR = 32  # bytes


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
            "LDS": self.accesses("requests", space="shared", writes=False),
            "STS": self.accesses("requests", space="shared", writes=True, copies=False),
            "LDGSTS": self.accesses("requests", space="shared", copies=True),
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


def _aligned_empty(shape: Any, dtype: Any) -> Any:
    """What CuPy's pool would give: memory that begins at a multiple of 512 bytes."""
    import cupy
    import numpy as np

    count = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.zeros(count + 512, np.uint8)
    first = -memory.ctypes.data % 512
    return cupy.ndarray(memory[first : first + count].view(dtype).reshape(shape))


def _module(name: str, path: Path) -> ModuleType:
    specification = importlib.util.spec_from_file_location(name, path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def _kernel_names(path: Path) -> dict[int, str]:
    """Names of the module's functions by their place in it."""
    run = subprocess.run(
        ["nm", "--defined-only", str(path)], capture_output=True, text=True, check=True
    )
    rows = re.findall(r"^([0-9a-f]+) [tTwW] (_Z\S+)$", run.stdout, re.MULTILINE)
    names = demangle([symbol for _, symbol in rows])
    return {int(place, 16): name for (place, _), name in zip(rows, names, strict=True)}


def step(network: str, batch_size: int, precision: str, sample: int = 1) -> list[Launch]:
    """All launches of one forward and backward step, `sample` blocks of each run."""
    sys.path.insert(0, str(ROOT / "tests"))
    from cuda_emulation import load

    path = load.build(load.COUNTING, "-DALEXNET_COUNT=ON")
    if not load.loaded:
        load.load(path)
    import cupy

    cupy.empty = _aligned_empty
    counts = _module("_cuda_counts", path)
    names = _kernel_names(path)

    import numpy as np

    from alexnet.comparison.benchmark import FORWARD_BACKWARD, Benchmark
    from alexnet.network.variants import variant_named

    variant = variant_named(network)
    benchmark = Benchmark(variant, batch_size, device="cuda", precision=precision)
    sizes = [4 * int(np.prod(shape)) for shape in variant.shapes(batch_size)]
    read_bytes = {
        layer.name: (x + 4 * row.parameters, max(x, 4 * row.parameters) + y)
        for layer, row, x, y in zip(
            variant.layers, variant.summary().rows, sizes[:-1], sizes[1:], strict=True
        )
    }
    result: list[Launch] = []

    def observe(layer: str, direction: str, _: float) -> None:
        for count in counts.stop():
            (x, y, z), (i, j, k) = count["grid"], count["block"]
            kernel, shared = names[count["kernel"]], count["shared_bytes"]
            # Sums of splits read what products wrote, more than any array of the layer.
            partial = kernel.startswith("void sum_splits")
            most = sys.maxsize if partial else read_bytes[layer][direction == "backward"]
            blocks, threads = x * y * z, i * j * k
            launch = Launch(layer, direction, kernel, blocks, threads, shared, count, most)
            result.append(launch)
        counts.start(sample)

    counts.start(sample)
    benchmark._step(FORWARD_BACKWARD, observer=observe)
    counts.stop()
    return result
