"""What is measured, as data: our networks, their layers, and convolutions unlike them."""

from __future__ import annotations

import dataclasses

from alexnet.comparison.benchmark import FORWARD, TARGETS
from alexnet.comparison.cases import (
    PRODUCT_DIRECTIONS,
    TRAINING_STEP,
    LayerCase,
    NetworkCase,
    layer_cases,
)
from alexnet.network.layer import Layer
from alexnet.network.layers import Conv2d
from alexnet.network.variants import variant_named

LAYER_NETWORKS = ("tf-tutorial", "tf-full", "cifar10-bn")
BATCH_SIZES = (32, 1)  # backward with the first one only: nobody trains on single images
TRAINING_BATCH_SIZES = (20, 128)


def cases_of(kind: type[Layer]) -> list[LayerCase]:
    """All layers of one kind, convolution and dense layers without their activation."""
    return [
        case
        for network in LAYER_NETWORKS
        for batch_size in BATCH_SIZES
        for case in layer_cases(variant_named(network), batch_size)
        if isinstance(case.layer, kind)
        if case.direction == "forward" or batch_size == BATCH_SIZES[0]
    ]


def network_cases() -> list[NetworkCase]:
    """The networks that other frameworks publish times of, with LRN and without."""
    tutorial = variant_named("tf-tutorial")
    bare = dataclasses.replace(tutorial.without_lrn(), name="tf-tutorial-without-lrn")
    cifar10 = variant_named("cifar10-bn")
    others = (variant_named("tf-small"), variant_named("tf-full"), cifar10)
    steps = [
        NetworkCase(variant, target, batch_size)
        for variant in (tutorial, bare, *others)
        for batch_size in BATCH_SIZES
        for target in TARGETS
        if target == FORWARD or batch_size == BATCH_SIZES[0]
    ]
    return steps + [NetworkCase(cifar10, TRAINING_STEP, size) for size in TRAINING_BATCH_SIZES]


# Convolutions unlike AlexNet's: network, layer, (height, width, channels), features, kernel,
# stride, padding, groups, batch.
FOREIGN = (
    ("vgg16", "conv1_1", (224, 224, 3), 64, 3, 1, 1, 1, 1),
    ("vgg16", "conv1_2", (224, 224, 64), 64, 3, 1, 1, 1, 1),
    ("vgg16", "conv2_1", (112, 112, 64), 128, 3, 1, 1, 1, 2),
    ("vgg16", "conv2_2", (112, 112, 128), 128, 3, 1, 1, 1, 1),
    ("vgg16", "conv3_1", (56, 56, 128), 256, 3, 1, 1, 1, 4),
    ("vgg16", "conv3_2", (56, 56, 256), 256, 3, 1, 1, 1, 2),
    ("vgg16", "conv4_1", (28, 28, 256), 512, 3, 1, 1, 1, 4),
    ("vgg16", "conv4_2", (28, 28, 512), 512, 3, 1, 1, 1, 2),
    ("vgg16", "conv5_1", (14, 14, 512), 512, 3, 1, 1, 1, 7),
    ("resnet50", "conv1", (224, 224, 3), 64, 7, 2, 3, 1, 4),
    ("resnet50", "conv2_reduce", (56, 56, 256), 64, 1, 1, 0, 1, 4),
    ("resnet50", "conv2_middle", (56, 56, 64), 64, 3, 1, 1, 1, 7),
    ("resnet50", "conv2_expand", (56, 56, 64), 256, 1, 1, 0, 1, 4),
    ("resnet50", "conv3_shortcut", (56, 56, 256), 512, 1, 2, 0, 1, 4),
    ("resnet50", "conv3_strided", (56, 56, 128), 128, 3, 2, 1, 1, 4),
    ("resnet50", "conv3_middle", (28, 28, 128), 128, 3, 1, 1, 1, 7),
    ("resnet50", "conv3_expand", (28, 28, 128), 512, 1, 1, 0, 1, 7),
    ("resnet50", "conv4_shortcut", (28, 28, 512), 1024, 1, 2, 0, 1, 4),
    ("resnet50", "conv4_strided", (28, 28, 256), 256, 3, 2, 1, 1, 4),
    ("resnet50", "conv4_middle", (14, 14, 256), 256, 3, 1, 1, 1, 32),
    ("resnet50", "conv5_middle", (7, 7, 512), 512, 3, 1, 1, 1, 7),
    ("resnet50", "conv5_expand", (7, 7, 512), 2048, 1, 1, 0, 1, 7),
    ("resnet18", "conv2", (56, 56, 64), 64, 3, 1, 1, 1, 1),
    ("resnet18", "conv3", (28, 28, 128), 128, 3, 1, 1, 1, 1),
    ("resnet18", "conv4", (14, 14, 256), 256, 3, 1, 1, 1, 1),
    ("resnet18", "conv5", (7, 7, 512), 512, 3, 1, 1, 1, 1),
    ("resnet20", "stage1", (32, 32, 16), 16, 3, 1, 1, 1, 200),
    ("resnet20", "stage2", (16, 16, 32), 32, 3, 1, 1, 1, 200),
    ("resnet20", "stage3", (8, 8, 64), 64, 3, 1, 1, 1, 200),
    ("resnet20", "strided", (32, 32, 16), 32, 3, 2, 1, 1, 200),
    ("resnext50", "grouped2", (56, 56, 128), 128, 3, 1, 1, 32, 4),
    ("resnext50", "grouped4", (14, 14, 512), 512, 3, 1, 1, 32, 7),
    ("mobilenet", "depthwise1", (112, 112, 32), 32, 3, 1, 1, 32, 4),
    ("mobilenet", "depthwise2", (14, 14, 512), 512, 3, 2, 1, 512, 7),
    ("inception", "five", (28, 28, 48), 64, 5, 1, 2, 1, 7),
    ("inception", "row", (17, 17, 128), 128, (1, 7), 1, "same", 1, 7),
    ("inception", "column", (17, 17, 128), 192, (7, 1), 1, "same", 1, 7),
    ("unet", "valid", (68, 68, 64), 64, 3, 1, "valid", 1, 2),
    ("lenet", "conv1", (28, 28, 1), 6, 5, 1, 2, 1, 200),
    ("lenet", "conv2", (14, 14, 6), 16, 5, 1, "valid", 1, 200),
    ("odd", "channels", (19, 23, 37), 53, 3, 1, 1, 1, 7),
    ("odd", "wide", (5, 101, 24), 40, 3, 1, 1, 1, 7),
    ("odd", "prime", (31, 29, 67), 71, 5, 1, 2, 1, 7),
    ("odd", "strides", (45, 61, 17), 33, (3, 5), (2, 3), "same", 1, 7),
    ("odd", "tiny", (3, 3, 256), 256, 3, 1, 1, 1, 200),
    ("odd", "pixel", (1, 1, 512), 512, 3, 1, 1, 1, 7),
)


def foreign_cases() -> list[LayerCase]:
    """Every convolution of FOREIGN in each direction."""
    return [
        LayerCase(network, Conv2d(name, *how), image_shape, direction, batch_size)
        for network, name, image_shape, *how, batch_size in FOREIGN
        for direction in PRODUCT_DIRECTIONS
    ]
