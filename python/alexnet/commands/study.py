"""`alexnet study`: the ladders from the naive loop to the product's kernel, measured and shown."""

from __future__ import annotations

import argparse
from typing import Any

from alexnet import runtime
from alexnet.commands.console import Progress
from alexnet.commands.options import (
    add_batch_size,
    add_json,
    add_parser,
    add_threads,
    environment,
    integer,
    say,
    say_table,
    write_figures,
)
from alexnet.comparison.peaks import measure_peaks
from alexnet.network.variants import VARIANTS, variant_named
from alexnet.study.ladders import LADDERS, Ladder, layer_problem
from alexnet.study.measure import ROUNDS, Result, Table, run_ladder
from alexnet.study.rungs import Rung, built_ladders, rungs_of

PEAK_BYTES = 2**26
DEFAULT_BATCH = 8


def add_parsers(subparsers: Any) -> None:
    """Add `study`."""
    parser = add_parser(
        subparsers,
        "study",
        _run,
        description="From the naive loop to the product's kernel, one idea a file.",
        example="alexnet study lrn-forward --layer lrn1",
    )
    parser.add_argument(
        "ladder",
        metavar="LADDER",
        nargs="?",
        choices=tuple(LADDERS),
        help=f"one of {', '.join(LADDERS)}; without it they are listed",
    )
    parser.add_argument("--rung", type=integer(0, 99), metavar="K", help="this rung alone")
    parser.add_argument("--show", type=integer(0, 99), metavar="K", help="print a rung's file")
    parser.add_argument(
        "--variant",
        choices=tuple(VARIANTS),
        metavar="V",
        help="network of the layer (default: tf-tutorial; tf-full for dense layers)",
    )
    parser.add_argument("--layer", metavar="L", help="layer of the network")
    add_batch_size(parser, DEFAULT_BATCH)
    add_threads(parser)
    add_json(parser)


def _run(options: argparse.Namespace) -> bool:
    if options.ladder is None:
        _list(options)
        return True
    ladder = LADDERS[options.ladder]
    rungs = rungs_of(ladder)
    if options.show is not None:
        say(options, _numbered(rungs, options.show).source.read_text(encoding="utf-8"))
        return True
    if options.rung is not None:
        rungs = [_numbered(rungs, options.rung)]
    return _measure(options, ladder, rungs)


def _list(options: argparse.Namespace) -> None:
    rows = [[ladder.name, str(len(rungs_of(ladder)))] for ladder in built_ladders()]
    say_table(options, ["ladder", "rungs"], rows, right={1})


def _numbered(rungs: list[Rung], number: int) -> Rung:
    for rung in rungs:
        if rung.number == number:
            return rung
    numbers = ", ".join(str(rung.number) for rung in rungs)
    raise ValueError(f"rung {number}, expected one of {numbers}")


def _measure(options: argparse.Namespace, ladder: Ladder, rungs: list[Rung]) -> bool:
    variant = variant_named(options.variant or ladder.variant)
    problem = layer_problem(ladder, variant, options.layer, options.batch_size)
    threads = runtime.get_num_threads()
    peaks = measure_peaks(threads, array_bytes=PEAK_BYTES)
    with Progress(ladder.name, len(rungs) * (1 + ROUNDS)) as progress:
        table = run_ladder(
            problem,
            rungs,
            peaks,
            threads=threads,
            isa=runtime.cpu_isa(),
            advance=progress.advance,
        )
    say(options, f"{ladder.name}, {problem.case.name}, {runtime.cpu_isa()}, threads {threads}")
    unit = "GFLOP/s" if table.is_arithmetic else "GB/s"
    header = ["rung", "idea", "ms", unit, "peak", "factor", "predicted", "error", "bound"]
    rows = [_row(table, result) for result in table.results]
    say_table(options, header, rows, right=range(2, 9))
    write_figures(options, {"environment": environment(), "ladder": ladder.name})
    return all(result.is_right for result in table.results)


def _row(table: Table, result: Result) -> list[str]:
    def cell(value: float | None, form: str) -> str:
        return "-" if value is None else format(value, form)

    rung, seconds = result.rung, result.seconds
    return [
        str(rung.number),
        rung.idea,
        cell(None if seconds is None else seconds * 1e3, ".2f"),
        cell(table.rate(result), ".1f"),
        cell(table.share(result), ".0%"),
        cell(table.factor(result), ".2f"),
        cell(rung.factor, ".2f"),
        cell(result.error, ".1e"),
        f"{result.bound:.0e}",
    ]
