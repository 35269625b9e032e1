"""Prediction: probabilities by hand, names, unreadable images, the command; the whole chain."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexnet.cli import main
from alexnet.data import (
    ImageSet,
    Preprocessing,
    UnreadableImageError,
    imagenet_classes,
    read_image,
)
from alexnet.inference.prediction import predict, top_classes
from alexnet.interchange import load_model, to_torchvision, write_torchvision
from alexnet.network.checkpoint import Checkpoint, TrainedModel
from alexnet.network.variants import VARIANTS, AlexNet, variant_named
from support import cifar_files as files
from support.processes import status_of

VARIANT = variant_named("cifar10-bn").shrunk(width=1 / 24)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    made = AlexNet(VARIANT, seed=2, num_classes=3)
    fitted = Preprocessing.fit(ImageSet(*files.easy_images(0, 12)), VARIANT.input_shape)
    path = tmp_path / "net.safetensors"
    Checkpoint(made.variant, made.tensors(), class_names=files.CLASSES, preprocessing=fitted).write(
        path
    )
    return path


@pytest.fixture
def photos(tmp_path: Path) -> list[str]:
    """One upright and one wide image, neither of the network's size."""
    generator = np.random.default_rng(3)
    paths = []
    for name, size in (("a.png", (50, 40, 3)), ("b.jpg", (64, 90, 3))):
        Image.fromarray(generator.integers(0, 256, size).astype(np.uint8)).save(tmp_path / name)
        paths.append(str(tmp_path / name))
    return paths


@pytest.mark.parametrize("ten_crop", [False, True])
def test_probabilities_by_hand(ten_crop: bool, checkpoint: Path, photos: list[str]) -> None:
    model = load_model(checkpoint)
    assert model.preprocessing is not None
    pixels = [read_image(path, 32) for path in photos]
    views = model.preprocessing.evaluation_views(pixels, ten_crop=ten_crop)
    exponentials = np.exp(model.network.forward(views).astype(np.float64))
    each = exponentials / exponentials.sum(axis=1, keepdims=True)
    expected = each.reshape(2, -1, 3).mean(axis=1)
    for images in (photos, pixels, [Path(path) for path in photos]):
        actual = predict(model, images, ten_crop=ten_crop)
        np.testing.assert_allclose(actual, expected, rtol=1e-5)
        np.testing.assert_allclose(actual.sum(axis=1), 1, rtol=1e-12)
    assert predict(model, []).shape == (0, 3)


def test_one_image_in_any_form_is_one_row(checkpoint: Path, photos: list[str]) -> None:
    model = load_model(checkpoint)
    both = predict(model, photos)
    for path, expected in zip(photos, both, strict=True):
        with Image.open(path) as image:
            pixels = np.asarray(image)
            forms = (path, Path(path), image, pixels)
            for form in forms:
                actual = predict(model, form)
                assert actual.shape == (3,)
                np.testing.assert_array_equal(actual, expected)
            np.testing.assert_array_equal(predict(model, pixels[None]), expected[None])
            np.testing.assert_array_equal(predict(model, forms), [expected] * len(forms))


def test_an_image_of_pillow_is_upright_and_left_as_it_was(checkpoint: Path, tmp_path: Path) -> None:
    model, path = load_model(checkpoint), tmp_path / "turned.jpg"
    pixels = np.random.default_rng(4).integers(0, 256, (200, 336, 3)).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(path, exif=exif)
    with Image.open(path) as image:
        difference = np.abs(predict(model, image) - predict(model, path)).max()
        assert image.size == (336, 200)  # not decoded at a fraction of it
    assert difference < 0.05  # the file is, which is not quite the same


def test_names_of_imagenets_classes() -> None:
    names = imagenet_classes()
    assert len(names) == len(set(names)) == 1000
    known = {0: "tench", 1: "goldfish", 134: "crane bird", 207: "golden retriever", 281: "tabby"}
    known |= {282: "tiger cat", 388: "giant panda", 517: "crane", 817: "sports car", 954: "banana"}
    known |= {999: "toilet tissue"}
    assert {number: names[number] for number in known} == known
    assert all(name == name.strip() and name.isascii() and name.isprintable() for name in names)


