"""The compiled module; `alexnet.cuda` is its only user and says what each function does.

Arrays are CuPy's. `stream` is the address of a CUDA stream.
"""

from typing import Any, TypeAlias

from alexnet.contract.shapes import ChannelsShape, Conv2dShape, DenseShape, Pool2dShape

Array: TypeAlias = Any

most_lrn_channels: int
first_loss_scale: float
least_loss_scale: float
most_loss_scale: float
steps_to_double: float

def conv2d_workspace(shape: Conv2dShape) -> int: ...
def conv2d(
    shape: Conv2dShape,
    x: Array,
    weight: Array,
    bias: Array | None,
    relu: bool,
    tf32: bool,
    y: Array,
    workspace: Array | None,
    stream: int,
) -> None: ...
def conv2d_backward_input_workspace(shape: Conv2dShape) -> int: ...
def conv2d_backward_input(
    shape: Conv2dShape,
    dy: Array,
    weight: Array,
    relu_output: Array | None,
    tf32: bool,
    dx: Array,
    workspace: Array | None,
    stream: int,
) -> None: ...
def conv2d_backward_weight_workspace(shape: Conv2dShape) -> int: ...
def conv2d_backward_weight(
    shape: Conv2dShape,
    dy: Array,
    x: Array,
    tf32: bool,
    dweight: Array,
    dbias: Array,
    workspace: Array | None,
    stream: int,
) -> None: ...
def winograd_unsupported(shape: Conv2dShape, direction: str) -> str | None: ...
def winograd_is_faster(shape: Conv2dShape, direction: str) -> bool: ...
def conv2d_winograd_workspace(shape: Conv2dShape, most_floats: int) -> int: ...
def conv2d_winograd(
    shape: Conv2dShape,
    most_floats: int,
    x: Array,
    weight: Array,
    bias: Array | None,
    relu: bool,
    y: Array,
    workspace: Array | None,
    stream: int,
) -> None: ...
def conv2d_winograd_backward_input_workspace(shape: Conv2dShape, most_floats: int) -> int: ...
def conv2d_winograd_backward_input(
    shape: Conv2dShape,
    most_floats: int,
    dy: Array,
    weight: Array,
    relu_output: Array | None,
    dx: Array,
    workspace: Array | None,
    stream: int,
) -> None: ...
def conv2d_winograd_backward_weight_workspace(shape: Conv2dShape, most_floats: int) -> int: ...
def conv2d_winograd_backward_weight(
    shape: Conv2dShape,
    most_floats: int,
    dy: Array,
    x: Array,
    dweight: Array,
    dbias: Array,
    workspace: Array | None,
    stream: int,
) -> None: ...
def dense_workspace(shape: DenseShape) -> int: ...
def dense(
    shape: DenseShape,
    x: Array,
    weight: Array,
    bias: Array | None,
    relu: bool,
    tf32: bool,
    y: Array,
    workspace: Array | None,
    stream: int,
) -> None: ...
def dense_backward_input_workspace(shape: DenseShape) -> int: ...
def dense_backward_input(
    shape: DenseShape,
    dy: Array,
    weight: Array,
    relu_output: Array | None,
    tf32: bool,
    dx: Array,
    workspace: Array | None,
    stream: int,
) -> None: ...
def dense_backward_weight_workspace(shape: DenseShape) -> int: ...
def dense_backward_weight(
    shape: DenseShape,
    dy: Array,
    x: Array,
    tf32: bool,
    dweight: Array,
    dbias: Array,
    workspace: Array | None,
    stream: int,
) -> None: ...
def lrn(
    shape: ChannelsShape,
    x: Array,
    depth_radius: int,
    bias: float,
    alpha: float,
    beta: float,
    y: Array,
    stream: int,
) -> None: ...
def lrn_backward(
    shape: ChannelsShape,
    dy: Array,
    x: Array,
    depth_radius: int,
    bias: float,
    alpha: float,
    beta: float,
    through_relu: bool,
    dx: Array,
    stream: int,
) -> None: ...
def max_pool2d_positions_dtype(shape: Pool2dShape) -> str: ...
def max_pool2d(
    shape: Pool2dShape, x: Array, y: Array | None, positions: Array | None, stream: int
) -> None: ...
def max_pool2d_backward(
    shape: Pool2dShape, dy: Array, positions: Array, through_relu: bool, dx: Array, stream: int
) -> None: ...
def lrn_max_pool2d(
    shape: Pool2dShape,
    x: Array,
    depth_radius: int,
    bias: float,
    alpha: float,
    beta: float,
    y: Array,
    positions: Array | None,
    stream: int,
) -> bool: ...
def lrn_max_pool2d_backward(
    shape: Pool2dShape,
    dy: Array,
    x: Array,
    positions: Array,
    depth_radius: int,
    bias: float,
    alpha: float,
    beta: float,
    through_relu: bool,
    dx: Array,
    stream: int,
) -> bool: ...
def relu(x: Array, y: Array, stream: int) -> None: ...
def relu_backward(dy: Array, y: Array, dx: Array, stream: int) -> None: ...
def batch_norm_workspace(shape: ChannelsShape) -> int: ...
def batch_norm_inference(
    shape: ChannelsShape,
    x: Array,
    gamma: Array,
    beta: Array,
    mean: Array,
    variance: Array,
    epsilon: float,
    relu: bool,
    y: Array,
    stream: int,
) -> None: ...
def batch_norm_training(
    shape: ChannelsShape,
    x: Array,
    gamma: Array,
    beta: Array,
    epsilon: float,
    relu: bool,
    y: Array,
    mean: Array,
    variance: Array,
    workspace: Array | None,
    stream: int,
) -> None: ...
def batch_norm_backward(
    shape: ChannelsShape,
    dy: Array,
    x: Array,
    gamma: Array,
    mean: Array,
    variance: Array,
    epsilon: float,
    training: bool,
    dx: Array,
    dgamma: Array,
    dbeta: Array,
    workspace: Array | None,
    stream: int,
) -> None: ...
def move_average(
    average: Array, share: float, value: Array, factor: float, stream: int
) -> None: ...
def dropout(
    x: Array,
    seed: int,
    offset: int,
    later: Array | None,
    threshold: int,
    scale: float,
    y: Array,
    stream: int,
) -> None: ...
def softmax_cross_entropy_workspace(batch: int) -> int: ...
def softmax_cross_entropy(
    batch: int,
    classes: int,
    logits: Array,
    labels: Array,
    loss: Array,
    workspace: Array | None,
    stream: int,
) -> None: ...
def softmax_cross_entropy_backward(
    batch: int, classes: int, logits: Array, labels: Array, dlogits: Array, stream: int
) -> None: ...
def l2_loss_workspace(n: int) -> int: ...
def l2_loss(x: Array, loss: Array, workspace: Array | None, stream: int) -> None: ...
def l2_loss_backward(x: Array, dx: Array, stream: int) -> None: ...
def sgd_update(
    parameter: Array,
    gradient: Array,
    velocity: Array,
    learning_rate: float,
    momentum: float,
    weight_decay: float,
    copy: Array | None,
    overflow: Array | None,
    stream: int,
) -> None: ...
def adam_update(
    parameter: Array,
    gradient: Array,
    first_moment: Array,
    second_moment: Array,
    step: int,
    learning_rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    weight_decay: float,
    copy: Array | None,
    overflow: Array | None,
    stream: int,
) -> None: ...
def sgd_step(
    learning_rate: float, momentum: float, weight_decay: float
) -> tuple[float, float, float]: ...
def adam_step(
    step: int,
    learning_rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    weight_decay: float,
) -> tuple[float, ...]: ...
def sgd_update_by(
    parameter: Array,
    gradient: Array,
    velocity: Array,
    step: Array,
    loss: Array,
    copy: Array | None,
    overflow: Array | None,
    stream: int,
) -> None: ...
def adam_update_by(
    parameter: Array,
    gradient: Array,
    first_moment: Array,
    second_moment: Array,
    step: Array,
    loss: Array,
    copy: Array | None,
    overflow: Array | None,
    stream: int,
) -> None: ...
def convert(x: Array, y: Array, stream: int) -> None: ...
def scale_gradient(
    dy: Array, scale: Array, scaled: Array, overflow: Array, stream: int
) -> None: ...
def unscale_gradients(gradient: Array, scale: Array, overflow: Array, stream: int) -> None: ...
def update_loss_scale(scale: Array, overflow: Array, loss: Array | None, stream: int) -> None: ...
def force_blocking(rows: int, columns: int, splits: int) -> None: ...
def force_hopper_cut(rows: int, columns: int, blocks: int, splits: int) -> None: ...
def hopper_choices() -> list[tuple[tuple[int, int, int, int], int]]: ...
