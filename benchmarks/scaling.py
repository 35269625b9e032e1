"""How a network's time falls with the number of threads, ours beside other frameworks.

    python benchmarks/scaling.py tf-tutorial --threads 1,2,4,8,16 --peers torch,jax

A table for each target, a line for each number of threads: medians, how many times as fast as with
the first number, and the ratio to the best mode of any framework. As in `alexnet compare`, each
mode runs in a process of its own, results are compared before timing, rounds are interleaved.
Beside the measurement is what `scaling_model.py` computes from the tasks on one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import scaling_model
import task_model

from alexnet.commands.table import print_table
from alexnet.comparison import peers
from alexnet.comparison.benchmark import TARGETS
from alexnet.comparison.cases import NETWORK_TARGETS, NetworkCase
from alexnet.comparison.contest import SECONDS, Comparison, Contest
from alexnet.network.variants import VARIANTS, variant_named

HEADER = (
    *("threads", "ours ms", "times as fast", "best peer ms", "times as fast", "best peer / ours"),
    *("model ms", "model / ours", "% of FMA", "FMA GFLOP/s", "copy GB/s", "best peer"),
)
# The same by names of their own, for --json.
COLUMNS = (
    *("threads", "ours_ms", "times_as_fast", "peer_ms", "peer_times_as_fast", "peer_over_ours"),
    *("model_ms", "model_over_ours", "fma_percent", "fma_gflops", "copy_gbs", "peer"),
)
MODEL_REPETITIONS = 5


def powers_of_two() -> str:
    """1, 2, 4 and so on, up to the processors that this process may use."""
    processors = len(os.sched_getaffinity(0))
    return ",".join(str(2**power) for power in range(processors.bit_length()))


def numbers(text: str) -> list[int]:
    """The numbers of a list such as "1,2,4"."""
    return [int(part) for part in text.split(",")]


def modelled(case: NetworkCase, threads: list[int]) -> dict[int, float]:
    """Seconds that the model computes for each number of threads."""
    machine = task_model.Machine(task_model.region_seconds())
    model = scaling_model.Model(case, sorted({1, *threads}), MODEL_REPETITIONS)
    return {number: model.prediction(number, machine).seconds for number in threads}


def row(threads: int, comparison: Comparison, first: Comparison, model: float | None) -> list[str]:
    """One line of the table; `model` is in seconds."""
    ours, peer, peaks = comparison.ours, comparison.best_peer, comparison.peaks
    gflops = comparison.case.flops / ours.median / 1e9
    cells = [str(threads), f"{ours.median * 1e3:.2f}", f"{first.ours.median / ours.median:.2f}"]
    cells += [f"{peer.median * 1e3:.2f}"] if peer else [""]
    cells += [f"{first.best_peer.median / peer.median:.2f}"] if peer and first.best_peer else [""]
    cells += [f"{comparison.ratio:.2f}"] if peer else [""]
    cells += [f"{model * 1e3:.2f}", f"{model / ours.median:.2f}"] if model else ["", ""]
    cells += [f"{100 * gflops / peaks.fma_gflops:.0f}"]
    cells += [f"{peaks.fma_gflops:.0f}", f"{peaks.copy_gbs:.0f}"]
    return [*cells, peer.contender if peer else ""]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("variant", nargs="?", default="tf-tutorial", choices=tuple(VARIANTS))
    parser.add_argument("--no-lrn", action="store_true", help="without the normalisation layers")
    parser.add_argument("--batch-size", type=int, default=32, metavar="N")
    parser.add_argument("--target", default=",".join(TARGETS), metavar="T,...")
    parser.add_argument("--threads", type=numbers, default=powers_of_two(), metavar="N,...")
    parser.add_argument("--peers", default="all", metavar="P,...", help="or none")
    parser.add_argument("--rounds", type=int, default=5, metavar="R")
    parser.add_argument("--seconds", type=float, default=SECONDS, metavar="S", help="of a mode")
    parser.add_argument("--no-model", action="store_true", help="only what is measured")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the tables' rows there")
    options = parser.parse_args()
    try:
        chosen = [] if options.peers == "none" else peers.chosen(options.peers)
        variant = variant_named(options.variant)
        if options.no_lrn:
            variant = replace(variant.without_lrn(), name=f"{variant.name}-without-lrn")
    except ValueError as error:
        parser.error(str(error))
    targets = options.target.split(",")
    if unknown := set(targets) - set(NETWORK_TARGETS):
        parser.error(f"--target: {min(unknown)!r}, expected some of {','.join(NETWORK_TARGETS)}")
    if min(*options.threads, options.rounds, options.batch_size) < 1:
        parser.error("--threads, --rounds and --batch-size are at least 1")
    cases = [NetworkCase(variant, target, options.batch_size) for target in targets]
    missing = peers.missing(chosen)
    for name in missing:
        print(f"left out: {name} is not installed")
    names = [name for name in chosen if name not in missing]
    failures = []
    results: dict[str, list[tuple[int, Comparison]]] = {case.name: [] for case in cases}
    for threads in options.threads:
        with Contest(names, threads) as contest:
            for case in cases:
                comparison = contest.compare(case, options.rounds, options.seconds)
                results[case.name].append((threads, comparison))
                failures += [
                    f"not counted: {case.name}, {threads} threads: {contender}: {reason}"
                    for contender, reason in comparison.failures.items()
                ]
    figures = []
    for case in cases:
        measured = results[case.name]
        predicted = {} if options.no_model else modelled(case, options.threads)
        rows = [
            row(threads, comparison, measured[0][1], predicted.get(threads))
            for threads, comparison in measured
        ]
        print(case.name)
        print_table(sys.stdout, HEADER, rows, right=range(11))
        figures += [{"case": case.name, **dict(zip(COLUMNS, row, strict=True))} for row in rows]
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    for line in failures:
        print(line)
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
