"""Where images come from: what every source of them offers, and images that lie in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from alexnet.checks import Shape

Pixels: TypeAlias = npt.NDArray[np.uint8]
Labels: TypeAlias = npt.NDArray[np.int64]

DIGEST_BYTES = 8  # of SHA-256 that a digest consists of


class UnreadableImageError(ValueError):
    """A file that is no image, is damaged or is too large; the message names it."""


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


@dataclass(frozen=True)
class ImageSet:
    """Images in memory: pixels uint8 (images, height, width, 3), labels int64 (images,)."""

    pixels: Pixels
    labels: Labels

    def __len__(self) -> int:
        return len(self.labels)

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
