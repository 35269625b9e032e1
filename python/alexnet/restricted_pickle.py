"""Pickles of plain values and NumPy arrays, read without running anything that they contain.

A pickle is a program that may call anything that `find_class` gives it. Here it is given stand-ins
for the three globals of which a NumPy array is made; they record what they are called with and do
nothing else. No NumPy code sees what the file says before it has been checked.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from typing import Any

import numpy as np
import numpy.typing as npt

from alexnet.checks import AnyArray

_ERRORS = (  # what the unpickler raises on a damaged or hostile pickle, depending on it
    pickle.UnpicklingError,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)


def loads(content: bytes) -> Any:
    """Read the value in a pickle, arrays as `PickledArray`; nothing of it runs.

    Strings that Python 2 wrote come as str, one character a byte.

    Raises
    ------
    pickle.UnpicklingError
        It is no complete pickle, or asks for a global other than those of an array.
    """
    try:
        _check_memo(content)
        return _Unpickler(io.BytesIO(content), encoding="latin1").load()
    except _ERRORS as error:
        raise pickle.UnpicklingError(str(error) or type(error).__name__) from error


def _check_memo(content: bytes) -> None:
    """Check that the pickle is complete, and its memo numbered as any writer does.

    The unpickler makes room for the highest number that it meets, tens of gigabytes if asked to.
    """
    for count, (opcode, argument, _) in enumerate(pickletools.genops(content)):
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(argument or 0) > count:
            raise pickle.UnpicklingError(f"its memo has an entry {argument} too early")


class _Inert:
    """What a pickle can neither change nor build upon: it holds values, checked by its reader."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("it changes an object that has no state")


class _Dtype(_Inert):
    """Stand-in for `numpy.dtype`: the name that it is made of, and its byte order."""

    __slots__ = ("name", "order")

    def __init__(self, *arguments: object) -> None:
        self.name = arguments[0] if arguments else None
        self.order: object = None

    def __setstate__(self, state: object) -> None:
        """Take the byte order; the rest is alignment and the fields of records."""
        if isinstance(state, tuple) and len(state) > 1:
            self.order = state[1]

    def is_that_of(self, dtype: np.dtype[Any]) -> bool:
        order, name = dtype.str[0], dtype.str[1:]
        return self.order == order and self.name in (name, dtype.name)


class PickledArray(_Inert):
    """Stand-in for a `numpy.ndarray`: the state that the pickle gives to it."""

    __slots__ = ("_state",)

    def __init__(self) -> None:
        self._state: object = None

    def __setstate__(self, state: object) -> None:
        self._state = state

    def to_numpy(self, where: str, dtype: npt.DTypeLike) -> AnyArray:
        """Make the array, a read-only one.

        Raises
        ------
        ValueError
            It is of another dtype, or has not as many bytes as its shape takes; the message starts
            with `where`.
        """
        expected = np.dtype(dtype)
        match self._state:
            case (int(), tuple(shape), _Dtype() as given, fortran, str(text)):
                content = text.encode("latin1", "ignore")  # cut short, so refused, if not bytes
            case (int(), tuple(shape), _Dtype() as given, fortran, bytes(content)):
                pass
            case _:
                raise ValueError(f"{where} is not an array of {expected.name}")
        if not given.is_that_of(expected):
            raise ValueError(f"{where} is not an array of {expected.name}")
        if not all(type(extent) is int and extent >= 0 for extent in shape):
            raise ValueError(f"{where} has shape {shape!r:.80}, expected extents from 0")
        size = math.prod(shape) * expected.itemsize
        if len(content) != size:
            raise ValueError(
                f"{where} has {len(content)} bytes for the shape {shape}, expected {size}"
            )
        return np.frombuffer(content, expected).reshape(shape, order="F" if fortran else "C")

    def to_object(self, where: str) -> Any:
        """Take the one value out of an array of objects without axes, as `numpy.save` makes it.

        Raises
        ------
        ValueError
            It is another array; the message starts with `where`.
        """
        match self._state:
            case (int(), (), _Dtype(name="O8" | "O4" | "O"), _, [value]):
                return value
        raise ValueError(f"{where} is not a single object")


class _Reconstruct(_Inert):
    """Stand-in for NumPy's `_reconstruct`, which makes the empty array that a state then fills."""

    __slots__ = ()

    def __call__(self, *_: object) -> PickledArray:
        return PickledArray()


class _MakeDtype(_Inert):
    """Stand-in for the type `numpy.dtype` as a thing to call."""

    __slots__ = ()

    def __call__(self, *arguments: object) -> _Dtype:
        return _Dtype(*arguments)


_ALLOWED: dict[tuple[str, str], _Inert] = {
    ("numpy.core.multiarray", "_reconstruct"): _Reconstruct(),
    ("numpy._core.multiarray", "_reconstruct"): _Reconstruct(),  # the name since NumPy 2
    ("numpy", "ndarray"): _Inert(),
    ("numpy", "dtype"): _MakeDtype(),
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str, /) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {f'{module}.{name}'!r:.200}")
        return _ALLOWED[module, name]
