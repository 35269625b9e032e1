"""`alexnet study`: the ladders from the naive loop to the product's kernel, measured and shown."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from alexnet import runtime
from alexnet.commands import study_counts_text, study_text
from alexnet.commands.console import Progress, shell_line
from alexnet.commands.options import (
    DEVICES,
    add_json,
    add_kernels,
    add_parser,
    environment,
    gpu_name,
    integer,
    picture_file,
    say,
    say_table,
    text_file,
    write_figures,
)
from alexnet.comparison.peaks import measure_peaks
from alexnet.figures import save
from alexnet.messages import printable
from alexnet.network.variants import VARIANTS, variant_named
from alexnet.study import counts, device, exercise, picture, results
from alexnet.study.ladders import ALL_NAMES, CUDA_LADDERS, LADDERS, Ladder
from alexnet.study.measure import QUICK, USUAL, Pace, Table, run_ladder
from alexnet.study.problem import Problem, changed_problem, layer_problem
from alexnet.study.rungs import Rung, built_ladders, rungs_of, sources

PEAK_BYTES = 2**26
DEFAULT_BATCH = 8
NEW = "new"
# Options that change the layer: its field, and what they mean.
SIZES = {
    "features": ("features", "output channels or features"),
    "kernel": ("kernel_size", "rows and columns of a convolution's kernel"),
    "window": ("window", "rows and columns of a pooling's window"),
    "stride": ("stride", "of a convolution or a pooling"),
    "radius": ("depth_radius", "of LRN's window of channels"),
}
PADDINGS = ("same", "valid")


def add_parsers(subparsers: Any) -> None:
    """Add `study`."""
    parser = add_parser(
        subparsers,
        "study",
        _run,
        description="from the naive loop to the fastest kernel, one idea a file, timed",
        example="alexnet study lrn-forward --layer lrn1",
    )
    parser.add_argument(
        "what",
        metavar="LADDER",
        nargs="?",
        choices=(*ALL_NAMES, NEW),
        help=f"one of {', '.join(ALL_NAMES)}; without it they are listed, those for CUDA too. "
        f"{NEW} NAME --ladder LADDER writes NAME.cpp, a rung to fill in",
    )
    parser.add_argument("name", metavar="NAME", nargs="?", help=argparse.SUPPRESS)
    parser.add_argument(
        "--ladder", choices=tuple(LADDERS), metavar="LADDER", help=f"of the rung that {NEW} writes"
    )
    parser.add_argument("--rung", type=integer(0, 99), metavar="K", help="this rung alone")
    parser.add_argument("--show", type=integer(0, 99), metavar="K", help="print a rung's file")
    parser.add_argument(
        "--explain", action="store_true", help="what each rung changes, and why, below the table"
    )
    parser.add_argument(
        "--with",
        dest="own",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="compile, check and rank a rung of your own, too; may be given again",
    )
    parser.add_argument("--all", action="store_true", help="every ladder, one after the other")
    parser.add_argument(
        "--quick", action="store_true", help="fewer and shorter runs: every ladder in 3 minutes"
    )
    parser.add_argument(
        "--compare",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="put figures that --json has written side by side, of LADDER or of all",
    )
    _add_shape(parser)
    parser.add_argument(
        "--device",
        choices=DEVICES,
        default="cpu",
        metavar="D",
        help=f"{', '.join(DEVICES)}: whose ladders; auto is cuda where there is one. Without one, "
        "cuda shows what its rungs do to memory, as counted in an emulation (default: cpu)",
    )
    add_kernels(parser, device=None)
    add_json(parser)
    parser.add_argument(
        "--plot",
        type=picture_file,
        metavar="FILE",
        help="draw bars and the roofline there: .png, .svg or .pdf",
    )


def _add_shape(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--variant",
        choices=tuple(VARIANTS),
        metavar="V",
        help="network of the layer (default: tf-tutorial; tf-full for dense layers)",
    )
    parser.add_argument(
        "--layer", metavar="L", help="layer of the network (default: conv3, lrn1, pool1, fc7)"
    )
    parser.add_argument(
        "--batch-size",
        type=integer(1),
        default=DEFAULT_BATCH,
        metavar="N",
        help=f"images (default: {DEFAULT_BATCH})",
    )
    parser.add_argument(
        "--input",
        type=_sizes,
        metavar="H,W,C",
        help="another input than the layer's: rows, columns and channels, or features",
    )
    for option, (_, meaning) in SIZES.items():
        least = 0 if option == "radius" else 1
        parser.add_argument(f"--{option}", type=integer(least), metavar="N", help=meaning)
    parser.add_argument(
        "--padding", choices=PADDINGS, metavar="P", help="of a convolution: same or valid"
    )


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(integer(1)(part) for part in text.split(","))


# --- what is asked for ----------------------------------------------------------------------------


def _run(options: argparse.Namespace) -> bool:
    if options.device == "auto":
        options.device = "cpu" if device.obstacle() else "cuda"
    action = _chosen(options)
    try:
        return action(options)
    except NotImplementedError as error:  # the ladders are not in this build
        raise ValueError(str(error)) from error


def _chosen(options: argparse.Namespace) -> Callable[[argparse.Namespace], bool]:
    """Find the one thing to do, and refuse what does not belong to it."""
    ladder = options.what in ALL_NAMES
    wanted = {
        _write: options.what == NEW,
        _compare: options.compare is not None,
        _show: options.show is not None,
        _measure: options.all or ladder,
    }
    action = next((action for action, is_wanted in wanted.items() if is_wanted), _list)
    needs_ladder = {
        "--rung": options.rung is not None,
        "--show": options.show is not None,
        "--with": bool(options.own),
        "--layer": options.layer is not None,
        "--input": options.input is not None,
        **{f"--{name}": getattr(options, name) is not None for name in (*SIZES, "padding")},
    }
    for option, given in needs_ladder.items():
        if given and (not ladder or options.all):
            options.parser.error(f"{option} belongs to one LADDER")
    if options.all and options.what is not None:
        options.parser.error(f"--all is every ladder, not {options.what} alone")
    parts = {options.what == NEW, options.name is not None, options.ladder is not None}
    if len(parts) > 1:
        options.parser.error(f"expected {NEW} NAME --ladder LADDER, all of them or none")
    if action is not _measure and (options.quick or options.plot):
        options.parser.error("--quick and --plot belong to a run of one LADDER, or of --all")
    if options.device == "cuda":
        _check_cuda(options)
    elif ladder and options.what not in LADDERS and options.compare is None:
        options.parser.error(f"{options.what} is for CUDA alone, with --device cuda")
    return action


def _check_cuda(options: argparse.Namespace) -> None:
    """Refuse what is of the CPU's ladders alone."""
    if options.own or options.what == NEW:
        options.parser.error(f"{NEW} and --with are for the CPU, but --device is cuda")
    if options.threads is not None:
        options.parser.error("--threads is of the CPU, but --device is cuda")
    if options.what in ALL_NAMES and options.what not in CUDA_LADDERS:
        options.parser.error(
            f"{options.what} has no ladder for CUDA; expected one of {', '.join(CUDA_LADDERS)}"
        )


