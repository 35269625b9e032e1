"""Convolution and its gradients against the reference, on every kind of shape."""

from __future__ import annotations

import dataclasses
import functools
import math

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from alexnet.network.layers import Conv2d
from alexnet.network.variants import VARIANTS
from support.arrays import TAIL_SIZES, largest_product_error, relative_error
from support.convolutions import (
    ALGORITHMS,
    Case,
    check_all,
    each_algorithm,
    expected_of,
    run_guarded,
)
from support.implementations import ISAS, Implementation

each_isa = pytest.mark.usefixtures("isa")

CHANNELS = [
    *(Case((2, 5, 6, n), (3, 3), 7) for n in TAIL_SIZES),
    *(Case((2, 5, 6, 5), (3, 3), n) for n in TAIL_SIZES),
    *(Case((1, 4, 3, n), (1, 1), n) for n in TAIL_SIZES),
    *(Case((1, 3, width, 3), (2, 3), 18, padding="valid") for width in range(3, 40, 3)),
]
KERNELS = [
    *(
        Case((2, 13, 12, 3), (kernel, kernel), 17, stride=stride)
        for kernel in range(1, 12)
        for stride in range(1, 5)
    ),
    *(
        Case((1, 14, 15, 6), (kernel, 12 - kernel), 5, stride=stride, padding="valid")
        for kernel in range(1, 12)
        for stride in ((1, 2), (3, 1), (2, 5))
    ),
    *(  # strides beyond the kernel, some of which skip pixels
        Case((2, 9, 11, 4), kernel, 9, stride=stride, padding=padding)
        for kernel in ((1, 1), (2, 2), (3, 1))
        for stride in (4, (2, 3), (7, 1), 20)
        for padding in ("same", "valid", ((1, 2), (0, 3)))
    ),
]
GROUPS = [
    Case((2, 6, 7, groups * inputs), (3, 2), groups * outputs, stride=stride, groups=groups)
    for groups in (2, 3, 4, 7)
    for inputs, outputs in ((1, 1), (3, 5), (16, 17), (5, 33), (1, 2))
    for stride in (1, 2)
]
# Vectors over channels across groups: lanes of one group and of many, beside and across vectors,
# rows of several register tiles, blocks of channels, and the rows of a batch in parts.
NARROW_GROUPS = [
    *(Case((2, 5, 17, n), (3, 3), n, groups=n) for n in TAIL_SIZES),
    *(
        Case(
            (1, 6, 9, groups * inputs),
            (3, 2),
            groups * outputs,
            stride=stride,
            padding=padding,
            groups=groups,
        )
        for groups, inputs, outputs in (
            (20, 1, 2),
            (9, 1, 3),
            (40, 2, 1),
            (24, 4, 4),
            (11, 5, 1),  # lanes that come from more than two vectors
            (19, 3, 2),
            (6, 7, 2),
            (3, 8, 8),
        )
        for stride, padding in ((1, "same"), (2, "valid"), ((3, 1), 2), ((1, 3), ((0, 3), (4, 0))))
    ),
    *(Case((2, 9, 11, 18), (kernel, kernel), 18, groups=18) for kernel in (1, 2, 4, 5, 7, 9)),
    Case((1, 4, 3, 600), (3, 3), 600, groups=600),
    Case((1, 3, 70, 40), (3, 3), 40, groups=40),
    Case((9, 20, 5, 16), (3, 3), 16, stride=2, groups=16),
    # one group of few channels, whose weight gradient is computed in the same way
    *(Case((3, 9, 10, 1), (kernel, kernel), n) for kernel in (3, 5, 7) for n in (5, 8, 16)),
    Case((2, 9, 10, 2), (3, 3), 6, stride=2, padding="valid"),
]
# Taps that meet nothing but padding, and may be left out.
UNUSED_TAPS = [
    Case((3, 1, 1, 5), (3, 3), 7),
    Case((2, 1, 1, 8), (5, 3), 8, groups=4),
    Case((2, 1, 4, 5), (3, 3), 6),
    Case((2, 1, 2, 5), (3, 7), 6),
    Case((2, 3, 1, 4), (5, 7), 6),
    Case((2, 2, 2, 4), (5, 5), 6, stride=3, padding=2),
    Case((1, 2, 1, 4), (3, 2), 6, stride=4, padding=((5, 3), (3, 2))),
]
PADDINGS = [
    Case((2, 7, 6, 5), (3, 4), 10, stride=stride, padding=padding)
    for stride in (1, 2, (3, 1))
    for padding in (
        "same",
        "valid",
        0,
        1,
        2,
        5,  # more than the kernel: outputs that see nothing of the image
        9,
        ((0, 1), (2, 0)),
        ((3, 0), (0, 3)),
        ((0, 6), (7, 1)),
        ((8, 8), (0, 0)),
    )
]
BATCHES = [
    Case((batch, *image), kernel, 19, padding=padding, stride=stride)
    for batch in (0, 1, 2, 7, 13)
    for image, kernel, padding, stride in (
        ((5, 4, 9), (3, 3), "same", 1),
        ((5, 4, 9), (5, 4), "valid", 1),  # the window covers the input: a dense layer
        ((5, 4, 9), (1, 1), "same", 1),
        ((6, 7, 3), (3, 3), "same", 2),
    )
]
SPECIAL = [
    Case((1, 1, 1, 1), (1, 1), 1),
    Case((1, 1, 1, 40), (1, 1), 33),
    Case((1, 1, 1, 3), (5, 5), 8),  # an image smaller than the window
    Case((2, 2, 1, 3), (11, 11), 20, stride=4, padding=5),
    Case((1, 1, 50, 2), (1, 7), 9),
    Case((1, 50, 1, 2), (7, 1), 9),
    Case((3, 6, 6, 70), (6, 6), 65, padding="valid"),
    Case((2, 6, 6, 8), (6, 6), 12, padding="valid", groups=2),
    Case((2, 6, 6, 8), (6, 6), 12, padding=((0, 0), (0, 1))),
    Case((1, 8, 8, 4), (7, 8), 12, padding="valid", stride=3),
    Case((3, 1, 7, 4), (2, 3), 6),  # one row of outputs, and fewer points than any other tile
    Case((2, 2, 2, 5), (2, 2), 7, padding="valid"),
    Case((1, 3, 3, 700), (3, 3), 6),  # longer than one chain of 2048 products
    Case((1, 2, 2, 2500), (1, 1), 6),
    Case((1, 50, 47, 2), (3, 3), 4),  # and so for the weight gradient
]
CASES = [
    *CHANNELS,
    *KERNELS,
    *GROUPS,
    *NARROW_GROUPS,
    *UNUSED_TAPS,
    *PADDINGS,
    *BATCHES,
    *SPECIAL,
]


