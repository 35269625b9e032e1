"""Dense layers and their gradients on the CPU against the reference."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import alexnet
from alexnet import cpu, reference
from alexnet.network.layers import Dense
from alexnet.network.variants import VARIANTS
from support.arrays import TAIL_SIZES, Guarded, largest_product_error, random_array, relative_error
from support.implementations import ISAS
from support.memory import at_page_end, at_page_start, peak_allocation

pytestmark = pytest.mark.usefixtures("isa")

Array = npt.NDArray[np.float32]
Size = tuple[int, int, int]  # batch, inputs, outputs


@dataclass(frozen=True)
class Data:
    """Arguments of the three operators."""

    x: Array
    weight: Array
    bias: Array
    dy: Array

    @functools.cached_property
    def expected(self) -> dict[str, npt.NDArray[np.float64]]:
        dweight, dbias = reference.dense_backward_weight(self.dy, self.x)
        return {
            "y": reference.dense(self.x, self.weight, self.bias),
            "dx": reference.dense_backward_input(self.dy, self.weight),
            "dweight": dweight,
            "dbias": dbias,
        }


def draw(size: Size) -> Data:
    batch, inputs, outputs = size
    return Data(
        x=random_array(1, batch, inputs),
        weight=random_array(2, inputs, outputs),
        bias=random_array(3, outputs),
        dy=random_array(4, batch, outputs),
    )


def run(data: Data, out: dict[str, Array] | None = None) -> dict[str, Array]:
    """All results, in the arrays of `out` where given."""
    out = out or {}
    both = out.get("dweight"), out.get("dbias")
    y = cpu.dense(data.x, data.weight, data.bias, out=out.get("y"))
    dx = cpu.dense_backward_input(data.dy, data.weight, out=out.get("dx"))
    dweight, dbias = cpu.dense_backward_weight(data.dy, data.x, out=both)
    return {"y": y, "dx": dx, "dweight": dweight, "dbias": dbias}


def check_all(data: Data) -> None:
    (batch, inputs), outputs = data.x.shape, data.bias.size
    depths = {"y": inputs, "dx": outputs, "dweight": batch, "dbias": batch}
    guarded = {name: Guarded(array.shape) for name, array in data.expected.items()}
    out = {name: output.array for name, output in guarded.items()}
    for name, array in run(data, out).items():
        assert array is out[name]
        guarded[name].check()
        bound = largest_product_error(depths[name])
        assert relative_error(array, data.expected[name]) <= bound, name

    rectified = cpu.dense(data.x, data.weight, data.bias, activation="relu")
    np.testing.assert_array_equal(rectified, np.maximum(out["y"], 0))
    without_bias = cpu.dense(data.x, data.weight)
    expected = data.expected["y"] - data.bias
    assert relative_error(without_bias, expected) <= largest_product_error(inputs)


# --- shapes ---------------------------------------------------------------------------------------

SIZES = [
    *((3, n, 19) for n in TAIL_SIZES),
    *((3, 19, n) for n in TAIL_SIZES),
    *((n, 19, 21) for n in TAIL_SIZES),
    *((batch, 40, 50) for batch in (0, 1, 2, 7, 13, 127)),
    (1, 1, 1),
    (1, 5000, 3),  # longer than one chain of products, and than one block of any operand
    (2, 3, 5000),
    (300, 5, 6),
    (17, 259, 513),
    (33, 600, 1030),
    *((batch, 600, 1040) for batch in (4, 5, 20, 32, 33)),  # whole vectors: weights in place
]


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_against_the_reference(size: Size) -> None:
    check_all(draw(size))


@settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=60,
    # The fixture holds for all examples alike.
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(size=st.tuples(st.integers(0, 70), st.integers(1, 600), st.integers(1, 600)))
def test_drawn_sizes(size: Size) -> None:
    batch, inputs, outputs = size
    # Few sums may all cancel to nearly nothing, and then have no small relative error.
    assume(batch == 0 or min(batch * inputs, batch * outputs, inputs * outputs) >= 50)
    check_all(draw(size))


def _layers() -> dict[Size, str]:
    """The dense layers of all variants at batch 2, each once, by the first one that has it."""
    layers: dict[Size, str] = {}
    for variant in VARIANTS.values():
        for layer, x in zip(variant.layers, variant.shapes(2), strict=False):
            if isinstance(layer, Dense):
                layers.setdefault((x[0], x[1], layer.features), f"{variant.name}-{layer.name}")
    return layers


LAYERS = _layers()
_draw_last = functools.lru_cache(maxsize=1)(draw)  # one at a time: they are large


@pytest.mark.parametrize(
    ("size", "isa"),
    [pytest.param(size, isa, id=f"{LAYERS[size]}-{isa}") for size in LAYERS for isa in ISAS],
    indirect=["isa"],
)
def test_layer_shapes(size: Size) -> None:
    check_all(_draw_last(size))


# --- memory and determinism -----------------------------------------------------------------------

ODD = [
    (2, 17, 33),
    (1, 100, 15),
    (35, 31, 64),
    (5, 300, 70),
    (3, 15, 16),
    (20, 70, 96),
    (32, 300, 80),
]


@pytest.mark.parametrize("size", ODD, ids=str)
@pytest.mark.parametrize("place", [at_page_end, at_page_start], ids=lambda place: place.__name__)
def test_touches_nothing_around_its_arrays(size: Size, place: Callable[[Array], Array]) -> None:
    data = draw(size)
    expected = run(data)
    out = {name: place(np.full_like(array, np.nan)) for name, array in expected.items()}
    placed = {field.name: place(getattr(data, field.name)) for field in dataclasses.fields(data)}
    run(Data(**placed), out)
    for name, array in expected.items():
        assert out[name].tobytes() == array.tobytes(), name


def test_inputs_of_any_layout() -> None:
    data = draw((9, 20, 30))
    strided = Data(
        x=np.asfortranarray(data.x),
        weight=np.repeat(data.weight, 2, axis=0)[::2],
        bias=data.bias[::-1].copy()[::-1],
        dy=data.dy[::-1].copy()[::-1],
    )
    expected = run(data)
    for name, array in run(strided).items():
        assert array.tobytes() == expected[name].tobytes()


def test_allocates_its_result_only_and_with_out_nothing() -> None:
    data = draw((64, 500, 400))
    out = run(data)
    small = 20_000  # bytes, of Python's own objects
    assert peak_allocation(lambda: run(data, out)) < small
    results = sum(array.nbytes for array in out.values())
    assert results <= peak_allocation(lambda: run(data)) < results + small


@pytest.mark.parametrize("size", [*ODD, (32, 700, 600), (20, 700, 608), (300, 70, 90)], ids=str)
def test_same_bits_for_every_number_of_threads_and_every_run(size: Size) -> None:
    data = draw(size)
    alexnet.set_num_threads(1)
    expected = run(data)
    for threads in (1, 2, 3, 5, 8, 2):
        alexnet.set_num_threads(threads)
        for name, array in run(data).items():
            assert array.tobytes() == expected[name].tobytes(), name


@pytest.mark.parametrize("size", [(37, 300, 50), (37, 300, 80), (20, 300, 80)], ids=str)
def test_an_image_has_the_same_result_in_every_batch(size: Size) -> None:
    data = draw(size)
    whole = run(data)
    for n in (0, 13, size[0] - 1):
        one = dataclasses.replace(data, x=data.x[n : n + 1], dy=data.dy[n : n + 1])
        results = run(one)
        assert results["y"][0].tobytes() == whole["y"][n].tobytes()
        assert results["dx"][0].tobytes() == whole["dx"][n].tobytes()


# --- NaN, infinity, denormals ---------------------------------------------------------------------


@pytest.mark.parametrize("size", ODD, ids=str)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_reach_what_sees_them(size: Size, value: float) -> None:
    data = draw(size)
    usual = run(data)

    def check(name: str, found: dict[str, Array], where: tuple[object, ...], met: Array) -> None:
        expected = usual[name].copy()
        expected[where] = value * np.sign(met)
        np.testing.assert_array_equal(found[name], expected)

    n, i, o = size[0] - 1, size[1] - 1, size[2] - 1
    x = data.x.copy()
    x[n, i] = value
    found = run(dataclasses.replace(data, x=x))
    check("y", found, (n,), data.weight[i])
    check("dweight", found, (i,), data.dy[n])
    rectified = cpu.dense(x, data.weight, data.bias, activation="relu")
    np.testing.assert_array_equal(rectified, np.maximum(found["y"], 0))

    dy = data.dy.copy()
    dy[n, o] = value
    found = run(dataclasses.replace(data, dy=dy))
    check("dx", found, (n,), data.weight[:, o])
    check("dweight", found, (slice(None), o), data.x[n])
    check("dbias", found, (o,), np.float32(1))

    weight = data.weight.copy()
    weight[i, o] = value
    found = run(dataclasses.replace(data, weight=weight))
    check("y", found, (slice(None), o), data.x[:, i])
    check("dx", found, (slice(None), i), data.dy[:, o])


@pytest.mark.parametrize("size", ODD, ids=str)
def test_denormals_are_not_flushed(size: Size) -> None:
    # Small integers times the least denormal, and small integers: every sum is exact.
    def integers(array: Array, scale: float = 1.0) -> Array:
        return (np.rint(array * 2) * scale).astype(np.float32)

    data = draw(size)
    tiny = 2.0**-149
    small = Data(
        x=integers(data.x, tiny),
        weight=integers(data.weight),
        bias=integers(data.bias, tiny),
        dy=integers(data.dy),
    )
    found = run(small)
    for name in ("y", "dweight"):
        np.testing.assert_array_equal(found[name], small.expected[name])
        assert found[name].any()
