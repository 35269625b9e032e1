"""Steps of layers made again from recorded calls: the same results as by the layers themselves."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from alexnet import cpu
from alexnet.layer import Layer
from alexnet.layers import LAYERS
from alexnet.models import VARIANTS, AlexNet
from alexnet.network import Network
from alexnet.optim import SGD
from alexnet.recording import recorded, run
from small_networks import small_variant
from support import random_array

# What changes from step to step in use.
STEPS: list[dict[str, Any]] = [
    {},
    {},
    {"training": False, "backward": False},
    {},
    {},
    {"training": False},
    {},
    {"batch_size": 2, "input_gradient": True},
    {"observed": True},
    {},
    {"training": False, "input_gradient": True},
    {"batch_size": 5},
    {"batch_size": 5, "training": False, "backward": False},
    {"batch_size": 5},
    {"input_gradient": True},
    {"batch_size": 0},
    {},
]


def without_replays() -> ModuleType:
    """The same operators, in a module that the network does not know."""
    module = ModuleType("operators")
    vars(module).update({name: getattr(cpu, name) for name in cpu.__all__})
    return module


def step(
    network: Network,
    number: int,
    batch_size: int = 3,
    *,
    training: bool = True,
    backward: bool = True,
    input_gradient: bool = False,
    observed: bool = False,
) -> dict[str, np.ndarray]:
    x = random_array(number, batch_size, *network.input_shape)
    observer = (lambda *_: None) if observed else None
    y = network.forward(x, training, observer=observer)
    if not backward:
        return {"y": y}
    dy = random_array(100 + number, *y.shape)
    gradients = network.backward(dy, input_gradient=input_gradient, observer=observer)
    return {"y": y, **gradients}


@pytest.mark.parametrize("name", tuple(VARIANTS))
def test_the_bits_are_those_of_the_layers(name: str) -> None:
    variant = small_variant(name)
    replaying = AlexNet(variant, seed=3)
    plain = AlexNet(variant, seed=3, implementation=without_replays())
    optimizers = [SGD(network, learning_rate=1e-3) for network in (replaying, plain)]
    for number, how in enumerate(STEPS):
        results = [step(network, number, **how) for network in (replaying, plain)]
        assert results[0].keys() == results[1].keys()
        for key, array in results[0].items():
            np.testing.assert_array_equal(array, results[1][key], err_msg=f"{number} {key}")
        shown = [network.activations for network in (replaying, plain)]
        for key, array in shown[0].items():
            np.testing.assert_array_equal(array, shown[1][key], err_msg=f"{number} {key}")
        for optimizer in optimizers:
            optimizer.step()
        for key, array in replaying.tensors().items():
            np.testing.assert_array_equal(array, plain.tensors()[key], err_msg=f"{number} {key}")


def noting(kind: type[Layer], direction: str, called: set[str]) -> Callable[..., object]:
    method = getattr(kind, direction)

    def noted(layer: Layer, *arrays: object) -> object:
        called.add(f"{layer.name} {direction}")
        return method(layer, *arrays)

    return noted


def test_layers_between_the_first_and_the_last_are_replayed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    variant = small_variant("cifar10-bn")
    network = AlexNet(variant)
    for number in range(2):
        step(network, number)
    called: set[str] = set()
    for kind in LAYERS:
        for direction in ("forward", "backward"):
            monkeypatch.setattr(kind, direction, noting(kind, direction, called))
    step(network, 2)
    assert called == {
        f"{name} {direction}" for name in ("conv1", "fc8") for direction in ("forward", "backward")
    }


def test_a_larger_batch_lets_go_of_the_smaller_ones_memory() -> None:
    network = AlexNet(small_variant("caffe"))
    step(network, 0)
    memory = [weakref.ref(array) for array in network.activations.values()]
    assert any(reference() is not None for reference in memory)
    network.forward(random_array(1, 4, *network.input_shape), True)
    gc.collect()
    assert [reference() for reference in memory if reference() is not None] == []


def test_callers_images_are_not_kept() -> None:
    network = AlexNet(small_variant("tf-small"))
    for number in range(3):
        step(network, number, input_gradient=True)
    x = random_array(9, 2, *network.input_shape)
    kept = weakref.ref(x)
    network.backward(np.ones_like(network.forward(x, True)), input_gradient=True)
    network.forward(random_array(10, 2, *network.input_shape))
    del x
    gc.collect()
    assert kept() is None


# --- recording ------------------------------------------------------------------------------------


def test_calls_are_made_and_noted() -> None:
    made: list[int] = []
    run(made.append, 1)
    with recorded() as calls:
        run(made.append, 2)
        with recorded() as inner:
            run(made.append, 3)
        run(made.append, 4)
    run(made.append, 5)
    assert made == [1, 2, 3, 4, 5]
    assert [arguments for _, arguments in calls] == [(2,), (4,)]
    assert [arguments for _, arguments in inner] == [(3,)]


def test_a_failed_call_is_not_noted() -> None:
    with recorded() as calls, pytest.raises(ValueError, match="invalid literal"):
        run(int, "no number")  # type: ignore[arg-type]
    assert calls == []


def test_another_thread_is_not_recorded() -> None:
    made: list[int] = []
    with recorded() as calls:
        thread = threading.Thread(target=run, args=(made.append, 1))
        thread.start()
        thread.join()
    assert (made, calls) == ([1], [])
