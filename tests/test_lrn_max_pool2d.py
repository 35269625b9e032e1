"""LRN and pooling in one pass, and in networks: the bits of one operator after the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import alexnet
from alexnet import _cpu, cpu
from alexnet.cpu._lrn_max_pool2d import lrn_max_pool2d
from alexnet.models import AlexNet
from small_networks import small_variant
from support import TAIL_SIZES, Guarded, random_array

NORMALISATION = {"depth_radius": 5, "bias": 1.0, "alpha": 0.3, "beta": 0.75}
POOLING = {"window": 3, "stride": 2, "padding": "valid", "ceil_mode": False}


def check(x: npt.NDArray[np.float32], **settings: Any) -> None:
    normalisation = {name: settings.pop(name, value) for name, value in NORMALISATION.items()}
    pooling = POOLING | settings
    expected = cpu.max_pool2d(cpu.lrn(x, **normalisation), **pooling)
    y = Guarded(expected.shape)
    assert lrn_max_pool2d(x, **normalisation, **pooling, out=y.array) is y.array
    y.check()
    np.testing.assert_array_equal(y.array, expected)


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
    alexnet.set_num_threads(1)
    expected = lrn_max_pool2d(x, **NORMALISATION, **POOLING)
    for threads in (2, 3, 8):
        alexnet.set_num_threads(threads)
        np.testing.assert_array_equal(lrn_max_pool2d(x, **NORMALISATION, **POOLING), expected)


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
