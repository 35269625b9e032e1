"""What `alexnet study --device cuda` prints of counts: three tables a ladder, and their notes."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Sequence

from alexnet.commands.options import environment, say, say_line, say_table, write_figures
from alexnet.commands.study_text import WIDTH, described, explained
from alexnet.study import counts, results
from alexnet.study.counts import SECTOR, WARP, CountedRung, CountedTable
from alexnet.study.problem import Problem
from alexnet.study.rungs import Rung, sources

PREDICTIONS = ["", "rung", "ms", "predicted", "counted", "error"]
TRAFFIC = ["", "rung", "MB", "least", "block MB", "waves", "conflicts"]
INSTRUCTIONS = ["", "loads", "stores", "shared", "copies", "shuffles", "FMA", "mma", "barriers"]


def show_kept(
    options: argparse.Namespace,
    problems: Sequence[Problem],
    rungs: Sequence[list[Rung]],
    obstacle: str,
) -> bool:
    """Show what is known of some rungs of each problem where there is no device, and why not more.

    Returns whether all of them are right.

    Raises
    ------
    ValueError
        No counts of a problem are kept, or a picture of times is asked for.
    """
    if options.plot is not None:
        raise ValueError(f"study: --plot draws times, but {obstacle}")
    tables = [_kept(problem, some, obstacle) for problem, some in zip(problems, rungs, strict=True)]
    say_line(options, f"no times (-), but counts of an emulation: {obstacle}")
    for table in tables:
        show(options, table, explain=options.explain)
    write_figures(options, results.figures(environment(), tables))
    return all(rung.is_right for table in tables for _, rung in table.counted)


def _kept(problem: Problem, rungs: Sequence[Rung], obstacle: str) -> CountedTable:
    counted = counts.kept().get(problem.ladder.full_name)
    if counted is None:
        raise ValueError(
            f"study: no counts of {problem.ladder.full_name} are kept, and there are no times: "
            f"{obstacle}"
        )
    if not counted.is_of(problem):
        raise ValueError(
            f"study: without a device there are counts of {counted.case} alone, "
            f"not of {problem.case.name}: {obstacle}"
        )
    return CountedTable(problem, tuple(rungs), counted)


def show(options: argparse.Namespace, table: CountedTable, *, explain: bool = False) -> None:
    """Print the kept counts of a ladder's rungs."""
    problem, known = table.problem, table.counted
    say(options)
    say(options, f"{problem.ladder.full_name}, {problem.case.network} {problem.case.layer.name}")
    say(options, f"{described(problem)}, counted in the emulation")
    rows = [_predictions(table, rung, of) for rung, of in known]
    say_table(options, PREDICTIONS, rows, right={0, 2, 4, 5})
    say(options)
    rows = [_traffic(rung, of) for rung, of in known]
    say_table(options, TRAFFIC, rows, right={0, *range(2, len(TRAFFIC))})
    say(options)
    say(options, "instructions of warps, in thousands")
    rows = [_instructions(of) for _, of in known]
    say_table(options, INSTRUCTIONS, rows, right=set(range(len(INSTRUCTIONS))))
    for note in _notes(table):
        for line in textwrap.wrap(note, WIDTH, subsequent_indent="  "):
            say(options, line)
    say(options, f"files: {sources() / problem.ladder.folder}")
    if explain:
        for rung, _ in known:
            for line in explained(rung):
                say(options, line)


def _predictions(table: CountedTable, rung: Rung, of: CountedRung) -> list[str]:
    factor, result = table.ladder.counted_factor(rung), table.result(rung)
    seconds = result.seconds if result else None
    return [
        str(rung.number),
        rung.idea,
        "-" if seconds is None else f"{seconds * 1e3:.2f}",
        rung.prediction or "-",
        "-" if factor is None else f"{factor:.2f}",
        f"{of.error:.1e}" + ("" if of.is_right else "!"),
    ]


def _traffic(rung: Rung, of: CountedRung) -> list[str]:
    c = of.counts
    return [
        str(rung.number),
        rung.idea,
        megabytes(c.sectors),
        f"{c.scattering:.2f}",
        megabytes(c.block_sectors),
        thousands(c.wavefronts),
        f"{c.conflicts:.0%}" if c.wavefronts else "-",
    ]


def _instructions(of: CountedRung) -> list[str]:
    c = of.counts
    numbers = (
        c.loads,
        c.stores,
        c.shared_loads + c.shared_stores,
        c.copies,
        c.shuffles,
        c.multiply_adds // WARP,
        c.products,
        c.barriers,
    )
    return [str(of.number), *map(thousands, numbers)]


def megabytes(sectors: int) -> str:
    """Write the bytes of sectors in MB."""
    size = sectors * SECTOR / 1e6
    return f"{size:.0f}" if size >= 100 else f"{size:.3g}"


def thousands(number: int) -> str:
    """Write a count in thousands; none as a dash."""
    if number == 0:
        return "-"
    return f"{number / 1e3:.0f}" if number >= 99_950 else f"{number / 1e3:.3g}"


def _notes(table: CountedTable) -> list[str]:
    """Sentences below the tables, about what they can't say by themselves."""
    bounds = sorted({of.bound for _, of in table.counted})
    notes = [
        "predicted, counted: of the rung before. Counted in "
        f"{table.ladder.sample} blocks of each launch, scaled to all, in kernels that are compiled "
        "without optimisation.",
        f"MB: sectors of 32 bytes that instructions touch; every array once is "
        f"{table.problem.bytes / 1e6:.3g}. least: times as many as their bytes need. block MB: "
        "different ones in each block. waves: thousands of turns of shared memory, conflicts those "
        "beyond the least.",
        f"error: relative L2 against float64 of one image, emulated; at most "
        f"{' or '.join(f'{bound:.1e}' for bound in bounds)} is right"
        + (" (tf32)." if len(bounds) > 1 else "."),
    ]
    wanted = {rung.number: rung.capability for rung, _ in table.counted if rung.capability}
    if wanted:
        rungs = "rung" if len(wanted) == 1 else "rungs"
        notes.append(
            f"{rungs} {', '.join(map(str, wanted))}: for devices of compute capability "
            f"{' or '.join(sorted(set(wanted.values())))} alone; one was emulated for this ladder."
        )
    notes += [f"! rung {of.number} is wrong." for _, of in table.counted if not of.is_right]
    return notes
