"""The next step, at the end of a message, where a likely slip has one.

Arrays of other libraries, other dtypes, and the order of axes that PyTorch has: each function looks
at what was given and returns text such as ``: x.astype(np.float32)``, or nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Shape = tuple[int, ...]

# A copy of these would be written to, and lost.
WRITTEN = ("out", "parameter", "velocity", "first_moment", "second_moment")
# Arrays whose first axis is the batch.
WITH_BATCH = ("x", "y", "dy", "logits", "pixels", "views", "images", "positions")
SHAPES = ("input_shape", "kernel_size")  # arguments that stand for an array's shape
REAL_KINDS = "fiub"  # floating, integer, unsigned, bool: of np.dtype.kind
TO_NHWC, TO_HWIO = "transpose(0, 2, 3, 1)", "transpose(2, 3, 1, 0)"


def _is_mended_by_a_copy(argument: str) -> bool:
    return argument.partition("[")[0] not in WRITTEN + SHAPES


def _subject(argument: str) -> str:
    """Write the argument as in code; nothing where it is the name of one array of many."""
    return argument if argument.isidentifier() else ""


def of_type(argument: str, value: Any, dtype: str = "float32") -> str:
    """Make a NumPy array of another library's; `dtype` is what it should have, if that is known."""
    if value is None or not _is_mended_by_a_copy(argument):
        return ""
    subject, library = _subject(argument), type(value).__module__.partition(".")[0]
    if library == "torch" and hasattr(value, "numpy"):
        detached = ".detach()" if getattr(value, "requires_grad", False) else ""
        on_host = "" if getattr(value, "is_cpu", True) else ".cpu()"
        return f": {subject}{detached}{on_host}.numpy() gives one"
    if library == "cupy":
        return f": {subject}.get() gives one"
    if isinstance(value, list | tuple) or any(
        hasattr(value, name) for name in ("__array__", "__array_interface__", "__buffer__")
    ):
        as_dtype = f", np.{dtype}" if dtype.isidentifier() else ""
        return f": np.asarray({subject or '...'}{as_dtype}) gives one"
    return ""


def of_device(argument: str, value: Any) -> str:
    """Make an array on the device of one that is not there."""
    if hasattr(value, "__array__") and _is_mended_by_a_copy(argument):
        return f": cupy.asarray({_subject(argument) or '...'}) gives one"
    return ""


def of_dtype(argument: str, kind: str, expected: str) -> str:
    """Convert an array of real numbers, of a dtype of this `kind`, to those expected."""
    if expected == "uint8" and kind == "f":
        return f": (255 * {_subject(argument)}).round().astype(np.uint8), if they are 0 .. 1"
    if not (expected.startswith("float") and kind in REAL_KINDS and _is_mended_by_a_copy(argument)):
        return ""
    return f": {_subject(argument)}.astype(np.{expected})"


def of_pixels(argument: str, shape: Shape) -> str:
    """Make one image (height, width, 3) of one with channels first, or of a grey one."""
    if len(shape) == 3 and shape[0] == 3:
        return f": {argument}.transpose(1, 2, 0)"
    if len(shape) == 2 or (len(shape) == 3 and shape[2] == 1):
        return f": np.dstack([{argument}] * 3) of a grey one"
    return ""


def of_labels(argument: str, kind: str, shape: Shape) -> str:
    """Make numbers of classes from one-hot rows, or from numbers of another dtype."""
    if kind not in REAL_KINDS:
        return ""
    if len(shape) == 2 and shape[1] > 1:
        return f": {argument}.argmax(axis=1), if its rows are one-hot"
    return f": {argument}.astype(np.int64)" if kind != "b" else ""


def of_shape(argument: str, given: Shape, expected: Shape) -> str:
    """Bring axes into the order that is expected, or add that of the batch."""
    if not _is_mended_by_a_copy(argument):
        return ""
    subject = _subject(argument)
    if len(expected) == 4:
        first, second, third, fourth = expected
        if argument in WITH_BATCH and given == (first, fourth, second, third):
            return f": NHWC is expected, {subject}.{TO_NHWC} gives it"
        if given == (fourth, third, first, second):
            return f": HWIO is expected, {subject}.{TO_HWIO} gives it"
        if given == (fourth, second, third):
            return f": NHWC is expected, {subject}.transpose(1, 2, 0)[None] gives it"
    if argument in WITH_BATCH and len(expected) > 1 and given == expected[1:]:
        return f": {subject}[None] is a batch of one"
    if len(expected) == 2 and given == expected[::-1]:
        return f": {subject}.T"
    if len(expected) == 1 and sorted(given) == sorted((*expected, *[1] * (len(given) - 1))):
        return f": {subject}.ravel()"
    if argument == "labels" and len(given) == 2 and given[:1] == expected:
        return of_labels(argument, "i", given)
    return ""


def of_ndim(argument: str, shape: Sequence[int], axes: Sequence[str]) -> str:
    """Add the axis of the batch, or make each image a row."""
    if not _is_mended_by_a_copy(argument):
        return ""
    if argument in WITH_BATCH and len(axes) > 1 and len(shape) == len(axes) - 1:
        return f": {argument}[None] is a batch of one"
    if argument in WITH_BATCH and len(axes) == 2 and len(shape) > 2:
        return f": {argument}.reshape(len({argument}), -1)"
    if len(axes) == 1 and len(shape) == 2:
        return f": {argument}[0] is its first row"
    return ""


def of_convolution(
    input_name: str,
    input_shape: Sequence[int],
    weight_name: str,
    weight: Sequence[int],
    groups: Any,
) -> str:
    """NHWC and HWIO, where NCHW or OIHW would fit; both shapes have four extents."""
    if not isinstance(groups, int) or input_shape[3] == weight[2] * groups:
        return ""
    gives = "" if input_name in SHAPES else f", {input_name}.{TO_NHWC} gives it"
    nhwc = f": NHWC is expected{gives}"
    hwio = f": HWIO is expected, {weight_name}.{TO_HWIO} gives it"
    if input_shape[1] == weight[2] * groups:
        return nhwc
    if weight[2] == weight[3]:  # a square kernel, at the end as in OIHW
        if input_shape[3] == weight[1] * groups:
            return hwio
        if input_shape[1] == weight[1] * groups:
            return f"{nhwc}{hwio.replace(':', ';')}"
    return ""


def of_dense(features: int, other_axis: int) -> str:
    """Turn a weight (out, in) around, whose other axis is the one that fits."""
    return ": weight is (in, out) here, weight.T turns one of (out, in)" * (features == other_axis)


def of_channels(name: str, shape: Sequence[int], channels: int) -> str:
    """NHWC, where the images have `channels` as their second axis and not as their last."""
    if len(shape) == 4 and shape[1] == channels != shape[3]:
        return f": NHWC is expected, {name}.{TO_NHWC} gives it"
    return ""
