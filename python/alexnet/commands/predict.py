"""`alexnet predict CHECKPOINT IMAGE...`: the most probable classes of each image."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from alexnet.commands.options import (
    add_json,
    add_kernels,
    add_parser,
    add_precision,
    integer,
    say,
    source,
    write_figures,
)
from alexnet.commands.table import sentence
from alexnet.data import UnreadableImageError, read_image
from alexnet.inference.prediction import predict, top_classes
from alexnet.interchange import load_model
from alexnet.messages import described


def add_parsers(subparsers: Any) -> None:
    """Add the command."""
    parser = add_parser(
        subparsers,
        "predict",
        _run,
        description="the classes of images, with probabilities",
        example="alexnet predict runs/cifar10-bn-1 cat.jpg dog.jpg --top 3",
    )
    add_checkpoint(parser)
    parser.add_argument("images", type=source, metavar="IMAGE", nargs="+", help="file to classify")
    parser.add_argument(
        "--top", type=integer(1), default=5, metavar="N", help="classes to show (default: 5)"
    )
    add_ten_crop(parser)
    add_kernels(parser, device="cpu")
    add_precision(parser)
    add_json(parser)


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    """CHECKPOINT: where the trained network is."""
    parser.add_argument(
        "checkpoint",
        type=source,
        metavar="CHECKPOINT",
        help="folder of a run (its best checkpoint), a checkpoint, or weights that alexnet convert "
        "reads",
    )


def add_ten_crop(parser: argparse.ArgumentParser) -> None:
    """--ten-crop."""
    parser.add_argument(
        "--ten-crop",
        action="store_true",
        help="average over the corners, the centre and their mirror images",
    )


def _run(options: argparse.Namespace) -> bool:
    """Classify what can be read; false where an image could not be."""
    model = load_model(options.checkpoint, device=options.device, precision=options.precision)
    if model.preprocessing is None:
        raise ValueError(
            f"{options.checkpoint} does not say how images are prepared for it: it is neither a "
            "checkpoint of alexnet train nor weights that alexnet convert reads"
        )
    entries: list[dict[str, Any]] = []
    for path in options.images:
        try:
            image = read_image(path, model.preprocessing.shortest_side)
        except (UnreadableImageError, OSError, MemoryError) as error:
            line = f"alexnet: error: {described(error)}"
            print(sentence(line, sys.stderr), file=sys.stderr)
            entries.append({"path": path, "error": described(error)})
            continue
        probabilities = predict(model, [image], ten_crop=options.ten_crop)[0]
        top = top_classes(probabilities, model.class_names, options.top)
        say(options, path)
        for name, probability in top:
            say(options, f"  {probability:7.2%}  {name}")
        classes = [{"name": name, "probability": probability} for name, probability in top]
        entries.append({"path": path, "classes": classes})
    write_figures(
        options,
        {
            "checkpoint": options.checkpoint,
            "precision": options.precision,
            "images": entries,
        },
    )
    return not any("error" in entry for entry in entries)
