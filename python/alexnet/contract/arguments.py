"""Checks of single arguments, shared by every implementation of the operators.

Whatever is wrong raises one line that names the operator, the argument, what was given and what
was expected: ``ValueError`` for shapes, ranges and memory layout, ``TypeError`` for an argument of
the wrong kind or dtype. Nothing here reads the numbers in an array.
"""

from __future__ import annotations

import ctypes
import dataclasses
import math
import os
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from alexnet.contract import hints
from alexnet.messages import hint, shown, shown_number, type_name

Shape: TypeAlias = tuple[int, ...]
Size2d: TypeAlias = int | Sequence[int]
AnyArray: TypeAlias = npt.NDArray[np.generic]

CONV2D_ALGORITHMS = ("naive", "im2col", "direct", "winograd")
LARGEST_THREADS = 4096
REAL_NUMBERS = (int, float, np.integer, np.floating)
NO_NUMBERS = (bool, np.timedelta64)  # though they are derived from integers
BFLOAT16 = "bfloat16"  # NumPy has it where the package ml_dtypes is imported
DLPACK_CUDA = 2  # device type in DLPack's numbering
LARGEST_SIZE = 2**31 - 1  # of one extent, stride or pad: keeps index arithmetic within 64 bits


class HasShape(Protocol):
    """Any array, NumPy's or a device's: only its shape is read."""

    @property
    def shape(self) -> Shape:
        """Extents, batch first."""


class HasDtype(HasShape, Protocol):
    """The same, and its dtype."""

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Kind of its elements."""


def check_int(operator: str, argument: str, value: object, low: int, high: int) -> int:
    """`value` as an int if it is an integer (bool is none) in [low, high]."""
    if isinstance(value, NO_NUMBERS) or not isinstance(value, int | np.integer):
        raise TypeError(f"{operator}: {argument} is {shown(value)}, expected an integer")
    if not low <= value <= high:
        raise ValueError(
            f"{operator}: {argument} is {shown_number(value)}, "
            f"expected an integer from {low} to {high}"
        )
    return int(value)


def check_number(
    operator: str,
    argument: str,
    value: object,
    *,
    low: float = -math.inf,
    above: float = -math.inf,
    below: float = math.inf,
    high: float = math.inf,
) -> float:
    """`value` as a float if it is finite, low <= value <= high and above < value < below.

    The kernels compute in float32, so both the number itself and the float32 that it becomes have
    to be in the range: 1e40 becomes infinity, 1e-50 becomes 0 and 1 - 1e-10 becomes 1.
    """
    if isinstance(value, NO_NUMBERS) or not isinstance(value, REAL_NUMBERS):
        raise TypeError(f"{operator}: {argument} is {shown(value)}, expected a real number")
    try:
        given = float(value)
    except OverflowError:  # an integer beyond float64
        given = math.inf
    rounded = ctypes.c_float(given).value
    is_right = math.isfinite(given) and low <= given <= high and above < given < below
    if is_right and math.isfinite(rounded) and low <= rounded <= high and above < rounded < below:
        return given
    bounds = ((">=", low), (">", above), ("<", below), ("<=", high))
    parts = [f"{sign} {bound:g}" for sign, bound in bounds if math.isfinite(bound)]
    # Of a number that is right in itself, what is wrong with it.
    becomes = f", which is {rounded:g} in float32" if is_right else ""
    raise ValueError(
        f"{operator}: {argument} is {shown_number(value)}{becomes}, "
        f"expected a finite number {' and '.join(parts)}".rstrip()
    )


def plain(value: Any) -> Any:
    """`value` with Python's numbers in place of NumPy's, which overflow where they are small.

    Also inside lists and tuples, all of which become tuples.
    """
    if isinstance(value, np.bool_ | np.integer):
        return value.item()
    if isinstance(value, np.floating):
        return float(value)
    if isinstance(value, tuple | list):
        return tuple(plain(entry) for entry in value)
    return value


def make_plain(description: Any) -> None:
    """Make the values of a frozen dataclass `plain`, so that JSON can hold them."""
    for field in dataclasses.fields(description):
        value = getattr(description, field.name)
        object.__setattr__(description, field.name, plain(value))


def check_instance(
    operator: str, argument: str, value: object, kind: type | tuple[type, ...]
) -> None:
    """`value` is of the class `kind`, or of one of several."""
    if not isinstance(value, kind):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        names = " or ".join(each.__qualname__ for each in kinds)
        raise TypeError(f"{operator}: {argument} is {shown(value)}, expected {names}")


def check_choice(operator: str, argument: str, value: object, choices: Sequence[str]) -> None:
    """`value` is one of `choices`."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{operator}: {argument} is {shown(value)}, expected {', '.join(choices)}")


