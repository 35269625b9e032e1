"""A training step in PyTorch as its tutorials have it: modules, a Dataset, a DataLoader, Adam."""

from __future__ import annotations

import random
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import nn
from torch.utils.data import DataLoader, Dataset

from alexnet.contract.arguments import Shape
from alexnet.contract.shapes import conv2d_shape
from alexnet.data import ImageSet, Preprocessing, open_dataset
from alexnet.network.layer import Layer
from alexnet.network.layers import LRN, BatchNorm, Conv2d, Dense, Dropout, Flatten, MaxPool2d
from alexnet.network.variants import variant_named

WORKERS = 2
FLIP = Image.Transpose.FLIP_LEFT_RIGHT


class Images(Dataset):
    """Images as the DataLoader's workers see them: augmented by Pillow, then a tensor.

    The random choices need not be ours, only the work: shortest side or padding, crop, mirror.
    """

    def __init__(self, source: Any, preprocessing: Preprocessing) -> None:
        self._source = source
        self._how = preprocessing
        self._mean = torch.tensor(preprocessing.mean)[:, None, None]
        self._stddev = torch.tensor(preprocessing.stddev)[:, None, None]

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, position: int) -> tuple[torch.Tensor, int]:
        image = self._image(position)
        height, width = self._how.input_size
        left = random.randint(0, image.width - width)
        top = random.randint(0, image.height - height)
        image = image.crop((left, top, left + width, top + height))
        if random.random() < 0.5:
            image = image.transpose(FLIP)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float()
        return (pixels - self._mean) / self._stddev, int(self._source.labels[position])

    def _image(self, position: int) -> Image.Image:
        if isinstance(self._source, ImageSet):
            return ImageOps.expand(
                Image.fromarray(self._source.pixels[position]), self._how.padding
            )
        with Image.open(self._source.paths[position]) as file:
            image = file.convert("RGB")
        scale = self._how.shortest_side / min(image.size)
        size = round(image.width * scale), round(image.height * scale)
        return image.resize(size, Image.Resampling.BILINEAR)


def _modules(layer: Layer, shape: Shape) -> list[nn.Module]:
    """The modules of one layer, for an input of `shape` (batch, height, width, channels)."""
    match layer:
        case Conv2d():
            weight = layer.parameter_shapes(shape)["weight"]
            s = conv2d_shape(layer.name, shape, weight, layer.stride, layer.padding, layer.groups)
            padding, stride = (s.pad_top, s.pad_left), (s.stride_height, s.stride_width)
            assert padding == (s.pad_bottom, s.pad_right)
            how = {"stride": stride, "padding": padding, "groups": s.groups, "bias": layer.bias}
            modules = [nn.Conv2d(shape[-1], layer.features, weight[:2], **how)]
        case Dense():
            modules = [nn.Linear(shape[-1], layer.features, layer.bias)]
        case LRN():
            window = 2 * layer.depth_radius + 1  # by which PyTorch divides alpha
            modules = [nn.LocalResponseNorm(window, layer.alpha * window, layer.beta, layer.bias)]
        case BatchNorm():
            kind = nn.BatchNorm2d if len(shape) == 4 else nn.BatchNorm1d
            modules = [kind(shape[-1], layer.epsilon)]
        case MaxPool2d():
            modules = [nn.MaxPool2d(layer.window, layer.stride)]
        case Dropout():
            modules = [nn.Dropout(layer.rate)]
        case Flatten():
            modules = [nn.Flatten()]
    return [*modules, nn.ReLU(inplace=True)] if getattr(layer, "activation", None) else modules


def make_step(case: dict[str, Any]) -> Callable[[], float]:
    """Give a function that takes one step and returns the seconds that it waited for its batch."""
    torch.set_num_threads(case["threads"])
    dataset = open_dataset(case["data"])
    variant = variant_named(case["variant"]).with_classes(len(dataset.class_names))
    layers = zip(variant.layers, variant.shapes(1), strict=False)
    network = nn.Sequential(*(part for layer, shape in layers for part in _modules(layer, shape)))
    channels_last = case["contender"].endswith("channels_last")
    layout = torch.channels_last if channels_last else torch.contiguous_format
    network = network.to(memory_format=layout).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4, fused=True)
    loss_of = nn.CrossEntropyLoss()
    preprocessing = Preprocessing.fit(
        dataset.train, variant.input_shape, augment="standard", pixel_range=variant.pixel_range
    )
    loader = DataLoader(
        Images(dataset.train, preprocessing),
        case["batch_size"],
        shuffle=True,
        num_workers=WORKERS,
        drop_last=True,
        persistent_workers=True,
    )
    batches = (batch for _ in iter(int, 1) for batch in loader)  # epoch after epoch, without end

    def step() -> float:
        start = perf_counter()
        images, labels = next(batches)
        waited = perf_counter() - start
        optimizer.zero_grad()
        loss = loss_of(network(images.contiguous(memory_format=layout)), labels)
        loss.backward()
        optimizer.step()
        loss.item()
        return waited

    return step
