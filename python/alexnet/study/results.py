"""Tables that are kept: what `alexnet study --json` wrote, read back and put side by side.

A file has the environment of the run and a list of ladders, as `Table.figures` gives them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alexnet.files import read_regular
from alexnet.files.descriptions import LARGEST, Entry, versioned
from alexnet.messages import described
from alexnet.study.measure import Table

VERSION = 1


@dataclass(frozen=True)
class KeptRung:
    """One rung's figures; None where it had none."""

    idea: str
    seconds: float | None
    share: float | None


@dataclass(frozen=True)
class Kept:
    """One file: a machine, and the rungs of each ladder's case by their numbers."""

    machine: str
    ladders: dict[tuple[str, str], dict[int, KeptRung]]


def figures(environment: dict[str, Any], tables: Sequence[Table]) -> dict[str, Any]:
    """Everything about a run, as plain JSON values."""
    return {
        "version": VERSION,
        "environment": environment,
        "ladders": [table.figures() for table in tables],
    }


def read(path: Path) -> Kept:
    """Read a file that `figures` went to.

    Raises
    ------
    ValueError
        It is something else.
    OSError
        It can't be read.
    """
    try:
        entries = versioned(read_regular(path, LARGEST), VERSION, ("environment", "ladders"))
        machine = entries["environment"].entries()
        words = [_of(machine, name).text() for name in ("processor", "isa")]
        threads = _of(machine, "threads").integer(1)
        ladders = {}
        for ladder in entries["ladders"].items():
            table = ladder.entries()
            place = (_of(table, "ladder").text(), _of(table, "case").text())
            ladders[place] = dict(map(_rung, _of(table, "rungs").items()))
    except ValueError as error:
        raise ValueError(f"{path}: no figures of alexnet study: {described(error)}") from error
    return Kept(f"{words[0]}, {words[1]}, {threads} thread{'s' * (threads > 1)}", ladders)


def side_by_side(kept: Sequence[Kept], place: tuple[str, str]) -> list[list[str]]:
    """Rows of one ladder's case: number, idea, and of each file ms and share of the peak.

    A rung that a file has not, or has under another name, is a dash there.
    """
    tables = [each.ladders.get(place, {}) for each in kept]
    rungs = sorted({(number, rung.idea) for table in tables for number, rung in table.items()})
    rows = []
    for number, idea in rungs:
        row = [str(number), idea]
        for table in tables:
            rung = table.get(number)
            row += _cells(rung if rung is not None and rung.idea == idea else None)
        rows.append(row)
    return rows


def _cells(rung: KeptRung | None) -> list[str]:
    if rung is None or rung.seconds is None or rung.share is None:
        return ["-", "-"]
    return [f"{rung.seconds * 1e3:.2f}", f"{rung.share:.0%}"]


def _rung(entry: Entry) -> tuple[int, KeptRung]:
    fields = entry.entries()
    numbers = [_of(fields, name).optional() for name in ("seconds", "share")]
    seconds, share = (None if number is None else number.number(0) for number in numbers)
    return _of(fields, "number").integer(), KeptRung(_of(fields, "idea").text(), seconds, share)


def _of(entries: dict[str, Entry], name: str) -> Entry:
    if name not in entries:
        raise ValueError(f"it has no {name}")
    return entries[name]