def test_fewer_classes_than_imagenets_have_no_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = VARIANTS["torchvision"].shrunk(width=1 / 32)
    monkeypatch.setitem(VARIANTS, "torchvision", small)
    arrays = to_torchvision(AlexNet("torchvision", num_classes=10))
    write_torchvision(tmp_path / "w.safetensors", arrays)
    assert load_model(tmp_path / "w.safetensors").class_names is None


def test_ten_crops_differ_from_the_centre(checkpoint: Path, photos: list[str]) -> None:
    model = load_model(checkpoint)
    assert not np.allclose(predict(model, photos), predict(model, photos, ten_crop=True))


def test_what_does_not_fit(checkpoint: Path, photos: list[str], tmp_path: Path) -> None:
    model = load_model(checkpoint)
    with pytest.raises(ValueError, match="predict: the model does not say how images are prepared"):
        predict(TrainedModel(model.network, None, None, 0), photos)
    features = AlexNet("tf-tutorial", seed=None)
    with pytest.raises(ValueError, match=r"output of tf-tutorial is \(6, 6, 256\), expected one"):
        predict(TrainedModel(features, None, model.preprocessing, 0), photos)
    (tmp_path / "text.jpg").write_text("text")
    with pytest.raises(UnreadableImageError, match=r"text\.jpg: no image"):
        predict(model, [tmp_path / "text.jpg"])
    with pytest.raises(FileNotFoundError):
        predict(model, [tmp_path / "none.jpg"])
    for no_images in (b"cat.jpg", bytearray(b"cat.jpg"), None):
        with pytest.raises(TypeError, match=r"^predict: images is .*, expected a file, an image"):
            predict(model, no_images)  # type: ignore[arg-type]


@pytest.mark.parametrize(("height", "width"), [(0, 4), (4, 0), (0, 0)])
def test_an_image_without_pixels(height: int, width: int, checkpoint: Path) -> None:
    model = load_model(checkpoint)
    expected = f"^predict: image: {width} x {height} pixels, expected at least one"
    for image in (np.zeros((height, width, 3), np.uint8), Image.new("RGB", (width, height))):
        with pytest.raises(ValueError, match=expected):
            predict(model, image)


def test_top_classes() -> None:
    probabilities = np.array([0.1, 0.6, 0.1, 0.2])
    assert top_classes(probabilities, "abcd", 3) == [("b", 0.6), ("d", 0.2), ("a", 0.1)]
    assert [name for name, _ in top_classes(probabilities, None, 9)] == ["1", "3", "0", "2"]
    assert top_classes([0.1, 0.9], ("a", "b"), 1) == [("b", 0.9)]
    with pytest.raises(ValueError, match="top_classes: 3 names for 4 classes"):
        top_classes(probabilities, "abc")
    with pytest.raises(ValueError, match="count is 0"):
        top_classes(probabilities, None, 0)


# --- the command ----------------------------------------------------------------------------------


