"""Frozen networks: the same bits, nothing that changes them, and what freezing ends."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import alexnet
from alexnet import _cpu, cpu, reference
from alexnet.cpu import frozen
from alexnet.network.variants import VARIANTS, AlexNet, variant_named
from alexnet.training.optimizers import SGD
from support.arrays import random_array
from support.small_networks import small_variant

FEW = variant_named("cifar10-bn").shrunk(width=1 / 3)  # wide enough for Winograd's algorithm
REFUSED = r"the network is frozen, so nothing may change it; call its unfreeze\(\) first"


def network(seed: int = 3) -> AlexNet:
    return AlexNet(FEW, seed=seed)


def images(batch_size: int, net: AlexNet) -> np.ndarray:
    return random_array(1, batch_size, *net.input_shape)


# --- operators ------------------------------------------------------------------------------------

CONVOLUTIONS = {
    "by elements": ((2, 27, 27, 64), (5, 5, 64, 192), {}),
    "by rows": ((16, 13, 13, 32), (3, 3, 32, 48), {}),
    "by panels": ((1, 13, 13, 64), (3, 3, 64, 128), {}),
    "stride and Winograd": ((8, 56, 56, 3), (11, 11, 3, 64), {"stride": 4}),
    "groups": ((4, 13, 13, 64), (3, 3, 32, 64), {"groups": 2}),
    "direct": ((2, 9, 8, 5), (3, 3, 5, 7), {"stride": (2, 1), "padding": "valid"}),
    "1 x 1": ((3, 6, 5, 8), (1, 1, 8, 24), {}),
    "a dense layer": ((3, 5, 5, 8), (5, 5, 8, 20), {"padding": "valid"}),
    "mostly padding": ((1, 1, 1, 2), (1, 1, 2, 3), {"padding": 900}),
    "no images": ((0, 13, 13, 64), (3, 3, 64, 128), {}),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.usefixtures("isa")
def test_the_same_bits(name: str) -> None:
    input_shape, weight_shape, settings = CONVOLUTIONS[name]
    groups = settings.get("groups", 1)
    others = {key: value for key, value in settings.items() if key != "groups"}
    x, weight = random_array(0, *input_shape), random_array(1, *weight_shape)
    bias = random_array(2, weight_shape[-1])
    packed = frozen.pack_conv2d(weight, groups)
    expected = cpu.conv2d(x, weight, bias, **settings, activation="relu")
    for threads in (1, 3):
        alexnet.set_num_threads(threads)
        found = frozen.conv2d(x, packed, bias, **others, activation="relu")
        np.testing.assert_array_equal(found, expected)
    assert frozen.conv2d(x, packed, **others, out=found) is found
    np.testing.assert_array_equal(found, cpu.conv2d(x, weight, **settings))


@pytest.mark.parametrize("weight_shape", [(3, 3, 16, 32), (3, 3, 2, 64)], ids=str)
@pytest.mark.usefixtures("isa")
def test_the_same_bits_for_images_of_several_sizes(weight_shape: tuple[int, ...]) -> None:
    """Tiles of Winograd's algorithm, and panels across groups, go by the size of the images."""
    weight = random_array(1, *weight_shape)
    groups = weight_shape[3] // 2 if weight_shape[2] == 2 else 1
    packed = frozen.pack_conv2d(weight, groups)
    for size in ((8, 9, 16), (1, 5, 100), (1, 3, 500), (8, 16, 9)):
        x = random_array(0, *size, weight_shape[2] * groups)
        for _ in range(2):
            found = frozen.conv2d(x, packed)
            np.testing.assert_array_equal(found, cpu.conv2d(x, weight, groups=groups), str(size))
    before = kept(packed)
    frozen.conv2d(np.concatenate((x, x)), packed)
    assert kept(packed) == before, "another batch takes what there is"


def kept(packed: frozen.PackedConv2d) -> int:
    return len(packed._prepared)


def test_it_is_kept_where_it_pays() -> None:
    alexnet.set_cpu_isa("portable")
    keeps = {"by elements", "by rows", "stride and Winograd", "groups", "direct", "1 x 1"}
    for name, (input_shape, weight_shape, settings) in CONVOLUTIONS.items():
        others = {key: value for key, value in settings.items() if key != "groups"}
        packed = frozen.pack_conv2d(random_array(1, *weight_shape), settings.get("groups", 1))
        for _ in range(2):
            frozen.conv2d(random_array(0, *input_shape), packed, **others)
        assert kept(packed) == (name in keeps), name


def test_another_instruction_set_does_without_what_one_has_made() -> None:
    best, *_, last = alexnet.available_isas()
    net = network()
    alexnet.set_cpu_isa(last)
    expected = {size: net.forward(images(size, net)).copy() for size in (4, 5)}
    alexnet.set_cpu_isa(best)
    net.freeze()
    net.forward(images(4, net))
    alexnet.set_cpu_isa(last)  # the calls that were recorded are made again
    for size, y in expected.items():
        np.testing.assert_array_equal(net.forward(images(size, net)), y)


