"""`alexnet train DATA`: a classifier on CIFAR-10 or on a folder of photos, in a run's folder."""

from __future__ import annotations

import argparse
import dataclasses
import math
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any

from alexnet.commands.console import Progress, Stopped, postponed_signals, silence
from alexnet.commands.options import (
    LARGEST_SEED,
    add_data,
    add_json,
    add_kernels,
    add_parser,
    environment,
    integer,
    number,
    opened_data,
    output_folder,
    say,
    source,
    text_file,
    write_figures,
)
from alexnet.data import AUGMENTATIONS, Dataset
from alexnet.files import check_writable
from alexnet.messages import described
from alexnet.network.variants import VARIANTS
from alexnet.training.configuration import Configuration
from alexnet.training.run import Run, StepReport
from alexnet.training.schedules import SCHEDULES
from alexnet.training.trainer import OPTIMIZERS

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
        "--output",
        type=output_folder,
        metavar="DIR",
        help="folder of the run (default: a new one in runs)",
    )
    folder.add_argument(
        "--resume",
        type=source,
        metavar="DIR",
        help="go on with the run in DIR, with its own settings",
    )
    _add_settings(parser)
    parser.add_argument(
        "--log-interval",
        type=integer(1),
        default=1,
        metavar="N",
        help="steps from one line to the next, off a terminal (default: 1)",
    )
    add_kernels(parser, device="auto")
    add_json(parser, check=str)  # it may be in --output, which does not exist yet


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
    _check_json(options)
    dataset = opened_data(options)
    with closing(_opened(options, dataset)) as run, postponed_signals() as stopped:
        reporter = _Reporter(options, run)
        if dataset.test is None:
            reporter.tell("Warning: no test images, so no accuracy but that of the training images")
        try:
            with reporter.progress:
                run.train(after_step=reporter.after_step, stop=lambda: stopped() is not None)
        except (FloatingPointError, OSError) as error:
            with suppress(OSError):  # the first error is the one to show
                run.log(f"stopped: {described(error)}")
            raise
        reporter.finish()
        number = stopped()
        if number is not None and run.trainer.steps < run.total_steps:
            reporter.tell(
                f"Stopped by {number.name}: alexnet train DATA --resume {run.folder} goes on from "
                "here"
            )
            raise Stopped(number)
        if options.json is not None:
            write_figures(options, _figures(run))
    return True


def _check_json(options: argparse.Namespace) -> None:
    """OSError where --json could not be written at the end; the run's own folder will be made."""
    if options.json not in (None, "-"):
        folder = Path(options.json).parent
        if folder.exists() or options.output is None or folder != Path(options.output):
            check_writable(options.json)


def _opened(options: argparse.Namespace, dataset: Dataset) -> Run:
    """Begin or continue the run that the options ask for."""
    names = [field.name for field in dataclasses.fields(Configuration)]
    given = {name: getattr(options, name) for name in names}
    given = {name: value for name, value in given.items() if value is not None}
    if options.resume is not None:
        return Run.resume(options.resume, dataset, given, device=options.device)
    configuration = Configuration(**given)
    return Run.start(
        options.output or RUNS / configuration.variant,
        configuration,
        dataset,
        environment(),
        numbered=options.output is None,
        device=options.device,
    )


class _Reporter:
    """Shows how a run goes: a live line on a terminal, plain lines elsewhere."""

    def __init__(self, options: argparse.Namespace, run: Run) -> None:
        self._options = options
        self._run = run
        self._steps, self._seconds, self._waited = 0, 0.0, 0.0
        self._start = time.perf_counter()
        self._muted = False
        self.progress = Progress("training", run.total_steps, done=run.trainer.steps)
        where = f"step {run.trainer.steps} of {run.total_steps}"
        self.tell(f"Training {run.configuration.variant} in {run.folder}, {where}")

    def tell(self, line: str) -> None:
        """Print a line and log it."""
        self._show(partial(say, self._options, line))
        self._run.log(line)

    def _show(self, write: Callable[[], None]) -> None:
        """Write to the terminal or the pipe; training goes on where that is gone or full."""
        if self._muted:
            return
        try:
            write()
        except OSError as error:
            self._muted = True
            silence(text_file(self._options))
            if self.progress.on_terminal:
                silence(sys.stderr)
            self._run.log(f"nothing is printed any more: {described(error)}; training goes on")

    def after_step(self, report: StepReport) -> None:
        result, per_epoch = report.result, self._run.trainer.batches.per_epoch
        self._steps += 1
        self._seconds += result.seconds
        self._waited += result.waited
        epoch, iteration = (part + 1 for part in divmod(result.step - 1, per_epoch))
        epochs = math.ceil(self._run.total_steps / per_epoch)
        measures = f"Loss: {result.loss:.4f} Accuracy: {result.accuracy:.4f}"
        rate = f"{self._rate():.0f} images/s"
        title = f"Epoch [{epoch}/{epochs}] {measures} {rate}"
        self._show(partial(self.progress.advance, title))
        if not self.progress.on_terminal and result.step % self._options.log_interval == 0:
            place = f"Epoch [{epoch}/{epochs}], Iter [{iteration}/{per_epoch}]"
            self._show(partial(say, self._options, f"{place} {measures}"))
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
