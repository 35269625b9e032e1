"""Where arrays may be: devices that there are and are not, and dispatch by kind of array."""

from __future__ import annotations

import re
import sys
from types import SimpleNamespace

import pytest

import alexnet
from alexnet import cpu, runtime
from alexnet.cli import main
from support.arrays import random_array
from support.processes import output_of


@pytest.mark.parametrize(
    ("missing", "reason"),
    [
        ("alexnet._cuda", "this build of alexnet has no CUDA kernels; to get them, install the "),
        ("cupy", 'CuPy is not installed; pip install "alexnet[cuda12]" or "alexnet[cuda13]", by'),
    ],
)
def test_what_cuda_lacks_is_said_where_it_is_asked_for(
    missing: str, reason: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(runtime, "find_spec", lambda name: None if name == missing else object())
    monkeypatch.delitem(sys.modules, "alexnet.cuda", raising=False)
    assert not alexnet.has_cuda()
    with pytest.raises(ImportError, match=f"^alexnet.cuda: {re.escape(reason)}"):
        _ = alexnet.cuda.relu
    with pytest.raises(NotImplementedError, match=f"^device is 'cuda', but {re.escape(reason)}"):
        alexnet.AlexNet("cifar10-bn", device="cuda")
    with pytest.raises(SystemExit, match="2"):
        main(["bench", "--device", "cuda"])
    assert reason in capsys.readouterr().err
    assert main(["info"]) == 0
    assert f"CUDA none: {reason.strip()}" in " ".join(capsys.readouterr().out.split())


def test_cuda_without_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_driver() -> int:
        raise RuntimeError("no driver")

    counts = {
        "no CUDA device is visible": lambda: 0,
        "no CUDA device can be used: no driver": no_driver,
    }
    monkeypatch.setattr(runtime, "find_spec", lambda _: object())
    for reason, count in counts.items():
        cuda = SimpleNamespace(runtime=SimpleNamespace(getDeviceCount=count))
        monkeypatch.setattr(runtime, "import_module", lambda _, c=cuda: SimpleNamespace(cuda=c))
        assert alexnet.cuda_obstacle() == reason


def test_an_unknown_device_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^device is 'gpu', expected 'cpu' or 'cuda'$"):
        alexnet.AlexNet("cifar10-bn", device="gpu")


def test_an_import_asks_for_nothing_of_cuda() -> None:
    code = (
        "import sys, pathlib, alexnet\n"
        "assert not {'cupy', 'torch'} & sys.modules.keys()\n"
        "assert 'libcuda' not in pathlib.Path('/proc/self/maps').read_text()\n"
        "print('fine')"
    )
    assert output_of(code, CUDA_VISIBLE_DEVICES="") == "fine"


# --- dispatch -------------------------------------------------------------------------------------


def test_operators_dispatch_numpy_arrays_to_the_cpu() -> None:
    x = random_array(1, 2, 5, 5, 3)
    assert alexnet.lrn(x).tobytes() == cpu.lrn(x).tobytes()
    assert alexnet.relu(x=x).tobytes() == cpu.relu(x).tobytes()


def test_operators_refuse_other_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "find_spec", lambda _: None)
    cupy_array = SimpleNamespace(__cuda_array_interface__={}, shape=(1, 3, 3, 2))
    message = (
        "conv2d: x is on a CUDA device, but this build of alexnet has no CUDA kernels; to get "
        "them, install the CUDA toolkit (nvcc, version 12 or 13) and install alexnet again from "
        "its sources; or pass a NumPy array"
    )
    with pytest.raises(NotImplementedError, match=f"^{re.escape(message)}$"):
        alexnet.conv2d(cupy_array, random_array(1, 3, 3, 2, 2))
    with pytest.raises(TypeError, match=r"^relu: x is of type list, expected a numpy\.ndarray, or"):
        alexnet.relu([1.0])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^max_pool2d: x is of type array\.array, expected a num"):
        alexnet.max_pool2d(__import__("array").array("f", [1.0]))
    with pytest.raises(TypeError, match=r"^dense: x is missing$"):
        alexnet.dense(weight=random_array(1, 2, 2))  # type: ignore[call-arg]
