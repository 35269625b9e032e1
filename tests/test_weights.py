"""Weights in files: what comes back is what was saved, and nothing else is taken for it."""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from alexnet import reference
from alexnet.data import open_cifar10, open_dataset, open_image_folder, read_image
from alexnet.interchange import convert, load, load_model
from alexnet.network import weights
from alexnet.network.variant import Variant
from alexnet.network.variants import AlexNet
from support.small_networks import small_variant

NAMES = ("cifar10-bn", "krizhevsky-2012", "slim-v2", "tf-small")


def network(name: str = "cifar10-bn", **settings: object) -> AlexNet:
    return AlexNet(small_variant(name), **settings)  # type: ignore[arg-type]


def metadata(path: Path) -> dict[str, str]:
    with safe_open(path, framework="numpy") as file:
        return dict(file.metadata())


@pytest.mark.parametrize("name", NAMES)
def test_loaded_is_saved(name: str, tmp_path: Path) -> None:
    saved = network(name, seed=4)
    for array in saved.state.values():
        if array.dtype.kind == "f":
            array += 0.25  # running statistics that no fresh network has
    saved.save(tmp_path / "net.safetensors")
    loaded = load(tmp_path / "net.safetensors")
    assert isinstance(loaded, AlexNet)
    assert loaded.variant == saved.variant
    assert loaded.tensors().keys() == saved.tensors().keys()
    for key, value in saved.tensors().items():
        np.testing.assert_array_equal(loaded.tensors()[key], value)
        assert loaded.tensors()[key].dtype == value.dtype
    assert [entry.name for entry in tmp_path.iterdir()] == ["net.safetensors"]


def test_variations_come_back(tmp_path: Path) -> None:
    saved = network("caffe", lrn=False, num_classes=3)
    saved.save(tmp_path / "net")
    assert load(tmp_path / "net").variant == saved.variant


def test_float32_file_into_the_reference(tmp_path: Path) -> None:
    saved = network(seed=4)
    saved.save(tmp_path / "net")
    loaded = load(tmp_path / "net", implementation=reference)
    for key, value in saved.parameters.items():
        assert loaded.parameters[key].dtype == np.float64
        np.testing.assert_array_equal(loaded.parameters[key], value)
    loaded.save(tmp_path / "net64")
    with pytest.raises(ValueError, match=r"net64: .* has dtype float64, expected float32"):
        load(tmp_path / "net64")


def test_file_is_plain_safetensors(tmp_path: Path) -> None:
    saved = network()
    saved.save(tmp_path / "net")
    arrays = load_file(tmp_path / "net")
    np.testing.assert_array_equal(arrays["conv1.weight"], saved.parameters["conv1.weight"])
    assert json.loads(metadata(tmp_path / "net")[weights.VARIANT_KEY])["name"] == "cifar10-bn"


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net"
    network().save(path)
    whole = path.read_bytes()
    for length in (0, 1, 7, 8, 9, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"net: not a whole safetensors file"):
            load(path)


def test_foreign_files(tmp_path: Path) -> None:
    path = tmp_path / "net"
    path.write_bytes(b"\x80\x04" + b"pickle, perhaps" * 100)
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        load(path)
    save_file({"weight": np.zeros(3, np.float32)}, path)
    with pytest.raises(ValueError, match="net: not torchvision's AlexNet: arrays lack"):
        load(path)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "nothing")
    with pytest.raises(ValueError, match=r"holds neither best\.safetensors nor last"):
        load(tmp_path)


