"""Networks in bfloat16 and float16 on a CUDA device: errors, training, loss scaling, resuming.

The rule for the error is at most twice that of a plain run in the same precision, both against
float64. The plain run is `support.plain_mixed_precision`, which rounds where ours rounds, and at
every operator where ours computes two in one pass.
"""

from __future__ import annotations

import copy
import dataclasses
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import alexnet
from alexnet import SGD, Adam, AlexNet, reference
from alexnet.cli import main
from alexnet.commands import bench
from alexnet.comparison.benchmark import FORWARD_BACKWARD, Benchmark
from alexnet.data import ImageSet, Preprocessing, TrainingBatches
from alexnet.inference.evaluation import evaluate
from alexnet.network.initializers import HeNormal, Initialisation, Normal
from alexnet.network.layers import Dropout
from alexnet.network.network import Network
from alexnet.network.variant import Variant
from alexnet.network.variants import VARIANTS
from alexnet.training.configuration import Configuration
from alexnet.training.optimizers import Optimizer
from alexnet.training.run import Run
from alexnet.training.trainer import StepResult, Trainer
from support import small_runs
from support.arrays import random_array, relative_error
from support.cuda_device import cuda, on_device
from support.plain_mixed_precision import PlainMixedPrecision
from support.small_networks import small_variant

pytestmark = pytest.mark.cuda

PRECISIONS = ("bfloat16", "float16")
CLASSES = 10
RULES: dict[str, type[Optimizer]] = {"bfloat16": SGD, "float16": Adam}
MOST_OF_PLAIN = 2  # times the plain run's error
ALIVE = Initialisation(HeNormal(), Normal(0.1))  # every layer's signal about as large as x
NORMED = small_variant("cifar10-bn")
DROPPING = dataclasses.replace(
    NORMED, layers=(*NORMED.layers[:-1], Dropout("dropout7", 0.25), NORMED.layers[-1])
)


@pytest.fixture(params=PRECISIONS)
def precision(request: pytest.FixtureRequest) -> str:
    try:
        cuda.mixed_precision.dtype_of(request.param)
    except NotImplementedError as error:
        pytest.skip(str(error))
    return str(request.param)


def network_of(variant: Variant, **how: Any) -> Network:
    return AlexNet(dataclasses.replace(variant, initialisation=ALIVE), seed=2, **how)


def host(array: Any) -> np.ndarray:
    return array if isinstance(array, np.ndarray) else array.get()


# --- errors ---------------------------------------------------------------------------------------


def passed(network: Network, training: bool, scale: float) -> dict[str, np.ndarray]:
    """Output and gradients, with the loss scaled by hand."""
    labels = np.arange(6)
    x = random_array(1, len(labels), *network.input_shape)
    y = network.forward(x, training)
    logits = host(y)
    dy = reference.softmax_cross_entropy_backward(logits.astype(np.float64), labels)
    dy = (dy * scale).astype(np.float32)
    gradients = network.backward(network._arrays.from_host(dy), input_gradient=True)
    found = {name: host(array).astype(np.float64) / scale for name, array in gradients.items()}
    return {"y": logits, **found}


@pytest.mark.parametrize(
    ("name", "training"),
    [("cifar10-bn", True), ("cifar10-bn", False), ("krizhevsky-2012", True)],
)
def test_errors_against_float64(precision: str, name: str, training: bool) -> None:
    """Batch norm; LRN, groups and dropout; pools, dense layers and ReLU in both."""
    variant = small_variant(name)
    exact = passed(network_of(variant, implementation=reference), training, 1.0)
    ours = network_of(variant, device="cuda", precision=precision)
    plain = PlainMixedPrecision(ours.activation_dtype)
    # The plain run has no loss scaling of its own, so that its small gradients would vanish.
    expected = passed(network_of(variant, implementation=plain), training, 1024.0)
    if ours.loss_scale is not None:
        ours.loss_scale.restore(np.array([1024, 0], np.float32))
    found = passed(ours, training, 1.0)
    assert found.keys() == exact.keys()
    for key, right in exact.items():
        limit = MOST_OF_PLAIN * relative_error(expected[key], right)
        error = relative_error(found[key], right)
        assert error <= limit, key
        assert error > 0, "something was rounded"


