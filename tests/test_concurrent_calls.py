"""Calls from several Python threads and from forked processes."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

import alexnet
from alexnet import cpu, reference
from support.arrays import random_array, relative_error
from support.implementations import ISAS
from support.processes import output_of

# --- several Python threads -----------------------------------------------------------------------


def _large_calls() -> dict[str, Callable[[], object]]:
    """Every operator on arrays that take its kernel milliseconds at least."""
    x, dy = random_array(1, 4, 56, 56, 128), random_array(2, 4, 56, 56, 128)
    weight, bias, out = random_array(3, 3, 3, 128, 128), random_array(4, 128), np.empty_like(x)
    matrix, square = random_array(5, 64, 2048), random_array(6, 2048, 2048)
    pooled = random_array(7, 4, 27, 27, 128)
    logits, labels = random_array(8, 4096, 500), np.arange(4096) % 500
    mean, variance = np.zeros(128, np.float32), np.ones(128, np.float32)
    return {
        "conv2d": lambda: cpu.conv2d(x, weight, out=out),
        "conv2d_backward_input": lambda: cpu.conv2d_backward_input(dy, weight, x.shape, out=out),
        "conv2d_backward_weight": lambda: cpu.conv2d_backward_weight(dy, x, 3),
        "dense": lambda: cpu.dense(matrix, square),
        "dense_backward_input": lambda: cpu.dense_backward_input(matrix, square),
        "dense_backward_weight": lambda: cpu.dense_backward_weight(matrix, matrix),
        "lrn": lambda: cpu.lrn(x, out=out),
        "lrn_backward": lambda: cpu.lrn_backward(dy, x, out=out),
        "max_pool2d": lambda: cpu.max_pool2d(x, out=pooled),
        "max_pool2d_backward": lambda: cpu.max_pool2d_backward(pooled, x, out=out),
        "relu": lambda: cpu.relu(x, out=out),
        "relu_backward": lambda: cpu.relu_backward(dy, x, out=out),
        "batch_norm": lambda: cpu.batch_norm(x, bias, bias, out=out),
        "batch_norm inference": lambda: cpu.batch_norm(
            x, bias, bias, mean=mean, variance=variance, out=out
        ),
        "batch_norm_backward": lambda: cpu.batch_norm_backward(dy, x, bias, mean, variance),
        "dropout": lambda: cpu.dropout(x, out=out),
        "dropout_backward": lambda: cpu.dropout_backward(dy, out=out),
        "softmax_cross_entropy": lambda: cpu.softmax_cross_entropy(logits, labels),
        "softmax_cross_entropy_backward": lambda: cpu.softmax_cross_entropy_backward(
            logits, labels
        ),
        "l2_loss": lambda: cpu.l2_loss(x),
        "l2_loss_backward": lambda: cpu.l2_loss_backward(x, out=out),
        "sgd_update": lambda: cpu.sgd_update(x, dy, out, learning_rate=0.0),
        "adam_update": lambda: cpu.adam_update(
            square, square.copy(), np.zeros_like(square), np.zeros_like(square), step=1
        ),
    }


def test_the_interpreter_lock_is_released_in_every_kernel() -> None:
    operators = {name for name in reference.__all__ if name != "conv2d_algorithms"}
    calls = _large_calls()
    assert {name.partition(" ")[0] for name in calls} == operators

    ticks, running = 0, True

    def tick() -> None:
        nonlocal ticks
        while running:
            ticks += 1
            time.sleep(0)  # gives the lock back, so that the main thread need not ask for it

    # With so long an interval nobody is made to give the lock back: the other thread can only
    # have run if the main thread, which does nothing but call the operator, released it.
    interval = sys.getswitchinterval()
    sys.setswitchinterval(60)
    ticker = threading.Thread(target=tick)
    ticker.start()
    try:
        for name, call in calls.items():
            for _ in range(100):  # the system may not have let it run the first time
                before = ticks
                call()
                if ticks > before:
                    break
            else:
                pytest.fail(f"{name} holds the interpreter lock")
    finally:
        running = False
        sys.setswitchinterval(interval)
        ticker.join()


@contextmanager
def _again_and_again(change: Callable[[], object]) -> Iterator[None]:
    """Make a change over and over, in a thread of its own, during the block."""
    done = threading.Event()

    def run() -> None:
        while not done.is_set():
            change()

    changer = threading.Thread(target=run)
    changer.start()
    try:
        yield
    finally:
        done.set()
        changer.join()


def _in_threads(bodies: list[Callable[[], None]]) -> None:
    """Run each body in a Python thread of its own; raise what any of them raised."""
    errors: list[BaseException] = []

    def guarded(body: Callable[[], None]) -> None:
        try:
            body()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def _worker(seed: int, check: Callable[[Any, Any], None], repeats: int) -> Callable[[], None]:
    """Calls on data of its own, each result compared with that of a call made alone."""
    x, weight = random_array(seed, 3, 12, 11, 17), random_array(seed + 50, 3, 3, 17, 21)
    dy, matrix = random_array(seed + 100, 3, 12, 11, 21), random_array(seed + 150, 1452, 33)
    rows = x[..., :11].reshape(3, -1)
    calls: list[Callable[[], Any]] = [
        lambda: cpu.conv2d(x, weight),
        lambda: cpu.conv2d(x, weight, algorithm="im2col"),
        lambda: cpu.conv2d_backward_input(dy, weight, x.shape),
        lambda: cpu.conv2d_backward_weight(dy, x, 3)[0],
        lambda: cpu.dense(rows, matrix),
        lambda: cpu.lrn_backward(x, x),
        lambda: cpu.batch_norm(x, np.ones(17, np.float32), np.zeros(17, np.float32))[0],
    ]
    expected = [call() for call in calls]

    def body() -> None:
        for _ in range(repeats):
            for call, result in zip(calls, expected, strict=True):
                check(call(), result)

    return body


def _same_bits(actual: Any, expected: Any) -> None:
    assert actual.tobytes() == expected.tobytes()


def _close(actual: Any, expected: Any) -> None:
    assert relative_error(actual, expected) <= 1e-5


def test_concurrent_calls_while_the_number_of_threads_changes() -> None:
    with _again_and_again(lambda: [alexnet.set_num_threads(count) for count in (1, 2, 3, 5, 8)]):
        _in_threads([_worker(seed, _same_bits, repeats=15) for seed in range(4)])


@pytest.mark.usefixtures("isa")
def test_concurrent_calls_while_the_instruction_set_changes() -> None:
    with _again_and_again(lambda: [alexnet.set_cpu_isa(isa) for isa in ISAS]):
        _in_threads([_worker(seed, _close, repeats=8) for seed in range(4)])


# --- fork -----------------------------------------------------------------------------------------

FORK = """
import multiprocessing, os, signal
import numpy as np
import alexnet

