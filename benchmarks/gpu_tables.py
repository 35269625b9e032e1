"""The tables of measured values in docs/gpu.md, from the JSON that `benchmarks/gpu_check` wrote.

    python benchmarks/gpu_tables.py docs/results/gpu-h200.json            print them
    python benchmarks/gpu_tables.py docs/results/gpu-h200.json --write    put them into docs/gpu.md

There each stands between <!-- gpu_tables: NAME --> and <!-- end of NAME -->. A figure that is
missing, no number or not finite is an error that names it; one whose reason the file tells is "-".
A table of which the file has nothing is not printed, unless --tables asks for it: that is an error.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

DOCUMENT = Path(__file__).parents[1] / "docs" / "gpu.md"
WAYS = (
    "ours",
    "ours without graphs",
    "PyTorch eager",
    "PyTorch CUDA graph",
    "torch.compile max-autotune",
)
Rows = list[list[str]]


def figure(value: Any, where: str, scale: float = 1.0, digits: int = 2) -> str:
    """A number, or the median of a measured one, as text; ValueError for what is neither."""
    if isinstance(value, dict):
        if "reason" in value:
            return "–"
        value = value.get("median")
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{where}: {value!r}, expected a finite number")
    return f"{value * scale:.{digits}f}"


def rows_of(record: dict[str, Any], stage: str) -> list[dict[str, Any]]:
    """The rows of a stage; ValueError where there are none."""
    rows: list[dict[str, Any]] = record.get("stages", {}).get(stage, {}).get("rows", [])
    if not rows:
        raise ValueError(f"{stage}: there are no rows")
    return rows


def entry(row: dict[str, Any], key: str, where: str) -> Any:
    """One value of a row; ValueError where it is missing."""
    if key not in row:
        raise ValueError(f"{where}: {key} is missing")
    return row[key]


def networks(record: dict[str, Any]) -> Rows:
    """Milliseconds a step, a row for each size, and ours over the fastest of PyTorch's."""
    rows = rows_of(record, "networks")
    ways = [way for way in WAYS if any(way in row for row in rows)]
    table = [["batch", "precision", "LRN", "", *(f"{way}, ms" for way in ways), "ours / best"]]
    for row in rows:
        what = [row["batch_size"], row["precision"], "yes" if row["lrn"] else "no", row["target"]]
        where = "networks, " + " ".join(map(str, what))
        cells = {way: entry(row, way, where) for way in ways}
        shown = [figure(value, f"{where}, {way}", 1e3) for way, value in cells.items()]
        ours = min(_medians(cells, "ours"), default=None)
        theirs = min(_medians(cells, "PyTorch", "torch"), default=None)
        ratio = f"{ours / theirs:.2f}" if ours and theirs else "–"
        table.append([*map(str, what), *shown, ratio])
    return table


def _medians(cells: dict[str, Any], *names: str) -> list[float]:
    return [v["median"] for k, v in cells.items() if k.startswith(names) and "median" in v]


def kernels(record: dict[str, Any]) -> Rows:
    """Microseconds of every kernel, its rate, PyTorch's time and the prediction."""
    table = [["layer", "precision", "ours, µs", "rate", "PyTorch, µs", "predicted, µs", "bound"]]
    for row in rows_of(record, "kernels"):
        where = f"kernels, {row['case']} {row['precision']}"
        ours, predicted = entry(row, "ours", where), entry(row, "predicted", where)
        cells = [row["case"].partition("/")[2], row["precision"], figure(ours, where, 1e6, 1)]
        cells.append(_rate(row, ours))
        cells.append(figure(entry(row, "PyTorch", where), f"{where}, PyTorch", 1e6, 1))
        seconds = predicted if "reason" in predicted else predicted.get("seconds")
        cells.append(figure(seconds, f"{where}, predicted", 1e6, 1))
        table.append([*cells, predicted.get("bound", "–")])
    return table


def _rate(row: dict[str, Any], ours: dict[str, Any]) -> str:
    if "median" not in ours:
        return "–"
    if row["flops"]:
        return f"{row['flops'] / ours['median'] / 1e12:.1f} TFLOP/s"
    return f"{row['bytes'] / ours['median'] / 1e9:.0f} GB/s"


