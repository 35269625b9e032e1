"""Preprocessing: views of images for training and evaluation, colour statistics, JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from alexnet.data import AUGMENTATIONS, ImageSet, PhotoSet, Preprocessing
from alexnet.random import Generator
from support import photo_files

PLAIN = Preprocessing(  # input equals pixels
    input_size=(8, 6),
    shortest_side=10,
    padding=0,
    augment="standard",
    mean=(0.0, 0.0, 0.0),
    stddev=(1.0, 1.0, 1.0),
    components=((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
    eigenvalues=(0.01, 0.02, 0.03),
)


def variation(**values: Any) -> Preprocessing:
    return Preprocessing.from_json({**PLAIN.to_json(), **values})


def training_views(
    preprocessing: Preprocessing, images: Sequence[npt.NDArray[np.uint8]], seed: int
) -> npt.NDArray[np.float32]:
    return preprocessing.training_views(images, preprocessing.draw(Generator(seed), len(images)))


def numbered(height: int, width: int) -> npt.NDArray[np.uint8]:
    """Pixels that tell their row (red), column (green) and 200 (blue)."""
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[:, :, 0] = np.arange(height)[:, None]
    pixels[:, :, 1] = np.arange(width)
    pixels[:, :, 2] = 200
    return pixels


def image_set(images: int = 50, size: int = 32, seed: int = 0) -> ImageSet:
    generator = np.random.default_rng(seed)
    pixels = generator.normal((60, 120, 180), (20, 40, 30), (images, size, size, 3))
    return ImageSet(pixels.clip(0, 255).astype(np.uint8), np.zeros(images, np.int64))


# --- training -------------------------------------------------------------------------------------


def test_crops_are_windows_at_every_place_mirrored_or_not() -> None:
    image = numbered(10, 9)
    views = training_views(PLAIN, [image] * 2000, 1)
    assert views.shape == (2000, 8, 6, 3)
    assert views.dtype == np.float32
    seen = {}
    for view in views:
        top = int(view[0, 0, 0])
        mirrored = view[0, 0, 1] > view[0, 1, 1]
        left = int(view[0, :, 1].min())
        expected = image[top : top + 8, left : left + 6]
        np.testing.assert_array_equal(view, expected[:, ::-1] if mirrored else expected)
        place = top, left, bool(mirrored)
        seen[place] = seen.get(place, 0) + 1
    assert set(seen) == {(t, k, m) for t in range(3) for k in range(4) for m in (False, True)}
    assert all(abs(count - 2000 / 24) < 5 * math.sqrt(2000 / 24) for count in seen.values())


def test_padded_crops_have_the_mean_colour_outside() -> None:
    padded = variation(padding=2, mean=[10.4, 20.6, 30.0])
    image = numbered(8, 6)
    colour = np.array([10, 21, 30], np.uint8)
    surroundings = np.tile(colour, (12, 10, 1))
    surroundings[2:10, 2:8] = image
    seen = set()
    for view in training_views(padded, [image] * 800, 2):
        pixels = np.rint(view + np.float32(padded.mean)).astype(np.uint8)
        place = next(
            (top, left, mirrored)
            for top in range(5)
            for left in range(5)
            for mirrored in (False, True)
            if np.array_equal(
                pixels[:, ::-1] if mirrored else pixels,
                surroundings[top : top + 8, left : left + 6],
            )
        )
        seen.add(place)
    assert len(seen) == 50


def test_without_augmentation_training_sees_what_evaluation_sees() -> None:
    images = [numbered(10, 13), numbered(11, 8)]
    views = training_views(variation(augment="none"), images, 3)
    np.testing.assert_array_equal(views, PLAIN.evaluation_views(images))


def test_colour_noise_has_the_published_distribution() -> None:
    angle = 0.4
    turned = [
        [math.cos(angle), math.sin(angle), 0.0],
        [-math.sin(angle), math.cos(angle), 0.0],
        [0.0, 0.0, 1.0],
    ]
    noisy = variation(augment="paper", components=turned, stddev=[2.0, 4.0, 5.0])
    still = variation(augment="standard", components=turned, stddev=[2.0, 4.0, 5.0])
    images = [numbered(8, 6)] * 5000
    views = training_views(noisy, images, 4)
    difference = views - training_views(still, images, 4)
    np.testing.assert_allclose(  # one shift for all pixels of an image
        difference, np.broadcast_to(difference[:, :1, :1], difference.shape), atol=1e-4
    )
    shifts = difference[:, 0, 0] * noisy.stddev @ np.transpose(turned) / 255
    np.testing.assert_allclose(shifts.mean(axis=0), 0, atol=2e-4)
    np.testing.assert_allclose(shifts.std(axis=0), [0.001, 0.002, 0.003], rtol=0.05)
    assert np.abs(np.corrcoef(shifts.T) - np.eye(3)).max() < 0.06


def test_views_follow_from_the_seed() -> None:
    paper = variation(augment="paper")
    images = [numbered(20, 20)] * 5
    first, again, other = (training_views(paper, images, seed) for seed in (7, 7, 8))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


# --- evaluation -----------------------------------------------------------------------------------


def places(views: npt.NDArray[np.float32]) -> list[tuple[int, int, bool]]:
    return [(int(v[0, 0, 0]), int(v[0, :, 1].min()), bool(v[0, 0, 1] > v[0, 1, 1])) for v in views]


def test_the_centre_crop() -> None:
    views = PLAIN.evaluation_views([numbered(10, 13), numbered(11, 10), numbered(8, 6)])
    assert places(views) == [(1, 3, False), (1, 2, False), (0, 0, False)]


def test_ten_crops_are_corners_centre_and_their_mirrors() -> None:
    images = [numbered(10, 13), numbered(12, 8)]
    views = PLAIN.evaluation_views(images, ten_crop=True)
    assert views.shape == (20, 8, 6, 3)
    corners = [(0, 0), (0, 7), (2, 0), (2, 7), (1, 3)]
    assert places(views[:10]) == [(*c, m) for m in (False, True) for c in corners]
    corners = [(0, 0), (0, 2), (4, 0), (4, 2), (2, 1)]
    assert places(views[10:]) == [(*c, m) for m in (False, True) for c in corners]
    np.testing.assert_array_equal(views[5:10], views[:5, :, ::-1])


def test_ten_crops_of_a_small_image_are_those_of_the_padded_one() -> None:
    padded = variation(padding=2)
    image = numbered(8, 6)
    views = padded.evaluation_views([image], ten_crop=True)
    np.testing.assert_array_equal(views[4], image)
    np.testing.assert_array_equal(views[0, 2:, 2:], image[:-2, :-2])
    np.testing.assert_array_equal(views[0, :2], 0)
    np.testing.assert_array_equal(views[3, :-2, :-2], image[2:, 2:])


def test_an_image_that_is_too_small_is_refused() -> None:
    for views in (PLAIN.evaluation_views, lambda images: training_views(PLAIN, images, 0)):
        with pytest.raises(ValueError, match=r"image is \(7, 6, 3\), expected at least \(8, 6\)"):
            views([numbered(7, 6)])


# --- statistics -----------------------------------------------------------------------------------


def test_views_of_the_training_set_have_mean_0_and_deviation_1() -> None:
    images = image_set()
    fitted = Preprocessing.fit(images, (32, 32, 3))
    values = fitted.evaluation_views(images.pixels).astype(np.float64)
    np.testing.assert_allclose(values.mean(axis=(0, 1, 2)), 0, atol=1e-6)
    np.testing.assert_allclose(values.std(axis=(0, 1, 2)), 1, atol=1e-6)


def test_a_range_of_pixels_takes_the_place_of_the_statistics() -> None:
    """Pixel / 127.5 - 1, whatever the images are; the colours' components stay theirs."""
    images = image_set()
    fitted = Preprocessing.fit(images, (32, 32, 3), pixel_range=(-1, 1))
    assert fitted.mean == fitted.stddev == (127.5, 127.5, 127.5)
    values = fitted.evaluation_views(images.pixels)
    np.testing.assert_allclose(values, images.pixels / 127.5 - 1, rtol=0, atol=2**-22)
    assert Preprocessing.from_json(fitted.to_json()) == fitted
    measured = Preprocessing.fit(images, (32, 32, 3))
    assert fitted == replace(measured, mean=fitted.mean, stddev=fitted.stddev)
    unit = Preprocessing.fit(images, (32, 32, 3), pixel_range=(0, 1))
    assert (unit.mean, unit.stddev) == ((0.0,) * 3, (255.0,) * 3)


