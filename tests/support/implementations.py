"""The implementations of the operators that run here, each called with NumPy arrays."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import alexnet
from alexnet import cpu, reference
from support.arrays import Guarded, random_array, relative_error

# ALEXNET_ISA narrows a run to one instruction set; otherwise every one of this machine is tested.
ISAS = (alexnet.cpu_isa(),) if os.environ.get("ALEXNET_ISA") else alexnet.available_isas()

CUDA = pytest.param("cuda", marks=pytest.mark.cuda)


class Cpu:
    """`alexnet.cpu` with the kernels of one instruction set, which the fixture has chosen."""

    kernels = cpu

    def __init__(self, isa: str) -> None:
        self.name = isa

    def __getattr__(self, operator: str) -> Any:
        return getattr(cpu, operator)

    def array(self, values: npt.NDArray[Any]) -> Any:
        """A copy where the operators work."""
        return values.copy()

    def host(self, array: Any) -> npt.NDArray[Any]:
        """What such an array holds."""
        return np.asarray(array)

    def guarded(self, shape: tuple[int, ...]) -> Guarded:
        """An output that knows when a kernel writes outside of it."""
        return Guarded(shape)


class Cuda:
    """`alexnet.cuda`, with arguments copied to the device and results copied back.

    Where an argument is on the device already, such as `out`, the results stay there as well.
    """

    name = "cuda"

    def __init__(self) -> None:
        # Imported only here: where there is no device, this compiles the emulation.
        from support import cuda_device

        self._device = cuda_device
        self.kernels = cuda_device.on_host

    def __getattr__(self, operator: str) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            values = [*arguments, *options.values()]
            values += [entry for value in values if isinstance(value, tuple) for entry in value]
            if not any(isinstance(value, self._device.cupy.ndarray) for value in values):
                return getattr(self.kernels, operator)(*arguments, **options)
            given = (self._given(value) for value in arguments)
            options = {name: self._given(value) for name, value in options.items()}
            return getattr(self._device.cuda, operator)(*given, **options)

        return call

    def _given(self, value: Any) -> Any:
        return self._device.cupy.asarray(value) if isinstance(value, np.ndarray) else value

    def array(self, values: npt.NDArray[Any], offset: int = 0) -> Any:
        return self._device.on_device(values, offset=offset)

    def host(self, array: Any) -> npt.NDArray[Any]:
        values: npt.NDArray[Any] = array.get()
        return values

    def guarded(self, shape: tuple[int, ...], offset: int = 0) -> Any:
        return self._device.GuardedOnDevice(shape, offset)


Implementation = Cpu | Cuda


def implementation(name: str) -> Implementation:
    return Cuda() if name == "cuda" else Cpu(name)


def check_gradient_through_relu(
    on: Implementation, operator: str, image_shape: tuple[int, ...]
) -> None:
    """Check that `through_relu` is the gradient of ReLU after the operator's, to the bit."""
    forward, backward = getattr(on, operator), getattr(on, f"{operator}_backward")
    x = np.maximum(random_array(70, *image_shape), 0)
    dy = random_array(71, *forward(x).shape)
    expected = getattr(reference, f"{operator}_backward")(dy, x, through_relu=True)
    for threads in (1, 3):
        alexnet.set_num_threads(threads)
        dx = on.guarded(x.shape)
        backward(dy, x, through_relu=True, out=dx.array)
        np.testing.assert_array_equal(dx.get(), on.relu_backward(backward(dy, x), x))
        assert relative_error(dx.get(), expected) <= 1e-6
    with pytest.raises(TypeError, match=f"{operator}_backward: through_relu is 1, expected True"):
        backward(dy, x, through_relu=1)
