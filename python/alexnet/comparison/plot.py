"""Bar charts of comparisons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from alexnet.comparison.contest import Comparison
from alexnet.comparison.peers import OURS
from alexnet.figures import BLUE, GREY, INK, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH_INCHES, BAR_INCHES, TITLE_INCHES = 9.0, 0.3, 1.0


@styled()
def bars(comparisons: Sequence[Comparison]) -> Figure:
    """One chart a case, fastest on top, ours in blue: medians, and half the quartiles' distance.

    Each bar says its time, and how many times as long as ours that is. A chart of figures that
    were disturbed says so.
    """
    heights = [TITLE_INCHES + BAR_INCHES * len(comparison.timings) for comparison in comparisons]
    figure = new_figure(WIDTH_INCHES, sum(heights))
    charts = figure.subplots(len(comparisons), squeeze=False, height_ratios=heights)[:, 0]
    for axes, comparison in zip(charts, comparisons, strict=True):
        timings = sorted(comparison.timings, key=lambda timing: timing.median, reverse=True)
        drawn = axes.barh(
            [comparison.label(timing) for timing in timings],
            [timing.median * 1e3 for timing in timings],
            xerr=[timing.median * timing.spread * 1e3 for timing in timings],
            color=[BLUE if timing.provider == OURS else GREY for timing in timings],
            ecolor=INK,
        )
        ours = comparison.ours.median
        labels = [
            f" {timing.median * 1e3:.1f} ms, {timing.median / ours:.2f}×" for timing in timings
        ]
        axes.bar_label(drawn, labels)
        axes.margins(x=0.25)
        axes.grid(visible=False, axis="y")
        peaks = comparison.peaks
        threads = "1 thread" if peaks.threads == 1 else f"{peaks.threads} threads"
        title = [f"{comparison.case.name}, {threads}"]
        if comparison.disturbance.notable:
            title += comparison.disturbance.remarks()
        axes.set_title("\n".join(title))
        axes.set_xlabel("ms, less is better")
    return figure
