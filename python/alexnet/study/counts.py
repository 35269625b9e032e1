"""What the rungs for CUDA do to memory, as the emulation of tests/cuda_emulation has counted it.

The counts are kept beside this file, for the usual layer of every ladder, so that a ladder says
something where there is no device. ``python -m cuda_emulation.study`` makes them, in a checkout.
The kernels are compiled without optimisation for it: an element that the source reads twice counts
twice, and what a compiler adds, such as spills, does not count.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from alexnet.study.measure import Result, Table
from alexnet.study.problem import Problem
from alexnet.study.rungs import Rung

FILE = "cuda_counts.json"
VERSION = 1
SECTOR = 32  # bytes
WARP = 32


@dataclass(frozen=True)
class Counts:
    """Of all launches of a rung, from some of their blocks to all of them.

    Attributes
    ----------
    sectors, least_sectors
        Sectors of 32 bytes of global memory that the requests touch, and would if the bytes of
        each lay side by side.
    block_sectors
        Different ones in each block: what L2 has to deliver if L1 forgets nothing.
    wavefronts, least_wavefronts
        Turns of shared memory, and those without bank conflicts.
    loads, stores, shared_loads, shared_stores, copies, shuffles, products
        Instructions of warps; copies are asynchronous, products those of tensor cores, of which one
        of a warpgroup is one of each of its four warps.
    multiply_adds
        Fused ones, of threads.
    barriers
        Of blocks.
    blocks
        Of the launch that has most arithmetic, or else most requests.
    """

    sectors: int
    least_sectors: int
    block_sectors: int
    wavefronts: int
    least_wavefronts: int
    loads: int
    stores: int
    shared_loads: int
    shared_stores: int
    copies: int
    shuffles: int
    products: int
    multiply_adds: int
    barriers: int
    blocks: int

    @property
    def requests(self) -> int:
        """Instructions of warps that access memory."""
        return self.loads + self.stores + self.shared_loads + self.shared_stores + self.copies

    @property
    def arithmetic(self) -> int:
        """Instructions of warps that multiply and add: products, and multiply-adds of 32 lanes."""
        return self.products + -(-self.multiply_adds // WARP)

    @property
    def scattering(self) -> float:
        """Sectors over the least."""
        return self.sectors / self.least_sectors if self.least_sectors else 1.0

    @property
    def conflicts(self) -> float:
        """Wavefronts beyond the least, as a share of them."""
        return self.wavefronts / self.least_wavefronts - 1 if self.least_wavefronts else 0.0

    def quantity(self, words: str) -> int:
        """Look up what a prediction names. KeyError if it is none of them."""
        return {
            "sectors": self.sectors,
            "requests": self.requests,
            "wavefronts": self.wavefronts,
            "copies": self.copies,
            "barriers": self.barriers,
            "blocks": self.blocks,
            "math instructions": self.arithmetic,
        }[words]


@dataclass(frozen=True)
class CountedRung:
    """One rung: its counts, and its error on one image in the emulation."""

    number: int
    idea: str
    error: float
    bound: float
    counts: Counts

    @property
    def is_right(self) -> bool:
        """Whether the error is within its bound, which NaN is not."""
        return self.error <= self.bound


@dataclass(frozen=True)
class CountedLadder:
    """A ladder's usual case. `sample`: how many blocks of each launch were run at most."""

    case: str
    sizes: dict[str, float]
    sample: int
    rungs: tuple[CountedRung, ...]

    def is_of(self, problem: Problem) -> bool:
        """Whether these are the counts of a problem."""
        return (self.case, self.sizes) == (problem.case.name, problem.sizes)

    def counted_factor(self, rung: Rung) -> float | None:
        """How many times fewer, or more, of what it predicts than the rung before; None of none."""
        by_number = {counted.number: counted.counts for counted in self.rungs}
        if rung.quantity is None or {rung.number, rung.number - 1} - by_number.keys():
            return None
        way, words = rung.quantity
        before, after = (by_number[n].quantity(words) for n in (rung.number - 1, rung.number))
        more, fewer = (after, before) if way == "more" else (before, after)
        return more / fewer if fewer else None


@dataclass(frozen=True)
class CountedTable:
    """Rungs of a ladder with their kept counts, and the times of a device where there was one."""

    problem: Problem
    rungs: tuple[Rung, ...]
    ladder: CountedLadder
    table: Table | None = None

    @property
    def counted(self) -> list[tuple[Rung, CountedRung]]:
        """Each of the rungs that counts are kept of."""
        by_number = {rung.number: rung for rung in self.ladder.rungs}
        return [(rung, by_number[rung.number]) for rung in self.rungs if rung.number in by_number]

    def result(self, rung: Rung) -> Result | None:
        """Give what a rung did on the device; None without one."""
        results = self.table.results if self.table else ()
        return next((result for result in results if result.rung is rung), None)

    def figures(self) -> dict[str, Any]:
        """Plain JSON values as those of a `Table`; without a device, times are None."""
        if self.table is not None:
            values = self.table.figures()
        else:
            rungs = [
                {
                    **rung.figures(),
                    "seconds": None,
                    "share": None,
                    "error": of.error,
                    "bound": of.bound,
                    "right": of.is_right,
                }
                for rung, of in self.counted
            ]
            values = {**self.problem.figures(), "rungs": rungs}
        by_number = {rung.number: (rung, of) for rung, of in self.counted}
        for row in values["rungs"]:
            if row["number"] in by_number:
                rung, of = by_number[row["number"]]
                row["counts"] = vars(of.counts)
                row["predicted_quantity"] = " ".join(rung.quantity or ()) or None
                row["counted_factor"] = self.ladder.counted_factor(rung)
        return values


def beside(table: Table) -> Table | CountedTable:
    """Put the kept counts beside the times of a device; those are alone where there are none."""
    of = kept().get(table.problem.ladder.full_name)
    if of is None or not of.is_of(table.problem):
        return table
    return CountedTable(table.problem, tuple(r.rung for r in table.results), of, table)


def figures(ladders: Sequence[tuple[str, CountedLadder]]) -> dict[str, Any]:
    """Everything as plain JSON values, as `kept` reads them, by the ladders' full names."""
    return {
        "version": VERSION,
        "ladders": [
            {
                "ladder": name,
                "case": ladder.case,
                "sizes": ladder.sizes,
                "sample": ladder.sample,
                "rungs": [
                    {
                        "number": rung.number,
                        "idea": rung.idea,
                        "error": rung.error,
                        "bound": rung.bound,
                        "counts": vars(rung.counts),
                    }
                    for rung in ladder.rungs
                ],
            }
            for name, ladder in ladders
        ],
    }


def kept() -> dict[str, CountedLadder]:
    """Read the counts that came with the package, if any, by the ladders' full names."""
    file = files("alexnet.study").joinpath(FILE)
    if not file.is_file():
        return {}
    values = json.loads(file.read_text(encoding="utf-8"))
    return {
        ladder["ladder"]: CountedLadder(
            ladder["case"],
            ladder["sizes"],
            ladder["sample"],
            tuple(
                CountedRung(
                    rung["number"],
                    rung["idea"],
                    rung["error"],
                    rung["bound"],
                    Counts(**rung["counts"]),
                )
                for rung in ladder["rungs"]
            ),
        )
        for ladder in values["ladders"]
    }
