"""One contender of training_throughput.py: trains for as many seconds as each line of input says.

Each answer is a line of JSON: the steps taken, their seconds, and how many of those went by waiting
for images.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from time import perf_counter
from typing import Any

WARM_UP = 3  # steps at the start of a round, for caches and for batches made while others ran


def _alexnet_step(case: dict[str, Any]) -> Callable[[], float]:
    """Step of our trainer, which returns the seconds that it waited for its batch."""
    from alexnet import Adam, AlexNet, set_num_threads
    from alexnet.data import PhotoSet, Preprocessing, TrainingBatches, open_dataset
    from alexnet.training.trainer import Trainer

    set_num_threads(case["threads"])
    dataset = open_dataset(case["data"])
    images = dataset.train
    if case["contender"] != "alexnet":
        images = PhotoSet(images.paths, images.labels, cache_bytes=0)
    network = AlexNet(case["variant"], seed=1, num_classes=len(dataset.class_names))
    pixel_range = network.variant.pixel_range
    preprocessing = Preprocessing.fit(
        images, network.input_shape, augment="standard", pixel_range=pixel_range
    )
    batches = TrainingBatches(images, preprocessing, case["batch_size"], seed=1)
    trainer = Trainer(network, Adam(network, learning_rate=1e-4), batches)
    return lambda: trainer.step().waited


def _torch_step(case: dict[str, Any]) -> Callable[[], float]:
    from torch_training import make_step

    return make_step(case)


def main() -> None:
    case = json.loads(sys.argv[1])
    is_torch = case["contender"].startswith("torch")
    step = _torch_step(case) if is_torch else _alexnet_step(case)
    for line in sys.stdin:
        for _ in range(WARM_UP):
            step()
        steps, waited, start = 0, 0.0, perf_counter()
        while (elapsed := perf_counter() - start) < float(line):
            waited += step()
            steps += 1
        print(json.dumps({"steps": steps, "seconds": elapsed, "waited": waited}), flush=True)


if __name__ == "__main__":
    main()
