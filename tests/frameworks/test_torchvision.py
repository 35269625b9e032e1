"""torchvision's AlexNet, written down in PyTorch's modules, and ours on the same weights.

Not among the tests that plain `pytest` collects, since it needs PyTorch:
`pip install ".[test,peers]" && pytest tests/frameworks`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from alexnet.interchange import (
    convert,
    from_torchvision,
    load_model,
    read_torchvision,
    to_torchvision,
)
from alexnet.network.variants import AlexNet
from support.arrays import random_array, relative_error

TOLERANCE = 1e-5


class TorchvisionAlexNet(nn.Module):
    """The modules of torchvision.models.AlexNet, under their names."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 11, stride=4, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(64, 192, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(192, 384, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(256, 256, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
        )
        self.avgpool = nn.AdaptiveAvgPool2d((6, 6))
        self.classifier = nn.Sequential(
            nn.Dropout(),
            nn.Linear(256 * 6 * 6, 4096),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(4096, 4096),
            nn.ReLU(),
            nn.Linear(4096, classes),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


def outputs(network: nn.Module, images: np.ndarray) -> np.ndarray:
    """For images (n, height, width, channels), as in inference."""
    with torch.inference_mode():
        return network.eval()(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()


def test_their_network_in_ours() -> None:
    torch.manual_seed(3)
    theirs = TorchvisionAlexNet()
    state = {name: tensor.numpy() for name, tensor in theirs.state_dict().items()}
    ours = from_torchvision(state)
    images = random_array(1, 2, 224, 224, 3)
    assert relative_error(ours.forward(images), outputs(theirs, images)) < TOLERANCE


def test_our_network_in_theirs() -> None:
    ours = AlexNet("torchvision", seed=4, num_classes=11)
    theirs = TorchvisionAlexNet(classes=11)
    state = to_torchvision(ours)
    theirs.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()})
    images = random_array(1, 2, 224, 224, 3)
    assert relative_error(ours.forward(images), outputs(theirs, images)) < TOLERANCE


def test_files_of_torch_save(tmp_path: Path) -> None:
    theirs = TorchvisionAlexNet(classes=2)
    for name, is_archive in (("new.pth", True), ("old.pth", False)):
        torch.save(theirs.state_dict(), tmp_path / name, _use_new_zipfile_serialization=is_archive)
        convert(tmp_path / name, tmp_path / "net")
        network = load_model(tmp_path / "net").network
        for key, array in to_torchvision(network).items():
            np.testing.assert_array_equal(array, theirs.state_dict()[key].numpy(), strict=True)
    convert(tmp_path / "net", tmp_path / "back.pth")
    back = torch.load(tmp_path / "back.pth", weights_only=True)
    assert back.keys() == theirs.state_dict().keys()
    assert all(torch.equal(back[key], tensor) for key, tensor in theirs.state_dict().items())


@pytest.mark.parametrize(
    "settings",
    [{}, {"pickle_protocol": 4}, {"pickle_protocol": 5}, {"_use_new_zipfile_serialization": False}],
)
def test_a_checkpoint_as_people_save_it(settings: dict[str, object], tmp_path: Path) -> None:
    theirs, path = TorchvisionAlexNet(classes=2), tmp_path / "checkpoint.pth"
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=0.9)
    theirs(torch.zeros(1, 3, 224, 224)).sum().backward()
    optimizer.step()
    checkpoint = {
        "epoch": 3,
        "state_dict": nn.DataParallel(theirs).state_dict(),
        "best_acc1": torch.tensor(0.5),
        "loss": np.float64(0.5),
        "optimizer": optimizer.state_dict(),
    }
    torch.save(checkpoint, path, **settings)
    read = read_torchvision(path)
    assert read.keys() == theirs.state_dict().keys()
    for key, tensor in theirs.state_dict().items():
        np.testing.assert_array_equal(read[key], tensor.numpy(), strict=True)


def test_a_module_and_its_wrappings_in_memory() -> None:
    theirs = TorchvisionAlexNet(classes=2)
    expected = from_torchvision(theirs).parameters
    for given in (nn.DataParallel(theirs), {"model": theirs.state_dict()}, torch.compile(theirs)):
        for key, array in from_torchvision(given).parameters.items():
            np.testing.assert_array_equal(array, expected[key])


class _Touch:
    """What a hostile pickle does when it is read."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self._path,)


@pytest.mark.parametrize("content", ["touch", {"a": 3}, [1], None])
def test_other_contents_are_refused_and_run_nothing(content: object, tmp_path: Path) -> None:
    marker, path = tmp_path / "marker", tmp_path / "a.pth"
    torch.save({"features.0.weight": _Touch(marker)} if content == "touch" else content, path)
    with pytest.raises(ValueError, match=r"a\.pth: not a "):
        convert(path, tmp_path / "net")
    assert not marker.exists()
    assert not (tmp_path / "net").exists()


@pytest.mark.parametrize("length", [2, 3, 100, 1000])
def test_files_cut_short(length: int, tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    for is_archive in (True, False):
        state = nn.Linear(50, 50).state_dict()
        torch.save(state, path, _use_new_zipfile_serialization=is_archive)
        path.write_bytes(path.read_bytes()[:length])
        with pytest.raises(ValueError, match=r"a\.pth: not a whole "):
            convert(path, tmp_path / "net")
