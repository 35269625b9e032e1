"""`alexnet convert SOURCE TARGET`: torchvision's and Caffe's weights to ours, and back."""

from __future__ import annotations

import argparse
from typing import Any

from alexnet.commands.options import add_parser, output_file, source
from alexnet.interchange import FORMATS, convert
from alexnet.messages import counted, printable


def add_parsers(subparsers: Any) -> None:
    """Add the command."""
    parser = add_parser(
        subparsers,
        "convert",
        _run,
        description="weights of torchvision's and Caffe's AlexNet to ours, and back",
        example="alexnet convert bvlc_alexnet.npy net.safetensors",
    )
    parser.add_argument(
        "source",
        type=source,
        metavar="SOURCE",
        help="file of ours, torchvision's (.safetensors or .pth, also a checkpoint that holds it) "
        "or Caffe's (.npy), told by its content; or a run's folder",
    )
    parser.add_argument("target", type=output_file, metavar="TARGET", help="file to write")
    parser.add_argument(
        "--to",
        choices=FORMATS,
        help="format of TARGET (default: by its name caffe for .npy and torchvision for .pth; "
        "otherwise alexnet for a foreign SOURCE, and torchvision for one of ours)",
    )
    parser.add_argument("--force", action="store_true", help="replace TARGET if it exists")


def _run(options: argparse.Namespace) -> bool:
    try:
        done = convert(options.source, options.target, options.to, force=options.force)
    except FileExistsError as error:
        raise ValueError(f"{options.target} exists already: --force replaces it") from error
    network = done.model.network
    print(
        printable(
            f"{options.source} ({done.source_format}) -> {options.target} ({done.target_format})"
        )
    )
    classes = counted(network.output_shape[0], "class", "classes")
    print(f"{network.num_parameters:,} parameters, {classes}")
    return True
