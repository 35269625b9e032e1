"""Peak memory of a step, ours beside PyTorch's, TensorFlow's and JAX's.

    python benchmarks/memory.py tf-full --batch-size 32,128

Each in a fresh process of its own. Baseline is what is resident after the import, before there is
a network. Then weights and images are loaded, the kernel's record of the peak (VmHWM) is set back,
and a few steps run: the peak is that record, with weights, gradients, the optimizer's state,
activations and whatever a framework keeps for itself. Linux only.
"""

from __future__ import annotations

import argparse
import sys

from alexnet import runtime
from alexnet.commands.table import print_table
from alexnet.comparison import peers
from alexnet.comparison.benchmark import FORWARD_BACKWARD
from alexnet.comparison.cases import NETWORK_TARGETS, NetworkCase
from alexnet.comparison.worker import Worker, WorkerError
from alexnet.network.variants import VARIANTS, variant_named

STEPS = 3
MIB = 2**20
HEADER = ("case", "contender", "baseline MiB", "peak MiB", "difference MiB", "times ours")


def measured(case: NetworkCase, names: list[str], threads: int) -> list[list[str]]:
    """One line for each framework and mode, ours first."""
    rows: list[list[str]] = []
    ours = 0.0
    for name in names:
        with Worker(name, threads) as worker:
            modes = worker.ask("contenders", case)
        for mode in modes:
            with Worker(name, threads) as worker:
                try:
                    baseline, peak = worker.ask("peak_memory", case, mode, STEPS)
                except WorkerError as error:
                    rows.append([case.name, f"{name} {mode}: {error}", "", "", "", ""])
                    continue
            ours = ours or peak - baseline
            sizes = [f"{size / MIB:.0f}" for size in (baseline, peak, peak - baseline)]
            ratio = f"{(peak - baseline) / ours:.2f}"
            rows.append([case.name, f"{name} {mode}", *sizes, ratio])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("variant", nargs="?", default="tf-full", choices=tuple(VARIANTS))
    parser.add_argument("--batch-size", default="32,128", metavar="N,...")
    parser.add_argument("--target", default=FORWARD_BACKWARD, choices=NETWORK_TARGETS)
    parser.add_argument("--peers", default="torch", metavar="P,...")
    parser.add_argument("--threads", type=int, default=runtime.get_num_threads(), metavar="N")
    options = parser.parse_args()
    try:
        chosen = peers.chosen(options.peers)
        batch_sizes = [int(text) for text in options.batch_size.split(",")]
        variant = variant_named(options.variant)
        cases = [NetworkCase(variant, options.target, size) for size in batch_sizes]
    except ValueError as error:
        parser.error(str(error))
    missing = peers.missing(chosen)
    for name in missing:
        print(f"left out: {name} is not installed")
    names = [peers.OURS, *(name for name in chosen if name not in missing)]
    rows = [row for case in cases for row in measured(case, names, options.threads)]
    print_table(sys.stdout, HEADER, rows, right=range(2, 6))


if __name__ == "__main__":
    main()
