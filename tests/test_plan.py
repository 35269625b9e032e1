"""Plans of a network: what is fused and by whom, and that a plan is built and recorded once."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest

from alexnet import cpu, reference
from alexnet.arrays import Array
from alexnet.network import unfused, workspace
from alexnet.network.layer import Context
from alexnet.network.layers import LRN, Conv2d, Dense, Flatten, MaxPool2d
from alexnet.network.network import Network
from alexnet.network.plan import find_fusions, left_out
from alexnet.network.variant import Variant
from alexnet.network.variants import VARIANTS, AlexNet
from support.arrays import random_array
from support.small_networks import small_variant

NORM = {"depth_radius": 2, "bias": 1.0, "alpha": 0.1, "beta": 0.75}


class PoolTwice:
    """Two poolings, by the reference's operators, which notes when it is used."""

    length = 2

    def __init__(self, first: dict[str, Any], second: dict[str, Any], used: list[str]) -> None:
        self._settings = (first, second)
        self._used = used

    def forward(self, x: Array, out: Array, training: bool) -> tuple[Array, ...]:
        self._used.append(f"forward {training}")
        between = reference.max_pool2d(x, **self._settings[0])
        reference.max_pool2d(between, **self._settings[1], out=out)
        return (between,) if training else ()

    def backward(
        self, dy: Array, x: Array, saved: tuple[Array, ...], through_relu: bool, dx: Array
    ) -> None:
        self._used.append("backward")
        slope = reference.max_pool2d_backward(dy, saved[0], **self._settings[1])
        how = {**self._settings[0], "through_relu": through_relu}
        reference.max_pool2d_backward(slope, x, **how, out=dx)


def with_pool_twice(used: list[str]) -> ModuleType:
    """The reference's operators, and a `fused` module that knows two poolings in a row."""

    def fusion(operations: list[tuple[str, dict[str, Any]]]) -> PoolTwice | None:
        match operations:
            case [("max_pool2d", first), ("max_pool2d", second), *_]:
                return PoolTwice(first, second, used)
        return None

    module = ModuleType("operators")
    vars(module).update({name: getattr(reference, name) for name in reference.__all__})
    fused = ModuleType("operators.fused")
    vars(fused).update(vars(unfused))
    fused.fusion = fusion  # type: ignore[attr-defined]
    module.fused = fused  # type: ignore[attr-defined]
    return module


def test_an_implementation_offers_fusions_of_its_own() -> None:
    layers = (
        Conv2d("conv", 4, 3, activation="relu"),
        MaxPool2d("pool1", 2, 1),
        MaxPool2d("pool2", 2, 2),
        Flatten("flatten"),
        Dense("fc", 3),
    )
    variant, used = Variant("pools", "", (8, 8, 2), layers), list[str]()
    fusing = Network(variant, seed=1, implementation=with_pool_twice(used))
    plain = Network(variant, seed=1, implementation=with_pool_twice([]))
    x, dy = (random_array(seed, 2, *shape) for seed, shape in enumerate(((8, 8, 2), (3,))))

    def observer(*_: object) -> None:
        pass

    for training in (True, False):
        used.clear()
        y = plain.forward(x, training, observer=observer)
        np.testing.assert_array_equal(fusing.forward(x, training), y)
        expected = plain.backward(dy, input_gradient=True, observer=observer)
        for name, gradient in fusing.backward(dy, input_gradient=True).items():
            np.testing.assert_array_equal(gradient, expected[name], err_msg=name)
        assert used == (["forward True", "backward"] if training else ["forward False"])
        assert fusing.activations.keys() == plain.activations.keys()
        for name, array in fusing.activations.items():
            np.testing.assert_array_equal(array, plain.activations[name], err_msg=name)


@pytest.mark.parametrize("name", tuple(VARIANTS))
def test_the_cpu_fuses_every_lrn_with_the_pooling_behind_it(name: str) -> None:
    layers = VARIANTS[name].layers
    norms = [index for index, layer in enumerate(layers) if isinstance(layer, LRN)]
    assert list(find_fusions(layers, cpu.fused)) == norms
    assert left_out(find_fusions(layers, cpu.fused)) == norms
    assert find_fusions(layers, unfused) == {}


def test_what_is_not_fused() -> None:
    class Other(LRN):
        def forward(self, context: Context, x: Array, out: Array) -> Array:
            return super().forward(context, 2 * x, out)

    norm, pool = LRN("norm", **NORM), MaxPool2d("pool")
    assert list(find_fusions((norm, pool), cpu.fused)) == [0]
    assert find_fusions((Other("norm", **NORM), pool), cpu.fused) == {}
    assert find_fusions((pool, norm), cpu.fused) == {}
    assert find_fusions((norm, norm), cpu.fused) == {}
    assert find_fusions((norm, MaxPool2d("pool", (4096, 4097))), cpu.fused) == {}
    assert list(find_fusions((norm, MaxPool2d("pool", 4096)), cpu.fused)) == [0]


def test_plans_are_built_once_for_a_batch_size(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[int] = []
    build_plan = workspace.build_plan

    def counting(*arguments: Any) -> object:
        built.append(arguments[3])
        return build_plan(*arguments)

    monkeypatch.setattr(workspace, "build_plan", counting)
    network = AlexNet(small_variant("tf-tutorial"), seed=1)
    expected: dict[int, bytes] = {}
    for batch_size in (4, 4, 2, 3, 2, 4, 3):
        y = network.forward(random_array(batch_size, batch_size, *network.input_shape), True)
        assert expected.setdefault(batch_size, y.tobytes()) == y.tobytes()
        network.backward(y.copy())
    assert built == [4, 2, 3]
    network.forward(random_array(5, 5, *network.input_shape))  # makes the memory anew
    network.forward(random_array(4, 4, *network.input_shape), observer=lambda *_: None)
    assert built == [4, 2, 3, 5, 4, 4]


def test_few_plans_are_kept() -> None:
    network = AlexNet(small_variant("cifar10-bn"), seed=1)
    for batch_size in range(40, 0, -1):
        network.forward(random_array(0, batch_size, *network.input_shape))
    assert len(network._workspace._kept) <= workspace.MOST_PLANS


@pytest.mark.parametrize("training", [False, True])
def test_activations_leave_the_recorded_calls(
    training: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = AlexNet(small_variant("tf-tutorial"), seed=1)
    x = random_array(1, 2, *network.input_shape)
    network.forward(x, training)
    before = {name: array.copy() for name, array in network.activations.items()}

    def fail(*_: object) -> None:
        raise AssertionError("a layer by itself")

    with monkeypatch.context() as patched:
        patched.setattr(Conv2d, "forward", fail)
        network.forward(2 * x, training)
        network.forward(x, training)
    for name, array in network.activations.items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)
