"""Files of torch.save, read without PyTorch, and without running anything that they contain.

Since PyTorch 1.6 such a file is a ZIP archive, stored without compression: "data.pkl" is a pickle
of the values, in which every tensor is a view (offset, size, strides) of a storage, and "data/KEY"
holds the numbers of the storage KEY. Before, it was a row of pickles (a magic number, a version,
the sizes of C's types, the values, the keys of the storages) with the storages behind them. Both
are little-endian wherever people have them.
"""

from __future__ import annotations

import math
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from alexnet.contract.arguments import AnyArray
from alexnet.files import check_size, open_regular
from alexnet.files.kinds import START, TORCH, damage_as_value_error, is_old_torch, kind_of
from alexnet.files.pickles import (
    ARRAYS,
    Global,
    PickledObject,
    check_axes,
    load_first,
)
from alexnet.interchange.state_dicts import bare_state
from alexnet.messages import shown

LARGEST_FILE = 2**31  # bytes; torchvision's AlexNet has 244 million
LARGEST_PICKLE = 2**26  # bytes of the values, without the storages
OLD_PICKLES = 4  # before the keys of the storages
NUMPY = ("numpy.core.multiarray", "numpy._core.multiarray")  # the second since NumPy 2
STORAGES = {  # types of storages by their names in the module torch, None: NumPy has no such dtype
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "?",
    "BFloat16Storage": None,
}


@dataclass(frozen=True)
class _Storage:
    """Numbers in a file, by the key under which they stand there."""

    key: str
    dtype: np.dtype[Any] | None
    numel: int


@dataclass(frozen=True)
class TorchTensor:
    """A tensor as a file describes it; `array` checks it and makes the array."""

    view: tuple[object, ...]
    read: Callable[[_Storage], AnyArray]

    def array(self, where: str) -> AnyArray:
        """Give the tensor's numbers: a view, read-only, of what its storage holds.

        Raises
        ------
        ValueError
            It reaches beyond its storage, repeats parts of it, or is of a dtype that NumPy lacks;
            the message starts with `where`.
        """
        match self.view:
            case (_Storage() as storage, int(offset), tuple(size), tuple(strides), *rest):
                pass
            case _:
                raise ValueError(f"{where} is not described as a tensor is")
        if rest[2:] and rest[2]:  # after whether it has a gradient, and its hooks: math bits
            raise ValueError(
                f"{where} is to be negated or conjugated, expected plain numbers: save it as "
                ".resolve_neg()"
            )
        check_axes(f"{where} has shape", size)
        check_axes(f"{where} has strides", strides)
        if len(strides) != len(size):
            raise ValueError(f"{where} has {len(strides)} strides for {len(size)} axes")
        numbers = math.prod(size)
        reach = sum((extent - 1) * stride for extent, stride in zip(size, strides, strict=True))
        if numbers > storage.numel or (numbers and not 0 <= offset < storage.numel - reach):
            raise ValueError(
                f"{where}, of shape {size} and strides {strides} from {shown(offset)}, reaches "
                f"beyond the {storage.numel} numbers of its storage, or repeats them"
            )
        if storage.dtype is None:
            raise ValueError(f"{where} has dtype bfloat16, expected float32: save it as .float()")
        if not numbers:
            return np.empty(size, storage.dtype)
        width = storage.dtype.itemsize
        flat = self.read(storage)[offset:]
        return np.lib.stride_tricks.as_strided(
            flat, size, tuple(stride * width for stride in strides), writeable=False
        )


class _OrderedDict(dict[Any, Any], PickledObject):
    """A dictionary of a state_dict, whose further attributes (versions of modules) are left out."""

    def take_state(self, state: object) -> None:
        """Take nothing: what a state_dict has beside its arrays is not needed."""


def _ordered_dict(*arguments: object) -> _OrderedDict:
    if arguments:
        raise pickle.UnpicklingError("a dictionary is not made as torch.save makes it")
    return _OrderedDict()


def _storage(identifier: object) -> _Storage:
    """Storage of a persistent identifier."""
    match identifier:
        case ("storage", _StorageType(dtype), str(key), str(), int(numel), *rest):
            if rest in ([], [None]) and 0 <= numel < 2**48:
                return _Storage(key, dtype, numel)
    raise pickle.UnpicklingError("a storage is not described as torch.save describes it")


@dataclass(frozen=True, slots=True)
class _StorageType(Global):
    """Stand-in for a type such as torch.FloatStorage."""

    dtype: np.dtype[Any] | None = None

    __match_args__ = ("dtype",)


def _parameter(tensor: object = None, *_: object) -> TorchTensor:
    if not isinstance(tensor, TorchTensor):
        raise pickle.UnpicklingError("a parameter is not made of a tensor")
    return tensor


def _globals(read: Callable[[_Storage], AnyArray]) -> dict[tuple[str, str], Global]:
    tensor = Global(lambda *view: TorchTensor(view, read))
    storages = {
        ("torch", name): _StorageType(dtype=None if text is None else np.dtype(text))
        for name, text in STORAGES.items()
    }
    return {
        ("collections", "OrderedDict"): Global(_ordered_dict),
        ("torch._utils", "_rebuild_tensor"): tensor,
        ("torch._utils", "_rebuild_tensor_v2"): tensor,
        ("torch._utils", "_rebuild_parameter"): Global(_parameter),
        ("torch", "Size"): Global(lambda extents=(): extents),
        **{(module, "scalar"): Global(lambda *_: None) for module in NUMPY},  # of accuracies, say
        **ARRAYS,
        **storages,
    }


