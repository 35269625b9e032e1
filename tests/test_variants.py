"""The nine variants: sizes by arithmetic of their own and as published, settings as published."""

from __future__ import annotations

import numpy as np
import pytest

from alexnet.network.layers import LRN, BatchNorm, Conv2d, Dense, Dropout, Flatten, MaxPool2d
from alexnet.network.variant import Variant
from alexnet.network.variants import VARIANTS, AlexNet, variant_named, variants
from support.small_networks import IMAGE_SIZES, small_variant

NAMES = (
    "tf-tutorial",
    "tf-small",
    "tf-full",
    "pytorch-227",
    "cifar10-bn",
    "krizhevsky-2012",
    "caffe",
    "torchvision",
    "slim-v2",
)


def conv(kernel: int, fan_in: int, out: int) -> int:
    """Weights and biases of a convolution with `fan_in` input channels a group."""
    return kernel * kernel * fan_in * out + out


def dense(fan_in: int, out: int) -> int:
    return fan_in * out + out


THREE_CONVS = conv(3, 256, 384) + conv(3, 384, 384) + conv(3, 384, 256)
GROUPED = (
    conv(11, 3, 96)
    + conv(5, 48, 256)
    + conv(3, 256, 384)
    + conv(3, 192, 384)
    + conv(3, 192, 256)
    + dense(6 * 6 * 256, 4096)
    + dense(4096, 4096)
    + dense(4096, 1000)
)
PARAMETERS = {
    "tf-tutorial": conv(11, 3, 64)
    + conv(5, 64, 192)
    + conv(3, 192, 384)
    + conv(3, 384, 256)
    + conv(3, 256, 256),
    "tf-small": conv(11, 3, 64)
    + conv(5, 64, 128)
    + conv(3, 128, 256)
    + conv(3, 256, 128)
    + conv(3, 128, 128),
    "tf-full": conv(11, 3, 96)
    + conv(5, 96, 256)
    + THREE_CONVS
    + dense(6 * 6 * 256, 4096)
    + dense(4096, 4096)
    + dense(4096, 1000),
    "pytorch-227": conv(11, 3, 96)
    + conv(5, 96, 256)
    + THREE_CONVS
    + dense(6 * 6 * 256, 4096)
    + dense(4096, 4096)
    + dense(4096, 2),
    "cifar10-bn": conv(3, 3, 48)
    + (conv(3, 48, 96) - 96 + 2 * 96)  # no bias before batch norm's gamma and beta
    + conv(3, 96, 192)
    + conv(3, 192, 192)
    + (conv(3, 192, 96) + 2 * 96)  # a ReLU stands between, so the bias counts
    + (dense(4 * 4 * 96, 1024) - 1024 + 2 * 1024)
    + (dense(1024, 1024) - 1024 + 2 * 1024)
    + dense(1024, 10),
    "krizhevsky-2012": GROUPED,
    "caffe": GROUPED,
    "torchvision": conv(11, 3, 64)
    + conv(5, 64, 192)
    + conv(3, 192, 384)
    + conv(3, 384, 256)
    + conv(3, 256, 256)
    + dense(6 * 6 * 256, 4096)
    + dense(4096, 4096)
    + dense(4096, 1000),
    "slim-v2": conv(11, 3, 64)
    + conv(5, 64, 192)
    + conv(3, 192, 384)
    + conv(3, 384, 384)
    + conv(3, 384, 256)
    + conv(5, 256, 4096)
    + conv(1, 4096, 4096)
    + conv(1, 4096, 1000),
}


def test_names() -> None:
    assert variants() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_parameters_by_own_arithmetic(name: str) -> None:
    variant = VARIANTS[name]
    assert variant.num_parameters == PARAMETERS[name]
    assert variant.summary().parameters == PARAMETERS[name]


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("torchvision", 61_100_840),
        ("krizhevsky-2012", 60_965_224),
        ("caffe", 60_965_224),
        ("tf-full", 62_378_344),
        ("slim-v2", 50_303_912),
        ("cifar10-bn", 3_343_018),  # no figure is published; this one is worked out by hand
    ],
)
def test_parameters_as_published(name: str, published: int) -> None:
    assert PARAMETERS[name] == published


def test_macs_of_torchvision() -> None:
    convolutions = (
        55 * 55 * 64 * 11 * 11 * 3
        + 27 * 27 * 192 * 5 * 5 * 64
        + 13 * 13 * (384 * 9 * 192 + 256 * 9 * 384 + 256 * 9 * 256)
    )
    products = 9216 * 4096 + 4096 * 4096 + 4096 * 1000
    summary = VARIANTS["torchvision"].summary(batch_size=32)
    assert summary.macs == convolutions + products == 714_188_480
    assert summary.flops == 2 * 714_188_480


def test_neurons_of_the_paper() -> None:
    """650,000 says the paper; 55x55x96 in its first layer gives 659,272."""
    convolutions = 55 * 55 * 96 + 27 * 27 * 256 + 13 * 13 * (384 + 384 + 256)
    assert VARIANTS["krizhevsky-2012"].summary().neurons == convolutions + 4096 + 4096 + 1000


