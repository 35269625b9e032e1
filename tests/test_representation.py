"""What a prompt and a notebook show of the objects of the library."""

from __future__ import annotations

import re

import numpy as np
import pytest

import alexnet
from alexnet.data import Preprocessing, TrainingBatches
from alexnet.inference import evaluate
from alexnet.network import Flatten, Variant
from alexnet.network.checkpoint import TrainedModel
from alexnet.random import Generator
from alexnet.training import Trainer
from support import small_runs

NETWORK = alexnet.AlexNet(small_runs.SMALL.with_classes(3))
DATA = small_runs.dataset()
PREPROCESSING = Preprocessing.fit(DATA.train, NETWORK.input_shape)
BATCHES = TrainingBatches(DATA.train, PREPROCESSING, 8)
TRAINER = Trainer(NETWORK, alexnet.SGD(NETWORK, learning_rate=0.5), BATCHES)
NAME = NETWORK.variant.name
MODEL = TrainedModel(NETWORK, DATA.class_names * 400, PREPROCESSING, 5)
COUNT = len(DATA.train)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (NETWORK, ("AlexNet", NAME, str(NETWORK.input_shape), "parameters=", "alexnet.cpu")),
        (NETWORK.variant, ("Variant", NAME, f"layers={len(NETWORK.layers)}")),
        (NETWORK.layers[0], ("Conv2d", "conv1", "kernel_size=")),
        (alexnet.SGD(NETWORK), (f"SGD of {NAME}", "learning_rate=0.01", "momentum=0.9", "steps=0")),
        (alexnet.Adam(NETWORK), (f"Adam of {NAME}", "beta2=0.999")),
        (TRAINER, (f"Trainer of {NAME} by SGD", "steps=0")),
        (TRAINER.checkpoint(), ("Checkpoint of", NAME, "step=0")),
        (BATCHES, ("TrainingBatches batch_size=8", f"images={COUNT}")),
        (DATA, ("Dataset classes=3", f"train=<ImageSet images={COUNT}", "test=")),
        (MODEL, ("TrainedModel of", "classes=1200", "step=5")),
        (evaluate(NETWORK, DATA.train, PREPROCESSING), (f"Evaluation images={COUNT}", "accuracy=")),
        (Generator(7), ("Generator seed=7", "offset=0")),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, tuple) else "",
)
def test_an_object_is_a_line_that_says_what_it_is(value: object, words: tuple[str, ...]) -> None:
    shown = repr(value)
    assert "\n" not in shown
    assert len(shown) < 200
    assert "object at" not in shown
    for word in words:
        assert word in shown


def test_an_implementation_of_the_networks_own() -> None:
    assert "alexnet.reference>" in repr(
        alexnet.AlexNet(small_runs.SMALL, seed=None, implementation=alexnet.reference)
    )


def test_a_summary_is_a_table() -> None:
    summary = NETWORK.summary(2)
    assert repr(summary) == str(summary)
    html = summary._repr_html_()
    cells = [re.findall("<t[hd][^>]*>(.*?)</t[hd]>", row) for row in html.split("<tr>")[1:]]
    assert [tuple(row) for row in cells] == summary.table()
    assert html.startswith(f"<table><caption>{NAME}")


def test_the_title_of_a_summary_names_its_columns() -> None:
    title, header, *_ = str(NETWORK.summary()).splitlines()
    for figure in ("neurons", "parameters", "MACs", "FLOPs"):
        assert (figure in title) == (figure in header)


def test_names_in_a_notebook_are_escaped() -> None:
    variant = Variant("<b>", "", (2, 2, 1), (Flatten("<script>&"),))
    html = variant.summary()._repr_html_()
    assert "<b>" not in html
    assert "<script>" not in html
    assert "&lt;script&gt;&amp;" in html


def test_a_network_is_called_as_its_forward_is() -> None:
    x = np.random.default_rng(1).standard_normal((2, *NETWORK.input_shape), np.float32)
    np.testing.assert_array_equal(NETWORK(x), NETWORK.forward(x))
    trained, called = alexnet.AlexNet(small_runs.SMALL), alexnet.AlexNet(small_runs.SMALL)
    np.testing.assert_array_equal(called(x, training=True), trained.forward(x, training=True))
    assert not np.array_equal(called(x, training=True), called(x))


def test_arrays_by_name_show_their_shapes() -> None:
    lines = repr(NETWORK.parameters).splitlines()
    assert lines[0] == f"<NamedArrays of {len(NETWORK.parameters)}>"
    shapes = NETWORK.variant.parameter_shapes()
    assert lines[1:] == [f"  {name}: {shape} float32" for name, shape in shapes.items()]
    with pytest.raises(KeyError, match=r"no array 'conv1', but conv1\.weight, conv1\.bias"):
        NETWORK.parameters["conv1"]
    with pytest.raises(TypeError, match="does not support item assignment"):
        NETWORK.parameters["conv1.weight"] = np.zeros(1)
    assert "conv1" not in NETWORK.parameters
    assert NETWORK.parameters.get("conv1") is None
