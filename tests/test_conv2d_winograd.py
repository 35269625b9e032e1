"""Winograd convolution: ragged tiles, space to depth, what it refuses, what "auto" stands for."""

from __future__ import annotations

import numpy as np
import pytest

import alexnet
from alexnet import _cpu, cpu, reference
from alexnet.contract.shapes import conv2d_shape
from support.arrays import Guarded, random_array, relative_error
from support.winograd import (
    BOUND,
    Problem,
    check_one_huge_pixel,
    check_only_the_spoiled_image_is_left,
    check_ordinary_values_are_served,
    check_without_overflow,
)

pytestmark = pytest.mark.usefixtures("isa")

# batch, height, width, in, out, kernel, stride, padding, groups
SHAPES = [
    (1, 13, 13, 20, 33, (3, 3), 1, "same", 1),  # tiles 5 + 4 + 4
    (2, 27, 27, 8, 16, (5, 5), 1, "same", 1),  # 4 + 4 + 4 + 4 + 4 + 4 + 3
    (3, 5, 31, 17, 15, (3, 3), 1, ((0, 2), (1, 0)), 1),
    (2, 9, 8, 6, 10, (2, 4), 1, "valid", 2),
    (1, 6, 6, 1, 1, (6, 6), 1, 3, 1),
    (2, 12, 7, 32, 32, (3, 5), 1, "same", 4),
    (5, 3, 3, 16, 64, (3, 3), 1, "same", 1),  # smaller than a tile
    (0, 8, 8, 16, 16, (3, 3), 1, "same", 1),
    (3, 1, 7, 84, 72, (2, 3), 1, ((0, 1), (1, 1)), 3),  # one output, two points
    (2, 2, 2, 8, 8, (2, 2), 1, "valid", 1),
    (2, 35, 39, 3, 32, (11, 11), 4, "same", 1),  # 4 × 4 pixels become channels
    (3, 20, 21, 7, 9, (7, 7), 2, 3, 1),
    (1, 16, 15, 5, 12, (8, 5), 3, ((1, 0), (0, 2)), 1),
]


