"""One step of stochastic gradient descent with momentum, and of Adam, in place."""

from __future__ import annotations

from collections.abc import Mapping

from alexnet.contract import calls
from alexnet.contract.arguments import check_separate, check_writeable, plain
from alexnet.reference._arrays import FloatArray, as_float64, check_input


def sgd_update(
    parameter: FloatArray,
    gradient: FloatArray,
    velocity: FloatArray,
    *,
    learning_rate: float,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
) -> None:
    """One step of gradient descent with momentum and L2 weight decay, in place.

        velocity = momentum * velocity + gradient + weight_decay * parameter
        parameter = parameter - learning_rate * velocity

    Arrays are float32 (the reference: float64 too, computed in float64).

    Parameters
    ----------
    parameter, velocity : array of any shape
        Changed: the same shape, C-contiguous, writeable, no memory shared with another argument.
        The velocity starts at zero.
    gradient : array of the parameter's shape
        Any strides.
    learning_rate : float
        At least 0.
    momentum : float
        0 <= momentum < 1.
    weight_decay : float
        At least 0.

    Returns
    -------
    None

    Raises
    ------
    TypeError
        An array is no `numpy.ndarray` or is masked, or its dtype or byte order is another; or a
        parameter has the wrong type.
    ValueError
        Shapes differ; a number is out of range or not finite; an array that is changed is not
        C-contiguous, is read-only or overlaps another.

    Notes
    -----
    The form of ``torch.optim.SGD``, after Sutskever et al. 2013. Krizhevsky et al. 2012, section 5,
    has v = momentum * v - learning_rate * (gradient + weight_decay * w), w = w + v, which is the
    same with v = -learning_rate * velocity while the learning rate stands still; when it changes,
    theirs carries the old steps on unchanged and this one rescales them.
    """
    operator = "sgd_update"
    check_input(operator, "parameter", parameter)
    check_input(operator, "gradient", gradient)
    check_input(operator, "velocity", velocity)
    calls.check_sgd_update(parameter, gradient, velocity, learning_rate, momentum, weight_decay)
    old = as_float64(parameter)
    slope = as_float64(gradient)
    speed = as_float64(velocity)
    _check_in_place(
        operator, {"parameter": parameter, "velocity": velocity}, {"gradient": gradient}
    )
    learning_rate, momentum, weight_decay = plain((learning_rate, momentum, weight_decay))
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
    """One step of Adam, in place.

        g = gradient + weight_decay * parameter
        first_moment = beta1 * first_moment + (1 - beta1) * g
        second_moment = beta2 * second_moment + (1 - beta2) * g ** 2
        parameter = parameter - learning_rate * (first_moment / (1 - beta1 ** step))
                                / (sqrt(second_moment / (1 - beta2 ** step)) + epsilon)

    Arrays are float32 (the reference: float64 too, computed in float64).

    Parameters
    ----------
    parameter, first_moment, second_moment : array of any shape
        Changed: the same shape, C-contiguous, writeable, no memory shared with another argument.
        The moments start at zero.
    gradient : array of the parameter's shape
        Any strides.
    step : int
        Number of this step, counted from 1: it corrects the bias of moments that started at zero.
    learning_rate : float
        At least 0.
    beta1, beta2 : float
        Decay of the moments, each 0 <= beta < 1.
    epsilon : float
        Greater than 0.
    weight_decay : float
        At least 0. An L2 term in the gradient, not the decoupled decay of AdamW.

    Returns
    -------
    None

    Raises
    ------
    TypeError
        An array is no `numpy.ndarray` or is masked, or its dtype or byte order is another; or a
        parameter has the wrong type.
    ValueError
        Shapes differ; a number is out of range or not finite; an array that is changed is not
        C-contiguous, is read-only or overlaps another.

    Notes
    -----
    Kingma and Ba, "Adam: a method for stochastic optimization", ICLR 2015, algorithm 1, with its
    defaults. epsilon is added after the correction of the bias, to the square root.
    """
    operator = "adam_update"
    check_input(operator, "parameter", parameter)
    check_input(operator, "gradient", gradient)
    check_input(operator, "first_moment", first_moment)
    check_input(operator, "second_moment", second_moment)
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
    old = as_float64(parameter)
    slope = as_float64(gradient)
    first = as_float64(first_moment)
    second = as_float64(second_moment)
    changed = {
        "parameter": parameter,
        "first_moment": first_moment,
        "second_moment": second_moment,
    }
    _check_in_place(operator, changed, {"gradient": gradient})
    step, learning_rate, weight_decay = plain((step, learning_rate, weight_decay))
    beta1, beta2, epsilon = plain((beta1, beta2, epsilon))
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
