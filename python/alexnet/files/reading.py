"""Regular files, opened to be read: nothing here waits for another process."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from alexnet.files.writing import naming

KINDS = {
    stat.S_IFIFO: "a pipe (FIFO)",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@contextmanager
def open_regular(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a regular file to read bytes; links are followed. Nothing waits for another process.

    Opening a pipe would wait for a writer, and opening a device may set it in motion: neither is
    done. What the block raises for want of memory or because the disk fails names the file.

    Raises
    ------
    ValueError
        It is a pipe, a socket or a device.
    OSError
        It is missing, a folder, or cannot be opened or read.
    MemoryError
        The block had not enough memory.
    """
    path = Path(path)
    check_regular(path)
    try:
        # Non-blocking, because another process may have put a pipe there since.
        with naming(path), open(path, "rb", opener=_without_waiting) as file:
            _check_regular(path, os.fstat(file.fileno()))
            yield file
    except MemoryError as error:
        raise MemoryError(f"{path}: {str(error) or 'out of memory'}") from error


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def read_regular(path: str | os.PathLike[str], largest: int) -> bytes:
    """Read a regular file whole, as `open_regular` opens it.

    Raises
    ------
    ValueError
        It is no regular file, or has more than `largest` bytes.
    OSError, MemoryError
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


def check_regular(path: Path) -> None:
    """ValueError if it is a pipe, a socket or a device, OSError if it is missing or a folder."""
    _check_regular(path, path.stat())


def _check_regular(path: Path, status: os.stat_result) -> None:
    kind = stat.S_IFMT(status.st_mode)
    if kind == stat.S_IFDIR:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if kind != stat.S_IFREG:
        raise ValueError(f"{path}: {KINDS.get(kind, 'no regular file')}, expected a regular file")
