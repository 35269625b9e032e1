"""Every gradient of the reference against central differences, in float64."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from alexnet import reference

Array = npt.NDArray[np.float64]

STEP = 1e-5  # truncation error STEP**2, rounding error 1e-16 / STEP: both near 1e-11
BOUND = 1e-7


def randn(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).standard_normal(shape)


def well_separated(seed: int, *shape: int) -> Array:
    """Values no two of which are closer than 0.1, none closer to 0: no step crosses a kink."""
    size = int(np.prod(shape))
    values = np.random.default_rng(seed).permutation(size) - size // 2
    return ((values + 0.5) * 0.2).reshape(shape)


def central_differences(function: Callable[[Array], Array], x: Array, dy: Array) -> Array:
    """Gradient of sum(function(x) * dy) in x, element by element."""
    dx = np.empty_like(x)
    for index in np.ndindex(*x.shape):
        above, below = x.copy(), x.copy()
        above[index] += STEP
        below[index] -= STEP
        dx[index] = np.sum((function(above) - function(below)) * dy) / (2 * STEP)
    return dx


def check(gradient: Array, function: Callable[[Array], Array], x: Array, dy: Array) -> None:
    expected = central_differences(function, x, dy)
    assert gradient.dtype == np.float64
    assert gradient.shape == x.shape
    assert np.linalg.norm(expected) > 1e-3  # a comparison of zeros would show nothing
    error = np.linalg.norm(gradient - expected) / np.linalg.norm(expected)
    assert error <= BOUND


CONV2D = [
    # input, kernel, out channels, options
    ((2, 4, 5, 2), (3, 3), 3, {}),
    ((1, 5, 4, 2), (3, 2), 2, {"padding": "valid"}),
    ((1, 7, 6, 1), (3, 3), 2, {"stride": 2}),
    ((2, 5, 6, 4), (3, 3), 6, {"groups": 2}),
    ((1, 4, 4, 3), (2, 2), 3, {"groups": 3, "padding": 1}),
    ((1, 6, 7, 2), (3, 2), 2, {"stride": (2, 3), "padding": ((0, 2), (3, 1))}),
    ((1, 9, 8, 1), (2, 1), 2, {"stride": (4, 3), "padding": 0}),  # pixels that no tap touches
    ((1, 3, 3, 2), (5, 5), 2, {}),  # a kernel larger than the image
    ((1, 9, 9, 1), (11, 11), 1, {"stride": 4}),
]


@pytest.mark.parametrize(("input_shape", "kernel", "out_channels", "options"), CONV2D)
def test_conv2d(
    input_shape: tuple[int, ...], kernel: tuple[int, int], out_channels: int, options: Any
) -> None:
    in_per_group = input_shape[3] // options.get("groups", 1)
    x, weight = randn(1, *input_shape), randn(2, *kernel, in_per_group, out_channels)
    bias = randn(3, out_channels)
    dy = randn(4, *reference.conv2d(x, weight, **options).shape)
    dx = reference.conv2d_backward_input(dy, weight, x.shape, **options)
    dweight, dbias = reference.conv2d_backward_weight(dy, x, kernel, **options)
    check(dx, lambda v: reference.conv2d(v, weight, bias, **options), x, dy)
    check(dweight, lambda v: reference.conv2d(x, v, bias, **options), weight, dy)
    check(dbias, lambda v: reference.conv2d(x, weight, v, **options), bias, dy)


def test_fused_relu_composes_with_relu_backward() -> None:
    x, weight, bias = randn(1, 2, 4, 4, 2), randn(2, 3, 3, 2, 3), randn(3, 3)
    y = reference.conv2d(x, weight, bias, activation="relu")
    assert (y == 0).any()
    assert np.abs(reference.conv2d(x, weight, bias)).min() > 1e-3  # far from the kink
    dy = randn(4, *y.shape)
    masked = reference.relu_backward(dy, y)
    dx = reference.conv2d_backward_input(masked, weight, x.shape)
    check(dx, lambda v: reference.conv2d(v, weight, bias, activation="relu"), x, dy)


def test_dense() -> None:
    x, weight, bias, dy = randn(1, 3, 5), randn(2, 5, 4), randn(3, 4), randn(4, 3, 4)
    dweight, dbias = reference.dense_backward_weight(dy, x)
    dx = reference.dense_backward_input(dy, weight)
    check(dx, lambda v: reference.dense(v, weight, bias), x, dy)
    check(dweight, lambda v: reference.dense(x, v, bias), weight, dy)
    check(dbias, lambda v: reference.dense(x, weight, v), bias, dy)


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.75, 1.0, 1.3, -0.5])
@pytest.mark.parametrize("depth_radius", [0, 1, 2, 4, 9])
def test_lrn(depth_radius: int, beta: float) -> None:
    x, dy = randn(1, 2, 2, 7), randn(2, 2, 2, 7)
    options = {"depth_radius": depth_radius, "bias": 1.5, "alpha": 0.3, "beta": beta}
    check(reference.lrn_backward(dy, x, **options), lambda v: reference.lrn(v, **options), x, dy)


POOLS = [
    {},
    {"ceil_mode": True},
    {"padding": "same"},
    {"window": 2, "stride": 1, "padding": ((1, 0), (0, 1))},
    {"window": (3, 2), "stride": (1, 3), "padding": 1, "ceil_mode": True},
    {"window": 2, "stride": 3},
]


@pytest.mark.parametrize("options", POOLS)
@pytest.mark.parametrize("size", [(5, 5), (6, 7)])
def test_max_pool2d(size: tuple[int, int], options: Any) -> None:
    x = well_separated(1, 2, *size, 2)
    dy = randn(2, *reference.max_pool2d(x, **options).shape)
    dx = reference.max_pool2d_backward(dy, x, **options)
    check(dx, lambda v: reference.max_pool2d(v, **options), x, dy)


def test_relu() -> None:
    x, dy = well_separated(1, 3, 7), randn(2, 3, 7)
    check(reference.relu_backward(dy, reference.relu(x)), reference.relu, x, dy)
    check(reference.relu_backward(dy, x), reference.relu, x, dy)


@pytest.mark.parametrize("shape", [(6, 3), (2, 3, 2, 4)])
def test_batch_norm_in_training(shape: tuple[int, ...]) -> None:
    x, dy = 2 * randn(1, *shape) + 3, randn(2, *shape)
    gamma, beta = randn(3, shape[-1]), randn(4, shape[-1])

    def forward(x: Array, gamma: Array, beta: Array) -> Array:
        return reference.batch_norm(x, gamma, beta, epsilon=0.01)[0]

    _, mean, variance = reference.batch_norm(x, gamma, beta, epsilon=0.01)
    dx, dgamma, dbeta = reference.batch_norm_backward(dy, x, gamma, mean, variance, epsilon=0.01)
    check(dx, lambda v: forward(v, gamma, beta), x, dy)
    check(dgamma, lambda v: forward(x, v, beta), gamma, dy)
    check(dbeta, lambda v: forward(x, gamma, v), beta, dy)


def test_batch_norm_in_inference() -> None:
    x, dy, gamma, beta = randn(1, 5, 3), randn(2, 5, 3), randn(3, 3), randn(4, 3)
    statistics = {"mean": randn(5, 3), "variance": randn(6, 3) ** 2}

    def forward(x: Array, gamma: Array, beta: Array) -> Array:
        return reference.batch_norm(x, gamma, beta, **statistics)[0]

    dx, dgamma, dbeta = reference.batch_norm_backward(dy, x, gamma, **statistics, training=False)
    check(dx, lambda v: forward(v, gamma, beta), x, dy)
    check(dgamma, lambda v: forward(x, v, beta), gamma, dy)
    check(dbeta, lambda v: forward(x, gamma, v), beta, dy)


@pytest.mark.parametrize("rate", [0.0, 0.3, 0.9])
def test_dropout(rate: float) -> None:
    x, dy = randn(1, 5, 8), randn(2, 5, 8)
    options = {"rate": rate, "seed": 9, "offset": 3}
    check(
        reference.dropout_backward(dy, **options), lambda v: reference.dropout(v, **options), x, dy
    )


def test_softmax_cross_entropy() -> None:
    logits, labels = 3 * randn(1, 4, 5), np.array([0, 4, 2, 2])
    dlogits = reference.softmax_cross_entropy_backward(logits, labels)
    one = np.array(1.0)
    check(dlogits, lambda v: reference.softmax_cross_entropy(v, labels), logits, one)
    np.testing.assert_allclose(dlogits.sum(axis=1), 0, atol=1e-15)


def test_l2_loss() -> None:
    x = randn(1, 3, 4)
    check(reference.l2_loss_backward(x), reference.l2_loss, x, np.array(1.0))


# --- where the function has no derivative ---------------------------------------------------------


def test_relu_has_gradient_zero_at_zero() -> None:
    x = np.array([-1.0, -0.0, 0.0, 1.0])
    np.testing.assert_array_equal(reference.relu_backward(np.full(4, 5.0), x), [0, 0, 0, 5])


def test_max_pool_gradient_goes_to_the_first_maximum() -> None:
    image = np.array([[1.0, 3.0, 3.0], [3.0, 2.0, 3.0], [0.0, 3.0, 1.0]])
    dx = reference.max_pool2d_backward(np.full((1, 1, 1, 1), 5.0), image[None, :, :, None])
    np.testing.assert_array_equal(dx[0, :, :, 0], [[0, 5, 0], [0, 0, 0], [0, 0, 0]])


def test_max_pool_gradient_of_a_constant_image() -> None:
    """Each window's first pixel wins, also where it is padding that the window starts with."""
    x = np.full((1, 4, 4, 1), -7.0)
    dy = np.arange(1.0, 10.0).reshape(1, 3, 3, 1)
    options = {"window": 2, "stride": 2, "padding": 1}
    dx = reference.max_pool2d_backward(dy, x, **options)
    expected = [[1, 2, 0, 3], [4, 5, 0, 6], [0, 0, 0, 0], [7, 8, 0, 9]]
    np.testing.assert_array_equal(dx[0, :, :, 0], expected)


