"""Tables of numbers that grow by a row at a time and survive a kill, and the curves in them."""

from __future__ import annotations

import errno
import itertools
import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from alexnet.files import naming, open_regular, replacing, sync

METRICS = (
    "step",
    "epoch",
    "loss",
    "accuracy",
    "learning_rate",
    "images_per_second",
    "waiting_share",
    "test_loss",
    "test_accuracy",
)
NORMS = ("step", "parameter", "weight_norm", "gradient_norm", "update_norm")
TEXTS = ("parameter",)  # columns that hold no numbers
LONGEST_LINE = 10_000  # bytes; a file of ours has none of a tenth of that
MOST_POINTS = 600  # of a curve

Value = int | float | str | None


class Table:
    """A comma-separated file with one line of column names; the first column is the step.

    Numbers are written so that they read back as the same float64; what a row lacks stays empty.
    Every row is handed to the system at once, so only a failing machine can lose any, and `sync`
    guards against that. Nothing of it is kept in memory.

    Parameters
    ----------
    path
        The file, made if it is missing or empty.
    columns
        Their names, "step" first.
    step
        Keep the rows up to this step and drop later ones, and a last line that was cut short.

    Raises
    ------
    OSError
        The file cannot be read or written.
    ValueError
        The file has other columns.

    """

    def __init__(self, path: Path, columns: Sequence[str], step: int = 0) -> None:
        self.path = path
        self._columns = tuple(columns)
        self._header = f"{','.join(columns)}\n".encode()
        if not path.exists() or (path.is_file() and path.stat().st_size == 0):
            with replacing(path) as new:
                new.write(self._header)
        end = self._end_of(step)
        self._file = path.open("a+b", buffering=0)
        try:
            with naming(path):
                self._file.truncate(end)
        except BaseException:
            self._file.close()
            raise

    def append(self, **values: Value) -> None:
        """Add a row and hand it to the system."""
        line = (",".join(_text(values.get(name)) for name in self._columns) + "\n").encode()
        with naming(self.path):
            if os.fstat(self._file.fileno()).st_size == 0:  # somebody emptied the file
                line = self._header + line
            if self._file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def rows(self) -> Iterator[Mapping[str, str]]:
        """Read the rows, one after the other, as text by column.

        Raises
        ------
        ValueError
            A line is not a row.
        """
        for _, row in self._lines():
            yield row

    def column(self, name: str) -> dict[int, float]:
        """Numbers of a column by their step, without the empty ones."""
        return {int(row["step"]): float(row[name]) for row in self.rows() if row[name]}

    def sync(self) -> None:
        """Wait until every row is on the disk, under the table's name."""
        with naming(self.path):
            if not self._in_place():  # somebody removed or replaced the file
                self._file.seek(0)
                with replacing(self.path) as file:
                    shutil.copyfileobj(self._file, file)
                self._file.close()
                self._file = self.path.open("a+b", buffering=0)
            sync(self._file, self.path)

    def close(self) -> None:
        """Close the file; nothing can be appended any more."""
        self._file.close()

    def _in_place(self) -> bool:
        try:
            return os.path.samestat(self.path.stat(), os.fstat(self._file.fileno()))
        except FileNotFoundError:
            return False

    def _end_of(self, step: int) -> int:
        """Bytes up to the end of the last row that is not later than `step`."""
        end = len(self._header)
        for line_end, row in self._lines():
            if int(row["step"]) > step:
                break
            end = line_end
        return end

    def _lines(self) -> Iterator[tuple[int, dict[str, str]]]:
        """Give every whole row, and at which byte of the file it ends."""
        with open_regular(self.path) as file:
            line = file.readline(LONGEST_LINE)
            if line != self._header:
                header = line.decode(errors="backslashreplace").rstrip("\n")
                expected = ",".join(self._columns)
                raise ValueError(
                    f"{self.path}: the columns are {header!r:.200}, expected {expected!r}"
                )
            end = len(line)
            for number in itertools.count(2):
                line = file.readline(LONGEST_LINE)
                if not line.endswith(b"\n") and len(line) < LONGEST_LINE:
                    return  # the end, or a row that was cut short
                text = line.decode(errors="backslashreplace").rstrip("\n")
                values = text.split(",")
                row = dict(zip(self._columns, values, strict=False))
                if len(values) != len(self._columns) or not _is_row(row):
                    raise ValueError(
                        f"{self.path}: line {number} is {text!r:.200}, expected a row of numbers"
                    )
                end += len(line)
                yield end, row


def _text(value: Value) -> str:
    return "" if value is None else repr(value) if isinstance(value, float) else str(value)


def _is_row(row: Mapping[str, str]) -> bool:
    try:
        for name, text in row.items():
            if text and name not in TEXTS:
                float(text)
        return row["step"].isdecimal() and int(row["step"]) > 0
    except ValueError:
        return False


class Curve:
    """A column of any length as at most 600 points: means over equal runs of neighbouring values.

    NaN and infinity are left out.
    """

    def __init__(self) -> None:
        self._length = 1  # values of a run
        self._runs: list[tuple[int, float, int]] = []  # last step, sum, number of values

    def add(self, step: int, value: float) -> None:
        """Add the value at a step, which is later than those before."""
        if not math.isfinite(value):
            return
        if self._runs and self._runs[-1][2] < self._length:
            self._runs[-1] = _joined(self._runs[-1], (step, value, 1))
            return
        if len(self._runs) == MOST_POINTS:  # every two neighbours become one
            self._length *= 2
            self._runs = list(map(_joined, self._runs[::2], self._runs[1::2]))
        self._runs.append((step, value, 1))

    def points(self) -> dict[int, float]:
        """Means by the last step of each run."""
        return {step: total / count for step, total, count in self._runs}


def _joined(run: tuple[int, float, int], later: tuple[int, float, int]) -> tuple[int, float, int]:
    return later[0], run[1] + later[1], run[2] + later[2]
