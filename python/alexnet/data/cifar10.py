"""CIFAR-10 in its "python version": pickles read without running anything that they contain.

Krizhevsky, "Learning multiple layers of features from tiny images", 2009. A directory holds
data_batch_1 .. data_batch_5, test_batch and batches.meta, each the pickle of a dictionary, written
by Python 2. Of a batch, `data` is uint8 (images, 3072): the red, green and blue planes of 32 x 32,
and `labels` is a list of class numbers.

A pickle is a program that may call anything that `find_class` gives it. Here it is given stand-ins
for the three globals of which a NumPy array is made; they record what they are called with and do
nothing else. No NumPy code sees what the file says before it has been checked.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alexnet.data.loader import ImageSet

FOLDER = "cifar-10-batches-py"
TRAINING_FILES = tuple(f"data_batch_{number}" for number in range(1, 6))
TEST_FILE = "test_batch"
META_FILE = "batches.meta"
IMAGE_SIZE = 32
CHANNELS = 3
PIXELS_PER_IMAGE = CHANNELS * IMAGE_SIZE * IMAGE_SIZE
LARGEST_FILE = 2**28  # bytes; a file of the original set has 31 million
UNPICKLING_ERRORS = (  # what the unpickler raises on a damaged or hostile file, depending on it
    pickle.UnpicklingError,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)


@dataclass(frozen=True)
class Cifar10:
    """The images of a CIFAR-10 directory: 32 x 32 RGB, and the names of their classes."""

    train: ImageSet
    test: ImageSet
    class_names: tuple[str, ...]

    @classmethod
    def load(cls, directory: str | Path) -> Cifar10:
        """Read a directory, or one that holds it as "cifar-10-batches-py".

        Raises
        ------
        OSError
            A file is missing or cannot be read.
        ValueError
            A file is not what the format says: cut short, another pickle, labels out of range.
            The message names the file.
        """
        root = Path(directory)
        if (root / FOLDER).is_dir():
            root = root / FOLDER
        if not (root / META_FILE).is_file():
            raise FileNotFoundError(
                f"{root} is not a CIFAR-10 directory (python version): it has no {META_FILE}"
            )
        class_names = _read_class_names(root / META_FILE)
        train = [_read_batch(root / name, len(class_names)) for name in TRAINING_FILES]
        test = _read_batch(root / TEST_FILE, len(class_names))
        return cls(_joined(train), test, class_names)


def _joined(parts: list[ImageSet]) -> ImageSet:
    return ImageSet(
        np.concatenate([part.pixels for part in parts]),
        np.concatenate([part.labels for part in parts]),
    )


# --- contents of the files ------------------------------------------------------------------------


def _read_batch(path: Path, classes: int) -> ImageSet:
    entries = read_pickle(path)
    data, labels = _entry(path, entries, "data"), _entry(path, entries, "labels")
    if not isinstance(data, _Array):
        raise ValueError(f"{path}: data is a {type(data).__name__}, expected an array")
    pixels = data.checked(str(path))
    if not isinstance(labels, list) or len(labels) != len(pixels):
        given = f"{len(labels)} entries" if isinstance(labels, list) else type(labels).__name__
        raise ValueError(
            f"{path}: labels has {given}, expected a list of {len(pixels)}, one for each image"
        )
    for label in labels:
        if type(label) is not int or not 0 <= label < classes:
            raise ValueError(
                f"{path}: labels has the value {label!r:.50}, expected integers from 0 to "
                f"{classes - 1}"
            )
    planes = pixels.reshape(-1, CHANNELS, IMAGE_SIZE, IMAGE_SIZE)
    return ImageSet(np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), np.array(labels, np.int64))


def _read_class_names(path: Path) -> tuple[str, ...]:
    names = _entry(path, read_pickle(path), "label_names")
    if not isinstance(names, list) or not names or not all(type(name) is str for name in names):
        raise ValueError(f"{path}: label_names is {names!r:.50}, expected a list of strings")
    return tuple(names)


def _entry(path: Path, entries: Mapping[Any, Any], key: str) -> Any:
    if key not in entries:
        raise ValueError(f"{path}: the pickled dictionary has no {key!r}")
    return entries[key]


# --- the pickle -----------------------------------------------------------------------------------


class _Inert:
    """What a pickle can neither change nor build upon: it holds values, checked by its reader."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("it changes an object that has no state")


