"""Labelled images in memory, their normalisation, and the order in which a network sees them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from alexnet.checks import LARGEST_SIZE, Shape, check_int
from alexnet.random import Generator

Pixels: TypeAlias = npt.NDArray[np.uint8]
Labels: TypeAlias = npt.NDArray[np.int64]
Images: TypeAlias = npt.NDArray[np.float32]

FIRST_ORDER_STREAM = 2**63  # beyond every stream that initialisation draws with the same seed
CHUNK = 1000  # images whose pixels are in float64 at a time


@dataclass(frozen=True)
class ImageSet:
    """Images and their classes: pixels (images, height, width, channels), labels (images,)."""

    pixels: Pixels
    labels: Labels

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def image_shape(self) -> Shape:
        """(height, width, channels)."""
        return self.pixels.shape[1:]


@dataclass(frozen=True)
class Normalisation:
    """Pixels in 0 .. 255 to (pixel - mean) / stddev, for each channel; mean, stddev (channels,)."""

    mean: npt.NDArray[np.float32]
    stddev: npt.NDArray[np.float32]

    @classmethod
    def of(cls, images: ImageSet) -> Normalisation:
        """Give every channel of `images` mean 0 and standard deviation 1.

        Raises
        ------
        ValueError
            There are no images, or a channel has the same value everywhere.
        """
        channels = images.image_shape[-1]
        total, squares = np.zeros(channels), np.zeros(channels)
        for first in range(0, len(images), CHUNK):
            values = images.pixels[first : first + CHUNK].reshape(-1, channels).astype(np.float64)
            total += np.ones(len(values)) @ values
            squares += np.einsum("pc,pc->c", values, values)
        count = images.pixels.size // channels
        if count == 0:
            raise ValueError("normalisation: the image set is empty")
        mean = total / count
        variance = squares / count - mean**2  # of integers below 256: float64 loses nothing here
        if not (variance > 0).all():
            raise ValueError("normalisation: a channel has the same value in every image")
        return cls(mean.astype(np.float32), np.sqrt(variance).astype(np.float32))

    def __call__(self, pixels: Pixels) -> Images:
        """Normalise pixels, to float32."""
        return (pixels - self.mean) / self.stddev


@dataclass(frozen=True)
class Batch:
    """Normalised images (batch, height, width, channels) and their classes (batch,)."""

    images: Images
    labels: Labels


def _batch(images: ImageSet, normalise: Normalisation, rows: npt.NDArray[np.int64]) -> Batch:
    return Batch(normalise(images.pixels[rows]), images.labels[rows])


def ordered_batches(images: ImageSet, normalise: Normalisation, batch_size: int) -> Iterator[Batch]:
    """Every image once, in order; the last batch may be smaller."""
    batch_size = check_int("ordered_batches", "batch_size", batch_size, 1, LARGEST_SIZE)
    for first in range(0, len(images), batch_size):
        rows = np.arange(first, min(first + batch_size, len(images)))
        yield _batch(images, normalise, rows)


class ShuffledBatches:
    """Endless batches for training, each epoch in a random order of its own.

    The order follows from the seed and the number of the epoch alone, so `step`, the number of
    batches taken, is all that a run needs to continue where it stopped. Images left over at the
    end of an epoch are not used in that epoch: every step sees `batch_size` images.
    """

    def __init__(
        self, images: ImageSet, normalise: Normalisation, batch_size: int, seed: int = 0
    ) -> None:
        self.batch_size = check_int("training", "batch_size", batch_size, 1, LARGEST_SIZE)
        if batch_size > len(images):
            raise ValueError(
                f"training: batch_size is {batch_size}, expected at most the {len(images)} images "
                "of the training set"
            )
        self.per_epoch = len(images) // batch_size
        self.step = 0
        self._images = images
        self._normalise = normalise
        self._generator = Generator(seed)
        self._ordered_epoch = -1

    @property
    def image_shape(self) -> Shape:
        """(height, width, channels)."""
        return self._images.image_shape

    @property
    def highest_label(self) -> int:
        """Largest number of a class that occurs."""
        return int(self._images.labels.max())

    @property
    def epoch(self) -> int:
        """Number of the epoch that the next batch belongs to, from 0."""
        return self.step // self.per_epoch

    def next(self) -> Batch:
        """Take batch number `step` and move on to the following one."""
        if self.epoch != self._ordered_epoch:
            seed = self._generator.seed
            self._generator.state = {"seed": seed, "offset": FIRST_ORDER_STREAM + self.epoch}
            self._order = self._generator.permutation(len(self._images))
            self._ordered_epoch = self.epoch
        first = self.step % self.per_epoch * self.batch_size
        self.step += 1
        return _batch(self._images, self._normalise, self._order[first : first + self.batch_size])
