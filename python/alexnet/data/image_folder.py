"""Folders of photos, one folder for each class: train/CLASS/*.jpg, and test/ or val/ beside it.

Where the folders of the classes lie in the one that is given, a share of each class is for testing.

Listing a folder opens only as many photos as show that every class has one, and files without an
image's extension, which are told by their content. A photo that turns out to be damaged later is
skipped when its turn comes, logged once and kept in `skipped`. What is left out is logged as well.
"""

from __future__ import annotations

import hashlib
import logging
import os
import statistics
import threading
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from alexnet.contract.arguments import check_int, check_number, check_path
from alexnet.data.patience import patiently
from alexnet.data.photos import image_size, read_image, why_no_image
from alexnet.data.sources import DIGEST_BYTES, Dataset, Labels, Pixels, UnreadableImageError
from alexnet.files import open_regular
from alexnet.messages import counted, summarised
from alexnet.random import LARGEST_WORD_64, Generator

# Whatever their case. Of several folders of test images, the first here is taken.
TRAINING_FOLDERS = ("train", "training")
TEST_FOLDERS = ("test", "testing", "val", "validation", "valid")
# What systems and programs put beside images, and nobody wants to hear of.
SYSTEM_FILES = frozenset(
    ("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir", "$recycle.bin")
)
NAMED = 5  # files and classes that a line names, at most
CACHE_BYTES = 2**30
TEST_SHARE = 0.2
DIGEST_PHOTOS = 4096  # of a set, whose bytes its digest covers
MEASURED_PHOTOS = 25  # of a set, whose sizes tell what its photos are like
DIGEST_PIECE = 4096  # bytes at the beginning, in the middle and at the end of each of them

