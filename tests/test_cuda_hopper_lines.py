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
from support.cuda_device import LEAST_TF32_ERROR, cuda, cupy, largest_error
from support.products_16_bits import DTYPES, FLOAT32, Guarded, check, rounded

pytestmark = pytest.mark.cuda

EVEN = Case((2, 15, 16, 3), (7, 11), 8, stride=4)
ODD = Case((2, 15, 17, 3), (11, 11), 104, stride=4)  # lines of 51 elements; two tiles of columns
CASES = [
    EVEN,
    ODD,
    Case((1, 9, 224, 3), (11, 11), 96, stride=4, padding=((1, 2), (3, 4))),
    Case((1, 11, 227, 3), (11, 11), 64, stride=4, padding="valid"),
    Case((1, 13, 300, 3), (11, 11), 12, stride=4, padding="valid"),  # of 40 and 33 windows
    Case((1, 87, 16, 3), (11, 11), 8, stride=4),  # more lines than the ring has
    Case((2, 9, 16, 3), (5, 12), 12, stride=4, padding=((9, 8), (11, 10))),  # outside altogether
    Case((1, 14, 14, 6), (6, 6), 8, stride=2, padding=1),
    Case((3, 7, 52, 1), (6, 33), 16, stride=(1, 4), padding="valid"),
    Case((1, 17, 16, 3), (13, 11), 8, stride=4),  # more rows of the weight than a block has
    Case(
        (3, 8, 52, 1), (7, 33), 16, stride=(1, 4), padding="valid"
    ),  # a ring of less than two windows
    Case((1, 13, 304, 3), (11, 11), 16, stride=4),  # two segments behind a padding
    Case((0, 15, 16, 3), (7, 11), 8, stride=4),
]
CASES_16 = [
    EVEN,
    ODD,
    Case((2, 15, 24, 3), (11, 11), 72, stride=4),
    Case((1, 9, 224, 3), (11, 11), 96, stride=4, padding=((1, 2), (3, 4))),
    Case((1, 11, 224, 3), (11, 11), 64, stride=4, padding="valid"),
    Case((1, 13, 304, 3), (11, 11), 16, stride=4, padding="valid"),  # of 48 and 26 windows
    Case((1, 87, 16, 3), (11, 11), 8, stride=4),
    Case((2, 9, 16, 3), (5, 12), 8, stride=4, padding=((9, 8), (11, 10))),
    Case((3, 7, 56, 1), (6, 33), 16, stride=(1, 4), padding="valid"),
    Case((1, 17, 16, 3), (13, 11), 8, stride=4),
    Case((1, 13, 304, 3), (11, 11), 16, stride=4),  # two segments behind a padding
]
OTHERS = [
    Case((2, 13, 16, 3), (9, 9), 8, stride=4),  # lines of less than a step
    Case((1, 17, 16, 3), (13, 9), 8, stride=4),  # of as many as fill up single elements
    Case((1, 13, 16, 3), (3, 11), 8, stride=4),  # a stride of more lines than a window has
    Case((1, 21, 16, 3), (5, 11), 8, stride=(6, 4)),  # lines that no window sees
    Case((1, 13, 16, 3), (3, 13), 8, stride=(2, 4)),  # depths of single elements, filled up to 16
]
OTHERS_16 = [
    Case((2, 15, 20, 3), (11, 11), 8, stride=4),  # lines of 120 bytes
    *OTHERS,
]
Format = str | np.dtype[Any]  # tf32, or the arrays' type
each_format = pytest.mark.parametrize("numbers", ["tf32", *DTYPES], ids=str)

# Of a block of the kernels, forward and gradient of the weight: no other kernel has as many threads
# and as much shared memory.
THREADS, LEAST_SHARED = [(288, 1, 1), (512, 1, 1)], 20_000

needs_emulation = pytest.mark.skipif(not load.loaded, reason="the device is what it is")


@pytest.fixture(autouse=True)
def _hopper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALEXNET_EMULATED_CAPABILITY", "9.0")
    monkeypatch.setenv("ALEXNET_EMULATED_MULTIPROCESSORS", "2")


def run(
    case: Case, data: Data | None = None, numbers: Format = "tf32", *, rectified: bool = False
) -> dict[str, Any]:
    """The results of these kernels, each in a guarded array: not the gradient of x."""
    data, shape = data or case.data, case.shape
    dtype = FLOAT32 if isinstance(numbers, str) else numbers
    x, weight, dy = (cupy.asarray(a.astype(dtype)) for a in (data.x, data.weight, data.dy))
    y, dweight = Guarded(shape.output_shape, dtype), Guarded(shape.weight_shape, FLOAT32)
    dbias = Guarded((shape.out_channels,), FLOAT32)
    how = {**case.options, "precision": "tf32" if dtype == FLOAT32 else "float32"}
    activation = "relu" if rectified else None
    cuda.conv2d(x, weight, cupy.asarray(data.bias), activation=activation, **how, out=y.array)
    cuda.conv2d_backward_weight(dy, x, case.kernel, **how, out=(dweight.array, dbias.array))
    return {"y": y.get(), "dweight": dweight.get(), "dbias": dbias.get()}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_against_the_reference(case: Case) -> None:
    found = run(case)
    for name in ("y", "dweight", "dbias"):
        bound = largest_error(case.depths[name], "float32" if name == "dbias" else "tf32")
        error = relative_error(found[name], getattr(case.expected, name))
        assert error <= bound, name
        assert case.x[0] == 0 or name == "dbias" or error >= LEAST_TF32_ERROR, name