@each_isa
@each_algorithm
@pytest.mark.parametrize("case", CASES, ids=str)
def test_against_the_reference(case: Case, algorithm: str) -> None:
    check_all(case, algorithm)


# Every path of CUDA's kernels; on the CPU, what "auto" chooses for them.
PATHS = [
    Case((1, 1, 1, 1), (1, 1), 1),
    Case((2, 7, 9, 3), (3, 3), 5),
    Case((1, 6, 5, 8), (3, 3), 12),  # four channels at a time
    Case((1, 6, 5, 3), (3, 3), 12),  # of y, but not of x
    Case((1, 6, 5, 8), (3, 2), 5),  # of x, but not of y
    Case((2, 9, 8, 4), (1, 1), 132),  # columns of C in two tiles
    Case((1, 5, 4, 68), (2, 2), 72),  # and of 64
    Case((1, 23, 21, 3), (11, 11), 16, stride=4),
    Case((2, 9, 8, 3), (2, 2), 7, stride=3, padding="valid"),
    Case((1, 7, 9, 4), (3, 2), 8, stride=(2, 5)),  # pixels that no window sees
    Case((1, 6, 7, 4), (1, 1), 4, stride=(1, 3), padding=((1, 2), (0, 3))),
    Case((2, 6, 5, 12), (3, 2), 24, groups=3),
    Case((1, 6, 5, 6), (3, 3), 9, groups=3, stride=2),
    Case((1, 5, 6, 5), (3, 4), 10, padding=((3, 0), (0, 3))),
    Case((1, 4, 3, 4), (3, 3), 4, padding=5),  # outputs that see nothing of the image
    Case((1, 1, 1, 4), (5, 5), 8),  # an image smaller than the window
    Case((2, 2, 1, 3), (11, 11), 20, stride=4, padding=5),
    Case((2, 6, 6, 8), (6, 6), 12, padding="valid"),  # the window covers the image
    Case((1, 26, 25, 4), (3, 3), 8),  # the gradient of the weight in splits
    Case((1, 26, 25, 3), (2, 3), 7),
    Case((1, 3, 3, 64), (3, 3), 4),  # forward in splits
    Case((1, 3, 3, 4), (3, 3), 64),  # the gradient of the input in splits
    Case((1, 3, 3, 8), (3, 3), 128, groups=2, stride=2),
    # Runs: fours with single floats before and behind them, before, behind, and none.
    Case((2, 9, 8, 2), (5, 6), 8, stride=2, padding=1),
    Case((2, 23, 24, 3), (11, 11), 16, stride=4),
    Case((2, 12, 12, 1), (3, 11), 12, stride=(3, 4), padding=((0, 2), (3, 1))),
    Case((3, 11, 12, 3), (7, 11), 8, stride=4, padding="valid"),
    Case((1, 9, 16, 3), (2, 8), 4, stride=4, padding="valid"),
    Case((1, 6, 8, 3), (4, 7), 132, stride=(2, 4), padding=9),  # windows outside of the image
    Case((1, 91, 92, 3), (11, 11), 8, stride=4),  # the gradient of the weight in splits
    Case((1, 12, 12, 5), (11, 11), 68, stride=4, padding=4),  # forward in splits
]


