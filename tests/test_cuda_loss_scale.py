"""What networks in 16 bits do beside the operators: conversions, updates, dynamic loss scaling."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from cuda_emulation import load
from support.arrays import random_array
from support.cuda_device import GuardedOnDevice, cuda, cupy

pytestmark = pytest.mark.cuda

mixed_precision, optimizer = cuda.mixed_precision, cuda.optimizer
LossScale, convert, dtype_of = (
    mixed_precision.LossScale,
    mixed_precision.convert,
    mixed_precision.dtype_of,
)
SIZES = (1, 3, 4, 7, 8, 9, 1030)
RULES = {
    "sgd": (1, {"learning_rate": 0.1, "momentum": 0.9, "weight_decay": 1e-3}),
    "adam": (
        2,
        {
            "step": 3,
            "learning_rate": 0.1,
            "beta1": 0.9,
            "beta2": 0.99,
            "epsilon": 1e-8,
            "weight_decay": 1e-3,
        },
    ),
}


@pytest.fixture(params=["bfloat16", "float16"])
def dtype(request: pytest.FixtureRequest) -> np.dtype[Any]:
    try:
        return dtype_of(request.param)
    except NotImplementedError as error:
        pytest.skip(str(error))


def rounded(array: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):
        return array.astype(dtype)


def bits(array: np.ndarray) -> np.ndarray:
    """NaN of whatever bits are equal."""
    return np.where(np.isnan(array.astype(np.float32)), 0x7FFF, array.view(np.uint16))


def flag(value: int = 0) -> Any:
    return cupy.asarray(np.array([value], np.uint32))


# --- conversions ----------------------------------------------------------------------------------


def test_every_number_of_16_bits_is_widened_exactly(dtype: np.dtype[Any]) -> None:
    everything = np.arange(2**16, dtype=np.uint16).view(dtype)
    wide = convert(cupy.asarray(everything), cupy.empty((2**16,), cupy.float32))
    np.testing.assert_array_equal(wide.get(), everything.astype(np.float32))


@pytest.mark.parametrize("offset", [0, 1])
def test_numbers_are_rounded_to_nearest(dtype: np.dtype[Any], offset: int) -> None:
    with np.errstate(invalid="ignore"):
        everything = np.arange(2**16, dtype=np.uint16).view(dtype).astype(np.float64)
        between = ((everything[:-1] + everything[1:]) / 2).astype(np.float32)  # ties
    scaled = [random_array(9 + e, 201, scale=10.0**e) for e in range(-9, 6)]
    special = np.array([np.nan, np.inf, -np.inf, 3e38, -65519.9, 65520, 1e-45, -0.0], np.float32)
    x = np.concatenate([between, *scaled, special])
    given = cupy.empty((x.size + offset,), cupy.float32)[offset:]
    given[...] = cupy.asarray(x)
    out = cupy.empty((x.size + offset,), dtype)[offset:]
    np.testing.assert_array_equal(bits(convert(given, out).get()), bits(rounded(x, dtype)))


# --- updates that write a copy --------------------------------------------------------------------


@pytest.mark.parametrize("in_graph", [False, True])
@pytest.mark.parametrize("rule", RULES)
def test_updates_write_the_rounded_parameters(
    dtype: np.dtype[Any], rule: str, in_graph: bool
) -> None:
    """Parameters and slots have the bits of an update without a copy; the copy is the parameter."""
    slots, settings = RULES[rule]
    for size in SIZES:
        for offset in (0, 1):
            given = [np.abs(random_array(seed, size)) for seed in range(2 + slots)]
            results = []
            for copy in (None, GuardedCopy(size, dtype, offset)):
                guarded = [GuardedOnDevice((size,), offset) for _ in given]
                for place, values in zip(guarded, given, strict=True):
                    place.array[...] = cupy.asarray(values)
                arrays = [place.array for place in guarded]
                update(rule, settings, arrays, copy and copy.array, None, in_graph)
                results.append([place.get() for place in guarded])
            for result, right in zip(*results, strict=True):
                np.testing.assert_array_equal(result, right)
            assert copy is not None
            np.testing.assert_array_equal(bits(copy.get()), bits(rounded(results[1][0], dtype)))
            assert (results[1][0] != given[0]).any()


@pytest.mark.parametrize("in_graph", [False, True])
@pytest.mark.parametrize("rule", RULES)
def test_nothing_changes_where_there_was_an_overflow(rule: str, in_graph: bool) -> None:
    slots, settings = RULES[rule]
    given = [np.abs(random_array(seed, 70)) for seed in range(2 + slots)]
    for overflow, changes in ((flag(1), False), (flag(0), True)):
        arrays = [cupy.asarray(values) for values in given]
        copy = cupy.empty((70,), np.float16)
        update(rule, settings, arrays, copy, overflow, in_graph)
        for place, values in zip((0, *range(2, 2 + slots)), given, strict=False):
            same = (arrays[place].get() == given[place]).all()
            assert same != changes, values
        np.testing.assert_array_equal(copy.get(), rounded(arrays[0].get(), np.dtype(np.float16)))


class GuardedCopy:
    """A copy between numbers that have to stay."""

    def __init__(self, size: int, dtype: np.dtype[Any], offset: int) -> None:
        self._memory = cupy.asarray(np.full(size + 32 + offset, 77, dtype))
        self._part = slice(16 + offset, 16 + offset + size)
        self.array = self._memory[self._part]

    def get(self) -> np.ndarray:
        values = self._memory.get()
        others = np.delete(values.astype(np.float32), np.r_[self._part])
        assert (others == 77).all()
        return values[self._part]


def update(
    rule: str, settings: dict[str, float], arrays: list[Any], copy: Any, overflow: Any, graph: bool
) -> None:
    if graph:
        numbers = cupy.asarray(np.array(optimizer.step_numbers(rule, settings), np.float32))
        loss = cupy.zeros((), cupy.float32)
        optimizer.update_by_numbers(rule, numbers, loss, arrays, copy, overflow)
    else:
        optimizer.update(rule, settings, arrays, copy, overflow)


# --- loss scaling ---------------------------------------------------------------------------------


def test_gradients_are_scaled_and_rounded_once() -> None:
    dy = np.concatenate([random_array(seed, 33, scale=10.0**-seed) for seed in range(9)])
    overflow, scale = flag(1), LossScale()
    assert scale.state.tolist() == [65536, 0]
    out = scale.scaled(cupy.asarray(dy), cupy.empty(dy.shape, np.float16), overflow)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(out.get(), (dy * np.float32(65536)).astype(np.float16))
    assert overflow.get().tolist() == [0], "a new backward begins without"
    overflow = flag(1)
    scale.scaled(cupy.empty((0, 10), np.float32), cupy.empty((0, 10), np.float16), overflow)
    assert overflow.get().tolist() == [0], "one of no images, too"


@pytest.mark.parametrize("size", SIZES)
def test_gradients_are_unscaled_exactly(size: int) -> None:
    gradients = random_array(1, size)
    place, overflow, scale = GuardedOnDevice((size,)), flag(), LossScale()
    place.array[...] = cupy.asarray(gradients)
    scale.unscale(place.array, overflow)
    np.testing.assert_array_equal(place.get(), gradients * np.float32(2.0**-16))
    assert overflow.get().tolist() == [0]
    for number in {0, size // 2, size - 1}:
        for value in (np.inf, -np.inf, np.nan):
            ruined = gradients.copy()
            ruined[number] = value
            overflow = flag()
            scale.unscale(cupy.asarray(ruined), overflow)
            assert overflow.get().tolist() == [1]


def test_the_scale_falls_with_an_overflow_and_rises_without() -> None:
    scale, quiet, loud = LossScale(), flag(0), flag(1)
    scale.update(quiet, None)
    assert scale.state.tolist() == [65536, 1]
    scale.update(loud, None)
    assert scale.state.tolist() == [32768, 0]
    scale.restore(np.array([32768, mixed_precision.STEPS_TO_DOUBLE - 2], np.float32))
    scale.update(quiet, None)
    assert scale.state.tolist() == [32768, mixed_precision.STEPS_TO_DOUBLE - 1]
    scale.update(quiet, None)
    assert scale.state.tolist() == [65536, 0]
    for loss, moves in ((np.nan, False), (np.inf, False), (1.0, True)):
        before = scale.state.tolist()
        scale.update(loud, cupy.asarray(np.array(loss, np.float32)))
        assert (scale.state.tolist() != before) == moves


def test_the_scale_stays_within_its_limits() -> None:
    for limit, overflow in ((mixed_precision.LEAST, 1), (mixed_precision.MOST, 0)):
        scale = LossScale()
        scale.restore(np.array([limit, mixed_precision.STEPS_TO_DOUBLE - 1], np.float32))
        scale.update(flag(overflow), None)
        assert scale.state.tolist() == [limit, 0]
        overflow_of_one, out = flag(), cupy.empty((1,), np.float16)
        one = cupy.asarray(np.ones(1, np.float32))
        scale.scaled(one, out, overflow_of_one)
        scale.unscale(one, overflow_of_one)
        assert one.get().tolist() == [1 / limit]


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ([1.0, 0, 0], r"SGD: loss_scale has shape \(3,\), expected \(2,\)"),
        ([3.0, 0], r"SGD: loss_scale has scale 3\.0, expected a power of two"),
        ([np.nan, 0], r"SGD: loss_scale has scale nan, expected a power of two"),
        ([2.0**30, 0], r"SGD: loss_scale has scale 1073741824\.0, expected a power of"),
        ([-4.0, 0], r"SGD: loss_scale has scale -4\.0, expected a power of two"),
        ([4.0, 2000], r"SGD: loss_scale has 2000\.0 steps without overflow, expected an"),
        ([4.0, 0.5], r"SGD: loss_scale has 0\.5 steps without overflow, expected an in"),
    ],
)
def test_states_that_no_scale_has(state: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        LossScale.check("SGD", "loss_scale", np.array(state, np.float32))


@pytest.mark.skipif(not load.loaded, reason="the device is what it is")
def test_devices_without_tensor_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(cupy.cuda.Device()), "compute_capability", "75")
    message = (
        r"^network: precision is 'float16', which the current device, of compute capability 75"
    )
    with pytest.raises(NotImplementedError, match=message):
        dtype_of("float16")


def test_bfloat16_needs_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cupy, "empty", lambda *_: (_ for _ in ()).throw(TypeError("no such type")))
    with pytest.raises(NotImplementedError, match="needs the package ml_dtypes and CuPy 14 or"):
        dtype_of("bfloat16")
    assert dtype_of("float16") == np.float16
    assert ml_dtypes.bfloat16 is not None
