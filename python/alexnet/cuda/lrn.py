"""Local response normalisation on a CUDA device; see `alexnet.reference.lrn`."""

from __future__ import annotations

from alexnet import _cuda, reference
from alexnet.contract import calls
from alexnet.contract.documentation import documented_as
from alexnet.contract.shapes import ChannelsShape
from alexnet.cuda._arrays import DeviceArray, as_stored, make_output, stream


@documented_as(reference.lrn)
def lrn(
    x: DeviceArray,
    *,
    depth_radius: int = 5,
    bias: float = 1.0,
    alpha: float = 1.0,
    beta: float = 0.5,
    out: DeviceArray | None = None,
) -> DeviceArray:
    x = as_stored("lrn", "x", x)
    shape = calls.check_lrn(x, depth_radius, bias, alpha, beta)
    check_channels("lrn", shape)
    y = make_output("lrn", "out", out, x.shape, {"x": x}, like=x)
    _cuda.lrn(shape, x, depth_radius, bias, alpha, beta, y, stream())
    return y


@documented_as(reference.lrn_backward)
def lrn_backward(
    dy: DeviceArray,
    x: DeviceArray,
    *,
    depth_radius: int = 5,
    bias: float = 1.0,
    alpha: float = 1.0,
    beta: float = 0.5,
    through_relu: bool = False,
    out: DeviceArray | None = None,
) -> DeviceArray:
    operator = "lrn_backward"
    x = as_stored(operator, "x", x)
    dy = as_stored(operator, "dy", dy, x)
    shape = calls.check_lrn_backward(dy, x, depth_radius, bias, alpha, beta, through_relu)
    check_channels(operator, shape)
    dx = make_output(operator, "out", out, x.shape, {"dy": dy, "x": x}, like=x)
    _cuda.lrn_backward(shape, dy, x, depth_radius, bias, alpha, beta, through_relu, dx, stream())
    return dx


def check_channels(operator: str, shape: ChannelsShape) -> None:
    """Check that the channels of a pixel fit into shared memory."""
    if shape.channels > _cuda.most_lrn_channels:
        raise ValueError(
            f"{operator}: x has {shape.channels} channels, but the CUDA kernel takes at most "
            f"{_cuda.most_lrn_channels}"
        )
