"""CUDA graphs: passes and steps that are captured once give the bits of those that are not."""

from __future__ import annotations

import dataclasses
import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alexnet import SGD, Adam, AlexNet
from alexnet.arrays import array_kind
from alexnet.cli import main
from alexnet.commands import bench
from alexnet.comparison.benchmark import FORWARD, FORWARD_BACKWARD, Benchmark
from alexnet.data import ImageSet, Preprocessing, TrainingBatches
from alexnet.graphs import Graph
from alexnet.network.layer import Context
from alexnet.network.layers import LRN, Dense, Dropout, Flatten
from alexnet.network.network import Network
from alexnet.network.variant import Variant
from alexnet.network.variants import VARIANTS as NAMED
from alexnet.training.configuration import Configuration
from alexnet.training.optimizers import Optimizer
from alexnet.training.run import Run
from alexnet.training.trainer import StepResult, Trainer
from support import small_runs
from support.arrays import random_array
from support.cuda_device import cuda, cupy, on_device
from support.small_networks import small_variant

pytestmark = pytest.mark.cuda

CLASSES = 10
FEATURES = small_variant("tf-tutorial")
NORMED = small_variant("cifar10-bn")
VARIANTS = {
    "cifar10-bn": dataclasses.replace(
        NORMED, layers=(*NORMED.layers[:-1], Dropout("dropout7", 0.25), NORMED.layers[-1])
    ),
    "tf-tutorial": dataclasses.replace(
        FEATURES,
        layers=(
            *FEATURES.layers,
            Flatten("flatten"),
            Dense("fc6", 24, activation="relu"),
            Dropout("dropout6", 0.5),
            Dropout("dropout7", 0.25),
            Dense("fc8", CLASSES),
        ),
    ),
}
LAUNCHED_FROM = 3  # the first run is the work itself, the second with the graph's memory


def graph_of(network: Network, batch_size: int, name: str) -> Graph[Any]:
    """The graph of a batch size that is of `name`."""
    found = network._workspace._kept[batch_size].graphs
    return next(graph for key, graph in found.items() if name in (key, key[0]))


def is_captured(network: Network, batch_size: int, name: str) -> bool:
    plans = network._workspace._kept.get(batch_size)
    keys = [] if plans is None else [key for key in plans.graphs if name in (key, key[0])]
    return any(plans.graphs[key].is_captured for key in keys)


def images_of(variant: Variant, count: int) -> ImageSet:
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (count, *variant.input_shape)).astype(np.uint8)
    return ImageSet(pixels, np.arange(count) % CLASSES)


def trainer(name: str, rule: type[Optimizer], *, graph: bool, **settings: float) -> Trainer:
    """Batches of 4; the learning rate falls with every step."""
    network = AlexNet(VARIANTS[name], seed=3, device="cuda", graph=graph)
    source = images_of(network.variant, 12)
    preprocessing = Preprocessing.fit(source, network.input_shape, augment="none")
    optimizer = rule(network, **settings)
    batches = TrainingBatches(source, preprocessing, 4, seed=1)
    return Trainer(network, optimizer, batches, schedule=lambda step: 1e-2 / (step + 1))


def bits(running: Trainer) -> dict[str, bytes]:
    """All that a run leaves: parameters, running statistics, place of the generator, slots."""
    tensors = running.network.tensors() | running.optimizer.state_dict()
    gradients = {f"d{name}": array.get() for name, array in running.network.gradients.items()}
    return {name: array.tobytes() for name, array in (tensors | gradients).items()}


def figures(result: StepResult) -> tuple[object, ...]:
    return (result.step, result.loss, result.accuracy, result.learning_rate, result.norms)


# --- training steps -------------------------------------------------------------------------------


@pytest.mark.parametrize(("rule", "weight_decay"), [(SGD, 1e-3), (SGD, 0.0), (Adam, 0.0)])
@pytest.mark.parametrize("name", VARIANTS)
def test_captured_steps_give_the_bits_of_steps_one_by_one(
    name: str, rule: type[Optimizer], weight_decay: float
) -> None:
    runs = [trainer(name, rule, graph=graph, weight_decay=weight_decay) for graph in (True, False)]
    for number in range(1, 6):
        results = [figures(running.step()) for running in runs]
        assert results[0] == results[1], number
        assert bits(runs[0]) == bits(runs[1]), number
        captured = is_captured(runs[0].network, 4, "training step")
        assert captured == (number >= LAUNCHED_FROM), number
    assert not is_captured(runs[1].network, 4, "training step")


