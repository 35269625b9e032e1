"""What the documents show is true: their Python runs, their commands parse, their links lead on."""

from __future__ import annotations

import codeop
import json
import re
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from alexnet import cli
from support import cifar_files, trained_files
from support.documents import DOCUMENTS, ROOT, commands, python_blocks, run_blocks, shell_lines

EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
RESULTS = ROOT / "docs" / "results" / "xeon-sapphire-rapids.json"
# What stands for something of the reader's, in commands between backticks.
PLACEHOLDERS = {
    "V": "tf-tutorial",
    "[V]": "tf-tutorial",
    "[LADDER]": "lrn-forward",
    "N": "2",
    "FILE": "file.png",
    "IMAGE…": "a.jpg",
}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


each_document = pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)


@pytest.mark.parametrize(
    "path",
    # Those with CuPy's arrays run with the tests of CUDA.
    # Tutorials run with their commands, in test_tutorials.py.
    [
        path
        for path in DOCUMENTS
        if python_blocks(path) and path.name != "gpu.md" and path.parent.name != "tutorials"
    ],
    ids=name_of,
)
def test_python_in_the_documents_runs(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cifar_files.write_directory(tmp_path / "cifar-10-batches-py")
    trained_files.write_run(tmp_path / "runs" / "cifar")
    trained_files.write_photos(tmp_path / "cat.jpg", tmp_path / "dog.jpg")
    monkeypatch.chdir(tmp_path)
    shorter = {"2000": "3", "alexnet-owt-7be5be79.pth": "runs/cifar"}
    assert run_blocks(path, shorter=shorter)


@each_document
def test_python_in_the_documents_can_be_pasted_into_a_prompt(path: Path) -> None:
    """A prompt runs a statement at its end: of a loop or a `with`, that is an empty line."""
    for block in python_blocks(path):
        lines: list[str] = []
        for line in [*block.splitlines(), ""]:
            lines.append(line)
            if codeop.compile_command("\n".join(lines), f"{path.name}: {line!r}") is not None:
                lines.clear()
        assert not lines


def test_python_is_found() -> None:
    assert {path.name for path in DOCUMENTS if python_blocks(path)} == {
        *("README.md", "python.md", "training.md", "gpu.md"),
        *("first-kernel.md", "first-network.md", "cifar-10.md", "photos.md", "comparison.md"),
    }


@pytest.fixture
def anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of its own, and a device where a command asks for one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("alexnet.commands.options.implementation_on", lambda _: None)


def parsed(arguments: list[str]) -> None:
    """Parse as the command does; `--help` and a command's bare name print its help."""
    given = [PLACEHOLDERS.get(word, word) for word in arguments]
    if len(given) == 1 and given[0] not in ("info", "variants"):
        given.append("--help")
    try:
        run = cli._parser().parse_args(given).run
    except SystemExit as stop:
        if stop.code != 0:
            pytest.fail(f"alexnet {' '.join(given)} does not parse")
    else:
        assert callable(run)


@pytest.mark.usefixtures("anywhere")
@each_document
def test_commands_in_the_documents_parse(path: Path) -> None:
    for arguments in commands(path):
        parsed(arguments)


def test_commands_are_found() -> None:
    assert ["bench"] in commands(ROOT / "README.md")
    long = next(line for line in commands(ROOT / "README.md") if "--warm-up" in line)
    assert long[-2:] == ["--output", "runs/cifar"]
    described = {arguments[0] for arguments in commands(ROOT / "docs" / "command.md")}
    assert described == set(_commands())


@pytest.mark.usefixtures("anywhere")
def test_examples_of_the_commands_help_parse(capsys: pytest.CaptureFixture[str]) -> None:
    for name in _commands():
        with pytest.raises(SystemExit):
            cli._parser().parse_args([name, "--help"])
        example = " ".join(capsys.readouterr().out.partition("example: ")[2].split())
        assert example.startswith(f"alexnet {name}")
        parsed(example.split()[1:])


def _commands() -> list[str]:
    return re.findall(r"^    (\w+) ", cli._parser().format_help(), re.MULTILINE)


@each_document
def test_links_lead_to_files_and_headings(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if target.startswith("http"):
            continue
        name, _, heading = target.partition("#")
        file = path.parent / name if name else path
        assert file.exists(), target
        if heading:
            titles = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
            assert heading in [re.sub(r"[^\w -]", "", t.lower()).replace(" ", "-") for t in titles]


@each_document
def test_extras_and_scripts_exist(path: Path) -> None:
    text = path.read_text()
    for names in re.findall(r'"?\.\[([\w,]+)\]"', text):
        assert set(names.split(",")) <= EXTRAS.keys()
    for line in shell_lines(path):
        for script in re.findall(r"python (\S+\.py)", line):
            assert (ROOT / script).exists(), script


# --- kept figures ---------------------------------------------------------------------------------


@pytest.fixture
def results(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    monkeypatch.delitem(sys.modules, "results", raising=False)
    import results  # type: ignore[import-not-found]

    return results  # type: ignore[no-any-return]


def test_the_table_of_figures_is_the_kept_ones(results: ModuleType) -> None:
    table = results.table(json.loads(RESULTS.read_text()))
    assert f"\n\n{table}\n" in (ROOT / "docs" / "benchmarks.md").read_text()


def test_the_picture_of_figures_is_of_the_kept_ones(results: ModuleType) -> None:
    kept = json.loads(RESULTS.read_text())
    figure = results.picture(kept)
    texts = re.findall("<!-- (.*) -->", (ROOT / "docs" / "images" / "benchmark.svg").read_text())
    rows = [text.get_text() for axes in figure.axes for text in axes.get_yticklabels()]
    labels = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert rows == [row["work"] for row in kept["rows"]]
    assert labels[0] == " 61 ms"
    assert labels[13] == " TensorFlow 202–217 ms: 3.3–3.6×"
    assert set(rows) < set(texts)
    assert set(labels) < set(texts)
    widths = [bar.get_width() for bar in figure.axes[0].patches]
    assert widths[:13] == [1.0] * 13
    assert widths[13] == pytest.approx(3.45)
    for row in kept["rows"]:  # a ratio is of one run, so within those of the extremes
        best = row["others"][results.best(row)]
        low, high = best[0] / row["ours"][-1], best[-1] / row["ours"][0]
        assert 0.9 * low <= row["ratio"][0] <= row["ratio"][-1] <= 1.1 * high


def test_the_readme_is_one_page() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 90
