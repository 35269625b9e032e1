"""Forward values of the reference, by hand or by another way of computing them."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from alexnet import reference
from alexnet.random import philox_words

Array = npt.NDArray[np.float64]


def randn(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).standard_normal(shape)


# --- dense ----------------------------------------------------------------------------------------


def test_dense_by_hand() -> None:
    x = np.array([[1.0, 2.0], [3.0, -4.0], [0.0, 1.0]])
    weight = np.array([[1.0, 10.0, 0.0], [2.0, -1.0, 5.0]])
    bias = np.array([0.5, 0.0, -1.0])
    expected = [[5.5, 8, 9], [-4.5, 34, -21], [2.5, -1, 4]]
    np.testing.assert_array_equal(reference.dense(x, weight, bias), expected)
    np.testing.assert_array_equal(
        reference.dense(x, weight, bias, activation="relu"), np.clip(expected, 0, None)
    )


def test_dense_of_an_empty_batch() -> None:
    x, weight = np.zeros((0, 2)), np.ones((2, 3))
    y = reference.dense(x, weight, np.ones(3))
    assert y.shape == (0, 3)
    assert reference.dense_backward_input(y, weight).shape == (0, 2)
    dweight, dbias = reference.dense_backward_weight(y, x)
    np.testing.assert_array_equal(dweight, np.zeros((2, 3)))
    np.testing.assert_array_equal(dbias, np.zeros(3))


# --- lrn ------------------------------------------------------------------------------------------


def test_lrn_by_hand() -> None:
    """Radius 1, alpha 2, bias 1, beta 1: denominators 1 + 2 * (sums of squares)."""
    y = reference.lrn(np.array([[1.0, 2.0, 3.0, -4.0]]), depth_radius=1, bias=1, alpha=2, beta=1)
    np.testing.assert_allclose(y, [[1 / 11, 2 / 29, 3 / 59, -4 / 51]], rtol=1e-15)


def test_lrn_alpha_is_not_divided_by_the_window() -> None:
    """The convention of TensorFlow; Caffe's and PyTorch's alpha is the window's size times it."""
    x = np.full((1, 1, 1, 9), 2.0)
    y = reference.lrn(x, depth_radius=2, bias=2.0, alpha=1e-4, beta=0.75)
    assert y[0, 0, 0, 4] == pytest.approx(2.0 / (2.0 + 1e-4 * 5 * 4.0) ** 0.75, rel=1e-15)
    assert y[0, 0, 0, 0] == pytest.approx(2.0 / (2.0 + 1e-4 * 3 * 4.0) ** 0.75, rel=1e-15)


def test_lrn_defaults_are_tensorflows() -> None:
    x = randn(1, 3, 13)
    for channel in (0, 6, 12):
        window = x[:, max(0, channel - 5) : channel + 6]
        expected = x[:, channel] / np.sqrt(1 + (window**2).sum(axis=1))
        np.testing.assert_allclose(reference.lrn(x)[:, channel], expected, rtol=1e-14)


def test_lrn_does_not_mix_pixels() -> None:
    x = randn(1, 2, 3, 4, 6)
    flat = reference.lrn(x.reshape(-1, 6), depth_radius=2)
    np.testing.assert_array_equal(reference.lrn(x, depth_radius=2).reshape(-1, 6), flat)
    assert reference.lrn(np.zeros((0, 3, 3, 4))).shape == (0, 3, 3, 4)
    nan = x.copy()
    nan[0, 0, 0, 0] = np.nan
    touched = np.isnan(reference.lrn(nan, depth_radius=2))
    assert touched[0, 0, 0].tolist() == [True] * 3 + [False] * 3
    assert touched.sum() == 3


# --- max_pool2d -----------------------------------------------------------------------------------


def test_max_pool_by_hand() -> None:
    image = np.array(
        [[1, 2, 3, 4], [5, -6, 7, 8], [9, 10, -11, 12], [13, 14, 15, -16]], np.float64
    ).reshape(1, 4, 4, 1)
    assert reference.max_pool2d(image).reshape(-1).tolist() == [10]
    ceil = reference.max_pool2d(image, ceil_mode=True)[0, :, :, 0]
    np.testing.assert_array_equal(ceil, [[10, 12], [15, 15]])
    same = reference.max_pool2d(image, window=2, stride=1, padding="same")[0, :, :, 0]
    expected = [[5, 7, 8, 8], [10, 10, 12, 12], [14, 15, 15, 12], [14, 15, 15, -16]]
    np.testing.assert_array_equal(same, expected)


