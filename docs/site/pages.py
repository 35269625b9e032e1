"""The pages of the site that stand in no file: ladders, the operators' reference, the bounds.

`generated` gives them as Markdown. They are made from what the project says elsewhere: the
headers of the rungs (`alexnet.study.rungs`), kept tables (docs/study/results), kept counts
(`alexnet.study.counts`), docstrings.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path

import drawings
import hopper_drawings

import alexnet
from alexnet.network.variants import variant_named
from alexnet.study import counts, results
from alexnet.study.counts import SECTOR, CountedLadder
from alexnet.study.ladders import CUDA_LADDERS, LADDERS, Ladder
from alexnet.study.problem import layer_problem
from alexnet.study.rungs import Rung, rung_in
from alexnet.verification import tolerance

ROOT = Path(__file__).parents[2]
STUDY = ROOT / "cpp" / "study"
RESULTS = ROOT / "docs" / "study" / "results"
OUTSIDE_OF_CODE = re.compile(r"(`[^`]*`)")


@dataclass(frozen=True)
class Introduction:
    """What a ladder's page says before its rungs; `kernels` are pages on the product's."""

    formula: str
    pictures: tuple[tuple[str, str], ...]  # an SVG, and what stands below it
    kernels: tuple[str, ...]


def tile(*sides: str) -> tuple[str, str]:
    """Give the drawing of a register tile with what its sides are."""
    words = "The register tile, which every product runs on, and the packed panel that it reads."
    return drawings.register_tile(*sides), words


THREADS = (drawings.thread_ranges(), "Threads: ranges of rows, here 13 rows and 4 threads.")
PHASES = (
    drawings.phases(),
    "The gradient of a convolution with stride 2: scattered from above, or gathered from below.",
)
TILES = (
    drawings.winograd_tiles(),
    "Winograd's tiles along an axis of 13 outputs, as conv3 to conv5 have.",
)
OWNERS = (drawings.owners(), "Two ways to share the sum over images among threads.")
ROW = (drawings.lrn_row(), "LRN's windows: unaligned loads from a row of squares with margins.")
WINDOWS = (drawings.pooling_windows(), "Windows of 3 × 3 with stride 2: neighbours share a column.")

MEASURED = ("ms", "peak", "factor")  # of a rung, as `measured` has them

INTRODUCTIONS = {
    "conv2d-forward": Introduction(
        "y[n, i, j, k] = Σ x[n, i·stride + r − top, j·stride + s − left, c] · weight[r, s, c, k]\n"
        "                over (r, s, c)",
        (tile("x: window by window", "pixels", "taps, channels", "weights: out channels"), TILES),
        ("gemm", "winograd"),
    ),
    "conv2d-input-gradient": Introduction(
        "dx[n, h, w, c] = Σ dy[n, i, j, k] · weight[r, s, c, k]   over k and all (i, j, r, s)\n"
        "                 with i·stride + r − top = h and j·stride + s − left = w",
        (PHASES, TILES),
        ("gemm", "winograd"),
    ),
    "conv2d-weight-gradient": Introduction(
        "dweight[r, s, c, k] = Σ x[n, i·stride + r − top, j·stride + s − left, c] "
        "· dy[n, i, j, k]\n                      over (n, i, j)",
        (OWNERS, tile("x, turned", "in channels", "pixels", "dy: out channels")),
        ("gemm", "winograd"),
    ),
    "lrn-forward": Introduction(
        "y[p, c] = x[p, c] · s[p, c]^−beta\n"
        "s[p, c] = bias + alpha · Σ x[p, c']²   over |c' − c| ≤ radius",
        (ROW, THREADS),
        ("lrn",),
    ),
    "lrn-gradient": Introduction(
        "dx[p, c] = dy[p, c] · s[p, c]^−beta − 2·alpha·beta · x[p, c] · t[p, c]\n"
        "t[p, c] = Σ dy[p, c'] · x[p, c'] · s[p, c']^(−beta − 1)   over |c' − c| ≤ radius",
        (ROW, THREADS),
        ("lrn",),
    ),
    "max-pool2d-forward": Introduction(
        "y[n, i, j, c] = max x[n, i·stride + r, j·stride + s, c]   over (r, s)",
        (WINDOWS, THREADS),
        ("pooling",),
    ),
    "max-pool2d-gradient": Introduction(
        "dx[n, h, w, c] = Σ dy[n, i, j, c]   over windows with their first maximum at (h, w)",
        (WINDOWS, THREADS),
        ("pooling",),
    ),
    "lrn-max-pool2d-forward": Introduction(
        "y[n, i, j, c] = max z[n, i·stride + r, j·stride + s, c]   over (r, s)\n"
        "z[p, c] = x[p, c] · (bias + alpha · Σ x[p, c']²)^−beta   over |c' − c| ≤ radius",
        (ROW, WINDOWS),
        ("lrn", "pooling"),
    ),
    "lrn-max-pool2d-gradient": Introduction(
        "dz[n, h, w, c] = Σ dy[n, i, j, c]   over windows with their first maximum at (h, w)\n"
        "dx = the gradient of LRN for dz, where x > 0, and 0 elsewhere: x is a ReLU's output",
        (ROW, WINDOWS),
        ("lrn", "pooling"),
    ),
    "dense-forward": Introduction(
        "y[n, o] = Σ x[n, i] · weight[i, o]   over i",
        (tile("x", "images", "features in", "weights: features out"),),
        ("dense", "gemm"),
    ),
    "dense-input-gradient": Introduction(
        "dx[n, i] = Σ dy[n, o] · weight[i, o]   over o",
        (tile("dy", "images", "features out", "weights, turned: features in"),),
        ("dense", "gemm"),
    ),
    "dense-weight-gradient": Introduction(
        "dweight[i, o] = Σ x[n, i] · dy[n, o]   over n",
        (tile("x, turned", "features in", "images", "dy: features out"), OWNERS),
        ("dense", "gemm"),
    ),
}

BANKS = (
    drawings.shared_banks(),
    "Banks of shared memory that the lanes of a fragment read at once, before and after the "
    "rows are permuted.",
)
RING = (
    hopper_drawings.ring(),
    "A ring of four stages, as from rung 11 on: copies are ahead by as much as they take, and "
    "nobody waits for them once the first has come.",
)
CLUSTER = (
    hopper_drawings.cluster(),
    "Rung 12: who fetches which rows of x, left, and columns of weights, above. Of a cluster each "
    "block fetches half of the weights, for both.",
)
RUNS = (hopper_drawings.runs(), "Windows of a first layer in a line of the image, three channels.")
# Of ladders that are for CUDA alone.
CUDA_INTRODUCTIONS = {
    "conv2d-first-layer": Introduction(INTRODUCTIONS["conv2d-forward"].formula, (), ("gemm",)),
}
# Of the pages for CUDA; the drawings above are of vectors.
CUDA_PICTURES = {
    "conv2d-forward": (BANKS, RING, CLUSTER),
    "conv2d-first-layer": (RUNS,),
    "conv2d-input-gradient": (PHASES, BANKS),
    "conv2d-weight-gradient": (BANKS,),
    "max-pool2d-forward": (WINDOWS,),
    "max-pool2d-gradient": (WINDOWS,),
}


def generated() -> dict[str, str]:
    """All pages, by their paths below docs/."""
    kept = [results.read(path) for path in sorted(RESULTS.glob("*.json"))]
    ladders = {
        f"study/{ladder.full_name}.md": "\n".join(ladder_page(ladder, rungs_of(ladder), kept))
        for ladder in (*LADDERS.values(), *CUDA_LADDERS.values())
    }
    return {
        **ladders,
        "reference/operators.md": operators_page(),
        "reference/bounds.md": bounds_page(),
    }


def with_pictures(path: str, markdown: str) -> str:
    """Add the drawing of the roofline to the page, of those in docs/, that explains it."""
    if path != "study/README.md":
        return markdown
    before, heading, after = markdown.partition("\n## The roofline\n")
    if not heading:
        raise ValueError(f"{path} has no heading for the drawing of the roofline")
    words = "The roof of two threads of a Xeon, and the most that three layers can reach below it."
    return f"{before}{heading}\n{figure(drawings.roofline(intensities()), words)}{after}"


def intensities() -> dict[str, float]:
    """FLOP for each byte of some layers, as `alexnet study` counts both."""
    found = {}
    for name, images in (("dense-forward", 8), ("dense-forward", 128), ("conv2d-forward", 8)):
        ladder = LADDERS[name]
        problem = layer_problem(ladder, variant_named(ladder.variant), ladder.layer, images)
        found[f"{ladder.layer}, {images} images"] = problem.flops / problem.bytes
    return found


# --- ladders --------------------------------------------------------------------------------------


def rungs_of(ladder: Ladder) -> list[Rung]:
    """Rungs as their files in the repository say, whichever of them were built."""
    files = sorted((STUDY / ladder.folder).glob("[0-9][0-9]_*.c*"))
    return [rung_in(ladder, int(file.name[:2]), file, {}) for file in files]


def ladder_page(ladder: Ladder, rungs: list[Rung], kept: list[results.Kept]) -> Iterator[str]:
    """Lines of the page of a ladder."""
    introduction = (INTRODUCTIONS | CUDA_INTRODUCTIONS)[ladder.name]
    is_cuda = ladder.device == "cuda"
    yield f"# {ladder.full_name}\n"
    yield from ("```text", introduction.formula, "```\n")
    yield f"The usual case is `{ladder.layer}` of `{ladder.variant}`. To run it here and now:\n"
    yield from ("```sh", f"alexnet study {ladder.name}{' --device cuda' * is_cuda}", "```\n")
    links = " and ".join(f"[{name}](../kernels/{name}.md)" for name in introduction.kernels)
    yield (
        f"[How to read a ladder](README.md#how-to-read-a-ladder), and "
        f"[its figures](README.md#the-roofline). "
        f"What the product makes of the same ideas: {links}.\n"
    )
    pictures = CUDA_PICTURES.get(ladder.name, ()) if is_cuda else introduction.pictures
    for picture, words in pictures:
        yield figure(picture, words)
    of = counts.kept().get(ladder.full_name)
    if is_cuda and of is not None:
        yield "## Counts\n"
        yield from counted(rungs, of)
    yield "## Figures\n"
    yield from figures(ladder, rungs, kept)
    for rung in rungs:
        yield from rung_section(rung)


def figure(picture: str, words: str) -> str:
    """Give the lines of a drawing with what stands below it."""
    caption = f"<figcaption>{escape(words)}</figcaption>"
    return f'<figure class="drawing">{picture}{caption}</figure>\n'


def figures(ladder: Ladder, rungs: list[Rung], kept: list[results.Kept]) -> Iterator[str]:
    """Lines of a table for every kept case: the predictions beside each machine's figures."""
    cases = sorted(
        {place for each in kept for place in each.ladders if place[0] == ladder.full_name}
    )
    if not cases:
        yield (
            "No machine's table is kept yet; "
            "[this is how one is made](README.md#every-ladder-kept-and-compared).\n"
        )
        if ladder.full_name not in counts.kept():
            rows = [[str(rung.number), link(rung), predicted(rung)] for rung in rungs]
            yield from table(["", "rung", "predicted"], rows)
    for place in cases:
        machines = [each for each in kept if place in each.ladders]
        yield (
            f"`{place[1]}`, in milliseconds, as a share of the peak, and times as fast as the rung "
            "before:\n"
        )
        names = [text(machine.machine) for machine in machines]
        if len(machines) == 1:
            columns = list(MEASURED)
            yield f"On {names[0]}.\n"
        else:
            columns = [f"{n}: {what}" for n in range(1, len(machines) + 1) for what in MEASURED]
            yield from (f"{n}. {name}" for n, name in enumerate(names, 1))
            yield ""
        by_number = {rung.number: rung for rung in rungs}
        rows = []
        for number, idea, *_ in results.side_by_side(machines, place):
            rung = by_number.get(int(number))
            same = rung is not None and rung.idea == idea
            row = [number, link(rung) if same else text(idea), predicted(rung) if same else "–"]
            for machine in machines:
                row += measured(machine.ladders[place], int(number), idea)
            rows.append(row)
        yield from table(["", "rung", "predicted", *columns], rows)


