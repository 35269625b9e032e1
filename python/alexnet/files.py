"""Files that appear under their name only when they are whole and on the disk, and safe reading."""

from __future__ import annotations

import errno
import os
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


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


# --- reading --------------------------------------------------------------------------------------

KINDS = {
    stat.S_IFIFO: "a pipe (FIFO)",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a regular file to read bytes; links are followed. Nothing waits for another process.

    Opening a pipe would wait for a writer, and opening a device may set it in motion: neither is
    done.

    Raises
    ------
    ValueError
        It is a pipe, a socket or a device.
    OSError
        It is missing, a folder, or cannot be opened.
    """
    path = Path(path)
    _check_regular(path, path.stat())
    # Non-blocking, because another process may have put a pipe there since.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _check_regular(path, os.fstat(descriptor))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_regular(path: str | os.PathLike[str], largest: int) -> bytes:
    """Read a regular file whole, as `open_regular` opens it.

    Raises
    ------
    ValueError
        It is no regular file, or has more than `largest` bytes.
    OSError
        It cannot be opened or read.
    """
    with open_regular(path) as file:
        check_size(path, file, largest)
        return file.read(largest)


def check_size(path: str | os.PathLike[str], file: BinaryIO, largest: int) -> int:
    """Size of an open file in bytes; ValueError if that is more than `largest`."""
    size = os.fstat(file.fileno()).st_size
    if size > largest:
        raise ValueError(f"{path}: {size:,} bytes, expected at most {largest:,}")
    return size


def _check_regular(path: Path, status: os.stat_result) -> None:
    kind = stat.S_IFMT(status.st_mode)
    if kind == stat.S_IFDIR:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if kind != stat.S_IFREG:
        raise ValueError(f"{path}: {KINDS.get(kind, 'no regular file')}, expected a regular file")
