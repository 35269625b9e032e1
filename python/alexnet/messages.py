"""Text for people: names that a terminal can show, errors in a line, times of day."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Collection, Iterable
from datetime import datetime
from difflib import get_close_matches
from numbers import Number

import numpy as np

LONGEST_TEXT = 80  # characters of a text in a message
LONGEST_LIST = 200  # characters of several names
LONGEST_TUPLE = 6  # entries
LONGEST_INTEGER = 256  # bits of an integer that is written out
KINDS = {dict: "a dictionary", list: "a list", tuple: "a tuple", set: "a set"}
JOINERS = "\u200c\u200d"  # have no width, and are a part of words and of emoji


def printable(text: str) -> str:
    r"""Give text that a terminal shows and does nothing else with, on one line.

    Names of files and classes may hold anything. Control characters (line ends, escape sequences),
    marks that change the direction of writing and bytes of no encoding come as Python writes them:
    \n, \x1b, \u202e, \udcff.
    """
    if text.isprintable():
        return text
    return "".join(
        letter if _is_shown(letter) else letter.encode("unicode_escape").decode() for letter in text
    )


def _is_shown(letter: str) -> bool:
    return letter.isprintable() or letter in JOINERS or unicodedata.category(letter) == "Zs"


def shown(value: object) -> str:
    """Tell a value in an error message: on one line, in a length that can be read.

    Numbers, text and short tuples of them, such as sizes, are written as Python writes them. Of
    other collections it is the kind and the length alone: they may be large, and one that shares
    its parts, as pickles do, may be larger than any memory when it is written out. Of an array it
    is the shape and the dtype, and of anything else the type.
    """
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape} and dtype {value.dtype}"
    if isinstance(value, str | bytes):
        cut = "..." if len(value) > LONGEST_TEXT else ""
        return repr(value[:LONGEST_TEXT]) + cut
    if isinstance(value, int):
        return shown_number(value)
    if value is None or isinstance(value, Number | np.generic):
        return " ".join(repr(value).split())
    if isinstance(value, tuple) and 0 < len(value) <= LONGEST_TUPLE and all(map(_is_plain, value)):
        return f"({', '.join(map(shown, value))}{',' if len(value) == 1 else ''})"
    for kind, name in KINDS.items():
        if isinstance(value, kind):
            return f"{name} of {len(value)}" if value else repr(kind())
    return type_name(value)


def listed(names: Iterable[object], room: int = LONGEST_LIST) -> str:
    """Join names by commas: as many as have `room`, and how many are left; "nothing" of none."""
    parts = [text if len(text) <= room else f"{text[:room]}..." for text in map(str, names)]
    length = 0
    for count, part in enumerate(parts):
        length += len(part)
        if count and length > room:
            return f"{', '.join(parts[:count])} and {len(parts) - count} more"
        length += len(", ")
    return ", ".join(parts) or "nothing"


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, str | bytes | Number | np.generic)


def shown_number(value: object) -> str:
    """Write a number; of an integer that Python may refuse to write, its size."""
    if isinstance(value, int) and value.bit_length() > LONGEST_INTEGER:
        return f"an integer of {value.bit_length()} bits"
    return str(value)


def nearest(name: str, known: Collection[str]) -> str | None:
    """Which of the `known` names was probably meant by `name`, in any case; None if none is near.

    The beginning of one name alone, such as "bf" for "bfloat16", means that one.
    """
    spellings = {spelling.lower(): spelling for spelling in known}
    close = get_close_matches(name.lower(), spellings, 1)
    if not close and name:
        begun = [spelling for spelling in spellings if spelling.startswith(name.lower())]
        close = begun if len(begun) == 1 else []
    return spellings[close[0]] if close else None


def hint(name: object, known: Collection[str]) -> str:
    """End of a message on a `name` that is not `known`: "; did you mean x?", or nothing."""
    near = nearest(name, known) if isinstance(name, str) else None
    return "" if near is None else f"; did you mean {near}?"


def type_name(value: object) -> str:
    """Name of an object's type, with its module but for builtins."""
    return f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")


def summarised(value: object, *facts: str, **settings: object) -> str:
    """Write what `repr` gives of an object that is too large to be written out."""
    parts = [*facts, *(f"{name}={setting}" for name, setting in settings.items())]
    return f"<{type(value).__name__} {', '.join(parts)}>"


def described(error: BaseException) -> str:
    """One line that says what went wrong, of the system's errors the file and the reason."""
    if isinstance(error, OSError) and error.strerror is not None:
        names = (name for name in (error.filename, error.filename2) if name is not None)
        return ": ".join([*(os.fsdecode(name) for name in names), error.strerror])
    text = " ".join(str(error).split())
    if isinstance(error, MemoryError):  # NumPy's says how much it wanted, and not what is wrong
        return text if "out of memory" in text else f"out of memory: {text}".removesuffix(": ")
    return text or type(error).__name__


def counted(number: int, one: str, many: str | None = None) -> str:
    """Count things: "1 image", "2 images"; `many` is the plural where it is not `one` with an s."""
    return f"{number} {one if number == 1 else many or f'{one}s'}"


def duration(seconds: float) -> str:
    """Tell a time in its two largest units: "0.3 s", "12 min 5 s", "3 h 7 min"."""
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def timestamp() -> str:
    """Local time as in "2026-01-01 10:00:00.000000"."""
    return datetime.now().strftime("%Y-%m-%d %H:%M:%S.%f")
