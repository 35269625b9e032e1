"""A folder that one process at a time works in."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from alexnet.files.writing import UNSUPPORTED, say_once

LOCK = "lock"  # in a folder that cannot be locked itself


def lock(folder: Path) -> int:
    """Lock a folder against other processes that call this; give a descriptor that holds the lock.

    The folder itself is locked, which no deleted file undoes, or a file "lock" in it where the
    system locks files only, as NFS does. Closing the descriptor, or the end of the process, gives
    the lock back.

    Raises
    ------
    ValueError
        Another process holds it.
    OSError
        The folder cannot be opened.
    """
    for path, flags in ((folder, os.O_RDONLY | os.O_DIRECTORY), (folder / LOCK, os.O_RDWR)):
        created = os.O_CREAT if path != folder else 0
        descriptor = os.open(path, flags | created | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise ValueError(f"{folder}: another process is training there") from error
        except OSError as error:
            os.close(descriptor)
            if error.errno not in UNSUPPORTED:
                raise
            obstacle = error.strerror
        else:
            return descriptor
    say_once(
        f"{folder}: this file system has no locks ({obstacle}): nothing keeps another process from "
        "training there at the same time"
    )
    with suppress(OSError):
        (folder / LOCK).unlink()
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
