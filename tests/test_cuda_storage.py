"""Arrays of 16-bit numbers on a device: what float32 gives, rounded once, to the bit."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from alexnet import reference
from support.arrays import random_array
from support.cuda_device import cuda, cupy

pytestmark = pytest.mark.cuda

DTYPES = (np.dtype(ml_dtypes.bfloat16), np.dtype(np.float16))
NETWORK = {"depth_radius": 4, "bias": 1.0, "alpha": 0.1, "beta": 0.75}


@pytest.fixture(params=DTYPES, ids=lambda dtype: dtype.name)
def dtype(request: pytest.FixtureRequest) -> np.dtype[Any]:
    try:
        cupy.empty((1,), request.param)
    except (TypeError, ValueError) as error:  # CuPy before 14 has no bfloat16
        pytest.skip(str(error))
    result: np.dtype[Any] = request.param
    return result


def stored(array: np.ndarray, dtype: np.dtype[Any], offset: int) -> Any:
    """`array`, rounded, on the device, `offset` elements behind what is aligned."""
    memory = cupy.empty((array.size + offset,), dtype)
    with np.errstate(over="ignore"):
        memory[offset:] = cupy.asarray(array.astype(dtype).ravel())
    return memory[offset:].reshape(array.shape)


def as_bits(array: Any) -> np.ndarray:
    """NaN of whatever bits are equal."""
    values = array.get()
    return np.where(np.isnan(values.astype(np.float32)), 0x7FFF, values.view(np.uint16))


def results(operator: str, given: list[Any], options: dict[str, Any]) -> list[Any]:
    result = getattr(cuda, operator)(*given, **options)
    return list(result) if isinstance(result, tuple) else [result]


def check(operator: str, arrays: list[Any], dtype: np.dtype[Any], **options: Any) -> None:
    """`arrays` are rounded to the dtype if of float32; others are given as they are."""
    for offset in (0, 1):
        given, widened = [], []
        for array in arrays:
            if isinstance(array, np.ndarray) and array.dtype == np.float32:
                given.append(stored(array, dtype, offset))
                widened.append(cupy.asarray(given[-1].get().astype(np.float32)))
            else:
                given.append(array)
                widened.append(array)
        expected = results(operator, widened, options)
        for result, right in zip(results(operator, given, options), expected, strict=True):
            if result.dtype == np.float32:  # sums over channels, and losses
                np.testing.assert_array_equal(result.get(), right.get())
            else:
                assert result.dtype == dtype
                with np.errstate(over="ignore"):
                    rounded = cupy.asarray(right.get().astype(dtype))
                np.testing.assert_array_equal(as_bits(result), as_bits(rounded))


def test_every_number_is_read_and_written_as_it_is(dtype: np.dtype[Any]) -> None:
    everything = cupy.asarray(np.arange(2**16, dtype=np.uint16).view(dtype))
    same = cuda.dropout(everything, rate=0.0)
    np.testing.assert_array_equal(as_bits(same), as_bits(everything))
    positive = np.where(np.signbit(everything.get()), 0, everything.get().view(np.uint16))
    whole = ~np.isnan(everything.get().astype(np.float32))
    y = cuda.relu(everything).get().view(np.uint16)
    negative_zero = everything.get().view(np.uint16) == 0x8000
    np.testing.assert_array_equal(y[whole & ~negative_zero], positive[whole & ~negative_zero])


def test_results_are_rounded_to_nearest(dtype: np.dtype[Any]) -> None:
    x = np.concatenate([random_array(1, 4001, scale=10.0**e) for e in range(-9, 6)])
    x[::7] *= -1
    check("dropout", [x], dtype, rate=0.3, seed=5)


@pytest.mark.parametrize("channels", [3, 4, 8, 24, 64])
def test_windows_of_channels_and_pixels(dtype: np.dtype[Any], channels: int) -> None:
    x, dy = random_array(1, 2, 7, 9, channels), random_array(2, 2, 7, 9, channels)
    x[0, 0, 0, 0], x[1, 1, 1, 2] = np.nan, np.inf
    with np.errstate(all="ignore"):
        for radius in (2, 3, 4, 5):
            check("lrn", [x], dtype, **NETWORK | {"depth_radius": radius})
            check("lrn_backward", [dy, x], dtype, **NETWORK | {"depth_radius": radius})
        slope = random_array(3, 2, 3, 4, channels)
        check("max_pool2d", [x], dtype)
        check("max_pool2d_backward", [slope, x], dtype, through_relu=True)
        check("max_pool2d", [x], dtype, window=(2, 3), stride=1)


@pytest.mark.parametrize("padding", ["valid", "same", 1, ((0, 0), (1, 0))])
@pytest.mark.parametrize("window", [2, 3])
def test_maxima_of_whatever_there_is(dtype: np.dtype[Any], window: int, padding: Any) -> None:
    """Ties, NaN, infinities and zeros of both signs: the first maximum, as the reference has."""
    values = np.array([-np.inf, -3, -1, -0.0, 0, 1, 3, np.inf, np.nan], np.float32)
    generator = np.random.default_rng(window)
    how: dict[str, Any] = {"window": window, "stride": 2, "padding": padding, "ceil_mode": True}
    for probability in (0, 0.02, 0.5):  # of NaN
        shares = [(1 - probability) / 8] * 8 + [probability]
        x = generator.choice(values, (2, 8, 9, 24), p=shares)
        x[0, :4] = -np.inf
        here = cupy.asarray(x.astype(dtype))
        y = cuda.max_pool2d(here, **how)
        assert y.dtype == dtype
        expected = reference.max_pool2d(x, **how)
        np.testing.assert_array_equal(y.get().astype(np.float32), expected)
        dy = generator.integers(1, 9, expected.shape).astype(np.float32)  # exact sums
        for through_relu in (False, True):
            dx = cuda.max_pool2d_backward(
                cupy.asarray(dy.astype(dtype)), here, **how, through_relu=through_relu
            )
            gradient = reference.max_pool2d_backward(dy, x, **how, through_relu=through_relu)
            np.testing.assert_array_equal(dx.get().astype(np.float32), gradient)


def test_the_sign_of_a_zero_does_not_depend_on_the_kernel(dtype: np.dtype[Any]) -> None:
    x = random_array(1, 2, 9, 9, 16) > 0
    zeros = np.where(x, np.float32(0), np.float32(-0.0))
    for offset in (0, 1):  # 16 bytes at a time, and single elements
        y = cuda.max_pool2d(stored(zeros, dtype, offset)).get().astype(np.float32)
        expected = reference.max_pool2d(np.where(x, np.float32(1), np.float32(-1)))
        np.testing.assert_array_equal(np.signbit(y), expected < 0)


@pytest.mark.parametrize("channels", [3, 8, 40])
def test_batch_norm(dtype: np.dtype[Any], channels: int) -> None:
    x, dy = random_array(1, 300, channels), random_array(2, 300, channels)
    vectors = [cupy.asarray(np.abs(random_array(seed, channels)) + 1) for seed in range(3, 6)]
    gamma, mean, variance = vectors
    check("batch_norm", [x, gamma, mean], dtype, activation="relu")
    check("batch_norm", [x, gamma, mean], dtype, mean=mean, variance=variance)
    check("batch_norm_backward", [dy, x, gamma, mean, variance], dtype)
    check("batch_norm_backward", [dy, x, gamma, mean, variance], dtype, training=False)


def test_elements_and_rows(dtype: np.dtype[Any]) -> None:
    x, y = random_array(1, 3, 7, 11), random_array(2, 3, 7, 11)
    check("relu", [x], dtype)
    check("relu_backward", [x, y], dtype)
    check("dropout_backward", [x], dtype, rate=0.5, seed=3, offset=2**40)
    logits, labels = random_array(4, 5, 101), np.arange(5)
    check("softmax_cross_entropy", [logits, labels], dtype)
    check("softmax_cross_entropy_backward", [logits, labels], dtype)


@pytest.mark.parametrize("channels", [8, 64, 192, 256])
@pytest.mark.parametrize("radius", [2, 5])
def test_lrn_and_pooling_in_one_pass(dtype: np.dtype[Any], channels: int, radius: int) -> None:
    """As in float32 on the same numbers: between the two, nothing is rounded."""
    x = random_array(1, 2, 7, 9, channels).astype(dtype)
    pooling = {"window": 3, "stride": 2, "padding": "valid", "ceil_mode": False}
    how: dict[str, Any] = {**NETWORK, **pooling, "depth_radius": radius}
    dy = random_array(2, 2, 3, 4, channels).astype(dtype)
    made = []
    for kind in (dtype, np.dtype(np.float32)):
        positions = cupy.empty((2, 3, 4, channels), cupy.uint8)
        there = cupy.asarray(x.astype(kind))
        y = cuda.fused.lrn_max_pool2d(there, **how, positions=positions)
        slope = cupy.asarray(dy.astype(kind))
        dx = cuda.fused.lrn_max_pool2d_backward(slope, there, positions, **how)
        assert y.dtype == dx.dtype == kind
        made.append([positions.get(), *(array.get().astype(dtype) for array in (y, dx))])
    for result, right in zip(*made, strict=True):
        np.testing.assert_array_equal(result, right)


def test_dtypes_do_not_mix(dtype: np.dtype[Any]) -> None:
    x = cupy.asarray(np.ones((1, 5, 5, 8), np.float32))
    narrow = cupy.asarray(np.ones((1, 5, 5, 8), dtype))
    name = dtype.name
    with pytest.raises(TypeError, match=f"^lrn_backward: dy has dtype float32, expected {name}"):
        cuda.lrn_backward(x, narrow)
    with pytest.raises(TypeError, match=f"^relu: out has dtype {name}, expected float32"):
        cuda.relu(x, out=narrow)
    double = cupy.asarray(np.ones((1, 5, 5, 8)))
    expected = "expected float32 or bfloat16 or float16"
    with pytest.raises(TypeError, match=f"^max_pool2d: x has dtype float64, {expected}"):
        cuda.max_pool2d(double)
