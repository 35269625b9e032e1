"""Tables of text that fit the terminal, and lose nothing where it is narrow."""

from __future__ import annotations

import shutil
from collections.abc import Container, Iterable, Sequence
from typing import TextIO, TypeAlias

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from alexnet.messages import printable

GAP = 2  # columns of the terminal between two of the table
NARROWEST = 40  # a terminal that says it has less is taken to have this much

Row: TypeAlias = Sequence[str]


def terminal_width() -> int:
    """Columns of the terminal; of COLUMNS where that is set, and 80 where there is neither."""
    return max(shutil.get_terminal_size().columns, NARROWEST)


def print_table(
    file: TextIO,
    header: Row,
    rows: Iterable[Row | str],
    *,
    right: Container[int],
    width: int | None = None,
) -> None:
    """Print cells in columns of text.

    Columns that do not fit beside the others come below, in a block of their own that begins with
    the first column again; a long text is folded within its column, numbers never are. Columns
    without anything in them are left out.

    Parameters
    ----------
    file
        Where to.
    header
        Titles of the columns; no line where all are empty.
    rows
        Cells as they are printed. A row that is a text is a heading of those below it.
    right
        Numbers of the columns that are aligned right.
    width
        Columns of the terminal; None for those that it has.

    """
    width = width or terminal_width()
    lines = [printable(row) if isinstance(row, str) else [*map(printable, row)] for row in rows]
    titles = list(map(printable, header))
    filled = [
        column
        for column in range(len(titles))
        if any(line[column] for line in lines if not isinstance(line, str))
    ]
    if not filled:
        return
    widths = {
        column: max(
            cell_len(cell)
            for cell in (titles[column], *(x[column] for x in lines if not isinstance(x, str)))
        )
        for column in filled
    }
    widths[filled[0]] = min(widths[filled[0]], width // 2)
    for number, columns in enumerate(_blocks(filled, widths, width)):
        if number:
            print(file=file)
        room = width - sum(widths[column] + GAP for column in columns[:-1])
        last = columns[-1]
        fitting = widths | {last: widths[last] if last in right else min(widths[last], room)}
        for line in (titles, *lines) if any(titles) else lines:
            if isinstance(line, str):
                texts = hanging(line, width)
            else:
                texts = _texts(line, columns, fitting, right)
            for text in texts:
                print(text, file=file)


def _blocks(filled: list[int], widths: dict[int, int], width: int) -> list[list[int]]:
    """Distribute the columns; each block begins with the first one."""
    first, *others = filled
    blocks = [[first]]
    for column in others:
        needed = sum(widths[c] + GAP for c in blocks[-1]) + widths[column]
        if needed > width and len(blocks[-1]) > 1:
            blocks.append([first])
        blocks[-1].append(column)
    return blocks


def _texts(
    line: Sequence[str], columns: list[int], widths: dict[int, int], right: Container[int]
) -> list[str]:
    """Lines of one row in one block: several where a cell is folded."""
    cells = [fold(line[column], widths[column]) for column in columns]
    texts = []
    for number in range(max(map(len, cells))):
        text = ""
        for column, parts in zip(columns, cells, strict=True):
            part = parts[number] if number < len(parts) else ""
            blank = " " * (widths[column] - cell_len(part))
            text += (blank + part if column in right else part + blank) + " " * GAP
        texts.append(text.rstrip())
    return texts


def hanging(text: str, width: int | None = None) -> list[str]:
    """Break a sentence into lines that fit the terminal, indented after the first one."""
    first, *others = fold(text, (width or terminal_width()) - GAP)
    return [first, *(" " * GAP + line for line in others)]


def sentence(text: str, file: TextIO) -> str:
    """Give a sentence as `file` is to show it: in lines that fit a terminal, elsewhere in one.

    A terminal would break it within words; programs, and people who search a log, want it whole.
    """
    text = printable(text)
    return "\n".join(hanging(text)) if file.isatty() else text


def fold(text: str, width: int) -> list[str]:
    """Break a text between words, or within one that is longer than a line."""
    if cell_len(text) <= width:
        return [text]
    return [line.plain.rstrip() for line in Text(text).wrap(Console(), width)]
