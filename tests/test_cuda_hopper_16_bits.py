"""The kernels for Hopper on arrays of float16 and bfloat16."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from alexnet import reference
from cuda_emulation import load
from support import dense_layers
from support.convolutions import Case
from support.cuda_device import cuda, cupy
from support.products_16_bits import (
    check_convolution,
    check_dense,
    check_small_integers,
    each_dtype,
    rounded,
    run_convolutions,
)

pytestmark = pytest.mark.cuda

FEW = "3"  # multiprocessors of the emulated device

# Channels are multiples of 8, and fill at least half of the steps of 64 that they are padded to.
CASES = [
    Case((1, 6, 5, 64), (3, 3), 64),
    Case((3, 9, 8, 40), (3, 3), 40),  # filled up to 64
    Case((2, 9, 8, 64), (3, 3), 40, stride=2),
    Case((2, 7, 9, 136), (5, 4), 72, padding=((2, 1), (0, 3))),
    Case((1, 5, 4, 96), (2, 2), 128, groups=2, stride=(1, 2)),
    Case((2, 6, 5, 112), (3, 3), 96, groups=2),
    Case((2, 4, 4, 64), (1, 1), 264, padding="valid"),
    Case((1, 2, 3, 32), (5, 5), 32),  # a window larger than the image
]
DENSE = [(1, 16, 128), (33, 40, 136), (5, 520, 16), (130, 40, 264), (70, 1104, 8)]


@pytest.fixture(autouse=True)
def _hopper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALEXNET_EMULATED_CAPABILITY", "9.0")
    monkeypatch.setenv("ALEXNET_EMULATED_MULTIPROCESSORS", FEW)


needs_emulation = pytest.mark.skipif(not load.loaded, reason="the device is what it is")


@each_dtype
@pytest.mark.parametrize("case", CASES, ids=str)
def test_convolutions(case: Case, dtype: np.dtype[Any]) -> None:
    check_convolution(case, dtype)


@each_dtype
@pytest.mark.parametrize("size", DENSE, ids=str)
def test_dense(size: dense_layers.Size, dtype: np.dtype[Any]) -> None:
    check_dense(size, dtype)


@each_dtype
@pytest.mark.parametrize("case", [CASES[1], CASES[4]], ids=str)
def test_small_integers_have_exact_products(case: Case, dtype: np.dtype[Any]) -> None:
    check_small_integers(case, dtype)


@each_dtype
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_infinity_stay_where_they_are_seen(value: float, dtype: np.dtype[Any]) -> None:
    case = CASES[5]
    data = rounded(case.data, dtype)
    usual = run_convolutions(case, data, dtype)
    x, one = data.x.copy(), np.zeros(case.x, np.float32)
    place = (case.x[0] - 1, 2, 1, case.x[3] - 1)
    x[place], one[place] = value, 1
    found = run_convolutions(case, dataclasses.replace(data, x=x), dtype)
    met = {
        "y": reference.conv2d(one, data.weight, **case.options),
        "dweight": reference.conv2d_backward_weight(data.dy, one, case.kernel, **case.options)[0],
    }
    for name, seen in met.items():
        expected = usual[name].copy()
        expected[seen != 0] = value * np.sign(seen[seen != 0])
        np.testing.assert_array_equal(found[name], expected)


@each_dtype
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_are_not_met_beyond_their_channels(value: float, dtype: np.dtype[Any]) -> None:
    """Channels that a step is filled up with are zero in both operands."""
    case = CASES[1]
    data = rounded(case.data, dtype)
    usual = run_convolutions(case, data, dtype)
    weight, one = data.weight.copy(), np.zeros(case.shape.weight_shape, np.float32)
    weight[1, 2, 0, 7], one[1, 2, 0, 7] = value, 1
    found = run_convolutions(case, dataclasses.replace(data, weight=weight), dtype)
    met = {
        "y": reference.conv2d(data.x, one, **case.options),
        "dx": reference.conv2d_backward_input(data.dy, one, case.x, **case.options),
    }
    for name, seen in met.items():
        where = seen != 0
        np.testing.assert_array_equal(found[name][where], value * np.sign(seen[where]))
        # Where the tap lies on padding, 0 times the weight is NaN, as in the other kernels.
        rest = ~where & ~np.isnan(found[name])
        np.testing.assert_array_equal(found[name][rest], usual[name][rest])
    for name, channel in (("y", 7), ("dx", 0)):
        assert np.isnan(found[name][..., channel]).any()
        others = np.arange(usual[name].shape[-1]) != channel
        np.testing.assert_array_equal(found[name][..., others], usual[name][..., others])


@each_dtype
def test_rectified_and_empty(dtype: np.dtype[Any]) -> None:
    data = rounded(dense_layers.draw((5, 64, 72)), dtype)
    x, weight = cupy.asarray(data.x.astype(dtype)), cupy.asarray(data.weight.astype(dtype))
    y = cuda.dense(x, weight).get().astype(np.float32)
    rectified = cuda.dense(x, weight, activation="relu").get().astype(np.float32)
    np.testing.assert_array_equal(rectified, np.maximum(y, 0))
    empty = cuda.dense(cupy.empty((0, 64), dtype), weight)
    assert (empty.shape, empty.dtype) == ((0, 72), dtype)


# --- what the emulation alone can show ------------------------------------------------------------


def is_served(run: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether Hopper's kernels would serve the call: where only tf32 has tiles they lack theirs."""
    with monkeypatch.context() as tiles:
        tiles.setenv("ALEXNET_EMULATED_TILE", "128x32")
        try:
            run()
        except RuntimeError as error:
            if str(error) != "hopper_cut: no tile":
                raise
            return True
    return False


