"""Whether the last rung of each study ladder is as fast as a call of the product.

    python benchmarks/study_product.py

Each ladder's last rung, the compiled kernel that it stands for, and the operator of `alexnet` that
checks its arguments and calls that kernel run in turns, on the ladder's own layer and the same
arrays. Prints the median times, and the median of the ratios of the first two.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from functools import partial
from time import perf_counter

import alexnet
from alexnet.arrays import aligned_copy, aligned_empty
from alexnet.network.variants import variant_named
from alexnet.recording import recorded
from alexnet.study.problem import layer_problem
from alexnet.study.rungs import built_ladders, module, rungs_of

PATIENCE = 2.0  # seconds for a ladder


def timed(call: Callable[[], object]) -> float:
    """Seconds of a second call: rungs and package have threads of their own, which must be awake.

    Those of the other still look for work after its call, for longer than some kernels take.
    """
    call()
    start = perf_counter()
    call()
    return perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--threads", type=int, default=alexnet.get_num_threads())
    options = parser.parse_args()
    alexnet.set_num_threads(options.threads)
    study = module()
    study.set_isa(alexnet.cpu_isa())
    study.set_num_threads(options.threads)
    print(f"{'ladder, ms':26}{'rung':>10}{'kernel':>10}{'operator':>10}{'rung/kernel':>13}")
    for ladder in built_ladders():
        problem = layer_problem(ladder, variant_named(ladder.variant), None, options.batch_size)
        operands = [aligned_copy(operand) for operand in problem.operands()]
        result = aligned_empty(problem.result_shape)
        function = rungs_of(ladder)[-1].function(alexnet.cpu_isa())
        with recorded() as kernels:
            problem.operator(operands, result)
        (kernel,) = kernels
        calls = (
            partial(study.call, function, problem.shape, [*operands, result]),
            partial(kernel.function, *kernel.arguments),
            partial(problem.operator, operands, result),
        )
        first = sum(timed(call) + timed(call) for call in calls) / 2
        rounds = max(9, int(PATIENCE / first))
        times = [[timed(call) for call in calls] for _ in range(rounds)]
        medians = [1e3 * statistics.median(column) for column in zip(*times, strict=True)]
        ratio = statistics.median(rung / direct for rung, direct, _ in times)
        columns = "".join(f"{median:10.3f}" for median in medians)
        print(f"{ladder.name:26}{columns}{ratio:13.3f}", flush=True)


if __name__ == "__main__":
    main()