def counted(rungs: list[Rung], kept: CountedLadder) -> Iterator[str]:
    """Lines of the kept counts of a ladder for CUDA, the predictions beside them."""
    yield (
        f"`{kept.case}`, as the emulation counts it "
        "([what the columns mean](README.md#without-a-gpu)); no GPU was there. MB are those of "
        "sectors that instructions touch, and of different ones in each block; instructions are "
        "thousands of a warp's.\n"
    )
    by_number = {of.number: of for of in kept.rungs}
    rows = []
    for rung in rungs:
        of = by_number[rung.number]
        c, factor = of.counts, kept.counted_factor(rung)
        thousands = (c.wavefronts, c.requests, c.arithmetic, c.barriers)
        rows.append(
            [
                str(rung.number),
                link(rung),
                f"{c.sectors * SECTOR / 1e6:.0f}",
                f"{c.scattering:.2f}",
                f"{c.block_sectors * SECTOR / 1e6:.0f}",
                *(f"{number / 1e3:.0f}" for number in thousands),
                f"{c.conflicts:.0%}",
                predicted(rung),
                times(factor),
                f"{of.error:.1e}",
            ]
        )
    columns = ["MB", "× least", "MB of blocks", "wavefronts", "requests", "math", "barriers"]
    last = ["conflicts", "predicted", "counted", "error"]
    yield from table(["", "rung", *columns, *last], rows)


