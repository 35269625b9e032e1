"""How far float32 results may be from float64 ones: the bounds that `alexnet verify` holds to.

Errors are relative in the L2 norm of a whole result, |actual - expected| / |expected|. With
u = 2**-24, half the distance from 1 to the next float32, every operation rounds by at most u of its
result. What that amounts to depends on the operator:

Exact
    Taking a maximum, passing on or masking: relu, its gradient, max_pool2d, l2_loss_backward. The
    bound is 0.
Sums of n products (convolution, dense, their gradients, sums over a batch)
    A guaranteed bound, n * u times the sum of the magnitudes (Higham, "Accuracy and stability of
    numerical algorithms", 2002, section 3.1), is hundreds of times what happens. Rounding errors
    behave as independent with mean zero (Higham and Mary, "A new approach to probabilistic
    rounding error analysis", 2019). For terms of mean zero and size t, partial sum k is about
    sqrt(k) * t; rounding it adds a variance of at most u**2 * k * t**2 / 3; together
    u**2 * n**2 * t**2 / 6, against a result of sqrt(n) * t: a relative error of u * sqrt(n / 6).
    Terms of one sign give u * sqrt(n) / 3, and any blocked or vector order less. The bound is five
    times that, 2 * u * (1 + sqrt(n)), whose 1 stands for the bias, the last rounding, and small n.
The same by Winograd's algorithm
    The transforms to and from the interpolation points enlarge rounding errors by a factor of
    their own, which hardly depends on n: 2e-6 to 5e-6 in all, as cpp/cpu/microkernels/winograd.cpp
    has measured. The bound is WINOGRAD, 1e-5, which no layer may exceed by any algorithm.
Element-wise formulas (LRN, batch norm, softmax, optimizers)
    Counted: one u for each operation that an element goes through, n + 2 for a window's sum of n
    squares, powers to the exponent b times b; and CHAIN for square roots, exponentials, divisions
    and parameters that are themselves rounded. A difference of two such terms, as in the gradients,
    may be half their size: twice the count. Where a sum over many elements enters, its bound is
    added.

The data are random and without a preferred sign, as in `alexnet.verification.verify`; sums that
cancel to nothing have no small relative error in any arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from alexnet.contract.arguments import AnyArray, check_pair

ROUNDING = 2.0**-24
CHAIN = 16 * ROUNDING
WINOGRAD = 1e-5


def relative_error(actual: AnyArray, expected: AnyArray) -> float:
    """L2 norm of the difference over that of `expected`; NaN or infinity if either has a NaN.

    Compare as ``error <= bound``, which NaN fails. ValueError where the shapes differ.
    """
    if actual.shape != expected.shape:
        raise ValueError(
            f"relative_error: actual has shape {actual.shape}, expected {expected.shape}"
        )
    reference = expected.astype(np.float64).ravel()
    difference = float(np.linalg.norm(actual.astype(np.float64).ravel() - reference))
    if difference == 0.0:
        return 0.0
    norm = float(np.linalg.norm(reference))
    return difference / norm if norm > 0.0 else math.inf


def product_bound(terms: int) -> float:
    """Bound for sums of `terms` products."""
    return 2 * ROUNDING * (1 + math.sqrt(terms))


def bounds(operator: str, arguments: Mapping[str, Any]) -> dict[str, float]:
    """Bound of every result of one call, in the order in which the operator returns them.

    `arguments` are all of the call's, by name, with the name of the algorithm that a convolution
    runs. Updates in place have as results what they change.
    """
    match operator:
        case "relu" | "max_pool2d":
            return {"y": 0.0}
        case "relu_backward" | "l2_loss_backward":
            return {"dx": 0.0}
        case "conv2d":
            return {"y": _convolution_bound(arguments, math.prod(arguments["weight"].shape[:3]))}
        case "conv2d_backward_input":
            height, width, _, features = arguments["weight"].shape
            terms = height * width * features // arguments["groups"]
            return {"dx": _convolution_bound(arguments, terms)}
        case "dense":
            return {"y": product_bound(arguments["weight"].shape[0])}
        case "dense_backward_input":
            return {"dx": product_bound(arguments["weight"].shape[1])}
        case "conv2d_backward_weight":
            pixels = _pixels(arguments["dy"])
            bound = _convolution_bound(arguments, pixels)
            return {"dweight": bound, "dbias": product_bound(pixels)}
        case "dense_backward_weight":
            return dict.fromkeys(("dweight", "dbias"), product_bound(len(arguments["dy"])))
        case "max_pool2d_backward":
            return {"dx": _overlap_bound(arguments)}
        case "lrn":
            return {"y": _lrn_count(arguments, power=arguments["beta"]) + CHAIN}
        case "lrn_backward":
            inner = _lrn_count(arguments, power=arguments["beta"] + 1)
            window = 2 * arguments["depth_radius"] + 1
            return {"dx": 2 * (inner + window * ROUNDING + CHAIN)}
        case "batch_norm":
            bound = product_bound(_pixels(arguments["x"])) + CHAIN
            return {"y": bound, "mean": bound, "variance": bound}
        case "batch_norm_backward":
            bound = 2 * (product_bound(_pixels(arguments["x"])) + CHAIN)
            return {"dx": bound, "dgamma": bound, "dbeta": bound}
        case "dropout":
            return {"y": ROUNDING}
        case "dropout_backward":
            return {"dx": ROUNDING}
        case "softmax_cross_entropy":
            return {"loss": product_bound(arguments["logits"].size) + CHAIN}
        case "softmax_cross_entropy_backward":
            return {"dlogits": 2 * (product_bound(arguments["logits"].shape[1]) + CHAIN)}
        case "l2_loss":
            return {"loss": product_bound(arguments["x"].size)}
        case "sgd_update":
            return dict.fromkeys(("parameter", "velocity"), CHAIN)
        case "adam_update":
            return dict.fromkeys(("parameter", "first_moment", "second_moment"), CHAIN)
    raise ValueError(f"bounds: operator is {operator!r}, for which no bound is known")


def _convolution_bound(arguments: Mapping[str, Any], terms: int) -> float:
    least = WINOGRAD if arguments["algorithm"] == "winograd" else 0.0
    return max(least, product_bound(terms))


def _pixels(array: AnyArray) -> int:
    """How many entries each channel has."""
    return math.prod(array.shape[:-1])


def _overlap_bound(arguments: Mapping[str, Any]) -> float:
    """Exact where windows do not overlap, else a sum over the windows that a pixel can be in."""
    window = check_pair("max_pool2d", "window", arguments["window"])
    stride = check_pair("max_pool2d", "stride", arguments["stride"])
    windows = math.prod(-(-size // step) for size, step in zip(window, stride, strict=True))
    return 0.0 if windows == 1 else product_bound(windows)


def _lrn_count(arguments: Mapping[str, Any], power: float) -> float:
    """Bound of the window's sum of squares, raised to `power`."""
    window = 2 * int(arguments["depth_radius"]) + 1
    return abs(power) * (window + 2) * ROUNDING
