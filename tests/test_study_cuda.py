"""The CUDA ladders: every rung is right, says what it serves, and does what its header says."""

from __future__ import annotations

import dataclasses
import json
import re
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alexnet.network.layer import Layer
from alexnet.network.layers import LRN, Conv2d, Dense, MaxPool2d
from alexnet.network.variants import variant_named
from alexnet.study import counts, device
from alexnet.study.counts import CountedLadder, CountedRung, Counts
from alexnet.study.ladders import CUDA_LADDERS, Ladder
from alexnet.study.problem import AnyArray, Problem, layer_problem, own_problem
from alexnet.study.rungs import Rung, device_module, rung_in, rungs_of, sources
from support.arrays import relative_error
from support.processes import status_of

LONGEST_FILE = 120  # lines
LONGEST_IDEA = 24  # characters
FOLDER = Path(__file__).parents[1] / "cpp" / "study"

# Around the tiles of 32 and 128, the depths of 8 and 16, and multiples of 4 or none; windows that
# reach beyond the image, strides larger than windows, and images smaller than a tile.
CONVOLUTIONS = [
    ((6, 7, 5), Conv2d("conv", 9, 3)),
    ((13, 11, 4), Conv2d("conv", 36, 5, stride=2)),
    ((12, 12, 8), Conv2d("conv", 132, 3, padding="valid")),
    ((5, 4, 132), Conv2d("conv", 4, 1)),
    ((1, 1, 4), Conv2d("conv", 4, 3)),
    ((8, 9, 12), Conv2d("conv", 8, 2, stride=3, padding="valid")),
    ((16, 16, 128), Conv2d("conv", 4, 2, padding="valid")),  # 128 KiB, which Hopper's rungs want
]
NORMALISATIONS = [
    ((3, 5, 64), LRN("lrn", 4, 1.0, 0.001 / 9, 0.75)),
    ((2, 3, 17), LRN("lrn", 2, 2.0, 0.5, 0.75)),
    ((3, 1, 132), LRN("lrn", 3, 1.0, 1.0, 0.75)),
    ((1, 1, 1), LRN("lrn", 5, 1.0, 1.0, 0.75)),
    ((2, 2, 4), LRN("lrn", 4, 1.0, 1.0, 0.5)),
    ((1, 1, 2500), LRN("lrn", 5, 0.5, 0.1, 0.75)),
]
POOLINGS = [
    ((9, 11, 5), MaxPool2d("pool")),
    ((13, 13, 36), MaxPool2d("pool")),
    ((8, 8, 16), MaxPool2d("pool", 2, 2)),
    ((7, 7, 8), MaxPool2d("pool", 3, 1)),
    ((8, 8, 4), MaxPool2d("pool", 2, 3)),
]
DENSE = [
    ((size,), Dense("dense", features))
    for size, features in ((1, 1), (17, 33), (100, 64), (132, 516), (256, 12))
]
SHAPES: dict[type[Layer], list[tuple[tuple[int, ...], Any]]] = {
    Conv2d: CONVOLUTIONS,
    LRN: NORMALISATIONS,
    MaxPool2d: POOLINGS,
    Dense: DENSE,
}
BATCHES = (1, 3)  # of the shapes in turn, as a convolution takes the emulation seconds
DENSE_BATCHES = (1, 11)  # a rung takes 8 images together

each_ladder = pytest.mark.parametrize(
    "ladder", CUDA_LADDERS.values(), ids=lambda ladder: ladder.name
)


def on_device() -> Any:
    from support import cuda_device

    return cuda_device


def usual_problem(ladder: Ladder) -> Problem:
    return layer_problem(ladder, variant_named(ladder.variant), ladder.layer, 8)


def emulated() -> bool:
    from cuda_emulation import load

    return load.loaded


of_hopper = pytest.mark.parametrize(
    "ladder", [CUDA_LADDERS[name] for name in ("conv2d-forward", "conv2d-first-layer")]
)


