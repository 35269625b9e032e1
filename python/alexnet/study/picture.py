"""Bar pictures of ladders: the rate of every rung, beside what the machine can do at most."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from alexnet.figures import BLUE, GREY, INK, VERMILION, name_on_axis, new_figure, styled
from alexnet.study.measure import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH_INCHES, BAR_INCHES, TITLE_INCHES = 9.0, 0.32, 1.3


@styled()
def bars(tables: Sequence[Table]) -> Figure:
    """One chart a ladder, its rungs from the top down, the product's in blue.

    Lines are the roofline: the peak of multiply-adds or of copying, and for arithmetic the rate at
    which memory delivers the arrays. Rates are on a logarithmic axis, where equal steps are equal
    factors. A rung without a time has no bar.
    """
    heights = [TITLE_INCHES + BAR_INCHES * len(table.results) for table in tables]
    figure = new_figure(WIDTH_INCHES, sum(heights))
    charts = figure.subplots(len(tables), squeeze=False, height_ratios=heights)[:, 0]
    for axes, table in zip(charts, tables, strict=True):
        _draw(axes, table)
    return figure


def _draw(axes: Axes, table: Table) -> None:
    results = table.results
    last = max(result.rung.number for result in results)
    rates = [table.rate(result) for result in results]
    names = [name_on_axis(f"{result.rung.number} {result.rung.idea}") for result in results]
    lowest = min((rate for rate in rates if rate is not None), default=table.peak)
    start = lowest / 3
    drawn = axes.barh(
        range(len(results)),
        [0.0 if rate is None else rate - start for rate in rates],
        left=start,
        color=[BLUE if result.rung.number == last else GREY for result in results],
    )
    axes.set_yticks(range(len(results)), names)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlim(start, 4 * max([table.peak, *(rate for rate in rates if rate is not None)]))
    labels = []
    for result, rate in zip(results, rates, strict=True):
        factor = table.factor(result)
        text = "no time" if rate is None else f"{rate:.3g}"
        labels.append(f" {text}" + (f", {factor:.2g}×" if factor is not None else ""))
    axes.bar_label(drawn, labels)
    what = "multiply-adds" if table.is_arithmetic else "copying"
    axes.axvline(table.peak, color=INK, label=f"peak of {what}: {table.peak:.3g}")
    memory = table.memory_rate
    if memory is not None and memory < table.peak:
        axes.axvline(memory, color=VERMILION, linestyle="--", label=f"from memory: {memory:.3g}")
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, borderaxespad=0.1)
    axes.grid(visible=False, axis="y")
    threads = "1 thread" if table.peaks.threads == 1 else f"{table.peaks.threads} threads"
    axes.set_title(f"{table.problem.ladder.name}, {table.peaks.isa}, {threads}", loc="left")
    counted = ", by the definition's operations" if table.is_arithmetic else ""
    axes.set_xlabel(f"{table.unit}{counted}; more is better")
