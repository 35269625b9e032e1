"""What a stage works with: the device or its emulation, the sizes, PyTorch where there is one."""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from gpu_stages.record import Record

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "build" / "gpu_check"  # what --prebuild leaves, to be carried along
MODULE = "ALEXNET_GPU_MODULE"  # names another build of alexnet._cuda to be loaded


@dataclass
class Setting:
    """One stage's work.

    Attributes
    ----------
    record, name
        Where its figures go.
    dry_run
        In the emulation, at sizes that take a moment: times mean nothing.
    deadline
        Of `time.monotonic`: the stage looks at it between figures.

    """

    record: Record
    name: str
    dry_run: bool
    deadline: float

    def has_time(self, seconds: float = 0.0) -> bool:
        """Whether so much time is left."""
        return time.monotonic() + seconds < self.deadline

    def add(self, **values: Any) -> None:
        """Keep values of the stage."""
        self.record.add(self.name, **values)

    def append(self, what: str, row: dict[str, Any]) -> None:
        """Keep one row, and print it."""
        self.record.append(self.name, what, row)
        print("  " + "  ".join(f"{key} {_shown(value)}" for key, value in row.items()), flush=True)

    @cached_property
    def cupy(self) -> Any:
        """CuPy with our kernels, or the emulation of both."""
        load_kernels(self.dry_run)
        return importlib.import_module("cupy")

    @cached_property
    def torch(self) -> Any:
        """PyTorch on the device; in a dry run on the CPU; None where it is not installed."""
        if importlib.util.find_spec("torch") is None:
            return None
        torch = importlib.import_module("torch")
        return torch if self.dry_run or torch.cuda.is_available() else None

    @property
    def torch_device(self) -> str:
        """Where PyTorch computes."""
        return "cpu" if self.dry_run else "cuda"

    def sizes(self, real: Sequence[Any], dry: Sequence[Any]) -> Sequence[Any]:
        """The sizes of a real run or those of a dry one."""
        return dry if self.dry_run else real

    def variants(self) -> list[Any]:
        """The benchmark's network with LRN and without; in a dry run a small one."""
        from alexnet.network.variants import variant_named

        variant = variant_named("tf-tutorial")
        if self.dry_run:
            variant = variant.shrunk(image_size=61, width=1 / 32)
        return [variant, variant.without_lrn()]


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "-" if "reason" in value else " ".join(f"{k}={_shown(v)}" for k, v in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def load_kernels(dry_run: bool) -> None:
    """Have `alexnet.cuda` usable; RuntimeError that says why it can't be."""
    sys.path.insert(0, str(ROOT / "tests"))
    from cuda_emulation import load

    if dry_run:
        if not load.loaded:
            load.load(load.path())
    elif MODULE in os.environ:
        load.import_from("alexnet._cuda", Path(os.environ[MODULE]))
    import alexnet

    if obstacle := alexnet.cuda_obstacle():
        raise RuntimeError(obstacle)
