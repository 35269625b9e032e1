"""What stands in the documents: blocks of Python, lines of commands, links."""

from __future__ import annotations

import ast
import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs" / "kernels").glob("*.md")),
    *sorted((ROOT / "docs" / "study").glob("**/*.md")),
    *sorted((ROOT / "docs" / "tutorials").glob("*.md")),
]


LONGEST_VALUE = 2000  # characters


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the file whose content it is, "" if none, and its lines."""

    language: str
    file: str
    text: str


def fenced_blocks(path: Path) -> list[Block]:
    """All fenced blocks, in order; ```cpp title="a.cpp" is the content of a file."""
    found = re.findall(
        r'^```(\w+)(?: title="([^"\n]+)")?\n(.*?)^```$', path.read_text(), re.MULTILINE | re.DOTALL
    )
    return [Block(*parts) for parts in found]


def python_blocks(path: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL)


def run_blocks(path: Path, shorter: dict[str, str]) -> dict[str, Any]:
    """Run the blocks one after the other, as a reader would; the names that they leave."""
    names: dict[str, Any] = {}
    for number, block in enumerate(python_blocks(path)):
        for long, short in shorter.items():
            block = block.replace(long, short)
        run_at_prompt(block, f"{path.name}, block {number}", names)
    return names


def run_at_prompt(block: str, name: str, names: dict[str, Any]) -> None:
    """Run a block as a prompt does, which prints the value of every expression, also in loops."""

    def display(value: object) -> None:
        shown = repr(value)
        assert len(shown) < LONGEST_VALUE, f"{name} fills a prompt with {shown:.80}…"

    statements = ast.Interactive(ast.parse(block).body)
    with mock.patch.object(sys, "displayhook", display):
        exec(compile(statements, name, "single"), names)


def shell_lines(path: Path) -> list[str]:
    """Lines of the blocks that are no Python, continued ones as one, without comments."""
    text = re.sub(r"^```python\n.*?^```$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    fenced = re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    indented = re.findall(r"^    (.*)$", text, re.MULTILINE)
    return "\n".join([*fenced, *indented]).replace("\\\n", " ").splitlines()


def commands(path: Path) -> list[list[str]]:
    """Arguments of every documented `alexnet …`, in blocks and between backticks."""
    inline = re.findall(r"`([^`\n]+)`", path.read_text())
    return commands_in([*shell_lines(path), *inline])


def commands_in(lines: list[str]) -> list[list[str]]:
    """Arguments of every `alexnet …` in lines of a shell."""
    found = []
    for line in lines:
        for part in re.split(r"&&|\|", line):
            words = shlex.split(part, comments=True) if "alexnet " in part else []
            while words and re.fullmatch(r"[A-Z_]+=\S+", words[0]):
                del words[0]
            if words[:1] == ["alexnet"] and words[1:] != ["…"]:
                found.append(words[1:])
    return found
