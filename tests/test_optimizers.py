"""Optimizers over a network: the updates of the operators, decay on weights only, and resuming."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

from alexnet import reference
from alexnet.network.variants import AlexNet
from alexnet.training.optimizers import SGD, Adam, Optimizer
from support.small_networks import small_variant


def trained(optimizer: type[Optimizer], **settings: float) -> tuple[AlexNet, Optimizer]:
    network = AlexNet(small_variant("cifar10-bn"), seed=1, implementation=reference)
    return network, optimizer(network, **settings)


def step(network: AlexNet, optimizer: Optimizer, seed: int) -> None:
    generator = np.random.default_rng(seed)
    y = network.forward(generator.standard_normal((4, *network.input_shape)), training=True)
    network.backward(generator.standard_normal(y.shape))
    optimizer.step()


def test_sgd_by_hand() -> None:
    network, optimizer = trained(SGD, learning_rate=0.1, momentum=0.5, weight_decay=0.25)
    before = {name: value.copy() for name, value in network.parameters.items()}
    velocity = {name: np.zeros_like(value) for name, value in before.items()}
    for number in range(2):
        step(network, optimizer, number)
        for name, value in before.items():
            decay = 0.25 if name.endswith(".weight") else 0.0
            velocity[name] = 0.5 * velocity[name] + network.gradients[name] + decay * value
            before[name] = value - 0.1 * velocity[name]
            np.testing.assert_allclose(network.parameters[name], before[name], rtol=1e-12)
    assert optimizer.steps == 2


def test_adam_by_hand() -> None:
    network, optimizer = trained(Adam, learning_rate=0.01, weight_decay=0.25)
    before = {name: value.copy() for name, value in network.parameters.items()}
    step(network, optimizer, 0)
    for name, value in before.items():
        decay = 0.25 if name.endswith(".weight") else 0.0
        gradient = network.gradients[name] + decay * value
        # After one step the corrected moments are the gradient and its square.
        expected = value - 0.01 * gradient / (np.abs(gradient) + 1e-8)
        np.testing.assert_allclose(network.parameters[name], expected, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("optimizer", [SGD, Adam])
def test_resumed_run_is_the_uninterrupted_one(optimizer: type[Optimizer]) -> None:
    network, rule = trained(optimizer, learning_rate=0.01)
    for number in range(4):
        step(network, rule, number)

    early, early_rule = trained(optimizer, learning_rate=0.01)
    for number in range(2):
        step(early, early_rule, number)
    resumed, resumed_rule = trained(optimizer, learning_rate=0.01)
    resumed.assign(early.tensors())
    saved = {name: value.copy() for name, value in early_rule.state_dict().items()}
    step(early, early_rule, 99)  # nothing that was copied depends on it
    resumed_rule.load_state_dict(saved)
    for number in range(2, 4):
        step(resumed, resumed_rule, number)

    assert resumed_rule.steps == 4
    for name, value in network.tensors().items():
        np.testing.assert_array_equal(resumed.tensors()[name], value)
    for name, value in rule.state_dict().items():
        np.testing.assert_array_equal(resumed_rule.state_dict()[name], value)


def test_learning_rate_is_read_at_every_step() -> None:
    network, optimizer = trained(SGD, learning_rate=0.1)
    optimizer.learning_rate = 0.0
    before = {name: value.copy() for name, value in network.parameters.items()}
    step(network, optimizer, 0)
    for name, value in before.items():
        np.testing.assert_array_equal(network.parameters[name], value)


def test_state_of_another_optimizer() -> None:
    _, optimizer = trained(SGD, learning_rate=0.1)
    _, other = trained(Adam)
    with pytest.raises(ValueError, match="Adam: the state's arrays are not those"):
        other.load_state_dict(optimizer.state_dict())
    before, state = optimizer.state_dict(), optimizer.state_dict()
    state["velocity.fc8.bias"] = np.zeros(3)
    state["velocity.fc7.weight"] = np.ones((32, 32))
    with pytest.raises(ValueError, match=r"SGD: velocity.fc8.bias has shape \(3,\), expected \(10"):
        optimizer.load_state_dict(state)
    for name, array in optimizer.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    for changes, message in (
        ({"velocity.fc8.bias": np.ma.masked_equal(np.zeros(10), 0)}, "fc8.bias is a masked array"),
        ({"velocity.fc8.bias": [0.0] * 10}, "fc8.bias is of type list, expected a numpy.ndarray"),
        ({"steps": 3}, "SGD: steps is of type int, expected a numpy.ndarray of int64"),
    ):
        with pytest.raises(TypeError, match=message):
            optimizer.load_state_dict({**optimizer.state_dict(), **changes})
    for changes, message in (
        ({"velocity.fc8.bias": np.zeros(10, complex)}, "has dtype complex128, expected float64"),
        ({"steps": np.array(-1)}, "SGD: steps is -1, expected an integer from 0 to"),
        ({"steps": np.array([1, 2])}, r"SGD: steps has shape \(2,\), expected \(\)"),
        ({"steps": np.array(1.5)}, "SGD: steps has dtype float64, expected int64"),
    ):
        name = "velocity.conv1.weight"
        ones = {name: np.ones_like(optimizer.state_dict()[name])}
        with pytest.raises(ValueError, match=message):
            optimizer.load_state_dict({**optimizer.state_dict(), **ones, **changes})
    with pytest.raises(TypeError, match="SGD: state is None, expected Mapping"):
        optimizer.load_state_dict(None)
    assert not any(array.any() for array in optimizer.state_dict().values())


@pytest.mark.parametrize("optimizer", [SGD, Adam])
def test_a_step_takes_a_backward(optimizer: type[Optimizer]) -> None:
    network, rule = trained(optimizer, learning_rate=0.1, weight_decay=0.1)
    network.forward(np.zeros((2, *network.input_shape)), training=True)
    before = {name: array.copy() for name, array in network.tensors().items()}
    for each in (rule, copy.deepcopy(rule)):
        with pytest.raises(RuntimeError, match=r"^optimizer: there are no gradients yet: call"):
            each.step()
        assert each.steps == 0
        for name, array in each.network.tensors().items():
            np.testing.assert_array_equal(array, before[name])
    network.gradients["fc8.bias"][...] = 1  # from somewhere else
    rule.step()
    assert (network.parameters["fc8.bias"] < before["fc8.bias"]).all()


@pytest.mark.parametrize("optimizer", [SGD, Adam])
def test_the_state_is_a_snapshot(optimizer: type[Optimizer]) -> None:
    network, rule = trained(optimizer, learning_rate=0.01)
    step(network, rule, 0)
    state = rule.state_dict()
    before = {name: array.copy() for name, array in state.items()}
    step(network, rule, 1)
    for name, array in state.items():
        np.testing.assert_array_equal(array, before[name])
    now = rule.state_dict()
    for array in rule.state_dict().values():
        array[...] = 9  # of the caller's own
    for name, array in rule.state_dict().items():
        np.testing.assert_array_equal(array, now[name])


@pytest.mark.parametrize("optimizer", [SGD, Adam])
@pytest.mark.parametrize("kind", ["copy", "deepcopy", "pickle", "pickle of both"])
def test_a_copy_goes_on_as_the_optimizer_does(optimizer: type[Optimizer], kind: str) -> None:
    network, rule = trained(optimizer, learning_rate=0.01, weight_decay=0.1)
    step(network, rule, 0)
    before = network.tensors()["fc8.bias"].copy()
    if kind == "copy":
        other = copy.copy(rule)
        assert other.network is network
        state = rule.state_dict()
        step(network, rule, 1)
        for name, array in other.state_dict().items():
            np.testing.assert_array_equal(array, state[name])
        assert (rule.steps, other.steps) == (2, 1)
        return
    if kind == "pickle of both":
        their_network, other = pickle.loads(pickle.dumps((network, rule)))
        assert other.network is their_network
    else:
        other = copy.deepcopy(rule) if kind == "deepcopy" else pickle.loads(pickle.dumps(rule))
    assert type(other) is optimizer
    assert other.network is not network
    for each in (rule, other):
        step(each.network, each, 1)
    assert (network.tensors()["fc8.bias"] != before).any()
    for name, array in network.tensors().items():
        np.testing.assert_array_equal(other.network.tensors()[name], array)
    for name, array in rule.state_dict().items():
        np.testing.assert_array_equal(other.state_dict()[name], array)


BAD_SETTINGS: list[tuple[type[Optimizer], dict[str, Any], type[Exception], str]] = [
    (SGD, {"learning_rate": 1e39}, ValueError, "SGD: learning_rate is 1e.39, which is inf in"),
    (SGD, {"learning_rate": "0.1"}, TypeError, "SGD: learning_rate is '0.1', expected a real"),
    (SGD, {"momentum": 1 - 1e-10}, ValueError, "SGD: momentum is 0.9999999999, which is 1 in"),
    (SGD, {"weight_decay": -1}, ValueError, "SGD: weight_decay is -1, expected a finite number"),
    (SGD, {"weight_decay": float("nan")}, ValueError, "SGD: weight_decay is nan, expected a fi"),
    (Adam, {"learning_rate": 10**400}, ValueError, "Adam: learning_rate is an integer of 1329 bi"),
    (Adam, {"learning_rate": 1e38, "beta1": 0.9}, ValueError, "Adam: learning_rate / .1 - beta1 "),
    (Adam, {"beta2": 1.0}, ValueError, "Adam: beta2 is 1.0, expected a finite number >= 0 and <"),
    (Adam, {"epsilon": 1e-60}, ValueError, "Adam: epsilon is 1e-60, which is 0 in float32, expe"),
    (Adam, {"epsilon": True}, TypeError, "Adam: epsilon is True, expected a real number"),
]


@pytest.mark.parametrize(("optimizer", "settings", "kind", "message"), BAD_SETTINGS)
def test_bad_settings(
    optimizer: type[Optimizer], settings: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=f"^{message}"):
        trained(optimizer, **settings)
    network, rule = trained(optimizer)
    y = network.forward(np.zeros((2, *network.input_shape)), training=True)
    network.backward(y.copy())
    vars(rule).update(settings)  # as a schedule changes the learning rate
    before = {name: array.copy() for name, array in network.tensors().items()}
    with pytest.raises(kind, match=f"^{optimizer.__name__}: "):
        rule.step()
    assert rule.steps == 0
    for name, array in network.tensors().items():
        np.testing.assert_array_equal(array, before[name])


def test_an_optimizer_is_of_a_network() -> None:
    with pytest.raises(TypeError, match=r"^SGD: network is 3, expected a Network, whose"):
        SGD(3)
