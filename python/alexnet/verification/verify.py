"""Every operator and every layer of a network against the float64 reference, on random data.

Three comparisons, each with the bounds of `alexnet.verification.tolerance`:

Odd shapes
    Every operator on the shapes of `alexnet.verification.odd_shapes`.
Layers
    The network's own operator calls, at its own sizes. A network is run on operators that compute
    the reference, compare the kernels with it on the same float32 arguments, and hand the
    reference's result, rounded to float32, on to the next layer: no error reaches another layer.
Whole network
    The output of the kernels' network against that of a network in float64, and the gradient of
    every parameter. Errors add up from layer to layer, and the bound is the sum of the bounds of
    the layers in between. That is no theorem: it takes for granted that a layer does not enlarge
    relative errors in the L2 norm. A random linear map scales error and signal alike; ReLU and
    pooling do not spread values apart; LRN divides both. Batch norm does enlarge them: it takes the
    mean away from the signal and leaves the error, which counts where a batch of few images is
    alike in a feature. By how much is measured on the batch, and the bound grows by that factor.

    Gradients jump where ReLU or max-pooling changes side. An activation within rounding of zero
    may be positive in float32 and negative in float64, and then its gradient is passed on in one
    run and dropped in the other: one element among a million that does so is a relative error of
    1e-3, and says nothing of the kernels. So gradients are compared on the same side: the float64
    operators go back through the activations of the kernels' own forward, which the comparison of
    outputs has judged.

The reference is computed once for all instruction sets and algorithms.
"""

from __future__ import annotations

import inspect
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from types import ModuleType
from typing import Any

import numpy as np

from alexnet import _cpu, cpu, reference
from alexnet.arrays import Array
from alexnet.contract import calls
from alexnet.contract.arguments import LARGEST_SIZE, check_int
from alexnet.network.layers import BatchNorm
from alexnet.network.network import Network
from alexnet.network.variant import Variant
from alexnet.random import Generator
from alexnet.runtime import cpu_isa, set_cpu_isa
from alexnet.verification import odd_shapes
from alexnet.verification.hosted import CHANGED_IN_PLACE, OPERATORS
from alexnet.verification.tolerance import ROUNDING, bounds, relative_error

CUDA = "cuda"  # stands where the name of an instruction set stands on the CPU
NAIVE_MACS = 10**7  # beyond it the naive convolution would take most of the time
BIAS_STDDEV = 0.1

Note = Callable[[str], None]


@dataclass(frozen=True)
class Check:
    """One comparison: whose result, in which way it was computed, its error and the bound."""

    subject: str  # a layer's name; "" for odd shapes
    operator: str
    result: str
    case: str
    algorithm: str  # "" where there is no choice
    isa: str
    error: float
    bound: float

    @property
    def passed(self) -> bool:
        """Within the bound; NaN is not."""
        return self.error <= self.bound

    def figures(self) -> dict[str, Any]:
        """Everything as plain JSON values; the error is null where it is not finite."""
        return {
            "layer": self.subject,
            "operator": self.operator,
            "result": self.result,
            "case": self.case.strip(),
            "algorithm": self.algorithm,
            "isa": self.isa,
            "relative_error": self.error if math.isfinite(self.error) else None,
            "bound": self.bound,
            "passed": self.passed,
        }


@contextmanager
def using_isa(name: str) -> Iterator[None]:
    """Use the kernels of another instruction set of the CPU for a while."""
    if name == CUDA:
        yield
        return
    before = cpu_isa()
    set_cpu_isa(name)
    try:
        yield
    finally:
        set_cpu_isa(before)


