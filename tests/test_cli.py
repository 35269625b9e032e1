"""The command: help, tables, JSON, and what happens on bad use and interruption."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import alexnet
from alexnet.cli import main
from alexnet.commands import describe
from alexnet.commands.console import Progress
from alexnet.messages import printable
from alexnet.network.variants import variants
from support.processes import default_signals, started, status_of

RUNNING = (
    "bench",
    "compare",
    "train",
    "evaluate",
    "predict",
    "convert",
    "study",
)  # each in a module of its own
COMMANDS = ("info", "variants", "summary", "verify", *RUNNING)
PROGRAM = (sys.executable, "-m", "alexnet")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example_that_parses(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert status_of([command, "--help"]) == 0
    output = capsys.readouterr().out
    example = re.search(rf"example: alexnet ({command}.*)", output)
    assert example
    module = sys.modules[f"alexnet.commands.{command}"] if command in RUNNING else None
    if module is not None:  # what parses is not run
        monkeypatch.setattr(module, "_run", lambda _: True)
        assert status_of(example.group(1).split()) == 0


def test_info(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info"]) == 0
    output = capsys.readouterr().out
    assert re.search(rf"^instruction set +{alexnet.cpu_isa()}$", output, re.MULTILINE)
    assert re.search(rf"^bfloat16 +{alexnet.cpu_bfloat16()}$", output, re.MULTILINE)
    assert re.search(r"^CUDA +\S", output, re.MULTILINE)
    assert main(["info", "--json", "-"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["environment"]["available_isas"] == list(alexnet.available_isas())
    assert figures["environment"]["version"] == alexnet.build_info()["version"]


def test_info_says_why_there_is_one_thread(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = describe.environment() | {"openmp": False}
    monkeypatch.setattr(describe, "environment", lambda: figures)
    assert main(["info"]) == 0
    assert re.search(r"^threads +1, because .* OpenMP", capsys.readouterr().out, re.MULTILINE)


def test_variants_are_all_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["variants"]) == 0
    lines = capsys.readouterr().out.splitlines()
    numbers, texts = lines[: lines.index("")], lines[lines.index("") + 1 :]
    assert [line.split()[0] for line in numbers[1:]] == list(variants())
    assert [line.split()[0] for line in texts[1:] if line[0] != " "] == list(variants())
    assert any("61,100,840" in line for line in lines if line.startswith("torchvision"))


def test_summary_of_tf_small(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["summary", "tf-small"]) == 0
    output = capsys.readouterr().out
    for name, shape in {
        "conv1": "[32, 56, 56, 64]",
        "pool1": "[32, 27, 27, 64]",
        "conv2": "[32, 27, 27, 128]",
        "pool2": "[32, 13, 13, 128]",
        "conv3": "[32, 13, 13, 256]",
        "conv4": "[32, 13, 13, 128]",
        "conv5": "[32, 13, 13, 128]",
        "pool5": "[32, 6, 6, 128]",
    }.items():
        assert re.search(rf"^{name} .*{re.escape(shape)}", output, re.MULTILINE)


def test_figures_of_summary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "figures.json"
    assert main(["summary", "torchvision", "--batch-size", "1", "--json", str(file)]) == 0
    assert "714,188,480" in capsys.readouterr().out
    figures = json.loads(file.read_text())
    assert figures["total"]["parameters"] == 61_100_840
    assert figures["total"]["macs"] == 714_188_480
    assert figures["total"]["flops"] == 2 * 714_188_480
    assert figures["layers"][0] == {
        "name": "conv1",
        "kind": "Conv2d",
        "output_shape": [1, 55, 55, 64],
        "neurons": 55 * 55 * 64,
        "parameters": 11 * 11 * 3 * 64 + 64,
        "macs": 55 * 55 * 64 * 11 * 11 * 3,
        "flops": 2 * 55 * 55 * 64 * 11 * 11 * 3,
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["frobnicate"], "argument COMMAND: 'frobnicate', expected one of info, variants"),
        (["summary"], "the following arguments are required: V"),
        (["summary", "lenet"], "argument V: 'lenet', expected one of tf-tutorial"),
        (["summary", "tf-small", "--batch-size", "0"], "--batch-size: '0', expected an integer"),
        (["bench", "--steps", "0"], "--steps: '0', expected an integer from 1 to"),
        (["bench", "--steps", "-3"], "--steps: '-3', expected an integer from 1 to"),
        (["bench", "--steps", "ten"], "--steps: 'ten', expected an integer from 1 to"),
        (["bench", "--burn-in", "-1"], "--burn-in: '-1', expected an integer from 0 to"),
        (["bench", "--threads", "0"], "--threads: '0', expected an integer from 1 to"),
        (["bench", "--seed", "-1"], "--seed: '-1', expected an integer from 0 to"),
        (["bench", "--target", "backward"], "argument --target: 'backward', expected one of"),
        (["verify", "--isa", "mmx"], "argument --isa: 'mmx', expected one of"),
        (["train"], "the following arguments are required: DATA"),
        (["train", "/nonexistent"], "/nonexistent does not exist"),
        (["convert", "/nonexistent", "x", "--to", "onnx"], "argument --to: 'onnx', expected"),
        (["info", "--json", "/nonexistent/figures.json"], "/nonexistent/figures.json"),
    ],
)
def test_bad_use_is_one_line_and_status_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status_of(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert error.startswith("alexnet")


def test_no_memory_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for text, message in (("", ""), ("9 TiB wanted", ": 9 TiB wanted")):

        def fail(text: str = text) -> dict[str, Any]:
            raise MemoryError(text)

        monkeypatch.setattr(describe, "environment", fail)
        assert main(["info"]) == 2
        assert capsys.readouterr().err == f"alexnet: error: out of memory{message}\n"


def test_what_a_device_does_not_have_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> dict[str, Any]:
        raise NotImplementedError("network: not on this device")

    monkeypatch.setattr(describe, "environment", fail)
    assert main(["info"]) == 2
    assert capsys.readouterr().err == "alexnet: error: network: not on this device\n"


def test_no_memory_for_a_batch_names_its_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "tf-small", "--batch-size", "2000000000"]) == 2  # 2 PiB
    error = capsys.readouterr().err
    assert re.fullmatch(r"alexnet: error: out of memory: .*; --batch-size is 2000000000\n", error)


def test_the_help_says_where_the_number_of_threads_comes_from(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert status_of(["bench", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "(default: ALEXNET_NUM_THREADS, else OMP_NUM_THREADS, else the processors" in text


@pytest.mark.parametrize(
    "arguments",
    [
        *("train ''", "train . --resume ''", "evaluate '' .", "evaluate . ''"),
        *("predict '' a.png", "predict . ''", "convert '' x"),
    ],
)
def test_no_name_is_not_the_current_folder(
    arguments: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status_of(shlex.split(arguments)) == 2
    assert "'', expected the name of a file or folder (see alexnet" in capsys.readouterr().err


def test_progress_appears_on_a_terminal_after_two_seconds(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr("alexnet.commands.console.time.monotonic", lambda: clock[0])
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes standard error for a terminal
    with Progress("working", 3) as progress:
        assert progress.drawn
        progress.advance()
        assert capsys.readouterr().err == ""
        clock[0] = 2.5
        progress.advance("still working")
        assert "still working" in capsys.readouterr().err
    monkeypatch.delenv("FORCE_COLOR")
    capsys.readouterr()
    with Progress("working", 3) as progress:
        assert not progress.drawn
        clock[0] = 9.0
        progress.advance()
    assert capsys.readouterr().err == ""


# --- processes of their own -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, größer, 猫, 👩‍🔬", "plain, größer, 猫, 👩‍🔬"),
        ("می‌خواهم\u00a0x", "می‌خواهم\u00a0x"),
        ("\x1b[31mred\x9b", r"\x1b[31mred\x9b"),
        ("a\r\n\tb\x7f\0", r"a\r\n\tb\x7f\x00"),
        ("\u202egnp.exe\u2066\u200f\u2028", r"\u202egnp.exe\u2066\u200f\u2028"),
        ("\udce9\ufeff\U000e0041", r"\udce9\ufeff\U000e0041"),
    ],
)
def test_what_no_terminal_shows_is_printed_as_escapes(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_errors_are_one_line_whatever_is_in_them(capsys: pytest.CaptureFixture[str]) -> None:
    name = "no\n\x1b[31m\u202e\udce9"
    for arguments in (["evaluate", name, name], ["verify", "--" + name], ["convert", name, "x"]):
        assert status_of(arguments) == 2
        error = capsys.readouterr().err
        assert r"no\n\x1b[31m\u202e\udce9" in error
        assert error.count("\n") == 1


def test_ctrl_c_ends_with_130_and_no_traceback() -> None:
    command = [*PROGRAM, "bench", "cifar10-bn", "--batch-size", "1", "--steps", "1000000"]
    with started(command, ": step 10,") as process:
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert error == "alexnet: interrupted\n"


@pytest.mark.parametrize("module", ["numpy", "rich"])
@pytest.mark.parametrize(
    "command",
    [[Path(sys.executable).with_name("alexnet")], [sys.executable, "-m", "alexnet"]],
    ids=["alexnet", "python -m alexnet"],
)
def test_ctrl_c_while_it_is_imported_has_no_traceback(
    command: list[str], module: str, tmp_path: Path
) -> None:
    """NumPy comes with the package, rich with the command: those here interrupt themselves."""
    (tmp_path / f"{module}.py").write_text(
        "import os, signal; os.kill(os.getpid(), signal.SIGINT)\n"
    )
    result = subprocess.run(
        command,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        preexec_fn=default_signals,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (result.returncode, result.stderr) == (130, "alexnet: interrupted\n")


@pytest.mark.parametrize(
    "arguments",
    [["-c", "import other.__main__"], ["-m", "other"], ["-m", "other", "alexnet"], ["-mother.run"]],
    ids=" ".join,
)
def test_an_import_leaves_ctrl_c_as_it_is(arguments: list[str], tmp_path: Path) -> None:
    """In programs of others, also those that are run as modules, and where a thread imports."""
    show = "import signal\nprint(signal.getsignal(signal.SIGINT) is signal.default_int_handler)\n"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "__init__.py").write_text(
        "import threading\n"
        "def load():\n"
        "    global alexnet\n"
        "    import alexnet\n"
        "thread = threading.Thread(target=load)\n"
        "thread.start()\n"
        "thread.join()\n"
        "alexnet.variants()\n"
    )
    for name in ("__main__", "run"):
        (tmp_path / "other" / f"{name}.py").write_text(show)
    run = subprocess.run(
        [sys.executable, *arguments],
        cwd=tmp_path,
        preexec_fn=default_signals,
        capture_output=True,
        text=True,
        check=True,
    )
    assert (run.stdout, run.stderr) == ("True\n", "")


@pytest.mark.parametrize(
    "program", [["-m", "alexnet"], ["-c", "import alexnet_command as c; c.main()"]]
)
def test_the_command_has_ctrl_c_back_once_it_runs(program: list[str], tmp_path: Path) -> None:
    """rich is imported last, before the command's first line: this one looks after that."""
    (tmp_path / "sitecustomize.py").write_text(
        "import atexit\n"
        "from signal import SIGINT, default_int_handler, getsignal\n"
        "atexit.register(lambda: print(getsignal(SIGINT) is default_int_handler))\n"
    )
    run = subprocess.run(
        [sys.executable, *program],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        preexec_fn=default_signals,
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.endswith("True\n")


def test_a_reader_that_leaves_is_no_error() -> None:
    with subprocess.Popen(
        [*PROGRAM, "variants"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(timeout=60) == 0
