"""Training and its files among signals, pipes, odd file systems, other processes and deletions."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from alexnet import cli
from alexnet.cli import main
from alexnet.commands import bench, console
from alexnet.commands.console import Stopped, postponed_signals, write_json
from alexnet.data import Preprocessing
from alexnet.files import lock, replacing
from alexnet.interchange import load_model
from alexnet.network.checkpoint import BEST, LAST, PREVIOUS, Checkpoint
from alexnet.network.variants import AlexNet
from alexnet.training.configuration import Configuration
from alexnet.training.metrics import METRICS, MOST_POINTS, NORMS, Curve, Table
from alexnet.training.run import Run
from alexnet.training.trainer import Trainer
from support import cifar_files as files
from support import small_runs
from support.memory import peak_allocation
from support.photo_files import write_photo
from support.processes import default_signals, started, status_of

SCRIPT = (sys.executable, str(Path(small_runs.__file__)))
ENVIRONMENT = {**os.environ, "ALEXNET_NUM_THREADS": "1"}
SHORT = Configuration(batch_size=8, steps=6, checkpoint_every=2)
SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
INF, NAN = float("inf"), float("nan")


@pytest.fixture(autouse=True)
def _small_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    small_runs.use(monkeypatch, tmp_path)


@pytest.fixture
def data(tmp_path: Path) -> str:
    return str(files.write_directory(tmp_path / "cifar"))


@pytest.fixture
def umask() -> Iterator[Callable[[int], int]]:
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


def names_in(folder: str | Path) -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# --- what is not finite ---------------------------------------------------------------------------


def test_a_test_loss_that_is_not_finite_stops_the_run_and_leaves_what_is_good(
    data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["train", data, "--batch-size", "20", "--evaluate-every", "1", "--output", "run"]
    assert main([*command, "--steps", "2"]) == 0
    run = tmp_path / "run"
    before = {name: (run / name).read_bytes() for name in (BEST, LAST)}

    def step(self: Trainer, **settings: bool) -> object:
        result = one_step(self, **settings)
        self.network.parameters["fc8.bias"][0] = INF
        return result

    one_step = Trainer.step
    monkeypatch.setattr(Trainer, "step", step)
    capsys.readouterr()
    assert main(["train", data, "--resume", "run", "--steps", "5"]) == 1
    error = capsys.readouterr().err
    assert "the loss of the test images after step 3 is nan; try a learning rate below" in error
    assert error.count("\n") == 1
    assert {name: (run / name).read_bytes() for name in (BEST, LAST)} == before
    monkeypatch.setattr(Trainer, "step", one_step)
    assert main(["train", data, "--resume", "run", "--steps", "5"]) == 0  # the plot is drawn
    assert load_model(run / LAST).step == 5


def test_adam_far_too_fast_ends_with_one_line(
    data: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", data, "--steps", "12", "--batch-size", "10", "--lr", "1e9"]
    assert main([*command, "--evaluate-every", "1", "--output", "run"]) == 1
    error = capsys.readouterr().err
    assert "try a learning rate below 1e+09" in error
    assert error.count("\n") == 1
    for name in {BEST, LAST} & set(names_in("run")):
        tensors = load_model(Path("run", name)).network.tensors().values()
        assert all(np.isfinite(array).all() for array in tensors)


def test_no_checkpoint_of_a_network_or_an_optimizer_that_is_ruined(tmp_path: Path) -> None:
    run = Run.start(tmp_path / "run", SHORT, small_runs.dataset())
    run.trainer.step()
    network, optimizer = run.trainer.network, run.trainer.optimizer
    for name, array in network.state.items():
        if array.dtype.kind == "f":
            kept = array.flat[0]
            array.flat[0] = INF
            with pytest.raises(FloatingPointError, match=f"ruined: {name} is no longer finite"):
                run.save()
            array.flat[0] = kept
    good = optimizer.state_dict()
    for name, array in good.items():
        if array.dtype.kind == "f":
            ruined = array.copy()
            ruined.flat[0] = INF
            optimizer.load_state_dict({**good, name: ruined})
            with pytest.raises(FloatingPointError, match=f"ruined: {name} is no longer finite"):
                run.save()
    optimizer.load_state_dict(good)
    assert not (run.folder / LAST).exists()
    run.save()
    run.close()


def test_json_has_null_for_what_is_not_finite(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = {"a": [1.5, NAN, (INF, -INF)], "b": {"c": np.float64(NAN)}, "n": "caf\udce9"}
    write_json(str(tmp_path / "f.json"), figures)
    write_json("-", figures)
    text = (tmp_path / "f.json").read_text(encoding="utf-8")
    assert capsys.readouterr().out == text

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    read = json.loads(text, parse_constant=refuse)
    assert read == {"a": [1.5, None, [None, None]], "b": {"c": None}, "n": "caf\udce9"}


def test_evaluation_of_a_ruined_network_is_json(
    data: str,
) -> None:
    run = Run.start("run", SHORT, small_runs.dataset())
    checkpoint = run.trainer.checkpoint(class_names=files.CLASSES)
    run.close()
    checkpoint.network["fc8.bias"][:] = NAN
    checkpoint.write("ruined")
    assert main(["evaluate", "ruined", data, "--json", "e.json", "--plot", "e.png"]) == 0
    text = Path("e.json").read_text()
    assert json.loads(text)["loss"] is None
    assert "NaN" not in text


def test_curves_of_any_length_are_few_points_and_finite() -> None:
    curve = Curve()
    for step in range(1, 60_001):
        curve.add(step, float(step % 2) if step % 1000 else NAN)
    points = curve.points()
    assert MOST_POINTS / 2 <= len(points) <= MOST_POINTS
    assert max(points) == 59_999
    values = list(points.values())
    assert max(abs(value - 0.5) for value in values[:-1]) < 0.01
    short = Curve()
    short.add(1, 3.0)
    short.add(2, INF)
    assert short.points() == {1: 3.0}


# --- tables ---------------------------------------------------------------------------------------


def test_a_long_table_is_not_kept_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    row = ",1,0.123456789,0.5,0.001,1000.0,0.01,,\n"
    lines = (f"{step}{row}" for step in range(1, 10_001))
    path.write_text(",".join(METRICS) + "\n" + "".join(lines))
    tables: list[Table] = []
    assert peak_allocation(lambda: tables.append(Table(path, METRICS, 8000))) < 100_000
    table = tables[0]
    assert path.read_text().count("\n") == 8001
    table.append(step=8001, loss=INF)
    assert table.column("loss")[8001] == INF
    table.close()
    assert path.read_text().endswith("\n8001,,inf,,,,,,\n")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("x,1,2,3,4", "line 3 is 'x,1,2,3,4', expected a row of numbers"),
        ("2,1,2", "line 3 is '2,1,2', expected a row"),
        ("2,p,2,3,4,5", "line 3 is '2,p,2,3,4,5', expected a row"),
        ("2,p,high,3,4", "line 3 is '2,p,high,3,4', expected a row"),
        ("2" * 20_000, "line 3 is '2222"),
        (f"{'2' * 5000},p,2,3,4", "line 3 is '2222"),
        ("0,p,2,3,4", "line 3 is '0,p,2,3,4', expected a row"),
        ("\udce9,1,2,3,4", r"line 3 is '\\\\xe9"),
    ],
)
def test_damaged_rows_are_named(row: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "norms.csv"
    text = f"{','.join(NORMS)}\n1,fc8.bias,1.0,nan,inf\n{row}\n"
    path.write_bytes(text.encode(errors="surrogateescape"))
    before = path.read_bytes()
    with pytest.raises(ValueError, match=f"norms.csv: {message}"):
        Table(path, NORMS, 9)
    assert path.read_bytes() == before


def test_a_table_that_is_emptied_during_the_run_can_be_read_again(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    table = Table(path, METRICS)
    table.append(step=1, loss=0.5)
    os.truncate(path, 0)
    table.append(step=2, loss=0.25)
    table.sync()
    assert table.column("loss") == {2: 0.25}
    table.close()
    Table(path, METRICS, 2).close()


def test_an_empty_table_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").touch()
    table = Table(tmp_path / "metrics.csv", METRICS, 9)
    table.append(step=10, loss=0.5)
    assert table.column("loss") == {10: 0.5}
    table.close()


def test_a_table_that_was_deleted_is_there_again_after_the_next_save(tmp_path: Path) -> None:
    table = Table(tmp_path / "metrics.csv", METRICS)
    table.append(step=1, loss=0.5)
    before = table.path.read_text()
    table.path.unlink()
    table.sync()
    assert table.path.read_text() == before
    table.append(step=2, loss=0.25)
    assert table.column("loss") == {1: 0.5, 2: 0.25}
    table.close()


# --- other processes, and what they delete --------------------------------------------------------


def test_runs_that_start_together_get_folders_of_their_own(data: str, tmp_path: Path) -> None:
    command = [*SCRIPT, "train", data, "--batch-size", "20", "--steps", "2"]
    processes = [
        subprocess.Popen(
            command, cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=sys.stderr
        )
        for _ in range(4)
    ]
    assert [process.wait() for process in processes] == [0] * 4
    assert names_in("runs") == [f"cifar10-bn-{n}" for n in range(1, 5)]
    assert all(Path("runs", folder, LAST).exists() for folder in names_in("runs"))


def test_a_number_that_anything_has_is_taken(tmp_path: Path) -> None:
    (tmp_path / "r-1").write_text("a file")
    (tmp_path / "r-2").symlink_to("nowhere")
    run = Run.start(tmp_path / "r", SHORT, small_runs.dataset(), numbered=True)
    run.close()
    assert run.folder == tmp_path / "r-3"


@pytest.mark.parametrize("name", ["metrics.csv", "norms.csv", "curves.png", LAST, PREVIOUS, BEST])
def test_a_new_run_replaces_no_file_of_an_earlier_one(name: str, tmp_path: Path) -> None:
    run = small_runs.run_to_end(tmp_path / "run", SHORT, small_runs.dataset())
    (run.folder / "config.json").unlink()
    kept = (run.folder / name).read_bytes()
    for other in names_in(run.folder):
        if other not in (name, "log.txt"):
            (run.folder / other).unlink()
    with pytest.raises(ValueError, match=f"holds {name} already, which a new run would replace"):
        Run.start(run.folder, SHORT, small_runs.dataset())
    assert (run.folder / name).read_bytes() == kept


def test_a_run_that_could_not_begin_goes_on_from_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    folder = tmp_path / "run"
    with monkeypatch.context() as patched:
        patched.setattr("alexnet.training.records.Table", full)
        with pytest.raises(OSError, match="No space left"):
            Run.start(folder, SHORT, small_runs.dataset())
    assert names_in(folder) == ["config.json"]
    run = Run.resume(folder, small_runs.dataset())
    run.train()
    run.close()
    assert load_model(folder / LAST).step == 6


def test_a_picture_that_cannot_be_drawn_costs_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    run = Run.start(tmp_path / "run", SHORT, small_runs.dataset())
    (tmp_path / "run" / "curves.png").mkdir()
    with pytest.raises(IsADirectoryError, match="Is a directory"):
        run.train()
    run.close()
    assert load_model(tmp_path / "run" / LAST).step == run.trainer.steps > 0


@pytest.mark.parametrize("name", ["metrics.csv", "curves.png", LAST, BEST])
def test_a_pipe_in_place_of_a_file_of_the_run_is_an_error(name: str, tmp_path: Path) -> None:
    run = Run.start(tmp_path / "run", SHORT, small_runs.dataset())
    (run.folder / name).unlink(missing_ok=True)
    os.mkfifo(run.folder / name)
    with pytest.raises(FileExistsError, match=rf"a pipe \(FIFO\) is in its place: .*{name}"):
        run.train()
    run.close()


def test_bad_use_leaves_no_folder(data: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", data, "--batch-size", "61"]) == 2
    assert main(["train", data, "--batch-size", "61", "--output", "a/b"]) == 2
    assert names_in(".") == ["cifar"]
    assert capsys.readouterr().err.count("\n") == 2


def test_no_deleted_file_drops_the_lock(tmp_path: Path) -> None:
    run = Run.start(tmp_path, SHORT, small_runs.dataset())
    run.log("first")
    run.save()
    for path in tmp_path.iterdir():
        path.unlink()
    run.save()
    with pytest.raises(ValueError, match="another process is training there"):
        Run.resume(tmp_path, small_runs.dataset())
    run.log("second")
    run.train()
    run.close()
    assert "second" in (tmp_path / "log.txt").read_text()
    assert (tmp_path / "metrics.csv").read_text().count("\n") == 7
    Run.resume(tmp_path, small_runs.dataset()).close()


def test_the_second_resume_at_a_time_is_refused_with_one_line(
    data: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", data, "--batch-size", "20", "--steps", "1", "--output", "run"]) == 0
    held = lock(Path("run"))
    capsys.readouterr()
    assert main(["train", data, "--resume", "run", "--steps", "2"]) == 2
    assert capsys.readouterr().err == ("alexnet: error: run: another process is training there\n")
    os.close(held)
    assert main(["train", data, "--resume", "run", "--steps", "2"]) == 0


@pytest.mark.parametrize("replaced", [False, True])
@pytest.mark.parametrize("step", [1, 5, 6])
def test_a_deleted_folder_is_an_error_as_soon_as_it_is_noticed(
    step: int,
    replaced: bool,
    data: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken = []

    def step_and_delete(self: Trainer, **settings: bool) -> object:
        result = one_step(self, **settings)
        taken.append(self.steps)
        if self.steps == step:
            shutil.move("run", "elsewhere") if replaced else shutil.rmtree("run")
            if replaced:
                Path("run").mkdir()
        return result

    one_step = Trainer.step
    monkeypatch.setattr(Trainer, "step", step_and_delete)
    assert main(["train", data, "--batch-size", "20", "--steps", "6", "--output", "run"]) == 2
    error = capsys.readouterr().err
    assert (
        error == "alexnet: error: run: the run's folder was removed or replaced while it trained\n"
    )
    assert taken[-1] == step
    assert not Path("run").exists() or not names_in("run")


# --- file systems ---------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["EINVAL", "EOPNOTSUPP", "ENOSYS", "EBADF"])
@pytest.mark.parametrize("folders_only", [True, False])
def test_where_files_cannot_be_synced_training_goes_on_and_says_so_once(
    code: str,
    folders_only: bool,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(descriptor: int) -> None:
        if not folders_only or stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(getattr(errno, code), os.strerror(getattr(errno, code)))

    monkeypatch.setattr(os, "fsync", refuse)
    small_runs.run_to_end(tmp_path / "run", SHORT, small_runs.dataset())
    said = [line for line in caplog.messages if line.startswith(f"{tmp_path / 'run'}: ")]
    assert len(said) == 1
    assert "cannot wait there until files are on the disk" in said[0]
    assert load_model(tmp_path / "run" / LAST).step == 6


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_a_sync_that_fails_is_an_error(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_text("earlier")

    def refuse(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match=f"{os.strerror(code)}: '{path}'"), replacing(path) as file:
        file.write(b"later")
    assert path.read_text() == "earlier"
    assert names_in(tmp_path) == ["file"]


@pytest.mark.parametrize("code", ["ENOSYS", "ENOLCK", "EOPNOTSUPP", "EINVAL"])
def test_where_nothing_can_be_locked_training_goes_on_and_says_so_once(
    code: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(getattr(errno, code), os.strerror(getattr(errno, code)))

    monkeypatch.setattr(fcntl, "flock", refuse)
    small_runs.run_to_end(tmp_path / "run", SHORT, small_runs.dataset())
    Run.resume(tmp_path / "run", small_runs.dataset()).close()
    assert len(caplog.messages) == 1
    assert "this file system has no locks" in caplog.text
    assert not (tmp_path / "run" / "lock").exists()


def test_where_only_files_can_be_locked_a_file_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lock_files_only(descriptor: int, operation: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        flock(descriptor, operation)

    flock = fcntl.flock
    monkeypatch.setattr(fcntl, "flock", lock_files_only)
    run = Run.start(tmp_path / "run", SHORT, small_runs.dataset())
    with pytest.raises(ValueError, match="another process is training there"):
        Run.resume(tmp_path / "run", small_runs.dataset())
    run.close()
    Run.resume(tmp_path / "run", small_runs.dataset()).close()


def test_without_hard_links_the_checkpoint_before_is_not_kept_and_that_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    small_runs.run_to_end(tmp_path / "run", SHORT, small_runs.dataset())
    assert len(caplog.messages) == 1
    assert f"has no hard links (Operation not permitted): {PREVIOUS} is not kept" in caplog.text
    assert load_model(tmp_path / "run" / LAST).step == 6


def test_a_folder_that_is_gone_when_its_file_is_there_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def move(self: Path, target: Path) -> Path:
        return renamed(renamed(self, target).parent, tmp_path / "elsewhere")

    renamed = Path.replace
    monkeypatch.setattr(Path, "replace", move)
    (tmp_path / "folder").mkdir()
    with (
        pytest.raises(FileNotFoundError, match="folder"),
        replacing(tmp_path / "folder" / "file") as file,
    ):
        file.write(b"all")
    assert not caplog.messages


def test_a_folder_that_cannot_be_listed_can_be_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse_folders(path: object, flags: int, *arguments: int, **named: object) -> int:
        if flags & os.O_DIRECTORY:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return opened(path, flags, *arguments, **named)  # type: ignore[arg-type]

    opened = os.open
    monkeypatch.setattr(os, "open", refuse_folders)
    with replacing(tmp_path / "file") as file:
        file.write(b"all")
    assert (tmp_path / "file").read_bytes() == b"all"
    assert "cannot wait there until files are on the disk (Permission denied)" in caplog.text


# --- files: modes, links, bytes, names ------------------------------------------------------------


def test_every_file_of_a_run_has_the_mode_of_the_umask(
    tmp_path: Path, umask: Callable[[int], int]
) -> None:
    umask(0o027)
    folder = small_runs.run_to_end(tmp_path / "run", SHORT, small_runs.dataset()).folder
    assert {mode(path) for path in folder.iterdir() if path.name != "log.txt"} == {0o640}
    network = AlexNet(small_runs.SMALL)
    umask(0o002)
    network.save(tmp_path / "net")
    write_json(str(tmp_path / "figures"), {})
    assert mode(tmp_path / "net") == mode(tmp_path / "figures") == 0o664


def test_an_earlier_file_keeps_its_mode_and_a_link_its_target(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "target", tmp_path / "link"
    target.write_bytes(b"earlier")
    target.chmod(0o604)
    link.symlink_to("there/target")
    AlexNet(small_runs.SMALL, seed=3).save(link)
    assert link.is_symlink()
    assert mode(target) == 0o604
    assert load_model(target).network.variant == small_runs.SMALL
    assert names_in(target.parent) == ["target"]
    target.unlink()
    AlexNet(small_runs.SMALL, seed=3).save(link)  # to where the link points, as `open` does
    assert load_model(target).network.variant == small_runs.SMALL


def test_a_run_goes_on_through_linked_checkpoints(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    Run.start(folder, SHORT, small_runs.dataset()).close()
    (tmp_path / "disk").mkdir()
    (folder / LAST).symlink_to(tmp_path / "disk" / LAST)
    run = Run.resume(folder, small_runs.dataset())
    run.train()
    run.close()
    assert (folder / LAST).is_symlink()
    remains = tmp_path / "disk" / f".{LAST}.{'0' * 32}.tmp"
    remains.write_bytes(b"killed")
    Run.resume(folder, small_runs.dataset()).close()
    assert not remains.exists()


def test_the_group_is_kept_where_the_owner_cannot_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = []

    def give(_: int, owner: int, group: int) -> None:
        if owner != -1:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        given.append(group)

    monkeypatch.setattr(os, "fchown", give)
    path = tmp_path / "file"
    path.write_text("earlier")
    path.chmod(0o664)
    write_json(str(path), {})
    assert given == [path.stat().st_gid]
    assert mode(path) == 0o664


def test_a_link_in_a_circle_is_an_error_of_one_line(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="loop"), replacing(tmp_path / "loop"):
        pass
    assert (tmp_path / "loop").is_symlink()


def test_the_same_network_is_the_same_bytes(tmp_path: Path) -> None:
    run = Run.start(tmp_path / "run", SHORT, small_runs.dataset())
    run.trainer.step()
    checkpoint = run.trainer.checkpoint(class_names=("a", "b", "c"))
    run.close()
    shuffled = Checkpoint(
        checkpoint.variant,
        dict(reversed(checkpoint.network.items())),
        dict(reversed(checkpoint.optimizer.items())),
        step=1,
        data=checkpoint.data,
        class_names=checkpoint.class_names,
        preprocessing=checkpoint.preprocessing,
    )
    written = set()
    for number, other in enumerate((checkpoint, shuffled) * 4):
        other.write(tmp_path / f"{number}")
        written.add((tmp_path / f"{number}").read_bytes())
    assert len(written) == 1


def test_a_name_of_255_bytes_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("é" * 127 + "n")
    AlexNet(small_runs.SMALL).save(path)
    assert names_in(tmp_path) == [path.name]


def test_what_is_no_regular_file_is_written_to(tmp_path: Path) -> None:
    fifo, read = tmp_path / "fifo", []
    os.mkfifo(fifo)
    reader = threading.Thread(target=lambda: read.append(json.loads(fifo.read_text())))
    reader.start()
    write_json(str(fifo), {"a": 1})
    reader.join()
    assert read == [{"a": 1}]
    assert stat.S_ISFIFO(fifo.stat().st_mode)
    write_json("/dev/null", {})
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


@pytest.mark.parametrize(
    "arguments",
    [
        ["bench", "--json", "{}"],
        ["verify", "--json", "{}"],
        ["compare", "--json", "{}"],
        ["compare", "--plot", "{}"],
        ["evaluate", "cifar", "cifar", "--json", "{}"],
        ["evaluate", "cifar", "cifar", "--plot", "{}"],
        ["predict", "cifar", "x.jpg", "--json", "{}"],
        ["convert", "cifar", "{}"],
        ["train", "cifar", "--output", "{}"],
    ],
)
def test_destinations_are_checked_before_any_work(
    arguments: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files.write_directory(Path("cifar"))
    monkeypatch.setattr(cli, "_fail", None)  # it would be called for an error of the work
    destinations = {
        "cifar/batches.meta/x.png": "cifar/batches.meta",
        "": "''",
        f"{'n' * 300}.png": "File name too long",
    }
    if arguments[-2] != "--output":
        destinations |= {"nodir/x.png": "nodir: No such file", "cifar": "cifar: Is a directory"}
    for destination, message in destinations.items():
        given = [argument.format(destination) for argument in arguments]
        assert status_of(given) == 2
        error = capsys.readouterr().err
        assert message in error
        assert "expected a f" in error
        assert "[Errno" not in error
        assert error.count("\n") == 1
    assert names_in(".") == ["cifar"]


def test_figures_of_training_may_lie_in_its_folder_that_is_not_there_yet(
    data: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", data, "--batch-size", "20", "--steps", "1", "--output", "new/run"]
    for destination in ("nodir/f.json", "cifar", "new/f.json", "f" * 300):
        assert status_of([*command, "--json", destination]) == 2
        assert capsys.readouterr().err.count("\n") == 1
        assert names_in(".") == ["cifar"]
    assert main([*command, "--json", "new/run/f.json"]) == 0
    assert json.loads(Path("new/run/f.json").read_text())["best_test_accuracy"] is not None


def test_a_new_run_where_nothing_may_be_written_is_refused_before_images_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Preprocessing, "fit", None)
    monkeypatch.setattr(os, "access", lambda *_: False)
    for numbered in (False, True):
        with pytest.raises(PermissionError, match="cannot be written to"):
            Run.start(tmp_path / "runs" / "x", SHORT, small_runs.dataset(), numbered=numbered)


def test_the_name_of_standard_output_is_standard_output(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["variants", "--json", "/dev/stdout"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["variants"]
    assert "MACs an image" in shown.err


def test_what_may_not_be_written_is_refused_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "_run", None)
    (tmp_path / "file").write_text("mine")
    monkeypatch.setattr(os, "access", lambda path, _: Path(path) != tmp_path / "file")
    assert status_of(["bench", "--json", str(tmp_path / "file")]) == 2
    monkeypatch.setattr(os, "access", lambda path, _: Path(path) != tmp_path)
    assert status_of(["bench", "--json", str(tmp_path / "new")]) == 2
    assert status_of(["train", "x", "--output", str(tmp_path / "new" / "run")]) == 2
    assert capsys.readouterr().err.count("cannot be written to") == 3
    with pytest.raises(PermissionError), replacing(tmp_path / "new"):
        pass
    assert (tmp_path / "file").read_text() == "mine"


def test_errors_of_the_system_name_the_file_and_no_number(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "figures.json"
    path.write_text("earlier")
    monkeypatch.setattr(os, "fsync", refuse)
    assert main(["variants", "--json", str(path)]) == 2
    assert capsys.readouterr().err == f"alexnet: error: {path}: No space left on device\n"
    assert path.read_text() == "earlier"


# --- signals and pipes ----------------------------------------------------------------------------


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_saves_the_step_and_is_the_exit_status(
    number: signal.Signals, data: str, tmp_path: Path
) -> None:
    command = [*SCRIPT, "train", data, "--batch-size", "10", "--epochs", "100000"]
    command = [*command, "--output", "run"]
    with started(command, "Iter [", cwd=tmp_path, env=ENVIRONMENT) as process:
        process.send_signal(number)
        output, error = process.communicate()
    assert process.returncode == SIGNALS[number]
    assert error == (
        "alexnet: interrupted\n"
        if number == signal.SIGINT
        else f"alexnet: stopped by {number.name}\n"
    )
    assert f"Stopped by {number.name} at step " in output
    rows = Path("run/metrics.csv").read_text().splitlines()
    step = load_model(Path("run", LAST)).step
    assert rows[-1].startswith(f"{step},")
    assert f"Stopped by {number.name}" in Path("run/log.txt").read_text()


@pytest.mark.parametrize("number", SIGNALS)
def test_the_second_signal_is_not_postponed_unless_it_is_of_the_same_event(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {each: signal.signal(each, signal.default_int_handler) for each in SIGNALS}
    clock = [1000.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: clock[0])
    try:
        with postponed_signals() as stopped:
            assert stopped() is None
            signal.raise_signal(number)
            assert stopped() == number
            clock[0] += 0.9 * console.TOGETHER
            signal.raise_signal(number)  # as a terminal that closes and its shell do
            signal.raise_signal(signal.SIGTERM)
            assert stopped() == number
            clock[0] += 0.2 * console.TOGETHER
            with pytest.raises(Stopped) as raised:
                signal.raise_signal(signal.SIGTERM)
            assert raised.value.number == signal.SIGTERM
        for each in SIGNALS:
            assert signal.getsignal(each) is signal.default_int_handler
        signal.signal(number, signal.SIG_IGN)  # as after nohup
        with postponed_signals() as stopped:
            signal.raise_signal(number)
            assert stopped() is None
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def test_the_command_trains_in_any_thread_and_a_trainer_leaves_handlers_alone(
    data: str, tmp_path: Path
) -> None:
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    seen, statuses = [], []
    run = Run.start(tmp_path / "library", SHORT, small_runs.dataset())
    run.train(after_step=lambda _: seen.append({each: signal.getsignal(each) for each in SIGNALS}))
    run.close()
    assert seen == [handlers] * 6
    command = ["train", data, "--batch-size", "20", "--steps", "2", "--output", "run"]
    thread = threading.Thread(target=lambda: statuses.append(main(command)))
    thread.start()
    thread.join()
    assert statuses == [0]


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "arguments", [["variants"], ["variants", "--json", "-"], ["summary", "tf-small"]]
)
def test_an_output_that_is_full_is_one_line(arguments: list[str], unbuffered: str) -> None:
    with Path("/dev/full").open("wb") as full:
        result = subprocess.run(
            [sys.executable, "-m", "alexnet", *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
        )
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1] == (
        "alexnet: error: standard output: No space left on device"
    )
    assert "Traceback" not in result.stderr


def test_training_goes_on_without_its_reader(data: str, tmp_path: Path) -> None:
    command = [*SCRIPT, "train", data, "--batch-size", "10", "--epochs", "15", "--output", "run"]
    with started(command, "", cwd=tmp_path, env=ENVIRONMENT) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait() == 0
    assert load_model(Path("run", LAST)).step == 90
    log = Path("run/log.txt").read_text()
    assert log.count("nothing is printed any more: standard output: Broken pipe; ") == 1
    assert "Trained 90 steps" in log


def test_a_terminal_that_is_gone_does_not_end_training(
    data: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(console.Progress, "advance", gone)
    monkeypatch.setattr("alexnet.commands.train.say_line", gone)
    monkeypatch.setattr("alexnet.commands.training_report.say", gone)
    assert main(["train", data, "--batch-size", "20", "--steps", "2", "--output", "run"]) == 0
    assert Path("run/log.txt").read_text().count("nothing is printed any more: Input/output") == 1
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("closed", ["0", "1", "2", "0 1", "0 2", "1 2", "0 1 2"])
def test_streams_that_are_closed_from_the_start(closed: str, tmp_path: Path) -> None:
    redirections = " ".join(f"{number}>&-" for number in closed.split())
    command = f"{sys.executable} -m alexnet variants --json f.json {redirections}"
    assert subprocess.run(command, shell=True, cwd=tmp_path, check=False).returncode == 0
    assert json.loads((tmp_path / "f.json").read_text())


def test_no_file_takes_the_number_of_a_stream(tmp_path: Path) -> None:
    program = """if True:
        import os, sys
        for number in range(3):
            os.close(number)
        sys.stdin = sys.stdout = sys.stderr = None
        from alexnet.cli import main
        status = main(["variants"])
        file = open("file", "w")
        file.write(f"{status} {file.fileno()}")
    """
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)
    status, number = (tmp_path / "file").read_text().split()
    assert status == "0"
    assert int(number) > 2


@pytest.mark.parametrize(
    ("arguments", "written"),
    [
        (["summary", "tf-small", "--json", "f"], ["f"]),
        (["bench", "tf-small", "--batch-size", "1", "--steps", "2", "--json", "f"], ["f"]),
        (["evaluate", "net", "cifar", "--json", "f"], ["f"]),
        (["evaluate", "net", "cifar", "--plot", "g.png"], ["g.png"]),
        (["evaluate", "net", "cifar", "--plot", "g.png", "--json", "-"], ["g.png"]),
        (["predict", "net", "cifar/a.png", "cifar/a.png", "--json", "f"], ["f"]),
    ],
)
def test_a_reader_of_text_that_is_gone_costs_no_file(
    arguments: list[str], written: list[str], data: str, tmp_path: Path
) -> None:
    run = small_runs.run_to_end(Path("run"), SHORT, small_runs.dataset())
    run.trainer.checkpoint(class_names=files.CLASSES).write("net")
    write_photo(Path(data, "a.png"))
    read, write = os.pipe()
    os.close(read)
    streams = {"stderr" if "-" in arguments else "stdout": write}
    result = subprocess.run(
        [*SCRIPT, *arguments], cwd=tmp_path, check=False, **{"stdout": subprocess.PIPE} | streams
    )
    os.close(write)
    assert result.returncode == 0
    assert all(Path(name).stat().st_size for name in written)
    if "-" in arguments:
        assert json.loads(result.stdout)["accuracy"] >= 0


def test_a_terminal_that_closes_ends_training_as_its_signal_says(data: str, tmp_path: Path) -> None:
    terminal, inside = os.openpty()
    with subprocess.Popen(
        [*SCRIPT, "train", data, "--batch-size", "10", "--epochs", "100000", "--output", "run"],
        cwd=tmp_path,
        stdin=inside,
        stdout=inside,
        stderr=inside,
        start_new_session=True,
        env={**ENVIRONMENT, "TERM": "xterm"},
        preexec_fn=default_signals,
    ) as process:
        os.close(inside)
        shown = b""
        while b"Epoch [2" not in shown:  # the bar is drawn
            shown += os.read(terminal, 65536)
        os.close(terminal)
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGHUP)
    assert process.returncode == SIGNALS[signal.SIGHUP]
    assert "Stopped by SIGHUP at step " in Path("run/log.txt").read_text()
    rows = Path("run/metrics.csv").read_text().splitlines()
    assert rows[-1].startswith(f"{load_model(Path('run', LAST)).step},")


def test_a_reader_of_errors_that_is_gone_changes_no_status() -> None:
    read, write = os.pipe()
    os.close(read)
    result = subprocess.run(
        [sys.executable, "-m", "alexnet", "train", "nowhere"], stderr=write, check=False
    )
    os.close(write)
    assert result.returncode == 2