class Comparison:
    """Operators that are compared with the reference whenever they are called.

    `kernels` are those of the CPU, for several instruction sets, or of a device, hosted, for the
    one "cuda". `operators` is a module of all of them. It takes float32 arrays and returns the
    reference's results as float32; what the comparisons found is in `checks`.
    """

    def __init__(self, isas: Sequence[str], kernels: ModuleType = cpu) -> None:
        self.checks: list[Check] = []
        self.case: str | None = None  # describes the next call; None: the shape of its results
        self._isas = isas
        self._kernels = kernels
        self.operators = ModuleType("alexnet.verification.verify.operators")
        for name in OPERATORS:
            setattr(self.operators, name, self._compared(name))

    def _compared(self, operator: str) -> Callable[..., Any]:
        signature = inspect.signature(getattr(reference, operator))

        def call(*args: Any, **kwargs: Any) -> Any:
            given = signature.bind(*args, **kwargs)
            given.apply_defaults()
            arguments = given.arguments
            out = arguments.pop("out", None)
            results = self._compare(operator, arguments, out if isinstance(out, tuple) else ())
            return _delivered(results, out)

        return call

    def _compare(
        self, operator: str, arguments: dict[str, Any], outs: tuple[Array, ...]
    ) -> dict[str, Array]:
        ways = _ways(operator, arguments, self._kernels)
        results = tuple(next(iter(ways.values())))
        unwanted = {name for name, out in zip(results, outs, strict=False) if out is None}
        expected = _run(reference, operator, arguments, results)
        for isa in self._isas:
            for algorithm, limits in ways.items():
                how = arguments | ({"algorithm": algorithm} if algorithm else {})
                try:
                    with using_isa(isa):
                        actual = _run(self._kernels, operator, how, results)
                except ValueError as refusal:
                    if "cannot serve" in str(refusal):  # an algorithm not made for this shape
                        continue
                    raise
                for name in (name for name in results if name not in unwanted):
                    case = self.case or str(list(expected[name].shape))
                    error = relative_error(actual[name], expected[name])
                    self.checks.append(
                        Check("", operator, name, case, algorithm, isa, error, limits[name])
                    )
        return expected


def _ways(
    operator: str, arguments: dict[str, Any], kernels: ModuleType
) -> dict[str, dict[str, float]]:
    """Algorithms to compute the call by, with their bounds; one without a name if no choice."""
    if "algorithm" not in arguments:
        return {"": bounds(operator, arguments)}
    shape = getattr(calls, f"check_{operator}")(**arguments)
    direction = operator.removeprefix("conv2d").removeprefix("_") or "forward"
    ways = {}
    algorithms = kernels.conv2d_algorithms()
    for name in ("auto", *algorithms):
        if name != "naive" or shape.macs < NAIVE_MACS:
            chosen = name
            if name == "auto":
                choice = getattr(kernels, "conv2d_choice", _cpu.conv2d_choice)
                chosen = choice(shape, direction)
            ways[name] = bounds(operator, arguments | {"algorithm": chosen})
    return ways


def _run(
    implementation: ModuleType, operator: str, arguments: dict[str, Any], results: Iterable[str]
) -> dict[str, Array]:
    """Results of a call by name; arguments that it would change are copied first."""
    changed = CHANGED_IN_PLACE.get(operator, ())
    copied = {name: value.copy() if name in changed else value for name, value in arguments.items()}
    returned = getattr(implementation, operator)(**copied)
    if changed:
        return {name: copied[name] for name in changed}
    if not isinstance(returned, tuple):
        returned = (returned,)
    return dict(zip(results, returned, strict=True))


def _delivered(results: dict[str, Array], out: Any) -> Any:
    """Results in float32, in `out` where it is given, as the operator would return them."""
    outs = out if isinstance(out, tuple) else (out,) + (None,) * (len(results) - 1)
    delivered = []
    for result, place in zip(results.values(), outs, strict=True):
        place = np.empty(result.shape, np.float32) if place is None else place
        place[...] = result
        delivered.append(place)
    return delivered[0] if len(delivered) == 1 else tuple(delivered)


# --- odd shapes, layers, whole network ------------------------------------------------------------


def verify_operators(comparison: Comparison, seed: int, note: Note = lambda _: None) -> None:
    """Every operator on odd shapes; `note` is called with the name of each before it runs."""
    for call in odd_shapes.calls(Generator(seed)):
        note(call.operator)
        comparison.case = call.case
        getattr(comparison.operators, call.operator)(*call.arguments, **call.options)
    comparison.case = None


def randomised(network: Network, seed: int) -> Network:
    """Move biases and batch norms of a network away from 0 and 1, which would hide errors."""
    generator = Generator(seed)
    for name, parameter in network.parameters.items():
        if not name.endswith(".weight"):
            parameter += generator.normal(parameter.shape, BIAS_STDDEV).astype(parameter.dtype)
    return network