def check_callable(operator: str, argument: str, value: object) -> None:
    """`value` can be called, or is None."""
    if value is not None and not callable(value):
        raise TypeError(f"{operator}: {argument} is {shown(value)}, expected a function or None")


def check_path(function: str, argument: str, value: object) -> Path:
    """`value` as a path if it can be the name of a file or folder.

    No name at all, which `Path` takes for the current folder, cannot, nor can text that the system
    has no bytes for.
    """
    given = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(given, str):
        raise TypeError(f"{function}: {argument} is {shown(value)}, expected str or os.PathLike")
    try:
        is_name = b"\0" not in os.fsencode(given) and given != ""
    except UnicodeEncodeError:
        is_name = False
    if not is_name:
        raise ValueError(
            f"{function}: {argument} is {shown(given)}, expected the name of a file or folder"
        )
    return Path(given)


def check_flag(operator: str, argument: str, value: object) -> bool:
    """`value` as a bool if it is one; 0 and 1 are not."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{operator}: {argument} is {shown(value)}, expected True or False")
    return bool(value)


def check_activation(operator: str, activation: object) -> None:
    """`activation` names one that can be fused."""
    if activation is not None and not (isinstance(activation, str) and activation == "relu"):
        raise ValueError(f"{operator}: activation is {shown(activation)}, expected None or 'relu'")


def check_algorithm(operator: str, algorithm: object) -> None:
    """`algorithm` is "auto" or one of `CONV2D_ALGORITHMS`."""
    names = ("auto", *CONV2D_ALGORITHMS)
    if not isinstance(algorithm, str) or algorithm not in names:
        expected = f"one of {names}{hint(algorithm, names)}"
        raise ValueError(f"{operator}: algorithm is {shown(algorithm)}, expected {expected}")


def check_shape(operator: str, argument: str, array: HasShape, expected: Shape) -> None:
    """`array` has exactly the `expected` shape."""
    given = tuple(array.shape)
    if given != expected:
        hint = hints.of_shape(argument, given, expected)
        raise ValueError(f"{operator}: {argument} has shape {given}, expected {expected}{hint}")


def check_ndim(operator: str, argument: str, shape: Sequence[int], axes: Sequence[str]) -> None:
    """One extent for each of `axes`; only the first, the batch, may be zero."""
    names = f"({', '.join(axes)})"
    if len(shape) != len(axes):
        hint = hints.of_ndim(argument, shape, axes)
        raise ValueError(f"{operator}: {argument} has shape {tuple(shape)}, expected {names}{hint}")
    check_extents(operator, argument, shape, first=0)


def check_pair(operator: str, argument: str, value: Size2d, low: int = 1) -> tuple[int, int]:
    """`value`, an integer or (height, width), as (height, width)."""
    if isinstance(value, tuple | list):
        if len(value) != 2:
            raise ValueError(
                f"{operator}: {argument} is {shown(value)}, expected an integer or (height, width)"
            )
        height, width = value
    else:
        height = width = value
    return (
        check_int(operator, argument, height, low, LARGEST_SIZE),
        check_int(operator, argument, width, low, LARGEST_SIZE),
    )


def check_range(operator: str, argument: str, value: object) -> tuple[float, float]:
    """`value` as (low, high) if it is a pair of finite numbers in ascending order."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise TypeError(f"{operator}: {argument} is {shown(value)}, expected (low, high)")
    low = check_number(operator, argument, value[0])
    return low, check_number(operator, argument, value[1], above=low)


def check_extent_tuple(operator: str, argument: str, value: Sequence[int]) -> Shape:
    """`value` as a shape: a tuple or list of non-negative integers."""
    if not isinstance(value, tuple | list):
        raise TypeError(f"{operator}: {argument} is {shown(value)}, expected a tuple of integers")
    return tuple(check_int(operator, argument, extent, 0, LARGEST_SIZE) for extent in value)


