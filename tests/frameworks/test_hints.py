"""The step that a message names for a tensor of another framework gives an array that is taken."""

from __future__ import annotations

import numpy as np
import pytest

import alexnet

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("requires_grad", [False, True])
def test_a_tensor_of_pytorch(requires_grad: bool) -> None:
    x = torch.ones(2, 3, requires_grad=requires_grad)
    step = "x.detach().numpy()" if requires_grad else "x.numpy()"
    with pytest.raises(TypeError) as caught:
        alexnet.relu(x)
    assert str(caught.value).endswith(f": {step} gives one")
    np.testing.assert_array_equal(alexnet.relu(eval(step)), np.ones((2, 3)))


def test_an_array_of_jax() -> None:
    x = pytest.importorskip("jax.numpy").ones((2, 3))
    with pytest.raises(TypeError) as caught:
        alexnet.relu(x)
    assert str(caught.value).endswith(": np.asarray(x, np.float32) gives one")
    np.testing.assert_array_equal(alexnet.relu(np.asarray(x, np.float32)), np.ones((2, 3)))
