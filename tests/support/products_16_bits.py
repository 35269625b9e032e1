"""Convolutions and dense layers of float16 and bfloat16 on a CUDA device, for the tests."""

from __future__ import annotations

import dataclasses
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from support import dense_layers
from support.arrays import relative_error
from support.convolutions import Case, Data
from support.cuda_device import cuda, cupy

FLOAT32 = np.dtype(np.float32)
DTYPES = (np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16))
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)

# Products are exact, so a result is as far off as its rounding once, but for sums in float32.
MOST_OF_ROUNDING = 1.1
MOST_OF_SUMS = 1e-6  # of gradients of weight and bias, which are float32
GUARD, SENTINEL = 16, -96.0  # elements, and a number that both types have


class Guarded:
    """An output on the device between two runs of sentinels, itself filled with NaN."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._shape, size = shape, int(np.prod(shape))
        memory = np.full(size + 2 * GUARD, SENTINEL, np.float32)
        memory[GUARD : GUARD + size] = np.nan
        self._memory = cupy.asarray(memory.astype(dtype))
        self.array = self._memory[GUARD : GUARD + size].reshape(*shape)

    def get(self) -> np.ndarray[Any, Any]:
        memory = self._memory.get()
        assert (memory[:GUARD] == SENTINEL).all(), "written before the output"
        assert (memory[-GUARD:] == SENTINEL).all(), "written past its end"
        return memory[GUARD:-GUARD].reshape(self._shape).astype(np.float32)


def rounded(data: Any, dtype: np.dtype[Any]) -> Any:
    """The data with numbers that `dtype` has, as float32."""
    return dataclasses.replace(
        data,
        **{
            field.name: getattr(data, field.name).astype(dtype).astype(np.float32)
            for field in dataclasses.fields(data)
        },
    )


def run_convolutions(case: Case, data: Data, dtype: np.dtype[Any]) -> dict[str, Any]:
    x, weight, dy = (cupy.asarray(array.astype(dtype)) for array in (data.x, data.weight, data.dy))
    bias = cupy.asarray(data.bias)
    shape = case.shape
    y, dx = Guarded(shape.output_shape, dtype), Guarded(shape.input_shape, dtype)
    dweight, dbias = Guarded(shape.weight_shape, FLOAT32), Guarded((shape.out_channels,), FLOAT32)
    assert cuda.conv2d(x, weight, bias, out=y.array, **case.options) is y.array
    cuda.conv2d_backward_input(dy, weight, case.x, out=dx.array, **case.options)
    out = dweight.array, dbias.array
    cuda.conv2d_backward_weight(dy, x, case.kernel, out=out, **case.options)
    results = {"y": y, "dx": dx, "dweight": dweight, "dbias": dbias}
    return {name: result.get() for name, result in results.items()}


def run_dense(data: dense_layers.Data, dtype: np.dtype[Any]) -> dict[str, Any]:
    x, weight, dy = (cupy.asarray(array.astype(dtype)) for array in (data.x, data.weight, data.dy))
    bias = cupy.asarray(data.bias)
    y, dx = Guarded(data.dy.shape, dtype), Guarded(data.x.shape, dtype)
    dweight, dbias = Guarded(data.weight.shape, FLOAT32), Guarded(data.bias.shape, FLOAT32)
    cuda.dense(x, weight, bias, out=y.array)
    cuda.dense_backward_input(dy, weight, out=dx.array)
    cuda.dense_backward_weight(dy, x, out=(dweight.array, dbias.array))
    results = {"y": y, "dx": dx, "dweight": dweight, "dbias": dbias}
    return {name: result.get() for name, result in results.items()}


def check(found: dict[str, Any], expected: Any, dtype: np.dtype[Any]) -> None:
    """Each result is as near to the exact one as that, rounded once, is."""
    for name, values in found.items():
        exact = getattr(expected, name) if dataclasses.is_dataclass(expected) else expected[name]
        plain = relative_error(exact.astype(dtype).astype(np.float64), exact)
        most = MOST_OF_SUMS if name in ("dweight", "dbias") else MOST_OF_ROUNDING * plain
        assert relative_error(values, exact) <= most, name


def check_convolution(case: Case, dtype: np.dtype[Any]) -> None:
    """Forward and both gradients of random numbers that `dtype` has, against the reference."""
    data = rounded(case.data, dtype)
    check(run_convolutions(case, data, dtype), case.expected_of(data), dtype)


def check_dense(size: dense_layers.Size, dtype: np.dtype[Any]) -> None:
    """The same of a dense layer."""
    data = rounded(dense_layers.draw(size), dtype)
    check(run_dense(data, dtype), data.expected, dtype)


def check_small_integers(case: Case, dtype: np.dtype[Any]) -> None:
    """Products are exact where sums are at most 256 in absolute value, which both types have."""
    fields = {f.name: getattr(case.data, f.name) for f in dataclasses.fields(Data)}
    data = Data(**{name: np.clip(np.rint(values), -1, 1) for name, values in fields.items()})
    expected = case.expected_of(data)
    for name, values in run_convolutions(case, data, dtype).items():
        exact = getattr(expected, name)
        assert np.abs(exact).max() <= 256
        np.testing.assert_array_equal(values, exact, err_msg=name)
