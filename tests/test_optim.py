"""Optimizers over a network: the updates of the operators, decay on weights only, and resuming."""

from __future__ import annotations

import numpy as np
import pytest

from alexnet import reference
from alexnet.models import AlexNet
from alexnet.optim import SGD, Adam, Optimizer
from small_networks import small_variant


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
    state = dict(optimizer.state_dict())
    state["velocity.fc8.bias"] = np.zeros(3)
    state["velocity.fc7.weight"] = np.ones((32, 32))
    with pytest.raises(ValueError, match=r"SGD: velocity.fc8.bias has shape \(3,\), expected \(10"):
        optimizer.load_state_dict(state)
    assert (optimizer.state_dict()["velocity.fc7.weight"] == 0).all()
