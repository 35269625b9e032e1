"""Weights in files: safetensors, with the network's description in the metadata.

A file holds arrays and text, nothing that runs when it is read. It appears under its name only
when it is whole: it is written beside it, synced, and renamed.

The package safetensors is not used, because its writer orders the metadata at random, so that the
same network gives other bytes each time, and tells a full disk without its number. Its reader takes
a header that has a key twice, and maps files, so that one that is cut short meanwhile ends the
process with SIGBUS.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from alexnet.contract.arguments import AnyArray, Shape
from alexnet.files import open_regular, replacing
from alexnet.files.descriptions import LARGEST, Entry, parse
from alexnet.files.kinds import READ_HERE, check_suffix, kind_of
from alexnet.messages import shown
from alexnet.network.variant import Variant

VARIANT_KEY = "alexnet.variant"
DTYPES = {  # of NumPy, by their names in the files
    **{np.dtype(f"f{size}"): f"F{8 * size}" for size in (2, 4, 8)},
    **{np.dtype(f"i{size}"): f"I{8 * size}" for size in (1, 2, 4, 8)},
    **{np.dtype(f"u{size}"): f"U{8 * size}" for size in (1, 2, 4, 8)},
    np.dtype(bool): "BOOL",
}
_NAMED = {name: dtype.newbyteorder("<") for dtype, name in DTYPES.items()}
HEADER_ALIGNMENT = 8  # bytes
LENGTH_BYTES = 8  # of the header's length, at the beginning of a file
MOST_AXES = 16


def write_tensors(
    path: str | os.PathLike[str],
    tensors: Mapping[str, AnyArray],
    metadata: Mapping[str, str],
    *,
    previous: Path | None = None,
) -> None:
    """Write a safetensors file; `path` holds the earlier file or the whole new one at any moment.

    The same tensors and metadata give the same bytes, whatever their order: safetensors' own writer
    orders the metadata at random, and takes a copy of everything. `previous`, a name in the same
    file system, keeps the earlier file.

    Raises
    ------
    OSError
        It could not be written, for want of space or permission; an earlier file is untouched.
    ValueError
        The files have no name for an array's dtype, or the name is one of another format.
    """
    check_suffix(path, "a safetensors file", ".safetensors")
    # The largest elements first, so that each array lies at a multiple of its element's size.
    names = sorted(tensors, key=lambda name: (-tensors[name].itemsize, name))
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))}
    end = 0
    for name in names:
        array = tensors[name]
        dtype = array.dtype.newbyteorder("=")
        if dtype not in DTYPES:
            raise ValueError(f"{path}: {name} has dtype {dtype}, which safetensors files lack")
        start, end = end, end + array.nbytes
        header[name] = {
            "dtype": DTYPES[dtype],
            "shape": list(array.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % HEADER_ALIGNMENT)
    with replacing(path, previous=previous) as file:
        file.write(len(text).to_bytes(LENGTH_BYTES, "little") + text)
        for name in names:
            little_endian = tensors[name].dtype.newbyteorder("<")
            file.write(
                np.ascontiguousarray(tensors[name], little_endian).reshape(-1).view("u1").data
            )


def read_tensors(path: str | os.PathLike[str]) -> tuple[dict[str, AnyArray], dict[str, str]]:
    """Arrays and metadata of a safetensors file.

    Raises
    ------
    ValueError
        It is no regular file, no safetensors file, or not a whole one; where it seems to be of
        another kind, the message says so.
    OSError
        It cannot be opened.
    """
    with open_regular(path) as file:
        entries, metadata, start = _header_of(path, file)
        try:
            tensors = {entry.name: _array(file, start, entry) for entry in entries}
        except EOFError as error:
            raise ValueError(f"{path}: not a whole safetensors file: {error}") from error
    return tensors, metadata


def read_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """Metadata of a safetensors file, with the errors of `read_tensors`; no array is read."""
    with open_regular(path) as file:
        return _header_of(path, file)[1]


class _Tensor(NamedTuple):
    """An array in a file, as the header describes it."""

    name: str
    dtype: np.dtype[Any]
    shape: Shape
    begin: int
    end: int


def _header_of(
    path: str | os.PathLike[str], file: BinaryIO
) -> tuple[list[_Tensor], dict[str, str], int]:
    try:
        return _header(file, os.fstat(file.fileno()).st_size)
    except ValueError as error:
        file.seek(LENGTH_BYTES)
        begins_as_header = file.read(1) in (b"{", b"")
        if kind := kind_of(file):
            reason = f"it is {kind.name}; {kind.advice}"
        else:
            reason = str(error) if begins_as_header else f"it is of no kind known here; {READ_HERE}"
        raise ValueError(f"{path}: not a whole safetensors file: {reason}") from error


def _header(file: BinaryIO, size: int) -> tuple[list[_Tensor], dict[str, str], int]:
    """Arrays and metadata that the header of a file of so many bytes has, and where it ends.

    The arrays lie one after the other behind it, without a gap, to the end of the file: so no
    header can ask for more memory than the file has.
    """
    if size < LENGTH_BYTES:
        raise ValueError(f"it has {size} bytes")
    length = int.from_bytes(file.read(LENGTH_BYTES), "little")
    start = LENGTH_BYTES + length
    if start > size:
        raise ValueError(f"its header should have {length:,} bytes, and the file has {size:,}")
    if length > LARGEST:
        raise ValueError(f"its header has {length:,} bytes, expected at most {LARGEST:,}")
    described = Entry("", parse(file.read(length))).entries()
    given = described.pop("__metadata__", Entry("", {})).entries()
    metadata = {key: entry.text() for key, entry in given.items()}
    tensors = sorted(
        (_described_tensor(name, entry) for name, entry in described.items()),
        key=lambda tensor: (tensor.begin, tensor.end),
    )
    place = 0
    for tensor in tensors:
        if tensor.begin != place:
            raise ValueError(f"{shown(tensor.name)} begins at byte {tensor.begin}, not at {place}")
        place = tensor.end
    if start + place != size:
        raise ValueError(f"its arrays end at byte {start + place:,}, and the file has {size:,}")
    return tensors, metadata, start


def _described_tensor(name: str, entry: Entry) -> _Tensor:
    Entry("the name of an array", name).name()
    fields = entry.fields(("dtype", "shape", "data_offsets"))
    dtype = _NAMED[fields["dtype"].choice(_NAMED)]
    shape = tuple(extent.integer() for extent in fields["shape"].items(longest=MOST_AXES))
    begin, end = (place.integer(0, 2**63) for place in fields["data_offsets"].items(2))
    if math.prod(max(extent, 1) for extent in shape) >= 2**63:  # of an array without elements
        raise ValueError(f"{entry.where}.shape is {shape}, which is too large")
    if end - begin != math.prod(shape) * dtype.itemsize:
        raise ValueError(
            f"{entry.where} has {end - begin} bytes for the shape {shape} of {dtype.name}"
        )
    return _Tensor(name, dtype, shape, begin, end)


def _array(file: BinaryIO, start: int, tensor: _Tensor) -> AnyArray:
    array = np.empty(tensor.shape, tensor.dtype)
    file.seek(start + tensor.begin)
    if file.readinto(array.reshape(-1).view(np.uint8)) != array.nbytes:  # type: ignore[attr-defined]
        raise EOFError(f"{tensor.name} is cut short")
    return array


def write(
    path: str | os.PathLike[str],
    variant: Variant,
    tensors: Mapping[str, AnyArray],
    metadata: Mapping[str, str] | None = None,
    *,
    previous: Path | None = None,
) -> None:
    """Write a network's arrays, by full name, with the description of its variant.

    `metadata` is further text for the file's metadata; `previous` as in `write_tensors`.
    """
    described = {"format": "np", VARIANT_KEY: variant.to_json(), **(metadata or {})}
    write_tensors(path, tensors, described, previous=previous)


def read(path: str | os.PathLike[str]) -> tuple[Variant, dict[str, AnyArray]]:
    """Read the variant and the arrays that `write` wrote; see `read_described`."""
    variant, tensors, _ = read_described(path)
    return variant, tensors


def read_described(
    path: str | os.PathLike[str],
) -> tuple[Variant, dict[str, AnyArray], dict[str, str]]:
    """Read the variant, the arrays and the metadata that `write` wrote.

    Every parameter is there, of its shape.

    Raises
    ------
    ValueError
        The file is cut short, is no safetensors file, does not describe a network of this package,
        or holds other arrays than that network has.
    OSError
        It cannot be opened.
    """
    tensors, metadata = read_tensors(path)
    if VARIANT_KEY not in metadata:
        raise ValueError(
            f"{path}: no description of a network: not written by alexnet; alexnet convert makes "
            "one of ours of torchvision's"
        )
    try:
        variant = Variant.from_json(metadata[VARIANT_KEY])
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    for name, shape in variant.parameter_shapes().items():
        if name not in tensors:
            raise ValueError(f"{path}: {name} is missing, which {variant.name} has")
        if tensors[name].shape != shape:
            raise ValueError(
                f"{path}: {name} has shape {tensors[name].shape}, "
                f"but {variant.name} expects {shape}"
            )
    return variant, tensors, metadata
