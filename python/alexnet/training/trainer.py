"""Training of a classifier: batches, softmax cross-entropy, backward, an optimizer's step.

    network = alexnet.AlexNet("cifar10-bn", seed=1)
    trainer = Trainer(network, alexnet.Adam(network), batches)
    while trainer.steps < 1000:
        print(trainer.step().loss)

Everything random follows from seeds: the network's (initial parameters, dropout) and the batches'
(order of the images, augmentation). The kernels give the same bits for every number of threads, so
a run with the same seeds repeats exactly, and one that was restored goes on exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter
from types import ModuleType

import numpy as np

from alexnet import graphs
from alexnet.arrays import Array, array_kind
from alexnet.contract.arguments import check_callable, check_flag, check_instance
from alexnet.data import TrainingBatches
from alexnet.data.loader import Batch
from alexnet.graphs import Graph
from alexnet.messages import summarised
from alexnet.network.checkpoint import Checkpoint
from alexnet.network.network import Network
from alexnet.sharing import OneThread
from alexnet.training.optimizers import SGD, Adam, Optimizer

OPTIMIZERS: dict[str, type[Optimizer]] = {"adam": Adam, "sgd": SGD}


@dataclass(frozen=True)
class Norms:
    """Euclidean norms of a parameter before its update, of its gradient and of the update."""

    weight: float
    gradient: float
    update: float


@dataclass(frozen=True)
class StepResult:
    """What a step was.

    Attributes
    ----------
    step
        Number of the step, counted from 1.
    loss, accuracy
        Mean cross-entropy and share of right answers on the step's batch, before its update.
    learning_rate
        That of the update.
    seconds, waited
        How long the step took, and how much of that it waited for its images.
    norms
        By full name of the parameter; None unless they were asked for.

    """

    step: int
    loss: float
    accuracy: float
    learning_rate: float
    seconds: float
    waited: float
    norms: Mapping[str, Norms] | None = None


class Trainer:
    """Steps of training, one batch each.

    Parameters
    ----------
    network
        Ends in logits, one for each class.
    optimizer
        Of that network.
    batches
        Of images (batch, *network.input_shape) and their classes.
    schedule
        Learning rate of each step, counted from 0; the optimizer's own, constant, if None.

    Raises
    ------
    ValueError
        The images or the classes of `batches` are not those of the network, or the optimizer is of
        another network.
    TypeError
        An argument is not of its kind.

    One thread at a time may use a trainer: RuntimeError for a second one.
    """

    def __init__(
        self,
        network: Network,
        optimizer: Optimizer,
        batches: TrainingBatches,
        *,
        schedule: Callable[[int], float] | None = None,
    ) -> None:
        check_instance("training", "network", network, Network)
        check_instance("training", "optimizer", optimizer, Optimizer)
        check_instance("training", "batches", batches, TrainingBatches)
        check_callable("training", "schedule", schedule)
        if optimizer.network is not network:
            raise ValueError("training: optimizer is of another network, expected one of network")
        self.network = network
        self.optimizer = optimizer
        self.batches = batches
        self.schedule = schedule
        self._one_thread = OneThread("training")
        self._arrays = array_kind(network.implementation)
        self._check_data()

    def __repr__(self) -> str:
        rule, name = type(self.optimizer).__name__, self.network.variant.name
        return summarised(self, f"of {name} by {rule}", steps=self.steps)

    @property
    def steps(self) -> int:
        """Steps taken so far."""
        return self.optimizer.steps

    def step(self, *, measure_norms: bool = False) -> StepResult:
        """Take the next batch and move every parameter.

        With `measure_norms` the norms of every parameter are in the result, for the time of a few
        passes over the parameters.

        Raises
        ------
        FloatingPointError
            The loss is not finite; the parameters are as before the step.
        RuntimeError
            Another thread is at work with the trainer, or has changed the network.
        """
        check_flag("training", "measure_norms", measure_norms)
        with self._one_thread:
            return self._step(measure_norms)

    def _step(self, measure_norms: bool) -> StepResult:
        start, waited = perf_counter(), self.batches.waited
        batch = self.batches.next()
        if self.schedule is not None:
            self.optimizer.learning_rate = self.schedule(self.steps)
        graph = None if measure_norms else self._graph(len(batch.labels))
        norms: dict[str, Norms] | None = {} if measure_norms else None
        if graph is None:
            with graphs.without():  # of parts of the step
                loss, logits = self._moved(batch, norms)
        else:
            images = batch.images.astype(self._arrays.dtype, copy=False)
            loss, logits = self.network.run_graph(graph, images, batch.labels)
            loss = float(loss)
            if not math.isfinite(loss):
                self.optimizer.take_back()
            self._check_loss(loss)
        choices = self._arrays.to_host(logits.argmax(axis=1))
        return StepResult(
            step=self.steps,
            loss=loss,
            accuracy=float((choices == batch.labels).mean()),
            learning_rate=self.optimizer.learning_rate,
            seconds=perf_counter() - start,
            waited=self.batches.waited - waited,
            norms=norms,
        )

    def _moved(self, batch: Batch, norms: dict[str, Norms] | None) -> tuple[float, Array]:
        """Do the work of a step; its loss, and the logits from before the update."""
        operators = self.network.implementation
        logits = self.network.forward(self._arrays.from_host(batch.images), training=True)
        loss = float(operators.softmax_cross_entropy(logits, batch.labels))
        self._check_loss(loss)
        self.network.backward(operators.softmax_cross_entropy_backward(logits, batch.labels))
        if norms is None:
            self.optimizer.step()
        else:
            self.optimizer.step(
                lambda name, *arrays: norms.update({name: _norms(operators, *arrays)})
            )
        return loss, logits

    def _graph(self, batch_size: int) -> Graph[tuple[Array, Array]] | None:
        """Find the CUDA graph of a whole step; None where a step is done without."""
        if type(self.optimizer) not in OPTIMIZERS.values():  # another may do what a graph does not
            return None
        key = ("training step", id(self.optimizer), self.optimizer.decays)
        return self.network.graph(key, batch_size, self._moved_in_graph)

    def _moved_in_graph(self, images: Array, labels: Array) -> tuple[Array, Array]:
        """Do the work of a step on the device alone; the host has yet to look at the loss."""
        operators = self.network.implementation
        logits = self.network.forward(images, training=True)
        loss = operators.softmax_cross_entropy(logits, labels)
        self.network.backward(operators.softmax_cross_entropy_backward(logits, labels))
        self.optimizer.step_in_graph(loss)
        return loss, logits

    def _check_loss(self, loss: float) -> None:
        """FloatingPointError unless the loss of the step under way is finite."""
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"training: the loss of step {self.steps + 1} is {loss}: "
                f"{self._first_not_finite() or 'fed by the images themselves'}; {self.hint()}"
            )

    # --- checkpoints ------------------------------------------------------------------------------

    def checkpoint(
        self,
        *,
        class_names: tuple[str, ...] | None = None,
        best_accuracy: float | None = None,
        for_evaluation: bool = False,
    ) -> Checkpoint:
        """Give all that another trainer needs to go on from here; write it before the next step.

        The arrays may share memory with the network. `for_evaluation` leaves the
        optimizer out.

        Raises
        ------
        FloatingPointError
            A parameter, or an array of the network's or the optimizer's state, is not finite: there
            is nothing to go on with.
        """
        with self._one_thread:
            network, optimizer = self.network.tensors(), self.optimizer.state_dict()
            for name, array in (*network.items(), *optimizer.items()):
                if not _finite(array):
                    raise FloatingPointError(
                        f"training: after step {self.steps} the network is ruined: {name} is no "
                        f"longer finite; {self.hint()}"
                    )
            return Checkpoint(
                self.network.variant,
                network,
                {} if for_evaluation else optimizer,
                step=self.steps,
                data=self._data(),
                class_names=class_names,
                preprocessing=self.batches.preprocessing,
                best_accuracy=best_accuracy,
            )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint of the same network, optimizer and data, bit for bit.

        The batches have to be at its step: ``TrainingBatches(..., step=checkpoint.step)``.

        Raises
        ------
        ValueError
            It is of another network, optimizer or data, or the batches are at another step.
        """
        if checkpoint.variant != self.network.variant:
            raise ValueError(
                f"training: the checkpoint is of {checkpoint.variant.name} "
                f"{checkpoint.variant.input_shape} to {checkpoint.variant.output_shape}, which "
                f"differs from this network, {self.network.variant.name} "
                f"{self.network.input_shape} to {self.network.output_shape}"
            )
        if checkpoint.data != self._data():
            raise ValueError(
                f"training: the checkpoint was trained with {_listed(checkpoint.data)}, but here "
                f"are {_listed(self._data())}"
            )
        if checkpoint.step != self.batches.step:
            raise ValueError(
                f"training: the checkpoint is of step {checkpoint.step}, but the batches are at "
                f"step {self.batches.step}: make them with step={checkpoint.step}"
            )
        with self._one_thread:
            self.optimizer.load_state_dict(checkpoint.optimizer)
            self.network.assign(checkpoint.network)

    def _data(self) -> dict[str, int]:
        """Tell what the content of batch n follows from, besides n."""
        return {
            "images": len(self.batches.source),
            "digest": self.batches.source.digest,
            "batch_size": self.batches.batch_size,
            "seed": self.batches.seed,
        }

    def _check_data(self) -> None:
        network, batches = self.network, self.batches
        if network.input_shape != batches.image_shape:
            raise ValueError(
                f"training: images are {batches.image_shape}, but {network.variant.name} takes "
                f"{network.input_shape} (height, width, channels)"
            )
        if len(network.output_shape) != 1 or network.output_shape[0] <= batches.highest_label:
            raise ValueError(
                f"training: the output of {network.variant.name} is {network.output_shape}, but "
                f"the images have classes up to {batches.highest_label}"
            )

    # --- divergence -------------------------------------------------------------------------------

    def _first_not_finite(self) -> str | None:
        """Name the first parameter or output, in the order of the layers, that is not finite."""
        outputs = self.network.activations
        for layer in self.network.layers:
            for name, parameter in self.network.parameter_memory.arrays.items():
                if name.startswith(f"{layer.name}.") and not _finite(parameter):
                    return f"{name} is no longer finite since the update before"
            if layer.name in outputs and not _finite(outputs[layer.name]):
                return f"layer {layer.name} is the first whose output is not finite"
        return None

    def hint(self) -> str:
        """Say what may help a run that diverges."""
        return (
            f"try a learning rate below {self.optimizer.learning_rate:g}, a warm-up, or another "
            "initialisation"
        )


def _finite(array: Array) -> bool:
    if array.dtype.itemsize == 2:  # of a network in 16 bits
        array = array.astype(np.float32)
    return math.isfinite(array.max()) and math.isfinite(array.min())


def _norms(operators: ModuleType, weight: Array, gradient: Array, updated: Array) -> Norms:
    with np.errstate(all="ignore"):  # of a run that diverges
        squares = (operators.l2_loss(array) for array in (weight, gradient, updated - weight))
        return Norms(*(math.sqrt(2 * float(half)) for half in squares))


def _listed(data: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {value}" for name, value in data.items())
