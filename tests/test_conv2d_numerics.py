"""Convolution on the CPU: memory it touches, determinism, and values that are not ordinary."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

import alexnet
from alexnet import _cpu, cpu, reference
from support.convolutions import Array, Case, Data, each_algorithm, run
from support.memory import at_page_end, at_page_start, peak_allocation

pytestmark = pytest.mark.usefixtures("isa")

# One of every path: framed and read in place, phases, groups, dense, flattened, several tasks.
CASES = [
    Case((2, 7, 6, 5), (3, 3), 18),
    Case((2, 7, 6, 5), (3, 3), 18, padding="valid"),
    Case((3, 11, 13, 3), (5, 4), 33, stride=2),
    Case((2, 9, 8, 3), (2, 2), 7, stride=3, padding="valid"),
    Case((2, 6, 7, 6), (3, 2), 21, groups=3),
    Case((2, 8, 8, 6), (3, 3), 10, stride=(1, 2), padding=((0, 3), (2, 0)), groups=2),
    Case((5, 3, 4, 9), (3, 4), 17, padding="valid"),
    Case((4, 5, 5, 31), (1, 1), 34),
    Case((1, 30, 17, 8), (3, 3), 70),
    Case((2, 7, 16, 20), (3, 3), 20, groups=20),
    Case((2, 8, 7, 24), (3, 3), 12, stride=2, groups=6),
]
LARGE = Case((7, 13, 13, 24), (3, 3), 40)  # which "auto" gives to Winograd
MANY = Case((19, 6, 7, 3), (3, 3), 20)  # images, whose weight gradient is summed up in parts
MANY_DEPTHWISE = Case((9, 8, 7, 20), (3, 3), 20, groups=20)
PIXEL = Case((3, 1, 1, 6), (3, 3), 9)  # under one tap of the window only
MORE_CASES = [LARGE, MANY, MANY_DEPTHWISE, PIXEL]
each_case = pytest.mark.parametrize("case", CASES, ids=str)


def assert_same_bits(actual: dict[str, Array], expected: dict[str, Array]) -> None:
    assert actual.keys() == expected.keys()
    for name, array in actual.items():
        assert array.tobytes() == expected[name].tobytes(), name


# --- memory ---------------------------------------------------------------------------------------


@each_algorithm
@pytest.mark.parametrize("case", [*CASES, *MORE_CASES], ids=str)
@pytest.mark.parametrize("place", [at_page_end, at_page_start], ids=lambda place: place.__name__)
def test_touches_nothing_around_its_arrays(
    case: Case, algorithm: str, place: Callable[[Array], Array]
) -> None:
    expected = run(case, algorithm, case.data)
    data = Data(**{name: place(array) for name, array in vars(case.data).items()})
    out = {name: place(np.full_like(array, np.nan)) for name, array in expected.items()}
    run(case, algorithm, data, out)
    assert_same_bits(out, expected)


@each_algorithm
def test_inputs_of_any_layout(algorithm: str) -> None:
    case = CASES[2]
    data = case.data
    strided = Data(
        x=np.asfortranarray(data.x),
        weight=np.repeat(data.weight, 2, axis=3)[..., ::2],
        bias=data.bias[::-1].copy()[::-1],
        dy=data.dy[::-1].copy()[::-1],
    )
    assert_same_bits(run(case, algorithm, strided), run(case, algorithm, data))


@each_algorithm
def test_allocates_its_result_only_and_with_out_nothing(algorithm: str) -> None:
    case = Case((3, 40, 40, 8), (3, 3), 16)
    data = case.data
    out = run(case, algorithm, data)
    small = 30_000  # bytes, of Python's own objects
    assert peak_allocation(lambda: run(case, algorithm, data, out)) < small
    results = sum(array.nbytes for array in out.values())
    peak = peak_allocation(lambda: run(case, algorithm, data))
    assert results <= peak < results + small


# --- determinism ----------------------------------------------------------------------------------


@each_algorithm
@pytest.mark.parametrize("case", [*CASES, *MORE_CASES], ids=str)
def test_same_bits_for_every_number_of_threads_and_every_run(case: Case, algorithm: str) -> None:
    alexnet.set_num_threads(1)
    expected = run(case, algorithm, case.data)
    for threads in (1, 2, 3, 5, 8, 2):
        alexnet.set_num_threads(threads)
        assert_same_bits(run(case, algorithm, case.data), expected)


@pytest.mark.parametrize("algorithm", cpu.conv2d_algorithms())  # what "auto" is may depend on it
def test_an_image_has_the_same_result_in_every_batch(algorithm: str) -> None:
    for case in (CASES[0], LARGE):
        whole = run(case, algorithm, case.data)
        single = dataclasses.replace(case, x=(1, *case.x[1:]))
        for n in range(case.x[0]):
            data = dataclasses.replace(
                case.data, x=case.data.x[n : n + 1], dy=case.data.dy[n : n + 1]
            )
            for name, array in run(single, algorithm, data).items():
                if name in ("y", "dx"):
                    assert array[0].tobytes() == whole[name][n].tobytes()


# --- NaN, infinity, denormals ---------------------------------------------------------------------

# The first of these cases are not served by Winograd, which leaves other images to "direct".
each_direct_algorithm = pytest.mark.parametrize("algorithm", ["auto", "naive", "im2col", "direct"])
each_value = pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])


def _with(array: Array, place: tuple[int, ...], value: float) -> Array:
    changed = array.copy()
    changed[place] = value
    return changed


def _one(shape: tuple[int, ...], place: tuple[int, ...]) -> Array:
    return _with(np.zeros(shape, np.float32), place, 1)


def _check(actual: Array, before: Array, seen: Array, value: float) -> None:
    """Elements that see the value are it, times the sign of what it met; others are as before."""
    expected, met = before.copy(), seen != 0
    expected[met] = value * np.sign(seen[met])
    np.testing.assert_array_equal(actual, expected)


def test_these_cases_are_not_served_by_winograd() -> None:
    for case in CASES:
        for direction in ("forward", "backward_input", "backward_weight"):
            assert _cpu.conv2d_choice(case.shape, direction) == "direct"


@each_direct_algorithm
@each_case
@each_value
def test_nan_and_infinity_in_x_reach_what_sees_them(
    case: Case, algorithm: str, value: float
) -> None:
    data = case.data
    usual = run(case, algorithm, data)
    for place in ((0, 0, 0, 0), (case.x[0] - 1, 2, 1, case.x[3] - 1)):
        x, one = _with(data.x, place, value), _one(case.x, place)
        found = run(case, algorithm, dataclasses.replace(data, x=x))
        _check(found["y"], usual["y"], reference.conv2d(one, data.weight, **case.options), value)
        seen, _ = reference.conv2d_backward_weight(data.dy, one, case.kernel, **case.options)
        _check(found["dweight"], usual["dweight"], seen, value)
        np.testing.assert_array_equal(found["dbias"], usual["dbias"])

        how = {**case.options, "algorithm": algorithm, "activation": "relu"}
        rectified = cpu.conv2d(x, data.weight, data.bias, **how)
        np.testing.assert_array_equal(rectified, np.maximum(found["y"], 0))


@each_direct_algorithm
@each_case
@each_value
def test_nan_and_infinity_in_dy_reach_what_it_was_computed_from(
    case: Case, algorithm: str, value: float
) -> None:
    data, shape = case.data, case.shape.output_shape
    usual = run(case, algorithm, data)
    for place in ((0, 0, 0, 0), (shape[0] - 1, shape[1] // 2, shape[2] // 2, shape[3] - 1)):
        dy, one = _with(data.dy, place, value), _one(shape, place)
        found = run(case, algorithm, dataclasses.replace(data, dy=dy))
        seen = reference.conv2d_backward_input(one, data.weight, case.x, **case.options)
        _check(found["dx"], usual["dx"], seen, value)

        others = np.arange(shape[3]) != place[3]
        seen, _ = reference.conv2d_backward_weight(one, data.x, case.kernel, **case.options)
        for name in ("dweight", "dbias"):
            np.testing.assert_array_equal(found[name][..., others], usual[name][..., others])
        np.testing.assert_array_equal(found["dbias"][place[3]], value)
        met = seen[..., place[3]]  # 0 where a tap meets padding only, and 0 * value is NaN
        expected = np.where(met == 0, np.nan, np.copysign(np.abs(value), met * np.sign(value)))
        np.testing.assert_array_equal(found["dweight"][..., place[3]], expected)


ALL = ("x", "weight", "bias", "dy")


def _spoilt(case: Case, share: float, names: tuple[str, ...] = ALL) -> Data:
    """The case's data with a share of NaN, of any bits, and infinities in some of its arrays."""
    generator = np.random.default_rng(5)

    def spoil(array: Array) -> Array:
        count = max(3, round(share * array.size))
        nans = generator.integers(0x7FC00001, 0x7FFFFFFF, count, np.uint32)
        values = nans | generator.choice(np.array([0, 1 << 31], np.uint32), count)
        values[::3] = generator.choice(np.array([np.inf, -np.inf], np.float32), 1).view(np.uint32)
        spoilt = array.copy()
        places = generator.choice(array.size, min(count, array.size), replace=False)
        spoilt.reshape(-1).view(np.uint32)[places] = values[: places.size]
        return spoilt

    arrays = vars(case.data)
    return Data(**{name: spoil(a) if name in names else a for name, a in arrays.items()})


