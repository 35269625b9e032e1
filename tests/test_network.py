"""Networks: gradients, agreement with the reference, and what happens to the arrays involved."""

from __future__ import annotations

import copy
import dataclasses
import math
import mmap
import pickle
import tracemalloc
from collections.abc import Callable
from types import ModuleType

import numpy as np
import numpy.typing as npt
import pytest

from alexnet import cpu, reference
from alexnet.arrays import CACHE_LINE, LARGE, LARGE_PAGE, ArrayKind, array_kind
from alexnet.network.initializers import HeNormal, Initialisation, Normal
from alexnet.network.layers import BatchNorm, Conv2d, Dense, Dropout, Flatten, MaxPool2d
from alexnet.network.network import Network
from alexnet.network.variant import Variant
from alexnet.network.variants import VARIANTS, AlexNet
from alexnet.training.optimizers import SGD
from alexnet.verification.verify import randomised
from support.arrays import random_array, relative_error
from support.small_networks import small_variant

NAMES = tuple(VARIANTS)
ALIVE = Initialisation(HeNormal(), Normal(0.1))  # every layer's signal about as large as x


def small(name: str) -> Variant:
    return dataclasses.replace(small_variant(name), initialisation=ALIVE)


def images(variant: Variant, batch_size: int, seed: int = 0) -> npt.NDArray[np.float32]:
    return random_array(seed, batch_size, *variant.input_shape)


def output_gradient(variant: Variant, batch_size: int, seed: int = 1) -> npt.NDArray[np.float32]:
    return random_array(seed, batch_size, *variant.output_shape)


class Recorder(ModuleType):
    """The reference's operators on float32 arrays, noting every call."""

    def __init__(self) -> None:
        super().__init__("recorder")
        self.calls: list[tuple[str, dict[str, object]]] = []

    def __getattr__(self, name: str) -> Callable[..., object]:
        operator = getattr(reference, name)

        def recorded(*args: object, **kwargs: object) -> object:
            self.calls.append((name, kwargs))
            return operator(*args, **kwargs)

        return recorded


# --- gradients ------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_gradients_by_central_differences(name: str, training: bool) -> None:
    """Along a random direction of every parameter and of the input, in float64."""
    variant = small(name)
    # Betas of 0 would hold zeros from behind a ReLU at the kink of the next one.
    network = randomised(AlexNet(variant, seed=2, implementation=reference), 4)
    x = images(variant, 2).astype(np.float64)
    weight_of_output = output_gradient(variant, 2).astype(np.float64)
    start = {key: value.copy() for key, value in network.tensors().items()}

    def loss(x: npt.NDArray[np.float64]) -> float:
        network.assign({**network.tensors(), "generator": start["generator"]})
        return float((network.forward(x, training) * weight_of_output).sum())

    loss(x)
    gradients = network.backward(weight_of_output, input_gradient=True)
    gradients = {key: value.copy() for key, value in gradients.items()}
    assert gradients.keys() == {*network.parameters, "input"}
    network.assign(start)

    generator, step = np.random.default_rng(3), 1e-6
    for key, gradient in gradients.items():
        direction = generator.standard_normal(gradient.shape)
        direction /= np.linalg.norm(direction)
        if key == "input":
            difference = loss(x + step * direction) - loss(x - step * direction)
        else:
            parameter = network.parameters[key]
            parameter += step * direction
            above = loss(x)
            parameter -= 2 * step * direction
            difference = above - loss(x)
            parameter[...] = start[key]
        error = abs(difference / (2 * step) - float((gradient * direction).sum()))
        assert error <= 1e-5 * float(np.linalg.norm(gradient)), key


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.usefixtures("isa")
def test_kernels_agree_with_the_reference(name: str, training: bool) -> None:
    variant = small(name)
    kernels = randomised(AlexNet(variant, seed=2), 4)
    oracle = randomised(AlexNet(variant, seed=2, implementation=reference), 4)
    # Batch norm over the features of two or three images takes away most of what they have in
    # common, but not its rounding errors.
    x, dy = images(variant, 4), output_gradient(variant, 4)
    y, expected = kernels.forward(x, training), oracle.forward(x, training)
    assert y.dtype == np.float32
    assert relative_error(y, expected) <= 1e-5
    gradients = kernels.backward(dy, input_gradient=True)
    for key, gradient in oracle.backward(dy, input_gradient=True).items():
        assert gradients[key].dtype == np.float32
        assert relative_error(gradients[key], gradient) <= 2e-5, key
    for key, value in oracle.state.items():
        assert relative_error(kernels.state[key], value) <= 1e-5, key


