"""What a mistyped command line is told: what was meant, and whose help to read."""

from __future__ import annotations

import pytest

import alexnet
from alexnet import cli
from alexnet.cli import main
from alexnet.messages import hint, listed, nearest
from support.processes import status_of

COMPUTING = ("verify", "bench", "compare", "train", "evaluate", "predict")
OTHERS = ("info", "variants", "summary", "convert")


def test_the_command_alone_prints_its_help_and_succeeds(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    captured = capsys.readouterr()
    assert captured.out == cli._parser().format_help()
    assert captured.err == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("bnech", "alexnet: error: argument COMMAND: 'bnech', *; did you mean bench? (see alexnet"),
        ("BENCH", "did you mean bench?"),
        ("--verson", "alexnet: error: there is no option --verson; did you mean --version?"),
        ("summary tf-samll", "'tf-samll', *slim-v2; did you mean tf-small? (see alexnet summary"),
        ("summary TorchVision", "did you mean torchvision?"),
        ("bench --batchsize 3", "there is no option --batchsize; did you mean --batch-size?"),
        ("bench --batch_size=3", "there is no option --batch_size; did you mean --batch-size?"),
        ("bench --variant tf-small", "no option --variant: V is given by its place (see alexnet b"),
        ("bench tf-small --frobnicate", "alexnet bench: error: there is no option --frobnicate (s"),
        ("info there", "alexnet info: error: unexpected: there (see alexnet info --help)"),
        ("info -x", "alexnet info: error: there is no option -x (see alexnet info --help)"),
        ("compare --peers toch", "did you mean torch? (see alexnet compare --help)"),
        ("compare --peers non", "did you mean none?"),
        ("compare --target forwards", "did you mean forward?"),
        (
            "compare --layers cnv1",
            "compare: error: argument --layers: 'cnv1', *conv1?",
        ),
        (
            "train . --optimizer sdg",
            "argument --optimizer: 'sdg', *; did you mean sgd?",
        ),
        ("bench --isa protable", "did you mean portable? (see alexnet bench --help)"),
        ("bench --device gpu", "argument --device: 'gpu', expected one of auto, cpu, cuda (see"),
        (
            "bench --precision tf32",
            "argument --precision: 'tf32', expected float32 or bfloat16 on the CPU (see alexnet b",
        ),
        (
            "predict x y.jpg --precision float16 --device cpu",
            "argument --precision: 'float16', expected float32 or bfloat16 on the CPU (see",
        ),
        (
            "train . --precision bfloat16 --device cpu",
            "argument --precision: 'bfloat16', expected float32 on the CPU (see alexnet train --h",
        ),
        (
            "train . --resume . --precision tf32 --device cpu",
            "argument --precision: 'tf32', expected float32 on the CPU (see alexnet train --help)",
        ),
    ],
)
def test_what_was_meant_and_whose_help_to_read(
    arguments: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status_of(arguments.split()) == 2
    error = capsys.readouterr().err
    for part in message.split("*"):
        assert part in error
    assert error.count("\n") == 1


def test_the_nearest_name() -> None:
    assert nearest("TORCH", ("torch", "jax")) == "torch"
    assert nearest("bf", ("float32", "bfloat16")) == "bfloat16"
    assert nearest("t", ("tensorflow", "torch")) is None
    assert nearest("", ("torch",)) is None
    assert hint("caffe", ("torch", "jax")) == ""


def test_a_list_of_names_is_cut_between_them() -> None:
    names = [f"bn{number}.gamma" for number in range(1, 10)]
    assert listed([]) == "nothing"
    assert listed(names) == ", ".join(names)
    assert listed(names, room=20) == "bn1.gamma, bn2.gamma and 7 more"
    assert listed(names, room=19) == "bn1.gamma and 8 more"
    assert listed(["x" * 300, "y"]) == f"{'x' * 200}... and 1 more"
    with pytest.raises(ValueError, match=r"\w+\.\w+ and \d+ more, and have nothing too many$"):
        alexnet.AlexNet("cifar10-bn", seed=None).assign({})


@pytest.mark.parametrize("command", COMPUTING)
def test_commands_that_compute_choose_kernels_alike(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status_of([command, "--help"]) == 0
    text = capsys.readouterr().out
    assert " --isa I " in text
    assert " --threads N " in text
    assert (" --device D " in text) == (command != "compare")  # frameworks run on the CPU


@pytest.mark.parametrize("command", OTHERS)
def test_commands_that_compute_nothing_choose_none(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status_of([command, "--help"]) == 0
    text = capsys.readouterr().out
    assert not any(option in text for option in ("--isa", "--threads", "--device"))


@pytest.mark.parametrize("command", COMPUTING)
def test_the_instruction_set_is_taken_in_any_case(command: str) -> None:
    names = {"train": ["."], "evaluate": [".", "."], "predict": [".", "x.jpg"]}.get(command, [])
    options = cli._parser().parse([command, *names, "--isa", "Portable"])
    assert options.isa in ("portable", ["portable"])
    if command != "verify":  # which goes through several
        assert alexnet.cpu_isa() == "portable"


def test_an_instruction_set_is_of_the_cpu(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alexnet.commands.options.implementation_on", lambda _: None)
    for command in ("bench", "verify"):
        assert status_of([command, "--isa", "portable", "--device", "cuda"]) == 2
        assert f"alexnet {command}: error: argument --isa: names" in capsys.readouterr().err
