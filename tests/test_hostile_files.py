"""Files from strangers: whatever they hold, one line comes of it, soon, and with little memory."""

from __future__ import annotations

import copy
import errno
import itertools
import json
import math
import os
import pickle
import re
import resource
import signal
import socket
import struct
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from alexnet.cli import main
from alexnet.data import UnreadableImageError, open_cifar10, open_image_folder, patience, read_image
from alexnet.data.cifar10 import LARGEST_FILE, read_pickle
from alexnet.files import open_regular, pickles, read_regular
from alexnet.files.descriptions import Entry, parse
from alexnet.interchange import (
    convert,
    from_torchvision,
    load,
    load_model,
    read_caffe,
    read_torchvision,
    to_torchvision,
)
from alexnet.messages import shown
from alexnet.network import weights
from alexnet.network.checkpoint import KEY, LAST, Checkpoint
from alexnet.network.variant import Variant
from alexnet.network.variants import VARIANTS, AlexNet
from alexnet.training.configuration import Configuration, read_description
from alexnet.training.metrics import Table
from alexnet.training.run import Run
from support import cifar_files as files
from support import photo_files, small_runs, torch_files
from support.checkpoints import checkpoint
from support.small_networks import small_variant

SECONDS = 10  # of the processor, so that a busy machine fails nothing
PATIENCE = 300  # seconds until what waits, for the writer of a pipe say, has failed
MEMORY = 2**31  # bytes above what the process has

Reader = Callable[[Path], object]


@pytest.fixture(autouse=True)
def bounded() -> Iterator[None]:
    """Fail what takes long or much memory, instead of waiting for it."""

    def stop(number: int, _: object) -> None:
        limit = f"{SECONDS} s of the processor" if number == signal.SIGXCPU else f"{PATIENCE} s"
        raise AssertionError(f"took more than {limit}")

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    bounds = {
        resource.RLIMIT_AS: pages * resource.getpagesize() + MEMORY,
        resource.RLIMIT_CPU: math.ceil(time.process_time()) + SECONDS,
    }
    limits = {kind: resource.getrlimit(kind) for kind in bounds}
    handlers = {number: signal.signal(number, stop) for number in (signal.SIGXCPU, signal.SIGALRM)}
    signal.alarm(PATIENCE)
    for kind, bound in bounds.items():
        resource.setrlimit(kind, (bound, limits[kind][1]))
    try:
        yield
    finally:
        for kind, before in limits.items():
            resource.setrlimit(kind, before)
        signal.alarm(0)
        for number, handler in handlers.items():
            signal.signal(number, handler)


def refused(read: Reader, path: Path) -> str:
    """Message of the one error that may come out: of one line, of a bounded length, naming it."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is checked below
        read(path)
    message = str(caught.value)
    assert path.name in message
    assert "\n" not in message
    assert len(message) < len(str(path)) + 1000
    return message


# --- pickles --------------------------------------------------------------------------------------

PROTO = pickle.PROTO + b"\x02"
# A pair of one pair, 60 deep: 2 to the 60 parts, by DUP and by the memo.
DOUBLED = b")" + b"2\x86" * 60
SHARED = b")q\x00" + b"".join(b"h%c\x86q%c" % (k, k + 1) for k in range(60))
SHARED_LISTS = b"(]q\x00" + b"".join(b"]q%c(h%ch%ce" % (k + 1, k, k) for k in range(60)) + b"t"


def with_key(key: bytes) -> bytes:
    return PROTO + b"}" + key + b"Ns."


BOMBS = {
    "doubled tuples as a key": with_key(DOUBLED),
    "shared tuples as a key": with_key(SHARED),
    "shared tuples": PROTO + SHARED + b".",
    "shared tuples in a dictionary": PROTO + b"}U\x05model" + SHARED + b"s.",
    "deep tuples as a key": with_key(b")" + b"\x85" * 10**5),
    "deep tuples": PROTO + b")" + b"\x85" * 30_000 + b".",
    "deep lists": PROTO + b"]" * 30_000 + b"a" * 29_999 + b".",
    "deep dictionaries": PROTO + b"}U\x01a" * 30_000 + b"N" + b"s" * 30_000 + b".",
    "shared lists": PROTO + SHARED_LISTS + b".",
    "a list in itself": PROTO + b"]q\x00h\x00a.",
    "a dictionary in itself": PROTO + b"}q\x00U\x05modelh\x00s.",
    "marks": PROTO + b"(" * 10**5 + b".",
    "an integer of gigabytes": PROTO + pickle.LONG4 + struct.pack("<i", 2**31 - 1) + b".",
    "a negative length": PROTO + pickle.LONG4 + struct.pack("<i", -1) + b".",
    "a large integer": PROTO + pickle.LONG4 + struct.pack("<i", 10**6) + b"\x01" * 10**6 + b".",
    "digits": b"L" + b"9" * 10**6 + b"L\n.",
    "digits as INT": b"I" + b"9" * 5000 + b"\n.",
    "bytes beyond the end": PROTO + pickle.BINBYTES8 + struct.pack("<Q", 2**62) + b".",
    "text beyond the end": PROTO + pickle.BINUNICODE8 + struct.pack("<Q", 2**63) + b".",
    "a string of negative length": PROTO + pickle.BINSTRING + struct.pack("<i", -5) + b".",
    "a frame beyond the end": b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"N.",
    "a high memo": PROTO + b"N" + pickle.LONG_BINPUT + struct.pack("<I", 2**31) + b".",
    "a high memo in text": b"Np999999999999\n.",
    "memo entries of one hash": b"N"
    + b"".join(b"p%d\n" % (k * (2**61 - 1)) for k in range(50_000)),
    "a negative memo": b"Np-1\n.",
    "no such memo": PROTO + pickle.LONG_BINGET + struct.pack("<I", 2**31) + b".",
    "a list as a key": with_key(b"]"),
    "a dictionary as a key": with_key(b"}"),
    "a float as a key": with_key(pickle.BINFLOAT + bytes(8)),
    "integers of one hash as keys": PROTO
    + b"}("
    + b"".join(
        pickle.LONG1 + b"\x0b" + (k * (2**61 - 1)).to_bytes(11, "little") + b"N"
        for k in range(50_000)
    )
    + b"u.",
    "a long key again and again": PROTO
    + pickle.BINBYTES
    + struct.pack("<I", 2**20)
    + bytes(2**20)
    + b"q\x00}("
    + b"h\x00N" * 100_000
    + b"u.",
    "long arguments again and again": PROTO
    + b"cnumpy.core.multiarray\n_reconstruct\nq\x00("
    + b"N" * 100_000
    + b"tq\x01"
    + b"h\x00h\x01R" * 50_000
    + b".",
    "a set": b"\x80\x04\x8f(" + SHARED + b"\x90.",
    "an extension": PROTO + pickle.EXT4 + struct.pack("<i", 7) + b".",
    "no end": PROTO + b"N",
    "nothing": b"",
    "a later protocol": b"\x80\xffN.",
}


def as_npy(path: Path, content: bytes) -> Path:
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (), }".ljust(117) + b"\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content)
    return path


def as_cifar(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def as_torch(path: Path, content: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", content)
    return path


def as_old_torch(path: Path, content: bytes) -> Path:
    start = [pickle.dumps(part, 2) for part in (torch_files.MAGIC, torch_files.VERSION, {})]
    path.write_bytes(b"".join([*start, content, pickle.dumps([], 2)]))
    return path


def read_names(path: Path) -> object:
    """Read a file as CIFAR's batches.meta."""
    path.rename(path.with_name("batches.meta"))
    try:
        return open_cifar10(path.parent)
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from error


