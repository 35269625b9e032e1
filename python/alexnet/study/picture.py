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
    places, rates = range(len(results)), [table.rate(result) for result in results]
    known = [rate for rate in rates if rate is not None]
    start = min(known, default=table.peak) / 3
    drawn = axes.barh(
        places,
        [0.0 if rate is None else rate - start for rate in rates],
        left=start,
        color=[BLUE if result.rung.is_product else GREY for result in results],
    )
    axes.set_yticks(
        places, [name_on_axis(f"{result.rung.number} {result.rung.idea}") for result in results]
    )
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlim(start, 4 * max([table.peak, *known]))
    axes.grid(visible=False, axis="y")
    axes.axvline(table.peak, color=INK)
    lines = (
        f"line: peak of {'multiply-adds' if table.is_arithmetic else 'copying'} {table.peak:.3g}"
    )
    if table.memory_rate is not None and table.memory_rate < table.peak:
        axes.axvline(table.memory_rate, color=VERMILION, linestyle="--")
        lines += f"; dashed: every array once from memory, {table.memory_rate:.3g}"
    labels = [
        _label(rate, table.factor(result)) for result, rate in zip(results, rates, strict=True)
    ]
    axes.bar_label(drawn, labels, padding=3, bbox={"color": "white", "pad": 1})
    case = table.problem.case
    title = (
        f"{table.problem.ladder.name}, {case.network} {case.layer.name}, batch {case.batch_size}"
    )
    axes.set_title(f"{title}, {table.place}\n{lines}", loc="left")
    counted = ", by the definition's operations" if table.is_arithmetic else ""
    axes.set_xlabel(f"{table.unit}{counted}; more is better")


def _label(rate: float | None, factor: float | None) -> str:
    """Rate, and how many times the rung before's."""
    if rate is None:
        return "no time"
    return f"{rate:.3g}" + (f", {factor:.2g}×" if factor is not None else "")
