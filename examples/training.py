"""One training: a folder of photos that this script paints itself, in seconds.

    python examples/training.py [FOLDER]

FOLDER, or a temporary one, gets the photos, red circles on the left and blue ones on the right, and
the run: metrics, curves, filters, checkpoints.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from alexnet.data import open_dataset
from alexnet.training import Configuration, Run


def paint(folder: Path) -> None:
    """Write 32 photos of each class for training and 8 for testing."""
    random = np.random.default_rng(0)
    for part, count in (("train", 32), ("test", 8)):
        for name, colour, left in (("red", (200, 40, 40), 4), ("blue", (40, 40, 200), 16)):
            (folder / part / name).mkdir(parents=True)
            for number in range(count):
                noise = random.integers(80, 176, (32, 32, 3), np.uint8)
                image = Image.fromarray(noise)
                x, y = left + random.integers(4), 10 + random.integers(4)
                ImageDraw.Draw(image).ellipse((x, y, x + 10, y + 10), fill=colour)
                image.save(folder / part / name / f"{number}.png")


def train(folder: Path) -> None:
    """Paint the photos, train on them, and say how it went."""
    paint(folder / "photos")
    dataset = open_dataset(folder / "photos")
    settings = Configuration(variant="cifar10-bn", steps=30, batch_size=16, augment="none")
    run = Run.start(folder / "run", settings, dataset)
    run.train()
    run.close()
    print(f"accuracy on the test images: {run.best_accuracy:.0%}")
    print(*sorted(path.name for path in run.folder.iterdir()))
    assert run.best_accuracy is not None
    assert run.best_accuracy > 0.9


if len(sys.argv) > 1:
    train(Path(sys.argv[1]))
else:
    with tempfile.TemporaryDirectory() as temporary:
        train(Path(temporary))