def test_the_command(
    checkpoint: Path, photos: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", str(checkpoint), *photos]) == 0
    lines = capsys.readouterr().out.splitlines()
    model = load_model(checkpoint)
    expected = []
    for path, row in zip(photos, predict(model, photos), strict=True):
        expected.append(path)  # 3 classes, though 5 are asked for
        expected += [f"  {share:7.2%}  {name}" for name, share in top_classes(row, files.CLASSES)]
    assert lines == expected
    assert len(lines) == 8
    assert main(["predict", str(checkpoint), photos[0], "--top", "1", "--ten-crop"]) == 0
    best = top_classes(predict(model, photos[:1], ten_crop=True)[0], files.CLASSES, 1)[0]
    assert capsys.readouterr().out == f"{photos[0]}\n  {best[1]:7.2%}  {best[0]}\n"


def test_unreadable_images_leave_the_others(
    checkpoint: Path, photos: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cut, missing = tmp_path / "cut.jpg", tmp_path / "missing.jpg"
    cut.write_bytes(Path(photos[1]).read_bytes()[:500])
    given = [str(cut), photos[0], str(missing), str(tmp_path), photos[1]]
    assert main(["predict", str(checkpoint), *given, "--json", "-"]) == 1
    captured = capsys.readouterr()
    errors = [line for line in captured.err.splitlines() if line.startswith("alexnet: error: ")]
    assert len(errors) == 3
    for line, path in zip(errors, (cut, missing, tmp_path), strict=True):
        assert str(path) in line
    entries = json.loads(captured.out)["images"]
    assert [entry["path"] for entry in entries] == given
    assert ["error" in entry for entry in entries] == [True, False, True, True, False]
    for entry in entries[1], entries[4]:
        assert sum(part["probability"] for part in entry["classes"]) == pytest.approx(1)


def test_names_of_images_are_printed_and_do_nothing(
    checkpoint: Path, photos: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["\x1b[2J\n.png", os.fsdecode(b"caf\xe9.png"), ":cat:.png"]
    for name in names:
        shutil.copyfile(photos[0], tmp_path / name)
    damaged = tmp_path / "\x1b]0;title\x07.jpg"
    damaged.write_bytes(b"?")
    given = [*names, names[0], damaged.name]
    assert main(["predict", str(checkpoint), *(str(tmp_path / name) for name in given)]) == 1
    captured = capsys.readouterr()
    paths = [line for line in captured.out.splitlines() if not line.startswith(" ")]
    shown = ["\\x1b[2J\\n.png", "caf\\udce9.png", ":cat:.png", "\\x1b[2J\\n.png"]
    assert paths == [f"{tmp_path}/{name}" for name in shown]
    assert captured.err == f"alexnet: error: {tmp_path}/\\x1b]0;title\\x07.jpg: no image\n"


def test_bad_use(
    checkpoint: Path, photos: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    AlexNet(VARIANT, num_classes=3).save(tmp_path / "plain")
    for arguments, message in (
        ((tmp_path / "none", *photos), "none"),
        ((tmp_path / "plain", *photos), "plain does not say how images are prepared for it"),
        ((photos[0], *photos), "not a whole safetensors file"),
        ((checkpoint,), "the following arguments are required: IMAGE"),
        ((checkpoint, *photos, "--top", "0"), "'0', expected an integer from 1"),
    ):
        assert status_of(["predict", *arguments]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


# --- all of it ------------------------------------------------------------------------------------


def test_what_pillow_warns_of_is_not_printed(checkpoint: Path, tmp_path: Path) -> None:
    exif = b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01\x03"  # ends within its first entry
    photo = tmp_path / "photo.jpg"
    Image.new("RGB", (40, 40)).save(photo, exif=exif)
    command = [sys.executable, "-m", "alexnet", "predict", str(checkpoint), str(photo)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")


def test_train_evaluate_predict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(VARIANTS, "cifar10-bn", VARIANT)
    data, run = files.write_directory(tmp_path / "data"), str(tmp_path / "run")
    length = ("--steps", "40", "--batch-size", "10", "--log-interval", "40")
    assert main(["train", str(data), "--output", run, *length]) == 0
    assert main(["evaluate", run, str(data), "--json", str(tmp_path / "e.json")]) == 0
    assert json.loads((tmp_path / "e.json").read_text())["accuracy"] > 0.9

    pixels, labels = files.easy_images(11, 3)
    paths = [str(tmp_path / f"{number}.png") for number in range(3)]
    for path, image in zip(paths, pixels, strict=True):
        Image.fromarray(image).save(path)
    capsys.readouterr()
    assert main(["predict", run, *paths, "--top", "1", "--json", "-"]) == 0
    entries = json.loads(capsys.readouterr().out)["images"]
    best = [entry["classes"][0]["name"] for entry in entries]
    assert best == [files.CLASSES[label] for label in labels]

    exported = tmp_path / "net.safetensors"
    assert main(["convert", run, str(exported), "--to", "alexnet"]) == 0
    capsys.readouterr()
    assert main(["predict", str(exported), *paths, "--top", "1", "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == entries


def test_foreign_weights_classify_photos(
    tmp_path: Path,
    photos: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(VARIANTS, "torchvision", VARIANTS["torchvision"].shrunk(width=1 / 32))
    foreign, net = tmp_path / "alexnet.safetensors", tmp_path / "net.safetensors"
    write_torchvision(foreign, to_torchvision(AlexNet("torchvision", seed=1)))
    assert main(["convert", str(foreign), str(net)]) == 0
    capsys.readouterr()
    assert main(["predict", str(net), *photos, "--json", "-"]) == 0
    entries = json.loads(capsys.readouterr().out)["images"]
    assert all(len(entry["classes"]) == 5 for entry in entries)
    names = {part["name"] for entry in entries for part in entry["classes"]}
    assert names <= set(imagenet_classes())
    assert load_model(foreign).class_names == load_model(net).class_names == imagenet_classes()
