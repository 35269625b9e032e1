"""Weights in files: safetensors, with the network's description in the metadata.

A file holds arrays and text, nothing that runs when it is read. It appears under its name only
when it is whole: it is written beside it, synced, and renamed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from alexnet.checks import AnyArray
from alexnet.files import replacing
from alexnet.variant import Variant

VARIANT_KEY = "alexnet.variant"
DTYPES = {  # of NumPy, by their names in the files
    **{np.dtype(f"f{size}"): f"F{8 * size}" for size in (2, 4, 8)},
    **{np.dtype(f"i{size}"): f"I{8 * size}" for size in (1, 2, 4, 8)},
    **{np.dtype(f"u{size}"): f"U{8 * size}" for size in (1, 2, 4, 8)},
    np.dtype(bool): "BOOL",
}
HEADER_ALIGNMENT = 8  # bytes


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
        The files have no name for an array's dtype.
    """
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
        file.write(len(text).to_bytes(8, "little") + text)
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
        It is not a safetensors file, or not a whole one.
    OSError
        It cannot be opened.
    """
    path = Path(path)
    with path.open("rb"):  # a missing file and a folder get the usual error
        pass
    try:
        with safe_open(path, framework="numpy") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, dict(file.metadata() or {})
    except (SafetensorError, AttributeError, TypeError) as error:  # the others: no NumPy dtype
        raise ValueError(f"{path}: not a whole safetensors file: {error}") from error


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
        raise ValueError(f"{path}: no description of a network: not written by alexnet")
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