def _kinds(array: Array) -> npt.NDArray[np.int64]:
    """0 where finite, 1 for NaN, 2 and 3 for the infinities."""
    return np.select([np.isnan(array), array == np.inf, array == -np.inf], [1, 2, 3])


SPOILT_CASES = [
    *CASES,
    *MORE_CASES,
    Case((2, 2, 1, 5), (3, 5), 6),  # under one column of the window
    Case((2, 19, 18, 5), (7, 7), 16, stride=2),  # Winograd on blocks of pixels
    Case((1, 9, 9, 20), (5, 5), 24, padding=((3, 1), (0, 4)), groups=2),
    Case((2, 5, 4, 3), (2, 3), 4, stride=(3, 2), padding=((2, 1), (0, 2))),
]


@each_algorithm
@pytest.mark.parametrize("case", SPOILT_CASES, ids=str)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_nan_and_infinity_are_where_the_reference_has_them(case: Case, algorithm: str) -> None:
    for share, names in ((0.0, ("weight",)), (0.2, ("weight",)), (0.0, ("dy",)), (0.02, ALL)):
        data = _spoilt(case, share, names)
        expected = case.expected_of(data)
        for name, array in run(case, algorithm, data).items():
            np.testing.assert_array_equal(_kinds(array), _kinds(vars(expected)[name]), name)


