"""Counts what the rungs of the CUDA ladders do, and keeps it in the package:

    PYTHONPATH=tests python -m cuda_emulation.study [--products] [LADDER ...]

Needs a checkout with alexnet installed from it. Both builds of the emulation are made first: one
runs every rung on a whole image for its error, the other a few blocks of every launch for counts.
The rungs' headers get the factors that were counted. `--products` counts only the rungs that call
the product's kernels, after a change of those, and keeps the others' counts.
"""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import re
import sys
import textwrap
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from alexnet.network.variants import variant_named
from alexnet.study import counts, device
from alexnet.study.counts import CountedLadder, CountedRung, Counts
from alexnet.study.ladders import CUDA_LADDERS, Ladder
from alexnet.study.measure import UNTOUCHED
from alexnet.study.problem import Problem, layer_problem
from alexnet.study.rungs import Rung, in_words, rungs_of
from alexnet.verification.tolerance import relative_error
from cuda_emulation import load

KEPT = load.HERE.parents[1] / "python" / "alexnet" / "study" / counts.FILE
STUDY = load.HERE.parents[1] / "cpp" / "study"
BATCH_SIZE = 8
SAMPLE = 3  # blocks of each launch
GAINED = re.compile(r"Gained: (?:[\d.]+ times (?:fewer|more)|as many) [a-z ]+(?=, counted)")
ALIGNMENT = 512  # bytes, as CuPy's pool
USUAL_CAPABILITY = "8.0"  # of the device that is emulated, unless rungs of a ladder want another
BULK_BYTES = 128  # "width" of what is no access of single lanes, as counting.h has it
WARPS = 4  # of a warpgroup


def process_with(module: Path) -> ProcessPoolExecutor:
    """A process that has loaded the modules beside one of `load.build`.

    One for each build: pybind11 keeps but one module of a name in a process.
    """
    spawn = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(1, spawn, initializer=load.load, initargs=(module,))


def aligned(values: np.ndarray) -> Any:
    """A copy on the emulated device that begins where CuPy's arrays begin."""
    import cupy

    memory = np.empty(values.nbytes + ALIGNMENT, np.uint8)
    first = -memory.ctypes.data % ALIGNMENT
    copy = memory[first : first + values.nbytes].view(values.dtype).reshape(values.shape)
    copy[...] = values
    return cupy.ndarray(copy)


def result_of(rung: Rung, problem: Problem, operands: list[Any]) -> np.ndarray:
    """What a rung makes of an array of NaN."""
    result = aligned(np.full(problem.result_shape, UNTOUCHED).view(np.float32))
    device.call(rung, problem, [*operands, result])
    return result.get()  # type: ignore[no-any-return]


def totals(launches: list[dict[str, Any]]) -> Counts:
    """Counts of all launches together, each from the blocks that were run to all of them."""
    sums: Counter[str] = Counter()
    most, blocks = -1.0, 0
    for launch in launches:
        x, y, z = launch["grid"]
        scale = x * y * z / launch["blocks_run"]

        def add(name: str, value: float, scale: float = scale) -> None:
            sums[name] += value * scale  # type: ignore[assignment]

        for access in launch["accesses"]:
            is_global = access["space"] == "global"
            in_bulk = access["width"] == BULK_BYTES
            add("sectors" if is_global else "wavefronts", access["units"])
            add("least_sectors" if is_global else "least_wavefronts", access["least"])
            if access["copies"]:
                add("copies", 0 if is_global else access["requests"])
            elif in_bulk:  # what a warpgroup's product reads of shared memory
                add("products", WARPS * access["requests"])
            else:
                name = "stores" if access["writes"] else "loads"
                add(name if is_global else f"shared_{name}", access["requests"])
        add("block_sectors", launch["read_sectors"] + launch["written_sectors"])
        add("shuffles", launch["shuffles"] / counts.WARP)
        add("products", launch["warp_products"])
        add("multiply_adds", launch["multiply_adds"])
        add("barriers", launch["barriers"])
        of_warpgroups = launch["warpgroup_fma"]
        work = scale * (launch["multiply_adds"] + 1024 * launch["warp_products"] + of_warpgroups)
        if work > most:
            most, blocks = work, x * y * z
    sums["blocks"] = blocks
    return Counts(**{name: round(sums[name]) for name in Counts.__dataclass_fields__})


def capability_of(ladder: Ladder) -> str:
    """Compute capability of the device that a ladder is counted on."""
    wanted = {rung.capability for rung in rungs_of(ladder)} - {None}
    assert len(wanted) <= 1
    return next(iter(wanted), None) or USUAL_CAPABILITY


def usual_problem(ladder: Ladder) -> Problem:
    """The problem that counts are kept of."""
    return layer_problem(ladder, variant_named(ladder.variant), ladder.layer, BATCH_SIZE)


