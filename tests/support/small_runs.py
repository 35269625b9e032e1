"""Training runs that take a moment, in this process and in others.

`python small_runs.py train DATA ...` is the command with the small network in place of cifar10-bn;
`python small_runs.py kill SEED KILLS train DATA ... --output DIR` runs it over and over, killed at
random moments, until it comes to its end.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from alexnet import cli
from alexnet.data import Dataset, ImageSet
from alexnet.network.layers import Dropout
from alexnet.network.variants import VARIANTS, variant_named
from alexnet.network.weights import read_tensors
from alexnet.training.configuration import Configuration
from alexnet.training.run import Run
from support import cifar_files as files

NAME = "cifar10-bn"
NARROW = variant_named(NAME).shrunk(width=1 / 24)
# Dropout, so that a run has a generator whose state matters; batch norm has the other state.
SMALL = dataclasses.replace(
    NARROW, layers=(*NARROW.layers[:-1], Dropout("dropout7", 0.25), NARROW.layers[-1])
)


def use(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Have the small network in place of cifar10-bn, and `folder` as the current one."""
    monkeypatch.setitem(VARIANTS, NAME, SMALL)
    monkeypatch.chdir(folder)


def image_set(seed: int, count: int) -> ImageSet:
    return ImageSet(*files.easy_images(seed, count))


def dataset(train: int = 40, test: int = 12) -> Dataset:
    return Dataset(files.CLASSES, image_set(0, train), image_set(1, test) if test else None)


def folder_contents(folder: Path) -> dict[str, object]:
    """What two runs of the same settings have in common: all but times, logs and pictures."""
    tables: dict[str, object] = {}
    for name in ("metrics.csv", "norms.csv"):
        rows = [line.split(",") for line in (folder / name).read_text().splitlines()]
        timed = [rows[0].index(c) for c in ("images_per_second", "waiting_share") if c in rows[0]]
        tables[name] = [
            ",".join(value for column, value in enumerate(row) if column not in timed)
            for row in rows
        ]
    return tables | {path.name: file_contents(path) for path in folder.glob("*.safetensors")}


def file_contents(path: Path) -> dict[str, object]:
    """Tensors and metadata: their order in the file is not always the same."""
    tensors, metadata = read_tensors(path)
    arrays = {name: (array.shape, array.tobytes()) for name, array in tensors.items()}
    return {"metadata": metadata, **arrays}


def run_to_end(folder: Path, configuration: Configuration, data: Dataset) -> Run:
    run = Run.start(folder, configuration, data)
    run.train()
    run.close()
    return run


def _kill_again_and_again(seed: int, kills: int, arguments: list[str]) -> int:
    """Run the command in forks of this process, which has started no threads; return the kills.

    Each dies a few milliseconds after a few more rows of metrics.csv, a few of them before the
    first: while it reads, trains, evaluates, writes a checkpoint or draws.
    """
    generator = np.random.default_rng(seed)
    resumed = [*arguments[:-2], "--resume", arguments[-1]]
    folder = Path(arguments[-1])
    for number in range(kills + 1):
        child = os.fork()
        if child == 0:
            begun = (folder / "config.json").exists()
            os._exit(cli.main(resumed if begun else arguments))
        if number < kills:
            _wait_for_rows(folder / "metrics.csv", int(generator.integers(0, 8)), child)
            time.sleep(generator.uniform(0.0, 0.02))
            os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
        if not os.WIFSIGNALED(status):
            assert os.waitstatus_to_exitcode(status) == 0
            return number
    raise AssertionError("the last one was killed as well")


def _wait_for_rows(table: Path, more: int, child: int) -> None:
    """Wait until the child has added so many rows, or until it ends."""
    time.sleep(0.1)  # it drops the rows after the last checkpoint first
    rows = _rows(table) + more if more else 0
    while _rows(table) < rows:
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return
        time.sleep(0.001)


def _rows(table: Path) -> int:
    return table.read_bytes().count(b"\n") if table.exists() else 0


if __name__ == "__main__":
    VARIANTS[NAME] = SMALL
    if sys.argv[1] == "kill":
        print("killed", _kill_again_and_again(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]))
    else:
        sys.exit(cli.main(sys.argv[1:]))