def test_what_is_of_16_bits_and_what_is_not(precision: str) -> None:
    network = AlexNet(NORMED, device="cuda", precision=precision)
    x = random_array(1, 2, *network.input_shape)
    y = network.forward(x, training=True)
    gradients = network.backward(y, input_gradient=True)
    assert y.dtype == np.float32
    assert {array.dtype for array in gradients.values()} == {np.dtype(np.float32)}
    assert {array.dtype for array in network.parameters.values()} == {np.dtype(np.float32)}
    dtypes = {array.dtype.name for array in network.activations.values()}
    assert dtypes == {precision} == {network.activation_dtype.name}
    assert network.precision == precision


def test_parameters_that_are_written_to_are_read(precision: str) -> None:
    networks = [AlexNet(NORMED, seed=seed, device="cuda", precision=precision) for seed in (1, 2)]
    x = random_array(1, 2, *NORMED.input_shape)
    for _ in range(4):  # the later ones as a graph
        first, second = (network.forward(x).get() for network in networks)
    assert (first != second).any()
    for name, array in networks[0].parameters.items():
        array[...] = networks[1].parameters[name]
    np.testing.assert_array_equal(networks[0].forward(x).get(), second)
    networks[0].assign(AlexNet(NORMED, seed=1).tensors())
    np.testing.assert_array_equal(networks[0].forward(x).get(), first)


def test_outputs_and_gradients_that_are_held_stay(precision: str) -> None:
    network = AlexNet(NORMED, device="cuda", precision=precision)
    batches = [random_array(seed, 2, *network.input_shape) for seed in range(5)]
    held = [network.forward(batch) for batch in batches]
    for batch, y in zip(batches, held, strict=True):
        np.testing.assert_array_equal(network.forward(batch).get(), y.get())


def test_inferences_layer_by_layer(precision: str) -> None:
    """With an observer there is a step for each layer, and no rounding more or less but LRN's."""
    network = AlexNet(NORMED, device="cuda", precision=precision)
    x, seen = random_array(1, 2, *network.input_shape), []
    y = network.forward(x).get()
    apart = network.forward(x, observer=lambda *what: seen.append(what)).get()
    np.testing.assert_array_equal(apart, y)
    assert len(seen) == len(network.layers)


# --- training -------------------------------------------------------------------------------------


def trainer(
    rule: type[Optimizer] = SGD,
    *,
    graph: bool = True,
    step: int = 0,
    images: int = 16,
    learning_rate: float = 0.01,
    **how: Any,
) -> Trainer:
    """Of batches of 4."""
    network = AlexNet(DROPPING, seed=3, device="cuda", graph=graph, **how)
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (images, *network.input_shape)).astype(np.uint8)
    source = ImageSet(pixels, np.arange(images) % CLASSES)
    preprocessing = Preprocessing.fit(source, network.input_shape, augment="none")
    batches = TrainingBatches(source, preprocessing, 4, seed=1, step=step)
    optimizer = rule(network, learning_rate=learning_rate, weight_decay=1e-3)
    return Trainer(network, optimizer, batches)


def bits(running: Trainer) -> dict[str, bytes]:
    tensors = running.network.tensors() | running.optimizer.state_dict()
    gradients = {f"d{name}": array.get() for name, array in running.network.gradients.items()}
    return {name: array.tobytes() for name, array in (tensors | gradients).items()}


def figures(result: StepResult) -> tuple[object, ...]:
    return (result.step, result.loss, result.accuracy, result.learning_rate)


def captured(running: Trainer) -> bool:
    plans = running.network._workspace._kept[4]
    return any(graph.is_captured for graph in plans.graphs.values())


