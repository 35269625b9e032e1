"""Which instruction sets there are, and which of them is used."""

from __future__ import annotations

import pytest

import alexnet
from support.processes import output_of, python

ALL_ISAS = ("avx512", "avx2", "portable")
MISSING = tuple(isa for isa in ALL_ISAS if isa not in alexnet.available_isas())


def test_available_isas_are_known_and_end_with_the_portable_one() -> None:
    available = alexnet.available_isas()
    assert available == tuple(isa for isa in ALL_ISAS if isa in available)
    assert available[-1] == "portable"


@pytest.mark.parametrize("isa", [*alexnet.available_isas(), "PORTABLE", "Portable"])
def test_a_forced_isa_is_used(isa: str) -> None:
    code = (
        "import alexnet, numpy as np; print(alexnet.cpu_isa(), alexnet.relu(np.float32([-1, 2])))"
    )
    assert output_of(code, ALEXNET_ISA=isa) == f"{isa.lower()} [0. 2.]"


def test_the_best_isa_is_the_default() -> None:
    best = alexnet.available_isas()[0]
    code = "import alexnet; print(alexnet.cpu_isa())"
    assert output_of(code) == best
    assert output_of(code, ALEXNET_ISA="") == best


@pytest.mark.parametrize("isa", ["sse9", "avx2 ", *MISSING])
@pytest.mark.parametrize("use", ["alexnet.cpu_isa()", "alexnet.relu(np.zeros(3, np.float32))"])
def test_an_unknown_or_unsupported_isa_is_an_error_at_first_use(isa: str, use: str) -> None:
    result = python(f"import alexnet, numpy as np; {use}", ALEXNET_ISA=isa)
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith(f"ValueError: ALEXNET_ISA: instruction set '{isa}' is unknown or not")
    assert last.endswith("available here: " + ", ".join(alexnet.available_isas()))


def test_the_command_says_it_in_one_line() -> None:
    result = python(
        "from alexnet.cli import main; raise SystemExit(main(['info']))", ALEXNET_ISA="x"
    )
    assert result.returncode == 2
    assert result.stderr.startswith("alexnet: error: ALEXNET_ISA: instruction set 'x' is unknown")
    assert result.stderr.count("\n") == 1


def test_set_cpu_isa(isa: str) -> None:
    assert alexnet.cpu_isa() == isa
    with pytest.raises(ValueError, match=r"set_cpu_isa: name is 'sse9', expected one of .*portab"):
        alexnet.set_cpu_isa("sse9")
    assert alexnet.cpu_isa() == isa
