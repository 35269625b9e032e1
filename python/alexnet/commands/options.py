"""Arguments that several commands have, and where their text and figures go."""

from __future__ import annotations

import argparse
import math
import platform
import sys
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from alexnet import figures, runtime
from alexnet.commands.console import OUTPUT, silence, write_json
from alexnet.commands.table import Row, hanging, print_table, sentence
from alexnet.contract.arguments import LARGEST_SIZE, LARGEST_THREADS, check_number
from alexnet.data import Dataset, open_dataset
from alexnet.files import check_folder, check_writable, naming
from alexnet.messages import described, hint, printable
from alexnet.network.freezing import BFLOAT16, FLOAT32, PRECISIONS
from alexnet.network.variant import Variant
from alexnet.network.variants import VARIANTS, variant_named
from alexnet.ops import implementation_on

Run = Callable[[argparse.Namespace], bool]
DEFAULT_VARIANT = "tf-tutorial"
LARGEST_SEED = 2**64 - 1
DEVICES = ("auto", "cpu", "cuda")


def add_parser(
    subparsers: Any, name: str, run: Run, *, description: str, example: str
) -> argparse.ArgumentParser:
    """Add a command; `run` gets the parsed options and tells whether all checks passed."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        name, help=description, description=description, epilog=f"example: {example}"
    )
    parser.set_defaults(run=_naming_batch_size(run))
    return parser


def _naming_batch_size(run: Run) -> Run:
    """Have a command whose memory is not enough name what takes most of it."""

    def running(options: argparse.Namespace) -> bool:
        try:
            return run(options)
        except MemoryError as error:
            if getattr(options, "batch_size", None) is None:
                raise
            text = f"{described(error)}; --batch-size is {options.batch_size}"
            raise MemoryError(text) from error

    return running


def integer(low: int, high: int = LARGEST_SIZE) -> Callable[[str], int]:
    """Argument type: an integer from `low` to `high`."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text!r}, expected an integer from {low} to {high}")
        return value

    return parse


def number(
    *, low: float = -math.inf, above: float = -math.inf, below: float = math.inf
) -> Callable[[str], float]:
    """Argument type: a finite number with low <= number, above < number < below."""

    def parse(text: str) -> float:
        try:
            return check_number("option", "value", float(text), low=low, above=above, below=below)
        except ValueError as error:
            bounds = {">=": low, ">": above, "<": below}
            limits = [f"{sign} {bound:g}" for sign, bound in bounds.items() if math.isfinite(bound)]
            expected = f"a finite number {' and '.join(limits)}"
            raise argparse.ArgumentTypeError(f"{text!r}, expected {expected}") from error

    return parse


def add_variant(parser: argparse.ArgumentParser, *, default: str | None = DEFAULT_VARIANT) -> None:
    """V: a positional name, optional where there is a default."""
    parser.add_argument(
        "variant",
        metavar="V",
        nargs="?" if default else None,
        default=default,
        choices=tuple(VARIANTS),
        help=f"variant, see alexnet variants{f' (default: {default})' if default else ''}",
    )
    parser.add_argument(
        "--no-lrn", action="store_true", help="without local response normalisation"
    )


def add_data(parser: argparse.ArgumentParser) -> None:
    """Add DATA, --test-share S and --split-seed N."""
    parser.add_argument(
        "data",
        type=source,
        metavar="DATA",
        help="CIFAR-10, its directory or .tar.gz; or folder with train/CLASS/*.jpg and test, or "
        "with CLASS/*.jpg",
    )
    parser.add_argument(
        "--test-share",
        type=number(low=0, below=1),
        metavar="S",
        help="of photos without test images, take this share of each class for testing "
        "(default: 0.2 of DATA/CLASS/*.jpg, none of DATA/train)",
    )
    parser.add_argument(
        "--split-seed",
        type=integer(0, LARGEST_SEED),
        default=0,
        metavar="N",
        help="which photos these are (default: 0)",
    )


def opened_data(options: argparse.Namespace) -> Dataset:
    """Open the images that DATA, --test-share and --split-seed ask for."""
    return open_dataset(options.data, test_share=options.test_share, split_seed=options.split_seed)


def add_batch_size(parser: argparse.ArgumentParser, default: int) -> None:
    """--batch-size N."""
    parser.add_argument(
        "--batch-size",
        type=integer(1),
        default=default,
        metavar="N",
        help=f"images (default: {default})",
    )


