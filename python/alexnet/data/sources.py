"""Where images come from: what every source of them offers, and images that lie in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

from alexnet.contract import hints
from alexnet.contract.arguments import (
    LARGEST_SIZE,
    Shape,
    check_array,
    check_instance,
    check_integer_array,
    check_ndim,
    check_shape,
)
from alexnet.messages import summarised

Pixels: TypeAlias = npt.NDArray[np.uint8]
Labels: TypeAlias = npt.NDArray[np.int64]

DIGEST_BYTES = 8  # of SHA-256 that a digest consists of


class UnreadableImageError(ValueError):
    """A file that is no image, is damaged or is too large; the message names it."""


@runtime_checkable
class ImageSource(Protocol):
    """Labelled images, each at a position from 0 to len - 1. May be read from several threads."""

    @property
    def labels(self) -> Labels:
        """The class of each image: int64 (images,)."""

    @property
    def image_shape(self) -> Shape | None:
        """(height, width, channels) of all images, None where they differ."""

    @property
    def skipped(self) -> Mapping[Path, str]:
        """The files that turned out to be damaged so far, and why."""

    @property
    def digest(self) -> int:
        """An integer of 64 bits that other images, another order or other labels change."""

    def __len__(self) -> int: ...

    def read(self, position: int, shortest_side: int) -> Pixels:
        """Read an image: uint8 (height, width, 3), red, green, blue.

        Where sizes differ, the shorter of height and width is made `shortest_side`.

        Raises
        ------
        UnreadableImageError
            The file at that position is no image, or damaged: so it will be the next time.
        OSError, MemoryError
            The system cannot read it now.
        """


def check_source(function: str, argument: str, source: object) -> None:
    """`source` offers what an `ImageSource` does."""
    check_instance(function, argument, source, ImageSource)


def check_pixels(function: str, argument: str, image: object) -> None:
    """`image` is the pixels of one: uint8 (height, width, 3), not of floating numbers of 0 .. 1."""
    pixels = check_array(function, argument, image, ("uint8",))
    if pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(
            f"{function}: {argument} has shape {pixels.shape}, expected (height, width, 3)"
            f"{hints.of_pixels(argument, pixels.shape)}"
        )


@dataclass(frozen=True)
class ImageSet:
    """Images in memory: pixels uint8 (images, height, width, 3), labels int64 (images,).

    Pixels are 0 .. 255. Labels of another integer dtype are converted.

    Raises
    ------
    TypeError
        Pixels are not of uint8, as floating numbers of 0 .. 1 are not, or labels of no integer
        dtype, or one is no NumPy array, or a masked one.
    ValueError
        A shape is another, or a label is negative.
    """

    pixels: Pixels
    labels: Labels

    def __post_init__(self) -> None:
        check_array("ImageSet", "pixels", self.pixels, ("uint8",))
        check_ndim("ImageSet", "pixels", self.pixels.shape, ("images", "height", "width", "3"))
        count, height, width, _ = self.pixels.shape
        check_shape("ImageSet", "pixels", self.pixels, (count, height, width, 3))
        labels = check_integer_array("ImageSet", "labels", self.labels)
        check_shape("ImageSet", "labels", labels, (count,))
        if count and not 0 <= int(labels.min()) <= int(labels.max()) <= LARGEST_SIZE:
            raise ValueError(
                f"ImageSet: labels are from {labels.min()} to {labels.max()}, expected integers "
                f"from 0 to {LARGEST_SIZE}"
            )
        object.__setattr__(self, "labels", labels.astype(np.int64, copy=False))

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        return summarised(self, images=len(self), shape=self.image_shape)

    @property
    def image_shape(self) -> Shape:
        """(height, width, channels)."""
        return self.pixels.shape[1:]

    @property
    def skipped(self) -> Mapping[Path, str]:
        """Nothing: these images have been read."""
        return {}

    @cached_property
    def digest(self) -> int:
        """Of the shape, the pixels and the labels, when it is asked for first."""
        digest = hashlib.sha256(repr(self.pixels.shape).encode())
        digest.update(np.ascontiguousarray(self.pixels).data)
        digest.update(self.labels.astype("<i8").tobytes())
        return int.from_bytes(digest.digest()[:DIGEST_BYTES], "big")

    def read(self, position: int, shortest_side: int) -> Pixels:  # noqa: ARG002
        """Image at `position`, in its own size."""
        image: Pixels = self.pixels[position]
        return image


@dataclass(frozen=True)
class Dataset:
    """Images to train on, images to test with (or None) and the names of their classes."""

    class_names: tuple[str, ...]
    train: ImageSource
    test: ImageSource | None

    def __repr__(self) -> str:
        classes = len(self.class_names)
        return summarised(self, classes=classes, train=self.train, test=self.test)

    def __post_init__(self) -> None:
        check_instance("Dataset", "class_names", self.class_names, (tuple, list))
        for name in self.class_names:
            check_instance("Dataset", "class_names", name, str)
        object.__setattr__(self, "class_names", tuple(self.class_names))
        check_source("Dataset", "train", self.train)
        if self.test is not None:
            check_source("Dataset", "test", self.test)
