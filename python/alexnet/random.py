"""Random numbers from Philox4x32-10: counter-based, the same on every platform and device.

Words and integers agree bit for bit; the normal numbers as closely as two platforms' logarithm
and cosine in float64 do.

Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011. A block cipher
turns (counter, key) into four 32-bit words, so any part of a stream can be computed by itself:
a GPU thread, a CPU thread and NumPy agree on word i without having drawn those before it.

    word i of the stream (seed, offset) =
        Philox4x32-10(counter = (block low, block high, offset low, offset high),
                      key = (seed low, seed high))[i % 4],    block = i // 4
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from alexnet.contract.arguments import check_instance, check_int, check_number
from alexnet.messages import shown, summarised

Words: TypeAlias = npt.NDArray[np.uint32]
Float64Array: TypeAlias = npt.NDArray[np.float64]

MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
KEY_STEPS = (0x9E3779B9, 0xBB67AE85)  # golden ratio and sqrt(3) - 1, in 32-bit fractions
ROUNDS = 10
CHUNK = 2**16  # words computed at a time: the temporaries stay in the cache
LOW_32 = np.uint64(0xFFFFFFFF)
LARGEST_WORD_64 = 2**64 - 1


def philox4x32(counter: npt.NDArray[np.uint64], key: tuple[int, int]) -> npt.NDArray[np.uint64]:
    """Ten rounds of the cipher on every column of `counter` (4, n); words lie in the low 32 bits.

    One round multiplies the words 0 and 2 by a constant each, and mixes the high half of one
    product, the next word and the key into the place of the other.
    """
    word0, word1, word2, word3 = counter
    key0, key1 = key
    for _ in range(ROUNDS):
        product0, product1 = MULTIPLIERS[0] * word0, MULTIPLIERS[1] * word2
        word0, word1, word2, word3 = (
            (product1 >> np.uint64(32)) ^ word1 ^ np.uint64(key0),
            product1 & LOW_32,
            (product0 >> np.uint64(32)) ^ word3 ^ np.uint64(key1),
            product0 & LOW_32,
        )
        key0 = (key0 + KEY_STEPS[0]) & 0xFFFFFFFF
        key1 = (key1 + KEY_STEPS[1]) & 0xFFFFFFFF
    return np.stack([word0, word1, word2, word3])


def philox_words(seed: int, offset: int, count: int, start: int = 0) -> Words:
    """Words start .. start + count - 1 of the stream (seed, offset), as uint32.

    `seed` and `offset` are integers in [0, 2**64), `count` and `start` in [0, 2**63).
    """
    seed = check_int("philox_words", "seed", seed, 0, LARGEST_WORD_64)
    offset = check_int("philox_words", "offset", offset, 0, LARGEST_WORD_64)
    count = check_int("philox_words", "count", count, 0, 2**63 - 1)
    start = check_int("philox_words", "start", start, 0, 2**63 - 1)
    words = np.empty(count, np.uint32)
    for begin in range(0, count, CHUNK):
        end = min(begin + CHUNK, count)
        words[begin:end] = _words_of_blocks(seed, offset, start + begin, start + end)
    return words


def _words_of_blocks(seed: int, offset: int, start: int, end: int) -> npt.NDArray[np.uint64]:
    """Words start .. end - 1, cut from the whole blocks that hold them."""
    block = np.arange(start // 4, (end + 3) // 4, dtype=np.uint64)
    counter = np.empty((4, block.size), np.uint64)
    counter[0] = block & LOW_32
    counter[1] = block >> np.uint64(32)
    counter[2] = offset & 0xFFFFFFFF
    counter[3] = offset >> 32
    words = philox4x32(counter, (seed & 0xFFFFFFFF, seed >> 32)).T.reshape(-1)
    return words[start % 4 :][: end - start]


class Generator:
    """A stream of random numbers: everything random in a run is drawn from (seed, offset).

    Each call takes a stream of its own, numbered by `offset`, and moves on to the next one, so
    what a call returns depends on the seed and the number of calls before it, not on how many
    numbers those drew. `state` is all that a checkpoint has to hold. Threads may share a generator:
    no two calls take the same stream, but which of them takes which is a matter of time. A copy
    goes on from the same state for itself.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = check_int("Generator", "seed", seed, 0, LARGEST_WORD_64)
        self.offset = 0
        self._lock = threading.Lock()  # held while seed and offset are read or changed together

    def __repr__(self) -> str:
        return summarised(self, **self.state)

    @property
    def state(self) -> dict[str, int]:
        """{"seed": ..., "offset": ...}; assign it to continue from there."""
        with self._lock:
            return {"seed": self.seed, "offset": self.offset}

    @state.setter
    def state(self, state: Mapping[str, int]) -> None:
        check_instance("Generator", "state", state, Mapping)
        if set(state) != {"seed", "offset"}:
            raise ValueError(
                f"Generator: state has the keys {shown(sorted(map(str, state)))}, expected "
                "'offset' and 'seed'"
            )
        seed = check_int("Generator", "seed", state["seed"], 0, LARGEST_WORD_64)
        offset = check_int("Generator", "offset", state["offset"], 0, LARGEST_WORD_64)
        with self._lock:
            self.seed, self.offset = seed, offset

    def __getstate__(self) -> dict[str, int]:
        return self.state

    def __setstate__(self, state: Mapping[str, int]) -> None:
        self._lock = threading.Lock()
        self.state = state

    def next_stream(self) -> tuple[int, int]:
        """Take seed and offset of a stream that nothing else uses: for dropout, say."""
        with self._lock:
            seed, offset = self.seed, self.offset
            self.offset = (offset + 1) & LARGEST_WORD_64
        return seed, offset

    def uniform(
        self, shape: int | Sequence[int] = (), low: float = 0.0, high: float = 1.0
    ) -> Float64Array:
        """Uniform on [low, high): low + (high - low) * word / 2**32."""
        low = check_number("uniform", "low", low)
        high = check_number("uniform", "high", high, low=low)
        size = _size("uniform", shape)
        words = philox_words(*self.next_stream(), size)
        return (low + (high - low) * 2.0**-32 * words.astype(np.float64)).reshape(shape)

    def normal(self, shape: int | Sequence[int] = (), stddev: float = 1.0) -> Float64Array:
        """Draw from the normal distribution of mean 0 and standard deviation `stddev`."""
        stddev = check_number("normal", "stddev", stddev, low=0)
        size = _size("normal", shape)
        return stddev * _normal(*self.next_stream(), 0, size).reshape(shape)

    def truncated_normal(
        self, shape: int | Sequence[int] = (), stddev: float = 1.0
    ) -> Float64Array:
        """Draw normal numbers, those beyond two `stddev` again: TensorFlow's initialiser.

        `stddev` is the one before truncation; what comes out has 0.8796 of it.
        """
        stddev = check_number("truncated_normal", "stddev", stddev, low=0)
        size = _size("truncated_normal", shape)
        seed, offset = self.next_stream()
        values = _normal(seed, offset, 0, size)
        used = size + size % 2
        while (outside := np.flatnonzero(np.abs(values) > 2)).size:
            values[outside] = _normal(seed, offset, used, outside.size)
            used += outside.size + outside.size % 2
        return stddev * values.reshape(shape)

    def integers(
        self, low: int, high: int, shape: int | Sequence[int] = ()
    ) -> npt.NDArray[np.int64]:
        """Integers in [low, high), high - low at most 2**32.

        The high half of word * (high - low) is taken: no value is more frequent than another by
        more than (high - low) / 2**32 of its share.
        """
        low = check_int("integers", "low", low, -(2**62), 2**62)
        high = check_int("integers", "high", high, low + 1, low + 2**32)
        size = _size("integers", shape)
        words = philox_words(*self.next_stream(), size).astype(np.uint64)
        scaled = (words * np.uint64(high - low)) >> np.uint64(32)
        return (scaled.astype(np.int64) + low).reshape(shape)

    def permutation(self, n: int) -> npt.NDArray[np.int64]:
        """Shuffle the integers 0 .. n - 1: sort them by a random key of 64 bits each."""
        n = check_int("permutation", "n", n, 0, 2**62)
        words = philox_words(*self.next_stream(), 2 * n).astype(np.uint64)
        keys = (words[0::2] << np.uint64(32)) | words[1::2]
        return np.argsort(keys, kind="stable").astype(np.int64)


