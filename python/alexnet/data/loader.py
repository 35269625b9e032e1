"""The batches that a network sees, made ahead of time in threads.

A batch follows from the seed and its number alone, whatever the threads do. A photo that cannot be
read is left out of an evaluation; in training the next one that can be read takes its place, so
that every step sees as many images.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import numpy as np
import numpy.typing as npt

from alexnet.contract.arguments import (
    LARGEST_SIZE,
    LARGEST_THREADS,
    Shape,
    check_flag,
    check_instance,
    check_int,
)
from alexnet.data.preprocessing import Images, Preprocessing
from alexnet.data.sources import (
    ImageSource,
    Labels,
    Pixels,
    UnreadableImageError,
    check_source,
)
from alexnet.messages import counted, summarised
from alexnet.random import LARGEST_WORD_64, Generator

# Streams of random numbers, beyond all that initialisation draws with the same seed.
ORDER_STREAM = 2**63  # one for each epoch
VIEWS_STREAM = 2**63 + 2**61  # two for each block of steps
STEPS_OF_BLOCK = 16  # drawn at once: a few numbers take as long as some hundred
MOST_WORKERS = 8  # where nobody says how many


@dataclass(frozen=True)
class Batch:
    """Images as the network takes them: float32 (batch, height, width, 3), labels int64 (batch,).

    With ten crops, the ten views of an image follow one another: images are (10 * batch, ...).
    """

    images: Images
    labels: Labels

    def __repr__(self) -> str:
        return summarised(self, labels=len(self.labels), images=self.images.shape)


class Prefetcher:
    """make(0), make(1), ... or from another `start`, made ahead of time by `workers` threads.

    With no workers, or where the system gives no thread, `next` makes them itself. What `make`
    raises comes out of `next`; the next call makes the same one again. Threads may share it: each
    batch goes to one of them.
    """

    def __init__(self, make: Callable[[int], Batch], start: int, workers: int) -> None:
        self.waited = 0.0
        self._make = make
        self.number = start
        self._workers = workers
        self._pending: deque[Future[Batch]] = deque()
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(max(1, workers), thread_name_prefix="alexnet-data")
        self._fill()

    def next(self) -> Batch:
        """Take the next batch; `waited` counts the seconds that it is not there."""
        begin = time.perf_counter()
        with self._lock:
            self._fill()
            try:
                # Kept until it is there: an interrupted wait must not skip a batch.
                batch = self._pending[0].result() if self._pending else self._make(self.number)
            except BaseException:
                self._drop()
                raise
            if self._pending:
                self._pending.popleft()
            self.number += 1
            self._fill()
            self.waited += time.perf_counter() - begin
        return batch

    def close(self) -> None:
        """Let the threads finish what they have begun, and end them."""
        self._workers = 0
        self._threads.shutdown(cancel_futures=True)

    def _fill(self) -> None:
        """Let the threads make what lies ahead: a batch more than there are threads."""
        while self._workers and len(self._pending) <= self._workers:
            try:
                future = self._threads.submit(self._make, self.number + len(self._pending))
            except RuntimeError:  # no thread can be started
                self._drop()
                self._workers = 0
            else:
                self._pending.append(future)

    def _drop(self) -> None:
        """Forget what is being made."""
        for future in self._pending:
            future.cancel()
        self._pending.clear()


class TrainingBatches:
    """Endless batches for training, each epoch in a random order of its own.

    Batch `step` follows from `seed` and `step` alone: a run continues where it stopped with the
    number of the steps taken, bit for bit and with any number of workers. Images left over at the
    end of an epoch are not used in that epoch: every step sees `batch_size` images. Threads may
    share one: each batch goes to one of them.

    Parameters
    ----------
    source, preprocessing
        The images, and how they are made the network's input.
    batch_size, seed
        Images in a batch; seed of their order, crops and colours.
    step
        Number of the first batch, from 0.
    workers
        Threads that make batches ahead of time; 0 makes them in `next`. None: 0 for images in
        memory, whose batches take a millisecond, otherwise as many as there are processors, at
        most 8.

    Raises
    ------
    TypeError, ValueError
        A number is not what it may be; `batch_size` is larger than the set.
    """

    def __init__(
        self,
        source: ImageSource,
        preprocessing: Preprocessing,
        batch_size: int,
        seed: int = 0,
        *,
        step: int = 0,
        workers: int | None = None,
    ) -> None:
        check_source("training", "source", source)
        check_instance("training", "preprocessing", preprocessing, Preprocessing)
        self.batch_size = check_int("training", "batch_size", batch_size, 1, LARGEST_SIZE)
        if batch_size > len(source):
            raise ValueError(
                f"training: batch_size is {batch_size}, expected at most the "
                f"{counted(len(source), 'image')} of the training set"
            )
        self.seed = check_int("training", "seed", seed, 0, LARGEST_WORD_64)
        step = check_int("training", "step", step, 0, LARGEST_SIZE)
        self.per_epoch = len(source) // batch_size
        self.source = source
        self.preprocessing = preprocessing
        self._order = lru_cache(maxsize=2)(self._order_of)
        self._drawn = lru_cache(maxsize=2)(self._drawn_for)
        self._prefetcher = Prefetcher(self._make, step, _workers(source, workers))

    def __repr__(self) -> str:
        return summarised(self, batch_size=self.batch_size, source=self.source)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End the threads; there are no more batches after it."""
        self._prefetcher.close()

    @property
    def image_shape(self) -> Shape:
        """(height, width, channels) of the images in a batch."""
        return self.preprocessing.input_shape

    @property
    def highest_label(self) -> int:
        """Largest number of a class that occurs."""
        return int(self.source.labels.max())

    @property
    def step(self) -> int:
        """Number of the next batch, from 0."""
        return self._prefetcher.number

    @property
    def epoch(self) -> int:
        """Number of the epoch that the next batch belongs to, from 0."""
        return self.step // self.per_epoch

    @property
    def waited(self) -> float:
        """Seconds that `next` has taken, in total: the network waits for them."""
        return self._prefetcher.waited

    def next(self) -> Batch:
        """Take batch number `step` and move on to the following one."""
        return self._prefetcher.next()

    def _order_of(self, epoch: int) -> npt.NDArray[np.int64]:
        return _generator(self.seed, ORDER_STREAM + epoch).permutation(len(self.source))

    def _drawn_for(self, block: int) -> npt.NDArray[np.float64]:
        """Draw what the views of a block of steps need: (steps, batch_size, ...)."""
        generator = _generator(self.seed, VIEWS_STREAM + 2 * block)
        drawn = self.preprocessing.draw(generator, STEPS_OF_BLOCK * self.batch_size)
        return drawn.reshape(STEPS_OF_BLOCK, self.batch_size, -1)

    def _make(self, step: int) -> Batch:
        first = step % self.per_epoch * self.batch_size
        positions = self._order(step // self.per_epoch)[first : first + self.batch_size]
        side = self.preprocessing.shortest_side
        taken = [_next_readable(self.source, position, side) for position in positions.tolist()]
        drawn = self._drawn(step // STEPS_OF_BLOCK)[step % STEPS_OF_BLOCK]
        images = self.preprocessing.training_views([image for _, image in taken], drawn)
        return Batch(images, self.source.labels[[position for position, _ in taken]])


def ordered_batches(
    source: ImageSource,
    preprocessing: Preprocessing,
    batch_size: int,
    *,
    ten_crop: bool = False,
    workers: int | None = None,
) -> Iterator[Batch]:
    """Every image that can be read once, in order, as evaluation sees it.

    A batch comes from `batch_size` images of `source`; the last has those that are left, and one
    with a file that cannot be read is smaller. `workers` as in `TrainingBatches`.
    """
    check_source("ordered_batches", "source", source)
    check_instance("ordered_batches", "preprocessing", preprocessing, Preprocessing)
    check_flag("ordered_batches", "ten_crop", ten_crop)
    batch_size = check_int("ordered_batches", "batch_size", batch_size, 1, LARGEST_SIZE)

    def make(number: int) -> Batch:
        images, positions = [], []
        first = number * batch_size
        for position in range(first, min(first + batch_size, len(source))):
            try:
                images.append(source.read(position, preprocessing.shortest_side))
            except UnreadableImageError:
                continue
            positions.append(position)
        views = preprocessing.evaluation_views(images, ten_crop=ten_crop)
        return Batch(views, source.labels[positions])

    prefetcher = Prefetcher(make, 0, _workers(source, workers))
    try:
        for _ in range(0, len(source), batch_size):
            batch = prefetcher.next()
            if len(batch.labels):
                yield batch
    finally:
        prefetcher.close()


def _workers(source: ImageSource, workers: int | None) -> int:
    if workers is not None:
        return check_int("data", "workers", workers, 0, LARGEST_THREADS)
    in_memory = source.image_shape is not None
    return 0 if in_memory else min(os.cpu_count() or 1, MOST_WORKERS)


def _generator(seed: int, stream: int) -> Generator:
    generator = Generator(seed)
    generator.state = {"seed": seed, "offset": stream}
    return generator


def _next_readable(source: ImageSource, position: int, shortest_side: int) -> tuple[int, Pixels]:
    """Image at `position`, or the next one that can be read, and its own position."""
    for ahead in range(len(source)):
        candidate = (position + ahead) % len(source)
        try:
            return candidate, source.read(candidate, shortest_side)
        except UnreadableImageError:
            continue
    raise UnreadableImageError("training: no image can be read any more")
