"""How a network's step would scale to many cores, computed from what its tasks take on one.

    python benchmarks/scaling_model.py
    python benchmarks/scaling_model.py tf-tutorial --threads 16,64 --memory-bandwidth 200

The kernels cut each parallel region into tasks, deal them out in contiguous ranges, and let a
thread that is done take tasks of the others. One thread does all tasks here, cut for each number of
threads in turn, and notes the processor time of each (the minimum over the repetitions); then the
same dealing out is simulated. To that come what a region takes to begin and to end, and what is
serial: C++ between the regions of a kernel, and Python between kernels. With more than two threads
a region is taken to cost as much as with two, times log2 of their number. Python takes the longer
the more the kernels have driven out of the core's caches; it's recorded in steps of as few images
as each thread has, at least one.

What the model doesn't know: caches and memory that cores share (but for --memory-bandwidth: no
layer takes less than its arrays once through memory), sockets, two threads on one core, clocks that
fall with the number of busy cores, and other work on the machine. One core does all tasks, so it
finds in its caches what another would have to fetch, and sets up once what each thread would for
itself. So it says how much of a loss is the partition's; benchmarks/scaling.py measures the rest.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from time import perf_counter

from task_model import (
    Layer,
    Machine,
    Prediction,
    Profile,
    fastest,
    find_layers,
    losses,
    predict,
    record_once,
    region_seconds,
)

import alexnet
from alexnet.commands.table import print_table
from alexnet.comparison.benchmark import FORWARD, FORWARD_BACKWARD
from alexnet.comparison.cases import NETWORK_TARGETS, TRAINING_STEP, NetworkCase
from alexnet.comparison.peaks import measure_peaks
from alexnet.comparison.peers.ours import Alexnet
from alexnet.network.variants import VARIANTS, variant_named

VARIANTS_SHOWN = ("tf-tutorial", "tf-full", "cifar10-bn")
THREADS = "1,2,4,8,16,32,64"
PEAK_BYTES = 2**26
HEADER = (
    *("threads", "ms", "times as fast", "efficiency %", "lost %: tasks", "regions", "serial"),
    "memory",
)
LOSSES_HEADER = ("region", "tasks", "longest us", "share us", "takes us", "lost us", "% of step")


# --- a network --------------------------------------------------------------------------------


class PreparedStep:
    """A case made ready."""

    def __init__(self, case: NetworkCase) -> None:
        peer = Alexnet(1)
        self.run = peer.prepare(case, peer.modes(case)[0], case.operands()).run

    def layers(self, threads: int) -> list[Layer]:
        """Layers and their regions, whose number may depend on that of the threads."""
        alexnet.set_num_threads(threads)
        return find_layers(self.run)

    def record(self, threads: Sequence[int], repetitions: int) -> dict[int, Profile]:
        """Record steps whose tasks are cut for each number of threads, in turns."""
        kept: dict[int, list[Profile]] = {count: [] for count in threads}
        for repetition in range(repetitions + 1):
            for count in threads:
                alexnet.set_num_threads(count)
                profile = record_once(self.run)
                if repetition > 0:  # the first makes room in memory
                    kept[count].append(profile)
        return {count: fastest(profiles) for count, profiles in kept.items()}

    def fastest_step(self, threads: int, repetitions: int) -> float:
        """Measure steps as they are, in seconds."""
        alexnet.set_num_threads(threads)
        times = []
        for _ in range(repetitions):
            begin = perf_counter()
            self.run()
            times.append(perf_counter() - begin)
        return min(times)


class Model:
    """What a case takes on each number of threads; the profiles are those of all its images."""

    def __init__(self, case: NetworkCase, threads: Sequence[int], repetitions: int) -> None:
        self.case, self.threads = case, threads
        step = PreparedStep(case)
        self.layers = {count: step.layers(count) for count in threads}
        first = step.fastest_step(2, 3 * repetitions)
        self.profiles = step.record(threads, repetitions)
        self.measured = min(first, step.fastest_step(2, 3 * repetitions))
        images = {count: -(-case.batch_size // count) for count in threads}
        python = {size: self._between_kernels(size, repetitions) for size in {*images.values()}}
        self.python = {count: python[size] for count, size in images.items()}

    def _between_kernels(self, images: int, repetitions: int) -> float:
        step = PreparedStep(replace(self.case, batch_size=images))
        profile = step.record([1], repetitions)[1]
        return sum(profile.gaps) - profile.inside_kernels

    def prediction(self, threads: int, machine: Machine) -> Prediction:
        """Compute what a step takes."""
        profile = self.profiles[threads]
        serial = profile.inside_kernels + self.python[threads]
        return predict(profile, self.layers[threads], threads, machine, serial)


def rows(predictions: Sequence[Prediction], one: float) -> list[list[str]]:
    """Make a line for each number of threads; `one` is the seconds of a step on one."""
    lines = []
    for p in predictions:
        parts = (p.tasks, p.regions, p.serial * (1 - 1 / p.threads), p.memory)
        lines.append(
            [
                str(p.threads),
                f"{p.seconds * 1e3:.2f}",
                f"{one / p.seconds:.1f}",
                f"{100 * one / p.seconds / p.threads:.0f}",
                *(f"{100 * part / p.seconds:.1f}" for part in parts),
            ]
        )
    return lines


def show(model: Model, machine: Machine, most_losses: int) -> None:
    """Print the tables of a case."""
    predictions = [model.prediction(threads, machine) for threads in model.threads]
    one = predictions[0].seconds
    print(f"\n{model.case.name}, {one * 1e3:.1f} ms on one thread")
    print_table(sys.stdout, HEADER, rows(predictions, one), right=range(len(HEADER)))
    two = next((p for p in predictions if p.threads == 2), None)
    if two is not None:
        print(
            f"two threads: model {two.seconds * 1e3:.2f} ms, measured {model.measured * 1e3:.2f} "
            f"(the fastest step), model / measured {two.seconds / model.measured:.2f}"
        )
    for prediction in predictions:
        if prediction.threads < 16 or most_losses == 0:
            continue
        threads = prediction.threads
        worst = losses(model.profiles[threads], model.layers[threads], threads, machine)[
            :most_losses
        ]
        lines = [
            [
                loss.name,
                str(loss.tasks),
                *(f"{1e6 * s:.0f}" for s in (loss.longest, loss.share, loss.takes, loss.lost)),
                f"{100 * loss.lost / prediction.seconds:.1f}",
            ]
            for loss in worst
        ]
        print(f"what loses most with {threads} threads")
        print_table(sys.stdout, LOSSES_HEADER, lines, right=range(1, len(LOSSES_HEADER)))


def default_targets(name: str) -> tuple[str, ...]:
    """Forward, and a training step where the network ends in classes."""
    has_classes = len(variant_named(name).output_shape) == 1
    return FORWARD, TRAINING_STEP if has_classes else FORWARD_BACKWARD


def numbers(text: str) -> list[int]:
    """The numbers of a list such as "1,2,4"."""
    return [int(part) for part in text.split(",")]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("variants", nargs="*", metavar="VARIANT", help="default: three of them")
    parser.add_argument("--batch-size", type=int, default=32, metavar="N")
    parser.add_argument("--target", metavar="T,...", help="default: forward and a training step")
    parser.add_argument("--threads", type=numbers, default=THREADS, metavar="N,...")
    parser.add_argument("--repetitions", type=int, default=10, metavar="R")
    parser.add_argument("--losses", type=int, default=8, metavar="N", help="regions to name")
    parser.add_argument(
        "--memory-bandwidth", type=float, default=0.0, metavar="GB/S", help="of the whole machine"
    )
    parser.add_argument(
        "--region-us", type=float, default=0.0, metavar="US", help="of two threads; else measured"
    )
    options = parser.parse_args(arguments)
    names = options.variants or VARIANTS_SHOWN
    if unknown := set(names) - set(VARIANTS):
        parser.error(f"{min(unknown)!r} is no variant: {', '.join(VARIANTS)}")
    if min(*options.threads, options.repetitions, options.batch_size) < 1:
        parser.error("--threads, --repetitions and --batch-size are at least 1")
    if min(options.losses, options.memory_bandwidth, options.region_us) < 0:
        parser.error("--losses, --memory-bandwidth and --region-us are at least 0")
    try:
        cases = [
            NetworkCase(variant_named(name), target, options.batch_size)
            for name in names
            for target in (options.target.split(",") if options.target else default_targets(name))
        ]
    except ValueError as error:
        parser.error(str(error))
    if unknown := {case.target for case in cases} - set(NETWORK_TARGETS):
        parser.error(f"--target: {min(unknown)!r}, expected some of {','.join(NETWORK_TARGETS)}")
    threads = sorted({1, *options.threads})
    copies = [measure_peaks(count, array_bytes=PEAK_BYTES).copy_gbs for count in (1, 2)]
    region = 1e-6 * options.region_us if options.region_us else region_seconds()
    machine = Machine(region, options.memory_bandwidth * 1e9)
    bandwidth = f"{options.memory_bandwidth:g} GB/s" if options.memory_bandwidth else "no bound"
    print(
        f"{len(os.sched_getaffinity(0))} processors, {alexnet.cpu_isa()}, load average "
        f"{os.getloadavg()[0]:.1f}; a region of two threads begins and ends in "
        f"{machine.region_seconds * 1e6:.1f} us, of n in log2(n) times that\n"
        f"copy with one thread {copies[0]:.0f} GB/s, with two {copies[1]:.0f}; memory in the "
        f"model: {bandwidth}",
        flush=True,
    )
    for case in cases:
        show(Model(case, threads, options.repetitions), machine, options.losses)
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
