"""What the engines for inference share: whole networks, forward only, images in NCHW."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from alexnet.comparison.benchmark import FORWARD
from alexnet.comparison.cases import FLOAT32, Case, NetworkCase
from alexnet.comparison.peers.interface import Job, Peer
from alexnet.contract.arguments import AnyArray


class InferenceEngine(Peer):
    """A framework without gradients, in its one mode."""

    mode = "nchw"

    def modes(self, case: Case) -> tuple[str, ...]:
        """One for a network's forward, none for anything else."""
        is_forward = isinstance(case, NetworkCase) and case.target == FORWARD
        return (self.mode,) if is_forward else ()


def nchw(images: AnyArray) -> AnyArray:
    """Images in the engines' layout, a copy."""
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))


def job(run: Callable[[], Any], precision: str = FLOAT32) -> Job:
    """Make the job of a function that returns the output in NCHW, or (batch, features)."""

    def outputs(result: Any) -> dict[str, AnyArray]:
        y = np.asarray(result)
        return {"y": y.transpose(0, 2, 3, 1) if y.ndim == 4 else y}

    return Job(run, outputs, precision)
