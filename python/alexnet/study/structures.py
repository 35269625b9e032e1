"""Shapes as the rungs get them: the structures of cpp/study/shapes.h and cuda/study.cuh."""

from __future__ import annotations

import ctypes
import math
from typing import Any

from alexnet.comparison.cases import LayerCase
from alexnet.contract.arguments import Shape, check_pair
from alexnet.contract.shapes import conv2d_shape, pool2d_shape
from alexnet.network.layers import LRN, Conv2d, MaxPool2d
from alexnet.study.fused import LRNMaxPool2d


class _Conv2d(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("batch", "in_height", "in_width", "in_channels"),
            *("out_height", "out_width", "out_channels"),
            *("kernel_height", "kernel_width", "stride", "pad_top", "pad_left"),
        )
    )


class _Dense(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_size_t) for name in ("batch", "in_features", "out_features"))


class _Lrn(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_size_t) for name in ("pixels", "channels", "radius")),
        *((name, ctypes.c_float) for name in ("bias", "alpha", "beta")),
    )


class _MaxPool2d(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("batch", "in_height", "in_width", "channels"),
            *("out_height", "out_width", "window", "stride"),
        )
    )


class _LrnMaxPool2d(ctypes.Structure):
    _fields_ = (("lrn", _Lrn), ("pool", _MaxPool2d))


def structure_of(case: LayerCase) -> ctypes.Structure:
    """Describe a layer's shape.

    Raises
    ------
    ValueError
        The layer is one that the rungs do not know: groups, unequal strides, windows that reach
        beyond the image.
    """
    layer, shape = case.layer, case.input_shape
    if isinstance(layer, Conv2d):
        weight = case.parameter_shapes["weight"]
        if layer.groups != 1:
            raise ValueError(f"{layer.name}: has {layer.groups} groups, expected 1 in the ladders")
        s = conv2d_shape(layer.name, shape, weight, layer.stride, layer.padding, groups=1)
        if s.pad_top >= s.kernel_height or s.pad_left >= s.kernel_width:
            raise ValueError(f"{layer.name}: expected less padding than the kernel has")
        return _filled(_Conv2d, s, stride=_equal(layer.name, layer.stride))
    if isinstance(layer, MaxPool2d):
        return _pooling(layer, shape)
    if isinstance(layer, LRNMaxPool2d):
        return _LrnMaxPool2d(_normalisation(layer, shape), _pooling(layer.pool, shape))
    if isinstance(layer, LRN):
        return _normalisation(layer, shape)
    weight = case.parameter_shapes["weight"]
    return _Dense(shape[0], *weight)


def _normalisation(layer: LRN, shape: Shape) -> _Lrn:
    pixels, channels = math.prod(shape[:-1]), shape[-1]
    return _Lrn(pixels, channels, layer.depth_radius, layer.bias, layer.alpha, layer.beta)


def _pooling(layer: MaxPool2d, shape: Shape) -> ctypes.Structure:
    s = pool2d_shape(layer.name, shape, layer.window, layer.stride, layer.padding, layer.ceil_mode)
    window, stride = _equal(layer.name, layer.window), _equal(layer.name, layer.stride)
    last = ((s.out_height - 1) * stride + window, (s.out_width - 1) * stride + window)
    if (s.pad_top, s.pad_left) != (0, 0) or last > shape[1:3]:
        raise ValueError(f"{layer.name}: expected windows inside of the image")
    return _filled(_MaxPool2d, s, window=window, stride=stride)


def values_of(structure: ctypes.Structure) -> dict[str, float]:
    """Give the fields by their names, those of structures within one, too."""
    values: dict[str, float] = {}
    for name, *_ in structure._fields_:
        value = getattr(structure, name)
        values.update(values_of(value) if isinstance(value, ctypes.Structure) else {name: value})
    return values


def narrowed(structure: ctypes.Structure) -> ctypes.Structure:
    """Give the same with integers of 32 bits, as kernels for CUDA have them."""
    fields = tuple(
        (field[0], ctypes.c_int32 if field[1] is ctypes.c_size_t else field[1])
        for field in structure._fields_
    )
    narrow = type("Narrow", (ctypes.Structure,), {"_fields_": fields})
    result: ctypes.Structure = narrow(*(getattr(structure, name) for name, _ in fields))
    return result


def _equal(owner: str, pair: Any) -> int:
    height, width = check_pair(owner, "stride or window", pair)
    if height != width:
        raise ValueError(f"{owner}: {height} by {width}, expected equal numbers in the ladders")
    return height


def _filled(structure: type[ctypes.Structure], shape: Any, **others: int) -> ctypes.Structure:
    names = [field[0] for field in structure._fields_]
    return structure(*(others[name] if name in others else getattr(shape, name) for name in names))
