"""AlexNet on hand-written kernels: the operators, forward and backward, and the network on them.

The operators are here (`alexnet.conv2d`, ...), where the kind of array decides which kernels run,
in `alexnet.cpu`, in `alexnet.cuda`, and as an oracle in NumPy in `alexnet.reference`, under the
same names and with the same signatures. `alexnet.AlexNet(variant)` composes them.
"""

from importlib import import_module
from typing import Any

from alexnet import starting  # noqa: F401 - before all that takes time

# isort: split
from alexnet import loading  # noqa: F401 - before all that uses the compiled module

# isort: split
from alexnet import cpu, reference
from alexnet.data import imagenet_classes
from alexnet.inference.prediction import predict, top_classes
from alexnet.interchange import load, load_model
from alexnet.network.network import Network
from alexnet.network.variant import Variant
from alexnet.network.variants import AlexNet, variants
from alexnet.ops import (
    adam_update,
    batch_norm,
    batch_norm_backward,
    conv2d,
    conv2d_algorithms,
    conv2d_backward_input,
    conv2d_backward_weight,
    dense,
    dense_backward_input,
    dense_backward_weight,
    dropout,
    dropout_backward,
    l2_loss,
    l2_loss_backward,
    lrn,
    lrn_backward,
    max_pool2d,
    max_pool2d_backward,
    relu,
    relu_backward,
    sgd_update,
    softmax_cross_entropy,
    softmax_cross_entropy_backward,
)
from alexnet.runtime import (
    available_isas,
    build_info,
    cpu_bfloat16,
    cpu_isa,
    cuda_obstacle,
    get_num_threads,
    has_cuda,
    num_threads_from,
    set_cpu_isa,
    set_num_threads,
)
from alexnet.training.optimizers import SGD, Adam

__all__ = [
    "SGD",
    "Adam",
    "AlexNet",
    "Network",
    "Variant",
    "adam_update",
    "available_isas",
    "batch_norm",
    "batch_norm_backward",
    "build_info",
    "conv2d",
    "conv2d_algorithms",
    "conv2d_backward_input",
    "conv2d_backward_weight",
    "cpu",
    "cpu_bfloat16",
    "cpu_isa",
    "cuda_obstacle",
    "dense",
    "dense_backward_input",
    "dense_backward_weight",
    "dropout",
    "dropout_backward",
    "get_num_threads",
    "has_cuda",
    "imagenet_classes",
    "l2_loss",
    "l2_loss_backward",
    "load",
    "load_model",
    "lrn",
    "lrn_backward",
    "max_pool2d",
    "max_pool2d_backward",
    "num_threads_from",
    "predict",
    "reference",
    "relu",
    "relu_backward",
    "set_cpu_isa",
    "set_num_threads",
    "sgd_update",
    "softmax_cross_entropy",
    "softmax_cross_entropy_backward",
    "top_classes",
    "variants",
]


__version__: str = build_info()["version"]


def __getattr__(name: str) -> Any:
    """`alexnet.cuda` on its first use: it needs CuPy and a device, which nothing else does."""
    if name == "cuda":
        return import_module("alexnet.cuda")
    raise AttributeError(f"module 'alexnet' has no attribute {name!r}")
