"""SGD and Adam updates on a CUDA device; see `alexnet.reference.optimizer`.

The numbers of a step, such as the learning rate, are arguments of the launch. In a CUDA graph, with
arguments that stay, they lie in device memory and are written before each step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from alexnet import _cuda, reference
from alexnet.contract import calls
from alexnet.contract.documentation import documented_as
from alexnet.cuda._arrays import DeviceArray, as_input, as_state, check_in_place, stream


@documented_as(reference.sgd_update)
def sgd_update(
    parameter: DeviceArray,
    gradient: DeviceArray,
    velocity: DeviceArray,
    *,
    learning_rate: float,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
) -> None:
    operator = "sgd_update"
    state = as_state(operator, {"parameter": parameter, "velocity": velocity})
    slope = as_input(operator, "gradient", gradient)
    parameter, velocity = state.values()
    calls.check_sgd_update(parameter, slope, velocity, learning_rate, momentum, weight_decay)
    check_in_place(operator, state, slope)
    _cuda.sgd_update(
        parameter, slope, velocity, learning_rate, momentum, weight_decay, None, None, stream()
    )


@documented_as(reference.adam_update)
def adam_update(
    parameter: DeviceArray,
    gradient: DeviceArray,
    first_moment: DeviceArray,
    second_moment: DeviceArray,
    *,
    step: int,
    learning_rate: float = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
    weight_decay: float = 0.0,
) -> None:
    operator = "adam_update"
    given = {
        "parameter": parameter,
        "first_moment": first_moment,
        "second_moment": second_moment,
    }
    state = as_state(operator, given)
    slope = as_input(operator, "gradient", gradient)
    parameter, first_moment, second_moment = state.values()
    rates = (learning_rate, beta1, beta2, epsilon, weight_decay)
    calls.check_adam_update(parameter, slope, first_moment, second_moment, step, *rates)
    check_in_place(operator, state, slope)
    _cuda.adam_update(
        parameter, slope, first_moment, second_moment, step, *rates, None, None, stream()
    )


# --- steps of networks ----------------------------------------------------------------------------

# These take parameter, gradient and slots of "sgd" or "adam", which are the network's own and so
# unchecked; `copy`, of 16 bits, that is to be what the parameters are then, or None; and
# `overflow`: where it is not None and not 0, nothing changes.


def update(
    rule: str,
    settings: Mapping[str, float],
    arrays: Sequence[DeviceArray],
    copy: DeviceArray | None,
    overflow: DeviceArray | None,
) -> None:
    """Update by settings in the order of the operator's arguments."""
    getattr(_cuda, f"{rule}_update")(*arrays, *settings.values(), copy, overflow, stream())


def step_numbers(rule: str, settings: Mapping[str, float]) -> tuple[float, ...]:
    """Round the settings for a step of a CUDA graph."""
    numbers: tuple[float, ...] = getattr(_cuda, f"{rule}_step")(*settings.values())
    return numbers


def update_by_numbers(
    rule: str,
    numbers: DeviceArray,
    loss: DeviceArray,
    arrays: Sequence[DeviceArray],
    copy: DeviceArray | None,
    overflow: DeviceArray | None,
) -> None:
    """Update by `step_numbers` on the device, unless `loss` is not finite."""
    getattr(_cuda, f"{rule}_update_by")(*arrays, numbers, loss, copy, overflow, stream())
