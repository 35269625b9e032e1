"""The kept figures of docs/results: the table in docs/benchmarks.md and the README's picture.

    python benchmarks/results.py docs/results/NAME.json --plot docs/images/benchmark.svg

prints the table in Markdown and draws the picture. Such a file holds what several runs of
`alexnet compare` gave, as ranges, which a single run's --json could not:

    title, machine, version   texts: what was compared, on what, and which version of alexnet
    frameworks                version of each framework by its name
    unit                      of all times
    rows                      for each work: "kind" is "network" or "layer"; "ours", "ratio" and
                              each framework of "others" are [value] or [lowest, highest] over the
                              runs; "ratio" is the best framework's time over ours in one run
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from alexnet.figures import BLUE, GREY, INK, new_figure, save, styled

Row = dict[str, Any]


def span(values: list[float], separator: str = " to ") -> str:
    """Write a value, or the lowest and the highest."""
    return separator.join(f"{value:g}" for value in values)


def best(row: Row) -> str:
    """Name the framework of the shortest time."""
    return min(row["others"], key=lambda name: row["others"][name][0])


def table(results: dict[str, Any]) -> str:
    """Markdown of all rows."""
    names = list(results["frameworks"])
    head = ["work", f"ours, {results['unit']}", *names, "ratio to the best"]
    lines = [head]
    for row in results["rows"]:
        others = [span(row["others"].get(name, [])) for name in names]
        lines.append([row["work"], span(row["ours"]), *others, span(row["ratio"])])
    written = ["|" + "".join(f" {cell} |" if cell else " |" for cell in line) for line in lines]
    return "\n".join([written[0], "|" + "---|" * len(head), *written[1:]]) + "\n"


@styled()
def picture(results: dict[str, Any]) -> Figure:
    """Bars of ours and of the best framework of each row, networks above, layers below."""
    kinds = [
        [row for row in results["rows"] if row["kind"] == kind] for kind in ("network", "layer")
    ]
    heights = [0.5 * len(rows) for rows in kinds]
    figure = new_figure(10.0, sum(heights) + 2.0)
    figure.suptitle(f"{results['title']}\n{results['machine']}\nversion {results['version']}")
    for axes, rows in zip(figure.subplots(2, height_ratios=heights), kinds, strict=True):
        places = list(range(len(rows)))
        middles = [sum(row["ratio"]) / len(row["ratio"]) for row in rows]
        reach = [max(row["ratio"]) - middle for row, middle in zip(rows, middles, strict=True)]
        ours = axes.barh([place - 0.2 for place in places], 1.0, 0.4, color=BLUE, label="alexnet")
        others = axes.barh(
            [place + 0.2 for place in places],
            middles,
            0.4,
            xerr=reach,
            color=GREY,
            ecolor=INK,
            label="fastest framework",
        )
        unit = results["unit"]
        axes.bar_label(ours, [f" {span(row['ours'], '–')} {unit}" for row in rows])
        axes.bar_label(
            others,
            [
                f" {best(row)} {span(row['others'][best(row)], '–')} {unit}: "
                f"{span(row['ratio'], '–')}×"
                for row in rows
            ],
        )
        axes.set_yticks(places, [row["work"] for row in rows])
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.set_xlim(0, 1.95 * max(middles))
        axes.margins(y=0.02)
    figure.legend(handles=[ours, others], loc="outside lower right", ncols=2)
    axes.set_xlabel("time in units of ours, less is better")
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    results = json.loads(options.file.read_text())
    print(table(results), end="")
    if options.plot is not None:
        save(picture(results), options.plot)


if __name__ == "__main__":
    main()
