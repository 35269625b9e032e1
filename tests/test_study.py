"""The study ladders: every rung is right, on every instruction set, and says what it serves."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import alexnet
from alexnet.network.layer import Layer
from alexnet.network.layers import LRN, Conv2d, Dense, MaxPool2d
from alexnet.study.fused import LRNMaxPool2d
from alexnet.study.ladders import LADDERS, Ladder
from alexnet.study.measure import run
from alexnet.study.problem import AnyArray, Problem, own_problem
from alexnet.study.rungs import Rung, module, rung_in, rungs_of, sources
from support.arrays import Guarded, relative_error
from support.implementations import ISAS
from support.memory import at_page_end

LONGEST_FILE = 120  # lines
LONGEST_IDEA = 24  # characters
FOLDER = Path(__file__).parents[1] / "cpp" / "study"

# Sizes around those of vectors (4, 8, 16) and tiles (6 pixels, 8 to 64 channels), windows that
# reach beyond the image, strides larger than windows, and images smaller than a tile.
CONVOLUTIONS = [
    ((13, 13, 5), Conv2d("conv", 17, 3)),
    ((12, 16, 33), Conv2d("conv", 65, 3, padding="valid")),
    ((9, 7, 3), Conv2d("conv", 5, 5, stride=2)),
    ((23, 21, 3), Conv2d("conv", 20, 11, stride=4)),
    ((5, 5, 16), Conv2d("conv", 64, 1)),
    ((1, 1, 2), Conv2d("conv", 3, 3)),
    ((8, 9, 4), Conv2d("conv", 7, 2, stride=3, padding="valid")),
]
NORMALISATIONS = [
    ((3, 5, 64), LRN("lrn", 4, 1.0, 0.001 / 9, 0.75)),
    ((2, 3, 17), LRN("lrn", 2, 2.0, 0.5, 0.75)),
    ((4, 1, 33), LRN("lrn", 5, 1.0, 1.0, 0.75)),
    ((1, 1, 1), LRN("lrn", 5, 1.0, 1.0, 0.75)),
    ((5, 3, 3), LRN("lrn", 7, 0.5, 0.1, 0.75)),
    ((2, 2, 100), LRN("lrn", 1, 1.0, 1.0, 0.5)),
]
POOLINGS = [
    ((9, 11, 5), MaxPool2d("pool")),
    ((13, 13, 33), MaxPool2d("pool")),
    ((8, 8, 16), MaxPool2d("pool", 2, 2)),
    ((7, 7, 64), MaxPool2d("pool", 3, 1)),
    ((8, 8, 3), MaxPool2d("pool", 2, 3)),
    ((3, 5, 100), MaxPool2d("pool", 3, 2)),
]
PAIRS = [
    ((9, 11, 64), LRNMaxPool2d("pair", 4, 1.0, 0.001 / 9, 0.75)),
    ((13, 13, 33), LRNMaxPool2d("pair", 2, 2.0, 0.5, 0.75)),
    ((8, 8, 5), LRNMaxPool2d("pair", 5, 1.0, 1.0, 0.75, window=2, stride=3)),
    ((7, 6, 17), LRNMaxPool2d("pair", 5, 1.0, 1.0, 0.75, window=3, stride=1)),
    ((40, 5, 3), LRNMaxPool2d("pair", 4, 1.0, 1.0, 0.75, window=2, stride=2)),
    ((5, 5, 8), LRNMaxPool2d("pair", 1, 1.0, 1.0, 0.5)),
]
DENSE = [
    ((size,), Dense("dense", features))
    for size, features in ((1, 1), (17, 33), (100, 64), (130, 100), (255, 10))
]
SHAPES: dict[type[Layer], list[tuple[tuple[int, ...], Any]]] = {
    Conv2d: CONVOLUTIONS,
    LRN: NORMALISATIONS,
    MaxPool2d: POOLINGS,
    LRNMaxPool2d: PAIRS,
    Dense: DENSE,
}
BATCHES = (1, 3)

each_ladder = pytest.mark.parametrize("ladder", LADDERS.values(), ids=lambda ladder: ladder.name)


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    """A study of its own has instruction set and threads of its own."""
    yield
    module().set_isa(alexnet.cpu_isa())
    module().set_num_threads(alexnet.get_num_threads())


def problems(ladder: Ladder) -> list[Problem]:
    return [
        own_problem(ladder, layer, image, batch)
        for image, layer in SHAPES[ladder.kind]
        for batch in BATCHES
    ]


def called(rung: Rung, isa: str, problem: Problem, operands: list[AnyArray]) -> AnyArray:
    """Its result, with guards around it."""
    guarded = Guarded(problem.result_shape)
    module().call(rung.function(isa), problem.shape, [*operands, guarded.array])
    return guarded.get()


# --- every rung -----------------------------------------------------------------------------------


@each_ladder
@pytest.mark.parametrize("isa", ISAS)
def test_rungs_are_right_or_say_what_they_serve(ladder: Ladder, isa: str) -> None:
    module().set_isa(isa)
    module().set_num_threads(2)
    rungs = rungs_of(ladder)
    served = set()
    for problem in problems(ladder):
        operands = [at_page_end(operand) for operand in problem.operands()]
        nans = [np.full_like(operand, np.nan) for operand in operands]
        expected, bound = problem.expected(operands), problem.tolerance()
        for rung in rungs:
            where = f"rung {rung.number} of {ladder.name}, {problem.case.name}, {problem.sizes}"
            called(rung, isa, problem, nans)  # leaves NaN in the working memory
            result = called(rung, isa, problem, operands)
            if rung.serves and np.isnan(result).all():
                continue
            served.add(rung.number)
            assert relative_error(result, expected) <= bound, where
    assert served == {rung.number for rung in rungs}


@each_ladder
@pytest.mark.parametrize("isa", ISAS)
def test_bits_do_not_depend_on_the_number_of_threads(ladder: Ladder, isa: str) -> None:
    module().set_isa(isa)
    image, layer = SHAPES[ladder.kind][1]
    problem = own_problem(ladder, layer, image, 5)
    operands = problem.operands()
    for rung in rungs_of(ladder):
        results = []
        for threads in (1, 2, 3, 4):
            module().set_num_threads(threads)
            results.append(called(rung, isa, problem, operands))
        for result in results[1:]:
            np.testing.assert_array_equal(result, results[0], f"{ladder.name} {rung.number}")


@each_ladder
def test_the_last_rung_is_the_product(ladder: Ladder, isa: str) -> None:
    module().set_isa(isa)
    last = rungs_of(ladder)[-1]
    assert last.is_product
    assert last.source.name.endswith("_product.cpp")
    for problem in problems(ladder):
        operands = problem.operands()
        result = called(last, isa, problem, operands)
        expected = np.full(problem.result_shape, np.nan, np.float32)
        problem.operator(operands, expected)
        np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("isa", ISAS)
def test_a_sliding_sum_loses_what_a_large_value_covers(isa: str) -> None:
    ladder = LADDERS["lrn-forward"]
    problem = own_problem(ladder, LRN("lrn", 4, 1.0, 1.0, 0.75), (1, 1, 64), 1)
    x = np.full((1, 1, 1, 64), 0.9, np.float32)
    x[..., 8] = 3000
    expected, bound = problem.expected([x]), problem.tolerance()
    module().set_isa(isa)
    rungs = rungs_of(ladder)
    assert rungs[1].source.stem == "01_sliding_sum"
    errors = [relative_error(run(rung, isa, problem, [x]), expected) for rung in rungs]
    assert errors[1] > 100 * bound
    assert max(errors[:1] + errors[2:]) <= bound


def test_a_rung_that_does_not_serve_a_shape_writes_nothing() -> None:
    ladder = LADDERS["conv2d-forward"]
    problem = own_problem(ladder, Conv2d("conv", 8, 5), (9, 9, 8), 1)
    operands = problem.operands()
    some = [rung for rung in rungs_of(ladder) if rung.serves]
    assert [rung.serves for rung in some][:1] == ["windows of 3 x 3 at stride 1."]
    for rung in some:
        result = np.full(problem.result_shape, 7.0, np.float32)
        module().call(rung.function(ISAS[0]), problem.shape, [*operands, result])
        assert (result == 7).all(), rung.name


# --- their files ----------------------------------------------------------------------------------


def files() -> list[Path]:
    return sorted(FOLDER.glob("*/[0-9][0-9]_*.cpp"))


def test_every_file_is_a_rung_and_is_installed() -> None:
    built = [rung for ladder in LADDERS.values() for rung in rungs_of(ladder)]
    assert sorted(rung.name for rung in built) == [
        f.relative_to(FOLDER).as_posix() for f in files()
    ]
    for rung in built:
        assert rung.source.read_text() == (FOLDER / rung.name).read_text(), "build again"
    for ladder in LADDERS.values():
        numbers = [rung.number for rung in rungs_of(ladder)]
        assert numbers == list(range(len(numbers)))
        assert len(numbers) >= 5


@pytest.mark.parametrize("path", files(), ids=lambda path: path.relative_to(FOLDER).as_posix())
def test_headers_are_complete_and_files_are_short(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= LONGEST_FILE
    ladder = next(ladder for ladder in LADDERS.values() if ladder.folder == path.parent.name)
    rung = rung_in(ladder, int(path.name[:2]), path, {})
    assert rung.title.endswith((".", ":"))
    assert len(rung.idea) <= LONGEST_IDEA
    assert (rung.factor is None) == (rung.number == 0)
    included = re.findall(r"^#include (\S+)$", text, re.MULTILINE)
    assert set(included) <= {'"study.h"', '"winograd.h"', '"product.h"'}
    refuses = re.search(r"^    if \(.*\) return;$", text, re.MULTILINE) is not None
    assert refuses == bool(rung.serves), "what it serves is said, and only where it refuses some"


def test_a_header_without_a_paragraph_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.cpp"
    path.write_text("// A title.\n//\n// Change: all.\n// Why: to see.\n// Gained: nothing.\n")
    with pytest.raises(ValueError, match=r"own\.cpp: its first comment has no Predicted:"):
        rung_in(LADDERS["lrn-forward"], 9, path, {})


def test_what_the_reader_compiles_with_is_installed() -> None:
    included: set[str] = set()
    for path in [*sources().glob("*.h"), *sources().glob("*.cpp")]:
        included |= set(re.findall(r'^#include "(.*)"$', path.read_text(), re.MULTILINE))
    assert included
    assert {name for name in included if not (sources() / name).exists()} == set()


# --- problems -------------------------------------------------------------------------------------


def test_bytes_are_those_of_every_array_once() -> None:
    problem = own_problem(LADDERS["lrn-gradient"], NORMALISATIONS[0][1], (3, 5, 64), 2)
    assert problem.bytes == 3 * 4 * math.prod((2, 3, 5, 64))  # dy, x, dx: s need not be kept
    problem = own_problem(LADDERS["dense-forward"], Dense("dense", 10), (20,), 4)
    assert problem.bytes == 4 * (4 * 20 + 20 * 10 + 4 * 10)
    assert problem.flops == 2 * 4 * 20 * 10


@pytest.mark.parametrize(
    ("ladder", "image", "layer", "message"),
    [
        ("conv2d-forward", (8, 8, 4), Conv2d("conv", 4, 3, groups=2), "has 2 groups, expected 1"),
        ("conv2d-forward", (8, 8, 4), Conv2d("conv", 4, 3, stride=(1, 2)), "1 by 2, expected eq"),
        ("conv2d-forward", (8, 8, 4), Conv2d("conv", 4, 1, padding=1), "expected less padding"),
        ("max-pool2d-forward", (8, 8, 4), MaxPool2d("pool", 3, 2, "same"), "inside of the image"),
        ("max-pool2d-forward", (8, 8, 4), MaxPool2d("pool", (2, 3), 2), "2 by 3, expected equal"),
    ],
)
def test_layers_that_rungs_do_not_know_are_refused(
    ladder: str, image: tuple[int, ...], layer: Layer, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        own_problem(LADDERS[ladder], layer, image, 1)
