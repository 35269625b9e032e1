"""AlexNet as published and as benchmarked: nine variants as tables of layers.

Sources: Krizhevsky, Sutskever and Hinton, "ImageNet classification with deep convolutional neural
networks", 2012; Krizhevsky, "One weird trick for parallelizing convolutional neural networks",
2014 (arXiv 1404.5997); and the programs that each variant names.
"""

from __future__ import annotations

from functools import partial
from types import ModuleType

from alexnet.contract.arguments import check_flag
from alexnet.contract.names import explaining_arguments
from alexnet.messages import hint, shown
from alexnet.network.freezing import FLOAT32
from alexnet.network.initializers import (
    Constant,
    FanInUniform,
    HeNormal,
    Initialisation,
    Normal,
    TruncatedNormal,
    XavierUniform,
)
from alexnet.network.layer import Layer
from alexnet.network.layers import LRN, BatchNorm, Conv2d, Dense, Dropout, Flatten, MaxPool2d
from alexnet.network.network import Network
from alexnet.network.variant import Variant

_conv = partial(Conv2d, activation="relu")
_dense = partial(Dense, activation="relu")
_cifar10_norm = partial(BatchNorm, epsilon=1e-3, activation="relu")


def _classifier(num_classes: int) -> tuple[Layer, ...]:
    """Dense layers of the paper, dropout on the outputs of both hidden ones."""
    return (
        Flatten("flatten"),
        _dense("fc6", 4096),
        Dropout("dropout6", 0.5),
        _dense("fc7", 4096),
        Dropout("dropout7", 0.5),
        Dense("fc8", num_classes),
    )


# --- TensorFlow's benchmark -----------------------------------------------------------------------


def _benchmark_features(widths: tuple[int, int, int, int, int], radius: int) -> tuple[Layer, ...]:
    norm = partial(LRN, depth_radius=radius, bias=1.0, alpha=0.001 / 9, beta=0.75)
    return (
        _conv("conv1", widths[0], 11, stride=4),
        norm("lrn1"),
        MaxPool2d("pool1"),
        _conv("conv2", widths[1], 5),
        norm("lrn2"),
        MaxPool2d("pool2"),
        _conv("conv3", widths[2], 3),
        _conv("conv4", widths[3], 3),
        _conv("conv5", widths[4], 3),
        MaxPool2d("pool5"),
    )


TF_TUTORIAL = Variant(
    name="tf-tutorial",
    description="TensorFlow's AlexNet benchmark, convolutional layers only",
    input_shape=(224, 224, 3),
    layers=_benchmark_features((64, 192, 384, 256, 256), radius=4),
    initialisation=Initialisation(TruncatedNormal(0.1)),
)

TF_SMALL = Variant(
    name="tf-small",
    description="the same, narrower",
    input_shape=(224, 224, 3),
    layers=_benchmark_features((64, 128, 256, 128, 128), radius=4),
    initialisation=Initialisation(TruncatedNormal(0.1)),
)

TF_FULL = Variant(
    name="tf-full",
    description="TensorFlow's benchmark with the dense layers, ReLU also on the last",
    input_shape=(224, 224, 3),
    layers=(
        *_benchmark_features((96, 256, 384, 384, 256), radius=5),
        Flatten("flatten"),
        _dense("fc6", 4096),
        _dense("fc7", 4096),
        _dense("fc8", 1000),
    ),
    initialisation=Initialisation(
        TruncatedNormal(0.1),
        exceptions={f"{layer}.bias": Constant(0.1) for layer in ("fc6", "fc7", "fc8")},
    ),
)

# --- for training ---------------------------------------------------------------------------------

PYTORCH_227 = Variant(
    name="pytorch-227",
    description="cats and dogs: ungrouped, no normalisation",
    input_shape=(227, 227, 3),
    layers=(
        _conv("conv1", 96, 11, stride=4, padding="valid"),
        MaxPool2d("pool1"),
        _conv("conv2", 256, 5, padding=2),
        MaxPool2d("pool2"),
        _conv("conv3", 384, 3, padding=1),
        _conv("conv4", 384, 3, padding=1),
        _conv("conv5", 256, 3, padding=1),
        MaxPool2d("pool5"),
        *_classifier(num_classes=2),
    ),
    # Not the write-ups' N(0, 0.01) or uniform by fan-in: signals shrink in every layer under them,
    # and the first steps kill conv5 (docs/training.md). The last layer starts near 0: the loss
    # at ln 2.
    initialisation=Initialisation(HeNormal(), exceptions={"fc8.weight": Normal(0.001)}),
)

