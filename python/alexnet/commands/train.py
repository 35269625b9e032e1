"""`alexnet train DATA`: a classifier on CIFAR-10 or on a folder of photos, in a run's folder."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from alexnet.commands.console import Progress, Stopped, postponed_signals
from alexnet.commands.options import (
    LARGEST_SEED,
    add_data,
    add_graph,
    add_json,
    add_kernels,
    add_parser,
    add_precision,
    environment,
    integer,
    number,
    opened_data,
    output_file,
    output_folder,
    say_line,
    source,
    write_figures,
)
from alexnet.commands.training_report import TrainingReport
from alexnet.data import AUGMENTATIONS, Dataset, PhotoSet
from alexnet.data.preprocessing import SAMPLE
from alexnet.messages import described, printable
from alexnet.network.freezing import FLOAT32
from alexnet.network.variants import VARIANTS
from alexnet.training.configuration import SMALL_IMAGE, Configuration, variant_for
from alexnet.training.run import Run
from alexnet.training.schedules import SCHEDULES
from alexnet.training.trainer import OPTIMIZERS

DEFAULTS = Configuration()
RUNS = Path("runs")
NOTICE = "Saving after this step; Ctrl-C again stops without"


def add_parsers(subparsers: Any) -> None:
    """Add the command."""
    parser = add_parser(
        subparsers,
        "train",
        _run,
        description="train on CIFAR-10 (python version) or on a folder of photos",
        example="alexnet train cifar-10-batches-py --steps 2000",
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
        metavar="N",
        help="steps from one line to the next, off a terminal (default: at the end of each epoch, "
        "and when 15 seconds have passed)",
    )
    add_kernels(parser, device="auto")
    add_precision(
        parser,
        meaning="of the products: float32; the others on a CUDA device",
        on_cpu=(FLOAT32,),
    )
    add_graph(parser)
    add_json(parser, check=str)  # it may be in --output, which does not exist yet


def _add_settings(parser: argparse.ArgumentParser) -> None:
    """Add what a `Configuration` holds; what is not given is None."""

    def setting(
        flag: str, name: str, text: str, to: argparse._ActionsContainer = parser, **kind: Any
    ) -> None:
        default = getattr(DEFAULTS, name)
        shown = "" if default is None or "default:" in text else f" (default: {default})"
        to.add_argument(flag, dest=name, help=text + shown, **kind)

    count: dict[str, Any] = {"type": integer(1), "metavar": "N"}
    length = parser.add_mutually_exclusive_group()
    setting(
        "--variant",
        "variant",
        "network, see alexnet variants (default: cifar10-bn where the shorter side of images is up "
        f"to {SMALL_IMAGE} pixels, pytorch-227 above)",
        metavar="V",
        choices=VARIANTS,
    )
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
    with _shown(f"Reading {options.data}"):
        dataset = opened_data(options)
    variant, why = options.variant, None
    if variant is None and options.resume is None:
        variant, why = _suited_variant(dataset)
        with suppress(OSError):  # training goes on where nobody reads
            say_line(options, why)
    measured = 0 if options.resume is not None else min(SAMPLE, len(dataset.train))
    with _shown("Preparing the images and the network", measured) as on_image:
        opened = _opened(options, dataset, variant, on_image)
    with closing(opened) as run, postponed_signals(NOTICE) as stopped:
        if why is not None:
            run.log(why)
        report = TrainingReport(options, run)
        if dataset.test is None:
            report.tell("Warning: no test images, so no accuracy but that of the training images")
        try:
            with report.progress:
                report.begin()
                run.train(
                    after_step=report.after_step,
                    on_test_batch=report.on_test_batch,
                    stop=lambda: stopped() is not None,
                )
        except (FloatingPointError, OSError) as error:
            with suppress(OSError):  # the first error is the one to show
                run.log(f"stopped: {described(error)}")
            raise
        number = stopped()
        if number is not None and run.trainer.steps < run.total_steps:
            report.stopped(number)
            raise Stopped(number)
        report.finish()
        if options.json is not None:
            write_figures(options, _figures(run))
    return True


@contextmanager
def _shown(work: str, images: int = 0) -> Iterator[Callable[[], None]]:
    """Show what is done in the meantime, to a terminal at once: reading photos takes seconds.

    What is given is called for each of the `images` that are counted, if any are.
    """
    with Progress(printable(work), images) as progress:

        def advance() -> None:
            with suppress(OSError):  # a terminal that is gone
                progress.advance()

        with suppress(OSError):
            progress.show(at_once=progress.drawn)
        yield advance


def _check_json(options: argparse.Namespace) -> None:
    """Refuse a --json that could not be written at the end; the run's own folder will be made."""
    if options.json not in (None, "-"):
        folder = Path(options.json).parent
        if folder.exists() or options.output is None or folder != Path(options.output):
            try:
                output_file(options.json)
            except argparse.ArgumentTypeError as error:
                options.parser.error(f"argument --json: {error}")


def _opened(
    options: argparse.Namespace,
    dataset: Dataset,
    variant: str | None,
    on_image: Callable[[], None],
) -> Run:
    """Begin or continue the run that the options ask for."""
    names = [field.name for field in dataclasses.fields(Configuration)]
    given = {name: getattr(options, name) for name in names} | {"variant": variant}
    given = {name: value for name, value in given.items() if value is not None}
    where: dict[str, Any] = {
        "device": options.device,
        "graph": options.graph is not False,
        "precision": options.precision,
    }
    if options.resume is not None:
        return Run.resume(options.resume, dataset, given, **where)
    configuration = Configuration(**given)
    return Run.start(
        options.output or RUNS / configuration.variant,
        configuration,
        dataset,
        environment(),
        numbered=options.output is None,
        on_image=on_image,
        **where,
    )


def _suited_variant(dataset: Dataset) -> tuple[str, str]:
    """Choose the network by the size of the images: its name, and a line that tells why."""
    if isinstance(dataset.train, PhotoSet):
        side = dataset.train.typical_side()
        size = f"about {side} pixels"
    else:
        assert dataset.train.image_shape is not None  # CIFAR-10's are of one size
        height, width, _ = dataset.train.image_shape
        side = min(height, width)
        size = f"{width} x {height} pixels"
    variant = variant_for(side)
    return variant, f"Network {variant} for images of {size}; --variant chooses another"


def _figures(run: Run) -> dict[str, Any]:
    """Give --json the settings, the loss of every step and the last test."""
    losses = run.metrics.column("loss")
    test_losses, test_accuracies = map(run.metrics.column, ("test_loss", "test_accuracy"))
    last = run.total_steps
    return {
        **dataclasses.asdict(run.configuration),
        "environment": environment(),
        "precision": run.trainer.network.precision,
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
