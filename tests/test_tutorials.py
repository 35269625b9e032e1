"""The tutorials work word for word: every block runs, in order, as a reader would run it.

Python runs in one prompt, `alexnet …` as the command, and what has a file's name is written to it.
Data are small ones of the same form, and long trainings are cut (`SHORTER`).
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import alexnet
from alexnet.data import open_dataset
from support import cifar_files, photo_files, trained_files
from support.documents import ROOT, commands_in, fenced_blocks, run_at_prompt
from support.processes import status_of

TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
SHORTER = {
    "(8, 13, 13, 192), np": "(1, 13, 13, 192), np",
    "cifar-10-python.tar.gz": "cifar-10-batches-py",
    "--steps 600 --batch-size 80": "--steps 4 --batch-size 8",
    "--warm-up 60": "--warm-up 1",
    "--steps 700": "--steps 5",
    "--epochs 2": "--steps 1 --batch-size 2",
    "--peers torch": "--peers none --rounds 1 --seconds 0",
}
SORTING = 'for photo in *.*.jpg; do mkdir -p "${photo%%.*}" && mv "$photo" "${photo%%.*}"; done'
OTHERS = {'pip install ".[peers]"', SORTING}  # lines of a shell that are no `alexnet …`


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a reader has, and rates of the machine in no time."""
    cifar_files.write_directory(tmp_path / "cifar-10-batches-py")
    photo_files.write_folder(tmp_path / "photos")
    trained_files.write_photos(tmp_path / "cat.jpg", tmp_path / "dog.jpg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("alexnet.commands.study.PEAK_BYTES", 2**16)
    monkeypatch.setattr("alexnet.comparison.peaks.FMA_STEPS", 1000)
    before = alexnet.cpu_isa()
    yield
    alexnet.set_cpu_isa(before)


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_tutorials_work(path: Path) -> None:
    names: dict[str, Any] = {}
    blocks = fenced_blocks(path)
    assert len(blocks) >= 3
    for number, block in enumerate(blocks):
        text = block.text
        for long, short in SHORTER.items():
            text = text.replace(long, short)
        if block.file:
            Path(block.file).write_text(text)
        elif block.language == "python":
            run_at_prompt(text, f"{path.name}, block {number}", names)
        elif block.language == "sh":
            _run_lines(text)
        else:
            assert block.language == "text", block


def _run_lines(text: str) -> None:
    for line in text.replace("\\\n", " ").splitlines():
        if line in OTHERS:
            continue
        (arguments,) = commands_in([line])
        assert status_of(arguments) == 0, line


def test_what_is_cut_is_there() -> None:
    text = "".join(path.read_text() for path in TUTORIALS)
    assert all(long in text for long in SHORTER)
    assert all(line in text for line in OTHERS)


def test_photos_whose_names_begin_with_the_class_are_sorted() -> None:
    root = Path("unsorted")
    for name in ("cat.0.jpg", "cat.1.jpg", "dog.0.jpg", "dog.1.jpg"):
        photo_files.write_photo(root / "train" / name)
    with pytest.raises(ValueError, match=r"which their names begin with: cat, dog"):
        open_dataset(root)
    subprocess.run(["/bin/sh", "-c", SORTING], cwd=root / "train", check=True)
    assert open_dataset(root).class_names == ("cat", "dog")