FORMS: dict[str, tuple[Callable[[Path, bytes], Path], Reader]] = {
    "cifar": (as_cifar, read_names),
    "npy": (as_npy, read_caffe),
    "pth": (as_torch, read_torchvision),
    "old pth": (as_old_torch, read_torchvision),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", BOMBS)
def test_pickles_of_any_shape_are_refused_soon(name: str, form: str, tmp_path: Path) -> None:
    write, read = FORMS[form]
    refused(read, write(tmp_path / "file", BOMBS[name]))


@pytest.mark.parametrize(
    "content",
    [
        files.dictionary(label_names=SHARED),
        files.dictionary(label_names=files.list_of([SHARED])),
        files.dictionary(label_names=b"]q\x00h\x00a"),
        files.dictionary(data=SHARED, labels=SHARED),
    ],
)
def test_shared_values_are_not_written_out_in_messages(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "batches.meta"
    path.write_bytes(content)
    refused(lambda _: open_cifar10(tmp_path), path)


@pytest.mark.parametrize(
    "array",
    [
        files.array(bytes(3072), (2**31 - 1,) * 16),
        files.array_with_state(SHARED, (1, 3072), "u1", "|"),
        files.array_with_state(files.string(bytes(4)), (1,) * 40, "u1", "|"),
        files.called(
            files.global_of("numpy.core.multiarray", "_reconstruct"),
            files.global_of("numpy", "dtype"),
        )
        + files.tuple_of([SHARED] * 5)
        + pickle.BUILD,
    ],
)
def test_arrays_with_odd_states_are_refused(array: bytes, tmp_path: Path) -> None:
    root = files.write_directory(tmp_path)
    path = root / "data_batch_2"
    path.write_bytes(files.batch(array, [0]))
    refused(lambda _: open_cifar10(root), path)


def test_pickles_of_very_many_opcodes_are_refused(tmp_path: Path) -> None:
    path = as_cifar(tmp_path / "data_batch_1", PROTO + b"N" * 2**20 + b".")
    assert "it has more than 1,048,576 opcodes" in refused(READERS["cifar"], path)


def test_keys_in_bytes_are_text() -> None:
    """As in copies of CIFAR-10 that Python 3 wrote again after reading them as bytes."""
    assert pickles.loads(pickle.dumps({b"data": 1, b"labels": [b"x"]}, 4)) == {
        "data": 1,
        "labels": [b"x"],
    }


@pytest.mark.parametrize("protocol", range(6))
def test_plain_values_are_read_as_python_reads_them(protocol: int) -> None:
    shared = ["a", 1]
    value = {
        "numbers": [0, 1, 255, 256, -1, 2**31, -(2**40), 2**80, 0.5, True, False, None],
        "text": "ä\n\\x",
        "tuples": ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)),
        "shared": [shared, shared],
        "dictionary": {"x": {}, 3: []},
    }
    assert pickles.loads(pickle.dumps(value, protocol)) == value
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    for given in (array, np.asfortranarray(array), array[:, ::-1]):
        read = pickles.loads(pickle.dumps(given, protocol))
        np.testing.assert_array_equal(read.to_numpy("it", np.float32), given, strict=True)


def test_arrays_that_python_2_wrote_as_text() -> None:
    """Its protocol 0 has bytes as text with escapes, of any byte."""
    array = np.arange(256, dtype=np.uint8)
    text = repr(array.tobytes())[1:].encode()
    written = files.array_with_state(pickle.STRING + text + b"\n", (256,), "u1", "|")
    np.testing.assert_array_equal(pickles.loads(written + b".").to_numpy("it", "u1"), array)


def test_arrays_that_share_their_bytes_take_no_more_memory_than_the_file(tmp_path: Path) -> None:
    """A thousand arrays of one text of 4 MB, of which each would be a copy."""
    shared = files.string(b"\x01" * 2**22) + pickle.BINPUT + b"\x07"
    again = files.array_with_state(pickle.BINGET + b"\x07", (2**20,), "f4", "<")
    first = files.array_with_state(shared, (2**20,), "f4", "<")
    pairs = [files.string(f"l{k}") + files.list_of([again, again]) for k in range(1000)]
    pairs[0] = files.string("l0") + files.list_of([first, again])
    layers = pickle.EMPTY_DICT + pickle.MARK + b"".join(pairs) + pickle.SETITEMS
    path = as_npy(tmp_path / "a.npy", PROTO + files.object_array(layers) + b".")
    assert "larger than the file" in refused(read_caffe, path)


# --- PyTorch's files ------------------------------------------------------------------------------

STORED = torch_files.storage("0", 24)


def one_tensor(described: bytes) -> bytes:
    return torch_files.dictionary({"features.0.weight": described})


