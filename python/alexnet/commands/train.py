"""`alexnet train DATA`: a classifier on CIFAR-10 or on a folder of photos, in a run's folder."""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from alexnet.commands.options import (
    LARGEST_SEED,
    add_data,
    add_device,
    add_json,
    add_parser,
    add_threads,
    environment,
    integer,
    number,
    opened_data,
    say,
    write_figures,
)
from alexnet.configuration import Configuration
from alexnet.console import Progress
from alexnet.data import AUGMENTATIONS, Dataset
from alexnet.models import VARIANTS
from alexnet.run import Run, StepReport
from alexnet.schedules import SCHEDULES
from alexnet.training import OPTIMIZERS

DEFAULTS = Configuration()
RUNS = Path("runs")


def add_parsers(subparsers: Any) -> None:
    """Add the command."""
    parser = add_parser(
        subparsers,
        "train",
        _run,
        description="train on a CIFAR-10 directory (python version) or a folder of photos",
        example="alexnet train cifar-10-batches-py --variant cifar10-bn --steps 2000",
    )
    add_data(parser)
    folder = parser.add_mutually_exclusive_group()
    folder.add_argument(
        "--output", metavar="DIR", help="folder of the run (default: a new one in runs)"
    )
    folder.add_argument(
        "--resume", metavar="DIR", help="go on with the run in DIR, with its own settings"
    )
    _add_settings(parser)
    parser.add_argument(
        "--log-interval",
        type=integer(1),
        default=1,
        metavar="N",
        help="steps from one line to the next, off a terminal (default: 1)",
    )
    add_device(parser, "auto")
    add_threads(parser)
    add_json(parser)


def _add_settings(parser: argparse.ArgumentParser) -> None:
    """Add what a `Configuration` holds; what is not given is None."""

    def setting(
        flag: str, name: str, text: str, to: argparse._ActionsContainer = parser, **kind: Any
    ) -> None:
        default = getattr(DEFAULTS, name)
        shown = "" if default is None else f" (default: {default})"
        to.add_argument(flag, dest=name, help=text + shown, **kind)

    count: dict[str, Any] = {"type": integer(1), "metavar": "N"}
    length = parser.add_mutually_exclusive_group()
    setting("--variant", "variant", "network, see alexnet variants", metavar="V", choices=VARIANTS)
    setting("--epochs", "epochs", "passes over the images", length, **count)
    setting("--steps", "steps", "batches, instead of epochs", length, **count)
    setting("--batch-size", "batch_size", "images in a batch", **count)
    setting("--optimizer", "optimizer", "update rule", choices=OPTIMIZERS)
    setting(
        "--lr",
        "learning_rate",
        "learning rate (default: sgd 0.01; adam 0.001, or 0.0001 where a unit has more than 4096 "
        "inputs)",
        type=number(above=0),
    )
    setting("--momentum", "momentum", "of sgd (default: 0.9)", type=number(low=0, below=1))
    setting(
        "--weight-decay",
        "weight_decay",
        "L2 term in the gradient of weights (default: sgd 0.0005, adam 0)",
        type=number(low=0),
    )
    setting("--schedule", "schedule", "of the learning rate", choices=SCHEDULES)
    setting(
        "--warm-up",
        "warm_up",
        "steps in which the learning rate rises at first (default: 0, or 20 where a unit has more "
        "than 4096 inputs)",
        type=integer(0),
        metavar="N",
    )
    setting("--augment", "augment", "changes to the training images", choices=AUGMENTATIONS)
    setting("--seed", "seed", "of all random numbers", type=integer(0, LARGEST_SEED), metavar="S")
    setting("--evaluate-every", "evaluate_every", "steps (default: those of an epoch)", **count)
    setting(
        "--checkpoint-every",
        "checkpoint_every",
        "save after so many steps, besides the end of each epoch",
        **count,
    )


def _run(options: argparse.Namespace) -> bool:
    dataset = opened_data(options)
    with closing(_opened(options, dataset)) as run, _postponed_interrupt() as interrupted:
        reporter = _Reporter(options, run)
        if dataset.test is None:
            reporter.tell("Warning: no test images, so no accuracy but that of the training images")
        try:
            with reporter.progress:
                run.train(after_step=reporter.after_step, stop=interrupted)
        except (FloatingPointError, OSError) as error:
            run.log(f"stopped: {error}")
            raise
        reporter.finish()
        if run.trainer.steps < run.total_steps:
            reporter.tell(
                f"Interrupted: alexnet train DATA --resume {run.folder} goes on from here"
            )
            raise KeyboardInterrupt
        write_figures(options, _figures(run))
    return True


