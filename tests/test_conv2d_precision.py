"""What only CUDA's convolutions have: precisions, arrays at odd addresses, one algorithm."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from alexnet import reference
from support.arrays import relative_error
from support.convolutions import Array, Case, Data, expected_of, run_guarded
from support.cuda_device import (
    LEAST_TF32_ERROR,
    PRECISIONS,
    cuda,
    largest_error,
    on_device,
)
from support.implementations import Cuda

pytestmark = pytest.mark.cuda

each_precision = pytest.mark.parametrize("precision", PRECISIONS)


def run(case: Case, data: Data, precision: str, offset: int = 0) -> dict[str, Array]:
    return run_guarded(Cuda(), case, data, offset, precision=precision)


def check(case: Case, precision: str, offset: int = 0) -> None:
    found, bounds = run(case, case.data, precision, offset), case.depths
    for name, values in expected_of(case, case.data).items():
        asked = "float32" if name == "dbias" else precision
        assert relative_error(found[name], values) <= largest_error(bounds[name], asked), name


VECTORS = Case((1, 6, 5, 8), (3, 3), 12)  # four channels at a time
TF32_CASES = [
    VECTORS,
    Case((1, 9, 8, 3), (3, 3), 8, stride=2),
    Case((1, 3, 4, 68), (2, 1), 72),
    Case((1, 5, 4, 8), (2, 2), 16, groups=2, stride=(1, 2)),
    Case((1, 3, 3, 32), (3, 3), 64),
    Case((1, 4, 5, 96), (3, 2), 64, groups=2, stride=2),  # three runs of 16 channels, and two
    Case((2, 15, 16, 3), (7, 11), 8, stride=4),  # runs
]


@pytest.mark.parametrize("case", TF32_CASES, ids=str)
def test_tf32(case: Case) -> None:
    check(case, "tf32")


@pytest.mark.parametrize("offset", [1, 2])
def test_arrays_that_are_not_aligned(offset: int) -> None:
    check(VECTORS, "float32", offset)
    check(TF32_CASES[-1], "float32", offset)


@each_precision
def test_an_empty_batch(precision: str) -> None:
    case = Case((0, 5, 4, 8), (3, 3), 12, stride=2)
    found = run(case, case.data, precision)
    assert found["y"].size == found["dx"].size == 0
    assert (found["dweight"] == 0).all()
    assert (found["dbias"] == 0).all()


@each_precision
@pytest.mark.parametrize("case", [VECTORS, TF32_CASES[1], TF32_CASES[3], TF32_CASES[-1]], ids=str)
def test_small_integers_have_exact_products(case: Case, precision: str) -> None:
    data = Data(
        **{
            field.name: np.rint(2 * getattr(case.data, field.name))
            for field in dataclasses.fields(Data)
        }
    )
    found = run(case, data, precision)
    for name, values in expected_of(case, data).items():
        np.testing.assert_array_equal(found[name], values)


@pytest.mark.parametrize("case", [TF32_CASES[0], TF32_CASES[1], TF32_CASES[-1]], ids=str)
def test_tf32_runs_on_the_tensor_cores(case: Case) -> None:
    found = run(case, case.data, "tf32")
    for name in ("y", "dx", "dweight"):
        assert relative_error(found[name], expected_of(case, case.data)[name]) >= LEAST_TF32_ERROR


# --- NaN and infinity -----------------------------------------------------------------------------


@each_precision
@pytest.mark.parametrize(
    "case",
    [VECTORS, Case((2, 7, 6, 5), (3, 3), 6, stride=2), TF32_CASES[3], TF32_CASES[-1]],
    ids=str,
)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_infinity_reach_what_sees_them(case: Case, value: float, precision: str) -> None:
    data, shape = case.data, case.shape
    usual = run(case, data, precision)
    place = (case.x[0] - 1, 2, 1, case.x[3] - 1)
    x, one = data.x.copy(), np.zeros(case.x, np.float32)
    x[place], one[place] = value, 1
    found = run(case, dataclasses.replace(data, x=x), precision)
    _check(found["y"], usual["y"], reference.conv2d(one, data.weight, **case.options), value)
    np.testing.assert_array_equal(found["rectified"], np.maximum(found["y"], 0))
    seen, _ = reference.conv2d_backward_weight(data.dy, one, case.kernel, **case.options)
    _check(found["dweight"], usual["dweight"], seen, value)

    place = (case.x[0] - 1, shape.out_height // 2, shape.out_width // 2, shape.out_channels - 1)
    dy, one = data.dy.copy(), np.zeros(shape.output_shape, np.float32)
    dy[place], one[place] = value, 1
    found = run(case, dataclasses.replace(data, dy=dy), precision)
    seen = reference.conv2d_backward_input(one, data.weight, case.x, **case.options)
    _check(found["dx"], usual["dx"], seen, value)
    np.testing.assert_array_equal(found["dbias"][:-1], usual["dbias"][:-1])
    np.testing.assert_array_equal(found["dbias"][-1], value)
    seen, _ = reference.conv2d_backward_weight(one, data.x, case.kernel, **case.options)
    np.testing.assert_array_equal(found["dweight"][..., :-1], usual["dweight"][..., :-1])
    met = seen != 0  # a tap on padding counts as 0 * value, which is NaN
    np.testing.assert_array_equal(found["dweight"][met], value * np.sign(seen[met]))


def _check(actual: Array, before: Array, seen: Array, value: float) -> None:
    """Elements that see the value are it, times the sign of what it met; others are as before."""
    values, met = before.copy(), seen != 0
    values[met] = value * np.sign(seen[met])
    np.testing.assert_array_equal(actual, values)


# --- arguments ------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["naive", "im2col"])
def test_algorithms_without_a_kernel(algorithm: str) -> None:
    case = Case((1, 4, 4, 4), (3, 3), 4)
    x, weight, dy = (on_device(a) for a in (case.data.x, case.data.weight, case.data.dy))
    message = f"algorithm '{algorithm}' has no CUDA kernel; use 'auto', 'direct' or 'winograd'"
    with pytest.raises(ValueError, match=f"conv2d: {message}"):
        cuda.conv2d(x, weight, algorithm=algorithm)
    with pytest.raises(ValueError, match=f"conv2d_backward_input: {message}"):
        cuda.conv2d_backward_input(dy, weight, case.x, algorithm=algorithm)
    with pytest.raises(ValueError, match=f"conv2d_backward_weight: {message}"):
        cuda.conv2d_backward_weight(dy, x, case.kernel, algorithm=algorithm)


def test_direct_is_what_auto_stands_for_in_few_products() -> None:
    assert cuda.conv2d_algorithms() == ("direct", "winograd")
    data = Case((1, 4, 4, 4), (3, 3), 4).data
    x, weight = on_device(data.x), on_device(data.weight)
    auto, direct = (cuda.conv2d(x, weight, algorithm=name).get() for name in ("auto", "direct"))
    assert auto.tobytes() == direct.tobytes()


@pytest.mark.parametrize(
    "given", ["bf16", np.array(["tf32", "tf32"]), {}, (10**5000,), None], ids=type
)
def test_precision_that_is_none(given: object) -> None:
    data = Case((1, 4, 4, 4), (3, 3), 4).data
    with pytest.raises(ValueError, match=r"^conv2d: precision is .+, expected one of "):
        cuda.conv2d(on_device(data.x), on_device(data.weight), precision=given)