# --- the arrays involved --------------------------------------------------------------------------


def test_results_are_kept_while_held() -> None:
    variant = small("torchvision")
    network = AlexNet(variant, implementation=reference)
    results = [network.forward(images(variant, 2, seed)) for seed in range(5)]
    row = network.forward(images(variant, 2, 5))[1]  # a view of a result that nobody holds
    copies = [result.copy() for result in results]
    row_copy = row.copy()
    for seed in range(6, 10):
        network.forward(images(variant, 2, seed))
    for result, held in zip(results, copies, strict=True):
        np.testing.assert_array_equal(result, held)
    np.testing.assert_array_equal(row, row_copy)
    assert len({copy.tobytes() for copy in copies}) == 5


@pytest.mark.parametrize("name", ["tf-small", "tf-full", "slim-v2"])
def test_a_loop_uses_two_buffers(name: str) -> None:
    variant = small(name)
    network = AlexNet(variant, implementation=reference)
    seen = set()
    for seed in range(6):
        y = network.forward(images(variant, 1, seed))
        seen.add(y.__array_interface__["data"][0])
    assert len(seen) <= 2


def test_output_is_read_only_where_backward_reads_it() -> None:
    for name in NAMES:
        network = AlexNet(small_variant(name), implementation=Recorder())
        y = network.forward(images(network.variant, 1))
        assert y.flags.writeable == (name != "tf-full"), name


def test_writing_to_the_output_leaves_the_gradients() -> None:
    variant = small("torchvision")
    network = AlexNet(variant, implementation=reference)
    x, dy = images(variant, 2), output_gradient(variant, 2)
    network.forward(x)
    expected = network.backward(dy)["conv1.weight"].copy()
    network.forward(x)[...] = np.nan
    np.testing.assert_array_equal(network.backward(dy)["conv1.weight"], expected)


FIRST_LAYERS = {
    "dropout": (Dropout("drop"), Conv2d("conv", 4, 3, activation="relu"), Flatten("flat")),
    "flatten": (Flatten("flat"), Dropout("drop"), Dense("fc", 5, activation="relu")),
    "pool": (MaxPool2d("pool"), Dropout("drop"), Flatten("flat"), Dense("fc", 5)),
    "norm": (BatchNorm("bn", activation="relu"), Conv2d("conv", 4, 3)),
    "last": (Conv2d("conv", 4, 3, activation="relu"), Dropout("drop"), Flatten("flat")),
    "views": (Flatten("flat"),),
}


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("layers", FIRST_LAYERS.values(), ids=FIRST_LAYERS.keys())
def test_callers_arrays_are_not_written_to(layers: tuple, training: bool) -> None:
    variant = Variant("mine", "a test", (7, 7, 3), layers)
    network = AlexNet(variant, seed=1, implementation=reference)
    oracle = AlexNet(variant, seed=1, implementation=Recorder())
    x, dy = images(variant, 3), output_gradient(variant, 3)
    x_copy, dy_copy = x.copy(), dy.copy()
    y = network.forward(x, training)
    gradients = network.backward(dy, input_gradient=True)
    np.testing.assert_array_equal(x, x_copy)
    np.testing.assert_array_equal(dy, dy_copy)
    assert gradients["input"].shape == x.shape
    assert not np.shares_memory(gradients["input"], dy)
    for array in (x, dy):
        array.flags.writeable = False
    assert relative_error(oracle.forward(x, training), y) <= 1e-6
    for key, gradient in oracle.backward(dy, input_gradient=True).items():
        assert relative_error(gradient, gradients[key]) <= 1e-6


