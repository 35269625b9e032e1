"""Choice of instruction set and threads, several Python threads, fork, and dispatch of arrays."""

from __future__ import annotations

import importlib.metadata
import os
import re
import sys
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import alexnet
from alexnet import cpu, reference, runtime
from alexnet.cli import main
from support.arrays import random_array, relative_error
from support.implementations import ISAS
from support.processes import output_of, python

OPENMP = alexnet.build_info()["openmp"]
PROCESSORS = sorted(os.sched_getaffinity(0))


def test_version_is_that_of_the_installed_package() -> None:
    assert alexnet.__version__ == importlib.metadata.version("alexnet")


# --- instruction sets -----------------------------------------------------------------------------

ALL_ISAS = ("avx512", "avx2", "portable")
MISSING = tuple(isa for isa in ALL_ISAS if isa not in alexnet.available_isas())


def test_available_isas_are_known_and_end_with_the_portable_one() -> None:
    available = alexnet.available_isas()
    assert available == tuple(isa for isa in ALL_ISAS if isa in available)
    assert available[-1] == "portable"


@pytest.mark.parametrize("isa", alexnet.available_isas())
def test_a_forced_isa_is_used(isa: str) -> None:
    code = (
        "import alexnet, numpy as np; print(alexnet.cpu_isa(), alexnet.relu(np.float32([-1, 2])))"
    )
    assert output_of(code, ALEXNET_ISA=isa) == f"{isa} [0. 2.]"


def test_the_best_isa_is_the_default() -> None:
    best = alexnet.available_isas()[0]
    code = "import alexnet; print(alexnet.cpu_isa())"
    assert output_of(code) == best
    assert output_of(code, ALEXNET_ISA="") == best


@pytest.mark.parametrize("isa", ["sse9", "AVX2", "avx2 ", *MISSING])
@pytest.mark.parametrize("use", ["alexnet.cpu_isa()", "alexnet.relu(np.zeros(3, np.float32))"])
def test_an_unknown_or_unsupported_isa_is_an_error_at_first_use(isa: str, use: str) -> None:
    result = python(f"import alexnet, numpy as np; {use}", ALEXNET_ISA=isa)
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith(f"ValueError: ALEXNET_ISA: instruction set '{isa}' is unknown or not")
    assert last.endswith("available here: " + ", ".join(alexnet.available_isas()))


def test_the_command_says_it_in_one_line() -> None:
    result = python(
        "from alexnet.cli import main; raise SystemExit(main(['info']))", ALEXNET_ISA="x"
    )
    assert result.returncode == 2
    assert result.stderr.startswith("alexnet: error: ALEXNET_ISA: instruction set 'x' is unknown")
    assert result.stderr.count("\n") == 1


def test_set_cpu_isa(isa: str) -> None:
    assert alexnet.cpu_isa() == isa
    with pytest.raises(ValueError, match=r"set_cpu_isa: name is 'sse9', expected one of .*portab"):
        alexnet.set_cpu_isa("sse9")
    assert alexnet.cpu_isa() == isa


# --- number of threads ----------------------------------------------------------------------------

PRINT_THREADS = "import alexnet; print(alexnet.get_num_threads())"


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, len(PROCESSORS)),
        ({"ALEXNET_NUM_THREADS": "", "OMP_NUM_THREADS": ""}, len(PROCESSORS)),
        ({"ALEXNET_NUM_THREADS": "3"}, 3),
        ({"OMP_NUM_THREADS": "5"}, 5),
        ({"OMP_NUM_THREADS": "4,2"}, 4),
        ({"OMP_NUM_THREADS": " 4 "}, 4),
        ({"OMP_NUM_THREADS": "\t3 , 2,1\n"}, 3),
        ({"ALEXNET_NUM_THREADS": " ", "OMP_NUM_THREADS": " 5"}, 5),
        ({"ALEXNET_NUM_THREADS": "3", "OMP_NUM_THREADS": "5"}, 3),
    ],
)
def test_threads_from_the_environment(variables: dict[str, str], expected: int) -> None:
    assert output_of(PRINT_THREADS, **variables) == str(expected if OPENMP else 1)


def test_threads_from_the_affinity() -> None:
    code = f"import os; os.sched_setaffinity(0, [{PROCESSORS[-1]}]); {PRINT_THREADS}"
    assert output_of(code) == "1"


BAD_THREADS = ["0", "-2", "two", "2.5", "3x", "4097", "99999999999999999999"]
BAD_THREADS += ["4,", ",4", "4,two", "4,0", "4 2", "4;2"]


@pytest.mark.parametrize("variable", ["ALEXNET_NUM_THREADS", "OMP_NUM_THREADS"])
@pytest.mark.parametrize("value", BAD_THREADS)
def test_a_bad_number_of_threads_is_an_error_at_first_use(variable: str, value: str) -> None:
    result = python(PRINT_THREADS, **{variable: value})
    assert result.returncode == 1
    expected = f"ValueError: {variable} is '{value}', expected an integer from 1 to 4096"
    assert result.stderr.strip().splitlines()[-1] == expected