def _size(operator: str, shape: int | Sequence[int]) -> int:
    """How many numbers an array of `shape` holds."""
    extents = shape if isinstance(shape, tuple | list) else (shape,)
    size = 1
    for extent in extents:
        size *= check_int(operator, "shape", extent, 0, 2**62)
    return size


def _normal(seed: int, offset: int, first: int, count: int) -> Float64Array:
    """Draw the standard normal numbers first .. first + count - 1 of a stream, `first` even.

    Box and Muller, 1958: the words 2j and 2j + 1 give the radius and the angle of a point of the
    plane, whose coordinates are the numbers 2j and 2j + 1. Half a unit added to each word keeps
    the logarithm finite; the largest radius is 6.8.
    """
    pairs = np.empty(((count + 1) // 2, 2))
    for begin in range(0, len(pairs), CHUNK):
        size = min(CHUNK, len(pairs) - begin)
        words = philox_words(seed, offset, 2 * size, first + 2 * begin).reshape(-1, 2)
        unit = (words + 0.5) * 2.0**-32
        radius, angle = np.sqrt(-2.0 * np.log(unit[:, 0])), 2.0 * np.pi * unit[:, 1]
        pairs[begin : begin + size, 0] = radius * np.cos(angle)
        pairs[begin : begin + size, 1] = radius * np.sin(angle)
    return pairs.reshape(-1)[:count]
