"""Teams of threads: who is waited for, how long they live, and what a crowded machine changes."""

from __future__ import annotations

import os

import pytest

import alexnet
from support.processes import output_of

pytestmark = pytest.mark.skipif(
    not alexnet.build_info()["openmp"], reason="a build without OpenMP has one thread"
)
PROCESSORS = sorted(os.sched_getaffinity(0))
two_processors = pytest.mark.skipif(len(PROCESSORS) < 2, reason="takes two processors")

BEGINNING = """
import os, subprocess, sys, threading, time
from statistics import median
import numpy as np
import alexnet

random = np.random.default_rng(0)
x = random.standard_normal((4, 32, 32, 32), np.float32)
weight = random.standard_normal((3, 3, 32, 32), np.float32)

def tasks():
    return set(os.listdir("/proc/self/task"))

def started(call):
    before = tasks()
    call()
    return tasks() - before

def kernels():
    y = alexnet.conv2d(x, weight)
    gradients = alexnet.conv2d_backward_weight(y, x, 3)
    return b"".join(a.tobytes() for a in (y, alexnet.relu(y), *gradients))

def seconds(count):
    times = []
    for _ in range(count):
        begin = time.perf_counter()
        kernels()
        times.append(time.perf_counter() - begin)
    return median(times)

alexnet.set_num_threads(1)
expected = kernels()
"""
# A process that keeps a processor busy for as long as this one lives.
BUSY = """
busy = "import os, sys\\nprint(flush=True)\\nwhile os.getppid() == int(sys.argv[1]): pass"

def start_busy(count):
    for _ in range(count):
        command = [sys.executable, "-c", busy, str(os.getpid())]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
        process.stdout.readline()
        yield process
"""


@two_processors
def test_a_member_that_the_system_does_not_let_run_holds_nobody_up() -> None:
    code = f"""
{BEGINNING}{BUSY}
own, other = {PROCESSORS[0]}, {PROCESSORS[1]}
os.sched_setaffinity(0, [own])
alone = seconds(20)
alexnet.set_num_threads(2)
(member,) = started(kernels)
os.sched_setaffinity(int(member), [other])
os.sched_setscheduler(int(member), os.SCHED_IDLE, os.sched_param(0))
time.sleep(0.05)  # it sleeps by now
for process in start_busy(1):
    os.sched_setaffinity(process.pid, [other])
time.sleep(0.1)
slowest = seconds(60) / alone
process.kill()
assert kernels() == expected
print(slowest)
"""
    # The member has some 3 of 1000 parts of its processor.
    assert float(output_of(code)) < 2


def test_threads_end_with_the_one_that_called_for_them() -> None:
    code = f"""
{BEGINNING}
alexnet.set_num_threads(4)
before, during, results = tasks(), set(), []

def run():
    results.append(kernels())
    during.update(tasks())

for _ in range(3):
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
end = time.monotonic() + 60  # Python is done with a thread before the system is
while tasks() != before and time.monotonic() < end:
    time.sleep(0.01)
print(len(during - before) >= 4, tasks() == before, results == [expected] * 3)
"""
    assert output_of(code) == "True True True"


def test_a_forked_child_starts_its_threads_once() -> None:
    code = f"""
{BEGINNING}
alexnet.set_num_threads(3)
assert kernels() == expected
pid = os.fork()
if pid == 0:
    new = started(kernels)
    fine = len(new) == 2 and not started(kernels) and kernels() == expected
    os._exit(0 if fine else 1)
assert os.waitpid(pid, 0)[1] == 0
assert not started(kernels)
print(kernels() == expected)
"""
    assert output_of(code) == "True"


def test_a_crowded_machine_calls_the_reserve_which_computes_the_same() -> None:
    code = f"""
{BEGINNING}{BUSY}
os.sched_setaffinity(0, [{PROCESSORS[0]}])
alexnet.set_num_threads(2)
assert len(started(kernels)) == 1
team = tasks()
crowd = list(start_busy(6))
end = time.monotonic() + 60
while len(tasks()) == len(team) and time.monotonic() < end:
    assert kernels() == expected
for _ in range(200):
    assert kernels() == expected
print(len(tasks()) - len(team))
alexnet.set_num_threads(3)
assert kernels() == expected
print(len(tasks()) - len(team))
for process in crowd:
    process.kill()
"""
    assert output_of(code).split() == ["5", "1"]


@two_processors
def test_where_openmp_binds_threads_a_member_has_another_place_than_its_caller() -> None:
    code = f"""
{BEGINNING}
os.sched_setaffinity(0, [{PROCESSORS[0]}])
alexnet.set_num_threads(2)
new = started(kernels)
assert kernels() == expected
print({{{PROCESSORS[1]}}} in [os.sched_getaffinity(int(task)) for task in new])
"""
    places = ",".join(f"{{{processor}}}" for processor in PROCESSORS[:2])
    assert output_of(code, OMP_PROC_BIND="true", OMP_PLACES=places) == "True"
