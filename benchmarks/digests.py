"""Digests of everything that the CPU kernels compute, to show that a change leaves every bit.

    python benchmarks/digests.py > before.json         # in the version before
    python benchmarks/digests.py --compare before.json  # in the version after, on the same machine

SHA-256 of every result of every operator on the shapes of `odd_shapes`, and of the outputs and
gradients of every variant, two images at a time: for each instruction set, by each algorithm of
convolution, with one thread and with two. With --compare, lists what differs and exits with status
1 if anything does. It stands beside the benchmarks, not the tests, because there is no right value
to hold it to: compilers may order the portable kernels' sums as they like, so only two versions
on one machine can be compared.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import alexnet
from alexnet.random import Generator
from alexnet.verification import odd_shapes

SEED = 0
THREADS = (1, 2)
BATCH_SIZE = 2
STEPS = 2  # the second makes the calls of the first again from their recording
SEPARATOR = " | "

Digests = dict[str, str]


def digest(*arrays: Any) -> str:
    """SHA-256 of shapes, dtypes and bytes."""
    state = hashlib.sha256()
    for array in map(np.ascontiguousarray, arrays):
        state.update(f"{array.shape} {array.dtype.str} ".encode())
        state.update(array.data)
    return state.hexdigest()


def operator_digests(part: str) -> Iterator[tuple[str, str]]:
    """Digests of the operators whose names contain `part`, by what they are of."""
    for call in odd_shapes.calls(Generator(SEED)):
        if part not in call.operator:
            continue
        algorithms = ("",)
        if call.operator.startswith("conv2d"):
            algorithms = ("auto", *alexnet.conv2d_algorithms())
        for algorithm in algorithms:
            how = f"{call.case} {algorithm}".rstrip()
            yield f"{call.operator}{SEPARATOR}{how}", _digest_of_call(call, algorithm)


def _digest_of_call(call: odd_shapes.Call, algorithm: str) -> str:
    """Digest of the results and, as updates change them, of the arguments after the call."""
    given = [a.copy() if isinstance(a, np.ndarray) else a for a in call.arguments]
    chosen = {"algorithm": algorithm} if algorithm else {}
    try:
        results = getattr(alexnet, call.operator)(*given, **call.options, **chosen)
    except ValueError as refusal:
        if "cannot serve" in str(refusal):  # an algorithm not made for this shape
            return "cannot serve"
        raise
    results = results if isinstance(results, tuple) else (results,)
    computed = [result for result in results if result is not None]
    return digest(*computed, *(array for array in given if isinstance(array, np.ndarray)))


class NetworkDigests:
    """Digests of one network's steps; its parameters are drawn once for all ways to run it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._network = alexnet.AlexNet(name, seed=SEED)
        self._start = {key: array.copy() for key, array in self._network.state.items()}
        draw = Generator(SEED + 1).normal
        self._x = draw((BATCH_SIZE, *self._network.input_shape)).astype(np.float32)
        self._dy = draw((BATCH_SIZE, *self._network.output_shape)).astype(np.float32)

    def __call__(self) -> Iterator[tuple[str, str]]:
        """Output in inference; outputs, gradients and state of steps in training."""
        network = self._network
        network.assign({**network.parameters, **self._start})
        yield f"{self.name}{SEPARATOR}inference", digest(network.forward(self._x))
        for step in range(1, STEPS + 1):
            subject = f"{self.name}{SEPARATOR}step {step}"
            yield f"{subject} output", digest(network.forward(self._x, training=True))
            for key, array in network.backward(self._dy, input_gradient=True).items():
                yield f"{subject} gradient of {key}", digest(array)
        for key, array in network.state.items():
            yield f"{self.name}{SEPARATOR}{key}", digest(array)


def all_digests(part: str) -> Digests:
    """Digests of operators and variants whose names contain `part`, on every instruction set."""
    digests: Digests = {}
    before = alexnet.cpu_isa(), alexnet.get_num_threads()
    try:
        for run in _subjects(part):
            for isa in alexnet.available_isas():
                alexnet.set_cpu_isa(isa)
                for threads in THREADS:
                    alexnet.set_num_threads(threads)
                    how = f"{SEPARATOR}{isa}{SEPARATOR}threads {threads}"
                    digests |= {f"{what}{how}": value for what, value in run()}
    finally:
        alexnet.set_cpu_isa(before[0])
        alexnet.set_num_threads(before[1])
    return digests


def _subjects(part: str) -> Iterator[Callable[[], Iterator[tuple[str, str]]]]:
    """All operators together, then one network after the other, as each is large."""
    yield partial(operator_digests, part)
    for name in alexnet.variants():
        if part in name:
            yield NetworkDigests(name)


def differences(before: Digests, after: Digests) -> list[str]:
    """One line for each result that differs, or that only one of both has."""
    lines = []
    for what in sorted(before.keys() | after.keys()):
        if what not in after:
            lines.append(f"only before: {what}")
        elif what not in before:
            lines.append(f"only now: {what}")
        elif before[what] != after[what]:
            lines.append(f"differs: {what}")
    return lines


def read_digests(path: str) -> Digests:
    """Read what this script wrote; ValueError for anything else."""
    try:
        digests = json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: no digests: {error}") from error
    if not isinstance(digests, dict) or not all(isinstance(v, str) for v in digests.values()):
        raise ValueError(f"{path}: no digests, which are an object of strings")
    return digests


def main(arguments: Sequence[str] | None = None) -> int:
    """Print digests, or what differs from earlier ones; give the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--compare", metavar="FILE", help="list what differs from FILE")
    parser.add_argument(
        "--only", metavar="PART", default="", help="operators and variants whose names contain PART"
    )
    options = parser.parse_args(arguments)
    before = None
    if options.compare is not None:
        try:
            before = read_digests(options.compare)
        except (OSError, ValueError) as error:
            parser.error(str(error))
    after = all_digests(options.only)
    if not after:
        parser.error(
            f"--only is {options.only!r}, which is part of no operator's or variant's name"
        )
    if before is None:
        print(json.dumps(after, indent=1))
        return 0
    kept = {what: d for what, d in before.items() if options.only in what.partition(SEPARATOR)[0]}
    lines = differences(kept, after)
    print("\n".join([*lines, f"{len(after)} results, {len(lines)} differ"]))
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
