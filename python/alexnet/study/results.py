"""Tables that are kept: what `alexnet study --json` wrote, read back and put side by side.

A file has the environment of the run and a list of ladders, as `Table.figures` gives them. Those
for CUDA have counts as well (`alexnet.study.counts`), and without a device no times.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alexnet.files import read_regular
from alexnet.files.descriptions import LARGEST, Entry, versioned
from alexnet.messages import described
from alexnet.study.counts import SECTOR, CountedTable
from alexnet.study.measure import Table

VERSION = 1
TRAFFIC = ("sectors", "wavefronts")  # which counts are put side by side


@dataclass(frozen=True)
class KeptRung:
    """One rung's figures; None where it had none.

    `sectors` and `wavefronts` are counts of what a rung for CUDA does to memory.
    """

    idea: str
    seconds: float | None
    share: float | None
    sectors: int | None = None
    wavefronts: int | None = None


@dataclass(frozen=True)
class Kept:
    """One file: a machine, and the rungs of each ladder's case by their numbers."""

    machine: str
    ladders: dict[tuple[str, str], dict[int, KeptRung]]


def figures(environment: dict[str, Any], tables: Sequence[Table | CountedTable]) -> dict[str, Any]:
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
        text = read_regular(path, LARGEST)
        entries = versioned(text, VERSION, ("environment", "ladders"), optional=("device",))
        device = entries["device"].text() if "device" in entries else "cpu"
        machine = _machine(device, entries["environment"].entries())
        ladders = {}
        for ladder in entries["ladders"].items():
            table = ladder.entries()
            place = (_of(table, "ladder").text(), _of(table, "case").text())
            ladders[place] = dict(map(_rung, _of(table, "rungs").items()))
    except ValueError as error:
        raise ValueError(f"{path}: no figures of alexnet study: {described(error)}") from error
    return Kept(machine, ladders)


def _machine(device: str, environment: dict[str, Entry]) -> str:
    """Name what the ladders ran on."""
    if device == "cuda":
        gpu = _of(environment, "gpu").optional()
        return "no device, counts of the emulation" if gpu is None else gpu.text()
    words = [_of(environment, name).text() for name in ("processor", "isa")]
    threads = _of(environment, "threads").integer(1)
    return f"{words[0]}, {words[1]}, {threads} thread{'s' * (threads > 1)}"


def columns(place: tuple[str, str]) -> list[str]:
    """Name what a file says of a rung: time, share of the peak, and of CUDA some counts."""
    counted = ["MB", "waves"] if place[0].endswith("-cuda") else []
    return ["ms", "peak", *counted]


def side_by_side(kept: Sequence[Kept], place: tuple[str, str]) -> list[list[str]]:
    """Rows of one ladder's case: number, idea, and of each file what `columns` names.

    A rung that a file has not, or has under another name, is a dash there.
    """
    tables = [each.ladders.get(place, {}) for each in kept]
    width = len(columns(place))
    rungs = sorted({(number, rung.idea) for table in tables for number, rung in table.items()})
    rows = []
    for number, idea in rungs:
        row = [str(number), idea]
        for table in tables:
            rung = table.get(number)
            cells = _cells(rung) if rung is not None and rung.idea == idea else ["-"] * width
            row += cells[:width]
        rows.append(row)
    return rows


def _cells(rung: KeptRung) -> list[str]:
    def cell(value: float | None, scale: float, form: str) -> str:
        return "-" if value is None else format(value * scale, form)

    return [
        cell(rung.seconds, 1e3, ".2f"),
        cell(rung.share, 1, ".0%"),
        cell(rung.sectors, SECTOR / 1e6, ".1f"),
        cell(rung.wavefronts, 1e-3, ".1f"),
    ]


def _rung(entry: Entry) -> tuple[int, KeptRung]:
    fields = entry.entries()
    numbers = [_of(fields, name).optional() for name in ("seconds", "share")]
    seconds, share = (None if number is None else number.number(0) for number in numbers)
    counts = fields["counts"].entries() if "counts" in fields else None
    counted = [_of(counts, name).integer() for name in TRAFFIC] if counts else [None, None]
    idea = _of(fields, "idea").text()
    return _of(fields, "number").integer(), KeptRung(idea, seconds, share, *counted)


def _of(entries: dict[str, Entry], name: str) -> Entry:
    if name not in entries:
        raise ValueError(f"it has no {name}")
    return entries[name]
