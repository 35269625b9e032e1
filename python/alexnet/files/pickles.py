"""Pickles of plain values and arrays, read without running anything that they contain.

A pickle is a program for a machine with a stack. Python's `pickletools` takes it apart into opcodes
and their arguments; the machine here knows only the opcodes that writers of plain values need, for
numbers, text, bytes, lists, tuples, dictionaries, and for the globals (functions and classes that a
pickle names) that it is given, as stand-ins that record what they are called with. Nothing that the
file names is imported or called, and readers check what the stand-ins recorded.

Time and memory grow with the size of the file and no faster, whatever is in it. Parts may be
shared, and a list may hold itself, as in any pickle; nothing here walks through what it has made,
and a caller that does must bound its own steps.
"""

from __future__ import annotations

import codecs
import io
import math
import pickle
import pickletools
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from alexnet.contract.arguments import AnyArray
from alexnet.messages import shown

MOST_OPCODES = 2**20  # of a pickle
LARGEST_KEY = 2**32  # above integers as keys and in the memo: their hashes differ
LONGEST_KEY = 1000  # bytes, which are decoded and hashed at every use
MOST_ARGUMENTS = 16  # of a call, which are copied
MOST_AXES = 16

_OPCODES = {opcode.code.encode("latin1"): opcode for opcode in pickletools.opcodes}
_LITERALS = frozenset(  # opcodes whose argument is the value
    (
        *("INT", "LONG", "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("STRING", "SHORT_BINSTRING", "BINSTRING", "UNICODE"),
        *("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
        *("SHORT_BINBYTES", "BINBYTES", "BINBYTES8"),
    )
)


class PickledObject:
    """What a stand-in makes: it may be given a state, and is checked by its reader."""

    __slots__ = ()

    def take_state(self, state: object) -> None:
        """Record the state."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Global:
    """Stand-in for a function or a type; `call` gets the arguments; None: it may only be named."""

    call: Callable[..., Any] | None = None


def loads(
    content: bytes,
    allowed: Mapping[tuple[str, str], Global] | None = None,
    persistent: Callable[[object], object] | None = None,
) -> Any:
    """Read the value in a pickle; nothing of it runs. See `load_first`.

    Raises
    ------
    pickle.UnpicklingError
        As in `load_first`.
    """
    return load_first(content, 0, allowed, persistent)[0]


def load_first(
    content: bytes,
    start: int,
    allowed: Mapping[tuple[str, str], Global] | None = None,
    persistent: Callable[[object], object] | None = None,
) -> tuple[Any, int]:
    """Read the value in the pickle that begins at `start`, and tell where it ends.

    Strings that Python 2 wrote come as str, one character a byte; keys of dictionaries that are
    bytes as well.

    Parameters
    ----------
    content, start
        The bytes that hold the pickle, and where.
    allowed
        Stand-ins for the globals that it may ask for, by module and name; those of NumPy's arrays,
        which come as `PickledArray`, if it is None.
    persistent
        What gives the object of a persistent identifier; without it there may be none.

    Raises
    ------
    pickle.UnpicklingError
        It is no complete pickle, asks for another global or for what writers of plain values do not
        need, or has more than 2**20 opcodes.

    """
    stream = io.BytesIO(content)
    stream.seek(start)
    machine = _Machine(ARRAYS if allowed is None else allowed, persistent)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes in text that Python does not know
            return machine.run(stream), stream.tell()
    except pickle.UnpicklingError:
        raise
    except IndexError as error:  # of the stack
        raise pickle.UnpicklingError("it takes more values than its stack holds") from error
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise pickle.UnpicklingError(f"{error!s:.200}" or type(error).__name__) from error


def _argument(opcode: pickletools.OpcodeInfo, stream: io.BytesIO) -> Any:
    if opcode.name == "STRING":  # of any bytes, which pickletools takes for ASCII
        escaped = pickletools.read_stringnl(stream, decode=False)
        return codecs.escape_decode(escaped)[0].decode("latin1")
    return opcode.arg.reader(stream) if opcode.arg else None


class _Mark:
    """Where a list of arguments begins on the stack."""


_MARK = _Mark()


class _Machine:
    """The stack and the memo."""

    def __init__(
        self,
        allowed: Mapping[tuple[str, str], Global],
        persistent: Callable[[object], object] | None,
    ) -> None:
        self._allowed = allowed
        self._persistent = persistent
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self, stream: io.BytesIO) -> Any:
        for _ in range(MOST_OPCODES):
            if not (code := stream.read(1)):
                raise pickle.UnpicklingError("it is cut short")
            if (opcode := _OPCODES.get(code)) is None:
                raise pickle.UnpicklingError(f"{code!r} is no opcode")
            if opcode.name == "STOP":
                if len(self._stack) != 1:
                    raise pickle.UnpicklingError("it does not end with one value")
                return self._pop()
            self._do(opcode.name, _argument(opcode, stream))
        raise pickle.UnpicklingError(f"it has more than {MOST_OPCODES:,} opcodes")

    def _do(self, name: str, argument: Any) -> None:
        stack = self._stack
        if name in _LITERALS:
            stack.append(argument)
            return
        match name:
            case "PROTO":
                if argument > pickle.HIGHEST_PROTOCOL:
                    raise pickle.UnpicklingError(f"its protocol is {argument}")
            case "FRAME":  # says how much may be read ahead, and nothing else
                pass
            case "BYTEARRAY8":
                stack.append(bytes(argument))
            case "NONE":
                stack.append(None)
            case "NEWTRUE" | "NEWFALSE":
                stack.append(name == "NEWTRUE")
            case "MARK":
                stack.append(_MARK)
            # lists, tuples, dictionaries
            case "EMPTY_LIST":
                stack.append([])
            case "LIST":
                stack.append(self._since_mark())
            case "APPEND":
                self._append([self._pop()])
            case "APPENDS":
                self._append(self._since_mark())
            case "EMPTY_TUPLE":
                stack.append(())
            case "TUPLE":
                stack.append(tuple(self._since_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack.append(tuple([self._pop() for _ in range(int(name[-1]))][::-1]))
            case "EMPTY_DICT":
                stack.append({})
            case "DICT":
                values = self._since_mark()
                stack.append({})
                self._set_items(values)
            case "SETITEM":
                value, key = self._pop(), self._pop()
                self._set_items([key, value])
            case "SETITEMS":
                self._set_items(self._since_mark())
            # the memo
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                if not 0 <= argument < LARGEST_KEY:
                    raise pickle.UnpicklingError(f"its memo has an entry {shown(argument)}")
                self._memo[argument] = self._top()
            case "MEMOIZE":
                self._memo[len(self._memo)] = self._top()
            case "GET" | "BINGET" | "LONG_BINGET":
                if argument not in self._memo:
                    raise pickle.UnpicklingError(f"its memo has no entry {shown(argument)}")
                stack.append(self._memo[argument])
            # objects
            case "GLOBAL":
                stack.append(self._found(*argument.split(" ", 1)))
            case "STACK_GLOBAL":
                kind, module = self._pop(), self._pop()
                stack.append(self._found(module, kind))
            case "REDUCE":
                self._call()
            case "BUILD":
                self._build()
            case "BINPERSID" if self._persistent is not None:
                stack.append(self._persistent(self._pop()))
            case _:
                raise pickle.UnpicklingError(f"it asks for {name}, which plain values do not need")

    def _top(self) -> Any:
        if self._stack[-1] is _MARK:
            raise pickle.UnpicklingError("it takes more values than its stack holds")
        return self._stack[-1]

    def _pop(self) -> Any:
        value = self._top()
        self._stack.pop()
        return value

    def _since_mark(self) -> list[Any]:
        values = []
        while (value := self._stack.pop()) is not _MARK:
            values.append(value)
        return values[::-1]

    def _append(self, values: list[Any]) -> None:
        target = self._top()
        if type(target) is not list:
            raise pickle.UnpicklingError("it appends to what is no list")
        target.extend(values)

    def _set_items(self, values: list[Any]) -> None:
        target = self._top()
        if not isinstance(target, dict) or len(values) % 2:
            raise pickle.UnpicklingError("it sets an item of what is no dictionary")
        for key, value in zip(values[::2], values[1::2], strict=True):
            target[_key(key)] = value

    def _found(self, module: object, name: object) -> Global:
        found = None
        if isinstance(module, str) and isinstance(name, str):
            found = self._allowed.get((module, name))
        if found is None:
            raise pickle.UnpicklingError(f"it asks for {f'{_plain(module)}.{_plain(name)}'!r:.200}")
        return found

    def _call(self) -> None:
        arguments, function = self._pop(), self._pop()
        if not isinstance(function, Global) or function.call is None:
            raise pickle.UnpicklingError("it calls what is no function")
        if type(arguments) is not tuple or len(arguments) > MOST_ARGUMENTS:
            raise pickle.UnpicklingError("it calls a function without a short tuple of arguments")
        self._stack.append(function.call(*arguments))

    def _build(self) -> None:
        state, target = self._pop(), self._top()
        if not isinstance(target, PickledObject):
            raise pickle.UnpicklingError("it changes an object that has no state")
        target.take_state(state)


def _key(key: object) -> str | int:
    """Take a key, text or a small integer: those whose hashes are quick and differ."""
    if type(key) is bytes and len(key) <= LONGEST_KEY:
        return key.decode("latin1")
    if type(key) is str or (type(key) is int and 0 <= key < LARGEST_KEY):
        return key
    raise pickle.UnpicklingError(f"a key of a dictionary is {shown(key)}, expected text")


def _plain(name: object) -> str:
    return name if isinstance(name, str) else shown(name)


# --- NumPy's arrays -------------------------------------------------------------------------------


class _Dtype(PickledObject):
    """Stand-in for `numpy.dtype`: the name that it is made of, and its byte order."""

    __slots__ = ("name", "order")

    def __init__(self, *arguments: object) -> None:
        self.name = arguments[0] if arguments else None
        self.order: object = None

    def take_state(self, state: object) -> None:
        """Take the byte order; the rest is alignment and the fields of records."""
        if isinstance(state, tuple) and len(state) > 1:
            self.order = state[1]

    def is_that_of(self, dtype: np.dtype[Any]) -> bool:
        order, name = dtype.str[0], dtype.str[1:]
        return self.order == order and self.name in (name, dtype.name)


class PickledArray(PickledObject):
    """Stand-in for a `numpy.ndarray`: the state that the pickle gives to it."""

    __slots__ = ("_state",)

    def __init__(self, *_: object) -> None:
        self._state: object = None

    def take_state(self, state: object) -> None:
        """Record the state, which `to_numpy` and `to_object` check."""
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
        check_axes(f"{where} has shape", shape)
        if type(fortran) not in (bool, int):
            raise ValueError(f"{where} does not say whether its rows or its columns come first")
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


def check_axes(where: str, values: object) -> tuple[int, ...]:
    """Take a shape or strides: a tuple of integers from 0, of as many axes as any array here has.

    Raises
    ------
    ValueError
        It is something else; the message starts with `where`.
    """
    if not isinstance(values, tuple) or len(values) > MOST_AXES:
        raise ValueError(f"{where} {shown(values)}, expected at most {MOST_AXES} integers from 0")
    for value in values:
        if type(value) is not int or not 0 <= value < 2**63:
            given = ", ".join(map(shown, values))
            raise ValueError(f"{where} ({given:.80}), expected extents from 0")
    return values


def _array_in_buffer(content: object, dtype: object, shape: object, order: object) -> PickledArray:
    """Stand-in for what protocol 5 calls, where an array's bytes are a value of their own."""
    array = PickledArray()
    array.take_state((1, shape, dtype, order == "F", content))
    return array


ARRAYS: Mapping[tuple[str, str], Global] = {
    ("numpy.core.multiarray", "_reconstruct"): Global(PickledArray),
    ("numpy._core.multiarray", "_reconstruct"): Global(PickledArray),  # the name since NumPy 2
    ("numpy.core.numeric", "_frombuffer"): Global(_array_in_buffer),
    ("numpy._core.numeric", "_frombuffer"): Global(_array_in_buffer),
    ("numpy", "ndarray"): Global(),
    ("numpy", "dtype"): Global(_Dtype),
    # How Python 3 spells bytes for Python 2: text, one character a byte.
    ("_codecs", "encode"): Global(lambda text, _encoding: text),
}
