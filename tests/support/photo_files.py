"""Folders of photos for tests, painted with Pillow."""

from __future__ import annotations

import io
import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

CLASSES = ("cat", "dog")


def noise(seed: int, height: int, width: int) -> npt.NDArray[np.uint8]:
    """Blocks of 8 x 8 pixels in random colours: what survives JPEG and resizing."""
    blocks = np.random.default_rng(seed).integers(0, 256, (-(-height // 8), -(-width // 8), 3))
    pixels = blocks.repeat(8, axis=0).repeat(8, axis=1)[:height, :width]
    return pixels.astype(np.uint8)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def write_photo(path: Path, seed: int = 0, height: int = 48, width: int = 60) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise(seed, height, width)).save(path)
    return path


def write_folder(root: Path, per_class: int = 4, test: str | None = "test") -> Path:
    """Write train/cat/0.jpg ... and the same under `test`, every photo another one."""
    seed = 0
    for part in ("train", test):
        for name in CLASSES:
            for number in range(per_class if part else 0):
                seed += 1
                size = 40 + 4 * (seed % 3), 56 - 6 * (seed % 4)
                write_photo(root / str(part) / name / f"{number}.jpg", seed, *size)
    return root


def cut_short(path: Path) -> Path:
    """Keep the first half of the file."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return path


@contextmanager
def no_file_descriptors(seconds: float | None = None) -> Iterator[None]:
    """Let every `open` of this process fail with EMFILE, for so many seconds or to the end."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    over = threading.Event()

    def give_back() -> None:
        over.wait(seconds)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    thread = threading.Thread(target=give_back)
    thread.start()
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        yield
    finally:
        over.set()
        thread.join()
