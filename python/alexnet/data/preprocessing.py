"""From pixels to what the network sees: cropping, mirroring, colour noise, normalisation.

Krizhevsky, Sutskever, Hinton, "ImageNet classification with deep convolutional neural networks",
2012, section 4.1, for photos; for images of the network's own size the padded crops of He, Zhang,
Ren, Sun, "Deep residual learning for image recognition", 2016, section 4.2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from alexnet.contract.arguments import (
    Shape,
    check_extent_tuple,
    check_range,
)
from alexnet.data.sources import (
    ImageSource,
    Pixels,
    UnreadableImageError,
    check_pixels,
    check_source,
)
from alexnet.files.descriptions import Entry
from alexnet.messages import shown
from alexnet.random import Generator

Images: TypeAlias = npt.NDArray[np.float32]
Float64Array: TypeAlias = npt.NDArray[np.float64]
Triple: TypeAlias = tuple[float, float, float]

AUGMENTATIONS = ("none", "standard", "paper")
CHANNELS = 3
BRIGHTEST = 255  # value of a pixel
PADDING = 4  # pixels on each side of an image of the network's own size
COLOUR_STDDEV = 0.1
SAMPLE = 1000  # images that mean, deviation and colours are computed from, at most
SAMPLE_STREAM = 2**63 + 2**62  # stream of random numbers; initialisation's begin at 0
TEN_CROP_VIEWS = 10
# What a description may have: beyond, a view is nothing but mean colour, or no float32.
LARGEST_PADDING = 2**16
SMALLEST_STDDEV, LARGEST_NUMBER = 1e-6, 1e6


@dataclass(frozen=True)
class Preprocessing:
    """How images become the network's input; a checkpoint holds it, so that both stay together.

    Attributes
    ----------
    input_size
        (height, width) of the network's input.
    shortest_side
        What the shorter of height and width of a photo is resized to.
    padding
        Rows and columns, of the mean colour, that crops may reach beyond the image on each side.
    augment
        "none": training sees the centre crop, as evaluation does. "standard": a random crop, half
        of them mirrored. "paper": colour noise as well.
    mean, stddev
        Of red, green and blue in 0 .. 255, as measured, or as the network's range of inputs says.
        The input is (pixel - mean) / stddev.
    components, eigenvalues
        Principal components of the colours, one in each row, and the variances along them, of
        pixels in 0 .. 1. Colour noise adds to every pixel of an image the sum over k of
        a_k * eigenvalues[k] * components[k], with a_k normal of standard deviation 0.1.
    """

    input_size: tuple[int, int]
    shortest_side: int
    padding: int
    augment: str
    mean: Triple
    stddev: Triple
    components: tuple[Triple, Triple, Triple]
    eigenvalues: Triple

    @classmethod
    def fit(
        cls,
        source: ImageSource,
        input_shape: Shape,
        *,
        augment: str = "none",
        seed: int = 0,
        pixel_range: tuple[float, float] | None = None,
        on_image: Callable[[], None] = lambda: None,
    ) -> Preprocessing:
        """Choose sizes for `input_shape`, (height, width, 3), and compute the colours' statistics.

        They are computed from all images of `source`, or 1000 drawn at random if it has more;
        `on_image` is called for each of these, since reading photos takes seconds.
        `pixel_range`, such as a `Variant` has, is what the pixel values 0 and 255 become, instead
        of what follows from the images' mean and deviation: (-1, 1) for pixel / 127.5 - 1.

        Raises
        ------
        ValueError
            `augment` is unknown, `source` has images of another shape, none that can be read, or a
            channel with the same value everywhere; `pixel_range` does not ascend.
        TypeError
            `pixel_range` is no pair of numbers.
        """
        check_source("preprocessing", "source", source)
        if not isinstance(augment, str) or augment not in AUGMENTATIONS:
            raise _unknown_augmentation(augment)
        input_shape = check_extent_tuple("preprocessing", "input_shape", input_shape)
        if len(input_shape) != 3 or input_shape[2] != CHANNELS:
            raise ValueError(
                f"preprocessing: input_shape is {input_shape}, expected (height, width, {CHANNELS})"
            )
        if source.image_shape not in (None, tuple(input_shape)):
            raise ValueError(
                f"preprocessing: images are {source.image_shape}, but the network takes "
                f"{tuple(input_shape)} (height, width, channels)"
            )
        size = input_shape[0], input_shape[1]
        own_size = source.image_shape is not None
        side = min(size) if own_size else _shortest_side(max(size))
        mean, covariance = _colour_statistics(source, side, seed, on_image)
        if not (np.diag(covariance) > 0).all():
            raise ValueError("preprocessing: a channel has the same value in every image")
        stddev = np.sqrt(np.diag(covariance))
        if pixel_range is not None:
            low, high = check_range("preprocessing", "pixel_range", pixel_range)
            stddev = np.full(CHANNELS, BRIGHTEST / (high - low))
            mean = -low * stddev
        eigenvalues, vectors = np.linalg.eigh(covariance / BRIGHTEST**2)
        return cls(
            input_size=size,
            shortest_side=side,
            padding=PADDING if own_size else 0,
            augment=augment,
            mean=_triple(mean),
            stddev=_triple(stddev),
            components=(_triple(vectors[:, 0]), _triple(vectors[:, 1]), _triple(vectors[:, 2])),
            eigenvalues=_triple(eigenvalues),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values, from which `from_json` makes the same preprocessing."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Preprocessing:
        """Make it from what `to_json` gave, after a trip through JSON or not.

        Raises
        ------
        ValueError
            A value is missing, unknown or not what it may be; the message names it.
        """
        return cls.from_entry(Entry("preprocessing", values))

    @classmethod
    def from_entry(cls, entry: Entry) -> Preprocessing:
        """Make it from what `to_json` gave, as a part of a larger description; see `from_json`."""
        given = entry.fields([field.name for field in fields(cls)])
        height, width = given["input_size"].items(2)
        first, second, third = given["components"].items(CHANNELS)
        return cls(
            input_size=(height.integer(1), width.integer(1)),
            shortest_side=given["shortest_side"].integer(1),
            padding=given["padding"].integer(0, LARGEST_PADDING),
            augment=given["augment"].choice(AUGMENTATIONS),
            mean=_numbers(given["mean"]),
            stddev=_numbers(given["stddev"], SMALLEST_STDDEV),
            components=(_numbers(first), _numbers(second), _numbers(third)),
            eigenvalues=_numbers(given["eigenvalues"]),
        )

    @property
    def input_shape(self) -> Shape:
        """(height, width, channels) of the network's input."""
        return (*self.input_size, CHANNELS)

    def draw(self, generator: Generator, images: int) -> Float64Array:
        """Draw what `training_views` needs for each image: (images, 6), two streams.

        Numbers in [0, 1) for row, column and mirroring, then normal ones for the colours.
        """
        places = generator.uniform((images, 3))
        return np.hstack([places, generator.normal((images, CHANNELS), COLOUR_STDDEV)])

    def training_views(self, images: Sequence[Pixels], drawn: Float64Array) -> Images:
        """One view of each image, as `augment` says: float32 (images, height, width, 3).

        `drawn` are the numbers from `draw`, those of one image in each row.
        """
        if self.augment == "none":
            return self.evaluation_views(images)
        pixels = self._empty(len(images))
        places = drawn[:, :3].tolist()
        for view, image, (down, right, mirror) in zip(pixels, images, places, strict=True):
            rows, columns = self._slack(image)
            top = int(down * (rows + 1)) - self.padding
            left = int(right * (columns + 1)) - self.padding
            _crop(view, image, top, left, mirrored=mirror < 0.5)
        if self.augment == "standard":
            return self._normalise(pixels)
        colours = BRIGHTEST * (drawn[:, 3:] * self.eigenvalues) @ np.array(self.components)
        return self._normalise(pixels, colours)

    def evaluation_views(self, images: Sequence[Pixels], *, ten_crop: bool = False) -> Images:
        """Centre crops: float32 (images, height, width, 3).

        With `ten_crop`, (10 * images, height, width, 3): the four corners and the centre, then
        their mirror images, of the first image, then of the second, and so on. The corners are
        those of the padded image.
        """
        views = TEN_CROP_VIEWS if ten_crop else 1
        pixels = self._empty(views * len(images))
        for first, image in zip(range(0, len(pixels), views), images, strict=True):
            rows, columns = self._slack(image)
            places = [(rows // 2, columns // 2)]
            if ten_crop:
                places = [(0, 0), (0, columns), (rows, 0), (rows, columns), *places]
            for number, (down, right) in enumerate(places):
                top, left = down - self.padding, right - self.padding
                _crop(pixels[first + number], image, top, left)
                if ten_crop:
                    _crop(pixels[first + 5 + number], image, top, left, mirrored=True)
        return self._normalise(pixels)

    def _empty(self, count: int) -> Pixels:
        """Make room for views; where crops reach beyond the image, it has the mean colour."""
        height, width = self.input_size
        rows = np.empty((count, height, width * CHANNELS), np.uint8)
        if self.padding:
            rows[...] = np.tile(np.rint(self.mean).astype(np.uint8), width)
        return rows.reshape(count, height, width, CHANNELS)

    def _slack(self, image: Pixels) -> tuple[int, int]:
        """By how many rows and columns the padded image is larger than a view of it."""
        check_pixels("preprocessing", "image", image)
        height, width = self.input_size
        rows = image.shape[0] + 2 * self.padding - height
        columns = image.shape[1] + 2 * self.padding - width
        if rows < 0 or columns < 0:
            raise ValueError(
                f"preprocessing: image is {image.shape}, expected at least {self.input_size}"
            )
        return rows, columns

    def _normalise(self, pixels: Pixels, colours: Float64Array | None = None) -> Images:
        """(pixel + colour of its image - mean) / stddev.

        Whole rows at a time: NumPy is slow at loops over three channels.
        """
        count, height, width, channels = pixels.shape
        scale = 1 / np.array(self.stddev)
        offset = (np.zeros((1, channels)) if colours is None else colours) - self.mean
        scales = np.tile(scale, width).astype(np.float32)
        offsets = np.tile(offset * scale, width).astype(np.float32)
        rows = pixels.reshape(count, height, width * channels).astype(np.float32)
        rows *= scales
        rows += offsets[:, None, :]
        return rows.reshape(pixels.shape)


def _crop(view: Pixels, image: Pixels, top: int, left: int, *, mirrored: bool = False) -> None:
    """Fill `view` from `image` at (top, left), which may lie outside; the rest stays as it is."""
    height, width = view.shape[:2]
    inside = image[max(top, 0) : top + height, max(left, 0) : left + width]
    if mirrored:
        view = view[:, ::-1]
    top, left = max(-top, 0), max(-left, 0)
    view = view[top : top + inside.shape[0], left : left + inside.shape[1]]
    if not mirrored:
        view[...] = inside
        return
    for channel in range(CHANNELS):  # ten times as fast as pixels of three bytes in reverse
        view[:, :, channel] = inside[:, :, channel]


def _shortest_side(size: int) -> int:
    """256 for inputs of 224 and 227, as everyone has it; the margin of 224 for others."""
    return 256 if size in (224, 227) else size * 8 // 7


def _colour_statistics(
    source: ImageSource, shortest_side: int, seed: int, on_image: Callable[[], None]
) -> tuple[Float64Array, Float64Array]:
    """Mean (3,) and covariance (3, 3) of the pixels; sums of integers, so float64 is exact."""
    generator = Generator(seed)
    generator.state = {"seed": seed, "offset": SAMPLE_STREAM}
    count, total, products = 0, np.zeros(CHANNELS), np.zeros((CHANNELS, CHANNELS))
    for position in generator.permutation(len(source))[:SAMPLE]:
        on_image()
        try:
            image = source.read(int(position), shortest_side)
        except UnreadableImageError:
            continue
        values = image.reshape(-1, CHANNELS).astype(np.float64)
        count += len(values)
        total += values.sum(axis=0)
        products += values.T @ values
    if count == 0:
        raise ValueError("preprocessing: the image set is empty")
    mean = total / count
    return mean, products / count - np.outer(mean, mean)


def _triple(values: Float64Array) -> Triple:
    red, green, blue = (float(value) for value in values)
    return red, green, blue


# --- what a checkpoint holds ----------------------------------------------------------------------


def _unknown_augmentation(augment: object) -> ValueError:
    return ValueError(
        f"preprocessing: augment is {shown(augment)}, expected {', '.join(AUGMENTATIONS)}"
    )


def _numbers(entry: Entry, low: float = -LARGEST_NUMBER, high: float = LARGEST_NUMBER) -> Triple:
    red, green, blue = (item.number(low, high) for item in entry.items(CHANNELS))
    return red, green, blue
