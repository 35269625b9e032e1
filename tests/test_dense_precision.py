"""What only CUDA's dense layers have: precisions, and arrays at odd addresses."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from alexnet import reference
from support.arrays import random_array, relative_error
from support.cuda_device import (
    LEAST_TF32_ERROR,
    PRECISIONS,
    cuda,
    largest_error,
    on_device,
)
from support.dense_layers import Array, Data, Size, draw, run_guarded
from support.implementations import Cuda

pytestmark = pytest.mark.cuda

each_precision = pytest.mark.parametrize("precision", PRECISIONS)


def run(data: Data, precision: str, offset: int = 0) -> dict[str, Array]:
    return run_guarded(Cuda(), data, offset, precision=precision)


def check(size: Size, precision: str, offset: int = 0) -> None:
    data = draw(size)
    found, bounds = run(data, precision, offset), data.depths
    for name, values in data.expected.items():
        asked = "float32" if name == "dbias" else precision
        assert relative_error(found[name], values) <= largest_error(bounds[name], asked), name


@pytest.mark.parametrize("size", [(1, 16, 128), (33, 36, 132), (65, 12, 8), (5, 516, 12)], ids=str)
def test_tf32(size: Size) -> None:
    check(size, "tf32")


@each_precision
@pytest.mark.parametrize("offset", [1, 2, 3])
def test_arrays_that_are_not_aligned(offset: int, precision: str) -> None:
    check((5, 24, 20), precision, offset)


@each_precision
def test_an_empty_batch(precision: str) -> None:
    found = run(draw((0, 12, 8)), precision)
    assert found["y"].shape == (0, 8)
    assert found["dx"].shape == (0, 12)
    assert (found["dweight"] == 0).all()
    assert (found["dbias"] == 0).all()


def test_a_split_longer_than_a_chain() -> None:
    # 96 splits of 2064 products: sums of 2048, to which the last 16 are added in memory.
    size = (32, 96 * 2064, 32)
    data = draw(size)
    arrays = (on_device(array) for array in (data.x, data.weight, data.bias))
    y = cuda.dense(*arrays).get()
    exact = reference.dense(data.x, data.weight, data.bias)
    assert relative_error(y, exact) <= largest_error(size[1], "float32")


# --- tf32 -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(33, 36, 132), (65, 24, 8)], ids=str)
@each_precision
def test_small_integers_have_exact_products(size: Size, precision: str) -> None:
    integers = {
        field.name: np.rint(2 * getattr(draw(size), field.name))
        for field in dataclasses.fields(Data)
    }
    data = Data(**integers)
    found = run(data, precision)
    for name, values in data.expected.items():
        np.testing.assert_array_equal(found[name], values)


def test_tf32_rounds_both_operands() -> None:
    size = (33, 36, 132)
    data = draw(size)
    rounded = {"x": data.x, "weight": data.weight, "dy": data.dy}
    for name, array in rounded.items():
        bits = array.view(np.uint32)
        rounded[name] = ((bits + 0x1000) & 0xFFFFE000).view(np.float32)
    found = run(data, "tf32")
    exact, bounds = dataclasses.replace(data, **rounded).expected, data.depths
    for name in ("y", "dx", "dweight"):
        assert relative_error(found[name], data.expected[name]) >= LEAST_TF32_ERROR
        # Tensor cores may cut off, instead of round, where they add eight products to a sum.
        cut_off = bounds[name] / 8 * 2.0**-23
        bound = largest_error(bounds[name], "float32") + cut_off
        assert relative_error(found[name], exact[name]) <= bound


@pytest.mark.parametrize("precision", ["float16", "", None, 32])
def test_precision_that_is_none(precision: object) -> None:
    x, weight = on_device(random_array(1, 2, 4)), on_device(random_array(2, 4, 4))
    with pytest.raises(ValueError, match="dense: precision is "):
        cuda.dense(x, weight, precision=precision)
    with pytest.raises(ValueError, match="dense_backward_input: precision is "):
        cuda.dense_backward_input(x, weight, precision=precision)
    with pytest.raises(ValueError, match="dense_backward_weight: precision is "):
        cuda.dense_backward_weight(x, x, precision=precision)


# --- NaN and infinity -----------------------------------------------------------------------------


@each_precision
@pytest.mark.parametrize("size", [(2, 17, 33), (33, 20, 132)], ids=str)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_reach_what_sees_them(size: Size, value: float, precision: str) -> None:
    data = draw(size)
    usual = run(data, precision)

    def check_one(found: dict[str, Array], name: str, where: object, met: Array) -> None:
        values = usual[name].copy()
        values[where] = value * np.sign(met)
        np.testing.assert_array_equal(found[name], values)

    n, i, o = size[0] - 1, size[1] - 1, size[2] - 1
    x = data.x.copy()
    x[n, i] = value
    found = run(dataclasses.replace(data, x=x), precision)
    check_one(found, "y", n, data.weight[i])
    check_one(found, "dweight", i, data.dy[n])
    np.testing.assert_array_equal(found["rectified"], np.maximum(found["y"], 0))

    dy = data.dy.copy()
    dy[n, o] = value
    found = run(dataclasses.replace(data, dy=dy), precision)
    check_one(found, "dx", n, data.weight[:, o])
    check_one(found, "dweight", (slice(None), o), data.x[n])
    check_one(found, "dbias", o, np.float32(1))

    weight = data.weight.copy()
    weight[i, o] = value
    found = run(dataclasses.replace(data, weight=weight), precision)
    check_one(found, "y", (slice(None), o), data.x[:, i])
    check_one(found, "dx", (slice(None), i), data.dy[:, o])
