"""LRN and pooling in one pass, and in networks: the bits of one operator after the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import alexnet
from alexnet import _cpu, cpu
from alexnet.cpu.fused import lrn_max_pool2d, lrn_max_pool2d_backward
from alexnet.network.variants import AlexNet
from support.arrays import TAIL_SIZES, Guarded, random_array
from support.small_networks import small_variant

NORMALISATION = {"depth_radius": 5, "bias": 1.0, "alpha": 0.3, "beta": 0.75}
POOLING = {"window": 3, "stride": 2, "padding": "valid", "ceil_mode": False}


def check(x: npt.NDArray[np.float32], **settings: Any) -> None:
    normalisation = {name: settings.pop(name, value) for name, value in NORMALISATION.items()}
    pooling = POOLING | settings
    normalised = cpu.lrn(x, **normalisation)
    expected = cpu.max_pool2d(normalised, **pooling)
    y, positions = Guarded(expected.shape), Guarded(expected.shape)
    assert lrn_max_pool2d(x, **normalisation, **pooling, out=y.array) is y.array
    y.check()
    np.testing.assert_array_equal(y.array, expected)

    again = lrn_max_pool2d(x, **normalisation, **pooling, positions=positions.array)
    positions.check()
    np.testing.assert_array_equal(again, expected)
    dy = random_array(99, *expected.shape)
    for through_relu in (False, True):
        between = cpu.max_pool2d_backward(dy, normalised, **pooling)
        slope = cpu.lrn_backward(between, x, **normalisation, through_relu=through_relu)
        dx = Guarded(x.shape)
        result = lrn_max_pool2d_backward(
            dy,
            x,
            positions.array,
            **normalisation,
            **pooling,
            through_relu=through_relu,
            out=dx.array,
        )
        assert result is dx.array
        dx.check()
        np.testing.assert_array_equal(dx.array, slope)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("channels", TAIL_SIZES)
@pytest.mark.parametrize("beta", [0.75, 0.5, 0.3])
def test_channel_counts_and_radii(channels: int, beta: float) -> None:
    for radius in (0, 2, 4, 5, 150):
        check(random_array(radius, 2, 7, 9, channels), depth_radius=radius, beta=beta)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("window", [1, 2, 3, (2, 5)])
@pytest.mark.parametrize("stride", [1, 2, 3, (4, 1)])
@pytest.mark.parametrize("padding", ["valid", "same", ((0, 0), (0, 1))])
@pytest.mark.parametrize("ceil_mode", [False, True])
def test_windows_strides_and_padding(
    window: Any, stride: Any, padding: Any, ceil_mode: bool
) -> None:
    if padding == ((0, 0), (0, 1)) and window == 1:
        padding = 0
    settings = {"window": window, "stride": stride, "padding": padding, "ceil_mode": ceil_mode}
    for height, width in ((5, 7), (11, 6)):
        check(random_array(1, 2, height, width, 19), **settings)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("shape", [(0, 9, 9, 8), (1, 55, 55, 96), (3, 40, 400, 20), (1, 3, 3, 48)])
@pytest.mark.parametrize("stride", [1, 2, 4])
def test_batches_and_bands(shape: tuple[int, ...], stride: int) -> None:
    check(random_array(2, *shape), stride=stride)
    check(random_array(3, *shape), stride=stride, padding=1)


@pytest.mark.usefixtures("isa")
def test_nan_and_infinity() -> None:
    x = random_array(4, 2, 9, 9, 21)
    generator = np.random.default_rng(5)
    for value in (np.inf, -np.inf, np.nan):
        x[generator.random(x.shape) < 0.1] = value
    with np.errstate(all="ignore"):
        check(x)


@pytest.mark.usefixtures("isa")
def test_same_bits_for_every_number_of_threads() -> None:
    x = random_array(6, 3, 60, 60, 50)

    def results() -> list[npt.NDArray[np.float32]]:
        positions = np.empty((3, 29, 29, 50), np.float32)
        y = lrn_max_pool2d(x, **NORMALISATION, **POOLING, positions=positions)
        return [y, lrn_max_pool2d_backward(y, x, positions, **NORMALISATION, **POOLING)]

    alexnet.set_num_threads(1)
    expected = results()
    for threads in (2, 3, 8):
        alexnet.set_num_threads(threads)
        for array, same in zip(results(), expected, strict=True):
            np.testing.assert_array_equal(array, same)


@pytest.mark.usefixtures("isa")
def test_of_equal_values_the_first_is_the_maximum() -> None:
    x = np.ones((1, 3, 3, 20), np.float32)
    x[0, 0, 0] = -1
    positions = np.empty((1, 1, 1, 20), np.float32)
    lrn_max_pool2d(x, **NORMALISATION, **POOLING, positions=positions)
    np.testing.assert_array_equal(positions, 1)
    x[0, 2, 1] = np.nan
    lrn_max_pool2d(x, **NORMALISATION, **POOLING, positions=positions)
    np.testing.assert_array_equal(positions, 7)


def test_bad_arguments() -> None:
    x = random_array(7, 1, 5, 5, 4)

    def message(error: type[Exception], **changed: Any) -> str:
        arguments = {"x": x, **NORMALISATION, **POOLING} | changed
        with pytest.raises(error) as raised:
            lrn_max_pool2d(**arguments)
        return str(raised.value)

    assert message(TypeError, x=x.astype(np.float64)).startswith("lrn: x has dtype float64")
    assert message(ValueError, depth_radius=-1).startswith("lrn: depth_radius is -1")
    assert message(ValueError, window=6).startswith("max_pool2d: window is 6x6")
    out = np.zeros((1, 2, 2, 5), np.float32)
    assert message(ValueError, out=out).startswith("max_pool2d: out has shape (1, 2, 2, 5)")
    out = x.reshape(-1)[:16].reshape(1, 2, 2, 4)
    assert message(ValueError, out=out) == "max_pool2d: out overlaps x, expected separate memory"
    positions = np.zeros((1, 2, 2, 4), np.float32)
    assert message(ValueError, positions=positions[..., :3]).startswith(
        "max_pool2d: positions has shape (1, 2, 2, 3)"
    )
    overlapping = message(ValueError, positions=positions, out=positions)
    assert overlapping == "max_pool2d: positions overlaps out, expected separate memory"


def test_bad_arguments_of_the_gradient() -> None:
    x, dy = random_array(7, 1, 5, 5, 4), random_array(8, 1, 2, 2, 4)

    def message(error: type[Exception], **changed: Any) -> str:
        arguments = {"dy": dy, "x": x, "positions": np.zeros_like(dy), **NORMALISATION, **POOLING}
        with pytest.raises(error) as raised:
            lrn_max_pool2d_backward(**arguments | changed)
        return str(raised.value)

    assert message(TypeError, dy=[1.0]).startswith("max_pool2d_backward: dy is of type list")
    assert message(ValueError, dy=dy[..., :3]).startswith("max_pool2d_backward: dy has shape")
    assert message(ValueError, positions=dy[:, :1]).startswith(
        "max_pool2d_backward: positions has shape (1, 1, 2, 4), expected (1, 2, 2, 4)"
    )
    assert message(ValueError, depth_radius=-1).startswith("lrn_backward: depth_radius is -1")
    assert message(TypeError, through_relu=1).startswith("max_pool2d_backward: through_relu is 1")
    assert message(ValueError, out=x) == "lrn_backward: out overlaps x, expected separate memory"
    # Positions that no forward gave reach no pixel, or another one: never memory of others.
    dx = Guarded(x.shape)
    lrn_max_pool2d_backward(dy, x, np.full_like(dy, 1e9), **NORMALISATION, **POOLING, out=dx.array)
    dx.check()
    np.testing.assert_array_equal(dx.array, 0)


# --- in networks ----------------------------------------------------------------------------------


def test_inference_leaves_out_what_lies_between(monkeypatch: pytest.MonkeyPatch) -> None:
    network = AlexNet(small_variant("tf-tutorial"), seed=1)
    x = random_array(8, 3, *network.input_shape)
    expected = network.forward(x, observer=lambda *_: None).copy()  # an observer sees every layer
    activations = {name: array.copy() for name, array in network.activations.items()}

    def fail(*_: object) -> None:
        raise AssertionError("LRN by itself")

    for _ in range(3):
        with monkeypatch.context() as patched:
            patched.setattr(_cpu, "lrn", fail)
            y = network.forward(x)
        np.testing.assert_array_equal(y, expected)
    for name, array in network.activations.items():
        np.testing.assert_array_equal(array, activations.pop(name), err_msg=name)
    assert activations == {}


def test_training_leaves_it_out_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    network = AlexNet(small_variant("tf-tutorial"), seed=1)
    x, dy = random_array(8, 3, *network.input_shape), random_array(9, 3, *network.output_shape)

    def observer(*_: object) -> None:
        pass

    network.forward(x, True, observer=observer)
    expected = {name: array.copy() for name, array in network.backward(dy).items()}

    def fail(*_: object) -> None:
        raise AssertionError("LRN or pooling by itself")

    for _ in range(3):
        with monkeypatch.context() as patched:
            patched.setattr(_cpu, "lrn", fail)
            patched.setattr(_cpu, "lrn_backward", fail)
            network.forward(x, True)
            gradients = network.backward(dy)
        for name, array in gradients.items():
            np.testing.assert_array_equal(array, expected[name], err_msg=name)
