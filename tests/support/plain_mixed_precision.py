"""A plain run in 16 bits: what the errors of networks in bfloat16 and float16 are measured by.

It has the reference's operators, on float32 arrays. Convolutions and dense layers round their
operands but for biases, and whatever computes an activation, or the gradient of one, rounds its
result; gradients of parameters and the statistics of batch norm are as exact as the arrays.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from alexnet import reference

Array = npt.NDArray[Any]

PRODUCTS = ("conv2d", "dense")
# Of what an operator returns, which are activations; all of the others.
ROUNDED_RESULTS = {
    "conv2d_backward_weight": (),
    "dense_backward_weight": (),
    "batch_norm": (0,),
    "batch_norm_backward": (0,),
    "softmax_cross_entropy": (),
    "softmax_cross_entropy_backward": (),
    "sgd_update": (),
    "adam_update": (),
}


class PlainMixedPrecision(ModuleType):
    """The operators, with numbers rounded to `dtype`."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        super().__init__(f"plain_{dtype.name}")
        self.dtype = dtype

    def rounded(self, array: Any) -> Any:
        """The nearest numbers that `dtype` has, as float32."""
        if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
            return array
        with np.errstate(over="ignore"):
            return array.astype(self.dtype).astype(np.float32)

    def __getattr__(self, name: str) -> Callable[..., object]:
        operator: Callable[..., Any] = getattr(reference, name)
        is_product = name.startswith(PRODUCTS)
        chosen = ROUNDED_RESULTS.get(name)

        def call(*given: Any, out: Any = None, **settings: Any) -> Any:
            if is_product:
                given = (*map(self.rounded, given[:2]), *given[2:])  # not the bias
            result = operator(*given, **settings)
            results = result if isinstance(result, tuple) else (result,)
            places = out if isinstance(out, tuple) else (out, *[None] * (len(results) - 1))
            made = []
            for number, (value, place) in enumerate(zip(results, places, strict=True)):
                if value is not None and (chosen is None or number in chosen):
                    value = self.rounded(value)
                if place is not None:
                    place[...] = value
                    value = place
                made.append(value)
            return tuple(made) if isinstance(result, tuple) else made[0]

        return call
