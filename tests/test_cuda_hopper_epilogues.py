"""What comes with Hopper's products: the gradient of the ReLU before, and the sums for the bias."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cuda_emulation import load
from support.convolutions import Case
from support.cuda_device import cuda, cupy
from support.products_16_bits import DTYPES, FLOAT32

pytestmark = pytest.mark.cuda

CASES = [
    Case((1, 6, 5, 64), (3, 3), 64),
    Case((3, 9, 8, 40), (2, 2), 64),  # channels filled up, several tiles
    Case((1, 5, 4, 96), (2, 2), 128, groups=2),
    Case((2, 4, 4, 8), (1, 1), 64, padding="valid"),  # a step or two: no splits
]
DENSE = [(1, 16, 128), (33, 40, 136), (130, 40, 264)]

Dtype = np.dtype[Any]
each_dtype = pytest.mark.parametrize("dtype", [FLOAT32, *DTYPES], ids=str)


@pytest.fixture(autouse=True)
def _hopper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALEXNET_EMULATED_CAPABILITY", "9.0")
    monkeypatch.setenv("ALEXNET_EMULATED_MULTIPROCESSORS", "3")


def on_device(values: Any, dtype: Dtype, offset: int = 0) -> Any:
    """`offset` elements behind what an allocation is aligned to."""
    memory = np.concatenate([np.zeros(offset), values.ravel()]).astype(dtype)
    return cupy.asarray(memory)[offset:].reshape(values.shape)


def random(seed: int, shape: tuple[int, ...]) -> Any:
    return np.random.default_rng(seed).standard_normal(shape)


def precision_of(dtype: Dtype) -> str:
    return "tf32" if dtype == FLOAT32 else "float32"


def check(gradient: Any, shape: tuple[int, ...], dtype: Dtype, offset: int) -> None:
    """`gradient(relu_output)` is to the bit the one without it, where the output is positive."""
    y = random(5, shape)
    y.ravel()[:3] = np.nan, 0.0, -0.0
    usual, found = gradient(None).get(), gradient(on_device(y, dtype, offset)).get()
    expected = np.where(y > 0, usual, np.zeros((), dtype))
    assert expected.dtype == found.dtype == dtype
    assert 0.2 < (expected == 0).mean() < 0.8
    assert np.isfinite(usual.astype(np.float32)).all()
    np.testing.assert_array_equal(found, expected)


@each_dtype
@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_convolution(case: Case, offset: int, dtype: Dtype) -> None:
    dy = on_device(random(1, case.shape.output_shape), dtype)
    weight = on_device(random(2, case.shape.weight_shape), dtype)
    how = {**case.options, "precision": precision_of(dtype)}

    def gradient(relu_output: Any) -> Any:
        return cuda.conv2d_backward_input(dy, weight, case.x, relu_output=relu_output, **how)

    check(gradient, case.x, dtype, offset)


@each_dtype
@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("size", DENSE, ids=str)
def test_dense(size: tuple[int, int, int], offset: int, dtype: Dtype) -> None:
    batch, inputs, outputs = size
    dy = on_device(random(1, (batch, outputs)), dtype)
    weight = on_device(random(2, (inputs, outputs)), dtype)
    how = {"precision": precision_of(dtype)}

    def gradient(relu_output: Any) -> Any:
        return cuda.dense_backward_input(dy, weight, relu_output=relu_output, **how)

    check(gradient, (batch, inputs), dtype, offset)


@pytest.mark.skipif(not load.loaded, reason="the device is what it is")
@each_dtype
@pytest.mark.parametrize("tile", ["128x64", "128x64x2"])
def test_tiles_of_clusters(tile: str, dtype: Dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALEXNET_EMULATED_TILE", tile)
    test_convolution(CASES[1], 0, dtype)


@pytest.mark.parametrize(
    "case",
    [
        Case((1, 5, 4, 32), (1, 1), 12),  # a block has all depths
        Case((2, 9, 8, 64), (3, 3), 64, groups=2),
        Case((1, 91, 92, 16), (1, 1), 8),  # sums of blocks in two launches
    ],
    ids=str,
)
def test_sums_for_the_bias_are_not_rounded(case: Case) -> None:
    """Integers that tf32 has not stay exact, where its product reads them rounded."""
    signs = np.sign(random(6, case.shape.output_shape))
    dy = signs * (4097 + np.rint(8 * np.abs(random(7, case.shape.output_shape))))
    given = on_device(dy, FLOAT32), on_device(case.data.x, FLOAT32)
    out = None, cupy.asarray(np.full(case.features, np.nan, np.float32))
    _, dbias = cuda.conv2d_backward_weight(
        *given, case.kernel, **case.options, precision="tf32", out=out
    )
    np.testing.assert_array_equal(dbias.get(), dy.sum(axis=(0, 1, 2)))
