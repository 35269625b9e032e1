"""What `alexnet study --device cuda` prints of counts: two tables a ladder, with what they mean."""

from __future__ import annotations

import argparse
import dataclasses
import textwrap
from collections.abc import Sequence

from alexnet.commands.options import say, say_line, say_table, write_figures
from alexnet.commands.study_text import WIDTH, described, explained
from alexnet.study import counts
from alexnet.study.counts import SECTOR, WARP, CountedLadder, CountedRung
from alexnet.study.ladders import Problem
from alexnet.study.rungs import Rung, sources

PREDICTIONS = ["", "rung", "predicted", "counted", "error"]
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
        No counts of the one problem are kept, or times are asked for.
    """
    if options.plot is not None:
        raise ValueError(f"study: --plot draws times, but {obstacle}")
    kept = counts.kept()
    shown: list[tuple[str, CountedLadder]] = []
    for problem, some in zip(problems, rungs, strict=True):
        counted = kept.get(problem.ladder.full_name)
        if len(problems) > 1 and counted is None:
            continue
        if counted is None:
            raise ValueError(
                f"study: no counts of {problem.ladder.full_name} are kept, and there are no "
                f"times: {obstacle}"
            )
        if not counted.is_of(problem):
            raise ValueError(
                f"study: without a device there are counts of {counted.case} alone, "
                f"not of {problem.case.name}: {obstacle}"
            )
        if not shown:
            say_line(options, f"no times: {obstacle}")
        show(options, problem, some, counted, explain=options.explain)
        numbers = {rung.number for rung in some}
        chosen = tuple(rung for rung in counted.rungs if rung.number in numbers)
        shown.append((problem.ladder.full_name, dataclasses.replace(counted, rungs=chosen)))
    write_figures(options, {"counts": counts.figures(shown)})
    return all(rung.is_right for _, counted in shown for rung in counted.rungs)


def show(
    options: argparse.Namespace,
    problem: Problem,
    rungs: Sequence[Rung],
    counted: CountedLadder,
    *,
    explain: bool,
) -> None:
    """Print the kept counts of these rungs."""
    by_number = {rung.number: rung for rung in counted.rungs}
    known = [(rung, by_number[rung.number]) for rung in rungs if rung.number in by_number]
    say(options)
    say(options, f"{problem.ladder.full_name}, {problem.case.network} {problem.case.layer.name}")
    say(options, f"{described(problem)}, counted in the emulation")
    rows = [_predictions(rung, of, counted) for rung, of in known]
    say_table(options, PREDICTIONS, rows, right={0, 3, 4})
    say(options)
    rows = [_traffic(rung, of) for rung, of in known]
    say_table(options, TRAFFIC, rows, right={0, *range(2, len(TRAFFIC))})
    say(options)
    say(options, "instructions of warps, in thousands")
    rows = [_instructions(of) for _, of in known]
    say_table(options, INSTRUCTIONS, rows, right=set(range(len(INSTRUCTIONS))))
    for note in _notes(problem, counted, known):
        for line in textwrap.wrap(note, WIDTH, subsequent_indent="  "):
            say(options, line)
    say(options, f"files: {sources() / problem.ladder.folder}")
    if explain:
        for rung, _ in known:
            for line in explained(rung):
                say(options, line)


def _predictions(rung: Rung, of: CountedRung, ladder: CountedLadder) -> list[str]:
    factor = ladder.counted_factor(rung)
    words = " ".join(rung.quantity or ())
    return [
        str(rung.number),
        rung.idea,
        "-" if rung.factor is None else f"{rung.factor:g} times {words}",
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


def _notes(
    problem: Problem, ladder: CountedLadder, known: Sequence[tuple[Rung, CountedRung]]
) -> list[str]:
    """Sentences below the tables, about what they can't say by themselves."""
    bounds = sorted({of.bound for _, of in known})
    notes = [
        f"MB: sectors of 32 bytes that instructions touch; every array once is "
        f"{problem.bytes / 1e6:.3g}. least: times as many as their bytes need. block MB: different "
        "ones in each block. waves: thousands of turns of shared memory, conflicts those beyond "
        "the least.",
        "predicted, counted: over the rung before. Counted in "
        f"{ladder.sample} blocks of each launch, scaled to all, in kernels that are compiled "
        "without optimisation.",
        f"error: relative L2 against float64 of one image, emulated; at most "
        f"{' or '.join(f'{bound:.1e}' for bound in bounds)} is right"
        + (" (tf32)." if len(bounds) > 1 else "."),
    ]
    notes += [f"! rung {of.number} is wrong." for _, of in known if not of.is_right]
    return notes
