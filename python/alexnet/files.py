"""Files that appear under their name only when they are whole and on the disk; patient reading."""

from __future__ import annotations

import errno
import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

Result = TypeVar("Result")

# What passes when other threads or processes have let go of something, or a server has answered.
PASSING = frozenset(
    (
        errno.EAGAIN,
        errno.EBUSY,
        errno.EIO,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOBUFS,
        errno.ENOMEM,
        errno.ESTALE,
        errno.ETIMEDOUT,
    )
)
PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)  # seconds between one try and the next


def patiently(read: Callable[[], Result]) -> Result:
    """Call `read`, and again for three seconds while the system is short of something.

    Raises
    ------
    OSError, MemoryError
        What `read` raised at last, or at once where waiting is of no use.
    """
    for pause in PAUSES:
        try:
            return read()
        except MemoryError:
            pass
        except OSError as error:
            if error.errno not in PASSING:
                raise
        time.sleep(pause)
    return read()


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
