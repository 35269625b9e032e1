"""Pictures of a run and of an evaluation: curves of loss and accuracy, filters, confusion matrices.

Each function returns a matplotlib figure; `alexnet.figures.save` writes it to a file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from alexnet.contract.arguments import AnyArray
from alexnet.figures import BLUE, VERMILION, name_on_axis, new_figure, styled
from alexnet.messages import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Points = Mapping[int, float]  # by step

LARGEST_DRAWN = 1e300  # the ends of the axes are numbers too
MOST_MEANS = 100  # of the smoothed curve
MOST_NAMES = 20  # classes whose names and numbers of images a confusion matrix shows
FILTERS_INCHES = 8.0  # width of the picture of the filters
TALLEST = 12.0  # inches of it, whatever shape the filters have


@styled()
def curves(train: tuple[Points, Points], test: tuple[Points, Points], title: str) -> Figure:
    """Loss and accuracy by step, side by side, for training and test.

    Parameters
    ----------
    train, test
        Loss and accuracy (0 to 1) by step. NaN, infinity and what is beyond 1e300 are left out;
        empty ones draw nothing. More than 100 points of training are drawn twice: pale as they are,
        and strong as means over equal runs of neighbours, at most 100 of them.
    title
        Of the figure.

    """
    figure = new_figure(9.0, 4.0)
    figure.suptitle(printable(title))
    left, right = figure.subplots(1, 2)
    left.set(title="Loss", xlabel="step", ylabel="cross-entropy, nats")
    right.set(title="Accuracy", xlabel="step", ylabel="correct, %", ylim=(0, 102))
    for axes, column, unit in ((left, 0, 1), (right, 1, 100)):
        _draw_training(axes, _drawable(train[column], unit))
        tested = _drawable(test[column], unit)
        if tested:
            axes.plot(*_xy(tested), "o-", color=VERMILION, markersize=4, label="test")
        axes.set_xlim(left=0)
        axes.locator_params(axis="x", integer=True)
        if axes.lines:
            axes.legend()
    left.set_ylim(bottom=0)
    return figure


def _draw_training(axes: Axes, points: Points) -> None:
    means = averaged(points)
    smoothed = len(means) < len(points)
    if smoothed:
        axes.plot(*_xy(points), color=BLUE, alpha=0.3, linewidth=0.8, label="training")
    if means:
        label = "training, smoothed" if smoothed else "training"
        marker = "o" if len(means) == 1 else ""
        axes.plot(*_xy(means), color=BLUE, linewidth=2, marker=marker, label=label)


def _drawable(points: Points, unit: float) -> dict[int, float]:
    return {
        step: unit * value for step, value in sorted(points.items()) if abs(value) <= LARGEST_DRAWN
    }


def _xy(points: Points) -> tuple[list[int], list[float]]:
    return list(points), list(points.values())


def averaged(points: Points) -> dict[int, float]:
    """Means over equal runs of neighbouring points, at most 100, each at the last step of its run.

    The last run may be shorter than the others.
    """
    steps = sorted(points)
    length = math.ceil(len(steps) / MOST_MEANS)
    runs = [steps[first : first + length] for first in range(0, len(steps), length or 1)]
    return {run[-1]: sum(points[step] for step in run) / len(run) for run in runs}


@styled()
def filters(weight: AnyArray, name: str) -> Figure:
    """Every filter of a convolution, side by side, as small pictures.

    Parameters
    ----------
    weight
        (height, width, channels, filters). Three channels are red, green and blue; of any other
        number the mean is drawn in grey. Zero is grey, as are NaN and infinity, and one scale
        serves all filters.
    name
        Of the layer.

    """
    taps = np.moveaxis(np.asarray(weight, np.float64), -1, 0)
    taps = np.where(np.isfinite(taps), taps, 0.0)
    count, height, width, channels = taps.shape
    if channels != 3:
        taps = np.repeat(taps.mean(axis=-1, keepdims=True), 3, axis=-1)
    scale = float(np.abs(taps).max()) or 1.0
    columns = math.ceil(math.sqrt(2 * count))
    rows = math.ceil(count / columns)
    sheet = np.ones((rows * (height + 1) + 1, columns * (width + 1) + 1, 3))
    for index, tile in enumerate((1 + taps / scale) / 2):
        row, column = divmod(index, columns)
        top, left = 1 + row * (height + 1), 1 + column * (width + 1)
        sheet[top : top + height, left : left + width] = tile
    tall = FILTERS_INCHES * sheet.shape[0] / sheet.shape[1]
    figure = new_figure(FILTERS_INCHES, min(tall, TALLEST) + 0.8)
    axes = figure.subplots()
    axes.imshow(sheet, interpolation="nearest")
    axes.set_axis_off()
    kind = "red, green, blue" if channels == 3 else f"mean of {channels} channels"
    axes.set_title(
        f"{printable(name)}: {count} filters of {height} × {width} × {channels} ({kind})\n"
        f"grey is 0, white {scale:.3g}, black −{scale:.3g}"
    )
    return figure


@styled()
def confusion(
    images: npt.NDArray[np.integer[Any]], class_names: Sequence[str], title: str
) -> Figure:
    """Which classes are taken for which: the darker, the larger the share of the row's images.

    Parameters
    ----------
    images
        Images of the row's class that were taken for the column's, integers (classes, classes).
    class_names
        As many; they, and the numbers of images, are written for up to 20 classes.
    title
        Of the figure.

    """
    count = len(class_names)
    written = count <= MOST_NAMES
    shares = 100 * images / np.maximum(images.sum(axis=1, keepdims=True), 1)
    side = min(5.0 + 0.4 * count, 10.0) if written else 8.0
    figure = new_figure(side + 1.0, side)
    axes = figure.subplots()
    axes.grid(visible=False)
    picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=100, interpolation="nearest")
    figure.colorbar(picture, ax=axes, label="share of the true class, %", shrink=0.8)
    numbered = "" if written else ", by number"
    axes.set(
        title=printable(title), xlabel=f"predicted class{numbered}", ylabel=f"true class{numbered}"
    )
    if written:
        names = [name_on_axis(name) for name in class_names]
        axes.set_xticks(range(count), names, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(count), names)
        size = "small" if count <= MOST_NAMES / 2 else "x-small"
        for (row, column), number in np.ndenumerate(images):
            colour = "white" if shares[row, column] > 50 else "black"
            axes.text(
                column, row, str(number), ha="center", va="center", color=colour, fontsize=size
            )
    return figure