def check_extents(operator: str, argument: str, shape: Sequence[int], first: int) -> None:
    """No extent is zero (but the first may be, if `first` is 0) or too large to index."""
    if len(shape) > 0 and (shape[0] < first or min(shape[1:], default=1) < 1):
        expected = "every extent but the first" if first == 0 else "every extent"
        raise ValueError(
            f"{operator}: {argument} has shape {tuple(shape)}, expected {expected} to be at least 1"
        )
    if max(shape, default=0) > LARGEST_SIZE:
        raise ValueError(
            f"{operator}: {argument} has shape {tuple(shape)}, "
            f"expected extents of at most {LARGEST_SIZE}"
        )


# --- arrays, by the kind that an implementation works on ---------------------------------------


class ArrayAccess:
    """What the checks below ask of NumPy arrays; `alexnet.cuda` has the same for CuPy's."""

    def check_type(self, operator: str, argument: str, array: object, expected: str) -> AnyArray:
        """`array` if it is of the kind; `expected` names the dtypes."""
        if not isinstance(array, np.ndarray):
            raise TypeError(
                f"{operator}: {argument} is of type {type_name(array)}, expected a numpy.ndarray "
                f"of {expected}{hints.of_type(argument, array, expected.partition(' or ')[0])}"
            )
        if isinstance(array, np.ma.MaskedArray):
            raise TypeError(
                f"{operator}: {argument} is a masked array, whose mask would be lost, expected a "
                f"numpy.ndarray of {expected}: filled(value) gives one"
            )
        return array

    def overlap(self, array: AnyArray, other: AnyArray) -> bool:
        """Whether two arrays may share memory."""
        return np.may_share_memory(array, other)

    def address(self, array: AnyArray) -> int:
        """Where the first element lies."""
        return array.ctypes.data

    def is_writeable(self, array: AnyArray) -> bool:
        """Whether the array is not read-only."""
        return array.flags.writeable

    def is_aligned(self, array: AnyArray) -> bool:
        """Whether elements lie where the processor wants them."""
        return array.flags.aligned


NUMPY = ArrayAccess()


def check_array(
    operator: str,
    argument: str,
    array: object,
    dtypes: Sequence[str] = ("float32",),
    access: ArrayAccess = NUMPY,
) -> AnyArray:
    """`array` if it is of the kind and of one of `dtypes`, in the machine's byte order."""
    expected = " or ".join(dtypes)
    checked = access.check_type(operator, argument, array, expected)
    if checked.dtype not in _native_dtypes(tuple(dtypes)) and not (
        BFLOAT16 in dtypes and checked.dtype.name == BFLOAT16
    ):
        hint = hints.of_dtype(argument, checked.dtype.kind, dtypes[0])
        raise TypeError(
            f"{operator}: {argument} has dtype {_name(checked)}, expected {expected}{hint}"
        )
    return checked


@cache
def _native_dtypes(names: tuple[str, ...]) -> tuple[np.dtype[np.generic], ...]:
    return tuple(np.dtype(name) for name in names if name != BFLOAT16)


def check_assignable(owner: str, name: str, given: object, array: HasDtype) -> None:
    """`given` is a NumPy array whose numbers `array` can take: its shape, no dtype with more."""
    checked = NUMPY.check_type(owner, name, given, str(array.dtype))
    check_shape(owner, name, checked, tuple(array.shape))
    if not np.can_cast(checked.dtype, array.dtype, "safe"):
        raise ValueError(f"{owner}: {name} has dtype {checked.dtype}, expected {array.dtype}")


def check_integer_array(
    operator: str, argument: str, array: object, access: ArrayAccess = NUMPY
) -> AnyArray:
    """`array`, of no subclass, if it is of integers of any width, signed or not (bool is none)."""
    checked = access.check_type(operator, argument, array, "an integer dtype")
    if checked.dtype.kind not in "iu" or not checked.dtype.isnative:
        hint = hints.of_labels(argument, checked.dtype.kind, checked.shape)
        raise TypeError(
            f"{operator}: {argument} has dtype {_name(checked)}, expected an integer dtype{hint}"
        )
    return np.asarray(checked) if isinstance(checked, np.ndarray) else checked


