"""`alexnet bench`: the lines of the classic benchmark script, and the rates that follow."""

from __future__ import annotations

import argparse
from typing import Any

from alexnet.commands.console import Progress
from alexnet.commands.options import (
    add_batch_size,
    add_graph,
    add_json,
    add_kernels,
    add_parser,
    add_precision,
    add_seed,
    add_variant,
    described_variant,
    environment,
    integer,
    say,
    say_line,
    say_sentence,
    say_table,
    write_figures,
)
from alexnet.comparison.benchmark import FORWARD, TARGETS, Benchmark, LayerTiming, Timing
from alexnet.comparison.disturbance import Watch
from alexnet.messages import counted, timestamp
from alexnet.network.freezing import BFLOAT16, FLOAT32
from alexnet.network.variant import Variant

STEPS_PER_LINE = 10
LAYER_STEPS = 20  # of --per-layer, after the benchmark's own and not counted in it


def add_parsers(subparsers: Any) -> None:
    """Add the command."""
    parser = add_parser(
        subparsers,
        "bench",
        _run,
        description="time a network's steps, forward and forward-backward",
        example="alexnet bench tf-tutorial --batch-size 32 --steps 100 --per-layer",
    )
    add_variant(parser)
    add_batch_size(parser, 32)
    parser.add_argument(
        "--steps", type=integer(1), default=100, metavar="N", help="measured steps (default: 100)"
    )
    parser.add_argument(
        "--burn-in",
        type=integer(0),
        default=10,
        metavar="N",
        help="steps before them, in no figure (default: 10)",
    )
    parser.add_argument(
        "--target",
        choices=(*TARGETS, "both"),
        metavar="T",
        help=f"what is timed: {', '.join(TARGETS)} or both (default: both; forward in bfloat16 "
        "on the CPU)",
    )
    parser.add_argument(
        "--per-layer", action="store_true", help="also the time of each layer by itself"
    )
    add_kernels(parser, device="cpu")
    add_precision(parser)
    add_graph(parser)
    add_seed(parser, 0)
    add_json(parser)


def _targets(options: argparse.Namespace) -> tuple[str, ...]:
    is_for_inference = options.precision == BFLOAT16 and options.device == "cpu"
    target = options.target or (FORWARD if is_for_inference else "both")
    targets = TARGETS if target == "both" else (target,)
    if is_for_inference and targets != (FORWARD,):
        options.parser.error(
            f"argument --target: {target!r}, expected {FORWARD!r} with --precision {BFLOAT16} on "
            "the CPU"
        )
    return targets


def _run(options: argparse.Namespace) -> bool:
    variant, targets = described_variant(options), _targets(options)
    machine = environment()
    where = f"{machine['isa']}, {counted(machine['threads'], 'thread')}"
    if options.device == "cuda":
        graph = "CUDA graphs" if options.graph is not False else "no graphs"
        where = f"{machine['gpu']}, {options.precision}, {graph}"
    elif options.precision != FLOAT32:
        where = f"{where}, {options.precision}"
    say(options, f"{variant.name}, batch {options.batch_size}, {where}")
    _print_shapes(options, variant)
    benchmark = Benchmark(
        variant,
        options.batch_size,
        options.seed,
        device=options.device,
        precision=options.precision,
        graph=options.graph is not False,
    )
    watch = Watch()
    timings = [_timed(options, benchmark, target) for target in targets]
    disturbance = watch.stop(machine["threads"])
    _print_rates(options, timings)
    if disturbance.notable:
        remarks = ", ".join(disturbance.remarks())
        say_sentence(options, f"meanwhile {remarks}: run it again on a quiet machine")
    layers = []
    if options.per_layer:
        with Progress("layers", LAYER_STEPS) as progress:
            layers = benchmark.time_layers(targets[-1], LAYER_STEPS, progress.advance)
        say(options)
        _print_layers(options, layers)
    figures = {
        "variant": variant.name,
        "lrn": not options.no_lrn,
        "batch_size": options.batch_size,
        "burn_in": options.burn_in,
        "seed": options.seed,
        "precision": options.precision,
        "graph": options.graph is not False and options.device == "cuda",
        "disturbance": disturbance.figures(),
        "targets": {timing.target: timing.figures() for timing in timings},
        "layers": [layer.figures() for layer in layers],
    }
    write_figures(options, figures)
    return True


def _print_shapes(options: argparse.Namespace, variant: Variant) -> None:
    shapes = variant.shapes(options.batch_size)[1:]
    for layer, shape in zip(variant.layers, shapes, strict=True):
        say(options, f"{layer.name} {list(shape)}")


def _timed(options: argparse.Namespace, benchmark: Benchmark, target: str) -> Timing:
    """Time one target, with a line every ten steps and the closing line."""
    with Progress(target, options.burn_in + options.steps) as progress:

        def show(step: int, duration: float) -> None:
            if step >= 0 and step % STEPS_PER_LINE == 0:
                say(options, f"{timestamp()}: step {step}, duration = {duration:.3f}")
            progress.advance()

        timing = benchmark.time(target, options.steps, options.burn_in, show)
    say_line(
        options,
        f"{timestamp()}: {target.capitalize()} across {options.steps} steps, "
        f"{timing.mean:.3f} +/- {timing.deviation:.3f} sec / batch",
    )
    return timing


def _print_rates(options: argparse.Namespace, timings: list[Timing]) -> None:
    """One row a target; the rates are those of the median."""
    header = ("target", "median s", "minimum s", "images/s", "GFLOP/s")
    rows = [
        (
            timing.target,
            f"{timing.median:.4f}",
            f"{timing.minimum:.4f}",
            f"{timing.images_per_second:.1f}",
            f"{timing.gflops:.1f}",
        )
        for timing in timings
    ]
    say(options)
    say_table(options, header, rows, right=range(1, len(header)))


def _print_layers(options: argparse.Namespace, layers: list[LayerTiming]) -> None:
    """One row a layer; rates are GFLOP/s of products, or else GB/s of what has to be moved."""
    by_place = {(layer.layer, layer.direction): layer for layer in layers}
    directions = list(dict.fromkeys(layer.direction for layer in layers))
    header = ["layer"]
    for direction in directions:
        header += [f"{direction} ms", "%", "rate"]
    totals = {
        direction: sum(layer.seconds for layer in layers if layer.direction == direction)
        for direction in directions
    }
    rows = []
    for name in dict.fromkeys(layer.layer for layer in layers):
        row = [name]
        for direction in directions:
            layer = by_place.get((name, direction))
            row += ["", "", ""] if layer is None else _layer_cells(layer, totals[direction])
        rows.append(row)
    total_row = ["total"]
    for direction in directions:
        total_row += [f"{totals[direction] * 1e3:.2f}", "100", ""]
    say_table(options, header, [*rows, total_row], right=range(1, len(header)))


def _layer_cells(layer: LayerTiming, total: float) -> list[str]:
    rate = ""
    if layer.flops:
        rate = f"{layer.gflops:.1f} GFLOP/s"
    elif layer.bytes:
        rate = f"{layer.gbytes:.1f} GB/s"
    return [f"{layer.seconds * 1e3:.2f}", f"{100 * layer.seconds / total:.0f}", rate]
