"""Pickles of plain values and arrays, read without running anything that they contain.

A pickle is a program for a machine with a stack. The interpreter here knows only what writers of
plain values need: numbers, text, bytes, lists, tuples, dictionaries, and the globals that it is
given, as stand-ins that record what they are called with. So no code of Python's, NumPy's or
PyTorch's sees what the file says before it has been checked.

Time and memory grow with the size of the file and no faster, whatever is in it. Parts may be
shared, and a list may hold itself, as in any pickle; nothing here walks through what it has made,
and who does has to look at as many parts as it expects and no more.
"""

from __future__ import annotations

import codecs
import math
import pickle
import pickletools
import struct
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from alexnet.contract.arguments import AnyArray
from alexnet.messages import shown

MOST_OPCODES = 2**20  # of a pickle; one of CIFAR-100's has 200,000
LONGEST_INTEGER = 16  # bytes; PyTorch's magic number has 10
LONGEST_WORD = 200  # characters of a number or a name that is written as a line of text
LARGEST_KEY = 2**32  # above integers as keys: those of one hash are further apart
MOST_AXES = 16

_OPCODES = {opcode.code.encode("latin1"): opcode.name for opcode in pickletools.opcodes}


class PickledObject:
    """What a stand-in makes: it may be given a state, and is checked by its reader."""

    __slots__ = ()

    def take_state(self, state: object) -> None:
        """Record the state."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Global:
    """Stand-in for a function or a type; `call` is given the arguments, None: it is not called."""

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
    machine = _Machine(content, start, ARRAYS if allowed is None else allowed, persistent)
    try:
        return machine.run(), machine.position
    except pickle.UnpicklingError:
        raise
    except IndexError as error:  # of the stack, or the last byte of the file
        raise pickle.UnpicklingError("it is cut short, or takes what was not there") from error
    except (ValueError, TypeError, KeyError, OverflowError, struct.error) as error:
        raise pickle.UnpicklingError(f"{error!s:.200}" or type(error).__name__) from error


class _Mark:
    """Where a list of arguments begins on the stack."""


_MARK = _Mark()


class _Machine:
    """The stack, the memo and the place in the file."""

    def __init__(
        self,
        content: bytes,
        position: int,
        allowed: Mapping[tuple[str, str], Global],
        persistent: Callable[[object], object] | None,
    ) -> None:
        self.position = position
        self._content = content
        self._allowed = allowed
        self._persistent = persistent
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._count = 0

    def run(self) -> Any:
        while True:
            code = self._take(1)
            if code == pickle.STOP:
                if len(self._stack) != 1 or self._stack[0] is _MARK:
                    raise pickle.UnpicklingError("it does not end with one value")
                return self._stack[0]
            action = _ACTIONS.get(code)
            if action is None:
                name = _OPCODES.get(code)
                raise pickle.UnpicklingError(
                    f"{code!r} is no opcode"
                    if name is None
                    else f"it asks for {name}, which plain values do not need"
                )
            self._count += 1
            if self._count > MOST_OPCODES:
                raise pickle.UnpicklingError(f"it has more than {MOST_OPCODES:,} opcodes")
            action(self)

    # --- what opcodes are made of -----------------------------------------------------------------

    def _take(self, size: int) -> bytes:
        if size < 0 or size > len(self._content) - self.position:
            raise pickle.UnpicklingError("it is cut short")
        self.position += size
        return self._content[self.position - size : self.position]

    def unpacked(self, layout: str) -> Any:
        return struct.unpack(layout, self._take(struct.calcsize(layout)))[0]

    def _line(self, longest: int = LONGEST_WORD) -> bytes:
        end = self._content.find(b"\n", self.position, self.position + longest + 1)
        if end < 0:
            raise pickle.UnpicklingError("it is cut short, or has a line that is too long")
        line = self._take(end - self.position)
        self.position += 1
        return line

    def take_protocol(self) -> None:
        if (protocol := self.unpacked("<B")) > pickle.HIGHEST_PROTOCOL:
            raise pickle.UnpicklingError(f"its protocol is {protocol}")

    def take_frame(self) -> None:
        """Check the length of a frame, which says how much to read ahead and nothing else."""
        if self.unpacked("<Q") > len(self._content) - self.position:
            raise pickle.UnpicklingError("it is cut short")

    def push(self, value: object) -> None:
        self._stack.append(value)

    def pop(self) -> Any:
        value = self._stack.pop()
        if value is _MARK:
            raise pickle.UnpicklingError("it takes what was not there")
        return value

    def _top(self) -> Any:
        if not self._stack or self._stack[-1] is _MARK:
            raise pickle.UnpicklingError("it takes what was not there")
        return self._stack[-1]

    def since_mark(self) -> list[Any]:
        for place in range(len(self._stack) - 1, -1, -1):
            if self._stack[place] is _MARK:
                values = self._stack[place + 1 :]
                del self._stack[place:]
                return values
        raise pickle.UnpicklingError("it takes what was not there")

    # --- values -----------------------------------------------------------------------------------

    def text(self, layout: str) -> None:
        self.push(self._take(self.unpacked(layout)).decode("utf-8", "surrogatepass"))

    def string(self, layout: str) -> None:
        self.push(self._take(self.unpacked(layout)).decode("latin1"))

    def raw(self, layout: str) -> None:
        self.push(self._take(self.unpacked(layout)))

    def number(self, layout: str) -> None:
        self.push(self.unpacked(layout))

    def long(self, layout: str) -> None:
        size = self.unpacked(layout)
        if not 0 <= size <= LONGEST_INTEGER:
            raise pickle.UnpicklingError(f"it has an integer of {size} bytes")
        self.push(int.from_bytes(self._take(size), "little", signed=True))

    def integer_line(self) -> None:
        line = self._line()
        self.push({b"00": False, b"01": True}.get(line, int(line.removesuffix(b"L"))))

    def float_line(self) -> None:
        self.push(float(self._line()))

    def string_line(self) -> None:
        line = self._line(len(self._content)).strip()
        if len(line) < 2 or line[:1] not in (b"'", b'"') or line[-1:] != line[:1]:
            raise pickle.UnpicklingError("it has a string without quotation marks")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes that Python does not know
            self.push(codecs.escape_decode(line[1:-1])[0].decode("latin1"))

    def text_line(self) -> None:
        line = self._line(len(self._content))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.push(line.decode("raw-unicode-escape"))

    # --- lists, tuples, dictionaries --------------------------------------------------------------

    def tuple_of(self, length: int) -> None:
        values = [self.pop() for _ in range(length)]
        self.push(tuple(reversed(values)))

    def append(self, values: list[Any]) -> None:
        target = self._top()
        if type(target) is not list:
            raise pickle.UnpicklingError("it appends to what is no list")
        target.extend(values)

    def set_items(self, values: list[Any]) -> None:
        target = self._top()
        if not isinstance(target, dict) or len(values) % 2:
            raise pickle.UnpicklingError("it sets an item of what is no dictionary")
        for key, value in zip(values[::2], values[1::2], strict=True):
            target[_key(key)] = value

    def last_two(self) -> list[Any]:
        value = self.pop()
        return [self.pop(), value]

    def dictionary_of(self, values: list[Any]) -> None:
        self.push({})
        self.set_items(values)

    # --- the memo ---------------------------------------------------------------------------------

    def remember(self, index: int) -> None:
        # A writer numbers them from 0 on; Python's own reader makes room for the highest number.
        if not 0 <= index <= self._count:
            raise pickle.UnpicklingError(f"its memo has an entry {index} too early")
        self._memo[index] = self._top()

    def memoize(self) -> None:
        self._memo[len(self._memo)] = self._top()

    def index_line(self) -> int:
        return int(self._line())

    def recall(self, index: int) -> None:
        if index not in self._memo:
            raise pickle.UnpicklingError(f"its memo has no entry {index}")
        self.push(self._memo[index])

    # --- objects ----------------------------------------------------------------------------------

    def find(self, module: object, name: object) -> None:
        found = None
        if isinstance(module, str) and isinstance(name, str):
            found = self._allowed.get((module, name))
        if found is None:
            raise pickle.UnpicklingError(f"it asks for {f'{_plain(module)}.{_plain(name)}'!r:.200}")
        self.push(found)

    def find_lines(self) -> None:
        module, name = self._line(), self._line()
        self.find(module.decode("utf-8"), name.decode("utf-8"))

    def find_on_stack(self) -> None:
        name, module = self.pop(), self.pop()
        self.find(module, name)

    def call(self) -> None:
        arguments, function = self.pop(), self.pop()
        if not isinstance(function, Global) or function.call is None:
            raise pickle.UnpicklingError("it calls what is no function")
        if type(arguments) is not tuple:
            raise pickle.UnpicklingError("it calls a function without a tuple of arguments")
        self.push(function.call(*arguments))

    def build(self) -> None:
        state, target = self.pop(), self._top()
        if not isinstance(target, PickledObject):
            raise pickle.UnpicklingError("it changes an object that has no state")
        target.take_state(state)

    def persistent(self) -> None:
        if self._persistent is None:
            raise pickle.UnpicklingError("it asks for BINPERSID, which plain values do not need")
        self.push(self._persistent(self.pop()))


def _key(key: object) -> str | int:
    """Take a key, text or a small integer: those whose hashes are quick and differ."""
    if type(key) is bytes:
        return key.decode("latin1")
    if type(key) is str or (type(key) is int and 0 <= key < LARGEST_KEY):
        return key
    raise pickle.UnpicklingError(f"a key of a dictionary is {shown(key)}, expected text")


def _plain(name: object) -> str:
    return name if isinstance(name, str) else shown(name)


_ACTIONS: dict[bytes, Callable[[_Machine], None]] = {
    pickle.PROTO: lambda m: m.take_protocol(),
    pickle.FRAME: lambda m: m.take_frame(),
    pickle.MARK: lambda m: m.push(_MARK),
    # plain values
    pickle.NONE: lambda m: m.push(None),
    pickle.NEWTRUE: lambda m: m.push(True),
    pickle.NEWFALSE: lambda m: m.push(False),
    pickle.INT: _Machine.integer_line,
    pickle.LONG: _Machine.integer_line,
    pickle.FLOAT: _Machine.float_line,
    pickle.STRING: _Machine.string_line,
    pickle.UNICODE: _Machine.text_line,
    pickle.BININT: lambda m: m.number("<i"),
    pickle.BININT1: lambda m: m.number("<B"),
    pickle.BININT2: lambda m: m.number("<H"),
    pickle.LONG1: lambda m: m.long("<B"),
    pickle.LONG4: lambda m: m.long("<i"),
    pickle.BINFLOAT: lambda m: m.number(">d"),
    pickle.SHORT_BINSTRING: lambda m: m.string("<B"),
    pickle.BINSTRING: lambda m: m.string("<i"),
    pickle.SHORT_BINUNICODE: lambda m: m.text("<B"),
    pickle.BINUNICODE: lambda m: m.text("<I"),
    pickle.BINUNICODE8: lambda m: m.text("<Q"),
    pickle.SHORT_BINBYTES: lambda m: m.raw("<B"),
    pickle.BINBYTES: lambda m: m.raw("<I"),
    pickle.BINBYTES8: lambda m: m.raw("<Q"),
    # lists, tuples, dictionaries
    pickle.EMPTY_LIST: lambda m: m.push([]),
    pickle.LIST: lambda m: m.push(m.since_mark()),
    pickle.APPEND: lambda m: m.append([m.pop()]),
    pickle.APPENDS: lambda m: m.append(m.since_mark()),
    pickle.EMPTY_TUPLE: lambda m: m.push(()),
    pickle.TUPLE: lambda m: m.push(tuple(m.since_mark())),
    pickle.TUPLE1: lambda m: m.tuple_of(1),
    pickle.TUPLE2: lambda m: m.tuple_of(2),
    pickle.TUPLE3: lambda m: m.tuple_of(3),
    pickle.EMPTY_DICT: lambda m: m.push({}),
    pickle.DICT: lambda m: m.dictionary_of(m.since_mark()),
    pickle.SETITEM: lambda m: m.set_items(m.last_two()),
    pickle.SETITEMS: lambda m: m.set_items(m.since_mark()),
    # the memo
    pickle.PUT: lambda m: m.remember(m.index_line()),
    pickle.BINPUT: lambda m: m.remember(m.unpacked("<B")),
    pickle.LONG_BINPUT: lambda m: m.remember(m.unpacked("<I")),
    pickle.MEMOIZE: lambda m: m.memoize(),
    pickle.GET: lambda m: m.recall(m.index_line()),
    pickle.BINGET: lambda m: m.recall(m.unpacked("<B")),
    pickle.LONG_BINGET: lambda m: m.recall(m.unpacked("<I")),
    # objects
    pickle.GLOBAL: _Machine.find_lines,
    pickle.STACK_GLOBAL: _Machine.find_on_stack,
    pickle.REDUCE: _Machine.call,
    pickle.BUILD: _Machine.build,
    pickle.BINPERSID: _Machine.persistent,
}


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


ARRAYS: Mapping[tuple[str, str], Global] = {
    ("numpy.core.multiarray", "_reconstruct"): Global(PickledArray),
    ("numpy._core.multiarray", "_reconstruct"): Global(PickledArray),  # the name since NumPy 2
    ("numpy", "ndarray"): Global(),
    ("numpy", "dtype"): Global(_Dtype),
    # How Python 3 spells bytes for Python 2: text, one character a byte.
    ("_codecs", "encode"): Global(lambda text, _encoding: text),
}
