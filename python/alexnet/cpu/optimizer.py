"""SGD and Adam updates on the CPU; see `alexnet.reference.optimizer`."""

from __future__ import annotations

from collections.abc import Mapping

from alexnet import _cpu, reference
from alexnet.contract import calls
from alexnet.contract.arguments import AnyArray, check_array, check_separate, check_writeable
from alexnet.contract.documentation import documented_as
from alexnet.cpu._arrays import check_input, plain_inputs
from alexnet.recording import call_kernel


@documented_as(reference.sgd_update)
def sgd_update(
    parameter: AnyArray,
    gradient: AnyArray,
    velocity: AnyArray,
    *,
    learning_rate: float,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
) -> None:
    operator = "sgd_update"
    state = {"parameter": parameter, "velocity": velocity}
    _check_kinds(operator, state, gradient)
    calls.check_sgd_update(parameter, gradient, velocity, learning_rate, momentum, weight_decay)
    _check_in_place(operator, state, gradient)
    (slope,) = plain_inputs(gradient)
    call_kernel(_cpu.sgd_update, parameter, slope, velocity, learning_rate, momentum, weight_decay)


@documented_as(reference.adam_update)
def adam_update(
    parameter: AnyArray,
    gradient: AnyArray,
    first_moment: AnyArray,
    second_moment: AnyArray,
    *,
    step: int,
    learning_rate: float = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
    weight_decay: float = 0.0,
) -> None:
    operator = "adam_update"
    state = {
        "parameter": parameter,
        "first_moment": first_moment,
        "second_moment": second_moment,
    }
    _check_kinds(operator, state, gradient)
    calls.check_adam_update(
        parameter,
        gradient,
        first_moment,
        second_moment,
        step,
        learning_rate,
        beta1,
        beta2,
        epsilon,
        weight_decay,
    )
    _check_in_place(operator, state, gradient)
    (slope,) = plain_inputs(gradient)
    call_kernel(
        _cpu.adam_update,
        parameter,
        slope,
        first_moment,
        second_moment,
        step,
        learning_rate,
        beta1,
        beta2,
        epsilon,
        weight_decay,
    )


def _check_kinds(operator: str, state: Mapping[str, AnyArray], gradient: AnyArray) -> None:
    """Check kinds and dtypes."""
    for name, array in state.items():
        check_array(operator, name, array)
    check_input(operator, "gradient", gradient)


def _check_in_place(operator: str, state: Mapping[str, AnyArray], gradient: AnyArray) -> None:
    """Check that the arrays of `state` can be written to and that none shares memory."""
    others = {"gradient": gradient}
    for name, array in state.items():
        check_writeable(operator, name, array)
        check_separate(operator, name, array, others)
        others[name] = array
