"""Networks in bfloat16: their error beside a plain run's, classes, what they refuse, commands.

The rule for the error is at most twice that of a plain run in the same precision, both against
float64. The plain run is `support.plain_bfloat16`, which rounds what PyTorch's autocast rounds;
tests/frameworks has the same rule with PyTorch itself.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import alexnet
from alexnet import reference
from alexnet.cli import main
from alexnet.data import ImageSet, Preprocessing, ordered_batches
from alexnet.interchange import load_model
from alexnet.network.checkpoint import Checkpoint
from alexnet.network.initializers import HeNormal, Initialisation, Normal
from alexnet.network.layers import Conv2d, Dense, Dropout, Flatten, MaxPool2d
from alexnet.network.network import Network
from alexnet.network.variant import Variant
from alexnet.network.variants import VARIANTS, AlexNet, variant_named
from alexnet.training.optimizers import SGD, Adam
from alexnet.verification.verify import randomised
from support import cifar_files as files
from support.arrays import random_array, relative_error
from support.plain_bfloat16 import PLAIN_BFLOAT16, rounded
from support.small_networks import small_variant

NARROW = variant_named("cifar10-bn").shrunk(width=1 / 12).with_classes(len(files.CLASSES))
ALIVE = Initialisation(HeNormal(), Normal(0.1))  # every layer's signal about as large as x
MOST_OF_PLAIN = 2  # times the plain run's error


def with_weights_of(given: AlexNet, **how: object) -> Network:
    network = Network(given.variant, seed=None, **how)  # type: ignore[arg-type]
    network.assign(given.tensors())
    return network


# --- the error ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("batch_size", [1, 5])
def test_error_against_float64(name: str, batch_size: int) -> None:
    given = AlexNet(dataclasses.replace(small_variant(name), initialisation=ALIVE), seed=2)
    randomised(given, 3)
    x = random_array(0, batch_size, *given.input_shape)
    exact = with_weights_of(given, implementation=reference).forward(x)
    plain = relative_error(with_weights_of(given, implementation=PLAIN_BFLOAT16).forward(x), exact)
    y = with_weights_of(given, precision="bfloat16").forward(x)
    assert y.dtype == np.float32
    error = relative_error(y, exact)
    assert error <= MOST_OF_PLAIN * plain
    # It did round: all that multiplies on tiles, dense layers everywhere.
    is_dense = any(isinstance(layer, Dense) for layer in given.layers)
    assert (error > 1e-4) == (alexnet.cpu_bfloat16() == "amx" or is_dense)


def test_the_plain_run_rounds_to_the_nearest_bfloat16() -> None:
    given = [1.0, 1.0 + 2**-8, 1.0 + 3 * 2**-8, 1.0 + 2**-8 + 2**-20, -1.0 - 2**-9, np.inf]
    nearest = [1.0, 1.0, 1.0 + 4 * 2**-8, 1.0 + 2**-7, -1.0, np.inf]
    np.testing.assert_array_equal(rounded(np.array(given, np.float32)), nearest)


@pytest.mark.usefixtures("isa")
def test_the_same_bits_every_time() -> None:
    network = AlexNet(NARROW, precision="bfloat16")
    x = random_array(0, 5, *network.input_shape)
    alexnet.set_num_threads(1)
    expected = network.forward(x).copy()
    for threads in (1, 2, 3):
        alexnet.set_num_threads(threads)
        np.testing.assert_array_equal(network.forward(x), expected)
    observed = network.forward(x, observer=lambda *_: None)
    np.testing.assert_array_equal(observed, expected)


# Of the layers, those whose output only layers read that round it, where convolutions round.
BETWEEN = {
    "tf-full": {"conv3", "conv4", "conv5", "pool5", "flatten", "fc6", "fc7"},
    "torchvision": {
        *("conv1", "pool1", "conv2", "pool2", "conv3", "conv4", "conv5", "pool5"),
        *("flatten", "dropout6", "fc6", "dropout7", "fc7"),
    },
}


@pytest.mark.parametrize("name", BETWEEN)
def test_layers_hand_on_bfloat16_to_the_same_bits(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ml_dtypes")
    network = AlexNet(small_variant(name), precision="bfloat16")
    x = random_array(0, 3, *network.input_shape)
    y = network.forward(x).copy()
    between = {name for name, a in network.activations.items() if a.dtype.name == "bfloat16"}
    if alexnet.cpu_bfloat16() == "amx":
        assert between == BETWEEN[name]
    else:  # dense layers alone, of which one may hand on to the next
        assert between <= BETWEEN[name]
    other = copy.deepcopy(network)
    monkeypatch.setattr("alexnet.network.freezing.find_spec", lambda _: None)
    np.testing.assert_array_equal(other.forward(x), y)
    assert {a.dtype.name for a in other.activations.values()} == {"float32"}


def test_a_pooling_behind_a_dropout_hands_on_what_it_reads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("ml_dtypes")
    layers = (
        Conv2d("conv1", 32, 3, activation="relu"),
        Dropout("dropout1"),
        MaxPool2d("pool1", 3, 1),
        Dropout("dropout2"),
        MaxPool2d("pool2"),
        Flatten("flatten"),
        Dense("fc2", 5),
    )
    network = Network(Variant("dropping", "", (9, 8, 3), layers), precision="bfloat16")
    x = random_array(0, 3, *network.input_shape)
    y = network.forward(x).copy()
    if alexnet.cpu_bfloat16() == "amx":
        dtypes = {a.dtype.name for name, a in network.activations.items() if name != "fc2"}
        assert dtypes == {"bfloat16"}
    monkeypatch.setattr("alexnet.network.freezing.find_spec", lambda _: None)
    np.testing.assert_array_equal(copy.deepcopy(network).forward(x), y)


# --- classes --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that has learned to tell the easy images apart."""
    images = ImageSet(*files.easy_images(0, 60))
    preprocessing = Preprocessing.fit(images, NARROW.input_shape)
    (batch,) = ordered_batches(images, preprocessing, 60)
    network = AlexNet(NARROW, seed=1)
    optimizer = Adam(network, learning_rate=3e-3)
    for _ in range(40):
        logits = network.forward(batch.images, training=True)
        network.backward(alexnet.softmax_cross_entropy_backward(logits, batch.labels))
        optimizer.step()
    path = tmp_path_factory.mktemp("trained") / "net.safetensors"
    Checkpoint(
        NARROW, network.tensors(), class_names=files.CLASSES, preprocessing=preprocessing
    ).write(path)
    return path


