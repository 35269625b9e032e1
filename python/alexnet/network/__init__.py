"""Networks: layers, variants that list them, and the arrays and steps of a network built from one.

`layer` and `layers` say what a layer is, `variant` what a description of a network holds,
`variants` has the known ones by name. `Network` runs one, `AlexNet` by a variant's name.
"""

from alexnet.network.layers import LRN, BatchNorm, Conv2d, Dense, Dropout, Flatten, MaxPool2d
from alexnet.network.network import Network
from alexnet.network.variant import Variant
from alexnet.network.variants import AlexNet, variants

__all__ = [
    "LRN",
    "AlexNet",
    "BatchNorm",
    "Conv2d",
    "Dense",
    "Dropout",
    "Flatten",
    "MaxPool2d",
    "Network",
    "Variant",
    "variants",
]
