"""ReLU against the reference."""

from __future__ import annotations

import numpy as np
import pytest

from alexnet import cpu, reference
from support.arrays import TAIL_SIZES, random_array
from support.implementations import Implementation

SHAPES = [(n,) for n in TAIL_SIZES] + [(0,), (0, 3), (5, 0, 2), (3, 5, 7, 11), (2, 100_003)]


@pytest.mark.parametrize("shape", SHAPES)
def test_forward_and_gradient_are_exact(on: Implementation, shape: tuple[int, ...]) -> None:
    x, dy = random_array(1, *shape), random_array(2, *shape)
    y, dx = on.guarded(shape), on.guarded(shape)
    assert on.relu(x, out=y.array) is y.array
    expected = reference.relu(x)
    assert on.relu_backward(dy, y.get(), out=dx.array) is dx.array
    np.testing.assert_array_equal(y.get(), expected)
    np.testing.assert_array_equal(dx.get(), reference.relu_backward(dy, expected))


def test_nan_and_infinity_propagate_as_in_numpy(on: Implementation) -> None:
    x = np.tile(np.array([np.nan, np.inf, -np.inf, -0.0, 0.0, 1e-40], np.float32), 7)
    np.testing.assert_array_equal(on.relu(x), np.maximum(x, 0))
    dy = np.full_like(x, 3)
    np.testing.assert_array_equal(on.relu_backward(dy, x), np.where(x > 0, dy, 0))


def test_in_place(on: Implementation) -> None:
    x, dy = random_array(3, 1000), random_array(4, 1000)
    expected, gradient = reference.relu(x), reference.relu_backward(dy, x)
    changed_x, changed_dy = on.array(x), on.array(dy)
    on.relu_backward(changed_dy, changed_x, out=changed_dy)
    on.relu(changed_x, out=changed_x)
    np.testing.assert_array_equal(on.host(changed_x), expected)
    np.testing.assert_array_equal(on.host(changed_dy), gradient)


def test_inputs_of_any_layout(on: Implementation) -> None:
    x = random_array(5, 6, 8)[:, ::2].T
    np.testing.assert_array_equal(on.relu(x), reference.relu(x))


@pytest.mark.usefixtures("isa")
def test_bad_arguments_are_refused_before_anything_is_written() -> None:
    x = random_array(6, 10)
    with pytest.raises(TypeError, match="relu: x has dtype float64, expected float32"):
        cpu.relu(x.astype(np.float64))
    with pytest.raises(TypeError, match="relu: x is of type list"):
        cpu.relu([1.0])  # type: ignore[arg-type]
    out = np.zeros(11, np.float32)
    with pytest.raises(ValueError, match=r"relu: out has shape \(11,\), expected \(10,\)"):
        cpu.relu(x, out=out)
    with pytest.raises(ValueError, match="relu: out overlaps x"):
        cpu.relu(out[:10], out=out[1:])
    with pytest.raises(ValueError, match=r"relu_backward: y has shape \(9,\), expected \(10,\)"):
        cpu.relu_backward(x, x[:9])
    out.flags.writeable = False
    with pytest.raises(ValueError, match="relu: out is read-only"):
        cpu.relu(np.zeros(11, np.float32), out=out)
    assert not out.any()
