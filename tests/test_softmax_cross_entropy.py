"""Softmax cross-entropy against the reference."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

import alexnet
from alexnet import cpu, reference
from alexnet.recording import recorded
from support.arrays import TAIL_SIZES, random_array, relative_error
from support.implementations import Implementation

# Loss: formed in double, one rounding. Gradient: an exponential, a factor and their product are
# rounded, once each.
LOSS_BOUND = 2.0**-24 + 1e-9
GRADIENT_BOUND = 3 * 2.0**-24

SHAPES = [(3, n) for n in TAIL_SIZES] + [(1, 10), (7, 2), (128, 10), (31, 1000), (1, 100_003)]


def random_labels(seed: int, batch: int, classes: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng(seed).integers(0, classes, batch)


@pytest.mark.parametrize("scale", [1.0, 30.0])
@pytest.mark.parametrize(("batch", "classes"), SHAPES)
def test_loss_and_gradient(on: Implementation, batch: int, classes: int, scale: float) -> None:
    logits = random_array(1, batch, classes, scale=scale)
    labels = random_labels(2, batch, classes)
    loss, dlogits = on.guarded(()), on.guarded((batch, classes))
    assert on.softmax_cross_entropy(logits, labels, out=loss.array) is loss.array
    assert on.softmax_cross_entropy_backward(logits, labels, out=dlogits.array) is dlogits.array
    assert relative_error(loss.get(), reference.softmax_cross_entropy(logits, labels)) <= LOSS_BOUND
    expected = reference.softmax_cross_entropy_backward(logits, labels)
    assert relative_error(dlogits.get(), expected) <= GRADIENT_BOUND


@pytest.mark.parametrize("position", ["first", "last"])
@pytest.mark.parametrize("classes", [1, 2, 10, 33])
def test_label_at_either_end(on: Implementation, classes: int, position: str) -> None:
    logits = random_array(3, 4, classes, scale=5)
    labels = np.full(4, 0 if position == "first" else classes - 1)
    expected = reference.softmax_cross_entropy(logits, labels)
    assert relative_error(on.softmax_cross_entropy(logits, labels), expected) <= LOSS_BOUND
    gradient = reference.softmax_cross_entropy_backward(logits, labels)
    actual = on.softmax_cross_entropy_backward(logits, labels)
    assert relative_error(actual, gradient) <= GRADIENT_BOUND


def test_empty_batch(on: Implementation) -> None:
    logits, labels = np.zeros((0, 5), np.float32), np.zeros(0, np.int64)
    loss = on.softmax_cross_entropy(logits, labels)
    assert loss.shape == ()
    assert loss == 0
    assert on.softmax_cross_entropy_backward(logits, labels).shape == (0, 5)


def test_a_sure_answer_keeps_its_digits(on: Implementation) -> None:
    """Where 1 - softmax is 0 even in float64, the loss and its gradient still are right."""
    logits, labels = np.array([[0, -40]], np.float32), np.array([0])
    tiny = np.exp(-40.0)
    assert relative_error(on.softmax_cross_entropy(logits, labels), tiny) <= LOSS_BOUND
    actual = on.softmax_cross_entropy_backward(logits, labels)
    assert relative_error(actual, [[-tiny, tiny]]) <= GRADIENT_BOUND


def test_logits_that_differ_little_from_a_large_common_value(on: Implementation) -> None:
    logits = np.float32(1000) + random_array(4, 8, 100)
    labels = random_labels(5, 8, 100)
    expected = reference.softmax_cross_entropy(logits, labels)
    assert relative_error(on.softmax_cross_entropy(logits, labels), expected) <= LOSS_BOUND


@pytest.mark.parametrize("label", [0, 5, 18])
@pytest.mark.parametrize("values", [(1e4,), (-1e4,), (1e4, -1e4), (3e38, -3e38), (-750, -700)])
def test_huge_logits(on: Implementation, values: tuple[float, ...], label: int) -> None:
    logits = random_array(6, 3, 19)
    logits[1, : len(values)] = values
    logits[2] = values[0]
    labels = np.array([4, label, label])
    expected = reference.softmax_cross_entropy(logits, labels).astype(np.float32)
    np.testing.assert_allclose(on.softmax_cross_entropy(logits, labels), expected, rtol=1e-6)
    gradient = reference.softmax_cross_entropy_backward(logits, labels).astype(np.float32)
    actual = on.softmax_cross_entropy_backward(logits, labels)
    np.testing.assert_allclose(actual, gradient, rtol=3e-6, atol=1e-36)


@pytest.mark.filterwarnings("ignore:invalid value encountered")
@pytest.mark.parametrize("label", [0, 5, 16])
@pytest.mark.parametrize("values", [(np.nan,), (np.inf,), (-np.inf,), (np.inf, -np.inf, np.nan)])
@pytest.mark.parametrize("position", [0, 3, 14])
def test_nan_and_infinity_as_in_the_reference(
    on: Implementation, values: tuple[float, ...], label: int, position: int
) -> None:
    logits = random_array(7, 3, 17)
    logits[1, position : position + len(values)] = values
    labels = np.array([4, label, 1])
    expected = reference.softmax_cross_entropy(logits, labels)
    np.testing.assert_allclose(on.softmax_cross_entropy(logits, labels), expected, rtol=1e-6)
    gradient = reference.softmax_cross_entropy_backward(logits, labels)
    actual = on.softmax_cross_entropy_backward(logits, labels)
    np.testing.assert_allclose(actual, gradient, rtol=1e-6, atol=1e-7)


@pytest.mark.filterwarnings("ignore:invalid value encountered")
def test_a_row_of_minus_infinity_is_nan(on: Implementation) -> None:
    logits, labels = np.full((1, 20), -np.inf, np.float32), np.array([3])
    assert np.isnan(on.softmax_cross_entropy(logits, labels))
    assert np.isnan(on.softmax_cross_entropy_backward(logits, labels)).all()


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "uint64"])
def test_labels_of_any_integer_dtype_and_layout(on: Implementation, dtype: str) -> None:
    logits, labels = random_array(8, 6, 12), random_labels(9, 6, 12)
    expected = on.softmax_cross_entropy(logits, labels)
    spread = np.repeat(labels.astype(dtype), 2)[::2]
    np.testing.assert_array_equal(on.softmax_cross_entropy(logits, spread), expected)
    gradient = on.softmax_cross_entropy_backward(logits, labels)
    actual = on.softmax_cross_entropy_backward(np.asfortranarray(logits), spread)
    np.testing.assert_array_equal(actual, gradient)


@pytest.mark.usefixtures("isa")
def test_same_bits_for_every_number_of_threads() -> None:
    logits, labels = random_array(10, 101, 1000), random_labels(11, 101, 1000)
    results = set()
    for threads in (1, 2, 3, 5):
        alexnet.set_num_threads(threads)
        loss = cpu.softmax_cross_entropy(logits, labels).tobytes()
        results.add(loss + cpu.softmax_cross_entropy_backward(logits, labels).tobytes())
    assert len(results) == 1


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("operator", ["softmax_cross_entropy", "softmax_cross_entropy_backward"])
def test_bad_arguments_are_refused_before_anything_is_written(operator: str) -> None:
    function = getattr(cpu, operator)
    logits, labels = random_array(12, 3, 5), np.array([0, 4, 2])
    out = np.zeros(() if operator == "softmax_cross_entropy" else (3, 5), np.float32)
    with pytest.raises(TypeError, match=f"{operator}: logits has dtype float64, expected float32"):
        function(logits.astype(np.float64), labels, out=out)
    with pytest.raises(TypeError, match=f"{operator}: labels has dtype float32, expected an int"):
        function(logits, labels.astype(np.float32), out=out)
    with pytest.raises(TypeError, match=f"{operator}: labels has dtype bool, expected an integer"):
        function(logits, labels > 0, out=out)
    with pytest.raises(TypeError, match=f"{operator}: labels is of type list"):
        function(logits, [0, 1, 2], out=out)
    with pytest.raises(ValueError, match=rf"{operator}: logits has shape \(5,\), expected \(batch"):
        function(logits[0], labels, out=out)
    with pytest.raises(ValueError, match=rf"{operator}: logits has shape \(3, 0\), expected every"):
        function(logits[:, :0], labels, out=out)
    with pytest.raises(ValueError, match=rf"{operator}: labels has shape \(2,\), expected \(3,\)"):
        function(logits, labels[:2], out=out)
    for bad in (-1, 5, 2**62):
        with pytest.raises(ValueError, match=f"{operator}: labels has the value {bad}, expected"):
            function(logits, np.array([0, bad, 1]), out=out)
    with pytest.raises(ValueError, match=f"{operator}: labels has the value {2**64 - 1}"):
        function(logits, np.array([0, 2**64 - 1, 1], np.uint64), out=out)
    with pytest.raises(ValueError, match=rf"{operator}: out has shape \(2,\), expected "):
        function(logits, labels, out=np.zeros(2, np.float32))
    with pytest.raises(ValueError, match=f"{operator}: out overlaps logits"):
        function(logits, labels, out=logits if out.ndim else logits[0, 0:1].reshape(()))
    out.flags.writeable = False
    with pytest.raises(ValueError, match=f"{operator}: out is read-only"):
        function(logits, labels, out=out)
    assert not out.any()


def test_the_kernels_get_labels_of_their_own_that_no_thread_can_change_after_the_check() -> None:
    logits, labels = random_array(1, 2, 3), np.array([0, 2])
    for operator in (cpu.softmax_cross_entropy, cpu.softmax_cross_entropy_backward):
        with recorded() as calls:
            operator(logits, labels)
        (call,) = calls
        given = call.arguments[3]
        np.testing.assert_array_equal(given, labels)
        assert not np.shares_memory(given, labels)
