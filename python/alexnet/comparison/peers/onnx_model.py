"""A network for inference as an ONNX model, which ONNX Runtime and OpenVINO read."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from alexnet.comparison.cases import Arrays, NetworkCase
from alexnet.comparison.peers.windows import conv2d_extents, pool2d_extents
from alexnet.contract.arguments import AnyArray, Shape
from alexnet.network.layer import Layer
from alexnet.network.layers import LRN, BatchNorm, Conv2d, Dense, Dropout, Flatten, MaxPool2d

OPSET, IR_VERSION = 17, 8  # what every release of the last years reads


def build(case: NetworkCase, operands: Arrays) -> bytes:
    """Serialise the network, with its weights, for input "x" and output "y" in NCHW."""
    nodes: list[Any] = []
    weights: list[Any] = []
    name = "x"
    for layer, shape, own in case.layers(operands):
        for kind, attributes, arrays in _nodes(layer, shape, own):
            output = f"{layer.name}_{kind}"
            inputs = [f"{output}_{index}" for index in range(len(arrays))]
            weights += [
                numpy_helper.from_array(np.ascontiguousarray(array), key)
                for key, array in zip(inputs, arrays, strict=True)
            ]
            nodes.append(helper.make_node(kind, [name, *inputs], [output], **attributes))
            name = output
    nodes.append(helper.make_node("Identity", [name], ["y"]))
    batch, height, width, channels = operands["x"].shape
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, (batch, channels, height, width))
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, case.variant.name, [x], [y], weights)
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
    serialised: bytes = model.SerializeToString()
    return serialised


Node = tuple[str, dict[str, Any], list[AnyArray]]


def _nodes(layer: Layer, shape: Shape, own: dict[str, AnyArray]) -> list[Node]:
    """Nodes of one layer: kind, attributes, and the arrays that follow the input."""
    match layer:
        case Conv2d():
            nodes = [_conv2d(layer, shape, own)]
        case Dense():
            nodes = [("Gemm", {}, [own["weight"], *_bias(own)])]
        case LRN():
            window = 2 * layer.depth_radius + 1  # by which ONNX divides alpha
            how = {"alpha": layer.alpha * window, "beta": layer.beta, "bias": layer.bias}
            nodes = [("LRN", {"size": window, **how}, [])]
        case MaxPool2d():
            nodes = [_max_pool2d(layer, shape)]
        case BatchNorm():
            names = ("gamma", "beta", "running_mean", "running_variance")
            arrays = [own[name] for name in names]
            nodes = [("BatchNormalization", {"epsilon": layer.epsilon}, arrays)]
        case Dropout():
            nodes = []
        case Flatten():  # channels last
            nodes = [("Transpose", {"perm": (0, 2, 3, 1)}, []), ("Flatten", {}, [])]
        case _:
            raise ValueError(f"{layer.name}: {type(layer).__name__} has no ONNX form here")
    return [*nodes, ("Relu", {}, [])] if getattr(layer, "activation", None) else nodes


def _conv2d(layer: Conv2d, shape: Shape, own: dict[str, AnyArray]) -> Node:
    s = conv2d_extents(layer, shape)
    attributes = {
        "strides": (s.stride_height, s.stride_width),
        "pads": (s.pad_top, s.pad_left, s.pad_bottom, s.pad_right),
        "group": s.groups,
    }
    return "Conv", attributes, [own["weight"].transpose(3, 2, 0, 1), *_bias(own)]


def _bias(own: dict[str, AnyArray]) -> list[AnyArray]:
    return [own["bias"]] if "bias" in own else []


def _max_pool2d(layer: MaxPool2d, shape: Shape) -> Node:
    s = pool2d_extents(layer, shape)
    attributes = {
        "kernel_shape": (s.window_height, s.window_width),
        "strides": (s.stride_height, s.stride_width),
        "pads": (s.pad_top, s.pad_left, s.pad_top, s.pad_left),
        "ceil_mode": int(layer.ceil_mode),
    }
    return "MaxPool", attributes, []
