"""LRN and pooling in one pass on a device, and pooling by noted positions: the operators' bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from alexnet import cpu
from alexnet.network.network import Network
from alexnet.network.variants import AlexNet, variant_named
from cuda_emulation import load
from support.arrays import random_array
from support.cuda_device import GuardedOnDevice, cuda, cupy, on_device
from support.small_networks import IMAGE_SIZES

pytestmark = pytest.mark.cuda

NORMALISATION = {"depth_radius": 5, "bias": 1.0, "alpha": 0.3, "beta": 0.75}
POOLING = {"window": 3, "stride": 2, "padding": "valid", "ceil_mode": False}
FUSED = ("lrn_max_pool2d", "lrn_max_pool2d_backward")


def check(x: npt.NDArray[np.float32], *, has_kernel: bool, **settings: Any) -> None:
    normalisation = {name: settings.pop(name, value) for name, value in NORMALISATION.items()}
    pooling = POOLING | settings
    x = on_device(x)
    normalised = cuda.lrn(x, **normalisation)
    expected = cuda.max_pool2d(normalised, **pooling)
    y, positions = GuardedOnDevice(expected.shape), cupy.empty(expected.shape, cupy.uint8)
    with counted_calls() as calls:
        cuda.fused.lrn_max_pool2d(x, **normalisation, **pooling, out=y.array, positions=positions)
        np.testing.assert_array_equal(y.get(), expected.get())
        again = cuda.fused.lrn_max_pool2d(x, **normalisation, **pooling)
        np.testing.assert_array_equal(again.get(), expected.get())
        dy = on_device(random_array(99, *expected.shape))
        for through_relu in (False, True):
            dx = GuardedOnDevice(x.shape)
            cuda.fused.lrn_max_pool2d_backward(
                dy,
                x,
                positions,
                **normalisation,
                **pooling,
                through_relu=through_relu,
                out=dx.array,
            )
            between = cuda.max_pool2d_backward(dy, normalised, **pooling)
            slope = cuda.lrn_backward(between, x, **normalisation, through_relu=through_relu)
            np.testing.assert_array_equal(dx.get(), slope.get())
    assert (calls[:3] == [FUSED[0], FUSED[0], FUSED[1]]) == has_kernel


class counted_calls:  # noqa: N801 - reads as a function
    """The names of the compiled functions that are called in the block."""

    def __enter__(self) -> list[str]:
        self._patch = pytest.MonkeyPatch()
        calls: list[str] = []
        for name in (*FUSED, "lrn", "max_pool2d", "lrn_backward", "max_pool2d_backward"):
            real = getattr(cuda.fused._cuda, name)

            def call(*arguments: Any, name: str = name, real: Any = real) -> Any:
                calls.append(name)
                return real(*arguments)

            self._patch.setattr(cuda.fused._cuda, name, call)
        return calls

    def __exit__(self, *_: object) -> None:
        self._patch.undo()


@pytest.mark.parametrize("channels", [4, 12, 36, 64, 96, 100, 192, 256])
@pytest.mark.parametrize("radius", [2, 4, 5])
def test_channel_counts_and_radii(channels: int, radius: int) -> None:
    check(random_array(radius, 2, 7, 10, channels), depth_radius=radius, has_kernel=True)


@pytest.mark.parametrize(
    "settings",
    [
        {"channels": 260},
        {"channels": 30},
        {"depth_radius": 3},
        {"beta": 0.5},
        {"alpha": -0.01},
        {"window": 5, "stride": 1},
        {"window": (2, 3), "stride": (4, 1)},
    ],
)
def test_what_has_no_kernel_takes_the_operators(settings: dict[str, Any]) -> None:
    channels = settings.get("channels", 8)
    others = {name: value for name, value in settings.items() if name != "channels"}
    check(random_array(1, 2, 9, 8, channels), has_kernel=False, **others)


@pytest.mark.parametrize("window", [2, 3])
@pytest.mark.parametrize("padding", ["valid", "same", 1, ((0, 0), (0, 1))])
@pytest.mark.parametrize("ceil_mode", [False, True])
def test_windows_and_padding(window: int, padding: Any, ceil_mode: bool) -> None:
    settings = {"window": window, "padding": padding, "ceil_mode": ceil_mode}
    for height, width in ((5, 7), (12, 6)):
        check(random_array(1, 2, height, width, 20), has_kernel=True, **settings)


@pytest.mark.parametrize("shape", [(0, 9, 9, 8), (1, 9, 55, 96), (1, 3, 3, 48)])
def test_batches(shape: tuple[int, ...]) -> None:
    check(random_array(2, *shape), has_kernel=True)


def test_rows_that_a_warp_or_a_thread_takes_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As many images as leave two rows of windows, or of steps, to each, and one to the last."""
    monkeypatch.setenv("ALEXNET_EMULATED_MULTIPROCESSORS", "1")
    multiprocessors = 1 if load.loaded else cupy.cuda.Device().attributes["MultiProcessorCount"]
    check(random_array(3, 7 * multiprocessors, 7, 3, 4), has_kernel=True)
    check(random_array(4, multiprocessors, 7, 35, 128), has_kernel=True)
    x = random_array(5, multiprocessors, 7, 35, 128)
    y = cuda.max_pool2d(on_device(x)).get()
    np.testing.assert_array_equal(y, cpu.max_pool2d(x))
    dx = cuda.max_pool2d_backward(on_device(y), on_device(x)).get()
    np.testing.assert_array_equal(dx, cpu.max_pool2d_backward(y, x))


