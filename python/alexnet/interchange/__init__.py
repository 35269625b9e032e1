"""Weights from and for other programs: torchvision's AlexNet, Caffe's bvlc_alexnet.

    convert("alexnet-owt-7be5be79.safetensors", "net.safetensors")   # torchvision's, to ours
    convert("net.safetensors", "bvlc_alexnet.npy")                   # ours, to Caffe's

`load_model` reads any of these files, and `load` the network in one. `from_torchvision`,
`to_torchvision`, `from_caffe` and `to_caffe` do without files.
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from alexnet.contract.arguments import check_path
from alexnet.data import imagenet_classes
from alexnet.files import check_absent, open_regular
from alexnet.files.kinds import NUMPY_ARRAY, TORCH, kind_of
from alexnet.interchange import caffe, torchvision
from alexnet.interchange.caffe import from_caffe, read_caffe, to_caffe, write_caffe
from alexnet.interchange.torchvision import (
    from_torchvision,
    read_torchvision,
    to_torchvision,
    write_torchvision,
)
from alexnet.network import weights
from alexnet.network.checkpoint import Checkpoint, TrainedModel, read_model
from alexnet.network.freezing import FLOAT32
from alexnet.network.network import Network
from alexnet.network.variants import AlexNet

__all__ = [
    "FORMATS",
    "Conversion",
    "convert",
    "from_caffe",
    "from_torchvision",
    "load",
    "load_model",
    "read_caffe",
    "read_torchvision",
    "to_caffe",
    "to_torchvision",
    "write_caffe",
    "write_torchvision",
]

OURS = "alexnet"
FORMATS = (OURS, torchvision.VARIANT, caffe.VARIANT)


def load_model(
    path: str | os.PathLike[str], *, device: str = "cpu", precision: str = FLOAT32
) -> TrainedModel:
    """Read a trained network from anything that holds one, told by its content; nothing of it runs.

    Parameters
    ----------
    path
        A file of `Network.save`, a checkpoint, a run's folder (its best checkpoint, or the last one
        where none was evaluated), or weights of torchvision's or Caffe's AlexNet, in the files that
        `convert` reads.
    device, precision
        Where the network computes, and in what, as of `AlexNet`.

    Raises
    ------
    ValueError
        The file is cut short or holds none of these, its arrays do not fit its description, or the
        folder holds no checkpoint.
    TypeError
        `path` is neither str nor os.PathLike.
    OSError
        It cannot be opened.
    """
    path = check_path("load_model", "path", path)
    model = _read(path, format_of(path))
    if (device, precision) == ("cpu", FLOAT32):
        return model
    network = _copied(model.network, device=device, precision=precision)
    return dataclasses.replace(model, network=network)


def _copied(given: Network, **how: Any) -> AlexNet:
    """Build the same network with other arguments of `AlexNet`."""
    network = AlexNet(given.variant, seed=None, **how)
    network.assign(given.tensors())
    return network


def load(
    path: str | os.PathLike[str],
    *,
    device: str = "cpu",
    implementation: ModuleType | None = None,
    precision: str = FLOAT32,
) -> AlexNet:
    """Read a network, with its parameters and state, from anything that holds one.

    `path` and the errors are those of `load_model`, whatever wrote the file; `device`,
    `implementation` and `precision` are those of `AlexNet`.
    """
    given = load_model(check_path("load", "path", path)).network
    return _copied(given, device=device, implementation=implementation, precision=precision)


@dataclass(frozen=True)
class Conversion:
    """What `convert` did: the formats that it read and wrote, and the model."""

    source_format: str
    target_format: str
    model: TrainedModel


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    to: str | None = None,
    *,
    force: bool = False,
) -> Conversion:
    """Write the network in `source` to `target` in another format, bit for bit the same weights.

    Parameters
    ----------
    source
        A file of any of `FORMATS`, told by its content, or the folder of a training run.
    target
        The file to write.
    to
        One of `FORMATS`. If None, .npy is Caffe's, .pth and .pt are torchvision's, and any other
        name is ours for a foreign source and torchvision's for one of ours.
    force
        Replace the target if there is one, when the new one is whole.

    A file of ours that was foreign says how images are prepared for such weights and, where they
    have 1000 classes, that these are ImageNet's; one that goes to
    a foreign format loses how they were prepared, the names of the classes, and all that is for
    training.

    Raises
    ------
    ValueError
        The source is damaged or of no format known here, the network's layers are not those of the
        target's format, its name is one of another format, or writing it needs PyTorch, which is
        not installed.
    FileExistsError
        There is a target, and `force` is not set.
    OSError
        A file cannot be read or written.

    """
    if to is not None and to not in FORMATS:
        raise ValueError(f"convert: to is {to!r}, expected one of {', '.join(FORMATS)}")
    source = check_path("convert", "source", source)
    target = check_path("convert", "target", target)
    if not force:
        check_absent(target)
    source_format = format_of(source)
    to = to or _format_by_name(target, source_format)
    model = _read(source, source_format)
    _write(target, to, model)
    return Conversion(source_format, to, model)


def format_of(source: Path) -> str:
    """Which of `FORMATS` a file or a run's folder is in, by its content.

    Raises
    ------
    ValueError
        It is of none of them; the message says what it seems to be.
    OSError
        It cannot be opened.
    """
    if source.is_dir():
        return OURS
    with open_regular(source) as file:
        kind = kind_of(file)
    if kind == NUMPY_ARRAY:
        return caffe.VARIANT
    if kind == TORCH:
        return torchvision.VARIANT
    return OURS if weights.VARIANT_KEY in weights.read_metadata(source) else torchvision.VARIANT


def _format_by_name(target: Path, source_format: str) -> str:
    if target.suffix.lower() == ".npy":
        return caffe.VARIANT
    if target.suffix.lower() in torchvision.TORCH_SUFFIXES or source_format == OURS:
        return torchvision.VARIANT
    return OURS


def _read(source: Path, source_format: str) -> TrainedModel:
    if source_format == OURS:
        return read_model(source)
    is_caffe = source_format == caffe.VARIANT
    arrays: Any = read_caffe(source) if is_caffe else read_torchvision(source)
    try:
        network = from_caffe(arrays) if is_caffe else from_torchvision(arrays)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error
    preprocessing = caffe.PREPROCESSING if is_caffe else torchvision.PREPROCESSING
    names = imagenet_classes()
    is_imagenet = network.output_shape == (len(names),)
    return TrainedModel(network, names if is_imagenet else None, preprocessing, step=0)


def _write(target: Path, target_format: str, model: TrainedModel) -> None:
    network = model.network
    if target_format == caffe.VARIANT:
        write_caffe(target, to_caffe(network))
    elif target_format == torchvision.VARIANT:
        write_torchvision(target, to_torchvision(network))
    else:
        Checkpoint(
            network.variant,
            network.tensors(),
            step=model.step,
            class_names=model.class_names,
            preprocessing=model.preprocessing,
        ).write(target)