Ignored: TypeAlias = dict[str, list[Path]]  # files by why they are ignored

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

    def __repr__(self) -> str:
        return summarised(self, photos=len(self))

    def part(self, chosen: npt.NDArray[np.bool_]) -> PhotoSet:
        """Give the photos where `chosen`, (photos,), is true, with what is known of them."""
        paths = [self.paths[position] for position in np.flatnonzero(chosen).tolist()]
        photos = PhotoSet(paths, self._labels[chosen])
        kept = set(paths)
        photos._skipped = {path: why for path, why in self._skipped.items() if path in kept}
        return photos

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
        """The files that turned out to be damaged so far, and why."""
        return self._skipped

    @cached_property
    def digest(self) -> int:
        """Of the photos in their order: names below their common folder, sizes, labels, bytes.

        The bytes are those at the beginning, in the middle and at the end of each photo or, of more
        than 4096, of so many that lie evenly among them. Where the folder is, and when the files
        were changed, does not matter.

        Raises
        ------
        OSError
            A file cannot be opened or read.
        """
        digest = hashlib.sha256(self.labels.astype("<i8").tobytes())
        common = os.path.commonpath(self.paths) if self.paths else ""
        step = -(-len(self.paths) // DIGEST_PHOTOS) or 1
        for number, path in enumerate(self.paths):
            name = _composed(os.path.relpath(path, common))
            size = path.stat().st_size
            digest.update(f"{name}\0{size}\0".encode("utf-8", "surrogatepass"))
            if number % step == 0:
                digest.update(patiently(partial(_sample, path, size)))
        return int.from_bytes(digest.digest()[:DIGEST_BYTES], "big")

    def read(self, position: int, shortest_side: int) -> Pixels:
        """Photo at `position` as `read_image` gives it, with the errors of that.

        A fault of the file's content is remembered, and logged once. One of the system (OSError,
        MemoryError) is not: the photo may be there the next time.
        """
        key = position, shortest_side
        if key in self._cache:
            return self._cache[key]
        path = self.paths[position]
        if path in self._skipped:
            raise UnreadableImageError(self._skipped[path])
        try:
            image = read_image(path, shortest_side)
        except UnreadableImageError as error:
            self._skip(path, str(error))
            raise
        with self._lock:
            if image.nbytes <= self._cache_left and key not in self._cache:
                self._cache_left -= image.nbytes
                self._cache[key] = image
        return image

    def typical_side(self) -> int:
        """Median of the shorter of height and width, of up to 25 photos that lie evenly among all.

        Raises
        ------
        OSError
            A file cannot be opened or read.
        UnreadableImageError
            None of them is an image.
        """
        step = -(-len(self.paths) // MEASURED_PHOTOS) or 1
        sides, damage = [], UnreadableImageError("there are no photos")
        for path in self.paths[::step]:
            try:
                sides.append(min(image_size(path)))
            except UnreadableImageError as error:  # it is skipped, and logged, when its turn comes
                damage = error
        if not sides:
            raise damage
        return statistics.median_low(sides)

    def _skip(self, path: Path, reason: str) -> None:
        with self._lock:
            if path in self._skipped:
                return
            self._skipped[path] = reason
        logger.warning("skipped %s", reason)


def _sample(path: Path, size: int) -> bytes:
    with open_regular(path) as file:
        pieces = []
        for start in (0, (size - DIGEST_PIECE) // 2, size - DIGEST_PIECE):
            file.seek(max(start, 0))
            pieces.append(file.read(DIGEST_PIECE))
        return b"".join(pieces)


# --- folders --------------------------------------------------------------------------------------


def is_image_folder(root: Path) -> bool:
    """Whether `root` has the folder of the training photos, or the folders of classes."""
    return root.is_dir() and bool(
        _folders_named(root, TRAINING_FOLDERS) or _has_folders_of_classes(root)
    )


def open_image_folder(
    root: str | Path, *, test_share: float | None = None, split_seed: int = 0
) -> Dataset:
    """List the photos below train/CLASS, and below test/CLASS, val/CLASS or validation/CLASS.

    Where there is no folder for training, the folders in `root` are the classes. Of those, or where
    it is given and there are no test images, `test_share` of each class, 0.2 unless it is given, is
    for testing: at least one photo, if that leaves one, drawn by `split_seed`.

    The names of these folders may be in any case; "training", "testing" and "valid" will do, too.
    Of several with test images, the first of test, val and validation is taken; one without folders
    of classes, as Kaggle's test images come, is passed over.

    Classes are numbered in the order of their names. A name is the same however its accents are
    encoded (Unicode's NFC or NFD): it comes as NFC, and two folders that differ in nothing else are
    one class. Photos are the files in a class's folder, or in folders inside it, that have an
    image's extension or an image's first bytes. Hidden files and folders are left out, links are
    followed. What else is left out is logged.

    Raises
    ------
    OSError
        A folder is missing or cannot be read.
    ValueError
        There are no classes, nothing in a class can be read, test has other classes than train, the
        folders of classes lie a level too deep, or a `test_share` is given beside test images or is
        not from 0 to below 1.
    """
    root = check_path("open_image_folder", "root", root)
    training = _folders_named(root, TRAINING_FOLDERS)
    if not training:
        training = [root]
        test_share = TEST_SHARE if test_share is None else test_share
    classes = _class_folders(training[0])
    if not classes:
        raise ValueError(
            f"{training[0]} has no folders, expected one for each class{unsorted(training[0])}"
        )
    _check_depth(training[0], classes)
    if len(classes) == 1:
        logger.warning("%s has one class only, %s: every answer is right", training[0], *classes)
    train = _photos(training[0], classes)
    test, unused = None, training[1:]
    for folder in _folders_named(root, TEST_FOLDERS):
        if test is not None:
            unused.append(folder)
            continue
        found = _class_folders(folder)
        if len(found) <= 1 and not found.keys() & classes.keys():
            _check_depth(folder, found)
            logger.warning("%s has no folders of classes, and is not used", folder)
        else:
            _check_same_classes(folder, training[0].name, found.keys(), classes.keys())
            test = _photos(folder, found)
    if unused:
        logger.warning("not used: %s", _listed(map(str, unused)))
    if test_share is not None:
        if test is not None:
            raise ValueError(f"{root} has test images: test_share is {test_share}, expected none")
        train, test = _split(train, test_share, split_seed)
        tested = len(test or ())
        logger.warning(
            "%s has no test images: of %d in the classes %s, %d %s for testing, by split seed %d",
            root,
            len(train) + tested,
            _listed(classes),
            tested,
            "is" if tested == 1 else "are",
            split_seed,
        )
    return Dataset(tuple(classes), train, test)


def unsorted(folder: Path) -> str:
    """End of a message on a folder whose photos lie in no class's folder: how to sort them.

    Kaggle's cats and dogs come so, the class being in the name: cat.0.jpg.
    """
    names = [entry.name for entry in _photos_in(folder)]
    if not names:
        return ""
    classes = sorted({name.partition(".")[0] for name in names if name.count(".") > 1})
    named = f", which their names begin with: {_listed(classes)}" if len(classes) > 1 else ""
    return (
        f": {counted(len(names), 'photo')} in it, such as {names[0]}; make a folder for each class"
        f"{named}, and move them into these"
    )


def _has_folders_of_classes(root: Path) -> bool:
    """Whether there are two folders or more in `root`, each of them with an image in it."""
    if _folders_named(root, TEST_FOLDERS):
        return False
    folders = [entry for entry in _visible(root) if entry.is_dir()]
    return len(folders) > 1 and all(map(_has_images, folders))


def _has_images(folder: Path) -> bool:
    """Whether there is an image in `folder` itself."""
    return any(True for _ in _photos_in(folder))


def _photos_in(folder: Path) -> Iterator[Path]:
    """Images in `folder` itself, in the order of their names."""
    return (entry for entry in _visible(folder) if entry.is_file() and why_no_image(entry) is None)


def _split(photos: PhotoSet, test_share: float, seed: int) -> tuple[PhotoSet, PhotoSet | None]:
    """Photos for training and for testing, in their order, of every class the same share."""
    test_share = check_number("split", "test_share", test_share, low=0, below=1)
    generator = Generator(check_int("split", "split_seed", seed, 0, LARGEST_WORD_64))
    is_test = np.zeros(len(photos), bool)
    for label in np.unique(photos.labels):
        positions = generator.permutation(int((photos.labels == label).sum()))
        count = min(max(1, round(test_share * len(positions))), len(positions) - 1)
        chosen = np.flatnonzero(photos.labels == label)[positions[:count]]
        is_test[chosen] = test_share > 0
    return photos.part(~is_test), photos.part(is_test) if is_test.any() else None


def _folders_named(root: Path, names: Sequence[str]) -> list[Path]:
    """Folders in `root` of those names in any case, in the order of `names`, as given first."""
    found = [entry for entry in root.iterdir() if entry.name.lower() in names and entry.is_dir()]
    return sorted(
        found,
        key=lambda entry: (
            names.index(entry.name.lower()),
            entry.name != entry.name.lower(),
            entry.name,
        ),
    )


def _class_folders(folder: Path) -> dict[str, list[Path]]:
    """Folders of each class in `folder`, in the order of the classes' names."""
    classes: dict[str, list[Path]] = {}
    for entry in _visible(folder):
        if entry.is_dir():
            classes.setdefault(_composed(entry.name), []).append(entry)
    for name, folders in classes.items():
        if len(folders) > 1:
            logger.warning(
                "%s has %d folders of the class %s, whose names differ in the encoding of accents: "
                "they are taken as one",
                folder,
                len(folders),
                name,
            )
    return classes


def _check_depth(folder: Path, classes: Mapping[str, Sequence[Path]]) -> None:
    """ValueError if the only folder in `folder` has no images but folders: those of the classes."""
    if len(classes) != 1:
        return
    (only,) = (found[0] for found in classes.values())
    inner = [entry.name for entry in _visible(only) if entry.is_dir()]
    if inner and not _has_images(only):
        raise ValueError(
            f"{folder} has one class only, {only.name}, with the folders {_listed(inner)} in it: "
            f"if these are the classes, move them up into {folder}"
        )


def _check_same_classes(
    folder: Path, training: str, names: Iterable[str], expected: Iterable[str]
) -> None:
    problems = [
        f"{problem} {_listed(sorted(classes))}"
        for problem, classes in (
            ("lacks", set(expected) - set(names)),
            ("also has", set(names) - set(expected)),
        )
        if classes
    ]
    if problems:
        raise ValueError(f"{folder} has other classes than {training}: it {' and '.join(problems)}")


def _photos(folder: Path, classes: Mapping[str, Sequence[Path]]) -> PhotoSet:
    paths: list[Path] = []
    labels: list[int] = []
    ignored: Ignored = {}
    for entry in _visible(folder):
        if not entry.is_dir():
            ignored.setdefault(_why_ignored(entry) or "in no class's folder", []).append(entry)
    for label, folders in enumerate(classes.values()):
        found = [path for inner in folders for path in _image_files(inner, ignored)]
        paths += found
        labels += [label] * len(found)
    for reason, files in ignored.items():
        names = _listed(str(path.relative_to(folder)) for path in files)
        count = counted(len(files), "file")
        logger.warning("%s: ignored %s (%s): %s", folder, count, reason, names)
    photos = PhotoSet(paths, np.array(labels, np.int64))
    for label, folders in enumerate(classes.values()):
        positions = np.flatnonzero(photos.labels == label)
        if not any(_is_readable(photos, position) for position in positions.tolist()):
            raise ValueError(f"{folders[0]} has no image that can be read, of {positions.size}")
    return photos


def _image_files(root: Path, ignored: Ignored) -> Iterator[Path]:
    """Image files below `root`, in order; a folder that links lead to again is seen once.

    Other files are added to `ignored`.
    """
    seen = {_identity(root)}
    below = [iter(_visible(root))]  # not by recursion: folders may be very deep
    while below:
        entry = next(below[-1], None)
        if entry is None:
            below.pop()
        elif entry.is_dir():
            if (identity := _identity(entry)) not in seen:
                seen.add(identity)
                below.append(iter(_visible(entry)))
        elif (reason := _why_ignored(entry)) is None:
            yield entry
        else:
            ignored.setdefault(reason, []).append(entry)


def _why_ignored(entry: Path) -> str | None:
    """None for an image file, otherwise why it is none."""
    return why_no_image(entry) if entry.is_file() else "no regular file"


def _visible(folder: Path) -> list[Path]:
    """List `folder` in the order of names, but for hidden files and those of systems."""
    entries = [
        entry
        for entry in folder.iterdir()
        if not entry.name.startswith(".") and entry.name.lower() not in SYSTEM_FILES
    ]
    return sorted(entries, key=lambda entry: (_composed(entry.name), entry.name))


def _listed(names: Iterable[str]) -> str:
    """Join the first few of the names, and say that there are more."""
    names = list(names)
    return ", ".join([*names[:NAMED], *(["…"] if len(names) > NAMED else [])])


def _composed(name: str) -> str:
    """Give the one spelling of a name whose accents may be encoded in two."""
    return unicodedata.normalize("NFC", name)


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _is_readable(photos: PhotoSet, position: int) -> bool:
    try:
        photos.read(position, 1)
    except UnreadableImageError:
        return False
    return True
