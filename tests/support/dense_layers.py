"""Dense layers for the tests: their arguments, random data, and what the reference makes of it."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from alexnet import reference
from support.arrays import random_array
from support.implementations import Implementation

Array = npt.NDArray[np.float32]
Size = tuple[int, int, int]  # batch, inputs, outputs


@dataclass(frozen=True)
class Data:
    """Arguments of the three operators."""

    x: Array
    weight: Array
    bias: Array
    dy: Array

    @functools.cached_property
    def expected(self) -> dict[str, npt.NDArray[np.float64]]:
        y = reference.dense(self.x, self.weight, self.bias)
        dweight, dbias = reference.dense_backward_weight(self.dy, self.x)
        return {
            "y": y,
            "rectified": np.maximum(y, 0),
            "without bias": y - self.bias,
            "dx": reference.dense_backward_input(self.dy, self.weight),
            "dweight": dweight,
            "dbias": dbias,
        }

    @property
    def depths(self) -> dict[str, int]:
        """How many products an element of each result sums."""
        (batch, inputs), outputs = self.x.shape, self.bias.size
        forward = dict.fromkeys(("y", "rectified", "without bias"), inputs)
        return {**forward, "dx": outputs, "dweight": batch, "dbias": batch}


def draw(size: Size) -> Data:
    batch, inputs, outputs = size
    return Data(
        x=random_array(1, batch, inputs),
        weight=random_array(2, inputs, outputs),
        bias=random_array(3, outputs),
        dy=random_array(4, batch, outputs),
    )


def run_guarded(on: Implementation, data: Data, offset: int = 0, **how: Any) -> dict[str, Array]:
    """All results, each in a guarded array; CUDA's `offset` floats behind what is aligned."""
    place = {"offset": offset} if offset else {}
    x, weight, bias, dy = (
        on.array(getattr(data, field.name), **place) for field in dataclasses.fields(data)
    )
    (batch, inputs), outputs = data.x.shape, data.bias.size
    guarded = {
        "y": on.guarded((batch, outputs), **place),
        "rectified": on.guarded((batch, outputs), **place),
        "without bias": on.guarded((batch, outputs), **place),
        "dx": on.guarded((batch, inputs), **place),
        "dweight": on.guarded((inputs, outputs), **place),
        "dbias": on.guarded((outputs,), **place),
    }
    out = {name: output.array for name, output in guarded.items()}
    assert on.dense(x, weight, bias, **how, out=out["y"]) is out["y"]
    on.dense(x, weight, bias, activation="relu", **how, out=out["rectified"])
    on.dense(x, weight, **how, out=out["without bias"])
    assert on.dense_backward_input(dy, weight, **how, out=out["dx"]) is out["dx"]
    on.dense_backward_weight(dy, x, **how, out=(out["dweight"], out["dbias"]))
    return {name: output.get() for name, output in guarded.items()}
