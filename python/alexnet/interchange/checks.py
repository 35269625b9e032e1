"""What reading any foreign layout takes: arrays checked by their names and shapes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from alexnet.contract.arguments import NUMPY, AnyArray, Shape
from alexnet.messages import counted, listed, shown
from alexnet.network.layer import Layer
from alexnet.network.layers import Conv2d, Dense
from alexnet.network.network import Network
from alexnet.network.variant import Variant
from alexnet.network.variants import AlexNet


def checked(
    layout: str, arrays: Mapping[str, AnyArray], shapes: Mapping[str, Shape]
) -> dict[str, AnyArray]:
    """Give the arrays, in the order of `shapes`, if those are their names and shapes.

    Raises
    ------
    ValueError
        An array is missing, unknown, of another shape, or of a dtype that float32 cannot hold.
    TypeError
        One is no NumPy array, or a masked one.
    """
    if arrays.keys() != shapes.keys():
        missing = listed(sorted(shapes.keys() - arrays.keys()))
        unknown = listed(sorted(arrays.keys() - shapes.keys()))
        raise ValueError(
            f"not {layout}'s AlexNet: arrays lack {missing}, and have {unknown} too many"
        )
    for name, shape in shapes.items():
        array = NUMPY.check_type(f"{layout}'s AlexNet", name, arrays[name], "float32")
        if array.shape != shape:
            raise ValueError(
                f"not {layout}'s AlexNet: {name} has shape {array.shape}, expected {shape}"
            )
        if not np.can_cast(array.dtype, np.float32, "safe"):
            raise ValueError(
                f"{layout}'s AlexNet: {name} has dtype {array.dtype}, expected float32"
            )
    return {name: arrays[name] for name in shapes}


def network_with(variant: Variant, parameters: Mapping[str, AnyArray]) -> AlexNet:
    """Build the network of `variant` with these parameters."""
    network = AlexNet(variant, seed=None)
    network.assign({**network.tensors(), **parameters})
    return network


def check_layers(network: Network, variant: Variant) -> None:
    """Check that the network computes what `variant` does, with whatever numbers of features.

    Raises
    ------
    ValueError
        It has other layers; the message names the first.
    """
    own, expected = network.layers, variant.layers
    for layer, wanted in zip(own, expected, strict=False):
        if _without_features(layer) != _without_features(wanted):
            raise _unfit(network, variant, _difference(layer, wanted))
    if len(own) != len(expected):
        layers = f"it has {counted(len(own), 'layer')}, expected {len(expected)}"
        raise _unfit(network, variant, layers)


def _unfit(network: Network, variant: Variant, difference: str) -> ValueError:
    return ValueError(
        f"{network.variant.name} does not fit {variant.name}'s layout: {difference}; "
        "alexnet convert --to alexnet writes any network to a file of ours"
    )


def _difference(layer: Layer, wanted: Layer) -> str:
    """Say in what two layers differ, besides the number of features."""
    if type(layer) is not type(wanted):
        return f"{layer.name} is {type(layer).__name__}, expected {type(wanted).__name__}"
    names = [field.name for field in dataclasses.fields(layer) if field.name != "features"]
    differing = [name for name in names if getattr(layer, name) != getattr(wanted, name)]
    own, expected = (
        ", ".join(f"{name} {shown(getattr(one, name))}" for name in differing)
        for one in (layer, wanted)
    )
    return f"{layer.name} has {own}, expected {expected}"


def _without_features(layer: Layer) -> Layer:
    return dataclasses.replace(layer, features=1) if isinstance(layer, Conv2d | Dense) else layer
