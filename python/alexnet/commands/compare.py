"""`alexnet compare`: a network, or layers of it, beside other frameworks on this machine."""

from __future__ import annotations

import argparse
import dataclasses
import math
import sys
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from alexnet import runtime
from alexnet.commands.console import Progress
from alexnet.commands.options import (
    add_json,
    add_kernels,
    add_parser,
    add_precision,
    add_variant,
    described_variant,
    integer,
    picture_file,
    say,
    say_sentence,
    say_table,
    write_figures,
)
from alexnet.commands.table import sentence
from alexnet.comparison import peers, plot
from alexnet.comparison.benchmark import FORWARD, TARGETS
from alexnet.comparison.cases import (
    FLOAT32,
    NETWORK_TARGETS,
    PRECISIONS,
    Arrays,
    Case,
    NetworkCase,
    layer_cases,
)
from alexnet.comparison.contest import SECONDS, Comparison, Contest
from alexnet.data import open_dataset, ordered_batches
from alexnet.figures import save
from alexnet.interchange import load_model
from alexnet.messages import hint
from alexnet.network.checkpoint import TrainedModel
from alexnet.network.variant import Variant

ADVICE = (
    "so these ratios can be off by more than that, either way: "
    "run it again when the machine is quiet, or with more --rounds"
)


def add_parsers(subparsers: Any) -> None:
    """Add the command."""
    parser = add_parser(
        subparsers,
        "compare",
        _run,
        description="time a network beside other frameworks, each in a process of its own",
        example="alexnet compare tf-full --batch-size 1,32 --plot bars.png",
    )
    add_variant(parser)
    parser.add_argument(
        "--peers",
        type=_peers,
        default="all",
        metavar="P,...",
        help=f"frameworks beside ours: all, none or some of {', '.join(peers.FRAMEWORKS)} "
        "(default: all)",
    )
    parser.add_argument(
        "--batch-size",
        type=_integers,
        default="32",
        metavar="N,...",
        help="images, one comparison each (default: 32)",
    )
    parser.add_argument(
        "--target",
        type=_targets,
        metavar="T,...",
        help=f"some of {', '.join(NETWORK_TARGETS)} (default: {', '.join(TARGETS)}; with "
        "another precision than float32, or --trained, forward alone)",
    )
    add_precision(
        parser,
        PRECISIONS,
        "of the products: float32; bfloat16, for those that have it; default, what each framework "
        "chooses by itself",
        on_cpu=PRECISIONS,
    )
    parser.add_argument(
        "--trained",
        nargs=2,
        metavar=("CHECKPOINT", "DATA"),
        help="take this network in the place of V, on the first test images of DATA, and count "
        "for how many of them each finds the class that ours does in float32",
    )
    parser.add_argument(
        "--layers",
        metavar="L,...",
        help="compare these layers in each direction, not the network; * and ? allowed",
    )
    add_kernels(parser, device=None)
    parser.add_argument(
        "--rounds", type=integer(1), default=9, metavar="R", help="turns of each (default: 9)"
    )
    parser.add_argument(
        "--seconds",
        type=_seconds,
        default=SECONDS,
        metavar="S",
        help=f"time of a turn, at least one run (default: {SECONDS})",
    )
    add_json(parser)
    parser.add_argument(
        "--plot",
        type=picture_file,
        metavar="FILE",
        help="draw a bar chart there: .png, .svg or .pdf",
    )


# --- arguments ------------------------------------------------------------------------------------


def _peers(text: str) -> list[str]:
    try:
        return peers.chosen(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _integers(text: str) -> list[int]:
    return [integer(1)(part) for part in dict.fromkeys(text.split(","))]


def _targets(text: str) -> list[str]:
    names = list(dict.fromkeys(text.split(",")))
    for name in names:
        if name not in NETWORK_TARGETS:
            expected = f"{','.join(NETWORK_TARGETS)}{hint(name, NETWORK_TARGETS)}"
            raise argparse.ArgumentTypeError(f"{name!r}, expected some of {expected}")
    return names


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r}, expected a number of seconds")
    return value


def _cases(options: argparse.Namespace, variant: Variant) -> list[Case]:
    is_plain = options.precision == FLOAT32 and options.trained is None
    if options.layers is None:
        return [
            NetworkCase(variant, target, batch_size, options.precision)
            for target in options.target or (TARGETS if is_plain else (FORWARD,))
            for batch_size in options.batch_size
        ]
    if not is_plain:
        options.parser.error(
            "argument --layers: only networks are compared with --trained or in another precision "
            f"than {FLOAT32}"
        )
    patterns = options.layers.split(",")
    cases: list[Case] = [
        case
        for batch_size in options.batch_size
        for case in layer_cases(variant, batch_size)
        if any(fnmatchcase(case.layer.name, pattern) for pattern in patterns)
    ]
    if not cases:
        names = dict.fromkeys(case.layer.name for case in layer_cases(variant, 1))
        near = hint(options.layers, names)
        options.parser.error(
            f"argument --layers: {options.layers!r}, expected some of {','.join(names)}{near}"
        )
    return cases