def _opened(options: argparse.Namespace, dataset: Dataset) -> Run:
    """Begin or continue the run that the options ask for."""
    names = [field.name for field in dataclasses.fields(Configuration)]
    given = {name: getattr(options, name) for name in names}
    given = {name: value for name, value in given.items() if value is not None}
    if options.resume is not None:
        return Run.resume(options.resume, dataset, given, device=options.device)
    folder = options.output or next(
        folder
        for number in itertools.count(1)
        if not (folder := RUNS / f"{given.get('variant', DEFAULTS.variant)}-{number}").exists()
    )
    configuration = Configuration(**given)
    return Run.start(folder, configuration, dataset, environment(), device=options.device)


@contextmanager
def _postponed_interrupt() -> Iterator[Callable[[], bool]]:
    """Give a function that tells whether Ctrl-C was pressed; a second one interrupts at once."""
    pressed = False

    def press(_signal: int, _frame: FrameType | None) -> None:
        nonlocal pressed
        if pressed:
            raise KeyboardInterrupt
        pressed = True

    before = signal.signal(signal.SIGINT, press)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)


class _Reporter:
    """Shows how a run goes: a live line on a terminal, plain lines elsewhere."""

    def __init__(self, options: argparse.Namespace, run: Run) -> None:
        self._options = options
        self._run = run
        self._steps, self._seconds, self._waited = 0, 0.0, 0.0
        self._start = time.perf_counter()
        self.progress = Progress("training", run.total_steps, done=run.trainer.steps)
        where = f"step {run.trainer.steps} of {run.total_steps}"
        self.tell(f"Training {run.configuration.variant} in {run.folder}, {where}")

    def tell(self, line: str) -> None:
        """Print a line and log it."""
        say(self._options, line)
        self._run.log(line)

    def after_step(self, report: StepReport) -> None:
        result, per_epoch = report.result, self._run.trainer.batches.per_epoch
        self._steps += 1
        self._seconds += result.seconds
        self._waited += result.waited
        epoch, iteration = (part + 1 for part in divmod(result.step - 1, per_epoch))
        epochs = math.ceil(self._run.total_steps / per_epoch)
        measures = f"Loss: {result.loss:.4f} Accuracy: {result.accuracy:.4f}"
        rate = f"{self._rate():.0f} images/s"
        self.progress.advance(f"Epoch [{epoch}/{epochs}] {measures} {rate}")
        if not self.progress.on_terminal and result.step % self._options.log_interval == 0:
            place = f"Epoch [{epoch}/{epochs}], Iter [{iteration}/{per_epoch}]"
            say(self._options, f"{place} {measures}")
        if report.test is not None:
            test = report.test
            self.tell(
                f"Test loss: {test.loss:.4f}, accuracy: {test.accuracy:.4f}, {test.images} images"
            )

    def _rate(self) -> float:
        """Images in a second of the steps so far."""
        return self._steps * self._run.configuration.batch_size / self._seconds

    def finish(self) -> None:
        if self._steps:
            seconds = time.perf_counter() - self._start
            self.tell(
                f"Trained {self._steps} steps in {seconds:.1f} s, {self._rate():.1f} images/s, "
                f"{self._waited / self._seconds:.1%} of a step waiting for data"
            )
        skipped = len(self._run.dataset.train.skipped)
        if self._run.dataset.test is not None:
            skipped += len(self._run.dataset.test.skipped)
        if skipped:
            self.tell(f"Skipped {skipped} files that cannot be read")


def _figures(run: Run) -> dict[str, Any]:
    """Give --json the settings, the loss of every step and the last test."""
    losses = run.metrics.column("loss")
    test_losses, test_accuracies = map(run.metrics.column, ("test_loss", "test_accuracy"))
    last = run.total_steps
    return {
        **dataclasses.asdict(run.configuration),
        "environment": environment(),
        "folder": str(run.folder),
        "steps": len(losses),
        "losses": list(losses.values()),
        "images_per_second": list(run.metrics.column("images_per_second").values()),
        "waiting_share": list(run.metrics.column("waiting_share").values()),
        "best_test_accuracy": run.best_accuracy,
        "test": {
            "images": 0 if run.dataset.test is None else len(run.dataset.test),
            "loss": test_losses.get(last),
            "accuracy": test_accuracies.get(last),
        },
    }
