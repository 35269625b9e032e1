"""`alexnet study`: tables, figures, pictures, files, and rungs of the reader's own."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import alexnet
from alexnet.comparison.peaks import Peaks
from alexnet.network.layers import LRN, Dense
from alexnet.network.variants import variant_named
from alexnet.study import exercise, picture, results
from alexnet.study.ladders import LADDERS
from alexnet.study.measure import UNTOUCHED, Mistake, Result, Table, largest_mistake
from alexnet.study.problem import layer_problem, own_problem
from alexnet.study.rungs import rungs_of
from support.processes import status_of

SMALL = ("--quick", "--batch-size", "2", "--input", "4,4,16", "--threads", "1")
LRN_FORWARD = ("study", "lrn-forward", *SMALL)


@pytest.fixture(autouse=True)
def _quick_peaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alexnet.commands.study.PEAK_BYTES", 2**16)
    monkeypatch.setattr("alexnet.comparison.peaks.FMA_STEPS", 1000)


@pytest.fixture(autouse=True)
def _restore_isa() -> Any:
    before = alexnet.cpu_isa()
    yield
    alexnet.set_cpu_isa(before)


def made_up(seconds: list[float | None], errors: list[float | None] | None = None) -> Table:
    """A table of dense-forward, whose product's peak binds at 100 and memory at 40 GFLOP/s."""
    problem = own_problem(LADDERS["dense-forward"], Dense("fc", 4096), (4096,), 8)
    rungs = rungs_of(problem.ladder)[: len(seconds)]
    errors = errors or [1e-7] * len(seconds)
    return Table(
        problem,
        Peaks("avx2", 2, fma_gflops=100.0, copy_gbs=8.0, read_gbs=10.0),
        tuple(
            Result(rung, error, 1e-6, time, 8)
            for rung, error, time in zip(rungs, errors, seconds, strict=True)
        ),
    )


# --- tables ---------------------------------------------------------------------------------------


def test_rates_shares_and_factors() -> None:
    table = made_up([1.0, None, 0.25])
    first, wrong, last = table.results
    assert table.work == 2 * 8 * 4096 * 4096
    assert table.rate(last) == pytest.approx(table.work / 0.25 / 1e9)
    assert table.share(last) == pytest.approx(table.work / 0.25 / 1e9 / 100)
    assert (table.rate(wrong), table.share(wrong), table.factor(wrong)) == (None, None, None)
    assert table.factor(first) is None
    assert table.factor(last) == 4.0, "over the rung before that has a time"
    intensity = table.work / table.problem.bytes
    assert table.memory_rate == pytest.approx(10 * intensity)


def test_nan_is_never_right() -> None:
    table = made_up([None, 1.0, None], [float("nan"), 1e-7, None])
    assert [result.is_right for result in table.results] == [False, True, True]
    assert not table.is_right


def test_a_ladder_is_listed_without_a_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(["study"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1 : 1 + len(LADDERS)]] == list(LADDERS)


def test_a_table_says_all_that_is_needed_to_read_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = tmp_path / "figures.json", tmp_path / "bars.png"
    assert status_of([*LRN_FORWARD, "--radius", "3", "--json", files[0], "--plot", files[1]]) == 0
    output = capsys.readouterr().out
    isa = alexnet.cpu_isa()
    assert output.startswith(f"lrn-forward, own lrn1, {isa}, 1 thread\n")
    assert "radius 3, on 2 x 4 x 4 x 16: 0.0041 MB, every array once\n" in output
    assert re.search(r"^peaks of this run: FMA \d+ GFLOP/s, copy ", output, re.MULTILINE)
    assert re.search(r"^0  pow  .* -  +\d\.\de-0\d$", output, re.MULTILINE)
    assert "rung 5 does not serve this shape, but beta 0.75, radius 2, 4 or 5." in output
    table = output.partition("\nfiles:")[0]
    assert max(map(len, table.splitlines())) <= 80
    figures = json.loads(files[0].read_text())
    assert figures["environment"]["isa"] == isa
    (ladder,) = figures["ladders"]
    assert (ladder["ladder"], ladder["unit"]) == ("lrn-forward", "GB/s")
    assert ladder["shape"]["pixels"] == 32
    assert [rung["number"] for rung in ladder["rungs"]] == list(range(10))
    for rung in ladder["rungs"]:
        assert rung["right"]
        assert rung["file"].startswith("lrn_forward/")
        assert (rung["seconds"] is None) == (rung["number"] in (5, 6, 7, 8))
        assert rung["images_timed"] == 2
    assert files[1].read_bytes().startswith(b"\x89PNG")


