"""The command `alexnet train`."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from alexnet.cli import main
from alexnet.data import Preprocessing
from alexnet.interchange import load_model
from alexnet.network.checkpoint import BEST, LAST, PREVIOUS
from support import cifar_files as files
from support import photo_files, small_runs
from support.processes import status_of

RUN_FOLDER = {
    *(BEST, LAST, "config.json", "conv1.png", "curves.png"),
    *("log.txt", "metrics.csv", "norms.csv"),
}


@pytest.fixture(autouse=True)
def _small_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    small_runs.use(monkeypatch, tmp_path)


@pytest.fixture
def data(tmp_path: Path) -> str:
    return str(files.write_directory(tmp_path / "cifar"))


def test_lines_figures_and_folder(
    data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", data, "--batch-size", "20", "--json", "figures.json"]
    command += ["--variant", "cifar10-bn", "--log-interval", "1"]
    assert main([*command, "--epochs", "2", "--optimizer", "sgd", "--lr", "0.01"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Training cifar10-bn in runs/cifar10-bn-1, step 0 of 6"
    assert lines[1] == "60 training images, 12 test images, 3 classes, 3 steps an epoch"
    figures = json.loads(Path("figures.json").read_text())
    loss = figures["losses"][0]
    assert lines[2].startswith(f"Epoch [1/2], Iter [1/3] Loss: {loss:.4f} Accuracy: ")
    assert lines[5].startswith("Test loss: ")
    assert lines[8].startswith("Epoch [2/2], Iter [3/3] Loss: ")
    test = figures["test"]
    assert lines[9] == (
        f"Test loss: {test['loss']:.4f}, accuracy: {test['accuracy']:.4f} (epoch 2, step 6)"
    )
    assert lines[10].startswith("Trained 6 steps in ")
    assert lines[10].endswith("% of it")
    assert lines[11].startswith(f"Best test accuracy: {figures['best_test_accuracy']:.4f} at epoch")
    assert lines[12:14] == ["Folder: runs/cifar10-bn-1", "To use it:"]
    assert lines[14] == f"  alexnet evaluate runs/cifar10-bn-1 {data}"
    assert len(lines) == 15
    assert figures["steps"] == len(figures["losses"]) == 6
    assert (figures["momentum"], figures["weight_decay"]) == (0.9, 5e-4)

    folder = tmp_path / "runs" / "cifar10-bn-1"
    assert {entry.name for entry in folder.iterdir()} == {*RUN_FOLDER, PREVIOUS}
    described = json.loads((folder / "config.json").read_text())["preprocessing"]
    assert described["mean"] == described["stddev"] == [127.5] * 3  # pixel / 127.5 - 1
    assert load_model(folder).preprocessing == Preprocessing.from_json(described)
    log = (folder / "log.txt").read_text().splitlines()
    assert [line.split(" ", 2)[2] for line in log] == [lines[n] for n in (0, 1, 5, *range(9, 15))]
    norms = (folder / "norms.csv").read_text().splitlines()
    assert norms[0] == "step,parameter,weight_norm,gradient_norm,update_norm"
    assert norms[1].startswith("1,conv1.weight,")
    assert {int(row.split(",")[0]) for row in norms[1:]} == {1, 2, 4}

    assert main([*command, "--steps", "2", "--log-interval", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Training cifar10-bn in runs/cifar10-bn-2, step 0 of 2"
    assert lines[2].startswith("Epoch [1/1], Iter [2/3] Loss")


def test_a_terminal_sees_a_live_line(
    data: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes standard error for a terminal
    monkeypatch.setattr("alexnet.commands.console.PATIENCE", 0.0)
    assert main(["train", data, "--steps", "2", "--batch-size", "20"]) == 0
    output, error = capsys.readouterr()
    assert "Epoch [1/1], Iter [2/3] Loss: " in output  # a file, while the bar is on the terminal
    assert "Epoch [1/1] Loss: " in error
    assert "images/s" in error


def test_figures_that_cannot_be_written_are_refused_before_any_image_is_read(
    data: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in ("there/figures.json", ".", ""):
        assert status_of(["train", "nowhere", "--json", path]) == 2
        error = capsys.readouterr().err
        assert error.startswith("alexnet train: error: argument --json: ")
        assert error.endswith(" (see alexnet train --help)\n")
    assert not Path("runs").exists()
    length = ["--steps", "1", "--batch-size", "20", "--output", "run"]
    assert main(["train", data, *length, "--json", "run/figures.json"]) == 0


def test_resume_goes_on_with_the_settings_of_the_run(
    data: str, capsys: pytest.CaptureFixture[str]
) -> None:
    start = ["--batch-size", "20", "--augment", "none", "--output", "run"]
    assert main(["train", data, *start, "--steps", "2"]) == 0
    assert main(["train", data, "--resume", "run", "--steps", "5", "--json", "-"]) == 0
    captured = capsys.readouterr()
    figures = json.loads(captured.out[captured.out.index("{") :])
    assert (figures["batch_size"], figures["augment"], figures["steps"]) == (20, "none", 5)
    assert "Training cifar10-bn in run, step 2 of 5" in captured.err


def test_photos_in_folders_of_classes_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = str(photo_files.write_folder(tmp_path, 5, None) / "train")
    settings = ["--steps", "2", "--batch-size", "4", "--output", "run"]
    assert main(["train", photos, *settings]) == 0
    captured = capsys.readouterr()
    assert captured.err == (
        f"alexnet: warning: {photos} has no test images: of 10 in the classes cat, dog, 2 are for "
        "testing, by split seed 0\n"
    )
    assert "\n8 training images, 2 test images, 2 classes, 2 steps an epoch\n" in captured.out
    assert main(["evaluate", "run", photos]) == 0
    assert capsys.readouterr().out.endswith("\n2 images\n")
    assert main(["train", photos, "--resume", "run", "--steps", "3"]) == 0
    for other in (["--split-seed", "3"], ["--test-share", "0.4"]):
        assert main(["train", photos, "--resume", "run", "--steps", "4", *other]) == 2
        assert "the run is of other images: its training_" in capsys.readouterr().err
    for bad in (["--test-share", "1"], ["--test-share", "-0.1"], ["--split-seed", "-1"]):
        assert status_of(["train", photos, *bad]) == 2


def test_a_lack_of_test_images_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = str(photo_files.write_folder(tmp_path, 2, None))
    assert main(["train", photos, "--steps", "1", "--batch-size", "4"]) == 0
    line = "Warning: no test images, so no accuracy but that of the training images"
    assert line in capsys.readouterr().out.splitlines()
    assert line in (tmp_path / "runs" / "cifar10-bn-1" / "log.txt").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--variant", "tf-tutorial"], "the network has no classifier"),
        (["--variant", "torchvision"], r"images are (32, 32, 3), but the network takes (224, 224"),
        (["--batch-size", "61"], "batch_size is 61, expected at most the 60 images"),
        (["--lr", "0"], "argument --lr: '0', expected a finite number > 0"),
        (["--lr", "nan"], "argument --lr: 'nan', expected a finite number > 0"),
        (["--momentum", "1"], "--momentum: '1', expected a finite number >= 0 and < 1"),
        (["--momentum", "0.9"], "momentum is 0.9, but adam has none: use sgd"),
        (["--weight-decay", "-1"], "argument --weight-decay: '-1', expected a finite number >= 0"),
        (["--schedule", "linear"], "argument --schedule: 'linear', expected one of"),
        (["--augment", "some"], "argument --augment: 'some', expected one of"),
        (["--device", "tpu"], "argument --device: 'tpu', expected one of auto, cpu, cuda"),
        (["--steps", "0"], "argument --steps: '0', expected an integer from 1"),
        (["--steps", "1", "--epochs", "1"], "not allowed with argument"),
        (["--output", "a", "--resume", "a"], "not allowed with argument"),
        (["--resume", "nowhere"], "nowhere: holds no run"),
        (["--output", "cifar/batches.meta"], "cifar/batches.meta: Not a directory"),
    ],
)
def test_bad_use_is_one_line_and_status_2(
    arguments: list[str], message: str, data: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status_of(["train", data, *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_folder_with_a_run_is_not_overwritten(
    data: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", data, "--batch-size", "20", "--steps", "1", "--output", "run"]
    assert main(command) == 0
    before = small_runs.folder_contents(Path("run"))
    assert main(command) == 2
    assert "run holds a run already" in capsys.readouterr().err
    assert main(["train", data, "--resume", "run", "--batch-size", "10"]) == 2
    assert "the run has batch_size 20, and cannot go on with 10" in capsys.readouterr().err
    assert small_runs.folder_contents(Path("run")) == before


def test_divergence_has_status_1_and_leaves_the_checkpoint(
    data: str, capsys: pytest.CaptureFixture[str]
) -> None:
    start = ["--batch-size", "20", "--optimizer", "sgd", "--lr", "1e20", "--checkpoint-every", "1"]
    assert main(["train", data, *start, "--output", "run"]) == 1
    error = capsys.readouterr().err
    assert "the loss of step 2 is nan: layer conv" in error
    assert "is the first whose output is not finite; try a learning rate below 1e+20" in error
    assert error.count("\n") == 1
    assert "stopped: training: the loss of step 2" in Path("run/log.txt").read_text()
    contents = small_runs.folder_contents(Path("run"))
    assert '"step": 1,' in str(contents[LAST])


@pytest.mark.parametrize(
    ("limit", "message"),
    [(40_000, "{run}/last.safetensors: File too large"), (1000, "{run}/norms.csv: File too large")],
)
def test_a_full_disk_is_one_error_and_leaves_the_checkpoint(
    limit: int, message: str, data: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    assert main(["train", data, "--batch-size", "20", "--steps", "1", "--output", "run"]) == 0
    before = Path("run", LAST).read_bytes()
    command = [sys.executable, str(Path(small_runs.__file__)), "train", data]
    result = subprocess.run(
        [*command, "--resume", str(tmp_path / "run"), "--steps", "3"],
        cwd=request.config.rootpath,
        capture_output=True,
        text=True,
        env={**os.environ, "ALEXNET_NUM_THREADS": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert message.format(run=tmp_path / "run") in result.stderr
    assert Path("run", LAST).read_bytes() == before
    assert {entry.name for entry in Path("run").iterdir()} == RUN_FOLDER
    assert main(["train", data, "--resume", "run", "--steps", "3"]) == 0
