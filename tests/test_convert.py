"""Foreign weights: the same bits there and back, the same outputs, and nothing of a file runs."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from safetensors.numpy import load_file, save_file

import alexnet
from alexnet import reference
from alexnet.cli import main
from alexnet.interchange import (
    caffe,
    convert,
    from_caffe,
    from_torchvision,
    load,
    load_model,
    read_caffe,
    to_caffe,
    to_torchvision,
    torchvision,
    write_caffe,
    write_torchvision,
)
from alexnet.network import weights
from alexnet.network.checkpoint import LAST, Checkpoint
from alexnet.network.variants import VARIANTS, AlexNet
from support import cifar_files as files
from support import torch_files
from support.arrays import random_array, relative_error

# Last feature maps of 3 x 4: neither their rows nor their columns can be taken for channels.
IMAGE_SHAPES = {"torchvision": (127, 159, 3), "caffe": (131, 163, 3)}

TORCHVISION_SHAPES = {
    "features.0.weight": (64, 3, 11, 11),
    "features.0.bias": (64,),
    "features.3.weight": (192, 64, 5, 5),
    "features.3.bias": (192,),
    "features.6.weight": (384, 192, 3, 3),
    "features.6.bias": (384,),
    "features.8.weight": (256, 384, 3, 3),
    "features.8.bias": (256,),
    "features.10.weight": (256, 256, 3, 3),
    "features.10.bias": (256,),
    "classifier.1.weight": (4096, 9216),
    "classifier.1.bias": (4096,),
    "classifier.4.weight": (4096, 4096),
    "classifier.4.bias": (4096,),
    "classifier.6.weight": (1000, 4096),
    "classifier.6.bias": (1000,),
}
CAFFE_SHAPES = {
    "conv1": ((11, 11, 3, 96), (96,)),
    "conv2": ((5, 5, 48, 256), (256,)),
    "conv3": ((3, 3, 256, 384), (384,)),
    "conv4": ((3, 3, 192, 384), (384,)),
    "conv5": ((3, 3, 192, 256), (256,)),
    "fc6": ((9216, 4096), (4096,)),
    "fc7": ((4096, 4096), (4096,)),
    "fc8": ((4096, 1000), (1000,)),
}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both foreign variants with few features, in place of those of full size."""
    for name, shape in IMAGE_SHAPES.items():
        narrow = replace(VARIANTS[name].shrunk(width=1 / 32), input_shape=shape)
        monkeypatch.setitem(VARIANTS, name, narrow)
        module = {"torchvision": torchvision, "caffe": caffe}[name]
        prepared = replace(module.PREPROCESSING, input_size=shape[:2])
        monkeypatch.setattr(module, "PREPROCESSING", prepared)


def network(variant: str, seed: int = 3, **settings: object) -> AlexNet:
    """A network whose biases are not zero either."""
    made = AlexNet(variant, seed=seed, **settings)  # type: ignore[arg-type]
    for name, array in made.parameters.items():
        if name.endswith("bias"):
            array[...] = random_array(seed, *array.shape, scale=0.1)
    return made


def assert_same_parameters(actual: AlexNet, expected: AlexNet) -> None:
    assert actual.variant == expected.variant
    for name, array in expected.parameters.items():
        np.testing.assert_array_equal(actual.parameters[name], array)


# --- shapes and numbers ---------------------------------------------------------------------------


def test_full_size_shapes_are_those_of_the_published_files() -> None:
    state = to_torchvision(AlexNet("torchvision", seed=None))
    assert {name: array.shape for name, array in state.items()} == TORCHVISION_SHAPES
    layers = to_caffe(AlexNet("caffe", seed=None))
    assert {name: tuple(a.shape for a in pair) for name, pair in layers.items()} == CAFFE_SHAPES


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", IMAGE_SHAPES)
@pytest.mark.parametrize("classes", [None, 2])
def test_there_and_back_is_the_same_bits(name: str, classes: int | None, tmp_path: Path) -> None:
    ours = network(name, num_classes=classes)
    suffix = "npy" if name == "caffe" else "st"
    first, foreign, back, again = (
        tmp_path / stem for stem in ("a.safetensors", f"b.{suffix}", "c", f"d.{suffix}")
    )
    ours.save(first)
    there = convert(first, foreign)
    assert (there.source_format, there.target_format) == ("alexnet", name)
    assert convert(foreign, back).target_format == "alexnet"
    model = load_model(back)
    assert_same_parameters(model.network, ours)
    assert model.preprocessing is not None
    convert(back, again, to=name)
    assert again.read_bytes() == foreign.read_bytes()