def test_rungs_that_take_long_are_scaled_and_said_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from alexnet.commands import study
    from alexnet.study.measure import Pace

    monkeypatch.setattr(study, "QUICK", Pace(rounds=1, patience=1e-9))
    monkeypatch.setattr("alexnet.study.measure.PROPORTIONAL", 0.0)
    assert status_of([*LRN_FORWARD, "--rung", "0"]) == 0
    output = capsys.readouterr().out
    assert re.search(r"^0  pow +[\d.]+\*", output, re.MULTILINE)
    assert "* scaled to 2 images; timed on 1 (rung 0).\n" in output
    monkeypatch.setattr("alexnet.study.measure.PROPORTIONAL", float("inf"))
    assert status_of([*LRN_FORWARD, "--rung", "0"]) == 0
    assert "*" not in capsys.readouterr().out


def test_isa_shape_and_explanation(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["study", "conv2d-forward", "--quick", "--batch-size", "1", "--rung", "2"]
    sizes = ["--input", "7,5,3", "--features", "4", "--kernel", "2", "--stride", "2"]
    assert (
        status_of([*arguments, *sizes, "--padding", "valid", "--isa", "portable", "--explain"]) == 0
    )
    output = capsys.readouterr().out
    assert output.startswith("conv2d-forward, own conv3, portable, ")
    assert "2 x 2 to 4, stride 2, on 1 x 7 x 5 x 3: " in output
    assert "also where Winograd spares some\n" in output
    assert "\n2 02_register_tile.cpp: A tile of outputs stays in registers" in output
    assert "\n  Predicted: 4 times: 24 vectors" in output


def test_show_prints_the_file(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert status_of(["study", "lrn-forward", "--show", "1"]) == 0
    source = rungs_of(LADDERS["lrn-forward"])[1].source.read_text()
    assert capsys.readouterr().out == source
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes it for a terminal
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert status_of(["study", "lrn-forward", "--show", "1"]) == 0
    coloured = capsys.readouterr().out
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[[\d;]*m", "", coloured) == source


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lrn"], "argument LADDER: 'lrn', expected one of"),
        (["lrn-forward", "--rung", "77"], "argument --rung: 77, expected one of 0, 1, "),
        (["lrn-forward", "--show", "77"], "argument --show: 77, expected one of 0, 1, "),
        (["lrn-forward", "--layer", "conv1"], "layer 'conv1' of tf-tutorial has no lrn-forward"),
        (["lrn-forward", "--input", "4,4"], "input 4,4, expected 3 numbers"),
        (["lrn-forward", "--input", "4,x,4"], "--input: 'x', expected an integer"),
        (["lrn-forward", "--stride", "2"], "lrn-forward: its layers have no stride"),
        (["dense-forward", "--kernel", "2"], "dense-forward: its layers have no kernel_size"),
        (["conv2d-forward", "--variant", "krizhevsky-2012", "--layer", "conv2"], "has 2 groups"),
        (["lrn-forward", "--isa", "mmx"], "argument --isa: 'mmx', expected one of"),
        (["--rung", "3"], "--rung belongs to one LADDER"),
        (["--all", "--with", "own.cpp"], "--with belongs to one LADDER"),
        (["--all", "lrn-forward"], "--all is every ladder, not lrn-forward alone"),
        (["--quick"], "--quick and --plot belong to a run"),
        (["new"], "expected new NAME --ladder LADDER"),
        (["new", "own"], "expected new NAME --ladder LADDER"),
        (["lrn-forward", "own"], "expected new NAME --ladder LADDER"),
        (["lrn-forward", "--with", "/nonexistent.cpp"], "/nonexistent.cpp: No such file"),
        (["--compare", "/nonexistent.json"], "/nonexistent.json: No such file"),
    ],
)
def test_bad_use_is_one_line_and_status_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status_of(["study", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert ("(see alexnet study --help)" in error) == ("No such file" not in error)


def test_a_build_without_the_ladders_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "alexnet._study", None)
    with pytest.raises(NotImplementedError, match="are not in this build"):
        rungs_of(LADDERS["lrn-forward"])
    for arguments in (["study"], ["study", "lrn-forward"], ["study", "--all"]):
        assert status_of(arguments) == 2
        error = capsys.readouterr().err
        assert "install it without -C cmake.define.ALEXNET_STUDY=OFF" in error
        assert error.count("\n") == 1


# --- kept figures and pictures --------------------------------------------------------------------


def test_figures_of_machines_side_by_side(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = made_up([1.0, None, 0.25]), made_up([2.0, 0.5])
    machines = {"one.json": "Fast", "two.json": "Slow"}
    for table, (name, processor) in zip((one, two), machines.items(), strict=True):
        environment = {"processor": processor, "isa": "avx2", "threads": 2}
        (tmp_path / name).write_text(json.dumps(results.figures(environment, [table])))
    files = [tmp_path / name for name in machines]
    assert status_of(["study", "--compare", *files]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[:2] == [
        ["1:", "Fast,", "avx2,", "2", "threads"],
        ["2:", "Slow,", "avx2,", "2", "threads"],
    ]
    assert lines[3] == ["dense-forward,", "own/fc/forward/b8"]
    assert lines[5:] == [
        ["0", "dot", "1000.00", "0%", "2000.00", "0%"],
        ["1", "axpy", "-", "-", "500.00", "1%"],
        ["2", "eight", "rows", "250.00", "1%", "-", "-"],
    ]
    assert status_of(["study", "lrn-forward", "--compare", *files]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"version": 1, "ladders": [], "environment": 3}']
)
def test_other_files_are_no_figures(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "other.json"
    path.write_text(text)
    assert status_of(["study", "--compare", path]) == 2
    error = capsys.readouterr().err
    assert "other.json: no figures of alexnet study: " in error
    assert error.count("\n") == 1


def test_a_picture_has_the_rungs_and_the_roofline() -> None:
    table = made_up([1.0, None, 0.25])
    axes = picture.bars([table]).axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == [
        "0 dot",
        "1 axpy",
        "2 eight rows",
    ]
    assert [text.get_text() for text in axes.texts] == ["0.268", "no time", "1.07, 4×"]
    ends = [bar.get_x() + bar.get_width() for bar in axes.patches]
    assert ends[0] == pytest.approx(table.rate(table.results[0]))
    assert axes.patches[1].get_width() == 0
    lines = [line.get_xdata()[0] for line in axes.lines]  # type: ignore[index]
    assert lines == pytest.approx([100.0, table.memory_rate])
    assert "peak of multiply-adds 100; dashed: every array once from memory" in axes.get_title(
        "left"
    )


# --- rungs of the reader's own --------------------------------------------------------------------


@pytest.fixture
def own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A file that `alexnet study new` has written, and that it does not write again."""
    path = tmp_path / "my_lrn.cpp"
    arguments = ["study", "new", path.with_suffix(""), "--ladder", "lrn-forward"]
    assert status_of(arguments) == 0
    assert f"alexnet study lrn-forward --with {path}\n" in capsys.readouterr().out
    text = path.read_text()
    assert status_of(arguments) == 2
    assert "my_lrn.cpp: exists already" in capsys.readouterr().err
    assert path.read_text() == text
    return path


def test_the_command_for_a_new_rung_can_be_copied(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status_of(["study", "new", tmp_path / "a b", "--ladder", "lrn-forward"]) == 0
    _, command = capsys.readouterr().out.splitlines()
    assert shlex.split(command)[-2:] == ["--with", str(tmp_path / "a b.cpp")]


@pytest.mark.parametrize("name", [name for name in LADDERS if name != "lrn-forward"])
def test_a_rung_of_another_ladder_is_refused_before_it_runs(
    name: str, own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exercise, "_compile", pytest.fail)
    ladder = LADDERS[name]
    problem = layer_problem(ladder, variant_named(ladder.variant), ladder.layer, 1)
    expected = rf"its function is RUNG\(const Lrn& s, .*, expected one of {name}: RUNG\(const "
    with pytest.raises(ValueError, match=expected):
        exercise.prepared(own, problem, 10, isa=alexnet.cpu_isa(), threads=1, folder=tmp_path)


@pytest.mark.parametrize(
    "parameters",
    ["Lrn const& shape, float const* __restrict in,\n  /* a, b */ float* out", "const auto"],
)
def test_other_ways_to_write_a_function_are_left_to_the_compiler(
    parameters: str, own: Path
) -> None:
    path = variant(own, "own", r"RUNG\([^)]*\)", f"RUNG({parameters})")
    exercise._check_function(path, LADDERS["lrn-forward"])


def variant(own: Path, name: str, pattern: str, replacement: str) -> Path:
    text, count = re.subn(pattern, replacement, own.read_text())
    assert count == 1
    path = own.with_name(f"{name}.cpp")
    path.write_text(text)
    return path


def test_own_rungs_are_checked_and_ranked(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = variant(own, "wrong", r"-s\.beta", "s.beta")
    nan = variant(own, "nan", r"row\[c\] \* __builtin_powf\(sum, -s\.beta\)", '__builtin_nanf("")')
    nan.write_text(nan.read_text().replace("// Change", "// Serves: nothing.\n// Change"))
    arguments = [*LRN_FORWARD, "--rung", "9", "--with", own]
    assert status_of(arguments) == 0
    output = capsys.readouterr().out
    assert f"rung 10, {own}: compiled\n  ran in a process of its own first: no crash" in output
    assert re.search(r"^10  my lrn +\d+\.\d\d  .*  2\.00  \d\.\de-0[78]$", output, re.MULTILINE)
    assert status_of([*arguments, "--with", wrong, "--with", nan]) == 1
    output = capsys.readouterr().out
    assert re.search(r"^11  wrong +-  .*  \d\.\de-?\+?\d\d!$", output, re.MULTILINE)
    assert re.search(r"^12  nan +-  .*  nan!$", output, re.MULTILINE)
    number = r"-?[\d.]+(e[-+]\d+)?"
    for line in (
        rf"! rung 11 is wrong, and has no time\. Farthest off: element \([\d, ]+\) is {number},",
        r"! rung 12 is wrong, and has no time\. Farthest off: element \(0, 0, 0, 0\) is nan,",
    ):
        assert re.search(line, " ".join(output.split()))


@pytest.mark.parametrize(
    ("pattern", "replacement", "message"),
    [
        (r"float sum", "floet sum", r"own\.cpp does not compile: .*floet"),
        (r"float squares = 0;", "float squares = other(0);", r"own\.cpp does not compile: .*other"),
        (r"RUNG\(", "static void function(", r"own\.cpp: it has no RUNG"),
        (
            r"float squares = 0;",
            "__builtin_trap(); float squares = 0;",
            r"first run was ended by SIG(ILL|TRAP)",
        ),
        (
            r"float squares = 0;",
            "*(volatile float*)64 = 0; float squares = 0;",
            r"ended by SIGSEGV: an index or a pointer that leads out of all arrays",
        ),
        (
            r"float squares = 0;",
            "y[-1] = 0; float squares = 0;",
            "writes outside of its result, before the first element",
        ),
        (
            r"float squares = 0;",
            "y[s.pixels * s.channels] = 0; float squares = 0;",
            "writes outside of its result, behind the last element",
        ),
        (
            r"float squares = 0;",
            "const_cast<float*>(x)[0] = 9; float squares = 0;",
            "writes outside of its result, to an array that it is to read",
        ),
        (r"// Predicted", "// Hoped", r"own\.cpp: its first comment has no Predicted:"),
    ],
)
def test_own_rungs_that_come_to_no_end_are_one_line(
    own: Path, pattern: str, replacement: str, message: str, tmp_path: Path
) -> None:
    path = variant(own, "own", pattern, replacement)
    problem = own_problem(LADDERS["lrn-forward"], LRN("lrn", 2, 1.0, 1.0, 0.75), (1, 2, 16), 2)
    if "other" in replacement:
        path.write_text(path.read_text().replace("RUNG(", "float other(int);\nRUNG("))
    with pytest.raises(ValueError, match=message) as error:
        exercise.prepared(path, problem, 10, isa=alexnet.cpu_isa(), threads=1, folder=tmp_path)
    assert "\n" not in str(error.value)


def test_the_largest_mistake_is_found() -> None:
    expected = np.arange(6.0).reshape(2, 3)
    result = expected.astype(np.float32)
    result[0, 1], result[1, 1] = 1.5, 7
    assert largest_mistake(result, expected) == Mistake((1, 1), 7.0, 4.0)
    result[1, 2] = np.nan
    mistake = largest_mistake(result, expected)
    assert mistake.place == (1, 2)
    assert np.isnan(mistake.value)
    result.view(np.uint32)[0, 2] = UNTOUCHED
    result[1, 2] = 5
    assert largest_mistake(result, expected) == Mistake((0, 2), None, 2.0)


def test_an_endless_rung_is_ended(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exercise, "STARTING", 2.0)
    monkeypatch.setattr(exercise, "PATIENCE", 0.5)
    path = variant(own, "own", r"float squares = 0;", 'for (;;) asm(""); float squares = 0;')
    problem = own_problem(LADDERS["lrn-forward"], LRN("lrn", 2, 1.0, 1.0, 0.75), (1, 2, 16), 2)
    waits: list[str] = []
    with pytest.raises(
        ValueError, match=r"own\.cpp: its first run took more than 2 s: is there a loop without end"
    ):
        exercise.prepared(
            path,
            problem,
            10,
            isa=alexnet.cpu_isa(),
            threads=1,
            folder=tmp_path,
            on_wait=waits.append,
        )
    assert waits == [f"{path}: still in its first run, which ends after 2 s, or by Ctrl-C"]


@pytest.mark.parametrize("name", LADDERS)
def test_a_first_run_may_take_longer_the_more_it_has_to_do(name: str) -> None:
    """A minute for the usual layer, not two, and as much more as there is more work."""
    ladder = LADDERS[name]
    usual = layer_problem(ladder, variant_named(ladder.variant), ladder.layer, 8)
    seconds = exercise.time_to_run(usual)
    assert 15 < seconds < 65
    more = exercise.time_to_run(usual.with_batch_size(80))
    assert more > seconds
    if ladder.kind is not Dense:  # whose weights are most of their bytes
        assert more - 15 > 8 * (seconds - 15)


def test_a_command_says_what_it_waits_for(
    own: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exercise, "STARTING", 2.0)
    monkeypatch.setattr(exercise, "PATIENCE", 0.5)
    endless = variant(own, "endless", r"float squares = 0;", 'for (;;) asm(""); float squares = 0;')
    arguments = ["study", "lrn-forward", "--input", "1,2,16", "--batch-size", "1", "--quick"]
    assert status_of([*arguments, "--with", endless]) == 2
    waiting, error = capsys.readouterr().err.splitlines()
    assert waiting.endswith("still in its first run, which ends after 2 s, or by Ctrl-C")
    assert "its first run took more than 2 s" in error


def test_the_compilers_own_words_and_no_compiler(
    own: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = variant(own, "own", r"float sum", "floet sum")
    assert status_of([*LRN_FORWARD, "--with", path]) == 2
    output = capsys.readouterr()
    assert "const floet sum" in output.out
    assert output.err.count("\n") == 1
    monkeypatch.setenv("CXX", "/nonexistent/g++")
    assert status_of([*LRN_FORWARD, "--with", own]) == 2
    error = capsys.readouterr().err
    assert "no compiler: /nonexistent/g++: No such file or directory; install g++" in error
    assert error.count("\n") == 1