def test_a_trained_network_finds_the_same_classes(checkpoint: Path) -> None:
    images = ImageSet(*files.easy_images(7, 150))
    model = load_model(checkpoint)
    assert model.preprocessing is not None
    (batch,) = ordered_batches(images, model.preprocessing, 150)
    expected = model.network.forward(batch.images).argmax(axis=1)
    assert np.mean(expected == batch.labels) > 0.9
    found = alexnet.load(checkpoint, precision="bfloat16").forward(batch.images).argmax(axis=1)
    assert np.mean(found == expected) >= 0.99


# --- what it is for -------------------------------------------------------------------------------


def test_it_freezes_itself_in_its_first_forward() -> None:
    network = AlexNet(NARROW, seed=None, precision="bfloat16")
    other = AlexNet(NARROW, seed=4)
    x = random_array(0, 2, *network.input_shape)
    network.assign(other.tensors())
    network.parameters["conv1.bias"][...] = 0.5
    assert not network.is_frozen
    y = network.forward(x).copy()
    assert network.is_frozen
    with pytest.raises(ValueError, match="read-only"):
        network.parameters["conv1.bias"][...] = 0
    with pytest.raises(RuntimeError, match="the network is frozen"):
        network.assign(other.tensors())
    network.unfreeze()
    network.parameters["conv1.bias"][...] = 1.5
    assert not np.array_equal(network.forward(x), y)


@pytest.mark.parametrize(
    ("subject", "train"),
    [
        ("forward", lambda network, x: network.forward(x, training=True)),
        ("backward", lambda network, x: network.backward(network.forward(x))),
        ("optimizer", lambda network, _: SGD(network).step()),
    ],
)
def test_it_is_for_inference_alone(
    subject: str, train: Callable[[AlexNet, np.ndarray], object]
) -> None:
    network = AlexNet(NARROW, precision="bfloat16")
    x = random_array(0, 2, *network.input_shape)
    message = (
        f"{subject}: precision 'bfloat16' on the CPU is for inference alone; train a network in "
        "float32, or on device 'cuda', save it, and load it with precision='bfloat16'"
    )
    with pytest.raises(NotImplementedError, match=f"^{message}$"):
        train(network, x)