def test_nan_and_infinity() -> None:
    x = random_array(4, 2, 9, 9, 20)
    generator = np.random.default_rng(5)
    for value in (np.inf, -np.inf, np.nan):
        x[generator.random(x.shape) < 0.1] = value
    with np.errstate(all="ignore"):
        check(x, has_kernel=True)


def test_of_equal_values_the_first_is_the_maximum() -> None:
    x = np.ones((1, 3, 3, 20), np.float32)
    x[0, 0, 0] = -1
    positions = cupy.empty((1, 1, 1, 20), cupy.uint8)
    cuda.fused.lrn_max_pool2d(on_device(x), **NORMALISATION, **POOLING, positions=positions)
    np.testing.assert_array_equal(positions.get(), 1)
    x[0, 2, 1] = np.nan
    cuda.fused.lrn_max_pool2d(on_device(x), **NORMALISATION, **POOLING, positions=positions)
    np.testing.assert_array_equal(positions.get(), 7 + 128)  # NaN is not positive


def test_bad_arguments() -> None:
    x = on_device(random_array(7, 1, 5, 5, 4))
    dy = on_device(random_array(8, 1, 2, 2, 4))

    def message(error: type[Exception], **changed: Any) -> str:
        arguments = {"x": x, **NORMALISATION, **POOLING} | changed
        backward = "dy" in arguments
        with pytest.raises(error) as raised:
            getattr(cuda.fused, FUSED[backward])(**arguments)
        return str(raised.value)

    assert message(ValueError, depth_radius=-1).startswith("lrn: depth_radius is -1")
    assert message(ValueError, window=6).startswith("max_pool2d: window is 6x6")
    assert message(ValueError, out=dy[..., :3]).startswith("max_pool2d: out has shape (1, 2, 2, 3)")
    positions = cupy.empty((1, 2, 2, 4), cupy.uint8)
    assert message(TypeError, positions=dy).startswith(
        "max_pool2d: positions has dtype float32, expected uint8"
    )
    assert message(ValueError, positions=positions[:, :1]).startswith(
        "max_pool2d: positions has shape (1, 1, 2, 4)"
    )
    wide = {"x": on_device(random_array(7, 1, 12, 12, 4)), "window": 12}
    assert message(ValueError, **wide, positions=positions[:, :1, :1]).startswith(
        "max_pool2d: window is 12x12, expected at most 128 pixels"
    )
    assert message(ValueError, dy=dy, positions=positions[:, :1]).startswith(
        "max_pool2d_backward: positions has shape (1, 1, 2, 4), expected (1, 2, 2, 4)"
    )
    half = x.astype(np.float16)
    assert message(TypeError, dy=dy, x=half, positions=positions).startswith(
        "max_pool2d_backward: dy has dtype float32, expected float16"
    )
    # Positions that no forward gave reach no pixel, or another one: never memory of others.
    dx = GuardedOnDevice((1, 5, 5, 4))
    positions[...] = 77
    cuda.fused.lrn_max_pool2d_backward(dy, x, positions, **NORMALISATION, **POOLING, out=dx.array)
    np.testing.assert_array_equal(dx.get(), 0)


# --- in networks ----------------------------------------------------------------------------------


def step(network: Network, x: Any, dy: Any, **how: Any) -> dict[str, npt.NDArray[np.float32]]:
    network.forward(x, True, **how)
    return {name: array.get() for name, array in network.backward(dy).items()}


@pytest.mark.parametrize(("name", "width"), [("tf-tutorial", 1 / 16), ("torchvision", 1 / 32)])
def test_a_network_takes_them_to_the_same_bits(name: str, width: float) -> None:
    variant = variant_named(name).shrunk(image_size=IMAGE_SIZES[name], width=width)
    network = AlexNet(variant, seed=1, device="cuda")
    x = random_array(8, 3, *network.input_shape)
    dy = on_device(random_array(9, 3, *network.output_shape))
    state = network._generator.state
    expected = step(network, x, dy, observer=lambda *_: None)  # an observer sees every layer
    network._generator.state = state
    with counted_calls() as calls:
        gradients = step(network, x, dy)
    fused = variant.layers[1].operator == "lrn"
    assert ("lrn_max_pool2d" in calls) == fused
    assert not {"lrn", "lrn_backward"} & set(calls)
    # Pooling by itself notes positions: its gradient does not search for them again.
    assert calls.count("max_pool2d") == calls.count("max_pool2d_backward") > 0
    for key, array in gradients.items():
        np.testing.assert_array_equal(array, expected[key], err_msg=key)
