"""Products with tiles and splits that are asked for, as benchmarks/gpu_check measures them."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from alexnet import reference
from alexnet.contract.shapes import conv2d_shape
from cuda_emulation import load
from support.arrays import random_array, relative_error
from support.cuda_device import cuda, largest_error, on_device

pytestmark = pytest.mark.cuda


@pytest.fixture
def kernels() -> Iterator[Any]:
    module: Any = sys.modules["alexnet._cuda"]
    yield module
    module.force_blocking(0, 0, 0)
    module.force_hopper_cut(0, 0, 0, 0)


@pytest.mark.parametrize("splits", [1, 3, 96])
@pytest.mark.parametrize("precision", ["float32", "tf32"])
def test_forced_products_are_right(kernels: Any, precision: str, splits: int) -> None:
    x, weight = random_array(1, 2, 9, 7, 8), random_array(2, 3, 3, 8, 136)
    rows, matrix = random_array(3, 33, 200), random_array(4, 200, 132)
    on = [on_device(array) for array in (x, weight, rows, matrix)]
    chosen = []
    for tile in ((0, 0), (128, 64), (128, 128), (32, 128)):
        kernels.force_blocking(*tile, splits if tile[0] else 0)
        y = cuda.conv2d(on[0], on[1], precision=precision).get()
        z = cuda.dense(on[2], on[3], precision=precision).get()
        assert relative_error(y, reference.conv2d(x, weight)) <= largest_error(72, precision)
        assert relative_error(z, reference.dense(rows, matrix)) <= largest_error(200, precision)
        chosen.append((y.tobytes(), z.tobytes()))
    if splits == 3:  # sums in another order
        assert chosen[0] != chosen[1]


def test_the_choice_is_the_threads_own(kernels: Any) -> None:
    x, weight = on_device(random_array(1, 40, 300)), on_device(random_array(2, 300, 64))
    expected = cuda.dense(x, weight).get()
    thread = threading.Thread(target=lambda: kernels.force_blocking(128, 128, 3))
    thread.start()
    thread.join()
    np.testing.assert_array_equal(cuda.dense(x, weight).get(), expected)


@pytest.mark.skipif(not load.loaded, reason="the device may be Hopper's, with a rule of its own")
@pytest.mark.parametrize(
    ("inputs", "outputs", "splits"),
    [
        (192, 384, 1),  # conv3 of tf-tutorial: 129 tiles of 128 x 128, or 258 of 128 x 64 by FMAs
        (384, 256, 3),  # conv4: 86 tiles, or 172
    ],
)
def test_splits_are_as_few_as_fill_the_device(
    kernels: Any, monkeypatch: pytest.MonkeyPatch, inputs: int, outputs: int, splits: int
) -> None:
    monkeypatch.setenv("ALEXNET_EMULATED_CAPABILITY", "8.0")
    shape = conv2d_shape("conv2d", (32, 13, 13, inputs), (3, 3, inputs, outputs), 1, "same", 1)
    result = 4 * 32 * 13 * 13 * outputs
    assert kernels.conv2d_workspace(shape) == (splits * result if splits > 1 else 0)


def test_hoppers_cuts_are_those_that_are_forced(
    kernels: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALEXNET_EMULATED_CAPABILITY", "9.0")
    monkeypatch.setenv("ALEXNET_EMULATED_MULTIPROCESSORS", "3")
    x, weight = random_array(1, 5, 80), random_array(2, 80, 40)
    on = [on_device(array) for array in (x, weight)]
    expected = reference.dense(x, weight)
    kernels.hopper_choices()

    def product() -> bytes:
        y = cuda.dense(*on, precision="tf32").get()
        assert relative_error(y, expected) <= largest_error(80, "tf32")
        return y.tobytes()

    by_rule = product()
    choices = dict(kernels.hopper_choices())
    if not choices:
        assert not load.loaded  # the device is another
        pytest.skip("the device has no products of Hopper")
    assert kernels.hopper_choices() == []
    assert {cut[3] for cut in choices} == {1, 2, 3}  # splits of 80 depths in steps of 32
    assert {cut[2] for cut in choices} == {1, 2}
    kernels.force_hopper_cut(128, 32, 2, 3)
    assert product() != by_rule  # sums in another order
    kernels.force_hopper_cut(192, 64, 1, 1)
    product()
    kernels.force_hopper_cut(128, 32, 2, 4)  # there are no such splits: as the launcher chooses
    assert product() == by_rule
    assert min(choices.values()) > 0
