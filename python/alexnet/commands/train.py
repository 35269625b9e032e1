"""`alexnet train DATA`: a classifier on CIFAR-10, loss and accuracy as it goes and on the test."""

from __future__ import annotations

import argparse
import math
import time
from typing import Any

from alexnet.commands.options import (
    add_batch_size,
    add_json,
    add_parser,
    add_seed,
    add_threads,
    environment,
    integer,
    say,
    write_figures,
)
from alexnet.console import Progress
from alexnet.data import Cifar10, Normalisation, ShuffledBatches
from alexnet.evaluation import BATCH_SIZE, evaluate
from alexnet.models import VARIANTS, AlexNet
from alexnet.training import OPTIMIZERS, Trainer

DEFAULT_EPOCHS = 10


def add_parsers(subparsers: Any) -> None:
    """Add the command."""
    parser = add_parser(
        subparsers,
        "train",
        _run,
        description="train on a CIFAR-10 directory (python version)",
        example="alexnet train cifar-10-batches-py --variant cifar10-bn --steps 2000",
    )
    parser.add_argument("data", metavar="DATA", help="the directory, or the one that holds it")
    parser.add_argument(
        "--variant",
        metavar="V",
        default="cifar10-bn",
        choices=tuple(VARIANTS),
        help="network, see alexnet variants (default: cifar10-bn)",
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument(
        "--epochs",
        type=integer(1),
        default=DEFAULT_EPOCHS,
        metavar="E",
        help=f"passes over the images (default: {DEFAULT_EPOCHS})",
    )
    length.add_argument("--steps", type=integer(1), metavar="N", help="batches, instead of epochs")
    add_batch_size(parser, 32)
    parser.add_argument(
        "--optimizer", choices=tuple(OPTIMIZERS), default="adam", help="update rule (default: adam)"
    )
    parser.add_argument(
        "--lr", type=_learning_rate, default=1e-3, help="learning rate (default: 0.001)"
    )
    parser.add_argument(
        "--log-interval",
        type=integer(1),
        default=1,
        metavar="N",
        help="steps from one line to the next, off a terminal (default: 1)",
    )
    add_threads(parser)
    add_seed(parser, 1)
    add_json(parser)


def _learning_rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r}, expected a number above 0")
    return value


def _run(options: argparse.Namespace) -> bool:
    data = Cifar10.load(options.data)
    normalise = Normalisation.of(data.train)
    batches = ShuffledBatches(data.train, normalise, options.batch_size, options.seed)
    network = AlexNet(options.variant, seed=options.seed, num_classes=len(data.class_names))
    optimizer = OPTIMIZERS[options.optimizer](network, learning_rate=options.lr)
    trainer = Trainer(network, optimizer, batches)
    steps = options.steps or options.epochs * batches.per_epoch

    start = time.perf_counter()
    losses = _train(options, trainer, steps)
    seconds = time.perf_counter() - start
    with Progress("testing", math.ceil(len(data.test) / BATCH_SIZE)) as progress:
        test = evaluate(network, data.test, normalise, on_batch=progress.advance)
    rate = steps * options.batch_size / seconds
    say(options, f"Trained {steps} steps in {seconds:.1f} s, {rate:.1f} images/s")
    say(options, f"Test loss: {test.loss:.4f}, accuracy: {test.accuracy:.4f}, {test.images} images")
    figures = {
        "variant": options.variant,
        "batch_size": options.batch_size,
        "optimizer": options.optimizer,
        "learning_rate": options.lr,
        "seed": options.seed,
        "environment": environment(),
        "steps": steps,
        "seconds": seconds,
        "images_per_second": rate,
        "losses": losses,
        "test": {"images": test.images, "loss": test.loss, "accuracy": test.accuracy},
    }
    write_figures(options, figures)
    return True


def _train(options: argparse.Namespace, trainer: Trainer, steps: int) -> list[float]:
    """Take the steps and show loss and accuracy: live on a terminal, as lines elsewhere."""
    batches = trainer.batches
    epochs = math.ceil(steps / batches.per_epoch)
    losses = []
    with Progress("training", steps) as progress:
        for step in range(steps):
            result = trainer.step()
            losses.append(result.loss)
            epoch, iteration = step // batches.per_epoch + 1, step % batches.per_epoch + 1
            measures = f"Loss: {result.loss:.4f} Accuracy: {result.accuracy:.4f}"
            progress.advance(f"Epoch [{epoch}/{epochs}] {measures}")
            if not progress.on_terminal and (step + 1) % options.log_interval == 0:
                place = f"Epoch [{epoch}/{epochs}], Iter [{iteration}/{batches.per_epoch}]"
                say(options, f"{place} {measures}")
    return losses
