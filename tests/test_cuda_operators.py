"""The CUDA operators: against the reference on odd shapes, and what each of them promises."""

from __future__ import annotations

import re
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import alexnet
from alexnet import cpu, reference
from alexnet.random import Generator
from alexnet.verification import odd_shapes
from alexnet.verification.hosted import CHANGED_IN_PLACE, hosted
from alexnet.verification.verify import CUDA, Comparison
from cuda_device import GuardedOnDevice, cuda, on_device
from support import random_array, relative_error
from test_messages import VALUE_ERRORS, Call

import cupy  # isort: skip - the emulation's, where cuda_device has found no other

on_host = hosted(cuda)
CALLS = list(odd_shapes.calls(Generator(1)))
OTHERS = sorted(
    {call.operator for call in CALLS if not call.operator.startswith(("conv", "dense"))}
)
TRICKY = np.array([np.nan, np.inf, -np.inf, -0.0, 0.0, 1e-40, -3.0, 2.5], np.float32)


@pytest.mark.parametrize("operator", OTHERS)
def test_odd_shapes_within_the_bounds_of_verify(operator: str) -> None:
    comparison = Comparison((CUDA,), on_host)
    calls = [call for call in CALLS if call.operator == operator]
    for call in calls:
        getattr(comparison.operators, call.operator)(*call.arguments, **call.options)
    assert len(comparison.checks) >= len(calls) > 0
    assert [check for check in comparison.checks if not check.passed] == []


@pytest.mark.parametrize("operator", sorted({*OTHERS} - {*CHANGED_IN_PLACE}))
def test_same_bits_on_every_run(operator: str) -> None:
    """The emulation runs blocks and threads in another order each time."""
    for call in CALLS:
        if call.operator == operator:
            runs = [getattr(on_host, operator)(*call.arguments, **call.options) for _ in range(3)]
            for run in runs[1:]:
                np.testing.assert_equal(run, runs[0])


# --- layout: vectors of four where memory is aligned, else single elements ------------------------

