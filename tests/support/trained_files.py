"""What a reader of the documents has: the folder of a run, and photos."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from alexnet.data import ImageSet, Preprocessing
from alexnet.network.checkpoint import BEST, Checkpoint
from alexnet.network.variants import AlexNet


def write_run(folder: Path) -> None:
    """Best checkpoint of cifar10-bn, as it is before its training."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3)).astype(np.uint8)
    network = AlexNet("cifar10-bn")
    preprocessing = Preprocessing.fit(ImageSet(pixels, np.zeros(20, np.int64)), network.input_shape)
    folder.mkdir(parents=True)
    Checkpoint(
        network.variant,
        network.tensors(),
        class_names=tuple(f"class {number}" for number in range(10)),
        preprocessing=preprocessing,
    ).write(folder / BEST)


def write_photos(*paths: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (60, 80, 3)).astype(np.uint8)
    for path in paths:
        Image.fromarray(pixels).save(path)
