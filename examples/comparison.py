"""One comparison: LRN of cifar10-bn, ours beside PyTorch where it is installed, else beside NumPy.

    python examples/comparison.py

`alexnet compare` does the same for whole networks and all frameworks.
"""

import time

import numpy as np

import alexnet
from alexnet.comparison import peers
from alexnet.comparison.cases import layer_cases
from alexnet.comparison.contest import Contest
from alexnet.network.variants import variant_named

ROUNDS = 3

if not peers.missing(["torch"]):
    cases = layer_cases(variant_named("cifar10-bn"), 8)
    case = next(case for case in cases if case.name == "cifar10-bn/lrn1/forward/b8")
    with Contest(["torch"], threads=1) as contest:
        times = {
            timing.contender: timing.median for timing in contest.compare(case, ROUNDS).timings
        }
else:
    x = np.random.default_rng(0).standard_normal((8, 32, 32, 48), np.float32)
    times = {}
    for name, lrn in (("alexnet", alexnet.lrn), ("NumPy", alexnet.reference.lrn)):
        lrn(x, depth_radius=4)
        start = time.perf_counter()
        for _ in range(ROUNDS):
            lrn(x, depth_radius=4)
        times[name] = (time.perf_counter() - start) / ROUNDS

for name, seconds in times.items():
    print(f"{name:40} {seconds * 1e3:8.3f} ms")
