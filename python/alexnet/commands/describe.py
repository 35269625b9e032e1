"""`alexnet info`, `alexnet variants` and `alexnet summary V`: what there is, without running it."""

from __future__ import annotations

import argparse
from typing import Any

from alexnet import runtime
from alexnet.commands.options import (
    add_batch_size,
    add_json,
    add_parser,
    add_variant,
    described_variant,
    environment,
    say_sentence,
    say_table,
    write_figures,
)
from alexnet.network.variants import VARIANTS


def add_parsers(subparsers: Any) -> None:
    """Add the three commands."""
    info = add_parser(
        subparsers,
        "info",
        _run_info,
        description="version, instruction sets, threads and compiler",
        example="alexnet info --json info.json",
    )
    add_json(info)

    variants = add_parser(
        subparsers,
        "variants",
        _run_variants,
        description="the networks that there are",
        example="alexnet variants",
    )
    add_json(variants)

    summary = add_parser(
        subparsers,
        "summary",
        _run_summary,
        description="shapes, neurons, parameters, MACs and FLOPs of every layer",
        example="alexnet summary torchvision --batch-size 1",
    )
    add_variant(summary, default=None)
    add_batch_size(summary, 32)
    add_json(summary)


def _run_info(options: argparse.Namespace) -> bool:
    figures = environment()
    threads = f"{figures['threads']} ({figures['threads_from']})"
    if not figures["openmp"]:
        threads = "1, because it was built without OpenMP, which the compiler did not offer"
    rows = {
        "alexnet": figures["version"],
        "instruction set": figures["isa"],
        "available": ", ".join(figures["available_isas"]),
        "bfloat16": figures["bfloat16"],
        "threads": threads,
        "compiler": figures["compiler"],
        "sanitizers": "yes" if figures["sanitizers"] else "no",
        "CUDA": figures["gpu"] or f"none: {runtime.cuda_obstacle()}",
        "Python": figures["python"],
        "NumPy": figures["numpy"],
        "processor": figures["processor"],
    }
    say_table(options, ("", ""), rows.items(), right=())
    write_figures(options, {})
    return True


def _run_variants(options: argparse.Namespace) -> bool:
    figures = [
        {
            "name": variant.name,
            "description": variant.description,
            "input_shape": list(variant.input_shape),
            "parameters": variant.num_parameters,
            "macs": variant.summary().macs,
        }
        for variant in VARIANTS.values()
    ]
    rows = (
        (
            variant.name,
            "x".join(map(str, variant.input_shape)),
            f"{variant.num_parameters:,}",
            f"{variant.summary().macs:,}",
            variant.description,
        )
        for variant in VARIANTS.values()
    )
    header = ("variant", "input", "parameters", "MACs an image", "what it is")
    say_table(options, header, rows, right=(2, 3))
    write_figures(options, {"variants": figures})
    return True


def _run_summary(options: argparse.Namespace) -> bool:
    summary = described_variant(options).summary(options.batch_size)
    say_sentence(options, summary.title)
    header, *rows = summary.table()
    say_table(options, header, rows, right=range(3, len(header)))
    sizes = ("neurons", "parameters", "macs", "flops")
    layers = [
        {
            "name": row.name,
            "kind": row.kind,
            "output_shape": list(row.output_shape),
            **{size: getattr(row, size) for size in sizes},
        }
        for row in summary.rows
    ]
    figures = {
        "variant": summary.variant,
        "lrn": not options.no_lrn,
        "batch_size": options.batch_size,
        "input_shape": list(summary.input_shape),
        "layers": layers,
        "total": {size: getattr(summary, size) for size in sizes},
    }
    write_figures(options, figures)
    return True
