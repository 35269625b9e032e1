"""Output sizes against worked examples, and the checks of arrays."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest

from alexnet import reference
from alexnet.contract import arguments, calls, shapes


def zeros(*shape: int, dtype: str = "float32") -> np.ndarray:
    return np.zeros(shape, dtype)


def conv2d_shape(
    x: tuple[int, ...],
    weight: tuple[int, ...],
    *,
    stride: Any = 1,
    padding: Any = "same",
    groups: Any = 1,
) -> shapes.Conv2dShape:
    return shapes.conv2d_shape("conv2d", x, weight, stride, padding, groups)


def pooled(
    height: int, *, window: Any = 3, stride: Any = 2, padding: Any = 0, ceil_mode: bool = False
) -> int:
    """Output height of an image whose width is the window's."""
    x = (1, height, 9, 1)
    pool = shapes.pool2d_shape("max_pool2d", x, window, stride, padding, ceil_mode)
    return pool.out_height


# --- sizes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "window", "stride", "before", "after"),
    [
        (224, 11, 4, 3, 4),  # conv1: 56 outputs, (56 - 1) * 4 + 11 - 224 = 7
        (27, 5, 1, 2, 2),
        (13, 3, 1, 1, 1),
        (32, 3, 2, 0, 1),
        (5, 2, 1, 0, 1),  # the odd pixel after
        (5, 1, 1, 0, 0),
        (10, 2, 5, 0, 0),  # the stride exceeds the window: nothing is missing
        (3, 11, 1, 5, 5),
    ],
)
def test_same_padding(size: int, window: int, stride: int, before: int, after: int) -> None:
    assert shapes.same_padding(size, window, stride) == (before, after)