class _Storages:
    """The storages that the values in a file name, each read once and when it is needed."""

    def __init__(self) -> None:
        self.named: dict[str, _Storage] = {}
        self._numbers: dict[str, AnyArray] = {}

    def name(self, identifier: object) -> _Storage:
        """Storage of a persistent identifier; nothing is read."""
        storage = _storage(identifier)
        if self.named.setdefault(storage.key, storage) != storage:
            raise pickle.UnpicklingError(f"the storage {shown(storage.key)} is described twice")
        return storage

    def numbers(self, storage: _Storage) -> AnyArray:
        """Give the numbers of a storage."""
        if storage.key not in self._numbers:
            dtype = storage.dtype
            assert dtype is not None
            content = self._content(storage, storage.numel * dtype.itemsize)
            self._numbers[storage.key] = np.frombuffer(content, dtype)
        return self._numbers[storage.key]

    def _content(self, storage: _Storage, size: int) -> bytes | memoryview:
        raise NotImplementedError

    def load(self, content: bytes, start: int = 0) -> tuple[Any, int]:
        """Value of the pickle at `start`, and where it ends."""
        return load_first(content, start, _globals(self.numbers), self.name)


class _Archive(_Storages):
    """A ZIP archive; no entry of it is larger than the file."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        super().__init__()
        self._archive = zipfile.ZipFile(file)
        self._left = size
        names = [name for name in self._archive.namelist() if name.endswith("data.pkl")]
        if len(names) != 1:
            raise ValueError(f"it has {len(names)} entries data.pkl, expected one")
        self._folder = names[0].removesuffix("data.pkl")

    def value(self) -> Any:
        order = f"{self._folder}byteorder"
        if order in self._archive.NameToInfo and self._entry("byteorder") != b"little":
            raise ValueError("it was written on a machine whose numbers are big-endian")
        return self.load(self._entry("data.pkl", LARGEST_PICKLE))[0]

    def _content(self, storage: _Storage, size: int) -> bytes:
        content = self._entry(f"data/{storage.key}")
        if len(content) != size:
            raise ValueError(
                f"the storage {shown(storage.key)} has {len(content)} bytes, expected {size}"
            )
        return content

    def _entry(self, name: str, largest: int = LARGEST_FILE) -> bytes:
        try:
            entry = self._archive.getinfo(self._folder + name)
        except KeyError as error:
            raise ValueError(f"it has no entry {shown(name)}") from error
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
            raise ValueError(f"its entry {shown(name)} is compressed or encrypted")
        if entry.file_size != entry.compress_size or entry.file_size > min(self._left, largest):
            raise ValueError(f"its entry {shown(name)} has {entry.file_size:,} bytes")
        self._left -= entry.file_size
        return self._archive.read(entry)


class _OldFile(_Storages):
    """Pickles one after the other, then the storages."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self._file = content
        self._places: dict[str, int] = {}

    def value(self) -> Any:
        place, values = 0, []
        for _ in range(OLD_PICKLES + 1):
            value, place = self.load(self._file, place)
            values.append(value)
        keys = values.pop()
        if not isinstance(keys, list) or set(map(type, keys)) - {str}:
            raise ValueError("the keys of its storages are no list of text")
        for key in keys:
            storage = self.named.get(key)
            if storage is None or key in self._places:
                raise ValueError(f"it has the storage {shown(key)} twice, or without a use")
            numbers = struct.unpack_from("<q", self._file, place)[0]
            self._places[key] = place + 8
            width = 2 if storage.dtype is None else storage.dtype.itemsize
            place += 8 + storage.numel * width
            if numbers != storage.numel or place > len(self._file):
                raise ValueError(f"the storage {shown(key)} is cut short")
        return values[-1]

    def _content(self, storage: _Storage, size: int) -> memoryview:
        if storage.key not in self._places:
            raise ValueError(f"it has no storage {shown(storage.key)}")
        place = self._places[storage.key]
        return memoryview(self._file)[place : place + size]


def read_state(path: str | os.PathLike[str]) -> dict[str, AnyArray]:
    """Arrays of the state_dict in a file of torch.save, read-only, under their bare names.

    `alexnet.interchange.state_dicts` says in what it may be wrapped.

    Raises
    ------
    ValueError
        It is no such file, is cut short, or holds more than dictionaries of tensors and numbers: a
        whole module, say, which only the program that made it can read.
    OSError
        It cannot be opened.
    """
    path = Path(path)
    with open_regular(path) as file:
        size = check_size(path, file, LARGEST_FILE)
        kind = kind_of(file)
        try:
            if kind != TORCH:
                raise ValueError(f"it is {kind.name}; {kind.advice}" if kind else "it is no pickle")
            file.seek(0)
            is_old = is_old_torch(file.read(START))
            file.seek(0)
            with damage_as_value_error():
                source = _OldFile(file.read()) if is_old else _Archive(file, size)
                value = source.value()
        except ValueError as error:
            raise ValueError(
                f"{path}: not a whole file of weights from PyTorch, and not run: {error!s:.300}; "
                "torch.save(model.state_dict(), FILE) writes one"
            ) from error
        try:
            state = bare_state(value, TorchTensor)
            with damage_as_value_error():
                return {name: tensor.array(name) for name, tensor in state.items()}
        except ValueError as error:
            raise ValueError(f"{path}: not a state_dict of arrays: {error!s:.300}") from error
