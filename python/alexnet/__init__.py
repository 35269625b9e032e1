"""AlexNet on hand-written kernels: the operators, forward and backward, and the network on them.

The operators are here (`alexnet.conv2d`, ...), in `alexnet.cpu`, and as a NumPy oracle in
`alexnet.reference`, under the same names and signatures.
"""

from alexnet import cpu, reference
from alexnet.ops import *  # noqa: F403
from alexnet.runtime import *  # noqa: F403
