"""Drawings of the rungs for Hopper: stages of a ring in time, a cluster, windows over a line."""

from __future__ import annotations

from dataclasses import dataclass

from drawings import CELL, Drawing


@dataclass(frozen=True)
class Step:
    """When a step's copy begins and has arrived, and when it is multiplied, one unit long."""

    begin: int
    arrived: int
    multiplied: int


def in_the_ring(steps: int, stages: int, latency: int) -> list[Step]:
    """Say when each step passes a ring, if a copy takes `latency` units and products take one."""
    result: list[Step] = []
    for number in range(steps):
        begin = result[-1].begin + 1 if result else 0
        if number >= stages:  # room is where the step before in this stage was multiplied
            begin = max(begin, result[number - stages].multiplied + 1)
        free = result[-1].multiplied + 1 if result else 0
        result.append(Step(begin, begin + latency, max(begin + latency, free)))
    return result


def ring(steps: int = 9, stages: int = 4, latency: int = 3) -> str:
    """Draw what is in each stage of a ring, unit by unit."""
    d = Drawing(700, 220, "Stages of a ring: steps on their way, there, and multiplied")
    times, left, width = in_the_ring(steps, stages, latency), 90, 46
    units = times[-1].multiplied + 1
    for stage in range(stages):
        d.text(left - 10, 45 + stage * CELL, f"stage {stage}", "small", anchor="end")
        cells: list[tuple[object, str]] = [("", "faint")] * units
        for number in range(stage, steps, stages):
            step = times[number]
            for unit in range(step.begin, step.multiplied + 1):
                kind = "two" if unit < step.arrived else "one"
                cells[unit] = (number, kind)
        d.cells(left, 27 + stage * CELL, cells, width)
    d.text(left, 18, "time, in steps that are multiplied", "small", anchor="start")
    below = 27 + stages * CELL + 20
    meanings = {
        "two": f"step k is on its way, here for {latency} steps' time: full is not complete",
        "one": f"it is multiplied; then all warps arrive at room, and step k + {stages} is copied",
    }
    for row, (kind, words) in enumerate(meanings.items()):
        d.box(left, below + row * CELL, 16, 16, kind)
        d.text(left + CELL, below + 13 + row * CELL, words, anchor="start")
    return d.svg()


def cluster() -> str:
    """Draw which block fetches what of a step's operands, alone and as a cluster."""
    d = Drawing(700, 330, "Two blocks whose tiles share their weights, alone and as a cluster")
    side, part, gap = 90, 24, 10
    for half, title in enumerate(("two blocks: 512 rows and columns", "a cluster: 384")):
        left = 90 + half * 340
        d.text(left + part + gap + side / 2, 18, title, "strong")
        for block in range(2):
            own = ("one", "two")[block]
            top = 32 + block * (part + gap + side + 20)
            x, y = left + part + gap, top + part + gap
            for columns in range(2):  # halves of the weights, by who fetches them
                kind = ("one", "two")[columns] if half else own
                d.box(x + columns * side / 2, top, side / 2, part, kind)
                d.text(x + (columns + 0.5) * side / 2, top + 0.7 * part, "64", "small")
            d.box(left, y, part, side, own)
            d.text(left + part / 2, y + side / 2 + 4, "128", "small")
            d.box(x, y, side, side, "faint")
            d.text(x + side / 2, y + side / 2 + 4, f"block {block}")
    return d.svg()


def runs(kernel: int = 11, stride: int = 4, channels: int = 3, windows: int = 5) -> str:
    """Draw the runs of neighbouring windows in a line of an image."""
    d = Drawing(700, 230, "Runs of neighbouring windows in a line of an image overlap")
    run, step, left = kernel * channels, stride * channels, 90
    elements = (windows - 1) * step + run
    width = (690 - left) / elements
    d.text(left - 10, 38, "line of x", "small", anchor="end")
    for pixel in range(elements // channels):
        d.box(left + pixel * channels * width, 20, channels * width, CELL, "faint")
    for window in range(windows):
        top = 62 + window * CELL
        d.text(left - 10, top + 14, f"window {window}", "small", anchor="end")
        d.box(left + window * step * width, top, run * width, 20, ("one", "two")[window % 2])
    times = run / step
    d.text(
        left,
        62 + windows * CELL + 24,
        f"{run} elements, {step} apart: gathered, a line comes {times:g} times, and as a line once",
        anchor="start",
    )
    return d.svg()
