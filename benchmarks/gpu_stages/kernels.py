"""Every kernel at the network's shapes, beside PyTorch's (cuDNN, cuBLAS) and its own prediction.

Ceilings first: a copy's bandwidth, and products of large matrices. PyTorch runs in channels_last,
which is the project's own layout, with cuDNN's own search among its algorithms.
"""

from __future__ import annotations

import importlib
import json
import math
from functools import partial
from typing import Any

import numpy as np

from gpu_stages.record import reason
from gpu_stages.setting import FOLDER, Setting
from gpu_stages.timing import our_calls, sets_for, spread, their_calls, their_launch

PRECISIONS = ("float32", "tf32", "bfloat16")
SIXTEEN_BITS = ("bfloat16", "float16")
BATCH_SIZES = (32, 128)
ORDER = [(n, precision) for n in BATCH_SIZES for precision in ("tf32", "bfloat16", "float32")]
COPIED = 1 << 30
MATRIX = 8192
STATIC = "static.json"  # in FOLDER, by --prebuild


def run(setting: Setting) -> None:
    """Ceilings, then the kernels of each precision and batch size, the smallest first."""
    setting.add(ceilings=ceilings(setting))
    print(f"  {setting.record.stage(setting.name)['ceilings']}", flush=True)
    predicted = predictions()
    for batch_size, precision in setting.sizes(ORDER, [(1, precision) for precision in PRECISIONS]):
        for case in cases(setting, batch_size):
            row = {"case": case.name, "precision": precision}
            row |= {"flops": case.flops, "bytes": moved_bytes(case, precision)}
            row["predicted"] = predicted.get((batch_size, precision), {}).get(
                (case.layer.name, case.direction), reason("no static prediction is there")
            )
            if not setting.has_time(1.0):
                setting.append("rows", row | dict.fromkeys(("ours", "PyTorch"), NO_TIME))
                continue
            row["ours"] = attempted(partial(our_time, setting, case, precision))
            row["PyTorch"] = attempted(partial(their_time, setting, case, precision))
            setting.append("rows", row)


NO_TIME = reason("the stage had no time left")


def attempted(work: Any) -> dict[str, Any]:
    """What `work` measures, or why there is nothing."""
    try:
        result: dict[str, Any] = work()
    except (ValueError, RuntimeError, NotImplementedError) as error:
        return reason(error)
    return result


def cases(setting: Setting, batch_size: int) -> list[Any]:
    """Layers of the benchmark's network in each direction; in a dry run three small ones."""
    from alexnet.comparison.cases import layer_cases
    from alexnet.network.variants import variant_named

    variant = setting.variants()[0]
    found = layer_cases(variant, batch_size)
    if setting.dry_run:
        return [case for case in found if case.layer.name in ("conv2", "lrn2", "pool5")]
    full = layer_cases(variant_named("tf-full"), batch_size)
    return found + [case for case in full if case.layer.name.startswith("fc")]