def test_captured_steps_give_the_bits_of_steps_one_by_one(precision: str) -> None:
    rule = RULES[precision]
    runs = [trainer(rule, graph=graph, precision=precision) for graph in (True, False)]
    for number in range(1, 5):
        results = [figures(running.step()) for running in runs]
        assert results[0] == results[1], number
        assert bits(runs[0]) == bits(runs[1]), number
        assert captured(runs[0]) == (number >= 3), number
    assert not captured(runs[1])


def losses(precision: str) -> list[float]:
    """Over and over the same batch."""
    running = trainer(Adam, images=4, learning_rate=0.003, precision=precision)
    if running.network.loss_scale is not None:  # as after the first steps, which were left out
        running.network.loss_scale.restore(np.array([4096, 0], np.float32))
    return [running.step().loss for _ in range(10)]


@pytest.fixture(scope="module")
def exact_losses() -> list[float]:
    return losses("float32")


def test_the_loss_falls(precision: str, exact_losses: list[float]) -> None:
    found = losses(precision)
    assert np.mean(found[-3:]) < 0.7 * found[0]
    assert np.mean(found[-3:]) == pytest.approx(np.mean(exact_losses[-3:]), rel=0.1)


def test_masters_are_float32(precision: str) -> None:
    """Updates that are too small for a number of 16 bits add up."""
    network = AlexNet(NORMED, seed=3, device="cuda", precision=precision)
    optimizer = SGD(network, learning_rate=2.0**-8, momentum=0.0)
    x, name = random_array(1, 2, *NORMED.input_shape), "fc8.bias"
    network.parameters[name][...] = 1
    for _ in range(8):
        y = network.forward(x, training=True)
        network.backward(on_device(np.full(y.shape, 2.0**-6, np.float32)))
        optimizer.step()
    np.testing.assert_array_equal(network.parameters[name].get(), np.float32(1 - 8 * 2.0**-13))
    copies = network._mixed_precision.copies  # type: ignore[union-attr]
    for key, array in network.parameters.items():
        expected = array.get().astype(network.activation_dtype)
        np.testing.assert_array_equal(copies.arrays[key].get(), expected)


def test_parameters_that_are_held_may_be_written_to_at_any_time(precision: str) -> None:
    """As a training loop of one's own does, which asks for them once."""
    network = AlexNet(NORMED, seed=3, device="cuda", precision=precision)
    x, weight = random_array(1, 1, *NORMED.input_shape), network.parameters["fc8.weight"]
    outputs = []
    for value in (0.0, 1.0, 0.0, 1.0):
        weight[...] = value
        outputs.append(network.forward(x).get())
    assert not outputs[0].any()
    assert outputs[1].any()
    np.testing.assert_array_equal(outputs[2:], outputs[:2])


def test_parameters_in_one_piece_may_be_written_to(precision: str) -> None:
    network = AlexNet(NORMED, seed=3, device="cuda", precision=precision)
    x = random_array(1, 1, *NORMED.input_shape)
    first = network.forward(x).get()
    network.parameter_memory.arrays["fc8.weight"][...] = 0
    second = network.forward(x).get()
    assert first.any()
    assert not second.any()  # fc8.bias is 0


# --- loss scaling ---------------------------------------------------------------------------------


@pytest.mark.parametrize("graph", [True, False])
def test_a_step_that_overflows_is_left_out(graph: bool) -> None:
    running = trainer(Adam, graph=graph, precision="float16")
    scale = running.network.loss_scale
    scale.restore(np.array([256, 0], np.float32))
    for _ in range(4):
        running.step()
    assert scale.state.tolist() == [256, 4]
    before = parameters_and_slots(running)
    scale.restore(np.array([2.0**24, 7], np.float32))
    result = running.step()
    assert np.isfinite(result.loss)
    assert parameters_and_slots(running) == before
    assert scale.state.tolist() == [2.0**23, 0]
    assert running.steps == 5
    scale.restore(np.array([256, 0], np.float32))
    running.step()
    after = parameters_and_slots(running)
    assert all(after[name] != array for name, array in before.items() if name.endswith(".weight"))


