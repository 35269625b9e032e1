"""Text for people: names that a terminal can show, errors in a line, times of day."""

from __future__ import annotations

import os
import unicodedata
from datetime import datetime

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


def described(error: BaseException) -> str:
    """One line that says what went wrong, of the system's errors the file and the reason."""
    if isinstance(error, OSError) and error.strerror is not None:
        names = (name for name in (error.filename, error.filename2) if name is not None)
        return ": ".join([*(os.fsdecode(name) for name in names), error.strerror])
    return " ".join(str(error).split()) or (
        "out of memory" if isinstance(error, MemoryError) else type(error).__name__
    )


def timestamp() -> str:
    """Local time as in "2026-01-01 10:00:00.000000"."""
    return datetime.now().strftime("%Y-%m-%d %H:%M:%S.%f")
