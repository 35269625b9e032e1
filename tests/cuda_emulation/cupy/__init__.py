"""Stand-in for CuPy where there is no GPU: what `alexnet` uses of it, on NumPy's memory.

An array is a wrapper, not a NumPy array, so that code which takes one for the other fails as it
would with CuPy. There are two devices, so that arrays can be on the wrong one.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from cupy import cuda

float32, float64, uint8, int64 = np.float32, np.float64, np.uint8, np.int64
dtype = np.dtype


class _Flags:
    def __init__(self, values: np.ndarray) -> None:
        self.c_contiguous = values.flags.c_contiguous


class _Foreign:
    """Memory that is another library's."""

    def __init__(self, values: np.ndarray) -> None:
        self.ptr = values.ctypes.data


class ndarray:  # noqa: N801 - CuPy's name
    """An array on the device that was current when it was made, over memory that `data` keeps."""

    def __init__(
        self,
        values: np.ndarray,
        data: cuda.MemoryPointer | None = None,
        owner: Any = None,
        device: int | None = None,
    ) -> None:
        self._values = values
        self.base = owner
        self.device = cuda.Device(device)
        self.data = cuda.MemoryPointer(_Foreign(values), 0) if data is None else data

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
        pointer = cuda.MemoryPointer(self.data.mem, values.ctypes.data - self.data.mem.ptr)
        return ndarray(values, pointer, owner, self.device.id)

    def get(self) -> np.ndarray:
        cuda.refuse_in_capture("a copy to the host")
        return self._values.copy()

    def set(self, values: np.ndarray, stream: Any = None) -> None:  # noqa: ARG002 - at once
        cuda.refuse_in_capture("a copy from the host")
        if not isinstance(values, np.ndarray):
            raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
        if (values.shape, values.dtype) != (self.shape, self.dtype):
            raise ValueError(f"{values.dtype}{values.shape} into {self.dtype}{self.shape}")
        self._values[...] = values

    def copy(self) -> ndarray:
        with cuda.Device(self.device.id):
            return _computed(lambda given: np.copy(given, "C"), self)

    def reshape(self, *shape: Any) -> ndarray:
        values = self._values.reshape(*shape)
        if np.shares_memory(values, self._values) or values.size == 0:
            return self._view(values)
        return _computed(lambda array: array.reshape(*shape), self)

    def view(self, dtype: Any) -> ndarray:
        return self._view(self._values.view(dtype))

    def transpose(self, *axes: Any) -> ndarray:
        return self._view(self._values.transpose(*axes))

    def astype(self, dtype: Any) -> ndarray:
        return _computed(lambda values: values.astype(dtype), self)

    def _reduced(self, name: str, **how: Any) -> ndarray:
        return _computed(lambda values: getattr(values, name)(**how), self)

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
        target, source = _borrowed(self._values[key]), _unwrapped(value)
        cuda.enqueue(lambda: np.copyto(target, source, casting="same_kind"))

    def __len__(self) -> int:
        return len(self._values)

    def __float__(self) -> float:
        return float(self.get())

    def __int__(self) -> int:
        return int(self.get())


def _borrowed(values: np.ndarray) -> np.ndarray:
    """The same elements without a hold on their memory: a launch has none, either."""
    if values.size == 0:
        return values
    return _over_interface(values.__array_interface__).view(values.dtype)  # bfloat16 has no name


def _unwrapped(value: Any) -> Any:
    """The values of an array or a scalar; NumPy arrays do not mix with the device's."""
    if isinstance(value, np.ndarray) and value.ndim > 0:
        raise TypeError(f"Unsupported type {type(value)}")
    return _borrowed(value._values) if isinstance(value, ndarray) else value


def _computed(function: Any, *operands: Any) -> ndarray:
    """A new array with what a kernel computes from `operands`."""
    given = [_unwrapped(operand) for operand in operands]
    with np.errstate(all="ignore"):  # what is captured may read anything as yet
        example = np.asarray(function(*given))
    result = empty(example.shape, example.dtype)
    target = _borrowed(result._values)
    cuda.enqueue(lambda: np.copyto(target, function(*given)))
    return result


def _binary(function: Any, *, in_place: bool = False) -> Any:
    def method(self: ndarray, other: Any) -> Any:
        if not in_place:
            return _computed(function, self, other)
        target, source = _borrowed(self._values), _unwrapped(other)
        cuda.enqueue(lambda: function(target, source))
        return self

    return method


for _name in ("add", "sub", "mul", "truediv", "eq"):
    _function = getattr(operator, _name)
    setattr(ndarray, f"__{_name}__", _binary(_function))
    setattr(ndarray, f"__r{_name}__", _binary(lambda a, b, f=_function: f(b, a)))
for _name in ("iadd", "isub", "imul"):
    setattr(ndarray, f"__{_name}__", _binary(getattr(operator, _name), in_place=True))


def empty(shape: Any, dtype: Any = float64) -> ndarray:
    """Full of NaN, as all new memory is: to be written."""
    shape = tuple(shape) if isinstance(shape, tuple | list) else (shape,)
    size = math.prod(shape) * np.dtype(dtype).itemsize
    pointer = cuda.alloc(size)
    values = pointer.mem.bytes[pointer.ptr - pointer.mem.ptr :][:size].view(dtype).reshape(shape)
    return ndarray(values, pointer)


def zeros(shape: Any, dtype: Any = float64) -> ndarray:
    array = empty(shape, dtype)
    array[...] = 0
    return array


def empty_like(array: ndarray) -> ndarray:
    return empty(array.shape, array.dtype)


def asarray(array: Any, dtype: Any = None) -> ndarray:
    if isinstance(array, ndarray):
        return array if dtype in (None, array.dtype) else array.astype(dtype)
    if hasattr(array, "__cuda_array_interface__"):
        return ndarray(_over_interface(array.__cuda_array_interface__), owner=array)
    values = np.asarray(array, dtype)
    result = empty(values.shape, values.dtype)
    result.set(values)
    return result


def _over_interface(interface: dict[str, Any]) -> np.ndarray:
    holder = type("Holder", (), {"__array_interface__": interface})()
    return np.asarray(holder)


def from_dlpack(array: Any) -> ndarray:
    class OnHost:
        """NumPy takes nothing that says it lies on a CUDA device."""

        __dlpack__ = staticmethod(array.__dlpack__)

        def __dlpack_device__(self) -> tuple[int, int]:
            return (1, 0)

    return ndarray(np.from_dlpack(OnHost()), owner=array)


def ascontiguousarray(array: ndarray, dtype: Any = None) -> ndarray:
    values = array._values
    if values.flags.c_contiguous and dtype in (None, values.dtype):
        return array if values.ndim > 0 else array.reshape(1)
    return _computed(lambda given: np.ascontiguousarray(given, dtype), array)


def asnumpy(array: ndarray) -> np.ndarray:
    return array.get()


def may_share_memory(array: ndarray, other: ndarray) -> bool:
    return np.may_share_memory(array._values, other._values)
