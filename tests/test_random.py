"""Philox against published vectors; distributions, independence of calls, and resuming."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from alexnet.random import Generator, philox4x32, philox_words

ONES = 0xFFFFFFFF
COUNT = 200_000


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ("00000000 00000000 00000000 00000000", "00000000 00000000",
         "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff",
         "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0",
         "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)  # fmt: skip
def test_known_answers_of_random123(counter: str, key: str, words: str) -> None:
    column = np.array([[int(word, 16)] for word in counter.split()], np.uint64)
    key0, key1 = (int(word, 16) for word in key.split())
    expected = [int(word, 16) for word in words.split()]
    assert philox4x32(column, (key0, key1))[:, 0].tolist() == expected


def test_words_take_block_offset_and_seed_as_counter_and_key() -> None:
    """Pi's digits again: block 0x85a308d3_243f6a88, offset 0x03707344_13198a2e."""
    start = 4 * 0x05A308D3_243F6A88  # words are numbered below 2**63
    words = philox_words(0x299F31D0_A4093822, 0x03707344_13198A2E, 4, start)
    counter = np.array([[0x243F6A88], [0x05A308D3], [0x13198A2E], [0x03707344]], np.uint64)
    assert words.dtype == np.uint32
    np.testing.assert_array_equal(words, philox4x32(counter, (0xA4093822, 0x299F31D0))[:, 0])
    assert philox_words(0, 0, 4).tolist() == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    last = philox_words(2**64 - 1, 2**64 - 1, 1)
    np.testing.assert_array_equal(
        last, philox4x32(np.array([[0], [0], [ONES], [ONES]], np.uint64), (ONES, ONES))[:1, 0]
    )


@pytest.mark.parametrize("start", [0, 1, 3, 4, 5, 65_535, 65_536, 131_073])
@pytest.mark.parametrize("count", [0, 1, 2, 7, 65_536, 65_541])
def test_any_part_of_a_stream_is_the_same(start: int, count: int) -> None:
    whole = philox_words(11, 12, 200_000)
    np.testing.assert_array_equal(philox_words(11, 12, count, start), whole[start : start + count])


def test_streams_differ() -> None:
    streams = [philox_words(seed, offset, 64) for seed in range(8) for offset in range(8)]
    assert len({stream.tobytes() for stream in streams}) == 64


def test_bits_are_balanced() -> None:
    bits = np.unpackbits(philox_words(1, 2, COUNT).view(np.uint8))
    assert abs(bits.mean() - 0.5) <= 5 * 0.5 / math.sqrt(bits.size)
    assert abs((bits[:-32] == bits[32:]).mean() - 0.5) <= 5 * 0.5 / math.sqrt(bits.size)


def test_uniform() -> None:
    x = Generator(3).uniform((COUNT,), -1.0, 3.0)
    assert x.dtype == np.float64
    assert x.min() >= -1.0
    assert x.max() < 3.0
    histogram, _ = np.histogram(x, bins=100, range=(-1.0, 3.0))
    chi_squared = float(((histogram - COUNT / 100) ** 2).sum() / (COUNT / 100))
    assert abs(chi_squared - 99) <= 5 * math.sqrt(2 * 99)


def normal_cdf(x: float) -> float:
    return 0.5 * (1 + math.erf(x / math.sqrt(2)))


