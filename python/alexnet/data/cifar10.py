"""CIFAR-10 in its "python version": pickles read without running anything that they contain.

Krizhevsky, "Learning multiple layers of features from tiny images", 2009. A directory holds
data_batch_1 .. data_batch_5, test_batch and batches.meta, each the pickle of a dictionary, written
by Python 2. Of a batch, `data` is uint8 (images, 3072): the red, green and blue planes of 32 x 32,
and `labels` is a list of class numbers.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from alexnet.data.sources import Dataset, ImageSet
from alexnet.files import pickles, read_regular
from alexnet.files.pickles import PickledArray
from alexnet.messages import shown

FOLDER = "cifar-10-batches-py"
TRAINING_FILES = tuple(f"data_batch_{number}" for number in range(1, 6))
TEST_FILE = "test_batch"
META_FILE = "batches.meta"
IMAGE_SIZE = 32
CHANNELS = 3
PIXELS_PER_IMAGE = CHANNELS * IMAGE_SIZE * IMAGE_SIZE
LARGEST_FILE = 2**28  # bytes; a file of the original set has 31 million


def find_cifar10(directory: Path) -> Path | None:
    """`directory` or the "cifar-10-batches-py" in it, whichever holds batches.meta; else None."""
    for root in (directory / FOLDER, directory):
        if (root / META_FILE).is_file():
            return root
    return None


def open_cifar10(directory: str | Path) -> Dataset:
    """Read the images of a directory, or of the "cifar-10-batches-py" in it: 32 x 32 RGB.

    Raises
    ------
    OSError
        A file is missing or cannot be read.
    ValueError
        A file is not what the format says: cut short, another pickle, labels out of range.
        The message names the file.
    """
    root = find_cifar10(Path(directory))
    if root is None:
        raise FileNotFoundError(
            f"{directory} is not a CIFAR-10 directory (python version): it has no {META_FILE}"
        )
    class_names = _read_class_names(root / META_FILE)
    train = [_read_batch(root / name, len(class_names)) for name in TRAINING_FILES]
    test = _read_batch(root / TEST_FILE, len(class_names))
    return Dataset(class_names, _joined(train), test)


def _joined(parts: list[ImageSet]) -> ImageSet:
    return ImageSet(
        np.concatenate([part.pixels for part in parts]),
        np.concatenate([part.labels for part in parts]),
    )


# --- contents of the files ------------------------------------------------------------------------


def _read_batch(path: Path, classes: int) -> ImageSet:
    entries = read_pickle(path)
    data, labels = _entry(path, entries, "data"), _entry(path, entries, "labels")
    if not isinstance(data, PickledArray):
        raise ValueError(f"{path}: data is a {type(data).__name__}, expected an array")
    pixels = data.to_numpy(f"{path}: data", np.uint8)
    if pixels.shape[1:] != (PIXELS_PER_IMAGE,):
        raise ValueError(
            f"{path}: data has shape {pixels.shape}, expected (images, {PIXELS_PER_IMAGE})"
        )
    if not isinstance(labels, list) or len(labels) != len(pixels):
        given = f"{len(labels)} entries" if isinstance(labels, list) else type(labels).__name__
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


def _read_class_names(path: Path) -> tuple[str, ...]:
    names = _entry(path, read_pickle(path), "label_names")
    if not isinstance(names, list) or not names or not all(type(name) is str for name in names):
        raise ValueError(f"{path}: label_names is {shown(names)}, expected a list of strings")
    return tuple(names)


def _entry(path: Path, entries: Mapping[Any, Any], key: str) -> Any:
    if key not in entries:
        raise ValueError(f"{path}: the pickled dictionary has no {key!r}")
    return entries[key]


def read_pickle(path: Path) -> dict[Any, Any]:
    """Read the dictionary in the pickle at `path`, arrays as stand-ins; runs nothing of it.

    Strings that Python 2 wrote come as str, one character a byte.

    Raises
    ------
    OSError
        The file cannot be read.
    ValueError
        It is no regular file, is larger than any of the set, no complete pickle, asks for a global
        other than those of an array, or does not hold a dictionary.
    """
    content = read_regular(path, LARGEST_FILE)
    try:
        value = pickles.loads(content)
    except pickle.UnpicklingError as error:
        raise ValueError(f"{path}: no pickle of CIFAR-10, and not run: {error}") from error
    if not isinstance(value, dict):
        kind = type(value).__name__
        raise ValueError(f"{path}: the pickle holds a {kind}, expected a dictionary")
    return value
