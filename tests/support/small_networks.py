"""AlexNet's variants made small enough for the reference to run in a moment."""

from __future__ import annotations

from alexnet.network.variant import Variant
from alexnet.network.variants import variant_named

# The smallest images whose last pool still has a window, or nearly; slim-v2 needs 5x5 for fc6.
IMAGE_SIZES = {
    "tf-tutorial": 61,
    "tf-small": 61,
    "tf-full": 61,
    "pytorch-227": 67,
    "cifar10-bn": 16,
    "krizhevsky-2012": 64,
    "caffe": 67,
    "torchvision": 63,
    "slim-v2": 195,
}


def small_variant(name: str) -> Variant:
    return variant_named(name).shrunk(image_size=IMAGE_SIZES[name], width=1 / 32)
