"""The settings of a training run, and the trainer that they describe."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from alexnet.contract.arguments import (
    LARGEST_SIZE,
    check_choice,
    check_instance,
    check_int,
    check_number,
    make_plain,
)
from alexnet.data import AUGMENTATIONS, Dataset, Preprocessing, TrainingBatches
from alexnet.files import json_text, read_regular, replacing
from alexnet.files.descriptions import LARGEST, Entry, versioned
from alexnet.network.freezing import FLOAT32
from alexnet.network.variant import Variant
from alexnet.network.variants import AlexNet, variant_named, variants
from alexnet.random import LARGEST_WORD_64
from alexnet.training.optimizers import Optimizer
from alexnet.training.schedules import SCHEDULES, Schedule
from alexnet.training.trainer import OPTIMIZERS, Trainer

VERSION = 1
FIELDS = ("configuration", "data", "preprocessing", "environment")
SMALLEST_RATE, LARGEST_RATE = 1e-30, 1e30  # far from where float32 ends
SMALL_IMAGE = 64  # pixels of the shorter side; CIFAR-10 has 32
WIDE = 4096  # inputs of one unit; see docs/training.md, "Stuck at 0.6931"


@dataclass(frozen=True)
class Configuration:
    """How a network is trained: all that decides its parameters, besides the images.

    What is None is filled in by `resolved`, depending on the network and the optimizer.

    Attributes
    ----------
    variant
        Name of the network.
    epochs, steps
        Length of the run: passes over the images, or batches if `steps` is not None.
    batch_size, seed
        Images in a batch; seed of all random numbers.
    optimizer
        "adam" or "sgd".
    learning_rate
        The highest one. Adam: 1e-3, or 1e-4 where a unit has more than 4096 inputs. SGD: 0.01.
    momentum
        Of SGD: 0.9.
    weight_decay
        L2 term on weights, see `alexnet.SGD` and `alexnet.Adam`. SGD: 5e-4. Adam: 0.
    schedule, warm_up
        See `alexnet.training.Schedule`. Warm-up: 20 steps where a unit has more than 4096
        inputs, otherwise none.
    augment
        See `alexnet.data.Preprocessing`.
    evaluate_every, checkpoint_every
        Steps; None: at the end of each epoch only.

    Raises
    ------
    TypeError, ValueError
        A setting is not what it may be.

    """

    variant: str = "cifar10-bn"
    epochs: int = 10
    steps: int | None = None
    batch_size: int = 32
    seed: int = 1
    optimizer: str = "adam"
    learning_rate: float | None = None
    momentum: float | None = None
    weight_decay: float | None = None
    schedule: str = "constant"
    warm_up: int | None = None
    augment: str = "standard"
    evaluate_every: int | None = None
    checkpoint_every: int | None = None

    def __post_init__(self) -> None:
        _ = self.described  # ValueError for an unknown name
        check_choice("training", "optimizer", self.optimizer, tuple(OPTIMIZERS))
        check_choice("training", "schedule", self.schedule, tuple(SCHEDULES))
        check_choice("training", "augment", self.augment, AUGMENTATIONS)
        check_int("training", "seed", self.seed, 0, LARGEST_WORD_64)
        for name in ("epochs", "steps", "batch_size", "evaluate_every", "checkpoint_every"):
            self._check_unless_none(name, check_int, 1, LARGEST_SIZE)
        self._check_unless_none("warm_up", check_int, 0, LARGEST_SIZE)
        self._check_unless_none("learning_rate", check_number, low=SMALLEST_RATE, high=LARGEST_RATE)
        self._check_unless_none("momentum", check_number, low=0, below=1)
        self._check_unless_none("weight_decay", check_number, low=0, high=LARGEST_RATE)
        make_plain(self)

    def _check_unless_none(
        self, name: str, check: Callable[..., object], *limits: int, **bounds: float
    ) -> None:
        value = getattr(self, name)
        if value is not None or name in ("epochs", "batch_size"):
            check("training", name, value, *limits, **bounds)

    @cached_property
    def described(self) -> Variant:
        """The network that is named `variant`."""
        return variant_named(self.variant)

    def resolved(self) -> Configuration:
        """Fill in what depends on other settings.

        Raises
        ------
        ValueError
            A momentum is given for Adam, or there is no such variant.
        """
        if self.optimizer == "adam" and self.momentum is not None:
            raise ValueError(f"training: momentum is {self.momentum}, but adam has none: use sgd")
        wide = _most_inputs(self.described) > WIDE
        adam = self.optimizer == "adam"
        defaults: dict[str, Any] = {
            "learning_rate": (1e-4 if wide else 1e-3) if adam else 0.01,
            "momentum": None if adam else 0.9,
            "weight_decay": 0.0 if adam else 5e-4,
            "warm_up": 20 if wide else 0,
        }
        missing = {name: value for name, value in defaults.items() if getattr(self, name) is None}
        return dataclasses.replace(self, **missing)

    @staticmethod
    def from_plain(values: Mapping[str, Any]) -> Configuration:
        """Undo `dataclasses.asdict`; ValueError for anything else."""
        given = Entry("configuration", values).fields(_SETTINGS)
        return Configuration(**{name: read(given[name]) for name, read in _SETTINGS.items()})

    def continued(self, given: Mapping[str, Any]) -> Configuration:
        """Take the length of the run, "epochs" or "steps", from `given`.

        Raises
        ------
        ValueError
            Another setting in `given` is not as it is here.
        """
        check_instance("training", "given", given, Mapping)
        for name in given:
            check_choice("training", "the setting", name, [each.name for each in fields(self)])
        length = {name: value for name, value in given.items() if name in ("epochs", "steps")}
        for name, value in given.items():
            before = getattr(self, name)
            if name not in length and value != before:
                raise ValueError(f"the run has {name} {before}, and cannot go on with {value}")
        return dataclasses.replace(self, **({"steps": None} | length if length else {}))

    def total_steps(self, per_epoch: int) -> int:
        """Length of the run in steps, of which an epoch has `per_epoch`."""
        return self.steps or self.epochs * per_epoch


def _count(entry: Entry) -> int:
    return entry.integer(1)


def _or_none(read: Callable[[Entry], Any]) -> Callable[[Entry], Any]:
    return lambda entry: None if entry.value is None else read(entry)


# What each setting of a `Configuration` may be in a file.
_SETTINGS: dict[str, Callable[[Entry], Any]] = {
    "variant": lambda entry: entry.choice(variants()),
    "epochs": _count,
    "steps": _or_none(_count),
    "batch_size": _count,
    "seed": lambda entry: entry.integer(0, 2**64 - 1),
    "optimizer": lambda entry: entry.choice(OPTIMIZERS),
    "learning_rate": _or_none(lambda entry: entry.number(SMALLEST_RATE, LARGEST_RATE)),
    "momentum": _or_none(lambda entry: entry.number(0, math.nextafter(1, 0))),
    "weight_decay": _or_none(lambda entry: entry.number(0, LARGEST_RATE)),
    "schedule": lambda entry: entry.choice(SCHEDULES),
    "warm_up": _or_none(Entry.integer),
    "augment": lambda entry: entry.choice(AUGMENTATIONS),
    "evaluate_every": _or_none(_count),
    "checkpoint_every": _or_none(_count),
}


def variant_for(side: int) -> str:
    """Name the network for images whose shorter side has `side` pixels, where none is asked for.

    Up to 64 pixels it is cifar10-bn, which takes 32 x 32 of them; for larger ones, as photos are,
    pytorch-227.
    """
    return "cifar10-bn" if side <= SMALL_IMAGE else "pytorch-227"


def build_trainer(
    configuration: Configuration,
    dataset: Dataset,
    preprocessing: Preprocessing,
    step: int = 0,
    device: str = "cpu",
    graph: bool = True,
    precision: str = FLOAT32,
) -> Trainer:
    """Make network, optimizer, schedule and batches as `configuration`, resolved, says.

    `step` is the number of the first batch, `device` where the network runs: "cpu" or "cuda", there
    with CUDA graphs or without, and in any `precision` of `Network`.

    Raises
    ------
    ValueError
        The images do not fit the network, or a batch is larger than the training set.
    NotImplementedError
        The device does not train in that precision.
    """
    network = AlexNet(
        configuration.described,
        seed=configuration.seed,
        device=device,
        num_classes=len(dataset.class_names),
        precision=precision,
        graph=graph,
    )
    network.check_trains("training")
    batches = TrainingBatches(
        dataset.train, preprocessing, configuration.batch_size, configuration.seed, step=step
    )
    assert configuration.learning_rate is not None
    schedule = Schedule(
        configuration.schedule,
        configuration.learning_rate,
        configuration.total_steps(batches.per_epoch),
        configuration.warm_up or 0,
    )
    return Trainer(network, _optimizer(configuration, network), batches, schedule=schedule)


def _optimizer(configuration: Configuration, network: AlexNet) -> Optimizer:
    settings: dict[str, Any] = {
        "learning_rate": configuration.learning_rate,
        "weight_decay": configuration.weight_decay,
    }
    if configuration.momentum is not None:
        settings["momentum"] = configuration.momentum
    return OPTIMIZERS[configuration.optimizer](network, **settings)


def _most_inputs(variant: Variant) -> int:
    """Count the inputs of one unit in the layer where it has the most."""
    shapes = variant.parameter_shapes().values()
    return max(math.prod(shape[:-1]) for shape in shapes if len(shape) > 1)


# --- what a run's folder says about it ------------------------------------------------------------


def write_description(
    path: Path,
    configuration: Configuration,
    dataset: Dataset,
    preprocessing: Preprocessing,
    environment: Mapping[str, Any],
) -> None:
    """Write the settings of a run, and what it is tied to in its data, as JSON."""
    description = {
        "version": VERSION,
        "configuration": dataclasses.asdict(configuration),
        "data": _described(dataset),
        "preprocessing": preprocessing.to_json(),
        "environment": dict(environment),
    }
    with replacing(path) as file:
        file.write(json_text(description).encode())


def continued_description(content: bytes, configuration: Configuration) -> bytes:
    """Give what `write_description` wrote with the settings of a run that goes on."""
    description = json.loads(content)
    return json_text(description | {"configuration": dataclasses.asdict(configuration)}).encode()


def read_description(path: Path, dataset: Dataset) -> tuple[Configuration, Preprocessing]:
    """Read what `write_description` wrote.

    Raises
    ------
    ValueError
        The file is damaged, or the run is of other images than those of `dataset`.
    OSError
        It cannot be read.
    """
    content = read_regular(path, LARGEST)
    try:
        given = versioned(content, VERSION, FIELDS)
        configuration = Configuration.from_plain(given["configuration"].value)
        preprocessing = Preprocessing.from_entry(given["preprocessing"])
        data = {name: entry.value for name, entry in given["data"].entries().items()}
    except ValueError as error:
        raise ValueError(f"{path}: not the description of a run: {error}") from error
    for name, value in _described(dataset).items():
        if data.get(name) != value:
            raise ValueError(
                f"{path}: the run is of other images: its {name} is {_told(data.get(name))}, but "
                f"here it is {_told(value)}"
            )
    return configuration, preprocessing


def _told(value: object) -> str:
    """Tell a value of JSON, which is a tree of a bounded size, in a message."""
    return f"{value!r:.200}"


def _described(dataset: Dataset) -> dict[str, Any]:
    """Describe what a run is tied to in its data."""
    return {
        "class_names": list(dataset.class_names),
        "training_images": len(dataset.train),
        "test_images": 0 if dataset.test is None else len(dataset.test),
        "training_digest": dataset.train.digest,
        "test_digest": None if dataset.test is None else dataset.test.digest,
    }
