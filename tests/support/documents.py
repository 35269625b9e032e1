"""What stands in the documents: blocks of Python, lines of commands, links."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs" / "kernels").glob("*.md")),
    *sorted((ROOT / "docs" / "study").glob("**/*.md")),
]


def python_blocks(path: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL)


def run_blocks(path: Path, shorter: dict[str, str]) -> dict[str, Any]:
    """Run the blocks one after the other, as a reader would; the names that they leave."""
    names: dict[str, Any] = {}
    for number, block in enumerate(python_blocks(path)):
        for long, short in shorter.items():
            block = block.replace(long, short)
        exec(compile(block, f"{path.name}, block {number}", "exec"), names)
    return names


def shell_lines(path: Path) -> list[str]:
    """Lines of the blocks that are no Python, continued ones as one, without comments."""
    text = re.sub(r"^```python\n.*?^```$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    fenced = re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    indented = re.findall(r"^    (.*)$", text, re.MULTILINE)
    return "\n".join([*fenced, *indented]).replace("\\\n", " ").splitlines()


def commands(path: Path) -> list[list[str]]:
    """Arguments of every documented `alexnet …`, in blocks and between backticks."""
    inline = re.findall(r"`([^`\n]+)`", path.read_text())
    found = []
    for line in [*shell_lines(path), *inline]:
        for part in re.split(r"&&|\|", line):
            words = shlex.split(part, comments=True) if "alexnet " in part else []
            while words and re.fullmatch(r"[A-Z_]+=\S+", words[0]):
                del words[0]
            if words[:1] == ["alexnet"] and words[1:] != ["…"]:
                found.append(words[1:])
    return found
