"""Winograd convolution on a CUDA device: all tiles, its guard, what it refuses, what "auto" is."""

from __future__ import annotations

import dataclasses
import sys

import numpy as np
import pytest

from alexnet.contract.shapes import conv2d_shape
from support.arrays import random_array, relative_error
from support.convolutions import Case, Data, expected_of, run_guarded
from support.cuda_device import cuda, on_device, on_host
from support.implementations import Cuda
from support.winograd import (
    BOUND,
    Problem,
    check_one_huge_pixel,
    check_only_the_spoiled_image_is_left,
    check_ordinary_values_are_served,
    check_without_overflow,
)

pytestmark = pytest.mark.cuda

CASES = [
    Case((1, 13, 13, 8), (3, 3), 12),  # tiles of 4 × 4 outputs, some beyond the border
    Case((9, 15, 14, 4), (3, 3), 4),  # of 5 × 5, which are fewer
    Case((2, 9, 7, 4), (5, 5), 8),
    Case((3, 5, 11, 5), (3, 3), 7, padding=((0, 2), (1, 0))),  # one channel at a time
    Case((1, 6, 9, 8), (5, 5), 4, padding="valid"),
    Case((2, 7, 6, 12), (3, 3), 24, groups=3),
    Case((1, 6, 5, 6), (5, 5), 9, groups=3),
    Case((2, 1, 2, 36), (3, 3), 68),  # smaller than a tile, channels of two warps
    Case((1, 3, 3, 512), (3, 3), 4),  # products in splits
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_all_directions_against_the_reference(case: Case) -> None:
    data = dataclasses.replace(case.data, x=np.maximum(case.data.x, 0))
    found = run_guarded(Cuda(), case, data, algorithm="winograd")
    for name, values in expected_of(case, data).items():
        assert relative_error(found[name], values) <= (1e-6 if name == "dbias" else BOUND), name


def test_the_last_images_may_be_cut_into_more_splits() -> None:
    """Of 241 images 12 are computed at once: products of 12 have no splits, of the last one two."""
    from alexnet import _cuda

    def workspace(batch: int) -> int:
        shape = conv2d_shape("conv2d", (batch, 56, 56, 512), (3, 3, 512, 256), 1, "same", groups=1)
        return _cuda.conv2d_winograd_workspace(shape, 1 << 26)

    matrices, tiles, floats = 49, 12 * 12, 4
    assert workspace(241) - workspace(252) >= 2 * matrices * tiles * 256 * floats


def test_an_empty_batch() -> None:
    case = Case((0, 5, 4, 8), (3, 3), 12)
    found = run_guarded(Cuda(), case, case.data, algorithm="winograd")
    assert found["y"].size == found["dx"].size == 0
    assert (found["dweight"] == 0).all()
    assert (found["dbias"] == 0).all()


@pytest.mark.parametrize("case", [CASES[0], CASES[5]], ids=str)
def test_the_same_bits_on_every_run(case: Case) -> None:
    first = run_guarded(Cuda(), case, case.data, algorithm="winograd")
    for name, values in run_guarded(Cuda(), case, case.data, algorithm="winograd").items():
        assert values.tobytes() == first[name].tobytes(), name


@pytest.mark.parametrize("offset", [1, 2])
def test_arrays_that_are_not_aligned(offset: int) -> None:
    aligned = run_guarded(Cuda(), CASES[0], CASES[0].data, algorithm="winograd")
    found = run_guarded(Cuda(), CASES[0], CASES[0].data, offset, algorithm="winograd")
    for name, values in found.items():
        np.testing.assert_array_equal(values, aligned[name])


@pytest.mark.parametrize("images", [1, 2])
def test_some_images_after_others(images: int, monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case((5, 6, 7, 8), (3, 3), 4)
    whole = run_guarded(Cuda(), case, case.data, algorithm="winograd")
    tiles, elements = 2 * 2, 6 * 6
    floats = images * tiles * elements * (case.x[3] + case.features)
    monkeypatch.setattr(sys.modules["alexnet.cuda.conv2d"], "WINOGRAD_FLOATS", floats)
    found = run_guarded(Cuda(), case, case.data, algorithm="winograd")
    for name, values in expected_of(case, case.data).items():
        assert relative_error(found[name], values) <= BOUND
        if name != "dweight":  # whose sums are of the images together
            np.testing.assert_array_equal(found[name], whole[name])
    assert not np.array_equal(found["dweight"], whole["dweight"]), "in one chunk as well"


# --- what is left to "direct" ---------------------------------------------------------------------

# batch, size, in, out, kernel, stride
GUARDED = [(3, 9, 8, 12, 3, 1), (2, 9, 8, 8, 5, 1), (9, 15, 4, 4, 3, 1)]
each_guarded = pytest.mark.parametrize("case", GUARDED, ids=str)


@each_guarded
def test_ordinary_values_are_served(case: tuple[int, ...]) -> None:
    check_ordinary_values_are_served(Problem(case), on_host)


@each_guarded
@pytest.mark.parametrize("place", ["corner", "middle"])
def test_one_huge_pixel_spoils_no_output_that_does_not_see_it(
    case: tuple[int, ...], place: str
) -> None:
    check_one_huge_pixel(Problem(case), place, on_host)


@each_guarded
def test_what_direct_computes_without_overflow_is_finite(case: tuple[int, ...]) -> None:
    check_without_overflow(case, on_host)


@each_guarded
def test_only_the_image_that_it_spoils_is_left_to_direct(case: tuple[int, ...]) -> None:
    check_only_the_spoiled_image_is_left(case, on_host)


def _kinds(array: np.ndarray) -> np.ndarray:
    """0 where finite, 1 for NaN, 2 and 3 for the infinities."""
    return np.select([np.isnan(array), array == np.inf, array == -np.inf], [1, 2, 3])


@pytest.mark.parametrize("name", ["x", "weight", "bias", "dy"])
@pytest.mark.parametrize("case", [CASES[0], CASES[2], CASES[5]], ids=str)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_nan_and_infinity_are_where_the_reference_has_them(case: Case, name: str) -> None:
    arrays = {key: array.copy() for key, array in vars(case.data).items() if key != "expected"}
    flat, generator = arrays[name].reshape(-1), np.random.default_rng(5)
    flat[generator.choice(flat.size, 3, replace=False)] = [np.nan, np.inf, -np.inf]
    data = Data(**arrays)
    found = run_guarded(Cuda(), case, data, algorithm="winograd")
    direct = run_guarded(Cuda(), case, data, algorithm="direct")
    for result, values in expected_of(case, data).items():
        # Of taps beyond the border, which the gradient multiplies by zeros (its file says so).
        kinds = direct[result] if (name, result) == ("weight", "dx") else values
        np.testing.assert_array_equal(_kinds(found[result]), _kinds(kinds), result)


# --- choice ---------------------------------------------------------------------------------------


def test_what_it_cannot_serve_is_refused_with_the_reason() -> None:
    x, weight = on_device(random_array(10, 1, 9, 9, 4)), on_device(random_array(11, 3, 3, 4, 4))
    narrow = on_device(random_array(11, 3, 5, 4, 4))
    refused = "conv2d: algorithm 'winograd' cannot serve this convolution:"
    with pytest.raises(ValueError, match=f"{refused} its kernel is neither 3 × 3 nor 5 × 5; use"):
        cuda.conv2d(x, narrow, algorithm="winograd")
    with pytest.raises(ValueError, match=f"{refused} it has a stride"):
        cuda.conv2d(x, weight, stride=2, algorithm="winograd")
    with pytest.raises(ValueError, match=f"{refused} its precision is 'tf32'; use 'auto' or"):
        cuda.conv2d(x, weight, algorithm="winograd", precision="tf32")
    with pytest.raises(ValueError, match=r"conv2d_backward_input: .*: its padding is not smaller"):
        cuda.conv2d_backward_input(
            on_device(random_array(12, 1, 13, 13, 4)),
            weight,
            x.shape,
            padding=3,
            algorithm="winograd",
        )


@pytest.mark.parametrize(
    ("shape", "choice"),
    [
        # batch, size, in, kernel, out, stride: AlexNet's, with many images and with one
        ((32, 224, 3, 11, 64, 4), "direct"),
        ((32, 27, 64, 5, 192, 1), "winograd"),
        ((32, 13, 192, 3, 384, 1), "winograd"),
        ((32, 13, 384, 3, 256, 1), "winograd"),
        ((1, 13, 192, 3, 384, 1), "direct"),  # the launches take longer than the products
        ((32, 32, 3, 3, 48, 1), "direct"),  # too few channels
        ((32, 13, 192, 1, 384, 1), "direct"),
    ],
)
def test_auto_follows_its_stated_rule(shape: tuple[int, ...], choice: str) -> None:
    batch, size, channels, kernel, out, stride = shape
    s = conv2d_shape(
        "conv2d", (batch, size, size, channels), (kernel, kernel, channels, out), stride, "same", 1
    )
    for direction in ("forward", "backward_input", "backward_weight"):
        assert cuda.conv2d_choice(s, direction) == choice


def test_auto_is_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES[0]
    results = {}
    for choice in ("direct", "winograd"):
        module = sys.modules["alexnet.cuda.conv2d"]
        monkeypatch.setattr(module, "conv2d_choice", lambda *_, choice=choice: choice)
        results[choice] = run_guarded(Cuda(), case, case.data)
    for choice, found in results.items():
        for name, values in run_guarded(Cuda(), case, case.data, algorithm=choice).items():
            np.testing.assert_array_equal(found[name], values)
    assert not np.array_equal(results["direct"]["y"], results["winograd"]["y"])
