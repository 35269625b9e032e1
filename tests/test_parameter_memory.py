"""Parameters in one piece of memory: where each lies, and what an update of the whole reaches."""

from __future__ import annotations

import numpy as np
import pytest

from alexnet import cpu, reference
from alexnet.arrays import CACHE_LINE, array_kind
from alexnet.network.parameter_memory import ALIGNMENT, ParameterMemory
from alexnet.network.variants import VARIANTS, AlexNet
from alexnet.training.optimizers import SGD, Adam
from support.arrays import random_array
from support.small_networks import small_variant

SHAPES = {
    "conv1.weight": (3, 3, 3, 7),
    "conv1.bias": (7,),
    "bn2.gamma": (130,),
    "bn2.beta": (130,),
    "fc8.weight": (5, ALIGNMENT),
    "fc8.bias": (1,),
}


@pytest.mark.parametrize("implementation", [cpu, reference])
def test_every_array_is_zero_aligned_and_apart(implementation: object) -> None:
    kind = array_kind(implementation)  # type: ignore[arg-type]
    memory = ParameterMemory(kind, SHAPES)
    assert {name: array.shape for name, array in memory.arrays.items()} == SHAPES
    assert list(memory.arrays) == list(SHAPES)
    for number, array in enumerate(memory.arrays.values(), start=1):
        assert array.dtype == kind.dtype
        assert array.flags.c_contiguous
        assert array.ctypes.data % CACHE_LINE == 0
        assert not array.any()
        array[...] = number
    for number, array in enumerate(memory.arrays.values(), start=1):
        assert (array == number).all()


def test_weights_come_first_and_nothing_is_left_out() -> None:
    memory = ParameterMemory(array_kind(cpu), SHAPES)
    for number, array in enumerate(memory.arrays.values(), start=1):
        array[...] = number
    assert set(memory.weights.tolist()) == {0, 1, 5}
    assert set(memory.others.tolist()) == {0, 2, 3, 4, 6}
    for flat, names in ((memory.weights, (1, 5)), (memory.others, (2, 3, 4, 6))):
        for number, (name, array) in enumerate(memory.arrays.items(), start=1):
            expected = array.size if number in names else 0
            assert np.count_nonzero(flat == number) == expected, name


def test_without_weights_or_without_others() -> None:
    kind = array_kind(cpu)
    assert ParameterMemory(kind, {"bn.gamma": (3,)}).weights.size == 0
    assert ParameterMemory(kind, {"conv.weight": (3, 3, 1, 1)}).others.size == 0
    assert ParameterMemory(kind, {}).arrays == {}


@pytest.mark.parametrize("optimizer", [SGD, Adam])
@pytest.mark.parametrize("name", tuple(VARIANTS))
def test_what_lies_between_stays_zero(name: str, optimizer: type[SGD | Adam]) -> None:
    network = AlexNet(small_variant(name), seed=1)
    rule = optimizer(network, learning_rate=0.01, weight_decay=0.1)
    before = {key: array.copy() for key, array in network.parameters.items()}
    for number, gradient in enumerate(network.gradients.values()):
        gradient[...] = random_array(number, *gradient.shape)
    rule.step()
    for key, array in network.parameters.items():
        assert (array != before[key]).mean() > 0.9, key
    for memory in (network.parameter_memory, network.gradient_memory):
        total = sum(float(np.abs(array).sum(dtype=np.float64)) for array in memory.arrays.values())
        flat = (memory.weights, memory.others)
        assert total == pytest.approx(
            sum(float(np.abs(part).sum(dtype=np.float64)) for part in flat), rel=1e-12
        )
