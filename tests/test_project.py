"""The files about the project itself: what stands in several of them is the same."""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from pathlib import Path

import alexnet

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_version_is_the_same_everywhere() -> None:
    version = PROJECT["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    newest = re.search(r"^## (\S+?),? ", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert newest[1] == version


def test_every_linter_runs_before_a_commit_as_well() -> None:
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    lint = (ROOT / ".ci" / "lint").read_text()
    for pinned in PROJECT["optional-dependencies"]["lint"]:
        tool = pinned.partition("==")[0]
        assert re.search(rf"entry: {tool}\b", hooks), tool
        assert re.search(rf"\b{tool}\b", lint), tool


def test_version_is_that_of_the_installed_package() -> None:
    assert alexnet.__version__ == importlib.metadata.version("alexnet")
