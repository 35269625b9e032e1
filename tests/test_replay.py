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
from alexnet.arrays import Array
from alexnet.network.layer import Context, Layer
from alexnet.network.layers import LAYERS, Dense
from alexnet.network.network import Network
from alexnet.network.plan import find_fusions
from alexnet.network.variant import Variant
from alexnet.network.variants import VARIANTS, AlexNet
from alexnet.recording import call_kernel, recorded
from alexnet.training.optimizers import SGD
from support.arrays import random_array
from support.small_networks import small_variant

# What changes from step to step in use.
STEPS: list[dict[str, Any]] = [
    {},
    {},
    {},
    {"training": False, "backward": False},
    {"training": False, "backward": False},
    {},
    {},
    {"training": False},
    {"training": False},
    {},
    {},
    {"shown": True},
    {},
    {"input_gradient": True},
    {"input_gradient": True},
    {},
    {"batch_size": 2, "input_gradient": True},
    {"observed": ("forward", "backward")},
    {},
    {"observed": ("backward",)},
    {},
    {"observed": ("forward",)},
    {},
    {"training": False, "input_gradient": True},
    {"training": False, "input_gradient": True, "shown": True},
    {"training": False, "input_gradient": True},
    {"batch_size": 5},
    {"batch_size": 5, "training": False, "backward": False},
    {"batch_size": 5},
    {"input_gradient": True},
    {"batch_size": 0},
    {},
    {"shown": True},
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
    observed: tuple[str, ...] = (),
    shown: bool = False,
) -> dict[str, np.ndarray]:
    x = random_array(number, batch_size, *network.input_shape)
    observers = {direction: lambda *_: None for direction in observed}
    y = network.forward(x, training, observer=observers.get("forward"))
    activations = network.activations if shown else {}
    results = {f"{name}.y": array.copy() for name, array in activations.items()} | {"y": y}
    if not backward:
        return results
    dy = random_array(100 + number, *y.shape)
    gradients = network.backward(
        dy, input_gradient=input_gradient, observer=observers.get("backward")
    )
    return {**results, **gradients}


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


def note_layers(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Names and directions of the layers that are gone through from now on."""
    called: set[str] = set()
    for kind in LAYERS:
        for direction in ("forward", "backward"):
            monkeypatch.setattr(kind, direction, noting(kind, direction, called))
    return called


@pytest.mark.parametrize("name", tuple(VARIANTS))
def test_a_step_like_the_last_goes_through_no_layer(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = AlexNet(small_variant(name))
    step(network, 0)
    called = note_layers(monkeypatch)
    step(network, 1)
    assert called <= {"squeeze forward", "squeeze backward"}  # the output in another shape
    step(network, 2, 2)
    joined = {
        layer.name
        for first, fusion in find_fusions(network.layers, cpu.fused).items()
        for layer in network.layers[first : first + fusion.length]
    }
    assert called == {
        f"{layer.name} {direction}"
        for layer in network.layers
        if layer.name not in joined
        for direction in ("forward", "backward")
    }


def test_a_subclass_is_not_replayed() -> None:
    calls: list[int] = []

    class Counting(Dense):
        def forward(self, context: Context, x: Array, out: Array) -> Array:
            calls.append(len(x))
            return super().forward(context, x, out)

    network = Network(Variant("counting", "", (4,), (Dense("first", 8), Counting("second", 3))))
    for number in range(3):
        step(network, number)
    assert calls == [3, 3, 3]


def test_arrays_of_the_network_are_checked_every_time() -> None:
    network = Network(
        Variant("twins", "", (8,), (Dense("first", 8, activation="relu"), Dense("second", 8)))
    )
    step(network, 0)
    own = network.activations["first"]
    with pytest.raises(ValueError, match="out overlaps x"):
        network.forward(own, True)
    step(network, 1)
    step(network, 2)
    weight_gradient = network.gradients["second.weight"][:3]
    with pytest.raises(ValueError, match=r"out\[0\] \(dweight\) overlaps dy"):
        network.backward(weight_gradient)


def test_the_output_as_its_own_gradient() -> None:
    variant = Variant(
        "ends in relu",
        "",
        (8,),
        (Dense("first", 8, activation="relu"), Dense("second", 8, activation="relu")),
    )
    networks = AlexNet(variant, seed=1), AlexNet(variant, seed=1, implementation=without_replays())
    for number in range(6):
        results = []
        for network in networks:
            x = random_array(number, 3, 8)
            y = network.forward(x, True)
            own = (y, network.activations["second"], network.activations["first"])[number % 3]
            results.append({key: dx.copy() for key, dx in network.backward(own).items()})
        for key, array in results[0].items():
            np.testing.assert_array_equal(array, results[1][key], err_msg=f"{number} {key}")


def test_outputs_that_are_held_stay_as_they_are() -> None:
    network = AlexNet(small_variant("tf-tutorial"))
    held = [network.forward(random_array(number, 2, *network.input_shape)) for number in range(5)]
    again = [network.forward(random_array(number, 2, *network.input_shape)) for number in range(5)]
    for before, now in zip(held, again, strict=True):
        np.testing.assert_array_equal(before, now)
    places = set()
    for number in range(8):
        y = network.forward(random_array(number, 2, *network.input_shape))
        places.add(y.ctypes.data)
        del y
    assert len(places) <= 2


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


def test_calls_within_a_call_are_not_noted() -> None:
    made: list[int] = []
    with recorded() as calls:
        call_kernel(lambda: call_kernel(made.append, 1))
        call_kernel(made.append, 2)
    assert made == [1, 2]
    assert [arguments for _, arguments in calls] == [(), (2,)]


def test_calls_are_made_and_noted() -> None:
    made: list[int] = []
    call_kernel(made.append, 1)
    with recorded() as calls:
        call_kernel(made.append, 2)
        with recorded() as inner:
            call_kernel(made.append, 3)
        call_kernel(made.append, 4)
    call_kernel(made.append, 5)
    assert made == [1, 2, 3, 4, 5]
    assert [arguments for _, arguments in calls] == [(2,), (4,)]
    assert [arguments for _, arguments in inner] == [(3,)]


def test_a_failed_call_is_not_noted() -> None:
    with recorded() as calls, pytest.raises(ValueError, match="invalid literal"):
        call_kernel(int, "no number")  # type: ignore[arg-type]
    assert calls == []


def test_another_thread_is_not_recorded() -> None:
    made: list[int] = []
    with recorded() as calls:
        thread = threading.Thread(target=call_kernel, args=(made.append, 1))
        thread.start()
        thread.join()
    assert (made, calls) == ([1], [])
