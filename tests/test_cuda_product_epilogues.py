"""What CUDA's products do beside the product: sums for the bias, and the ReLU before the layer."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest

from alexnet import AlexNet, reference
from alexnet.arrays import array_kind
from alexnet.graphs import Graph
from cuda_emulation import load
from support import dense_layers
from support.arrays import random_array, relative_error
from support.convolutions import Case
from support.cuda_device import cuda, cupy
from support.products_16_bits import DTYPES, FLOAT32, Guarded, rounded
from support.small_networks import small_variant

pytestmark = pytest.mark.cuda

# What products are asked for: the arrays' dtype, and the precision of float32.
KINDS = [(FLOAT32, "float32"), (FLOAT32, "tf32"), *((dtype, "float32") for dtype in DTYPES)]
each_kind = pytest.mark.parametrize(("dtype", "precision"), KINDS, ids=str)

BIAS_BOUND = 3e-7  # of sums in chains of at most 64 terms

CASES = [
    Case((1, 6, 5, 16), (3, 3), 24),
    Case((2, 5, 7, 24), (3, 2), 136, stride=(1, 2), padding="valid"),
    Case((3, 5, 4, 16), (2, 2), 32, groups=2, stride=(2, 1)),
    Case((1, 4, 4, 10), (3, 3), 7),  # single elements
    Case((1, 3, 3, 6), (1, 1), 5, stride=2),  # phases without taps
    Case((2, 15, 16, 3), (7, 11), 8, stride=4),  # runs
    Case((1, 9, 9, 8), (1, 1), 72),
]
WINOGRAD = [
    Case((2, 9, 7, 8), (5, 5), 4),
    Case((3, 13, 5, 12), (3, 3), 24, groups=3),
    Case((1, 3, 3, 4), (3, 3), 512),  # splits
]
SIZES = [(1, 16, 128), (5, 33, 40), (70, 40, 136), (130, 72, 72), (3, 16, 2056)]


@pytest.fixture
def force() -> Iterator[Any]:
    """Ask for a tile and splits."""
    kernels: Any = sys.modules["alexnet._cuda"]
    yield kernels.force_blocking
    kernels.force_blocking(0, 0, 0)


def relu_output(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
    """Positive numbers, zeros of both signs, and what a ReLU lets through of NaN and infinity."""
    y = np.maximum(random_array(5, *shape), 0)
    if y.size > 9:
        y.ravel()[::7] = np.nan
        y.ravel()[1::9] = -0.0
        y.ravel()[4::11] = np.inf
    return cupy.asarray(y.astype(dtype))


@pytest.fixture
def launches(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], int]:
    """How many kernels a call launches."""
    if not load.loaded:
        pytest.skip("CuPy's graphs do not tell")
    captured: list[Any] = []
    end = cupy.cuda.Stream.end_capture

    def end_capture(stream: Any) -> Any:
        captured.append(end(stream))
        return captured[-1]

    monkeypatch.setattr(cupy.cuda.Stream, "end_capture", end_capture)

    def count(call: Callable[[], object]) -> int:
        graph = Graph(array_kind(cuda), lambda _: call(), lambda: lambda: None)
        for _ in range(2):
            graph.run(np.zeros((1, 1), np.float32))
        return len(captured.pop())

    return count


def plain(array: Any) -> np.ndarray[Any, Any]:
    return np.asarray(array.get().astype(np.float32))


def check_through_relu(call: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """`call(**how)` gives the gradient before the ReLU as `relu_backward` does, to the bit."""
    y = relu_output(shape, dtype)
    expected = plain(cuda.relu_backward(call(), y))
    found = [Guarded(shape, dtype) for _ in range(2)]
    for dx in found:
        assert call(relu_output=y, out=dx.array) is dx.array
        assert dx.get().tobytes() == expected.tobytes()
    positive = plain(y) > 0
    assert (expected[~positive] == 0).all()
    assert positive.size < 20 or (expected[positive] != 0).any()


# --- the ReLU before -----------------------------------------------------------------------------


@each_kind
@pytest.mark.parametrize("case", CASES, ids=str)
def test_convolution_through_relu(case: Case, dtype: np.dtype[Any], precision: str) -> None:
    dy, weight = (cupy.asarray(a.astype(dtype)) for a in (case.data.dy, case.data.weight))
    how = {**case.options, "algorithm": "direct", "precision": precision}
    check_through_relu(
        lambda **more: cuda.conv2d_backward_input(dy, weight, case.x, **how, **more), case.x, dtype
    )


@pytest.mark.parametrize("case", WINOGRAD, ids=str)
def test_winograd_through_relu(case: Case) -> None:
    dy = case.data.dy.copy()
    dy[0, 1, 2, 3] = np.inf  # an image that is left to the direct algorithm
    given = cupy.asarray(dy), cupy.asarray(case.data.weight), case.x
    how = {**case.options, "algorithm": "winograd"}
    check_through_relu(
        lambda **more: cuda.conv2d_backward_input(*given, **how, **more), case.x, FLOAT32
    )


def test_winograd_of_some_images_after_others(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case((5, 6, 7, 8), (3, 3), 4)
    floats = 2 * 2 * 6 * 6 * (case.x[3] + case.features)
    monkeypatch.setattr(sys.modules["alexnet.cuda.conv2d"], "WINOGRAD_FLOATS", floats)
    given = cupy.asarray(case.data.dy), cupy.asarray(case.data.weight), case.x
    check_through_relu(
        lambda **more: cuda.conv2d_backward_input(*given, algorithm="winograd", **more),
        case.x,
        FLOAT32,
    )


@each_kind
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_dense_through_relu(size: dense_layers.Size, dtype: np.dtype[Any], precision: str) -> None:
    data = dense_layers.draw(size)
    dy, weight = (cupy.asarray(a.astype(dtype)) for a in (data.dy, data.weight))
    check_through_relu(
        lambda **more: cuda.dense_backward_input(dy, weight, precision=precision, **more),
        size[:2],
        dtype,
    )


def test_relu_output_that_does_not_fit() -> None:
    data = dense_layers.draw((3, 8, 4))
    dy, weight = cupy.asarray(data.dy), cupy.asarray(data.weight)
    with pytest.raises(ValueError, match=r"relu_output has shape \(3, 4\), expected \(3, 8\)"):
        cuda.dense_backward_input(dy, weight, relu_output=dy)
    narrow = cupy.empty((3, 8), np.float16)
    with pytest.raises(TypeError, match="relu_output has dtype float16, expected float32"):
        cuda.dense_backward_input(dy, weight, relu_output=narrow)
    y = cupy.asarray(data.x)
    with pytest.raises(ValueError, match="out overlaps relu_output"):
        cuda.dense_backward_input(dy, weight, relu_output=y, out=y)
    case = CASES[0]
    dy, weight = cupy.asarray(case.data.dy), cupy.asarray(case.data.weight)
    with pytest.raises(ValueError, match=r"conv2d_backward_input: relu_output has shape"):
        cuda.conv2d_backward_input(dy, weight, case.x, relu_output=dy)


def test_relu_output_at_an_odd_address() -> None:
    data = dense_layers.draw((5, 16, 8))
    dy, weight = cupy.asarray(data.dy), cupy.asarray(data.weight)
    memory = cupy.empty((81,), np.float32)
    memory[1:] = cupy.asarray(np.maximum(data.x, 0).ravel())
    y = memory[1:].reshape(5, 16)
    found = cuda.dense_backward_input(dy, weight, relu_output=y)
    expected = cuda.relu_backward(cuda.dense_backward_input(dy, weight), y)
    np.testing.assert_array_equal(found.get(), expected.get())


# --- sums for the bias ---------------------------------------------------------------------------


def bias_gradients(case: Case, dtype: np.dtype[Any], precision: str) -> tuple[Any, Any]:
    """What two runs give, and what the reference makes of the same numbers."""
    data = rounded(case.data, dtype)
    dy, x = cupy.asarray(data.dy.astype(dtype)), cupy.asarray(data.x.astype(dtype))
    how = {**case.options, "algorithm": "direct", "precision": precision}
    found = []
    for _ in range(2):
        dbias = Guarded((case.features,), FLOAT32)
        cuda.conv2d_backward_weight(dy, x, case.kernel, **how, out=(None, dbias.array))
        found.append(dbias.get())
    assert found[0].tobytes() == found[1].tobytes()
    _, expected = reference.conv2d_backward_weight(data.dy, data.x, case.kernel, **case.options)
    return found[0], expected


@each_kind
@pytest.mark.parametrize("tile", [(0, 0), (128, 64), (128, 128), (64, 64)], ids=str)
@pytest.mark.parametrize("splits", [1, 3])
def test_bias_of_a_long_depth(
    force: Any, splits: int, tile: tuple[int, int], dtype: np.dtype[Any], precision: str
) -> None:
    """Longer than a chain of the product and than one of these sums."""
    force(*tile, splits if tile[0] else 0)
    found, expected = bias_gradients(Case((3, 27, 29, 8), (1, 1), 72), dtype, precision)
    assert relative_error(found, expected) <= BIAS_BOUND


@each_kind
@pytest.mark.parametrize("case", CASES, ids=str)
def test_bias_of_convolutions(case: Case, dtype: np.dtype[Any], precision: str) -> None:
    found, expected = bias_gradients(case, dtype, precision)
    assert relative_error(found, expected) <= BIAS_BOUND


def test_bias_sums_are_not_rounded_to_tf32() -> None:
    """They read the gradient as it is: integers that tf32 does not have stay exact."""
    case = Case((1, 8, 8, 8), (1, 1), 16)
    dy = np.rint(random_array(6, *case.shape.output_shape) * 5000) * 2 + 4097
    given = cupy.asarray(dy.astype(np.float32)), cupy.asarray(case.data.x)
    _, dbias = cuda.conv2d_backward_weight(*given, (1, 1), precision="tf32")
    np.testing.assert_array_equal(dbias.get(), dy.sum(axis=(0, 1, 2), dtype=np.float64))


@each_kind
@pytest.mark.parametrize("size", [*SIZES, (0, 5, 8), (1100, 5, 136)], ids=str)
def test_bias_of_dense_layers(
    size: dense_layers.Size, dtype: np.dtype[Any], precision: str
) -> None:
    data = rounded(dense_layers.draw(size), dtype)
    dy, x = cupy.asarray(data.dy.astype(dtype)), cupy.asarray(data.x.astype(dtype))
    dbias = Guarded((size[2],), FLOAT32)
    cuda.dense_backward_weight(dy, x, precision=precision, out=(None, dbias.array))
    _, expected = reference.dense_backward_weight(data.dy, data.x)
    assert relative_error(dbias.get(), expected) <= BIAS_BOUND


@each_kind
def test_bias_at_an_odd_address(dtype: np.dtype[Any], precision: str) -> None:
    data = rounded(dense_layers.draw((600, 8, 8)), dtype)  # splits
    dy, x = cupy.asarray(data.dy.astype(dtype)), cupy.asarray(data.x.astype(dtype))
    memory = cupy.empty((10,), np.float32)
    memory[...] = -7
    cuda.dense_backward_weight(dy, x, precision=precision, out=(None, memory[1:9]))
    _, expected = reference.dense_backward_weight(data.dy, data.x)
    found = memory.get()
    assert relative_error(found[1:9], expected) <= BIAS_BOUND
    assert found[0] == found[9] == -7


@each_kind
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_bias_of_what_is_not_finite(value: float, dtype: np.dtype[Any], precision: str) -> None:
    case = CASES[2]
    dy = case.data.dy.copy()
    dy[1, 2, 1, 9] = value
    given = cupy.asarray(dy.astype(dtype)), cupy.asarray(case.data.x.astype(dtype))
    how = {**case.options, "precision": precision}
    _, dbias = cuda.conv2d_backward_weight(*given, case.kernel, **how)
    found = dbias.get()
    np.testing.assert_array_equal(found[9], value)
    assert np.isfinite(np.delete(found, 9)).all()


def test_no_launch_of_their_own(force: Any, launches: Any) -> None:
    case = Case((1, 10, 9, 16), (3, 3), 24)
    dy, weight, x = (cupy.asarray(array) for array in (case.data.dy, case.data.weight, case.data.x))
    how = {**case.options, "algorithm": "direct"}
    weight_gradient = partial(cuda.conv2d_backward_weight, dy, x, (3, 3), **how)
    input_gradient = partial(cuda.conv2d_backward_input, dy, weight, case.x, **how)
    for splits, product in ((1, 1), (3, 2)):  # splits are added in a second launch
        force(128, 64, splits)
        assert launches(weight_gradient) == product
        assert launches(input_gradient) == product
        assert launches(partial(input_gradient, relu_output=x)) == product
    y, matrix = dy.reshape(90, 24), weight.reshape(144, 24)
    rows = cupy.asarray(random_array(7, 90, 144))
    force(128, 128, 1)
    assert launches(lambda: cuda.dense_backward_weight(y, rows)) == 1
    assert launches(lambda: cuda.dense_backward_input(y, matrix, relu_output=rows)) == 1


# --- networks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["float32", "tf32", "float16"])
@pytest.mark.parametrize("name", ["krizhevsky-2012", "tf-tutorial"])
def test_a_network_has_the_same_gradients(
    name: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the ReLU taken in by the product's gradient, and in a launch of its own, to the bit."""
    gradients = []
    for passes in (True, False):
        monkeypatch.setattr(cuda.fused, "PRODUCTS_PASS_RELU", passes)
        network = AlexNet(small_variant(name), device="cuda", precision=precision, seed=2)
        y = network.forward(random_array(1, 3, *network.input_shape), training=True)
        dy = cupy.asarray(1e-5 * random_array(2, *y.shape))  # float16 times 2^16 stays finite
        network.backward(dy, input_gradient=True)
        gradients.append({key: array.get() for key, array in network.gradients.items()})
    for key, array in gradients[0].items():
        assert array.tobytes() == gradients[1][key].tobytes(), key
        assert np.isfinite(array).all()
