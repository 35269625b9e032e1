"""L2 loss against the reference."""

from __future__ import annotations

import numpy as np
import pytest

import alexnet
from alexnet import cpu, reference
from support.arrays import TAIL_SIZES, random_array, relative_error
from support.implementations import Implementation

# The sum is formed in double: one rounding to float32 is all.
BOUND = 2.0**-24

SHAPES = [(n,) for n in TAIL_SIZES] + [(), (0,), (0, 3), (5, 0, 2), (3, 5, 7, 11), (2, 100_003)]


@pytest.mark.parametrize("shape", SHAPES)
def test_loss_and_gradient(on: Implementation, shape: tuple[int, ...]) -> None:
    x = random_array(1, *shape) if shape else np.array(3.25, np.float32)
    loss, dx = on.guarded(()), on.guarded(shape)
    assert on.l2_loss(x, out=loss.array) is loss.array
    assert on.l2_loss_backward(x, out=dx.array) is dx.array
    assert relative_error(loss.get(), reference.l2_loss(x)) <= BOUND
    np.testing.assert_array_equal(dx.get(), x)
    allocated = on.l2_loss(x)
    assert isinstance(allocated, np.ndarray)
    assert allocated.shape == ()
    assert allocated.dtype == np.float32
    assert on.l2_loss_backward(x).shape == shape


def test_a_long_sum_of_equal_terms_does_not_drift(on: Implementation) -> None:
    x = np.full(5_000_011, 0.1, np.float32)
    assert relative_error(on.l2_loss(x), x.size * float(x[0]) ** 2 / 2) <= BOUND


def test_squares_beyond_float32_range(on: Implementation) -> None:
    assert on.l2_loss(np.full(10, 1e18, np.float32)) <= 5.0001e36
    assert on.l2_loss(np.full(10, 1e20, np.float32)) == np.inf
    x = np.full(10, 1e-30, np.float32)
    np.testing.assert_array_equal(on.l2_loss(x), reference.l2_loss(x).astype(np.float32))


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("position", [0, 17, 36])
def test_nan_and_infinity_propagate(on: Implementation, special: float, position: int) -> None:
    x = random_array(2, 37)
    x[position] = special
    np.testing.assert_array_equal(on.l2_loss(x), reference.l2_loss(x))
    np.testing.assert_array_equal(on.l2_loss_backward(x), x)


@pytest.mark.usefixtures("isa")
def test_same_bits_for_every_number_of_threads() -> None:
    x = random_array(3, 300_007)
    losses = []
    for threads in (1, 2, 3, 5):
        alexnet.set_num_threads(threads)
        losses.append(cpu.l2_loss(x).tobytes())
        np.testing.assert_array_equal(cpu.l2_loss_backward(x), x)
    assert len(set(losses)) == 1


def test_inputs_of_any_layout(on: Implementation) -> None:
    x = random_array(4, 6, 8)[:, ::2].T
    assert relative_error(on.l2_loss(x), reference.l2_loss(x)) <= BOUND
    np.testing.assert_array_equal(on.l2_loss_backward(x), x)


@pytest.mark.usefixtures("isa")
def test_bad_arguments_are_refused_before_anything_is_written() -> None:
    x = random_array(5, 10)
    with pytest.raises(TypeError, match="l2_loss: x has dtype float64, expected float32"):
        cpu.l2_loss(x.astype(np.float64))
    with pytest.raises(TypeError, match="l2_loss: x is of type list"):
        cpu.l2_loss([1.0])  # type: ignore[arg-type]
    out = np.zeros(1, np.float32)
    with pytest.raises(ValueError, match=r"l2_loss: out has shape \(1,\), expected \(\)"):
        cpu.l2_loss(x, out=out)
    with pytest.raises(TypeError, match="l2_loss: out has dtype float64, expected float32"):
        cpu.l2_loss(x, out=np.zeros(()))
    with pytest.raises(ValueError, match="l2_loss: out overlaps x"):
        cpu.l2_loss(x, out=x[3:4].reshape(()))
    with pytest.raises(ValueError, match=r"l2_loss_backward: out has shape \(1,\), expected \(10"):
        cpu.l2_loss_backward(x, out=out)
    with pytest.raises(ValueError, match="l2_loss_backward: out overlaps x"):
        cpu.l2_loss_backward(x, out=x)
    out.flags.writeable = False
    with pytest.raises(ValueError, match="l2_loss: out is read-only"):
        cpu.l2_loss(x, out=out.reshape(()))
    assert not out.any()
