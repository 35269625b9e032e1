"""ncnn, its Winograd and GEMM convolutions on; the network in its text format.

In bfloat16 it stores weights and activations so, and multiplies in it where the processor can. By
default it may store what it likes in float16 or bfloat16; which layers do is not to be asked.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import ncnn
import numpy as np

from alexnet.comparison.cases import BFLOAT16, DEFAULT, Arrays, Case, NetworkCase
from alexnet.comparison.peers.inference import InferenceEngine, job, nchw
from alexnet.comparison.peers.interface import Job
from alexnet.comparison.peers.windows import conv2d_extents, pool2d_extents
from alexnet.contract.arguments import AnyArray, Shape
from alexnet.network.layer import Layer
from alexnet.network.layers import LRN, BatchNorm, Conv2d, Dense, Dropout, Flatten, MaxPool2d

MAGIC = 7767517  # of the text format
FLOAT32 = np.zeros(1, np.uint32)  # the flag before weights that are stored as they are

# Kind, options by number (https://github.com/Tencent/ncnn/wiki/operators), arrays of weights.
Step = tuple[str, dict[int, Any], list[AnyArray]]


class Ncnn(InferenceEngine):
    """One image at a time, which is how ncnn works, on all threads."""

    def __init__(self, threads: int) -> None:
        self._threads = threads

    def version(self) -> str:
        return f"ncnn {ncnn.__version__}"

    def prepare(self, case: Case, mode: str, operands: Arrays) -> Job:  # noqa: ARG002
        assert isinstance(case, NetworkCase)
        net = ncnn.Net()
        net.opt.num_threads = self._threads
        net.opt.use_winograd_convolution = net.opt.use_sgemm_convolution = True
        precision = _set_precision(net.opt, case.precision)
        _load(net, [step for layer in case.layers(operands) for step in _steps(*layer)])
        images = [ncnn.Mat(image).clone() for image in nchw(operands["x"])]

        def run() -> AnyArray:
            return np.stack([_inferred(net, image) for image in images])

        return job(run, precision)


def _set_precision(options: Any, precision: str) -> str:
    """Set what is asked for; return the name of what may then be stored and multiplied in."""
    if precision != DEFAULT:
        options.use_fp16_packed = options.use_fp16_storage = options.use_fp16_arithmetic = False
        options.use_bf16_packed = options.use_bf16_storage = precision == BFLOAT16
        return precision
    kinds = {"float16": options.use_fp16_storage, "bfloat16": options.use_bf16_storage}
    return "/".join(["float32", *(kind for kind, is_used in kinds.items() if is_used)])


def _inferred(net: Any, image: Any) -> AnyArray:
    extractor = net.create_extractor()
    extractor.input("x", image)
    _, y = extractor.extract("y")
    return np.array(y)  # a copy, while y holds the memory


def _load(net: Any, steps: list[Step]) -> None:
    """Write the network as ncnn's two files, and let it read them."""
    lines = ["Input input 0 1 x"]
    for index, (kind, options, _) in enumerate(steps):
        bottom = "x" if index == 0 else f"blob{index}"
        top = "y" if index == len(steps) - 1 else f"blob{index + 1}"
        text = " ".join(f"{number}={value}" for number, value in options.items())
        lines.append(f"{kind} layer{index} 1 1 {bottom} {top} {text}")
    with tempfile.TemporaryDirectory() as folder:
        param, binary = Path(folder, "net.param"), Path(folder, "net.bin")
        param.write_text("\n".join([f"{MAGIC}", f"{len(lines)} {len(lines)}", *lines, ""]))
        with binary.open("wb") as file:
            for _, _, arrays in steps:
                for array in arrays:
                    np.ascontiguousarray(array).tofile(file)
        if net.load_param(str(param)) or net.load_model(str(binary)):
            raise ValueError("ncnn does not take the network")


def _steps(layer: Layer, shape: Shape, own: dict[str, AnyArray]) -> list[Step]:
    options: dict[int, Any]
    match layer:
        case Conv2d():
            return [_conv2d(layer, shape, own)]
        case Dense():
            weight = own["weight"].T
            options = {0: layer.features, 1: int(layer.bias), 2: weight.size, 9: _relu(layer)}
            return [("InnerProduct", options, [FLOAT32, weight, *_bias(own)])]
        case LRN():
            window = 2 * layer.depth_radius + 1  # by which ncnn divides alpha
            options = {
                0: 0,
                1: window,
                2: layer.alpha * window,
                3: layer.beta,
                4: layer.bias,
            }
            return [("LRN", options, [])]
        case MaxPool2d():
            return [_max_pool2d(layer, shape)]
        case BatchNorm():
            names = ("gamma", "running_mean", "running_variance", "beta")
            options = {0: shape[-1], 1: layer.epsilon}
            step: Step = ("BatchNorm", options, [own[name] for name in names])
            return [step, ("ReLU", {}, [])] if layer.activation else [step]
        case Dropout():
            return []
        case Flatten():  # channels last: order 3 is channels, width, height from the inside
            return [("Permute", {0: 3}, []), ("Flatten", {}, [])]
    raise ValueError(f"{layer.name}: {type(layer).__name__} has no form in ncnn here")


def _relu(layer: Conv2d | Dense) -> int:
    return int(layer.activation == "relu")


def _conv2d(layer: Conv2d, shape: Shape, own: dict[str, AnyArray]) -> Step:
    weight = own["weight"]
    s = conv2d_extents(layer, shape)
    options = {
        0: layer.features,
        1: weight.shape[1],
        11: weight.shape[0],
        3: s.stride_width,
        13: s.stride_height,
        4: s.pad_left,
        14: s.pad_top,
        15: s.pad_right,
        16: s.pad_bottom,
        5: int(layer.bias),
        6: weight.size,
        9: _relu(layer),
    }
    kind = "Convolution"
    if s.groups > 1:
        kind, options[7] = "ConvolutionDepthWise", s.groups
    arrays = [FLOAT32, weight.transpose(3, 2, 0, 1)]
    return kind, options, [*arrays, *_bias(own)]


def _bias(own: dict[str, AnyArray]) -> list[AnyArray]:
    return [own["bias"]] if "bias" in own else []


def _max_pool2d(layer: MaxPool2d, shape: Shape) -> Step:
    s = pool2d_extents(layer, shape)
    rounding = 0 if layer.ceil_mode else 1
    options = {
        0: 0,
        1: s.window_width,
        11: s.window_height,
        2: s.stride_width,
        12: s.stride_height,
        3: s.pad_left,
        13: s.pad_top,
        14: s.pad_left,
        15: s.pad_top,
        5: rounding,
    }
    return "Pooling", options, []


PEER = Ncnn
