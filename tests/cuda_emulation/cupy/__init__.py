"""Stand-in for CuPy where there is no GPU: what `alexnet` uses of it, on NumPy's memory.

An array is a wrapper, not a NumPy array, so that code which takes one for the other fails as it
would with CuPy. There are two devices, so that arrays can be on the wrong one.
"""

from __future__ import annotations

import ctypes
import operator
from typing import Any

import numpy as np

from cupy import cuda

float32, float64, uint8, int64 = np.float32, np.float64, np.uint8, np.int64
dtype = np.dtype


class _Flags:
    def __init__(self, values: np.ndarray) -> None:
        self.c_contiguous = values.flags.c_contiguous


class ndarray:  # noqa: N801 - CuPy's name
    """An array on the device that was current when it was made."""

    def __init__(self, values: np.ndarray, owner: Any = None, device: int | None = None) -> None:
        self._values = values
        self.base = owner
        self.device = cuda.Device(device)
        self.data = cuda.MemoryPointer(values.ctypes.data)

    shape = property(lambda self: self._values.shape)
    strides = property(lambda self: self._values.strides)
    dtype = property(lambda self: self._values.dtype)
    size = property(lambda self: self._values.size)
    ndim = property(lambda self: self._values.ndim)
    nbytes = property(lambda self: self._values.nbytes)
    itemsize = property(lambda self: self._values.itemsize)
    flags = property(lambda self: _Flags(self._values))
    T = property(lambda self: self._view(self._values.T))

    def __dlpack__(self, **how: Any) -> Any:
        return self._values.__dlpack__(**how)

    def __dlpack_device__(self) -> tuple[int, int]:
        return (2, self.device.id)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {**self._values.__array_interface__, "version": 3}

    def __array__(self, *_: object, **__: object) -> np.ndarray:
        raise TypeError("implicit conversion to a NumPy array is not allowed")

    def _view(self, values: np.ndarray) -> ndarray:
        """An array over this one's memory refers to the array that owns it, as CuPy's does."""
        owner = self if self.base is None else self.base
        return ndarray(values, owner, self.device.id)

    def get(self) -> np.ndarray:
        return self._values.copy()

    def copy(self) -> ndarray:
        return ndarray(self._values.copy(), device=self.device.id)

    def reshape(self, *shape: Any) -> ndarray:
        return self._view(self._values.reshape(*shape))

    def transpose(self, *axes: Any) -> ndarray:
        return self._view(self._values.transpose(*axes))

    def astype(self, dtype: Any) -> ndarray:
        return ndarray(self._values.astype(dtype))

    def _reduced(self, name: str, **how: Any) -> ndarray:
        return ndarray(np.asarray(getattr(self._values, name)(**how)))

    def min(self, **how: Any) -> ndarray:
        return self._reduced("min", **how)

    def max(self, **how: Any) -> ndarray:
        return self._reduced("max", **how)

    def argmax(self, **how: Any) -> ndarray:
        return self._reduced("argmax", **how)

    def mean(self, **how: Any) -> ndarray:
        return self._reduced("mean", **how)

    def __getitem__(self, key: Any) -> ndarray:
        return self._view(self._values[key])

    def __setitem__(self, key: Any, value: Any) -> None:
        self._values[key] = _unwrapped(value)

    def __len__(self) -> int:
        return len(self._values)

    def __float__(self) -> float:
        return float(self._values)

    def __int__(self) -> int:
        return int(self._values)


def _unwrapped(value: Any) -> Any:
    """The values of an array or a scalar; NumPy arrays do not mix with the device's."""
    if isinstance(value, np.ndarray) and value.ndim > 0:
        raise TypeError(f"Unsupported type {type(value)}")
    return value._values if isinstance(value, ndarray) else value


def _binary(function: Any, *, in_place: bool = False) -> Any:
    def method(self: ndarray, other: Any) -> Any:
        result = function(self._values, _unwrapped(other))
        return self if in_place else ndarray(np.asarray(result))

    return method


for _name in ("add", "sub", "mul", "truediv", "eq"):
    _function = getattr(operator, _name)
    setattr(ndarray, f"__{_name}__", _binary(_function))
    setattr(ndarray, f"__r{_name}__", _binary(lambda a, b, f=_function: f(b, a)))
for _name in ("iadd", "isub", "imul"):
    setattr(ndarray, f"__{_name}__", _binary(getattr(operator, _name), in_place=True))


def empty(shape: Any, dtype: Any = float64) -> ndarray:
    values = np.empty(shape, dtype)
    ctypes.memset(values.ctypes.data, 0xFF, values.nbytes)  # NaN: to be written
    return ndarray(values)


def zeros(shape: Any, dtype: Any = float64) -> ndarray:
    return ndarray(np.zeros(shape, dtype))


def empty_like(array: ndarray) -> ndarray:
    return empty(array.shape, array.dtype)


def asarray(array: Any, dtype: Any = None) -> ndarray:
    if isinstance(array, ndarray):
        return array if dtype in (None, array.dtype) else array.astype(dtype)
    if hasattr(array, "__cuda_array_interface__"):
        return ndarray(_over_interface(array.__cuda_array_interface__), array)
    return ndarray(np.array(array, dtype))


def _over_interface(interface: dict[str, Any]) -> np.ndarray:
    holder = type("Holder", (), {"__array_interface__": interface})()
    return np.asarray(holder)


def from_dlpack(array: Any) -> ndarray:
    class OnHost:
        """NumPy takes nothing that says it lies on a CUDA device."""

        __dlpack__ = staticmethod(array.__dlpack__)

        def __dlpack_device__(self) -> tuple[int, int]:
            return (1, 0)

    return ndarray(np.from_dlpack(OnHost()), array)


def ascontiguousarray(array: ndarray, dtype: Any = None) -> ndarray:
    values = array._values
    if values.flags.c_contiguous and dtype in (None, values.dtype):
        return array
    return ndarray(np.ascontiguousarray(values, dtype))


def asnumpy(array: ndarray) -> np.ndarray:
    return array.get()


def may_share_memory(array: ndarray, other: ndarray) -> bool:
    return np.may_share_memory(array._values, other._values)
