"""Bar charts of comparisons, drawn by matplotlib (the extra "plot")."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from alexnet.comparison.contest import Comparison
from alexnet.comparison.peers import OURS
from alexnet.files import replacing

BAR_INCHES, TITLE_INCHES, WIDTH_INCHES = 0.3, 1.0, 9.0
OURS_COLOUR, PEER_COLOUR = "tab:orange", "tab:blue"
ENDINGS = (".png", ".svg", ".pdf")


def check(file: str) -> None:
    """ValueError where the chart cannot be drawn: matplotlib is missing, or the file's kind."""
    if not file.endswith(ENDINGS):
        raise ValueError(f"--plot: {file!r}, expected a name that ends in {', '.join(ENDINGS)}")
    if find_spec("matplotlib") is None:
        raise ValueError('--plot needs matplotlib: pip install ".[plot]"')


def draw(comparisons: Sequence[Comparison], file: Path) -> None:
    """Write one chart a case, fastest on top: medians, and half the quartiles' distance."""
    from matplotlib.figure import Figure  # heavy, and wanted here only

    heights = [TITLE_INCHES + BAR_INCHES * len(comparison.timings) for comparison in comparisons]
    figure = Figure(figsize=(WIDTH_INCHES, sum(heights)), layout="constrained")
    charts = figure.subplots(len(comparisons), squeeze=False, height_ratios=heights)[:, 0]
    for axes, comparison in zip(charts, comparisons, strict=True):
        timings = sorted(comparison.timings, key=lambda timing: timing.median, reverse=True)
        colours = [OURS_COLOUR if timing.provider == OURS else PEER_COLOUR for timing in timings]
        bars = axes.barh(
            [timing.contender for timing in timings],
            [timing.median * 1e3 for timing in timings],
            xerr=[timing.median * timing.spread * 1e3 for timing in timings],
            color=colours,
        )
        ours = comparison.ours.median
        labels = [
            f" {timing.median * 1e3:.1f} ms, {timing.median / ours:.2f}×" for timing in timings
        ]
        axes.bar_label(bars, labels)
        axes.margins(x=0.25)
        axes.set_title(comparison.case.name)
        axes.set_xlabel("ms, less is better")
    with replacing(file) as opened:
        figure.savefig(opened, format=file.suffix.removeprefix("."))
