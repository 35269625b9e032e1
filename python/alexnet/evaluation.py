"""How well a network classifies a set of images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from alexnet.data import ImageSet, Normalisation, ordered_batches
from alexnet.network import Network

BATCH_SIZE = 100


@dataclass(frozen=True)
class Evaluation:
    """Mean cross-entropy and share of images whose most probable class is the right one."""

    images: int
    loss: float
    accuracy: float


def evaluate(
    network: Network,
    images: ImageSet,
    normalise: Normalisation,
    *,
    batch_size: int = BATCH_SIZE,
    on_batch: Callable[[], None] = lambda: None,
) -> Evaluation:
    """Run every image through the network as in inference.

    The network ends in logits, one for each class. `on_batch` is called after each batch.
    ValueError if there are no images.
    """
    if len(images) == 0:
        raise ValueError("evaluate: the image set is empty")
    loss, correct = 0.0, 0
    for batch in ordered_batches(images, normalise, batch_size):
        logits = network.forward(batch.images)
        mean = network.implementation.softmax_cross_entropy(logits, batch.labels)
        loss += float(mean) * len(batch.labels)
        correct += int((logits.argmax(axis=1) == batch.labels).sum())
        on_batch()
    return Evaluation(len(images), loss / len(images), correct / len(images))
