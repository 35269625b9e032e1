"""Folders of photos, one folder for each class: train/CLASS/*.jpg, and test/ or val/ beside it.

Listing a folder opens only as many photos as show that every class has one. One that turns out
to be unreadable later is skipped when its turn comes, logged once and kept in `skipped`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from alexnet.data.photos import read_image
from alexnet.data.sources import Dataset, Labels, Pixels, UnreadableImageError

EXTENSIONS = frozenset(
    (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm")
)
TRAINING_FOLDER = "train"
TEST_FOLDERS = ("test", "val")
CACHE_BYTES = 2**30

logger = logging.getLogger(__name__)


class PhotoSet:
    """Photos in files, decoded when they are read and kept decoded up to `cache_bytes` in total."""

    def __init__(
        self, paths: Sequence[Path], labels: Labels, *, cache_bytes: int = CACHE_BYTES
    ) -> None:
        self.paths = tuple(paths)
        self._labels = labels
        self._skipped: dict[Path, str] = {}
        self._cache: dict[tuple[int, int], Pixels] = {}
        self._cache_left = cache_bytes
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def labels(self) -> Labels:
        """The class of each photo: int64 (photos,)."""
        return self._labels

    @property
    def image_shape(self) -> None:
        """None: each photo has its own."""
        return None

    @property
    def skipped(self) -> Mapping[Path, str]:
        """The files that could not be read so far, and why."""
        return self._skipped

    def read(self, position: int, shortest_side: int) -> Pixels:
        """Photo at `position` as `read_image` gives it; UnreadableImageError if it cannot."""
        key = position, shortest_side
        if key in self._cache:
            return self._cache[key]
        path = self.paths[position]
        if path in self._skipped:
            raise UnreadableImageError(self._skipped[path])
        try:
            image = read_image(path, shortest_side)
        except (OSError, UnreadableImageError) as error:
            self._skip(path, str(error))
            raise UnreadableImageError(str(error)) from error
        with self._lock:
            if image.nbytes <= self._cache_left and key not in self._cache:
                self._cache_left -= image.nbytes
                self._cache[key] = image
        return image

    def _skip(self, path: Path, reason: str) -> None:
        with self._lock:
            if path in self._skipped:
                return
            self._skipped[path] = reason
        logger.warning("skipped %s", reason)


def is_image_folder(root: Path) -> bool:
    """Whether `root` has the folder of the training photos."""
    return (root / TRAINING_FOLDER).is_dir()


def open_image_folder(root: str | Path) -> Dataset:
    """List the photos below train/CLASS, and below test/CLASS or else val/CLASS if it exists.

    Classes are numbered in the order of their names. Photos are the files with an image's
    extension in a class's folder or in folders inside it; hidden files and folders are left out,
    links are followed.

    Raises
    ------
    OSError
        A folder is missing or cannot be read.
    ValueError
        There are no classes, nothing in a class can be read, or test has other classes than train.
    """
    root = Path(root)
    class_names = _class_names(root / TRAINING_FOLDER)
    train = _photos(root / TRAINING_FOLDER, class_names)
    test = None
    for name in TEST_FOLDERS:
        if (root / name).is_dir():
            _check_same_classes(root / name, class_names)
            test = _photos(root / name, class_names)
            break
    return Dataset(class_names, train, test)


def _class_names(folder: Path) -> tuple[str, ...]:
    names = sorted(
        entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name[0] != "."
    )
    if not names:
        raise ValueError(f"{folder} has no folders, expected one for each class")
    return tuple(names)


def _check_same_classes(folder: Path, expected: tuple[str, ...]) -> None:
    names = set(_class_names(folder))
    problems = [
        f"{problem} {', '.join(sorted(classes))}"
        for problem, classes in (
            ("lacks", set(expected) - names),
            ("also has", names - set(expected)),
        )
        if classes
    ]
    if problems:
        raise ValueError(
            f"{folder} has other classes than {TRAINING_FOLDER}: it {' and '.join(problems)}"
        )


def _photos(folder: Path, class_names: tuple[str, ...]) -> PhotoSet:
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(class_names):
        found = list(_image_files(folder / name))
        paths += found
        labels += [label] * len(found)
    photos = PhotoSet(paths, np.array(labels, np.int64))
    for label, name in enumerate(class_names):
        positions = np.flatnonzero(photos.labels == label)
        if not any(_is_readable(photos, position) for position in positions.tolist()):
            raise ValueError(f"{folder / name} has no image that can be read, of {positions.size}")
    return photos


def _image_files(root: Path) -> Iterator[Path]:
    """Image files below `root`, in order; a folder that links lead to again is seen once."""
    seen = {_identity(root)}
    below = [iter(sorted(root.iterdir()))]  # not by recursion: folders may be very deep
    while below:
        entry = next(below[-1], None)
        if entry is None:
            below.pop()
        elif entry.name.startswith("."):
            continue
        elif entry.is_dir():
            if (identity := _identity(entry)) not in seen:
                seen.add(identity)
                below.append(iter(sorted(entry.iterdir())))
        elif entry.suffix.lower() in EXTENSIONS:
            yield entry


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _is_readable(photos: PhotoSet, position: int) -> bool:
    try:
        photos.read(position, 1)
    except UnreadableImageError:
        return False
    return True
