"""The times of Hopper's products that benchmarks/gpu_check measured, beside a model fitted to them.

    python benchmarks/gpu_fit.py docs/results/gpu-h200.json --rule first
    python benchmarks/gpu_fit.py gpu.json

The rule of cpp/cuda/hopper_launch.cu chooses tiles by constants; this says what they should be. Of
each product the time is

    kernels · launch + prepared / prepare + max(turns · item + start, bytes / memory) + sums / sum
    item = steps · max(tensor, shared, l2) + stored · elements / 16384 + bias · 2 · columns / 8

with the parts of a step as hopper_launch.cu counts them, and of the unknowns those that are asked
for are found by least squares of the logarithms. A bias counts for products without splits alone;
since hopper_store.cuh its loads do not wait for each other, and 0 is expected of it. The cuts are
those that the file tells (stage 4) or, for rows of stage 2, those of the rule: `first` is the one
of 29 November 2026, by which docs/results/gpu-h200.json was measured, `today` hopper_launch.cu's.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from alexnet.comparison.cases import layer_cases
from alexnet.network.variants import variant_named

MULTIPROCESSORS, MOST_SPLITS, CLOCK = 132, 96, 1830.0  # cycles a microsecond
TILES = ((128, 256), (192, 192), (128, 192), (128, 128), (192, 64), (128, 64), (128, 32))
OF_FLOAT_ALONE = {(128, 192), (128, 32)}
Cut = tuple[int, int, int, int]  # rows, columns, blocks of a cluster, splits
# Of the unknowns: cycles, bytes a cycle (l2) or microseconds, bytes a microsecond.
START = {
    "tensor": 0.9,
    "shared": 1.25,
    "l2": 5000.0,
    "stored": 3000.0,
    "bias": 250.0,
    "start": 6000.0,
    "launch": 1.0,
    "prepare": 2e6,
    "sum": 3e6,
    "memory": 4e6,
}
FIXED = ("shared", "memory")  # what convolutions tell nothing of


def ceil_div(a: int, b: int) -> int:
    """The quotient, rounded up."""
    return -(-a // b)


@dataclass(frozen=True)
class Product:
    """A row of the file: the product as hopper_launch.cu sees it, and what it took."""

    case: str
    narrow: bool  # 16 bits
    m: int
    n: int
    steps: int
    prepared: int  # bytes read and written to prepare B
    moved: int  # bytes of operands and result
    summed: int  # bytes a split of the result in float32
    kernels: int  # without the one that adds splits
    has_bias: bool
    cut: Cut
    microseconds: float


def rule(m: int, n: int, steps: int, narrow: bool, first: bool) -> Cut:
    """The launcher's choice: by its rates of today or the first ones."""
    best, least = (0, 0, 0, 0), math.inf
    for blocks in (1, 2):
        for rows, columns in TILES:
            if narrow and (rows, columns) in OF_FLOAT_ALONE:
                continue
            for splits in range(1, min(steps, MOST_SPLITS) + 1):
                each = ceil_div(steps, splits)
                if ceil_div(steps, each) != splits:
                    continue
                items = ceil_div(m, blocks * rows) * blocks * ceil_div(n, columns) * splits
                tensor = rows * columns // (32 if first else 30)
                shared = (2 * rows + columns * (1 + rows // 64)) * (100 if first else 80) // 100
                l2 = (rows + columns // blocks) * 128 * min(items, MULTIPROCESSORS) // 5120
                stored = 1000 if first else rows * columns // 8
                launch, memory = (4000, 1600) if first else (1000, 2000)
                cycles = ceil_div(items, MULTIPROCESSORS) * (
                    each * max(tensor, shared, l2) + stored
                )
                if splits > 1:
                    cycles += launch + 4 * (splits + 1) * m * n // memory
                if cycles < least:
                    best, least = (rows, columns, blocks, splits), cycles
    return best


def products(record: dict[str, Any], first: bool) -> Iterator[Product]:
    """Of all rows that have a time, float32 and layers without products of Hopper left out."""
    cases: dict[str, Any] = {}
    for stage in ("kernels", "configurations"):
        for row in record["stages"].get(stage, {}).get("rows", []):
            name, narrow = row["case"], row["precision"] != "tf32"
            network, layer, _, batch = name.split("/")
            of_hopper = layer.startswith(("conv", "fc")) and layer != "conv1"
            if row["precision"] == "float32" or not of_hopper or "median" not in row["ours"]:
                continue
            if row.get("kernels", "Hopper") != "Hopper":
                continue
            if name not in cases:
                found = layer_cases(variant_named(network), int(batch[1:]))
                cases |= {case.name: case for case in found}
            blocking = row.get("blocking", "rule")
            asked = None if blocking == "rule" else tuple(blocking)
            yield _product(cases[name], narrow, asked, 1e6 * row["ours"]["median"], first)


def _product(case: Any, narrow: bool, asked: Any, microseconds: float, first: bool) -> Product:
    """The product of a case; hopper_conv2d.cu and hopper_dense.cu say how operands lie."""
    depths, element = (64, 2) if narrow else (32, 4)
    *window, inputs, outputs = case.parameter_shapes["weight"]
    taps, of_weight = math.prod(window), case.direction == "backward_weight"
    windows = case.input_shape if case.direction == "backward_input" else case.output_shape
    pixels = math.prod(windows[:-1])
    weights = taps * inputs * outputs
    if case.direction == "forward":
        m, n, steps = pixels, outputs, taps * ceil_div(inputs, depths)
    elif not of_weight:
        m, n, steps = pixels, inputs, taps * ceil_div(outputs, depths)
    else:
        m, n, steps = taps * ceil_div(inputs, depths) * depths, outputs, ceil_div(pixels, depths)
    if not window and not of_weight and not narrow:
        m, n = n, m  # the weights are A
    b = pixels * outputs if of_weight else weights
    if not window and not of_weight and not narrow:
        b = n * (inputs if case.direction == "forward" else outputs)
    size = weights if of_weight else m * n
    a = math.prod(case.input_shape) + weights + math.prod(case.output_shape)
    prepared = 2 * b if narrow and of_weight else 0 if narrow else 4 * (b + n * steps * depths)
    return Product(
        case.name,
        narrow,
        m,
        n,
        steps,
        prepared,
        element * a,
        4 * size,
        1 + (2 if of_weight else 0) + (0 if narrow or of_weight else 1),
        case.direction == "forward" and (bool(window) or narrow),
        asked or rule(m, n, steps, narrow, first),
        microseconds,
    )


def parts(p: Product, q: dict[str, float]) -> dict[str, float]:
    """Microseconds of the parts of a product's time; of a step, what it waits for, in `bound`."""
    rows, columns, blocks, splits = p.cut
    items = ceil_div(p.m, blocks * rows) * blocks * ceil_div(p.n, columns) * splits
    active = min(items, MULTIPROCESSORS)
    step = {
        "tensor": rows * columns / 32 / q["tensor"],
        "shared": (2 * rows + columns * (1 + rows / 64)) / q["shared"],
        "l2": (rows + columns / blocks) * 128 * active / q["l2"],
    }
    epilogue = q["stored"] * rows * columns / 16384
    if p.has_bias and splits == 1:
        epilogue += q["bias"] * 2 * columns / 8
    turns = ceil_div(items, MULTIPROCESSORS)
    steps = turns * ceil_div(p.steps, splits) * max(step.values()) / CLOCK
    product = steps + (turns * epilogue + q["start"]) / CLOCK
    return {
        "launches": (p.kernels + (splits > 1)) * q["launch"],
        "prepare": p.prepared / q["prepare"],
        "steps": steps,
        "epilogue": turns * epilogue / CLOCK,
        "start": max(q["start"] / CLOCK, p.moved / q["memory"] - product),
        "sums": (splits + 1) * p.summed / q["sum"] if splits > 1 else 0.0,
    }


def fitted(found: list[Product], free: list[str]) -> tuple[dict[str, float], np.ndarray]:
    """The unknowns, and the logarithms of predicted over measured (Levenberg and Marquardt)."""
    q = dict(START)

    def errors(q: dict[str, float]) -> np.ndarray:
        return np.log([sum(parts(p, q).values()) / p.microseconds for p in found])

    error, damping = errors(q), 1e-2
    for _ in range(100):
        columns = [(errors(q | {k: 1.01 * q[k]}) - error) / math.log(1.01) for k in free]
        slope = np.array(columns).T
        square = slope.T @ slope
        step = np.linalg.solve(square + damping * np.diag(np.diag(square) + 1e-9), -slope.T @ error)
        tried = q | {
            k: q[k] * math.exp(np.clip(s, -0.3, 0.3)) for k, s in zip(free, step, strict=True)
        }
        after = errors(tried)
        better = after @ after < error @ error
        damping *= 1 / 3 if better else 4
        if better:
            q, error = tried, after
    return q, error


def main(arguments: list[str]) -> int:
    """Print the unknowns, the errors and a line a product."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--rule", choices=("first", "today"), default="today")
    parser.add_argument("--layers", default="conv", help="what their names begin with")
    options = parser.parse_args(arguments)
    record = json.loads(options.file.read_text())
    found = [
        p
        for p in products(record, options.rule == "first")
        if p.case.split("/")[1].startswith(options.layers)
    ]
    if not found:
        parser.error(f"{options.file} has no times of products of Hopper")
    q, error = fitted(found, [name for name in START if name not in FIXED])
    print({name: float(f"{value:.3g}") for name, value in q.items()})
    print(f"{len(found)} products, off by {math.sqrt(np.mean(error**2)):.1%} (root mean square)")
    for p, e in zip(found, error, strict=True):
        shown = " ".join(f"{name} {value:.1f}" for name, value in parts(p, q).items())
        cut = "{} x {} x {}, {}".format(*p.cut)
        kind = "16 bits" if p.narrow else "tf32"
        print(
            f"{p.case.partition('/')[2]:27} {kind:7} {cut:18} {p.microseconds:6.1f} us, "
            f"predicted {p.microseconds * math.exp(e):6.1f}: {shown}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