def add_seed(parser: argparse.ArgumentParser, default: int) -> None:
    """--seed S."""
    parser.add_argument(
        "--seed",
        type=integer(0, LARGEST_SEED),
        default=default,
        metavar="S",
        help=f"of all random numbers (default: {default})",
    )


def add_precision(
    parser: argparse.ArgumentParser,
    choices: Sequence[str] = PRECISIONS,
    meaning: str = "of the products: float32; tf32, bfloat16, float16 on a CUDA device; bfloat16 "
    "on the CPU, forward",
    on_cpu: Sequence[str] = (FLOAT32, BFLOAT16),
) -> None:
    """--precision P, one of `choices`, the first of which is the default.

    `on_cpu` are those that the command has on --device cpu.
    """
    parser.set_defaults(cpu_precisions=on_cpu)
    parser.add_argument(
        "--precision",
        choices=choices,
        default=choices[0],
        metavar="P",
        help=f"{meaning} (default: {choices[0]})",
    )


def add_kernels(
    parser: argparse.ArgumentParser, *, device: str | None, several_isas: bool = False
) -> None:
    """--device, --isa and --threads: the same for every command that runs kernels.

    `device` is the default of --device; None for what runs beside frameworks on the CPU and has no
    choice. Instruction set and threads are applied as soon as they are parsed; where --isa may be
    given several times, it is a list for the command to go through.
    """
    if device is not None:
        parser.add_argument(
            "--device",
            type=_device,
            default=device,
            metavar="D",
            help=f"{', '.join(DEVICES)}: where the kernels run; auto is cuda where there is one "
            f"(default: {device})",
        )
    isas = ", ".join(runtime.available_isas())
    if several_isas:
        parser.add_argument(
            "--isa",
            type=_isa,
            action="append",
            metavar="I",
            help=f"instruction set of the CPU, may be given again (default: {isas})",
        )
    else:
        parser.add_argument(
            "--isa",
            type=_applied_isa,
            metavar="I",
            help=f"instruction set of the CPU, one of {isas} (default: {runtime.cpu_isa()})",
        )
    parser.add_argument(
        "--threads",
        type=_applied_threads,
        metavar="N",
        help="threads of the kernels (default: ALEXNET_NUM_THREADS, else OMP_NUM_THREADS, else the "
        "processors that the process may use)",
    )


def add_graph(parser: argparse.ArgumentParser) -> None:
    """--graph and --no-graph; see `alexnet.graphs`."""
    parser.add_argument(
        "--graph",
        action=argparse.BooleanOptionalAction,
        help="on a CUDA device, launch each step as one CUDA graph once its shapes come again "
        "(default there: --graph)",
    )


def check_kernels(options: argparse.Namespace) -> None:
    """Refuse --isa, which is of the CPU, with another --device, and on it what it does not have.

    That is --graph, and each --precision but those of `add_precision`.
    """
    device = getattr(options, "device", "cpu")
    precision = getattr(options, "precision", FLOAT32)
    precisions = getattr(options, "cpu_precisions", (FLOAT32,))
    if device == "cpu" and precision not in precisions:
        expected = " or ".join(precisions)
        options.parser.error(f"argument --precision: {precision!r}, expected {expected} on the CPU")
    if device == "cpu" and getattr(options, "graph", None):
        options.parser.error("argument --graph: only --device cuda has CUDA graphs")
    if device != "cpu" and options.isa:
        options.parser.error(
            f"argument --isa: names instruction sets of the CPU, but --device is {device}"
        )


def _device(text: str) -> str:
    """Argument type: cpu or cuda, or auto for one of them; an error where there is no such one."""
    if text not in DEVICES:
        raise argparse.ArgumentTypeError(f"{text!r}, expected one of {', '.join(DEVICES)}")
    if text == "auto":
        return "cuda" if runtime.has_cuda() else "cpu"
    try:
        implementation_on(text)
    except NotImplementedError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _isa(text: str) -> str:
    """Argument type: an instruction set that runs here, in any case."""
    isas = runtime.available_isas()
    if text.lower() not in isas:
        expected = f"one of {', '.join(isas)}{hint(text, isas)}"
        raise argparse.ArgumentTypeError(f"{text!r}, expected {expected}")
    return text.lower()


def _applied_isa(text: str) -> str:
    runtime.set_cpu_isa(_isa(text))
    return text.lower()


