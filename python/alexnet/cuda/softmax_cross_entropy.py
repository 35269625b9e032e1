"""Softmax cross-entropy on a CUDA device; see `alexnet.reference.softmax_cross_entropy`."""

from __future__ import annotations

import cupy
import numpy as np

from alexnet import _cuda, graphs, reference
from alexnet.contract import calls
from alexnet.contract.arguments import AnyArray, check_integer_array
from alexnet.contract.documentation import documented_as
from alexnet.cuda._arrays import (
    DeviceArray,
    as_integers,
    as_stored,
    make_output,
    make_workspace,
    stream,
)


@documented_as(reference.softmax_cross_entropy)
def softmax_cross_entropy(
    logits: DeviceArray, labels: DeviceArray | AnyArray, *, out: DeviceArray | None = None
) -> DeviceArray:
    operator = "softmax_cross_entropy"
    logits = as_stored(operator, "logits", logits)
    indices = _labels(operator, logits, labels)
    loss = make_output(operator, "out", out, (), {"logits": logits, "labels": indices})
    batch, classes = logits.shape
    workspace = make_workspace(_cuda.softmax_cross_entropy_workspace(batch))
    _cuda.softmax_cross_entropy(batch, classes, logits, indices, loss, workspace, stream())
    return loss


@documented_as(reference.softmax_cross_entropy_backward)
def softmax_cross_entropy_backward(
    logits: DeviceArray, labels: DeviceArray | AnyArray, *, out: DeviceArray | None = None
) -> DeviceArray:
    operator = "softmax_cross_entropy_backward"
    logits = as_stored(operator, "logits", logits)
    indices = _labels(operator, logits, labels)
    inputs = {"logits": logits, "labels": indices}
    dlogits = make_output(operator, "out", out, logits.shape, inputs, like=logits)
    batch, classes = logits.shape
    _cuda.softmax_cross_entropy_backward(batch, classes, logits, indices, dlogits, stream())
    return dlogits


def _labels(operator: str, logits: DeviceArray, labels: DeviceArray | AnyArray) -> DeviceArray:
    """`labels` on the device, C-contiguous int64, each of them a class.

    NumPy's are checked where they are; those of the device have to be waited for, and are not
    checked where that can't be, in a CUDA graph: a label that is no class makes its row NaN there.
    """
    on_host = isinstance(labels, np.ndarray)
    check = check_integer_array if on_host else as_integers
    integers = check(operator, "labels", labels)
    batch, classes = calls.check_softmax_cross_entropy(operator, logits, integers)
    in_graph = graphs.is_running() or cupy.cuda.get_current_stream().is_capturing()
    if batch and (on_host or not in_graph):
        calls.check_label_range(operator, int(integers.min()), int(integers.max()), classes)
    return cupy.ascontiguousarray(cupy.asarray(integers), dtype=cupy.int64)