alexnet.set_num_threads(4)
random = np.random.default_rng(0)
x = random.standard_normal((6, 14, 14, 16), np.float32)
weight = random.standard_normal((3, 3, 16, 40), np.float32)

def results(_=None):
    y = alexnet.conv2d(x, weight)
    dweight, dbias = alexnet.conv2d_backward_weight(y, x, 3)
    return [a.tobytes() for a in (y, dweight, dbias, alexnet.lrn(x), alexnet.relu(x))]

expected = results()

def child():
    signal.alarm(60)  # ends a child that waits for ever
    return results() == expected and results() == expected
"""


def test_a_forked_child_computes_with_several_threads() -> None:
    code = (
        FORK
        + """
pid = os.fork()
if pid == 0:
    grandchild = os.fork()
    if grandchild == 0:
        os._exit(0 if child() else 1)
    fine = os.waitpid(grandchild, 0)[1] == 0
    os._exit(0 if child() and fine else 1)
assert os.waitpid(pid, 0)[1] == 0
assert results() == expected
print("fine")
"""
    )
    assert output_of(code) == "fine"


def test_a_pool_of_forked_processes() -> None:
    code = (
        FORK
        + """
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert pool.map(results, range(6)) == [expected] * 6
assert results() == expected
print("fine")
"""
    )
    assert output_of(code) == "fine"
