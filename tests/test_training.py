"""Batches, normalisation, training steps and evaluation on small made-up images."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import alexnet
import cifar_files as files
from alexnet.cli import main
from alexnet.data import ImageSet, Normalisation, ShuffledBatches, ordered_batches
from alexnet.evaluation import evaluate
from alexnet.models import AlexNet, variant_named
from alexnet.optim import SGD, Adam
from alexnet.training import Trainer

SMALL = variant_named("cifar10-bn").shrunk(width=1 / 8).with_classes(len(files.CLASSES))


def image_set(seed: int, count: int) -> ImageSet:
    return ImageSet(*files.easy_images(seed, count))


IMAGES = image_set(0, 40)
NORMALISE = Normalisation.of(IMAGES)


def trainer(seed: int = 1, batch_size: int = 8) -> Trainer:
    network = AlexNet(SMALL, seed=seed)
    batches = ShuffledBatches(IMAGES, NORMALISE, batch_size, seed)
    return Trainer(network, Adam(network), batches)


# --- data -----------------------------------------------------------------------------------------


def test_normalised_channels_have_mean_0_and_deviation_1() -> None:
    images = image_set(1, 1001)  # more than are summed at a time
    values = Normalisation.of(images)(images.pixels)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values.mean(axis=(0, 1, 2), dtype=np.float64), 0, atol=1e-6)
    np.testing.assert_allclose(values.std(axis=(0, 1, 2), dtype=np.float64), 1, atol=1e-6)


def test_normalisation_needs_images_that_differ() -> None:
    flat = ImageSet(np.full((3, 4, 4, 3), 7, np.uint8), np.zeros(3, np.int64))
    with pytest.raises(ValueError, match="a channel has the same value in every image"):
        Normalisation.of(flat)
    with pytest.raises(ValueError, match="the image set is empty"):
        Normalisation.of(ImageSet(flat.pixels[:0], flat.labels[:0]))


def test_ordered_batches_are_every_image_once() -> None:
    batches = list(ordered_batches(IMAGES, NORMALISE, 16))
    assert [len(batch.labels) for batch in batches] == [16, 16, 8]
    images = np.concatenate([batch.images for batch in batches])
    np.testing.assert_array_equal(images, NORMALISE(IMAGES.pixels))
    labels = np.concatenate([batch.labels for batch in batches])
    np.testing.assert_array_equal(labels, IMAGES.labels)


def numbered(count: int) -> ImageSet:
    """Images that are told apart by their labels."""
    return ImageSet(np.arange(count * 12, dtype=np.uint8).reshape(count, 2, 2, 3), np.arange(count))


def test_an_epoch_is_the_images_in_an_order_of_its_own() -> None:
    images = numbered(20)
    batches = ShuffledBatches(images, Normalisation.of(images), 5, seed=3)
    epochs = []
    for epoch in range(3):
        assert batches.epoch == epoch
        labels = [batches.next().labels for _ in range(batches.per_epoch)]
        epochs.append(np.concatenate(labels).tolist())
    assert all(sorted(epoch) == list(range(20)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_images_and_labels_stay_together() -> None:
    images = numbered(20)
    normalise = Normalisation.of(images)
    batch = ShuffledBatches(images, normalise, 20).next()
    np.testing.assert_array_equal(batch.images, normalise(images.pixels[batch.labels]))


def test_batches_continue_from_a_step() -> None:
    images = numbered(23)
    normalise = Normalisation.of(images)
    whole = ShuffledBatches(images, normalise, 5, seed=3)
    labels = [whole.next().labels for _ in range(11)]
    resumed = ShuffledBatches(images, normalise, 5, seed=3)
    resumed.step = 6
    for expected in labels[6:]:
        np.testing.assert_array_equal(resumed.next().labels, expected)
    other = ShuffledBatches(images, normalise, 5, seed=4)
    assert other.next().labels.tolist() != labels[0].tolist()


def test_a_batch_larger_than_the_set_is_refused() -> None:
    with pytest.raises(ValueError, match="batch_size is 41, expected at most the 40 images"):
        ShuffledBatches(IMAGES, NORMALISE, 41)


# --- steps ----------------------------------------------------------------------------------------


def test_it_learns() -> None:
    running = trainer()
    first = running.step()
    for _ in range(40):
        last = running.step()
    assert last.loss < 0.1 * first.loss
    assert last.accuracy == 1.0
    test = evaluate(running.network, image_set(9, 30), NORMALISE, batch_size=7)
    assert test.images == 30
    assert test.accuracy > 0.9
    assert test.loss < 0.5


def test_the_first_loss_is_that_of_the_logits() -> None:
    running = trainer()
    batch = ShuffledBatches(IMAGES, NORMALISE, 8, 1).next()
    logits = AlexNet(SMALL, seed=1).forward(batch.images, training=True)
    result = running.step()
    expected = alexnet.reference.softmax_cross_entropy(logits, batch.labels)
    np.testing.assert_allclose(result.loss, expected, rtol=1e-6)
    assert result.accuracy == (logits.argmax(axis=1) == batch.labels).mean()


def test_a_run_repeats_bit_for_bit_for_any_number_of_threads() -> None:
    def run(threads: int) -> tuple[list[float], dict[str, bytes]]:
        alexnet.set_num_threads(threads)
        running = trainer()
        losses = [running.step().loss for _ in range(7)]
        tensors = running.network.tensors()
        return losses, {name: array.tobytes() for name, array in tensors.items()}

    one = run(1)
    assert run(1) == one
    assert run(3) == one


def test_evaluation_is_the_mean_over_images() -> None:
    network = AlexNet(SMALL, seed=4)
    logits = network.forward(NORMALISE(IMAGES.pixels))
    expected = float(alexnet.reference.softmax_cross_entropy(logits, IMAGES.labels))
    for batch_size in (1, 7, 40, 100):
        result = evaluate(network, IMAGES, NORMALISE, batch_size=batch_size)
        np.testing.assert_allclose(result.loss, expected, rtol=1e-5)
        assert result.accuracy == (logits.argmax(axis=1) == IMAGES.labels).mean()
    with pytest.raises(ValueError, match="the image set is empty"):
        evaluate(network, ImageSet(IMAGES.pixels[:0], IMAGES.labels[:0]), NORMALISE)


def test_a_loss_that_is_not_finite_stops_before_the_update() -> None:
    running = trainer()
    running.step()
    weight = running.network.parameters["fc8.weight"]
    weight[...] = np.nan
    before = running.network.parameters["conv1.weight"].copy()
    with pytest.raises(FloatingPointError, match="the loss of step 2 is nan"):
        running.step()
    np.testing.assert_array_equal(running.network.parameters["conv1.weight"], before)


def test_network_and_data_have_to_fit() -> None:
    batches = ShuffledBatches(IMAGES, NORMALISE, 8)
    large = AlexNet(variant_named("cifar10-bn").shrunk(image_size=40, width=1 / 8))
    with pytest.raises(ValueError, match=r"images are \(32, 32, 3\), but cifar10-bn takes \(40"):
        Trainer(large, SGD(large), batches)
    few = AlexNet(SMALL.with_classes(2))
    with pytest.raises(ValueError, match=r"output of cifar10-bn is \(2,\).* classes up to 2"):
        Trainer(few, SGD(few), batches)


# --- the command ----------------------------------------------------------------------------------


def test_train_prints_loss_and_accuracy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, figures = files.write_directory(tmp_path / "cifar"), tmp_path / "figures.json"
    command = ["train", str(root), "--batch-size", "20", "--json", str(figures)]
    assert main([*command, "--epochs", "2", "--optimizer", "sgd", "--lr", "0.01"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 8
    assert lines[0].startswith("Epoch [1/2], Iter [1/3] Loss: ")
    assert lines[5].startswith("Epoch [2/2], Iter [3/3] Loss: ")
    assert lines[6].startswith("Trained 6 steps in ")
    result = json.loads(figures.read_text())
    assert lines[0].startswith(f"Epoch [1/2], Iter [1/3] Loss: {result['losses'][0]:.4f} Accuracy")
    assert len(result["losses"]) == 6
    test = result["test"]
    assert lines[7] == f"Test loss: {test['loss']:.4f}, accuracy: {test['accuracy']:.4f}, 12 images"
    assert main([*command, "--steps", "2", "--log-interval", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Epoch [1/1], Iter [2/3]")
    assert lines[1].startswith("Trained 2 steps in ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--variant", "tf-tutorial"], "the network has no classifier"),
        (["--variant", "tf-small", "--steps", "1"], "the network has no classifier"),
        (["--batch-size", "61"], "batch_size is 61, expected at most the 60 images"),
        (["--lr", "0"], "argument --lr: '0', expected a number above 0"),
        (["--lr", "nan"], "argument --lr: 'nan', expected a number above 0"),
        (["--steps", "0"], "argument --steps: '0', expected an integer from 1"),
        (["--steps", "1", "--epochs", "1"], "not allowed with argument"),
    ],
)
def test_train_refuses_bad_use_in_one_line(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = files.write_directory(tmp_path / "cifar")
    try:
        status = main(["train", str(root), *arguments])
    except SystemExit as stop:
        status = stop.code
    error = capsys.readouterr().err
    assert status == 2
    assert message in error
    assert error.count("\n") == 1


def test_train_that_diverges_has_status_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = files.write_directory(tmp_path / "cifar")
    command = ["train", str(root), "--batch-size", "20", "--optimizer", "sgd", "--lr", "1e20"]
    assert main(command) == 1
    assert "try a learning rate below 1e+20" in capsys.readouterr().err