def _ladder(options: argparse.Namespace) -> Ladder:
    """Give the ladder LADDER of the device."""
    return (CUDA_LADDERS if options.device == "cuda" else LADDERS)[options.what]


def _all_ladders(options: argparse.Namespace) -> list[Ladder]:
    return list(CUDA_LADDERS.values()) if options.device == "cuda" else built_ladders()


def _list(options: argparse.Namespace) -> bool:
    """List the ladders of the device, those of the CPU before those for CUDA."""
    for_cuda = list(CUDA_LADDERS.values())
    ladders = for_cuda if options.device == "cuda" else [*_all_ladders(options), *for_cuda]
    rungs = {ladder: rungs_of(ladder) for ladder in ladders}
    rows = {
        ladder: [ladder.name, str(len(of)), f"{of[0].idea} … {of[-2].idea}, {of[-1].idea}"]
        for ladder, of in rungs.items()
    }
    header = ["ladder", "rungs", ""]
    of_cpu = [row for ladder, row in rows.items() if ladder.device == "cpu"]
    if of_cpu:
        say_table(options, header, of_cpu, right={1})
        say(options)
    say(options, "for CUDA, with --device cuda:")
    say_table(options, header, [rows[ladder] for ladder in for_cuda], right={1})
    say(options, f"files: {sources()}")
    say(options, "alexnet study LADDER runs one; with --explain it says what each rung changes")
    write_figures(options, {"ladders": {each.full_name: len(of) for each, of in rungs.items()}})
    return True


def _write(options: argparse.Namespace) -> bool:
    path = Path(options.name)
    path = path if path.suffix == ".cpp" else path.with_name(f"{path.name}.cpp")
    exercise.write(path, LADDERS[options.ladder])
    say(options, f"{path}: rung 0 of {options.ladder}, to be changed. To check and rank it:")
    command = ("alexnet", "study", options.ladder, "--with", str(path))
    say(options, shell_line(command, text_file(options)))
    return True


def _compare(options: argparse.Namespace) -> bool:
    kept = [results.read(path) for path in options.compare]
    places = dict.fromkeys(place for each in kept for place in each.ladders)
    for number, each in enumerate(kept, 1):
        say(options, f"{number}: {each.machine}")
    for place in places:
        if options.what is not None and place[0].removesuffix("-cuda") != options.what:
            continue
        say(options)
        say(options, f"{place[0]}, {place[1]}")
        first, *others = results.columns(place)
        titles = [t for n in range(1, len(kept) + 1) for t in (f"{n}: {first}", *others)]
        rows = results.side_by_side(kept, place)
        say_table(options, ["", "rung", *titles], rows, right={0, *range(2, 2 + len(titles))})
    return True