def test_padding_never_wins() -> None:
    x = np.full((1, 3, 3, 2), -5.0)
    for padding in (1, "same", ((2, 0), (1, 2))):
        np.testing.assert_array_equal(np.unique(reference.max_pool2d(x, padding=padding)), [-5])


@pytest.mark.parametrize(
    ("options", "starts"),
    [
        ({}, ((0, 2), (0, 2, 4))),
        ({"ceil_mode": True}, ((0, 2, 4), (0, 2, 4))),
        ({"padding": 1, "ceil_mode": True}, ((-1, 1, 3, 5), (-1, 1, 3, 5))),
        ({"padding": ((0, 2), (1, 0)), "stride": (3, 2)}, ((0, 3), (-1, 1, 3))),
        ({"padding": "same"}, ((0, 2, 4), (-1, 1, 3, 5))),
    ],
)
def test_max_pool_windows(options: Any, starts: tuple[tuple[int, ...], ...]) -> None:
    """Where each window starts on a 6x7 image, listed; 3x3 windows cut to the image."""
    x = randn(1, 2, 6, 7, 3)
    y = reference.max_pool2d(x, **options)
    assert y.shape == (2, len(starts[0]), len(starts[1]), 3)
    for i, row in enumerate(starts[0]):
        for j, column in enumerate(starts[1]):
            window = x[:, max(row, 0) : row + 3, max(column, 0) : column + 3, :]
            np.testing.assert_array_equal(y[:, i, j, :], window.max(axis=(1, 2)))


def test_max_pool_of_nan_infinity_and_nothing() -> None:
    x = np.zeros((1, 3, 7, 1))
    x[0, 1, 0], x[0, 1, 3], x[0, 0, 4], x[0, :, 5:] = np.inf, np.nan, np.inf, -np.inf
    np.testing.assert_array_equal(
        reference.max_pool2d(x, stride=1)[0, 0, :, 0], [np.inf, np.nan, np.nan, np.nan, np.inf]
    )
    np.testing.assert_array_equal(reference.max_pool2d(x[:, :, 5:], window=2), [[[[-np.inf]]]])
    assert reference.max_pool2d(x[:0]).shape == (0, 1, 3, 1)
    assert reference.max_pool2d_backward(np.zeros((0, 1, 3, 1)), x[:0]).shape == (0, 3, 7, 1)


# --- relu, dropout --------------------------------------------------------------------------------


def test_relu() -> None:
    x = np.array([np.nan, -np.inf, -2.0, -0.0, 0.0, 3.0, np.inf])
    np.testing.assert_array_equal(reference.relu(x), [np.nan, 0, 0, 0, 0, 3, np.inf])
    kept = x.copy()
    assert reference.relu(kept, out=kept) is kept
    np.testing.assert_array_equal(kept, reference.relu(x))
    dy = np.arange(1.0, 8.0)
    np.testing.assert_array_equal(reference.relu_backward(dy, x), [0, 0, 0, 0, 0, 6, 7])
    assert reference.relu_backward(dy, x, out=dy) is dy


def test_dropout_mask_is_the_philox_word_against_the_rate() -> None:
    x = randn(1, 3, 5, 7)
    words = philox_words(3, 9, x.size).reshape(x.shape)
    y = reference.dropout(x, rate=0.25, seed=3, offset=9)
    np.testing.assert_array_equal(y != 0, words >= 2**30)
    np.testing.assert_allclose(y[y != 0], x[y != 0] / 0.75, rtol=1e-7)
    dy = randn(2, 3, 5, 7)
    dx = reference.dropout_backward(dy, rate=0.25, seed=3, offset=9)
    np.testing.assert_array_equal(dx != 0, y != 0)


def test_dropout_keeps_a_word_equal_to_the_threshold() -> None:
    word = int(philox_words(0, 0, 1)[0])
    assert reference.dropout(np.ones(1), rate=word / 2**32)[0] > 0
    assert reference.dropout(np.ones(1), rate=(word + 1) / 2**32)[0] == 0