def ceilings(setting: Setting) -> dict[str, Any]:
    """Bytes a second of a copy, both ways counted, and FLOP a second of large products."""
    cupy, torch = setting.cupy, setting.torch
    count = setting.sizes((COPIED // 4,), (1 << 12,))[0]
    if torch is None:
        source, target = (cupy.zeros((count,), cupy.float32) for _ in range(2))
        copied = our_calls(setting, [lambda: target.__setitem__(..., source)])
    else:  # faster than CuPy's assignment
        source, target = (torch.randn(count, device=setting.torch_device) for _ in range(2))
        copied = spread(their_launch(setting, lambda: target.copy_(source)))
    result: dict[str, Any] = {"copy_bytes_per_second": 8 * count / copied["median"]}
    if torch is None:
        return result | {"products": reason("PyTorch is not installed")}
    size = setting.sizes((MATRIX,), (64,))[0]
    products = {}
    for precision in PRECISIONS:
        set_precision(setting, precision)
        dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
        a, b = (torch.randn(size, size, device=setting.torch_device).to(dtype) for _ in range(2))
        seconds = spread(their_launch(setting, lambda a=a, b=b: a @ b))
        products[precision] = 2 * size**3 / seconds["median"]
    return result | {"products": products}


def set_precision(setting: Setting, precision: str) -> None:
    """Let PyTorch round operands to tf32, or not, and search among cuDNN's algorithms."""
    backends = setting.torch.backends
    backends.cuda.matmul.allow_tf32 = backends.cudnn.allow_tf32 = precision == "tf32"
    backends.cudnn.benchmark = True


# --- one kernel -----------------------------------------------------------------------------------


def operators_in(precision: str) -> Any:
    """The operators of the device in a precision; ValueError where it has none."""
    from alexnet.network.freezing import operators_on

    return operators_on("cuda", precision)


def dtype_of(precision: str, name: str) -> np.dtype[Any]:
    """The type of an array of a case: in 16 bits that of activations, their gradients, weights."""
    if precision in SIXTEEN_BITS and name in ("x", "y", "dy", "dx", "weight"):
        from alexnet.cuda import mixed_precision

        return mixed_precision.dtype_of(precision)
    return np.dtype(np.float32)


def moved_bytes(case: Any, precision: str) -> int:
    """Those of `LayerCase.bytes`, in the types of a precision."""
    shapes = [*case.operand_shapes.items(), *case.result_shapes.items()]
    return sum(dtype_of(precision, name).itemsize * math.prod(shape) for name, shape in shapes)


def random_operands(setting: Setting, shapes: dict[str, Any], precision: str) -> dict[str, Any]:
    """Arrays on the device; the numbers of one small array again and again."""
    base = np.random.default_rng(0).standard_normal(1 << 16, np.float32)
    return {
        name: setting.cupy.asarray(np.resize(base, shape).astype(dtype_of(precision, name)))
        for name, shape in shapes.items()
    }


def empty_results(setting: Setting, shapes: dict[str, Any], precision: str) -> dict[str, Any]:
    """Memory for what a case computes."""
    return {
        name: setting.cupy.empty(shape, dtype_of(precision, name)) for name, shape in shapes.items()
    }


def our_time(setting: Setting, case: Any, precision: str) -> dict[str, Any]:
    """Seconds of our kernels for one layer in one direction."""
    return our_calls(setting, our_work(setting, case, precision))


def our_work(setting: Setting, case: Any, precision: str) -> list[Any]:
    """Calls that do it on different arrays."""
    from alexnet.comparison.peers.ours import layer_call

    operators = operators_in(precision)
    calls, given = [], random_operands(setting, case.operand_shapes, precision)
    for _ in range(sets_for(setting, moved_bytes(case, precision))):
        operands = {name: array.copy() for name, array in given.items()}
        out = empty_results(setting, case.result_shapes, precision)
        calls.append(layer_call(operators, case, operands, out))
    return calls


def their_time(setting: Setting, case: Any, precision: str) -> dict[str, Any]:
    """Seconds of PyTorch's for the same."""
    torch = setting.torch
    if torch is None:
        return reason("PyTorch is not installed")
    peer = importlib.import_module("alexnet.comparison.peers.torch")
    set_precision(setting, precision)
    base = np.random.default_rng(0).standard_normal(1 << 16, np.float32)
    shapes = {"x": case.input_shape, "dy": case.output_shape, **case.parameter_shapes}
    operands = {name: np.resize(base, shape) for name, shape in shapes.items()}
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32

    def make() -> list[Any]:
        job = peer.Torch(torch.get_num_threads(), setting.torch_device, dtype)
        number = sets_for(setting, case.bytes)
        return [job.prepare(case, "eager channels_last", operands).run for _ in range(number)]

    return their_calls(setting, make)


# --- predictions ----------------------------------------------------------------------------------


def predictions() -> dict[tuple[int, str], dict[tuple[str, str], dict[str, Any]]]:
    """Of benchmarks/gpu_static.py, as --prebuild has left them, by batch size and precision."""
    path = FOLDER / STATIC
    made = json.loads(path.read_text()) if path.exists() else []
    return {(entry["batch_size"], entry["precision"]): by_case(entry["launches"]) for entry in made}


def by_case(launches: list[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    """Seconds and what binds, of the launches of each layer and direction together."""
    result: dict[tuple[str, str], dict[str, Any]] = {}
    for launch, direction in zip(launches, directions(launches), strict=True):
        if direction is None:
            continue
        seconds = launch["seconds"][launch["bound"]]
        found = result.setdefault(
            (launch["layer"], direction), {"seconds": 0.0, "bound": launch["bound"], "most": 0.0}
        )
        found["seconds"] += seconds
        if seconds > found["most"]:
            found["most"], found["bound"] = seconds, launch["bound"]
    return result


def directions(launches: list[dict[str, Any]]) -> list[str | None]:
    """The case that each launch is part of; None for a ReLU, which the cases are without.

    Backwards, products of Hopper are told apart by whether depths of A are neighbours (k): then it
    is the gradient of the input. What prepares an operand comes before its product, sums of splits
    come behind.
    """
    result: list[str | None] = []
    preparing, before = [], "backward_weight"
    for number, launch in enumerate(launches):
        kernel, direction = launch["kernel"], launch["direction"]
        if direction == "backward" and launch["layer"].startswith(("conv", "fc")):
            if "hopper_prepare" in kernel or (preparing and kernel.startswith("column_sums")):
                preparing.append(number)
                direction = None
            elif kernel.startswith("relu"):
                direction = None
            elif "hopper_sum" in kernel:
                direction = before
            else:
                along_depth = kernel.startswith("hopper ") and kernel.rpartition(" ")[2][0] == "k"
                into = along_depth or " dx" in kernel
                direction = before = "backward_input" if into else "backward_weight"
        result.append(direction)
        if kernel.startswith("hopper "):
            for earlier in preparing:
                result[earlier] = direction
            preparing = []
    return result