SHAPE = (2, 5, 7, 12)
GRADIENT_SHAPE = (2, 2, 3, 12)
# Operator, arguments and options; the result of each is compared with what aligned memory gives.
CALLS_ON_MAPS: tuple[tuple[str, tuple[np.ndarray, ...], dict[str, Any]], ...] = (
    ("relu", (random_array(1, *SHAPE),), {}),
    ("relu_backward", (random_array(1, *SHAPE), random_array(2, *SHAPE)), {}),
    ("lrn", (random_array(1, *SHAPE),), {"depth_radius": 2}),
    ("lrn_backward", (random_array(1, *SHAPE), random_array(2, *SHAPE)), {"depth_radius": 2}),
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


def test_empty_batches() -> None:
    x = np.zeros((0, 5, 5, 3), np.float32)
    assert on_host.relu(x).shape == on_host.lrn(x).shape == x.shape
    assert on_host.max_pool2d(x).shape == (0, 2, 2, 3)
    assert on_host.max_pool2d_backward(np.zeros((0, 2, 2, 3), np.float32), x).shape == x.shape
    _, mean, variance = on_host.batch_norm(x, np.ones(3, np.float32), np.ones(3, np.float32))
    assert not mean.any()
    assert not variance.any()
    _, dgamma, _ = on_host.batch_norm_backward(x, x, mean, mean, variance)
    assert not dgamma.any()
    labels = np.zeros(0, np.int64)
    logits = np.zeros((0, 4), np.float32)
    assert on_host.softmax_cross_entropy(logits, labels) == 0.0
    assert on_host.softmax_cross_entropy_backward(logits, labels).shape == (0, 4)
    assert on_host.l2_loss(x) == 0.0


# --- numerics -------------------------------------------------------------------------------------


def test_relu_is_exact_for_every_kind_of_number() -> None:
    x = np.tile(TRICKY, 5)[:37]
    np.testing.assert_array_equal(on_host.relu(x), np.maximum(x, 0))
    dy = np.full_like(x, 3)
    np.testing.assert_array_equal(on_host.relu_backward(dy, x), np.where(x > 0, dy, 0))


@pytest.mark.parametrize("beta", [0.5, 0.75, 1.0])
def test_lrn_of_nan_infinity_and_overflow(beta: float) -> None:
    x = random_array(12, 5, 50)
    x[0, 3], x[1, 17], x[2, 49], x[3, 20] = np.nan, np.inf, -np.inf, 1e30
    how = {"depth_radius": 1, "bias": 1.0, "alpha": 1.0, "beta": beta}
    actual, expected = on_host.lrn(x, **how), cpu.lrn(x, **how)
    np.testing.assert_array_equal(np.isnan(actual), np.isnan(expected))
    np.testing.assert_allclose(actual, expected, rtol=2e-6)
    gradient = on_host.lrn_backward(np.ones_like(x), x, **how)
    np.testing.assert_array_equal(
        np.isnan(gradient), np.isnan(cpu.lrn_backward(np.ones_like(x), x, **how))
    )


def test_lrn_of_windows_wider_than_the_channels_and_of_many_channels() -> None:
    for channels, radius in ((5, 2**31 - 1), (4096, 3)):
        x, dy = random_array(1, 3, channels), random_array(2, 3, channels)
        how = {"depth_radius": radius, "bias": 1.0, "alpha": 0.01, "beta": 0.75}
        assert relative_error(on_host.lrn(x, **how), reference.lrn(x, **how)) <= 1e-6
        actual = on_host.lrn_backward(dy, x, **how)
        assert relative_error(actual, reference.lrn_backward(dy, x, **how)) <= 1e-6
    with pytest.raises(ValueError, match=r"^lrn: x has 4097 channels, but the CUDA kernel takes"):
        on_host.lrn(np.zeros((1, 4097), np.float32))


@pytest.mark.parametrize("channels", [1, 8])
def test_ties_and_nan_in_pooling_as_on_the_cpu(channels: int) -> None:
    generator = np.random.default_rng(5)
    x = generator.choice(np.append(TRICKY, [2.5, np.nan]), (2, 9, 8, channels)).astype(np.float32)
    how = {"window": 3, "stride": 2, "padding": 1}
    y = cpu.max_pool2d(x, **how)
    dy = random_array(6, *y.shape)
    np.testing.assert_array_equal(on_host.max_pool2d(x, **how), y)
    for through_relu in (False, True):
        np.testing.assert_array_equal(
            on_host.max_pool2d_backward(dy, x, **how, through_relu=through_relu),
            cpu.max_pool2d_backward(dy, x, **how, through_relu=through_relu),
        )


@pytest.mark.parametrize("rate", [0.0, 0.3, 0.999])
def test_the_dropout_mask_is_the_cpus(rate: float) -> None:
    x = np.append(random_array(7, 1021), np.float32([np.nan, np.inf]))
    for seed, offset in ((0, 0), (2**64 - 1, 2**64 - 2), (123456789, 2**33)):
        how = {"rate": rate, "seed": seed, "offset": offset}
        np.testing.assert_array_equal(on_host.dropout(x, **how), cpu.dropout(x, **how))
        np.testing.assert_array_equal(
            on_host.dropout_backward(x, **how), cpu.dropout_backward(x, **how)
        )


def test_in_place() -> None:
    x, dy = on_device(random_array(1, 103)), on_device(random_array(2, 103))
    expected, gradient = cuda.relu(x).get(), cuda.relu_backward(dy, x).get()
    cuda.relu_backward(dy, x, out=dy)
    cuda.relu(x, out=x)
    np.testing.assert_array_equal(x.get(), expected)
    np.testing.assert_array_equal(dy.get(), gradient)


def test_updates_are_those_of_the_cpu() -> None:
    names = {"sgd_update": 3, "adam_update": 4}
    for operator, count in names.items():
        arrays = [np.abs(random_array(seed, 77)) for seed in range(count)]
        other = [array.copy() for array in arrays]
        how = {"step": 3} if operator == "adam_update" else {"learning_rate": 0.1}
        getattr(on_host, operator)(*arrays, **how, weight_decay=0.01)
        getattr(cpu, operator)(*other, **how, weight_decay=0.01)
        for actual, expected in zip(arrays, other, strict=True):
            np.testing.assert_allclose(actual, expected, rtol=1e-6)


def test_batch_norm_of_a_large_mean() -> None:
    x = random_array(8, 300, 5) + np.float32(1e4)
    gamma, beta = random_array(9, 5), random_array(10, 5)
    for actual, expected in zip(
        on_host.batch_norm(x, gamma, beta), reference.batch_norm(x, gamma, beta), strict=True
    ):
        assert relative_error(actual, expected) <= 1e-6


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


OF_MEMORY = ("overlaps", "strides", "read-only")  # tested below, with arrays of the device
MESSAGES = [
    (call, message)
    for call, message in VALUE_ERRORS
    if "out" not in call.kwargs and not any(word in message for word in OF_MEMORY)
]


@pytest.mark.parametrize(("call", "message"), MESSAGES)
def test_messages_are_those_of_the_other_implementations(call: Call, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        call(on_host)


def test_arrays_that_do_not_fit_are_refused() -> None:
    x = on_device(random_array(1, 4, 8))
    out = cupy.zeros((4, 16), cupy.float32)
    with pytest.raises(TypeError, match=r"^relu: x is of type types.SimpleNamespace, which"):
        cuda.relu(SimpleNamespace(__cuda_array_interface__={}))
    with pytest.raises(TypeError, match=r"^relu: x is of type numpy\.ndarray, expected a cupy\.nd"):
        cuda.relu(x.get())
    with pytest.raises(TypeError, match=r"^relu: out is of type numpy\.ndarray, expected a cupy\."):
        cuda.relu(x, out=np.zeros((4, 8), np.float32))
    with pytest.raises(TypeError, match=r"^relu: x has dtype float64, expected float32$"):
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
