"""PyTorch 2.13 alone: `torch.compile` loses the gradient of a max-pooling layer.

    python benchmarks/torch_compiled_gradient.py
    python benchmarks/torch_compiled_gradient.py --batch-size 2
    python benchmarks/torch_compiled_gradient.py --keep-order

AlexNet with LRN in PyTorch's own layout, 32 images, on the CPU. For each parameter it prints the
relative L2 error of the gradient, eager and compiled, against eager in float64, and exits with
status 1 where a compiled one is off by more than 10 %.

With PyTorch 2.13.0 all gradients before the last pooling layer are zero, an error of 1. The code
that its compiler makes fills a buffer with zeros, hands them on as the pooling's gradient, and adds
the gradient to the buffer only at the end. Which step comes first depends on what it believes to
need the least memory: with 2 images, or without that reordering (--keep-order), the gradients are
right. It is PyTorch's issue 185509. Nothing of alexnet is imported here.
"""

from __future__ import annotations

import argparse
import copy

import torch
import torch._inductor.config
import torch.nn.functional as F  # noqa: N812 - as PyTorch's own documents call it

ERROR = 0.1


class Network(torch.nn.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        conv = torch.nn.Conv2d
        self.conv1, self.conv2 = conv(3, 96, 11, stride=4), conv(96, 256, 5, padding=2)
        self.conv3, self.conv4 = conv(256, 384, 3, padding=1), conv(384, 384, 3, padding=1)
        self.conv5 = conv(384, 256, 3, padding=1)
        self.fc6, self.fc7 = torch.nn.Linear(9216, 4096), torch.nn.Linear(4096, 4096)
        self.fc8 = torch.nn.Linear(4096, 1000)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.pad(x, (3, 4, 3, 4))
        for conv in (self.conv1, self.conv2):
            x = F.local_response_norm(F.relu(conv(x)), 11, alpha=0.001 / 9 * 11, beta=0.75, k=1.0)
            x = F.max_pool2d(x, 3, 2)
        for conv in (self.conv3, self.conv4, self.conv5):
            x = F.relu(conv(x))
        x = F.max_pool2d(x, 3, 2).permute(0, 2, 3, 1).flatten(1)
        for dense in (self.fc6, self.fc7, self.fc8):
            x = F.relu(dense(x))
        return x


def gradients(network: torch.nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Those of sum(y²) / 2, for every parameter."""
    y = network(x)
    return torch.autograd.grad(y, [*network.parameters()], y.detach())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch-size", type=int, default=32, metavar="N")
    parser.add_argument(
        "--keep-order", action="store_true", help="no reordering for the least memory"
    )
    options = parser.parse_args()
    if options.keep_order:
        torch._inductor.config.reorder_for_peak_memory = False
    torch.manual_seed(0)
    network, x = Network(), torch.randn(options.batch_size, 3, 224, 224)
    exact = gradients(copy.deepcopy(network).double(), x.double())
    eager = gradients(network, x)
    compiled = gradients(torch.compile(network, dynamic=False), x)
    print(f"PyTorch {torch.__version__}, {options.batch_size} images\n")
    print(f"{'gradient':12} {'eager':>8} {'compiled':>9}")
    worst = 0.0
    for index, (name, _) in enumerate(network.named_parameters()):
        size = exact[index].norm()
        errors = [float((g[index] - exact[index]).norm() / size) for g in (eager, compiled)]
        print(f"{name:12} {errors[0]:8.0e} {errors[1]:9.0e}")
        worst = max(worst, errors[1])
    raise SystemExit(int(not worst <= ERROR))


if __name__ == "__main__":
    main()
