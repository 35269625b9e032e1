"""Comparison with other frameworks, as far as it goes without one: workers, rounds, aggregation."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_hex

import alexnet
from alexnet.cli import main
from alexnet.comparison import contest as compare_module
from alexnet.comparison import peers, plot
from alexnet.comparison.accuracy import (
    EXACT_IMAGES,
    Accuracy,
    accuracy,
    agreement,
    exact_output,
)
from alexnet.comparison.agreement import (
    DisagreementError,
    gradient_tolerance,
    largest_error,
    tolerance,
)
from alexnet.comparison.benchmark import FORWARD, FORWARD_BACKWARD
from alexnet.comparison.cases import BFLOAT16, TRAINING_STEP, NetworkCase, layer_cases
from alexnet.comparison.contest import Comparison, Contest, Timing
from alexnet.comparison.disturbance import Disturbance
from alexnet.comparison.peaks import Peaks
from alexnet.comparison.rates import rates
from alexnet.comparison.worker import Worker, WorkerError
from alexnet.figures import BLUE, GREY, save
from alexnet.network.variants import AlexNet, variant_named
from alexnet.training.optimizers import Adam
from support.small_networks import small_variant

PEAKS = Peaks("avx2", 1, fma_gflops=100.0, copy_gbs=20.0, read_gbs=10.0)
QUIET = Disturbance(others=0.01, missing=0.01, peak=0.99)
CASE = NetworkCase(small_variant("tf-tutorial"), FORWARD, 2)
LRN_CASE = next(
    case for case in layer_cases(variant_named("cifar10-bn"), 2) if case.layer.name == "lrn1"
)


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare_module, "PAUSE", 0.0)


# --- aggregation ----------------------------------------------------------------------------------


def test_median_and_spread_of_the_rounds() -> None:
    timing = Timing("torch", "eager nchw", (4.0, 1.0, 2.0, 3.0, 100.0), Accuracy(0.0))
    assert timing.contender == "torch eager nchw"
    assert timing.median == 3.0
    assert timing.spread == pytest.approx((4.0 - 2.0) / 2 / 3.0)
    assert Timing("torch", "eager", (2.0,), Accuracy(0.0)).spread == 0.0


def comparison(**seconds: tuple[float, ...]) -> Comparison:
    timings = [Timing(name, "a", times, Accuracy(1e-6)) for name, times in seconds.items()]
    return Comparison(CASE, tuple(timings), PEAKS, {"ncnn nchw": "disagrees"}, QUIET)


def test_ratio_is_to_the_best_peer_by_medians() -> None:
    result = comparison(alexnet=(1.0, 2.0, 3.0), torch=(5.0, 5.0, 5.0), jax=(1.0, 8.0, 9.0))
    assert result.ours.provider == "alexnet"
    assert result.best_peer is not None
    assert result.best_peer.provider == "torch"
    assert result.ratio == 2.5
    figures = result.figures()
    assert figures["best_peer"] == "torch a"
    assert figures["ratio_to_best_peer"] == 2.5
    assert figures["failures"] == {"ncnn nchw": "disagrees"}
    assert figures["contenders"]["jax a"]["round_seconds"] == (1.0, 8.0, 9.0)
    assert [row[3] for row in result.rows()] == ["1.00", "2.50", "4.00"]


def test_alone_there_is_no_best_peer() -> None:
    result = comparison(alexnet=(1.0,))
    assert result.best_peer is None
    assert result.ratio is None


def test_rates_are_shares_of_the_peaks() -> None:
    conv = next(
        case for case in layer_cases(variant_named("tf-tutorial"), 2) if case.layer.name == "conv2"
    )
    figures = rates(conv, 0.5, PEAKS)
    flops = 2 * 2 * 27 * 27 * 192 * 5 * 5 * 64
    assert figures["gflops_per_second"] == pytest.approx(flops / 0.5 / 1e9)
    assert figures["share_of_fma_peak"] == pytest.approx(flops / 0.5 / 1e9 / 100)
    moved = 4 * (2 * 27 * 27 * (64 + 192) + 5 * 5 * 64 * 192 + 192)
    assert figures["gbytes_per_second"] == pytest.approx(moved / 0.5 / 1e9)
    assert figures["share_of_copy_peak"] == pytest.approx(moved / 0.5 / 1e9 / 20)


# --- agreement ------------------------------------------------------------------------------------


def test_a_result_over_its_tolerance_disagrees() -> None:
    y = np.ones(100, np.float32)
    assert largest_error(CASE, {"y": y * np.float32(1 + 2**-14)}, {"y": y}) == pytest.approx(2**-14)
    with pytest.raises(DisagreementError, match=r"y differs by 1.0e-03 from ours, tolerance 1e-04"):
        largest_error(CASE, {"y": y * np.float32(1.001)}, {"y": y})
    with pytest.raises(DisagreementError, match="y differs by nan"):
        largest_error(CASE, {"y": y * np.nan}, {"y": y})
    with pytest.raises(DisagreementError, match=r"results are \['z'\], expected \['y'\]"):
        largest_error(CASE, {"z": y}, {"y": y})


def test_gradients_through_kinks_have_a_wider_tolerance() -> None:
    backward = dataclasses.replace(CASE, target=FORWARD_BACKWARD)
    assert backward.kinks == 5 + 3
    assert gradient_tolerance(backward) == pytest.approx(math.sqrt(8e-5))
    assert tolerance(backward, "conv1.weight") == gradient_tolerance(backward)
    assert tolerance(backward, "y") == tolerance(LRN_CASE, "dx") == 1e-4


def test_accuracy_is_that_of_the_first_images_in_float64() -> None:
    case = dataclasses.replace(CASE, variant=small_variant("cifar10-bn"), batch_size=6)
    operands = case.operands()
    exact = exact_output(case, operands)
    assert exact is not None
    assert exact.dtype == np.float64
    assert exact.shape == (EXACT_IMAGES, 10)
    ours = AlexNet(case.variant, seed=0).forward(operands["x"])
    expected = {"y": ours}
    found = accuracy(case, expected, expected, exact, is_trained=False)
    assert 0 < found.error < 1e-5
    assert found.agreement is None
    wrong = ours.copy()
    wrong[4:, (ours[4:].argmax(axis=1) + 1) % 10] += 100
    reduced = dataclasses.replace(case, precision=BFLOAT16)
    with pytest.raises(DisagreementError):
        accuracy(reduced, {"y": wrong}, expected, exact, is_trained=True)
    shifted = {"y": ours * np.float32(1.01)}
    found = accuracy(reduced, shifted, expected, exact, is_trained=True)
    assert found.error == pytest.approx(0.01, rel=1e-2)
    assert found.agreement == 1.0
    swapped = {"y": ours.copy()}
    first, second = np.argsort(-ours[0])[:2]
    swapped["y"][0, [first, second]] = ours[0, [second, first]]
    assert agreement(swapped["y"], ours) == pytest.approx(5 / 6)
    wide = dataclasses.replace(reduced, variant=small_variant("tf-full"))
    assert tolerance(reduced, "y") > tolerance(wide, "y") > 1e-2  # more layers round more often


def test_only_networks_forward_have_an_exact_output() -> None:
    assert exact_output(LRN_CASE, LRN_CASE.operands()) is None
    backward = dataclasses.replace(CASE, target=FORWARD_BACKWARD)
    assert exact_output(backward, backward.operands()) is None
    y = np.ones((2, 3), np.float32)
    assert accuracy(LRN_CASE, {"y": y}, {"y": y}, None, is_trained=False) == Accuracy(0.0)


# --- cases ----------------------------------------------------------------------------------------


def test_layers_have_a_case_in_each_direction() -> None:
    names = [case.name for case in layer_cases(variant_named("cifar10-bn"), 2)]
    assert names[:4] == [
        "cifar10-bn/conv1/forward/b2",
        "cifar10-bn/conv1/backward_weight/b2",
        "cifar10-bn/lrn1/forward/b2",
        "cifar10-bn/lrn1/backward/b2",
    ]
    assert "cifar10-bn/conv2/backward_input/b2" in names


@pytest.mark.parametrize("target", [FORWARD_BACKWARD, TRAINING_STEP])
def test_dropout_cannot_be_compared_in_training(target: str) -> None:
    with pytest.raises(ValueError, match="torchvision has dropout"):
        NetworkCase(variant_named("torchvision"), target, 1)
    assert NetworkCase(variant_named("torchvision"), FORWARD, 1).target == FORWARD


def test_a_training_step_needs_classes() -> None:
    with pytest.raises(ValueError, match=r"tf-small is \(6, 6, 128\), expected classes"):
        NetworkCase(variant_named("tf-small"), TRAINING_STEP, 1)


# --- rounds ---------------------------------------------------------------------------------------


class FakeWorker:
    """Answers as a framework would, and notes who was asked to take a turn."""

    turns: list[str]
    wrong: str = ""

    def __init__(self, name: str, _threads: int) -> None:
        self.name, self.mode, self.alive = name, "", True

    def ask(self, request: str, *arguments: Any) -> Any:
        match request:
            case "version":
                return f"{self.name} 1.0"
            case "contenders":
                return ("a", "b") if self.name == "torch" else ("a",)
            case "prepare":
                self.mode = arguments[1]
                me = f"{self.name} {self.mode}"
                return {"y": np.full(3, 2.0 if me == self.wrong else 1.0, np.float32)}
            case "modes":
                return ("a", "b")
            case "precision":
                return "float32"
            case "time":
                if self.name == "ncnn":
                    raise WorkerError("ncnn: its process ended with status -11")
                self.turns.append(f"{self.name} {self.mode}")
                return {"alexnet": 1.0, "torch": 2.0, "jax": 3.0}[self.name]
            case "peaks":
                self.turns.append("peaks")
                return dataclasses.replace(PEAKS, fma_gflops=float(len(self.turns)))
            case "release":
                return None
        raise AssertionError(request)

    def close(self) -> None:
        self.alive = False


@pytest.fixture
def contest() -> Callable[..., Contest]:
    def make(*names: str, wrong: str = "") -> Contest:
        FakeWorker.turns, FakeWorker.wrong = [], wrong
        return Contest(names, 1, start=FakeWorker)  # type: ignore[arg-type]

    return make


def test_rounds_are_interleaved_and_the_first_moves_on(contest: Callable[..., Contest]) -> None:
    result = contest("torch", "jax").compare(LRN_CASE, rounds=3)
    a, b, c, d = "alexnet a", "torch a", "torch b", "jax a"
    rounds = [["peaks", a, b, c, d], ["peaks", b, c, d, a], ["peaks", c, d, a, b]]
    assert FakeWorker.turns == [turn for turns in rounds for turn in turns]
    assert [timing.contender for timing in result.timings] == [a, b, c, d]
    assert all(len(timing.seconds) == 3 for timing in result.timings)
    assert result.peaks.fma_gflops == 6.0  # the median of 1, 6 and 11
    assert result.disturbance.peak == 6 / 11
    assert result.ratio == 2.0


def test_who_disagrees_is_named_and_not_timed(contest: Callable[..., Contest]) -> None:
    result = contest("torch", wrong="torch a").compare(LRN_CASE, rounds=2)
    assert [timing.contender for timing in result.timings] == ["alexnet a", "torch b"]
    assert result.failures == {
        "torch a": "disagrees with ours: y differs by 1.0e+00 from ours, tolerance 1e-04"
    }
    assert "torch a" not in FakeWorker.turns


def test_who_crashes_while_timed_is_named_and_not_counted(
    contest: Callable[..., Contest],
) -> None:
    result = contest("ncnn", "jax").compare(LRN_CASE, rounds=2)
    assert [timing.contender for timing in result.timings] == ["alexnet a", "jax a"]
    assert result.failures == {"ncnn a": "ncnn: its process ended with status -11"}


# --- processes ------------------------------------------------------------------------------------


def test_a_worker_computes_what_we_do() -> None:
    with Worker(peers.OURS, 1) as worker:
        assert worker.ask("version").startswith("alexnet ")
        mode = worker.ask("modes", LRN_CASE)[0]
        operands = LRN_CASE.operands()
        y = worker.ask("prepare", LRN_CASE, mode, operands)["y"]
        layer: Any = LRN_CASE.layer
        x = operands["x"].astype(np.float64)
        padded = np.pad(x**2, [(0, 0)] * 3 + [(layer.depth_radius,) * 2])
        windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * layer.depth_radius + 1, 3)
        expected = x / (layer.bias + layer.alpha * windows.sum(-1)) ** layer.beta
        np.testing.assert_allclose(y, expected, rtol=1e-5)
        assert worker.ask("time", 0.0) > 0
        with pytest.raises(WorkerError, match="alexnet: KeyError: 'x'"):
            worker.ask("prepare", LRN_CASE, mode, {})
        assert worker.ask("version")  # it goes on


def test_a_training_step_of_a_worker_is_one_of_ours() -> None:
    case = NetworkCase(small_variant("cifar10-bn"), TRAINING_STEP, 3)
    operands = case.operands()
    with Worker(peers.OURS, 1) as worker:
        mode = worker.ask("modes", case)[0]
        result = worker.ask("prepare", case, mode, operands)
        baseline, peak = worker.ask("peak_memory", case, mode, 1)
    network = AlexNet(case.variant, seed=0)
    optimizer = Adam(network)
    logits = network.forward(operands["x"], training=True)
    operators = network.implementation
    network.backward(operators.softmax_cross_entropy_backward(logits, operands["labels"]))
    optimizer.step()
    for name, parameter in network.parameters.items():
        np.testing.assert_array_equal(result[name], parameter - operands[name])
    assert result["loss"] == operators.softmax_cross_entropy(logits, operands["labels"])
    assert 0 < baseline <= peak


def framework(folder: Path, name: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a module of a framework's name, for this process and those that it starts."""
    Path(folder, f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=":")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import os; os._exit(3)", "torch: its process ended with status 3"),
        (
            "raise ImportError('libmkl is damaged')",
            "torch: its process ended with status 1: ImportError: libmkl is damaged",
        ),
    ],
)
def test_a_crash_is_one_clear_line(
    text: str,
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    framework(tmp_path, "torch", text, monkeypatch)
    with Contest(["torch"], 1) as contest:
        for _ in range(2):  # the second time from a new process
            result = contest.compare(LRN_CASE, rounds=1, seconds=0)
            assert result.failures == {"torch": reason}
            assert [timing.provider for timing in result.timings] == ["alexnet"]
    output = capfd.readouterr()
    assert "Traceback" not in output.out + output.err


# --- the command ----------------------------------------------------------------------------------


def test_missing_frameworks_are_named_and_ours_is_measured(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(peers.FRAMEWORKS, "jax", ("no_such_module",))
    file = tmp_path / "figures.json"
    arguments = "compare cifar10-bn --layers lrn1 --batch-size 1,2 --rounds 1 --seconds 0"
    assert main([*arguments.split(), "--peers", "jax", "--json", str(file)]) == 0
    output = capsys.readouterr().out
    assert output.startswith("left out: jax, no module no_such_module")
    figures = json.loads(file.read_text())
    assert figures["missing"] == ["jax"]
    assert [case["case"] for case in figures["cases"]] == [
        f"cifar10-bn/lrn1/{direction}/b{batch_size}"
        for batch_size in (1, 2)
        for direction in ("forward", "backward")
    ]
    contenders = figures["cases"][0]["contenders"]
    assert all(len(timing["round_seconds"]) == 1 for timing in contenders.values())
    assert figures["cases"][0]["peaks"]["fma_gflops_per_second"] > 0
    assert set(figures["cases"][0]["disturbance"]) == {"others", "missing", "peak", "notable"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--peers caffe", "--peers: 'caffe', expected all, none or some of torch,tensorflow"),
        ("--batch-size 1,0", "--batch-size: '0', expected an integer from 1"),
        ("--target backward", "--target: 'backward', expected some of forward,forward-backward"),
        ("--seconds -1", "--seconds: '-1', expected a number of seconds"),
        ("--rounds 0", "--rounds: '0', expected an integer from 1"),
        ("--layers conv9", "--layers: 'conv9', expected some of conv1,lrn1"),
        ("--target training-step", "the output of tf-tutorial is (6, 6, 256), expected classes"),
        ("--plot chart.doc", "chart.doc: expected a file whose name ends in .png, .svg, .pdf"),
    ],
)
def test_bad_use_is_one_line(
    arguments: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        status: Any = main(["compare", "tf-tutorial", *arguments.split()])
    except SystemExit as stop:
        status = stop.code
    output = capsys.readouterr()
    assert status == 2
    assert message in output.err
    assert output.err.count("\n") == 1


def test_a_chart_has_all_contenders_and_ours_stands_out(tmp_path: Path) -> None:
    result = comparison(alexnet=(1.0, 2.0, 3.0), torch=(5.0, 5.0, 5.0))
    figure = plot.bars([result, result])
    assert len(figure.axes) == 2
    for axes in figure.axes:
        assert [text.get_text() for text in axes.get_yticklabels()] == ["torch a", "alexnet a"]
        assert [bar.get_width() for bar in axes.patches] == [5000.0, 2000.0]
        assert [text.get_text() for text in axes.texts] == [
            " 5000.0 ms, 2.50×",
            " 2000.0 ms, 1.00×",
        ]
        peer, ours = (to_hex(bar.get_facecolor()) for bar in axes.patches)
        assert (peer, ours) == (GREY.lower(), BLUE.lower())
        assert axes.get_title() == f"{CASE.name}, 1 thread"
        assert axes.get_xlabel() == "ms, less is better"
    disturbed = dataclasses.replace(result, disturbance=Disturbance(0.43, 0.43, 0.7))
    (axes,) = plot.bars([disturbed]).axes
    assert axes.get_title().splitlines()[1:] == [
        "other processes took 43% of the processors' time",
        "the median FMA peak was 70% of the best",
    ]
    save(figure, tmp_path / "chart.svg")
    assert (tmp_path / "chart.svg").read_text().count("alexnet a") == 2


# --- what it is at --------------------------------------------------------------------------------


def test_what_is_being_done_is_told() -> None:
    FakeWorker.turns, FakeWorker.wrong = [], ""
    told: list[tuple[str, str]] = []
    contest = Contest(
        ["torch", "jax"],
        1,
        start=FakeWorker,  # type: ignore[arg-type]
        tell=lambda text, place: told.append((text, place)),
    )
    for _ in range(2):
        contest.compare(LRN_CASE, rounds=2)
    starting = {
        f"starting {name}" for name in ("alexnet (1 of 3)", "torch (2 of 3)", "jax (3 of 3)")
    }
    contenders = ("alexnet a", "torch a", "torch b", "jax a")
    preparing = {f"preparing {who} for {LRN_CASE.name}" for who in contenders}
    rounds = [(f"timing {LRN_CASE.name}", f"round {number} of 2") for number in (1, 2)]
    assert told[0] == ("starting alexnet (1 of 3)", "")
    assert {text for text, _ in told[:7]} == starting | preparing
    assert told[7:9] == told[13:] == rounds
    assert {text for text, _ in told[9:13]} == preparing  # the second time nothing starts


@pytest.mark.parametrize("kind", ["dumb", "log"])
def test_a_log_and_a_dumb_terminal_get_lines(
    kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if kind == "dumb":
        monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes standard error for a terminal
        monkeypatch.setenv("TERM", "dumb")
    arguments = (
        "compare cifar10-bn --layers lrn1 --batch-size 1 --rounds 2 --seconds 0 --peers none"
    )
    assert main([*arguments.split(), "--json", "-"]) == 0
    captured = capsys.readouterr()
    json.loads(captured.out)
    assert [line for line in captured.err.splitlines() if line.startswith("alexnet compare")] == [
        "alexnet compare: starting alexnet (1 of 1)",
        *(
            f"alexnet compare: {what} cifar10-bn/lrn1/{direction}/b1"
            for direction in ("forward", "backward")
            for what in (f"preparing alexnet {alexnet.cpu_isa()} for", "timing")
        ),
    ]
