"""The verification itself: that bounds are neither missed by good results nor too wide for bad."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import alexnet
from alexnet import cpu, reference
from alexnet.cli import main
from alexnet.random import Generator
from alexnet.verification import odd_shapes
from alexnet.verification.tolerance import bounds, product_bound, relative_error
from alexnet.verification.verify import (
    CHANGED_IN_PLACE,
    OPERATORS,
    Check,
    Comparison,
    NetworkVerification,
    using_isa,
    verify_operators,
)
from support.implementations import ISAS
from support.small_networks import small_variant

# --- errors and bounds ----------------------------------------------------------------------------


def test_relative_error() -> None:
    expected = np.array([3.0, 4.0])
    assert relative_error(np.array([3.0, 4.5], np.float32), expected) == pytest.approx(0.1)
    assert relative_error(np.zeros(2), np.zeros(2)) == 0.0
    assert relative_error(np.ones(2), np.zeros(2)) == math.inf
    assert relative_error(np.zeros(0), np.zeros(0)) == 0.0
    with pytest.raises(ValueError, match=r"actual has shape \(1, 2\), expected \(2,\)"):
        relative_error(np.ones((1, 2)), np.ones(2))


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_never_within_a_bound(broken: float) -> None:
    good, bad = np.ones(3), np.array([1.0, broken, 1.0])
    for actual, expected in ((bad, good), (good, bad), (bad, np.zeros(3))):
        error = relative_error(actual, expected)
        check = Check("", "relu", "y", "", "", "", error, bound=1e30)
        assert not check.passed
        assert check.figures()["relative_error"] is None


@pytest.mark.parametrize("terms", [1, 10, 1000, 10000])
def test_the_bound_of_products_is_near_to_what_plain_summation_has(terms: int) -> None:
    generator = Generator(terms)
    x = generator.normal((400, terms)).astype(np.float32)
    weight = generator.normal((terms,)).astype(np.float32)
    total = np.zeros(400, np.float32)
    for term in range(terms):
        total += x[:, term] * weight[term]
    error = relative_error(total, x.astype(np.float64) @ weight.astype(np.float64))
    assert 0.03 * product_bound(terms) < error <= product_bound(terms)


def test_every_operator_has_a_bound_for_each_result_and_odd_shapes() -> None:
    called = {call.operator for call in odd_shapes.calls(Generator(0))}
    assert called == set(OPERATORS)
    with pytest.raises(ValueError, match="operator is 'fft', for which no bound is known"):
        bounds("fft", {})


# --- odd shapes -----------------------------------------------------------------------------------


def test_the_kernels_pass_on_odd_shapes() -> None:
    comparison = Comparison(ISAS)
    names: list[str] = []
    verify_operators(comparison, 1, names.append)
    assert [check for check in comparison.checks if not check.passed] == []
    assert {check.operator for check in comparison.checks} == set(OPERATORS) == set(names)
    assert {check.isa for check in comparison.checks} == set(ISAS)
    assert {check.algorithm for check in comparison.checks if check.operator == "conv2d"} == {
        "auto",
        *alexnet.conv2d_algorithms(),
    }


def spoilt(operators: Sequence[str], spoil: Callable[[Any], None]) -> ModuleType:
    """The kernels, of which `operators` change all their results by `spoil`."""
    kernels = ModuleType("spoilt")
    for name in (*OPERATORS, "conv2d_algorithms"):
        setattr(kernels, name, getattr(cpu, name))

    def spoiling(operator: str) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            result = getattr(cpu, operator)(*args, **kwargs)
            if operator in CHANGED_IN_PLACE:
                result = tuple(kwargs[name] for name in CHANGED_IN_PLACE[operator])
            for array in result if isinstance(result, tuple) else (result,):
                spoil(array)
            return result

        return run

    for name in operators:
        setattr(kernels, name, spoiling(name))
    return kernels


@pytest.mark.parametrize("factor", [1.0, np.nan])
def test_one_wrong_element_in_any_result_is_found(factor: float) -> None:
    def spoil(array: Any) -> None:
        array.flat[-1] = array.flat[-1] * factor + 0.1

    comparison = Comparison([alexnet.cpu_isa()], spoilt(OPERATORS, spoil))
    verify_operators(comparison, 1)
    assert [check for check in comparison.checks if check.passed] == []


def test_the_instruction_set_is_put_back() -> None:
    def fail() -> None:
        with using_isa(ISAS[-1]):
            assert alexnet.cpu_isa() == ISAS[-1]
            raise KeyError

    before = alexnet.cpu_isa()
    with pytest.raises(KeyError):
        fail()
    assert alexnet.cpu_isa() == before


# --- networks -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tf-full", "cifar10-bn", "krizhevsky-2012", "caffe"])
def test_layers_and_whole_networks_pass(name: str) -> None:
    variant = small_variant(name)
    comparison = Comparison(ISAS)
    verification = NetworkVerification(variant, comparison, seed=3)
    layers = verification.layers()
    subjects = {check.subject for check in layers}
    assert subjects == {layer.name for layer in variant.layers if layer.memory != "view"}
    gradients = {f"{check.subject}.{check.result}" for check in layers}
    for parameter in variant.parameter_shapes():
        layer, _, array = parameter.partition(".")
        assert f"{layer}.d{array}" in gradients
    whole = [check for isa in ISAS for check in verification.whole(isa, layers)]
    assert len(whole) == len(ISAS) * (1 + len(variant.parameter_shapes()))
    assert [check for check in (*layers, *whole) if not check.passed] == []


def test_a_wrong_layer_shows_there_and_in_the_whole_but_not_elsewhere() -> None:
    def spoil(array: Any) -> None:
        array *= 1.001

    kernels = spoilt(["lrn_backward"], spoil)
    comparison = Comparison([alexnet.cpu_isa()], kernels)
    verification = NetworkVerification(small_variant("tf-small"), comparison)
    layers = verification.layers()
    assert {check.subject for check in layers if not check.passed} == {"lrn1", "lrn2"}
    whole = verification.whole(alexnet.cpu_isa(), layers, kernels)
    failed = {check.result for check in whole if not check.passed}
    assert failed == {"conv1.weight", "conv1.bias", "conv2.weight", "conv2.bias"}


def test_the_compared_operators_hand_on_the_reference() -> None:
    def spoil(array: Any) -> None:
        array[...] = 7

    comparison = Comparison([alexnet.cpu_isa()], spoilt(["conv2d"], spoil))
    x, weight = np.ones((1, 4, 4, 3), np.float32), np.ones((3, 3, 3, 2), np.float32)
    out = np.empty((1, 4, 4, 2), np.float32)
    y = comparison.operators.conv2d(x, weight, out=out)
    assert y is out
    np.testing.assert_array_equal(y, reference.conv2d(x, weight))


# --- the command ----------------------------------------------------------------------------------


def test_verify_prints_a_table_and_succeeds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    isa = alexnet.available_isas()[-1]
    file = tmp_path / "figures.json"
    command = ["verify", "cifar10-bn", "--batch-size", "1", "--isa", isa, "--json", str(file)]
    assert main(command) == 0
    output = capsys.readouterr().out
    assert "\nnetwork [" in output
    assert "OVER" not in output
    figures = json.loads(file.read_text())
    assert figures["passed"]
    checks = figures["checks"]
    assert f"\n{len(checks)} comparisons, 0 over their bound\n" in output
    assert {check["isa"] for check in checks} == {isa}
    assert all(check["relative_error"] <= check["bound"] for check in checks)
    assert {check["layer"] for check in checks} >= {"", "conv1", "bn5", "fc8", "network"}


def test_verify_fails_with_status_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lrn = cpu.lrn

    def with_nan(x: Any, **options: Any) -> Any:
        y = lrn(x, **options)
        y.flat[0] = np.nan
        return y

    monkeypatch.setattr(cpu, "lrn", with_nan)
    isa = alexnet.cpu_isa()
    assert main(["verify", "cifar10-bn", "--batch-size", "1", "--isa", isa]) == 1
    output = capsys.readouterr().out
    assert f"OVER: lrn1 lrn {isa}: y of [1, 32, 32, 48]: nan > " in output
