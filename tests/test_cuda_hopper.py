"""The kernels for Hopper, where the device is one or the emulation stands for one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import support.dense_layers as dense_layers
from alexnet import reference
from cuda_emulation import load
from support.arrays import relative_error
from support.convolutions import Array, Case, Data, expected_of, run_guarded
from support.cuda_device import LEAST_TF32_ERROR, cuda, largest_error, on_device
from support.implementations import Cuda

pytestmark = pytest.mark.cuda

# Multiprocessors of the emulated device: as many blocks share the tiles of a product.
FEW = "3"

DENSE = [(1, 16, 128), (33, 36, 132), (65, 12, 8), (5, 516, 12), (130, 40, 260), (4, 1100, 4)]

CASES = [
    Case((1, 6, 5, 32), (3, 3), 12),
    Case((3, 9, 8, 20), (3, 3), 40),  # channels filled up to 32
    Case((2, 9, 8, 32), (3, 3), 40, stride=2),
    Case((2, 7, 9, 68), (5, 4), 36, padding=((2, 1), (0, 3))),
    Case((1, 5, 4, 96), (2, 2), 64, groups=2, stride=(1, 2)),
    Case((2, 6, 5, 120), (3, 3), 160, groups=2),
    Case((2, 4, 4, 64), (1, 1), 260, padding="valid"),
    Case((1, 2, 3, 32), (5, 5), 32),  # a window larger than the image
    Case((1, 12, 12, 32), (3, 3), 32, stride=(3, 4), padding="valid"),
    Case((2, 29, 29, 20), (3, 3), 40),  # of 128 KiB, from which on a device takes these kernels
]


@pytest.fixture(autouse=True)
def _hopper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALEXNET_EMULATED_CAPABILITY", "9.0")
    monkeypatch.setenv("ALEXNET_EMULATED_MULTIPROCESSORS", FEW)


def is_served(workspace: Callable[[Any], int], shape: Any, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether it is Hopper's kernels that serve a shape: then they want a workspace for B."""
    here = workspace(shape)
    with monkeypatch.context() as other:
        other.setenv("ALEXNET_EMULATED_CAPABILITY", "8.0")
        return here > workspace(shape)


needs_emulation = pytest.mark.skipif(not load.loaded, reason="the device is what it is")


def check_convolution(case: Case, data: Data) -> dict[str, Array]:
    found, bounds = run_guarded(Cuda(), case, data, 0, precision="tf32"), case.depths
    for name, values in expected_of(case, data).items():
        asked = "float32" if name == "dbias" else "tf32"
        assert relative_error(found[name], values) <= largest_error(bounds[name], asked), name
    return found


@pytest.mark.parametrize("size", DENSE, ids=str)
def test_dense(size: dense_layers.Size) -> None:
    data = dense_layers.draw(size)
    found, bounds = dense_layers.run_guarded(Cuda(), data, 0, precision="tf32"), data.depths
    for name, values in data.expected.items():
        asked = "float32" if name == "dbias" else "tf32"
        assert relative_error(found[name], values) <= largest_error(bounds[name], asked), name
        if name in ("y", "dx", "dweight") and min(size) > 4:
            assert relative_error(found[name], values) >= LEAST_TF32_ERROR, name


@pytest.mark.parametrize("case", CASES, ids=str)
def test_convolution(case: Case) -> None:
    check_convolution(case, case.data)


def rounded(array: Array) -> Array:
    """As tf32, ties away from zero."""
    return ((array.view(np.uint32) + 0x1000) & 0xFFFFE000).view(np.float32)


@pytest.mark.parametrize("case", CASES[:5], ids=str)
def test_both_operands_are_rounded(case: Case) -> None:
    data = dataclasses.replace(
        case.data, **{name: rounded(getattr(case.data, name)) for name in ("x", "weight", "dy")}
    )
    found, bounds = run_guarded(Cuda(), case, case.data, 0, precision="tf32"), case.depths
    for name, values in expected_of(case, data).items():
        if name == "dbias":
            continue
        # Tensor cores may cut off, instead of round, where they add eight products to a sum.
        bound = largest_error(bounds[name], "float32") + bounds[name] / 8 * 2.0**-23
        assert relative_error(found[name], values) <= bound, name


@pytest.mark.parametrize("case", [CASES[1], CASES[4]], ids=str)
def test_small_integers_have_exact_products(case: Case) -> None:
    fields = [field.name for field in dataclasses.fields(Data)]
    data = Data(**{name: np.rint(2 * getattr(case.data, name)) for name in fields})
    found = run_guarded(Cuda(), case, data, 0, precision="tf32")
    for name, values in expected_of(case, data).items():
        np.testing.assert_array_equal(found[name], values)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("case", [CASES[1], CASES[5]], ids=str)