def predicted(rung: Rung) -> str:
    """Write the predicted factor, and of what it is where that is not time."""
    return rung.prediction or times(rung.factor)


def measured(rungs: dict[int, results.KeptRung], number: int, idea: str) -> list[str]:
    """Milliseconds, share of the peak, and factor over the last rung before that has a time."""
    rung = rungs.get(number)
    if rung is None or rung.idea != idea or rung.seconds is None or rung.share is None:
        return ["–", "–", "–"]
    before = [
        rungs[n].seconds for n in sorted(rungs) if n < number and rungs[n].seconds is not None
    ]
    factor = before[-1] / rung.seconds if before and before[-1] else None
    return [f"{rung.seconds * 1e3:.2f}", f"{rung.share:.0%}", times(factor)]


def table(header: list[str], rows: list[list[str]]) -> Iterator[str]:
    """Lines of a table; the first two columns are words."""
    yield f"| {' | '.join(header)} |"
    yield f"|{'---|' * 2}{'--:|' * (len(header) - 2)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


def rung_section(rung: Rung) -> Iterator[str]:
    """Lines of one rung: what its header says, and its file, folded."""
    yield f"## {rung.number}. {text(rung.idea)} {{ #rung-{rung.number} }}\n"
    yield f"*{text(rung.title)}*\n"
    fields = {"Serves": rung.serves, "Change": rung.change, "Why": rung.why}
    if rung.precision != "float32":
        fields = {"Precision": f"{rung.precision}.", **fields}
    fields |= {"Predicted": rung.predicted, "Gained": rung.gained}
    for name, words in fields.items():
        if words:
            yield f"**{name}:** {text(words)}\n"
    yield f'??? example "cpp/study/{rung.source.relative_to(STUDY).as_posix()}"\n'
    yield "    ```cpp"
    for line in rung.source.read_text(encoding="utf-8").splitlines():
        yield f"    {line}".rstrip()
    yield "    ```\n"


