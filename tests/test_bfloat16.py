"""Convolutions and dense layers on bfloat16 operands, with each kind of instructions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest

import alexnet
from alexnet import _cpu, cpu, reference
from alexnet.cpu import bfloat16
from support.arithmetic import ARITHMETICS, arithmetic
from support.arrays import TAIL_SIZES, Guarded, largest_product_error, random_array, relative_error
from support.convolutions import Case
from support.implementations import ISAS
from support.memory import at_page_end, at_page_start
from support.processes import output_of

BF16 = np.dtype(ml_dtypes.bfloat16)
Array = npt.NDArray[Any]

# Largest relative L2 error of a product whose operands are rounded to 8 bits of mantissa, the first
# of which is not stored. Neighbours are 2**-7 of their power of two apart, so an operand is off by
# 2**-8 of it at most, evenly spread: by 2**-8 / sqrt(3) in the root mean square, and less relative
# to a number above its power of two. A product has two such errors, independent of each other; in a
# sum of products without a preferred sign errors grow as the sum itself does. Sums in float32 add
# less than 1e-6. PyTorch, which rounds the same operands, is off by as much
# (tests/frameworks/test_pytorch_bfloat16.py).
OPERANDS_ERROR = 2.0**-8 * math.sqrt(2 / 3) + 1e-6
# A rounded result has one more such error.
RESULT_ERROR = 2.0**-8 * math.sqrt(3 / 3) + 1e-6


def _ways() -> list[tuple[str, str]]:
    """Every instruction set of this run with every kind of instructions that it has."""
    before, ways = alexnet.cpu_isa(), []
    for isa in ISAS:
        alexnet.set_cpu_isa(isa)
        ways += [(isa, way) for way in _cpu.available_bf16_instructions()]
    alexnet.set_cpu_isa(before)
    return ways


@pytest.fixture(params=_ways(), ids="-".join)
def way(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run the test once with each of them."""
    isa, instructions = alexnet.cpu_isa(), _cpu.bf16_instructions()
    alexnet.set_cpu_isa(request.param[0])
    _cpu.set_bf16_instructions(request.param[1])
    yield request.param[1]
    alexnet.set_cpu_isa(isa)
    _cpu.set_bf16_instructions(instructions)


each_way = pytest.mark.usefixtures("way")


def rounded(array: Array) -> Array:
    """`array` as float32 numbers that bfloat16 has."""
    return array.astype(BF16).astype(np.float32)


def same_bits(a: Array, b: Array) -> bool:
    """Whether two bfloat16 arrays agree, a NaN with any other NaN."""
    both_nan = np.isnan(a.astype(np.float32)) & np.isnan(b.astype(np.float32))
    return bool(np.all((a.view(np.uint16) == b.view(np.uint16)) | both_nan))


# --- rounding -------------------------------------------------------------------------------------


def numbers() -> Array:
    """float32 numbers of every exponent and sign: ties, their neighbours, NaN and infinity."""
    upper = np.arange(1 << 16, dtype=np.uint32) << 16
    lower = np.array([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF], np.uint32)
    return (upper[:, None] | lower).view(np.float32).reshape(-1, 64)


@each_way
def test_operands_are_rounded_to_nearest_even() -> None:
    weight = numbers()
    packed = bfloat16.pack_dense(weight)
    with np.errstate(invalid="ignore", over="ignore"):
        expected = bfloat16.pack_dense(weight.astype(BF16))
    assert same_bits(packed.array.view(BF16), expected.array.view(BF16))


@each_way
def test_a_result_is_rounded_as_operands_are() -> None:
    x, weight, bias = random_array(1, 37, 50), random_array(2, 50, 45), random_array(3, 45)
    exact = cpu.dense(x, weight, bias, precision="bfloat16")
    out = np.empty(exact.shape, BF16)
    assert cpu.dense(x, weight, bias, precision="bfloat16", out=out) is out
    assert same_bits(out, exact.astype(BF16))


