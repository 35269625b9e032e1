"""Softmax cross-entropy with integer labels, mean over the batch, and its gradient.

    loss = mean over rows of (log(sum_j exp(z_j)) - z_label)
    dlogits = (softmax - onehot) / batch

The row's maximum is subtracted before exponentials are taken: they cannot overflow, and their sum
is at least 1.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from alexnet.contract import calls
from alexnet.contract.arguments import AnyArray, check_integer_array
from alexnet.reference._arrays import FloatArray, as_float64, check_input, check_result, deliver

Labels = npt.NDArray[np.integer]


def softmax_cross_entropy(
    logits: FloatArray, labels: Labels, *, out: FloatArray | None = None
) -> FloatArray:
    """Cross-entropy of the softmax with integer labels, in nats, mean over the batch.

        loss = mean over rows z of (log(sum over j of exp(z[j])) - z[label])

    Logits are float32 (the reference: float64 too, and a new result is float64); inputs may have
    any strides.

    Parameters
    ----------
    logits : array (batch, classes)
        Only the batch may be 0.
    labels : array (batch,)
        Integers of any width, signed or not, from 0 to classes - 1.
    out : array without axes, optional
        float32 (the reference: float64 too), C-contiguous, writeable; overlaps no input. Filled and
        returned; a new array where it is None.

    Returns
    -------
    loss : array without axes
        0 for an empty batch.

    Raises
    ------
    TypeError
        `logits`, `labels` or `out` is no `numpy.ndarray` or is masked, or its dtype or byte order
        is another.
    ValueError
        Shapes do not fit, a label is out of range, or `out` is not as said above.

    Notes
    -----
    The definition of ``tf.nn.sparse_softmax_cross_entropy_with_logits``, averaged. The maximum of a
    row is subtracted before exponentials are taken: they cannot overflow, and their sum is at least
    1.
    """
    operator = "softmax_cross_entropy"
    check_input(operator, "logits", logits)
    rows, classes = _check_labels(operator, logits, labels)
    values = as_float64(logits)
    check_result(operator, out, (), {"logits": logits, "labels": labels})
    shifted = values - values.max(axis=1, keepdims=True)
    losses = np.log(np.exp(shifted).sum(axis=1)) - shifted[rows, classes]
    return deliver(np.asarray(losses.sum() / max(len(rows), 1)), out)


def softmax_cross_entropy_backward(
    logits: FloatArray, labels: Labels, *, out: FloatArray | None = None
) -> FloatArray:
    """Gradient of `softmax_cross_entropy` with respect to the logits.

        dlogits = (softmax(logits) - onehot(labels)) / batch

    Logits are float32 (the reference: float64 too, and a new result is float64); inputs may have
    any strides.

    Parameters
    ----------
    logits : array (batch, classes)
        Those of the forward call.
    labels : array (batch,)
        Integers of any width, signed or not, from 0 to classes - 1.
    out : array (batch, classes), optional
        float32 (the reference: float64 too), C-contiguous, writeable; overlaps no input. Filled and
        returned; a new array where it is None.

    Returns
    -------
    dlogits : array (batch, classes)
        Divided by the batch, as the loss is a mean; softmax takes exponentials as the loss does.

    Raises
    ------
    TypeError
        `logits`, `labels` or `out` is no `numpy.ndarray` or is masked, or its dtype or byte order
        is another.
    ValueError
        Shapes do not fit, a label is out of range, or `out` is not as said above.

    Notes
    -----
    The derivative of log(sum over j of exp(z[j])) - z[label].
    """
    operator = "softmax_cross_entropy_backward"
    check_input(operator, "logits", logits)
    rows, classes = _check_labels(operator, logits, labels)
    values = as_float64(logits)
    check_result(operator, out, logits.shape, {"logits": logits, "labels": labels})
    exponentials = np.exp(values - values.max(axis=1, keepdims=True))
    dlogits = exponentials / exponentials.sum(axis=1, keepdims=True)
    dlogits[rows, classes] -= 1
    return deliver(dlogits / max(len(rows), 1), out)


def _check_labels(
    operator: str, logits: FloatArray, labels: Labels
) -> tuple[npt.NDArray[np.int64], AnyArray]:
    """Check the arguments; return the row numbers 0 .. batch - 1, and the labels."""
    integers = check_integer_array(operator, "labels", labels)
    batch, classes = calls.check_softmax_cross_entropy(operator, logits, integers)
    if batch:
        calls.check_label_range(operator, int(integers.min()), int(integers.max()), classes)
    return np.arange(batch), integers
