"""A rung of the reader's own: a file to fill in, its compilation, and a careful first run.

A rung is C++ that may do anything. So it runs in a process of its own first, on the same problem:
one that crashes, never ends or writes outside of its result is refused before it is called here.
"""

from __future__ import annotations

import ctypes
import json
import math
import multiprocessing
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from alexnet.files import check_absent, replacing
from alexnet.messages import described
from alexnet.study.ladders import Ladder
from alexnet.study.problem import Problem
from alexnet.study.rungs import Rung, module, rung_in, rungs_of, sources

COMPILER = "g++"  # unless CXX says otherwise
COMPILING = 120.0  # seconds that the compiler may take
# Seconds that the first run may take to start and to draw the arrays, and the rates at which it
# works after that: a fifth of what the slowest rung 0 does on a Xeon (docs/study/results).
STARTING, SLOWEST_FLOPS, SLOWEST_BYTES = 15.0, 5e7, 5e6
PATIENCE = 8.0  # of them until it is said what is waited for
GUARD = 4096  # floats before and after the result of the first run
SENTINEL = np.float32(-12345.678)  # what they hold
# Exit statuses of its process, and what they say.
NO_RUNG, BEFORE, BEHIND, OPERAND = 3, 4, 5, 6
FAULTS = {
    NO_RUNG: 'it has no RUNG(...), or does not include "study.h"',
    BEFORE: "it writes outside of its result, before the first element",
    BEHIND: "it writes outside of its result, behind the last element",
    OPERAND: "it writes outside of its result, to an array that it is to read",
}
SIGNALS = {  # what usually makes the system end a process by them
    signal.SIGABRT: "an exception, abort(), or memory of the C library that was written over",
    signal.SIGBUS: "an address where there is no memory",
    signal.SIGFPE: "a division of integers by zero",
    signal.SIGILL: "an instruction that this processor has not, or the end of a function missed",
    signal.SIGSEGV: "an index or a pointer that leads out of all arrays, or a stack that is full",
}

TEMPLATE = """\
// {title}
//
// Change: what is different from the rung before, or from rung 0.
// Why: what the processor does better with it.
// Predicted: 2 times: the arithmetic that says so. Write it before you measure.
// Gained: what it was, and why the prediction was wrong.

#include "study.h"

{body}"""


def write(path: Path, ladder: Ladder) -> None:
    """Write a file to fill in: rung 0 of the ladder, which is right, under another title.

    Raises
    ------
    OSError
        There is a file of that name, or it can't be written.
    """
    check_absent(path)
    naive = rungs_of(ladder)[0].source.read_text(encoding="utf-8")
    body = naive.partition('#include "study.h"\n\n')[2]
    title = f"{path.stem.replace('_', ' ')}: a rung of {ladder.name}, which begins as rung 0."
    with replacing(path) as file:
        file.write(TEMPLATE.format(title=title, body=body).encode())


def time_to_run(problem: Problem) -> float:
    """Seconds that the first run of a rung may take, of one image and of all of a problem's."""
    work = problem.flops / SLOWEST_FLOPS + problem.bytes / SLOWEST_BYTES
    return STARTING + work * (1 + 1 / problem.case.batch_size)


def prepared(
    path: Path,
    problem: Problem,
    number: int,
    *,
    isa: str,
    threads: int,
    folder: Path,
    on_wait: Callable[[str], None] = lambda _: None,
) -> Rung:
    """Compile a file into `folder`, run it once in a process of its own, and load it.

    `on_wait` is told what is waited for, in a sentence, where the run is not over after a while.

    Raises
    ------
    NotCompiledError
        It does not compile; the compiler's messages come with it.
    ValueError
        There is no compiler, the header is not that of a rung, its function is one of another
        ladder, or the first run came to no end.
    OSError
        It can't be read.
    """
    rung = rung_in(problem.ladder, number, path, {})
    _check_function(path, problem.ladder)
    library = folder / f"{number:02d}_{path.stem}.so"
    _compile(path, isa, library)
    _try(path, library, isa, problem, threads, on_wait)
    return _loaded(rung, library, isa)


def _check_function(path: Path, ladder: Ladder) -> None:
    """Refuse a function that gets another shape, or another number of arrays, than the ladder's."""
    given, expected = _function(path), _function(rungs_of(ladder)[0].source)
    assert expected is not None
    if given is not None and given[1:] != expected[1:]:
        raise ValueError(
            f"{path}: its function is {given[0]}, expected one of {ladder.name}: {expected[0]}"
        )


