"""Files that appear under their name only when they are whole and on the disk, and JSON for them.

Everything that the package writes goes through `replacing`, but for the tables that grow by rows.
"""

from __future__ import annotations

import errno
import json
import logging
import math
import os
import re
import stat
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

logger = logging.getLogger(__name__)

# What a file system answers that cannot do a thing at all, unlike one that failed to do it.
UNSUPPORTED = {
    *(errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP),
    *(errno.EBADF, errno.ENOLCK, errno.ENOTTY, errno.EISDIR),
}
NOT_LINKED = UNSUPPORTED | {errno.EPERM, errno.EXDEV, errno.EMLINK}
NAME_BYTES = 200  # of a file's name that its temporary one repeats: most systems take 255 in all

_said: set[str] = set()


@contextmanager
def replacing(path: str | os.PathLike[str], *, previous: Path | None = None) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path` to write to; then sync it and rename it to `path`.

    `path` holds the earlier file or the whole new one at any moment. If the block fails, the
    earlier file is untouched and the temporary one removed. Only a killed process leaves one
    behind: `remove_remains` finds it. An earlier file's mode, owner and group stay as they are; a
    new one has the mode that the umask leaves. Of a symbolic link, the file that it points to is
    replaced. What is no regular file, a pipe or a device, is written to as it stands.

    `previous`, a name in the same file system, keeps the earlier file.

    Raises
    ------
    OSError
        The new file could not be written, synced or renamed; the error names `path`.
    """
    path = Path(path)
    with naming(path):
        check_writable(path)
        earlier = path.stat() if path.exists() else None
        if earlier is not None and not stat.S_ISREG(earlier.st_mode):
            with path.open("wb") as stream:
                yield stream
            return
        target = Path(os.path.realpath(path))
        temporary = target.with_name(f".{_stem(target)}.{uuid.uuid4().hex}.tmp")
        try:
            with temporary.open("xb") as file:
                if earlier is not None:
                    _give_mode_of(earlier, file.fileno())
                yield file
                sync(file, path)
            if previous is not None and earlier is not None:
                _keep(target, previous)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(target.parent)


@contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Name `path` in errors of the system that name no file, as of a full disk, or a temporary."""
    try:
        yield
    except OSError as error:
        named = isinstance(error.filename, str) and not _is_temporary(Path(error.filename))
        if error.errno is None or named:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def check_writable(path: str | os.PathLike[str]) -> None:
    """Find out before any work whether `path` could be written by `replacing`.

    Raises
    ------
    OSError
        It is a folder, its own folder is missing, or the permissions or the file system forbid it.
    """
    path = Path(path)
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        mode = 0
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if mode and not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, "cannot be written to", str(path))
    if not mode or stat.S_ISREG(mode):
        _check_folder_writable(Path(os.path.realpath(path)).parent)


def check_absent(path: str | os.PathLike[str]) -> None:
    """FileExistsError if there is a regular file of that name, or a link to one."""
    if Path(path).is_file():
        raise FileExistsError(errno.EEXIST, "exists already", str(path))


def check_folder(path: str | os.PathLike[str]) -> None:
    """Find out before any work whether `path` is a folder to write to, or could become one.

    Raises
    ------
    OSError
        It is another kind of file, or the permissions or the file system forbid it.
    """
    path = Path(os.path.realpath(path))
    while not os.path.lexists(path):
        with suppress(FileNotFoundError):
            path.stat()  # of a name that is too long, say
        path = path.parent
    _check_folder_writable(path)


def _check_folder_writable(folder: Path) -> None:
    if not stat.S_ISDIR(folder.stat().st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, "cannot be written to", str(folder))


def remove_remains(paths: Iterable[Path]) -> None:
    """Remove what writers of these files left that were killed; none may be at work on them.

    It takes the names that `replacing` makes for them, and no others.
    """
    for path in paths:
        target = Path(os.path.realpath(path))
        for other in target.parent.iterdir():
            if _is_temporary(other) and other.name.startswith(f".{_stem(target)}."):
                other.unlink(missing_ok=True)


def _stem(path: Path) -> str:
    return os.fsdecode(os.fsencode(path.name)[:NAME_BYTES])


def _is_temporary(path: Path) -> bool:
    return re.fullmatch(r"\..+\.[0-9a-f]{32}\.tmp", path.name, re.DOTALL) is not None


def _give_mode_of(earlier: os.stat_result, descriptor: int) -> None:
    """Give owner, group and mode to an open file, as far as it is allowed and there are any."""
    # One at a time: the group may be given to others of it, the owner by the superuser only.
    for owner, group in ((-1, earlier.st_gid), (earlier.st_uid, -1)):
        with suppress(OSError):
            os.fchown(descriptor, owner, group)
    with suppress(OSError):
        os.fchmod(descriptor, stat.S_IMODE(earlier.st_mode))


def _keep(target: Path, previous: Path) -> None:
    """Give the file a second name, so that neither name is without a whole file meanwhile."""
    previous.unlink(missing_ok=True)
    try:
        previous.hardlink_to(target)
    except OSError as error:
        if error.errno not in NOT_LINKED:
            raise
        say_once(
            f"{previous.parent}: this file system has no hard links ({error.strerror}): "
            f"{previous.name} is not kept"
        )


def say_once(text: str) -> None:
    """Log a warning, the first time only."""
    if text not in _said:
        _said.add(text)
        logger.warning("%s", text)


def sync(file: BinaryIO, path: Path) -> None:
    """Wait until what was written to an open file is on the disk, where the system can do that."""
    file.flush()
    _fsync(file.fileno(), path.parent)


def _sync_folder(folder: Path) -> None:
    """Wait until the folder's entries are on the disk, where the system can do that."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except PermissionError as error:  # a folder may be written to and not read
        _say_unsynced(folder, error)
        return
    try:
        _fsync(descriptor, folder)
    finally:
        os.close(descriptor)


def _fsync(descriptor: int, folder: Path) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        _say_unsynced(folder, error)


def _say_unsynced(folder: Path, error: OSError) -> None:
    say_once(
        f"{folder}: cannot wait there until files are on the disk ({error.strerror}): a failure of "
        "the machine may lose what was written last"
    )


def json_text(value: Any) -> str:
    """Write a value as JSON, which has no number for NaN and infinity: they become null.

    Text is escaped to ASCII, also what is no Unicode in the names of files, and reads back as it
    was.
    """
    return json.dumps(_finite(value), indent=2, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return value