@pytest.mark.parametrize(
    ("described", "message"),
    [
        (torch_files.tensor(STORED, (5, 5)), "reaches beyond the 24 numbers"),
        (torch_files.tensor(STORED, (24,), offset=1), "reaches beyond"),
        (torch_files.tensor(STORED, (24,), offset=-1), "reaches beyond"),
        (torch_files.tensor(STORED, (24,), offset=2**62), "reaches beyond"),
        (torch_files.tensor(STORED, (2, 3), (2**62, 1)), "reaches beyond"),
        (torch_files.tensor(STORED, (2**40,), (0,)), "or repeats them"),
        (torch_files.tensor(STORED, (2**31, 2**31), (0, 0)), "or repeats them"),
        (torch_files.tensor(STORED, (4, 6), (6, -1)), "has strides (6, -1)"),
        (torch_files.tensor(STORED, (-4, -6)), "has shape (-4, -6)"),
        (torch_files.tensor(STORED, (24,), (1, 1)), "2 strides for 1 axes"),
        (torch_files.tensor(STORED, (1,) * 40), "at most 16 integers"),
        (torch_files.tensor(torch_files.storage("0", 23), (23,)), "has 96 bytes, expected 92"),
        (torch_files.tensor(torch_files.storage("0", 2**40), (24,)), "has 96 bytes"),
        (torch_files.tensor(torch_files.storage("0", 2**60), (24,)), "storage is not described"),
        (torch_files.tensor(torch_files.storage("0", -1), (24,)), "storage is not described"),
        (torch_files.tensor(torch_files.storage("../0", 24), (24,)), "has no entry"),
        (torch_files.tensor(torch_files.storage("0", 24, "BFloat16"), (24,)), "bfloat16"),
        (torch_files.tensor(pickle.NONE, (24,)), "not described as a tensor is"),
        (torch_files.tensor(pickle.NONE + pickle.BINPERSID, (24,)), "storage is not described"),
        (torch_files.tensor(SHARED + pickle.BINPERSID, (1,)), "storage is not described"),
        (torch_files.number(3), "is 3, expected an array"),
        (SHARED, "is a tuple of 2, expected an array"),
        (files.global_of("torch", "FloatStorage"), "expected an array"),
        (files.called(files.global_of("torch", "FloatStorage")), "calls what is no function"),
        (files.called(files.global_of("torch", "load"), pickle.NONE), "asks for 'torch.load'"),
        (files.called(files.global_of("collections", "OrderedDict"), pickle.NONE), "is not made"),
    ],
)
def test_tensors_out_of_their_storage_are_refused(
    described: bytes, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.pth"
    torch_files.write_archive(path, one_tensor(described), {"0": bytes(96)})
    assert message in refused(read_torchvision, path)


def test_old_files_with_storages_out_of_the_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    for stored, content in (
        (torch_files.storage("0", 25, old=True), {"0": bytes(96)}),
        (torch_files.storage("0", 2**40, old=True), {"0": bytes(96)}),
        (torch_files.storage("0", 24, old=True), {}),
        (torch_files.storage("0", 24, old=True), {"1": bytes(96)}),
    ):
        value = one_tensor(torch_files.tensor(stored, (24,)))
        refused(read_torchvision, torch_files.write_old(path, value, content))


def test_archives_that_unpack_to_more_than_they_are_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    value = one_tensor(torch_files.tensor(torch_files.storage("0", 2**22), (2**22,)))
    torch_files.write_archive(path, value, {"0": bytes(2**24)}, zipfile.ZIP_DEFLATED)
    assert "is compressed" in refused(read_torchvision, path)
    torch_files.write_archive(path, value, {"0": bytes(2**24)})
    assert read_torchvision(path)["features.0.weight"].shape == (2**22,)
    content = bytearray(path.read_bytes())
    place = content.index(b"PK\x01\x02", content.index(b"PK\x01\x02") + 4)
    for offset in (20, 24):  # compressed and uncompressed size
        struct.pack_into("<I", content, place + offset, 2**31)
    path.write_bytes(content)
    refused(read_torchvision, path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", PROTO + b"N.")
        archive.writestr("b/data.pkl", PROTO + b"N.")
    assert "2 entries data.pkl" in refused(read_torchvision, path)


def test_an_archive_with_a_directory_of_very_many_entries_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch_files.write_archive(path, pickle.EMPTY_DICT, {})
    content = path.read_bytes()
    path.write_bytes(content[:64] + b"PK\x01\x02".ljust(46, b"\0") * 200_000 + content[64:])
    assert "a ZIP archive of more than 10,000 files" in refused(read_torchvision, path)


def test_names_in_files_keep_messages_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    value = torch_files.dictionary({"a\nb": torch_files.tensor(STORED, (24,))})
    torch_files.write_archive(path, value, {"0": bytes(96)})
    assert "expected printable text" in refused(read_torchvision, path)
    array = files.array(bytes(4), (1,), dtype="f4", order="<")
    pair = files.string("a\nb") + files.list_of([array, array])
    layers = pickle.EMPTY_DICT + pickle.MARK + pair + pickle.SETITEMS
    as_npy(path, PROTO + files.object_array(layers) + b".")
    assert "expected printable text" in refused(read_caffe, path)


def test_the_other_form_of_caffes_weights(tmp_path: Path) -> None:
    """Dictionaries of "weights" and "biases", as caffe-tensorflow writes them."""
    array = np.arange(3, dtype=np.float32)
    saved = np.empty((), object)
    saved[()] = {"conv1": {"weights": array, "biases": array + 1}}
    np.save(tmp_path / "a.npy", saved, allow_pickle=True)
    weight, bias = read_caffe(tmp_path / "a.npy")["conv1"]
    np.testing.assert_array_equal(weight, array)
    np.testing.assert_array_equal(bias, array + 1)


def test_a_tensor_that_is_to_be_negated_is_refused(tmp_path: Path) -> None:
    """As torch.save writes a view such as the imaginary part of a conjugate."""
    bits = torch_files.dictionary({"neg": pickle.NEWTRUE})
    path = tmp_path / "a.pth"
    value = one_tensor(torch_files.tensor(STORED, (24,), metadata=bits))
    torch_files.write_archive(path, value, {"0": bytes(96)})
    assert "save it as .resolve_neg()" in refused(read_torchvision, path)


@pytest.mark.parametrize("old", [False, True])
def test_damaged_bytes_of_a_file_of_torch_give_one_line(old: bool, tmp_path: Path) -> None:
    arrays = {"features.0.weight": np.ones((2, 3), np.float32), "features.0.bias": np.ones(2)}
    path, generator = tmp_path / "a.pth", np.random.default_rng(3)
    value, storages = torch_files.ordered(torch_files.tensors(arrays, old)), {}
    if old:
        arrays["features.0.bias"] = np.ones(2, np.float32)
        value = torch_files.ordered(torch_files.tensors(arrays, old))
    storages = torch_files.contents(arrays)
    (torch_files.write_old if old else torch_files.write_archive)(path, value, storages)
    assert list(read_torchvision(path)) == list(arrays)
    content = np.frombuffer(path.read_bytes(), np.uint8)
    for length in range(0, content.size, 29):
        path.write_bytes(content[:length].tobytes())
        refused(read_torchvision, path)
    for _ in range(300):
        damaged = content.copy()
        places = generator.integers(0, content.size, generator.integers(1, 4))
        damaged[places] = generator.integers(0, 256, places.size)
        path.write_bytes(damaged.tobytes())
        message = outcome(lambda: read_torchvision(path))
        assert message is None or path.name in message


# --- weights as people have them ------------------------------------------------------------------


@pytest.fixture
def state(monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    """Arrays of a narrow torchvision network, which the conversion takes for the whole one."""
    narrow = VARIANTS["torchvision"].shrunk(width=1 / 32)
    monkeypatch.setitem(VARIANTS, "torchvision", narrow)
    return to_torchvision(AlexNet("torchvision", seed=1))


def renamed(state: dict[str, np.ndarray], rename: Callable[[str], str]) -> dict[str, np.ndarray]:
    return {rename(name): array for name, array in state.items()}


NAMES: dict[str, Callable[[str], str]] = {
    "DataParallel": lambda name: f"module.{name}",
    "DataParallel of the features": lambda name: name.replace("features.", "features.module."),
    "torch.compile": lambda name: f"_orig_mod.{name}",
    "both": lambda name: f"module._orig_mod.{name}",
    "inside another": lambda name: f"model.{name}",
    "deeper inside": lambda name: f"backbone.net.module.{name}",
}


@pytest.mark.parametrize("how", NAMES)
def test_names_of_wrapped_modules(how: str, state: dict[str, np.ndarray], tmp_path: Path) -> None:
    expected = from_torchvision(state).parameters
    wrapped = renamed(state, NAMES[how])
    path = torch_files.write_archive(
        tmp_path / "a.pth",
        torch_files.ordered(torch_files.tensors(wrapped)),
        torch_files.contents(wrapped),
    )
    weights.write_tensors(tmp_path / "a.safetensors", wrapped, {})
    for arrays in (
        wrapped,
        read_torchvision(path),
        read_torchvision(tmp_path / "a.safetensors"),
    ):
        for key, array in from_torchvision(arrays).parameters.items():
            np.testing.assert_array_equal(array, expected[key])


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model", "net", "network"])
@pytest.mark.parametrize("old", [False, True])
def test_a_checkpoint_of_somebodys_training(
    key: str, old: bool, state: dict[str, np.ndarray], tmp_path: Path
) -> None:
    value = torch_files.dictionary(
        {
            "epoch": torch_files.number(3),
            "arch": torch_files.text("alexnet"),
            key: torch_files.ordered(torch_files.tensors(state, old)),
            "optimizer": pickle.EMPTY_DICT + torch_files.number(0) + pickle.EMPTY_LIST + b"s",
        }
    )
    write = torch_files.write_old if old else torch_files.write_archive
    write(tmp_path / "a.pth", value, torch_files.contents(state))
    read = read_torchvision(tmp_path / "a.pth")
    assert list(read) == list(state)
    for name, array in state.items():
        np.testing.assert_array_equal(read[name], array)
    assert convert(tmp_path / "a.pth", tmp_path / "net").source_format == "torchvision"
    from_torchvision({"epoch": 3, key: state})


class Tensor:
    """What of PyTorch's tensor is used here."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array

    def detach(self) -> Tensor:
        return self

    def cpu(self) -> Tensor:
        return self

    def numpy(self) -> np.ndarray:
        return self._array


class Module:
    """What of PyTorch's module is used here."""

    def __init__(self, state: dict[str, np.ndarray]) -> None:
        self._state = state

    def state_dict(self) -> dict[str, Tensor]:
        return {name: Tensor(array) for name, array in self._state.items()}


def test_a_module_in_memory(state: dict[str, np.ndarray]) -> None:
    expected = from_torchvision(state).parameters
    for key, array in from_torchvision(Module(state)).parameters.items():
        np.testing.assert_array_equal(array, expected[key])
    with pytest.raises(ValueError, match=r"epoch is 3, expected an array of float32"):
        from_torchvision({**state, "epoch": 3})
    with pytest.raises(ValueError, match="two of its arrays have one name"):
        from_torchvision(state | renamed(state, NAMES["DataParallel"]))


def zipped(*names: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, b"x")

    return write


def written(content: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(content) and None


OTHER_FILES: dict[str, tuple[Callable[[Path], None], str]] = {
    "net.caffemodel": (written(b"\x0a\x07AlexNet\xa2\x06\x10" + bytes(range(90))), "caffemodel"),
    "old.caffemodel": (written(b"\x0a\x07AlexNet\x12\x10\x0a" + bytes(range(90))), "caffemodel"),
    "net.onnx": (written(b"\x08\x07\x12\x07pytorch\x1a\x05" + bytes(range(90))), "onnx"),
    "layers.caffemodel": (written(b"\xa2\x06\x93\x01\x0a\x04data" + bytes(90)), "caffemodel"),
    "graph.pb": (
        written(b"\x0a\x2c\x0a\x05input\x12\x0bPlaceholder*\x0b" + bytes(90)),
        "TensorFlow's .pb",
    ),
    "dark.weights": (written(bytes(4) + b"\x02" + bytes(7) + b"\x9a\xbc" * 50), "no kind known"),
    "old.pkl": (lambda path: path.write_bytes(pickle.dumps({"a": b"x"}, 1)) and None, "no kind"),
    "net.mat": (written(b"MATLAB 7.3 MAT-file, Platform: GLNXA64"), "MATLAB"),
    "net.h5": (written(b"\x89HDF\r\n\x1a\n" + bytes(90)), "HDF5"),
    "net.npz": (lambda path: np.savez(path, a=np.zeros(3)), "NumPy arrays (.npz)"),
    "net.keras": (zipped("config.json", "model.weights.h5"), "Keras"),
    "script.pt": (zipped("a/data.pkl", "a/constants.pkl"), "TorchScript"),
    "some.zip": (zipped("readme"), "ZIP archive"),
    "cut.pth": (written(b"PK\x03\x04" + bytes(90)), "cut short"),
    "array.pkl": (lambda path: path.write_bytes(pickle.dumps([1, 2], 4)) and None, "a pickle"),
    "net.gz": (written(b"\x1f\x8b\x08\x00" + bytes(90)), "gzip"),
    "net.tar": (written(b"name".ljust(257, b"\0") + b"ustar\x0000" + bytes(300)), "tar archive"),
    "net.xz": (written(b"\xfd7zXZ\x00" + bytes(90)), "xz"),
    "net.pb": (
        written(b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a"),
        "git lfs pull",
    ),
    "net.html": (written(b"\n<!DOCTYPE html><html><title>404</title>"), "HTML"),
    "net.txt": (written(b'name: "AlexNet"\nlayer {\n'), "it is text"),
    "zeros": (written(bytes(5000)), "only zeros"),
    "photo.jpg": (lambda path: Image.new("RGB", (8, 8)).save(path), "JPEG"),
}


@pytest.mark.parametrize("name", OTHER_FILES)
@pytest.mark.parametrize("read", [load, load_model, Checkpoint.read, convert])
def test_other_files_are_told_by_their_content(
    name: str, read: Callable[..., object], tmp_path: Path
) -> None:
    path = tmp_path / name
    write, kind = OTHER_FILES[name]
    write(path)
    given = () if read is not convert else (tmp_path / "target",)
    assert kind in refused(lambda path: read(path, *given), path)
    path.rename(tmp_path / "weights")  # the name says nothing
    assert kind in refused(lambda path: read(path, *given), tmp_path / "weights")


def test_an_empty_file_and_one_of_torch(tmp_path: Path) -> None:
    path = tmp_path / "net"
    path.touch()
    assert "it is an empty file" in refused(load, path)
    torch_files.write_archive(path, pickle.EMPTY_DICT, {})
    assert "alexnet convert makes one of ours" in refused(Checkpoint.read, path)
    torch_files.write_old(path, pickle.EMPTY_DICT, {})
    assert "alexnet convert makes one of ours" in refused(Checkpoint.read, path)
    as_npy(path, b"N.")
    assert "alexnet convert makes one of ours" in refused(Checkpoint.read, path)


def test_a_header_whose_length_looks_like_a_pickle_is_a_header(tmp_path: Path) -> None:
    """640 bytes of header are the bytes 80 02, with which pickles begin as well."""
    path = tmp_path / "net.safetensors"
    arrays = {"features.0.bias": np.zeros(3, np.float32)}
    weights.write_tensors(path, arrays, {"x": ""})
    missing = 640 - int.from_bytes(path.read_bytes()[:8], "little")
    weights.write_tensors(path, arrays, {"x": "y" * missing})
    assert path.read_bytes()[:2] == b"\x80\x02"
    assert list(read_torchvision(path)) == list(arrays)


# --- what is no regular file ----------------------------------------------------------------------


def pipe(path: Path) -> None:
    os.mkfifo(path)


def bound_socket(path: Path) -> None:
    before = Path.cwd()
    os.chdir(path.parent)  # the path of a socket is short
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(before)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


READERS: dict[str, Reader] = {
    "load": load,
    "load_model": load_model,
    "checkpoint": Checkpoint.read,
    "convert": lambda path: convert(path, path.with_name("target")),
    "torchvision": read_torchvision,
    "caffe": read_caffe,
    "cifar": lambda path: read_pickle(path, read_regular(path, LARGEST_FILE)),
    "image": lambda path: read_image(path, 8),
    "table": lambda path: Table(path, ("step",)),
}


@pytest.mark.parametrize("make", [pipe, bound_socket, device])
@pytest.mark.parametrize("name", READERS)
def test_only_regular_files_are_opened(
    name: str, make: Callable[[Path], None], tmp_path: Path
) -> None:
    path = tmp_path / "x.jpg"
    make(path)
    assert "expected a regular file" in refused(READERS[name], path)


@pytest.mark.parametrize("name", [name for name in READERS if name != "table"])  # written as well
def test_errors_of_the_disk_name_the_file(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first page of this process's memory is a regular file that cannot be read."""
    monkeypatch.setattr(patience, "PAUSES", ())
    path = tmp_path / "x.jpg"
    path.symlink_to("/proc/self/mem")
    with pytest.raises(OSError, match=re.escape(os.strerror(errno.EIO))) as caught:
        READERS[name](path)
    assert caught.value.filename == str(path)


def test_want_of_memory_names_the_file(tmp_path: Path) -> None:
    for message, expected in (("", "out of memory"), ("no 3 bytes", "no 3 bytes")):
        path = tmp_path / "x"
        path.touch()
        with pytest.raises(MemoryError, match=f"x: {expected}"), open_regular(path):
            raise MemoryError(message)


@pytest.mark.parametrize("make", [pipe, bound_socket, device])
def test_photos_that_are_no_regular_files_are_skipped(
    make: Callable[[Path], None], tmp_path: Path
) -> None:
    root = photo_files.write_folder(tmp_path)
    make(root / "train" / "cat" / "x.jpg")
    images = open_image_folder(root).train
    unreadable = [path.name for path in images.paths if not readable(images, path)]
    assert unreadable in ([], ["x.jpg"])
    assert len(images) >= 8


def readable(images: Any, path: Path) -> bool:
    try:
        images.read(images.paths.index(path), 8)
    except UnreadableImageError:
        return False
    return True


def test_a_pipe_among_the_files_of_a_run(tmp_path: Path) -> None:
    data, folder = small_runs.dataset(), tmp_path / "run"
    small_runs.run_to_end(folder, Configuration(steps=2, batch_size=8), data)
    for name in ("config.json", "metrics.csv", "norms.csv"):
        kept = (folder / name).read_bytes()
        (folder / name).unlink()
        pipe(folder / name)
        refused(lambda _: Run.resume(folder, data), folder / name)
        (folder / name).unlink()
        (folder / name).write_bytes(kept)
    (folder / "log.txt").unlink(missing_ok=True)
    pipe(folder / "log.txt")
    run = Run.resume(folder, data)
    refused(lambda _: run.log("x"), folder / "log.txt")
    run.close()


def test_linked_folders_are_seen_once(tmp_path: Path) -> None:
    """Twelve folders with links to all of them: more ways through them than can be gone."""
    root = photo_files.write_folder(tmp_path, per_class=2)
    cats = root / "train" / "cat"
    inside = [cats / f"folder{number}" for number in range(12)]
    for number, folder in enumerate(inside):
        photo_files.write_photo(folder / "x.jpg", number)
    for folder in inside:
        for number, other in enumerate(inside):
            (folder / f"link{number}").symlink_to(other)
        (folder / "up").symlink_to(root)
    (cats / "self").symlink_to("self")
    paths = open_image_folder(root).train.paths
    real = [path.resolve() for path in paths]
    assert len(set(real)) >= 2 + 12 + 2
    assert len(real) < 100


# --- descriptions ---------------------------------------------------------------------------------

ODD: tuple[object, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 10**99, 0.5, -0.5, 1e308, 1e-320),
    *(
        "",
        "a",
        "4",
        "relu",
        "x\ny",
        "\ud800",
        [],
        {},
        [1],
        [1, 2],
        [[1, 2], [3]],
        {"type": "Normal"},
    ),
    *({"type": []}, {"type": "Conv2d"}, {"type": "Variant"}, {"a": 1}, [None] * 3, ["a"] * 3),
    *([2**62] * 2, [[2**62] * 2] * 2, [0, 0, 0], [1e308] * 3),
)
TEXTS = (
    *("NaN", "Infinity", "-Infinity", "1e999", "9" * 5000, "[" * 40 + "]" * 40, "[" * 2000),
    *('{"a":' * 2000, '{"a": 1, "a": 2}', '"\\ud800"', "{", '"\x00"', "1" + "0" * 400 + ".5"),
)
MARKED = "a place for text"


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a tree, the whole first."""
    yield path
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], (*path, key))


def changed(value: Any, path: tuple[Any, ...], new: object) -> Any:
    """Copy with another value at a place."""
    if not path:
        return new
    value = copy.copy(value)
    value[path[0]] = changed(value[path[0]], path[1:], new)
    return value


def without(value: Any, path: tuple[Any, ...]) -> Any:
    value = copy.deepcopy(value)
    inner = value
    for key in path[:-1]:
        inner = inner[key]
    del inner[path[-1]]
    return value


def mutations(value: Any) -> Iterator[str]:
    """JSON texts that differ from `value` in one place."""
    for path in places(value):
        for odd in ODD:
            yield json.dumps(changed(value, path, odd))
        inner = value
        for key in path:
            inner = inner[key]
        if isinstance(inner, dict):
            yield json.dumps(changed(value, path, {**inner, "unknown": 1}))
        if path:
            yield json.dumps(without(value, path))
            marked = json.dumps(changed(value, path, MARKED))
            for text in TEXTS:
                yield marked.replace(json.dumps(MARKED), text)
    yield from TEXTS


def outcome(read: Callable[[], object]) -> str | None:
    """Message of a ValueError, of one line; None for what may be so; other errors go on."""
    try:
        read()
    except ValueError as error:
        message = str(error)
        assert "\n" not in message
        assert len(message) < 1500
        return message
    return None


# One of each kind of layer and field, with as few places as possible.
TINY = small_variant("cifar10-bn")


def tiny_description() -> dict[str, Any]:
    described: dict[str, Any] = json.loads(TINY.to_json())
    seen: set[str] = set()
    kept = []
    for layer in described["layers"]:
        if layer["type"] not in seen or layer is described["layers"][-1]:
            seen.add(layer["type"])
            kept.append(layer)
    dropout = {"type": "Dropout", "name": "dropout7", "rate": 0.5}
    described["layers"] = [*kept[:-1], dropout, kept[-1]]
    described["initialisation"]["exceptions"] = {"fc8.weight": {"type": "Normal", "stddev": 0.1}}
    return described


def test_every_change_of_a_networks_description_is_read_or_refused_in_a_line() -> None:
    described = tiny_description()
    Variant.from_json(json.dumps(described))
    messages = [
        outcome(lambda text=text: Variant.from_json(text))
        for text in itertools.islice(mutations(described), 0, None, 3)
    ]
    told = [message for message in messages if message is not None]
    assert all(message.startswith("not the description of a network: ") for message in told)
    assert len(told) > 0.8 * len(messages) > 700


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("layers", "BatchNorm", "epsilon"), "a", "epsilon is 'a', expected a number"),
        (("layers", "BatchNorm", "epsilon"), 0, "epsilon is 0"),
        (("layers", "BatchNorm", "epsilon"), -1.0, "epsilon is -1"),
        (("layers", "BatchNorm", "epsilon"), 1e-60, "epsilon is 1e-60"),
        (("layers", "BatchNorm", "momentum"), None, "momentum is None, expected a number"),
        (("layers", "BatchNorm", "activation"), "tanh", "activation is 'tanh'"),
        (("layers", "LRN", "depth_radius"), 2.5, "depth_radius is 2.5, expected an integer"),
        (("layers", "LRN", "depth_radius"), -1, "depth_radius is -1"),
        (("layers", "LRN", "bias"), 0, "bias is 0"),
        (("layers", "LRN", "alpha"), 1e60, "alpha is 1e"),
        (("layers", "LRN", "beta"), [1], "beta is a list of 1, expected a number"),
        (("layers", "Conv2d", "bias"), 1, "bias is 1, expected true or false"),
        (("layers", "Conv2d", "stride"), 2**31, "stride is 2147483648, expected an integer"),
        (("layers", "Conv2d", "padding"), 2**31, "padding is 2147483648, expected an integer"),
        (("layers", "Conv2d", "padding"), 2**16, "expected extents of at most 2147483647"),
        (("layers", "Conv2d", "padding"), 20_000, "expected at most 2,147,483,648 numbers"),
        (("layers", "Conv2d", "kernel_size"), [3], "kernel_size is (3,)"),
        (("layers", "Conv2d", "activation"), 3, "activation is 3, expected text or null"),
        (("layers", "MaxPool2d", "window"), 2**20, "window is 1048576x1048576, expected at most"),
        (("layers", "MaxPool2d", "ceil_mode"), 0, "ceil_mode is 0, expected true or false"),
        (("layers", "Dropout", "rate"), 1, "rate is 1"),
        (("layers", "Dense", "features"), 2**31 - 1, "expected at most 2,147,483,648 numbers"),
        (("layers", "Conv2d", "name"), "a\x1b[31m", "name is 'a\\x1b[31m', expected printable"),
        (("layers", "Conv2d", "unknown"), 3, "has the unknown 'unknown'"),
        (("input_shape",), [2**31 - 1] * 3, "expected extents of at most 2147483647"),
        (("input_shape",), [2**15, 2**15, 3], "expected at most 2,147,483,648 numbers"),
        (("input_shape",), [32, 32], "x has shape"),
        (("name",), "", "name is '', expected printable text"),
        (("name",), "x" * 10**5, "expected at most 200 characters"),
        (("initialisation",), {"type": "Dense"}, "is 'Dense', expected Initialisation"),
        (("initialisation", "weight"), {"type": "Initialisation"}, "expected Constant"),
        (("initialisation", "exceptions"), [], "initialisation.exceptions is [], expected"),
        (("layers",), [], "expected a tuple of layers"),
    ],
)
def test_values_of_a_networks_description_are_checked(
    place: tuple[str, ...], value: object, message: str, tmp_path: Path
) -> None:
    described = tiny_description()
    inner: Any = described
    for key in place[:-1]:
        kinds = [entry["type"] for entry in inner] if isinstance(inner, list) else []
        inner = inner[kinds.index(key)] if kinds else inner[key]
    inner[place[-1]] = value
    with pytest.raises(ValueError, match="not the description of a network: ") as caught:
        Variant.from_json(json.dumps(described))
    assert message in str(caught.value)
    path = tmp_path / "net"
    weights.write_tensors(path, {}, {weights.VARIANT_KEY: json.dumps(described)})
    refused(load, path)


def test_a_network_of_very_many_layers_is_refused() -> None:
    described = tiny_description()
    described["layers"] *= 10**4
    text = json.dumps(described)
    with pytest.raises(ValueError, match="not the description of a network: it has"):
        Variant.from_json(text)
    described["layers"] = described["layers"][:3000]
    with pytest.raises(ValueError, match="layers is a list of 3000, expected a list of at most"):
        Variant.from_json(json.dumps(described))


def test_every_change_of_a_checkpoints_description_is_read_or_refused_in_a_line(
    tmp_path: Path,
) -> None:
    path, good = tmp_path / "last.safetensors", checkpoint()
    good.write(path)
    described = json.loads(weights.read_described(path)[2][KEY])
    described["class_names"] = described["class_names"][:1]
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    refusals = count = 0
    for text in itertools.islice(mutations(described), 0, None, 7):
        header["__metadata__"][KEY] = text
        with_header(path, json.dumps(header).encode(), content[end:])
        message = outcome(lambda: Checkpoint.read(path))
        count += 1
        if message is not None:
            refusals += 1
            assert message.startswith(f"{path}: not a checkpoint of this version: ")
    assert refusals > 0.7 * count > 200


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ('"step": Infinity', "it has the number Infinity"),
        ('"step": -1', "step is -1, expected an integer from 0"),
        ('"step": 1.0', "step is 1.0, expected an integer"),
        ('"step": true', "step is True, expected an integer"),
        ('"step": 1, "step": 2', "it has the key 'step' twice"),
        ('"preprocessing": {}', "preprocessing lacks 'augment'"),
        ('"preprocessing": 3', "preprocessing is 3, expected an object"),
        ('"class_names": "abc"', "class_names is 'abc', expected a list"),
        ('"class_names": [1]', "class_names[0] is 1, expected text"),
        ('"class_names": ["\\ud800"]', "expected whole characters"),
        ('"best_accuracy": 2', "best_accuracy is 2, expected a finite number from 0 to 1"),
        ('"best_accuracy": NaN', "it has the number NaN"),
        ('"data": null', "data is None, expected an object"),
        ('"data": {"images": "40"}', "data.images is '40', expected an integer"),
        ('"more": 1', "it has the unknown 'more'"),
    ],
)
def test_values_of_a_checkpoint_are_checked(changes: str, message: str, tmp_path: Path) -> None:
    path, good = tmp_path / LAST, checkpoint()
    good.write(path)
    described = json.loads(weights.read_described(path)[2][KEY])
    key = changes.split('"')[1]
    described.pop(key, None)
    text = json.dumps(described)[:-1] + f", {changes}}}"
    weights.write(path, good.variant, good.network, {KEY: text})
    assert message in refused(load_model, path)


def test_parts_of_a_checkpoint_that_do_not_fit_together(tmp_path: Path) -> None:
    path, good = tmp_path / LAST, checkpoint()
    for steps in (np.zeros(2, np.int64), np.array(1.5), np.array(-1, np.int64)):
        optimizer = {**good.optimizer, "steps": steps}
        Checkpoint(good.variant, good.network, optimizer).write(path)
        assert "optimizer.steps is" in refused(Checkpoint.read, path)
    Checkpoint(good.variant, good.network, class_names=("a",)).write(path)
    assert "1 class_names, but the output" in refused(load_model, path)


def test_every_change_of_a_runs_settings_is_read_or_refused_in_a_line(tmp_path: Path) -> None:
    data, folder = small_runs.dataset(), tmp_path / "run"
    small_runs.run_to_end(folder, Configuration(steps=1, batch_size=8), data)
    (folder / LAST).unlink()
    path = folder / "config.json"
    described = json.loads(path.read_text())
    described["environment"] = {}
    refusals = count = 0
    for text in itertools.islice(mutations(described), 0, None, 7):
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        message = outcome(lambda: read_description(path, data))
        count += 1
        if message is not None:
            refusals += 1
            assert message.startswith(f"{path}: ")
    assert refusals > 0.7 * count > 200
    for name, value in (("batch_size", "4"), ("steps", 0), ("optimizer", "Adam"), ("seed", -1)):
        wrong = changed(described, ("configuration", name), value)
        path.write_text(json.dumps(wrong))
        assert f"configuration.{name} is {value!r}" in refused(
            lambda _: Run.resume(folder, data), path
        )
    path.write_bytes(b"\xff\xfe{}")
    refused(lambda _: Run.resume(folder, data), path)


def test_descriptions_have_a_largest_size() -> None:
    with pytest.raises(ValueError, match="it has 5,000,000 characters, expected at most"):
        parse(" " * 5_000_000)
    with pytest.raises(ValueError, match="more than 32 lists and objects deep"):
        parse("[" * 33 + "]" * 33)
    assert parse('["]]]][[[[' + "[" * 100 + '\\""]') == ["]]]][[[[" + "[" * 100 + '"']


def test_values_are_shown_in_a_bounded_length() -> None:
    nested: Any = []
    for _ in range(100):
        nested = [nested, nested]
    for value in (nested, "x" * 10**6, 10**10**4, {"a": nested}, (nested,), b"x" * 10**5, object()):
        assert len(shown(value)) < 400
    with pytest.raises(ValueError, match="it is a list of 2, expected an integer"):
        Entry("", nested).integer()
    with pytest.raises(ValueError, match="expected a finite number"):
        Entry("", 10**400).number()


# --- headers of safetensors files -----------------------------------------------------------------


def with_header(path: Path, header: bytes, content: bytes = b"", length: int | None = None) -> Path:
    size = len(header) if length is None else length
    path.write_bytes(struct.pack("<Q", size) + header + content)
    return path


def entry(shape: object, begin: object, end: object, dtype: object = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    ("header", "size", "message"),
    [
        ({"a": entry([2], 0, 8), "b": entry([2], 4, 12)}, 12, "'b' begins at byte 4, not at 8"),
        ({"a": entry([2], 0, 8), "b": entry([2], 0, 8)}, 8, "begins at byte 0, not at 8"),
        ({"a": entry([2], 0, 8), "b": entry([2], 12, 20)}, 20, "begins at byte 12, not at 8"),
        ({"a": entry([2], 0, 8)}, 12, "its arrays end at byte"),
        ({"a": entry([2], 0, 8)}, 4, "its arrays end at byte"),
        ({"a": entry([2**40], 0, 2**42)}, 8, "expected an integer from 0 to"),
        ({"a": entry([2**30, 2**30], 0, 2**62)}, 8, "its arrays end at byte"),
        ({"a": entry([2**31 - 1] * 16, 0, 8)}, 8, "which is too large"),
        ({"a": entry([0] + [2**31 - 1] * 15, 0, 0)}, 0, "which is too large"),
        ({"a": entry([1] * 70, 0, 4)}, 4, "expected a list of at most 16"),
        ({"a": entry([-2], 0, 8)}, 8, "a.shape[0] is -2"),
        ({"a": entry([2.0], 0, 8)}, 8, "a.shape[0] is 2.0"),
        ({"a": entry([2], 8, 0)}, 8, "a has -8 bytes"),
        ({"a": entry([3], 0, 8)}, 8, "a has 8 bytes for the shape (3,)"),
        ({"a": entry([4], 0, 8, "BF16")}, 8, "a.dtype is 'BF16', expected"),
        ({"a": entry([2], 0, 8, ["F32"])}, 8, "a.dtype is a list of 1"),
        ({"a": {"dtype": "F32", "shape": [2]}}, 8, "a lacks 'data_offsets'"),
        ({"a": {**entry([2], 0, 8), "x": 1}}, 8, "a has the unknown 'x'"),
        ({"a": [1]}, 8, "a is a list of 1, expected an object"),
        ({"__metadata__": {"a": 3}}, 0, "__metadata__.a is 3, expected text"),
        ({"__metadata__": []}, 0, "__metadata__ is [], expected an object"),
        ({"\x1b[2J": entry([2], 0, 8)}, 8, "expected printable text"),
        ([], 0, "it is of no kind known here"),
    ],
)
def test_headers_are_checked(header: object, size: int, message: str, tmp_path: Path) -> None:
    path = with_header(tmp_path / "net", json.dumps(header).encode(), bytes(size))
    for read in (weights.read_tensors, load_model, read_torchvision):
        assert message in refused(read, path)


def test_headers_of_odd_lengths_and_texts_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "net"
    twice = b'{"a": %s, "a": %s}' % ((json.dumps(entry([2], 0, 8)).encode(),) * 2)
    assert "'a' twice" in refused(load, with_header(path, twice, bytes(8)))
    for length in (2**63, 2**64 - 1, 2**40):
        assert "its header should have" in refused(load, with_header(path, b"{}", b"", length))
    for header in (b"{", b"\xff{}", b"[" * 10**5, b'{"a":' * 10**5, b"NaN", b'{"a": 1e999}'):
        refused(load, with_header(path, header))
    with path.open("wb") as file:
        file.write(struct.pack("<Q", 2**33) + b"{}")
        file.truncate(2**33 + 8)
    assert "its header has 8,589,934,592 bytes" in refused(load, path)


def test_damaged_bytes_of_a_checkpoint_give_one_line(tmp_path: Path) -> None:
    path, generator = tmp_path / "c", np.random.default_rng(5)
    checkpoint().write(path)
    content = np.frombuffer(path.read_bytes(), np.uint8)
    header = 8 + int.from_bytes(content[:8].tobytes(), "little")
    refusals = 0
    for _ in range(250):
        damaged = content.copy()
        where = generator.integers(0, header, generator.integers(1, 4))
        damaged[where] = generator.integers(0, 256, where.size)
        path.write_bytes(damaged.tobytes())
        message = outcome(lambda: load_model(path))
        refusals += message is not None
        assert message is None or str(path) in message
    assert refusals > 120


def test_the_command_says_it_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "net.onnx"
    OTHER_FILES["net.onnx"][0](path)
    photo = photo_files.write_photo(tmp_path / "a.jpg")
    root = photo_files.write_folder(tmp_path / "photos")
    for arguments in (
        ["predict", str(path), str(photo)],
        ["evaluate", str(path), str(root)],
        ["convert", str(path), str(tmp_path / "target")],
    ):
        assert main(arguments) == 2
        error = capsys.readouterr().err
        assert "net.onnx: " in error
        assert "protocol buffer" in error
        assert error.count("\n") == 1
    assert not (tmp_path / "target").exists()