def test_steps_beside_other_passes_and_with_settings_that_change() -> None:
    """Norms, evaluations of other batch sizes, larger ones too, and every setting of the rule."""
    runs = [trainer("cifar10-bn", Adam, graph=graph, weight_decay=1e-3) for graph in (True, False)]
    outputs: list[list[Any]] = [[], []]
    for number in range(14):
        for running, seen in zip(runs, outputs, strict=True):
            optimizer, network = running.optimizer, running.network
            seen.append(figures(running.step(measure_norms=number in (0, 4, 9))))
            seen.append({name: y.get().tobytes() for name, y in network.activations.items()})
            if number in (2, 6):  # at first more than there is memory for
                x = random_array(number, 7 if number == 2 else 3, *network.input_shape)
                seen.append(network.forward(x).get().tobytes())
            if number == 7:
                assert isinstance(optimizer, Adam)
                optimizer.beta1, optimizer.epsilon = 0.8, 1e-6
            if number == 10:
                optimizer.weight_decay = 0.0
        assert outputs[0] == outputs[1], number
        assert bits(runs[0]) == bits(runs[1]), number
    assert is_captured(runs[0].network, 4, "training step")


def test_a_loss_that_is_not_finite_leaves_parameters_as_they_were() -> None:
    running = trainer("cifar10-bn", SGD, graph=True)
    for _ in range(4):
        running.step()
    assert is_captured(running.network, 4, "training step")
    parameters = {name: array.get() for name, array in running.network.parameters.items()}
    slots = running.optimizer.state_dict()
    ruined = running.batches.next()
    running.batches.next = lambda: dataclasses.replace(  # type: ignore[method-assign]
        ruined, images=np.full_like(ruined.images, np.nan)
    )
    with pytest.raises(FloatingPointError, match=r"^training: the loss of step 5 is nan: layer c"):
        running.step()
    for name, array in running.network.parameters.items():
        np.testing.assert_array_equal(array.get(), parameters[name], err_msg=name)
    after = running.optimizer.state_dict()
    assert {k: v.tobytes() for k, v in after.items()} == {k: v.tobytes() for k, v in slots.items()}
    running.batches.next = lambda: ruined  # type: ignore[method-assign]
    assert running.step().step == 5


def test_bad_settings_are_refused_at_a_launch_as_well() -> None:
    running = trainer("cifar10-bn", SGD, graph=True)
    for _ in range(4):
        running.step()
    before = {name: array.get() for name, array in running.network.parameters.items()}
    running.optimizer.momentum = -1.0  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=r"^SGD: momentum is -1"):
        running.step()
    assert running.steps == 4
    for name, array in running.network.parameters.items():
        np.testing.assert_array_equal(array.get(), before[name], err_msg=name)
    running.optimizer.momentum = 0.5  # type: ignore[attr-defined]
    assert running.step().step == 5


def test_weights_may_be_assigned_between_launches() -> None:
    runs = [trainer("cifar10-bn", SGD, graph=graph) for graph in (True, False)]
    for running in runs:
        for _ in range(4):
            running.step()
        fresh = AlexNet(VARIANTS["cifar10-bn"], seed=8).tensors()
        running.network.assign(fresh)
    assert figures(runs[0].step()) == figures(runs[1].step())
    assert bits(runs[0]) == bits(runs[1])


# --- forward alone --------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", VARIANTS)
def test_captured_forwards_give_the_bits_of_others(name: str, training: bool) -> None:
    networks = [
        AlexNet(VARIANTS[name], seed=3, device="cuda", graph=graph) for graph in (True, False)
    ]
    held = []
    for number in range(6):
        x = random_array(number, 2, *networks[0].input_shape)
        given = on_device(x) if number % 2 else x
        y, expected = (network.forward(given, training) for network in networks)
        held.append((y, expected))
        if training:
            dy = random_array(50 + number, *y.shape)
            gradients, right = (network.backward(dy) for network in networks)
            for key, array in gradients.items():
                np.testing.assert_array_equal(array.get(), right[key].get(), err_msg=key)
    assert is_captured(networks[0], 2, "forward")
    for y, expected in held:  # an output is the caller's
        np.testing.assert_array_equal(y.get(), expected.get())
    states = [network.tensors() for network in networks]
    for key, array in states[0].items():
        np.testing.assert_array_equal(array, states[1][key], err_msg=key)


def test_another_shape_is_another_graph() -> None:
    network, plain = (
        AlexNet(FEATURES, seed=3, device="cuda", graph=graph) for graph in (True, False)
    )
    for batch_size in (2, 2, 2, 3, 2, 3, 3, 5, 2, 5, 5, 2, 2, 2, 3, 1, 0, 0, 0, 0):
        x = random_array(batch_size, batch_size, *network.input_shape)
        np.testing.assert_array_equal(network.forward(x).get(), plain.forward(x).get())
    assert is_captured(network, 2, "forward")
    assert is_captured(network, 0, "forward")
    assert not is_captured(network, 1, "forward")