def test_dropout_keeps_its_share_and_the_mean() -> None:
    ones = np.ones(100_000)
    for rate in (0.1, 0.5, 0.9):
        y = reference.dropout(ones, rate=rate)
        share = np.count_nonzero(y) / ones.size
        assert abs(share - (1 - rate)) <= 5 * math.sqrt(rate * (1 - rate) / ones.size)
        assert np.unique(y).tolist() == [0, float(np.float32(1 / (1 - rate)))]


def test_dropout_of_rate_zero_and_of_nan() -> None:
    x = np.array([1.0, np.nan, np.inf] * 20)
    np.testing.assert_array_equal(reference.dropout(x, rate=0.0), x)
    y = reference.dropout(x, rate=0.5)
    dropped = philox_words(0, 0, 60) < 2**31
    np.testing.assert_array_equal(y[dropped], 0)
    np.testing.assert_array_equal(y[~dropped], 2 * x[~dropped])


# --- batch_norm -----------------------------------------------------------------------------------


def test_batch_norm_by_hand() -> None:
    """One channel 1, 2, 3, 6: mean 3, biased variance 14/4."""
    x = np.array([1.0, 2.0, 3.0, 6.0]).reshape(2, 2, 1, 1)
    y, mean, variance = reference.batch_norm(x, np.array([2.0]), np.array([1.0]), epsilon=0.5)
    assert mean.tolist() == [3.0]
    assert variance.tolist() == [3.5]
    np.testing.assert_allclose(y.reshape(-1), [-1, 0, 1, 4], rtol=1e-15)  # sqrt(4) = 2
    fused = reference.batch_norm(
        x, np.array([2.0]), np.array([1.0]), epsilon=0.5, activation="relu"
    )[0]
    np.testing.assert_allclose(fused.reshape(-1), [0, 0, 1, 4], rtol=1e-15)


def test_batch_norm_of_a_batch_and_with_given_statistics() -> None:
    x = 3 * randn(1, 4, 3, 2, 5) + 2
    gamma, beta = np.ones(5), np.zeros(5)
    y, mean, variance = reference.batch_norm(x, gamma, beta, epsilon=1e-12)
    np.testing.assert_allclose(y.mean(axis=(0, 1, 2)), 0, atol=1e-13)
    np.testing.assert_allclose((y**2).mean(axis=(0, 1, 2)), 1, rtol=1e-10)
    again, same_mean, same_variance = reference.batch_norm(
        x, gamma, beta, mean=mean, variance=variance, epsilon=1e-12
    )
    np.testing.assert_array_equal(again, y)
    np.testing.assert_array_equal(same_mean, mean)
    np.testing.assert_array_equal(same_variance, variance)


def test_batch_norm_of_an_empty_batch() -> None:
    x, ones = np.zeros((0, 2, 2, 3)), np.ones(3)
    y, mean, variance = reference.batch_norm(x, ones, ones)
    assert y.shape == x.shape
    np.testing.assert_array_equal([mean, variance], np.zeros((2, 3)))
    dx, dgamma, dbeta = reference.batch_norm_backward(x, x, ones, mean, variance)
    assert dx.shape == x.shape
    np.testing.assert_array_equal([dgamma, dbeta], np.zeros((2, 3)))


# --- losses ---------------------------------------------------------------------------------------


def test_softmax_cross_entropy_by_hand() -> None:
    logits = np.log(np.array([[1.0, 2.0, 1.0], [1.0, 1.0, 8.0]]))
    labels = np.array([1, 0], np.uint8)
    loss = reference.softmax_cross_entropy(logits, labels)
    assert loss.shape == ()
    assert float(loss) == pytest.approx((math.log(2) + math.log(10)) / 2, rel=1e-15)
    dlogits = reference.softmax_cross_entropy_backward(logits, labels)
    np.testing.assert_allclose(dlogits, [[0.125, -0.25, 0.125], [-0.45, 0.05, 0.4]], rtol=1e-14)


def test_softmax_cross_entropy_of_huge_logits() -> None:
    logits = np.array([[1e4, 0.0, -1e4], [-1e300, 1e300, 0.0]])
    assert float(reference.softmax_cross_entropy(logits, np.array([0, 1]))) == 0
    assert float(reference.softmax_cross_entropy(logits[:1], np.array([2]))) == 2e4
    dlogits = reference.softmax_cross_entropy_backward(logits, np.array([2, 1]))
    np.testing.assert_array_equal(dlogits, [[0.5, 0, -0.5], [0, 0, 0]])


