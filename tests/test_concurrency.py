"""Objects that threads share: right results, or one clear error."""

from __future__ import annotations

import copy
import gc
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from types import ModuleType
from typing import TypeVar

import numpy as np
import pytest

from alexnet import cpu, reference
from alexnet.data import Preprocessing, TrainingBatches
from alexnet.inference.evaluation import evaluate
from alexnet.network.layers import LRN, BatchNorm, Conv2d, Dense, Dropout, Flatten, MaxPool2d
from alexnet.network.network import Network
from alexnet.network.variant import Variant
from alexnet.network.variants import AlexNet
from alexnet.random import Generator
from alexnet.training.optimizers import SGD, Adam
from alexnet.training.trainer import Trainer
from support.arrays import random_array
from support.small_networks import small_variant
from support.small_runs import SMALL, dataset

T = TypeVar("T")
THREADS = 8


def elsewhere(work: Callable[[], T]) -> T:
    """Do `work` in another thread, which then ends."""
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(work).result()


def in_threads(work: Callable[[int], T], count: int, threads: int = THREADS) -> list[T]:
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, range(count)))


def images(network: AlexNet, seed: int, batch_size: int = 2) -> np.ndarray:
    return random_array(seed, batch_size, *network.input_shape)


# --- prediction -----------------------------------------------------------------------------------


@pytest.mark.parametrize("implementation", [cpu, reference])
@pytest.mark.parametrize("name", ["cifar10-bn", "tf-small", "torchvision"])
def test_threads_predict_with_one_network(name: str, implementation: ModuleType) -> None:
    count = 200 if implementation is cpu else 16
    network = AlexNet(small_variant(name), seed=1, implementation=implementation)
    expected = [network.forward(images(network, seed)).copy() for seed in range(count)]
    results = in_threads(lambda seed: network.forward(images(network, seed)), count)
    for y, right in zip(results, expected, strict=True):
        np.testing.assert_array_equal(y, right)


def test_gradients_of_every_thread_are_of_its_own_forward() -> None:
    network = AlexNet(small_variant("cifar10-bn"), seed=1)

    def gradients(seed: int) -> dict[str, np.ndarray]:
        y = network.forward(images(network, seed))
        given = network.backward(random_array(100 + seed, *y.shape), input_gradient=True)
        assert all(network.gradients[name] is given[name] for name in network.gradients)
        return {name: array.copy() for name, array in given.items()}

    for seed, results in enumerate(in_threads(gradients, 80)):
        for name, right in gradients(seed).items():
            np.testing.assert_array_equal(results[name], right)


def test_activations_are_those_of_the_thread() -> None:
    network = AlexNet(small_variant("cifar10-bn"), seed=1)
    network.forward(images(network, 1))
    before = {name: array.copy() for name, array in network.activations.items()}
    assert elsewhere(lambda: len(network.activations)) == 0
    elsewhere(lambda: network.forward(images(network, 2)))
    for name, array in network.activations.items():
        np.testing.assert_array_equal(array, before[name])


def test_evaluations_at_the_same_time() -> None:
    network, images_and_labels = AlexNet(SMALL, seed=1), dataset().train
    preprocessing = Preprocessing.fit(images_and_labels, network.input_shape)
    expected = evaluate(network, images_and_labels, preprocessing, batch_size=8)
    for result in in_threads(
        lambda _: evaluate(network, images_and_labels, preprocessing, batch_size=8), 16
    ):
        assert result.loss == expected.loss
        np.testing.assert_array_equal(result.confusion, expected.confusion)


def test_what_a_thread_worked_with_ends_with_it() -> None:
    network = AlexNet(small_variant("cifar10-bn"), seed=1)

    def run() -> weakref.ref[object]:
        network.backward(network.forward(images(network, 1)))
        return weakref.ref(network._workspace)

    workspace = elsewhere(run)
    gc.collect()
    assert workspace() is None


# --- training -------------------------------------------------------------------------------------


def train(network: AlexNet, optimizer: SGD | Adam, seed: int) -> None:
    y = network.forward(images(network, seed), training=True)
    network.backward(random_array(100 + seed, *y.shape))
    optimizer.step()


