"""CIFAR-10 directories for tests in the original format: pickles as Python 2 wrote them.

Python 3 cannot write those: its str and bytes have other opcodes. So the opcodes stand here.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

CLASSES = ("dark", "bright", "red")
Pixels = npt.NDArray[np.uint8]


def string(text: str | bytes) -> bytes:
    raw = text.encode() if isinstance(text, str) else text
    if len(raw) < 256:
        return pickle.SHORT_BINSTRING + struct.pack("<B", len(raw)) + raw
    return pickle.BINSTRING + struct.pack("<i", len(raw)) + raw


def integer(value: int) -> bytes:
    return pickle.BININT + struct.pack("<i", value)


def list_of(items: Sequence[bytes]) -> bytes:
    return pickle.EMPTY_LIST + pickle.MARK + b"".join(items) + pickle.APPENDS


def tuple_of(items: Sequence[bytes]) -> bytes:
    return pickle.MARK + b"".join(items) + pickle.TUPLE


def global_of(module: str, name: str) -> bytes:
    return pickle.GLOBAL + f"{module}\n{name}\n".encode()


def called(function: bytes, *arguments: bytes) -> bytes:
    return function + tuple_of(arguments) + pickle.REDUCE


def array(
    content: bytes,
    shape: Sequence[int],
    *,
    dtype: str = "u1",
    order: str = "|",
    module: str = "numpy.core.multiarray",
    fortran: bool = False,
) -> bytes:
    """What Python 2 and NumPy 1 write for an array."""
    return array_with_state(string(content), shape, dtype, order, module, fortran)


def object_array(value: bytes) -> bytes:
    """What they write for an array of one object and no axes."""
    return array_with_state(list_of([value]), (), "O8", "|")


def array_with_state(
    content: bytes,
    shape: Sequence[int],
    dtype: str,
    order: str,
    module: str = "numpy.core.multiarray",
    fortran: bool = False,
) -> bytes:
    none, minus_one = pickle.NONE, integer(-1)
    kind = called(global_of("numpy", "dtype"), string(dtype), integer(0), integer(1))
    flags = integer(63 if dtype.startswith("O") else 0)  # 63: refers to objects
    described = (integer(3), string(order), none, none, none, minus_one, minus_one, flags)
    kind += tuple_of(described) + pickle.BUILD
    empty = called(
        global_of(module, "_reconstruct"),
        global_of("numpy", "ndarray"),
        tuple_of([integer(0)]),
        string("b"),
    )
    flag = pickle.NEWTRUE if fortran else pickle.NEWFALSE
    state = (integer(1), tuple_of([integer(extent) for extent in shape]), kind, flag)
    return empty + tuple_of([*state, content]) + pickle.BUILD


def dictionary(**entries: bytes) -> bytes:
    items = b"".join(string(key) + value for key, value in entries.items())
    return pickle.PROTO + b"\x02" + pickle.EMPTY_DICT + pickle.MARK + items + b"u."


def batch(data: bytes, labels: Sequence[int]) -> bytes:
    return dictionary(data=data, labels=list_of([integer(label) for label in labels]))


def planes(pixels: Pixels) -> bytes:
    """Images (n, 32, 32, 3) as the file's (n, 3072): all red, all green, all blue."""
    return pixels.transpose(0, 3, 1, 2).tobytes()


def batch_of(pixels: Pixels, labels: Sequence[int]) -> bytes:
    return batch(array(planes(pixels), (len(pixels), 3072)), labels)


def easy_images(seed: int, count: int) -> tuple[Pixels, npt.NDArray[np.int64]]:
    """Noise whose mean tells the class."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % len(CLASSES)
    mean = np.array([[60, 60, 60], [190, 190, 190], [190, 60, 60]])[labels]
    noise = generator.integers(-50, 51, (count, 32, 32, 3))
    return (mean[:, None, None, :] + noise).astype(np.uint8), labels.astype(np.int64)


def write_directory(root: Path, per_file: int = 12) -> Path:
    """Write five training batches, the test batch and the class names; return `root`."""
    root.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate([f"data_batch_{k}" for k in range(1, 6)] + ["test_batch"]):
        pixels, labels = easy_images(number, per_file)
        (root / name).write_bytes(batch_of(pixels, labels.tolist()))
    names = list_of([string(name) for name in CLASSES])
    (root / "batches.meta").write_bytes(dictionary(label_names=names, num_vis=integer(3072)))
    return root