@pytest.mark.parametrize("limit", [math.inf, 2.0], ids=["normal", "truncated"])
def test_normal_has_its_distribution(limit: float) -> None:
    """Kolmogorov and Smirnov: the largest distance of the two distribution functions."""
    generator = Generator(4)
    draw = generator.normal if limit == math.inf else generator.truncated_normal
    x = np.sort(draw((COUNT,), 0.1)) / 0.1
    assert np.abs(x).max() <= limit
    low = normal_cdf(-limit)
    expected = np.array([(normal_cdf(value) - low) / (1 - 2 * low) for value in x])
    distance = np.abs(expected - (np.arange(COUNT) + 0.5) / COUNT).max()
    assert distance <= 2.0 / math.sqrt(COUNT)
    # Neighbours are the sine and the cosine of one point: uncorrelated all the same.
    pairs = draw((COUNT // 2, 2))
    assert abs(np.corrcoef(pairs.T)[0, 1]) <= 5 / math.sqrt(COUNT // 2)


def test_truncated_normal_has_the_stddev_its_docstring_says() -> None:
    assert abs(Generator(5).truncated_normal((COUNT,)).std() - 0.8796) <= 0.005


def test_truncated_normal_draws_nothing_twice() -> None:
    assert np.unique(Generator(5).truncated_normal((COUNT,))).size == COUNT


def test_integers() -> None:
    x = Generator(6).integers(-3, 4, (COUNT,))
    assert x.dtype == np.int64
    values, counts = np.unique(x, return_counts=True)
    assert values.tolist() == [-3, -2, -1, 0, 1, 2, 3]
    chi_squared = float(((counts - COUNT / 7) ** 2).sum() / (COUNT / 7))
    assert chi_squared <= 6 + 5 * math.sqrt(2 * 6)
    wide = Generator(6).integers(0, 2**32, (1000,))
    assert wide.max() > 0.99 * 2**32
    assert (Generator(6).integers(9, 10, (5,)) == 9).all()


def test_permutation() -> None:
    generator = Generator(7)
    for n in (0, 1, 2, 10, 1000):
        np.testing.assert_array_equal(np.sort(generator.permutation(n)), np.arange(n))
    firsts = [int(generator.permutation(5)[0]) for _ in range(2000)]
    counts = np.bincount(firsts, minlength=5)
    assert np.abs(counts - 400).max() <= 5 * math.sqrt(400)


DRAWS: list[Callable[[Generator], np.ndarray]] = [
    lambda generator: generator.uniform((5,), -1, 1),
    lambda generator: generator.normal((3, 3)),
    lambda generator: generator.truncated_normal((70,)),
    lambda generator: generator.integers(0, 100, (4,)),
    lambda generator: generator.permutation(9),
]


def test_state_restores_the_stream() -> None:
    generator = Generator(2**64 - 1)
    for draw in DRAWS:
        draw(generator)
    state = generator.state
    expected = [draw(generator) for draw in DRAWS]
    resumed = Generator(0)
    resumed.state = state
    assert state == {"seed": 2**64 - 1, "offset": len(DRAWS)}
    for draw, values in zip(DRAWS, expected, strict=True):
        np.testing.assert_array_equal(draw(resumed), values)


def test_same_seed_same_numbers_and_every_call_its_own() -> None:
    for draw in DRAWS:
        first, second = Generator(8), Generator(8)
        np.testing.assert_array_equal(draw(first), draw(second))
        assert not np.array_equal(draw(first), draw(Generator(8)))
        assert not np.array_equal(draw(Generator(9)), draw(Generator(8)))


def test_numbers_do_not_depend_on_how_many_are_drawn() -> None:
    few, many = Generator(10), Generator(10)
    np.testing.assert_array_equal(few.normal((7,)), many.normal((70_001,))[:7])
    np.testing.assert_array_equal(few.uniform((7,)), many.uniform((70_001,))[:7])


def test_these_numbers_stay_what_they_are() -> None:
    """A change here makes every published result of a seeded run irreproducible."""
    generator = Generator(0)
    words = np.array([0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8], np.float64)
    np.testing.assert_array_equal(generator.uniform((4,)), words / 2**32)
    generator.state = {"seed": 0, "offset": 0}
    unit = (words + 0.5) / 2**32
    radius, angle = np.sqrt(-2 * np.log(unit[0::2])), 2 * np.pi * unit[1::2]
    expected = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1)
    np.testing.assert_allclose(generator.normal((4,)), expected, rtol=1e-13)
    generator.state = {"seed": 0, "offset": 0}
    np.testing.assert_array_equal(generator.integers(0, 1000, (4,)), [399, 880, 735, 605])


@pytest.mark.parametrize(
    ("bad_call", "error", "message"),
    [
        (lambda: Generator(-1), ValueError, "Generator: seed is -1"),
        (lambda: Generator(2**64), ValueError, "Generator: seed is 18446744073709551616"),
        (lambda: Generator(True), TypeError, "Generator: seed is True, expected an integer"),
        (lambda: Generator(1).normal((2, -1)), ValueError, "normal: shape is -1"),
        (lambda: Generator(1).normal((2,), -0.1), ValueError, "normal: stddev is -0.1"),
        (lambda: Generator(1).uniform((2,), 3, 2), ValueError, "uniform: high is 2"),
        (lambda: Generator(1).integers(3, 3), ValueError, "integers: high is 3"),
        (lambda: Generator(1).permutation(1.5), TypeError, r"permutation: n is 1\.5"),
        (lambda: philox_words(0, 0, -1), ValueError, "philox_words: count is -1"),
    ],
)
def test_errors(bad_call: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"^{message}"):
        bad_call()


def test_a_bad_state_changes_nothing() -> None:
    generator = Generator(5)
    for state in ({"seed": 1}, {"seed": 1, "offset": -1}, {"seed": 1, "offset": 0, "more": 0}):
        with pytest.raises(ValueError, match=r"^Generator: "):
            generator.state = state
    assert generator.state == {"seed": 5, "offset": 0}