class NetworkVerification:
    """A network's layers one by one, then the whole of it, on one batch of random images."""

    def __init__(
        self, variant: Variant, comparison: Comparison, *, batch_size: int = 2, seed: int = 0
    ) -> None:
        batch_size = check_int("verify", "batch_size", batch_size, 1, LARGEST_SIZE)
        self.variant = variant
        self._comparison = comparison
        compared = Network(variant, seed=seed, implementation=comparison.operators)
        self._compared = randomised(compared, seed + 1)
        self._tensors = {name: array.copy() for name, array in compared.tensors().items()}
        data = Generator(seed + 2)
        self._x = data.normal((batch_size, *variant.input_shape)).astype(np.float32)
        self._dy = data.normal((batch_size, *variant.output_shape)).astype(np.float32)

    def layers(self, note: Note = lambda _: None) -> list[Check]:
        """Every operator call of every layer, in a training step; `note` as the layers are done."""
        start = labelled = len(self._comparison.checks)
        checks = self._comparison.checks

        def label(layer: str, direction: str, _: float) -> None:
            nonlocal labelled
            checks[labelled:] = [replace(check, subject=layer) for check in checks[labelled:]]
            labelled = len(checks)
            note(f"{layer} {direction}")

        self._compared.forward(self._x, training=True, observer=label)
        self._compared.backward(self._dy, observer=label)
        return checks[start:]

    def whole(
        self, isa: str, layer_checks: Sequence[Check], kernels: ModuleType = cpu
    ) -> list[Check]:
        """Output and parameter gradients of one training step, on one instruction set.

        `layer_checks` are those of `layers`, whose bounds add up to those of the whole.
        """
        with using_isa(isa):
            network = self._network(kernels)
            actual = network.forward(self._x, training=True)
            gradients = network.backward(self._dy)
            same_side = self._network(_forward_of(kernels))
            same_side.forward(self._x, training=True)
            expected = same_side.backward(self._dy)
        output, enlargements = self._expected_output
        limits = _summed_bounds(self.variant, layer_checks, enlargements)

        def check(result: str, actual: Array, wanted: Array) -> Check:
            error, case = relative_error(actual, wanted), str(list(actual.shape))
            return Check("network", "network", result, case, "", isa, error, limits[result])

        return [
            check("output", actual, output),
            *(check(name, gradients[name], expected[name]) for name in network.parameters),
        ]

    @cached_property
    def _expected_output(self) -> tuple[Array, dict[str, float]]:
        """The reference's output, and by how much every batch norm enlarges relative errors."""
        network = self._network(reference)
        output = network.forward(self._x, training=True)
        inputs = (self._x, *network.activations.values())
        return output, {
            layer.name: _enlargement(layer, x, network.parameters)
            for layer, x in zip(self.variant.layers, inputs, strict=False)
            if isinstance(layer, BatchNorm)
        }

    def _network(self, implementation: ModuleType) -> Network:
        network = Network(self.variant, seed=None, implementation=implementation)
        network.assign(self._tensors)
        return network


def _forward_of(kernels: ModuleType) -> ModuleType:
    """Operators that go forward on the kernels and back in float64, rounded between layers."""
    mixed = ModuleType("alexnet.verification.verify.same_side")
    for name in OPERATORS:
        setattr(mixed, name, getattr(reference if "_backward" in name else kernels, name))
    return mixed


def _enlargement(layer: BatchNorm, x: Array, parameters: Mapping[str, Array]) -> float:
    """How much larger an error of x is in relation to y, before its ReLU, than to x; at least 1."""
    axes = tuple(range(x.ndim - 1))
    mean, variance = x.mean(axes, np.float64), x.var(axes, np.float64)
    scale = parameters[f"{layer.name}.gamma"] / np.sqrt(variance + layer.epsilon)
    y = (x - mean) * scale + parameters[f"{layer.name}.beta"]
    return max(1.0, float(np.linalg.norm(x * scale) / np.linalg.norm(y)))


def _summed_bounds(
    variant: Variant, layer_checks: Sequence[Check], enlargements: Mapping[str, float]
) -> dict[str, float]:
    """Bounds of the output and of every parameter's gradient.

    The output's is the sum of those of all layers, each times the `enlargements` of the batch norms
    behind it; a gradient's, of those of the layers behind
    its own back to it and of its own operator's. Rounding between layers adds one unit each. Of
    convolutions the algorithm counts that networks use, "auto".
    """
    limits: dict[tuple[str, str], float] = defaultdict(float)
    for check in layer_checks:
        if check.algorithm in ("", "auto"):
            key = check.subject, check.result
            limits[key] = max(limits[key], check.bound)
    output = 0.0
    for layer in variant.layers:
        output = output * enlargements.get(layer.name, 1.0) + limits[layer.name, "y"]
    summed = {"output": output}
    behind = 0.0
    shapes = variant.parameter_shapes()
    for layer in reversed(variant.layers):
        for name in shapes:
            if name.startswith(f"{layer.name}."):
                own = limits[layer.name, "d" + name.removeprefix(f"{layer.name}.")]
                summed[name] = behind + own
        behind += limits[layer.name, "dx"] + ROUNDING
    return summed