def test_copies_keep_the_precision() -> None:
    network = AlexNet(NARROW, precision="bfloat16")
    x = random_array(0, 2, *network.input_shape)
    y = network.forward(x).copy()
    for copied in (copy.copy(network), copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert copied.precision == "bfloat16"
        np.testing.assert_array_equal(copied.forward(x), y)


def test_precisions_that_there_are_not() -> None:
    with pytest.raises(ValueError, match="precision is 'int8', expected float32, tf32, bfloat16"):
        AlexNet(NARROW, precision="int8")
    with pytest.raises(ValueError, match="precision is 'tf32', which only device 'cuda' has"):
        AlexNet(NARROW, precision="tf32")
    with pytest.raises(
        ValueError, match="an implementation: precision is 'bfloat16', expected flo"
    ):
        AlexNet(NARROW, precision="bfloat16", implementation=reference)


# --- commands -------------------------------------------------------------------------------------


@pytest.fixture
def data(tmp_path: Path) -> str:
    return str(files.write_directory(tmp_path / "cifar-10-batches-py"))


def figures_of(arguments: list[str], tmp_path: Path) -> dict[str, object]:
    file = tmp_path / "figures.json"
    assert main([*arguments, "--json", str(file)]) == 0
    figures: dict[str, object] = json.loads(file.read_text())
    return figures


def test_evaluate_and_predict(checkpoint: Path, data: str, tmp_path: Path) -> None:
    for arguments in (["evaluate", str(checkpoint), data],):
        exact = figures_of(arguments, tmp_path)
        reduced = figures_of([*arguments, "--precision", "bfloat16"], tmp_path)
        assert (exact["precision"], reduced["precision"]) == ("float32", "bfloat16")
        assert reduced["accuracy"] == exact["accuracy"]
        assert reduced["loss"] != exact["loss"]
        assert reduced["loss"] == pytest.approx(exact["loss"], rel=0.2, abs=1e-3)


def test_bench_times_forward(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["bench", "cifar10-bn", "--batch-size", "1", "--steps", "2", "--burn-in", "0"]
    figures = figures_of([*command, "--precision", "bfloat16", "--per-layer"], tmp_path)
    assert figures["precision"] == "bfloat16"
    assert list(figures["targets"]) == ["forward"]  # type: ignore[call-overload]
    with pytest.raises(SystemExit, match="2"):
        main([*command, "--precision", "bfloat16", "--target", "forward-backward"])
    expected = (
        "--target: 'forward-backward', expected 'forward' with --precision bfloat16 on the CPU"
    )
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize("precision", ["bfloat16", "default"])
def test_compare(
    precision: str,
    checkpoint: Path,
    data: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["compare", "--peers", "none", "--rounds", "1", "--seconds", "0"]
    command += ["--trained", str(checkpoint), data, "--batch-size", "12"]
    figures = figures_of([*command, "--precision", precision], tmp_path)
    output = capsys.readouterr().out
    assert "precision" in output
    assert "top-1" in output
    (case,) = figures["cases"]  # type: ignore[misc]
    assert case["case"] == f"{NARROW.name}/network/forward/b12/{precision}"
    for contender in case["contenders"].values():
        assert contender["top1_agreement"] == 1.0
        is_reduced = precision == "bfloat16"
        assert contender["precision"].startswith("bfloat16" if is_reduced else "float32")
        assert (contender["relative_error"] > 1e-4) == is_reduced
    assert [name.partition(" ")[2].endswith("frozen") for name in case["contenders"]] == (
        [True] if precision == "bfloat16" else [False, True]
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--precision int8", "--precision: 'int8', expected one of float32, bfloat16, default"),
        (
            "--precision bfloat16 --target forward-backward",
            "forward-backward: only forward can be compared in precision bfloat16",
        ),
        ("--precision default --layers lrn1", "--layers: only networks are compared"),
    ],
)
def test_what_compare_refuses(
    arguments: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        status = main(["compare", "cifar10-bn", "--peers", "none", *arguments.split()])
    except SystemExit as stop:
        status = int(str(stop.code))
    output = capsys.readouterr()
    assert status == 2
    assert message in output.err
    assert output.err.count("\n") == 1


def test_more_images_than_there_are(
    checkpoint: Path, data: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["compare", "--peers", "none", "--trained", str(checkpoint), data]
    assert main([*command, "--batch-size", "13"]) == 2
    assert "--batch-size: 13, but" in capsys.readouterr().err
