"""Arrays in and out of the CUDA operators: C-contiguous, on the current device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import cupy

from alexnet.contract import hints
from alexnet.contract.arguments import (
    BFLOAT16,
    DLPACK_CUDA,
    AnyArray,
    ArrayAccess,
    Shape,
    check_array,
    check_integer_array,
    check_out,
    check_outs,
    check_separate,
    check_shape,
    check_writeable,
)
from alexnet.messages import type_name

DeviceArray: TypeAlias = Any  # a cupy.ndarray, or what `as_cupy` makes one of


def as_cupy(array: object) -> DeviceArray | None:
    """`array` as a CuPy array over the same memory; None where it is not on a CUDA device."""
    if isinstance(array, cupy.ndarray):
        return array
    if hasattr(array, "__cuda_array_interface__"):
        return cupy.asarray(array)
    if hasattr(array, "__dlpack_device__") and array.__dlpack_device__()[0] == DLPACK_CUDA:
        return cupy.from_dlpack(array)
    return None


# What arrays may hold where an operator says so; it computes in float32.
STORED = ("float32", BFLOAT16, "float16")


class DeviceAccess(ArrayAccess):
    """What the checks of arguments ask of arrays on the current device."""

    def check_type(self, operator: str, argument: str, array: object, expected: str) -> DeviceArray:
        """`array` as a CuPy array, if it is on the current device."""
        try:
            on_device = as_cupy(array)
        except Exception as error:  # whatever the object of another library has raised
            raise TypeError(
                f"{operator}: {argument} is of type {type_name(array)}, which shows no array on a "
                f"CUDA device: {' '.join(str(error).split()):.100}"
            ) from error
        if on_device is None:
            hint = hints.of_device(argument, array)
            raise TypeError(
                f"{operator}: {argument} is of type {type_name(array)}, expected a cupy.ndarray, "
                f"or another array on a CUDA device, of {expected}{hint}"
            )
        current = cupy.cuda.Device().id
        if on_device.device.id != current:
            raise ValueError(
                f"{operator}: {argument} is on device {on_device.device.id}, "
                f"expected device {current}, the current one"
            )
        return on_device

    def overlap(self, array: DeviceArray, other: DeviceArray) -> bool:
        """Whether two arrays may share memory."""
        return bool(cupy.may_share_memory(array, other))

    def address(self, array: DeviceArray) -> int:
        """Where the first element lies."""
        return int(array.data.ptr)

    def is_writeable(self, array: DeviceArray) -> bool:  # noqa: ARG002
        """CuPy's arrays always are."""
        return True

    def is_aligned(self, array: DeviceArray) -> bool:
        """Whether the address is a multiple of the elements' size."""
        return self.address(array) % int(array.dtype.itemsize) == 0


DEVICE = DeviceAccess()


def as_input(operator: str, argument: str, array: object) -> DeviceArray:
    """`array` as C-contiguous float32: itself, or a copy where only the layout differs."""
    return _plain(check_array(operator, argument, array, access=DEVICE))


def _plain(array: DeviceArray) -> DeviceArray:
    """`array`, C-contiguous and aligned. CuPy's `ascontiguousarray` gives those of no axes one."""
    is_plain = array.flags.c_contiguous and DEVICE.is_aligned(array)
    return array if is_plain else array.copy()


def as_stored(
    operator: str, argument: str, array: object, like: DeviceArray | None = None
) -> DeviceArray:
    """`array`, C-contiguous, of one of the `STORED` dtypes: that of `like`, where one is given."""
    dtypes = STORED if like is None else (like.dtype.name,)
    return _plain(check_array(operator, argument, array, dtypes, DEVICE))


def as_relu_output(
    operator: str, array: object, shape: Shape, like: DeviceArray
) -> DeviceArray | None:
    """`array` as `as_stored` has it, of `shape`; None where it is None."""
    if array is None:
        return None
    plain = as_stored(operator, "relu_output", array, like)
    check_shape(operator, "relu_output", plain, shape)
    return plain


def as_integers(operator: str, argument: str, array: object) -> DeviceArray:
    """`array` if it is of integers, of any layout."""
    return check_integer_array(operator, argument, array, DEVICE)


def as_state(operator: str, arrays: Mapping[str, object]) -> dict[str, DeviceArray]:
    """`arrays`, by argument name, that are float32 and are to be changed in place."""
    return {
        argument: check_array(operator, argument, array, access=DEVICE)
        for argument, array in arrays.items()
    }


def check_in_place(operator: str, state: Mapping[str, DeviceArray], gradient: DeviceArray) -> None:
    """Check that the arrays of `state` can be written to and that none shares memory."""
    others = {"gradient": gradient}
    for argument, array in state.items():
        check_writeable(operator, argument, array, DEVICE)
        check_separate(operator, argument, array, others, access=DEVICE)
        others[argument] = array


def make_output(
    operator: str,
    argument: str,
    out: object,
    shape: Shape,
    inputs: Mapping[str, AnyArray | None],
    *,
    may_be: str | None = None,
    like: DeviceArray | None = None,
) -> DeviceArray:
    """`out` where it is given and fits, else a new array: of the dtype of `like`, or float32."""
    dtype = cupy.dtype(cupy.float32) if like is None else like.dtype
    if out is None:
        return cupy.empty(shape, dtype)
    return check_out(
        operator, argument, out, shape, inputs, dtypes=(dtype.name,), may_be=may_be, access=DEVICE
    )


def make_outputs(
    operator: str,
    out: object,
    shapes: Mapping[str, Shape],
    inputs: Mapping[str, AnyArray | None],
    like: Mapping[str, DeviceArray] | None = None,
) -> list[DeviceArray]:
    """One array for each of `shapes`: the entry of `out` where one is given, else a new array.

    `like` has, by the result's name, an array of the same dtype; the others are float32.
    """
    dtypes = {name: array.dtype for name, array in (like or {}).items()}
    others = {name: (dtype.name,) for name, dtype in dtypes.items()}
    given = check_outs(operator, out, shapes, inputs, others=others, access=DEVICE)
    return [
        cupy.empty(shape, dtypes.get(name, cupy.float32)) if array is None else array
        for array, (name, shape) in zip(given, shapes.items(), strict=True)
    ]


def make_workspace(size: int) -> DeviceArray | None:
    """`size` bytes from CuPy's pool, for the kernels of one call; None where it needs none."""
    return cupy.empty((size,), cupy.uint8) if size else None


def stream() -> int:
    """Give the address of the caller's current stream."""
    return int(cupy.cuda.get_current_stream().ptr)
