"""Caffe's bvlc_alexnet as the NumPy file that its weights went round in for TensorFlow.

The file is what `numpy.save` makes of a dictionary {layer: [weight, bias]}, so a pickle, which is
read here by an unpickler that runs nothing. Kernels are (height, width, in / groups, out) and fc6
takes the last feature maps pixel by pixel, both as ours. The images are blue, green, red in
0 .. 255 with their mean taken off, where ours are red, green, blue: conv1 changes the order.
"""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from alexnet.contract.arguments import AnyArray, check_instance
from alexnet.data import Preprocessing
from alexnet.files import check_size, open_regular, pickles, replacing
from alexnet.files.descriptions import Entry
from alexnet.files.kinds import check_suffix
from alexnet.files.pickles import PickledArray
from alexnet.interchange.checks import check_layers, checked, network_with
from alexnet.messages import shown
from alexnet.network.network import Network
from alexnet.network.variants import AlexNet, variant_named

VARIANT = "caffe"
KINDS = ("weight", "bias")  # in the order of a layer's list
LARGEST_FILE = 2**30  # bytes; the original has 244 million
START = b"\x93NUMPY"
LENGTH_BYTES = {(1, 0): 2, (2, 0): 4}  # of the header's length, by the version of the file
LONGEST_HEADER = 1024  # bytes

# Caffe's mean of ImageNet, and no deviation: the network sees differences from 0 to 255.
PREPROCESSING = Preprocessing(
    input_size=(227, 227),
    shortest_side=256,
    padding=0,
    augment="none",
    mean=(122.67892, 116.66877, 104.00699),
    stddev=(1.0, 1.0, 1.0),
    components=((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
    eigenvalues=(0.0, 0.0, 0.0),
)


def from_caffe(layers: Mapping[str, tuple[AnyArray, AnyArray]]) -> AlexNet:
    """Build the network that Caffe's arrays belong to.

    Parameters
    ----------
    layers
        (weight, bias) of conv1 .. conv5 and fc6 .. fc8, float32: conv2 (5, 5, 48, 256), in two
        groups as conv4 and conv5, fc6 (9216, 4096). conv1 sees blue, green, red. fc8 has any number
        of classes.

    Raises
    ------
    ValueError
        A name, a shape or a dtype is not that of bvlc_alexnet, or a layer has no pair.
    TypeError
        What is given is no dictionary, or holds what is no array.

    """
    check_instance("Caffe's AlexNet", "layers", layers, Mapping)
    for name, pair in layers.items():
        if not isinstance(pair, tuple | list) or len(pair) != len(KINDS):
            raise ValueError(
                f"Caffe's AlexNet: {name:.200} is {shown(pair)}, expected [weight, bias]"
            )
    variant = variant_named(VARIANT)
    if "fc8" in layers:
        variant = variant.with_classes(np.size(layers["fc8"][1]))
    arrays = {
        f"{layer}.{kind}": array
        for layer, pair in layers.items()
        for kind, array in zip(KINDS, pair, strict=True)
    }
    given = checked("Caffe", arrays, variant.parameter_shapes())
    return network_with(variant, _with_colours_reversed(given))


def to_caffe(network: Network) -> dict[str, tuple[AnyArray, AnyArray]]:
    """Arrays of a network in Caffe's layout, as `from_caffe` takes them; conv1's weight is a copy.

    Raises
    ------
    ValueError
        The network's layers are not those of the variant "caffe".
    """
    check_layers(network, variant_named(VARIANT))
    arrays = _with_colours_reversed(network.tensors())
    names = dict.fromkeys(name.partition(".")[0] for name in network.parameters)
    return {name: (arrays[f"{name}.weight"], arrays[f"{name}.bias"]) for name in names}


def _with_colours_reversed(arrays: Mapping[str, AnyArray]) -> dict[str, AnyArray]:
    """Red, green, blue to blue, green, red, and back."""
    return {**arrays, "conv1.weight": arrays["conv1.weight"][:, :, ::-1].copy()}


# --- files ----------------------------------------------------------------------------------------


def read_caffe(path: str | os.PathLike[str]) -> dict[str, tuple[AnyArray, AnyArray]]:
    """Read the dictionary in a .npy file, by any version of Python; runs nothing of it.

    Raises
    ------
    ValueError
        It is no such file, is cut short, or its pickle asks for anything but arrays of float32.
    OSError
        It cannot be opened.
    """
    path = Path(path)
    with open_regular(path) as file:
        left = check_size(path, file, LARGEST_FILE)
        try:
            _read_header(file)
            saved = pickles.loads(file.read())
        except (ValueError, pickle.UnpicklingError) as error:
            raise ValueError(
                f"{path}: no .npy file of a dictionary of arrays, and not run: {error}"
            ) from error
    if not isinstance(saved, PickledArray):
        raise ValueError(f"{path}: the pickle holds a {type(saved).__name__}, expected an array")
    layers = saved.to_object(f"{path}: the array")
    if not isinstance(layers, dict) or not all(type(name) is str for name in layers):
        raise ValueError(f"{path}: holds {shown(layers)}, expected a dictionary of layers")
    for name in layers:
        Entry(f"{path}: the name of a layer", name).name()
    pairs = {}
    for name, entry in layers.items():
        pairs[name] = _pair(f"{path}: {name}", entry)
        left -= sum(array.nbytes for array in pairs[name])
        if left < 0:  # of text, each array is a copy
            raise ValueError(f"{path}: its arrays share their bytes: they are larger than the file")
    return pairs


def _read_header(file: BinaryIO) -> None:
    """Go on to the pickle; ValueError unless it is that of a single object.

    NumPy's own reader evaluates the header, which may be as deep as Python's parser can be.
    """
    magic = file.read(len(START))
    version = tuple(file.read(2))
    if magic != START or version not in LENGTH_BYTES:
        raise ValueError(f"its first bytes are {magic!r}, its version {version}")
    length = int.from_bytes(file.read(LENGTH_BYTES[version]), "little")
    if length > LONGEST_HEADER:
        raise ValueError(f"its header has {length:,} bytes, expected at most {LONGEST_HEADER:,}")
    header = file.read(length).decode("latin1").strip()
    if not (re.search(r"'descr':\s*'\|?O'", header) and re.search(r"'shape':\s*\(\s*\)", header)):
        raise ValueError(f"it is no single object, but {header!r:.200}")


def _pair(where: str, entry: Any) -> tuple[AnyArray, AnyArray]:
    match entry:
        case [PickledArray() as weight, PickledArray() as bias] | {
            "weights": PickledArray() as weight,
            "biases": PickledArray() as bias,
        }:
            return (
                weight.to_numpy(f"{where}'s weight", np.float32),
                bias.to_numpy(f"{where}'s bias", np.float32),
            )
    raise ValueError(f"{where} is not a list of two arrays, weight and bias, but {shown(entry)}")


def write_caffe(
    path: str | os.PathLike[str], layers: Mapping[str, tuple[AnyArray, AnyArray]]
) -> None:
    """Write what `numpy.load(path, allow_pickle=True, encoding="latin1").item()` reads.

    Raises
    ------
    ValueError
        The name is one of another format.
    OSError
        It could not be written; an earlier file is untouched.
    """
    check_suffix(path, "a NumPy file", ".npy")
    dictionary = np.empty((), object)
    dictionary[()] = {name: list(pair) for name, pair in layers.items()}
    with replacing(path) as file:
        np.save(file, dictionary, allow_pickle=True)
