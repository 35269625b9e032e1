"""Tables of numbers that grow by a row at a time and survive a kill: comma-separated files."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path

from alexnet.files import naming, replacing

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

Value = int | float | str | None


class Table:
    """A comma-separated file with one line of column names; the first column is the step.

    Numbers are written so that they read back as the same float64; what a row lacks stays empty.
    Every row is handed to the system at once, so only a failing machine can lose any, and `sync`
    guards against that.

    Parameters
    ----------
    path
        The file, made if it is missing.
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
        self.rows = _rows(path, self._columns, step) if path.exists() else []
        lines = [",".join(self._columns), *(",".join(row.values()) for row in self.rows)]
        with replacing(path) as temporary:
            temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
        self._file = path.open("ab", buffering=0)

    def append(self, **values: Value) -> None:
        """Add a row and hand it to the system."""
        row = {name: _text(values.get(name)) for name in self._columns}
        self.rows.append(row)
        line = (",".join(row.values()) + "\n").encode()
        with naming(self.path):
            if self._file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def column(self, name: str) -> dict[int, float]:
        """Numbers of a column by their step, without the empty ones."""
        return {int(row["step"]): float(row[name]) for row in self.rows if row[name]}

    def sync(self) -> None:
        """Wait until every row is on the disk."""
        with naming(self.path):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file; nothing can be appended any more."""
        self._file.close()


def _text(value: Value) -> str:
    return "" if value is None else repr(value) if isinstance(value, float) else str(value)


def _rows(path: Path, columns: tuple[str, ...], last: int) -> list[dict[str, str]]:
    """Read the rows up to step `last`."""
    header, *lines = path.read_text(encoding="utf-8").split("\n")[:-1] or [""]
    if header != ",".join(columns):
        raise ValueError(f"{path}: the columns are {header!r:.200}, expected {','.join(columns)!r}")
    rows = []
    for number, line in enumerate(lines, 2):
        values = line.split(",")
        if len(values) != len(columns) or not values[0].isdecimal():
            raise ValueError(f"{path}: line {number} is {line!r:.200}, expected a row of numbers")
        if int(values[0]) <= last:
            rows.append(dict(zip(columns, values, strict=True)))
    return rows
