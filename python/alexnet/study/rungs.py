"""The files of a ladder: which there are, and what their headers say.

A rung's first comment has a title, and after an empty line four paragraphs that begin with
``Change:``, ``Why:``, ``Predicted:`` and ``Gained:``. A prediction begins with a factor over the
rung before, as in "Predicted: 3.5 times: ...". A rung that can't serve every shape says in a fifth
one, ``Serves:``, which it does, and returns without writing for all others.

Rungs for CUDA predict something that the emulation counts, as in "Predicted: 4 times fewer
sectors: ..." or "Predicted: as many sectors: ..." (`alexnet.study.counts` has the words), and those
that round their operands say so in ``Precision:``. Those that want a certain device name its
compute capability in ``Serves:``, and have a function only in builds for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from alexnet.study.ladders import LADDERS, Ladder

ANY_ISA = "any"
FIELDS = ("Change", "Why", "Predicted", "Gained")
SERVES = "Serves"
PRECISION = "Precision"
ALL_FIELDS = (*FIELDS, SERVES, PRECISION)
FACTOR = re.compile(
    r"(?P<factor>\d+(?:\.\d+)?) times\b(?: (?P<way>fewer|more) (?P<words>[a-z ]+):)?"
    r"|as many (?P<same>[a-z ]+):"
)
CAPABILITY = re.compile(r"compute capability (\d+\.\d+)")
NOT_BUILT = (
    "the study ladders are not in this build of alexnet: install it without "
    "-C cmake.define.ALEXNET_STUDY=OFF"
)


@dataclass(frozen=True)
class Rung:
    """One file of a ladder. `functions` are the addresses of its function by instruction set.

    A rung of the reader's own has a library of its own, whose `set_num_threads` has to be told.
    """

    ladder: Ladder
    number: int
    source: Path
    functions: dict[str, int]
    title: str
    change: str
    why: str
    predicted: str
    gained: str
    serves: str
    precision: str = "float32"
    set_num_threads: Callable[[int], object] = lambda _: None

    @property
    def idea(self) -> str:
        """Name of the file, without its number, as words."""
        return re.sub(r"^\d+_", "", self.source.stem).replace("_", " ")

    @property
    def name(self) -> str:
        """The file as it stands in the repository's cpp/study; of the reader's own, its name."""
        if self.source.is_relative_to(sources()):
            return self.source.relative_to(sources()).as_posix()
        return self.source.name

    @property
    def is_product(self) -> bool:
        """Whether it calls the product's kernel."""
        return ANY_ISA in self.functions or self.source.stem[3:].startswith("product")

    @property
    def capability(self) -> str | None:
        """Compute capability of the devices that it is for; None where it is for all."""
        found = CAPABILITY.search(self.serves)
        return found[1] if found else None

    @property
    def factor(self) -> float | None:
        """Predicted factor over the rung before; None where there is none."""
        found = FACTOR.match(self.predicted)
        return float(found["factor"] or 1) if found else None

    @property
    def quantity(self) -> tuple[str, str] | None:
        """Whether "fewer" or "more" is predicted, and of what that is counted; None: of time."""
        found = FACTOR.match(self.predicted)
        if found and (words := found["same"] or found["words"]):
            return found["way"] or "fewer", words
        return None

    def figures(self) -> dict[str, Any]:
        """Give what its file says, as plain JSON values."""
        return {
            "number": self.number,
            "idea": self.idea,
            "file": self.name,
            "serves": self.serves,
            "predicted_factor": self.factor,
        }

    @property
    def prediction(self) -> str:
        """What it predicts of counts, in words; empty where that is nothing."""
        if self.quantity is None or self.factor is None:
            return ""
        return in_words(f"{self.factor:g}", self.quantity)

    def function(self, isa: str) -> int:
        """Address of its function for an instruction set."""
        return self.functions.get(ANY_ISA) or self.functions[isa]


def in_words(factor: str, quantity: tuple[str, str]) -> str:
    """Write how many times fewer, or more, something is."""
    way, words = quantity
    return f"as many {words}" if float(factor) == 1 else f"{factor} times {way} {words}"


def module() -> Any:
    """Give alexnet._study; NotImplementedError where it was not built."""
    try:
        return import_module("alexnet._study")
    except ModuleNotFoundError as error:
        raise NotImplementedError(NOT_BUILT) from error


def sources() -> Path:
    """Folder of the ladders' files, as they were built."""
    return Path(module().__file__).parent / "study" / "sources"


def device_module() -> Any | None:
    """Give alexnet._study_cuda; None where it was not built."""
    try:
        return import_module("alexnet._study_cuda")
    except ModuleNotFoundError:
        return None


def rungs_of(ladder: Ladder) -> list[Rung]:
    """All rungs of a ladder that were built, in order; those for CUDA also where they were not."""
    functions: dict[int, dict[str, int]] = {}
    built = module()
    if ladder.device == "cuda":
        files = (sources() / ladder.folder).glob("[0-9][0-9]_*.cu")
        functions = {int(file.name[:2]): {} for file in files}
        built = device_module()
    for folder, number, isa, address in built.rungs() if built else []:
        if folder == ladder.folder:
            functions.setdefault(number, {})[isa] = address
    return [
        rung_in(ladder, number, _source(ladder, number), functions[number])
        for number in sorted(functions)
    ]


def built_ladders() -> list[Ladder]:
    """Give the ladders that have rungs in this build."""
    folders = {folder for folder, *_ in module().rungs()}
    return [ladder for ladder in LADDERS.values() if ladder.folder in folders]


def rung_in(ladder: Ladder, number: int, source: Path, functions: dict[str, int]) -> Rung:
    """Read what the header of a rung's file says.

    Raises
    ------
    ValueError
        It has no title, or one of the four paragraphs is missing.
    """
    title, *paragraphs = _paragraphs(source)
    fields = dict.fromkeys(ALL_FIELDS, "")
    for paragraph in paragraphs:
        name, _, text = paragraph.partition(":")
        if name in fields:
            fields[name] = text.strip()
    missing = [name for name in FIELDS if not fields[name]]
    if not title or missing:
        expected = ", ".join(f"{name}:" for name in missing) or "title"
        raise ValueError(
            f"{source}: its first comment has no {expected}; alexnet study new writes one"
        )
    return Rung(
        ladder,
        number,
        source,
        functions,
        title,
        change=fields["Change"],
        why=fields["Why"],
        predicted=fields["Predicted"],
        gained=fields["Gained"],
        serves=fields[SERVES],
        precision=fields[PRECISION].removesuffix(".") or "float32",
    )


def _source(ladder: Ladder, number: int) -> Path:
    return next((sources() / ladder.folder).glob(f"{number:02d}_*.c*"))


def _paragraphs(source: Path) -> list[str]:
    """Paragraphs of the first comment; the four fields begin one each."""
    paragraphs = [""]
    for line in _comment(source):
        begins = not line or line.partition(":")[0] in ALL_FIELDS
        if begins and paragraphs[-1]:
            paragraphs.append("")
        paragraphs[-1] = f"{paragraphs[-1]} {line}".strip()
    return paragraphs


def _comment(source: Path) -> Iterator[str]:
    for line in source.read_text(encoding="utf-8").splitlines():
        if not line.startswith("//"):
            return
        yield line.removeprefix("//").strip()