def test_arrays_of_any_layout() -> None:
    variant = small("caffe")
    network = AlexNet(variant, implementation=reference)
    x, dy = images(variant, 2), output_gradient(variant, 2)
    expected = network.forward(x).copy()
    gradient = network.backward(dy)["conv1.weight"].copy()
    strided = np.ascontiguousarray(x.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(network.forward(strided), expected)
    np.testing.assert_array_equal(network.backward(np.asfortranarray(dy))["conv1.weight"], gradient)


def test_gradients_are_the_networks_own_arrays() -> None:
    variant = small("cifar10-bn")
    network = AlexNet(variant, implementation=reference)
    assert all((gradient == 0).all() for gradient in network.gradients.values())
    network.forward(images(variant, 2), training=True)
    first = network.backward(output_gradient(variant, 2))
    kept = first["conv3.weight"].copy()
    network.forward(images(variant, 2, seed=9), training=True)
    second = network.backward(output_gradient(variant, 2))
    assert second["conv3.weight"] is first["conv3.weight"] is network.gradients["conv3.weight"]
    assert not np.array_equal(first["conv3.weight"], kept)


# --- buffers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_operators_write_where_the_network_says(name: str) -> None:
    """Every operator gets `out`, and the gradient of the images is computed only when asked for."""
    variant, recorder = small(name), Recorder()
    network = AlexNet(variant, implementation=recorder)
    network.forward(images(variant, 2), training=True)
    network.backward(output_gradient(variant, 2))
    biased = ("conv2d_backward_weight", "dense_backward_weight")  # there may be no bias
    for operator, arguments in recorder.calls:
        out = arguments["out"]
        entries = out if isinstance(out, tuple) else (out,)
        missing = sum(entry is None for entry in entries)
        assert missing == 0 or (operator in biased and missing == 1), operator
    inputs = [operator for operator, _ in recorder.calls if operator == "conv2d_backward_input"]
    convolutions = sum(isinstance(layer, Conv2d) for layer in variant.layers)
    assert len(inputs) == convolutions - 1


def test_every_array_begins_with_a_cache_line() -> None:
    network = AlexNet("cifar10-bn", seed=0)
    x = random_array(1, 3, *network.input_shape)
    network.backward(network.forward(x, training=True), input_gradient=True)
    arrays = [*network.parameters.values(), *network.gradients.values()]
    arrays += network.activations.values()
    assert {array.ctypes.data % CACHE_LINE for array in arrays} == {0}
    assert cpu.relu(x).ctypes.data % CACHE_LINE == 0


def no_mapping(*_: object) -> None:
    raise OSError("no mapping wanted here")


@pytest.mark.parametrize("implementation", [cpu, reference])
def test_large_arrays_are_zeros_in_large_pages(
    implementation: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = array_kind(implementation)
    shape = (LARGE // 64 + 1, 64 // kind.dtype.itemsize)
    for make in (kind.empty, kind.zeros):
        array = make(shape)
        assert (array.shape, array.dtype) == (shape, kind.dtype)
        if hasattr(mmap, "MADV_HUGEPAGE"):
            assert array.ctypes.data % LARGE_PAGE == 0
        array[...] = 1
        assert array.sum() == array.size
    assert not kind.zeros(shape).any()
    monkeypatch.setattr(mmap, "mmap", no_mapping)
    assert not kind.zeros(shape).any()
    assert kind.empty(shape).ctypes.data % CACHE_LINE == 0


@pytest.mark.parametrize("name", ["tf-small", "cifar10-bn", "torchvision"])
def test_a_step_after_the_first_allocates_nothing_of_activation_size(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    variant = VARIANTS[name].shrunk(width=1 / 8)
    network, batch_size = AlexNet(variant), 32
    optimizer = SGD(network, learning_rate=1e-6)
    x, dy = images(variant, batch_size), output_gradient(variant, batch_size)

    def step() -> None:
        network.forward(x, training=True)
        network.backward(dy)
        optimizer.step()

    step()
    monkeypatch.setattr(mmap, "mmap", no_mapping)  # NumPy's memory is traced, mappings are not
    tracemalloc.start()
    try:
        step()
        _, peak = tracemalloc.get_traced_memory()
        np.empty_like(x)
        _, peak_of_x = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    largest = max(math.prod(shape) for shape in variant.shapes(batch_size)[1:]) * 4
    assert largest >= 500_000
    assert peak_of_x >= x.nbytes, "NumPy's memory is not traced"
    assert peak <= 50_000  # views and other small objects, a quarter of it as measured


def test_batch_sizes_may_change() -> None:
    variant = small("cifar10-bn")
    network = AlexNet(variant, implementation=reference)
    for batch_size in (3, 1, 5, 2, 5):
        fresh = AlexNet(variant, implementation=reference)
        fresh.assign(network.tensors())
        x, dy = images(variant, batch_size, batch_size), output_gradient(variant, batch_size)
        y, expected = network.forward(x, training=True), fresh.forward(x, training=True)
        np.testing.assert_array_equal(y, expected)
        gradients = network.backward(dy, input_gradient=True)
        for key, gradient in fresh.backward(dy, input_gradient=True).items():
            np.testing.assert_array_equal(gradients[key], gradient)


def test_a_batch_too_large_for_the_memory_leaves_the_network_usable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    variant = small("cifar10-bn")
    network = AlexNet(variant)
    x = images(variant, 2)
    expected = network.forward(x).copy()

    def full(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(ArrayKind, "empty", full)
        with pytest.raises(MemoryError):
            network.forward(images(variant, 3))
    np.testing.assert_array_equal(network.forward(x), expected)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_empty_batch(name: str, training: bool) -> None:
    variant = small_variant(name)
    network = AlexNet(variant, implementation=reference)
    y = network.forward(images(variant, 0), training)
    assert y.shape == (0, *variant.output_shape)
    gradients = network.backward(np.zeros_like(y), input_gradient=True)
    assert gradients.pop("input").shape == (0, *variant.input_shape)
    assert all((gradient == 0).all() for gradient in gradients.values())
    for key, value in network.state.items():
        assert np.isfinite(value).all(), key


# --- state ----------------------------------------------------------------------------------------


def test_dropout_repeats_from_its_state() -> None:
    variant = small("krizhevsky-2012")
    network = AlexNet(variant, seed=4, implementation=reference)
    same = AlexNet(variant, seed=4, implementation=reference)
    other = AlexNet(variant, seed=4, implementation=reference)
    other.assign({**other.tensors(), "generator": np.array([5, 0], np.uint64)})
    x = images(variant, 2)
    first = network.forward(x, training=True)
    np.testing.assert_array_equal(same.forward(x, training=True), first)
    assert not np.array_equal(other.forward(x, training=True), first)
    kept = network.tensors()["generator"]
    second = network.forward(x, training=True)
    assert not np.array_equal(second, first)
    network.assign({**network.tensors(), "generator": kept})
    np.testing.assert_array_equal(network.forward(x, training=True), second)


def test_inference_neither_drops_nor_changes_state() -> None:
    for name in ("krizhevsky-2012", "torchvision", "cifar10-bn"):
        variant = small(name)
        network = AlexNet(variant, implementation=reference)
        x = images(variant, 2)
        before = {key: value.copy() for key, value in network.state.items()}
        first = network.forward(x)
        np.testing.assert_array_equal(network.forward(x), first)
        for key, value in network.state.items():
            np.testing.assert_array_equal(value, before[key])


def test_batch_norm_running_statistics() -> None:
    variant = Variant("bn", "a test", (5, 5, 3), (BatchNorm("bn", momentum=0.25),))
    network = AlexNet(variant, implementation=reference)
    x = images(variant, 4)
    network.forward(x, training=True)
    mean = x.reshape(-1, 3).mean(axis=0, dtype=np.float64)
    variance = x.reshape(-1, 3).astype(np.float64).var(axis=0, ddof=1)
    np.testing.assert_allclose(network.state["bn.running_mean"], 0.25 * mean, rtol=1e-5)
    expected = 0.75 + 0.25 * variance
    np.testing.assert_allclose(network.state["bn.running_variance"], expected, rtol=1e-6)
    y = network.forward(x)
    by_hand = (x - 0.25 * mean) / np.sqrt(expected + 1e-5)
    np.testing.assert_allclose(y, by_hand, rtol=1e-5, atol=1e-6)


def test_relu_batch_norm_relu_by_hand() -> None:
    """Conv5 of cifar10-bn: both ReLUs, forward and backward, with the pool that takes the second.

    The kernels' steps one by one, fused, and made again from their recording agree.
    """
    layers = (
        Conv2d("conv", 6, 3, activation="relu"),
        BatchNorm("bn", epsilon=1e-3, activation="relu"),
        MaxPool2d("pool", window=2),
        Flatten("flat"),
        Dense("fc", 5, bias=False),
        BatchNorm("norm", epsilon=1e-3, activation="relu"),
        Dense("last", 3),
    )
    network = randomised(AlexNet(Variant("mine", "a test", (6, 6, 3), layers), seed=3), 5)
    x, dy = random_array(1, 4, 6, 6, 3), random_array(2, 4, 3)
    p = {name: value.astype(np.float64) for name, value in network.parameters.items()}

    def norm(x: npt.NDArray[np.float64], name: str) -> tuple[npt.NDArray[np.float64], ...]:
        return reference.batch_norm(
            x, p[f"{name}.gamma"], p[f"{name}.beta"], epsilon=1e-3, activation="relu"
        )

    conv = np.maximum(reference.conv2d(x, p["conv.weight"], p["conv.bias"]), 0)
    assert 0.2 < (conv == 0).mean() < 0.8
    bn, *statistics = norm(conv, "bn")
    pool = reference.max_pool2d(bn, window=2, stride=2)
    fc = pool.reshape(4, -1) @ p["fc.weight"]
    hidden, *hidden_statistics = norm(fc, "norm")
    y = hidden @ p["last.weight"] + p["last.bias"]

    dhidden = dy @ p["last.weight"].T * (hidden > 0)
    dfc, dgamma, dbeta = reference.batch_norm_backward(
        dhidden, fc, p["norm.gamma"], *hidden_statistics, epsilon=1e-3
    )
    dpool = (dfc @ p["fc.weight"].T).reshape(pool.shape)
    dbn = reference.max_pool2d_backward(dpool, bn, window=2, stride=2) * (bn > 0)
    dconv, *dnorm = reference.batch_norm_backward(
        dbn, conv, p["bn.gamma"], *statistics, epsilon=1e-3
    )
    dconv *= conv > 0
    expected = {
        "conv.weight": reference.conv2d_backward_weight(dconv, x.astype(np.float64), 3)[0],
        "conv.bias": dconv.sum(axis=(0, 1, 2)),
        "bn.gamma": dnorm[0],
        "bn.beta": dnorm[1],
        "fc.weight": pool.reshape(4, -1).T @ dfc,
        "norm.gamma": dgamma,
        "norm.beta": dbeta,
        "last.weight": hidden.T @ dy,
        "last.bias": dy.sum(axis=0),
    }

    def ignore(*_: object) -> None:
        pass

    for observer in (None, None, ignore):
        assert relative_error(network.forward(x, training=True, observer=observer), y) <= 1e-5
        gradients = network.backward(dy, observer=observer)
        assert gradients.keys() == expected.keys()
        for name, gradient in expected.items():
            assert relative_error(gradients[name], gradient) <= 2e-5, name


def test_zero_parameters_without_a_seed() -> None:
    network = AlexNet(small_variant("caffe"), seed=None)
    assert all((value == 0).all() for value in network.parameters.values())


def test_observer_sees_every_layer_once() -> None:
    variant = small("torchvision")
    network = AlexNet(variant, implementation=reference)
    seen: list[tuple[str, str]] = []

    def observe(layer: str, direction: str, seconds: float) -> None:
        assert seconds >= 0
        seen.append((layer, direction))

    names = [layer.name for layer in network.layers]
    network.forward(images(variant, 1), observer=observe)
    assert seen == [(name, "forward") for name in names]
    seen.clear()
    network.backward(output_gradient(variant, 1), observer=observe)
    assert seen == [(name, "backward") for name in reversed(names)]


# --- errors ---------------------------------------------------------------------------------------


def test_wrong_images() -> None:
    network = AlexNet(small_variant("caffe"))
    with pytest.raises(ValueError, match=r"forward: x has shape \(67, 67, 3\), expected \(batch, "):
        network.forward(np.zeros((67, 67, 3), np.float32))
    with pytest.raises(ValueError, match=r"expected \(batch, 67, 67, 3\)"):
        network.forward(np.zeros((1, 3, 67, 67), np.float32))
    with pytest.raises(TypeError, match="forward: x has dtype float64, expected float32"):
        network.forward(np.zeros((1, 67, 67, 3)))
    with pytest.raises(TypeError, match="forward: x is of type list"):
        network.forward([[1.0]])


def test_backward_needs_a_forward() -> None:
    variant = small_variant("caffe")
    network = AlexNet(variant, implementation=reference)
    with pytest.raises(RuntimeError, match="backward: there is no forward to go back through"):
        network.backward(output_gradient(variant, 1))


def test_wrong_output_gradients() -> None:
    variant = small_variant("caffe")
    network = AlexNet(variant, implementation=Recorder())
    network.forward(images(variant, 2))
    with pytest.raises(ValueError, match=r"backward: dy has shape \(2, 9\), expected \(batch, 10"):
        network.backward(np.zeros((2, 9), np.float32))
    with pytest.raises(
        ValueError, match="backward: dy is for 3 images, but the last forward had 2"
    ):
        network.backward(output_gradient(variant, 3))
    with pytest.raises(TypeError, match="backward: dy has dtype float64, expected float32"):
        network.backward(output_gradient(variant, 2).astype(np.float64))


def test_failed_forward_leaves_nothing_to_go_back_through() -> None:
    variant = small_variant("caffe")
    recorder = Recorder()
    network = AlexNet(variant, implementation=recorder)
    network.forward(images(variant, 2))

    def fail(*_: object, **__: object) -> None:
        raise MemoryError("in fc8")

    recorder.dense = fail
    with pytest.raises(MemoryError):
        network.forward(images(variant, 2))
    with pytest.raises(RuntimeError, match="there is no forward"):
        network.backward(output_gradient(variant, 2))


# --- copies ---------------------------------------------------------------------------------------


def pickled(network: AlexNet) -> AlexNet:
    loaded: AlexNet = pickle.loads(pickle.dumps(network))
    return loaded


def trained_once(name: str, implementation: ModuleType) -> AlexNet:
    network = AlexNet(small(name), seed=5, implementation=implementation)
    y = network.forward(images(network.variant, 2), training=True)
    network.backward(y.copy())
    SGD(network, learning_rate=1e-3).step()
    return network


@pytest.mark.parametrize("copied", [copy.deepcopy, pickled])
@pytest.mark.parametrize("implementation", [cpu, reference])
@pytest.mark.parametrize("name", ["cifar10-bn", "torchvision"])
def test_a_copy_goes_on_as_the_network_does(
    name: str, implementation: ModuleType, copied: Callable[[AlexNet], AlexNet]
) -> None:
    network = trained_once(name, implementation)
    other = copied(network)
    assert type(other) is AlexNet
    assert other.implementation is implementation
    assert other.variant == network.variant
    for key, array in network.tensors().items():
        np.testing.assert_array_equal(other.tensors()[key], array)
        if key != "generator":
            assert not np.may_share_memory(other.tensors()[key], array)
    with pytest.raises(RuntimeError, match="no forward to go back through"):
        other.backward(output_gradient(network.variant, 2))
    results = []
    for each in (network, other):  # one after the other: neither moves the other's state
        y = each.forward(images(network.variant, 3, seed=9), training=True)
        results.append({"y": y, **each.backward(output_gradient(network.variant, 3))})
        SGD(each, learning_rate=1e-2).step()
    for key, array in results[0].items():
        np.testing.assert_array_equal(results[1][key], array)
    for key, array in network.tensors().items():
        np.testing.assert_array_equal(other.tensors()[key], array)


def test_a_shallow_copy_shares_parameters_and_has_passes_of_its_own() -> None:
    network = trained_once("cifar10-bn", cpu)
    other = copy.copy(network)
    assert type(other) is AlexNet
    y = network.forward(images(network.variant, 2))
    gradients = {key: array.copy() for key, array in network.backward(y.copy()).items()}
    other.backward(other.forward(images(network.variant, 4, seed=3)).copy())
    for key, array in network.gradients.items():
        np.testing.assert_array_equal(array, gradients[key])
    network.parameters["fc8.bias"][...] = 7
    assert (other.parameters["fc8.bias"] == 7).all()
    other.forward(images(network.variant, 4), training=True)
    np.testing.assert_array_equal(network.tensors()["generator"], other.tensors()["generator"])
    key = "bn2.running_mean"
    np.testing.assert_array_equal(network.state[key], other.state[key])


class Named(AlexNet):
    """A network with something of its own."""

    def __init__(self) -> None:
        self.first = ["a"]
        super().__init__(small("cifar10-bn"), seed=1)
        self.classes = ["cat", "dog"]


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickled])
def test_a_copy_of_a_subclass_has_what_it_added(copied: Callable[[Named], Named]) -> None:
    network = Named()
    other = copied(network)
    assert type(other) is Named
    assert (other.first, other.classes) == (["a"], ["cat", "dog"])
    assert (other.classes is network.classes) == (copied is copy.copy)


def test_a_network_of_operators_that_no_module_has_can_be_copied() -> None:
    recorder = Recorder()
    network = AlexNet(small("cifar10-bn"), implementation=recorder)
    assert copy.deepcopy(network).implementation is recorder


# --- other arguments ------------------------------------------------------------------------------


def test_wrong_arguments() -> None:
    variant = small("cifar10-bn")
    network = AlexNet(variant)
    x = images(variant, 2)
    masked = np.ma.masked_less(x, 0)
    dy = output_gradient(variant, 2)
    tensors = network.tensors()
    before = {name: array.copy() for name, array in tensors.items()}
    calls: list[tuple[Callable[[], object], str]] = [
        (lambda: network.forward(masked), "forward: x is a masked array, whose mask would be lost"),
        (lambda: network.forward(x, "no"), "forward: training is 'no', expected True or False"),
        (lambda: network.forward(x, observer=3), "forward: observer is 3, expected a function"),
        (lambda: network.backward(np.ma.masked_less(dy, 0)), "backward: dy is a masked array"),
        (lambda: network.backward(dy, input_gradient=1), "backward: input_gradient is 1, expected"),
        (
            lambda: network.assign([1]),
            "cifar10-bn: tensors is a list of 1, expected arrays by name, ",
        ),
        (
            lambda: network.assign({**tensors, "fc8.bias": np.ma.masked_equal(np.ones(10), 1)}),
            "cifar10-bn: fc8.bias is a masked array",
        ),
        (
            lambda: network.assign({**tensors, "fc8.bias": [1.0] * 10}),
            "cifar10-bn: fc8.bias is of type list, expected a numpy.ndarray",
        ),
        (lambda: AlexNet(variant, implementation="numpy"), "network: implementation is 'numpy', "),
        (lambda: AlexNet(variant, lrn="no"), "cifar10-bn: lrn is 'no', expected True or False"),
        (lambda: AlexNet(variant, seed=1.5), "network: seed is 1.5, expected an integer"),
        (lambda: AlexNet(variant, seed="1"), "network: seed is '1', expected an integer"),
        (
            lambda: AlexNet(variant, implementation=np),
            "network: implementation is numpy, which has no conv2d, expected a module with the",
        ),
        (lambda: Network("cifar10-bn"), "network: variant is 'cifar10-bn', expected Variant"),
    ]
    network.forward(x)
    for call, message in calls:
        with pytest.raises(TypeError, match=f"^{message}"):
            call()
    with pytest.raises(ValueError, match=r"^network: seed is -1, expected an integer"):
        AlexNet(variant, seed=-1)
    for bad in (["cifar10-bn"], 3, None, "no such"):
        with pytest.raises(ValueError, match=r"^variant is .*, expected one of tf-tutorial, "):
            AlexNet(bad)
    for device in ("gpu", 0, None, ["cpu"]):
        with pytest.raises(ValueError, match=r"^device is .*, expected 'cpu' or 'cuda'$"):
            AlexNet(variant, device=device)
    for name, array in network.tensors().items():
        np.testing.assert_array_equal(array, before[name])


def test_images_of_any_layout_give_the_same() -> None:
    network = AlexNet(small("cifar10-bn"))
    x = images(network.variant, 3)
    expected = network.forward(x).copy()
    shifted = np.frombuffer(bytearray(x.nbytes + 1), np.float32, x.size, 1).reshape(x.shape)
    shifted[...] = x
    described = x.astype(np.dtype(np.float32, metadata={"unit": "1"}))
    for _ in range(2):  # by the layers, and again
        for given in (shifted, described, np.asfortranarray(x), x[::-1][::-1]):
            np.testing.assert_array_equal(network.forward(given), expected)
