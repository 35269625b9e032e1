"""Training of a classifier: batches, softmax cross-entropy, backward, an optimizer's step.

Everything random follows from seeds: the network's (initial parameters, dropout) and the batches'
(order of the images). The kernels give the same bits for every number of threads, so a run with
the same seeds repeats exactly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from alexnet.data import ShuffledBatches
from alexnet.network import Network
from alexnet.optim import SGD, Adam, Optimizer

OPTIMIZERS: dict[str, type[Optimizer]] = {"adam": Adam, "sgd": SGD}


@dataclass(frozen=True)
class StepResult:
    """Mean cross-entropy and accuracy on the batch of a step, before its update."""

    loss: float
    accuracy: float


class Trainer:
    """Steps of training, one batch each.

    Raises
    ------
    ValueError
        The images or the classes of `batches` are not those of the network.
    """

    def __init__(self, network: Network, optimizer: Optimizer, batches: ShuffledBatches) -> None:
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
        self.network = network
        self.optimizer = optimizer
        self.batches = batches

    def step(self) -> StepResult:
        """Take the next batch and move every parameter.

        Raises
        ------
        FloatingPointError
            The loss is no longer finite; the parameters are as before the step.
        """
        batch = self.batches.next()
        operators = self.network.implementation
        logits = self.network.forward(batch.images, training=True)
        loss = float(operators.softmax_cross_entropy(logits, batch.labels))
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"training: the loss of step {self.batches.step} is {loss}; "
                f"try a learning rate below {self.optimizer.learning_rate:g}"
            )
        accuracy = float((logits.argmax(axis=1) == batch.labels).mean())
        self.network.backward(operators.softmax_cross_entropy_backward(logits, batch.labels))
        self.optimizer.step()
        return StepResult(loss, accuracy)