# --- the same outputs -----------------------------------------------------------------------------


def nchw_conv2d(
    x: npt.NDArray[np.float64], weight: npt.NDArray[np.float32], stride: int, padding: int
) -> npt.NDArray[np.float64]:
    margin = (padding, padding)
    padded = np.pad(x, ((0, 0), (0, 0), margin, margin))
    windows = np.lib.stride_tricks.sliding_window_view(padded, weight.shape[2:], axis=(2, 3))
    y = np.einsum("nchwij,ocij->nohw", windows[:, :, ::stride, ::stride], weight)
    return np.asarray(y, np.float64)


def nchw_pool(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(2, 3))[:, :, ::2, ::2]
    return np.asarray(windows.max(axis=(4, 5)))


def torchvision_forward(
    state: dict[str, npt.NDArray[np.float32]], x: npt.NDArray[np.float32]
) -> npt.NDArray[np.float64]:
    """What torchvision's AlexNet computes, from its arrays and images (n, channels, h, w)."""
    y = x.astype(np.float64)
    for index, stride, padding, pooled in (
        (0, 4, 2, True),
        (3, 1, 2, True),
        (6, 1, 1, False),
        (8, 1, 1, False),
        (10, 1, 1, True),
    ):
        y = nchw_conv2d(y, state[f"features.{index}.weight"], stride, padding)
        y = np.maximum(y + state[f"features.{index}.bias"][:, None, None], 0)
        y = nchw_pool(y) if pooled else y
    y = y.reshape(len(y), -1)
    for index in (1, 4, 6):
        y = y @ state[f"classifier.{index}.weight"].T + state[f"classifier.{index}.bias"]
        y = np.maximum(y, 0) if index < 6 else y
    return y


@pytest.mark.usefixtures("small")
def test_torchvision_arrays_give_the_same_outputs() -> None:
    ours = network("torchvision")
    x = random_array(1, 2, *ours.input_shape)
    state = to_torchvision(ours)
    expected = torchvision_forward(state, x.transpose(0, 3, 1, 2))
    assert relative_error(ours.forward(x), expected) < 1e-5
    assert relative_error(from_torchvision(state).forward(x), expected) < 1e-5


