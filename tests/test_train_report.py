"""What `alexnet train` says: the network that it chooses, how it goes, how to go on, what came."""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from alexnet.cli import main
from alexnet.commands import console, training_report
from alexnet.commands.console import Progress, shell_line
from alexnet.data import UnreadableImageError, open_dataset
from alexnet.interchange import load_model
from alexnet.messages import duration
from alexnet.network.checkpoint import BEST, LAST
from alexnet.network.variants import VARIANTS
from alexnet.training.configuration import variant_for
from alexnet.training.trainer import Trainer
from support import cifar_files as files
from support import photo_files, small_runs
from support.processes import started
from support.small_networks import small_variant
from support.terminals import on_terminal

SCRIPT = (sys.executable, str(Path(small_runs.__file__)))
ENVIRONMENT = {**os.environ, "ALEXNET_NUM_THREADS": "1"}
FOREVER = ("--batch-size", "10", "--epochs", "100000")
PREPARING = "Preparing the images and the network"


@pytest.fixture(autouse=True)
def _small_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    small_runs.use(monkeypatch, tmp_path)


@pytest.fixture
def data(tmp_path: Path) -> str:
    files.write_directory(tmp_path / "cifar")
    return "cifar"


def printed_command(lines: list[str], after: str) -> list[str]:
    """Arguments of the command that is printed below a line that ends in `after`."""
    (place,) = (number for number, line in enumerate(lines) if line.endswith(after))
    words = shlex.split(lines[place + 1])
    assert words[0] == "alexnet"
    return words[1:]


# --- the network ----------------------------------------------------------------------------------


