"""Our error in bfloat16 beside PyTorch's, both against float64.

Not among the tests that plain `pytest` collects, since it needs PyTorch:
`pip install ".[test,peers]" && pytest tests/frameworks`.
"""

from __future__ import annotations

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch.nn import functional

from alexnet import cpu, reference
from support.arrays import random_array, relative_error

BF16 = np.dtype(ml_dtypes.bfloat16)


def theirs(array: npt.NDArray[np.float32]) -> torch.Tensor:
    return torch.from_numpy(array).bfloat16()


@pytest.mark.parametrize("size", [(1, 9216, 100), (32, 4096, 300), (7, 100, 10)], ids=str)
def test_dense(size: tuple[int, int, int]) -> None:
    batch, inputs, outputs = size
    x, weight = random_array(1, batch, inputs), random_array(2, inputs, outputs)
    exact = reference.dense(x, weight)
    result = functional.linear(theirs(x), theirs(weight.T.copy()))
    limit = 2 * relative_error(result.float().numpy(), exact)
    assert relative_error(cpu.dense(x, weight, precision="bfloat16"), exact) <= limit
    y = cpu.dense(x.astype(BF16), weight, precision="bfloat16")
    assert relative_error(y.astype(np.float32), exact) <= limit


@pytest.mark.parametrize("shape", [(27, 64, 5, 192, 1), (13, 384, 3, 64, 1), (59, 3, 11, 64, 4)])
def test_convolution(shape: tuple[int, int, int, int, int]) -> None:
    size, channels, kernel, features, stride = shape
    x = random_array(1, 2, size, size, channels)
    weight = random_array(2, kernel, kernel, channels, features)
    exact = reference.conv2d(x, weight, stride=stride, padding=kernel // 2)
    result = functional.conv2d(
        theirs(x).permute(0, 3, 1, 2),
        theirs(weight.transpose(3, 2, 0, 1).copy()).to(memory_format=torch.channels_last),
        stride=stride,
        padding=kernel // 2,
    )
    limit = 2 * relative_error(result.permute(0, 2, 3, 1).float().numpy(), exact)
    how = {"stride": stride, "padding": kernel // 2, "precision": "bfloat16"}
    assert relative_error(cpu.conv2d(x, weight, **how), exact) <= limit
    y = cpu.conv2d(x.astype(BF16), weight, **how)
    assert relative_error(y.astype(np.float32), exact) <= limit