def _show(options: argparse.Namespace) -> bool:
    rung = _numbered(options, "show", rungs_of(_ladder(options)))
    study_text.show(options, rung.source.read_text(encoding="utf-8"))
    return True


def _numbered(options: argparse.Namespace, option: str, rungs: list[Rung]) -> Rung:
    """Give the rung whose number `--rung` or `--show` has."""
    number = getattr(options, option)
    by_number = {rung.number: rung for rung in rungs}
    if number not in by_number:
        expected = ", ".join(map(str, by_number))
        options.parser.error(f"argument --{option}: {number}, expected one of {expected}")
    return by_number[number]


# --- running --------------------------------------------------------------------------------------


def _measure(options: argparse.Namespace) -> bool:
    ladders = _all_ladders(options) if options.all else [_ladder(options)]
    try:
        problems = [_problem(options, ladder) for ladder in ladders]
    except ValueError as error:
        options.parser.error(str(error))
    rungs = [rungs_of(ladder) for ladder in ladders]
    last = rungs[0][-1].number
    if options.rung is not None:
        rungs = [[_numbered(options, "rung", rungs[0])]]
    if options.device == "cuda" and (obstacle := device.obstacle()):
        return study_counts_text.show_kept(options, problems, rungs, obstacle)
    with tempfile.TemporaryDirectory(prefix="alexnet-study-") as folder:
        own = _own_rungs(options, problems[0], last + 1, Path(folder)) if options.own else []
        rungs[0] = [*rungs[0], *own]
        tables = _tables(options, problems, rungs, QUICK if options.quick else USUAL)
    write_figures(options, results.figures(environment(), list(map(counts.beside, tables))))
    if options.plot is not None:
        save(picture.bars(tables), Path(options.plot))
    return all(table.is_right for table in tables)


def _problem(options: argparse.Namespace, ladder: Ladder) -> Problem:
    variant = variant_named(options.variant or ladder.variant)
    problem = layer_problem(ladder, variant, options.layer, options.batch_size)
    changes = {
        field: getattr(options, option)
        for option, (field, _) in SIZES.items()
        if getattr(options, option) is not None
    }
    if options.padding is not None:
        changes["padding"] = options.padding
    if changes or options.input is not None:
        return changed_problem(problem, options.input, **changes)
    return problem


def _own_rungs(
    options: argparse.Namespace, problem: Problem, first: int, folder: Path
) -> list[Rung]:
    own = []
    for number, path in enumerate(options.own, first):
        seconds = exercise.time_to_run(problem)
        work = f"{path}: compiled, and run once, at most {seconds:.0f} s"
        try:
            with Progress(printable(work), 0) as progress:
                progress.show(at_once=progress.drawn)
                rung = exercise.prepared(
                    path,
                    problem,
                    number,
                    isa=runtime.cpu_isa(),
                    threads=runtime.get_num_threads(),
                    folder=folder,
                    on_wait=lambda text: progress.show(printable(text), at_once=True),
                )
        except exercise.NotCompiledError as error:
            for line in error.lines:
                say(options, line)
            raise
        say(options, f"rung {number}, {path}: compiled")
        say(
            options,
            "  ran in a process of its own first: no crash, nothing written beside its result",
        )
        own.append(rung)
    return own


def _tables(
    options: argparse.Namespace,
    problems: Sequence[Problem],
    rungs: Sequence[list[Rung]],
    pace: Pace,
) -> list[Table]:
    tables = []
    steps = sum(map(len, rungs)) * (1 + pace.rounds)
    with Progress("study", steps) as progress:
        for problem, some in zip(problems, rungs, strict=True):
            table = _table(options, problem, some, pace, progress.advance)
            study_text.show_table(options, table, explain=options.explain)
            beside = counts.beside(table)
            if isinstance(beside, counts.CountedTable):
                study_counts_text.show(options, beside)
            tables.append(table)
    return tables


def _table(
    options: argparse.Namespace,
    problem: Problem,
    rungs: list[Rung],
    pace: Pace,
    advance: Callable[[str], None],
) -> Table:
    if options.device == "cuda":
        peaks = device.measure_peaks(gpu_name() or "CUDA device")
        return device.run_ladder(problem, rungs, peaks, pace=pace, advance=advance)
    threads = runtime.get_num_threads()
    return run_ladder(
        problem,
        rungs,
        measure_peaks(threads, array_bytes=PEAK_BYTES),
        threads=threads,
        isa=runtime.cpu_isa(),
        pace=pace,
        advance=advance,
    )
