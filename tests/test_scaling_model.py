"""The model of how networks scale: what is recorded of tasks, and how they are dealt out."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import alexnet
from alexnet import _cpu
from alexnet.comparison.cases import NetworkCase
from alexnet.contract.arguments import AnyArray
from alexnet.network.variants import variant_named
from support.arrays import random_array

OPENMP = alexnet.build_info()["openmp"]
needs_threads = pytest.mark.skipif(not OPENMP, reason="built without OpenMP: one thread")
BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def task_model(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The model itself, as a module."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return import_module("task_model")


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, as a module."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return import_module("scaling_model")


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    before = alexnet.get_num_threads()
    yield
    _cpu.stop_task_times()
    alexnet.set_num_threads(before)


# --- recording ------------------------------------------------------------------------------------


def regions_of_relu(threads: int) -> list[tuple[int, int, list[float]]]:
    """Record a ReLU of ten times as many numbers as are worth a thread."""
    x = np.zeros(10 << 15, np.float32)
    alexnet.set_num_threads(threads)
    _cpu.start_task_times()
    alexnet.relu(x)
    return _cpu.stop_task_times()


@needs_threads
@pytest.mark.parametrize(("threads", "tasks"), [(1, 1), (2, 10), (3, 10), (16, 10), (64, 10)])
def test_as_many_tasks_are_recorded_as_are_dealt_out(threads: int, tasks: int) -> None:
    ((call, team, times),) = regions_of_relu(threads)
    assert call == 1
    assert team == min(threads, 10)
    assert len(times) == tasks + 1
    assert times == sorted(times)


def test_nothing_is_recorded_when_nobody_asks() -> None:
    assert _cpu.stop_task_times() == []
    regions_of_relu(2)
    alexnet.relu(np.zeros(10 << 15, np.float32))
    assert _cpu.stop_task_times() == []


def test_other_threads_are_not_recorded() -> None:
    x = np.zeros(10 << 15, np.float32)
    _cpu.start_task_times()
    other = threading.Thread(target=alexnet.relu, args=(x,))
    other.start()
    other.join()
    assert _cpu.stop_task_times() == []


# --- partitions that only many threads have -------------------------------------------------------

# Batch, side, channels and window; by rows, by elements in several blocks of tiles, and by rows
# with few threads. The weight gradients of the first two take several blocks, too.
CONVOLUTIONS = [(8, 27, 64, 192, 5), (24, 13, 192, 384, 3), (32, 8, 96, 192, 3)]


def results(x: AnyArray, dy: AnyArray, weight: AnyArray, bias: AnyArray) -> list[AnyArray]:
    """All three directions."""
    how = {"algorithm": "winograd"}
    y = alexnet.conv2d(x, weight, bias, **how)
    dx = alexnet.conv2d_backward_input(dy, weight, x.shape, **how)
    return [y, dx, *alexnet.conv2d_backward_weight(dy, x, weight.shape[:2], **how)]


@needs_threads
@pytest.mark.parametrize(("batch", "side", "channels", "out", "window"), CONVOLUTIONS)
def test_every_partition_computes_the_same_bits(
    batch: int, side: int, channels: int, out: int, window: int
) -> None:
    x, dy = random_array(1, batch, side, side, channels), random_array(2, batch, side, side, out)
    weight, bias = random_array(3, window, window, channels, out), random_array(4, out)
    alexnet.set_num_threads(1)
    expected = results(x, dy, weight, bias)
    for threads in (2, 3, 4, 5, 6, 7, 8, 16, 31, 64):
        alexnet.set_num_threads(threads)
        # The tasks of so many threads, without starting these.
        _cpu.start_task_times()
        computed = results(x, dy, weight, bias)
        assert max(team for _, team, _ in _cpu.stop_task_times()) == threads
        if threads <= 8:
            computed += results(x, dy, weight, bias)
        for right, result in zip(expected * 2, computed, strict=False):
            np.testing.assert_array_equal(result, right)


# --- the model ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tasks", "team", "seconds"),
    [
        ([], 1, 0),
        ([1, 1, 1, 1], 1, 4),
        ([1, 1, 1, 1], 2, 2),
        ([1, 1, 1, 1, 1], 2, 3),
        ([2, 1], 2, 2),
        ([10, 1, 1, 1], 2, 10),  # the second thread takes what the long task holds up
        ([1, 1, 10], 2, 11),  # nobody knows that the last task is long
        ([4, 4, 1, 1], 2, 6),  # two for each, and the first thread's second is taken over
        ([1] * 130, 65, 2),  # threads share the queues of others
    ],
)
def test_tasks_are_dealt_out(
    task_model: ModuleType, tasks: list[float], team: int, seconds: float
) -> None:
    assert task_model.makespan(tasks, team) == seconds


def test_prediction(task_model: ModuleType) -> None:
    profile = task_model.Profile(
        (task_model.Region(1, 4, (1.0, 1.0, 1.0, 5.0)), task_model.Region(2, 1, (2.0,))),
        (0.5, 0.25, 0.25),
    )
    layers = [task_model.Layer("a", range(1), 0), task_model.Layer("b", range(1, 2), 3 * 10**9)]
    machine = task_model.Machine(region_seconds=0.125)
    prediction = task_model.predict(profile, layers, 4, machine, serial=1.0)
    assert prediction.seconds == 5 + 2 * 0.125 + 2 + 1
    assert prediction.tasks == 7 - 10 / 4
    bound = task_model.predict(profile, layers, 4, task_model.Machine(0.125, 10**9), serial=1.0)
    assert bound.memory == 1.0  # 3 GB of the second layer, which takes 2 s
    worst = task_model.losses(profile, layers, 4, machine)
    assert [(loss.name, loss.lost) for loss in worst] == [("a 1/1", 3.25), ("b 1/1", 1.5)]


def test_gaps_inside_of_kernels(task_model: ModuleType) -> None:
    regions = tuple(task_model.Region(call, 1, (1.0,)) for call in (1, 1, 2))
    profile = task_model.Profile(regions, (1.0, 2.0, 4.0, 8.0))
    assert profile.inside_kernels == 2
    assert profile.seconds == 3 + 15


@needs_threads
def test_regions_belong_to_calls(task_model: ModuleType) -> None:
    """A batch norm sums, and then scales; the calls of one step are numbered from 1."""
    x, ones = np.zeros((1 << 12, 64), np.float32), np.ones(64, np.float32)
    alexnet.set_num_threads(2)

    def step() -> None:
        alexnet.batch_norm(x, ones, ones)
        alexnet.relu(x)

    for _ in range(2):
        assert [region.call for region in task_model.record_once(step).regions] == [1, 1, 2]


def test_the_fastest_of_every_task(task_model: ModuleType) -> None:
    first = task_model.Profile((task_model.Region(1, 2, (1.0, 4.0)),), (3.0, 1.0))
    second = task_model.Profile((task_model.Region(1, 2, (2.0, 3.0)),), (2.0, 2.0))
    expected = task_model.Profile((task_model.Region(1, 2, (1.0, 3.0)),), (2.0, 1.0))
    assert task_model.fastest([first, second]) == expected
    other = task_model.Region(1, 2, (0.1,))  # one image less, or one more: not the same task
    fewer = task_model.Profile((other,), (0.1, 0.1))
    more = task_model.Profile((*first.regions, other), (0.1, 0.1, 0.1))
    assert task_model.fastest([fewer, first, more, second]) == expected


@needs_threads
def test_regions_belong_to_layers(model: ModuleType) -> None:
    case = NetworkCase(variant_named("cifar10-bn"), "training-step", 2)
    step = model.PreparedStep(case)
    profile = step.record([4], repetitions=1)[4]
    layers = step.layers(4)
    names = [layer.name for layer in layers]
    assert names[0] == "conv1 forward"
    assert names[-1] == "conv1 backward"
    assert "lrn1+pool1 backward" in names
    numbers = [number for layer in layers for number in layer.regions]
    assert numbers == sorted(set(numbers))
    # The loss is computed between forward and backward, and the update is last.
    assert set(numbers) < set(range(len(profile.regions)))
    assert len(profile.regions) - 1 not in numbers
    weights = 3 * 3 * 3 * 48 + 48
    images, outputs = 2 * 32 * 32 * 3, 2 * 32 * 32 * 48
    assert layers[0].bytes == 4 * (weights + images + outputs)


def test_the_script(model: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--batch-size", "1", "--threads", "2,64", "--repetitions", "1", "--region-us", "1"]
    assert model.main(["cifar10-bn", "--target", "forward", *options]) == 0
    printed = capsys.readouterr().out
    assert "cifar10-bn/network/forward/b1" in printed
    assert "what loses most with 64 threads" in printed
    assert "model / measured" in printed
    with pytest.raises(SystemExit) as ended:
        model.main(["cifar10-bn", "--target", "backward"])
    assert ended.value.code == 2