def parameters_and_slots(running: Trainer) -> dict[str, bytes]:
    slots = {
        name: array
        for name, array in running.optimizer.state_dict().items()
        if name not in ("steps", "loss_scale")
    }
    parameters = {name: array.get() for name, array in running.network.parameters.items()}
    return {name: array.tobytes() for name, array in (parameters | slots).items()}


def test_the_scale_finds_its_size() -> None:
    running = trainer(SGD, precision="float16")
    running.network.loss_scale.restore(np.array([2.0**21, 0], np.float32))
    before = parameters_and_slots(running)
    scales = []
    for _ in range(8):
        running.step()
        scales.append(running.network.loss_scale.state[0])
    assert scales[0] == 2.0**20
    assert scales[-1] == scales[-2]
    assert parameters_and_slots(running) != before


def test_gradients_are_of_the_loss_whatever_the_scale() -> None:
    found = []
    for scale in (2.0**6, 2.0**9):
        network = network_of(NORMED, device="cuda", precision="float16")
        network.loss_scale.restore(np.array([scale, 0], np.float32))
        x = random_array(1, 3, *network.input_shape)
        y = network.forward(x, training=True)
        dy = on_device(random_array(2, *y.shape, scale=0.05))
        gradients = network.backward(dy, input_gradient=True)
        found.append({name: array.get() for name, array in gradients.items()})
    for name, array in found[0].items():
        assert relative_error(array, found[1][name]) <= 2e-3, name  # subnormal numbers


def test_small_gradients_do_not_vanish() -> None:
    network = network_of(NORMED, device="cuda", precision="float16")
    x = random_array(1, 3, *network.input_shape)
    for scale, survives in ((1.0, False), (2.0**20, True)):
        network.loss_scale.restore(np.array([scale, 0], np.float32))
        y = network.forward(x, training=True)
        gradients = network.backward(on_device(np.full(y.shape, 2.0**-26, np.float32)))
        assert bool(gradients["fc8.bias"].get().any()) == survives


def test_a_backward_whose_step_is_not_taken_leaves_no_overflow() -> None:
    network = AlexNet(NORMED, device="cuda", precision="float16")
    optimizer = SGD(network, learning_rate=0.01)
    x = random_array(1, 2, *network.input_shape)
    y = network.forward(x, training=True)
    network.backward(on_device(np.full(y.shape, 1e6, np.float32)))
    y = network.forward(x, training=True)
    network.backward(on_device(np.full(y.shape, 1e-3, np.float32)))
    before = network.tensors()["fc8.bias"]
    optimizer.step()
    assert (network.tensors()["fc8.bias"] != before).all()


def test_a_loss_that_is_not_finite_ends_training() -> None:
    running = trainer(precision="float16")
    for _ in range(4):
        running.step()
    before, state = parameters_and_slots(running), running.optimizer.state_dict()
    ruined = running.batches.next()
    running.batches.next = lambda: dataclasses.replace(  # type: ignore[method-assign]
        ruined, images=np.full_like(ruined.images, np.nan)
    )
    with pytest.raises(FloatingPointError, match=r"^training: the loss of step 5 is nan: layer c"):
        running.step()
    assert parameters_and_slots(running) == before
    after = running.optimizer.state_dict()
    assert {k: v.tobytes() for k, v in after.items()} == {k: v.tobytes() for k, v in state.items()}


# --- copies and files -----------------------------------------------------------------------------


def test_copies_go_on_as_the_network_does(precision: str) -> None:
    running = trainer(precision=precision, graph=False)
    if running.network.loss_scale is not None:
        running.network.loss_scale.restore(np.array([64, 5], np.float32))
    running.step()
    deep = copy.deepcopy(running.optimizer)
    pickled = pickle.loads(pickle.dumps(running.optimizer))
    expected = running.network.tensors()
    for optimizer in (deep, pickled):
        network = optimizer.network
        assert network.precision == precision
        if network.loss_scale is not None:
            assert network.loss_scale.state.tolist() == [64, 6]
        for name, array in network.tensors().items():
            np.testing.assert_array_equal(array, expected[name])
        x = random_array(1, 2, *network.input_shape)
        y, right = network.forward(x), running.network.forward(x)
        np.testing.assert_array_equal(y.get(), right.get())
    shallow = copy.copy(running.network)
    np.testing.assert_array_equal(shallow.forward(x).get(), right.get())


