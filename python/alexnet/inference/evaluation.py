"""How well a network classifies a set of images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from alexnet.contract.arguments import LARGEST_SIZE, check_callable, check_instance, check_int
from alexnet.data import TEN_CROP_VIEWS, ImageSource, Preprocessing, ordered_batches
from alexnet.data.sources import check_source
from alexnet.inference.prediction import Float64Array, log_probabilities
from alexnet.messages import summarised
from alexnet.network.network import Network

BATCH_SIZE = 100
TOP = 5


@dataclass(frozen=True)
class Evaluation:
    """What the network took the images for.

    Attributes
    ----------
    loss
        Mean cross-entropy, in nats; with ten crops that of the mean probabilities.
    top5_accuracy
        Share of images whose class is among the five most probable ones: 1 for up to five classes.
    confusion
        int64 (classes, classes): in row i and column j, the images of class i taken for class j.

    """

    loss: float
    top5_accuracy: float
    confusion: npt.NDArray[np.int64]

    def __repr__(self) -> str:
        shares = {"accuracy": f"{self.accuracy:.2%}", "top5_accuracy": f"{self.top5_accuracy:.2%}"}
        return summarised(self, images=self.images, **shares, loss=f"{self.loss:.4f}")

    @property
    def images(self) -> int:
        """How many images could be read."""
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        """Share of images whose most probable class is the right one."""
        return int(np.trace(self.confusion)) / self.images

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """Images of each class: int64 (classes,)."""
        return np.asarray(self.confusion.sum(axis=1))

    @property
    def recall(self) -> Float64Array:
        """Share of each class's images that were recognised, NaN where it has none."""
        return self._share_of(self.counts)

    @property
    def precision(self) -> Float64Array:
        """Share of the images taken for each class that are of it, NaN where there are none."""
        return self._share_of(self.confusion.sum(axis=0))

    def _share_of(self, totals: npt.NDArray[np.int64]) -> Float64Array:
        shares = np.full(len(totals), np.nan)
        np.divide(np.diagonal(self.confusion), totals, out=shares, where=totals > 0)
        return shares


def images_per_batch(batch_size: int, *, ten_crop: bool) -> int:
    """How many images `evaluate` takes at a time: as many as give `batch_size` views, or one."""
    views = TEN_CROP_VIEWS if ten_crop else 1
    return max(1, check_int("evaluate", "batch_size", batch_size, 1, LARGEST_SIZE) // views)


def evaluate(
    network: Network,
    images: ImageSource,
    preprocessing: Preprocessing,
    *,
    batch_size: int = BATCH_SIZE,
    ten_crop: bool = False,
    on_batch: Callable[[], None] = lambda: None,
) -> Evaluation:
    """Run every image that can be read through the network as in inference.

    Parameters
    ----------
    network
        Ends in logits, one for each class.
    images, preprocessing
        What to classify, and how that is made the network's input.
    batch_size
        Views that the network sees at a time.
    ten_crop
        Average the probabilities over the four corners, the centre, and their mirror images.
    on_batch
        Called after each batch.

    Raises
    ------
    ValueError
        There are no images, none can be read, they have classes that the network does not, or
        `preprocessing` is for another network.

    """
    check_instance("evaluate", "network", network, Network)
    check_source("evaluate", "images", images)
    check_instance("evaluate", "preprocessing", preprocessing, Preprocessing)
    check_callable("evaluate", "on_batch", on_batch)
    if len(images) == 0:
        raise ValueError("evaluate: the image set is empty")
    highest = int(images.labels.max())
    if len(network.output_shape) != 1 or network.output_shape[0] <= highest:
        raise ValueError(
            f"evaluate: the output of {network.variant.name} is {network.output_shape}, but the "
            f"images have classes up to {highest}"
        )
    size = images_per_batch(batch_size, ten_crop=ten_crop)
    confusion = np.zeros(network.output_shape * 2, np.int64)
    losses, among_top = 0.0, 0
    for batch in ordered_batches(images, preprocessing, size, ten_crop=ten_crop):
        labels = batch.labels
        logs = log_probabilities(network, batch.images, len(batch.images) // len(labels))
        order = np.argsort(-logs, axis=1, kind="stable")
        losses -= float(logs[np.arange(len(labels)), labels].sum())
        among_top += int((order[:, :TOP] == labels[:, None]).sum())
        np.add.at(confusion, (labels, order[:, 0]), 1)
        on_batch()
    count = int(confusion.sum())
    if count == 0:
        raise ValueError("evaluate: no image can be read")
    return Evaluation(losses / count, among_top / count, confusion)