@pytest.mark.parametrize("options", POOLS)
def test_max_pool_gradient_with_many_ties(options: Any) -> None:
    """Small integers: most windows have several maxima; one search a window, written plainly."""
    x = np.random.default_rng(3).integers(0, 3, (2, 6, 7, 2)).astype(np.float64)
    y = reference.max_pool2d(x, **options)
    dy = randn(4, *y.shape)
    window = np.broadcast_to(options.get("window", 3), 2)
    stride = np.broadcast_to(options.get("stride", 2), 2)
    padding = options.get("padding", 0)
    if padding == "same":  # 6 rows: (3 - 1) * 2 + 3 - 6 = 1, after; 7 columns: 2, one each side
        top, left = 0, 1
    elif isinstance(padding, int):
        top, left = padding, padding
    else:
        (top, _), (left, _) = padding
    expected = np.zeros_like(x)
    for n, i, j, c in np.ndindex(*y.shape):
        rows = range(i * stride[0] - top, i * stride[0] - top + window[0])
        columns = range(j * stride[1] - left, j * stride[1] - left + window[1])
        for row, column in itertools.product(rows, columns):
            inside = 0 <= row < x.shape[1] and 0 <= column < x.shape[2]
            if inside and x[n, row, column, c] == y[n, i, j, c]:
                expected[n, row, column, c] += dy[n, i, j, c]
                break
    dx = reference.max_pool2d_backward(dy, x, **options)
    np.testing.assert_allclose(dx, expected, rtol=1e-14, atol=1e-14)


def test_max_pool_gradient_goes_to_the_first_nan() -> None:
    image = np.array([[1.0, 9.0, np.nan], [np.nan, np.inf, 3.0], [0.0, 3.0, 1.0]])
    dx = reference.max_pool2d_backward(np.full((1, 1, 1, 1), 5.0), image[None, :, :, None])
    np.testing.assert_array_equal(dx[0, :, :, 0], [[0, 0, 5], [0, 0, 0], [0, 0, 0]])


def test_max_pool_gradient_of_a_window_of_minus_infinity() -> None:
    """Nothing exceeds minus infinity, and padding does not win for all that."""
    x = np.full((1, 2, 2, 1), -np.inf)
    dx = reference.max_pool2d_backward(np.full((1, 1, 1, 1), 5.0), x, padding=1)
    np.testing.assert_array_equal(dx[0, :, :, 0], [[5, 0], [0, 0]])
