"""Evaluation: its numbers against counting by hand, ten crops, what it refuses, the command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexnet import reference
from alexnet.cli import main
from alexnet.data import ImageSet, PhotoSet, Preprocessing
from alexnet.inference.evaluation import Evaluation, evaluate
from alexnet.network.checkpoint import Checkpoint
from alexnet.network.variants import AlexNet, variant_named
from support import cifar_files as files
from support.processes import status_of

CLASSES = 7
VARIANT = variant_named("cifar10-bn").shrunk(width=1 / 24)


def images(count: int = 25, classes: int = CLASSES) -> ImageSet:
    generator = np.random.default_rng(5)
    pixels = generator.integers(0, 256, (count, 32, 32, 3)).astype(np.uint8)
    return ImageSet(pixels, np.arange(count, dtype=np.int64) % classes)


@pytest.fixture
def network() -> AlexNet:
    return AlexNet(VARIANT, seed=2, num_classes=CLASSES)


@pytest.fixture
def preprocessing() -> Preprocessing:
    return Preprocessing.fit(images(), VARIANT.input_shape)


def softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits.astype(np.float64))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("ten_crop", [False, True])
@pytest.mark.parametrize("batch_size", [1, 7, 100])
def test_against_counting_by_hand(
    ten_crop: bool, batch_size: int, network: AlexNet, preprocessing: Preprocessing
) -> None:
    data, views = images(), 10 if ten_crop else 1
    inputs = preprocessing.evaluation_views(list(data.pixels), ten_crop=ten_crop)
    each = softmax(network.forward(inputs)).reshape(-1, views, CLASSES)
    probabilities = each.mean(axis=1)
    confusion = np.zeros((CLASSES, CLASSES), int)
    best = top5 = 0
    loss = 0.0
    for row, label in zip(probabilities, data.labels, strict=True):
        ranking = sorted(range(CLASSES), key=lambda k: -row[k])
        confusion[label, ranking[0]] += 1
        best += ranking[0] == label
        top5 += label in ranking[:5]
        loss -= np.log(row[label])

    calls: list[int] = []
    result = evaluate(
        network,
        data,
        preprocessing,
        batch_size=batch_size,
        ten_crop=ten_crop,
        on_batch=lambda: calls.append(1),
    )
    np.testing.assert_array_equal(result.confusion, confusion)
    assert result.images == len(data)
    assert result.accuracy == best / len(data)
    assert result.top5_accuracy == top5 / len(data)
    assert result.loss == pytest.approx(loss / len(data), rel=1e-5)
    assert 0 < result.accuracy < result.top5_accuracy < 1  # else the test would tell little
    assert len(calls) == -(-len(data) // max(1, batch_size // views))


def test_loss_is_that_of_the_operator(network: AlexNet, preprocessing: Preprocessing) -> None:
    data = images()
    logits = network.forward(preprocessing.evaluation_views(list(data.pixels)))
    expected = float(reference.softmax_cross_entropy(logits, data.labels))
    assert evaluate(network, data, preprocessing).loss == pytest.approx(expected, rel=1e-12)


def test_a_very_sure_network_has_a_finite_loss(
    network: AlexNet, preprocessing: Preprocessing
) -> None:
    for name in ("fc8.weight", "fc8.bias"):
        network.parameters[name][...] = 0
    network.parameters["fc8.bias"][0] = 5000
    for ten_crop in (False, True):
        result = evaluate(network, images(), preprocessing, ten_crop=ten_crop)
        assert result.loss == pytest.approx(5000 * 21 / 25)
        assert result.accuracy == 4 / 25


def test_a_ruined_network_is_right_no_more_often_than_by_chance(
    network: AlexNet, preprocessing: Preprocessing
) -> None:
    network.parameters["fc8.bias"][...] = np.nan
    result = evaluate(network, images(), preprocessing)
    assert np.isnan(result.loss)
    assert result.accuracy == 4 / 25


def test_precision_and_recall() -> None:
    result = Evaluation(0.0, 1.0, np.array([[3, 1, 0], [2, 2, 0], [0, 0, 0]]))
    np.testing.assert_array_equal(result.counts, [4, 4, 0])
    np.testing.assert_array_equal(result.recall, [3 / 4, 2 / 4, np.nan])
    np.testing.assert_array_equal(result.precision, [3 / 5, 2 / 3, np.nan])
    assert (result.images, result.accuracy) == (8, 5 / 8)


def test_what_does_not_fit(network: AlexNet, preprocessing: Preprocessing, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="evaluate: the image set is empty"):
        evaluate(network, images(0), preprocessing)
    with pytest.raises(ValueError, match=r"output of cifar10-bn is \(7,\), .* classes up to 8"):
        evaluate(network, images(25, 9), preprocessing)
    features = AlexNet("tf-tutorial", seed=None)
    with pytest.raises(ValueError, match=r"output of tf-tutorial is \(6, 6, 256\)"):
        evaluate(features, images(), preprocessing)
    with pytest.raises(ValueError, match="batch_size is 0"):
        evaluate(network, images(), preprocessing, batch_size=0)
    with pytest.raises(ValueError, match=r"x has shape"):
        evaluate(network, images(), replace(preprocessing, input_size=(30, 30)))
    (tmp_path / "a.jpg").write_bytes(b"none")
    unreadable = PhotoSet([tmp_path / "a.jpg"], np.zeros(1, np.int64))
    with pytest.raises(ValueError, match="evaluate: no image can be read"):
        evaluate(network, unreadable, preprocessing)


# --- the command ----------------------------------------------------------------------------------


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return files.write_directory(tmp_path / "data")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    made = AlexNet(VARIANT, seed=11, num_classes=3)  # which sees two of the classes
    fitted = Preprocessing.fit(ImageSet(*files.easy_images(0, 12)), VARIANT.input_shape)
    described = Checkpoint(
        made.variant, made.tensors(), class_names=files.CLASSES, preprocessing=fitted
    )
    described.write(tmp_path / "net.safetensors")
    return tmp_path / "net.safetensors"


def test_the_command(
    data: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures_file, plot = tmp_path / "figures.json", tmp_path / "plot.png"
    arguments = ["evaluate", str(checkpoint), str(data), "--json", str(figures_file)]
    assert main([*arguments, "--plot", str(plot), "--batch-size", "5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    figures = json.loads(figures_file.read_text())
    assert lines[0].split() == ["class", "images", "precision", "recall"]
    assert [line.split()[0] for line in lines[1:4]] == list(files.CLASSES)
    assert [line.split()[1] for line in lines[1:4]] == ["4", "4", "4"]
    assert lines[6].split() == list(files.CLASSES)
    table = [list(map(int, line.split()[1:])) for line in lines[7:10]]
    assert table == figures["confusion"]
    accuracy = (table[0][0] + table[1][1] + table[2][2]) / 12
    assert lines[11] == f"Loss: {figures['loss']:.4f}, accuracy: {accuracy:.4f}"
    assert lines[12] == "12 images"
    assert figures["accuracy"] == accuracy
    assert figures["top5_accuracy"] == 1.0
    assert [entry["name"] for entry in figures["classes"]] == list(files.CLASSES)
    assert all(entry["images"] == 4 for entry in figures["classes"])
    with Image.open(plot) as picture:
        assert picture.format == "PNG"
    assert main([*arguments, "--split", "train", "--ten-crop"]) == 0
    assert json.loads(figures_file.read_text())["images"] == 60


def test_a_network_without_preprocessing(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    AlexNet(VARIANT, seed=2, num_classes=3).save(tmp_path / "net")
    assert main(["evaluate", str(tmp_path / "net"), str(data)]) == 0
    assert "net has no mean and deviation: those of cifar10-bn are used" in capsys.readouterr().out
    measured = replace(VARIANT.with_classes(3), pixel_range=None)
    AlexNet(measured, seed=2).save(tmp_path / "net")
    assert main(["evaluate", str(tmp_path / "net"), str(data)]) == 0
    assert f"net has no mean and deviation: those of {data} are" in capsys.readouterr().out


NAMES = (":cat:", "[red]dog", "a\x1b[31m\nb\u202e", os.fsdecode(b"caf\xe9"), "猫")


def test_names_are_printed_as_they_are_and_do_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for part in ("train", "test"):
        for number, name in enumerate(NAMES):
            (tmp_path / part / name).mkdir(parents=True)
            image = Image.new("RGB", (40, 40), (number * 50, number * 9, number))
            image.save(tmp_path / part / name / "0.png")
    (tmp_path / "test" / NAMES[2] / "damaged\r.png").write_bytes(b"?")
    AlexNet(VARIANT, seed=2, num_classes=len(NAMES)).save(tmp_path / "net")
    plot, figures = tmp_path / "plot.png", tmp_path / "figures.json"
    arguments = ["evaluate", str(tmp_path / "net"), str(tmp_path), "--json", str(figures)]
    assert main([*arguments, "--plot", str(plot)]) == 0
    captured = capsys.readouterr()
    names = [line.split()[0] for line in captured.out.splitlines()[2:7]]
    shown = {":cat:", "[red]dog", "a\\x1b[31m\\nb\\u202e", "caf\\udce9", "猫"}
    assert set(names) == shown
    assert captured.err.splitlines() == [
        f"alexnet: warning: skipped {tmp_path}/test/a\\x1b[31m\\nb\\u202e/damaged\\r.png: no image"
    ]
    described = json.loads(figures.read_text())
    assert {entry["name"] for entry in described["classes"]} == set(NAMES)
    assert plot.exists()


@pytest.mark.parametrize("encoding", ["ascii", "utf-8", "latin-1"])
def test_no_name_ends_a_command_whatever_the_encoding(encoding: str, tmp_path: Path) -> None:
    for name in NAMES:
        (tmp_path / "train" / name).mkdir(parents=True)
        Image.new("RGB", (40, 40), (len(name), 9, 200)).save(tmp_path / "train" / name / "0.png")
    Image.new("RGB", (40, 40)).save(tmp_path / "train" / NAMES[0] / "1.png")
    AlexNet(VARIANT, seed=2, num_classes=len(NAMES)).save(tmp_path / "net")
    command = [sys.executable, "-m", "alexnet", "evaluate", str(tmp_path / "net"), str(tmp_path)]
    result = subprocess.run(
        [*command, "--split", "train"],
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert (b"\\u732b" if encoding != "utf-8" else "猫".encode()) in result.stdout
    assert b"caf\\udce9" in result.stdout


def test_spellings_of_an_accent_are_one_class(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("Ka\u0308tzchen", "dog"):
        (tmp_path / "train" / name).mkdir(parents=True)
        Image.new("RGB", (40, 40), (len(name), 9, 9)).save(tmp_path / "train" / name / "0.png")
    fitted = Preprocessing.fit(ImageSet(*files.easy_images(0, 12)), VARIANT.input_shape)
    made = AlexNet(VARIANT, num_classes=2)
    named = Checkpoint(made.variant, made.tensors(), preprocessing=fitted)
    for names in (("K\u00e4tzchen", "dog"), ("Ka\u0308tzchen", "dog")):
        replace(named, class_names=names).write(tmp_path / "net")
        command = ["evaluate", str(tmp_path / "net"), str(tmp_path), "--split", "train"]
        assert main(command) == 0, capsys.readouterr().err


def test_bad_use(
    data: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = AlexNet(VARIANT, seed=2, num_classes=2)
    made.save(tmp_path / "two")
    named = Checkpoint(VARIANT.with_classes(3), AlexNet(VARIANT, num_classes=3).tensors())
    replace(named, class_names=("x", "y", "z")).write(tmp_path / "xyz")
    photos = tmp_path / "photos" / "train"
    for number, name in enumerate(files.CLASSES):
        (photos / name).mkdir(parents=True)
        Image.new("RGB", (40, 40), (number * 50, 9, 200)).save(photos / name / "a.png")
    for arguments, message in (
        ((tmp_path / "two", data), "has 3 classes, but the output of"),
        ((tmp_path / "xyz", data), "the classes dark, bright, red, but"),
        ((tmp_path / "none", data), "none"),
        ((checkpoint, tmp_path / "none"), "none does not exist"),
        ((checkpoint, data, "--split", "validation"), "'validation', expected one of test, train"),
        ((checkpoint, data, "--batch-size", "0"), "'0', expected an integer from 1"),
        ((checkpoint, tmp_path / "photos"), "has the classes bright, dark, red, but"),
        ((checkpoint, data, "--plot", tmp_path / "no" / "a.png"), "no"),
    ):
        assert status_of(["evaluate", *arguments]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


def test_no_test_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, name in enumerate("ab"):
        (tmp_path / "train" / name).mkdir(parents=True)
        Image.new("RGB", (40, 40), (number * 50, 9, 200)).save(tmp_path / "train" / name / "a.png")
    AlexNet(VARIANT, seed=2, num_classes=2).save(tmp_path / "net")
    assert main(["evaluate", str(tmp_path / "net"), str(tmp_path)]) == 2
    assert "has no test images; --split train takes the others" in capsys.readouterr().err
