"""A pipeline over image lines in the emulation of Hopper, and the faults that it has to find."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest

from cuda_emulation import load

SEEDS = range(5)  # orders in which the threads run; a fault has to show in each

# As in lines_faults.cu, with the message where the launch fails in every order; the others are seen
# in the result or by one of the messages.
NEVER = "the end of an mbarrier's phase"
FAULTS = {
    "none": None,
    "no fence": "",
    "fence before the writes": "",
    "arrival before the writes": "",
    "a writer missing": NEVER,
    "no wait for room": "",
    "no wait for a line": "",
    "wrong phase of a line": "",
    "a line kept": NEVER,
    "the wrong line given back": "",
    "too many bytes": NEVER,
}


@pytest.fixture(autouse=True)
def _strict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALEXNET_EMULATED_STRICT", "1")


@pytest.fixture(scope="module")
def lines() -> ModuleType:
    path = load.beside("_cuda_lines")
    return load.import_from("_cuda_lines", path)


def is_right(lines: ModuleType, fault: str, items: int = 7) -> bool:
    numbers = np.random.default_rng(1)
    memory = numbers.integers(-8, 8, (items + 1) * 280 + 4).astype(np.float32)
    image = memory[-memory.ctypes.data // 4 % 4 :][: (items + 1) * 280].reshape(-1, 280)
    b = numbers.integers(-8, 8, (2, 32, 32)).astype(np.float32)
    padded = np.pad(image, ((0, 0), (0, 8)))  # the last windows see zeros beside the image
    windows = np.lib.stride_tricks.sliding_window_view(padded, 32, axis=1)[:, ::4][:, :64]
    expected = windows[:-1] @ b[0].T + windows[1:] @ b[1].T
    return np.array_equal(lines.pipeline(image, b, list(FAULTS).index(fault)), expected)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("items", [1, 2, 7])
def test_a_sound_pipeline(lines: ModuleType, items: int, seed: int) -> None:
    lines.set_seed(seed)
    assert is_right(lines, "none", items)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("fault", [name for name in FAULTS if name != "none"])
def test_faults(lines: ModuleType, fault: str, seed: int) -> None:
    lines.set_seed(seed)
    if message := FAULTS[fault]:
        with pytest.raises(RuntimeError, match=f"^pipeline: .*{message}"):
            is_right(lines, fault)
        assert is_right(lines, "none"), "a failed launch leaves the next one alone"
        return
    try:
        right = is_right(lines, fault)
    except RuntimeError:
        return
    assert not right