@needs_emulation
@each_dtype
@pytest.mark.parametrize("clusters", ["", "x2"], ids=["blocks", "clusters"])
@pytest.mark.parametrize("tile", ["128x64", "192x64", "128x128", "192x192", "128x256"])
def test_each_tile(
    tile: str, clusters: str, dtype: np.dtype[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Large products alone would take most of them."""
    monkeypatch.setenv("ALEXNET_EMULATED_TILE", tile + clusters)
    case = Case((3, 9, 8, 40), (2, 2), 264)
    check_convolution(case, dtype)


@needs_emulation
@each_dtype
def test_which_are_hoppers(dtype: np.dtype[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def served(case: Case) -> bool:
        shapes = case.x, case.shape.weight_shape
        x, weight = (cupy.asarray(np.zeros(shape, dtype)) for shape in shapes)
        return is_served(lambda: cuda.conv2d(x, weight, **case.options), monkeypatch)

    assert all(served(case) for case in CASES)
    others = [
        Case((1, 6, 5, 60), (3, 3), 64),  # no runs of 16 bytes
        Case((1, 6, 5, 64), (3, 3), 60),
        Case((1, 6, 5, 24), (3, 3), 64),  # less than half a step
        Case((1, 30, 5, 64), (3, 3), 16, stride=(9, 1)),
    ]
    assert not any(served(case) for case in others)


@needs_emulation
@each_dtype
def test_bits_do_not_depend_on_blocks(
    dtype: np.dtype[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    case, results = CASES[5], []
    for multiprocessors in ("1", "4", "132"):
        monkeypatch.setenv("ALEXNET_EMULATED_MULTIPROCESSORS", multiprocessors)
        results.append(run_convolutions(case, rounded(case.data, dtype), dtype))
    for other in results[1:]:
        for name, values in results[0].items():
            assert values.tobytes() == other[name].tobytes()


@each_dtype
def test_arrays_that_are_not_aligned(dtype: np.dtype[Any]) -> None:
    """The other kernels take them."""
    data = rounded(dense_layers.draw((3, 64, 72)), dtype)
    memory = cupy.asarray(np.append(np.zeros(1, np.float32), data.x).astype(dtype))
    x = memory[1:].reshape(*data.x.shape)
    y = cuda.dense(x, cupy.asarray(data.weight.astype(dtype)))
    exact = data.expected["without bias"]
    assert np.allclose(y.get().astype(np.float64), exact, rtol=1e-2, atol=1e-1)
