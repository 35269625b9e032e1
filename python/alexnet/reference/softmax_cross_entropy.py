"""Softmax cross-entropy with integer labels, mean over the batch, and its gradient.

    loss = mean over rows of (log(sum_j exp(z_j)) - z_label)
    dlogits = (softmax - onehot) / batch

The row's maximum is subtracted before exponentials are taken: they cannot overflow, and their sum
is at least 1.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from alexnet import calls
from alexnet.checks import check_integer_array
from alexnet.reference._arrays import FloatArray, as_float64, check_result, deliver

Labels = npt.NDArray[np.integer]


def softmax_cross_entropy(
    logits: FloatArray, labels: Labels, *, out: FloatArray | None = None
) -> FloatArray:
    """Mean loss, an array without axes, of logits (batch, classes) and labels (batch,).

    Labels are integers of any width from 0 to classes - 1. The loss of an empty batch is 0.
    """
    operator = "softmax_cross_entropy"
    values = as_float64(operator, "logits", logits)
    rows = _check_labels(operator, logits, labels)
    check_result(operator, out, (), {"logits": logits, "labels": labels})
    shifted = values - values.max(axis=1, keepdims=True)
    losses = np.log(np.exp(shifted).sum(axis=1)) - shifted[rows, labels]
    return deliver(np.asarray(losses.sum() / max(len(rows), 1)), out)


def softmax_cross_entropy_backward(
    logits: FloatArray, labels: Labels, *, out: FloatArray | None = None
) -> FloatArray:
    """Gradient dlogits (batch, classes) of the mean loss."""
    operator = "softmax_cross_entropy_backward"
    values = as_float64(operator, "logits", logits)
    rows = _check_labels(operator, logits, labels)
    check_result(operator, out, logits.shape, {"logits": logits, "labels": labels})
    exponentials = np.exp(values - values.max(axis=1, keepdims=True))
    dlogits = exponentials / exponentials.sum(axis=1, keepdims=True)
    dlogits[rows, labels] -= 1
    return deliver(dlogits / max(len(rows), 1), out)


def _check_labels(operator: str, logits: FloatArray, labels: Labels) -> npt.NDArray[np.int64]:
    """Check the arguments; return the row numbers 0 .. batch - 1."""
    check_integer_array(operator, "labels", labels)
    batch, classes = calls.check_softmax_cross_entropy(operator, logits, labels)
    if batch:
        calls.check_label_range(operator, int(labels.min()), int(labels.max()), classes)
    return np.arange(batch)
