"""The number of threads: from the environment, the affinity, and the call that sets it."""

from __future__ import annotations

import os
import re

import numpy as np
import pytest

import alexnet
from support.processes import output_of, python

OPENMP = alexnet.build_info()["openmp"]
PROCESSORS = sorted(os.sched_getaffinity(0))


PRINT_THREADS = "import alexnet; print(alexnet.get_num_threads())"


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, len(PROCESSORS)),
        ({"ALEXNET_NUM_THREADS": "", "OMP_NUM_THREADS": ""}, len(PROCESSORS)),
        ({"ALEXNET_NUM_THREADS": "3"}, 3),
        ({"OMP_NUM_THREADS": "5"}, 5),
        ({"OMP_NUM_THREADS": "4,2"}, 4),
        ({"OMP_NUM_THREADS": " 4 "}, 4),
        ({"OMP_NUM_THREADS": "\t3 , 2,1\n"}, 3),
        ({"ALEXNET_NUM_THREADS": " ", "OMP_NUM_THREADS": " 5"}, 5),
        ({"ALEXNET_NUM_THREADS": "3", "OMP_NUM_THREADS": "5"}, 3),
    ],
)
def test_threads_from_the_environment(variables: dict[str, str], expected: int) -> None:
    assert output_of(PRINT_THREADS, **variables) == str(expected if OPENMP else 1)


def test_threads_from_the_affinity() -> None:
    code = f"import os; os.sched_setaffinity(0, [{PROCESSORS[-1]}]); {PRINT_THREADS}"
    assert output_of(code) == "1"


BAD_THREADS = ["0", "-2", "two", "2.5", "3x", "4097", "99999999999999999999"]
BAD_THREADS += ["4,", ",4", "4,two", "4,0", "4 2", "4;2"]


@pytest.mark.parametrize("variable", ["ALEXNET_NUM_THREADS", "OMP_NUM_THREADS"])
@pytest.mark.parametrize("value", BAD_THREADS)
def test_a_bad_number_of_threads_is_an_error_at_first_use(variable: str, value: str) -> None:
    result = python(PRINT_THREADS, **{variable: value})
    assert result.returncode == 1
    expected = f"ValueError: {variable} is '{value}', expected an integer from 1 to 4096"
    assert result.stderr.strip().splitlines()[-1] == expected


def test_set_num_threads() -> None:
    for threads in (1, 3, np.int64(2), 4096):
        alexnet.set_num_threads(threads)  # type: ignore[arg-type]
        assert alexnet.get_num_threads() == (threads if OPENMP else 1)
    alexnet.set_num_threads(2)
    for bad in (0, -1, 4097, 2**70):
        with pytest.raises(ValueError, match=f"threads is {bad}, expected an integer from 1 to"):
            alexnet.set_num_threads(bad)
    for bad in (True, 1.5, "2", None):
        message = re.escape(f"set_num_threads: threads is {bad!r}, expected an integer")
        with pytest.raises(TypeError, match=message):
            alexnet.set_num_threads(bad)  # type: ignore[arg-type]
    assert alexnet.get_num_threads() == (2 if OPENMP else 1)
