"""Whole networks: ours with CUDA graphs and without, beside PyTorch's three ways.

The smallest batch first, exact float32 after the tensor cores' precisions, and of each batch
`torch.compile`, which takes minutes, last: where the stage's time ends, it is the least that is
missing. Images change with every step.
"""

from __future__ import annotations

import functools
import importlib
import itertools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from gpu_stages.kernels import NO_TIME, attempted, set_precision
from gpu_stages.record import reason
from gpu_stages.setting import Setting
from gpu_stages.timing import our_launch, sets_for, spread, their_launch

BATCH_SIZES = (32, 128, 512)
PRECISIONS = ("tf32", "bfloat16", "float32")
GRAPH, NO_GRAPH = "ours", "ours without graphs"
EAGER, CUDA_GRAPH, COMPILED = "PyTorch eager", "PyTorch CUDA graph", "torch.compile max-autotune"
WAYS = (GRAPH, NO_GRAPH, EAGER, CUDA_GRAPH, COMPILED)
SECONDS = {GRAPH: 2, NO_GRAPH: 2, EAGER: 3, CUDA_GRAPH: 3, COMPILED: 30}  # expected of a figure


def run(setting: Setting) -> None:
    """Every way of every size; a row for each, complete from the beginning."""
    from alexnet.comparison.benchmark import TARGETS, step_flops

    rows = []
    for batch_size, precision, variant, target in itertools.product(
        setting.sizes(BATCH_SIZES, (1,)),
        setting.sizes(PRECISIONS, ("float32", "bfloat16")),
        setting.variants(),
        TARGETS,
    ):
        row: dict[str, Any] = {
            "lrn": any(layer.name.startswith("lrn") for layer in variant.layers),
            "batch_size": batch_size,
            "precision": precision,
            "target": target,
            "flops": step_flops(variant, batch_size, target),
        }
        rows.append((row | dict.fromkeys(WAYS, NO_TIME), variant))
    setting.add(rows=[row for row, _ in rows])
    # Sorting keeps the order of what is alike.
    for (row, variant), way in sorted(
        itertools.product(rows, WAYS), key=lambda of: (of[0][0]["batch_size"], of[1] == COMPILED)
    ):
        if not setting.has_time(SECONDS[way]):
            continue
        row[way] = attempted(partial(_time, setting, way, row, variant))
        setting.add(rows=[row for row, _ in rows])
        what = (row["lrn"], row["batch_size"], row["precision"], row["target"])
        print(f"  {way} {what} {row[way]}", flush=True)
        _forget(setting)


def _time(setting: Setting, way: str, row: dict[str, Any], variant: Any) -> dict[str, Any]:
    measure = _ours if way in (GRAPH, NO_GRAPH) else _theirs
    return measure(setting, way, row, variant)


def _forget(setting: Setting) -> None:
    """Give memory back, so that the next way has all of it."""
    if not setting.dry_run:
        setting.cupy.get_default_memory_pool().free_all_blocks()
        if setting.torch is not None:
            setting.torch.cuda.empty_cache()


def _images(setting: Setting, variant: Any, batch_size: int) -> list[np.ndarray]:
    """Some batches, together more than L2 holds."""
    shape = (batch_size, *variant.input_shape)
    generator = np.random.default_rng(0)
    base = 0.1 * generator.standard_normal(1 << 16, np.float32)
    count = sets_for(setting, 4 * int(np.prod(shape)))
    return [np.resize(np.roll(base, number), shape).astype(np.float32) for number in range(count)]


def _ours(setting: Setting, way: str, row: dict[str, Any], variant: Any) -> dict[str, Any]:
    from alexnet.comparison.benchmark import Benchmark

    cupy = setting.cupy
    benchmark = Benchmark(
        variant,
        row["batch_size"],
        device="cuda",
        precision=row["precision"],
        graph=way == GRAPH,
    )
    batches = itertools.cycle(map(cupy.asarray, _images(setting, variant, row["batch_size"])))

    def step() -> None:
        benchmark.step(row["target"], next(batches))

    for _ in range(3):  # the third is captured
        step()
    return spread(our_launch(setting, step))


# --- PyTorch --------------------------------------------------------------------------------------


@functools.cache
def _parameters(variant: str) -> dict[str, Any]:
    """Parameters of a described variant by name, which take half a second to draw."""
    from alexnet.network.variant import Variant
    from alexnet.network.variants import AlexNet

    return dict(AlexNet(Variant.from_json(variant), seed=0).parameters)


def _theirs(setting: Setting, way: str, row: dict[str, Any], variant: Any) -> dict[str, Any]:
    torch = setting.torch
    if torch is None:
        return reason("PyTorch is not installed")
    if setting.dry_run and way != EAGER:
        return reason("PyTorch has it on a GPU alone")
    from alexnet.comparison.cases import NetworkCase

    peer = importlib.import_module("alexnet.comparison.peers.torch")
    set_precision(setting, row["precision"])
    dtype = torch.bfloat16 if row["precision"] == "bfloat16" else torch.float32
    case = NetworkCase(variant, row["target"], row["batch_size"])
    mode = "max-autotune channels_last" if way == COMPILED else "eager channels_last"
    frame = peer.Torch(torch.get_num_threads(), setting.torch_device, dtype)
    images = _images(setting, variant, row["batch_size"])
    operands = {**_parameters(variant.to_json()), "x": images[0]}
    batches = [frame.tensor("x", batch, "channels_last") for batch in images]
    if way == CUDA_GRAPH:
        return spread(their_launch(setting, _captured(torch, frame, case, mode, operands, batches)))
    job = frame.prepare(case, mode, operands)
    turn = itertools.cycle(batches)

    def step() -> None:
        frame.tensors["x"].copy_(next(turn))
        job.run()

    for _ in range(3):
        step()
    return spread(their_launch(setting, step))


def _captured(
    torch: Any, frame: Any, case: Any, mode: str, operands: Any, batches: list[Any]
) -> Callable[[], None]:
    """A step as one CUDA graph, into whose images each batch is copied."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        job = frame.prepare(case, mode, operands)
        for _ in range(3):
            job.run()
        stream.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        job.run()
    turn: Iterator[Any] = itertools.cycle(batches)

    def step() -> None:
        frame.tensors["x"].copy_(next(turn))
        graph.replay()

    return step
