"""Batch normalisation against the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import alexnet
from alexnet import cpu, reference
from support.arrays import TAIL_SIZES, random_array, relative_error
from support.implementations import Implementation

# Everything between loading a float and storing one is in double: one rounding a result.
BOUND = 2.0**-24 + 1e-9

SHAPES = (
    [(11, n) for n in TAIL_SIZES]
    + [(n, 5) for n in TAIL_SIZES]
    + [(1, 3, 3, 7), (7, 11, 13, 3), (2, 5, 17), (3, 1031), (67, 513), (5, 27, 31, 20)]
)

Float = npt.NDArray[np.float32]


def arguments(shape: tuple[int, ...], *, mean: float = 0.0) -> tuple[Float, Float, Float, Float]:
    """x, dy, gamma and beta."""
    x = random_array(1, *shape) + np.float32(mean)
    return x, random_array(2, *shape), random_array(3, shape[-1]), random_array(4, shape[-1])


@pytest.mark.parametrize("activation", [None, "relu"])
@pytest.mark.parametrize("shape", SHAPES)
def test_training(on: Implementation, shape: tuple[int, ...], activation: str | None) -> None:
    x, _, gamma, beta = arguments(shape)
    y = on.guarded(shape)
    actual = on.batch_norm(x, gamma, beta, activation=activation, out=y.array)
    expected = reference.batch_norm(x, gamma, beta, activation=activation)
    assert actual[0] is y.array
    for result, right in zip((y.get(), *map(on.host, actual[1:])), expected, strict=True):
        assert result.dtype == np.float32
        assert relative_error(result, right) <= BOUND


@pytest.mark.parametrize("activation", [None, "relu"])
@pytest.mark.parametrize("shape", SHAPES)
def test_inference(on: Implementation, shape: tuple[int, ...], activation: str | None) -> None:
    x, _, gamma, beta = arguments(shape)
    mean, variance = random_array(5, shape[-1]), random_array(6, shape[-1]) ** 2
    options: dict[str, Any] = {"mean": mean, "variance": variance, "epsilon": 0.01}
    y = on.guarded(shape)
    actual = on.batch_norm(x, gamma, beta, **options, activation=activation, out=y.array)
    expected = reference.batch_norm(x, gamma, beta, **options, activation=activation)
    assert relative_error(y.get(), expected[0]) <= BOUND
    np.testing.assert_array_equal(on.host(actual[1]), mean)
    np.testing.assert_array_equal(on.host(actual[2]), variance)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_gradients(on: Implementation, shape: tuple[int, ...], training: bool) -> None:
    x, dy, gamma, beta = arguments(shape)
    _, mean, variance = on.batch_norm(x, gamma, beta)
    guarded = on.guarded(shape), on.guarded(shape[-1:]), on.guarded(shape[-1:])
    out = (guarded[0].array, guarded[1].array, guarded[2].array)
    actual = on.batch_norm_backward(dy, x, gamma, mean, variance, training=training, out=out)
    expected = reference.batch_norm_backward(dy, x, gamma, mean, variance, training=training)
    for result, array, place, right in zip(actual, out, guarded, expected, strict=True):
        assert result is array
        values = place.get()
        if shape[0] == 1 and len(shape) == 2 and training:
            np.testing.assert_allclose(values, right, atol=1e-6)  # dx and dgamma are noise about 0
        else:
            assert relative_error(values, right) <= BOUND


@pytest.mark.parametrize("mean", [100.0, -1e4, 1e7])
def test_a_mean_that_is_large_against_the_deviation(on: Implementation, mean: float) -> None:
    x, dy, gamma, beta = arguments((13, 7, 11, 19), mean=mean)
    actual = on.batch_norm(x, gamma, beta)
    for result, right in zip(actual, reference.batch_norm(x, gamma, beta), strict=True):
        assert relative_error(result, right) <= 2 * BOUND
    statistics = x, gamma, actual[1], actual[2]
    results = on.batch_norm_backward(dy + np.float32(1000), *statistics)
    expected = reference.batch_norm_backward(dy + np.float32(1000), *statistics)
    for result, right in zip(results, expected, strict=True):
        assert relative_error(result, right) <= 2 * BOUND


def test_a_first_pixel_far_from_the_others(on: Implementation) -> None:
    """It is the origin of the sums: the variance must not suffer from a bad one."""
    x, _, gamma, beta = arguments((1000, 6))
    x[0] = 1e5
    for result, right in zip(
        on.batch_norm(x, gamma, beta), reference.batch_norm(x, gamma, beta), strict=True
    ):
        assert relative_error(result, right) <= BOUND


def test_equal_pixels_have_no_variance(on: Implementation) -> None:
    x = np.full((1000, 5), 0.1, np.float32)
    y, mean, variance = on.batch_norm(x, np.ones(5, np.float32), np.zeros(5, np.float32))
    np.testing.assert_array_equal(mean, x[0])
    np.testing.assert_array_equal(variance, 0)
    np.testing.assert_array_equal(y, 0)


def test_empty_batch(on: Implementation) -> None:
    x = np.zeros((0, 3, 3, 4), np.float32)
    gamma, beta = random_array(1, 4), random_array(2, 4)
    y, mean, variance = on.batch_norm(x, gamma, beta)
    assert y.shape == x.shape
    np.testing.assert_array_equal(mean, 0)
    np.testing.assert_array_equal(variance, 0)
    assert on.batch_norm(x, gamma, beta, mean=gamma, variance=gamma**2)[0].shape == x.shape
    for training in (True, False):
        dx, dgamma, dbeta = on.batch_norm_backward(x, x, gamma, mean, variance, training=training)
        assert dx.shape == x.shape
        np.testing.assert_array_equal(dgamma, 0)
        np.testing.assert_array_equal(dbeta, 0)


@pytest.mark.filterwarnings("ignore:invalid value encountered")
@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("position", [(0, 0), (4, 18), (8, 7)])
def test_nan_and_infinity_as_in_the_reference(
    on: Implementation, special: float, position: tuple[int, int]
) -> None:
    x, dy, gamma, beta = arguments((9, 19))
    _, mean, variance = on.batch_norm(x, gamma, beta)
    bad_x, bad_dy = x.copy(), dy.copy()
    bad_x[position] = bad_dy[position] = special
    given = {"mean": mean, "variance": variance}
    calls: list[tuple[str, tuple[Float, ...], dict[str, Any]]] = [
        ("batch_norm", (bad_x, gamma, beta), {}),
        ("batch_norm", (bad_x, gamma, beta), given),
        ("batch_norm", (bad_x, gamma, beta), {**given, "activation": "relu"}),
        ("batch_norm_backward", (bad_dy, x, gamma, mean, variance), {}),
        ("batch_norm_backward", (dy, bad_x, gamma, mean, variance), {}),
        ("batch_norm_backward", (bad_dy, bad_x, gamma, mean, variance), {"training": False}),
    ]
    for operator, arrays, options in calls:
        actual = getattr(on, operator)(*arrays, **options)
        expected = getattr(reference, operator)(*arrays, **options)
        for result, right in zip(actual, expected, strict=True):
            np.testing.assert_allclose(result, right, rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("shape", [(20, 27, 31, 20), (3, 5000), (100_003, 2), (5, 3)])
def test_same_bits_for_every_number_of_threads(shape: tuple[int, ...]) -> None:
    x, dy, gamma, beta = arguments(shape)
    results = set()
    for threads in (1, 2, 3, 5):
        alexnet.set_num_threads(threads)
        forward = cpu.batch_norm(x, gamma, beta)
        backward = cpu.batch_norm_backward(dy, x, gamma, *forward[1:])
        results.add(b"".join(array.tobytes() for array in (*forward, *backward)))
    assert len(results) == 1


def test_inputs_of_any_layout(on: Implementation) -> None:
    x, dy = random_array(1, 6, 8)[:, ::2].T, random_array(2, 6, 8)[:, 1::2].T
    gamma, beta = random_array(3, 12)[::2], random_array(4, 12)[::2]
    actual = on.batch_norm(x, gamma, beta)
    expected = reference.batch_norm(x, gamma, beta)
    assert relative_error(actual[0], expected[0]) <= BOUND
    dx = on.batch_norm_backward(dy, x, gamma, *actual[1:])[0]
    right = reference.batch_norm_backward(dy, x, gamma, *actual[1:])[0]
    assert relative_error(dx, right) <= 2 * BOUND


@pytest.mark.usefixtures("isa")
def test_bad_forward_arguments_are_refused_before_anything_is_written() -> None:
    x, _, gamma, beta = arguments((4, 6))
    out = np.zeros((4, 6), np.float32)

    def refused(error: type[Exception], message: str, *arrays: Any, **options: Any) -> None:
        with pytest.raises(error, match=f"batch_norm: {message}"):
            cpu.batch_norm(*arrays, **{"out": out, **options})

    refused(TypeError, "x has dtype float64, expected float32", x.astype(np.float64), gamma, beta)
    refused(TypeError, "gamma has dtype int64", x, np.ones(6, np.int64), beta)
    refused(TypeError, "beta is of type list", x, gamma, [0.0] * 6)
    refused(ValueError, r"x has shape \(6,\), expected \(batch, ..., channels\)", x[0], gamma, beta)
    refused(ValueError, r"gamma has shape \(5,\), expected \(6,\)", x, gamma[:5], beta)
    refused(ValueError, r"beta has shape \(5,\), expected \(6,\)", x, gamma, beta[:5])
    refused(ValueError, "variance is None but mean is given", x, gamma, beta, mean=beta)
    refused(ValueError, "mean is None but variance is given", x, gamma, beta, variance=beta)
    given = {"mean": beta, "variance": beta[:5]}
    refused(ValueError, r"variance has shape \(5,\), expected \(6,\)", x, gamma, beta, **given)
    refused(ValueError, "epsilon is 0, expected a finite number > 0", x, gamma, beta, epsilon=0)
    refused(ValueError, "activation is 'tanh', expected None", x, gamma, beta, activation="tanh")
    refused(ValueError, r"out has shape \(6,\)", x, gamma, beta, out=np.zeros(6, np.float32))
    refused(ValueError, "out overlaps x", x, gamma, beta, out=x)
    refused(ValueError, "out has strides", x, gamma, beta, out=np.zeros((6, 4), np.float32).T)
    out.flags.writeable = False
    refused(ValueError, "out is read-only", x, gamma, beta)
    assert not out.any()


@pytest.mark.usefixtures("isa")
def test_bad_backward_arguments_are_refused_before_anything_is_written() -> None:
    x, dy, gamma, _ = arguments((4, 6))
    mean, variance = random_array(5, 6), random_array(6, 6) ** 2
    out = np.zeros((4, 6), np.float32), np.zeros(6, np.float32), np.zeros(6, np.float32)

    def refused(error: type[Exception], message: str, *arrays: Any, **options: Any) -> None:
        with pytest.raises(error, match=f"batch_norm_backward: {message}"):
            cpu.batch_norm_backward(*arrays, **{"out": out, **options})

    given = x, gamma, mean, variance
    refused(TypeError, "dy has dtype float64, expected float32", dy.astype(np.float64), *given)
    refused(ValueError, r"dy has shape \(3, 6\), expected \(4, 6\)", dy[:3], *given)
    refused(ValueError, r"gamma has shape \(5,\)", dy, x, gamma[:5], mean, variance)
    refused(ValueError, r"mean has shape \(5,\)", dy, x, gamma, mean[:5], variance)
    refused(ValueError, r"variance has shape \(5,\)", dy, x, gamma, mean, variance[:5])
    refused(ValueError, "epsilon is -1, expected a finite", dy, *given, epsilon=-1)
    refused(TypeError, "training is 1, expected True or False", dy, *given, training=1)
    refused(TypeError, "out is 2 entries, expected a tuple", dy, *given, out=out[:2])
    refused(ValueError, r"out\[0\] \(dx\) overlaps dy", dy, *given, out=(dy, None, None))
    refused(ValueError, r"out\[1\] \(dgamma\) has shape", dy, *given, out=(None, x, None))
    pair = (None, out[1], out[1])
    refused(ValueError, r"out\[2\] \(dbeta\) overlaps out\[1\]", dy, *given, out=pair)
    out[2].flags.writeable = False
    refused(ValueError, r"out\[2\] \(dbeta\) is read-only", dy, *given)
    assert not any(array.any() for array in out)
