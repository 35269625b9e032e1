"""Fixtures of the operator tests, and the environment of all."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# Thousands of small calls: where other programs keep the processors busy, threads that spin while
# they wait would make each of them last a time slice. Read when the library loads.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # NumPy's, for the reference
# The programs that tests start find `support` as well.
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
)

import alexnet
from cuda_emulation import load
from support.implementations import CUDA, ISAS, Implementation, implementation


@pytest.fixture(params=[*ISAS, CUDA])
def on(request: pytest.FixtureRequest) -> Iterator[Implementation]:
    """Run the test once with each implementation: the CPU's instruction sets, and CUDA."""
    before = alexnet.cpu_isa()
    if request.param in ISAS:
        alexnet.set_cpu_isa(request.param)
    yield implementation(request.param)
    alexnet.set_cpu_isa(before)


@pytest.fixture(params=ISAS)
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run the test once with the kernels of each instruction set."""
    before = alexnet.cpu_isa()
    alexnet.set_cpu_isa(request.param)
    yield request.param
    alexnet.set_cpu_isa(before)


@pytest.fixture(autouse=True)
def _restore_kernels() -> Iterator[None]:
    threads, isa = alexnet.get_num_threads(), alexnet.cpu_isa()
    yield
    alexnet.set_num_threads(threads)
    alexnet.set_cpu_isa(isa)


@pytest.fixture(autouse=True)
def _emulation_for_cuda_only(request: pytest.FixtureRequest) -> Iterator[None]:
    """Once a test marked `cuda` has loaded the emulation, all others still see no device."""
    if not load.loaded or request.node.get_closest_marker("cuda"):
        yield
        return
    hidden = {
        name: sys.modules.pop(name)
        for name in list(sys.modules)
        if name.startswith(("alexnet._cuda", "alexnet._study_cuda", "alexnet.cuda"))
        or name.partition(".")[0] == "cupy"
    }
    own = vars(alexnet)
    attributes = {name: own.pop(name) for name in ("cuda", "_cuda", "_study_cuda") if name in own}
    sys.path[:] = [entry for entry in sys.path if entry != str(load.HERE)]
    yield
    sys.path.insert(0, str(load.HERE))
    own.update(attributes)
    sys.modules.update(hidden)
