"""Image sets on disk and the batches that training and evaluation draw from them."""

from alexnet.data.cifar10 import Cifar10
from alexnet.data.loader import Batch, ImageSet, Normalisation, ShuffledBatches, ordered_batches

__all__ = [
    "Batch",
    "Cifar10",
    "ImageSet",
    "Normalisation",
    "ShuffledBatches",
    "ordered_batches",
]
