"""The operators on the CPU: float32 NumPy arrays, C++ kernels, one function an operator.

Each function has the signature, the checks and the results of its namesake in
``alexnet.reference``, whose docstring it shares; what differs is said here once. Arrays must be
float32 (labels: any integer dtype) in the machine's byte order; inputs that are not C-contiguous
are copied once. ``precision="bfloat16"`` of convolutions and dense layers takes and gives bfloat16
as well, and `alexnet.cpu.bfloat16` has them for weights that are packed once. Results are new
arrays unless ``out`` is given, which must have the exact shape and dtype, be C-contiguous and
writeable, and overlap no input unless the operator says so. Nothing is written before every
argument has passed its checks. The interpreter lock is released while a kernel runs; calls from
several Python threads are independent. The same input gives the same bits for every number
of threads.
"""

from alexnet.cpu import bfloat16 as bfloat16
from alexnet.cpu import fused as fused
from alexnet.cpu.batch_norm import batch_norm, batch_norm_backward
from alexnet.cpu.conv2d import (
    conv2d,
    conv2d_algorithms,
    conv2d_backward_input,
    conv2d_backward_weight,
)
from alexnet.cpu.dense import dense, dense_backward_input, dense_backward_weight
from alexnet.cpu.dropout import dropout, dropout_backward
from alexnet.cpu.l2_loss import l2_loss, l2_loss_backward
from alexnet.cpu.lrn import lrn, lrn_backward
from alexnet.cpu.max_pool2d import max_pool2d, max_pool2d_backward
from alexnet.cpu.optimizer import adam_update, sgd_update
from alexnet.cpu.relu import relu, relu_backward
from alexnet.cpu.softmax_cross_entropy import (
    softmax_cross_entropy,
    softmax_cross_entropy_backward,
)

__all__ = [
    "adam_update",
    "batch_norm",
    "batch_norm_backward",
    "conv2d",
    "conv2d_algorithms",
    "conv2d_backward_input",
    "conv2d_backward_weight",
    "dense",
    "dense_backward_input",
    "dense_backward_weight",
    "dropout",
    "dropout_backward",
    "l2_loss",
    "l2_loss_backward",
    "lrn",
    "lrn_backward",
    "max_pool2d",
    "max_pool2d_backward",
    "relu",
    "relu_backward",
    "sgd_update",
    "softmax_cross_entropy",
    "softmax_cross_entropy_backward",
]
