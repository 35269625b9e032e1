"""Hopper's kernels over images of few channels, whose lines are kept in a ring of shared memory."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from alexnet import reference
from cuda_emulation import load
from support.arrays import relative_error
from support.convolutions import Case, Data
from support.cuda_device import LEAST_TF32_ERROR, largest_error
from support.implementations import Cuda

pytestmark = pytest.mark.cuda

EVEN = Case((2, 15, 16, 3), (7, 11), 8, stride=4)
ODD = Case((2, 15, 17, 3), (11, 11), 72, stride=4)  # lines of 51 elements; two tiles of columns
CASES = [
    EVEN,
    ODD,
    Case((1, 9, 224, 3), (11, 11), 96, stride=4, padding=((1, 2), (3, 4))),
    Case((1, 11, 227, 3), (11, 11), 64, stride=4, padding="valid"),
    Case((1, 13, 300, 3), (11, 11), 12, stride=4, padding="valid"),  # segments of 37 and 36 windows
    Case((1, 87, 16, 3), (11, 11), 8, stride=4),  # more lines than the ring has
    Case((2, 9, 16, 3), (5, 12), 100, stride=4, padding=((9, 8), (11, 10))),  # outside altogether
    Case((1, 14, 14, 6), (6, 6), 8, stride=2, padding=1),
    Case((3, 7, 52, 1), (6, 33), 16, stride=(1, 4), padding="valid"),
    Case((0, 15, 16, 3), (7, 11), 8, stride=4),
]
OTHERS = [
    Case((2, 13, 16, 3), (9, 9), 8, stride=4),  # lines of less than a step
    Case((1, 13, 16, 3), (3, 11), 8, stride=4),  # depths of single elements, filled up to 16
    Case((1, 21, 16, 3), (5, 11), 8, stride=(6, 4)),  # lines that no window sees
]
# Of a block of the kernels, forward and gradient of the weight: threads, and bytes of shared memory
# that no other kernel for these convolutions has.
THREADS, LEAST_SHARED = [(288, 1, 1), (512, 1, 1)], 50_000

needs_emulation = pytest.mark.skipif(not load.loaded, reason="the device is what it is")


@pytest.fixture(autouse=True)
def _hopper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALEXNET_EMULATED_CAPABILITY", "9.0")
    monkeypatch.setenv("ALEXNET_EMULATED_MULTIPROCESSORS", "2")


def run(case: Case, data: Data | None = None, *, rectified: bool = False) -> dict[str, Any]:
    """The results of these kernels, each in a guarded array: not the gradient of x."""
    on, data, shape = Cuda(), data or case.data, case.shape
    how = {**case.options, "precision": "tf32"}
    x, weight, bias, dy = (on.array(a) for a in (data.x, data.weight, data.bias, data.dy))
    y, dweight, dbias = (
        on.guarded(s) for s in (shape.output_shape, shape.weight_shape, (shape.out_channels,))
    )
    on.conv2d(x, weight, bias, activation="relu" if rectified else None, **how, out=y.array)
    on.conv2d_backward_weight(dy, x, case.kernel, **how, out=(dweight.array, dbias.array))
    return {"y": y.get(), "dweight": dweight.get(), "dbias": dbias.get()}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_against_the_reference(case: Case) -> None:
    found = run(case)
    for name in ("y", "dweight", "dbias"):
        bound = largest_error(case.depths[name], "float32" if name == "dbias" else "tf32")
        error = relative_error(found[name], getattr(case.expected, name))
        assert error <= bound, name
        assert case.x[0] == 0 or name == "dbias" or error >= LEAST_TF32_ERROR, name


def test_rectified() -> None:
    usual, found = run(ODD), run(ODD, rectified=True)
    np.testing.assert_array_equal(found["y"], np.maximum(usual["y"], 0))


@needs_emulation
def test_which_are_hoppers(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = load.import_from("_cuda_counts", load.path())

    def served(case: Case) -> list[Any]:
        counts.start(1)
        run(case)
        launches = counts.stop()
        return [a["block"] for a in launches if a["shared_bytes"] >= LEAST_SHARED]

    for case in CASES[:-1]:
        assert served(case) == THREADS, case
    for case in OTHERS:
        assert served(case) == [], case
    monkeypatch.setenv("ALEXNET_EMULATED_CAPABILITY", "10.0")
    assert served(EVEN) == []


def test_both_operands_are_rounded_and_small_integers_exact() -> None:
    names = [field.name for field in dataclasses.fields(Data)]
    data = Data(**{name: np.rint(2 * getattr(ODD.data, name)) for name in names})
    found, expected = run(ODD, data), ODD.expected_of(data)
    for name in ("y", "dweight", "dbias"):
        np.testing.assert_array_equal(found[name], getattr(expected, name))


@needs_emulation
@pytest.mark.parametrize("case", [ODD, CASES[5]], ids=str)
def test_bits_do_not_depend_on_blocks(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    for multiprocessors in ("1", "3", "132"):
        monkeypatch.setenv("ALEXNET_EMULATED_MULTIPROCESSORS", multiprocessors)
        results.append(run(case))
    for other in results[1:]:
        for name, values in results[0].items():
            assert values.tobytes() == other[name].tobytes(), name


@needs_emulation
@pytest.mark.parametrize("splits", ["1", "2"])
@pytest.mark.parametrize("case", [ODD, CASES[5]], ids=str)
def test_many_items_a_split(case: Case, splits: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As large batches alone would have."""
    monkeypatch.setenv("ALEXNET_EMULATED_SPLITS", splits)
    test_against_the_reference(case)


@pytest.mark.parametrize(
    ("case", "pixel", "value"),
    [
        (EVEN, (2, 1), np.nan),
        (EVEN, (4, 7), np.inf),
        (ODD, (4, 7), np.nan),
        (ODD, (14, 16), np.inf),
        (CASES[6], (8, 15), np.inf),
    ],
)
def test_what_is_not_finite_reaches_what_sees_it_alone(
    case: Case, pixel: tuple[int, int], value: float
) -> None:
    place = (case.x[0] - 1, *pixel, case.x[3] - 1)
    x, one = case.data.x.copy(), np.zeros(case.x, np.float32)
    x[place], one[place] = value, 1
    usual, found = run(case), run(case, dataclasses.replace(case.data, x=x))
    met = {
        "y": reference.conv2d(one, case.data.weight, **case.options),
        "dweight": reference.conv2d_backward_weight(case.data.dy, one, case.kernel, **case.options)[
            0
        ],
    }
    for name, seen in met.items():
        assert seen.any()
        expected = usual[name].copy()
        expected[seen != 0] = value * np.sign(seen[seen != 0])
        np.testing.assert_array_equal(found[name], expected)
