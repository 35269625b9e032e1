"""Softmax cross-entropy on the CPU; see `alexnet.reference.softmax_cross_entropy`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from alexnet import _cpu, reference
from alexnet.contract import calls
from alexnet.contract.arguments import AnyArray, check_integer_array
from alexnet.contract.documentation import documented_as
from alexnet.cpu._arrays import FloatArray, check_input, make_output, plain_inputs
from alexnet.recording import call_kernel


@documented_as(reference.softmax_cross_entropy)
def softmax_cross_entropy(
    logits: AnyArray, labels: AnyArray, *, out: AnyArray | None = None
) -> FloatArray:
    operator = "softmax_cross_entropy"
    logits = check_input(operator, "logits", logits)
    indices = _labels(operator, logits, labels)
    (logits,) = plain_inputs(logits)
    loss = make_output(operator, "out", out, (), {"logits": logits, "labels": labels})
    batch, classes = logits.shape
    call_kernel(_cpu.softmax_cross_entropy, batch, classes, logits, indices, loss)
    return loss


@documented_as(reference.softmax_cross_entropy_backward)
def softmax_cross_entropy_backward(
    logits: AnyArray, labels: AnyArray, *, out: AnyArray | None = None
) -> FloatArray:
    operator = "softmax_cross_entropy_backward"
    logits = check_input(operator, "logits", logits)
    indices = _labels(operator, logits, labels)
    (logits,) = plain_inputs(logits)
    dlogits = make_output(operator, "out", out, logits.shape, {"logits": logits, "labels": labels})
    batch, classes = logits.shape
    call_kernel(_cpu.softmax_cross_entropy_backward, batch, classes, logits, indices, dlogits)
    return dlogits


def _labels(operator: str, logits: FloatArray, labels: object) -> npt.NDArray[np.int64]:
    """`labels` as int64, each of them a class: a copy, which no other thread changes from then."""
    integers = check_integer_array(operator, "labels", labels)
    batch, classes = calls.check_softmax_cross_entropy(operator, logits, integers)
    if batch:
        calls.check_label_range(operator, int(integers.min()), int(integers.max()), classes)
    return np.array(integers, np.int64, order="C")
