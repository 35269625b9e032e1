"""What a measurement says of other processes beside it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from alexnet.comparison.disturbance import PROC, Disturbance, Watch, _used

TICKS = os.sysconf("SC_CLK_TCK")


def write(proc: Path, busy: Mapping[int, float], used: Mapping[str, tuple[int, float]]) -> None:
    """Write a /proc: busy seconds of processors, and of processes (parent, used seconds)."""
    lines = ["cpu  1 1 1 1 1 1 1 1 0 0"]
    for number, seconds in busy.items():
        part = round(seconds * TICKS / 6)  # user, nice, system, irq, softirq, steal
        rest = round(seconds * TICKS) - 5 * part
        lines.append(f"cpu{number} {part} {part} {part} 999 999 {part} {part} {rest} 7 7")
    proc.mkdir(exist_ok=True)
    (proc / "stat").write_text("\n".join([*lines, "intr 5", "ctxt 6"]))
    for process, (parent, seconds) in used.items():
        part = round(seconds * TICKS / 4)  # user and system, its own and its ended children's
        rest = round(seconds * TICKS) - 3 * part
        (proc / process).mkdir(exist_ok=True)
        before = " ".join("0" for _ in range(9))
        times = f"{part} {part} {part} {rest}"
        (proc / process / "stat").write_text(f"{process} (a ) b) S {parent} {before} {times} 20 0")


@pytest.fixture
def four_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: {2, 3, 4, 5})


@pytest.mark.usefixtures("four_processors")
@pytest.mark.parametrize(
    ("threads", "busy", "own", "others", "missing"),
    [
        (4, [10, 10, 10, 10], 40, 0.0, 0.0),  # ours alone
        (4, [10, 10, 10, 10], 30, 0.25, 0.25),  # one of four is another's
        (2, [10, 10, 10, 0], 20, 0.25, 0.0),  # there was one to spare
        (2, [10, 10, 10, 10], 10, 0.75, 0.5),
        (1, [10, 10, 10, 10], 0, 1.0, 1.0),
        (64, [10, 10, 10, 10], 30, 0.25, 0.25),  # of those that can run at once
        (4, [5, 5, 5, 5], 21, 0.0, 0.0),  # counted in steps, so a little more than busy
    ],
)
def test_what_we_have_not_used_others_have(
    tmp_path: Path, threads: int, busy: list[float], own: float, others: float, missing: float
) -> None:
    me = str(os.getpid())
    processors = {**dict(zip((2, 3, 4, 5), busy, strict=True)), 0: 10.0, 1: 10.0}
    tree = {me: (1, 0.0), "90000001": (os.getpid(), 0.0), "90000002": (90000001, 0.0)}
    write(tmp_path, dict.fromkeys(processors, 0.0), {**tree, "90000003": (1, 0.0)})
    watch = Watch(tmp_path)
    shares = {process: (parent, own / 3) for process, (parent, _) in tree.items()}
    write(tmp_path, processors, {**shares, "90000003": (1, 500.0)})
    found = watch.stop(threads, seconds=10.0)
    assert found.others == pytest.approx(others, abs=0.01)
    assert found.missing == pytest.approx(missing, abs=0.02)
    assert found.peak is None


def test_nothing_is_said_where_nothing_is_known(tmp_path: Path) -> None:
    unknown = Disturbance(None, None)
    assert Watch(tmp_path).stop(2, seconds=10.0) == unknown
    (tmp_path / "stat").write_text("cpu0 1 2\n" + "".join(f"cpu{n} a\n" for n in range(1024)))
    assert Watch(tmp_path).stop(2, seconds=10.0) == unknown
    assert Watch().stop(2, seconds=0.01) == unknown  # too short
    assert unknown.remarks() == []
    assert not unknown.notable


@pytest.mark.parametrize(
    ("disturbance", "notable"),
    [
        (Disturbance(0.9, 0.04, 0.95), False),
        (Disturbance(0.05, 0.05, 0.95), True),
        (Disturbance(0.0, 0.0, 0.89), True),
        (Disturbance(None, None, 0.89), True),
        (Disturbance(0.0, 0.0), False),
    ],
)
def test_what_is_notable(disturbance: Disturbance, notable: bool) -> None:
    assert disturbance.notable is notable
    assert disturbance.figures()["notable"] is notable


BUSY = "import time\nend = time.process_time() + 0.6\nwhile time.process_time() < end: pass"


def test_a_child_that_has_ended_is_ours() -> None:
    """Of real processes, whatever else runs: both counts have the child's time."""
    before = _used(PROC)
    subprocess.run([sys.executable, "-c", BUSY], check=True)
    after = _used(PROC)
    assert before is not None
    assert after is not None
    assert after[0] - before[0] >= 0.5
    assert after[1] - before[1] >= 0.5