class _Dtype(_Inert):
    """Stand-in for `numpy.dtype`: the arguments that it is made of."""

    __slots__ = ("name",)

    def __init__(self, *arguments: object) -> None:
        self.name = arguments[0] if arguments else None

    def __setstate__(self, state: object) -> None:
        """Take no notice: the state is byte order and alignment, which bytes do not have."""


class _Array(_Inert):
    """Stand-in for a `numpy.ndarray`: the state that the pickle gives to it."""

    __slots__ = ("state",)

    def __init__(self) -> None:
        self.state: object = None

    def __setstate__(self, state: object) -> None:
        self.state = state

    def checked(self, path: str) -> npt.NDArray[np.uint8]:
        """Make the array, if it is uint8 (images, 3072) with as many bytes as that takes."""
        match self.state:
            case (int(), tuple(shape), _Dtype(name="u1" | "uint8"), fortran, str(text)):
                content = text.encode("latin1", "ignore")  # cut short, so refused, if not bytes
            case (int(), tuple(shape), _Dtype(name="u1" | "uint8"), fortran, bytes(content)):
                pass
            case _:
                raise ValueError(f"{path}: data is not an array of uint8")
        extents = tuple(extent for extent in shape if type(extent) is int and extent >= 0)
        if len(extents) != len(shape) or extents[1:] != (PIXELS_PER_IMAGE,):
            raise ValueError(
                f"{path}: data has shape {shape!r:.80}, expected (images, {PIXELS_PER_IMAGE})"
            )
        if len(content) != math.prod(extents):
            raise ValueError(
                f"{path}: data has {len(content)} bytes for the shape {extents}, expected "
                f"{math.prod(extents)}"
            )
        return np.frombuffer(content, np.uint8).reshape(extents, order="F" if fortran else "C")


class _Reconstruct(_Inert):
    """Stand-in for NumPy's `_reconstruct`, which makes the empty array that a state then fills."""

    __slots__ = ()

    def __call__(self, *_: object) -> _Array:
        return _Array()


class _MakeDtype(_Inert):
    """Stand-in for the type `numpy.dtype` as a thing to call."""

    __slots__ = ()

    def __call__(self, *arguments: object) -> _Dtype:
        return _Dtype(*arguments)


_ALLOWED: dict[tuple[str, str], _Inert] = {
    ("numpy.core.multiarray", "_reconstruct"): _Reconstruct(),
    ("numpy._core.multiarray", "_reconstruct"): _Reconstruct(),  # the name since NumPy 2
    ("numpy", "ndarray"): _Inert(),
    ("numpy", "dtype"): _MakeDtype(),
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str, /) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {f'{module}.{name}'!r:.200}")
        return _ALLOWED[module, name]


def read_pickle(path: Path) -> dict[Any, Any]:
    """Read the dictionary in the pickle at `path`, arrays as stand-ins; runs nothing of it.

    Strings that Python 2 wrote come as str, one character a byte.

    Raises
    ------
    OSError
        The file cannot be read.
    ValueError
        It is larger than any file of the set, no complete pickle, asks for a global other than
        those of an array, or does not hold a dictionary.
    """
    size = path.stat().st_size
    if size > LARGEST_FILE:
        raise ValueError(f"{path}: {size:,} bytes, expected at most {LARGEST_FILE:,}")
    content = path.read_bytes()
    try:
        _check_memo(content)
        value = _Unpickler(io.BytesIO(content), encoding="latin1").load()
    except UNPICKLING_ERRORS as error:
        reason = str(error) or type(error).__name__
        raise ValueError(f"{path}: no pickle of CIFAR-10, and not run: {reason}") from error
    if not isinstance(value, dict):
        kind = type(value).__name__
        raise ValueError(f"{path}: the pickle holds a {kind}, expected a dictionary")
    return value


def _check_memo(content: bytes) -> None:
    """Check that the pickle is complete, and its memo numbered as any writer does.

    The unpickler makes room for the highest number that it meets, tens of gigabytes if asked to.
    """
    for count, (opcode, argument, _) in enumerate(pickletools.genops(content)):
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(argument or 0) > count:
            raise pickle.UnpicklingError(f"its memo has an entry {argument} too early")
