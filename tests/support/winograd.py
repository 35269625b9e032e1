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
from support.arrays import random_array, relative_error

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


def check_ordinary_values_are_served(problem: Problem, module: Any) -> None:
    """ReLU's zeros, black borders, sparse and small gradients, a black image."""
    problem.x[:, : problem.size // 2, :3] = 0
    problem.x[-1] = 0
    problem.dy *= random_array(23, *problem.dy.shape) > 0
    problem.dy[0] *= 1e-20
    problem.dy[:, :2, 1:3] = 0
    winograd, direct = problem.run(module, "winograd"), problem.run(module, "direct")
    expected = problem.run(reference, "")
    for name, result in winograd.items():
        assert relative_error(result, expected[name]) <= BOUND
        assert not np.array_equal(result, direct[name]), f"{name} was left to direct"


def check_one_huge_pixel(problem: Problem, place: str, module: Any) -> None:
    """It spoils no output that does not see it."""
    problem.x *= 1e-3
    problem.dy *= 1e-3
    for array in (problem.x, problem.dy):
        at = 0 if place == "corner" else array.shape[1] // 2
        array[0, at, at] = 1e4
    check_each_place(problem, module)


def check_without_overflow(case: tuple[int, ...], module: Any) -> None:
    """What direct computes without overflow is finite."""
    for large in ("x", "weight", "dy"):
        problem = Problem(case)
        for name in ("x", "weight", "dy"):
            array = getattr(problem, name)
            array *= 1e37 / np.abs(array).max() if name == large else 1e-4
        expected = problem.run(reference, "")
        for name, result in problem.run(module, "winograd").items():
            assert np.isfinite(result).all(), (large, name)
            assert relative_error(result, expected[name]) <= BOUND


def check_only_the_spoiled_image_is_left(case: tuple[int, ...], module: Any) -> None:
    """The others have the bits that they have without it."""
    usual, problem = Problem(case), Problem(case)
    problem.x[1, 2, 2] *= 1e6
    problem.dy[1, 2, 2] = np.inf
    usual_results, direct = usual.run(module, "winograd"), problem.run(module, "direct")
    for name, result in problem.run(module, "winograd").items():
        if name == "dweight":  # sums over the images
            np.testing.assert_array_equal(result, direct[name])
            continue
        np.testing.assert_array_equal(result[1], direct[name][1])
        others = np.arange(case[0]) != 1
        np.testing.assert_array_equal(result[others], usual_results[name][others])
