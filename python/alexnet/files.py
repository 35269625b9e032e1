"""Files that appear under their name only when they are whole and on the disk."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary name beside `path` to write to; then sync it and rename it to `path`.

    `path` holds the earlier file or the whole new one at any moment. If the block fails, the
    earlier file is untouched and the temporary one removed. Only a killed process leaves one
    behind: `remove_remains` finds it.

    Raises
    ------
    OSError
        The new file could not be synced or renamed.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with naming(path):
            yield temporary
            _sync(temporary)
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync(path.parent)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name `path` in errors of the system that name no file: those of a full disk, say."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


def remove_remains(folder: Path) -> None:
    """Remove what writers that were killed left in `folder`; none may be at work there."""
    for remains in (".*.tmp", ".tmp??????"):  # of `replacing`, and of safetensors within it
        for temporary in folder.glob(remains):
            temporary.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Wait until the file's contents, or the folder's entries, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
