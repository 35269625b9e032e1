"""The one JSON file of a run: written anew, whole, after every figure, so that none is lost.

    device, made                what ran, when
    stages: {name: {...}}       of each stage: "status", "seconds", "error", and what it measured

A figure that could not be had is {"reason": text} in the place of its number. NaN and infinity are
refused: a stage that measures one fails.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

FAILED, PASSED, TIMED_OUT, NOT_RUN = "failed", "passed", "timed out", "not run"


def reason(text: object) -> dict[str, str]:
    """What stands for a figure that there is none of; one line."""
    return {"reason": " ".join(str(text).split())[:300]}


class Record:
    """The file, read once and written whenever something is added."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.data: dict[str, Any] = {"stages": {}}
        if path.is_file():  # no device such as /dev/null
            self.data = json.loads(path.read_text())

    def stage(self, name: str) -> dict[str, Any]:
        """What is known of a stage."""
        found: dict[str, Any] = self.data["stages"].setdefault(name, {})
        return found

    def begin(self, name: str) -> None:
        """Forget what an earlier run measured in the stage."""
        self.data["stages"][name] = {}
        self.write()

    def add(self, name: str, **values: Any) -> None:
        """Put values into a stage, and the file in place."""
        self.stage(name).update(values)
        self.write()

    def append(self, name: str, what: str, row: dict[str, Any]) -> None:
        """Add one row to a stage's list of them."""
        rows = self.stage(name).setdefault(what, [])
        rows.append(row)
        self.write()

    def write(self) -> None:
        """Have the whole file in the place of the one before, at once."""
        text = json.dumps(self.data, indent=1, allow_nan=False) + "\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        beside = self.path.with_name(self.path.name + ".part")
        with beside.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self.path)
