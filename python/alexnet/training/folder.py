"""The folder of a training run: its files, and what is checked before they are used."""

from __future__ import annotations

import errno
import itertools
import logging
import os
from pathlib import Path

from alexnet.messages import described
from alexnet.network.checkpoint import BEST, LAST, PREVIOUS, Checkpoint

CONFIG, LOG, CURVES, FILTERS = "config.json", "log.txt", "curves.png", "conv1.png"
METRICS_FILE, NORMS_FILE = "metrics.csv", "norms.csv"
FILES = (CONFIG, METRICS_FILE, NORMS_FILE, CURVES, FILTERS, LAST, PREVIOUS, BEST)
logger = logging.getLogger(__name__)


def check_files(folder: Path) -> None:
    """OSError where a pipe is in the place of a file: writing would wait for its reader."""
    for path in (folder / name for name in FILES):
        if path.is_fifo():
            raise FileExistsError(errno.EEXIST, "a pipe (FIFO) is in its place", str(path))


def check_holds_no_run(folder: Path) -> None:
    """ValueError where there is a run, or what is left of one without config.json."""
    if (folder / CONFIG).exists():
        raise ValueError(f"{folder} holds a run already: resume it, or choose another folder")
    for name in FILES:
        if os.path.lexists(folder / name):
            raise ValueError(
                f"{folder} holds {name} already, which a new run would replace: choose another "
                "folder"
            )


def new_folder(stem: Path) -> Path:
    """Make the first folder stem-1, stem-2, ... that there is not; no other process gets it."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    for number in itertools.count(1):
        folder = stem.with_name(f"{stem.name}-{number}")
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder
    raise AssertionError("there is no last number")


def last_checkpoint(folder: Path) -> Checkpoint | None:
    """Read the last checkpoint, or the one before where it is damaged; None before the first.

    The one before takes the damaged one's place, or the next save would put that in its own.
    """
    last, previous = folder / LAST, folder / PREVIOUS
    try:
        # The run may have been killed before it had saved anything.
        return Checkpoint.read(last) if last.exists() or previous.exists() else None
    except (ValueError, FileNotFoundError) as damage:
        try:
            checkpoint = Checkpoint.read(previous)
        except (ValueError, FileNotFoundError):
            raise damage from None
        previous.replace(last)
        logger.warning(
            "%s; going on from the checkpoint before it, of step %d",
            " ".join(described(damage).split()),
            checkpoint.step,
        )
        return checkpoint