CIFAR10_BN = Variant(
    name="cifar10-bn",
    description="CIFAR-10 with batch norm on conv2, conv5 and both hidden dense layers",
    input_shape=(32, 32, 3),
    layers=(
        _conv("conv1", 48, 3),
        LRN("lrn1", depth_radius=4, bias=1.0, alpha=0.001 / 9, beta=0.75),
        MaxPool2d("pool1", window=2),
        Conv2d("conv2", 96, 3, bias=False),
        _cifar10_norm("bn2"),
        MaxPool2d("pool2", window=2),
        _conv("conv3", 192, 3),
        _conv("conv4", 192, 3),
        _conv("conv5", 96, 3),
        _cifar10_norm("bn5"),
        MaxPool2d("pool5", window=2),
        Flatten("flatten"),
        Dense("fc6", 1024, bias=False),
        _cifar10_norm("bn6"),
        Dense("fc7", 1024, bias=False),
        _cifar10_norm("bn7"),
        Dense("fc8", 10),
    ),
    initialisation=Initialisation(HeNormal()),
    pixel_range=(-1.0, 1.0),
)
"""Conv5 has a ReLU on both sides of its batch norm, and therefore a bias, as no other layer before
a batch norm has: there the batch norm would take it away again. The input is pixel / 127.5 - 1.

The write-up that it follows has a batch norm written by hand, of which no more is known here than
its epsilon, 1e-3. Ours may differ in the rest: training normalises by the mean and the biased
variance of the batch, over all axes but the channels; running averages of the mean and of the
unbiased variance move by 0.1 of the way in each step, and evaluation uses those; gamma starts at 1
and beta at 0. The initialisation of the weights, He's, is a choice of ours, too.
"""

# --- as published ---------------------------------------------------------------------------------

KRIZHEVSKY_2012 = Variant(
    name="krizhevsky-2012",
    description="the paper: two groups in conv2, conv4 and conv5",
    input_shape=(224, 224, 3),
    layers=(
        # The paper's 55x55 needs three more pixels than 224: one before, two after.
        _conv("conv1", 96, 11, stride=4, padding=((1, 2), (1, 2))),
        LRN("lrn1", depth_radius=2, bias=2.0, alpha=1e-4, beta=0.75),
        MaxPool2d("pool1"),
        _conv("conv2", 256, 5, groups=2),
        LRN("lrn2", depth_radius=2, bias=2.0, alpha=1e-4, beta=0.75),
        MaxPool2d("pool2"),
        _conv("conv3", 384, 3),
        _conv("conv4", 384, 3, groups=2),
        _conv("conv5", 256, 3, groups=2),
        MaxPool2d("pool5"),
        *_classifier(num_classes=1000),
    ),
    initialisation=Initialisation(
        Normal(0.01),
        exceptions={
            f"{layer}.bias": Constant(1.0) for layer in ("conv2", "conv4", "conv5", "fc6", "fc7")
        },
    ),
)

CAFFE = Variant(
    name="caffe",
    description="bvlc_alexnet: Caffe's scaling of LRN, pools rounded up",
    input_shape=(227, 227, 3),
    layers=(
        _conv("conv1", 96, 11, stride=4, padding="valid"),
        # Caffe divides its alpha of 1e-4 by the window of 5.
        LRN("lrn1", depth_radius=2, bias=1.0, alpha=1e-4 / 5, beta=0.75),
        MaxPool2d("pool1", ceil_mode=True),
        _conv("conv2", 256, 5, padding=2, groups=2),
        LRN("lrn2", depth_radius=2, bias=1.0, alpha=1e-4 / 5, beta=0.75),
        MaxPool2d("pool2", ceil_mode=True),
        _conv("conv3", 384, 3, padding=1),
        _conv("conv4", 384, 3, padding=1, groups=2),
        _conv("conv5", 256, 3, padding=1, groups=2),
        MaxPool2d("pool5", ceil_mode=True),
        *_classifier(num_classes=1000),
    ),
    initialisation=Initialisation(
        Normal(0.01),
        Constant(0.1),
        exceptions={
            "conv1.bias": Constant(0.0),
            "conv3.bias": Constant(0.0),
            "fc6.weight": Normal(0.005),
            "fc7.weight": Normal(0.005),
            "fc8.bias": Constant(0.0),
        },
    ),
)

