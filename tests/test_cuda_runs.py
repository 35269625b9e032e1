"""Convolutions over images of few channels on a CUDA device, whose windows are read as runs."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from alexnet import reference
from support.arrays import relative_error
from support.convolutions import Case, Data, run_guarded
from support.cuda_device import PRECISIONS, largest_error
from support.implementations import Cuda
from support.products_16_bits import DTYPES, check, check_small_integers, rounded, run_convolutions

pytestmark = pytest.mark.cuda

Format = str | np.dtype[Any]  # a precision of float32 arrays, or the arrays' own type
FORMATS: tuple[Format, ...] = (*PRECISIONS, *DTYPES)
each_format = pytest.mark.parametrize("numbers", FORMATS, ids=str)

EVEN = Case((2, 15, 16, 3), (7, 11), 8, stride=4)
ODD = Case((2, 15, 17, 3), (7, 11), 8, stride=4)  # lines of 51 elements
ALEXNET = Case((1, 13, 227, 3), (11, 11), 8, stride=4, padding="valid")
CASES = [
    EVEN,
    ODD,
    ALEXNET,
    Case((5, 9, 9, 3), (8, 8), 72, stride=4, padding="valid"),  # fours alone; steps of many images
    Case((2, 21, 18, 2), (16, 11), 8, stride=(3, 2), padding=((2, 1), (1, 3))),
    Case((1, 19, 18, 2), (17, 11), 8, stride=2),  # more lines than a window has bits for
    Case((1, 9, 19, 3), (4, 19), 8, stride=4),  # longer runs than it has bits for
    Case(
        (2, 9, 13, 1), (6, 7), 16, stride=(1, 4), padding=((9, 8), (11, 10))
    ),  # outside altogether
    Case((1, 13, 14, 6), (5, 5), 8, stride=2, padding=1),
    Case((1, 13, 13, 3), (9, 9), 24, stride=4, groups=3),  # single elements
    Case((1, 9, 9, 3), (5, 5), 8, stride=4),  # too few lines read a pixel for a copy of odd ones
    Case((1, 9, 9, 3), (9, 9), 7, stride=4),  # weights that are not aligned
    Case((0, 15, 17, 3), (7, 11), 8, stride=4),
]


def data_of(case: Case, numbers: Format) -> Data:
    return case.data if isinstance(numbers, str) else rounded(case.data, numbers)


def run(case: Case, data: Data, numbers: Format) -> dict[str, Any]:
    if isinstance(numbers, str):
        return run_guarded(Cuda(), case, data, precision=numbers)
    return run_convolutions(case, data, numbers)


def check_case(case: Case, numbers: Format) -> None:
    data = data_of(case, numbers)
    found, expected = run(case, data, numbers), case.expected_of(data)
    if not isinstance(numbers, str):
        check(found, expected, numbers)
        return
    for name in ("y", "dx", "dweight", "dbias"):
        bound = largest_error(case.depths[name], "float32" if name == "dbias" else numbers)
        assert relative_error(found[name], getattr(expected, name)) <= bound, name


@each_format
@pytest.mark.parametrize("case", CASES, ids=str)
def test_against_the_reference(case: Case, numbers: Format) -> None:
    check_case(case, numbers)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("width", range(223, 230))
def test_images_of_any_width(width: int, channels: int) -> None:
    """Formats and paddings in turn, all of each with every number of channels."""
    place = width - 223 + channels
    padding = ["valid", "same", ((1, 2), (1, 2)), 2][(place // 4 + channels) % 4]
    case = Case((1, 12, width, channels), (11, 11), 8, stride=4, padding=padding)
    check_case(case, FORMATS[place % 4])


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("case", [EVEN, ODD], ids=str)
@pytest.mark.parametrize("offset", [1, 2])
def test_images_at_odd_addresses(case: Case, offset: int, precision: str) -> None:
    found = run_guarded(Cuda(), case, case.data, offset, precision=precision)
    for name in ("y", "dweight"):
        bound = largest_error(case.depths[name], precision)
        assert relative_error(found[name], getattr(case.expected, name)) <= bound, name


@each_format
@pytest.mark.parametrize("case", [EVEN, ODD, CASES[4]], ids=str)
def test_same_bits_on_every_run(case: Case, numbers: Format) -> None:
    data = data_of(case, numbers)
    first, second = (run(case, data, numbers) for _ in range(2))
    for name, values in first.items():
        assert values.tobytes() == second[name].tobytes(), name


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("case", [EVEN, ODD], ids=str)
def test_small_integers_have_exact_products(case: Case, dtype: np.dtype[Any]) -> None:
    check_small_integers(case, dtype)


@each_format
@pytest.mark.parametrize("case", [EVEN, ODD, CASES[3]], ids=str)
@pytest.mark.parametrize("pixel", [(2, 1), (4, 7)])
def test_nan_reaches_what_sees_it_alone(
    case: Case, numbers: Format, pixel: tuple[int, int]
) -> None:
    """Also where the neighbours of a pixel are copied with it, and at the ends of runs."""
    data = data_of(case, numbers)
    place = (case.x[0] - 1, *pixel, case.x[3] - 1)
    x, seen = data.x.copy(), np.zeros(case.x, np.float32)
    x[place], seen[place] = np.nan, 1
    usual, found = (run(case, d, numbers) for d in (data, dataclasses.replace(data, x=x)))
    sees = reference.conv2d(seen, data.weight, **case.options) != 0
    assert sees.any()
    np.testing.assert_array_equal(found["y"], np.where(sees, np.nan, usual["y"]))
    sees, _ = reference.conv2d_backward_weight(data.dy, seen, case.kernel, **case.options)
    np.testing.assert_array_equal(found["dweight"], np.where(sees != 0, np.nan, usual["dweight"]))
