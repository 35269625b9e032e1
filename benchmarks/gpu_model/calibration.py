"""By how much the predictions are off, on the one device that ran the kernels (docs/gpu.md)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gpu_model.bounds import Prediction
from gpu_model.machine import LAUNCH_SECONDS

ARCHITECTURE = 90
NETWORK = "tf-tutorial"

# ms of a step on the H100: forward, then forward and backward.
STEPS = {
    (32, "float32"): (1.74, 4.78),
    (32, "tf32"): (0.95, 2.77),
    (128, "float32"): (6.19, 17.92),
    (128, "tf32"): (3.10, 9.85),
}
# GB/s at batch 128, least and most over the network's layers of a kind.
RATES = {
    ("lrn", "forward"): (945, 1062),
    ("lrn", "backward"): (945, 1062),
    ("pool", "forward"): (787, 1616),
    ("pool", "backward"): (407, 466),
}
RATES_OF = (128, "float32")


@dataclass(frozen=True)
class Comparison:
    """One measured figure beside the predicted one, and the time measured over that predicted."""

    what: str
    unit: str
    measured: str
    predicted: str
    off: float


def step_seconds(predictions: list[Prediction], *, backward: bool) -> float:
    """Time of all kernels of a step, one after the other."""
    return sum(
        p.time + LAUNCH_SECONDS for p in predictions if backward or p.launch.direction == "forward"
    )


def compare(
    predictions_of: Callable[[int, str], list[Prediction]], layer_bytes: dict[tuple[str, str], int]
) -> list[Comparison]:
    """All measured figures; `layer_bytes` is what RATES count as moved, by layer and direction."""
    result = []
    for (batch_size, precision), times in STEPS.items():
        predictions = predictions_of(batch_size, precision)
        for backward, measured in enumerate(times):
            predicted = 1e3 * step_seconds(predictions, backward=bool(backward))
            what = f"batch {batch_size} {precision} {('forward', 'step')[backward]}"
            row = (what, "ms", f"{measured:.2f}", f"{predicted:.2f}", measured / predicted)
            result.append(Comparison(*row))
    for (kind, direction), (least, most) in RATES.items():
        rates = [
            layer_bytes[p.launch.layer, direction] / p.time / 1e9
            for p in predictions_of(*RATES_OF)
            if p.launch.layer.startswith(kind) and p.launch.direction == direction
        ]
        off = (min(rates) / least + max(rates) / most) / 2
        measured, predicted = f"{least}-{most}", f"{min(rates):.0f}-{max(rates):.0f}"
        result.append(Comparison(f"{kind} {direction}", "GB/s", measured, predicted, off))
    return result