def spatial(name: str, layer: str) -> tuple[int, ...]:
    rows = {row.name: row.output_shape for row in VARIANTS[name].summary(batch_size=32).rows}
    return rows[layer]


def test_activation_shapes_of_tf_small() -> None:
    expected = {
        "conv1": (32, 56, 56, 64),
        "pool1": (32, 27, 27, 64),
        "conv2": (32, 27, 27, 128),
        "pool2": (32, 13, 13, 128),
        "conv3": (32, 13, 13, 256),
        "conv4": (32, 13, 13, 128),
        "conv5": (32, 13, 13, 128),
        "pool5": (32, 6, 6, 128),
    }
    assert {layer: spatial("tf-small", layer) for layer in expected} == expected


@pytest.mark.parametrize("name", ["pytorch-227", "krizhevsky-2012", "caffe", "torchvision"])
def test_heights_with_55_pixels_after_conv1(name: str) -> None:
    layers = ("conv1", "pool1", "conv2", "pool2", "conv3", "conv5", "pool5")
    assert [spatial(name, layer)[1] for layer in layers] == [55, 27, 27, 13, 13, 13, 6]


def test_heights_of_slim_v2() -> None:
    layers = ("conv1", "pool1", "conv2", "pool2", "conv5", "pool5", "fc6")
    assert [spatial("slim-v2", layer)[1] for layer in layers] == [54, 26, 26, 12, 12, 5, 1]
    assert spatial("slim-v2", "squeeze") == (32, 1000)


def test_lrn_settings() -> None:
    def settings(name: str) -> set[tuple[int, float, float, float]]:
        return {
            (layer.depth_radius, layer.bias, layer.alpha, layer.beta)
            for layer in VARIANTS[name].layers
            if isinstance(layer, LRN)
        }

    for name, radius in (("tf-tutorial", 4), ("tf-small", 4), ("tf-full", 5), ("cifar10-bn", 4)):
        assert settings(name) == {(radius, 1.0, 0.001 / 9, 0.75)}
    assert settings("krizhevsky-2012") == {(2, 2.0, 1e-4, 0.75)}
    assert settings("caffe") == {(2, 1.0, 1e-4 / 5, 0.75)}
    for name in ("pytorch-227", "torchvision", "slim-v2"):
        assert settings(name) == set()


@pytest.mark.parametrize("name", NAMES)
def test_order_of_layers(name: str) -> None:
    """ReLU, then LRN, then the pool; dropout where each source places it."""
    layers = VARIANTS[name].layers
    for before, layer, after in zip(layers, layers[1:], layers[2:], strict=False):
        if isinstance(layer, LRN):
            assert isinstance(before, Conv2d)
            assert before.activation == "relu"
            assert isinstance(after, MaxPool2d)
        if isinstance(layer, BatchNorm):
            assert isinstance(before, Conv2d | Dense)
            assert before.bias == (before.activation == "relu")
            assert (layer.activation, layer.epsilon) == ("relu", 1e-3)
            assert isinstance(after, MaxPool2d | Dense)
        if isinstance(layer, Dropout):
            assert layer.rate == 0.5
            if name == "torchvision":
                assert isinstance(after, Dense)
                assert isinstance(before, Flatten | Dense)
            else:
                assert getattr(before, "activation", None) == "relu"
    dropouts = sum(isinstance(layer, Dropout) for layer in layers)
    assert dropouts == (0 if name.startswith(("tf-", "cifar")) else 2)


def test_only_tf_full_has_relu_on_its_classes() -> None:
    last = {name: VARIANTS[name].layers[-1] for name in NAMES}
    assert {name for name in NAMES if getattr(last[name], "activation", None)} == {"tf-full"}


def test_cifar10_bn_is_the_network_of_its_write_up() -> None:
    """Conv5 has a ReLU on both sides of its batch norm; dense layers have batch norm, then ReLU."""
    rows = [
        (layer.name, getattr(layer, "features", None), getattr(layer, "activation", None))
        for layer in VARIANTS["cifar10-bn"].layers
    ]
    assert rows == [
        ("conv1", 48, "relu"),
        ("lrn1", None, None),
        ("pool1", None, None),
        ("conv2", 96, None),
        ("bn2", None, "relu"),
        ("pool2", None, None),
        ("conv3", 192, "relu"),
        ("conv4", 192, "relu"),
        ("conv5", 96, "relu"),
        ("bn5", None, "relu"),
        ("pool5", None, None),
        ("flatten", None, None),
        ("fc6", 1024, None),
        ("bn6", None, "relu"),
        ("fc7", 1024, None),
        ("bn7", None, "relu"),
        ("fc8", 10, None),
    ]
    pools = [layer for layer in VARIANTS["cifar10-bn"].layers if isinstance(layer, MaxPool2d)]
    assert {(pool.window, pool.stride) for pool in pools} == {(2, 2)}
    assert {name for name in NAMES if VARIANTS[name].pixel_range} == {"cifar10-bn"}
    assert VARIANTS["cifar10-bn"].pixel_range == (-1, 1)


