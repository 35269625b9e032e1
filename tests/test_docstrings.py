"""The docstrings of the public operators: every parameter, what is returned, what is raised."""

from __future__ import annotations

import inspect
import re
from types import ModuleType

import numpy as np
import pytest

import alexnet
from alexnet import cpu, reference

OPERATORS = [name for name in reference.__all__ if name != "conv2d_algorithms"]
each_implementation = pytest.mark.parametrize(
    "implementation", [alexnet, cpu, reference], ids=lambda module: module.__name__
)


def sections(documented: object) -> dict[str, str]:
    """Text of a docstring by the title of its section; "" is what comes before the first."""
    parts = re.split(r"^(\w+)\n-+\n", inspect.getdoc(documented) or "", flags=re.MULTILINE)
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


def described(parameters: str) -> list[str]:
    """Names at the heads of the entries of a Parameters section: "name, name : type"."""
    heads = re.findall(r"^(\w+(?:, \w+)*)(?: : .+)?$", parameters, flags=re.MULTILINE)
    return [name for head in heads for name in head.split(", ")]


def test_all_operators_are_public_everywhere() -> None:
    assert len(OPERATORS) == 22
    assert set(cpu.__all__) == set(reference.__all__) <= set(alexnet.__all__)


@each_implementation
@pytest.mark.parametrize("operator", OPERATORS)
def test_docstring_is_complete(implementation: ModuleType, operator: str) -> None:
    function = getattr(implementation, operator)
    found = sections(function)
    assert list(found) == ["", "Parameters", "Returns", "Raises", "Notes"]
    assert all(text.strip() for text in found.values())
    assert sorted(described(found["Parameters"])) == sorted(inspect.signature(function).parameters)
    assert all(f"{error}\n    " in found["Raises"] for error in ("TypeError", "ValueError"))
    assert "float32" in found[""]


@each_implementation
def test_docstring_of_the_list_of_algorithms(implementation: ModuleType) -> None:
    returned = sections(implementation.conv2d_algorithms)["Returns"]
    assert re.findall(r'"(\w+)"', returned) == list(implementation.conv2d_algorithms())


@pytest.mark.parametrize("operator", ["conv2d", "dense"])
def test_the_precision_of_products_is_shown(operator: str) -> None:
    function = getattr(alexnet, operator)
    assert inspect.signature(function).parameters["precision"].default == "float32"
    assert "alexnet.cuda" in sections(function)["Parameters"].partition("precision : ")[2]
    x, weight = np.ones((1, 4, 4, 4), np.float32), np.ones((3, 3, 4, 4), np.float32)
    arrays = (x, weight) if operator == "conv2d" else (x[0, 0], weight[0, 0, :, :])
    np.testing.assert_allclose(
        function(*arrays, precision="bfloat16"), function(*arrays), rtol=1e-2
    )
