"""Runs that go on: after kills at random moments, interruptions, and what makes it impossible."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from alexnet import cli
from alexnet.data import ImageSet
from alexnet.interchange import load_model
from alexnet.network.checkpoint import BEST, LAST, PREVIOUS
from alexnet.network.variants import VARIANTS
from alexnet.training.configuration import Configuration
from alexnet.training.run import Run
from support import cifar_files as files
from support import processes, small_runs

SCRIPT = (sys.executable, str(Path(small_runs.__file__)))
ONE_THREAD = {**os.environ, "ALEXNET_NUM_THREADS": "1"}
STEPS = 240  # so many that the fastest machine does not end before it was killed a few times
SETTINGS = ("--batch-size", "8", "--steps", str(STEPS), "--checkpoint-every", "3")
SETTINGS += ("--evaluate-every", "5", "--augment", "paper")


@pytest.fixture(autouse=True)
def _small_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(VARIANTS, small_runs.NAME, small_runs.SMALL)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return files.write_directory(tmp_path_factory.mktemp("data") / "cifar")


@pytest.fixture(scope="module")
def uninterrupted(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "whole"
    command = [*SCRIPT, "train", str(data), *SETTINGS, "--output", str(folder)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=ONE_THREAD)
    return folder


# --- other processes ------------------------------------------------------------------------------


def test_a_run_killed_again_and_again_is_the_uninterrupted_one(
    data: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "killed"
    command = [*SCRIPT, "kill", "1", "20", "train", str(data), *SETTINGS, "--output", str(folder)]
    result = subprocess.run(command, check=True, capture_output=True, text=True, env=ONE_THREAD)
    kills = int(result.stdout.split()[-1])
    assert kills >= 5
    assert small_runs.folder_contents(folder) == small_runs.folder_contents(uninterrupted)
    assert {path.name for path in folder.iterdir()} == {
        path.name for path in uninterrupted.iterdir()
    }


def test_ctrl_c_saves_the_step_and_ends_with_130(
    data: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "interrupted"
    command = [*SCRIPT, "train", str(data), *SETTINGS, "--output", str(folder)]
    with processes.started(command, "Iter [", env=ONE_THREAD) as process:
        process.send_signal(signal.SIGINT)
        output, error = process.communicate()
    assert process.returncode == 130
    assert error == "alexnet: interrupted\n"
    command = output.splitlines()[-1].split()
    step = load_model(folder / LAST).step
    rows = (folder / "metrics.csv").read_text().splitlines()
    assert 1 <= step < STEPS
    assert rows[-1].startswith(f"{step},")

    assert command[0] == "alexnet"
    resumed = [*SCRIPT, *command[1:]]
    result = subprocess.run(resumed, check=True, capture_output=True, text=True, env=ONE_THREAD)
    assert f"step {step} of {STEPS}" in result.stdout
    assert small_runs.folder_contents(folder) == small_runs.folder_contents(uninterrupted)


# --- in this process ------------------------------------------------------------------------------

SHORT = Configuration(batch_size=8, steps=6, checkpoint_every=2)


def started(folder: Path) -> Path:
    """A run that was stopped after step 4 of 6."""
    stopped = [False] * 3 + [True]
    run = Run.start(folder, SHORT, small_runs.dataset())
    run.train(stop=lambda: stopped.pop(0))
    run.close()
    return folder


def test_a_finished_run_goes_on_to_a_new_length(tmp_path: Path) -> None:
    long = dataclasses.replace(SHORT, steps=None, epochs=2)
    whole = small_runs.run_to_end(tmp_path / "whole", long, small_runs.dataset())
    assert whole.total_steps == 10
    short = started(tmp_path / "short")
    run = Run.resume(short, small_runs.dataset(), {"epochs": 2})
    run.train()
    run.close()
    # The short one was evaluated and saved at other steps, but it has the same parameters.
    names = load_model(short / LAST).network.tensors()
    for name, array in load_model(tmp_path / "whole" / LAST).network.tensors().items():
        assert names[name].tobytes() == array.tobytes()


def test_resuming_what_is_complete_makes_up_for_its_pictures_alone(tmp_path: Path) -> None:
    run = small_runs.run_to_end(tmp_path, SHORT, small_runs.dataset())
    before = small_runs.folder_contents(tmp_path)
    (tmp_path / "curves.png").unlink()  # killed behind the last checkpoint
    (tmp_path / "conv1.png").write_bytes(b"as it was at an earlier step")
    run = Run.resume(tmp_path, small_runs.dataset())
    run.train()
    run.close()
    assert small_runs.folder_contents(tmp_path) == before
    for name in ("curves.png", "conv1.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_a_run_without_test_images_has_no_best_checkpoint(tmp_path: Path) -> None:
    small_runs.run_to_end(tmp_path, SHORT, small_runs.dataset(test=0))
    assert not (tmp_path / BEST).exists()
    assert load_model(tmp_path).step == 6


def test_other_images_are_refused(tmp_path: Path) -> None:
    folder = started(tmp_path)
    before = small_runs.folder_contents(folder)
    with pytest.raises(
        ValueError, match="other images: its training_images is 40, but here it is 39"
    ):
        Run.resume(folder, small_runs.dataset(train=39))
    other = dataclasses.replace(small_runs.dataset(), class_names=("a", "b", "c"))
    with pytest.raises(ValueError, match=r"other images: its class_names is .*'dark'"):
        Run.resume(folder, other)
    assert small_runs.folder_contents(folder) == before


def test_other_images_of_the_same_number_are_refused(tmp_path: Path) -> None:
    folder = started(tmp_path)
    same = small_runs.dataset()
    Run.resume(folder, small_runs.dataset()).close()
    labels = np.roll(same.train.labels, 1)
    for part, images in (
        ("training", dataclasses.replace(same, train=small_runs.image_set(2, 40))),
        ("training", dataclasses.replace(same, train=ImageSet(same.train.pixels, labels))),
        ("test", dataclasses.replace(same, test=small_runs.image_set(2, 12))),
    ):
        with pytest.raises(ValueError, match=f"run is of other images: its {part}_digest is "):
            Run.resume(folder, images)


def test_another_batch_of_cifar10_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run = files.write_directory(tmp_path / "cifar"), tmp_path / "run"
    settings = ["--steps", "2", "--batch-size", "4", "--output", str(run)]
    assert cli.main(["train", str(data), *settings]) == 0
    moved = data.rename(tmp_path / "elsewhere")
    assert cli.main(["train", str(moved), "--resume", str(run), "--steps", "3"]) == 0
    (moved / "data_batch_1").write_bytes((moved / "data_batch_2").read_bytes())
    capsys.readouterr()
    assert cli.main(["train", str(moved), "--resume", str(run), "--steps", "4"]) == 2
    error = capsys.readouterr().err
    assert "config.json: the run is of other images: its training_digest is" in error
    assert error.count("\n") == 1


def test_other_settings_are_refused(tmp_path: Path) -> None:
    folder = started(tmp_path)
    for name, value in {"variant": "torchvision", "batch_size": 7, "seed": 2}.items():
        with pytest.raises(
            ValueError, match=f"the run has {name} .*, and cannot go on with {value}"
        ):
            Run.resume(folder, small_runs.dataset(), {name: value})
    Run.resume(folder, small_runs.dataset(), {"seed": 1, "batch_size": 8}).close()


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    folder = started(tmp_path)
    VARIANTS[small_runs.NAME] = small_runs.NARROW
    with pytest.raises(
        ValueError, match=r"last.safetensors: training: the checkpoint is of cifar10"
    ):
        Run.resume(folder, small_runs.dataset())


def test_damaged_files_are_refused_and_left_alone(tmp_path: Path) -> None:
    folder = started(tmp_path)
    last, config = folder / LAST, folder / "config.json"
    (folder / PREVIOUS).unlink()  # which would take the place of a damaged one
    whole = last.read_bytes()
    last.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"last.safetensors: not a whole safetensors file"):
        Run.resume(folder, small_runs.dataset())
    assert last.read_bytes() == whole[: len(whole) // 2]
    last.write_bytes(whole)
    text = config.read_text()
    for damaged in (text[:100], "[]", text.replace('"version": 1', '"version": 2')):
        config.write_text(damaged)
        with pytest.raises(ValueError, match=r"config.json: not the description of a run"):
            Run.resume(folder, small_runs.dataset())
    config.write_text(text.replace('"warm_up"', '"cool_down"'))
    with pytest.raises(ValueError, match=r"config.json: .*configuration lacks 'warm_up'"):
        Run.resume(folder, small_runs.dataset())
    config.write_text(text)
    (folder / "metrics.csv").write_text("step,loss\n1,2\n")
    with pytest.raises(ValueError, match=r"metrics.csv: the columns are 'step,loss'"):
        Run.resume(folder, small_runs.dataset())


@pytest.mark.parametrize("kept", [0, 100])
def test_the_checkpoint_before_takes_the_place_of_a_damaged_one(
    kept: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = small_runs.run_to_end(tmp_path / "whole", SHORT, small_runs.dataset()).folder
    folder = started(tmp_path / "damaged")
    (folder / LAST).write_bytes((folder / LAST).read_bytes()[:kept])
    run = Run.resume(folder, small_runs.dataset())
    assert run.trainer.steps == 2
    assert "last.safetensors: not a whole safetensors file" in caplog.text
    assert "going on from the checkpoint before it, of step 2" in caplog.text
    assert load_model(folder / LAST).step == 2
    run.train()
    run.close()
    assert small_runs.folder_contents(folder) == small_runs.folder_contents(whole)


def test_with_both_checkpoints_damaged_there_is_nothing_to_go_on_from(tmp_path: Path) -> None:
    folder = started(tmp_path)
    for name in (LAST, PREVIOUS):
        (folder / name).unlink()
        (folder / name).write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"last.safetensors: not a whole safetensors file"):
        Run.resume(folder, small_runs.dataset())
    assert (folder / LAST).read_bytes() == (folder / PREVIOUS).read_bytes() == b"damaged"


def test_remains_of_a_killed_writer_and_half_a_row_disappear(tmp_path: Path) -> None:
    folder = started(tmp_path)
    remains = folder / f".{LAST}.{'0123456789abcdef' * 2}.tmp"
    others = [
        folder / name
        for name in (".notes.tmp", ".tmpxfy8tM", f".{LAST}.0123.tmp", f".{LAST}.tmp", "a.tmp")
    ]
    others.append(folder / f".notes.{'0123456789abcdef' * 2}.tmp")
    for path in (remains, *others):
        path.write_bytes(b"half a checkpoint, or somebody's notes")
    table = folder / "metrics.csv"
    rows = table.read_text()
    table.write_text(rows + "5,1,0.25,0.5,0.001,100.0,0.0,,\n6,1,0.2")
    Run.resume(folder, small_runs.dataset()).close()
    assert table.read_text() == rows
    assert not remains.exists()
    assert all(path.exists() for path in others)


def test_two_processes_cannot_train_in_one_folder(tmp_path: Path) -> None:
    with_lock = Run.start(tmp_path, SHORT, small_runs.dataset())
    with pytest.raises(ValueError, match="another process is training there"):
        Run.resume(tmp_path, small_runs.dataset())
    with_lock.close()
    Run.resume(tmp_path, small_runs.dataset()).close()


def test_folders_that_hold_a_run_or_none(tmp_path: Path) -> None:
    folder = started(tmp_path / "run")
    before = small_runs.folder_contents(folder)
    with pytest.raises(ValueError, match="run holds a run already: resume it, or choose another"):
        Run.start(folder, SHORT, small_runs.dataset())
    assert small_runs.folder_contents(folder) == before
    with pytest.raises(ValueError, match=r"holds no run: there is no config.json"):
        Run.resume(tmp_path, small_runs.dataset())
