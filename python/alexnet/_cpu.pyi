"""The compiled module; `alexnet.cpu` is its only user and says what each function does."""

from typing import Any

from alexnet.contract.arguments import AnyArray
from alexnet.contract.shapes import ChannelsShape, Conv2dShape, DenseShape, Pool2dShape

def build_info() -> dict[str, Any]: ...
def cpu_isa() -> str: ...
def available_isas() -> list[str]: ...
def set_cpu_isa(name: str) -> None: ...
def vector_lanes() -> int: ...
def get_num_threads() -> int: ...
def num_threads_from() -> str: ...
def cpu_quota(root: str) -> int: ...
def set_num_threads(threads: int) -> None: ...
def conv2d_choice(shape: Conv2dShape, direction: str) -> str: ...
def conv2d(
    shape: Conv2dShape,
    x: AnyArray,
    weight: AnyArray,
    bias: AnyArray | None,
    relu: bool,
    algorithm: str,
    y: AnyArray,
) -> None: ...
def prepared_weight_size(shape: Conv2dShape, algorithm: str) -> int: ...
def prepare_weight(
    shape: Conv2dShape, weight: AnyArray, algorithm: str, prepared: AnyArray
) -> None: ...
def conv2d_prepared(
    shape: Conv2dShape,
    x: AnyArray,
    weight: AnyArray,
    bias: AnyArray | None,
    relu: bool,
    algorithm: str,
    y: AnyArray,
    prepared: AnyArray,
    isa: str,
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
def bf16_instructions() -> str: ...
def available_bf16_instructions() -> list[str]: ...
def set_bf16_instructions(name: str) -> None: ...
def packed_conv2d_bf16_size(shape: Conv2dShape) -> int: ...
def pack_conv2d_bf16(shape: Conv2dShape, weight: AnyArray, packed: AnyArray) -> None: ...
def conv2d_bf16(
    shape: Conv2dShape,
    x: AnyArray,
    packed: AnyArray,
    bias: AnyArray | None,
    relu: bool,
    y: AnyArray,
) -> None: ...
def max_pool2d_bf16(shape: Pool2dShape, x: AnyArray, y: AnyArray) -> None: ...
def conv2d_max_pool2d_bf16(
    shape: Conv2dShape,
    pool: Pool2dShape,
    x: AnyArray,
    packed: AnyArray,
    bias: AnyArray | None,
    relu: bool,
    y: AnyArray,
) -> None: ...
def packed_dense_bf16_size(shape: DenseShape) -> int: ...
def pack_dense_bf16(shape: DenseShape, weight: AnyArray, packed: AnyArray) -> None: ...
def dense_bf16(
    shape: DenseShape,
    x: AnyArray,
    packed: AnyArray,
    bias: AnyArray | None,
    relu: bool,
    y: AnyArray,
) -> None: ...
def lrn(
    shape: ChannelsShape,
    x: AnyArray,
    depth_radius: int,
    bias: float,
    alpha: float,
    beta: float,
    y: AnyArray,
) -> None: ...
def lrn_backward(
    shape: ChannelsShape,
    dy: AnyArray,
    x: AnyArray,
    depth_radius: int,
    bias: float,
    alpha: float,
    beta: float,
    through_relu: bool,
    dx: AnyArray,
) -> None: ...
def max_pool2d(shape: Pool2dShape, x: AnyArray, y: AnyArray) -> None: ...
def max_pool2d_backward(
    shape: Pool2dShape, dy: AnyArray, x: AnyArray, through_relu: bool, dx: AnyArray
) -> None: ...
def lrn_max_pool2d(
    shape: Pool2dShape,
    x: AnyArray,
    depth_radius: int,
    bias: float,
    alpha: float,
    beta: float,
    y: AnyArray,
    positions: AnyArray | None,
) -> None: ...
def lrn_max_pool2d_backward(
    shape: Pool2dShape,
    dy: AnyArray,
    x: AnyArray,
    positions: AnyArray,
    depth_radius: int,
    bias: float,
    alpha: float,
    beta: float,
    through_relu: bool,
    dx: AnyArray,
) -> None: ...
def relu(x: AnyArray, y: AnyArray) -> None: ...
def relu_backward(dy: AnyArray, y: AnyArray, dx: AnyArray) -> None: ...
def batch_norm_inference(
    shape: ChannelsShape,
    x: AnyArray,
    gamma: AnyArray,
    beta: AnyArray,
    mean: AnyArray,
    variance: AnyArray,
    epsilon: float,
    relu: bool,
    y: AnyArray,
) -> None: ...
def batch_norm_training(
    shape: ChannelsShape,
    x: AnyArray,
    gamma: AnyArray,
    beta: AnyArray,
    epsilon: float,
    relu: bool,
    y: AnyArray,
    mean: AnyArray,
    variance: AnyArray,
) -> None: ...
def move_average(average: AnyArray, share: float, value: AnyArray, factor: float) -> None: ...
def batch_norm_backward(
    shape: ChannelsShape,
    dy: AnyArray,
    x: AnyArray,
    gamma: AnyArray,
    mean: AnyArray,
    variance: AnyArray,
    epsilon: float,
    training: bool,
    dx: AnyArray,
    dgamma: AnyArray,
    dbeta: AnyArray,
) -> None: ...
def dropout(
    x: AnyArray, seed: int, offset: int, threshold: int, scale: float, y: AnyArray
) -> None: ...
def softmax_cross_entropy(
    batch: int, classes: int, logits: AnyArray, labels: AnyArray, loss: AnyArray
) -> None: ...
def softmax_cross_entropy_backward(
    batch: int, classes: int, logits: AnyArray, labels: AnyArray, dlogits: AnyArray
) -> None: ...
def l2_loss(x: AnyArray, loss: AnyArray) -> None: ...
def l2_loss_backward(x: AnyArray, dx: AnyArray) -> None: ...
def sgd_update(
    parameter: AnyArray,
    gradient: AnyArray,
    velocity: AnyArray,
    learning_rate: float,
    momentum: float,
    weight_decay: float,
) -> None: ...
def adam_update(
    parameter: AnyArray,
    gradient: AnyArray,
    first_moment: AnyArray,
    second_moment: AnyArray,
    step: int,
    learning_rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    weight_decay: float,
) -> None: ...
def fma_loop(steps: int) -> int: ...
def read_loop(x: AnyArray) -> None: ...
def copy_loop(x: AnyArray, y: AnyArray) -> None: ...
def start_task_times() -> None: ...
def stop_task_times() -> list[tuple[int, int, list[float]]]: ...
