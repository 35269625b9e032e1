"""The pictures of a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageColor

from alexnet.training import plots

SIZE = (2 * plots.PANEL[0], plots.PANEL[1])
Area = tuple[slice, slice]


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB"))


def rows_of(picture: np.ndarray, colour: str, panel: int) -> np.ndarray:
    """Rows inside a diagram where there is a pixel of that colour."""
    left, top, right, bottom = plots.MARGIN
    width, height = plots.PANEL
    inside = picture[top : height - bottom, panel * width + left : (panel + 1) * width - right]
    return np.flatnonzero((inside == ImageColor.getrgb(colour)).all(axis=2).any(axis=1))


def test_curves_lie_where_their_values_are(tmp_path: Path) -> None:
    path = tmp_path / "curves.png"
    steps = range(1, 2001)
    train = (dict.fromkeys(steps, 4.0), dict.fromkeys(steps, 0.25))
    plots.draw_curves(path, train, ({1000: 1.0, 2000: 1.0}, {1000: 0.75, 2000: 0.75}))
    picture = pixels(path)
    assert picture.shape == (SIZE[1], SIZE[0], 3)
    height = SIZE[1] - plots.MARGIN[1] - plots.MARGIN[3]
    # Loss from 0 below to 4 above, accuracy from 0 to 1.
    for panel, colour, value in (
        (0, plots.TRAIN, 1.0),
        (0, plots.TEST, 0.25),
        (1, plots.TRAIN, 0.25),
        (1, plots.TEST, 0.75),
    ):
        expected = (1 - value) * height
        assert np.abs(rows_of(picture, colour, panel) - expected).max() <= 5
    assert [entry.name for entry in tmp_path.iterdir()] == ["curves.png"]


def test_what_is_not_finite_is_left_out(tmp_path: Path) -> None:
    path, expected = tmp_path / "curves.png", tmp_path / "expected.png"
    inf, nan = float("inf"), float("nan")
    ruined = {1: 4.0, 2: inf, 3: nan, 4: -inf, 5: 1.7e308, 6: 2.0}
    plots.draw_curves(path, (ruined, ruined), (ruined, {1: nan}))
    good = {1: 4.0, 6: 2.0}
    plots.draw_curves(expected, (good, good), (good, {}))
    assert path.read_bytes() == expected.read_bytes()
    weight = np.zeros((3, 3, 3, 2), np.float32)
    weight[0, 0, 0] = inf, nan
    weight[1, 1, 1] = 1.0
    plots.draw_filters(path, weight)
    weight[0, 0, 0] = 0.0
    plots.draw_filters(expected, weight)
    assert path.read_bytes() == expected.read_bytes()


def test_a_run_of_one_step_and_one_of_none_can_be_drawn(tmp_path: Path) -> None:
    path = tmp_path / "curves.png"
    plots.draw_curves(path, ({1: 0.0}, {1: 0.0}), ({}, {}))
    assert len(rows_of(pixels(path), plots.TRAIN, 0))
    plots.draw_curves(path, ({}, {}), ({}, {}))
    assert not len(rows_of(pixels(path), plots.TRAIN, 0))


def test_filters_have_their_colours(tmp_path: Path) -> None:
    path = tmp_path / "conv1.png"
    weight = np.zeros((2, 2, 3, 5), np.float32)
    weight[:, :, 0, 1] = 2.0  # the largest: pure red over grey
    weight[:, :, :, 2] = -2.0  # black
    weight[:, :, :, 3] = 1.0
    plots.draw_filters(path, weight)
    picture = pixels(path)
    side = plots.FILTER_PIXELS // 2  # of one weight; frames are as wide
    centres = [side * (3 * column + 2) for column in range(4)]
    found = [tuple(picture[2 * side, centre].tolist()) for centre in centres]
    assert found == [(128, 128, 128), (255, 128, 128), (0, 0, 0), (191, 191, 191)]


def test_filters_without_colours_are_grey(tmp_path: Path) -> None:
    path = tmp_path / "conv1.png"
    plots.draw_filters(path, np.random.default_rng(0).normal(size=(3, 3, 7, 4)))
    picture = pixels(path)
    assert (picture[..., 0] == picture[..., 1]).all()
    assert len(np.unique(picture)) > 10
    plots.draw_filters(path, np.zeros((3, 3, 1, 4)))
    assert set(np.unique(pixels(path))) == {128, 255}