@each_way
def test_results_of_every_kind_are_rounded_alike() -> None:
    bias = numbers().reshape(-1)
    x, weight = np.zeros((17, 1), BF16), np.zeros((1, bias.size), BF16)
    y = cpu.dense(x, weight, bias, precision="bfloat16")
    with np.errstate(invalid="ignore", over="ignore"):
        expected = (np.float32(0) + bias).astype(BF16)
    assert same_bits(y, np.broadcast_to(expected, y.shape))


def test_subnormal_operands_may_count_as_zero(way: str) -> None:
    small = np.full((1, 1), 2.0**-130, np.float32)
    y = cpu.dense(small, np.full((1, 1), 2.0**60, np.float32), precision="bfloat16")
    assert y[0, 0] == (2.0**-70 if way == "widening" else 0)


# --- dense ----------------------------------------------------------------------------------------

SIZES = [
    *((3, n, 19) for n in TAIL_SIZES),
    *((3, 19, n) for n in TAIL_SIZES),
    *((n, 19, 21) for n in TAIL_SIZES),
    (1, 1, 1),
    (1, 5000, 3),
    (5, 1100, 40),  # steps of the depth in several parts
    (16, 2100, 33),
    (33, 600, 70),
    (1030, 3, 5),  # more tiles than are multiplied at once
]


@each_way
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_dense(size: tuple[int, int, int]) -> None:
    batch, inputs, outputs = size
    x, weight, bias = random_array(1, batch, inputs), random_array(2, inputs, outputs), None
    for bias, activation in ((None, None), (random_array(3, outputs), "relu")):
        y = reference.dense(rounded(x), rounded(weight), bias, activation=activation)
        out = Guarded((batch, outputs))
        cpu.dense(x, weight, bias, activation=activation, precision="bfloat16", out=out.array)
        # Few sums may all cancel to nearly nothing, and then have no small relative error.
        scale = np.linalg.norm(y) + math.sqrt(inputs * y.size) / 10
        assert np.linalg.norm(out.get() - y) <= largest_product_error(inputs) * scale


@each_way
def test_dense_of_an_empty_batch() -> None:
    y = cpu.dense(np.empty((0, 5), np.float32), random_array(1, 5, 3), precision="bfloat16")
    assert y.shape == (0, 3)
    assert y.dtype == np.float32


# --- convolution ----------------------------------------------------------------------------------

CASES = [
    Case((2, 13, 13, 64), (3, 3), 96),
    Case((1, 27, 27, 32), (5, 5), 40),
    Case((2, 9, 27, 64), (5, 5), 40, groups=2),
    Case((2, 20, 21, 3), (11, 11), 33, stride=4),
    Case((1, 33, 70, 32), (3, 3), 5, stride=(2, 1), padding=1),
    Case((3, 6, 6, 32), (6, 6), 64, padding="valid"),  # one output an image: rows are images
    Case((35, 2, 2, 32), (2, 2), 3, padding="valid"),
    Case((2, 5, 5, 32), (1, 1), 31),
    Case((1, 9, 10, 4), (3, 3), 4, stride=2, groups=4),
    Case((2, 7, 7, 48), (3, 3), 12, groups=3),
    Case((1, 6, 5, 2), (3, 2), 7, padding=((2, 1), (0, 3))),
    Case((1, 3, 3, 32), (3, 3), 5, stride=3, padding=((40, 1), (60, 90))),
    Case((1, 2, 2, 32), (3, 3), 4, stride=67, padding=200),  # nearly all of it padding
    Case((1, 1, 40, 3), (1, 33), 2),
    Case((3, 21, 43, 3), (7, 11), 40, stride=(2, 3), padding=((2, 4), (5, 3))),  # a rest of a row
    Case((2, 6, 6, 20), (6, 6), 33, padding="valid"),
    Case((1, 2, 2, 5), (3, 9), 4, stride=50, padding=160),  # nearly all padding, with a rest
    Case((20, 13, 13, 32), (3, 3), 40),  # images in one run, with borders shared
    Case((17, 9, 8, 64), (3, 5), 40, padding=((2, 0), (1, 3)), groups=2),
    Case((16, 7, 7, 12), (3, 3), 40, padding=((0, 2), (2, 0))),
    Case((18, 9, 5, 32), (3, 1), 8, stride=(3, 1), padding=((1, 1), (2, 0))),
    Case((1, 1, 2100, 32), (1, 3), 2),  # more tiles in a row than are multiplied at once
    Case((40, 4, 4, 5), (3, 3), 34),
    Case((16, 7, 7, 32), (1, 1), 5, padding=1),  # windows that lie in the border, on both sides
    Case((16, 6, 9, 32), (2, 3), 40, padding=((0, 1), (4, 3))),
    Case((1, 1, 9, 32), (1, 1), 5, padding=((0, 0), (3, 1))),
    Case((2, 1, 1, 32), (1, 1), 3, stride=(1, 5), padding=((0, 0), (2, 3))),
    Case((1, 5, 5, 200), (3, 3), 3),
]
each_case = pytest.mark.parametrize("case", CASES, ids=str)


