"""Pictures drawn with Pillow: curves of loss and accuracy, filters, confusion matrices."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

from alexnet.contract.arguments import AnyArray
from alexnet.files import replacing
from alexnet.messages import printable

Box = tuple[int, int, int, int]  # left, top, right, bottom
Points = Mapping[int, float]  # by step

PANEL = (640, 400)  # pixels of one diagram with its axes' labels
MARGIN = (64, 36, 20, 44)  # left, top, right, bottom, around the area of a diagram
LARGEST_DRAWN = 1e300  # the ends of the axes are numbers too
INK, GRID, TRAIN, TEST = "#222222", "#dddddd", "#1f77b4", "#d62728"
FILTER_PIXELS = 44  # width of one filter at least
NAMED_CELL, MOST_NAMES = 44, 20  # of a confusion matrix: pixels of a cell, classes with names
CONFUSION_PIXELS = 900  # width of one with more classes


def draw_curves(path: Path, train: tuple[Points, Points], test: tuple[Points, Points]) -> None:
    """Write a PNG with loss and accuracy by step, side by side, for training and test.

    Parameters
    ----------
    path
        The picture; an earlier one is replaced.
    train, test
        Loss and accuracy by step. NaN, infinity and what is beyond 1e300 are left out; empty ones
        draw nothing.

    """
    picture = Image.new("RGB", (2 * PANEL[0], PANEL[1]), "white")
    draw = ImageDraw.Draw(picture)
    for column, title in enumerate(("loss", "accuracy")):
        curves = (_drawable(train[column]), _drawable(test[column]))
        left, width, height = column * PANEL[0], *PANEL
        area = (left + MARGIN[0], MARGIN[1], left + width - MARGIN[2], height - MARGIN[3])
        _draw_diagram(draw, area, title, curves)
    _save(picture, path)


def draw_filters(path: Path, weight: AnyArray) -> None:
    """Write a PNG of a convolution's filters.

    Parameters
    ----------
    path
        The picture; an earlier one is replaced.
    weight
        (height, width, channels, filters). Three channels are red, green and blue; of any other
        number the mean is drawn in grey. Zero is grey, as are NaN and infinity, and one scale
        serves all filters.

    """
    filters = np.moveaxis(np.asarray(weight, np.float64), -1, 0)
    filters = np.where(np.isfinite(filters), filters, 0.0)
    if filters.shape[-1] != 3:
        filters = np.repeat(filters.mean(axis=-1, keepdims=True), 3, axis=-1)
    scale = np.abs(filters).max() or 1.0
    pixels = np.rint(127.5 * (1 + filters / scale)).astype(np.uint8)
    count, height, width, _ = pixels.shape
    columns = math.ceil(math.sqrt(2 * count))
    rows = math.ceil(count / columns)
    sheet = np.full((rows * (height + 1) + 1, columns * (width + 1) + 1, 3), 255, np.uint8)
    for index, tile in enumerate(pixels):
        top, left = (
            1 + place * (size + 1)
            for place, size in zip(divmod(index, columns), (height, width), strict=True)
        )
        sheet[top : top + height, left : left + width] = tile
    factor = math.ceil(FILTER_PIXELS / width)
    picture = Image.fromarray(sheet)
    size = (picture.width * factor, picture.height * factor)
    _save(picture.resize(size, Image.Resampling.NEAREST), path)


def draw_confusion(path: Path, confusion: AnyArray, class_names: Sequence[str]) -> None:
    """Write a PNG of a confusion matrix: the darker, the larger the share of the row's images.

    Parameters
    ----------
    path
        The picture; an earlier one is replaced.
    confusion
        Images of the row's class that were taken for the column's, integers (classes, classes).
    class_names
        As many; they, and the numbers of images, are written for up to 20 classes.

    """
    class_names = [printable(name) for name in class_names]
    count = len(class_names)
    written = count <= MOST_NAMES
    cell = NAMED_CELL if written else max(1, CONFUSION_PIXELS // count)
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    colours = np.rint(255 + shares[..., None] * (np.array(ImageColor.getrgb(TRAIN)) - 255))
    matrix = Image.fromarray(colours.astype(np.uint8))
    matrix = matrix.resize((cell * count, cell * count), Image.Resampling.NEAREST)
    font = ImageFont.load_default()
    margin = math.ceil(max(map(font.getlength, class_names))) + 12 if written else 12
    picture = Image.new("RGB", (matrix.width + margin + 12, matrix.height + margin + 12), "white")
    picture.paste(matrix, (margin, margin))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((margin, margin, margin + matrix.width, margin + matrix.height), outline=INK)
    for row, name in enumerate(class_names if written else ()):
        middle = margin + row * cell + cell // 2
        draw.text((margin - 6, middle), name, fill=INK, font=font, anchor="rm")
        label = Image.new("L", (margin, cell))
        ImageDraw.Draw(label).text((6, cell // 2), name, fill=255, font=font, anchor="lm")
        picture.paste(INK, (margin + row * cell, 0), label.transpose(Image.Transpose.ROTATE_90))
        for column, images in enumerate(confusion[row].tolist()):
            place = (margin + column * cell + cell // 2, middle)
            fill = "white" if shares[row, column] > 0.5 else INK
            draw.text(place, str(images), fill=fill, font=font, anchor="mm")
    _save(picture, path)


def _save(picture: Image.Image, path: Path) -> None:
    with replacing(path) as file:
        picture.save(file, format="PNG")


def _drawable(points: Points) -> dict[int, float]:
    return {step: value for step, value in points.items() if abs(value) <= LARGEST_DRAWN}


@dataclass(frozen=True)
class _Axes:
    """From numbers to pixels."""

    area: Box
    last_step: float
    highest: float

    def place(self, step: float, value: float) -> tuple[float, float]:
        left, top, right, bottom = self.area
        return (
            left + (right - left) * step / self.last_step,
            bottom - (bottom - top) * value / self.highest,
        )


def _draw_diagram(
    draw: ImageDraw.ImageDraw, area: Box, title: str, curves: tuple[Points, Points]
) -> None:
    font = ImageFont.load_default()
    step_ticks = _ticks(max((step for curve in curves for step in curve), default=1))
    highest = max((value for curve in curves for value in curve.values()), default=1.0)
    value_ticks = _ticks(1.0 if title == "accuracy" else highest)
    axes = _Axes(area, step_ticks[-1], value_ticks[-1])
    left, top, right, bottom = area
    for tick in value_ticks:
        y = axes.place(0, tick)[1]
        draw.line((left, y, right, y), fill=GRID)
        draw.text((left - 8, y), f"{tick:g}", fill=INK, font=font, anchor="rm")
    for tick in step_ticks:
        x = axes.place(tick, 0)[0]
        draw.line((x, bottom, x, bottom + 4), fill=INK)
        draw.text((x, bottom + 8), f"{tick:g}", fill=INK, font=font, anchor="mt")
    draw.line((left, top, left, bottom, right, bottom), fill=INK)
    draw.text((left, top - 20), title, fill=INK, font=font)
    draw.text((right, bottom + 24), "step", fill=INK, font=font, anchor="rt")
    for curve, colour, name, place in zip(
        curves, (TRAIN, TEST), ("training", "test"), (120, 50), strict=True
    ):
        draw.text((right - place, top - 20), name, fill=colour, font=font)
        _draw_curve(draw, axes, curve, colour, marked=name == "test")


def _draw_curve(
    draw: ImageDraw.ImageDraw, axes: _Axes, curve: Points, colour: str, *, marked: bool
) -> None:
    points = [axes.place(step, value) for step, value in sorted(curve.items())]
    if len(points) > 1:
        draw.line(points, fill=colour, width=2, joint="curve")
    for x, y in points if marked or len(points) == 1 else []:
        draw.ellipse((x - 3, y - 3, x + 3, y + 3), fill=colour)


def _ticks(highest: float) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten, 0 first, the last not below `highest`."""
    highest = max(highest, 1e-9)
    power = 10.0 ** math.floor(math.log10(highest / 4))
    unit = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= 0.999 * highest / 4)
    return [number * unit for number in range(math.ceil(highest / unit - 1e-9) + 1)]
