"""Initial parameters: distributions, seeds, and what each variant begins with."""

from __future__ import annotations

import math

import numpy as np
import pytest

from alexnet import reference
from alexnet.network.variants import VARIANTS, AlexNet
from support.small_networks import small_variant


def parameters(name: str) -> dict[str, np.ndarray]:
    variant = VARIANTS[name].shrunk(width=1 / 4, image_size=None)
    return dict(AlexNet(variant, seed=3, implementation=reference).parameters)


def constant_biases(values: dict[str, np.ndarray]) -> dict[str, float]:
    found = {}
    for name, value in values.items():
        if name.endswith(".bias"):
            assert (value == value[0]).all(), name
            found[name.removesuffix(".bias")] = float(value[0])
    return found


def deviation(value: np.ndarray) -> float:
    assert abs(float(value.mean())) <= 5 * float(value.std()) / math.sqrt(value.size)
    return float(value.std())


def test_tensorflow_benchmark_starts_truncated_normal() -> None:
    values = parameters("tf-full")
    for layer in ("conv1", "conv3", "fc6", "fc8"):
        weight = values[f"{layer}.weight"]
        assert float(np.abs(weight).max()) <= 0.2
        assert deviation(weight) == pytest.approx(0.08796, rel=0.03)
    biases = constant_biases(values)
    assert {layer for layer, bias in biases.items() if bias == 0} == {
        f"conv{i}" for i in range(1, 6)
    }
    assert all(biases[layer] == pytest.approx(0.1) for layer in ("fc6", "fc7", "fc8"))


def test_paper_starts_with_biases_of_one() -> None:
    values = parameters("krizhevsky-2012")
    for layer in ("conv1", "conv2", "fc6", "fc8"):
        assert deviation(values[f"{layer}.weight"]) == pytest.approx(0.01, rel=0.03)
    ones = {layer for layer, bias in constant_biases(values).items() if bias == 1}
    assert ones == {"conv2", "conv4", "conv5", "fc6", "fc7"}


def test_caffe_starts_with_its_fillers() -> None:
    values = parameters("caffe")
    for layer, stddev in (("conv1", 0.01), ("conv4", 0.01), ("fc6", 0.005), ("fc7", 0.005)):
        assert deviation(values[f"{layer}.weight"]) == pytest.approx(stddev, rel=0.03)
    assert deviation(values["fc8.weight"]) == pytest.approx(0.01, rel=0.06)
    biases = constant_biases(values)
    assert {layer for layer, bias in biases.items() if bias == 0} == {"conv1", "conv3", "fc8"}
    assert len({bias for bias in biases.values() if bias != 0}) == 1
    assert biases["conv2"] == pytest.approx(0.1)


def test_torchvision_starts_uniform_in_the_fan_in() -> None:
    values = parameters("torchvision")
    for layer, fan_in in (("conv1", 363), ("conv2", 25 * 16), ("fc7", 1024)):
        bound = 1 / math.sqrt(fan_in)
        for part in ("weight", "bias"):
            assert 0.8 * bound <= float(np.abs(values[f"{layer}.{part}"]).max()) <= bound
        assert deviation(values[f"{layer}.weight"]) == pytest.approx(bound / math.sqrt(3), rel=0.03)


def test_slim_starts_xavier_and_truncated() -> None:
    values = parameters("slim-v2")
    bound = math.sqrt(6 / (25 * 16 + 25 * 48))  # conv2: 5x5, 16 to 48 channels at this width
    assert 0.99 * bound <= float(np.abs(values["conv2.weight"]).max()) <= bound
    for layer in ("fc6", "fc7", "fc8"):
        assert float(np.abs(values[f"{layer}.weight"]).max()) <= 0.01
    biases = constant_biases(values)
    assert biases.pop("fc8") == 0
    assert all(bias == pytest.approx(0.1) for bias in biases.values())


@pytest.mark.parametrize("name", ["pytorch-227", "cifar10-bn"])
def test_he_normal_keeps_the_scale_of_signals(name: str) -> None:
    values = parameters(name)
    for layer in ("conv2", "conv3", "fc7"):
        weight = values[f"{layer}.weight"]
        expected = math.sqrt(2 / math.prod(weight.shape[:-1]))
        assert deviation(weight) == pytest.approx(expected, rel=0.03)
    assert set(constant_biases(values).values()) == {0}


def test_the_classifier_of_cats_and_dogs_starts_small() -> None:
    weight = parameters("pytorch-227")["fc8.weight"]
    assert deviation(weight) == pytest.approx(0.001, rel=0.06)


def test_seed_decides_the_parameters() -> None:
    variant = small_variant("caffe")
    first, same, other = (AlexNet(variant, seed=seed).parameters for seed in (5, 5, 6))
    for name, value in first.items():
        np.testing.assert_array_equal(value, same[name])
        assert value.dtype == np.float32
    assert not np.array_equal(first["conv1.weight"], other["conv1.weight"])
    assert not np.array_equal(first["conv3.weight"][..., 0], first["conv3.weight"][..., 1])


def test_every_implementation_starts_the_same() -> None:
    variant = small_variant("torchvision")
    kernels = AlexNet(variant, seed=9).parameters
    oracle = AlexNet(variant, seed=9, implementation=reference).parameters
    for name, value in kernels.items():
        assert oracle[name].dtype == np.float64
        np.testing.assert_array_equal(value, oracle[name])