@pytest.mark.parametrize(
    ("case", "dtype"), [(c, DTYPES[i % 2]) for i, c in enumerate(CASES_16)], ids=str
)
def test_16_bits_against_the_reference(case: Case, dtype: np.dtype[Any]) -> None:
    data = rounded(case.data, dtype)
    check(run(case, data, dtype), case.expected_of(data), dtype)


@each_format
def test_rectified(numbers: Format) -> None:
    usual = run(EVEN, None, numbers)
    found = run(EVEN, None, numbers, rectified=True)
    np.testing.assert_array_equal(found["y"], np.maximum(usual["y"], 0))


@needs_emulation
def test_which_are_hoppers(monkeypatch: pytest.MonkeyPatch) -> None:
    from alexnet import _cuda

    counts = load.import_from("lines._cuda_counts", load.path())

    def served(case: Case, numbers: Format = "tf32") -> list[Any]:
        counts.start(1)
        run(case, None, numbers)
        blocks = [a["block"] for a in counts.stop() if a["shared_bytes"] >= LEAST_SHARED]
        return [block for block in blocks if block in THREADS]

    for case in CASES[:-1]:
        assert served(case) == THREADS, case
        assert _cuda.hopper_choices() == [((0, 0, 1, 1), 1)]  # nothing to choose
    for case in OTHERS:
        assert served(case) == [], case
    for case in CASES_16:
        assert served(case, DTYPES[0]) == THREADS, case
    for case in OTHERS_16:
        assert served(case, DTYPES[1]) == [], case
    monkeypatch.setenv("ALEXNET_EMULATED_CAPABILITY", "10.0")
    assert served(EVEN) == []


@each_format
def test_small_integers_have_exact_products(numbers: Format) -> None:
    names = [field.name for field in dataclasses.fields(Data)]
    data = Data(**{name: np.clip(np.rint(getattr(EVEN.data, name)), -1, 1) for name in names})
    found, expected = run(EVEN, data, numbers), EVEN.expected_of(data)
    for name in ("y", "dweight", "dbias"):
        np.testing.assert_array_equal(found[name], getattr(expected, name))


@needs_emulation
@pytest.mark.parametrize(
    ("case", "numbers"), [(EVEN, "tf32"), (CASES[5], "tf32"), (EVEN, DTYPES[1])], ids=str
)
def test_bits_do_not_depend_on_blocks(
    case: Case, numbers: Format, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = []
    for multiprocessors in ("1", "132"):
        monkeypatch.setenv("ALEXNET_EMULATED_MULTIPROCESSORS", multiprocessors)
        results.append(run(case, None, numbers))
    for other in results[1:]:
        for name, values in results[0].items():
            assert values.tobytes() == other[name].tobytes(), name


@needs_emulation
@each_format
def test_each_thread_fences_its_own_writes(
    numbers: Format, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALEXNET_EMULATED_SPLITS", "2")
    usual = run(EVEN, None, numbers)
    monkeypatch.setenv("ALEXNET_EMULATED_STRICT", "1")
    for name, values in run(EVEN, None, numbers).items():
        np.testing.assert_array_equal(values, usual[name])


@needs_emulation
@pytest.mark.parametrize(("case", "splits"), [(ODD, "1"), (CASES[5], "2")], ids=str)
def test_many_items_a_split(case: Case, splits: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As large batches alone would have."""
    monkeypatch.setenv("ALEXNET_EMULATED_SPLITS", splits)
    test_against_the_reference(case)


@needs_emulation
@pytest.mark.parametrize("case", [CASES_16[2], CASES_16[6]], ids=str)
def test_many_items_a_split_of_16_bits(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALEXNET_EMULATED_SPLITS", "2")
    test_16_bits_against_the_reference(case, DTYPES[1])


@pytest.mark.parametrize(
    ("case", "pixel", "value", "numbers"),
    [
        (EVEN, (2, 1), np.nan, "tf32"),
        (EVEN, (4, 7), np.inf, "tf32"),
        (ODD, (4, 7), np.nan, "tf32"),
        (ODD, (14, 16), np.inf, "tf32"),
        (CASES[6], (8, 15), np.inf, "tf32"),
        (EVEN, (4, 7), np.nan, DTYPES[0]),
        (EVEN, (4, 4), np.nan, DTYPES[1]),  # read before a window's line, and not the window's
        (CASES_16[2], (14, 23), np.inf, DTYPES[1]),
        (CASES_16[7], (8, 15), np.inf, DTYPES[0]),
    ],
)
def test_what_is_not_finite_reaches_what_sees_it_alone(
    case: Case, pixel: tuple[int, int], value: float, numbers: Format
) -> None:
    data = case.data if isinstance(numbers, str) else rounded(case.data, numbers)
    place = (case.x[0] - 1, *pixel, case.x[3] - 1)
    x, one = data.x.copy(), np.zeros(case.x, np.float32)
    x[place], one[place] = value, 1
    usual = run(case, data, numbers)
    found = run(case, dataclasses.replace(data, x=x), numbers)
    met = {
        "y": reference.conv2d(one, data.weight, **case.options),
        "dweight": reference.conv2d_backward_weight(data.dy, one, case.kernel, **case.options)[0],
    }
    for name, seen in met.items():
        assert seen.any()
        expected = usual[name].copy()
        expected[seen != 0] = value * np.sign(seen[seen != 0])
        np.testing.assert_array_equal(found[name], expected)
