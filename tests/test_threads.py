"""What callers and systems do to threads: arithmetic, limits, waiting, and ends of interpreters."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import alexnet
from alexnet import cpu, reference
from support.arithmetic import ARITHMETICS, arithmetic
from support.arrays import random_array
from support.processes import output_of, python

GNU_OPENMP = alexnet.build_info()["openmp"] and alexnet.build_info()["compiler"].startswith("g++")

# --- the caller's arithmetic ----------------------------------------------------------------------


def _calls() -> dict[str, Callable[[], Any]]:
    """Every operator, with several threads at work and subnormal numbers on the way."""
    x, dy = random_array(1, 4, 28, 28, 64, scale=1e-20), random_array(2, 4, 28, 28, 64, scale=1e-20)
    images, dimages = x[:, :10, :10, :32], dy[:, :10, :10, :32]
    weight, bias = random_array(3, 3, 3, 32, 32, scale=1e-19), random_array(4, 64, scale=1e-39)
    matrix, square = random_array(5, 64, 512, scale=1e-20), random_array(6, 512, 512, scale=1e-20)
    small, dsmall = x * np.float32(1e-19), dy * np.float32(1e-19)
    pooled = random_array(7, 4, 13, 13, 64, scale=1e-39)
    logits, labels = random_array(8, 256, 200, scale=40), np.arange(256) % 200
    mean, variance = random_array(9, 64, scale=1e-39), np.full(64, 1e-39, np.float32)
    scaled = {"bias": 1.3, "alpha": 0.7, "beta": 0.8}  # no float32 has these values
    calls: dict[str, Callable[[], Any]] = {
        "dense": lambda: cpu.dense(matrix, square),
        "dense_backward_input": lambda: cpu.dense_backward_input(matrix, square),
        "dense_backward_weight": lambda: cpu.dense_backward_weight(matrix, matrix),
        "lrn": lambda: cpu.lrn(small, **scaled),
        "lrn_backward": lambda: cpu.lrn_backward(dsmall, small, **scaled),
        "max_pool2d": lambda: cpu.max_pool2d(small),
        "max_pool2d_backward": lambda: cpu.max_pool2d_backward(pooled, small),
        "relu": lambda: cpu.relu(small),
        "relu_backward": lambda: cpu.relu_backward(dsmall, small),
        "batch_norm": lambda: cpu.batch_norm(small, bias, bias),
        "batch_norm inference": lambda: cpu.batch_norm(
            small, bias, bias, mean=mean, variance=variance
        ),
        "batch_norm_backward": lambda: cpu.batch_norm_backward(small, small, bias, mean, variance),
        "dropout": lambda: cpu.dropout(small, rate=0.5),
        "dropout_backward": lambda: cpu.dropout_backward(dsmall, rate=0.5),
        "softmax_cross_entropy": lambda: cpu.softmax_cross_entropy(logits, labels),
        "softmax_cross_entropy_backward": lambda: cpu.softmax_cross_entropy_backward(
            logits, labels
        ),
        "l2_loss": lambda: cpu.l2_loss(x),
        "l2_loss_backward": lambda: cpu.l2_loss_backward(small),
        "sgd_update": lambda: _updated(cpu.sgd_update, small, dsmall, 1, learning_rate=0.1),
        "adam_update": lambda: _updated(cpu.adam_update, x, dy, 2, step=3),
    }
    for algorithm in cpu.conv2d_algorithms():
        how = {"algorithm": algorithm}
        calls |= {
            f"conv2d {algorithm}": lambda how=how: cpu.conv2d(images, weight, bias[:32], **how),
            f"conv2d_backward_input {algorithm}": lambda how=how: cpu.conv2d_backward_input(
                dimages, weight, images.shape, **how
            ),
            f"conv2d_backward_weight {algorithm}": lambda how=how: cpu.conv2d_backward_weight(
                dimages, images, 3, **how
            ),
        }
    return calls


def _updated(update: Callable[..., Any], x: Any, dx: Any, states: int, **how: Any) -> Any:
    arrays = [x.copy(), dx, *(abs(dx) for _ in range(states))]
    update(*arrays, **how)
    return arrays


def _bits(results: Any) -> list[bytes]:
    several = results if isinstance(results, tuple | list) else [results]
    return [np.asarray(result).tobytes() for result in several]


@pytest.mark.parametrize("kind", ARITHMETICS)
def test_results_do_not_depend_on_the_callers_arithmetic(kind: str) -> None:
    calls = _calls()
    operators = {name for name in reference.__all__ if name != "conv2d_algorithms"}
    assert {name.partition(" ")[0] for name in calls} == operators
    alexnet.set_num_threads(3)
    expected = {name: _bits(call()) for name, call in calls.items()}  # the workers exist from here
    for threads in (1, 2, 3):
        alexnet.set_num_threads(threads)
        with arithmetic(kind):
            actual = {name: _bits(call()) for name, call in calls.items()}
        assert [name for name in calls if actual[name] != expected[name]] == [], threads


@pytest.mark.parametrize("kind", ARITHMETICS)
def test_a_networks_results_do_not_depend_on_the_callers_arithmetic(kind: str) -> None:
    network = alexnet.AlexNet("cifar10-bn", seed=1)
    x = random_array(1, 3, 32, 32, 3)

    def step() -> list[bytes]:
        y = network.forward(x, training=True)
        return _bits([y, *network.backward(y * np.float32(1e-35)).values()])

    alexnet.set_num_threads(3)
    expected = step()
    for threads in (1, 2, 3):
        alexnet.set_num_threads(threads)
        with arithmetic(kind):
            y = network.forward(x, training=True)
        dy = y * np.float32(1e-35)  # NumPy's own product is no matter of ours
        with arithmetic(kind):
            gradients = network.backward(dy)
        assert _bits([y, *gradients.values()]) == expected, threads


def test_workers_started_by_a_caller_without_subnormals_compute_with_them() -> None:
    code = """
