"""What --json writes is what docs/command.md says of each command; and tables fit the terminal."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from alexnet.commands.options import environment
from alexnet.network.variants import variants
from support import cifar_files, small_runs
from support.documents import ROOT
from support.processes import status_of

DOCUMENT = (ROOT / "docs" / "command.md").read_text()
NAMES = ("targets", "versions", "contenders", "failures", "skipped")  # keys that are no words
COMPARE = "cifar10-bn --batch-size 1 --peers none --rounds 1 --seconds 0"
COMMANDS = {
    "variants": "",
    "summary": "cifar10-bn",
    "verify": "cifar10-bn --batch-size 1 --isa portable",
    "bench": "cifar10-bn --batch-size 1 --steps 1 --burn-in 0 --per-layer",
    "compare": f"{COMPARE} --layers conv1,lrn1",
    "train": "cifar --batch-size 20 --steps 2 --output run",
    "evaluate": "run cifar",
    "predict": "run a.png none.png",
}
# The lines of the classic benchmark script are as they are there.
CLASSIC = re.compile(r"\d{4}-\d\d-\d\d .* (duration = |sec / batch)")


@pytest.fixture(autouse=True)
def _small_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    small_runs.use(monkeypatch, tmp_path)
    cifar_files.write_directory(tmp_path / "cifar")
    Image.new("RGB", (40, 40)).save("a.png")


@pytest.fixture
def figures(capsys: pytest.CaptureFixture[str]) -> Callable[[str], dict[str, Any]]:
    def run(command: str) -> dict[str, Any]:
        if command in ("evaluate", "predict"):
            status_of(["train", *COMMANDS["train"].split()])
        capsys.readouterr()
        status_of([command, *COMMANDS.get(command, "").split(), "--json", "-"])
        captured = capsys.readouterr().out
        read: dict[str, Any] = json.loads(captured[captured.index("{\n") :])
        return read

    return run


def keys(value: Any, place: str = "") -> Iterator[str]:
    """Paths to everything in a file, as the document writes them."""
    if isinstance(value, dict):
        for key, entry in value.items():
            yield from keys(entry, f"{place}.{key}" if place else key)
        if place.rpartition(".")[2] in NAMES and not value:
            yield f"{place}.*"
    elif isinstance(value, list) and any(isinstance(entry, dict) for entry in value):
        for entry in value:
            yield from keys(entry, f"{place}[]")
    else:
        yield place


def without_names(place: str) -> str:
    return re.sub(rf"\b({'|'.join(NAMES)})\.(.+?)(?=$|\.[a-z0-9_]+$)", r"\1.*", place)


def documented(command: str) -> set[str]:
    """Keys of the table whose first cell is the command."""
    table = re.search(rf"^\| `{command}` \|.*\n\|[-|]+\n((?:\|.*\n)+)", DOCUMENT, re.MULTILINE)
    assert table, command
    cells = (line.split("|")[1] for line in table.group(1).splitlines())
    return {key for cell in cells for key in re.findall("`(.+?)`", cell)}


def test_the_environment_is_documented() -> None:
    assert documented("environment") == environment().keys()


@pytest.mark.parametrize("command", ["info", *COMMANDS])
def test_keys_are_documented_and_the_environment_is_everywhere(
    command: str, figures: Callable[[str], dict[str, Any]]
) -> None:
    given = figures(command)
    assert given.pop("environment").keys() == environment().keys()
    assert (given.pop("device", None) == "cpu") == (
        command in ("verify", "bench", "train", "evaluate", "predict")
    )
    found = {without_names(key) for key in keys(given)}
    assert found == (set() if command == "info" else documented(command))


def test_paths_of_keys() -> None:
    figures = {"targets": {"forward-backward": {"flops": 1}}, "failures": {}, "a": [{"b": [1]}]}
    assert [*map(without_names, keys(figures))] == ["targets.*.flops", "failures.*", "a[].b"]


@pytest.mark.parametrize("columns", [80, 60])
@pytest.mark.parametrize("variant", variants())
@pytest.mark.parametrize("command", ["summary", "variants", "info"])
def test_descriptions_fit_the_terminal(
    command: str,
    variant: str,
    columns: int,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    arguments = [command, *([variant, "--batch-size", "1024"] if command == "summary" else [])]
    assert status_of(arguments) == 0
    assert too_long(capsys.readouterr().out, columns) == []


def too_long(output: str, columns: int) -> list[str]:
    assert output
    return [line for line in output.splitlines() if len(line) > columns]


@pytest.mark.parametrize("columns", [80, 60])
@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "train"])  # that is a log
def test_results_fit_the_terminal(
    command: str,
    columns: int,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    if command in ("evaluate", "predict"):
        status_of(["train", *COMMANDS["train"].split()])
        capsys.readouterr()
    status_of([command, *COMMANDS[command].split()])
    lines = capsys.readouterr().out
    classic = "".join(f"{line}\n" for line in lines.splitlines() if not CLASSIC.match(line))
    assert too_long(classic, columns) == []


@pytest.mark.parametrize("columns", [80, 60])
@pytest.mark.parametrize("command", ["", "info", "convert", *COMMANDS])
def test_helps_fit_the_terminal(
    command: str,
    columns: int,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert status_of([*command.split(), "--help"]) == 0
    assert too_long(capsys.readouterr().out, columns) == []