TORCHVISION = Variant(
    name="torchvision",
    description='torchvision\'s, after "One weird trick": no normalisation, no groups',
    input_shape=(224, 224, 3),
    layers=(
        _conv("conv1", 64, 11, stride=4, padding=2),
        MaxPool2d("pool1"),
        _conv("conv2", 192, 5, padding=2),
        MaxPool2d("pool2"),
        _conv("conv3", 384, 3, padding=1),
        _conv("conv4", 256, 3, padding=1),
        _conv("conv5", 256, 3, padding=1),
        MaxPool2d("pool5"),  # 6x6, on which torchvision's adaptive average pool is the identity
        Flatten("flatten"),
        Dropout("dropout6", 0.5),  # before each hidden dense layer, not after
        _dense("fc6", 4096),
        Dropout("dropout7", 0.5),
        _dense("fc7", 4096),
        Dense("fc8", 1000),
    ),
    initialisation=Initialisation(FanInUniform(), FanInUniform()),
)

SLIM_V2 = Variant(
    name="slim-v2",
    description="TF-slim's alexnet_v2: dense layers as convolutions, no normalisation",
    input_shape=(224, 224, 3),
    layers=(
        _conv("conv1", 64, 11, stride=4, padding="valid"),
        MaxPool2d("pool1"),
        _conv("conv2", 192, 5),
        MaxPool2d("pool2"),
        _conv("conv3", 384, 3),
        _conv("conv4", 384, 3),
        _conv("conv5", 256, 3),
        MaxPool2d("pool5"),
        _conv("fc6", 4096, 5, padding="valid"),
        Dropout("dropout6", 0.5),
        _conv("fc7", 4096, 1),
        Dropout("dropout7", 0.5),
        Conv2d("fc8", 1000, 1),
        Flatten("squeeze"),
    ),
    initialisation=Initialisation(
        XavierUniform(),
        Constant(0.1),
        exceptions={
            "fc6.weight": TruncatedNormal(0.005),
            "fc7.weight": TruncatedNormal(0.005),
            "fc8.weight": TruncatedNormal(0.005),
            "fc8.bias": Constant(0.0),
        },
    ),
)

VARIANTS = {
    variant.name: variant
    for variant in (
        TF_TUTORIAL,
        TF_SMALL,
        TF_FULL,
        PYTORCH_227,
        CIFAR10_BN,
        KRIZHEVSKY_2012,
        CAFFE,
        TORCHVISION,
        SLIM_V2,
    )
}


def variants() -> tuple[str, ...]:
    """Names that `AlexNet` builds."""
    return tuple(VARIANTS)


def variant_named(name: str) -> Variant:
    """Look a variant up; ValueError names those that there are."""
    if not isinstance(name, str) or name not in VARIANTS:
        expected = f"{', '.join(VARIANTS)}{hint(name, VARIANTS)}"
        raise ValueError(f"variant is {shown(name)}, expected one of {expected}")
    return VARIANTS[name]


@explaining_arguments
class AlexNet(Network):
    """One of the published variants of AlexNet, or one of your own.

    Parameters
    ----------
    variant
        A name from `variants()`, or a `Variant`.
    seed
        Of the initial parameters and the dropout masks, in [0, 2**64). None leaves the parameters
        zero, to be assigned.
    lrn
        False builds the network without local response normalisation.
    num_classes
        Classes of the last layer; the variant's own if None. ValueError for a variant that ends in
        feature maps.
    device
        Where its arrays lie and its operators run: "cpu" (NumPy arrays) or "cuda" (CuPy arrays on
        the current device; see `alexnet.cuda`).
    implementation
        The module whose operators run it, instead of the device's. With `alexnet.reference` every
        array is float64.
    precision
        Of the products: "float32"; "tf32", "bfloat16" or "float16" on device "cuda"; "bfloat16" for
        inference on the CPU; see `Network`.
    graph
        On device "cuda": launch passes whose shape comes again as CUDA graphs; see `Network`.

    """

    def __init__(
        self,
        variant: str | Variant,
        *,
        seed: int | None = 0,
        lrn: bool = True,
        num_classes: int | None = None,
        device: str = "cpu",
        implementation: ModuleType | None = None,
        precision: str = FLOAT32,
        graph: bool = True,
    ) -> None:
        described = variant if isinstance(variant, Variant) else variant_named(variant)
        if not check_flag(described.name, "lrn", lrn):
            described = described.without_lrn()
        if num_classes is not None:
            described = described.with_classes(num_classes)
        super().__init__(
            described,
            seed=seed,
            device=device,
            implementation=implementation,
            precision=precision,
            graph=graph,
        )