import ctypes, sys
import numpy as np
import alexnet
from support.arithmetic import arithmetic

x = np.full((1 << 20,), 1e-39, np.float32)
alexnet.set_num_threads(3)
with arithmetic("without subnormals"):
    first = alexnet.dropout(x, rate=0.0).tobytes()
assert first == x.tobytes() == alexnet.dropout(x, rate=0.0).tobytes()
print("fine")
"""
    assert output_of(code) == "fine"


def test_a_callers_traps_do_not_end_a_kernel() -> None:
    code = """
import ctypes, numpy as np, alexnet
alexnet.set_num_threads(2)
x, weight = np.full((64, 512), np.inf, np.float32), np.zeros((512, 512), np.float32)
if ctypes.CDLL("libm.so.6").feenableexcept(1) == -1:  # invalid operations; not on every processor
    print("no traps")
y = alexnet.dense(x, weight)
ctypes.CDLL("libm.so.6").fedisableexcept(1)
assert np.isnan(y).all()
print("fine")
"""
    assert output_of(code).endswith("fine")


# --- threads that can't be started ----------------------------------------------------------------

LIMITED = """
import os, resource
import numpy as np
import alexnet

x = np.random.default_rng(0).standard_normal(1 << 20, np.float32)
out = np.empty_like(x)
expected = np.maximum(x, 0)

def fine():
    out.fill(1)
    return bool((alexnet.relu(x, out=out) == expected).all())

def tasks():
    return len(os.listdir("/proc/self/task"))

def allow_tasks(most):  # of this user, who runs nothing else; the limit does not hold for root
    resource.setrlimit(resource.RLIMIT_NPROC, (most, most))
    if os.geteuid() == 0:
        os.setuid(54321)

alexnet.set_num_threads(2)
assert fine()
alexnet.set_num_threads(6)
"""
OPENMP = alexnet.build_info()["openmp"]


def _limited(code: str) -> str:
    return output_of(LIMITED + code, OPENBLAS_NUM_THREADS="1")


def test_fewer_threads_where_the_user_may_have_no_more_processes() -> None:
    code = """
root = os.geteuid() == 0
before = tasks()
allow_tasks(before + 2 if root else 1)
assert fine() and fine()
print(tasks() - before)
alexnet.set_num_threads(50)
assert fine()
print(tasks() - before)
"""
    more = "2" if OPENMP and _is_root() else "0"
    assert _limited(code).split() == [more, more]


def _is_root() -> bool:
    return output_of("import os; print(os.geteuid())") == "0"


def test_fewer_threads_where_there_is_no_address_space_for_their_stacks() -> None:
    code = """
before = tasks()
pages = int(open("/proc/self/statm").read().split()[0])
stack = resource.getrlimit(resource.RLIMIT_STACK)[0]
most = pages * resource.getpagesize() + 2 * stack + stack // 2
resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))
assert fine() and fine()
print(tasks() - before)
"""
    start = f"""
import os, resource, sys
resource.setrlimit(resource.RLIMIT_STACK, (8 << 20, resource.getrlimit(resource.RLIMIT_STACK)[1]))
os.execv(sys.executable, [sys.executable, "-c", {LIMITED + code!r}])
"""
    result = python(start, OPENBLAS_NUM_THREADS="1")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.strip() == ("2" if OPENMP else "0")


def test_threads_that_begin_at_once_count_what_there_is_one_after_the_other() -> None:
    code = """
import threading

alexnet.set_num_threads(5)
begin = threading.Barrier(8)
results = []

def run():
    own = np.empty_like(x)
    begin.wait()
    results.append(bool((alexnet.relu(x, out=own) == expected).all()))
    begin.wait()

threads = [threading.Thread(target=run) for _ in range(8)]
allow_tasks(tasks() + 8 + 12)
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(len(results), all(results))
"""
    assert _limited(code).split() == ["8", "True"]


def test_a_team_that_grows_again_counts_what_there_is_then() -> None:
    code = """