def test_softmax_cross_entropy_of_an_empty_batch() -> None:
    logits, labels = np.zeros((0, 5)), np.zeros(0, np.int64)
    assert float(reference.softmax_cross_entropy(logits, labels)) == 0
    assert reference.softmax_cross_entropy_backward(logits, labels).shape == (0, 5)


def test_l2_loss() -> None:
    x = np.array([[1.0, -2.0], [3.0, 0.5]])
    loss = reference.l2_loss(x)
    assert loss.shape == ()
    assert float(loss) == 7.125
    out = np.empty((), np.float32)
    assert reference.l2_loss(x, out=out) is out
    assert float(out) == 7.125
    assert float(reference.l2_loss(np.zeros((0, 3)))) == 0
    dx = reference.l2_loss_backward(x)
    np.testing.assert_array_equal(dx, x)
    assert not np.shares_memory(dx, x)


# --- optimizers -----------------------------------------------------------------------------------


def test_sgd_by_hand() -> None:
    """Rate 0.5, momentum 0.5, decay 0.25: all numbers are exact in binary."""
    parameter, velocity = np.array([4.0, -2.0]), np.array([1.0, 0.0])
    options: Any = {"learning_rate": 0.5, "momentum": 0.5, "weight_decay": 0.25}
    reference.sgd_update(parameter, np.array([2.0, 1.0]), velocity, **options)
    assert velocity.tolist() == [3.5, 0.5]
    assert parameter.tolist() == [2.25, -2.25]


def test_sgd_is_the_papers_update_at_a_constant_rate() -> None:
    """Krizhevsky et al. 2012: v = 0.9 v - 0.0005 rate w - rate g, w = w + v."""
    rate, weight, paper_velocity = 0.01, randn(1, 6), np.zeros(6)
    parameter, velocity = weight.copy(), np.zeros(6)
    for step in range(5):
        gradient = randn(step, 6)
        paper_velocity = 0.9 * paper_velocity - 0.0005 * rate * weight - rate * gradient
        weight = weight + paper_velocity
        reference.sgd_update(parameter, gradient, velocity, learning_rate=rate, weight_decay=0.0005)
    np.testing.assert_allclose(parameter, weight, rtol=1e-12)
    np.testing.assert_allclose(-rate * velocity, paper_velocity, rtol=1e-10)


def test_adam_in_exact_fractions() -> None:
    """Two steps of the paper's algorithm on one number, in rational arithmetic."""
    beta1, beta2, rate, decay = Fraction(1, 2), Fraction(3, 4), Fraction(1, 8), Fraction(1, 4)
    weight, first, second = Fraction(2), Fraction(0), Fraction(0)
    parameter, moments = np.array([2.0]), (np.zeros(1), np.zeros(1))
    for step, gradient in ((1, Fraction(-1)), (2, Fraction(3))):
        slope = gradient + decay * weight
        first = beta1 * first + (1 - beta1) * slope
        second = beta2 * second + (1 - beta2) * slope**2
        root = Fraction(math.sqrt(second / (1 - beta2**step)))
        weight -= rate * first / (1 - beta1**step) / (root + Fraction(1, 16))
        reference.adam_update(
            parameter,
            np.array([float(gradient)]),
            *moments,
            step=step,
            learning_rate=0.125,
            beta1=0.5,
            beta2=0.75,
            epsilon=0.0625,
            weight_decay=0.25,
        )
        assert parameter[0] == pytest.approx(float(weight), rel=1e-14)
    assert moments[0][0] == pytest.approx(float(first), rel=1e-14)
    assert moments[1][0] == pytest.approx(float(second), rel=1e-14)


def test_first_step_of_adam_has_the_size_of_the_learning_rate() -> None:
    parameter = np.zeros(4)
    gradient = np.array([1e-3, -5.0, 1e3, 0.0])
    reference.adam_update(parameter, gradient, np.zeros(4), np.zeros(4), step=1)
    np.testing.assert_allclose(parameter, [-1e-3, 1e-3, -1e-3, 0], rtol=1.1e-5)


def test_optimizers_update_float32_in_place() -> None:
    parameter, velocity = np.ones(3, np.float32), np.zeros(3, np.float32)
    reference.sgd_update(parameter, np.ones(3, np.float32), velocity, learning_rate=0.1)
    np.testing.assert_array_equal(parameter, np.float32(0.9))
    np.testing.assert_array_equal(velocity, 1)