def run(case: Case, **how: Any) -> Array:
    data = case.data
    arguments = data.x, data.weight, data.bias
    return cpu.conv2d(*arguments, **case.options, **how, precision="bfloat16")


@each_way
@each_case
def test_convolution(case: Case) -> None:
    data, depth = case.data, math.prod(case.shape.weight_shape[:3])
    y = reference.conv2d(rounded(data.x), rounded(data.weight), data.bias, **case.options)
    for activation, expected in ((None, y), ("relu", np.maximum(y, 0))):
        out = Guarded(y.shape)
        run(case, activation=activation, out=out.array)
        assert relative_error(out.get(), expected) <= largest_product_error(depth)
    without = cpu.conv2d(data.x, data.weight, **case.options, precision="bfloat16")
    assert relative_error(without, y - data.bias) <= largest_product_error(depth)


@each_way
@each_case
def test_bfloat16_arrays_are_as_good_as_rounded_ones(case: Case) -> None:
    data = case.data
    x, weight = data.x.astype(BF16), data.weight.astype(BF16)
    y = cpu.conv2d(x, weight, data.bias, **case.options, precision="bfloat16")
    assert y.dtype == BF16
    exact = run(case)
    assert same_bits(y, exact.astype(BF16))
    out = np.empty_like(exact)
    cpu.conv2d(x, weight, data.bias, **case.options, precision="bfloat16", out=out)
    assert out.tobytes() == exact.tobytes()


@each_way
def test_convolution_of_an_empty_batch() -> None:
    for channels in (3, 32):
        y = cpu.conv2d(
            np.empty((0, 5, 5, channels), np.float32),
            random_array(1, 3, 3, channels, 4),
            precision="bfloat16",
        )
        assert y.shape == (0, 5, 5, 4)


# --- pooling --------------------------------------------------------------------------------------


@each_way
@pytest.mark.parametrize("channels", [1, 7, 32, 64, 75])
@pytest.mark.parametrize(
    "how",
    [
        {},
        {"window": 2, "padding": "same"},
        {"window": (3, 5), "stride": (3, 1), "padding": 1},
        {"window": 3, "ceil_mode": True},
    ],
    ids=str,
)
def test_pooling_is_that_of_float32(channels: int, how: dict[str, Any]) -> None:
    x = random_array(1, 3, 12, 9, channels)
    x[0, :2, 3] = np.nan
    x[1, 4, :, 0] = -np.inf
    x[2, 2, 2, 0], x[2, 5, :] = np.inf, -0.0
    x = x.astype(BF16)
    expected = cpu.max_pool2d(x.astype(np.float32), **how).astype(BF16)
    out = at_page_end(np.zeros_like(expected))
    assert bfloat16.max_pool2d(at_page_end(x), **how, out=out) is out
    assert same_bits(out, expected)
    assert same_bits(bfloat16.max_pool2d(at_page_start(x), **how), expected)
    assert bfloat16.max_pool2d(x[:0], **how).shape == (0, *expected.shape[1:])


