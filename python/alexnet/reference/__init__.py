"""Every operator in NumPy, in float64: the definition that the other implementations are held to.

Arguments are float32 or float64 arrays, computed with and returned in float64 (an `out` of either
dtype is filled). Written to be read and to be obviously right, not to be fast.

Of every implementation's operators: bad arguments raise before anything is written, ``TypeError``
for an array of another kind or dtype and for a parameter of the wrong type, ``ValueError`` for
shapes that do not fit, parameters out of range, and an `out` that is not C-contiguous, is read-only
or overlaps an input where the operator does not say that it may. The batch may be empty; no other
extent may. The text names the operator, the argument, what was given and what was expected.
"""

from alexnet.reference.batch_norm import batch_norm, batch_norm_backward
from alexnet.reference.conv2d import (
    conv2d,
    conv2d_algorithms,
    conv2d_backward_input,
    conv2d_backward_weight,
)
from alexnet.reference.dense import dense, dense_backward_input, dense_backward_weight
from alexnet.reference.dropout import dropout, dropout_backward
from alexnet.reference.l2_loss import l2_loss, l2_loss_backward
from alexnet.reference.lrn import lrn, lrn_backward
from alexnet.reference.max_pool2d import max_pool2d, max_pool2d_backward
from alexnet.reference.optimizer import adam_update, sgd_update
from alexnet.reference.relu import relu, relu_backward
from alexnet.reference.softmax_cross_entropy import (
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