def test_nan_and_infinity_stay_where_they_are_seen(case: Case, value: float) -> None:
    usual = run_guarded(Cuda(), case, case.data, 0, precision="tf32")
    x, one = case.data.x.copy(), np.zeros(case.x, np.float32)
    place = (case.x[0] - 1, 2, 1, case.x[3] - 1)
    x[place], one[place] = value, 1
    data = dataclasses.replace(case.data, x=x)
    found = run_guarded(Cuda(), case, data, 0, precision="tf32")
    met = {
        "y": reference.conv2d(one, case.data.weight, **case.options),
        "dweight": reference.conv2d_backward_weight(case.data.dy, one, case.kernel, **case.options)[
            0
        ],
    }
    for name, seen in met.items():
        expected = usual[name].copy()
        expected[seen != 0] = value * np.sign(seen[seen != 0])
        np.testing.assert_array_equal(found[name], expected)


TILES = ["128x32", "128x64", "192x64", "128x128", "128x192", "192x192", "128x256"]


@needs_emulation
@pytest.mark.parametrize("clusters", ["", "x2"], ids=["blocks", "clusters"])
@pytest.mark.parametrize("tile", TILES)
def test_each_tile(tile: str, clusters: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large products alone would take most of them."""
    monkeypatch.setenv("ALEXNET_EMULATED_TILE", tile + clusters)
    case = Case((3, 9, 8, 40), (2, 2), 260)
    check_convolution(case, case.data)
    data = dense_layers.draw((36, 200, 268))
    found, bounds = dense_layers.run_guarded(Cuda(), data, 0, precision="tf32"), data.depths
    for name in ("y", "rectified", "without bias", "dx", "dweight"):
        error = relative_error(found[name], data.expected[name])
        assert error <= largest_error(bounds[name], "tf32"), name


# --- what the emulation alone can show ------------------------------------------------------------


@needs_emulation
@pytest.mark.parametrize("case", CASES, ids=str)
def test_these_convolutions_are_hoppers(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    from alexnet import _cuda

    assert is_served(_cuda.conv2d_workspace, case.shape, monkeypatch)
    assert is_served(_cuda.conv2d_backward_weight_workspace, case.shape, monkeypatch)
    strides = case.stride if isinstance(case.stride, tuple) else (case.stride,) * 2
    there = is_served(_cuda.conv2d_backward_input_workspace, case.shape, monkeypatch)
    assert there == (strides == (1, 1) and case.features // case.groups >= 16)


@needs_emulation
@pytest.mark.parametrize(
    "case",
    [
        Case((1, 6, 5, 30), (3, 3), 12),  # no runs of 16 bytes
        Case((1, 6, 5, 8), (3, 3), 12),  # a quarter of a step
        Case((1, 30, 5, 32), (3, 3), 12, stride=(9, 1)),
        Case((1, 6, 5, 160), (3, 3), 160, groups=5),
    ],
    ids=str,
)
def test_others_are_left_alone(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    from alexnet import _cuda

    assert not is_served(_cuda.conv2d_workspace, case.shape, monkeypatch)
    check_convolution(case, case.data)


@needs_emulation
@pytest.mark.parametrize("capability", ["8.6", "9.1", "10.0", "12.0"])
def test_other_devices_have_no_such_kernels(
    capability: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from alexnet import _cuda

    monkeypatch.setenv("ALEXNET_EMULATED_CAPABILITY", capability)
    assert not is_served(_cuda.conv2d_workspace, CASES[0].shape, monkeypatch)


@needs_emulation
def test_bits_do_not_depend_on_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    case, results = CASES[1], []
    for multiprocessors in ("1", "4", "132"):
        monkeypatch.setenv("ALEXNET_EMULATED_MULTIPROCESSORS", multiprocessors)
        results.append(run_guarded(Cuda(), case, case.data, 0, precision="tf32"))
    for other in results[1:]:
        for name, values in results[0].items():
            assert values.tobytes() == other[name].tobytes()


@needs_emulation
@pytest.mark.parametrize("multiprocessors", ["1", "3", "132"])
@pytest.mark.parametrize("case", [CASES[1], CASES[4]], ids=str)
def test_bits_of_clusters(
    case: Case, multiprocessors: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A block more than there are tiles among them, and more blocks than multiprocessors."""
    monkeypatch.setenv("ALEXNET_EMULATED_MULTIPROCESSORS", multiprocessors)
    results = []
    for tile in ("128x64", "128x64x2"):
        monkeypatch.setenv("ALEXNET_EMULATED_TILE", tile)
        results.append(run_guarded(Cuda(), case, case.data, 0, precision="tf32"))
    for name, values in results[0].items():
        assert values.tobytes() == results[1][name].tobytes(), name


def test_an_array_that_is_not_aligned() -> None:
    case = CASES[0]
    x, weight = on_device(case.data.x, offset=1), on_device(case.data.weight)
    y = cuda.conv2d(x, weight, precision="tf32").get()
    exact = reference.conv2d(case.data.x, case.data.weight)
    assert relative_error(y, exact) <= largest_error(case.depths["y"], "tf32")
