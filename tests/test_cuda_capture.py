"""What CUDA allows a stream that is captured, and what becomes of it in a graph: each planted."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from alexnet import graphs
from alexnet.arrays import array_kind
from alexnet.graphs import Graph
from cuda_emulation import load
from support.arrays import random_array
from support.cuda_device import cuda, cupy, on_device

pytestmark = pytest.mark.cuda

# A device refuses less, in other words: memory may be free in the pool, and a stream that waits for
# no other lets others work.
refusals_of_the_emulation = pytest.mark.skipif(
    not load.loaded, reason="what the emulation refuses, a device may allow"
)

EVENT = cupy.cuda.Event()
FORBIDDEN: dict[str, Callable[[Any], object]] = {
    "waiting for the device": lambda _: cupy.cuda.Device().synchronize(),
    "waiting for a stream": lambda _: cupy.cuda.get_current_stream().synchronize(),
    "waiting for an event": lambda _: EVENT.synchronize(),
    "waiting for an event of another stream": lambda _: cupy.cuda.get_current_stream().wait_event(
        EVENT
    ),
    "a copy to the host": lambda x: x.get(),
    "a copy from the host": lambda x: x.set(np.zeros(x.shape, np.float32)),
}


def graph_doing(work: Callable[[Any], object]) -> Graph[object]:
    return Graph(array_kind(cuda), work, lambda: lambda: None)


@refusals_of_the_emulation
@pytest.mark.parametrize("what", FORBIDDEN)
def test_what_can_not_be_captured_is_an_error(what: str) -> None:
    x = np.ones((4, 8), np.float32)
    EVENT.record()
    graph = graph_doing(lambda own: (cuda.relu(own), FORBIDDEN[what](own)))
    graph.run(x)
    for _ in range(2):  # it stays so
        with pytest.raises(RuntimeError, match=rf"^the work can't be captured .*: {what}"):
            graph.run(x)
    np.testing.assert_array_equal(cuda.relu(on_device(x)).get(), x)  # and nothing else is hurt


@refusals_of_the_emulation
def test_an_allocation_outside_of_the_pool_is_an_error_in_a_capture() -> None:
    allocate = cupy.cuda.get_allocator()
    graph = graph_doing(lambda _: allocate(512))
    graph.run(np.ones(3, np.float32))
    with pytest.raises(RuntimeError, match=r"^the work can't be captured .*: an allocation"):
        graph.run(np.ones(3, np.float32))


def test_work_that_asks_for_other_memory_than_before_is_an_error() -> None:
    sizes = iter([1024, 2048, 1024, 1024])
    graph = graph_doing(lambda _: cupy.empty((next(sizes),), cupy.uint8))
    graph.run(np.ones(3, np.float32))
    with pytest.raises(RuntimeError, match="asked for 2048 bytes of device memory as number 1,"):
        graph.run(np.ones(3, np.float32))


@refusals_of_the_emulation
def test_a_launch_on_another_stream_is_an_error() -> None:
    def work(own: Any) -> None:
        with cupy.cuda.Stream.null:
            cuda.relu(own, out=own)

    graph = graph_doing(work)
    graph.run(np.ones(3, np.float32))
    with pytest.raises(RuntimeError, match="relu: launch on a stream beside a captured one"):
        graph.run(np.ones(3, np.float32))


def test_nothing_runs_while_it_is_captured_and_copies_of_arguments_do_later() -> None:
    stream, x = cupy.cuda.Stream(non_blocking=True), on_device(random_array(1, 3, 8))
    out = cupy.zeros((3, 8), cupy.float32)
    cuda.lrn(x, depth_radius=1, out=out)
    expected = out.get()
    out[...] = 0
    with stream:
        stream.begin_capture(cupy.cuda.runtime.streamCaptureModeThreadLocal)
        assert stream.is_capturing()
        cuda.lrn(x, depth_radius=1, out=out)
        out *= 2
        graph = stream.end_capture()
    assert not stream.is_capturing()
    assert not out.get().any(), "captured, not run"
    for _ in range(2):
        graph.launch()
        np.testing.assert_array_equal(out.get(), 2 * expected)


@refusals_of_the_emulation
def test_memory_that_is_released_is_found() -> None:
    """A graph whose memory was given back reads NaN."""
    stream, x = cupy.cuda.Stream(non_blocking=True), on_device(random_array(1, 3, 8))
    out = cupy.zeros((3, 8), cupy.float32)
    with stream:
        stream.begin_capture(cupy.cuda.runtime.streamCaptureModeThreadLocal)
        cuda.relu(x, out=out)
        graph = stream.end_capture()
    del x
    gc.collect()
    graph.launch()
    assert np.isnan(out.get()).all()


def test_labels_that_are_no_class_make_a_captured_loss_nan() -> None:
    logits = on_device(random_array(1, 3, 5))
    labels = cupy.asarray(np.array([1, 9, -1]))
    stream, pieces = cupy.cuda.Stream(non_blocking=True), [cupy.cuda.alloc(4096)]
    loss, slopes = cupy.empty((), cupy.float32), cupy.empty((3, 5), cupy.float32)
    with stream, cupy.cuda.using_allocator(lambda _: pieces[0]):
        stream.begin_capture(cupy.cuda.runtime.streamCaptureModeThreadLocal)
        cuda.softmax_cross_entropy(logits, labels, out=loss)
        cuda.softmax_cross_entropy_backward(logits, labels, out=slopes)
        graph = stream.end_capture()
    graph.launch()
    assert np.isnan(float(loss))
    assert np.isnan(slopes.get()).all(axis=1).tolist() == [False, True, True]


def test_numbers_and_work_of_the_host_are_renewed_for_each_run() -> None:
    counted, seen = [0], []

    def work(x: Any) -> Any:
        graphs.each_time(lambda: counted.__setitem__(0, counted[0] + 1))
        seed = graphs.numbers(lambda: (5, counted[0]), np.uint64)
        return cuda.dropout(x, rate=0.5, seed=seed)

    graph, x = graph_doing(work), random_array(1, 40)
    for number in range(1, 6):
        y = graph.run(x).get()
        np.testing.assert_array_equal(y, cuda.dropout(on_device(x), seed=5, offset=number).get())
        seen.append(y.tobytes())
    assert len(set(seen)) == 5
    assert graphs.numbers(lambda: (1,), np.uint64) is None, "outside of graphs"