def test_pooling_of_other_arrays_is_an_error() -> None:
    with pytest.raises(TypeError, match=r"max_pool2d: x is .*, expected an array of bfloat16"):
        bfloat16.max_pool2d(IMAGES)
    images = IMAGES.astype(BF16)
    with pytest.raises(TypeError, match="max_pool2d: out has dtype float32"):
        bfloat16.max_pool2d(images, out=np.empty((1, 2, 2, 4), np.float32))
    with pytest.raises(ValueError, match="max_pool2d: window is 9"):
        bfloat16.max_pool2d(images, window=9)


POOLED = [
    (Case((9, 23, 25, 3), (11, 11), 64, stride=4), {"window": 2}),
    (Case((17, 9, 8, 64), (3, 5), 40, padding=((2, 0), (1, 3)), groups=2), {}),
    (Case((20, 13, 13, 32), (3, 3), 96), {"padding": 1, "ceil_mode": True}),
    (Case((1, 27, 27, 32), (5, 5), 40), {"window": (3, 2), "stride": (1, 3)}),  # too few images
    (Case((40, 4, 4, 5), (3, 3), 34), {"window": 1}),  # windows are copied
    (Case((0, 9, 9, 32), (3, 3), 7), {}),
]


@each_way
@pytest.mark.parametrize(("case", "pool"), POOLED, ids=str)
@pytest.mark.parametrize("place", [at_page_end, at_page_start], ids=lambda place: place.__name__)
def test_convolution_and_pooling_in_one_pass(
    case: Case, pool: dict[str, Any], place: Callable[[Array], Array]
) -> None:
    data = case.data
    weight = bfloat16.pack_conv2d(data.weight, case.shape.groups)
    pool = {"window": 3, "stride": 2, "padding": "valid", "ceil_mode": False, **pool}
    how = {name: value for name, value in case.options.items() if name != "groups"}
    for activation in (None, "relu"):
        for x in (data.x, data.x.astype(BF16)):
            x = x.copy()
            if x.size:
                x[0, 2, 3, 1], x[-1, -1, -1, 0] = np.nan, -np.inf
            between = np.empty(case.shape.output_shape, BF16)
            bfloat16.conv2d(x, weight, data.bias, **how, activation=activation, out=between)
            expected = bfloat16.max_pool2d(between, **pool)
            for threads in (1, 2, 7):
                alexnet.set_num_threads(threads)
                out = place(np.zeros_like(expected))
                placed = place(x), weight, place(data.bias)
                bfloat16.conv2d_max_pool2d(
                    *placed, **how, activation=activation, pool=pool, out=out
                )
                assert out.tobytes() == expected.tobytes(), (activation, threads)


def test_convolution_and_pooling_check_their_result() -> None:
    case, pool = POOLED[0][0], {"window": 2, "stride": 2, "padding": "valid", "ceil_mode": False}
    weight = bfloat16.pack_conv2d(case.data.weight)
    how = {"stride": 4, "padding": "same", "activation": None, "pool": pool}
    for out in (np.empty((9, 3, 3, 64), np.float32), np.empty((9, 3, 3, 63), BF16)):
        with pytest.raises((TypeError, ValueError), match="max_pool2d: out has"):
            bfloat16.conv2d_max_pool2d(case.data.x, weight, None, **how, out=out)


# --- what holds for both --------------------------------------------------------------------------


@each_way
@pytest.mark.parametrize("case", [Case((2, 13, 13, 64), (5, 5), 96), CASES[3]], ids=str)
def test_error_of_the_precision(case: Case) -> None:
    exact = case.expected.y
    assert relative_error(run(case), exact) <= OPERANDS_ERROR
    assert relative_error(run(case, out=np.empty(exact.shape, BF16)), exact) <= RESULT_ERROR
    assert relative_error(run(case), exact) >= OPERANDS_ERROR / 2  # it is this precision
    x, weight = random_array(5, 20, 3000), random_array(6, 3000, 50)
    y = cpu.dense(x, weight, precision="bfloat16")
    assert OPERANDS_ERROR / 2 <= relative_error(y, reference.dense(x, weight)) <= OPERANDS_ERROR


