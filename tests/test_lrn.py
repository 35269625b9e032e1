"""LRN and its gradient against the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import alexnet
from alexnet import cpu, reference
from support.arrays import TAIL_SIZES, Guarded, random_array, relative_error
from support.implementations import Cuda, Implementation, check_gradient_through_relu

# With u = 2^-24 and terms of one sign, s is off by at most (radius + 4) u: each square is rounded
# once and passes through at most radius + 1 additions; alpha, or bias, is rounded when it is given
# its unit, and so is their sum. y is then off by beta (radius + 4) u, and by 6 u for the power and
# the product. That is 15 u = 9e-7 at radius 7 and beta 0.75 if every rounding fell the same way.
# The gradient's terms have mixed signs, but its norm is that of the direct term wherever s is
# moderate, so that the same few u remain.
BOUND = 1e-6

NETWORK = {"depth_radius": 4, "bias": 1.0, "alpha": 0.001 / 9, "beta": 0.75}


def check(
    on: Implementation, x: npt.NDArray[np.float32], dy: npt.NDArray[np.float32], **parameters: Any
) -> None:
    y, dx = on.guarded(x.shape), on.guarded(x.shape)
    assert on.lrn(x, out=y.array, **parameters) is y.array
    assert on.lrn_backward(dy, x, out=dx.array, **parameters) is dx.array
    assert relative_error(y.get(), reference.lrn(x, **parameters)) <= BOUND
    assert relative_error(dx.get(), reference.lrn_backward(dy, x, **parameters)) <= BOUND


@pytest.mark.parametrize("channels", TAIL_SIZES)
@pytest.mark.parametrize("beta", [0.5, 0.75, 1.0, 0.3])
def test_channel_counts_radii_and_powers(on: Implementation, channels: int, beta: float) -> None:
    for radius in range(8):
        x, dy = random_array(1, 7, channels), random_array(2, 7, channels)
        check(on, x, dy, depth_radius=radius, bias=2.0, alpha=0.3, beta=beta)


@pytest.mark.parametrize("channels", [1, 5, 64, 100])
@pytest.mark.parametrize("radius", [20, 99, 100, 2**31 - 1])
def test_windows_as_wide_as_all_channels(on: Implementation, channels: int, radius: int) -> None:
    x, dy = random_array(3, 5, channels), random_array(4, 5, channels)
    check(on, x, dy, depth_radius=radius, bias=1.0, alpha=0.01, beta=0.75)


@pytest.mark.cuda
def test_the_most_channels_that_a_block_of_cuda_holds() -> None:
    on = Cuda()
    check(on, random_array(1, 3, 4096), random_array(2, 3, 4096), **{**NETWORK, "depth_radius": 3})
    with pytest.raises(ValueError, match=r"^lrn: x has 4097 channels, but the CUDA kernel takes"):
        on.lrn(np.zeros((1, 4097), np.float32))


@pytest.mark.parametrize("shape", [(0, 5), (3, 1), (0, 3, 3, 64), (1, 7), (13, 11, 3, 48)])
def test_batches(on: Implementation, shape: tuple[int, ...]) -> None:
    check(on, random_array(5, *shape), random_array(6, *shape), **NETWORK)


def test_several_chunks_of_a_network_layer(on: Implementation) -> None:
    x, dy = np.maximum(random_array(7, 3, 27, 27, 96), 0), random_array(8, 3, 27, 27, 96)
    check(on, x, dy, **{**NETWORK, "depth_radius": 5})


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("channels", [96, 100])
@pytest.mark.parametrize("radius", [3, 4, 5])
def test_outputs_larger_than_the_caches(channels: int, radius: int) -> None:
    x, parameters = random_array(9, 16_000, channels), {**NETWORK, "depth_radius": radius}
    expected, few = reference.lrn(x, **parameters), cpu.lrn(x[:40], **parameters)
    for _ in range(3):  # with a cache line and within one
        y = Guarded(x.shape)
        cpu.lrn(x, out=y.array, **parameters)
        y.check()
        assert relative_error(y.array, expected) <= BOUND
        np.testing.assert_array_equal(y.array[:40], few)


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1e3, 1e9])
@pytest.mark.parametrize("beta", [0.5, 0.75, 0.625])
def test_small_and_big_values(on: Implementation, scale: float, beta: float) -> None:
    """beta is exact in float32: rounding it would change s^-beta by ln(s) times as much."""
    x, dy = random_array(9, 6, 64, scale=scale), random_array(10, 6, 64)
    parameters = {"depth_radius": 4, "bias": 1.0, "alpha": 1e-4, "beta": beta}
    check(on, x, dy, **parameters)


@pytest.mark.parametrize(("bias", "scale"), [(1e-30, 1e-15), (1e-40, 1e-25), (1e30, 1e15)])
@pytest.mark.parametrize("beta", [0.5, 0.75, 0.25])
def test_extreme_bias(on: Implementation, bias: float, scale: float, beta: float) -> None:
    """1e-40 is denormal in float32; what it is rounded to there is what the reference gets."""
    x = random_array(11, 4, 40, scale=scale)
    parameters = {"depth_radius": 2, "bias": float(np.float32(bias)), "alpha": 1.0, "beta": beta}
    assert relative_error(on.lrn(x, **parameters), reference.lrn(x, **parameters)) <= BOUND


def float32_lrn(x: npt.NDArray[np.float32], beta: float) -> npt.NDArray[np.float32]:
    """The formula in NumPy's float32, radius 1, bias 1, alpha 1."""
    padded = np.pad(x * x, ((0, 0), (1, 1)))
    s = np.float32(1) + (padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:])
    result: npt.NDArray[np.float32] = x * s ** np.float32(-beta)
    return result


