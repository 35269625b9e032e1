"""Convolution of the reference against the sum written out, and against worked examples."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from alexnet import reference

Array = npt.NDArray[np.float64]
Pads = tuple[tuple[int, int], tuple[int, int]]


def randn(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).standard_normal(shape)


def seven_loops(x: Array, weight: Array, stride: tuple[int, int], pads: Pads, groups: int) -> Array:
    """The definition, one multiply-accumulate at a time; nothing shared with the reference."""
    batch, height, width, _ = x.shape
    kernel_height, kernel_width, in_per_group, out_channels = weight.shape
    (top, bottom), (left, right) = pads
    out_height = (height + top + bottom - kernel_height) // stride[0] + 1
    out_width = (width + left + right - kernel_width) // stride[1] + 1
    y = np.zeros((batch, out_height, out_width, out_channels))
    for n, i, j, k in np.ndindex(*y.shape):
        first_channel = k // (out_channels // groups) * in_per_group
        for r in range(kernel_height):
            for s in range(kernel_width):
                row, column = i * stride[0] + r - top, j * stride[1] + s - left
                if 0 <= row < height and 0 <= column < width:
                    for c in range(in_per_group):
                        y[n, i, j, k] += x[n, row, column, first_channel + c] * weight[r, s, c, k]
    return y


NONE: Pads = ((0, 0), (0, 0))

CASES = [
    # input, kernel, out channels, stride, padding, the same as pairs, groups
    ((2, 5, 6, 3), (3, 3), 4, (1, 1), "same", ((1, 1), (1, 1)), 1),
    ((1, 5, 6, 2), (2, 4), 3, (1, 1), "same", ((0, 1), (1, 2)), 1),
    ((1, 7, 8, 2), (3, 3), 2, (2, 2), "same", ((1, 1), (0, 1)), 1),
    ((1, 12, 9, 1), (11, 11), 2, (4, 4), "same", ((3, 4), (5, 5)), 1),
    ((1, 3, 3, 1), (5, 5), 1, (1, 1), "same", ((2, 2), (2, 2)), 1),
    ((2, 6, 5, 2), (3, 2), 3, (1, 1), "valid", NONE, 1),
    ((1, 9, 7, 2), (2, 1), 2, (3, 4), "valid", NONE, 1),
    ((2, 4, 5, 4), (3, 3), 6, (1, 1), 1, ((1, 1), (1, 1)), 2),
    ((1, 5, 5, 4), (3, 3), 4, (2, 1), 2, ((2, 2), (2, 2)), 4),
    ((1, 4, 6, 6), (2, 3), 3, (1, 2), ((0, 2), (3, 1)), ((0, 2), (3, 1)), 3),
    ((1, 1, 1, 5), (1, 1), 7, (1, 1), 0, NONE, 1),
]


@pytest.mark.parametrize("case", CASES)
def test_against_seven_loops(case: tuple[Any, ...]) -> None:
    input_shape, kernel, out_channels, stride, padding, pads, groups = case
    x = randn(1, *input_shape)
    weight = randn(2, *kernel, input_shape[3] // groups, out_channels)
    y = reference.conv2d(x, weight, stride=stride, padding=padding, groups=groups)
    expected = seven_loops(x, weight, stride, pads, groups)
    assert y.shape == expected.shape
    np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_gradients_are_the_transposes_of_the_forward_map(case: tuple[Any, ...]) -> None:
    """<dy, conv(x, w)> = <dx, x> = <dweight, w>, for a convolution is linear in either."""
    input_shape, kernel, out_channels, stride, padding, pads, groups = case
    x = randn(1, *input_shape)
    weight = randn(2, *kernel, input_shape[3] // groups, out_channels)
    y = seven_loops(x, weight, stride, pads, groups)
    dy = randn(3, *y.shape)
    options: Any = {"stride": stride, "padding": padding, "groups": groups}
    dx = reference.conv2d_backward_input(dy, weight, x.shape, **options)
    dweight, dbias = reference.conv2d_backward_weight(dy, x, kernel, **options)
    inner = np.sum(dy * y)
    scale = np.linalg.norm(dy) * np.linalg.norm(y)
    assert abs(np.sum(dx * x) - inner) <= 1e-13 * scale
    assert abs(np.sum(dweight * weight) - inner) <= 1e-13 * scale
    np.testing.assert_allclose(dbias, dy.sum(axis=(0, 1, 2)), rtol=1e-12, atol=1e-12)


def test_it_is_a_correlation_worked_by_hand() -> None:
    """The kernel is not flipped: the shift by one pixel shows it."""
    x = np.arange(1.0, 10.0).reshape(1, 3, 3, 1)
    kernel = np.zeros((3, 3, 1, 1))
    kernel[0, 1] = 1  # the pixel above
    kernel[1, 2] = 10  # the pixel to the right
    y = reference.conv2d(x, kernel)
    expected = [[20, 30, 0], [51, 62, 3], [84, 95, 6]]
    np.testing.assert_array_equal(y[0, :, :, 0], expected)


def test_same_padding_puts_the_odd_pixel_after() -> None:
    """An even kernel on SAME: the last output sees zero, not the first."""
    x = np.array([1.0, 2.0, 4.0, 8.0]).reshape(1, 4, 1, 1)
    y = reference.conv2d(x, np.ones((2, 1, 1, 1)))
    np.testing.assert_array_equal(y[0, :, 0, 0], [3, 6, 12, 8])


def test_bias_and_relu() -> None:
    x, weight, bias = randn(1, 2, 4, 4, 3), randn(2, 3, 3, 3, 5), randn(3, 5)
    plain = reference.conv2d(x, weight)
    np.testing.assert_allclose(reference.conv2d(x, weight, bias), plain + bias, rtol=1e-14)
    y = reference.conv2d(x, weight, bias, activation="relu")
    np.testing.assert_allclose(y, np.where(plain + bias > 0, plain + bias, 0), rtol=1e-14)


@pytest.mark.parametrize("algorithm", ["auto", *reference.conv2d_algorithms()])
def test_every_algorithm_name_gives_the_same(algorithm: str) -> None:
    x, weight = randn(1, 1, 4, 4, 2), randn(2, 3, 3, 2, 2)
    dy = reference.conv2d(x, weight)
    np.testing.assert_array_equal(reference.conv2d(x, weight, algorithm=algorithm), dy)
    dx = reference.conv2d_backward_input(dy, weight, x.shape, algorithm=algorithm)
    np.testing.assert_array_equal(dx, reference.conv2d_backward_input(dy, weight, x.shape))
    dweight, _ = reference.conv2d_backward_weight(dy, x, 3, algorithm=algorithm)
    np.testing.assert_array_equal(dweight, reference.conv2d_backward_weight(dy, x, 3)[0])


def test_empty_batch() -> None:
    x, weight = randn(1, 0, 5, 5, 2), randn(2, 3, 3, 2, 4)
    y = reference.conv2d(x, weight, stride=2)
    assert y.shape == (0, 3, 3, 4)
    dx = reference.conv2d_backward_input(y, weight, x.shape, stride=2)
    assert dx.shape == x.shape
    dweight, dbias = reference.conv2d_backward_weight(y, x, 3, stride=2)
    np.testing.assert_array_equal(dweight, np.zeros(weight.shape))
    np.testing.assert_array_equal(dbias, np.zeros(4))


def test_nan_reaches_what_it_touches() -> None:
    x = np.ones((1, 5, 5, 1))
    x[0, 0, 0, 0] = np.nan
    y = reference.conv2d(x, np.ones((3, 3, 1, 1)), np.zeros(1), activation="relu")
    touched = np.zeros((5, 5), bool)
    touched[:2, :2] = True
    np.testing.assert_array_equal(np.isnan(y[0, :, :, 0]), touched)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_out(dtype: str) -> None:
    x, weight = randn(1, 2, 4, 4, 2).astype(dtype), randn(2, 3, 3, 2, 4).astype(dtype)
    y = reference.conv2d(x, weight)
    assert y.dtype == np.float64
    out = np.full(y.shape, np.nan, dtype)
    assert reference.conv2d(x, weight, out=out) is out
    np.testing.assert_array_equal(out, y.astype(dtype))
    dweight = np.full(weight.shape, np.nan, dtype)
    given, dbias = reference.conv2d_backward_weight(y, x, 3, out=(dweight, None))
    expected, expected_dbias = reference.conv2d_backward_weight(y, x, 3)
    assert given is dweight
    np.testing.assert_array_equal(dweight, expected.astype(dtype))
    np.testing.assert_array_equal(dbias, expected_dbias)


def test_inputs_may_have_any_strides() -> None:
    x, weight = randn(1, 2, 5, 4, 3), randn(2, 2, 3, 3, 4)
    transposed = np.asfortranarray(x)
    sliced = np.repeat(weight, 2, axis=3)[..., ::2]
    np.testing.assert_allclose(
        reference.conv2d(transposed, sliced), reference.conv2d(x, weight), rtol=1e-14, atol=1e-14
    )