def test_predictions_during_a_training_are_those_between_two_changes() -> None:
    steps, x = 30, random_array(7, 2, *SMALL.input_shape)
    alone = AlexNet(SMALL, seed=1)
    optimizer = SGD(alone, learning_rate=0.01)
    possible = {alone.forward(x).tobytes()}
    for seed in range(steps):
        y = alone.forward(images(alone, seed), training=True)
        possible.add(elsewhere(lambda: alone.forward(x)).tobytes())
        alone.backward(random_array(100 + seed, *y.shape))
        optimizer.step()
        possible.add(alone.forward(x).tobytes())

    network = AlexNet(SMALL, seed=1)
    ended = threading.Event()

    def predict(_: int) -> set[bytes]:
        seen = set()
        while not ended.is_set():
            seen.add(network.forward(x).tobytes())
        return seen

    with ThreadPoolExecutor(3) as pool:
        predictions = [pool.submit(predict, number) for number in range(3)]
        try:
            rule = SGD(network, learning_rate=0.01)
            for seed in range(steps):
                train(network, rule, seed)
        finally:
            ended.set()
        assert set.union(*(each.result() for each in predictions)) <= possible
    for name, array in alone.tensors().items():
        np.testing.assert_array_equal(network.tensors()[name], array)


def test_a_training_may_go_from_thread_to_thread_between_its_steps() -> None:
    alone, network = AlexNet(SMALL, seed=1), AlexNet(SMALL, seed=1)
    rules = [Adam(each) for each in (alone, network)]
    for seed in range(4):
        train(alone, rules[0], seed)
        elsewhere(lambda seed=seed: train(network, rules[1], seed))
    for name, array in alone.tensors().items():
        np.testing.assert_array_equal(network.tensors()[name], array)


CHANGED = "another thread has changed the network since this thread's forward"


@pytest.mark.parametrize("change", ["forward", "step", "assign"])
@pytest.mark.parametrize("stage", ["backward", "optimizer"])
def test_steps_of_two_threads_do_not_mix(stage: str, change: str) -> None:
    network = AlexNet(SMALL, seed=1)
    optimizer, other = SGD(network, learning_rate=0.1), Adam(network)
    y = network.forward(images(network, 1), training=True)
    if stage == "optimizer":
        network.backward(y.copy())
    changes: dict[str, Callable[[], object]] = {
        "forward": lambda: network.forward(images(network, 2), training=True),
        "step": lambda: train(network, other, 2),
        "assign": lambda: network.assign(AlexNet(SMALL, seed=2).tensors()),
    }
    elsewhere(changes[change])
    before = {name: array.copy() for name, array in network.tensors().items()}
    with pytest.raises(RuntimeError, match=f"^{stage}: {CHANGED}"):
        network.backward(y.copy()) if stage == "backward" else optimizer.step()
    assert optimizer.steps == 0
    for name, array in network.tensors().items():
        np.testing.assert_array_equal(array, before[name])
    train(network, optimizer, 1)  # from a forward of its own it goes on


def test_gradients_belong_to_the_thread_that_computed_them() -> None:
    network = AlexNet(SMALL, seed=1)
    optimizer = SGD(network)
    assert not any(array.any() for array in network.gradients.values())
    elsewhere(lambda: network.backward(network.forward(images(network, 1))))
    with pytest.raises(RuntimeError, match=r"^gradients: this thread has run no backward"):
        _ = network.gradients
    with pytest.raises(RuntimeError, match=r"^gradients: this thread has run no backward"):
        optimizer.step()
    assert optimizer.steps == 0
    network.forward(images(network, 1))
    with pytest.raises(RuntimeError, match="backward: there is no forward to go back through"):
        elsewhere(lambda: network.backward(np.zeros((2, 10), np.float32)))


def test_threads_that_train_one_network_at_the_same_time_are_told() -> None:
    network = AlexNet(SMALL, seed=1)
    rules = [SGD(network, learning_rate=1e-3) for _ in range(4)]
    errors: list[str] = []

    def run(number: int) -> None:
        for seed in range(20):
            try:
                train(network, rules[number], seed)
            except RuntimeError as error:
                errors.append(str(error))

    in_threads(run, 4)
    assert errors
    assert all(CHANGED in error for error in errors)
    assert sum(rule.steps for rule in rules) + len(errors) == 80


# --- functions that are called in the middle of something ----------------------------------------


