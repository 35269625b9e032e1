"""`alexnet evaluate CHECKPOINT DATA`: accuracy, and what is taken for what."""

from __future__ import annotations

import argparse
import math
import unicodedata
from pathlib import Path
from typing import Any

from alexnet.commands.console import Progress
from alexnet.commands.options import (
    add_batch_size,
    add_data,
    add_json,
    add_kernels,
    add_parser,
    add_precision,
    opened_data,
    picture_file,
    say,
    say_table,
    write_figures,
)
from alexnet.commands.predict import add_checkpoint, add_ten_crop
from alexnet.data import Dataset, ImageSource, Preprocessing
from alexnet.figures import save
from alexnet.inference.evaluation import BATCH_SIZE, TOP, Evaluation, evaluate, images_per_batch
from alexnet.interchange import load_model
from alexnet.messages import counted, listed
from alexnet.network.checkpoint import TrainedModel
from alexnet.training.plots import confusion

WIDEST_TABLE = 20  # classes of a confusion matrix that is shown as text


def add_parsers(subparsers: Any) -> None:
    """Add the command."""
    parser = add_parser(
        subparsers,
        "evaluate",
        _run,
        description="accuracy of a trained network, and what it takes for what",
        example="alexnet evaluate runs/cifar10-bn-1 cifar-10-batches-py --ten-crop",
    )
    add_checkpoint(parser)
    add_data(parser)
    parser.add_argument(
        "--split", choices=("test", "train"), default="test", help="images (default: test)"
    )
    add_ten_crop(parser)
    add_batch_size(parser, BATCH_SIZE)
    parser.add_argument(
        "--plot",
        type=picture_file,
        metavar="FILE",
        help="draw the confusion matrix there: .png, .svg or .pdf",
    )
    add_kernels(parser, device="cpu")
    add_precision(parser)
    add_json(parser)


def _run(options: argparse.Namespace) -> bool:
    model = load_model(options.checkpoint, device=options.device, precision=options.precision)
    dataset = opened_data(options)
    _check_classes(options, model, dataset)
    images = dataset.test if options.split == "test" else dataset.train
    if images is None:
        raise ValueError(f"{options.data} has no test images; --split train takes the others")
    size = images_per_batch(options.batch_size, ten_crop=options.ten_crop)
    with Progress("evaluating", math.ceil(len(images) / size)) as progress:
        result = evaluate(
            model.network,
            images,
            _preprocessing(options, model, dataset),
            batch_size=options.batch_size,
            ten_crop=options.ten_crop,
            on_batch=progress.advance,
        )
    _show(options, result, images, dataset.class_names)
    if options.plot is not None:
        title = f"Confusion matrix, {options.split} images: accuracy {result.accuracy:.1%}"
        save(confusion(result.confusion, dataset.class_names, title), Path(options.plot))
    write_figures(options, _figures(options, result, images, dataset.class_names))
    return True


def _check_classes(options: argparse.Namespace, model: TrainedModel, dataset: Dataset) -> None:
    """ValueError unless the outputs of the network are the classes of the images."""
    outputs = model.network.output_shape
    if outputs != (len(dataset.class_names),):
        classes = counted(len(dataset.class_names), "class", "classes")
        raise ValueError(
            f"{options.data} has {classes}, but the output of {options.checkpoint} is {outputs}"
        )
    # Folders of photos have their names in NFC; those of a checkpoint may be as others spell them.
    trained = [unicodedata.normalize("NFC", name) for name in model.class_names or ()]
    if trained and trained != [unicodedata.normalize("NFC", name) for name in dataset.class_names]:
        raise ValueError(
            f"{options.data} has the classes {listed(dataset.class_names)}, but "
            f"{options.checkpoint} was trained on {listed(model.class_names or ())}"
        )


def _preprocessing(
    options: argparse.Namespace, model: TrainedModel, dataset: Dataset
) -> Preprocessing:
    if model.preprocessing is not None:
        return model.preprocessing
    variant = model.network.variant
    source = options.data if variant.pixel_range is None else variant.name
    say(options, f"{options.checkpoint} has no mean and deviation: those of {source} are used")
    return Preprocessing.fit(dataset.train, variant.input_shape, pixel_range=variant.pixel_range)


def _show(
    options: argparse.Namespace, result: Evaluation, images: ImageSource, names: tuple[str, ...]
) -> None:
    cells = zip(names, result.counts, result.precision, result.recall, strict=True)
    rows = [
        (name, str(count), _percent(precision), _percent(recall))
        for name, count, precision, recall in cells
    ]
    say_table(options, ("class", "images", "precision", "recall"), rows, right=(1, 2, 3))
    say(options)
    if len(names) <= WIDEST_TABLE:
        say(options, "Taken for (columns) by class (rows):")
        matrix = [(name, *map(str, row)) for name, row in zip(names, result.confusion, strict=True)]
        say_table(options, ("", *names), matrix, right=range(1, len(names) + 1))
        say(options)
    top5 = f", top-5 accuracy: {result.top5_accuracy:.4f}" if len(names) > TOP else ""
    say(options, f"Loss: {result.loss:.4f}, accuracy: {result.accuracy:.4f}{top5}")
    skipped = f", {len(images.skipped)} skipped" if images.skipped else ""
    say(options, f"{counted(result.images, 'image')}{skipped}")


def _percent(share: float) -> str:
    return "-" if math.isnan(share) else f"{share:.1%}"


def _figures(
    options: argparse.Namespace, result: Evaluation, images: ImageSource, names: tuple[str, ...]
) -> dict[str, Any]:
    cells = zip(names, result.counts, result.precision, result.recall, strict=True)
    return {
        "checkpoint": options.checkpoint,
        "split": options.split,
        "ten_crop": options.ten_crop,
        "precision": options.precision,
        "images": result.images,
        "skipped": {str(path): reason for path, reason in images.skipped.items()},
        "loss": result.loss,
        "accuracy": result.accuracy,
        "top5_accuracy": result.top5_accuracy,
        "classes": [
            {
                "name": name,
                "images": int(count),
                "precision": None if math.isnan(precision) else float(precision),
                "recall": None if math.isnan(recall) else float(recall),
            }
            for name, count, precision, recall in cells
        ],
        "confusion": result.confusion.tolist(),
    }