@pytest.mark.parametrize("beta", [0.5, 0.75, 1.0])
def test_nan_infinity_and_overflow_as_in_numpy(on: Implementation, beta: float) -> None:
    x = random_array(12, 6, 50)
    x[0, 3], x[1, 17], x[2, 49] = np.nan, np.inf, -np.inf
    x[3, 20], x[4, 31] = 1e30, -3e38  # finite, but their squares are not
    with np.errstate(all="ignore"):
        expected = float32_lrn(x, beta)
    actual = on.lrn(x, depth_radius=1, bias=1.0, alpha=1.0, beta=beta)
    np.testing.assert_array_equal(np.isnan(actual), np.isnan(expected))
    assert np.isnan(actual).sum() == 5
    np.testing.assert_allclose(actual, expected, rtol=1e-6)
    dx = on.lrn_backward(np.ones_like(x), x, depth_radius=1, bias=1.0, alpha=1.0, beta=beta)
    for pixel, channel in ((0, 3), (1, 17), (2, 49)):
        reached = np.isnan(dx[pixel])
        assert reached[channel]
        assert not reached[: max(channel - 2, 0)].any()
        assert not reached[channel + 3 :].any()
    assert np.isfinite(dx[3:]).all()


def test_negative_alpha(on: Implementation) -> None:
    """s may fall to zero or below: its power is infinite or NaN, as NumPy's."""
    x = np.array([[0.5, 1.0, 2.0, 0.0, 0.25]] * 3, np.float32)
    for beta in (0.5, 0.75, 0.3):
        with np.errstate(all="ignore"):
            expected = reference.lrn(x, depth_radius=0, bias=1.0, alpha=-1.0, beta=beta)
        actual = on.lrn(x, depth_radius=0, bias=1.0, alpha=-1.0, beta=beta)
        assert np.isinf(expected[0, 1])
        assert np.isnan(expected[0, 2])
        np.testing.assert_allclose(actual, expected, rtol=1e-6)


@pytest.mark.parametrize("beta", [0.5, 0.75, 1.0, 0.3, 0.0, -0.3, -0.5, -1.0, -1.5])
@pytest.mark.parametrize("alpha", [1.0, 1e-4, 0.0, -0.1])
def test_infinity_for_every_sign_of_alpha_and_beta(
    on: Implementation, alpha: float, beta: float
) -> None:
    x, dy = random_array(21, 7, 50), random_array(22, 7, 50)
    x[1, 17], x[2, 49], x[4, 0], x[4, 4] = np.inf, -np.inf, np.inf, -np.inf
    for radius in (0, 1, 4, 5):
        parameters = {"depth_radius": radius, "bias": 3.0, "alpha": alpha, "beta": beta}
        with np.errstate(all="ignore"):
            expected = reference.lrn(x, **parameters), reference.lrn_backward(dy, x, **parameters)
        actual = on.lrn(x, **parameters), on.lrn_backward(dy, x, **parameters)
        for ours, formula in zip(actual, expected, strict=True):
            np.testing.assert_allclose(ours, formula, rtol=1e-4, atol=1e-5)  # NaN where NaN is


