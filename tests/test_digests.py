"""Digests of all results, by which two versions are compared: that a changed bit is noticed."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import alexnet

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "digests.py"
main: Callable[[list[str]], int] = runpy.run_path(str(SCRIPT))["main"]


@pytest.fixture
def before(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """A file of digests of the LRN, forward and backward."""
    assert main(["--only", "lrn"]) == 0
    file = tmp_path / "before.json"
    file.write_text(capsys.readouterr().out)
    return str(file)


def test_the_same_kernels_have_the_same_digests(
    before: str, capsys: pytest.CaptureFixture[str]
) -> None:
    kernels = alexnet.cpu_isa(), alexnet.get_num_threads()
    assert main(["--only", "lrn", "--compare", before]) == 0
    digests = json.loads(Path(before).read_text())
    assert capsys.readouterr().out == f"{len(digests)} results, 0 differ\n"
    assert {what.partition(" | ")[0] for what in digests} == {"lrn", "lrn_backward"}
    for isa in alexnet.available_isas():
        for threads in (1, 2):
            assert sum(what.endswith(f"| {isa} | threads {threads}") for what in digests) == 10
    assert (alexnet.cpu_isa(), alexnet.get_num_threads()) == kernels


def test_one_bit_of_one_result_is_noticed(
    before: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    right = alexnet.lrn_backward

    def changed(dy: Any, x: Any, **options: Any) -> Any:
        dx = right(dy, x, **options)
        if dx.shape[-1] == 33:
            dx.view(np.uint32).flat[-1] ^= 1
        return dx

    monkeypatch.setattr(alexnet, "lrn_backward", changed)
    assert main(["--only", "lrn", "--compare", before]) == 1
    *lines, total = capsys.readouterr().out.splitlines()
    runs = 2 * len(alexnet.available_isas())
    assert total.endswith(f" results, {runs} differ")
    assert len(lines) == runs
    assert all(line.startswith("differs: lrn_backward | [2, 2, 3, 33]") for line in lines)


def test_what_only_one_version_has_is_listed(
    before: str, capsys: pytest.CaptureFixture[str]
) -> None:
    digests = json.loads(Path(before).read_text())
    gone = next(iter(digests))
    digests["lrn | new"] = digests.pop(gone)
    Path(before).write_text(json.dumps(digests))
    assert main(["--only", "lrn", "--compare", before]) == 1
    assert f"only now: {gone}\nonly before: lrn | new\n" in capsys.readouterr().out


def test_a_network_has_outputs_gradients_and_state(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "cifar10-bn"]) == 0
    digests = json.loads(capsys.readouterr().out)
    how = f" | {alexnet.cpu_isa()} | threads 1"
    network = alexnet.AlexNet("cifar10-bn")
    for name in (*network.parameters, "input"):
        one, two = (digests[f"cifar10-bn | step {step} gradient of {name}{how}"] for step in (1, 2))
        assert one == two, name  # no dropout: the recorded calls are those of the first step
    for name in network.state:
        assert f"cifar10-bn | {name}{how}" in digests
    assert digests[f"cifar10-bn | inference{how}"] != digests[f"cifar10-bn | step 1 output{how}"]


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "no digests: "), ("[1]", "an object of strings"), ('{"a": 1}', "an object of strings")],
)
def test_a_file_that_holds_no_digests_is_named(
    text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bad.json"
    file.write_text(text)
    for path, expected in ((file, message), (tmp_path / "none", "No such file")):
        with pytest.raises(SystemExit) as stop:
            main(["--compare", str(path)])
        assert stop.value.code == 2
        assert expected in capsys.readouterr().err