def ceilings(record: dict[str, Any]) -> Rows:
    """What copies and large products reach."""
    found = record.get("stages", {}).get("kernels", {}).get("ceilings")
    if not found:
        raise ValueError("kernels: ceilings are missing")
    copied = figure(found.get("copy_bytes_per_second"), "ceilings, copy", 1e-9, 0)
    table = [["", "reached"], ["copy, read and written", f"{copied} GB/s"]]
    products = found.get("products", {})
    if "reason" not in products:
        for precision, rate in products.items():
            text = figure(rate, f"ceilings, {precision}", 1e-12, 1)
            table.append([f"product, {precision}", f"{text} TFLOP/s"])
    return table


def configurations(record: dict[str, Any]) -> Rows:
    """The fastest tile, splits and stages of every product, and what the rule loses."""
    best = record.get("stages", {}).get("configurations", {}).get("best")
    if not best:
        raise ValueError("configurations: best is missing")
    table = [["layer", "precision", "tile (× cluster) · splits", "stages", "µs", "rule / best"]]
    for row in best:
        where = f"configurations, {row['case']} {row['precision']}"
        blocking = row["blocking"]
        *tile, splits = blocking if blocking != "rule" else ("rule", "")
        shown = "rule" if blocking == "rule" else f"{' × '.join(map(str, tile))} · {splits}"
        times = [figure(entry(row, "seconds", where), where, 1e6, 1)]
        times.append(figure(entry(row, "rule_over_best", where), f"{where}, rule"))
        name = row["case"].partition("/")[2]
        table.append([name, row["precision"], shown, str(row["stages"]), *times])
    return table


TABLES: dict[str, Callable[[dict[str, Any]], Rows]] = {
    "ceilings": ceilings,
    "networks": networks,
    "kernels": kernels,
    "configurations": configurations,
}
# Stage and entry of the file that each is made of.
PLACES = {
    "ceilings": ("kernels", "ceilings"),
    "networks": ("networks", "rows"),
    "kernels": ("kernels", "rows"),
    "configurations": ("configurations", "best"),
}


def measured(record: dict[str, Any]) -> list[str]:
    """The tables of which the record has anything, if only an empty list; ValueError if none."""
    stages = record.get("stages", {})
    names = [name for name, (stage, key) in PLACES.items() if key in stages.get(stage, {})]
    if not names:
        raise ValueError(f"there is nothing of {', '.join(TABLES)}")
    return names


def markdown(table: Rows) -> str:
    """A table's lines."""
    head, *rows = table
    lines = [head, ["---"] * len(head), *rows]
    return "".join("|" + "".join(f" {cell} |" for cell in line) + "\n" for line in lines)


def written(text: str, record: dict[str, Any]) -> str:
    """The document with its tables made anew; ValueError where it has a mark of no table."""
    for name, make in TABLES.items():
        begin, end = f"<!-- gpu_tables: {name} -->\n", f"<!-- end of {name} -->"
        if begin not in text:
            continue
        before, _, rest = text.partition(begin)
        if end not in rest:
            raise ValueError(f"{DOCUMENT.name}: {begin.strip()} has no {end}")
        text = f"{before}{begin}\n{markdown(make(record))}\n{end}{rest.partition(end)[2]}"
    return text


def main(arguments: list[str]) -> int:
    """Print the tables or put them into the document; 2 where a figure is not there."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path)
    parser.add_argument(
        "--tables",
        type=lambda text: text.split(","),
        metavar="NAME,...",
        help=f"of {', '.join(TABLES)} (default: those that were measured)",
    )
    parser.add_argument("--write", action="store_true", help="into docs/gpu.md")
    options = parser.parse_args(arguments)
    if unknown := set(options.tables or ()) - set(TABLES):
        parser.error(f"--tables: {min(unknown)!r}, expected some of {', '.join(TABLES)}")
    record = json.loads(options.file.read_text())
    try:
        if options.write:
            DOCUMENT.write_text(written(DOCUMENT.read_text(), record))
            return 0
        names = options.tables or measured(record)
        for name in names:
            print(f"{name}\n\n{markdown(TABLES[name](record))}")
        if not options.tables and (absent := [name for name in TABLES if name not in names]):
            print(f"not measured: {', '.join(absent)}")
    except ValueError as error:
        print(f"gpu_tables: {options.file}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
