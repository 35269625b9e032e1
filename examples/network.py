"""One network: its layers, a pass forward and back, its weights in a file and back again."""

import tempfile
from pathlib import Path

import numpy as np

import alexnet

network = alexnet.AlexNet("cifar10-bn", seed=1)
print(network.summary(batch_size=8))

images = np.random.default_rng(0).standard_normal((8, *network.input_shape), np.float32)
labels = np.arange(8, dtype=np.int64)
logits = network.forward(images, training=True)
loss = alexnet.softmax_cross_entropy(logits, labels)
gradients = network.backward(alexnet.softmax_cross_entropy_backward(logits, labels))
print(f"loss {loss:.3f}")
for name, gradient in gradients.items():
    print(f"{name:16} {gradient.shape!s:18} norm of the gradient {np.linalg.norm(gradient):.2e}")

with tempfile.TemporaryDirectory() as folder:
    file = Path(folder) / "network.safetensors"
    network.save(file)
    again = alexnet.load(file)
assert (again.forward(images) == network.forward(images)).all()