def link(rung: Rung) -> str:
    """Give a link to the section of a rung on its page."""
    return f"[{text(rung.idea)}](#rung-{rung.number})"


def times(factor: float | None) -> str:
    """Write a factor, or a dash where there is none."""
    if factor is None:
        return "–"
    return f"{factor:.0f}×" if factor >= 10 else f"{factor:.2g}×"


def text(words: str) -> str:
    """Plain words as Markdown: nothing in them is markup, but for code between backticks."""
    parts = OUTSIDE_OF_CODE.split(words)
    for number in range(0, len(parts), 2):
        parts[number] = re.sub(r"([\\*_\[\]{}|~^])", r"\\\1", escape(parts[number], quote=False))
    return "".join(parts)


# --- reference ------------------------------------------------------------------------------------


def operators_page() -> str:
    """Every public operator, from the docstring of its reference."""
    lines = [
        "# Operators\n",
        "`alexnet.NAME` runs on the CPU or on a GPU, by the kind of array it is given; "
        "`alexnet.cpu`, `alexnet.cuda` and `alexnet.reference` have the same functions.\n",
    ]
    for name in alexnet.reference.__all__:
        module = getattr(alexnet.reference, name).__module__  # has the operator's name, too
        lines.append(f"::: {module}.{name}\n    options:\n      heading: alexnet.{name}\n")
    return "\n".join(lines)


def bounds_page() -> str:
    """How the bounds are derived: the docstring of `alexnet.verification.tolerance`."""
    lines = ["# Bounds of verification\n"]
    paragraphs = inspect.cleandoc(tolerance.__doc__ or "").split("\n")
    for line, after in zip(paragraphs, [*paragraphs[1:], ""], strict=True):
        is_title = not line.startswith(" ") and after.startswith("    ")
        lines.append(f"\n## {line}\n" if is_title else text(line.strip()))
    lines.append("\n## In Python\n")
    for name in ("relative_error", "product_bound", "bounds"):
        lines.append(
            f"::: alexnet.verification.tolerance.{name}\n    options:\n      heading_level: 3\n"
        )
    return "\n".join(lines)