def test_macs_of_cifar10_bn() -> None:
    convolutions = (
        32 * 32 * 48 * 9 * 3
        + 16 * 16 * 96 * 9 * 48
        + 8 * 8 * (192 * 9 * 96 + 192 * 9 * 192 + 96 * 9 * 192)
    )
    products = 1536 * 1024 + 1024 * 1024 + 1024 * 10
    assert VARIANTS["cifar10-bn"].summary().macs == convolutions + products == 57_042_944


def test_groups() -> None:
    for name in NAMES:
        grouped = [
            layer.name
            for layer in VARIANTS[name].layers
            if isinstance(layer, Conv2d) and layer.groups == 2
        ]
        expected = ["conv2", "conv4", "conv5"] if name in ("krizhevsky-2012", "caffe") else []
        assert grouped == expected


# --- variations -----------------------------------------------------------------------------------


def test_without_lrn() -> None:
    described = AlexNet(small_variant("tf-small"), lrn=False).variant
    assert [layer.name for layer in described.layers if isinstance(layer, LRN)] == []
    assert len(described.layers) == len(VARIANTS["tf-small"].layers) - 2
    assert described.num_parameters == small_variant("tf-small").num_parameters


@pytest.mark.parametrize("name", ["tf-full", "pytorch-227", "cifar10-bn", "slim-v2"])
def test_num_classes(name: str) -> None:
    network = AlexNet(small_variant(name), num_classes=7)
    assert network.output_shape == (7,)
    assert network.parameters["fc8.bias"].shape == (7,)


def test_num_classes_without_classifier() -> None:
    with pytest.raises(ValueError, match=r"tf-small: num_classes is 7.* \(6, 6, 128\)"):
        AlexNet("tf-small", num_classes=7)


def test_unknown_variant() -> None:
    with pytest.raises(ValueError, match="variant is 'alexnet', expected one of tf-tutorial, "):
        AlexNet("alexnet")
    with pytest.raises(ValueError, match="variant is 'alexnet'"):
        variant_named("alexnet")


@pytest.mark.parametrize("name", NAMES)
def test_shrunk_keeps_the_kind_of_network(name: str) -> None:
    small, full = small_variant(name), VARIANTS[name]
    assert small.input_shape == (IMAGE_SIZES[name], IMAGE_SIZES[name], 3)
    assert [type(layer) for layer in small.layers] == [type(layer) for layer in full.layers]
    assert small.num_parameters < full.num_parameters / 100
    if len(full.output_shape) == 1:
        assert small.output_shape == full.output_shape


def test_a_width_of_half_precision_does_not_overflow() -> None:
    variant = VARIANTS["torchvision"]
    assert variant.shrunk(width=np.float16(20)) == variant.shrunk(width=20)


def test_too_small_images_name_the_layer() -> None:
    with pytest.raises(ValueError, match=r"pool5: window is 3x3, expected at most 2x2"):
        VARIANTS["tf-small"].shrunk(image_size=47)


def test_wrong_descriptions() -> None:
    def variant(*layers: object) -> Variant:
        return Variant("mine", "a test", (8, 8, 3), layers)  # type: ignore[arg-type]

    with pytest.raises(ValueError, match="mine: layers repeat the names a"):
        variant(Conv2d("a", 4, 3), Conv2d("a", 4, 3))
    with pytest.raises(TypeError, match="mine: layers is "):
        variant("conv1")
    with pytest.raises(ValueError, match=r"fc: x has shape .* a Flatten layer goes before"):
        variant(Dense("fc", 4))
    with pytest.raises(ValueError, match="conv: groups is 2, expected a divisor of the 3 "):
        variant(Conv2d("conv", 4, 3, groups=2))
    with pytest.raises(ValueError, match="conv: features is 0"):
        variant(Conv2d("conv", 0, 3))
    with pytest.raises(ValueError, match=r"mine: pixel_range is -1.0, expected .* > 1"):
        Variant("mine", "a test", (8, 8, 3), (Flatten("flat"),), pixel_range=(1.0, -1.0))
    with pytest.raises(TypeError, match=r"mine: pixel_range is 1, expected \(low, high\)"):
        Variant("mine", "a test", (8, 8, 3), (Flatten("flat"),), pixel_range=1)  # type: ignore[arg-type]


def test_summary_is_a_neat_table() -> None:
    text = str(VARIANTS["tf-small"].summary(batch_size=4))
    lines = text.splitlines()
    assert "conv1  Conv2d     [4, 56, 56, 64]" in text
    assert lines[-1].split() == ["total", "380,544", "966,016", "346,755,072"]
    assert len({len(line) for line in lines[1:] if "Conv2d" in line or "total" in line}) == 1


@pytest.mark.parametrize("name", NAMES)
def test_a_summary_fits_80_columns(name: str) -> None:
    lines = str(VARIANTS[name].summary(batch_size=128)).splitlines()
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("name", NAMES)
def test_description_as_json(name: str) -> None:
    assert Variant.from_json(VARIANTS[name].to_json()) == VARIANTS[name]