@each_algorithm
@pytest.mark.parametrize("case", SPOILT_CASES, ids=str)
def test_nans_of_any_bits_have_the_same_bits_for_every_number_of_threads(
    case: Case, algorithm: str
) -> None:
    for share in (0.002, 0.1):
        data = _spoilt(case, share)
        alexnet.set_num_threads(1)
        expected = run(case, algorithm, data)
        for threads in (2, 3):
            alexnet.set_num_threads(threads)
            assert_same_bits(run(case, algorithm, data), expected)


@each_direct_algorithm
@each_case
def test_denormals_are_not_flushed(case: Case, algorithm: str) -> None:
    # Small integers times the least denormal, and small integers: every sum is exact.
    def integers(seed: int, array: Array, scale: float = 1.0) -> Array:
        drawn = np.random.default_rng(seed).integers(-3, 4, array.shape)
        return (drawn * scale).astype(np.float32)

    tiny = 2.0**-149
    data = Data(
        x=integers(1, case.data.x, tiny),
        weight=integers(2, case.data.weight),
        bias=integers(3, case.data.bias, tiny),
        dy=integers(4, case.data.dy),
    )
    found = run(case, algorithm, data)
    y = reference.conv2d(data.x, data.weight, data.bias, **case.options)
    dweight, dbias = reference.conv2d_backward_weight(data.dy, data.x, case.kernel, **case.options)
    for name, expected in {"y": y, "dweight": dweight, "dbias": dbias}.items():
        np.testing.assert_array_equal(found[name], expected)
        assert found[name].any()
