"""benchmarks/gpu_check, run through in the emulation, and the tables that are made of its file."""

from __future__ import annotations

import importlib
import json
import math
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from alexnet.comparison.cases import layer_cases
from alexnet.network.variants import variant_named
from support.documents import ROOT

BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Import one of the modules of benchmarks by name."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    yield importlib.import_module
    for name in [name for name in sys.modules if name.startswith("gpu_")]:
        del sys.modules[name]


# --- the whole ------------------------------------------------------------------------------------


@pytest.mark.cuda
def test_dry_run(tmp_path: Path, module: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Every stage's code, at tiny sizes; what it can't do without a GPU it gives a reason for."""
    file = tmp_path / "gpu.json"
    command = [str(BENCHMARKS / "gpu_check"), "--dry-run", "--json", str(file), "--limit", "3000"]
    run = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    stages = json.loads(file.read_text())["stages"]
    assert {name: stage["status"] for name, stage in stages.items()} == dict.fromkeys(
        ("build", "kernels", "networks", "configurations", "counters", "sanitizer", "cpu"), "passed"
    )
    kernels = stages["kernels"]
    assert kernels["ceilings"]["copy_bytes_per_second"] > 0
    names = {row["case"].split("/", 1)[1] for row in kernels["rows"]}
    assert names == {
        *("conv2/forward/b1", "conv2/backward_input/b1", "conv2/backward_weight/b1"),
        *("lrn2/forward/b1", "lrn2/backward/b1", "pool5/forward/b1", "pool5/backward/b1"),
    }
    for row in kernels["rows"]:
        assert row["ours"]["median"] > 0
        assert row["PyTorch"].get("median", 0) > 0 or row["PyTorch"]["reason"]
    rows = stages["networks"]["rows"]
    assert len(rows) == 8  # precisions, LRN or not, targets
    for row in rows:
        for way in ("ours", "ours without graphs"):
            assert row[way]["median"] > 0
    assert {row["blocking"] if row["blocking"] == "rule" else tuple(row["blocking"]) for row in (
        stages["configurations"]["rows"]
    )} == {"rule", (128, 64, 1), (128, 64, 2)}  # fmt: skip
    assert len(stages["configurations"]["best"]) == 6
    assert len(stages["counters"]["chosen"]) == 5
    assert stages["counters"]["counters"]["reason"] in ("ncu is not on PATH", "ncu needs a GPU")
    assert stages["cpu"]["rows"][0]["threads"] == "1"
    tables = module("gpu_tables")
    assert tables.main([str(file)]) == 0
    assert "| 1 | float32 | yes | forward |" in capsys.readouterr().out


def options(command: Any, file: Path, *more: str) -> Any:
    return command.parse(["--json", str(file), *more])


def test_a_stage_that_fails_is_noted_and_the_next_begins(tmp_path: Path) -> None:
    file = tmp_path / "gpu.json"
    hidden = {"PATH": "/nonexistent", "ALEXNET_EMULATED_CUDA": ""}
    run = subprocess.run(
        [sys.executable, str(BENCHMARKS / "gpu_check"), "--stages", "6,4", "--json", str(file)],
        capture_output=True,
        text=True,
        check=False,
        env=hidden,
    )
    assert run.returncode == 1
    stages = json.loads(file.read_text())["stages"]
    assert [stage["status"] for stage in stages.values()] == ["failed", "failed"]
    assert stages["sanitizer"]["error"]["reason"].endswith("compute-sanitizer is not on PATH")
    assert stages["configurations"]["error"]["reason"].startswith("RuntimeError: ")


def sleeping(monkeypatch: pytest.MonkeyPatch, command: Any, tmp_path: Path) -> None:
    """Have programs that sleep in the place of stages."""
    program = tmp_path / "sleeps"
    program.write_text("#!/bin/sh\necho begun\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setattr(command, "sys", SimpleNamespace(executable=str(program)))


def test_a_stage_that_takes_too_long_is_ended_and_what_it_saved_stays(
    tmp_path: Path, module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    command, record = module("gpu_stages.command"), module("gpu_stages.record")
    file = tmp_path / "gpu.json"
    given = options(command, file)
    sleeping(monkeypatch, command, tmp_path)
    before = time.monotonic()
    stage = command.Stage("kernels", "kernels", 3)
    assert command.in_child(given, stage, before + 100) == record.TIMED_OUT
    assert time.monotonic() - before < 30
    assert command.in_child(given, stage, before) == record.NOT_RUN
    noted = json.loads(file.read_text())["stages"]["kernels"]
    assert noted["status"] == "not run"
    assert noted["error"] == {"reason": "no time was left for the stage"}


def test_an_interrupt_is_noted(
    tmp_path: Path, module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = module("gpu_stages.command")
    given = options(command, tmp_path / "gpu.json")
    sleeping(monkeypatch, command, tmp_path)

    class Interrupted(subprocess.Popen):  # type: ignore[type-arg]
        def wait(self, timeout: float | None = None) -> int:
            if timeout is not None:
                raise KeyboardInterrupt
            return super().wait()

    monkeypatch.setattr(command.subprocess, "Popen", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        command.in_child(given, command.Stage("cpu", "cpu", 50), time.monotonic() + 100)
    noted = json.loads((tmp_path / "gpu.json").read_text())["stages"]["cpu"]
    assert noted["status"] == "interrupted"


def test_bad_use_is_an_error(module: Any, capsys: pytest.CaptureFixture[str]) -> None:
    command = module("gpu_stages.command")
    assert command.LIMIT < 480
    # Where the build has travelled the first stage takes no longer than its tests.
    others = sum(stage.seconds for stage in command.STAGES[1:])
    assert module("gpu_stages.build").TEST_SECONDS + others < command.LIMIT
    chosen = command.parse(["--stages", "2,3,4", "--limit", "200"]).chosen
    assert command.share(chosen, 200.0) == pytest.approx(200 * 100 / 280)
    assert command.share(chosen[2:], 77.0) == 77.0
    assert command.share(list(command.STAGES), 470.0) == 300.0
    for given in ("0", "8", "1,x", "-1"):
        with pytest.raises(SystemExit):
            command.parse([f"--stages={given}"])
        assert f"--stages: '{given}', expected some of 1 to 7" in capsys.readouterr().err
    assert [stage.name for stage in command.parse(["--stages", "3,1"]).chosen] == [
        "build",
        "networks",
    ]


def test_the_file_is_whole_at_any_time_and_has_no_nan(tmp_path: Path, module: Any) -> None:
    record = module("gpu_stages.record").Record(tmp_path / "gpu.json")
    record.append("kernels", "rows", {"ours": 1.5})
    with pytest.raises(ValueError, match="not JSON compliant"):
        record.append("kernels", "rows", {"ours": math.nan})
    kept = json.loads((tmp_path / "gpu.json").read_text())
    assert kept["stages"] == {"kernels": {"rows": [{"ours": 1.5}]}}
    assert [path.name for path in tmp_path.iterdir()] == ["gpu.json"]


# --- parts ----------------------------------------------------------------------------------------


def test_predictions_are_put_together_by_layer_and_direction(module: Any) -> None:
    def launch(layer: str, direction: str, kernel: str, us: float, bound: str) -> dict[str, Any]:
        seconds = {bound: us * 1e-6, "other": 0.0}
        return {"layer": layer, "direction": direction, "kernel": kernel} | {
            "bound": bound,
            "seconds": seconds,
        }

    found = module("gpu_stages.kernels").by_case(
        [
            launch("conv2", "forward", "conv tf32 128x64", 5, "issue"),
            launch("conv2", "forward", "conv sum_splits", 1, "memory"),
            launch("conv2", "backward", "conv dx tf32", 7, "tensor"),
            launch("conv2", "backward", "conv dw tf32", 8, "tensor"),
            launch("conv2", "backward", "column_sums", 2, "memory"),
            launch("conv2", "backward", "relu_backward", 9, "memory"),
            launch("lrn2", "backward", "lrn backward", 3, "memory"),
            launch("conv3", "backward", "hopper_launch hopper_prepare", 1, "memory"),
            launch("conv3", "backward", "column_sums sums", 2, "memory"),
            launch("conv3", "backward", "hopper tf32 128x128 mk", 20, "wgmma"),
            launch("conv3", "backward", "hopper_launch hopper_sum<float>", 3, "memory"),
            launch("conv3", "backward", "hopper_launch hopper_prepare", 4, "memory"),
            launch("conv3", "backward", "hopper tf32 128x128 kk", 30, "wgmma"),
        ]
    )
    us = {place: round(1e6 * entry["seconds"]) for place, entry in found.items()}
    assert us == {
        ("conv2", "forward"): 6,
        ("conv2", "backward_input"): 7,
        ("conv2", "backward_weight"): 10,
        ("lrn2", "backward"): 3,
        ("conv3", "backward_weight"): 26,
        ("conv3", "backward_input"): 34,
    }
    assert found["conv2", "forward"]["bound"] == "issue"


def test_counters_are_those_that_ncu_prints(module: Any) -> None:
    counters = module("gpu_stages.counters")
    text = (
        "==PROF== Connected\n"
        '"ID","Kernel Name","gpu__time_duration.sum","dram__bytes.sum",'
        '"launch__registers_per_thread"\n'
        '"","","usecond","Mbyte","register/thread"\n'
        '"0","void tile_gemm(...)","41.50","1,200.5","128"\n'
    )
    (launch,) = counters.parse(text)
    assert launch["kernel"] == "void tile_gemm(...)"
    assert launch["seconds"] == pytest.approx(41.5e-6)
    assert launch["memory_bytes"] == pytest.approx(1200.5e6)
    assert launch["registers"] == 128
    assert launch["bank_conflicts"] == {"reason": "not counted"}
    assert counters.parse("==ERROR== no device\n") == []


def test_programs_that_take_too_long_are_noted(tmp_path: Path, module: Any) -> None:
    sleep = [sys.executable, "-uc", "print('begun'); import time; time.sleep(60)"]
    status, said = module("gpu_stages.sanitizer").ended(sleep, 1.0)
    assert status == -1
    assert said.split() == ["begun", "ended:", "no", "time", "left"]
    assert module("gpu_stages.sanitizer").ended([sys.executable, "-c", "1 / 0"], 30.0)[0] == 1
    counters = module("gpu_stages.counters")
    program = tmp_path / "ncu"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    with pytest.raises(RuntimeError, match="ncu took longer than 0 s for conv"):
        counters.counted(str(program), {"case": "conv", "precision": "tf32"}, 0.2)


def test_the_kernels_that_lost_most_are_chosen(module: Any) -> None:
    def row(name: str, ours: Any, theirs: Any, predicted: Any) -> dict[str, Any]:
        return {"case": name, "ours": ours, "PyTorch": theirs, "predicted": predicted}

    none, rows = {"reason": "none"}, []
    for number in range(7):
        rows.append(row(f"n{number}", {"median": 10.0 + number}, {"median": 9.0}, none))
    rows.append(row("predicted", {"median": 50.0}, none, {"seconds": 49.5}))
    rows.append(row("alone", {"median": 5.5}, none, none))
    rows.append(row("missing", none, {"median": 1.0}, none))
    chosen = module("gpu_stages.counters").lost_most(rows)
    assert [row["case"] for row in chosen] == ["n6", "n5", "alone", "n4", "n3"]


def test_configurations_are_those_that_fill_a_device(module: Any) -> None:
    """Rows, columns and depth as in docs/notes/gpu-plan.md."""
    configurations = module("gpu_stages.configurations")
    found = {case.name: case for case in layer_cases(variant_named("tf-tutorial"), 32)}
    expected = {
        "conv2/forward": (23328, 192, 1600),
        "conv3/backward_input": (5408, 192, 3456),
        "conv1/backward_weight": (363, 64, 100352),
        "lrn1/forward": None,
    }
    for name, sizes in expected.items():
        assert configurations.products(found[f"tf-tutorial/{name}/b32"]) == sizes
    choices = configurations.choices_for(found["tf-tutorial/conv4/forward/b32"])
    assert choices[:2] == [None, (128, 64, 1)]
    assert (128, 128, 3) in choices, "the rule's own"
    assert (128, 128, 16) not in choices, "1,376 blocks"
    assert configurations.choices_for(found["tf-tutorial/pool1/forward/b32"]) == []


def test_cuts_of_hopper_are_the_most_promising(module: Any) -> None:
    configurations = module("gpu_stages.configurations")
    cuts = [((128, 64, 1, splits), 100 * splits) for splits in (4, 3, 2, 1)]
    cuts += [((128, 128, 2, 1), 90), ((192, 64, 1, 1), 136)]
    assert configurations.promising(cuts) == [
        (None, 90),
        ((128, 64, 1, 1), 100),
    ]
    many = [((rows, 64, 1, 1), 100 + rows) for rows in range(20)]
    assert len(configurations.promising(many)) == 1 + configurations.CUTS
    same = [((128, 64, 1, splits), 100 + splits) for splits in range(9)]
    assert configurations.promising(same) == [(None, 100), ((128, 64, 1, 1), 101)]


@pytest.mark.cuda
def test_cuts_of_hopper_are_measured(
    tmp_path: Path, module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cuda_emulation import load

    if not load.loaded:
        load.load(load.path())
    monkeypatch.setenv("ALEXNET_EMULATED_CAPABILITY", "9.0")
    monkeypatch.setenv("ALEXNET_EMULATED_MULTIPROCESSORS", "3")
    configurations = module("gpu_stages.configurations")
    record = module("gpu_stages.record").Record(tmp_path / "gpu.json")
    setting = module("gpu_stages.setting").Setting(record, "configurations", True, math.inf)
    variant = variant_named("tf-tutorial").shrunk(image_size=61, width=1 / 16)
    case = next(case for case in layer_cases(variant, 1) if "conv4/forward" in case.name)
    monkeypatch.setattr(configurations, "cases", lambda *_: [case])
    monkeypatch.setattr(configurations, "DRY_ORDER", [(1, "tf32", "Conv2d")])
    monkeypatch.setattr(configurations, "CUTS", 2)

    def once(_: Any, calls: Any, __: float) -> dict[str, float]:
        calls[0]()
        return {"median": 1.0}

    monkeypatch.setattr(configurations, "our_calls", once)
    rows = list(configurations.measured(setting))
    assert [row["kernels"] for row in rows] == ["Hopper"] * 3
    assert rows[0]["blocking"] == "rule"
    assert all(len(row["blocking"]) == 4 for row in rows[1:])
    assert [row["expected_cycles"] for row in rows] == sorted(
        row["expected_cycles"] for row in rows
    )
    assert all(row["ours"] == {"median": 1.0} for row in rows)
    from alexnet import _cuda

    (chosen, _) = min(_cuda.hopper_choices(), key=lambda choice: choice[1])
    fit = module("gpu_fit")
    times = {"stages": {"kernels": {"rows": [
        {"case": case.name, "precision": "tf32", "ours": {"median": 1e-5}}
    ]}}}  # fmt: skip
    monkeypatch.setattr(fit, "layer_cases", lambda *_: [case])
    (product,) = fit.products(times, first=False)
    assert product.cut == chosen, "benchmarks/gpu_fit.py has the launcher's rule"
    assert list(configurations.measured(setting, hopper=False)) == []


def test_a_fit_finds_what_times_were_made_of(module: Any) -> None:
    fit = module("gpu_fit")
    record = json.loads((ROOT / "docs" / "results" / "gpu-h200.json").read_text())
    found = [p for p in fit.products(record, first=True) if "/conv" in p.case][:24]
    asked = {"bias": 200.0, "stored": 4000.0, "start": 9000.0, "prepare": 1.5e6}
    true = fit.START | asked
    found = [replace(p, microseconds=sum(fit.parts(p, true).values())) for p in found]
    q, error = fit.fitted(found, list(asked))
    assert abs(error).max() < 1e-3
    assert {name: q[name] for name in asked} == pytest.approx(asked, rel=0.02)


def test_prebuild_leaves_what_travels(
    tmp_path: Path, module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = module("gpu_stages.build")
    commands: list[list[str]] = []

    def run(command: list[str], **_: Any) -> Any:
        commands.append(command)
        if "--target" in command:  # what pip would install
            package = Path(command[command.index("--target") + 1]) / "alexnet"
            package.mkdir(parents=True)
            (package / "_cuda.cpython-312-x86_64-linux-gnu.so").touch()
        return SimpleNamespace(returncode=0, stdout='[{"architecture": 90}]', stderr="")

    monkeypatch.setattr(build.subprocess, "run", run)
    monkeypatch.setattr(build, "FOLDER", tmp_path / "gpu_check")
    monkeypatch.setattr(build, "SITE", tmp_path / "gpu_check" / "site")
    (tmp_path / "gpu_check" / "build").mkdir(parents=True)
    build.prebuild("python3.12")
    left = {str(path.relative_to(tmp_path / "gpu_check")) for path in tmp_path.rglob("*.*")}
    library = "_cuda.cpython-312-x86_64-linux-gnu.so"
    assert left == {
        *("static.json", f"site/alexnet/{library}"),
        *(f"stages-{stages}/{library}" for stages in (2, 4)),
    }
    made = json.loads((tmp_path / "gpu_check" / "static.json").read_text())
    assert [(entry["batch_size"], entry["precision"]) for entry in made] == [
        (batch_size, precision)
        for batch_size in (32, 128)
        for precision in ("float32", "tf32", "bfloat16")
    ]
    builds = [command for command in commands if command[0] == "python3.12"]
    flags = [part for command in builds for part in command if "CUDA_FLAGS" in part]
    assert len(builds) == 3
    assert flags == [
        f"cmake.define.CMAKE_CUDA_FLAGS=-DALEXNET_GEMM_STAGES={stages}" for stages in (2, 4)
    ]


def test_the_best_configuration_and_what_the_rule_loses(module: Any) -> None:
    def row(blocking: Any, stages: Any, seconds: float | None) -> dict[str, Any]:
        ours = {"reason": "failed"} if seconds is None else {"median": seconds}
        return {"case": "t/conv2/forward/b1", "precision": "tf32", "ours": ours} | {
            "blocking": blocking,
            "stages": stages,
        }

    rows = [row("rule", "built", 3.0), row([128, 64, 2], 4, 2.0), row([128, 64, 3], 2, None)]
    (best,) = module("gpu_stages.configurations").best(rows)
    assert (best["blocking"], best["stages"], best["rule_over_best"]) == ([128, 64, 2], 4, 1.5)
    (alone,) = module("gpu_stages.configurations").best(rows[1:])
    assert alone["rule_over_best"]["reason"]
