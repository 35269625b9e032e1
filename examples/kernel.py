"""One kernel: a convolution and its gradients, beside the same operator in NumPy."""

import numpy as np

import alexnet

random = np.random.default_rng(0)
x = random.standard_normal((4, 13, 13, 32), np.float32)  # batch, height, width, channels
weight = random.standard_normal((3, 3, 32, 48), np.float32)  # height, width, in, out
bias = random.standard_normal(48, np.float32)

y = alexnet.conv2d(x, weight, bias, activation="relu")
dy = np.where(y > 0, np.float32(1), np.float32(0))  # the gradient of sum(y) below the ReLU
dx = alexnet.conv2d_backward_input(dy, weight, x.shape)
dweight, dbias = alexnet.conv2d_backward_weight(dy, x, 3)

expected = {
    "y": (y, alexnet.reference.conv2d(x, weight, bias, activation="relu")),
    "dx": (dx, alexnet.reference.conv2d_backward_input(dy, weight, x.shape)),
    "dweight": (dweight, alexnet.reference.conv2d_backward_weight(dy, x, 3)[0]),
    "dbias": (dbias, alexnet.reference.conv2d_backward_weight(dy, x, 3)[1]),
}
for name, (ours, reference) in expected.items():
    error = np.linalg.norm(ours - reference) / np.linalg.norm(reference)
    print(f"{name:8} {ours.shape!s:16} differs from the reference by {error:.1e}")
    assert error < 1e-5