def test_a_resumed_run_has_the_bits_of_the_other(precision: str) -> None:
    rule = RULES[precision]
    whole = trainer(rule, precision=precision)
    early = trainer(rule, precision=precision)
    for running in (whole, early):
        if precision == "float16":
            running.network.loss_scale.restore(np.array([2.0**18, 3], np.float32))
    for _ in range(4):
        whole.step()
    for _ in range(2):
        early.step()
    late = trainer(rule, precision=precision, step=2)
    late.restore(early.checkpoint())
    for _ in range(2):
        late.step()
    assert bits(late) == bits(whole)


def test_checkpoints_are_those_of_float32(precision: str, tmp_path: Path) -> None:
    """A run goes on in another precision; a file is read by the CPU."""
    running = trainer(precision=precision)
    running.step()
    other = trainer(precision="float32", step=1)
    other.restore(running.checkpoint())
    assert other.step().step == 2
    back = trainer(precision=precision, step=2)
    back.restore(other.checkpoint())
    assert back.step().step == 3
    running.network.save(tmp_path / "weights.safetensors")
    on_cpu = alexnet.load(tmp_path / "weights.safetensors")
    x = random_array(1, 2, *on_cpu.input_shape)
    assert relative_error(running.network.forward(x).get(), on_cpu.forward(x)) <= 0.05
    again = alexnet.load(tmp_path / "weights.safetensors", device="cuda", precision=precision)
    np.testing.assert_array_equal(again.forward(x).get(), running.network.forward(x).get())


# --- commands -------------------------------------------------------------------------------------


def test_runs_are_trained_and_evaluated(
    precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(VARIANTS, small_runs.NAME, small_runs.SMALL)
    data, configuration = small_runs.dataset(4, 2), Configuration(steps=1, batch_size=2)
    run = Run.start(tmp_path / "run", configuration, data, device="cuda", precision=precision)
    run.train()
    run.close()
    run = Run.resume(tmp_path / "run", data, {"steps": 2}, device="cuda", precision=precision)
    run.train()
    run.close()
    assert run.trainer.steps == 2
    assert run.trainer.network.precision == precision
    result = evaluate(run.trainer.network, data.test, run.preprocessing)
    assert np.isfinite(result.loss)
    with pytest.raises(NotImplementedError, match="on the CPU is for inference alone"):
        Run.start(tmp_path / "cpu", configuration, data, precision="bfloat16")
    assert not (tmp_path / "cpu").exists()


def test_bench(
    precision: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "described_variant", lambda _: NORMED)
    steps = ["--steps", "1", "--burn-in", "0", "--batch-size", "1"]
    assert main(["bench", "--device", "cuda", "--precision", precision, *steps]) == 0
    out = capsys.readouterr().out
    assert f"{precision}, CUDA graphs\n" in out
    assert "forward-backward" in out
    benchmark = Benchmark(NORMED, 1, device="cuda", precision=precision)
    assert all(layer.seconds >= 0 for layer in benchmark.time_layers(FORWARD_BACKWARD, 1))


def test_float16_is_not_for_the_cpu(capsys: pytest.CaptureFixture[str]) -> None:
    message = "network: precision is 'float16', which only device 'cuda' has; device 'cpu' has"
    with pytest.raises(ValueError, match=f"^{message}"):
        AlexNet(NORMED, precision="float16")
    with pytest.raises(SystemExit, match="2"):
        main(["bench", "--precision", "float16"])
    expected = "argument --precision: 'float16', expected float32 or bfloat16 on the CPU"
    assert expected in " ".join(capsys.readouterr().err.split())
