"""What `alexnet study` prints: tables with what they mean, and a rung's file in colours."""

from __future__ import annotations

import argparse
import textwrap

from rich.console import Console
from rich.syntax import Syntax

from alexnet.commands.options import say, say_table, text_file
from alexnet.network.layers import Conv2d, Dense
from alexnet.study.device import DevicePeaks
from alexnet.study.measure import Mistake, Result, Table
from alexnet.study.problem import Problem
from alexnet.study.rungs import Rung, sources

WIDTH = 80


def show(options: argparse.Namespace, text: str) -> None:
    """Print a file as it is, on a terminal with the colours of C++."""
    console = Console(file=text_file(options), soft_wrap=True)
    if console.is_terminal:
        syntax = Syntax(text, "cpp", theme="ansi_dark", background_color="default")
        console.print(syntax.highlight(text), end="")
        return
    for line in text.splitlines():
        say(options, line)


def show_table(options: argparse.Namespace, table: Table, *, explain: bool) -> None:
    """Print what was measured, one line a rung, with all that has to be known to read it."""
    for line in _title(table):
        say(options, line)
    header = ["", "rung", "ms", table.unit, "peak", "factor", "predicted", "error"]
    rows = [_row(table, result) for result in table.results]
    say_table(options, header, rows, right={0, *range(2, len(header))})
    for note in _notes(table):
        for line in textwrap.wrap(note, WIDTH, subsequent_indent="  "):
            say(options, line)
    say(options, f"files: {sources() / table.problem.ladder.folder}")
    if explain:
        for result in table.results:
            for line in explained(result.rung):
                say(options, line)
    say(options)


def described(problem: Problem) -> str:
    """Say in a line what a problem computes."""
    sizes = problem.sizes
    image = " x ".join(map(str, problem.case.input_shape))
    layer = problem.case.layer
    if isinstance(layer, Conv2d):
        kernel = f"{sizes['kernel_height']} x {sizes['kernel_width']}"
        return f"{kernel} to {layer.features}, stride {sizes['stride']}, on {image}"
    if isinstance(layer, Dense):
        return f"{image} to {layer.features}"
    parts = [f"radius {sizes['radius']}"] if "radius" in sizes else []
    if "window" in sizes:
        parts.append(f"{sizes['window']} x {sizes['window']}, stride {sizes['stride']}")
    return f"{', '.join(parts)}, on {image}"


def _title(table: Table) -> list[str]:
    problem, peaks = table.problem, table.peaks
    layer = problem.case.layer
    lines = [
        f"{problem.ladder.full_name}, {problem.case.network} {layer.name}, {table.place}",
        f"{described(problem)}: "
        + (
            f"{problem.flops / 1e9:.3g} GFLOP"
            if table.is_arithmetic
            else f"{problem.bytes / 1e6:.3g} MB, every array once"
        ),
    ]
    if isinstance(peaks, DevicePeaks):
        return [
            *lines,
            f"peaks of this run: FMA {peaks.fma_gflops:.0f} GFLOP/s, tf32 "
            f"{peaks.tensor_gflops:.0f} GFLOP/s, copy {peaks.copy_gbs:.0f} GB/s",
        ]
    if isinstance(layer, Conv2d):
        lines.append("GFLOP/s count the definition's operations, also where Winograd spares some")
    return [
        *lines,
        f"peaks of this run: FMA {peaks.fma_gflops:.0f} GFLOP/s, copy {peaks.copy_gbs:.1f} GB/s, "
        f"read {peaks.read_gbs:.1f} GB/s",
    ]


def _row(table: Table, result: Result) -> list[str]:
    def cell(value: float | None, form: str) -> str:
        return "-" if value is None else format(value, form)

    rung, seconds = result.rung, result.seconds
    is_scaled = seconds is not None and result.images < table.problem.case.batch_size
    return [
        str(rung.number),
        rung.idea,
        cell(None if seconds is None else seconds * 1e3, ".2f") + ("*" if is_scaled else " "),
        cell(table.rate(result), ".1f"),
        cell(table.share(result), ".0%"),
        cell(table.factor(result), ".2f"),
        cell(None if rung.quantity else rung.factor, ".2f"),  # others predict no time
        cell(result.error, ".1e") if result.is_right else f"{result.error:.1e}!",
    ]


def _notes(table: Table) -> list[str]:
    """Sentences below the table, about what it can't say by itself."""
    batch = table.problem.case.batch_size
    different = sorted({result.bound for result in table.results})
    bounds = " or ".join(f"{bound:.1e}" for bound in different)
    notes = [
        f"error: relative L2 against float64, at most {bounds} is right. "
        "factor, predicted: times as fast as the rung before."
    ]
    scaled = [result for result in table.results if result.seconds and result.images < batch]
    if scaled:
        images = ", ".join(f"{result.images} (rung {result.rung.number})" for result in scaled)
        notes.append(f"* scaled to {batch} images; timed on {images}.")
    for result in table.results:
        if result.error is None:
            what = "shape" if result.rung.capability is None else "shape or device"
            notes.append(
                f"rung {result.rung.number} does not serve this {what}, but {result.rung.serves}"
            )
        elif not result.is_right:
            notes.append(
                f"! rung {result.rung.number} is wrong, and has no time.{_mistaken(result.mistake)}"
            )
    memory = table.memory_rate
    if memory is not None and memory < table.peak:
        notes.append(
            f"roofline: all arrays pass once through memory at {memory:.0f} GFLOP/s; more is "
            "possible for what stays in a cache."
        )
    return notes


def _mistaken(mistake: Mistake | None) -> str:
    """Say where a result is farthest off."""
    if mistake is None:
        return ""
    given = "is not written" if mistake.value is None else f"is {mistake.value:.6g}"
    return f" Farthest off: element {mistake.place} {given}, expected {mistake.expected:.6g}."


def explained(rung: Rung) -> list[str]:
    """Give a rung's header, in lines."""
    lines = ["", f"{rung.number} {rung.source.name}: {rung.title}"]
    paragraphs = {
        "Serves": rung.serves,
        "Precision": rung.precision if rung.precision != "float32" else "",
        "Change": rung.change,
        "Why": rung.why,
        "Predicted": rung.predicted,
        "Gained": rung.gained,
    }
    for name, text in paragraphs.items():
        if text:
            paragraph = f"{name}: {text}"
            lines += textwrap.wrap(paragraph, WIDTH, initial_indent="  ", subsequent_indent="    ")
    return lines
