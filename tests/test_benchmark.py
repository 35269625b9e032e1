"""The benchmark's counting of steps, time, FLOP and bytes, and the lines that it prints."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest

import alexnet
from alexnet.cli import main
from alexnet.comparison.benchmark import (
    FORWARD,
    FORWARD_BACKWARD,
    Benchmark,
    LayerTiming,
    Timing,
    step_flops,
)
from alexnet.comparison.disturbance import Disturbance
from alexnet.network.variants import variant_named
from support.small_networks import small_variant
from support.terminals import on_terminal

TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}"


def test_figures_of_a_timing() -> None:
    timing = Timing(FORWARD, batch_size=32, flops=6 * 10**9, durations=(1.0, 2.0, 6.0))
    assert timing.mean == 3.0
    assert timing.deviation == pytest.approx((14 / 3) ** 0.5)
    assert timing.median == 2.0
    assert timing.minimum == 1.0
    assert timing.images_per_second == 16.0
    assert timing.gflops == 3.0
    assert timing.figures()["step_seconds"] == [1.0, 2.0, 6.0]


def test_flops_of_tf_tutorial() -> None:
    variant = variant_named("tf-tutorial")
    conv1 = 56 * 56 * 64 * 11 * 11 * 3
    rest = 27 * 27 * 192 * 5 * 5 * 64 + 13 * 13 * 9 * (384 * 192 + 256 * 384 + 256 * 256)
    assert step_flops(variant, 32, FORWARD) == 32 * 2 * (conv1 + rest)
    assert step_flops(variant, 32, FORWARD_BACKWARD) == 32 * 2 * (2 * conv1 + 3 * rest)


def test_burn_in_steps_are_run_but_not_counted() -> None:
    benchmark = Benchmark(small_variant("tf-small"), 2)
    seen: list[tuple[int, float]] = []
    timing = benchmark.time(FORWARD, 4, 3, lambda step, duration: seen.append((step, duration)))
    assert [step for step, _ in seen] == [-3, -2, -1, 0, 1, 2, 3]
    assert timing.durations == tuple(duration for step, duration in seen if step >= 0)
    assert min(timing.durations) > 0


def test_forward_backward_is_the_gradient_of_l2_loss() -> None:
    variant = small_variant("cifar10-bn")
    benchmark = Benchmark(variant, 3, seed=5)
    network = benchmark.network
    benchmark.time(FORWARD, 1, 0)
    assert not any(gradient.any() for gradient in network.gradients.values())
    benchmark.time(FORWARD_BACKWARD, 1, 0)
    images = alexnet.random.Generator(5).normal((3, *variant.input_shape), 0.1)
    same = alexnet.network.Network(variant, seed=5)
    same.backward(same.forward(images.astype(np.float32), training=True))
    for name, gradient in network.gradients.items():
        np.testing.assert_array_equal(gradient, same.gradients[name])
        assert gradient.any()


@pytest.mark.parametrize(("steps", "burn_in"), [(0, 1), (-1, 1), (1, -1)])
def test_numbers_of_steps_are_checked(steps: int, burn_in: int) -> None:
    benchmark = Benchmark(small_variant("tf-small"), 1)
    with pytest.raises(ValueError, match=r"bench: (steps|burn_in) is -?[01], expected an integer"):
        benchmark.time(FORWARD, steps, burn_in)


def test_layers_and_their_work() -> None:
    variant = small_variant("tf-full")
    layers = Benchmark(variant, 2).time_layers(FORWARD_BACKWARD, 2)
    by_place = {(layer.layer, layer.direction): layer for layer in layers}
    assert len(by_place) == 2 * len(variant.layers)
    shapes = dict(zip([layer.name for layer in variant.layers], variant.shapes(2)[1:], strict=True))
    macs = {row.name: row.macs for row in variant.summary().rows}
    assert by_place["conv1", "forward"].flops == 2 * 2 * macs["conv1"]
    assert by_place["conv1", "backward"].flops == 2 * 2 * macs["conv1"]
    assert by_place["fc7", "backward"].flops == 2 * 2 * 2 * macs["fc7"]
    lrn, pool = int(np.prod(shapes["lrn1"])), int(np.prod(shapes["pool1"]))
    assert by_place["lrn1", "forward"].bytes == 4 * 2 * lrn
    assert by_place["lrn1", "backward"].bytes == 4 * 3 * lrn
    assert by_place["pool1", "backward"].bytes == 4 * (2 * lrn + pool)
    assert by_place["flatten", "forward"].bytes == by_place["flatten", "forward"].flops == 0
    timing = LayerTiming("conv1", "forward", seconds=0.5, flops=10**9, bytes=3 * 10**9)
    assert (timing.gflops, timing.gbytes) == (2.0, 6.0)


# --- the command ----------------------------------------------------------------------------------


def test_bench_fits_a_terminal(tmp_path: Path) -> None:
    program = [sys.executable, "-m", "alexnet", "bench", "cifar10-bn"]
    command = [*program, "--batch-size", "1", "--steps", "2", "--burn-in", "0", "--per-layer"]
    for columns in (60, 80):
        status, lines = on_terminal(command, columns, cwd=tmp_path, environment=os.environ)
        assert status == 0
        assert all(len(line) <= columns for line in lines)
        assert " ".join(map(str.strip, lines)).count(" sec / batch") == 2


def test_bench_prints_the_lines_of_the_classic_script(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Disturbance, "notable", False)  # which would be a line more
    figures = tmp_path / "figures.json"
    command = ["bench", "cifar10-bn", "--batch-size", "2", "--steps", "11", "--burn-in", "1"]
    assert main([*command, "--threads", "1", "--per-layer", "--json", str(figures)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"cifar10-bn, batch 2, {alexnet.cpu_isa()}, 1 thread"
    assert lines[1] == "conv1 [2, 32, 32, 48]"
    assert lines[17] == "fc8 [2, 10]"
    expected = [
        rf"{TIME}: step 0, duration = \d+\.\d{{3}}",
        rf"{TIME}: step 10, duration = \d+\.\d{{3}}",
        rf"{TIME}: Forward across 11 steps, \d+\.\d{{3}} \+/- \d+\.\d{{3}} sec / batch",
        rf"{TIME}: step 0, duration = \d+\.\d{{3}}",
        rf"{TIME}: step 10, duration = \d+\.\d{{3}}",
        rf"{TIME}: Forward-backward across 11 steps, \d+\.\d{{3}} \+/- \d+\.\d{{3}} sec / batch",
        "",
        r"target +median s +minimum s +images/s +GFLOP/s",
        r"forward +[\d.]+ +[\d.]+ +[\d.]+ +[\d.]+",
        r"forward-backward +[\d.]+ +[\d.]+ +[\d.]+ +[\d.]+",
        "",
        r"layer +forward ms +% +rate +backward ms +% +rate",
        r"conv1 +[\d.]+ +\d+ +[\d.]+ GFLOP/s +[\d.]+ +\d+ +[\d.]+ GFLOP/s",
        r"lrn1 +[\d.]+ +\d+ +[\d.]+ GB/s +[\d.]+ +\d+ +[\d.]+ GB/s",
    ]
    for line, pattern in zip(lines[18:], expected, strict=False):
        assert re.fullmatch(pattern, line), (line, pattern)
    assert lines[-1].startswith("total ")

    result = json.loads(figures.read_text())
    assert result["environment"]["threads"] == 1
    assert result["environment"]["isa"] == alexnet.cpu_isa()
    for target in ("forward", "forward-backward"):
        timing = result["targets"][target]
        assert len(timing["step_seconds"]) == 11
        assert timing["mean_seconds"] == pytest.approx(np.mean(timing["step_seconds"]))
        assert timing["deviation_seconds"] == pytest.approx(np.std(timing["step_seconds"]))
    assert len(result["layers"]) == 34


def test_bench_of_one_target_without_lrn(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["bench", "cifar10-bn", "--batch-size", "1", "--steps", "1", "--burn-in", "0"]
    assert main([*command, "--target", "forward", "--no-lrn", "--json", "-"]) == 0
    captured = capsys.readouterr()
    figures = json.loads(captured.out)
    assert list(figures["targets"]) == ["forward"]
    assert not figures["lrn"]
    assert "lrn1" not in captured.err
    assert "Forward across 1 steps" in captured.err
    assert "backward" not in captured.err