def test_components_are_those_of_the_colours() -> None:
    images = image_set()
    fitted = Preprocessing.fit(images, (32, 32, 3), augment="paper")
    components = np.array(fitted.components)
    covariance = components.T @ np.diag(fitted.eigenvalues) @ components
    expected = np.cov(images.pixels.reshape(-1, 3).T / 255, ddof=0)
    np.testing.assert_allclose(covariance, expected, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(components @ components.T, np.eye(3), atol=1e-12)


def test_a_sample_of_a_large_set_will_do() -> None:
    images = image_set(images=3000, size=4)
    sample = Preprocessing.fit(images, (4, 4, 3))
    exact = images.pixels.reshape(-1, 3)
    np.testing.assert_allclose(sample.mean, exact.mean(axis=0), atol=1.5)
    assert not np.array_equal(sample.mean, exact.mean(axis=0))
    assert Preprocessing.fit(images, (4, 4, 3)) == sample
    assert Preprocessing.fit(images, (4, 4, 3), seed=1) != sample


def fit_photos(root: Path, sizes: Sequence[int], **options: Any) -> list[Preprocessing]:
    paths = [photo_files.write_photo(root / f"{k}.png", k) for k in range(3)]
    photos = PhotoSet(paths, np.zeros(3, np.int64))
    return [Preprocessing.fit(photos, (size, size, 3), **options) for size in sizes]


def test_sizes_of_photos_and_of_small_images(tmp_path: Path) -> None:
    sizes = (224, 227, 32, 64)
    fitted = fit_photos(tmp_path, sizes, augment="paper")
    assert [p.shortest_side for p in fitted] == [256, 256, 36, 73]
    assert [p.input_shape for p in fitted] == [(size, size, 3) for size in sizes]
    assert {p.padding for p in fitted} == {0}
    assert {p.augment for p in fitted} == {"paper"}
    small = Preprocessing.fit(image_set(), (32, 32, 3))
    assert (small.shortest_side, small.padding, small.augment) == (32, 4, "none")


def test_photos_that_cannot_be_read_do_not_count(tmp_path: Path) -> None:
    (expected,) = fit_photos(tmp_path, [32])
    paths = [tmp_path / f"{k}.png" for k in (0, 1, 2)]
    (tmp_path / "bad.png").write_bytes(b"")
    photos = PhotoSet([paths[0], tmp_path / "bad.png", *paths[1:]], np.zeros(4, np.int64))
    assert Preprocessing.fit(photos, (32, 32, 3)) == expected
    assert list(photos.skipped) == [tmp_path / "bad.png"]


def test_what_cannot_be_fitted_is_refused(tmp_path: Path) -> None:
    images = image_set()
    with pytest.raises(ValueError, match="augment is 'more', expected none, standard, paper"):
        Preprocessing.fit(images, (32, 32, 3), augment="more")
    with pytest.raises(ValueError, match=r"images are \(32, 32, 3\), but the network takes \(40"):
        Preprocessing.fit(images, (40, 40, 3))
    with pytest.raises(ValueError, match=r"input_shape is \(32, 32, 1\), expected"):
        Preprocessing.fit(images, (32, 32, 1))
    with pytest.raises(ValueError, match="the image set is empty"):
        Preprocessing.fit(ImageSet(images.pixels[:0], images.labels[:0]), (32, 32, 3))
    for wrong in ((1, 1), (0, math.inf), (math.nan, 1)):
        with pytest.raises(ValueError, match=r"pixel_range is .*expected a finite"):
            Preprocessing.fit(images, (32, 32, 3), pixel_range=wrong)
    for wrong in (1, (0, 1, 2), (0, "1")):
        with pytest.raises(TypeError, match="preprocessing: pixel_range is "):
            Preprocessing.fit(images, (32, 32, 3), pixel_range=wrong)  # type: ignore[arg-type]
    Image.new("RGB", (40, 40), "teal").save(tmp_path / "flat.png")
    with pytest.raises(ValueError, match="a channel has the same value in every image"):
        Preprocessing.fit(PhotoSet([tmp_path / "flat.png"], np.zeros(1, np.int64)), (32, 32, 3))


# --- JSON -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("augment", AUGMENTATIONS)
def test_json_gives_the_same_preprocessing(augment: str) -> None:
    fitted = Preprocessing.fit(image_set(), (32, 32, 3), augment=augment)
    again = Preprocessing.from_json(json.loads(json.dumps(fitted.to_json())))
    assert again == fitted
    assert hash(again) == hash(fitted)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("augment", "all", "augment is 'all', expected none, standard, paper"),
        ("augment", ["none"], "augment is a list of 1, expected none"),
        ("input_size", 32, "input_size is 32, expected a list of 2"),
        ("input_size", [32, 0], r"input_size\[1\] is 0, expected an integer from 1"),
        ("input_size", [32, 32.5], r"input_size\[1\] is 32.5, expected an integer"),
        ("shortest_side", None, "shortest_side is None, expected an integer"),
        ("padding", -1, "padding is -1, expected an integer from 0"),
        ("mean", [1, 2], "mean is a list of 2, expected a list of 3"),
        ("mean", [1, 2, "3"], r"mean\[2\] is '3', expected a number"),
        ("stddev", [1, 0, 1], r"stddev\[1\] is 0, expected a finite number from 1e-06"),
        ("eigenvalues", [1, math.nan, 1], r"eigenvalues\[1\] is nan, expected a finite number"),
        ("components", [[1, 2, 3]], "components is a list of 1, expected a list of 3"),
        (
            "components",
            [[1, 2, 3], [1, 2], [1, 2, 3]],
            r"components\[1\] is a list of 2",
        ),
    ],
)
def test_json_is_checked(name: str, value: object, message: str) -> None:
    with pytest.raises(ValueError, match=rf"preprocessing\.{message}"):
        variation(**{name: value})


def test_json_has_all_entries_and_no_other() -> None:
    values = PLAIN.to_json()
    with pytest.raises(ValueError, match="preprocessing has the unknown 'extra'"):
        Preprocessing.from_json({**values, "extra": 1})
    del values["mean"]
    with pytest.raises(ValueError, match="preprocessing lacks 'mean'"):
        Preprocessing.from_json(values)
