"""What only the CUDA operators have: alignment, arrays of the device, other libraries, streams."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import alexnet
from alexnet import cpu, reference
from support.arrays import random_array, relative_error
from support.cuda_device import GuardedOnDevice, cuda, on_device, on_host

import cupy  # isort: skip - the emulation's, where cuda_device has found no other

pytestmark = pytest.mark.cuda

# --- layout: vectors of four where memory is aligned, else single elements ------------------------

SHAPE = (2, 5, 7, 12)
GRADIENT_SHAPE = (2, 2, 3, 12)
# Operator, arguments and options; the result of each is compared with what aligned memory gives.
CALLS_ON_MAPS: tuple[tuple[str, tuple[np.ndarray, ...], dict[str, Any]], ...] = (
    ("relu", (random_array(1, *SHAPE),), {}),
    ("relu_backward", (random_array(1, *SHAPE), random_array(2, *SHAPE)), {}),
    ("lrn", (random_array(1, *SHAPE),), {"depth_radius": 2}),
    ("lrn_backward", (random_array(1, *SHAPE), random_array(2, *SHAPE)), {"depth_radius": 2}),
    ("lrn", (random_array(1, *SHAPE),), {"depth_radius": 4, "beta": 0.75}),
    ("lrn_backward", (random_array(1, *SHAPE), random_array(2, *SHAPE)), {"beta": 0.75}),
    ("max_pool2d", (random_array(1, *SHAPE),), {}),
    ("max_pool2d_backward", (random_array(1, *GRADIENT_SHAPE), random_array(2, *SHAPE)), {}),
    ("dropout", (random_array(1, *SHAPE),), {"rate": 0.25, "seed": 2**63 + 5, "offset": 7}),
    ("l2_loss_backward", (random_array(1, *SHAPE),), {}),
)


@pytest.mark.parametrize("offset", [0, 1, 2])
@pytest.mark.parametrize("case", CALLS_ON_MAPS, ids=lambda case: case[0])
def test_unaligned_memory_and_nothing_written_outside(
    case: tuple[str, tuple[np.ndarray, ...], dict[str, Any]], offset: int
) -> None:
    operator, arguments, options = case
    expected = getattr(on_host, operator)(*arguments, **options)
    out = GuardedOnDevice(expected.shape, offset)
    given = [on_device(argument, offset=offset) for argument in arguments]
    result = getattr(cuda, operator)(*given, **options, out=out.array)
    assert result is out.array
    np.testing.assert_array_equal(out.get(), expected)


def test_inputs_of_any_layout() -> None:
    x = random_array(3, 6, 4, 10)
    strided = on_device(x)[:, ::2].transpose(1, 2, 0)
    expected = reference.lrn(x[:, ::2].transpose(1, 2, 0))
    assert relative_error(cuda.lrn(strided).get(), expected) <= 1e-6


# --- arrays and devices ---------------------------------------------------------------------------


class WithInterface:
    """An array of another library on the device."""

    def __init__(self, array: Any) -> None:
        self.__cuda_array_interface__ = array.__cuda_array_interface__
        self.array = array


class WithDlpack:
    """Another one."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def __dlpack__(self, **how: Any) -> Any:
        return self.array.__dlpack__(**how)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.array.__dlpack_device__()


@pytest.mark.parametrize("foreign", [WithInterface, WithDlpack])
def test_arrays_of_other_libraries_are_used_where_they_are(foreign: Any) -> None:
    x, out = on_device(random_array(1, 5, 8)), cupy.zeros((5, 8), cupy.float32)
    y = cuda.relu(foreign(x), out=foreign(out))
    assert y.data.ptr == out.data.ptr
    np.testing.assert_array_equal(out.get(), np.maximum(x.get(), 0))
    np.testing.assert_array_equal(alexnet.relu(foreign(x)).get(), out.get())


def test_operators_dispatch_device_arrays_to_cuda() -> None:
    x = random_array(1, 3, 8)
    np.testing.assert_array_equal(alexnet.lrn(on_device(x)).get(), on_host.lrn(x))


def test_labels_of_the_host_and_of_the_device() -> None:
    logits, labels = random_array(1, 5, 7), np.array([0, 6, 3, 3, 1], np.int32)
    expected = cpu.softmax_cross_entropy(logits, labels)
    for given in (labels, cupy.asarray(labels)):
        loss = cuda.softmax_cross_entropy(on_device(logits), given)
        assert loss.shape == ()
        assert float(loss) == pytest.approx(float(expected), rel=1e-6)
        with pytest.raises(ValueError, match=r"^softmax_cross_entropy_backward: labels has the va"):
            cuda.softmax_cross_entropy_backward(on_device(logits[:, :6]), given)


def test_arrays_that_do_not_fit_are_refused() -> None:
    x = on_device(random_array(1, 4, 8))
    out = cupy.zeros((4, 16), cupy.float32)
    with pytest.raises(TypeError, match=r"^relu: x is of type types.SimpleNamespace, which"):
        cuda.relu(SimpleNamespace(__cuda_array_interface__={}))
    with pytest.raises(TypeError, match=r"^relu: x is of type numpy\.ndarray, expected a cupy\.nd"):
        cuda.relu(x.get())
    with pytest.raises(TypeError, match=r"^relu: out is of type numpy\.ndarray, expected a cupy\."):
        cuda.relu(x, out=np.zeros((4, 8), np.float32))
    with pytest.raises(
        TypeError, match=r"^relu: x has dtype float64, expected float32 or bfloat16 or float16: x"
    ):
        cuda.relu(x.astype(cupy.float64))
    with pytest.raises(ValueError, match=r"^relu: out has strides \(64, 8\) for shape \(4, 8\), "):
        cuda.relu(x, out=out[:, ::2])
    with pytest.raises(ValueError, match=r"^lrn: out overlaps x, expected separate memory$"):
        cuda.lrn(x, out=x)
    with pytest.raises(ValueError, match=r"^relu: out has shape \(4, 16\), expected \(4, 8\)$"):
        cuda.relu(x, out=out)
    with pytest.raises(ValueError, match=r"^sgd_update: velocity overlaps parameter, expected sep"):
        cuda.sgd_update(x, x.copy(), x, learning_rate=0.1)
    assert not out.get().any()


@pytest.mark.skipif(cupy.cuda.runtime.getDeviceCount() < 2, reason="one device only")
def test_arrays_of_another_device_are_refused() -> None:
    x = on_device(random_array(1, 4, 8))
    message = r"^relu_backward: {} is on device 1, expected device 0, the current one$"
    with cupy.cuda.Device(1):
        other = cupy.zeros((4, 8), cupy.float32)
    with pytest.raises(ValueError, match=message.format("dy")):
        cuda.relu_backward(other, other)
    with pytest.raises(ValueError, match=message.format("y")):
        cuda.relu_backward(x, other)
    with pytest.raises(ValueError, match=message.format("out")):
        cuda.relu_backward(x, x, out=other)


@pytest.mark.parametrize("operator", ["relu", "lrn", "max_pool2d"])
def test_work_goes_to_the_current_stream(operator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[Any, ...]] = []
    monkeypatch.setattr(
        sys.modules["alexnet._cuda"], operator, lambda *arguments: given.append(arguments)
    )
    monkeypatch.setattr(cupy.cuda, "get_current_stream", lambda: SimpleNamespace(ptr=4096))
    getattr(cuda, operator)(on_device(random_array(1, 1, 3, 3, 4)))
    assert [arguments[-1] for arguments in given] == [4096]
