"""Dropout: its mask word by word, and its values against the reference."""

from __future__ import annotations

import numpy as np
import pytest

import alexnet
from alexnet import cpu, reference
from alexnet.random import philox_words
from support.arrays import TAIL_SIZES, random_array
from support.implementations import Implementation

SHAPES = [(n,) for n in TAIL_SIZES] + [(), (0,), (0, 3), (5, 0, 2), (3, 5, 7, 11), (2, 100_003)]
SEEDS = [(0, 0), (1, 2), (2**32 - 1, 2**32), (2**63 + 12345, 2**64 - 1), (2**64 - 1, 2**63)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("operator", ["dropout", "dropout_backward"])
def test_agrees_with_the_reference(
    on: Implementation, operator: str, shape: tuple[int, ...]
) -> None:
    x = random_array(1, *shape) if shape else np.array(3.25, np.float32)
    stream = {"rate": 0.3, "seed": 2**40 + 7, "offset": 2**35 + 3}
    y = on.guarded(shape)
    assert getattr(on, operator)(x, **stream, out=y.array) is y.array
    expected = getattr(reference, operator)(x, **stream)
    # The product of two floats is exact in float64: rounding it is the one rounding that is due.
    np.testing.assert_array_equal(y.get(), expected.astype(np.float32))
    assert getattr(on, operator)(x, **stream).shape == shape


@pytest.mark.parametrize(("seed", "offset"), SEEDS)
def test_mask_is_that_of_the_philox_words(on: Implementation, seed: int, offset: int) -> None:
    n = 100_003
    kept = on.dropout(np.ones(n, np.float32), rate=0.25, seed=seed, offset=offset) != 0
    np.testing.assert_array_equal(kept, philox_words(seed, offset, n) >= 2**30)


@pytest.mark.parametrize("rate", [0.0, 0.3, 0.999])
def test_every_rate_at_the_ends_of_the_streams(on: Implementation, rate: float) -> None:
    x = np.append(random_array(7, 1021), np.float32([np.nan, np.inf]))
    for seed, offset in ((0, 0), (2**64 - 1, 2**64 - 2), (123456789, 2**33)):
        how = {"rate": rate, "seed": seed, "offset": offset}
        for operator in ("dropout", "dropout_backward"):
            expected = getattr(reference, operator)(x, **how).astype(np.float32)
            np.testing.assert_array_equal(getattr(on, operator)(x, **how), expected)


def test_threshold_is_compared_exactly_and_unsigned(on: Implementation) -> None:
    words = philox_words(3, 4, 1000)
    x = np.ones(words.size, np.float32)
    for threshold in (int(words.min()), int(words[17]), 2**31, int(words.max())):
        for step in (-1, 0, 1):
            rate = (threshold + step) / 2**32
            kept = on.dropout(x, rate=rate, seed=3, offset=4) != 0
            np.testing.assert_array_equal(kept, words >= threshold + step)


def test_extreme_rates(on: Implementation) -> None:
    x = random_array(2, 1000)
    np.testing.assert_array_equal(on.dropout(x, rate=0), x)
    np.testing.assert_array_equal(on.dropout(x, rate=1e-12), x)
    assert not on.dropout(x, rate=1 - 2**-24).any()
    with pytest.raises(ValueError, match=r"rate is 0.999999999999, which is 1 in float32"):
        on.dropout(x, rate=1 - 1e-12)


def test_rate_and_expectation(on: Implementation) -> None:
    n = 1_000_000
    y = on.dropout(np.ones(n, np.float32), rate=0.4, seed=11)
    dropped = np.count_nonzero(y == 0)
    assert abs(dropped - 0.4 * n) <= 5 * np.sqrt(n * 0.4 * 0.6)
    assert set(np.unique(y)) == {np.float32(0), np.float32(1 / 0.6)}


def test_gradient_has_the_same_mask(on: Implementation) -> None:
    x, dy = random_array(3, 999), random_array(4, 999)
    y = on.dropout(x, rate=0.5, seed=5, offset=6)
    dx = on.dropout_backward(dy, rate=0.5, seed=5, offset=6)
    np.testing.assert_array_equal(y != 0, dx != 0)
    assert (on.dropout(x, rate=0.5, seed=5, offset=7) != y).any()


def test_nan_and_infinity_stay_where_they_are_kept(on: Implementation) -> None:
    x = np.tile(np.array([np.nan, np.inf, -np.inf, -0.0, 1e-40], np.float32), 101)
    stream = {"rate": 0.5, "seed": 8, "offset": 9}
    y = on.dropout(x, **stream)
    np.testing.assert_array_equal(y, reference.dropout(x, **stream).astype(np.float32))
    assert np.isnan(y).any()
    assert (y[np.isnan(x)] == 0).any()


def test_in_place(on: Implementation) -> None:
    for operator in ("dropout", "dropout_backward"):
        for rate in (0.0, 0.5):
            x = random_array(5, 1003)
            expected = getattr(on, operator)(x, rate=rate, seed=1)
            changed = on.array(x)
            assert getattr(on, operator)(changed, rate=rate, seed=1, out=changed) is changed
            np.testing.assert_array_equal(on.host(changed), expected)


@pytest.mark.usefixtures("isa")
def test_same_bits_for_every_number_of_threads() -> None:
    x = random_array(6, 200_003)
    results = set()
    for threads in (1, 2, 3, 5):
        alexnet.set_num_threads(threads)
        results.add(cpu.dropout(x, rate=0.5, seed=2).tobytes())
    assert len(results) == 1


def test_inputs_of_any_layout(on: Implementation) -> None:
    x = random_array(7, 6, 8)[:, ::2].T
    expected = reference.dropout(x, rate=0.5)
    np.testing.assert_array_equal(on.dropout(x, rate=0.5), expected.astype(np.float32))


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("operator", ["dropout", "dropout_backward"])
def test_bad_arguments_are_refused_before_anything_is_written(operator: str) -> None:
    function, argument = getattr(cpu, operator), "x" if operator == "dropout" else "dy"
    x, out = random_array(8, 10), np.zeros(11, np.float32)
    with pytest.raises(TypeError, match=f"{operator}: {argument} has dtype float64, expected"):
        function(x.astype(np.float64), out=out)
    with pytest.raises(TypeError, match=f"{operator}: {argument} is of type NoneType"):
        function(None, out=out)
    for rate in (-0.1, 1, 1.5, np.nan):
        with pytest.raises(ValueError, match=f"{operator}: rate is .*expected a finite .*< 1"):
            function(x, rate=rate, out=out[:10])
    with pytest.raises(TypeError, match=f"{operator}: rate is '0.5', expected a real number"):
        function(x, rate="0.5", out=out[:10])
    for seed in (-1, 2**64):
        with pytest.raises(ValueError, match=f"{operator}: seed is {seed}, expected an integer"):
            function(x, seed=seed, out=out[:10])
        with pytest.raises(ValueError, match=f"{operator}: offset is {seed}, expected an integer"):
            function(x, offset=seed, out=out[:10])
    with pytest.raises(TypeError, match=f"{operator}: seed is 1.0, expected an integer"):
        function(x, seed=1.0, out=out[:10])
    with pytest.raises(ValueError, match=rf"{operator}: out has shape \(11,\), expected \(10,\)"):
        function(x, out=out)
    with pytest.raises(ValueError, match=f"{operator}: out overlaps {argument}"):
        function(out[:10], out=out[1:])
    out.flags.writeable = False
    with pytest.raises(ValueError, match=f"{operator}: out is read-only"):
        function(np.zeros(11, np.float32), out=out)
    assert not out.any()