THREADED = [
    Case((1, 13, 13, 64), (3, 3), 200),
    Case((9, 13, 13, 64), (3, 3), 200, groups=2),
    Case((5, 30, 30, 3), (5, 5), 70),
    Case((1, 60, 60, 3), (11, 11), 70, stride=4),
    Case((19, 13, 13, 32), (3, 3), 200),
    Case((300, 2, 2, 32), (2, 2), 70, padding="valid"),
]


@each_way
@pytest.mark.parametrize("case", THREADED, ids=str)
def test_same_bits_for_every_number_of_threads(case: Case) -> None:
    alexnet.set_num_threads(1)
    expected = run(case)
    for threads in (2, 3, 7, 70):
        alexnet.set_num_threads(threads)
        for _ in range(2):
            assert run(case).tobytes() == expected.tobytes(), threads


@each_way
def test_dense_has_the_same_bits_for_every_number_of_threads() -> None:
    for batch in (1, 3, 70):
        x, weight = random_array(1, batch, 3000), random_array(2, 3000, 700)
        alexnet.set_num_threads(1)
        expected = cpu.dense(x, weight, precision="bfloat16")
        for threads in (2, 3, 7):
            alexnet.set_num_threads(threads)
            y = cpu.dense(x, weight, precision="bfloat16")
            assert y.tobytes() == expected.tobytes(), (batch, threads)


@each_way
@pytest.mark.parametrize("kind", ARITHMETICS)
def test_same_bits_in_any_arithmetic_of_the_caller(kind: str) -> None:
    case = THREADED[0]
    expected = run(case)
    with arithmetic(kind):
        y = run(case)
    assert y.tobytes() == expected.tobytes()


@each_way
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    "case", [*(CASES[i] for i in (0, 2, 3, 5, 8)), CASES[-9], CASES[-6]], ids=str
)
def test_nan_and_infinity_reach_what_sees_them(case: Case, value: float) -> None:
    data = case.data
    for name, where in (("x", (0, 1, 2, 1)), ("weight", (1, 0, 0, 2)), ("bias", (1,))):
        arrays = {"x": data.x, "weight": data.weight, "bias": data.bias}
        arrays[name] = arrays[name].copy()
        arrays[name][where] = value
        with np.errstate(invalid="ignore"):
            of = rounded(arrays["x"]), rounded(arrays["weight"]), arrays["bias"]
            expected = reference.conv2d(*of, **case.options)
        y = cpu.conv2d(**arrays, **case.options, precision="bfloat16")
        special = ~np.isfinite(expected)
        assert special.any()
        np.testing.assert_array_equal(np.isfinite(y), ~special)
        np.testing.assert_array_equal(y[special], expected[special].astype(np.float32))
        rectified = cpu.conv2d(**arrays, **case.options, precision="bfloat16", activation="relu")
        np.testing.assert_array_equal(rectified, np.maximum(y, 0))


@each_way
@pytest.mark.parametrize("place", [at_page_end, at_page_start], ids=lambda place: place.__name__)
@pytest.mark.parametrize("dtype", [np.float32, BF16], ids=str)
def test_touches_nothing_around_its_arrays(place: Callable[[Array], Array], dtype: Any) -> None:
    for case in CASES:
        data = case.data
        x, weight = data.x.astype(dtype), data.weight.astype(dtype)
        expected = cpu.conv2d(x, weight, data.bias, **case.options, precision="bfloat16")
        out = place(np.zeros_like(expected))
        placed = place(x), place(weight), place(data.bias)
        cpu.conv2d(*placed, **case.options, precision="bfloat16", out=out)
        assert out.tobytes() == expected.tobytes(), case
    for batch, inputs, outputs in ((1, 33, 5), (17, 70, 33)):
        x, weight = random_array(1, batch, inputs), random_array(2, inputs, outputs)
        expected = cpu.dense(x.astype(dtype), weight.astype(dtype), precision="bfloat16")
        out = place(np.zeros_like(expected))
        placed = place(x.astype(dtype)), place(weight.astype(dtype))
        cpu.dense(*placed, precision="bfloat16", out=out)
        assert out.tobytes() == expected.tobytes()


