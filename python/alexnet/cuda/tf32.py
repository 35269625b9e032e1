"""`alexnet.cuda` with the products of convolutions and dense layers in tf32.

Made to be the `implementation` of a `Network`. Needs a device of compute capability 8.0 or later.
"""

import functools

from alexnet import cuda
from alexnet.cuda import *  # noqa: F403 - the same operators, but for those below
from alexnet.cuda import fused as fused

conv2d = functools.partial(cuda.conv2d, precision="tf32")
conv2d_backward_input = functools.partial(cuda.conv2d_backward_input, precision="tf32")
conv2d_backward_weight = functools.partial(cuda.conv2d_backward_weight, precision="tf32")
dense = functools.partial(cuda.dense, precision="tf32")
dense_backward_input = functools.partial(cuda.dense_backward_input, precision="tf32")
dense_backward_weight = functools.partial(cuda.dense_backward_weight, precision="tf32")