def problem_of_hopper(ladder: Ladder) -> Problem:
    """A problem that all rungs of a ladder with some for Hopper serve."""
    if ladder.name == "conv2d-first-layer":
        return own_problem(ladder, Conv2d("conv", 68, 7, stride=4), (21, 24, 3), 1)
    return own_problem(ladder, Conv2d("conv", 8, 2), (16, 16, 128), 1)


def is_for_the_device(rung: Rung) -> bool:
    """Whether a rung runs here at all; the emulation stands for the device that it names."""
    if rung.capability is None or emulated():
        return True
    here: str = on_device().cupy.cuda.Device().compute_capability
    return here == rung.capability.replace(".", "")


@pytest.fixture
def _right_device(ladder: Ladder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The device that a ladder's rungs are for, where it is emulated."""
    from cuda_emulation import study

    monkeypatch.setenv("ALEXNET_EMULATED_CAPABILITY", study.capability_of(ladder))


def problems(ladder: Ladder) -> list[Problem]:
    batches = DENSE_BATCHES if ladder.kind is Dense else BATCHES
    return [
        own_problem(ladder, layer, image, batch)
        for (image, layer), batch in zip(SHAPES[ladder.kind], cycle(batches), strict=False)
    ]


def called(rung: Rung, problem: Problem, operands: list[Any]) -> AnyArray:
    """Its result, with guards around it."""
    guarded = on_device().GuardedOnDevice(problem.result_shape)
    device.call(rung, problem, [*operands, guarded.array])
    result: AnyArray = guarded.get()
    return result


# --- every rung -----------------------------------------------------------------------------------


@pytest.mark.cuda
@pytest.mark.usefixtures("_right_device")
@each_ladder
def test_rungs_are_right_or_say_what_they_serve(ladder: Ladder) -> None:
    put = on_device().on_device
    rungs = rungs_of(ladder)
    served = set()
    for problem in problems(ladder):
        operands = problem.operands()
        expected = problem.expected(operands)
        arrays = [put(operand) for operand in operands]
        nans = [put(np.full_like(operand, np.nan)) for operand in operands]
        for rung in rungs:
            where = f"rung {rung.number} of {ladder.full_name}, {problem.sizes}"
            if problem.case.batch_size == 1:  # leaves NaN in the working memory
                called(rung, problem, nans)
            result = called(rung, problem, arrays)
            if rung.serves and np.isnan(result).all():
                continue
            served.add(rung.number)
            assert relative_error(result, expected) <= problem.tolerance(rung.precision), where
            for operand, array in zip(operands, arrays, strict=True):
                np.testing.assert_array_equal(array.get(), operand, where)
    assert served == {rung.number for rung in rungs if is_for_the_device(rung)}


@pytest.mark.cuda
@pytest.mark.usefixtures("_right_device")
@each_ladder
def test_bits_do_not_depend_on_the_order_of_threads(ladder: Ladder) -> None:
    """Which is another one in every run of the emulation."""
    image, layer = SHAPES[ladder.kind][{LRN: 0, Conv2d: 3}.get(ladder.kind, 2)]
    problem = own_problem(ladder, layer, image, 1)
    arrays = [on_device().on_device(operand) for operand in problem.operands()]
    for rung in rungs_of(ladder):
        first, second = (called(rung, problem, arrays) for _ in range(2))
        np.testing.assert_array_equal(first, second, f"{ladder.full_name} {rung.number}")


@pytest.mark.cuda
@pytest.mark.usefixtures("_right_device")
@of_hopper
def test_tf32_rounds_its_operands(ladder: Ladder) -> None:
    """Its bound is far above the errors of float32, which one that rounds nothing would have.

    One that rounds a single operand has 0.7 times as much as one that rounds both, one that cuts
    off a single one 1.6 times as much.
    """
    problem = problem_of_hopper(ladder)
    operands = problem.operands()
    expected = problem.expected(operands)
    arrays = [on_device().on_device(operand) for operand in operands]
    rounded = [rung for rung in rungs_of(ladder) if rung.precision == "tf32"]
    assert len(rounded) == {"conv2d-forward": 6, "conv2d-first-layer": 3}[ladder.name]
    for rung in filter(is_for_the_device, rounded):
        error = relative_error(called(rung, problem, arrays), expected)
        assert 2.4e-4 < error < 3.6e-4, f"rung {rung.number}"


@pytest.mark.cuda
@of_hopper
@pytest.mark.parametrize("capability", ["8.0", "10.0"])
def test_rungs_for_a_device_leave_others_alone(
    ladder: Ladder, capability: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As does one that this build has not, because it is for other devices."""
    monkeypatch.setenv("ALEXNET_EMULATED_CAPABILITY", capability)
    problem = problem_of_hopper(ladder)
    arrays = [on_device().on_device(operand) for operand in problem.operands()]
    rungs = [rung for rung in rungs_of(ladder) if rung.capability == "9.0"]
    ideas = {"conv2d-forward": ["wgmma", "copy engine", "clusters"]}
    assert [rung.idea for rung in rungs] == ideas.get(ladder.name, ["image lines"])
    for rung in rungs:
        if not is_for_the_device(rung) or emulated():
            assert np.isnan(called(rung, problem, arrays)).all()
        missing = dataclasses.replace(rung, functions={})
        assert np.isnan(called(missing, problem, arrays)).all()


@pytest.mark.cuda
@of_hopper
def test_hoppers_rungs_are_right_where_fences_order_one_thread_alone(
    ladder: Ladder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALEXNET_EMULATED_CAPABILITY", "9.0")
    monkeypatch.setenv("ALEXNET_EMULATED_STRICT", "1")
    problem = problem_of_hopper(ladder)
    operands = problem.operands()
    arrays = [on_device().on_device(operand) for operand in operands]
    for rung in rungs_of(ladder):
        if rung.capability is not None and is_for_the_device(rung):
            error = relative_error(called(rung, problem, arrays), problem.expected(operands))
            assert error <= problem.tolerance("tf32"), f"rung {rung.number}"


@pytest.mark.cuda
@pytest.mark.usefixtures("_right_device")
@of_hopper
def test_nan_gets_into_its_own_windows_alone(ladder: Ladder) -> None:
    """Filled up depths and rows multiply zeros, not what lies there."""
    problem = problem_of_hopper(ladder)
    x, weight = problem.operands()
    x[0, 5, 7, 1] = np.nan
    is_nan = np.isnan(problem.expected([x, weight]))
    assert 0 < is_nan.sum() < is_nan.size / 4
    arrays = [on_device().on_device(operand) for operand in (x, weight)]
    for rung in filter(is_for_the_device, rungs_of(ladder)):
        result = np.isnan(called(rung, problem, arrays))
        np.testing.assert_array_equal(result, is_nan, f"rung {rung.number}")


@pytest.mark.cuda
@each_ladder
def test_the_last_rung_is_the_product(ladder: Ladder) -> None:
    image, layer = SHAPES[ladder.kind][1]
    problem = own_problem(ladder, layer, image, 2)
    arrays = [on_device().on_device(operand) for operand in problem.operands()]
    rungs = rungs_of(ladder)  # behind the device, with which their functions come
    assert rungs[-1].is_product
    for rung in filter(lambda rung: rung.is_product, rungs):
        expected = on_device().GuardedOnDevice(problem.result_shape)
        problem.operator(arrays, expected.array, rung.precision)
        np.testing.assert_array_equal(called(rung, problem, arrays), expected.get())


@pytest.mark.cuda
def test_arrays_that_are_not_aligned_are_refused() -> None:
    ladder = CUDA_LADDERS["lrn-forward"]
    problem = own_problem(ladder, *reversed(NORMALISATIONS[0]), 1)  # type: ignore[arg-type]
    x = on_device().on_device(problem.operands()[0], offset=1)
    y = on_device().on_device(problem.operands()[0])
    with pytest.raises(ValueError, match="arrays: expected memory aligned to 16 bytes"):
        device.call(rungs_of(ladder)[0], problem, [x, y])


# --- their files ----------------------------------------------------------------------------------


def files() -> list[Path]:
    return sorted(FOLDER.glob("*_cuda/[0-9][0-9]_*.cu"))


@pytest.mark.cuda
def test_every_file_is_a_rung_and_is_installed() -> None:
    on_device()
    study = device_module()
    assert study is not None
    built = {(folder, number) for folder, number, *_ in study.rungs()}
    missing = {(file.parent.name, int(file.name[:2])) for file in files()} - built
    for_a_device = {
        (ladder.folder, rung.number)
        for ladder in CUDA_LADDERS.values()
        for rung in rungs_of(ladder)
        if rung.capability is not None
    }
    assert missing in (set(), for_a_device), "which are not in builds for other devices"
    for ladder in CUDA_LADDERS.values():
        rungs = rungs_of(ladder)
        assert [rung.number for rung in rungs] == list(range(len(rungs)))
        for rung in rungs:
            assert rung.source.read_text() == (FOLDER / rung.name).read_text(), "build again"


@pytest.mark.parametrize("path", files(), ids=lambda path: path.relative_to(FOLDER).as_posix())
def test_headers_are_complete_and_files_are_short(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= LONGEST_FILE
    ladder = next(each for each in CUDA_LADDERS.values() if each.folder == path.parent.name)
    rung = rung_in(ladder, int(path.name[:2]), path, {})
    assert rung.title.endswith(".")
    assert len(rung.idea) <= LONGEST_IDEA
    assert (rung.quantity is None) == (rung.number == 0)
    assert rung.precision in ("float32", "tf32")
    rounds = re.search(r"mma_tf32[(<]|kTf32", text) is not None
    assert rounds == (rung.precision == "tf32")
    assert ('"hopper.cuh"' in text) == (rung.capability == "9.0")
    included = re.findall(r"^#include (\S+)$", text, re.MULTILINE)
    assert set(included) <= {'"study.cuh"', '"turned.cuh"', '"product.cuh"', '"hopper.cuh"'}
    refuses = re.search(r"^    if \(.*\) return;$", text.partition("RUNG")[2], re.MULTILINE)
    assert (refuses is not None) == bool(rung.serves), "what it serves is said"


@pytest.mark.parametrize("name", ["study.cuh", "hopper.cuh", "turned.cuh"])
def test_headers_of_rungs_are_installed(name: str) -> None:
    assert (sources() / "cuda" / name).read_text() == (FOLDER / "cuda" / name).read_text()


# --- counts ---------------------------------------------------------------------------------------


def test_a_ladder_without_counts_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counts, "kept", dict)
    assert status_of(["study", "lrn-forward", "--device", "cuda"]) == 2
    assert "no counts of lrn-forward-cuda are kept" in capsys.readouterr().err


@each_ladder
def test_kept_counts_are_of_these_rungs_and_of_right_results(ladder: Ladder) -> None:
    kept, rungs = counts.kept()[ladder.full_name], rungs_of(ladder)
    assert [(rung.number, rung.idea) for rung in kept.rungs] == [
        (rung.number, rung.idea) for rung in rungs
    ]
    for counted, rung in zip(kept.rungs, rungs, strict=True):
        assert counted.is_right, "python -m cuda_emulation.study counts again"
        assert (counted.bound > 1e-4) == (rung.precision == "tf32")
        assert counted.counts.sectors >= counted.counts.least_sectors > 0
        assert counted.counts.wavefronts >= counted.counts.least_wavefronts


@each_ladder
def test_headers_say_what_was_counted(ladder: Ladder) -> None:
    from cuda_emulation import study

    kept = counts.kept()[ladder.full_name]
    for rung in rungs_of(ladder)[1:]:
        factor = kept.counted_factor(rung)
        assert factor is not None
        assert rung.quantity is not None
        said = study.gained(factor, rung.quantity)
        assert rung.gained.startswith(f"{said}, counted in the emulation."), rung.name
        assert "No GPU has timed it." in rung.gained


def test_counted_factors_in_words() -> None:
    from cuda_emulation import study

    for factor, words in (
        (3.254, "3.25 times fewer sectors"),
        (12.6, "13 times fewer sectors"),
        (1.001, "as many sectors"),
        (0.5, "2.00 times more sectors"),
    ):
        assert study.gained(factor, ("fewer", "sectors")) == words
    assert study.gained(4.0, ("more", "blocks")) == "4.00 times more blocks"


FEW_COUNTS = [name for name, each in CUDA_LADDERS.items() if each.kind in (LRN, MaxPool2d)]


@pytest.mark.cuda
@pytest.mark.parametrize("name", FEW_COUNTS)
def test_counting_again_gives_the_kept_counts(name: str) -> None:
    from cuda_emulation import load, study

    with study.process_with(load.build(load.COUNTING, "-DALEXNET_COUNT=ON")) as process:
        again = process.submit(study.counts_of, name).result()
    kept = counts.kept()[CUDA_LADDERS[name].full_name]
    assert again == [of.counts for of in kept.rungs], f"python -m cuda_emulation.study {name}"


def test_totals_are_scaled_from_blocks_that_were_run() -> None:
    from cuda_emulation import study

    access = {"space": "global", "writes": False, "copies": False, "requests": 2, "bytes": 256}
    access["width"] = 4
    shared = {**access, "space": "shared", "writes": True, "copies": True, "units": 8, "least": 4}
    launch = {
        "grid": (3, 2, 1),
        "blocks_run": 2,
        "accesses": [{**access, "units": 10, "least": 8}, shared],
        "read_sectors": 6,
        "written_sectors": 1,
        "shuffles": 64,
        "warp_products": 1,
        "warpgroup_fma": 0,
        "multiply_adds": 320,
        "barriers": 4,
    }
    empty = {**launch, "grid": (9, 1, 1), "accesses": [], "warp_products": 0, "multiply_adds": 0}
    total = study.totals([launch, {**empty, "blocks_run": 9}])
    assert (total.sectors, total.least_sectors, total.scattering) == (30, 24, 1.25)
    assert (total.wavefronts, total.least_wavefronts, total.conflicts) == (24, 12, 1.0)
    assert (total.loads, total.copies, total.stores, total.shared_stores) == (6, 6, 0, 0)
    assert (total.requests, total.arithmetic) == (12, 33)
    assert (total.block_sectors, total.barriers, total.blocks) == (3 * 7 + 7, 3 * 4 + 4, 6)
    read = {**shared, "writes": False, "copies": False, "width": 128, "requests": 5}
    work = {"warpgroup_fma": 5 * 64 * 128 * 8, "warp_products": 0, "multiply_adds": 0}
    of_warpgroups = {**launch, **work, "grid": (10, 1, 1), "accesses": [read]}
    total = study.totals([launch, of_warpgroups])
    assert (total.products, total.wavefronts, total.blocks) == (3 + 5 * 4 * 5, 24 + 5 * 8, 10)
    assert (total.shared_loads, total.copies) == (0, 6), "it is no access of a warp's"


def made_up(*sectors: int, error: float = 1e-7) -> CountedLadder:
    zeros = dict.fromkeys(Counts.__dataclass_fields__, 0)
    rungs = (
        CountedRung(number, "idea", error, 1e-6, Counts(**{**zeros, "sectors": n, "blocks": n}))
        for number, n in enumerate(sectors)
    )
    return CountedLadder("case", {}, 1, tuple(rungs))


def made_up_of(ladder: Ladder) -> CountedLadder:
    """Counts of the ladder's usual problem."""
    problem = usual_problem(ladder)
    one = made_up(*range(100, 100 - len(rungs_of(ladder)), -1))
    rungs = zip(one.rungs, rungs_of(ladder), strict=True)
    named = tuple(dataclasses.replace(counted, idea=rung.idea) for counted, rung in rungs)
    return dataclasses.replace(one, case=problem.case.name, sizes=problem.sizes, rungs=named)


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {each.full_name: made_up_of(each) for each in CUDA_LADDERS.values()}
    monkeypatch.setattr(counts, "kept", lambda: values)


def test_factors_of_counts() -> None:
    ladder = CUDA_LADDERS["conv2d-weight-gradient"]
    rungs = {rung.idea: rung for rung in rungs_of(ladder)}
    assert made_up(12, 4).counted_factor(rungs["coalesced"]) == 3.0
    assert made_up(12, 4).counted_factor(rungs["naive"]) is None
    assert made_up(12).counted_factor(rungs["coalesced"]) is None
    assert made_up(12, 0).counted_factor(rungs["coalesced"]) is None
    splits = rungs["splits"]
    assert splits.quantity == ("more", "blocks")
    assert made_up(*[1] * splits.number, 4).counted_factor(splits) == 4.0


def test_nan_is_never_right() -> None:
    assert made_up(1).rungs[0].is_right
    assert not made_up(1, error=float("nan")).rungs[0].is_right
    assert not made_up(1, error=2e-6).rungs[0].is_right


# --- the command ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("kept")
def test_without_a_device_the_command_shows_counts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = tmp_path / "counts.json"
    arguments = ["study", "conv2d-forward", "--device", "cuda", "--json", written]
    assert status_of(arguments) == 0
    output = capsys.readouterr().out
    assert output.startswith("no times (-), but counts of an emulation: ")
    assert "\nconv2d-forward-cuda, tf-tutorial conv3\n" in output
    rungs = rungs_of(CUDA_LADDERS["conv2d-forward"])
    for rung in rungs:
        assert len(re.findall(rf"^ *{rung.number}  {rung.idea} +- ", output, re.MULTILINE)) == 1
    assert "\nrungs 10, 11, 12: for devices of compute capability 9.0 alone; one was" in output
    table = output.partition("\nfiles:")[0]
    assert max(map(len, table.splitlines()[1:])) <= 80
    (ladder,) = json.loads(written.read_text())["ladders"]
    assert (ladder["ladder"], ladder["shape"]["batch"]) == ("conv2d-forward-cuda", 8)
    assert [rung["number"] for rung in ladder["rungs"]] == [rung.number for rung in rungs]
    for number, rung in enumerate(ladder["rungs"]):
        assert rung["right"]
        assert (rung["seconds"], rung["counts"]["sectors"]) == (None, 100 - number)
    assert status_of([*arguments[:4], "--rung", "3", "--explain"]) == 0
    output = capsys.readouterr().out
    assert "\n3 03_register_tile.cu: " in output
    assert "shared tile" not in output.partition("files:")[0]


@pytest.mark.usefixtures("kept")
def test_counts_are_put_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written = tmp_path / "counts.json"
    assert status_of(["study", "lrn-forward", "--device", "cuda", "--json", written]) == 0
    capsys.readouterr()
    assert status_of(["study", "lrn-forward", "--compare", written, written]) == 0
    output = capsys.readouterr().out
    assert output.startswith("1: no device, counts of the emulation\n2: no device, ")
    lines = [line.split() for line in output.splitlines()]
    assert lines[4][0] == "rung"
    assert lines[4][1:] == ["1:", "ms", "peak", "MB", "waves", "2:", "ms", "peak", "MB", "waves"]
    assert lines[5] == ["0", "naive", *["-", "-", "0.0", "0.0"] * 2]
    assert len(lines) == 5 + len(rungs_of(CUDA_LADDERS["lrn-forward"]))


def test_ladders_of_cuda_are_listed_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    for only in ([], ["--device", "cuda"]):
        assert status_of(["study", *only]) == 0
        lines = capsys.readouterr().out.splitlines()
        begin = lines.index("for CUDA, with --device cuda:") + 2
        assert (begin == 2) == bool(only), "those of the CPU before it"
        listed = [line.split()[0] for line in lines[begin : begin + len(CUDA_LADDERS)]]
        assert listed == list(CUDA_LADDERS)
    assert status_of(["study", "lrn-forward", "--device", "cuda", "--show", "1"]) == 0
    assert capsys.readouterr().out == (FOLDER / "lrn_forward_cuda" / "01_coalesced.cu").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lrn-forward", "--batch-size", "2"], "without a device there are counts of tf-tutorial/"),
        (["lrn-forward", "--radius", "2"], "without a device there are counts of tf-tutorial/"),
        (["lrn-forward", "--plot", "bars.png"], "--plot draws times, but "),
        (["lrn-forward", "--rung", "77"], "argument --rung: 77, expected one of 0, 1, "),
        (["lrn-forward", "--with", "own.cpp"], "are for the CPU, but --device is cuda"),
        (["lrn-forward", "--isa", "portable"], "but --device is cuda"),
        (["lrn-forward", "--threads", "1"], "--threads is of the CPU, but --device is cuda"),
        (["dense-weight-gradient"], "dense-weight-gradient has no ladder for CUDA; expected one"),
    ],
)
@pytest.mark.usefixtures("kept")
def test_bad_use_is_one_line_and_status_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status_of(["study", *arguments, "--device", "cuda"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("option", [[], ["--show", "1"], ["--quick", "--rung", "0"]], ids=str)
def test_a_ladder_for_cuda_alone_is_no_ladder_of_the_cpu(
    option: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert status_of(["study", "conv2d-first-layer", *option]) == 2
    error = capsys.readouterr().err
    assert "error: conv2d-first-layer is for CUDA alone, with --device cuda (see alexnet" in error
    assert status_of(["study", "conv2d-first-layer", "--device", "cuda", "--show", "2"]) == 0
    assert capsys.readouterr().out.startswith("// Image lines in a ring")


@pytest.mark.cuda
def test_on_a_device_the_command_times(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    on_device()
    for name, small in (("FLUSH_BYTES", 2**12), ("PEAK_BLOCKS", 1), ("PEAK_STEPS", 2)):
        monkeypatch.setattr(device, name, small)
    written, drawn = tmp_path / "figures.json", tmp_path / "bars.png"
    arguments = ["study", "conv2d-forward", "--device", "auto", "--quick", "--batch-size", "1"]
    sizes = ["--input", "4,4,8", "--features", "5", "--json", written, "--plot", drawn]
    assert status_of([*arguments, *sizes]) == 0
    output = capsys.readouterr().out
    assert output.startswith("conv2d-forward-cuda, own conv3, ")
    assert re.search(r"^peaks of this run: FMA \d+ GFLOP/s, tf32 \d+ GFLOP/s", output, re.MULTILINE)
    assert "rung 4 does not serve this shape, but channels in multiples of 4, in and" in output
    assert "counts of the emulation" not in output, "which are of another shape"
    assert max(map(len, output.partition("\nfiles:")[0].splitlines())) <= 80
    (ladder,) = json.loads(written.read_text())["ladders"]
    assert ladder["ladder"] == "conv2d-forward-cuda"
    for rung in ladder["rungs"]:
        assert rung["right"]
        assert (rung["seconds"] is None) == bool(rung["serves"])
    assert drawn.read_bytes().startswith(b"\x89PNG")


@pytest.mark.cuda
def test_a_wrong_rung_has_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    on_device()
    monkeypatch.setattr(device, "FLUSH_BYTES", 2**12)
    ladder = CUDA_LADDERS["lrn-forward"]
    problem = own_problem(ladder, LRN("lrn", 2, 1.0, 1.0, 0.75), (1, 2, 16), 2)
    rungs = rungs_of(ladder)[:2]
    right = device.call

    def wrong(rung: Rung, problem: Problem, arrays: list[Any]) -> None:
        right(rung, problem, arrays)
        if rung.number == 1:
            arrays[-1][...] = np.nan

    monkeypatch.setattr(device, "call", wrong)
    peaks = device.DevicePeaks("made up", 1, 100.0, 10.0, 10.0, 200.0)
    table = device.run_ladder(problem, rungs, peaks, pace=device.Pace(rounds=1, patience=1.0))
    assert not table.is_right
    first, second = table.results
    assert first.seconds is not None
    assert second.seconds is None
    assert table.share(first) == pytest.approx(table.work / first.seconds / 1e9 / 10.0)
