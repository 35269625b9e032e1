"""The operators on a CUDA device: CuPy arrays, CUDA kernels, one function an operator.

Each function has the signature, the checks and the results of its namesake in
``alexnet.reference``, whose docstring it shares; what differs is said here once. Inputs are CuPy
arrays, or any others on a CUDA device that have ``__cuda_array_interface__`` or DLPack (PyTorch's
and Numba's among them), which are used without a copy; those that are not C-contiguous are copied
once. All lie on the current device. Results are new CuPy arrays unless ``out`` is given, which must
have the exact shape and dtype and be C-contiguous.

Arrays are float32. `conv2d`, `dense`, `lrn`, `max_pool2d`, `relu`, `dropout`, `batch_norm`,
`softmax_cross_entropy` and their gradients also take maps, and weights, of float16 or bfloat16 (of
`ml_dtypes`, where CuPy has it), all of a call of one dtype, which their results have as well: they
compute as in float32 and round once. What belongs to a channel, gradients of weights and a loss are
float32 in any case.

Work is put on CuPy's current stream, and calls return before it is done; workspaces come from
CuPy's memory pool. The same input gives the same bits on every run. ``softmax_cross_entropy`` and
its gradient wait for the device, to check the range of labels that lie there, but not while a
stream is captured into a CUDA graph: a label that is no class makes its row NaN.

The module needs a build with CUDA kernels, CuPy and a device; without them its import is an
``ImportError`` that says what is missing. ``import alexnet`` needs none of them.
"""

from alexnet.runtime import cuda_obstacle

if obstacle := cuda_obstacle():
    raise ImportError(f"alexnet.cuda: {obstacle}")

from alexnet.cuda import fused as fused
from alexnet.cuda import mixed_precision as mixed_precision
from alexnet.cuda.batch_norm import batch_norm, batch_norm_backward
from alexnet.cuda.conv2d import (
    conv2d,
    conv2d_algorithms,
    conv2d_backward_input,
    conv2d_backward_weight,
)
from alexnet.cuda.conv2d import (
    conv2d_choice as conv2d_choice,  # for alexnet.verification
)
from alexnet.cuda.dense import dense, dense_backward_input, dense_backward_weight
from alexnet.cuda.dropout import dropout, dropout_backward
from alexnet.cuda.l2_loss import l2_loss, l2_loss_backward
from alexnet.cuda.lrn import lrn, lrn_backward
from alexnet.cuda.max_pool2d import max_pool2d, max_pool2d_backward
from alexnet.cuda.optimizer import adam_update, sgd_update
from alexnet.cuda.relu import relu, relu_backward
from alexnet.cuda.softmax_cross_entropy import (
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
