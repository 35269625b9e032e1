"""Convolutions for the tests of Winograd's algorithm on each device, and the bound of its error.

The bound: the float32 transforms of up to 8 interpolation points multiply rounding errors by the
norms of their matrices; for ReLU-like inputs that is 2e-6 (6 points) to 5e-6 (8 points) relative
L2, measured over many draws. 1e-5 leaves a factor of two.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from alexnet import reference
from support.arrays import random_array

BOUND = 1e-5
WORST = 5 * BOUND  # of the relative error of a single pixel or tap, over its channels


class Problem:
    """Ordinary arrays of a case, whose padding is half a kernel, and what is made of them."""

    def __init__(self, case: tuple[int, ...]) -> None:
        batch, self.size, channels, out, self.kernel, self.stride = case
        self.options = {"stride": self.stride, "padding": self.kernel // 2}
        self.x = np.maximum(random_array(20, batch, self.size, self.size, channels), 0)
        self.weight = random_array(21, self.kernel, self.kernel, channels, out)
        self.dy = random_array(22, *self.run(reference, "")["y"].shape)

    def run(self, module: Any, algorithm: str) -> dict[str, npt.NDArray[np.floating]]:
        """y, dweight and, where Winograd serves it, dx."""
        how = {**self.options, "algorithm": algorithm or "auto"}
        results = {"y": module.conv2d(self.x, self.weight, **how)}
        if hasattr(self, "dy"):
            gradients = module.conv2d_backward_weight(self.dy, self.x, self.kernel, **how)
            results["dweight"] = gradients[0]
            if self.stride == 1:
                results["dx"] = module.conv2d_backward_input(
                    self.dy, self.weight, self.x.shape, **how
                )
        return results


def check_each_place(problem: Problem, module: Any) -> None:
    """Check the error of every pixel, and of every tap of dweight, on its own."""
    expected = problem.run(reference, "")
    for name, result in problem.run(module, "winograd").items():
        error, size = np.abs(result - expected[name]), np.abs(expected[name])
        axes = (2, 3) if name == "dweight" else (3,)
        worst = np.sqrt((error**2).mean(axes) / (size**2).mean(axes)).max()
        assert worst <= WORST, name
