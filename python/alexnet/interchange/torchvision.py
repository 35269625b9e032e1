"""torchvision's AlexNet: the arrays of its state_dict, and its files.

Convolutions are (out, in, height, width), dense layers (out, in), and fc6 takes the last feature
maps channel by channel where ours takes them pixel by pixel. torchvision's adaptive average pool
before fc6 holds no arrays, and does nothing to the 6 x 6 that images of 224 x 224 give.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from alexnet.contract.arguments import AnyArray, Shape
from alexnet.data import Preprocessing
from alexnet.files import open_regular, replacing
from alexnet.files.kinds import TORCH, kind_of
from alexnet.interchange.checks import check_layers, checked, network_with
from alexnet.interchange.state_dicts import bare_state
from alexnet.interchange.torch_file import read_state
from alexnet.messages import shown
from alexnet.network import weights
from alexnet.network.network import Network
from alexnet.network.variant import Variant
from alexnet.network.variants import AlexNet, variant_named

VARIANT = "torchvision"
TORCH_SUFFIXES = (".pth", ".pt")
MODULES = {
    "conv1": "features.0",
    "conv2": "features.3",
    "conv3": "features.6",
    "conv4": "features.8",
    "conv5": "features.10",
    "fc6": "classifier.1",
    "fc7": "classifier.4",
    "fc8": "classifier.6",
}
CLASSES = "classifier.6.bias"

# Order of axes, by their number.
TO_FOREIGN = {1: (0,), 2: (1, 0), 4: (3, 2, 0, 1)}
TO_OURS = {1: (0,), 2: (1, 0), 4: (2, 3, 1, 0)}

# How torchvision prepares photos for these weights: shortest side 256, centre crop 224, mean and
# deviation of ImageNet.
PREPROCESSING = Preprocessing(
    input_size=(224, 224),
    shortest_side=256,
    padding=0,
    augment="none",
    mean=(0.485 * 255, 0.456 * 255, 0.406 * 255),
    stddev=(0.229 * 255, 0.224 * 255, 0.225 * 255),
    components=((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
    eigenvalues=(0.0, 0.0, 0.0),
)


def from_torchvision(module: Any) -> AlexNet:
    """Build the network that torchvision's arrays belong to.

    Parameters
    ----------
    module
        The arrays of the state_dict by name, float32, NumPy's or PyTorch's: "features.0.weight"
        (64, 3, 11, 11), ..., "classifier.6.bias" (classes,), for any number of classes. Also a
        checkpoint that holds them or the module itself: whatever has a method `state_dict`.

    Raises
    ------
    ValueError
        A name, a shape or a dtype is not that of torchvision's AlexNet.

    """
    arrays = _arrays(module)
    variant = variant_named(VARIANT)
    if CLASSES in arrays:
        variant = variant.with_classes(arrays[CLASSES].size)
    shapes = variant.parameter_shapes()
    foreign_shapes = {_foreign_name(name): _turned(shape) for name, shape in shapes.items()}
    given = checked("torchvision", arrays, foreign_shapes)
    parameters = {
        name: given[_foreign_name(name)]
        .reshape(_turned(kernel))
        .transpose(TO_OURS[len(kernel)])
        .reshape(shapes[name])
        for name, kernel in _kernels(variant).items()
    }
    return network_with(variant, parameters)


def _arrays(module: Any) -> dict[str, AnyArray]:
    """NumPy's arrays of a module, a state_dict, or a checkpoint that holds either."""
    state = bare_state(module.state_dict() if hasattr(module, "state_dict") else module, object)
    return {name: _to_numpy(name, array) for name, array in state.items()}


def _to_numpy(name: str, array: Any) -> AnyArray:
    if isinstance(array, np.ndarray):
        return array
    try:
        taken: AnyArray = array.detach().cpu().numpy()
    except (AttributeError, TypeError, RuntimeError) as error:  # the others: no NumPy dtype
        raise ValueError(
            f"{name:.200} is {shown(array)}, expected an array of float32, NumPy's or PyTorch's"
        ) from error
    return taken


def to_torchvision(network: Network) -> dict[str, AnyArray]:
    """Arrays of a network in torchvision's layout, as `from_torchvision` takes them; copies.

    Raises
    ------
    ValueError
        The network's layers are not those of the variant "torchvision".
    """
    check_layers(network, variant_named(VARIANT))
    tensors, shapes = network.tensors(), network.variant.parameter_shapes()
    return {
        _foreign_name(name): tensors[name]
        .reshape(kernel)
        .transpose(TO_FOREIGN[len(kernel)])
        .copy()
        .reshape(_turned(shapes[name]))
        for name, kernel in _kernels(network.variant).items()
    }


def _foreign_name(name: str) -> str:
    layer, _, kind = name.partition(".")
    return f"{MODULES[layer]}.{kind}"


def _turned(shape: Shape) -> Shape:
    """Shape of an array of ours in torchvision's order of axes."""
    return tuple(shape[axis] for axis in TO_FOREIGN[len(shape)])


def _kernels(variant: Variant) -> dict[str, Shape]:
    """Shapes of our parameters, that of fc6 taken apart into (height, width, channels, out)."""
    shapes = variant.parameter_shapes()
    inputs = dict(zip((layer.name for layer in variant.layers), variant.image_shapes, strict=False))
    return {**shapes, "fc6.weight": (*inputs["flatten"], shapes["fc6.weight"][1])}


# --- files ----------------------------------------------------------------------------------------


def read_torchvision(path: str | os.PathLike[str]) -> dict[str, AnyArray]:
    """Arrays of a state_dict in a safetensors file, or in one of torch.save.

    PyTorch is not needed, and nothing that the file contains runs. The state_dict may be in a
    checkpoint or in wrapped modules, see `alexnet.interchange.state_dicts`.

    Raises
    ------
    ValueError
        It is neither of the two, is cut short, or holds anything but arrays.
    OSError
        It cannot be opened.
    """
    path = Path(path)
    with open_regular(path) as file:
        is_from_torch = kind_of(file) == TORCH
    if is_from_torch:
        return read_state(path)
    tensors = weights.read_tensors(path)[0]
    try:
        return bare_state(tensors, np.ndarray)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def write_torchvision(path: str | os.PathLike[str], arrays: Mapping[str, AnyArray]) -> None:
    """Write a state_dict: with torch.save if the name ends in .pth or .pt, else safetensors.

    Raises
    ------
    ValueError
        PyTorch is needed and not installed, or the name is one of another format.
    OSError
        It could not be written; an earlier file is untouched.
    """
    path = Path(path)
    if path.suffix.lower() not in TORCH_SUFFIXES:
        weights.write_tensors(path, arrays, {"format": "pt"})
        return
    torch = _torch(path)
    with replacing(path) as file:
        torch.save({name: torch.from_numpy(array) for name, array in arrays.items()}, file)


def _torch(path: Path) -> ModuleType:
    try:
        return import_module("torch")
    except ModuleNotFoundError as error:
        raise ValueError(
            f"{path}: writing this format takes PyTorch, which is not installed; "
            "a .safetensors file does not"
        ) from error