@pytest.mark.parametrize("case", SHAPES, ids=str)
def test_all_directions_against_the_reference(case: tuple) -> None:
    batch, height, width, channels, out, kernel, stride, padding, groups = case
    x = np.maximum(random_array(1, batch, height, width, channels), 0)
    weight = random_array(2, *kernel, channels // groups, out)
    bias = random_array(3, out)
    options = {"stride": stride, "padding": padding, "groups": groups}

    expected = reference.conv2d(x, weight, bias, activation="relu", **options)
    y = Guarded(expected.shape)
    cpu.conv2d(x, weight, bias, activation="relu", algorithm="winograd", out=y.array, **options)
    assert relative_error(y.array, expected) <= BOUND
    y.check()

    dy = random_array(4, *expected.shape)
    dweight, dbias = Guarded(weight.shape), Guarded(bias.shape)
    cpu.conv2d_backward_weight(
        dy, x, kernel, algorithm="winograd", out=(dweight.array, dbias.array), **options
    )
    expected_weight, expected_bias = reference.conv2d_backward_weight(dy, x, kernel, **options)
    assert relative_error(dweight.array, expected_weight) <= BOUND
    assert relative_error(dbias.array, expected_bias) <= 1e-6
    dweight.check()
    dbias.check()

    if stride == 1:
        dx = Guarded(x.shape)
        cpu.conv2d_backward_input(
            dy, weight, x.shape, algorithm="winograd", out=dx.array, **options
        )
        expected_input = reference.conv2d_backward_input(dy, weight, x.shape, **options)
        assert relative_error(dx.array, expected_input) <= BOUND
        dx.check()


@pytest.mark.parametrize("kernel", [2, 3, 4, 5, 6])
@pytest.mark.parametrize("size", range(6, 15))
def test_every_way_to_cut_an_axis(kernel: int, size: int) -> None:
    x, weight = random_array(5, 2, size, size + 1, 16), random_array(6, kernel, kernel, 16, 17)
    y = cpu.conv2d(x, weight, padding="valid", algorithm="winograd")
    assert relative_error(y, reference.conv2d(x, weight, padding="valid")) <= BOUND


# batch, size, in, out, kernel, stride, groups
DEALT_OUT = [
    (7, 13, 48, 40, 3, 1, 1),  # many images: rows of tiles
    (5, 8, 200, 70, 3, 1, 1),  # fewer: frequencies; few backwards: panels of input channels
    (24, 12, 6, 5, 3, 1, 1),
    (17, 11, 8, 6, 3, 1, 2),
    (9, 39, 3, 8, 11, 4, 1),  # 4 × 4 pixels become channels
    (1, 9, 80, 96, 3, 1, 1),  # one image: panels of output channels
    (2, 5, 16, 150, 2, 1, 2),
    (10, 8, 1536, 1536, 3, 1, 32),  # two blocks of tiles in each direction
    (12, 64, 16, 16, 3, 1, 1),  # two blocks in the gradient of the weights
]


@pytest.mark.parametrize("case", DEALT_OUT, ids=str)
def test_the_same_bits_for_every_number_of_threads(case: tuple[int, ...]) -> None:
    batch, size, channels, out, kernel, stride, groups = case
    x = random_array(7, batch, size, size, channels)
    weight, bias = random_array(8, kernel, kernel, channels // groups, out), random_array(13, out)
    options = {"stride": stride, "groups": groups, "padding": kernel // 2}
    expected = reference.conv2d(x, weight, bias, **options)
    dy = random_array(9, *expected.shape)
    gradients = reference.conv2d_backward_weight(dy, x, kernel, **options)
    options["algorithm"] = "winograd"
    seen = set()
    for threads in (1, 2, 3, 5, 17):
        alexnet.set_num_threads(threads)
        y = cpu.conv2d(x, weight, bias, **options)
        dweight, dbias = cpu.conv2d_backward_weight(dy, x, kernel, **options)
        results = [y, dweight, dbias]
        if stride == 1:
            results.append(cpu.conv2d_backward_input(dy, weight, x.shape, **options))
        seen.add(tuple(result.tobytes() for result in results))
    assert len(seen) == 1
    assert relative_error(y, expected) <= BOUND
    assert relative_error(dweight, gradients[0]) <= BOUND
    assert relative_error(dbias, gradients[1]) <= 1e-6
    if stride == 1:
        del options["algorithm"]
        expected_input = reference.conv2d_backward_input(dy, weight, x.shape, **options)
        assert relative_error(results[-1], expected_input) <= BOUND


def test_what_it_cannot_serve_is_refused_with_the_reason() -> None:
    x, weight = random_array(10, 1, 9, 9, 4), random_array(11, 1, 1, 4, 4)
    with pytest.raises(ValueError, match=r"conv2d: algorithm 'winograd' cannot serve .* kernel"):
        cpu.conv2d(x, weight, algorithm="winograd")
    weight = random_array(11, 3, 3, 4, 4)
    with pytest.raises(ValueError, match="cannot serve this convolution: its strides differ"):
        cpu.conv2d(x, weight, stride=(1, 2), algorithm="winograd")
    dy = random_array(12, 1, 5, 5, 4)
    with pytest.raises(ValueError, match=r"conv2d_backward_input: .*: it has a stride"):
        cpu.conv2d_backward_input(dy, weight, x.shape, stride=2, algorithm="winograd")


@pytest.mark.parametrize(
    ("shape", "forward", "backward_input", "backward_weight"),
    [
        # batch, size, in, kernel, out, stride: AlexNet's five, with many images and with one
        ((32, 224, 3, 11, 64, 4), "winograd", "direct", "winograd"),
        ((32, 27, 64, 5, 192, 1), "winograd", "winograd", "winograd"),
        ((32, 13, 192, 3, 384, 1), "winograd", "winograd", "winograd"),
        ((1, 27, 64, 5, 192, 1), "winograd", "winograd", "winograd"),
        ((1, 13, 192, 3, 384, 1), "winograd", "winograd", "winograd"),
        # So few pixels do not repay the transform of so many weights.
        ((1, 4, 192, 3, 384, 1), "direct", "direct", "direct"),
        # Too few channels, a window that is too small, and a dense layer.
        ((32, 32, 3, 3, 48, 1), "direct", "direct", "direct"),
        ((32, 13, 192, 1, 384, 1), "direct", "direct", "direct"),
    ],
)
def test_auto_follows_its_stated_rule(
    shape: tuple[int, ...], forward: str, backward_input: str, backward_weight: str
) -> None:
    batch, size, channels, kernel, out, stride = shape
    s = conv2d_shape(
        "conv2d", (batch, size, size, channels), (kernel, kernel, channels, out), stride, "same", 1
    )
    assert _cpu.conv2d_choice(s, "forward") == forward
    assert _cpu.conv2d_choice(s, "backward_input") == backward_input
    assert _cpu.conv2d_choice(s, "backward_weight") == backward_weight


# --- what is left to "direct" ---------------------------------------------------------------------

# batch, size, in, out, kernel, stride: with many images, a few, one, and blocks of pixels
GUARDED = [
    (7, 13, 48, 40, 3, 1),
    (5, 8, 64, 70, 3, 1),
    (2, 9, 40, 96, 3, 1),
    (3, 15, 16, 24, 5, 1),
    (2, 39, 3, 8, 11, 4),
]
each_guarded = pytest.mark.parametrize("case", GUARDED, ids=str)


@each_guarded
def test_ordinary_values_are_served(case: tuple[int, ...]) -> None:
    check_ordinary_values_are_served(Problem(case), cpu)


@each_guarded
@pytest.mark.parametrize("place", ["corner", "middle"])
def test_one_huge_pixel_spoils_no_output_that_does_not_see_it(
    case: tuple[int, ...], place: str
) -> None:
    check_one_huge_pixel(Problem(case), place, cpu)


@each_guarded
def test_what_direct_computes_without_overflow_is_finite(case: tuple[int, ...]) -> None:
    check_without_overflow(case, cpu)


@each_guarded
def test_only_the_image_that_it_spoils_is_left_to_direct(case: tuple[int, ...]) -> None:
    check_only_the_spoiled_image_is_left(case, cpu)


def test_what_is_left_to_direct_has_the_same_bits_for_every_number_of_threads() -> None:
    for case in GUARDED:
        problem = Problem(case)
        problem.x[-1, 1, 1] *= 1e6
        problem.dy[-1, 1, 1] *= 1e6
        seen = set()
        for threads in (1, 2, 3, 8):
            alexnet.set_num_threads(threads)
            results = problem.run(cpu, "winograd")
            seen.add(tuple(result.tobytes() for result in results.values()))
        assert len(seen) == 1
