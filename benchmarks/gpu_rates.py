"""Rates on a GPU: the project's network beside PyTorch's (cuDNN), and what the device can do.

    python benchmarks/gpu_rates.py

Medians over 30 steps after 5, timed with events. PyTorch runs in channels_last, which is the
project's own layout, with TF32 off beside precision float32 and on beside tf32.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable

import cupy
import torch

from alexnet.commands.options import gpu_name
from alexnet.commands.table import print_table
from alexnet.comparison.benchmark import FORWARD_BACKWARD, TARGETS, Benchmark
from alexnet.comparison.cases import NetworkCase
from alexnet.comparison.peers.torch import EAGER, Torch
from alexnet.network.layers import LRN, MaxPool2d
from alexnet.network.variants import variant_named

VARIANT = variant_named("tf-tutorial")
BATCH_SIZES = (32, 128)
BURN_IN, STEPS = 5, 30
COPIED = 2**30  # bytes of the array whose copy is timed
MATRIX = 8192


def median_seconds(run: Callable[[], object]) -> float:
    """Of PyTorch's work, which is on its own stream."""
    durations = []
    for step in range(-BURN_IN, STEPS):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        run()
        end.record()
        torch.cuda.synchronize()
        if step >= 0:
            durations.append(begin.elapsed_time(end) / 1e3)
    return statistics.median(durations)


def allow_tf32(allowed: bool) -> None:
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed


def ceilings() -> float:
    """Print what plain copies and PyTorch's matrix products reach; return the copies' bytes/s."""
    source, target = (torch.empty(COPIED // 4, device="cuda") for _ in range(2))
    bandwidth = 2 * COPIED / median_seconds(lambda: target.copy_(source))
    print(f"copy: {bandwidth / 1e9:.0f} GB/s")
    a, b = (torch.randn(MATRIX, MATRIX, device="cuda") for _ in range(2))
    for precision in ("float32", "tf32"):
        allow_tf32(precision == "tf32")
        seconds = median_seconds(lambda: a @ b)
        print(f"matrix product, {precision}: {2 * MATRIX**3 / seconds / 1e12:.1f} TFLOP/s")
    return bandwidth


def networks() -> list[tuple[str, ...]]:
    """One row for each precision, target and batch size."""
    rows = []
    torch.backends.cudnn.benchmark = True
    for batch_size in BATCH_SIZES:
        for precision in ("float32", "tf32"):
            allow_tf32(precision == "tf32")
            ours = Benchmark(VARIANT, batch_size, device="cuda", precision=precision)
            for target in TARGETS:
                case = NetworkCase(VARIANT, target, batch_size)
                job = Torch(1, "cuda").prepare(case, f"{EAGER} channels_last", case.operands())
                timing = ours.time(target, STEPS, BURN_IN)
                peer = median_seconds(job.run)
                cells = (f"{timing.median * 1e3:.2f}", f"{peer * 1e3:.2f}")
                ratio = f"{timing.median / peer:.2f}"
                rate = f"{timing.gflops / 1e3:.2f}"
                rows.append((str(batch_size), precision, target, *cells, ratio, rate))
    return rows


def layers(bandwidth: float) -> list[tuple[str, ...]]:
    """What the layers that memory bounds reach, as a share of the copies' bandwidth."""
    benchmark = Benchmark(VARIANT, BATCH_SIZES[-1], device="cuda")
    benchmark.time(FORWARD_BACKWARD, 1, BURN_IN)
    bound = {layer.name for layer in VARIANT.layers if isinstance(layer, LRN | MaxPool2d)}
    return [
        (
            layer.layer,
            layer.direction,
            f"{layer.gbytes:.0f}",
            f"{100 * layer.gbytes * 1e9 / bandwidth:.0f}",
        )
        for layer in benchmark.time_layers(FORWARD_BACKWARD, STEPS)
        if layer.layer in bound
    ]


def main() -> None:
    print(f"{gpu_name()}, CuPy {cupy.__version__}, PyTorch {torch.__version__}, {VARIANT.name}")
    bandwidth = ceilings()
    header = ("batch", "precision", "target", "ms", "PyTorch ms", "ratio", "TFLOP/s")
    print_table(sys.stdout, header, networks(), right=(0, 3, 4, 5, 6))
    print()
    header = ("layer", "direction", "GB/s", "% of copy")
    print_table(sys.stdout, header, layers(bandwidth), right=(2, 3))


if __name__ == "__main__":
    main()