@each_way
def test_inputs_of_any_layout() -> None:
    case = CASES[2]
    data, expected = case.data, run(case)
    x = np.asfortranarray(data.x)
    weight = np.repeat(data.weight, 2, axis=0)[::2]
    y = cpu.conv2d(x, weight, data.bias, **case.options, precision="bfloat16")
    assert y.tobytes() == expected.tobytes()


# --- packed weights -------------------------------------------------------------------------------


@each_way
def test_packed_weights_give_the_same_bits_and_serve_every_instruction_set() -> None:
    case = CASES[2]
    data, expected = case.data, run(case)
    packed = bfloat16.pack_conv2d(data.weight, case.groups)
    alexnet.set_cpu_isa("portable")
    assert bfloat16.pack_conv2d(data.weight, case.groups).array.tobytes() == packed.array.tobytes()
    y = bfloat16.conv2d(data.x, packed, data.bias, padding=case.padding)
    assert relative_error(y, expected) <= 2 * largest_product_error(math.prod(case.kernel) * 32)


def test_shapes_are_checked_before_a_copy_is_made() -> None:
    huge = np.broadcast_to(np.float32(0), (2**45,))  # of which no machine makes a copy
    weight, x = np.ones((6, 4), np.float32), np.ones((2, 6), np.float32)
    packed = bfloat16.pack_dense(weight)
    kernel = bfloat16.pack_conv2d(np.ones((3, 3, 4, 8), np.float32))
    images = np.ones((1, 5, 5, 4), np.float32)
    for call in (
        lambda: bfloat16.dense(huge, packed),
        lambda: bfloat16.dense(x, packed, huge),
        lambda: bfloat16.conv2d(huge, kernel),
        lambda: bfloat16.conv2d(images, kernel, huge),
        lambda: bfloat16.max_pool2d(np.broadcast_to(BF16.type(0), (2**45,))),
        lambda: bfloat16.pack_dense(huge),
        lambda: bfloat16.pack_conv2d(huge),
    ):
        with pytest.raises(ValueError, match=r": (x|weight|bias) has shape \(35184372088832,\)"):
            call()


def test_packed_weights_follow_no_change() -> None:
    x, weight = random_array(1, 3, 40), random_array(2, 40, 50)
    packed = bfloat16.pack_dense(weight)
    before = bfloat16.dense(x, packed)
    weight[...] = 0
    assert bfloat16.dense(x, packed).tobytes() == before.tobytes()
    assert not packed.array.flags.writeable
    assert (packed.shape, packed.groups) == ((40, 50), 1)


def test_packed_weights_take_half_the_memory() -> None:
    weight = np.zeros((1024, 512), np.float32)
    assert bfloat16.pack_dense(weight).nbytes == weight.nbytes / 2
    kernel = np.zeros((3, 3, 64, 96), np.float32)
    assert bfloat16.pack_conv2d(kernel).nbytes == kernel.nbytes / 2


# --- errors ---------------------------------------------------------------------------------------

X, WEIGHT = np.zeros((2, 4), np.float32), np.zeros((4, 3), np.float32)
IMAGES, KERNEL = np.zeros((1, 5, 5, 4), np.float32), np.zeros((3, 3, 4, 2), np.float32)


@pytest.mark.parametrize("precision", ["float16", "tf32", "", None, 16], ids=str)
def test_precision_that_is_none(precision: Any) -> None:
    with pytest.raises(ValueError, match=r"dense: precision is .*, expected float32, bfloat16"):
        cpu.dense(X, WEIGHT, precision=precision)
    with pytest.raises(ValueError, match=r"conv2d: precision is .*, expected float32, bfloat16"):
        cpu.conv2d(IMAGES, KERNEL, precision=precision)


