"""Checkpoints: a network, and all that its training needs to go on as if it had never stopped.

A checkpoint is one safetensors file, so it is whole or not there:

- tensors: the network's parameters and state by full name ("conv1.weight", "bn2.running_mean",
  "generator"), and the optimizer's as "optimizer.first_moment.conv1.weight";
- metadata "alexnet.variant": the description of the network, as in a file of `Network.save`;
- metadata "alexnet.checkpoint": JSON with the fields of `Checkpoint` that are no arrays.

Reading one runs no code from it. `read_model` takes from it what prediction needs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from alexnet.contract.arguments import AnyArray, check_path
from alexnet.data import Preprocessing
from alexnet.files.descriptions import Entry, versioned
from alexnet.messages import summarised
from alexnet.network import weights
from alexnet.network.network import Network
from alexnet.network.variant import Variant
from alexnet.network.variants import AlexNet

KEY = "alexnet.checkpoint"
VERSION = 1
OPTIMIZER = "optimizer."
LONGEST_CLASS = 1000  # characters of a name
FIELDS = ("step", "data", "class_names", "preprocessing", "best_accuracy")
LAST, PREVIOUS, BEST = "last.safetensors", "previous.safetensors", "best.safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """What a training run is after some step.

    Attributes
    ----------
    variant
        Description of the network.
    network
        Arrays of the network, as `Network.tensors` gives them.
    optimizer
        Arrays of the optimizer, as `Optimizer.state_dict` gives them; empty in a checkpoint that
        is for evaluation only.
    step
        Steps taken. It is the position in the data as well: batch n follows from n and `data`.
    data
        What the batches follow from: {"images", "digest", "batch_size", "seed"}, where the digest
        is that of the images, see `ImageSource`.
    class_names
        Names of the classes in the order of the outputs; None where nobody gave them.
    preprocessing
        From pixels to the network's input; None where nobody gave it.
    best_accuracy
        Highest test accuracy so far; None before the first evaluation.

    """

    variant: Variant
    network: Mapping[str, AnyArray]
    optimizer: Mapping[str, AnyArray] = field(default_factory=dict)
    step: int = 0
    data: Mapping[str, int] = field(default_factory=dict)
    class_names: tuple[str, ...] | None = None
    preprocessing: Preprocessing | None = None
    best_accuracy: float | None = None

    def __repr__(self) -> str:
        return summarised(self, f"of {self.variant.sizes}", step=self.step)

    def write(self, path: str | os.PathLike[str], *, previous: Path | None = None) -> None:
        """Write it to a file; an earlier one is replaced when this is whole and on the disk.

        `previous`, a name in the same file system, keeps the earlier one.

        Raises
        ------
        OSError
            It could not be written, for want of space or permission; an earlier file is untouched.
        """
        optimizer = {OPTIMIZER + name: array for name, array in self.optimizer.items()}
        described = {
            "version": VERSION,
            "step": self.step,
            "data": dict(self.data),
            "class_names": self.class_names,
            "preprocessing": self.preprocessing and self.preprocessing.to_json(),
            "best_accuracy": self.best_accuracy,
        }
        tensors = {**self.network, **optimizer}
        metadata = {KEY: json.dumps(described, allow_nan=False)}
        weights.write(path, self.variant, tensors, metadata, previous=previous)

    @staticmethod
    def read(path: str | os.PathLike[str]) -> Checkpoint:
        """Read what `write` wrote, or a file of `Network.save`, which has the network only.

        Raises
        ------
        ValueError
            The file is cut short, foreign, or of a later version.
        OSError
            It cannot be opened.
        """
        variant, tensors, metadata = weights.read_described(path)
        network, optimizer = {}, {}
        for name, array in tensors.items():
            if name.startswith(OPTIMIZER):
                optimizer[name.removeprefix(OPTIMIZER)] = array
            else:
                network[name] = array
        try:
            details = _details(metadata[KEY]) if KEY in metadata else {}
            checkpoint = Checkpoint(variant, network, optimizer, **details)
            checkpoint._check()
        except ValueError as error:
            raise ValueError(f"{path}: not a checkpoint of this version: {error}") from error
        return checkpoint

    def _check(self) -> None:
        """Check that what a file says fits together."""
        if self.preprocessing and self.preprocessing.input_shape != self.variant.input_shape:
            raise ValueError(
                f"preprocessing makes images of {self.preprocessing.input_shape}, but "
                f"{self.variant.name} takes {self.variant.input_shape}"
            )
        if "steps" in self.optimizer:
            steps = self.optimizer["steps"]
            if steps.dtype != np.int64 or steps.shape != ():
                raise ValueError(
                    f"optimizer.steps is {steps.dtype} {steps.shape}, expected one int64"
                )
            Entry("optimizer.steps", steps.item()).integer()


def _details(text: str) -> dict[str, Any]:
    """Fields of a checkpoint that are no arrays."""
    given = versioned(text, VERSION, FIELDS)
    names, accuracy = given["class_names"].optional(), given["best_accuracy"].optional()
    preprocessing = given["preprocessing"].optional()
    return {
        "step": given["step"].integer(),
        "data": {key: item.integer(0, 2**64 - 1) for key, item in given["data"].entries().items()},
        "class_names": names and tuple(item.text(LONGEST_CLASS) for item in names.items()),
        "preprocessing": preprocessing and Preprocessing.from_entry(preprocessing),
        "best_accuracy": accuracy and accuracy.number(0, 1),
    }


@dataclass(frozen=True)
class TrainedModel:
    """A network that can classify, and how to prepare images for it.

    `class_names` and `preprocessing` are None for a file that holds the network alone.
    """

    network: Network
    class_names: tuple[str, ...] | None
    preprocessing: Preprocessing | None
    step: int

    def __repr__(self) -> str:
        settings = {
            "classes": len(self.class_names) if self.class_names else "unnamed",
            "preprocessing": "known" if self.preprocessing else "unknown",
        }
        return summarised(self, f"of {self.network.variant.name}", **settings, step=self.step)


def read_model(path: str | os.PathLike[str]) -> TrainedModel:
    """Read a trained network; `alexnet.interchange.load_model` reads those of others as well.

    Parameters
    ----------
    path
        A checkpoint, a run's folder (its best checkpoint, or the last one where none was
        evaluated), or a file of `Network.save`.

    Raises
    ------
    ValueError
        The file is cut short or foreign, its arrays do not fit its description, or the folder
        holds no checkpoint.
    OSError
        It cannot be opened.

    """
    path = check_path("read_model", "path", path)
    if path.is_dir():
        path = _checkpoint_in(path)
    checkpoint = Checkpoint.read(path)
    outputs, names = checkpoint.variant.output_shape, checkpoint.class_names
    if names is not None and outputs != (len(names),):
        raise ValueError(
            f"{path}: {len(names)} class_names, but the output of {checkpoint.variant.name} is "
            f"{outputs}"
        )
    network = AlexNet(checkpoint.variant, seed=None)
    try:
        network.assign(checkpoint.network)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return TrainedModel(network, checkpoint.class_names, checkpoint.preprocessing, checkpoint.step)


def _checkpoint_in(folder: Path) -> Path:
    for name in (BEST, LAST):
        if (folder / name).exists():
            return folder / name
    raise ValueError(f"{folder}: holds neither {BEST} nor {LAST}: no run's folder")
