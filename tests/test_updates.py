"""The update operators of SGD and Adam, several steps against the reference."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import alexnet
from alexnet import cpu, reference
from support.arrays import TAIL_SIZES, random_array, relative_error
from support.implementations import Implementation

STEPS = 5
# At most 7 roundings a step, of terms of about the size of what is summed (microkernels/
# optimizer.cpp), over STEPS steps in which most of what was there before is kept.
BOUND = 1e-6

SHAPES = [(n,) for n in TAIL_SIZES] + [(), (0,), (0, 3), (5, 0, 2), (3, 5, 7, 11), (2, 50_021)]
OPTIONS: dict[str, list[dict[str, Any]]] = {
    "sgd_update": [
        {"learning_rate": 0.1},
        {"learning_rate": 0.01, "momentum": 0.0},
        {"learning_rate": 0.05, "momentum": 0.5, "weight_decay": 0.0005},
    ],
    "adam_update": [
        {},
        {"learning_rate": 0.1, "beta1": 0.0, "beta2": 0.0},
        {"learning_rate": 0.01, "beta1": 0.8, "beta2": 0.95, "epsilon": 0.1, "weight_decay": 0.1},
    ],
}
STATE = {
    "sgd_update": ("parameter", "velocity"),
    "adam_update": ("parameter", "first_moment", "second_moment"),
}
CASES = [(operator, options) for operator, several in OPTIONS.items() for options in several]


def make(seed: int, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    return np.asarray(random_array(seed, *shape), np.float32)


def step(
    implementation: Any,
    operator: str,
    state: list[npt.NDArray[Any]],
    gradient: npt.NDArray[Any],
    number: int,
    options: dict[str, Any],
) -> None:
    function: Callable[..., None] = getattr(implementation, operator)
    extra = {"step": number} if operator == "adam_update" else {}
    assert function(state[0], gradient, *state[1:], **extra, **options) is None


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("operator", "options"), CASES)
def test_several_steps(
    on: Implementation, operator: str, options: dict[str, Any], shape: tuple[int, ...]
) -> None:
    guarded = [on.guarded(shape) for _ in STATE[operator]]
    state = [g.array for g in guarded]
    first = [make(1, shape), *(np.zeros(shape, np.float32) for _ in STATE[operator][1:])]
    for array, values in zip(state, first, strict=True):
        array[...] = on.array(values)
    expected: list[npt.NDArray[Any]] = [values.astype(np.float64) for values in first]
    for number in range(1, STEPS + 1):
        values = make(number + 1, shape)
        gradient = on.array(values)
        step(on, operator, state, gradient, number, options)
        step(reference, operator, expected, values, number, options)
        np.testing.assert_array_equal(on.host(gradient), values)
    for name, place, right in zip(STATE[operator], guarded, expected, strict=True):
        assert relative_error(place.get(), right) <= BOUND, name


def test_first_adam_step_is_the_learning_rate(on: Implementation) -> None:
    """With bias correction, m / sqrt(v) is the gradient's sign after one step."""
    parameter = np.zeros(100, np.float32)
    gradient = random_array(2, 100, scale=1e-3)
    moments = np.zeros((2, 100), np.float32)
    on.adam_update(parameter, gradient, *moments, step=1, learning_rate=0.01, epsilon=1e-12)
    np.testing.assert_allclose(parameter, -0.01 * np.sign(gradient), rtol=1e-6)


def test_late_steps_and_an_epsilon_below_the_normal_numbers(on: Implementation) -> None:
    for number in (10**6, 2**53, 2**63 - 1):
        state = [random_array(3, 50), random_array(4, 50), random_array(5, 50) ** 2]
        expected = [array.astype(np.float64) for array in state]
        step(on, "adam_update", state, random_array(6, 50), number, {"learning_rate": 0.1})
        step(
            reference, "adam_update", expected, random_array(6, 50), number, {"learning_rate": 0.1}
        )
        assert relative_error(state[0], expected[0]) <= BOUND
    parameter = np.ones(5, np.float32)
    zeros = np.zeros((3, 5), np.float32)
    on.adam_update(parameter, *zeros, step=1, epsilon=1e-40)
    np.testing.assert_array_equal(parameter, np.ones(5))