def test_a_graph_keeps_its_memory() -> None:
    """Whatever becomes of the network's other memory, and of what has filled the pool since."""
    network = AlexNet(FEATURES, seed=3, device="cuda")
    x = random_array(1, 2, *network.input_shape)
    expected = [network.forward(x).get() for _ in range(4)][-1]
    graph = graph_of(network, 2, "forward")
    network.forward(random_array(2, 9, *network.input_shape))  # new buffers, larger ones
    gc.collect()
    filled = [cupy.zeros((1 << 20,), cupy.float32) for _ in range(8)]
    np.testing.assert_array_equal(graph.run(x).get(), expected)
    assert filled


def test_network_without_graphs() -> None:
    network = AlexNet(FEATURES, device="cuda", graph=False)
    for _ in range(4):
        network.forward(random_array(1, 2, *network.input_shape))
    assert not network.uses_graphs
    assert network._workspace._kept[2].graphs == {}
    on_cpu = AlexNet(FEATURES)
    assert not on_cpu.uses_graphs
    with pytest.raises(TypeError, match=r"^network: graph is 3, expected"):
        AlexNet(FEATURES, graph=3)  # type: ignore[arg-type]


class Counting(LRN):
    """A layer that does something on the host."""

    def forward(self, context: Context, x: Any, out: Any) -> Any:
        passes.append(self.name)
        return super().forward(context, x, out)


class Noting(SGD):
    def step(self, *how: Any) -> None:
        passes.append("step")
        super().step(*how)


passes: list[str] = []


def test_what_others_define_is_done_every_time() -> None:
    passes.clear()
    layers = [
        Counting(*(getattr(layer, field.name) for field in dataclasses.fields(layer)))
        if isinstance(layer, LRN)
        else layer
        for layer in FEATURES.layers
    ]
    network = AlexNet(dataclasses.replace(FEATURES, layers=tuple(layers)), device="cuda")
    assert not network.uses_graphs
    for _ in range(4):
        network.forward(random_array(1, 1, *network.input_shape))
    assert passes.count("lrn1") == 4
    running = trainer("cifar10-bn", Noting, graph=True)
    for _ in range(4):
        running.step()
    assert passes.count("step") == 4


# --- benchmark and commands -----------------------------------------------------------------------


@pytest.mark.parametrize("target", [FORWARD, FORWARD_BACKWARD])
def test_benchmark_times_launches(target: str) -> None:
    benchmark = Benchmark(FEATURES, 2, device="cuda")
    benchmark.time(target, 2, 2)
    assert is_captured(benchmark.network, 2, target)
    without = Benchmark(FEATURES, 2, device="cuda", graph=False)
    without.time(target, 2, 2)
    for key, array in benchmark.network.gradients.items():
        np.testing.assert_array_equal(array.get(), without.network.gradients[key].get())


def test_bench_takes_graph(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "described_variant", lambda _: FEATURES)
    steps = ["--steps", "1", "--burn-in", "0", "--batch-size", "1"]
    for option, said in (("--graph", "CUDA graphs"), ("--no-graph", "no graphs")):
        assert main(["bench", "--device", "cuda", *steps, option]) == 0
        assert f"float32, {said}\n" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="2"):
        main(["bench", "--graph"])
    assert "--graph: only --device cuda has CUDA graphs" in capsys.readouterr().err


def test_runs_with_graphs_and_without_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(NAMED, small_runs.NAME, small_runs.SMALL)
    data, configuration = small_runs.dataset(16, 6), Configuration(steps=8, batch_size=4)
    contents = []
    for graph in (True, False):
        folder = tmp_path / str(graph)
        run = Run.start(folder, configuration, data, device="cuda", graph=graph)
        run.train()
        run.close()
        assert is_captured(run.trainer.network, 4, "training step") == graph
        contents.append(small_runs.folder_contents(folder))
    assert contents[0] == contents[1]


def test_garbage_is_not_collected_while_work_is_captured() -> None:
    """A graph that is freed then would end the capture."""
    x, y = (cupy.zeros((4,), cupy.float32) for _ in range(2))
    held: list[Any] = []

    def work() -> list[list[int]]:
        cuda.relu(x, out=y)
        if held:  # a cycle, which counting references does not free
            garbage = [held.pop()]
            garbage.append(garbage)
            del garbage
        return [[number] for number in range(100)]  # enough objects for a collection

    def run_twice() -> Graph[Any]:
        graph = Graph(array_kind(cuda), work, lambda: lambda: None)
        graph.run()
        held.extend(old)
        old.clear()
        graph.run()
        return graph

    old: list[Any] = []
    old.append(run_twice())
    before = gc.get_threshold()
    gc.set_threshold(10)
    try:
        assert run_twice().is_captured
    finally:
        gc.set_threshold(*before)
    assert gc.isenabled()
