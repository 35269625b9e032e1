"""What a file that was given for weights seems to be, by its first bytes, and what to do then."""

from __future__ import annotations

import errno
import os
import pickle
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

START = 1024  # bytes that are looked at
MOST_ENTRIES = 10_000  # of an archive; a checkpoint has one for each array, and a few
CHUNK = 2**20  # bytes

READ_HERE = (
    "alexnet convert reads .safetensors files, the .pth files of torch.save and Caffe's .npy"
)
# Names of formats of weights, and of what people pack them in.
SUFFIXES = frozenset(
    (
        *(".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".npy", ".npz", ".h5", ".hdf5", ".keras"),
        *(".onnx", ".caffemodel", ".pb", ".tflite", ".gguf", ".mat", ".pkl", ".pickle"),
        *(".zip", ".tar", ".gz", ".tgz"),
    )
)


class Kind(NamedTuple):
    """A kind of file, and what to do with one."""

    name: str
    advice: str


TORCH = Kind("a file of torch.save", "alexnet convert makes one of ours of it")
TORCH_SCRIPT = Kind(
    "a TorchScript model", "load it with torch.jit.load and save its state_dict() with torch.save"
)
NUMPY_ARRAY = Kind("a NumPy file (.npy)", "alexnet convert makes one of ours of it, if Caffe's")
NUMPY_ARCHIVE = Kind(
    "an archive of NumPy arrays (.npz)",
    "write its arrays with safetensors.numpy.save_file, under the names of torchvision's AlexNet",
)
KERAS = Kind("a Keras model (.keras)", "write its weights with safetensors.numpy.save_file instead")
ZIP = Kind("a ZIP archive", "unpack it")
PICKLE = Kind(
    "a pickle of Python", "save the weights with safetensors, or the state_dict() with torch.save"
)
_UNPACK = "unpack it"
_AGAIN = "download or copy it again"

# First bytes, what they stand for, and what to do.
_STARTS: tuple[tuple[bytes, Kind], ...] = (
    (b"version https://git-lfs", Kind("a Git LFS pointer", "git lfs pull fetches the file itself")),
    (
        b"\x89HDF\r\n\x1a\n",
        Kind(
            "an HDF5 file (.h5 of Keras, .mat of MATLAB)",
            "write its arrays with safetensors.numpy.save_file, under the names of torchvision's "
            "AlexNet",
        ),
    ),
    (b"\x93NUMPY", NUMPY_ARRAY),
    (b"\x1f\x8b\x08", Kind("a gzip archive", _UNPACK)),
    (b"BZh", Kind("a bzip2 archive", _UNPACK)),
    (b"\xfd7zXZ\x00", Kind("an xz archive", _UNPACK)),
    (b"\x28\xb5\x2f\xfd", Kind("a Zstandard archive", _UNPACK)),
    (b"7z\xbc\xaf\x27\x1c", Kind("a 7z archive", _UNPACK)),
    (b"Rar!\x1a\x07", Kind("a RAR archive", _UNPACK)),
    (b"GGUF", Kind("a GGUF file", READ_HERE)),
    (b"MATLAB ", Kind("a MATLAB file (.mat)", READ_HERE)),
    (b"\x89PNG\r\n\x1a\n", Kind("a PNG image", READ_HERE)),
    (b"\xff\xd8\xff", Kind("a JPEG image", READ_HERE)),
    (b"%PDF", Kind("a PDF document", READ_HERE)),
    (b"\x7fELF", Kind("a program", READ_HERE)),
)
_HTML = Kind("a page of the web (HTML)", f"the link was to a page about the file: {_AGAIN}")
_ONNX = Kind(
    "a protocol buffer, as .onnx files are",
    "export the weights with PyTorch, or by safetensors.numpy.save_file under the names of "
    "torchvision's AlexNet",
)
_GRAPH = Kind(
    "a protocol buffer, as TensorFlow's .pb files are",
    "write its weights with safetensors.numpy.save_file instead",
)
_CAFFE_MODEL = Kind(
    "a protocol buffer, as .caffemodel files are",
    "convert it to the .npy form first, by caffe-tensorflow say",
)


def check_suffix(path: str | os.PathLike[str], kind: str, own: str) -> None:
    """ValueError if `path`, which is to become a file of `kind`, ends as those of another do."""
    suffix = Path(path).suffix.lower()
    if suffix in SUFFIXES and suffix != own:
        raise ValueError(
            f"{path}: would be {kind}, and {suffix} is the name of another format: call it {own}; "
            "alexnet convert writes .pth and .npy files"
        )


def kind_of(file: BinaryIO) -> Kind | None:
    """Kind of the file, None where nothing is known of its first bytes; it is read from anew."""
    file.seek(0)
    start = file.read(START)
    if not start.strip(b"\0"):
        return Kind("only zeros" if start else "an empty file", _AGAIN)
    if start[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return _kind_of_zip(file)
    for first, kind in _STARTS:
        if start.startswith(first):
            return kind
    if start[257:262] == b"ustar":
        return Kind("a tar archive", _UNPACK)
    if start[4:8] == b"TFL3":
        return Kind("a TensorFlow Lite model", READ_HERE)
    if re.match(rb"\x80[\x02-\x05][^\0]", start):
        return TORCH if is_old_torch(start) else PICKLE
    if re.match(rb"\s*<(!doctype\s+html|html|head|body|\?xml)", start, re.IGNORECASE):
        return _HTML
    return _kind_of_message(start) or _kind_of_text(start)


def is_old_torch(start: bytes) -> bool:
    """Whether a pickle is the number that torch.save began its files with before PyTorch 1.6."""
    return re.match(rb"\x80.(\x95.{8})?\x8a\x0a\x6c\xfc\x9c\x46", start, re.DOTALL) is not None


@contextmanager
def damage_as_value_error() -> Iterator[None]:
    """Make a ValueError of what a damaged or hostile archive or pickle raises, depending on it."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.EINVAL:  # of a place before the beginning of the file
            raise
        raise ValueError("it tells of a place that it has not") from error
    except (
        EOFError,
        NotImplementedError,
        OverflowError,
        RuntimeError,
        struct.error,
        pickle.UnpicklingError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise ValueError(f"{error!s:.300}" or type(error).__name__) from error


def _kind_of_zip(file: BinaryIO) -> Kind:
    if _most_entries(file) > MOST_ENTRIES:
        return Kind(f"a ZIP archive of more than {MOST_ENTRIES:,} files", READ_HERE)
    try:
        with damage_as_value_error(), zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except ValueError:
        return Kind("a ZIP archive, as torch.save writes, cut short or damaged", _AGAIN)
    last = {name.rpartition("/")[2] for name in names}
    if "data.pkl" in last:
        return TORCH_SCRIPT if "constants.pkl" in last else TORCH
    if any(name.endswith(".npy") for name in last):
        return NUMPY_ARCHIVE
    return KERAS if "model.weights.h5" in last else ZIP


def _most_entries(file: BinaryIO) -> int:
    """Count the places where an entry of an archive's directory may begin.

    Python's reader makes an object of each, ten times as large as it is in the file.
    """
    file.seek(0)
    count, tail = 0, b""
    while chunk := file.read(CHUNK):
        count += (tail + chunk).count(b"PK\x01\x02")
        tail = chunk[-3:]
    return count


def _kind_of_message(start: bytes) -> Kind | None:
    """Tell protocol buffers apart, by their first fields.

    ONNX has a version and a producer, Caffe a name or layers (field 100), and a graph of TensorFlow
    a node with the name of its operation.
    """
    if re.match(rb"\x08[\x01-\x20][\x12\x1a\x3a\x42]", start):
        return _ONNX
    if re.match(rb"\x0a[^\0]{1,5}\x0a[\x01-\x7f][\w./-]+\x12[\x01-\x7f][A-Z]\w", start):
        return _GRAPH
    if start.startswith(b"\xa2\x06"):
        return _CAFFE_MODEL
    if match := re.match(rb"\x0a([\x01-\x7f])([ -~]+)", start):
        length, name = match[1][0], match[2]
        if length <= len(name) and start[2 + length : 3 + length] in (b"\x12", b"\x1a", b"\xa2"):
            return _CAFFE_MODEL
    return None


def _kind_of_text(start: bytes) -> Kind | None:
    try:
        text = start.decode("utf-8", "strict" if len(start) < START else "ignore")
    except UnicodeDecodeError:
        return None
    if all(character.isprintable() or character.isspace() for character in text):
        return Kind("text", READ_HERE)
    return None