def test_the_network_follows_from_the_size_of_the_images(
    data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(VARIANTS, "pytorch-227", small_variant("pytorch-227"))
    assert [variant_for(side) for side in (32, 64, 65)] == [*["cifar10-bn"] * 2, "pytorch-227"]
    for name, size in (("small", 32), ("large", 90)):
        for number in range(12):
            photo = tmp_path / name / "train" / "ab"[number % 2] / f"{number}.jpg"
            photo_files.write_photo(photo, number, size, size + 10)
    length = ["--steps", "1", "--batch-size", "2"]
    for folder, variant, images in (
        (data, "cifar10-bn", "32 x 32 pixels"),
        ("small", "cifar10-bn", "about 32 pixels"),
        ("large", "pytorch-227", "about 90 pixels"),
    ):
        assert main(["train", folder, *length, "--output", f"run {folder}"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == f"Network {variant} for images of {images}; --variant chooses another"
        assert lines[1] == f"Training {variant} in run {folder}, step 0 of 1"
    assert main(["train", "large", *length, "--variant", "cifar10-bn"]) == 0
    assert capsys.readouterr().out.startswith("Training cifar10-bn in runs/cifar10-bn-1")
    assert main(["train", "large", "--resume", "run large"]) == 0
    assert "Network" not in capsys.readouterr().out


def test_the_size_of_photos_is_that_of_the_middle_one(tmp_path: Path) -> None:
    for number in range(60):  # of each class, of which one of five is looked at
        large = number % 5 == 0 and number >= 10
        for name in ("cat", "dog"):
            path = tmp_path / "train" / name / f"{number:02}.png"
            photo_files.write_photo(path, number, 80 if large else 33, 90)
    photos = open_dataset(tmp_path).train
    assert photos.typical_side() == 80
    for path in photos.paths[::5][1:]:
        photo_files.cut_short(path)  # within the pixels
    assert photos.typical_side() == 80
    for path in photos.paths[::5][:-1]:
        path.write_bytes(b"no image")
    assert photos.typical_side() == 80
    for path in photos.paths:
        path.write_bytes(b"no image")
    with pytest.raises(UnreadableImageError, match=r"\.png"):
        photos.typical_side()


# --- how to go on ---------------------------------------------------------------------------------


def test_a_stopped_run_goes_on_with_the_command_that_it_prints(tmp_path: Path) -> None:
    photos = photo_files.write_folder(tmp_path / "it's\nmine é", 6, None) / "train"
    split = ["--test-share", "0.3", "--split-seed", "5"]
    start = ["train", str(photos), *split, "--batch-size", "4", "--epochs", "100000"]
    environment = {**ENVIRONMENT, "PYTHONIOENCODING": "ascii"}
    command = [*SCRIPT, *start, "--output=-run $1"]
    for total in ("200000", "100000"):
        with started(command, "Iter [", cwd=tmp_path, env=environment) as process:
            process.terminate()
            output, _ = process.communicate()
        message = rf"Stopped by SIGTERM at step \d+ of {total}; to go on:\n  (.*)\n"
        (end,) = re.findall(message, output)
        step = load_model(tmp_path / "-run $1" / LAST).step
        assert end.startswith("alexnet train $'/")
        assert end.isascii()
        shell = f'alexnet() {{ exec {shlex.join(SCRIPT)} "$@"; }}\n{end}'
        command = ["bash", "-c", f"{shell} --steps 100000"]
        assert f"at step {step} of" in output
    assert "--steps" not in end  # the run has its new length from the checkpoint on


def test_a_finished_run_says_so_and_goes_on_with_the_command_that_it_prints(
    data: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", data, "--batch-size", "30", "--output", "run", "--log-interval", "1"]
    assert main([*command, "--epochs", "2"]) == 0
    capsys.readouterr()
    for twice, last in (("4", 8), ("8", 16)):
        assert main(["train", data, "--resume", "run"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == f"The run in run is finished: {last // 2} of {last // 2} steps"
        arguments = printed_command(lines, "twice its length:")
        assert arguments == ["train", data, "--resume", "run", "--epochs", twice]
        assert main(arguments) == 0
        assert load_model(Path("run", LAST)).step == last
        capsys.readouterr()
    assert main(["train", data, "--resume", "run", "--steps", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "The run in run is at step 16 already, beyond the 3 asked for"
    assert printed_command(lines, "twice its length:")[-2:] == ["--steps", "32"]


def test_what_is_given_anew_is_in_the_command_to_go_on(
    data: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", data, "--batch-size", "30", "--steps", "2", "--output", "run"]) == 0
    again = ["train", data, "--resume", "run", "--threads", "1", "--json", "f.json"]
    capsys.readouterr()
    assert main([*again, "--log-interval", "7"]) == 0
    arguments = printed_command(capsys.readouterr().out.splitlines(), "twice its length:")
    length = ["--steps", "4", "--threads", "1"]
    assert arguments == [*again[:4], *length, "--log-interval", "7", "--json", "f.json"]
    assert main(arguments) == 0


@pytest.mark.parametrize(
    "word", ["plain/path", "it's $HOME", "", "two\nlines\x1b", "é猫", "\udce9x", "\\'1", "`a`*"]
)
@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "cp1252"])
def test_a_shell_reads_the_words_that_are_printed(word: str, encoding: str, tmp_path: Path) -> None:
    with (tmp_path / "file").open("w", encoding=encoding) as file:
        line = shell_line(["printf", "%s", word], file)
        file.write(line)  # it has no character that the encoding lacks
    assert line.isprintable()
    result = subprocess.run(["bash", "-c", os.fsencode(line)], capture_output=True, check=True)
    assert result.stdout == os.fsencode(word)


# --- the summary ----------------------------------------------------------------------------------


def test_the_summary_tells_the_best_and_what_to_do_next(
    data: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", data, "--batch-size", "20", "--evaluate-every", "1", "--output", "run"]
    assert main([*command, "--steps", "3"]) == 0
    assert main(["train", data, "--resume", "run", "--steps", "7"]) == 0
    output = capsys.readouterr().out
    lines = output.splitlines()
    tests = re.findall(r"accuracy: (\S+) \(epoch (\d), step (\d)\)", output)
    assert [(int(epoch), int(step)) for _, epoch, step in tests] == [
        *((1, 1), (1, 2), (1, 3), (2, 4), (2, 5), (2, 6), (3, 7))
    ]
    best = max(tests, key=lambda test: float(test[0]))  # the first one of them
    said = f"Best test accuracy: {best[0]} at epoch {best[1]}, step {best[2]}, in {BEST}"
    assert lines.count(said) >= 1
    assert lines[-4:-1] == [said, "Folder: run", "To use it:"]
    assert load_model(Path("run", BEST)).step == int(best[2])
    assert main(shlex.split(lines[-1])[1:]) == 0
    shown = capsys.readouterr().out
    assert f"accuracy: {best[0]}" in shown
    log = [line.split(" ", 2)[2] for line in Path("run/log.txt").read_text().splitlines()]
    assert log[-3:] == lines[-3:]


def test_photos_are_evaluated_and_predicted_by_the_commands_of_the_summary(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo_files.write_folder(tmp_path / "p", 3, None)
    length = ["--steps", "1", "--batch-size", "2"]
    for photos, images in (("p/train", ["p/train"]), ("p", ["p", "--split", "train"])):
        assert main(["train", photos, *length]) == 0
        lines = capsys.readouterr().out.splitlines()
        place = lines.index("To use it:")
        evaluation, prediction = (shlex.split(line)[1:] for line in lines[place + 1 :])
        assert evaluation[2:] == images
        assert Path(prediction[-1]).suffix == ".jpg"
        assert main(evaluation) == main(prediction) == 0
        capsys.readouterr()


def test_one_of_each_is_counted_as_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(2):
        photo_files.write_photo(tmp_path / "train" / "cat" / f"{number}.jpg", number)
    split = ["--test-share", "0.5"]
    length = ["--steps", "1", "--batch-size", "1", "--output", "run"]
    assert main(["train", ".", *split, *length]) == 0
    output, error = capsys.readouterr()
    assert ", 1 is for testing, by split seed 0\n" in error
    assert "\n1 training image, 1 test image, 1 class, 1 step an epoch\n" in output
    assert "\nTrained 1 step in " in output
    assert main(["evaluate", "run", ".", *split]) == 0
    assert capsys.readouterr().out.endswith("\n1 image\n")
    assert main(["train", ".", *split]) == 2
    assert "expected at most the 1 image of the training set" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        *((0.04, "0.0 s"), (9.96, "10.0 s"), (59.96, "1 min 0 s"), (60, "1 min 0 s")),
        *((3599.6, "1 h 0 min"), (7384, "2 h 3 min")),
    ],
)
def test_times_are_told_in_their_largest_units(seconds: float, told: str) -> None:
    assert duration(seconds) == told


# --- progress -------------------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    seconds = [0.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: seconds[0])
    return seconds


@pytest.mark.parametrize("columns", [100, 80, 60, 40, 30, 12])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_the_bar_fits_the_terminal_and_its_encoding(
    columns: int,
    encoding: str,
    clock: list[float],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes standard error for a terminal
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(columns))
    with (tmp_path / "shown").open("w", encoding=encoding) as file:
        monkeypatch.setattr(sys, "stderr", file)
        with Progress("evaluating", 15630, done=12340) as progress:
            clock[0] = 10.0
            progress.advance("Epoch [8/10]", ["Loss: 0.1234", "Accuracy: 0.5000", "800 images/s"])
    shown = re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", (tmp_path / "shown").read_text(encoding))
    (line,) = set(filter(None, re.split(r"[\r\n]", shown)))
    assert len(line) <= columns - console.ECHO
    if columns >= 60:
        assert line.startswith("Epoch [8/10] Loss: 0.1234 ")
    if columns >= 40:
        assert line.endswith(" 12341/15630 9:08:10 left")
    assert ("800 images/s" in line) == (columns == 100)


def test_lines_where_no_bar_can_be_drawn(
    clock: list[float], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for force, first in (("", 15.0), ("1", 2.0)):  # a file, and a terminal without a cursor
        monkeypatch.setenv("TERM", "dumb")
        monkeypatch.setenv("FORCE_COLOR", force)
        clock[0] = 0.0
        with Progress("evaluating", 30) as progress:
            assert not progress.drawn
            for second in range(1, 31):
                clock[0] = second
                progress.advance(details=["more"])
        times = [first + 15 * number for number in range(3) if first + 15 * number <= 30]
        expected = [f"evaluating {at:.0f}/30 0:00:{30 - at:02.0f} left" for at in times]
        assert capsys.readouterr().err.splitlines() == expected
        with Progress("evaluating", 30, lines=False) as progress:
            clock[0] += 100
            progress.advance()
        assert capsys.readouterr().err == ""


def test_a_log_gets_a_line_now_and_then(
    data: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["train", data, "--batch-size", "10", "--steps", "15"]  # 6 steps an epoch
    assert main(command) == 0
    assert re.findall(r"\[(\d/\d)\], Iter \[(\d)", capsys.readouterr().out) == [
        *(("1/3", "1"), ("1/3", "6"), ("2/3", "6"), ("3/3", "3"))
    ]
    monkeypatch.setattr(training_report, "LINE_EVERY", 0.0)
    assert main(command) == 0
    output = capsys.readouterr().out
    assert output.count("Iter [") == 15
    assert re.findall(r"\nEpoch \[(\d)/3\], testing, 100%\n", output) == ["1", "2", "3"]


def test_a_log_gets_to_know_how_far_the_preparation_is(
    data: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alexnet.commands.console.LINE_EVERY", 0.0)
    assert main(["train", data, "--batch-size", "10", "--steps", "1"]) == 0
    done = re.findall(rf"^{PREPARING} (\d+)/60\b", capsys.readouterr().err, re.MULTILINE)
    assert list(map(int, done)) == list(range(61))


@pytest.mark.parametrize("terminal", ["xterm", "dumb"])
def test_ctrl_c_on_a_narrow_terminal(terminal: str, data: str, tmp_path: Path) -> None:
    command = [*SCRIPT, "train", data, *FOREVER, "--output", "run"]
    status, lines = on_terminal(
        command,
        60,
        cwd=tmp_path,
        environment={**ENVIRONMENT, "TERM": terminal},
        interrupt_at="Epoch [3",
    )
    assert status == 130
    assert "Saving after this step; Ctrl-C again stops without" in lines
    step = load_model(Path("run", LAST)).step
    stopped = lines.index(f"Stopped by SIGINT at step {step} of 600000; to go on:")
    assert lines[stopped + 1] == "  alexnet train cifar --resume run"
    moving = [line for line in lines if "left" in line and not line.startswith(PREPARING)]
    assert bool(moving) == (terminal == "xterm")
    assert all(re.fullmatch(r"Epoch \[.* \d+/600000 .* left(\^C)?", line) for line in moving)
    assert ("Reading cifar" in lines) == bool(moving)
    assert any(line.startswith(PREPARING) for line in lines) == bool(moving)
    running = [line for line in lines[:stopped] if line.startswith(("Epoch [", "Saving"))]
    assert running
    assert all(len(line) <= 60 for line in running)


def test_the_bar_is_there_before_the_first_step(data: str, tmp_path: Path) -> None:
    command = [*SCRIPT, "train", data, "--batch-size", "30", "--steps", "3", "--output", "run"]
    status, lines = on_terminal(command, 60, cwd=tmp_path, environment=ENVIRONMENT)
    assert status == 0
    (bar,) = {line for line in lines if line.endswith(" 0/3")}
    assert bar.startswith("Epoch [1/2] ")
    work = ["Reading cifar", PREPARING, bar]
    seen = [PREPARING if line.startswith(PREPARING) else line for line in lines]
    assert [line for line in dict.fromkeys(seen) if line in work] == work


def test_sentences_fit_a_narrow_terminal_and_commands_stay_whole(data: str, tmp_path: Path) -> None:
    folder = "a folder of a long name " + "x" * 40
    command = [*SCRIPT, "train", data, "--steps", "2", "--output", folder]
    status, lines = on_terminal(command, 60, cwd=tmp_path, environment=ENVIRONMENT)
    assert status == 0
    assert f"  alexnet evaluate '{folder}' cifar" in lines
    assert all(len(line) <= 60 for line in lines if not line.startswith("  alexnet "))
    status, lines = on_terminal(command, 60, cwd=tmp_path, environment=ENVIRONMENT)
    assert status == 2
    assert "choose another folder" in " ".join(map(str.strip, lines))
    assert all(len(line) <= 60 for line in lines)


@pytest.mark.parametrize(("seconds", "told"), [(100.0, "0.1"), (0.6, "16.7"), (0.05, "200")])
def test_few_images_a_second_are_not_none(
    seconds: float,
    told: str,
    data: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    step = Trainer.step
    monkeypatch.setattr(
        Trainer,
        "step",
        lambda self, **options: dataclasses.replace(step(self, **options), seconds=seconds),
    )
    assert main(["train", data, "--batch-size", "10", "--steps", "2"]) == 0
    assert f", {told} images/s, " in capsys.readouterr().out


def test_the_bar_makes_way_for_every_line(data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line may come to the same terminal through a pipe, by `tee`, as well."""
    events = []
    clear, say = Progress.clear, training_report.say
    monkeypatch.setattr(Progress, "clear", lambda self: (events.append("clear"), clear(self)))
    monkeypatch.setattr(
        training_report, "say", lambda *arguments: (events.append("say"), say(*arguments))
    )
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes standard error for a terminal
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(console, "PATIENCE", 0.0)
    assert main(["train", data, "--steps", "2", "--batch-size", "20"]) == 0
    before = [earlier for earlier, event in pairwise(["start", *events]) if event == "say"]
    assert before == ["clear"] * events.count("say")
    assert len(before) >= 8