def test_an_observer_cannot_run_or_change_the_network() -> None:
    network = AlexNet(SMALL, seed=1)
    x, optimizer = images(network, 1), SGD(network)
    y = network.forward(x)
    calls: dict[str, Callable[[], object]] = {
        "forward: called during the network's own forward": lambda: network.forward(x),
        f"{SMALL.name}: a function that was called during a pass cannot change it": optimizer.step,
    }
    for message, call in calls.items():
        with pytest.raises(RuntimeError, match=f"^{message}$"):
            network.forward(x, observer=lambda *_, call=call: call())
    seen: list[int] = []
    network.forward(x, True, observer=lambda *_: seen.append(len(network.tensors())))
    assert len(seen) == len(SMALL.layers)
    np.testing.assert_array_equal(AlexNet(SMALL, seed=1).forward(x), y)


# --- interrupts -----------------------------------------------------------------------------------

TINY = Variant(
    "tiny",
    "",
    (4, 4, 3),
    (
        Conv2d("conv1", 4, 3, activation="relu"),
        LRN("lrn1", 2, 1.0, 1.0, 0.5),
        MaxPool2d("pool1", 2, 2),
        Flatten("flatten"),
        Dense("fc2", 5, bias=False),
        BatchNorm("bn2", activation="relu"),
        Dropout("dropout2", 0.5),
        Dense("fc3", 3),
    ),
)


def interrupted_at(number: int, work: Callable[[], object]) -> bool:
    """Do `work`, and interrupt it at its call of that number of a function, counted from 0.

    There Python looks whether a signal has come. False if there are fewer calls.
    """
    left = number

    def trace(*_: object) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


@pytest.mark.parametrize("times", [0, 1])
@pytest.mark.parametrize("stage", ["predict", "train", "differentiate", "look", "step"])
def test_a_network_that_was_interrupted_anywhere_goes_on(stage: str, times: int) -> None:
    """In its first passes, which make its memory, and in later ones, which replay calls."""
    x, larger = random_array(1, 2, 4, 4, 3), random_array(2, 3, 4, 4, 3)
    dy = random_array(3, 3, 3)
    number, is_interrupted = 0, True
    while is_interrupted:
        network, right = Network(TINY, seed=1), Network(TINY, seed=1)
        optimizer = SGD(network)
        for images in (x,) * times:
            network.backward(network.forward(images, True).copy())
        if stage in ("differentiate", "look", "step"):
            network.forward(x, True)
        if stage == "step":
            network.backward(dy[:2])
        works: dict[str, Callable[[], object]] = {
            "predict": lambda n=network: n.forward(x),
            "train": lambda n=network: n.forward(x, True),
            "differentiate": lambda n=network: n.backward(dy[:2], input_gradient=True),
            "look": lambda n=network: n.activations,
            "step": optimizer.step,
        }
        is_interrupted = interrupted_at(number, works[stage])
        changed = threading.Thread(target=network.assign, args=(right.tensors(),), daemon=True)
        changed.start()
        changed.join(30)
        assert not changed.is_alive(), number
        for images in (x, larger, x, x):
            y = network.forward(images, True)
            np.testing.assert_array_equal(y, right.forward(images, True), str(number))
            for each in (network, right):
                each.backward(dy[: len(images)])
            for name, array in right.gradients.items():
                np.testing.assert_array_equal(network.gradients[name], array, str(number))
            assert network.activations.keys() == right.activations.keys()
        optimizer.step()
        number += 1 + number // 10
    assert number > 5


def test_an_interrupt_ends_the_wait_of_those_that_want_to_change() -> None:
    network = Network(TINY, seed=1)
    x, waiting, ended = random_array(1, 2, 4, 4, 3), threading.Event(), threading.Event()
    entered = threading.Event()

    def look(*_: object) -> None:
        entered.set()
        assert ended.wait(60)

    class Waiting(threading.Condition):
        def wait(self, *_: object) -> bool:
            waiting.set()
            raise KeyboardInterrupt

    with ThreadPoolExecutor(2) as pool:
        reader = pool.submit(network.forward, x, observer=look)
        assert entered.wait(60)
        free, network.guard._free = network.guard._free, Waiting(network.guard._lock)
        with pytest.raises(KeyboardInterrupt):
            network.forward(x, True)
        network.guard._free = free
        y = pool.submit(network.forward, x).result(60)  # none waits to change any more
        ended.set()
        np.testing.assert_array_equal(reader.result(60), y)
    assert waiting.is_set()


# --- a trainer, its batches, a generator ----------------------------------------------------------