@pytest.mark.parametrize(("dtype", "count"), [("BF16", 2), ("F8_E4M3", 4)])
def test_dtypes_that_numpy_lacks(dtype: str, count: int, tmp_path: Path) -> None:
    described = {"a": {"dtype": dtype, "shape": [count], "data_offsets": [0, 4]}}
    header = json.dumps(described).encode()
    (tmp_path / "net").write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    with pytest.raises(ValueError, match="net: not a whole safetensors file"):
        load(tmp_path / "net")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "7",
        "[]",
        "{}",
        '{"type": "Normal", "stddev": 1}',
        '{"type": "os.system"}',
        '{"type": ["Variant"]}',
        '{"type": "Variant", "name": "x"}',
        '{"type": "Variant", "name": "", "description": "", "input_shape": [4], "layers": 3}',
        '{"type": "Variant", "name": "", "description": "", "input_shape": 4, "layers": []}',
        "[" * 100_000,
    ],
)
def test_wrong_descriptions(text: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not the description of a network"):
        Variant.from_json(text)
    path = tmp_path / "net"
    save_file({"w": np.zeros(1, np.float32)}, path, {weights.VARIANT_KEY: text})
    with pytest.raises(ValueError, match="net: not the description of a network"):
        load(path)


@pytest.mark.parametrize("features", [0, -3, 2.5, True, "64", None, 10**30])
def test_wrong_numbers_in_a_description(features: object) -> None:
    described = json.loads(small_variant("caffe").to_json())
    described["layers"][0]["features"] = features
    with pytest.raises(ValueError, match="not the description of a network: conv1: features is "):
        Variant.from_json(json.dumps(described))


@pytest.mark.parametrize(
    ("function", "call"),
    [
        ("save", lambda path: network().save(path)),
        ("restore", lambda path: network().restore(path)),
        ("load", load),
        ("load_model", load_model),
        ("convert", lambda path: convert("net", path)),
        ("convert", lambda path: convert(path, "net")),
        ("open_dataset", open_dataset),
        ("open_cifar10", open_cifar10),
        ("open_image_folder", open_image_folder),
        ("read_image", read_image),
    ],
)
def test_what_is_no_name_of_a_file(function: str, call: Callable[[Any], object]) -> None:
    for bad in (3, None, b"net"):
        with pytest.raises(
            TypeError, match=rf"^{function}: \w+ is {bad!r}, expected str or os.Path"
        ):
            call(bad)
    for text in ("", "a\0b", "\ud800"):
        message = re.escape(f" is {text!r}, expected the name of a file or folder")
        with pytest.raises(ValueError, match=rf"^{function}: \w+{message}$"):
            call(text)


def test_arrays_that_do_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "net"
    saved = network()
    variant, tensors = saved.variant, saved.tensors()

    def refused(changed: dict[str, np.ndarray], message: str) -> None:
        weights.write(path, variant, changed)
        with pytest.raises(ValueError, match=message):
            load(path)

    refused({**tensors, "fc8.bias": np.zeros(9, np.float32)}, r"fc8.bias has shape \(9,\)")
    refused({key: tensors[key] for key in tensors if key != "fc8.bias"}, "fc8.bias is missing")
    refused({key: tensors[key] for key in tensors if key != "generator"}, "lack generator")
    refused({**tensors, "fc9.bias": np.zeros(9, np.float32)}, "have fc9.bias too many")
    refused({**tensors, "fc8.bias": np.zeros(10, np.int64)}, "fc8.bias has dtype int64")
    refused({**tensors, "generator": np.zeros(3, np.uint64)}, r"generator has shape \(3,\)")
    refused({**tensors, "bn2.running_mean": np.zeros(1, np.float32)}, "bn2.running_mean has shape")


def test_restore_takes_its_own_kind_only(tmp_path: Path) -> None:
    path = tmp_path / "net"
    saved = network(seed=1)
    saved.save(path)
    other = network(seed=2)
    other.restore(path)
    np.testing.assert_array_equal(other.parameters["fc6.weight"], saved.parameters["fc6.weight"])
    wrong = network("tf-small", seed=3)
    before = wrong.parameters["conv1.weight"].copy()
    with pytest.raises(ValueError, match=r"net: holds cifar10-bn .* differs from this .* tf-small"):
        wrong.restore(path)
    np.testing.assert_array_equal(wrong.parameters["conv1.weight"], before)


def test_assign_changes_all_or_nothing() -> None:
    target, source = network(seed=1), network(seed=2)
    tensors = source.tensors()
    tensors["fc8.bias"] = np.zeros(3, np.float32)
    before = {key: value.copy() for key, value in target.tensors().items()}
    with pytest.raises(ValueError, match=r"fc8.bias has shape"):
        target.assign(tensors)
    for key, value in target.tensors().items():
        np.testing.assert_array_equal(value, before[key])


WRITE_ON_A_FULL_DISK = """
import resource, signal, sys
import numpy as np
from alexnet.network import weights

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    weights.write_tensors(sys.argv[1], {"a": np.zeros(10**6, np.float32)}, {})
except OSError as error:
    print(error)
    sys.exit(7)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX limits")
def test_failed_write_leaves_the_earlier_file(tmp_path: Path) -> None:
    path = tmp_path / "net"
    network().save(path)
    before = path.read_bytes()
    command = [sys.executable, "-c", WRITE_ON_A_FULL_DISK, str(path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 7, result.stderr
    assert f"File too large: '{path}'" in result.stdout
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["net"]


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="missing"):
        network().save(tmp_path / "missing" / "net")
