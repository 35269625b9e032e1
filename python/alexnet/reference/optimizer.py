"""One step of stochastic gradient descent with momentum, and of Adam, in place."""

from __future__ import annotations

from collections.abc import Mapping

from alexnet import calls
from alexnet.checks import check_separate, check_writeable
from alexnet.reference._arrays import FloatArray, as_float64


def sgd_update(
    parameter: FloatArray,
    gradient: FloatArray,
    velocity: FloatArray,
    *,
    learning_rate: float,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
) -> None:
    """Step of SGD with momentum and L2 weight decay; changes `parameter` and `velocity`.

        velocity = momentum * velocity + gradient + weight_decay * parameter
        parameter = parameter - learning_rate * velocity

    This is PyTorch's form of Sutskever et al. 2013. The update of Krizhevsky et al. 2012,
    v = momentum * v - learning_rate * (gradient + weight_decay * w), w = w + v, is the same as
    long as the learning rate stands still, with v = -learning_rate * velocity; when the rate
    changes, theirs carries the old steps on unchanged and this one rescales them.
    """
    operator = "sgd_update"
    old = as_float64(operator, "parameter", parameter)
    slope = as_float64(operator, "gradient", gradient)
    speed = as_float64(operator, "velocity", velocity)
    calls.check_sgd_update(parameter, gradient, velocity, learning_rate, momentum, weight_decay)
    _check_in_place(
        operator, {"parameter": parameter, "velocity": velocity}, {"gradient": gradient}
    )
    speed = momentum * speed + slope + weight_decay * old
    velocity[...] = speed
    parameter[...] = old - learning_rate * speed


def adam_update(
    parameter: FloatArray,
    gradient: FloatArray,
    first_moment: FloatArray,
    second_moment: FloatArray,
    *,
    step: int,
    learning_rate: float = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
    weight_decay: float = 0.0,
) -> None:
    """Step number `step` >= 1 of Adam (Kingma and Ba 2015, algorithm 1).

    Changes `parameter`, `first_moment` and `second_moment`; the moments start at zero. With
    g = gradient + weight_decay * parameter (L2, not decoupled),

        first_moment = beta1 * first_moment + (1 - beta1) * g
        second_moment = beta2 * second_moment + (1 - beta2) * g ** 2
        parameter -= learning_rate * (first_moment / (1 - beta1 ** step))
                     / (sqrt(second_moment / (1 - beta2 ** step)) + epsilon)
    """
    operator = "adam_update"
    old = as_float64(operator, "parameter", parameter)
    slope = as_float64(operator, "gradient", gradient)
    first = as_float64(operator, "first_moment", first_moment)
    second = as_float64(operator, "second_moment", second_moment)
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
    changed = {
        "parameter": parameter,
        "first_moment": first_moment,
        "second_moment": second_moment,
    }
    _check_in_place(operator, changed, {"gradient": gradient})
    slope = slope + weight_decay * old
    first = beta1 * first + (1 - beta1) * slope
    second = beta2 * second + (1 - beta2) * slope**2
    corrected_first = first / (1 - beta1**step)
    corrected_second = second / (1 - beta2**step)
    first_moment[...] = first
    second_moment[...] = second
    parameter[...] = old - learning_rate * corrected_first / (corrected_second**0.5 + epsilon)


def _check_in_place(
    operator: str, changed: Mapping[str, FloatArray], read: Mapping[str, FloatArray]
) -> None:
    """Arrays that are `changed` can be written to and share no memory with any other."""
    others = dict(read)
    for name, array in changed.items():
        check_writeable(operator, name, array)
        check_separate(operator, name, array, others)
        others[name] = array
