"""Descriptions in files, read as what they may be: JSON, every value of it checked before its use.

A description may come from anybody. `parse` bounds its size and depth and refuses what JSON leaves
open: a key twice, NaN, infinity, numbers without end. An `Entry` is a value of it together with its
place in it, so that each check raises one line that says where, what came, and what was expected.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from alexnet.contract.arguments import LARGEST_SIZE
from alexnet.messages import LONGEST_TEXT, listed, shown

LARGEST = 2**22  # characters of a description
DEEPEST = 32  # lists and objects inside each other
DIGITS = 100  # of an integer
LONGEST_NAME = 200  # characters

# A string, which may hold brackets, or a bracket.
_BRACKETS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)


def parse(text: str | bytes) -> Any:
    """Value of JSON text.

    Raises
    ------
    ValueError
        It is no JSON in UTF-8, is too long or too deep, repeats a key of an object, or has a number
        that is not finite or is longer than any number here.
    """
    if len(text) > LARGEST:
        raise ValueError(f"it has {len(text):,} characters, expected at most {LARGEST:,}")
    if isinstance(text, bytes):
        text = text.decode("utf-8")
    _check_depth(text)
    return json.loads(
        text,
        parse_constant=_refuse_constant,
        parse_float=_finite,
        parse_int=_integer,
        object_pairs_hook=_without_repetition,
    )


def _check_depth(text: str) -> None:
    depth = 0
    for match in _BRACKETS.finditer(text):
        if match[0] in "[{":
            depth += 1
        elif match[0] in "]}":
            depth -= 1
        if depth > DEEPEST:
            raise ValueError(f"it is more than {DEEPEST} lists and objects deep")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"it has the number {name}, which JSON has not")


def _finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError(f"it has the number {text:.20}, which is too large")
    return value


def _integer(text: str) -> int:
    if len(text) > DIGITS:
        raise ValueError(f"it has an integer of {len(text)} digits, expected at most {DIGITS}")
    return int(text)


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        raise ValueError(f"it has the key {shown(counts.most_common(1)[0][0])} twice")
    return values


def label(name: object) -> str:
    """Tell a name in a message: as it is if it is a plain word, such as "conv1"."""
    plain = isinstance(name, str) and name.isidentifier() and len(name) <= LONGEST_TEXT
    return str(name) if plain else shown(name)


@dataclass(frozen=True)
class Entry:
    """A value of a description, and its place: "" for the whole, "layers[2].stride" for a part."""

    where: str
    value: Any

    def refuse(self, expected: str) -> NoReturn:
        """Raise the ValueError that says what came and what was expected."""
        raise ValueError(f"{self.where or 'it'} is {shown(self.value)}, expected {expected}")

    def integer(self, low: int = 0, high: int = LARGEST_SIZE) -> int:
        """Take an integer in [low, high]; a bool and 1.0 are none."""
        if type(self.value) is not int:
            self.refuse("an integer")
        if not low <= self.value <= high:
            self.refuse(f"an integer from {low} to {high}")
        return self.value

    def number(self, low: float = -math.inf, high: float = math.inf) -> float:
        """Take a finite number in [low, high], with or without a fraction."""
        if type(self.value) not in (int, float):
            self.refuse("a number")
        # An integer may be beyond all floats, but compares with them.
        if not (low <= self.value <= high and abs(self.value) < math.inf):
            self.refuse(f"a finite number from {low:g} to {high:g}")
        try:
            return float(self.value)
        except OverflowError:
            self.refuse("a finite number")

    def flag(self) -> bool:
        """Take true or false."""
        if type(self.value) is not bool:
            self.refuse("true or false")
        return self.value

    def text(self, longest: int = LARGEST) -> str:
        """Take text of at most so many characters, each one that a file's name may have.

        Half a pair of UTF-16 surrogates, which JSON can spell, is no character.
        """
        if type(self.value) is not str:
            self.refuse("text")
        if len(self.value) > longest:
            self.refuse(f"at most {longest} characters")
        try:
            # A name in bytes that are no UTF-8 has surrogates in their place.
            self.value.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            self.refuse("whole characters, without half a surrogate pair")
        return self.value

    def name(self) -> str:
        """Take a name: printable text that is not empty, so that messages stay one line."""
        text = self.text(LONGEST_NAME)
        if not text or not text.isprintable():
            self.refuse("printable text")
        return text

    def choice(self, names: Collection[str]) -> str:
        """Take one of `names`."""
        if type(self.value) is not str or self.value not in names:
            self.refuse(", ".join(names))
        return self.value

    def optional(self) -> Entry | None:
        """Give the entry itself, or None for null."""
        return None if self.value is None else self

    def items(self, length: int | None = None, longest: int = LARGEST) -> list[Entry]:
        """Take the values of a list, of so many or of at most so many."""
        if not isinstance(self.value, list | tuple):
            self.refuse("a list" if length is None else f"a list of {length}")
        if length is not None and len(self.value) != length:
            self.refuse(f"a list of {length}")
        if len(self.value) > longest:
            self.refuse(f"a list of at most {longest}")
        return [Entry(f"{self.where}[{k}]", value) for k, value in enumerate(self.value)]

    def entries(self) -> dict[str, Entry]:
        """Take the values of an object, whatever their names are."""
        return dict(self._named())

    def fields(self, names: Collection[str], optional: Collection[str] = ()) -> dict[str, Entry]:
        """Take the values of an object that has `names`, maybe `optional` ones, and no others."""
        given = self.entries()
        missing = sorted(set(names) - given.keys())
        unknown = sorted(given.keys() - set(names) - set(optional))
        for what, which in (("lacks", missing), ("has the unknown", unknown)):
            if which:
                raise ValueError(f"{self.where or 'it'} {what} {listed(map(shown, which))}")
        return given

    def _named(self) -> Iterator[tuple[str, Entry]]:
        if not isinstance(self.value, Mapping):
            self.refuse("an object")
        prefix = f"{self.where}." if self.where else ""
        for key, value in self.value.items():
            yield key, Entry(f"{prefix}{label(key)}", value)


def versioned(
    text: str | bytes, version: int, names: Collection[str], optional: Collection[str] = ()
) -> dict[str, Entry]:
    """Take the values of JSON text: an object of this "version" with `names`, maybe `optional`.

    Raises
    ------
    ValueError
        It is something else, or of another version, whose names may be others.
    """
    whole = Entry("", parse(text))
    if (given := whole.entries().get("version")) and given.value != version:
        raise ValueError(f"its version is {shown(given.value)}, expected {version}")
    return whole.fields(("version", *names), optional)