def test_set_num_threads() -> None:
    for threads in (1, 3, np.int64(2), 4096):
        alexnet.set_num_threads(threads)  # type: ignore[arg-type]
        assert alexnet.get_num_threads() == (threads if OPENMP else 1)
    alexnet.set_num_threads(2)
    for bad in (0, -1, 4097, 2**70):
        with pytest.raises(ValueError, match=f"threads is {bad}, expected an integer from 1 to"):
            alexnet.set_num_threads(bad)
    for bad in (True, 1.5, "2", None):
        message = re.escape(f"set_num_threads: threads is {bad!r}, expected an integer")
        with pytest.raises(TypeError, match=message):
            alexnet.set_num_threads(bad)  # type: ignore[arg-type]
    assert alexnet.get_num_threads() == (2 if OPENMP else 1)


@pytest.mark.parametrize(
    ("missing", "reason"),
    [
        ("alexnet._cuda", "this build of alexnet has no CUDA kernels; to get them, install the "),
        ("cupy", 'CuPy is not installed; pip install "alexnet[cuda12]" or "alexnet[cuda13]", by'),
    ],
)
def test_what_cuda_lacks_is_said_where_it_is_asked_for(
    missing: str, reason: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(runtime, "find_spec", lambda name: None if name == missing else object())
    monkeypatch.delitem(sys.modules, "alexnet.cuda", raising=False)
    assert not alexnet.has_cuda()
    with pytest.raises(ImportError, match=f"^alexnet.cuda: {re.escape(reason)}"):
        _ = alexnet.cuda.relu
    with pytest.raises(NotImplementedError, match=f"^device is 'cuda', but {re.escape(reason)}"):
        alexnet.AlexNet("cifar10-bn", device="cuda")
    with pytest.raises(SystemExit, match="2"):
        main(["bench", "--device", "cuda"])
    assert reason in capsys.readouterr().err
    assert main(["info"]) == 0
    assert f"CUDA             none: {reason}" in capsys.readouterr().out


def test_cuda_without_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_driver() -> int:
        raise RuntimeError("no driver")

    counts = {
        "no CUDA device is visible": lambda: 0,
        "no CUDA device can be used: no driver": no_driver,
    }
    monkeypatch.setattr(runtime, "find_spec", lambda _: object())
    for reason, count in counts.items():
        cuda = SimpleNamespace(runtime=SimpleNamespace(getDeviceCount=count))
        monkeypatch.setattr(runtime, "import_module", lambda _, c=cuda: SimpleNamespace(cuda=c))
        assert alexnet.cuda_obstacle() == reason


def test_an_unknown_device_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^device is 'gpu', expected 'cpu' or 'cuda'$"):
        alexnet.AlexNet("cifar10-bn", device="gpu")


def test_an_import_asks_for_nothing_of_cuda() -> None:
    code = (
        "import sys, pathlib, alexnet\n"
        "assert not {'cupy', 'torch'} & sys.modules.keys()\n"
        "assert 'libcuda' not in pathlib.Path('/proc/self/maps').read_text()\n"
        "print('fine')"
    )
    assert output_of(code, CUDA_VISIBLE_DEVICES="") == "fine"


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
    done = threading.Event()

    def change() -> None:
        while not done.is_set():
            for threads in (1, 2, 3, 5, 8):
                alexnet.set_num_threads(threads)

    changer = threading.Thread(target=change)
    workers = [_worker(seed, _same_bits, repeats=15) for seed in range(4)]
    changer.start()
    try:
        _in_threads(workers)
    finally:
        done.set()
        changer.join()


@pytest.mark.usefixtures("isa")
def test_concurrent_calls_while_the_instruction_set_changes() -> None:
    done = threading.Event()

    def change() -> None:
        while not done.is_set():
            for isa in ISAS:
                alexnet.set_cpu_isa(isa)

    changer = threading.Thread(target=change)
    workers = [_worker(seed, _close, repeats=8) for seed in range(4)]
    changer.start()
    try:
        _in_threads(workers)
    finally:
        done.set()
        changer.join()


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


# --- dispatch -------------------------------------------------------------------------------------


def test_operators_dispatch_numpy_arrays_to_the_cpu() -> None:
    x = random_array(1, 2, 5, 5, 3)
    _same_bits(alexnet.lrn(x), cpu.lrn(x))
    _same_bits(alexnet.relu(x=x), cpu.relu(x))


def test_operators_refuse_other_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "find_spec", lambda _: None)
    cupy_array = SimpleNamespace(__cuda_array_interface__={}, shape=(1, 3, 3, 2))
    message = (
        "conv2d: x is on a CUDA device, but this build of alexnet has no CUDA kernels; to get "
        "them, install the CUDA toolkit (nvcc, version 12 or 13) and install alexnet again from "
        "its sources; or pass a NumPy array"
    )
    with pytest.raises(NotImplementedError, match=f"^{re.escape(message)}$"):
        alexnet.conv2d(cupy_array, random_array(1, 3, 3, 2, 2))
    with pytest.raises(TypeError, match=r"^relu: x is of type list, expected a numpy\.ndarray, or"):
        alexnet.relu([1.0])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^max_pool2d: x is of type array\.array, expected a num"):
        alexnet.max_pool2d(__import__("array").array("f", [1.0]))
    with pytest.raises(TypeError, match=r"^dense: x is of type NoneType, expected a numpy\.nda"):
        alexnet.dense(weight=random_array(1, 2, 2))  # type: ignore[call-arg]