@pytest.mark.parametrize("case", PATHS, ids=str)
def test_every_path_of_cuda(on: Implementation, case: Case) -> None:
    found = run_guarded(on, case, case.data)
    for name, values in expected_of(case, case.data).items():
        assert relative_error(found[name], values) <= largest_product_error(case.depths[name]), name


@pytest.mark.parametrize("case", [PATHS[7], PATHS[18], PATHS[20]], ids=str)
def test_same_bits_on_every_run(on: Implementation, case: Case) -> None:
    first = run_guarded(on, case, case.data)
    for name, values in run_guarded(on, case, case.data).items():
        assert values.tobytes() == first[name].tobytes(), name


def test_an_empty_batch(on: Implementation) -> None:
    case = Case((0, 5, 4, 8), (3, 3), 12, stride=2)
    found = run_guarded(on, case, case.data)
    assert found["y"].size == found["dx"].size == 0
    assert (found["dweight"] == 0).all()
    assert (found["dbias"] == 0).all()


@st.composite
def convolutions(draw: st.DrawFn, groups_at_most: int = 4, group_at_most: int = 35) -> Case:
    """Any convolution whose output has at least one pixel and that takes the kernels no time."""
    groups = draw(st.integers(1, groups_at_most))
    kernel = draw(st.tuples(st.integers(1, 11), st.integers(1, 11)))
    sides = st.integers(0, 6)
    pads = tuple(draw(st.tuples(sides, sides)) for _ in kernel)
    # The image with its padding must be as large as the kernel at least.
    extents = [
        draw(st.integers(max(1, size - sum(pad)), 16))
        for size, pad in zip(kernel, pads, strict=True)
    ]
    case = Case(
        (
            draw(st.integers(0, 5)),
            extents[0],
            extents[1],
            groups * draw(st.integers(1, group_at_most)),
        ),
        kernel,
        groups * draw(st.integers(1, group_at_most)),
        stride=draw(st.tuples(st.integers(1, 5), st.integers(1, 5))),
        padding=draw(st.one_of(st.just("same"), st.just(pads))),
        groups=groups,
    )
    shape = case.shape
    assume(shape.macs <= 3_000_000)
    # Few sums may all cancel to nearly nothing, and then have no small relative error.
    for result in (shape.input_shape, shape.output_shape, shape.weight_shape):
        assume(case.x[0] == 0 or math.prod(result) >= 50)
    return case


@each_isa
@settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=90,
    # The fixture holds for all examples alike.
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(case=st.one_of(convolutions(), convolutions(70, 9)))
def test_drawn_shapes(case: Case) -> None:
    for algorithm in ALGORITHMS:
        check_all(case, algorithm)


def _layers() -> dict[Case, str]:
    """The convolutions of all variants at batch 1, each once, by the first layer that has it."""
    layers: dict[Case, str] = {}
    for variant in VARIANTS.values():
        for layer, x in zip(variant.layers, variant.shapes(1), strict=False):
            if isinstance(layer, Conv2d):
                size = layer.kernel_size
                kernel = (size, size) if isinstance(size, int) else (size[0], size[1])
                how = {"stride": layer.stride, "padding": layer.padding, "groups": layer.groups}
                case = Case((x[0], x[1], x[2], x[3]), kernel, layer.features, **how)
                layers.setdefault(case, f"{variant.name}-{layer.name}")
    return layers


LAYERS = _layers()
NAIVE_MACS = 10**7  # above, the naive algorithm would take most of the time of all tests


@functools.lru_cache(maxsize=1)
def _cached(case: Case) -> Case:
    """A copy that keeps its data and results until the next case is asked for: they are large."""
    return dataclasses.replace(case)


@pytest.mark.parametrize(
    ("layer", "isa"),
    [pytest.param(case, isa, id=f"{LAYERS[case]}-{isa}") for case in LAYERS for isa in ISAS],
    indirect=["isa"],
)
@each_isa
def test_layer_shapes(layer: Case) -> None:
    case = _cached(layer)
    for algorithm in ALGORITHMS:
        if algorithm != "naive" or case.shape.macs <= NAIVE_MACS:
            check_all(case, algorithm)