def _applied_threads(text: str) -> int:
    threads = integer(1, LARGEST_THREADS)(text)
    runtime.set_num_threads(threads)
    return threads


def source(text: str) -> str:
    """Argument type: a file or folder that is read.

    No name at all, as of a shell variable that is not set, would be the current folder.
    """
    if not text:
        raise argparse.ArgumentTypeError("'', expected the name of a file or folder")
    return text


def output_file(text: str) -> str:
    """Argument type: a file that can be written, which is found out before any work."""
    return _checked(text, check_writable, "a file that can be written")


def picture_file(text: str) -> str:
    """Argument type: a picture that can be written, in the format that its name ends in."""
    output_file(text)
    try:
        figures.check_name(Path(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def output_folder(text: str) -> str:
    """Argument type: a folder that can be written to or made, found out before any work."""
    return _checked(text, check_folder, "a folder that can be written to")


def _checked(text: str, check: Callable[[str], None], expected: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError(f"{text!r}, expected {expected}")
    try:
        check(text)
    except OSError as error:
        reason = described(error)
        raise argparse.ArgumentTypeError(f"{text!r}, expected {expected}: {reason}") from error
    return text


def add_json(parser: argparse.ArgumentParser, check: Callable[[str], str] = output_file) -> None:
    """--json FILE, which `check` takes as an argument's type."""
    parser.add_argument(
        "--json",
        type=lambda text: "-" if text in ("-", "/dev/stdout") else check(text),
        metavar="FILE",
        help="write the figures there; - for standard output",
    )


def described_variant(options: argparse.Namespace) -> Variant:
    """Look up the variant that V and --no-lrn ask for."""
    variant = variant_named(options.variant)
    return variant.without_lrn() if options.no_lrn else variant


# --- output ---------------------------------------------------------------------------------------


def text_file(options: argparse.Namespace) -> TextIO:
    """Where the text for people goes."""
    return sys.stderr if options.json == "-" else sys.stdout


def say(options: argparse.Namespace, line: str = "") -> None:
    """Print a line of text for people, at once; what no terminal shows comes as escapes."""
    with _for_people(options) as file:
        print(printable(line), file=file, flush=True)


def say_line(options: argparse.Namespace, text: str) -> None:
    """Print a sentence in lines that fit a terminal, and in one line elsewhere."""
    for line in sentence(text, text_file(options)).split("\n"):
        say(options, line)


def say_sentence(options: argparse.Namespace, text: str) -> None:
    """Print a sentence in lines that fit the terminal."""
    for line in hanging(printable(text)):
        say(options, line)


def say_table(
    options: argparse.Namespace,
    header: Row,
    rows: Iterable[Row | str],
    *,
    right: Container[int],
) -> None:
    """Print a table for people; see `print_table`."""
    with _for_people(options) as file:
        print_table(file, header, rows, right=right)


@contextmanager
def _for_people(options: argparse.Namespace) -> Iterator[TextIO]:
    """Give the file for text; where its reader is gone, figures and pictures are still made."""
    file = text_file(options)
    try:
        with naming(OUTPUT if options.json != "-" else "standard error"):
            yield file
    except BrokenPipeError:
        if options.json is None and getattr(options, "plot", None) is None:
            raise
        silence(file)


def write_figures(options: argparse.Namespace, figures: dict[str, Any]) -> None:
    """Write `figures` where --json says, if it is given, with what they depend on."""
    if options.json is not None:
        depends: dict[str, Any] = {"environment": environment()}
        if hasattr(options, "device"):
            depends["device"] = options.device
        write_json(options.json, depends | figures)


def environment() -> dict[str, Any]:
    """Describe this build and this machine, on which figures depend: plain JSON values."""
    return {
        **runtime.build_info(),
        "isa": runtime.cpu_isa(),
        "available_isas": list(runtime.available_isas()),
        "bfloat16": runtime.cpu_bfloat16(),
        "threads": runtime.get_num_threads(),
        "threads_from": runtime.num_threads_from(),
        "numpy": np.__version__,
        "processor": _processor(),
        "gpu": gpu_name(),
    }


def gpu_name() -> str | None:
    """Name of the current CUDA device; None where `alexnet.cuda` can't be used."""
    if not runtime.has_cuda():
        return None
    cuda = import_module("cupy").cuda
    name: bytes = cuda.runtime.getDeviceProperties(cuda.Device().id)["name"]
    return name.decode()


def _processor() -> str:
    """Model name as Linux gives it, else as Python knows it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