def _name(array: AnyArray) -> str:
    return array.dtype.name + ("" if array.dtype.isnative else " in foreign byte order")


def as_plain(array: AnyArray, dtype: npt.DTypeLike | None = None) -> AnyArray:
    """`array`, checked, as the kernels read it: C-contiguous, aligned, of no subclass.

    Itself where it is that and of `dtype` (None: of any), else a copy or a view.
    """
    plain = np.asarray(array, dtype=dtype, order="C")
    return plain if plain.flags.aligned else plain.copy()


def check_writeable(
    operator: str, argument: str, array: AnyArray, access: ArrayAccess = NUMPY
) -> None:
    """`array` can be written to directly: C-contiguous, aligned and not read-only."""
    if not array.flags.c_contiguous:
        raise ValueError(
            f"{operator}: {argument} has strides {array.strides} for shape {array.shape}, "
            "expected a C-contiguous array"
        )
    if not access.is_aligned(array):
        raise ValueError(
            f"{operator}: {argument} begins at the address {access.address(array)}, expected a "
            f"multiple of {array.dtype.alignment}: an aligned array"
        )
    if not access.is_writeable(array):
        raise ValueError(f"{operator}: {argument} is read-only, expected a writeable array")


def check_separate(
    operator: str,
    argument: str,
    array: AnyArray,
    others: Mapping[str, AnyArray | None],
    *,
    may_be: str | None = None,
    access: ArrayAccess = NUMPY,
) -> None:
    """`array` shares no memory with `others` (by argument name; None: not given).

    The one named `may_be` may occupy exactly the memory of `array`: an element-wise operator in
    place. A partial overlap is an error there too.
    """
    for name, other in others.items():
        if other is None or not access.overlap(array, other):
            continue
        same_layout = other.flags.c_contiguous and other.dtype == array.dtype
        same_memory = same_layout and access.address(other) == access.address(array)
        if not (name == may_be and same_memory and other.shape == array.shape):
            raise ValueError(f"{operator}: {argument} overlaps {name}, expected separate memory")


def check_out(
    operator: str,
    argument: str,
    out: object,
    shape: Shape,
    inputs: Mapping[str, AnyArray | None],
    *,
    dtypes: Sequence[str] = ("float32",),
    may_be: str | None = None,
    access: ArrayAccess = NUMPY,
) -> AnyArray:
    """`out` if it can take a result of `shape` while `inputs` are read; see `check_separate`."""
    array = check_array(operator, argument, out, dtypes, access)
    check_shape(operator, argument, array, shape)
    check_writeable(operator, argument, array, access)
    check_separate(operator, argument, array, inputs, may_be=may_be, access=access)
    return array


def check_out_tuple(operator: str, out: object, results: Sequence[str]) -> tuple[object, ...]:
    """`out` of an operator with several `results`: one entry for each, None where not given."""
    if out is None:
        return (None,) * len(results)
    if not isinstance(out, tuple) or len(out) != len(results):
        given = f"{len(out)} entries" if isinstance(out, tuple) else type(out).__qualname__
        raise TypeError(
            f"{operator}: out is {given}, expected a tuple ({', '.join(results)}) of arrays or None"
        )
    return out


def check_outs(
    operator: str,
    out: object,
    shapes: Mapping[str, Shape],
    inputs: Mapping[str, AnyArray | None],
    *,
    dtypes: Sequence[str] = ("float32",),
    others: Mapping[str, Sequence[str]] | None = None,
    access: ArrayAccess = NUMPY,
) -> list[AnyArray | None]:
    """`check_out` for each entry of an `out` tuple: a result of each of `shapes`, by name.

    An entry may overlap neither an input nor another entry. `others` has, by the result's name,
    dtypes in the place of `dtypes`.
    """
    separate_from = dict(inputs)
    checked: list[AnyArray | None] = []
    entries = check_out_tuple(operator, out, list(shapes))
    for position, (entry, (name, shape)) in enumerate(zip(entries, shapes.items(), strict=True)):
        if entry is None:
            checked.append(None)
            continue
        argument = f"out[{position}] ({name})"
        own = dtypes if others is None else others.get(name, dtypes)
        array = check_out(
            operator, argument, entry, shape, separate_from, dtypes=own, access=access
        )
        separate_from[argument] = array
        checked.append(array)
    return checked