def caffe_forward(
    layers: dict[str, tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]],
    x: npt.NDArray[np.float32],
) -> npt.NDArray[np.float64]:
    """What bvlc_alexnet computes, from its arrays and images (n, h, w, blue green red)."""

    def conv(x: npt.NDArray[np.float64], name: str, groups: int, **how: int) -> npt.NDArray:
        weight, bias = (array.astype(np.float64) for array in layers[name])
        halves = zip(np.split(x, groups, 3), np.split(weight, groups, 3), strict=True)
        y = [reference.conv2d(part, kernel, **how) for part, kernel in halves]
        return np.maximum(np.concatenate(y, axis=3) + bias, 0)

    def norm(x: npt.NDArray[np.float64], size: int = 5) -> npt.NDArray[np.float64]:
        squares = np.pad(x**2, ((0, 0), (0, 0), (0, 0), (size // 2, size // 2)))
        windows = np.lib.stride_tricks.sliding_window_view(squares, size, axis=3)
        return x / (1 + 1e-4 / size * windows.sum(axis=4)) ** 0.75

    def pool(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return reference.max_pool2d(x, window=3, stride=2, ceil_mode=True)

    y = pool(norm(conv(x.astype(np.float64), "conv1", 1, stride=4, padding=0)))
    y = pool(norm(conv(y, "conv2", 2, padding=2)))
    y = conv(conv(y, "conv3", 1, padding=1), "conv4", 2, padding=1)
    y = pool(conv(y, "conv5", 2, padding=1)).reshape(len(x), -1)
    for name in ("fc6", "fc7", "fc8"):
        y = y @ layers[name][0] + layers[name][1]
        y = np.maximum(y, 0) if name != "fc8" else y
    return y


@pytest.mark.usefixtures("small")
def test_caffe_arrays_give_the_same_outputs() -> None:
    ours = network("caffe")
    x = random_array(1, 2, *ours.input_shape, scale=50)
    layers = to_caffe(ours)
    expected = caffe_forward(layers, x[..., ::-1])
    assert relative_error(ours.forward(x), expected) < 1e-5
    assert relative_error(from_caffe(layers).forward(x), expected) < 1e-5


# --- files ----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("small")
def test_our_caffe_file_is_what_numpy_loads(tmp_path: Path) -> None:
    ours = network("caffe")
    ours.save(tmp_path / "net")
    convert(tmp_path / "net", tmp_path / "net.npy")
    loaded = np.load(tmp_path / "net.npy", allow_pickle=True, encoding="latin1").item()
    assert list(loaded) == list(CAFFE_SHAPES)
    assert all(type(entry) is list for entry in loaded.values())
    np.testing.assert_array_equal(
        loaded["conv1"][0], ours.parameters["conv1.weight"][:, :, ::-1], strict=True
    )


def npy(
    dictionary: bytes, header: str = "{'descr': '|O', 'fortran_order': False, 'shape': (), }"
) -> bytes:
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + dictionary


def python2_array(array: npt.NDArray[np.float32]) -> bytes:
    return files.array(array.tobytes(), array.shape, dtype="f4", order="<")


def python2_file(layers: dict[str, bytes]) -> bytes:
    """A .npy file as Python 2 wrote it: bytes in strings, the dictionary in an array of objects."""
    pairs = b"".join(files.string(name) + entry for name, entry in layers.items())
    dictionary = pickle.EMPTY_DICT + pickle.MARK + pairs + pickle.SETITEMS
    content = files.object_array(dictionary)
    return npy(pickle.PROTO + b"\x02" + content + pickle.STOP)


@pytest.mark.usefixtures("small")
def test_a_file_of_python_2(tmp_path: Path) -> None:
    ours = network("caffe")
    layers = {
        name: files.list_of([python2_array(array) for array in pair])
        for name, pair in to_caffe(ours).items()
    }
    path = tmp_path / "bvlc_alexnet.npy"
    path.write_bytes(python2_file(layers))
    assert np.load(path, allow_pickle=True, encoding="latin1").item().keys() == CAFFE_SHAPES.keys()
    assert_same_parameters(from_caffe(read_caffe(path)), ours)


def hostile(marker: Path) -> dict[str, bytes]:
    touch = files.string(f"touch {marker}")
    system = files.called(files.global_of("os", "system"), touch)
    return {
        "in place of an array": files.list_of([system, system]),
        "in an array": files.called(files.global_of("numpy.core.multiarray", "_reconstruct"))
        + files.tuple_of([files.integer(1), system])
        + pickle.BUILD,
        "eval": files.called(files.global_of("__builtin__", "eval"), touch),
    }


@pytest.mark.parametrize("name", hostile(Path()))
def test_a_hostile_pickle_is_refused_and_runs_nothing(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, marker = tmp_path / "bvlc_alexnet.npy", tmp_path / "marker"
    path.write_bytes(python2_file({"conv1": hostile(marker)[name]}))
    assert main(["convert", str(path), str(tmp_path / "net")]) == 2
    error = capsys.readouterr().err
    assert "bvlc_alexnet.npy: no .npy file of a dictionary of arrays, and not run: it asks" in error
    assert error.count("\n") == 1
    assert not marker.exists()
    assert not (tmp_path / "net").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x93NUMPY", "no .npy file of a dictionary of arrays"),
        (npy(b""), "no .npy file of a dictionary of arrays"),
        (npy(b"", "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }"), "no single object"),
        (npy(pickle.dumps(3)), "the pickle holds a int, expected an array"),
        (npy(pickle.dumps(np.zeros(3))), "the array is not a single object"),
        (npy(pickle.dumps(np.array(None))), "holds None, expected a dictionary of layers"),
        (python2_file({"conv1": files.string("x")}), "conv1 is not a list of two arrays"),
        (
            python2_file({"conv1": files.list_of([files.array(b"\0" * 8, (1,), dtype="f8")] * 2)}),
            "conv1's weight is not an array of float32",
        ),
    ],
)
def test_damaged_caffe_files(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"a\.npy: .*{message}"):
        convert(path, tmp_path / "net")


@pytest.mark.usefixtures("small")
def test_a_caffe_file_cut_short_anywhere(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    network("caffe").save(tmp_path / "net")
    convert(tmp_path / "net", path)
    content = path.read_bytes()
    for length in [*range(6, 400, 7), *range(400, len(content), len(content) // 40)]:
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"a\.npy: no \.npy file"):
            read_caffe(path)


# --- what does not fit ----------------------------------------------------------------------------


@pytest.mark.usefixtures("small")
def test_arrays_that_do_not_fit() -> None:
    state = to_torchvision(network("torchvision"))
    lacking = {name: array for name, array in state.items() if name != "features.3.bias"}
    with pytest.raises(ValueError, match=r"torchvision's AlexNet: arrays lack features\.3\.bias"):
        from_torchvision(lacking)
    with pytest.raises(ValueError, match=r"have other\.x too many"):
        from_torchvision({**state, "other.x": state["features.0.bias"]})
    turned = {**state, "classifier.1.weight": state["classifier.1.weight"].T}
    with pytest.raises(ValueError, match=r"classifier.1.weight has shape .*, expected \(128, "):
        from_torchvision(turned)
    doubles = {**state, "features.0.bias": state["features.0.bias"].astype(np.float64)}
    with pytest.raises(ValueError, match=r"features.0.bias has dtype float64, expected float32"):
        from_torchvision(doubles)
    layers = to_caffe(network("caffe"))
    ungrouped = {**layers, "conv2": (np.tile(layers["conv2"][0], (1, 1, 2, 1)), layers["conv2"][1])}
    with pytest.raises(ValueError, match=r"Caffe's AlexNet: conv2.weight has shape \(5, 5, 4, 8\)"):
        from_caffe(ungrouped)


def test_networks_that_do_not_fit() -> None:
    bn = AlexNet("cifar10-bn", seed=None)
    with pytest.raises(
        ValueError,
        match=r"layout: conv1 has kernel_size 3, stride 1, padding 'same', expected kernel_size "
        r".*; alexnet convert --to alexnet writes any network to a file of ours$",
    ):
        to_torchvision(bn)
    with pytest.raises(
        ValueError, match="caffe does not fit caffe's layout: pool1 is MaxPool2d, expected LRN"
    ):
        to_caffe(AlexNet("caffe", seed=None, lrn=False))


@pytest.mark.usefixtures("small")
def test_a_foreign_safetensors_file(tmp_path: Path) -> None:
    save_file({"a": np.zeros(3, np.float32)}, tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match=r"x\.safetensors: not torchvision's AlexNet: arrays lack"):
        convert(tmp_path / "x.safetensors", tmp_path / "net")
    (tmp_path / "text").write_text("some text")
    with pytest.raises(ValueError, match="text: not a whole safetensors file"):
        convert(tmp_path / "text", tmp_path / "net")
    with pytest.raises(ValueError, match="to is 'onnx', expected one of alexnet, torchvision"):
        convert(tmp_path / "text", tmp_path / "net", to="onnx")


@pytest.mark.usefixtures("small")
def test_without_pytorch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    network("torchvision").save(tmp_path / "net")
    with pytest.raises(
        ValueError, match=r"net\.pth: writing this format takes PyTorch, which is not"
    ):
        convert(tmp_path / "net", tmp_path / "net.pth")
    assert not (tmp_path / "net.pth").exists()


# --- the command ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("small")
def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ours = network("torchvision", num_classes=7)
    source, target = tmp_path / "alexnet.safetensors", tmp_path / "net.safetensors"
    write_torchvision(source, to_torchvision(ours))
    assert main(["convert", str(source), str(target)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{source} (torchvision) -> {target} (alexnet)"
    assert lines[1] == f"{ours.num_parameters:,} parameters, 7 classes"
    assert_same_parameters(load_model(target).network, ours)
    assert main(["convert", str(target), str(tmp_path / "back")]) == 0
    assert load_file(tmp_path / "back").keys() == TORCHVISION_SHAPES.keys()
    assert main(["convert", str(target), str(tmp_path / "net.npy")]) == 2
    assert "torchvision does not fit caffe's layout: conv1" in capsys.readouterr().err
    assert main(["convert", str(tmp_path / "none"), "x"]) == 2
    assert "none" in capsys.readouterr().err


@pytest.mark.usefixtures("small")
def test_a_checkpoint_without_what_is_for_training(tmp_path: Path) -> None:
    ours = network("torchvision", num_classes=2)
    optimizer = {"steps": np.array(3), "velocity.fc8.bias": np.zeros(2, np.float32)}
    Checkpoint(ours.variant, ours.tensors(), optimizer, step=3, class_names=("a", "b")).write(
        tmp_path / "checkpoint"
    )
    convert(tmp_path / "checkpoint", tmp_path / "net", to="alexnet")
    model = load_model(tmp_path / "net")
    assert (model.step, model.class_names) == (3, ("a", "b"))
    assert not any("optimizer" in name for name in weights.read_tensors(tmp_path / "net")[0])


# --- what is written over, and under which name ---------------------------------------------------


@pytest.mark.usefixtures("small")
def test_a_target_that_exists_is_replaced_only_by_force(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, other = tmp_path / "w", tmp_path / "other"
    network("caffe").save(source)
    network("torchvision").save(other)
    (tmp_path / "link").symlink_to(source)
    before = source.read_bytes()
    for target in (source, tmp_path / "link"):
        with pytest.raises(FileExistsError, match="exists already"):
            convert(other, target)
        assert main(["convert", str(other), str(target)]) == 2
        assert "exists already: --force replaces it\n" in capsys.readouterr().err
        assert source.read_bytes() == before
    assert main(["convert", str(other), str(source), "--to", "alexnet", "--force"]) == 0
    assert source.read_bytes() != before
    convert(source, source, to="alexnet", force=True)
    assert_same_parameters(load(source), load(other))


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("suffix", [".pth", ".PT", ".npy", ".h5", ".onnx", ".bin", ".pth.tar"])
def test_no_file_has_the_name_of_another_format(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"w{suffix}"
    line = f"would be a safetensors file, and .{suffix.lower().rpartition('.')[2]} is the name of"
    ours = network("torchvision")
    calls: list[Callable[[], object]] = [
        lambda: ours.save(path),
        lambda: Checkpoint(ours.variant, ours.tensors()).write(path),
    ]
    ours.save(tmp_path / "net")
    calls.append(lambda: convert(tmp_path / "net", path, to="alexnet"))
    if suffix.lower() not in (".pth", ".pt"):
        calls.append(lambda: convert(tmp_path / "net", path, to="torchvision"))
    for call in calls:
        with pytest.raises(ValueError, match=line):
            call()
    network("caffe").save(tmp_path / "caffe")
    if suffix != ".npy":
        with pytest.raises(ValueError, match=r"would be a NumPy file, and .* call it \.npy"):
            convert(tmp_path / "caffe", path, to="caffe")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["caffe", "net"]


# --- one way to load a network --------------------------------------------------------------------


@pytest.mark.usefixtures("small")
def test_a_network_is_loaded_from_anything_that_holds_one(tmp_path: Path) -> None:
    ours, caffe = network("torchvision"), network("caffe")
    state = to_torchvision(ours)
    run = tmp_path / "run"
    run.mkdir()
    Checkpoint(ours.variant, ours.tensors(), {"steps": np.array(3)}).write(run / LAST)
    ours.save(tmp_path / "net")
    write_torchvision(tmp_path / "theirs", state)
    torch_files.write_archive(
        tmp_path / "w.pth",
        torch_files.ordered(torch_files.tensors(state)),
        torch_files.contents(state),
    )
    write_caffe(tmp_path / "caffe.npy", to_caffe(caffe))
    for name in ("net", "theirs", "w.pth", "run", f"run/{LAST}"):
        assert_same_parameters(alexnet.load(tmp_path / name), ours)
        assert_same_parameters(load_model(str(tmp_path / name)).network, ours)
    assert_same_parameters(alexnet.load(tmp_path / "caffe.npy"), caffe)
    other = alexnet.load(tmp_path / "w.pth", implementation=alexnet.reference)
    assert_same_parameters(other, ours)
    with pytest.raises(ValueError, match=r"holds neither best\.safetensors nor last"):
        alexnet.load(tmp_path)
