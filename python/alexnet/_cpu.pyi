"""The compiled module; `alexnet.cpu` is its only user and says what each function does."""

from typing import Any

from alexnet.checks import AnyArray
from alexnet.shapes import Conv2dShape, DenseShape

def build_info() -> dict[str, Any]: ...
def cpu_isa() -> str: ...
def available_isas() -> list[str]: ...
def set_cpu_isa(name: str) -> None: ...
def vector_lanes() -> int: ...
def get_num_threads() -> int: ...
def set_num_threads(threads: int) -> None: ...
def conv2d(
    shape: Conv2dShape,
    x: AnyArray,
    weight: AnyArray,
    bias: AnyArray | None,
    relu: bool,
    algorithm: str,
    y: AnyArray,
) -> None: ...
def conv2d_backward_input(
    shape: Conv2dShape, dy: AnyArray, weight: AnyArray, algorithm: str, dx: AnyArray
) -> None: ...
def conv2d_backward_weight(
    shape: Conv2dShape,
    dy: AnyArray,
    x: AnyArray,
    algorithm: str,
    dweight: AnyArray,
    dbias: AnyArray,
) -> None: ...
def dense(
    shape: DenseShape,
    x: AnyArray,
    weight: AnyArray,
    bias: AnyArray | None,
    relu: bool,
    y: AnyArray,
) -> None: ...
def dense_backward_input(
    shape: DenseShape, dy: AnyArray, weight: AnyArray, dx: AnyArray
) -> None: ...
def dense_backward_weight(
    shape: DenseShape, dy: AnyArray, x: AnyArray, dweight: AnyArray, dbias: AnyArray
) -> None: ...
def relu(x: AnyArray, y: AnyArray) -> None: ...
def relu_backward(dy: AnyArray, y: AnyArray, dx: AnyArray) -> None: ...
