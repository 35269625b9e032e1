"""What each ladder computes: its layer and direction, and its arrays.

A ladder's name is that of its folder in cpp/study with hyphens: ``conv2d-forward`` is
``cpp/study/conv2d_forward``, and the ladder of the same name for CUDA
``cpp/study/conv2d_forward_cuda``.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from alexnet.network.layer import Layer
from alexnet.network.layers import LRN, Conv2d, Dense, MaxPool2d
from alexnet.study.fused import LRNMaxPool2d

ARITHMETIC, MEMORY = "arithmetic", "memory"


@dataclass(frozen=True)
class Ladder:
    """One operator in one direction.

    Attributes
    ----------
    name
        As the command takes it.
    kind
        The layer that it computes.
    direction
        Of `alexnet.comparison.cases`.
    operands, result
        Names of the arrays that its rungs get, in their order, and of the one that they write.
    bound
        What the last rung's time is compared with: ARITHMETIC, the peak of fused multiply-adds,
        or MEMORY, the peak of copying.
    variant, layer
        What runs where nobody asks for another.
    device
        "cpu" or "cuda".
    """

    name: str
    kind: type[Layer]
    direction: str
    operands: tuple[str, ...]
    result: str
    bound: str
    variant: str
    layer: str
    device: str = "cpu"

    @property
    def full_name(self) -> str:
        """Name that tells ladders of the two devices apart."""
        return self.name if self.device == "cpu" else f"{self.name}-{self.device}"

    @property
    def folder(self) -> str:
        """Name of its folder in cpp/study."""
        return self.full_name.replace("-", "_")


def _ladders(
    operator: str, kind: type[Layer], bound: str, place: tuple[str, str], *directions: Any
) -> list[Ladder]:
    return [
        Ladder(f"{operator}-{name}", kind, direction, operands, result, bound, *place)
        for name, direction, operands, result in directions
    ]


_PRODUCTS = (
    ("forward", "forward", ("x", "weight"), "y"),
    ("input-gradient", "backward_input", ("dy", "weight"), "dx"),
    ("weight-gradient", "backward_weight", ("dy", "x"), "dweight"),
)
LADDERS = {
    ladder.name: ladder
    for ladder in [
        *_ladders("conv2d", Conv2d, ARITHMETIC, ("tf-tutorial", "conv3"), *_PRODUCTS),
        *_ladders(
            "lrn",
            LRN,
            MEMORY,
            ("tf-tutorial", "lrn1"),
            ("forward", "forward", ("x",), "y"),
            ("gradient", "backward", ("dy", "x", "sums"), "dx"),
        ),
        *_ladders(
            "max-pool2d",
            MaxPool2d,
            MEMORY,
            ("tf-tutorial", "pool1"),
            ("forward", "forward", ("x",), "y"),
            ("gradient", "backward", ("dy", "x", "taps"), "dx"),
        ),
        *_ladders(
            "lrn-max-pool2d",
            LRNMaxPool2d,
            MEMORY,
            ("tf-tutorial", "lrn1"),
            ("forward", "forward", ("x",), "y"),
            ("gradient", "backward", ("dy", "x", "taps"), "dx"),
        ),
        *_ladders("dense", Dense, ARITHMETIC, ("tf-full", "fc7"), *_PRODUCTS),
    ]
}
CUDA_LADDERS = {
    ladder.name: dataclasses.replace(ladder, device="cuda")
    for ladder in (
        *(LADDERS[f"conv2d-{name}"] for name, *_ in _PRODUCTS),
        # Of few channels, which the CPU's ladder serves with all others.
        dataclasses.replace(LADDERS["conv2d-forward"], name="conv2d-first-layer", layer="conv1"),
        *(LADDERS[name] for name in ("lrn-forward", "lrn-gradient")),
        *(LADDERS[name] for name in ("max-pool2d-forward", "max-pool2d-gradient")),
        LADDERS["dense-forward"],
    )
}
ALL_NAMES = tuple(dict.fromkeys((*LADDERS, *CUDA_LADDERS)))