WRONG = [
    ("dense: x has dtype float64", (X.astype(float), WEIGHT), {}),
    ("dense: bias has dtype bfloat16", (X, WEIGHT, np.zeros(3, BF16)), {}),
    ("dense: x has shape", (X[:, :3], WEIGHT), {}),
    ("dense: bias has shape", (X, WEIGHT, np.zeros(4, np.float32)), {}),
    ("dense: out has dtype float64", (X, WEIGHT), {"out": np.zeros((2, 3))}),
    ("dense: out has shape", (X, WEIGHT), {"out": np.zeros((3, 2), BF16)}),
    ("dense: out overlaps x", (X, np.zeros((4, 4), np.float32)), {"out": X}),
    ("conv2d: weight has 4 input channels", (IMAGES[..., :3], KERNEL), {}),
    ("conv2d: groups is 3", (IMAGES, KERNEL), {"groups": 3}),
    ("conv2d: activation is 'tanh'", (IMAGES, KERNEL), {"activation": "tanh"}),
    (
        "conv2d: algorithm is 'winograd', expected 'auto'",
        (IMAGES, KERNEL),
        {"algorithm": "winograd"},
    ),
]


@pytest.mark.parametrize(("text", "arguments", "how"), WRONG, ids=[text for text, *_ in WRONG])
def test_arguments_that_are_wrong(text: str, arguments: Any, how: dict[str, Any]) -> None:
    operator = getattr(cpu, text.partition(":")[0])
    with pytest.raises((TypeError, ValueError), match=text):
        operator(*arguments, **how, precision="bfloat16")


def test_weights_that_cannot_be_packed() -> None:
    with pytest.raises(ValueError, match="pack_dense: weight has shape"):
        bfloat16.pack_dense(KERNEL)
    with pytest.raises(TypeError, match="pack_conv2d: weight has dtype int64"):
        bfloat16.pack_conv2d(KERNEL.astype(int))
    with pytest.raises(ValueError, match="pack_conv2d: groups is 3"):
        bfloat16.pack_conv2d(KERNEL, 3)
    for groups in (None, "2", 2.0):
        with pytest.raises(TypeError, match=r"pack_conv2d: groups is .*, expected an integer"):
            bfloat16.pack_conv2d(KERNEL, groups)  # type: ignore[arg-type]


@pytest.mark.parametrize("weight", [None, KERNEL, WEIGHT.astype(BF16), "weights"])
def test_weights_that_are_not_packed(weight: Any) -> None:
    expected = "weight is .*, expected PackedWeights: pack_{} of alexnet.cpu.bfloat16 makes them"
    with pytest.raises(TypeError, match=f"^conv2d: {expected.format('conv2d')}"):
        bfloat16.conv2d(IMAGES, weight)
    with pytest.raises(TypeError, match=f"^dense: {expected.format('dense')}"):
        bfloat16.dense(X, weight)
    with pytest.raises(TypeError, match=f"^conv2d: {expected.format('conv2d')}"):
        bfloat16.conv2d_max_pool2d(
            IMAGES, weight, None, stride=1, padding=0, activation=None, pool={}, out=IMAGES
        )


def test_packed_weights_of_the_other_layer() -> None:
    with pytest.raises(ValueError, match="conv2d: weight has shape"):
        bfloat16.conv2d(IMAGES, bfloat16.pack_dense(WEIGHT))
    with pytest.raises(ValueError, match="dense: weight has shape"):
        bfloat16.dense(X, bfloat16.pack_conv2d(KERNEL))


def test_float32_takes_no_bfloat16() -> None:
    with pytest.raises(TypeError, match="dense: x has dtype bfloat16, expected float32"):
        cpu.dense(X.astype(BF16), WEIGHT)


def test_instructions_that_there_are() -> None:
    available = _cpu.available_bf16_instructions()
    assert available[-1] == "widening"
    assert alexnet.cpu_bfloat16() in available
    with pytest.raises(ValueError, match="instructions for bfloat16 'mmx' are unknown"):
        _cpu.set_bf16_instructions("mmx")


def test_other_instruction_sets_widen() -> None:
    assert (
        output_of("import alexnet; print(alexnet.cpu_bfloat16())", ALEXNET_ISA="portable")
        == "widening"
    )


def test_the_package_of_the_dtype_is_not_needed() -> None:
    code = (
        "import sys; sys.modules['ml_dtypes'] = None; import alexnet, numpy as np; "
        "x = np.ones((2, 3), np.float32); print(alexnet.dense(x, x.T.copy(), precision='bfloat16'))"
    )
    assert output_of(code).split() == ["[[3.", "3.]", "[3.", "3.]]"]