assert fine()
alexnet.set_num_threads(2)
assert fine()
few = tasks()
allow_tasks(few)
alexnet.set_num_threads(6)
assert fine()
print(tasks() - few)
"""
    assert _limited(code) == "0"


def test_a_kernel_that_needs_fewer_threads_ends_none() -> None:
    code = """
def started():
    return set(os.listdir("/proc/self/task"))

assert fine()
before = started()
assert alexnet.relu(x[: 1 << 16]).any()  # for two threads
assert fine()
print(started() == before, len(before))
"""
    same, count = _limited(code).split()
    assert (same, int(count) >= (6 if OPENMP else 1)) == ("True", True)


def test_a_forked_child_that_can_start_no_thread_computes_alone() -> None:
    code = """
pid = os.fork()
if pid == 0:
    allow_tasks(1)
    os._exit(0 if fine() and fine() and tasks() == 1 else 1)
print(os.waitpid(pid, 0)[1])
"""
    assert _limited(code) == "0"


# --- waiting at barriers --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variables", "spins"),
    [
        ({}, "5000"),
        ({"GOMP_SPINCOUNT": "77"}, "77"),
        ({"OMP_WAIT_POLICY": "passive"}, "0"),
        ({"OMP_WAIT_POLICY": "active"}, "30000000000"),
        ({"OMP_WAIT_POLICY": "active", "GOMP_SPINCOUNT": "77"}, "77"),
    ],
)
def test_threads_wait_briefly_unless_the_user_says_otherwise_and_nobody_else_sees_it(
    variables: dict[str, str], spins: str
) -> None:
    code = """
import ctypes, os, subprocess

def environments():
    getenv = ctypes.CDLL(None).getenv
    getenv.restype = ctypes.c_char_p
    children = [subprocess.run(["env", "-0"], capture_output=True, env=environment).stdout
                for environment in (None, os.environ)]
    return dict(os.environ), getenv(b"GOMP_SPINCOUNT"), getenv(b"OMP_WAIT_POLICY"), children

before = environments()
import alexnet
assert environments() == before
print("same")
"""
    result = python(code, OMP_DISPLAY_ENV="verbose", **variables)
    assert (result.returncode, result.stdout) == (0, "same\n"), result.stderr
    said = [line.split("'")[1] for line in result.stderr.splitlines() if "GOMP_SPINCOUNT" in line]
    assert said == ([spins] if GNU_OPENMP else [])


def test_sources_without_their_compiled_module_say_that_they_are_not_built(tmp_path: Path) -> None:
    package = Path(alexnet.__file__).parent
    ignored = shutil.ignore_patterns("*.so", "__pycache__")
    shutil.copytree(package, tmp_path / "alexnet", ignore=ignored)
    archive = shutil.make_archive(str(tmp_path / "sources"), "zip", tmp_path, "alexnet")
    for folder in (str(tmp_path), archive):
        # Without the hooks of an editable installation, which would find the module elsewhere.
        code = f"""
import sys
sys.meta_path[:] = [each for each in sys.meta_path if isinstance(each, type)]
sys.path.insert(0, {folder!r})
import alexnet
"""
        result = python(code)
        assert result.stderr.splitlines()[-1] == (
            f"ImportError: alexnet is not built: there is no compiled module _cpu in "
            f"{folder}/alexnet; run pip install . in the root of its sources, and Python "
            "elsewhere than in their folder python/"
        )


# --- interpreters ---------------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["", "import alexnet"])
@pytest.mark.parametrize("name", ["alexnet", "alexnet.reference"])
def test_an_import_in_a_sub_interpreter_is_refused(first: str, name: str) -> None:
    code = f"""
{first}
try:
    import _interpreters as interpreters
except ModuleNotFoundError:
    import _xxsubinterpreters as interpreters
interpreters.run_string(interpreters.create(), '''
try:
    import {name}
except ImportError as error:
    print(error, flush=True)
''')
import alexnet, numpy
print(alexnet.relu(numpy.float32([-1, 2])))
"""
    message = (
        "alexnet can only be imported in the main interpreter of a process, and this is a "
        "sub-interpreter, which its compiled module and NumPy do not support; use a process of "
        "its own"
    )
    assert output_of(code).splitlines() == [message, "[0. 2.]"]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("daemons", [1, 4])
def test_daemon_threads_in_kernels_let_the_process_end(threads: int, daemons: int) -> None:
    code = f"""
import threading, time
import numpy as np
import alexnet

alexnet.set_num_threads({threads})
x, weight = np.ones((2, 28, 28, 64), np.float32), np.ones((3, 3, 64, 64), np.float32)
running = threading.Semaphore(0)

def work():
    alexnet.conv2d(x, weight)
    running.release()
    while True:
        alexnet.conv2d(x, weight)

for _ in range({daemons}):
    threading.Thread(target=work, daemon=True).start()
for _ in range({daemons}):
    running.acquire()
"""
    for _ in range(3):
        result = python(code)
        assert (result.returncode, result.stderr) == (0, "")
