"""Batches: composition and order, threads, photos that cannot be read, waiting, ending."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from alexnet.data import (
    Batch,
    ImageSet,
    ImageSource,
    PhotoSet,
    Preprocessing,
    TrainingBatches,
    UnreadableImageError,
    open_image_folder,
    ordered_batches,
)
from support import cifar_files, photo_files

IMAGES = ImageSet(*cifar_files.easy_images(0, 40))
PAPER = Preprocessing.fit(IMAGES, (32, 32, 3), augment="paper")
PLAIN = Preprocessing.fit(IMAGES, (32, 32, 3))


def numbered(count: int) -> ImageSet:
    """Images whose pixels are their labels."""
    labels = np.arange(count)
    pixels = np.repeat(labels.astype(np.uint8), 32 * 32 * 3).reshape(count, 32, 32, 3)
    return ImageSet(pixels, labels)


def photos(root: Path, per_class: int = 6) -> ImageSource:
    return open_image_folder(photo_files.write_folder(root, per_class, None)).train


def taken(source: ImageSource, preprocessing: Preprocessing, count: int, **options: int) -> bytes:
    """The bits of `count` batches."""
    with TrainingBatches(source, preprocessing, 5, 3, **options) as batches:
        parts = [batches.next() for _ in range(count)]
    return b"".join(part.images.tobytes() + part.labels.tobytes() for part in parts)


class Watched:
    """Images in memory that do as told when they are read."""

    labels = IMAGES.labels
    image_shape = IMAGES.image_shape
    digest = IMAGES.digest
    skipped: Mapping[Path, str] = {}

    def __init__(self, error: Exception | None = None, delay: float = 0.0) -> None:
        self.error = error
        self.delay = delay
        self.reads = 0
        self.finished = 0
        self.readable = threading.Event()
        self.readable.set()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(IMAGES)

    def read(self, position: int, shortest_side: int) -> npt.NDArray[np.uint8]:
        with self._lock:
            self.reads += 1
        time.sleep(self.delay)
        if not self.readable.wait(30):
            raise RuntimeError("nothing can be read")
        if self.error is not None:
            raise self.error
        image = IMAGES.read(position, shortest_side)
        with self._lock:
            self.finished += 1
        return image


# --- training -------------------------------------------------------------------------------------


def test_an_epoch_is_the_images_in_an_order_of_its_own() -> None:
    with TrainingBatches(numbered(23), PLAIN, 5, seed=3) as batches:
        assert batches.per_epoch == 4
        epochs = []
        for epoch in range(3):
            assert batches.epoch == epoch
            labels = [batches.next().labels for _ in range(batches.per_epoch)]
            epochs.append(np.concatenate(labels).tolist())
        assert batches.step == 12
    assert all(len(set(epoch)) == 20 for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


@pytest.mark.parametrize("workers", [0, 2])
def test_images_and_labels_stay_together(workers: int) -> None:
    images = numbered(20)
    with TrainingBatches(images, PLAIN, 20, workers=workers) as batches:
        batch = batches.next()
    assert sorted(batch.labels.tolist()) == list(range(20))
    assert batch.labels.dtype == np.int64
    assert batch.images.dtype == np.float32
    assert batch.images.flags.c_contiguous
    expected = PLAIN.evaluation_views(images.pixels[batch.labels])
    np.testing.assert_array_equal(batch.images, expected)


def test_batches_are_the_same_bits_for_any_workers_and_from_any_step(tmp_path: Path) -> None:
    source = photos(tmp_path)
    fitted = Preprocessing.fit(source, (32, 32, 3), augment="paper")
    for images, preprocessing in ((source, fitted), (IMAGES, PAPER)):
        expected = taken(images, preprocessing, 20, workers=0)
        size = len(expected) // 20
        for workers in (1, 4):
            assert taken(images, preprocessing, 20, workers=workers) == expected
        assert taken(images, preprocessing, 5, step=15, workers=2) == expected[15 * size :]
        batches = {expected[k * size : (k + 1) * size] for k in range(20)}
        assert len(batches) == 20


def test_seeds_give_other_orders_and_other_views() -> None:
    one, two = (TrainingBatches(IMAGES, PAPER, 40, seed) for seed in (1, 2))
    first, second = one.next(), two.next()
    assert first.labels.tolist() != second.labels.tolist()
    again = one.next()
    for label in range(3):
        views = first.images[first.labels == label], again.images[again.labels == label]
        assert not np.array_equal(*(np.sort(view, axis=None) for view in views))


def test_an_unreadable_photo_is_replaced_by_the_next(tmp_path: Path) -> None:
    root = photo_files.write_folder(tmp_path, 4, None)
    names = [root / "train" / "cat" / "2.jpg", root / "train" / "dog" / "3.jpg"]
    for path in names:
        photo_files.cut_short(path)
    source = open_image_folder(root).train
    fitted = Preprocessing.fit(source, (32, 32, 3))
    for workers in (0, 3):
        with TrainingBatches(source, fitted, 8, workers=workers) as batches:
            for _ in range(3):
                batch = batches.next()
                assert sorted(batch.labels.tolist()) == [0, 0, 0, 0, 0, 1, 1, 1]
                views = {view.tobytes() for view in batch.images}
                assert len(views) == 6
    assert set(source.skipped) == set(names)


def test_no_readable_image_is_an_error(tmp_path: Path) -> None:
    source = photos(tmp_path, 1)
    fitted = Preprocessing.fit(source, (32, 32, 3))
    assert isinstance(source, PhotoSet)
    (tmp_path / "empty.jpg").touch()
    empty = PhotoSet([tmp_path / "empty.jpg"] * 3, np.zeros(3, np.int64))
    for workers in (0, 1):
        with (
            TrainingBatches(empty, fitted, 2, workers=workers) as batches,
            pytest.raises(UnreadableImageError, match="no image can be read any more"),
        ):
            batches.next()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 41}, "batch_size is 41, expected at most the 40 images"),
        ({"batch_size": 0}, "batch_size is 0, expected an integer from 1"),
        ({"batch_size": 2.0}, "batch_size is 2.0, expected an integer"),
        ({"seed": -1}, "seed is -1, expected an integer from 0"),
        ({"step": -1}, "step is -1, expected an integer from 0"),
        ({"workers": -1}, "workers is -1, expected an integer from 0"),
    ],
)
def test_numbers_are_checked(arguments: dict[str, int], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        TrainingBatches(IMAGES, PLAIN, **{"batch_size": 4, **arguments})


# --- faults of the system -------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 3])
def test_a_moment_without_file_descriptors_changes_no_batch(workers: int, tmp_path: Path) -> None:
    source = photos(tmp_path)
    fitted = Preprocessing.fit(source, (32, 32, 3))
    expected = taken(source, fitted, 6, workers=0)
    again = PhotoSet(source.paths, source.labels)
    with photo_files.no_file_descriptors(0.3):
        assert taken(again, fitted, 6, workers=workers) == expected
    assert not again.skipped


@pytest.mark.parametrize("workers", [0, 3])
def test_the_batch_that_failed_is_the_next(workers: int) -> None:
    expected = taken(IMAGES, PAPER, 6, workers=0)
    source = Watched()
    parts = []
    with TrainingBatches(source, PAPER, 5, 3, workers=workers) as batches:
        for number in range(6):
            if number == 2:
                source.error = OSError("the disk is away")
                for _ in range(workers + 3):  # those made ahead are good
                    try:
                        parts.append(batches.next())
                    except OSError:
                        break
                source.error = None
        while len(parts) < 6:
            parts.append(batches.next())
        assert batches.step == 6
    assert b"".join(part.images.tobytes() + part.labels.tobytes() for part in parts) == expected


def test_evaluation_leaves_out_no_image_for_want_of_file_descriptors(tmp_path: Path) -> None:
    source = photos(tmp_path)
    fitted = Preprocessing.fit(source, (32, 32, 3))
    again = PhotoSet(source.paths, source.labels)
    with photo_files.no_file_descriptors(0.3):
        batches = list(ordered_batches(again, fitted, 5, workers=2))
    np.testing.assert_array_equal(joined(batches).labels, source.labels)


@pytest.mark.parametrize("started", [0, 1])
def test_where_no_thread_can_be_started_there_are_fewer(
    started: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = taken(IMAGES, PAPER, 6, workers=0)
    start, left = threading.Thread.start, [None] * started

    def start_few(thread: threading.Thread) -> None:
        if not left:
            raise RuntimeError("can't start new thread")
        left.pop()
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_few)
    assert taken(IMAGES, PAPER, 6, workers=3) == expected


# --- threads --------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 2])
def test_what_goes_wrong_in_a_thread_reaches_the_caller(workers: int) -> None:
    source = Watched(error=RuntimeError("the disk is on fire"))
    with TrainingBatches(source, PLAIN, 4, workers=workers) as batches:
        for _ in range(2):
            with pytest.raises(RuntimeError, match="the disk is on fire"):
                batches.next()
    with pytest.raises(RuntimeError, match="the disk is on fire"):
        list(ordered_batches(source, PLAIN, 4, workers=workers))


def data_threads() -> int:
    return sum(thread.name.startswith("alexnet-data") for thread in threading.enumerate())


def test_threads_end_with_the_batches() -> None:
    source = Watched(delay=0.001)
    with TrainingBatches(source, PLAIN, 4, workers=3) as batches:
        batches.next()
        assert data_threads() > 0
    assert data_threads() == 0
    iterator = ordered_batches(source, PLAIN, 4, workers=2)
    next(iterator)
    assert data_threads() > 0
    iterator.close()
    assert data_threads() == 0


def test_no_more_is_read_ahead_than_a_few_batches() -> None:
    source = Watched()
    with TrainingBatches(source, PLAIN, 4, workers=2) as batches:
        batches.next()
        time.sleep(0.2)
        assert source.reads <= (1 + 2 + 1) * 4


def test_waiting_is_counted_and_threads_avoid_it() -> None:
    source = Watched(delay=0.02)
    with TrainingBatches(source, PLAIN, 4, workers=0) as batches:
        batches.next()
        assert batches.waited >= 4 * 0.02
    source = Watched()
    with TrainingBatches(source, PLAIN, 4, workers=2) as batches:
        batches.next()
        while source.finished < (1 + 2 + 1) * 4:  # during the network's step
            time.sleep(0.001)
        source.readable.clear()
        for _ in range(3):
            batches.next()
        source.readable.set()


# --- evaluation -----------------------------------------------------------------------------------


def joined(batches: list[Batch]) -> Batch:
    return Batch(
        np.concatenate([batch.images for batch in batches]),
        np.concatenate([batch.labels for batch in batches]),
    )


@pytest.mark.parametrize("workers", [0, 3])
@pytest.mark.parametrize("ten_crop", [False, True])
def test_ordered_batches_are_every_image_once(ten_crop: bool, workers: int) -> None:
    batches = list(ordered_batches(IMAGES, PAPER, 16, ten_crop=ten_crop, workers=workers))
    assert [len(batch.labels) for batch in batches] == [16, 16, 8]
    together = joined(batches)
    expected = PAPER.evaluation_views(IMAGES.pixels, ten_crop=ten_crop)
    np.testing.assert_array_equal(together.images, expected)
    np.testing.assert_array_equal(together.labels, IMAGES.labels)


@pytest.mark.parametrize("workers", [0, 3])
def test_unreadable_photos_are_left_out_of_an_evaluation(workers: int, tmp_path: Path) -> None:
    root = photo_files.write_folder(tmp_path, 5, None)
    source = open_image_folder(root).train
    fitted = Preprocessing.fit(source, (32, 32, 3))
    whole = joined(list(ordered_batches(source, fitted, 10)))
    for number in (2, 3):
        photo_files.cut_short(root / "train" / "cat" / f"{number}.jpg")
    damaged = open_image_folder(root).train
    batches = list(ordered_batches(damaged, fitted, 2, workers=workers))
    assert [len(batch.labels) for batch in batches] == [2, 2, 2, 2]  # one batch was of both
    kept = [0, 1, 4, 5, 6, 7, 8, 9]
    np.testing.assert_array_equal(joined(batches).images, whole.images[kept])
    np.testing.assert_array_equal(joined(batches).labels, whole.labels[kept])
    assert len(damaged.skipped) == 2
