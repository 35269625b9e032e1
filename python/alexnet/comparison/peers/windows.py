"""Extents of a layer's windows and padding, for frameworks that want them as numbers."""

from __future__ import annotations

from alexnet.contract.arguments import Shape
from alexnet.contract.shapes import Conv2dShape, Pool2dShape, conv2d_shape, pool2d_shape
from alexnet.network.layers import Conv2d, MaxPool2d


def conv2d_extents(layer: Conv2d, input_shape: Shape) -> Conv2dShape:
    """All extents of a convolution of images of `input_shape`, batch first."""
    weight = layer.parameter_shapes(input_shape)["weight"]
    return conv2d_shape(layer.name, input_shape, weight, layer.stride, layer.padding, layer.groups)


def pool2d_extents(layer: MaxPool2d, input_shape: Shape) -> Pool2dShape:
    """All extents of a pooling of images of `input_shape`, batch first."""
    return pool2d_shape(
        layer.name, input_shape, layer.window, layer.stride, layer.padding, layer.ceil_mode
    )


def pool2d_pads(s: Pool2dShape) -> tuple[tuple[int, int], tuple[int, int]]:
    """Rows before and after, columns before and after, that the windows reach over."""
    bottom = (s.out_height - 1) * s.stride_height + s.window_height - s.in_height - s.pad_top
    right = (s.out_width - 1) * s.stride_width + s.window_width - s.in_width - s.pad_left
    return (s.pad_top, max(bottom, 0)), (s.pad_left, max(right, 0))