def chosen(name: str, *, products: bool) -> list[Rung]:
    """The rungs of a ladder that are counted, which may be the product's alone."""
    return [rung for rung in rungs_of(CUDA_LADDERS[name]) if rung.is_product or not products]


def errors_of(name: str, *, products: bool = False) -> list[float]:
    """Errors of a ladder's rungs on one image."""
    ladder = CUDA_LADDERS[name]
    os.environ["ALEXNET_EMULATED_CAPABILITY"] = capability_of(ladder)
    problem = usual_problem(ladder).with_batch_size(1)
    operands = problem.operands()
    expected = problem.expected(operands)
    on_device = [aligned(operand) for operand in operands]
    return [
        relative_error(result_of(rung, problem, on_device), expected)
        for rung in chosen(name, products=products)
    ]


def counts_of(name: str, *, products: bool = False) -> list[Counts]:
    """What a few blocks of each of a ladder's rungs do, scaled to all, in the counting build."""
    ladder = CUDA_LADDERS[name]
    os.environ["ALEXNET_EMULATED_CAPABILITY"] = capability_of(ladder)
    problem = usual_problem(ladder)
    operands = [aligned(operand) for operand in problem.operands()]
    counter = _counter()
    result = []
    for rung in chosen(name, products=products):
        counter.start(SAMPLE)
        result_of(rung, problem, operands)
        result.append(totals(counter.stop()))
    return result


def _counter() -> ModuleType:
    """The second module that the library of the ladders holds."""
    path = importlib.import_module("alexnet._study_cuda").__file__
    assert path is not None
    return load.import_from("_cuda_counts", Path(path))


def counted_ladder(
    name: str, numbers: list[int], errors: list[float], counted: list[Counts]
) -> CountedLadder:
    """Put together what two processes have found of the rungs of these numbers."""
    ladder = CUDA_LADDERS[name]
    problem = usual_problem(ladder)
    one = problem.with_batch_size(1)
    fresh = dict(zip(numbers, zip(errors, counted, strict=True), strict=True))
    before = counts.kept().get(ladder.full_name)
    rungs = {rung.number: rung for rung in before.rungs} if before else {}
    for rung in rungs_of(ladder):
        if rung.number in fresh:
            error, of = fresh[rung.number]
            bound = one.tolerance(rung.precision)
            rungs[rung.number] = CountedRung(rung.number, rung.idea, error, bound, of)
    kept = tuple(rungs[rung.number] for rung in rungs_of(ladder))
    return CountedLadder(problem.case.name, problem.sizes, SAMPLE, kept)


def gained(factor: float, quantity: tuple[str, str]) -> str:
    """What was counted, in words: with three digits at most, and never less than once."""
    way, words = quantity
    if round(factor, 2) < 1:
        factor, way = 1 / factor, "more" if way == "fewer" else "fewer"
    digits = f"{factor:.2f}" if factor < 10 else f"{factor:.0f}"
    return in_words(digits, (way, words))


def write_gained(ladder: Ladder, counted: CountedLadder) -> None:
    """Say in the headers what was counted; what else a paragraph says stays."""
    for rung in rungs_of(ladder):
        factor = counted.counted_factor(rung)
        if factor is None or rung.quantity is None:
            continue
        path = STUDY / rung.name
        said = f"Gained: {gained(factor, rung.quantity)}"
        fresh = f"{said}, counted in the emulation. No GPU has timed it."
        wrapped = textwrap.fill(fresh, 100, initial_indent="// ", subsequent_indent="//   ")
        text = path.read_text().replace("// Gained: not counted yet.", wrapped)
        path.write_text(re.sub(GAINED, said, text, count=1))


def main(arguments: list[str]) -> None:
    """Count the ladders of these names, or all; the others are kept as they are."""
    products = "--products" in arguments
    names = [name for name in arguments if name != "--products"] or list(CUDA_LADDERS)
    ladders = counts.kept() if KEPT.exists() else {}
    builds = load.path(), load.build(load.COUNTING, "-DALEXNET_COUNT=ON")
    with process_with(builds[0]) as plain, process_with(builds[1]) as counting:
        for name in names:
            errors = plain.submit(errors_of, name, products=products)
            counted = counting.submit(counts_of, name, products=products)
            ladder = CUDA_LADDERS[name]
            numbers = [rung.number for rung in chosen(name, products=products)]
            found = counted_ladder(name, numbers, errors.result(), counted.result())
            ladders[ladder.full_name] = found
            order = [each.full_name for each in CUDA_LADDERS.values() if each.full_name in ladders]
            values = counts.figures([(name, ladders[name]) for name in order])
            KEPT.write_text(json.dumps(values, indent=1) + "\n")
            write_gained(ladder, found)
            print(ladder.full_name, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