@pytest.mark.filterwarnings("ignore:invalid value encountered")
@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("operator", STATE)
def test_nan_and_infinity_stay_in_their_element(
    on: Implementation, operator: str, special: float
) -> None:
    options = {"learning_rate": 0.1, "weight_decay": 0.01}
    for index in range(len(STATE[operator]) + 1):
        state = [np.abs(random_array(i, 37)) for i in range(len(STATE[operator]))]
        gradient = random_array(9, 37)
        target = gradient if index == len(state) else state[index]
        target[5] = target[36] = special
        if operator == "adam_update" and index == 2 and special == -np.inf:
            continue  # a mean square is not negative
        expected = [array.astype(np.float64) for array in state]
        step(on, operator, state, gradient, 3, options)
        step(reference, operator, expected, gradient, 3, options)
        for array, right in zip(state, expected, strict=True):
            np.testing.assert_allclose(array, right, rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("operator", STATE)
def test_same_bits_for_every_number_of_threads(operator: str) -> None:
    results = set()
    for threads in (1, 2, 3, 5):
        alexnet.set_num_threads(threads)
        state = [np.abs(random_array(i, 100_003)) for i in range(len(STATE[operator]))]
        step(cpu, operator, state, random_array(9, 100_003), 2, {"learning_rate": 0.1})
        results.add(b"".join(array.tobytes() for array in state))
    assert len(results) == 1


def test_a_gradient_of_any_layout(on: Implementation) -> None:
    gradient = random_array(1, 6, 8)[:, ::2].T
    state = [random_array(2, 4, 6), random_array(3, 4, 6)]
    expected = [array.astype(np.float64) for array in state]
    step(on, "sgd_update", state, gradient, 1, {"learning_rate": 0.1})
    step(reference, "sgd_update", expected, gradient, 1, {"learning_rate": 0.1})
    assert relative_error(state[0], expected[0]) <= BOUND


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("operator", STATE)
def test_bad_arrays_are_refused_before_anything_is_written(operator: str) -> None:
    names = STATE[operator]
    options = {"learning_rate": 0.1}
    gradient = np.ones(8, np.float32)

    def run(**changed: npt.NDArray[Any]) -> None:
        state = [np.zeros(8, np.float32) for _ in names]
        arrays = [changed.get(name, array) for name, array in zip(names, state, strict=True)]
        try:
            step(cpu, operator, arrays, changed.get("gradient", gradient), 1, options)
        finally:
            assert not any(array.any() for array in state)

    for name in (*names, "gradient"):
        with pytest.raises(TypeError, match=f"{operator}: {name} has dtype float64, expected"):
            run(**{name: np.zeros(8)})
    for name in (*names[1:], "gradient"):
        with pytest.raises(ValueError, match=rf"{operator}: {name} has shape \(7,\), expected \(8"):
            run(**{name: np.zeros(7, np.float32)})
    frozen = np.zeros(8, np.float32)
    frozen.flags.writeable = False
    shared = np.zeros(12, np.float32)
    for name in names:
        with pytest.raises(ValueError, match=f"{operator}: {name} is read-only"):
            run(**{name: frozen})
        with pytest.raises(ValueError, match=rf"{operator}: {name} has strides \(8,\)"):
            run(**{name: np.zeros(16, np.float32)[::2]})
        with pytest.raises(ValueError, match=f"{operator}: {name} overlaps gradient, expected"):
            run(**{name: shared[:8], "gradient": shared[4:]})
    with pytest.raises(ValueError, match=f"{operator}: {names[-1]} overlaps parameter"):
        run(**{"parameter": shared[:8], names[-1]: shared[4:]})
    spread = np.zeros(16, np.float32)
    with pytest.raises(ValueError, match=f"{operator}: parameter overlaps gradient"):
        run(parameter=spread[:8], gradient=spread[::2])
    assert not shared.any()
    assert not spread.any()


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize(
    ("operator", "argument", "value", "expected"),
    [
        ("sgd_update", "learning_rate", -0.1, "a finite number >= 0"),
        ("sgd_update", "momentum", 1, "a finite number >= 0 and < 1"),
        ("sgd_update", "weight_decay", math.inf, "a finite number >= 0"),
        ("adam_update", "learning_rate", math.nan, "a finite number >= 0"),
        ("adam_update", "step", 0, "an integer from 1"),
        ("adam_update", "beta1", 1.0, "a finite number >= 0 and < 1"),
        ("adam_update", "beta2", -0.1, "a finite number >= 0 and < 1"),
        ("adam_update", "epsilon", 0, "a finite number > 0"),
        ("adam_update", "weight_decay", -1, "a finite number >= 0"),
    ],
)
def test_bad_numbers_are_refused(operator: str, argument: str, value: float, expected: str) -> None:
    options: dict[str, Any] = {"learning_rate": 0.1}
    if operator == "adam_update":
        options["step"] = 1
    options[argument] = value
    state = [np.ones(4, np.float32) for _ in STATE[operator]]
    with pytest.raises(ValueError, match=f"{operator}: {argument} is .*, expected {expected}"):
        getattr(cpu, operator)(state[0], np.ones(4, np.float32), *state[1:], **options)
    assert all((array == 1).all() for array in state)