@pytest.mark.parametrize("stride", [1, 2, 3, 4])
@pytest.mark.parametrize("window", [1, 2, 3, 5, 11])
def test_same_padding_gives_ceil_of_size_over_stride(window: int, stride: int) -> None:
    for size in range(1, 40):
        x, weight = (1, size, 1, 1), (window, 1, 1, 1)
        assert conv2d_shape(x, weight, stride=stride).out_height == -(-size // stride)
        for ceil_mode in (False, True):
            out = pooled(size, window=window, stride=stride, padding="same", ceil_mode=ceil_mode)
            assert out == -(-size // stride)


def test_conv2d_shape_of_conv1() -> None:
    """tf-tutorial, batch 32: conv1 [32, 56, 56, 64]."""
    shape = conv2d_shape((32, 224, 224, 3), (11, 11, 3, 64), stride=4)
    assert shape.input_shape == (32, 224, 224, 3)
    assert shape.output_shape == (32, 56, 56, 64)
    assert shape.weight_shape == (11, 11, 3, 64)
    assert (shape.pad_top, shape.pad_bottom, shape.pad_left, shape.pad_right) == (3, 4, 3, 4)
    assert shape.macs == 32 * 56 * 56 * 64 * 11 * 11 * 3


def test_conv2d_shape_of_groups_strides_and_pads() -> None:
    shape = conv2d_shape(
        (2, 9, 10, 8), (3, 2, 4, 6), stride=(2, 3), padding=((0, 1), (2, 3)), groups=2
    )
    assert shape.output_shape == (2, (9 + 1 - 3) // 2 + 1, (10 + 5 - 2) // 3 + 1, 6)
    assert shape.weight_shape == (3, 2, 4, 6)
    assert shape.macs == 2 * 4 * 5 * 6 * 3 * 2 * 4


def test_numpy_integers_and_lists_are_accepted() -> None:
    given = conv2d_shape(
        (2, 9, 9, 8),
        (3, 3, 4, 6),
        stride=[np.int64(2), 1],
        padding=[[1, np.uint8(0)], [0, 1]],
        groups=np.int32(2),
    )
    plain = conv2d_shape(
        (2, 9, 9, 8), (3, 3, 4, 6), stride=(2, 1), padding=((1, 0), (0, 1)), groups=2
    )
    assert given == plain


def test_shape_structs_are_frozen() -> None:
    shape = conv2d_shape((1, 3, 3, 1), (1, 1, 1, 1))
    with pytest.raises(dataclasses.FrozenInstanceError):
        shape.batch = 2  # type: ignore[misc]
    assert not hasattr(shape, "__dict__")


def test_dense_shape() -> None:
    shape = shapes.dense_shape("dense", 32, (9216, 4096))
    assert (shape.input_shape, shape.output_shape) == ((32, 9216), (32, 4096))
    assert shape.weight_shape == (9216, 4096)
    assert shape.macs == 32 * 9216 * 4096


@pytest.mark.parametrize(
    ("height", "options", "out"),
    [
        (55, {}, 27),
        (56, {}, 27),
        (56, {"ceil_mode": True}, 28),
        (55, {"ceil_mode": True}, 27),
        (13, {}, 6),
        (2, {"ceil_mode": True}, 1),  # the window reaches beyond the image
        (4, {"window": 2, "stride": 3, "ceil_mode": True}, 2),
        # ceil((6 + 2 - 2) / 3) + 1 = 3, and the third window starts at 6 < 6 + 1: kept
        (6, {"window": 2, "stride": 3, "padding": 1, "ceil_mode": True}, 3),
        # ceil((5 + 2 - 2) / 3) + 1 = 3, and the third window starts at 6 = 5 + 1: dropped
        (5, {"window": 2, "stride": 3, "padding": 1, "ceil_mode": True}, 2),
        # ceil((3 - 1) / 4) + 1 = 2, and the second window starts at 4 > 3: dropped
        (3, {"window": 1, "stride": 4, "ceil_mode": True}, 1),
        (5, {"padding": ((2, 0), (0, 0))}, 3),
        (5, {"padding": ((0, 1), (0, 0)), "stride": (1, 1)}, 4),
    ],
)
def test_pool2d_shape(height: int, options: dict[str, Any], out: int) -> None:
    assert pooled(height, **options) == out


def test_every_window_starts_in_the_image_and_covers_a_pixel() -> None:
    cases = itertools.product(range(1, 9), range(1, 5), range(1, 6), range(4), range(4))
    checked = 0
    for size, window, stride, before, after in cases:
        if max(before, after) >= window or window > size + before + after:
            continue
        padding = ((before, after), (0, 0))
        floor = pooled(size, window=(window, 1), stride=stride, padding=padding)
        ceil = pooled(size, window=(window, 1), stride=stride, padding=padding, ceil_mode=True)
        reach = (floor - 1) * stride + window  # of the windows that fit entirely
        assert reach <= size + before + after < reach + stride
        assert floor <= ceil <= floor + 1
        assert (ceil - 1) * stride < size + before
        # Only pixels that the floor rule leaves out are a reason for one more window.
        assert ceil == floor or floor * stride + window > size + before + after
        checked += 1
    assert checked > 500


# --- arrays ---------------------------------------------------------------------------------------


def test_float32_only() -> None:
    with pytest.raises(TypeError, match=r"^lrn: x has dtype float64, expected float32: x\.astype"):
        arguments.check_array("lrn", "x", zeros(2, dtype="float64"))


def test_device_arrays_are_judged_by_their_shape() -> None:
    class DeviceArray:
        shape = (2, 9, 9, 8)

    shape = calls.check_max_pool2d(DeviceArray(), 3, 2, "valid", False)
    assert shape.output_shape == (2, 4, 4, 8)


class TestOut:
    """Memory of `out`: the layout, and which overlaps are allowed."""

    def check(self, out: Any, x: np.ndarray, may_be: str | None = None) -> None:
        arguments.check_out("relu", "out", out, x.shape, {"x": x, "bias": None}, may_be=may_be)

    def test_good(self) -> None:
        self.check(zeros(3, 4), zeros(3, 4))
        self.check(zeros(0, 4), zeros(0, 4))

    def test_itself_where_allowed(self) -> None:
        x = zeros(3, 4)
        self.check(x, x, may_be="x")
        self.check(x.reshape(4, 3).reshape(3, 4), x, may_be="x")

    def test_itself_where_not_allowed(self) -> None:
        x = zeros(3, 4)
        with pytest.raises(ValueError, match=r"^relu: out overlaps x, expected separate memory$"):
            self.check(x, x)

    def test_partial_overlap(self) -> None:
        memory = zeros(5, 4)
        with pytest.raises(ValueError, match="out overlaps x"):
            self.check(memory[:3], memory[1:4], may_be="x")

    def test_same_start_but_another_layout(self) -> None:
        x = zeros(3, 3)
        with pytest.raises(ValueError, match="out overlaps x"):
            self.check(x, x.T, may_be="x")

    def test_read_only(self) -> None:
        out = zeros(3, 4)
        out.flags.writeable = False
        with pytest.raises(ValueError, match=r"^relu: out is read-only, expected a writeable arra"):
            self.check(out, zeros(3, 4))

    def test_not_contiguous(self) -> None:
        message = r"^relu: out has strides \(4, 12\) for shape \(3, 4\), expected a C-contiguous"
        with pytest.raises(ValueError, match=message):
            self.check(zeros(4, 3).T, zeros(3, 4))

    def test_results_overlap_each_other(self) -> None:
        memory = zeros(4, 4)
        out = (memory[:, :], memory[0])
        with pytest.raises(ValueError, match=r"out\[1\] \(dbias\) overlaps out\[0\] \(dweight\)"):
            reference.dense_backward_weight(zeros(2, 4), zeros(2, 4), out=out)


@pytest.mark.parametrize("wrong", [True, (True, 1), 1.0])
def test_what_is_remembered_for_integers_serves_nothing_else(wrong: Any) -> None:
    x, weight = (1, 8, 9, 1), (3, 3, 1, 4)
    for stride in (1, (1, 1)):
        conv2d_shape(x, weight, stride=stride)
        pooled(8, stride=stride)
    with pytest.raises(TypeError, match="conv2d: stride is"):
        conv2d_shape(x, weight, stride=wrong)
    with pytest.raises(TypeError, match="max_pool2d: stride is"):
        pooled(8, stride=wrong)
