"""Dense layers and their gradients against the reference."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import alexnet
from alexnet import cpu
from alexnet.network.layers import Dense
from alexnet.network.variants import VARIANTS
from support.arrays import TAIL_SIZES, largest_product_error, relative_error
from support.dense_layers import Array, Data, Size, draw, run_guarded
from support.implementations import ISAS, Cpu, Implementation
from support.memory import at_page_end, at_page_start, peak_allocation

each_isa = pytest.mark.usefixtures("isa")


def run(data: Data, out: dict[str, Array] | None = None) -> dict[str, Array]:
    """All results, in the arrays of `out` where given."""
    out = out or {}
    both = out.get("dweight"), out.get("dbias")
    y = cpu.dense(data.x, data.weight, data.bias, out=out.get("y"))
    dx = cpu.dense_backward_input(data.dy, data.weight, out=out.get("dx"))
    dweight, dbias = cpu.dense_backward_weight(data.dy, data.x, out=both)
    return {"y": y, "dx": dx, "dweight": dweight, "dbias": dbias}


def check_all(on: Implementation, data: Data) -> None:
    found = run_guarded(on, data)
    np.testing.assert_array_equal(found.pop("rectified"), np.maximum(found["y"], 0))
    for name, array in found.items():
        bound = largest_product_error(data.depths[name])
        assert relative_error(array, data.expected[name]) <= bound, name


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
def test_against_the_reference(isa: str, size: Size) -> None:
    check_all(Cpu(isa), draw(size))


# Around CUDA's tiles of 32 × 128 and 128 × 128, of 16 deep; in fours and not; in splits and not.
TILES = [
    (1, 1, 1),
    (2, 3, 5),
    (3, 20, 24),
    (1, 16, 128),
    (33, 36, 132),
    (64, 12, 8),
    (65, 12, 8),
    (129, 40, 136),
    (7, 31, 129),
    (130, 33, 10),
    (5, 1028, 12),  # forward in splits
    (3, 515, 7),
    (520, 12, 8),  # the gradient of the weight in splits
    (70, 8, 540),  # the gradient of the input in splits
]


@pytest.mark.parametrize("size", TILES, ids=str)
def test_sizes_around_the_tiles(on: Implementation, size: Size) -> None:
    check_all(on, draw(size))


@pytest.mark.parametrize("size", [(33, 36, 132), (5, 1028, 12), (520, 12, 8)], ids=str)
def test_same_bits_on_every_run(on: Implementation, size: Size) -> None:
    data = draw(size)
    first = run_guarded(on, data)
    for name, values in run_guarded(on, data).items():
        assert values.tobytes() == first[name].tobytes(), name


def test_an_empty_batch(on: Implementation) -> None:
    found = run_guarded(on, draw((0, 12, 8)))
    assert found["y"].shape == (0, 8)
    assert found["dx"].shape == (0, 12)
    assert (found["dweight"] == 0).all()
    assert (found["dbias"] == 0).all()


@settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=60,
    # The fixture holds for all examples alike.
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(size=st.tuples(st.integers(0, 70), st.integers(1, 600), st.integers(1, 600)))
def test_drawn_sizes(isa: str, size: Size) -> None:
    batch, inputs, outputs = size
    # Few sums may all cancel to nearly nothing, and then have no small relative error.
    assume(batch == 0 or min(batch * inputs, batch * outputs, inputs * outputs) >= 50)
    check_all(Cpu(isa), draw(size))


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
def test_layer_shapes(isa: str, size: Size) -> None:
    check_all(Cpu(isa), _draw_last(size))


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


@each_isa
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


@each_isa
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


@each_isa
def test_allocates_its_result_only_and_with_out_nothing() -> None:
    data = draw((64, 500, 400))
    out = run(data)
    small = 20_000  # bytes, of Python's own objects
    assert peak_allocation(lambda: run(data, out)) < small
    results = sum(array.nbytes for array in out.values())
    assert results <= peak_allocation(lambda: run(data)) < results + small


@each_isa
@pytest.mark.parametrize("size", [*ODD, (32, 700, 600), (20, 700, 608), (300, 70, 90)], ids=str)
def test_same_bits_for_every_number_of_threads_and_every_run(size: Size) -> None:
    data = draw(size)
    alexnet.set_num_threads(1)
    expected = run(data)
    for threads in (1, 2, 3, 5, 8, 2):
        alexnet.set_num_threads(threads)
        for name, array in run(data).items():
            assert array.tobytes() == expected[name].tobytes(), name


@each_isa
@pytest.mark.parametrize(
    "size", [(8, 129, 1000), (37, 300, 80), (1, 300, 500), (70, 90, 70)], ids=str
)
def test_nans_of_any_bits_have_the_same_bits_for_every_number_of_threads(size: Size) -> None:
    data = draw(size)
    for array in vars(data).values():
        bits = array.reshape(-1)[::50].view(np.uint32)
        bits[...] = 0x7FC00001 + np.arange(bits.size) | np.arange(bits.size) % 2 << 31
    seen: dict[str, set[bytes]] = {}
    for threads in (1, 2, 3, 5, 8):
        alexnet.set_num_threads(threads)
        for name, array in run(data).items():
            seen.setdefault(name, set()).add(array.tobytes())
    assert {name: len(results) for name, results in seen.items()} == dict.fromkeys(seen, 1)


@each_isa
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


@each_isa
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


@each_isa
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