@pytest.mark.usefixtures("isa")
def test_same_bits_for_every_number_of_threads() -> None:
    x, dy = random_array(13, 2, 29, 31, 64), random_array(14, 2, 29, 31, 64)
    alexnet.set_num_threads(1)
    y, dx = cpu.lrn(x, **NETWORK), cpu.lrn_backward(dy, x, **NETWORK)
    for threads in (2, 3, 5):
        alexnet.set_num_threads(threads)
        np.testing.assert_array_equal(cpu.lrn(x, **NETWORK), y)
        np.testing.assert_array_equal(cpu.lrn_backward(dy, x, **NETWORK), dx)


def test_a_pixel_has_the_same_bits_wherever_it_lies(on: Implementation) -> None:
    x, dy = random_array(15, 40, 37), random_array(16, 40, 37)
    y, dx = on.lrn(x, **NETWORK), on.lrn_backward(dy, x, **NETWORK)
    for pixel in range(40):
        alone = slice(pixel, pixel + 1)
        np.testing.assert_array_equal(on.lrn(x[alone], **NETWORK), y[alone])
        np.testing.assert_array_equal(on.lrn_backward(dy[alone], x[alone], **NETWORK), dx[alone])


def test_inputs_of_any_layout(on: Implementation) -> None:
    x = random_array(17, 6, 4, 10)[:, ::2].transpose(1, 2, 0)
    assert relative_error(on.lrn(x, **NETWORK), reference.lrn(x, **NETWORK)) <= BOUND


FINITE = r"expected a finite number"


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"depth_radius": -1}, ValueError, "depth_radius is -1, expected an integer from 0"),
        ({"depth_radius": 2**31}, ValueError, "depth_radius is 2147483648, expected an integer"),
        ({"depth_radius": 2.0}, TypeError, "depth_radius is 2.0, expected an integer"),
        ({"depth_radius": True}, TypeError, "depth_radius is True, expected an integer"),
        ({"bias": 0.0}, ValueError, f"bias is 0.0, {FINITE} > 0"),
        ({"bias": float("nan")}, ValueError, f"bias is nan, {FINITE} > 0"),
        ({"alpha": float("inf")}, ValueError, f"alpha is inf, {FINITE}"),
        ({"alpha": "1"}, TypeError, "alpha is '1', expected a real number"),
        ({"beta": float("nan")}, ValueError, f"beta is nan, {FINITE}"),
        ({"beta": None}, TypeError, "beta is None, expected a real number"),
    ],
)
def test_bad_parameters(parameters: dict[str, Any], error: type[Exception], message: str) -> None:
    x, out = random_array(18, 3, 8), np.zeros((3, 8), np.float32)
    with pytest.raises(error, match=rf"^lrn: {message}"):
        cpu.lrn(x, out=out, **parameters)
    with pytest.raises(error, match=rf"^lrn_backward: {message}"):
        cpu.lrn_backward(x, x, out=out, **parameters)
    assert not out.any()


@pytest.mark.usefixtures("isa")
def test_bad_arrays() -> None:
    x = random_array(19, 3, 8)
    with pytest.raises(TypeError, match=r"^lrn: x has dtype float64, expected float32"):
        cpu.lrn(x.astype(np.float64))
    with pytest.raises(TypeError, match=r"^lrn: x is of type list, expected a numpy.ndarray"):
        cpu.lrn([[1.0]])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^lrn: x has shape \(8,\), expected \(batch, ..., chan"):
        cpu.lrn(x[0])
    with pytest.raises(ValueError, match=r"^lrn: x has shape \(3, 0\), expected every extent but"):
        cpu.lrn(x[:, :0])
    with pytest.raises(ValueError, match=r"^lrn: out has shape \(3, 7\), expected \(3, 8\)"):
        cpu.lrn(x, out=np.zeros((3, 7), np.float32))
    with pytest.raises(ValueError, match=r"^lrn: out overlaps x, expected separate memory"):
        cpu.lrn(x, out=x)
    with pytest.raises(TypeError, match=r"^lrn_backward: dy has dtype int32, expected float32"):
        cpu.lrn_backward(x.astype(np.int32), x)
    with pytest.raises(ValueError, match=r"^lrn_backward: dy has shape \(2, 8\), expected \(3, 8"):
        cpu.lrn_backward(x[:2], x)
    with pytest.raises(ValueError, match=r"^lrn_backward: out overlaps dy, expected separate"):
        cpu.lrn_backward(x, x.copy(), out=x)
    with pytest.raises(ValueError, match=r"^lrn_backward: out has strides"):
        cpu.lrn_backward(x, x, out=np.zeros((3, 16), np.float32)[:, ::2])


def test_the_gradient_through_a_relu_before_it(on: Implementation) -> None:
    check_gradient_through_relu(on, "lrn", (2, 3, 4, 21))
