"""What a network in 16 bits does on a device beside the operators.

Images and gradients are rounded on their way in and are float32 on their way out; parameters have a
rounded copy. In float16 the loss is scaled, see `LossScale`.
"""

from __future__ import annotations

import math
from importlib import import_module
from typing import Any

import cupy
import numpy as np

from alexnet import _cuda
from alexnet.contract.arguments import AnyArray, check_assignable
from alexnet.cuda._arrays import DeviceArray, stream
from alexnet.cuda._precision import FIRST_WITH_TENSOR_CORES

# Of loss scales, and how many steps without overflow it takes to double one.
FIRST, LEAST, MOST = _cuda.first_loss_scale, _cuda.least_loss_scale, _cuda.most_loss_scale
STEPS_TO_DOUBLE = int(_cuda.steps_to_double)


def dtype_of(precision: str) -> np.dtype[Any]:
    """Find the dtype of a network's arrays in "bfloat16" or "float16".

    Raises
    ------
    NotImplementedError
        The current device or the installed packages don't have it; the text says what does.
    """
    subject = f"network: precision is {precision!r}"
    capability = cupy.cuda.Device().compute_capability
    if int(capability) < FIRST_WITH_TENSOR_CORES:
        raise NotImplementedError(
            f"{subject}, which the current device, of compute capability {capability}, does not "
            "have; use 'float32'"
        )
    if precision == "float16":
        return np.dtype(np.float16)
    try:
        bfloat16: np.dtype[Any] = np.dtype(import_module("ml_dtypes").bfloat16)
        cupy.empty((1,), bfloat16)
    except (ImportError, TypeError, ValueError) as error:  # CuPy before 14 has no bfloat16
        raise NotImplementedError(
            f"{subject}, which needs the package ml_dtypes and CuPy 14 or newer ({error}); "
            "install them, or use 'float16'"
        ) from error
    return bfloat16


def convert(x: DeviceArray, out: DeviceArray) -> DeviceArray:
    """Write float32 x to `out` in 16 bits, or the other way round; return it."""
    _cuda.convert(x, out, stream())
    return out


class LossScale:
    """The factor that gradients in float16 have, so that small ones do not vanish.

    Micikevicius et al., "Mixed precision training" (arXiv 1710.03740). Backward begins with `scale`
    times the gradient of the output, and divides the gradients of parameters by it at its end.
    Where one of them is not finite, `overflow`, an array of the device, is 1 from then on: the
    optimizer's step changes nothing, and the scale is halved. After 2000 steps without that it is
    doubled. It begins as 2^16 and stays within 2^-16 and 2^24. Nothing of this waits for the host.
    """

    def __init__(self) -> None:
        self._numbers = cupy.zeros((3,), cupy.float32)  # as `alexnet::cuda::LossScale` has them
        self._set(FIRST, 0)

    def _set(self, scale: float, good: float) -> None:
        self._numbers.set(np.array([scale, 1 / scale, good], np.float32))

    def scaled(self, dy: DeviceArray, out: DeviceArray, overflow: DeviceArray) -> DeviceArray:
        """Write `scale` times dy to `out`, in float16, where a backward begins; return it."""
        _cuda.scale_gradient(dy, self._numbers, out, overflow, stream())
        if dy.size == 0:  # of no images: nothing was launched, and the last overflow is still there
            overflow[...] = 0
        return out

    def unscale(self, gradients: DeviceArray, overflow: DeviceArray) -> None:
        """Divide gradients, float32, by `scale` in place; note where one is not finite."""
        _cuda.unscale_gradients(gradients, self._numbers, overflow, stream())

    def update(self, overflow: DeviceArray, loss: DeviceArray | None) -> None:
        """Change the scale behind a step, unless there is a loss that is not finite."""
        _cuda.update_loss_scale(self._numbers, overflow, loss, stream())

    @property
    def state(self) -> AnyArray:
        """The scale, and the steps without overflow since it has changed: waits for the device."""
        scale, _, good = self._numbers.get()
        return np.array([scale, good], np.float32)

    @staticmethod
    def check(function: str, argument: str, state: AnyArray) -> None:
        """ValueError or TypeError if it is not what `state` gives."""
        check_assignable(function, argument, state, np.zeros(2, np.float32))
        scale, good = (float(number) for number in state)
        if not LEAST <= scale <= MOST or math.frexp(scale)[0] != 0.5:
            raise ValueError(
                f"{function}: {argument} has scale {scale}, expected a power of two from {LEAST} "
                f"to {MOST:g}"
            )
        if not (0 <= good < STEPS_TO_DOUBLE and good.is_integer()):
            raise ValueError(
                f"{function}: {argument} has {good} steps without overflow, expected an integer "
                f"from 0 to {STEPS_TO_DOUBLE - 1}"
            )

    def restore(self, state: AnyArray) -> None:
        """Go on from what `state` gave, which is checked."""
        self._set(*(float(number) for number in state))
