"""Convolutions and dense layers on float16 and bfloat16 arrays on a CUDA device."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from support import dense_layers
from support.arrays import random_array
from support.convolutions import Case
from support.cuda_device import cuda, cupy
from support.products_16_bits import (
    check_convolution,
    check_dense,
    check_small_integers,
    each_dtype,
    rounded,
    run_convolutions,
    run_dense,
)

pytestmark = pytest.mark.cuda

CASES = [
    Case((1, 6, 5, 16), (3, 3), 24),  # runs of 8 channels
    Case((1, 9, 8, 3), (3, 3), 8, stride=2),  # single ones
    Case((2, 5, 7, 80), (3, 2), 136, stride=(1, 2), padding="valid"),
    Case((1, 5, 4, 16), (2, 2), 32, groups=2, stride=(2, 1)),
    Case((1, 4, 4, 10), (3, 3), 7),
    Case((1, 12, 12, 8), (5, 5), 72),
    Case((1, 4, 5, 64), (3, 2), 64, groups=2, stride=2),  # two steps of 32 channels, one a group
    Case((1, 3, 4, 64), (3, 2), 40),
]
SIZES = [(1, 16, 128), (5, 33, 40), (70, 40, 136), (33, 1032, 8), (130, 72, 72)]


@each_dtype
@pytest.mark.parametrize("case", CASES, ids=str)
def test_convolutions(case: Case, dtype: np.dtype[Any]) -> None:
    check_convolution(case, dtype)


@each_dtype
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_dense(size: dense_layers.Size, dtype: np.dtype[Any]) -> None:
    check_dense(size, dtype)


@each_dtype
def test_a_depth_in_splits(dtype: np.dtype[Any]) -> None:
    check_dense((3, 2056, 16), dtype)


@each_dtype
@pytest.mark.parametrize("case", [CASES[0], CASES[3], CASES[4], CASES[6]], ids=str)
def test_small_integers_have_exact_products(case: Case, dtype: np.dtype[Any]) -> None:
    check_small_integers(case, dtype)


@each_dtype
def test_same_bits_on_every_run(dtype: np.dtype[Any]) -> None:
    data = rounded(CASES[2].data, dtype)
    first, second = (run_convolutions(CASES[2], data, dtype) for _ in range(2))
    for name, values in first.items():
        np.testing.assert_array_equal(values, second[name])


@each_dtype
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_infinity_reach_what_sees_them(value: float, dtype: np.dtype[Any]) -> None:
    data = rounded(dense_layers.draw((33, 24, 40)), dtype)
    x = data.x.copy()
    x[7, 5] = value
    usual = run_dense(data, dtype)["y"]
    found = run_dense(dataclasses.replace(data, x=x), dtype)["y"]
    usual[7] = value * np.sign(data.weight[5])
    np.testing.assert_array_equal(found, usual)


@each_dtype
def test_rectified_and_empty(dtype: np.dtype[Any]) -> None:
    x = cupy.asarray(random_array(1, 2, 16).astype(dtype))
    weight = cupy.asarray(random_array(2, 16, 24).astype(dtype))
    y = cuda.dense(x, weight)
    assert y.dtype == dtype
    rectified = cuda.dense(x, weight, activation="relu").get().astype(np.float32)
    np.testing.assert_array_equal(rectified, np.maximum(y.get().astype(np.float32), 0))
    empty = cuda.dense(cupy.empty((0, 16), dtype), weight)
    assert (empty.shape, empty.dtype) == ((0, 24), dtype)


@each_dtype
def test_arrays_that_do_not_go_together(dtype: np.dtype[Any]) -> None:
    x, weight = random_array(1, 2, 8), random_array(2, 8, 4)
    narrow, wide = cupy.asarray(x.astype(dtype)), cupy.asarray(weight)
    there = cupy.asarray(weight.astype(dtype))
    with pytest.raises(TypeError, match=f"dense: weight has dtype float32, expected {dtype}"):
        cuda.dense(narrow, wide)
    with pytest.raises(TypeError, match=f"dense: weight has dtype {dtype}, expected float32"):
        cuda.dense(cupy.asarray(x), there)
    with pytest.raises(TypeError, match=f"dense: bias has dtype {dtype}, expected float32"):
        cuda.dense(narrow, there, cupy.empty((4,), dtype))
    with pytest.raises(TypeError, match=f"dense: out has dtype float32, expected {dtype}"):
        cuda.dense(narrow, there, out=cupy.empty((2, 4), np.float32))
    image, window = cupy.empty((1, 9, 9, 8), dtype), cupy.empty((3, 3, 8, 8), dtype)
    message = f"conv2d: algorithm 'winograd' cannot serve this convolution: its arrays are {dtype}"
    with pytest.raises(ValueError, match=message):
        cuda.conv2d(image, window, algorithm="winograd")
    message = f"dense: precision is 'tf32', which is for float32 arrays, but they are {dtype}"
    with pytest.raises(ValueError, match=message):
        cuda.dense(narrow, there, precision="tf32")
