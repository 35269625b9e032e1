"""A checkpoint of a small run, with something in every field."""

from __future__ import annotations

from alexnet.data import Preprocessing
from alexnet.network.checkpoint import Checkpoint
from alexnet.network.variant import Variant
from alexnet.network.variants import AlexNet
from alexnet.training.optimizers import SGD
from support import cifar_files as files
from support import small_runs

VARIANT: Variant = small_runs.SMALL.with_classes(len(files.CLASSES))
PREPROCESSING = Preprocessing.fit(small_runs.image_set(0, 10), VARIANT.input_shape, augment="paper")


def checkpoint(seed: int = 1) -> Checkpoint:
    network = AlexNet(VARIANT, seed=seed)
    optimizer = SGD(network)
    for array in optimizer.state_dict().values():
        array[...] = seed
    return Checkpoint(
        VARIANT,
        network.tensors(),
        optimizer.state_dict(),
        step=7,
        data={"images": 40, "batch_size": 8, "seed": 3},
        class_names=files.CLASSES,
        preprocessing=PREPROCESSING,
        best_accuracy=0.1 + 0.2,
    )
