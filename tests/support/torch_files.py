"""Files of torch.save for tests, written without PyTorch: the opcodes stand here."""

from __future__ import annotations

import pickle
import struct
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from alexnet.contract.arguments import AnyArray
from support import cifar_files as files

MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001
TYPES = {"float32": "Float", "float64": "Double", "float16": "Half", "int64": "Long"}


def number(value: int) -> bytes:
    """An integer of up to 8 bytes."""
    return pickle.LONG1 + b"\x09" + value.to_bytes(9, "little", signed=True)


def text(value: str) -> bytes:
    return pickle.BINUNICODE + struct.pack("<I", len(value.encode())) + value.encode()


def dictionary(entries: Mapping[str, bytes]) -> bytes:
    items = b"".join(text(key) + value for key, value in entries.items())
    return pickle.EMPTY_DICT + pickle.MARK + items + pickle.SETITEMS


def ordered(entries: Mapping[str, bytes]) -> bytes:
    """A state_dict, whose metadata say the versions of the modules."""
    items = b"".join(text(key) + value for key, value in entries.items())
    made = files.called(files.global_of("collections", "OrderedDict"))
    state = dictionary({"_metadata": files.called(files.global_of("collections", "OrderedDict"))})
    return made + pickle.MARK + items + pickle.SETITEMS + state + pickle.BUILD


def storage(key: str, count: int, kind: str = "Float", old: bool = False) -> bytes:
    described = [
        text("storage"),
        files.global_of("torch", f"{kind}Storage"),
        text(key),
        text("cpu"),
        number(count),
    ]
    return files.tuple_of(described + [pickle.NONE] * old) + pickle.BINPERSID


def tensor(
    stored: bytes,
    shape: Sequence[int],
    strides: Sequence[int] | None = None,
    offset: int = 0,
    metadata: bytes | None = None,
) -> bytes:
    if strides is None:
        strides = [int(np.prod(shape[axis + 1 :])) for axis in range(len(shape))]
    return files.called(
        files.global_of("torch._utils", "_rebuild_tensor_v2"),
        stored,
        number(offset),
        files.tuple_of([number(extent) for extent in shape]),
        files.tuple_of([number(stride) for stride in strides]),
        pickle.NEWFALSE,
        files.called(files.global_of("collections", "OrderedDict")),
        *([] if metadata is None else [metadata]),
    )


def tensors(arrays: Mapping[str, AnyArray], old: bool = False) -> dict[str, bytes]:
    return {
        name: tensor(
            storage(str(key), array.size, TYPES[array.dtype.name], old),
            array.shape,
        )
        for key, (name, array) in enumerate(arrays.items())
    }


def contents(arrays: Mapping[str, AnyArray]) -> dict[str, bytes]:
    return {str(key): array.tobytes() for key, array in enumerate(arrays.values())}


def write_archive(
    path: Path, value: bytes, storages: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED
) -> Path:
    """Write what torch.save writes since PyTorch 1.6, `value` being the opcodes of the value."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickle.PROTO + b"\x02" + value + pickle.STOP)
        archive.writestr("archive/byteorder", b"little")
        for key, content in storages.items():
            archive.writestr(f"archive/data/{key}", content)
        archive.writestr("archive/version", b"3\n")
    return path


def write_old(path: Path, value: bytes, storages: Mapping[str, bytes], width: int = 4) -> Path:
    """Write what torch.save wrote before."""
    start = [pickle.dumps(part, 2) for part in (MAGIC, VERSION, {"little_endian": True})]
    keys = pickle.dumps(list(storages), 2)
    behind = [struct.pack("<q", len(raw) // width) + raw for raw in storages.values()]
    whole = pickle.PROTO + b"\x02" + value + pickle.STOP
    path.write_bytes(b"".join([*start, whole, keys, *behind]))
    return path