def _function(source: Path) -> tuple[str, str, int] | None:
    """Find a rung's parameters as they stand there, their structure, and their number."""
    text = re.sub(r"//[^\n]*|/\*.*?\*/", "", source.read_text("utf-8"), flags=re.DOTALL)
    found = re.search(r"\bRUNG\s*\(([^()]*)\)\s*\{", text)
    structure = re.search(r"\b[A-Z]\w*", found[1].partition(",")[0]) if found else None
    if found is None or structure is None:  # the compiler has a say as well
        return None
    parameters = " ".join(found[1].split())
    return f"RUNG({parameters})", structure[0], parameters.count(",")


class NotCompiledError(ValueError):
    """A file that the compiler refuses; `lines` are what it said."""

    def __init__(self, path: Path, messages: str) -> None:
        self.lines = messages.splitlines()
        reasons = (line for line in self.lines if re.search(r"error: |undefined reference", line))
        first = next(reasons, "(the compiler gives no reason)")
        super().__init__(f"{path} does not compile: {first}")


def _compile(path: Path, isa: str, library: Path) -> None:
    options = json.loads((sources() / "flags.json").read_text(encoding="utf-8"))[isa]
    command = [
        *shlex.split(os.environ.get("CXX") or COMPILER),
        *options,
        *("-DALEXNET_RUNG=own", f"-I{sources()}", "-shared", "-fPIC", "-Wl,--no-undefined"),
        *(str(path.resolve()), str(sources() / "study.cpp"), "-o", str(library)),
    ]
    try:
        done = subprocess.run(  # noqa: S603 - the compiler that the user has chosen
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=COMPILING,
            check=False,
        )
    except OSError as error:
        raise ValueError(
            f"no compiler: {described(error)}; install g++, or say in CXX which one to use"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise ValueError(f"{path}: compiling it took more than {COMPILING:.0f} s") from error
    if done.returncode != 0:
        raise NotCompiledError(path, done.stderr)


def _try(
    path: Path,
    library: Path,
    isa: str,
    problem: Problem,
    threads: int,
    on_wait: Callable[[str], None],
) -> None:
    limit = time_to_run(problem)
    process = multiprocessing.get_context("spawn").Process(
        target=_first_run, args=(library, isa, problem, threads)
    )
    process.start()
    try:
        process.join(min(PATIENCE, limit))
        if process.is_alive():
            on_wait(f"{path}: still in its first run, which ends after {limit:.0f} s, or by Ctrl-C")
            process.join(max(0.0, limit - PATIENCE))
        in_time = not process.is_alive()
    finally:  # of a Ctrl-C as well, which an endless loop does not hear
        process.kill()
        process.join()
    if not in_time:
        raise ValueError(
            f"{path}: its first run took more than {limit:.0f} s: is there a loop without end?"
        )
    status = process.exitcode or 0
    if status in FAULTS:
        raise ValueError(f"{path}: {FAULTS[status]}")
    if status < 0:
        number = signal.Signals(-status)
        why = f": {SIGNALS[number]}" if number in SIGNALS else ""
        raise ValueError(f"{path}: its first run was ended by {number.name}{why}")
    if status > 0:
        raise ValueError(f"{path}: its first run ended with status {status}")


def _first_run(library: Path, isa: str, problem: Problem, threads: int) -> None:
    """Call a library's rung for one image and for all, between guards; runs in its own process."""
    try:
        call, set_num_threads = _functions(library, isa)
    except AttributeError:
        sys.exit(NO_RUNG)
    set_num_threads(threads)
    for size in sorted({1, problem.case.batch_size}):
        sized = problem.with_batch_size(size)
        operands = sized.operands()
        before = [operand.copy() for operand in operands]
        count = math.prod(sized.result_shape)
        memory = np.full(count + 2 * GUARD, SENTINEL, np.float32)
        module().call(call, sized.shape, [*operands, memory[GUARD : GUARD + count]])
        kept = {
            OPERAND: all(map(np.array_equal, operands, before)),
            BEFORE: (memory[:GUARD] == SENTINEL).all(),
            BEHIND: (memory[GUARD + count :] == SENTINEL).all(),
        }
        for fault, is_kept in kept.items():
            if not is_kept:
                os._exit(fault)  # nothing that is left of this process can be relied on


def _functions(library: Path, isa: str) -> tuple[int, Callable[[int], object]]:
    """Address of a library's rung, and what tells it its number of threads."""
    functions = ctypes.CDLL(str(library))
    address = ctypes.cast(functions[f"alexnet_study_own_{isa}"], ctypes.c_void_p).value
    assert address is not None
    return address, functions.alexnet_study_set_threads


def _loaded(rung: Rung, library: Path, isa: str) -> Rung:
    address, set_num_threads = _functions(library, isa)
    return replace(rung, functions={isa: address}, set_num_threads=set_num_threads)