def test_prepared_weights_of_another_size_are_refused() -> None:
    shape = AlexNet("cifar10-bn").layers[0]._shape((2, 32, 32, 3))  # type: ignore[attr-defined]
    y = np.empty(shape.output_shape, np.float32)
    x, weight = random_array(0, *shape.input_shape), random_array(1, *shape.weight_shape)
    prepared = np.empty(8, np.float32)
    with pytest.raises(ValueError, match="prepared"):
        _cpu.conv2d_prepared(
            shape, x, weight, None, False, "direct", y, prepared, alexnet.cpu_isa()
        )


# --- networks -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_computes_the_same(name: str) -> None:
    net = AlexNet(small_variant(name), seed=2)
    x = images(3, net)
    expected = net.forward(x).copy()
    net.freeze()
    for _ in range(2):
        np.testing.assert_array_equal(net.forward(x), expected)
    seen: list[str] = []
    np.testing.assert_array_equal(net.forward(x, observer=lambda *at: seen.append(at[0])), expected)
    assert seen == [layer.name for layer in net.layers]


@pytest.mark.parametrize(
    "change",
    [
        lambda net: net.assign(network(5).tensors()),
        lambda net: net.forward(images(2, net), training=True),
        lambda net: SGD(net).step(),
    ],
)
def test_what_would_change_it_is_refused(change: Callable[[AlexNet], object]) -> None:
    net = network()
    net.freeze()
    before = {name: array.copy() for name, array in net.tensors().items()}
    with pytest.raises(RuntimeError, match=REFUSED):
        change(net)
    for name, array in net.tensors().items():
        np.testing.assert_array_equal(array, before[name])


def test_its_arrays_are_read_only_also_those_taken_before() -> None:
    net = network()
    weight, mean = net.parameters["conv1.weight"], net.state["bn2.running_mean"]
    net.freeze()
    assert net.is_frozen
    for array in (weight, mean, *net.parameters.values(), net.parameter_memory.whole):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    net.unfreeze()
    assert not net.is_frozen
    weight[...] = 0
    mean[...] = 0


def test_unfrozen_it_follows_its_weights_again() -> None:
    net, other = network(), network(5)
    x = images(4, net)
    net.freeze()
    before = net.forward(x).copy()
    net.unfreeze()
    net.assign(other.tensors())
    expected = other.forward(x)
    assert not np.array_equal(expected, before)
    np.testing.assert_array_equal(net.forward(x), expected)
    net.freeze()
    net.freeze()  # as it is
    np.testing.assert_array_equal(net.forward(x), expected)


def test_gradients_may_be_asked_for() -> None:
    net = network()
    x = images(3, net)
    dy = net.forward(x).copy()
    expected = {name: array.copy() for name, array in net.backward(dy, input_gradient=True).items()}
    net.freeze()
    with pytest.raises(RuntimeError, match="there is no forward to go back through"):
        net.backward(dy)
    net.forward(x)
    for name, array in net.backward(dy, input_gradient=True).items():
        np.testing.assert_array_equal(array, expected[name])


def test_it_is_trained_after_unfreezing() -> None:
    net, other = network(), network()
    x = images(3, net)
    net.freeze()
    net.forward(x)
    net.unfreeze()
    for each in (net, other):
        each.backward(each.forward(x, training=True))
        SGD(each).step()
    for name, array in net.parameters.items():
        np.testing.assert_array_equal(array, other.parameters[name])


def test_copies() -> None:
    net = network()
    x = images(2, net)
    expected = net.forward(x).copy()
    net.freeze()
    for whole in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert not whole.is_frozen
        np.testing.assert_array_equal(whole.forward(x), expected)
        whole.parameters["conv1.weight"][...] = 0
    shallow = copy.copy(net)
    assert shallow.is_frozen
    np.testing.assert_array_equal(shallow.forward(x), expected)
    net.unfreeze()
    assert not shallow.is_frozen


def test_threads_share_what_is_kept() -> None:
    net = network()
    x = images(4, net)
    expected = net.forward(x).copy()
    net.freeze()
    together = threading.Barrier(4)

    def run(_: int) -> np.ndarray:
        together.wait()
        return net.forward(x).copy()

    with ThreadPoolExecutor(4) as pool:
        for y in pool.map(run, range(4)):
            np.testing.assert_array_equal(y, expected)


def test_the_reference_has_nothing_to_keep() -> None:
    net = AlexNet(small_variant("cifar10-bn"), implementation=reference)
    x = images(1, net)
    expected = net.forward(x).copy()
    net.freeze()
    np.testing.assert_array_equal(net.forward(x), expected)
    with pytest.raises(RuntimeError, match=REFUSED):
        net.forward(x, training=True)
