"""CIFAR-10 in its "python version": pickles read without running anything that they contain.

Krizhevsky, "Learning multiple layers of features from tiny images", 2009. A directory holds
data_batch_1 .. data_batch_5, test_batch and batches.meta, each the pickle of a dictionary, written
by Python 2. It is downloaded as an archive of that directory, cifar-10-python.tar.gz, which is read
as well. Of a batch, `data` is uint8 (images, 3072): the red, green and blue planes of 32 x 32,
and `labels` is a list of class numbers.
"""

from __future__ import annotations

import gzip
import pickle
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from alexnet.contract.arguments import check_path
from alexnet.data.sources import Dataset, ImageSet
from alexnet.files import check_size, open_regular, pickles, read_regular
from alexnet.files.pickles import PickledArray
from alexnet.messages import counted, shown

FOLDER = "cifar-10-batches-py"
TRAINING_FILES = tuple(f"data_batch_{number}" for number in range(1, 6))
TEST_FILE = "test_batch"
META_FILE = "batches.meta"
IMAGE_SIZE = 32
CHANNELS = 3
PIXELS_PER_IMAGE = CHANNELS * IMAGE_SIZE * IMAGE_SIZE
LARGEST_FILE = 2**28  # bytes; a file of the original set has 31 million
ARCHIVE = "cifar-10-python.tar.gz"
LARGEST_ARCHIVE = 2**29  # bytes; the original has 170 million, and unpacks to 186 million
HIGHEST_RATIO = 100  # of the sizes of an archive unpacked and packed
GZIP = b"\x1f\x8b"
TAR_BLOCK = 512  # bytes


def find_cifar10(directory: Path) -> Path | None:
    """`directory` or the "cifar-10-batches-py" in it, whichever holds batches.meta; else None."""
    for root in (directory / FOLDER, directory):
        if (root / META_FILE).is_file():
            return root
    return None


def open_cifar10(path: str | Path) -> Dataset:
    """Read the images of the set: 32 x 32 RGB.

    Parameters
    ----------
    path
        A directory, the "cifar-10-batches-py" in it, or the archive cifar-10-python.tar.gz as it is
        downloaded, or unpacked to .tar. Nothing of an archive is written to disk.

    Raises
    ------
    OSError
        A file is missing or cannot be read.
    ValueError
        A file is not what the format says: cut short, another pickle, labels out of range.
        The message names the file.
    """
    path = check_path("open_cifar10", "path", path)
    contents = _archived(path) if path.is_file() else _unpacked(path)
    class_names = _class_names(*contents(META_FILE))
    train = [_batch(*contents(name), len(class_names)) for name in TRAINING_FILES]
    test = _batch(*contents(TEST_FILE), len(class_names))
    return Dataset(class_names, _joined(train), test)


# --- where the files are --------------------------------------------------------------------------

Contents = Callable[[str], tuple[Path, bytes]]  # of a file of the set: its path, and what is in it


def _unpacked(directory: Path) -> Contents:
    root = find_cifar10(directory)
    if root is None:
        raise FileNotFoundError(
            f"{directory} is not a CIFAR-10 directory (python version): it has no {META_FILE}"
        )
    return lambda name: (root / name, read_regular(root / name, LARGEST_FILE))


def _archived(path: Path) -> Contents:
    try:
        files = dict(_members(_unzipped(path)))
    except (ValueError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path}: no archive of CIFAR-10, as {ARCHIVE} is: {error}") from error

    def contents(name: str) -> tuple[Path, bytes]:
        member = f"{FOLDER}/{name}"
        if member not in files:
            raise ValueError(f"{path}: the archive holds no {member}")
        return path / member, bytes(files[member])

    return contents


def _unzipped(path: Path) -> bytes:
    with open_regular(path) as file:
        largest = min(LARGEST_ARCHIVE, HIGHEST_RATIO * check_size(path, file, LARGEST_ARCHIVE))
        is_zipped = file.read(len(GZIP)) == GZIP
        file.seek(0)
        content = (gzip.GzipFile(fileobj=file) if is_zipped else file).read(largest + 1)
    if len(content) > largest:
        raise ValueError(f"it unpacks to more than {largest:,} bytes")
    return content


