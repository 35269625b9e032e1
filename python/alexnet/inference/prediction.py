"""What a trained network takes images for: probabilities of the classes.

    model = load_model("runs/cifar10-bn-1")
    probabilities = predict(model, "cat.jpg")
    top_classes(probabilities, model.class_names, 3)  # [("cat", 0.93), ("fox", 0.04), ...]

`alexnet predict` is this as a command.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from alexnet.arrays import array_kind
from alexnet.contract.arguments import (
    LARGEST_SIZE,
    AnyArray,
    check_array,
    check_flag,
    check_instance,
    check_int,
    check_ndim,
)
from alexnet.data import TEN_CROP_VIEWS, read_image
from alexnet.data.photos import as_pixels
from alexnet.data.sources import Pixels
from alexnet.messages import shown
from alexnet.network.checkpoint import TrainedModel
from alexnet.network.network import Network

Float64Array: TypeAlias = npt.NDArray[np.float64]
Picture: TypeAlias = str | os.PathLike[str] | Image.Image | Pixels

FILES = (str, os.PathLike)


def log_probabilities(network: Network, views: AnyArray, views_per_image: int = 1) -> Float64Array:
    """Logarithms of the probabilities that the network gives to the classes of each image.

    Parameters
    ----------
    network
        Ends in logits, one for each class; run as in inference.
    views
        (images * views_per_image, *network.input_shape), float32, those of an image next to each
        other. The probabilities are their mean over the views of an image.

    Returns
    -------
    float64 (images, classes). No probability becomes 0 by rounding, however sure the network is.

    Raises
    ------
    ValueError
        The views are not of the network's shape.

    """
    check_instance("log_probabilities", "network", network, Network)
    count = check_int("log_probabilities", "views_per_image", views_per_image, 1, LARGEST_SIZE)
    check_array("log_probabilities", "views", views, ("float32", "float64"))
    if views.shape[:1] != (len(views) // count * count,):
        raise ValueError(
            f"log_probabilities: views has shape {views.shape}, expected a multiple of "
            f"views_per_image, {count}, of them"
        )
    arrays = array_kind(network.implementation)
    logits = arrays.to_host(network.forward(arrays.from_host(views))).astype(np.float64)
    with np.errstate(invalid="ignore"):  # what is NaN stays NaN
        each = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
        each = each.reshape(-1, views_per_image, logits.shape[1])
        mean: Float64Array = np.logaddexp.reduce(each, axis=1) - np.log(views_per_image)
    return mean


def predict(
    model: TrainedModel, images: Picture | Sequence[Picture], *, ten_crop: bool = False
) -> Float64Array:
    """Probabilities of the classes of an image, or of each of several.

    Parameters
    ----------
    model
        What `load_model` gave, with its preprocessing.
    images
        A file, an image of Pillow, or pixels, uint8 (height, width, 3), red, green, blue; or a
        sequence of those, such as an array (images, height, width, 3). Each is brought to the size
        that the model's preprocessing takes, in its proportions.
    ten_crop
        Average over the four corners, the centre, and their mirror images, instead of the centre.

    Returns
    -------
    float64 (classes,) of one image, (images, classes) of a sequence.

    Raises
    ------
    TypeError
        An image is of another kind, or its pixels are not uint8.
    ValueError
        The model has no preprocessing or does not end in classes or, as `UnreadableImageError`, a
        file is no image.
    OSError
        A file cannot be opened.

    """
    if not isinstance(model, TrainedModel):
        raise TypeError(
            f"predict: model is {shown(model)}, expected a TrainedModel: alexnet.load_model reads "
            "one, a network with how images are prepared for it"
        )
    check_flag("predict", "ten_crop", ten_crop)
    is_one = isinstance(images, (*FILES, Image.Image)) or getattr(images, "ndim", 0) in (2, 3)
    pictures: Any = [images] if is_one else images
    if not isinstance(pictures, Sequence | np.ndarray) or isinstance(pictures, bytes | bytearray):
        raise TypeError(
            f"predict: images is {shown(images)}, expected a file, an image, pixels, or a sequence "
            "of these"
        )
    if model.preprocessing is None:
        raise ValueError(
            "predict: the model does not say how images are prepared for it; a checkpoint of "
            "alexnet train does"
        )
    network, views = model.network, TEN_CROP_VIEWS if ten_crop else 1
    if len(network.output_shape) != 1:
        raise ValueError(
            f"predict: the output of {network.variant.name} is {network.output_shape}, expected "
            "one number for each class"
        )
    probabilities = np.empty((len(pictures), *network.output_shape))
    side = model.preprocessing.shortest_side
    for row, picture in zip(probabilities, pictures, strict=True):
        is_file = isinstance(picture, FILES)
        pixels = read_image(picture, side) if is_file else as_pixels(picture, side)
        batch = model.preprocessing.evaluation_views([pixels], ten_crop=ten_crop)
        row[...] = np.exp(log_probabilities(network, batch, views)[0])
    return probabilities[0] if is_one else probabilities


def top_classes(
    probabilities: Float64Array, class_names: Sequence[str] | None, count: int = 5
) -> list[tuple[str, float]]:
    """Names and probabilities of the most probable classes of one image, the first one first.

    Parameters
    ----------
    probabilities
        (classes,).
    class_names
        In their order, such as `TrainedModel.class_names`, or `alexnet.imagenet_classes()`; where
        it is None, the numbers of the classes from 0.
    count
        How many, at least 1; all of them if there are fewer.

    Raises
    ------
    ValueError
        There are not as many names as probabilities, or `count` is below 1.

    """
    count = check_int("top_classes", "count", count, 1, LARGEST_SIZE)
    probabilities = np.asarray(probabilities)
    check_ndim("top_classes", "probabilities", probabilities.shape, ("classes",))
    if class_names is not None:
        check_instance("top_classes", "class_names", class_names, Sequence)
    names = [str(number) for number in range(len(probabilities))]
    if class_names is not None and len(class_names) != len(names):
        raise ValueError(f"top_classes: {len(class_names)} names for {len(names)} classes")
    order = np.argsort(-probabilities, kind="stable")[:count]
    return [((class_names or names)[number], float(probabilities[number])) for number in order]