# --- running --------------------------------------------------------------------------------------


def _run(options: argparse.Namespace) -> bool:
    trained = _Trained(*options.trained) if options.trained else None
    variant = described_variant(options) if trained is None else trained.model.network.variant
    if options.no_lrn:
        variant = dataclasses.replace(variant, name=f"{variant.name}-without-lrn")
    cases, missing = _cases(options, variant), peers.missing(options.peers)
    for name, module in missing.items():
        say_sentence(options, f'left out: {name}, no module {module}; pip install ".[peers]"')
    installed = [name for name in options.peers if name not in missing]
    threads = runtime.get_num_threads()
    comparisons = []
    steps = len(cases) * (1 + options.rounds)
    with (
        Progress("comparing", steps) as progress,
        Contest(installed, threads, tell=_Teller(progress)) as contest,
    ):
        for case in cases:
            comparison = contest.compare(
                case,
                options.rounds,
                options.seconds,
                progress.advance,
                trained=None if trained is None else trained.operands(case.batch_size),
            )
            _print(options, comparison)
            comparisons.append(comparison)
        versions = contest.versions
    say_sentence(
        options, f"{', '.join(versions.values())}; threads: {threads}, rounds: {options.rounds}"
    )
    figures = {
        "variant": variant.name if trained else options.variant,
        "lrn": not options.no_lrn,
        "precision": options.precision,
        "trained": options.trained,
        "rounds": options.rounds,
        "versions": versions,
        "missing": list(missing),
        "cases": [comparison.figures() for comparison in comparisons],
    }
    write_figures(options, figures)
    if options.plot is not None:
        save(plot.bars(comparisons), Path(options.plot))
    return not any(comparison.failures for comparison in comparisons)


class _Trained:
    """A trained network and images for it, as --trained names them."""

    def __init__(self, checkpoint: str, data: str) -> None:
        self.model: TrainedModel = load_model(checkpoint)
        if self.model.preprocessing is None:
            raise ValueError(
                f"{checkpoint} does not say how images are prepared for it: it is neither a "
                "checkpoint of alexnet train nor weights that alexnet convert reads"
            )
        images = open_dataset(data).test
        if images is None:
            raise ValueError(f"{data} has no test images")
        self._data, self._images = data, images

    def operands(self, batch_size: int) -> Arrays:
        """Parameters, state and the first images of the set, as a case has its operands."""
        if len(self._images) < batch_size:
            raise ValueError(
                f"--batch-size: {batch_size}, but {self._data} has {len(self._images)} test images"
            )
        assert self.model.preprocessing is not None
        batch = next(iter(ordered_batches(self._images, self.model.preprocessing, batch_size)))
        tensors = self.model.network.tensors()
        del tensors["generator"]
        return {"x": batch.images, **tensors}


class _Teller:
    """Tells what a comparison is at: in the bar, or in lines where there is none."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._told = ""

    def __call__(self, text: str, place: str) -> None:
        if self._progress.drawn:
            self._progress.show(place or text, at_once=not place)
        elif text != self._told:
            with suppress(OSError):  # nobody reads that any more
                line = f"alexnet compare: {text}"
                print(sentence(line, sys.stderr), file=sys.stderr, flush=True)
        self._told = text


def _print(options: argparse.Namespace, comparison: Comparison) -> None:
    peaks = comparison.peaks
    say(options, f"{comparison.case.name}")
    if remarks := comparison.disturbance.remarks():
        say_sentence(options, f"in these rounds {', '.join(remarks)}")
    if comparison.disturbance.notable:
        say_sentence(options, ADVICE)
    rows = comparison.rows()
    header = comparison.header()
    say_table(options, header, rows, right=range(1, len(header)))
    for contender, reason in comparison.failures.items():
        cause = reason.removeprefix(f"{contender.partition(' ')[0]}: ")
        say_sentence(options, f"not counted: {contender}: {cause}")
    best, ours = comparison.best_peer, comparison.ours
    if best is not None:
        times = f"{best.median * 1e3:.2f} ms / {ours.median * 1e3:.2f} ms"
        say_sentence(
            options, f"best peer, {best.contender} / ours: {times} = {comparison.ratio:.2f}"
        )
    say(options, f"peaks: FMA {peaks.fma_gflops:.0f} GFLOP/s, copy {peaks.copy_gbs:.1f} GB/s")
    say(options)