def _members(content: bytes) -> Iterator[tuple[str, memoryview]]:
    """Names and contents of the regular files in a tar archive, in its order.

    The names of CIFAR-10 are short, so each is in the block of 512 bytes before the content, which
    ends with such blocks of zeros. Python's tarfile reads more kinds of names, and before 3.11.10
    takes hours for some of them.
    """
    place = 0
    while (header := content[place : place + TAR_BLOCK]).strip(b"\0"):
        text, check = header[:100].partition(b"\0")[0], header[148:156]
        if len(header) < TAR_BLOCK or _octal(check) != sum(header) - sum(check) + 8 * ord(" "):
            raise ValueError(f"it is no tar archive, or is damaged at byte {place:,}")
        place += TAR_BLOCK
        size = _octal(header[124:136])
        if size > len(content) - place:
            raise ValueError("it is cut short")
        if header[156:157] in (b"0", b"\0"):  # a regular file
            yield text.decode("latin1").removeprefix("./"), memoryview(content)[place:][:size]
        place += -(-size // TAR_BLOCK) * TAR_BLOCK


def _octal(field: bytes) -> int:
    digits = field.strip(b" \0")
    if not re.fullmatch(rb"[0-7]+", digits):
        raise ValueError("it is no tar archive, or is damaged")
    return int(digits, 8)


def _joined(parts: list[ImageSet]) -> ImageSet:
    return ImageSet(
        np.concatenate([part.pixels for part in parts]),
        np.concatenate([part.labels for part in parts]),
    )


# --- contents of the files ------------------------------------------------------------------------


def _batch(path: Path, content: bytes, classes: int) -> ImageSet:
    entries = read_pickle(path, content)
    data, labels = _entry(path, entries, "data"), _entry(path, entries, "labels")
    if not isinstance(data, PickledArray):
        raise ValueError(f"{path}: data is a {type(data).__name__}, expected an array")
    pixels = data.to_numpy(f"{path}: data", np.uint8)
    if pixels.shape[1:] != (PIXELS_PER_IMAGE,):
        raise ValueError(
            f"{path}: data has shape {pixels.shape}, expected (images, {PIXELS_PER_IMAGE})"
        )
    if not isinstance(labels, list) or len(labels) != len(pixels):
        given = (
            counted(len(labels), "entry", "entries")
            if isinstance(labels, list)
            else type(labels).__name__
        )
        raise ValueError(
            f"{path}: labels has {given}, expected a list of {len(pixels)}, one for each image"
        )
    for label in labels:
        if type(label) is not int or not 0 <= label < classes:
            raise ValueError(
                f"{path}: labels has the value {shown(label)}, expected integers from 0 to "
                f"{classes - 1}"
            )
    planes = pixels.reshape(-1, CHANNELS, IMAGE_SIZE, IMAGE_SIZE)
    return ImageSet(np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), np.array(labels, np.int64))


def _class_names(path: Path, content: bytes) -> tuple[str, ...]:
    names = _entry(path, read_pickle(path, content), "label_names")
    if not isinstance(names, list) or not names or not all(type(name) is str for name in names):
        raise ValueError(f"{path}: label_names is {shown(names)}, expected a list of strings")
    return tuple(names)


def _entry(path: Path, entries: Mapping[Any, Any], key: str) -> Any:
    if key not in entries:
        raise ValueError(f"{path}: the pickled dictionary has no {key!r}")
    return entries[key]


def read_pickle(path: Path, content: bytes) -> dict[Any, Any]:
    """Read the dictionary in the pickle that `path` holds, arrays as stand-ins; runs nothing of it.

    Strings that Python 2 wrote come as str, one character a byte.

    Raises
    ------
    ValueError
        It is no complete pickle, asks for a global other than those of an array, or does not hold a
        dictionary.
    """
    try:
        value = pickles.loads(content)
    except pickle.UnpicklingError as error:
        raise ValueError(f"{path}: no pickle of CIFAR-10, and not run: {error}") from error
    if not isinstance(value, dict):
        kind = type(value).__name__
        raise ValueError(f"{path}: the pickle holds a {kind}, expected a dictionary")
    return value
