"""Max pooling and its gradient against the reference. Values are copied: exact."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import alexnet
from alexnet import cpu, reference
from support.arrays import TAIL_SIZES, Guarded, random_array, relative_error
from support.implementations import Implementation, check_gradient_through_relu


def small_integers(seed: int, *shape: int) -> npt.NDArray[np.float32]:
    """Many ties; and as gradients, sums that float32 holds exactly in any order."""
    return np.random.default_rng(seed).integers(-3, 4, shape).astype(np.float32)


def check(on: Implementation, x: npt.NDArray[np.float32], **parameters: Any) -> None:
    expected = reference.max_pool2d(x, **parameters)
    dy = small_integers(100, *expected.shape)
    y, dx = on.guarded(expected.shape), on.guarded(x.shape)
    assert on.max_pool2d(x, out=y.array, **parameters) is y.array
    assert on.max_pool2d_backward(dy, x, out=dx.array, **parameters) is dx.array
    np.testing.assert_array_equal(y.get(), expected)
    np.testing.assert_array_equal(dx.get(), reference.max_pool2d_backward(dy, x, **parameters))


@pytest.mark.parametrize("channels", TAIL_SIZES)
def test_channel_counts(on: Implementation, channels: int) -> None:
    check(on, random_array(1, 2, 7, 9, channels))
    check(on, small_integers(2, 3, 5, 5, channels), window=2)


@pytest.mark.parametrize("window", [1, 2, 3, 5, (2, 3), (4, 1)])
@pytest.mark.parametrize("stride", [1, 2, 3, 4, (1, 3), (4, 2)])
@pytest.mark.parametrize("ceil_mode", [False, True])
def test_windows_and_strides(on: Implementation, window: Any, stride: Any, ceil_mode: bool) -> None:
    for height, width in ((5, 7), (11, 6), (13, 13)):
        x = small_integers(3, 2, height, width, 19)
        check(on, x, window=window, stride=stride, ceil_mode=ceil_mode)


@pytest.mark.parametrize("padding", ["same", 1, 2, ((0, 2), (1, 0)), ((2, 1), (0, 2))])
@pytest.mark.parametrize("stride", [1, 2, 3, 4])
@pytest.mark.parametrize("ceil_mode", [False, True])
def test_padding_never_wins(on: Implementation, padding: Any, stride: int, ceil_mode: bool) -> None:
    for height, width in ((1, 2), (2, 5), (9, 8)):
        x = -1 - np.abs(small_integers(4, 2, height, width, 17))
        check(on, x, window=3, stride=stride, padding=padding, ceil_mode=ceil_mode)


@pytest.mark.parametrize("batch", [0, 1, 7])
def test_batches(on: Implementation, batch: int) -> None:
    check(on, random_array(5, batch, 13, 13, 24))


def test_one_window_over_the_whole_image(on: Implementation) -> None:
    check(on, random_array(6, 2, 40, 30, 5), window=(40, 30), stride=1)
    check(on, random_array(7, 2, 40, 30, 5), window=100, stride=2**31 - 1, padding=99)


@pytest.mark.usefixtures("isa")  # on one GPU thread a pixel that is 17 million reads each
def test_window_covers_more_pixels_than_float32_counts_exactly() -> None:
    x = np.zeros((1, 4097, 4097, 1), np.float32)
    x[0, 4096, 4095] = 1
    parameters = {"window": 4097, "stride": 1}
    assert cpu.max_pool2d(x, **parameters).item() == 1
    dx = cpu.max_pool2d_backward(np.ones((1, 1, 1, 1), np.float32), x, **parameters)
    np.testing.assert_array_equal(dx, x)


def test_first_of_equal_values_takes_the_gradient(on: Implementation) -> None:
    x = np.zeros((1, 3, 3, 20), np.float32)
    dx = on.max_pool2d_backward(np.full((1, 1, 1, 20), 5, np.float32), x)
    np.testing.assert_array_equal(dx[0, 0, 0], 5)
    assert np.count_nonzero(dx) == 20


def test_zeros_of_either_sign_are_equal(on: Implementation) -> None:
    x = np.zeros((1, 2, 2, 20), np.float32)
    x[0, 0, 1] = -0.0
    x[0, 0, 0, ::2] = -0.0
    dx = on.max_pool2d_backward(np.ones((1, 1, 1, 20), np.float32), x, window=2)
    np.testing.assert_array_equal(dx[0, 0, 0], 1)
    assert np.count_nonzero(dx) == 20


@pytest.mark.parametrize("window", [2, 3])
def test_nan_and_infinity(on: Implementation, window: int) -> None:
    x = random_array(8, 2, 9, 9, 21)
    generator = np.random.default_rng(9)
    for value in (np.inf, -np.inf, np.nan):
        x[generator.random(x.shape) < 0.2] = value
    check(on, x, window=window)


def test_first_nan_takes_the_gradient(on: Implementation) -> None:
    x = np.full((1, 3, 3, 18), np.inf, np.float32)
    x[0, 1, 2], x[0, 2, 0] = np.nan, -np.nan
    dx = on.max_pool2d_backward(np.ones((1, 1, 1, 18), np.float32), x)
    np.testing.assert_array_equal(dx[0, 1, 2], 1)
    assert np.count_nonzero(dx) == 18
    assert np.isnan(on.max_pool2d(x)).all()


@pytest.mark.parametrize("channels", [1, 8])
def test_ties_and_nan_between_other_values(on: Implementation, channels: int) -> None:
    values = np.array([np.nan, np.inf, -np.inf, -0.0, 0.0, 1e-40, -3.0, 2.5], np.float32)
    generator = np.random.default_rng(5)
    x = generator.choice(np.append(values, [2.5, np.nan]), (2, 9, 8, channels)).astype(np.float32)
    how = {"window": 3, "stride": 2, "padding": 1}
    y = reference.max_pool2d(x, **how)
    dy = small_integers(6, *y.shape)
    np.testing.assert_array_equal(on.max_pool2d(x, **how), y)
    for through_relu in (False, True):
        np.testing.assert_array_equal(
            on.max_pool2d_backward(dy, x, **how, through_relu=through_relu),
            reference.max_pool2d_backward(dy, x, **how, through_relu=through_relu),
        )


def test_windows_of_minus_infinity_only(on: Implementation) -> None:
    check(on, np.full((2, 5, 5, 18), -np.inf, np.float32), padding=1)


def test_nan_and_infinity_in_the_gradient_stay_where_they_belong(on: Implementation) -> None:
    x = random_array(10, 1, 5, 5, 18)
    dy = np.ones((1, 2, 2, 18), np.float32)
    dy[0, 0, 0], dy[0, 1, 1, 3] = np.nan, np.inf
    expected = reference.max_pool2d_backward(dy, x)
    np.testing.assert_array_equal(on.max_pool2d_backward(dy, x), expected)
    assert np.count_nonzero(np.isnan(expected)) == 18


def test_overlapping_windows_add_up_within_rounding(on: Implementation) -> None:
    """At most 9 windows share a pixel: 8 additions of 6e-8 each."""
    x = random_array(11, 2, 12, 12, 33)
    parameters = {"window": 3, "stride": 1}
    dy = random_array(12, 2, 10, 10, 33)
    dx = on.max_pool2d_backward(dy, x, **parameters)
    assert relative_error(dx, reference.max_pool2d_backward(dy, x, **parameters)) <= 5e-7


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("shape", [(1, 113, 59, 64), (5, 31, 17, 96)])
@pytest.mark.parametrize("stride", [1, 2, 5])
def test_same_bits_for_every_number_of_threads(shape: tuple[int, ...], stride: int) -> None:
    x = np.maximum(random_array(13, *shape), 0)
    parameters: dict[str, Any] = {"stride": stride, "padding": 1}
    alexnet.set_num_threads(1)
    y = cpu.max_pool2d(x, **parameters)
    dy = random_array(14, *y.shape)
    dx = cpu.max_pool2d_backward(dy, x, **parameters)
    for threads in (2, 3, 5):
        alexnet.set_num_threads(threads)
        np.testing.assert_array_equal(cpu.max_pool2d(x, **parameters), y)
        np.testing.assert_array_equal(cpu.max_pool2d_backward(dy, x, **parameters), dx)


def test_inputs_of_any_layout(on: Implementation) -> None:
    x = random_array(15, 10, 2, 9, 8).transpose(1, 2, 3, 0)
    np.testing.assert_array_equal(on.max_pool2d(x), reference.max_pool2d(x))


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"window": 0}, ValueError, "window is 0, expected an integer from 1"),
        ({"window": 2.5}, TypeError, "window is 2.5, expected an integer"),
        ({"window": (2, 2, 2)}, ValueError, r"window is \(2, 2, 2\), expected an integer or"),
        ({"window": 6}, ValueError, "window is 6x6, expected at most 5x5, the height and width"),
        ({"stride": 0}, ValueError, "stride is 0, expected an integer from 1"),
        ({"stride": (1, "2")}, TypeError, "stride is '2', expected an integer"),
        ({"padding": "full"}, ValueError, "padding is 'full', expected 'same', 'valid', an int"),
        ({"padding": -1}, ValueError, "padding is -1, expected an integer from 0"),
        ({"padding": 3}, ValueError, "padding is 3, expected less than the window 3x3"),
        ({"padding": ((0, 0), (0, 3))}, ValueError, r"padding is .* less than the window 3x3"),
        ({"ceil_mode": 1}, TypeError, "ceil_mode is 1, expected True or False"),
    ],
)
def test_bad_parameters(parameters: dict[str, Any], error: type[Exception], message: str) -> None:
    x, y, dx = random_array(16, 1, 5, 5, 3), Guarded((1, 2, 2, 3)), Guarded((1, 5, 5, 3))
    with pytest.raises(error, match=rf"^max_pool2d: {message}"):
        cpu.max_pool2d(x, out=y.array, **parameters)
    with pytest.raises(error, match=rf"^max_pool2d_backward: {message}"):
        cpu.max_pool2d_backward(x[:, :2, :2], x, out=dx.array, **parameters)
    assert np.isnan(y.array).all()
    assert np.isnan(dx.array).all()


@pytest.mark.usefixtures("isa")
def test_bad_arrays() -> None:
    x, dy = random_array(17, 1, 5, 5, 3), random_array(18, 1, 2, 2, 3)
    with pytest.raises(TypeError, match=r"^max_pool2d: x has dtype float64, expected float32"):
        cpu.max_pool2d(x.astype(np.float64))
    with pytest.raises(ValueError, match=r"^max_pool2d: x has shape \(5, 5, 3\), expected \(batch"):
        cpu.max_pool2d(x[0])
    with pytest.raises(
        ValueError, match=r"^max_pool2d: x has shape \(1, 5, 0, 3\), expected every"
    ):
        cpu.max_pool2d(x[:, :, :0])
    with pytest.raises(ValueError, match=r"^max_pool2d: out has shape \(1, 5, 5, 3\), expected"):
        cpu.max_pool2d(x, out=np.empty_like(x))
    with pytest.raises(ValueError, match=r"^max_pool2d: out overlaps x, expected separate memory"):
        cpu.max_pool2d(x, window=1, stride=1, out=x)
    operator = "^max_pool2d_backward"
    with pytest.raises(ValueError, match=rf"{operator}: dy has shape \(1, 1, 2, 3\), expected \(1"):
        cpu.max_pool2d_backward(dy[:, :1], x)
    with pytest.raises(TypeError, match=rf"{operator}: dy is of type list, expected a numpy.ndarr"):
        cpu.max_pool2d_backward([1.0], x)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=rf"{operator}: out overlaps x, expected separate memory"):
        cpu.max_pool2d_backward(dy, x, out=x)
    out = np.empty_like(x)
    out.flags.writeable = False
    with pytest.raises(ValueError, match=rf"{operator}: out is read-only, expected a writeable"):
        cpu.max_pool2d_backward(dy, x, out=out)


def test_the_gradient_through_a_relu_before_it(on: Implementation) -> None:
    check_gradient_through_relu(on, "max_pool2d", (2, 7, 9, 21))
