"""Checkpoints: what is written is read, and nothing else is."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from alexnet.interchange import load_model
from alexnet.network import weights
from alexnet.network.checkpoint import BEST, KEY, LAST, Checkpoint
from alexnet.network.variants import AlexNet
from support import cifar_files as files
from support import small_runs
from support.checkpoints import PREPROCESSING, VARIANT, checkpoint


def assert_same(first: Checkpoint, second: Checkpoint) -> None:
    for field in dataclasses.fields(Checkpoint):
        one, other = getattr(first, field.name), getattr(second, field.name)
        if field.name in ("network", "optimizer"):
            assert one.keys() == other.keys()
            for name in one:
                np.testing.assert_array_equal(one[name], other[name], strict=True)
        else:
            assert one == other, field.name


def test_what_is_written_is_read(tmp_path: Path) -> None:
    written = checkpoint()
    written.write(tmp_path / "c")
    assert_same(Checkpoint.read(tmp_path / "c"), written)
    bare = Checkpoint(VARIANT, written.network)
    bare.write(tmp_path / "c")
    assert_same(Checkpoint.read(tmp_path / "c"), bare)
    assert [entry.name for entry in tmp_path.iterdir()] == ["c"]


def test_model_of_a_file_and_of_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds neither best.safetensors nor last.safetensors"):
        load_model(tmp_path)
    last, best = checkpoint(1), checkpoint(2)
    last.write(tmp_path / LAST)
    for path in (tmp_path, tmp_path / LAST):
        model = load_model(path)
        assert (model.class_names, model.preprocessing) == (files.CLASSES, PREPROCESSING)
        assert model.step == 7
        for name, array in model.network.tensors().items():
            np.testing.assert_array_equal(array, last.network[name])
    best.write(tmp_path / BEST)
    name = "fc8.weight"
    np.testing.assert_array_equal(
        load_model(str(tmp_path)).network.parameters[name], best.network[name]
    )


def test_file_of_a_network_alone_is_a_model(tmp_path: Path) -> None:
    network = AlexNet(VARIANT, seed=5)
    network.save(tmp_path / "net")
    model = load_model(tmp_path / "net")
    assert (model.class_names, model.preprocessing, model.step) == (None, None, 0)
    images = PREPROCESSING.evaluation_views(list(small_runs.image_set(2, 4).pixels))
    np.testing.assert_array_equal(model.network.forward(images), network.forward(images))


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c"
    checkpoint().write(path)
    content = path.read_bytes()
    for length in (0, 1, 7, 8, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match="not a whole safetensors file"):
            Checkpoint.read(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, "its version is 2, expected 1"),
        ({"step": "x"}, "not a checkpoint of this version: step is 'x', expected an integer"),
        ({"data": [1]}, "data is a list of 1, expected an object"),
        ({"preprocessing": {"mean": 1}}, "preprocessing lacks 'augment', "),
        ({"best_accuracy": "high"}, "best_accuracy is 'high', expected a number"),
    ],
)
def test_damaged_descriptions(changes: dict[str, object], message: str, tmp_path: Path) -> None:
    path, good = tmp_path / "c", checkpoint()
    good.write(path)
    described = json.loads(weights.read_described(path)[2][KEY])
    weights.write(path, VARIANT, good.network, {KEY: json.dumps(described | changes)})
    with pytest.raises(ValueError, match=message) as caught:
        Checkpoint.read(path)
    assert str(path) in str(caught.value)
    weights.write(path, VARIANT, good.network, {KEY: "["})
    with pytest.raises(ValueError, match="not a checkpoint"):
        Checkpoint.read(path)


def test_arrays_that_are_not_the_networks(tmp_path: Path) -> None:
    path, good = tmp_path / "c", checkpoint()
    dataclasses.replace(good, network={**good.network, "fc9.weight": np.zeros(3)}).write(path)
    with pytest.raises(ValueError, match=r"c: cifar10-bn: arrays lack nothing, and have fc9"):
        load_model(path)