@contextmanager
def a_trainer(schedule: Callable[[int], float] | None = None) -> Iterator[Trainer]:
    source, network = dataset().train, AlexNet(SMALL, seed=1)
    preprocessing = Preprocessing.fit(source, network.input_shape)
    with TrainingBatches(source, preprocessing, 8) as batches:
        yield Trainer(network, SGD(network), batches, schedule=schedule)


def test_a_trainer_is_one_threads_at_a_time() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def schedule(_: int) -> float:
        begun.set()
        assert go_on.wait(60)
        return 0.01

    with a_trainer(schedule) as trainer, ThreadPoolExecutor(1) as threads:
        step = threads.submit(trainer.step)
        try:
            assert begun.wait(60)
            for work in (trainer.step, trainer.checkpoint):
                with pytest.raises(RuntimeError, match=r"^training: another thread is at work wit"):
                    work()
        finally:
            go_on.set()
        assert step.result().step == 1
        assert trainer.step().step == 2


def test_every_batch_goes_to_one_thread() -> None:
    source = dataset().train
    preprocessing = Preprocessing.fit(source, SMALL.input_shape, augment="standard")
    for workers in (0, 2):
        with TrainingBatches(source, preprocessing, 4) as batches:
            expected = sorted(batches.next().images.tobytes() for _ in range(60))
        with TrainingBatches(source, preprocessing, 4, workers=workers) as batches:
            taken = in_threads(lambda _, b=batches: b.next().images.tobytes(), 60)
            assert batches.step == 60
        assert sorted(taken) == expected


def test_no_two_threads_draw_the_same_numbers() -> None:
    generator, alone = Generator(3), Generator(3)
    drawn = in_threads(lambda _: generator.uniform(3).tobytes(), 4000)
    assert sorted(drawn) == sorted(alone.uniform(3).tobytes() for _ in range(4000))
    assert generator.state == alone.state


def test_optimizer_states_are_of_one_step() -> None:
    """Moments and steps that `state_dict` gives were there together."""
    network = AlexNet(SMALL, seed=1)
    optimizer = SGD(network, momentum=0.0)
    ended = threading.Event()

    def states() -> list[dict[str, np.ndarray]]:
        seen = []
        while not ended.is_set():
            seen.append(optimizer.state_dict())
        return seen

    with ThreadPoolExecutor(1) as threads:
        seen = threads.submit(states)
        try:
            for _ in range(100):
                for array in network.gradients.values():
                    array[...] = optimizer.steps + 1  # which the velocity becomes
                optimizer.step()
        finally:
            ended.set()
        for state in seen.result():
            steps = int(state.pop("steps"))
            assert all((array == steps).all() for array in state.values())


def test_a_copy_of_an_optimizer_and_its_network_is_of_one_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = Network(TINY, seed=None)
    optimizer = SGD(network, learning_rate=1.0, momentum=0.0)
    copy_network = Network.__deepcopy__
    with ThreadPoolExecutor(1) as threads:

        def train() -> None:
            network.gradients["fc3.bias"][...] = 1
            optimizer.step()

        def train_and_copy(self: Network, memo: dict[int, object]) -> Network:
            steps.append(threads.submit(train))
            wait(steps, 0.2)
            return copy_network(self, memo)

        steps = [threads.submit(train)]
        wait(steps)
        monkeypatch.setattr(Network, "__deepcopy__", train_and_copy)
        copied = copy.deepcopy(optimizer)
    assert (copied.steps, optimizer.steps) == (1, 2)
    np.testing.assert_array_equal(copied.network.parameters["fc3.bias"], np.float32([-1] * 3))
    assert copied.network is not network


FORK = """
import os, sys, threading
import numpy as np
from alexnet.network.variants import AlexNet
from alexnet.training.optimizers import SGD

network = AlexNet("cifar10-bn")
x = np.zeros((2, *network.input_shape), np.float32)
begun, ended = threading.Event(), threading.Event()

def wait(*_):
    begun.set()
    ended.wait(60)

thread = threading.Thread(target=network.forward, args=(x,), kwargs={"observer": wait})
thread.start()
begun.wait(60)
child = os.fork()
if child == 0:
    network.backward(network.forward(x, training=True).copy())
    SGD(network).step()
    os._exit(7)
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
ended.set()
thread.join()
sys.exit(status)
"""


def test_a_fork_during_a_prediction_can_train() -> None:
    command = [sys.executable, "-W", "ignore", "-c", FORK]
    assert subprocess.run(command, timeout=60, check=False).returncode == 7
