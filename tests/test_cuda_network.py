"""Networks on a CUDA device against the same on the CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import alexnet
from alexnet import SGD, Adam, AlexNet
from alexnet.cli import main
from alexnet.commands import bench, verify
from alexnet.commands.options import gpu_name
from alexnet.comparison.benchmark import FORWARD, FORWARD_BACKWARD, Benchmark
from alexnet.network.network import Network
from alexnet.network.variants import VARIANTS
from alexnet.training.configuration import Configuration
from alexnet.training.run import Run
from alexnet.verification.hosted import hosted
from alexnet.verification.verify import CUDA, Comparison, NetworkVerification
from support import small_runs
from support.arrays import random_array, relative_error
from support.cuda_device import cuda
from support.documents import ROOT, run_blocks
from support.small_networks import small_variant

pytestmark = pytest.mark.cuda

# Two training steps: what rounding in another order changes by the second, through ReLUs and
# pools that stay on their side.
BOUND = 1e-4


def trained(network: Network, steps: int) -> tuple[list[float], dict[str, np.ndarray]]:
    """Losses and arrays after some steps of Adam and one of SGD."""
    # Batch norm over the features of two or three images enlarges what rounding changes.
    batch, classes = 6, network.output_shape[0]
    images = random_array(1, batch, *network.input_shape)
    labels = np.arange(batch) % classes
    losses = []
    optimizers = [Adam(network, learning_rate=1e-3)] * (steps - 1) + [SGD(network)]
    for optimizer in optimizers:
        logits = network.forward(images, training=True)
        operators = network.implementation
        losses.append(float(operators.softmax_cross_entropy(logits, labels)))
        network.backward(operators.softmax_cross_entropy_backward(logits, labels))
        optimizer.step()
    return losses, network.tensors()


@pytest.mark.parametrize("name", ["cifar10-bn", "krizhevsky-2012"])
def test_training_steps_are_those_of_the_cpu(name: str) -> None:
    """Batch norm and LRN; dropout, groups, and all the other layers."""
    variant = small_variant(name)
    losses, tensors = trained(AlexNet(variant, device="cuda"), 2)
    expected_losses, expected = trained(AlexNet(variant), 2)
    assert losses == pytest.approx(expected_losses, rel=BOUND)
    assert tensors.keys() == expected.keys()
    for key, array in tensors.items():
        assert relative_error(array, expected[key]) <= BOUND, key


def test_weights_move_between_devices(tmp_path: Path) -> None:
    variant = small_variant("cifar10-bn")
    network = AlexNet(variant, seed=3, device="cuda")
    x = random_array(1, 2, *network.input_shape)
    y = network.forward(x)
    network.save(tmp_path / "weights.safetensors")
    on_cpu = alexnet.load(tmp_path / "weights.safetensors")
    assert relative_error(y.get(), on_cpu.forward(x)) <= BOUND
    on_cpu.save(tmp_path / "back.safetensors")
    back = alexnet.load(tmp_path / "back.safetensors", device="cuda")
    np.testing.assert_array_equal(back.forward(x).get(), y.get())


def test_outputs_that_are_held_stay() -> None:
    network = AlexNet(small_variant("cifar10-bn"), device="cuda")
    batches = [random_array(seed, 2, *network.input_shape) for seed in range(4)]
    held = [network.forward(batch) for batch in batches]
    for batch, y in zip(batches, held, strict=True):
        np.testing.assert_array_equal(network.forward(batch).get(), y.get())


def test_verification_of_layers_and_of_a_whole_network() -> None:
    comparison = Comparison((CUDA,), hosted(cuda))
    network = NetworkVerification(small_variant("cifar10-bn"), comparison, batch_size=3)
    layers = network.layers()
    whole = network.whole(CUDA, layers, hosted(cuda))
    assert [check for check in [*layers, *whole] if not check.passed] == []


@pytest.mark.parametrize("precision", ["float32", "tf32"])
def test_benchmark(precision: str) -> None:
    benchmark = Benchmark(small_variant("cifar10-bn"), 1, device="cuda", precision=precision)
    for target in (FORWARD, FORWARD_BACKWARD):
        assert benchmark.time(target, 1, 0).minimum > 0
    layers = benchmark.time_layers(FORWARD_BACKWARD, 1)
    assert all(layer.seconds >= 0 for layer in layers)


def test_bench_and_verify_run_on_the_device(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = small_variant("cifar10-bn")
    for command in (bench, verify):
        monkeypatch.setattr(command, "described_variant", lambda _: small)
    steps = ["--steps", "1", "--burn-in", "0", "--batch-size", "1"]
    assert main(["bench", "--device", "cuda", *steps, "--per-layer"]) == 0
    assert f"batch 1, {gpu_name()}, float32, CUDA graphs\n" in capsys.readouterr().out
    assert main(["verify", "--device", "cuda", "--batch-size", "1"]) == 0
    assert " 0 over their bound" in capsys.readouterr().out


def test_commands_say_what_device_they_have(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info"]) == 0
    assert "CUDA             none" not in capsys.readouterr().out
    with pytest.raises(SystemExit, match="2"):
        main(["bench", "--precision", "tf32"])
    expected = "argument --precision: 'tf32', expected float32 or bfloat16 on the CPU"
    assert expected in " ".join(capsys.readouterr().err.split())
    with pytest.raises(SystemExit, match="2"):
        main(["verify", "--device", "cuda", "--isa", "portable"])
    assert "--isa: names instruction sets of the CPU" in capsys.readouterr().err


def test_a_run_of_training_is_that_of_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trainer, norms, evaluation and checkpoint; and it goes on from there on the other device."""
    monkeypatch.setitem(VARIANTS, small_runs.NAME, small_runs.SMALL)
    data, configuration = small_runs.dataset(12, 4), Configuration(steps=2, batch_size=4)
    figures = []
    for device in ("cpu", "cuda"):
        run = Run.start(tmp_path / device, configuration, data, device=device)
        run.train()
        run.close()
        columns = [run.metrics.column(name) for name in ("loss", "accuracy", "test_loss")]
        figures.append([value for column in columns for value in column.values()])
    assert figures[1] == pytest.approx(figures[0], rel=BOUND)
    run = Run.resume(tmp_path / "cuda", data, {"steps": 3}, device="cpu")
    run.train()
    run.close()
    assert run.trainer.steps == 3


def test_python_in_the_documents_runs() -> None:
    names = run_blocks(ROOT / "docs" / "gpu.md", shorter={})
    assert names["net"].implementation is cuda
    assert names["y"].shape == (2, 10)
