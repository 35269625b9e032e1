"""The number of threads: from the environment, the machine, and the call that sets it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np
import pytest

import alexnet
from alexnet import _cpu
from support.processes import output_of, python

OPENMP = alexnet.build_info()["openmp"]
PROCESSORS = sorted(os.sched_getaffinity(0))


PRINT_THREADS = "import alexnet; print(alexnet.get_num_threads())"
PRINT_SOURCE = "import alexnet; print(alexnet.get_num_threads(), alexnet.num_threads_from())"
THREADS = min(len(PROCESSORS), _cpu.cpu_quota("") or len(PROCESSORS))  # without variables


# OpenMP reads its variable before Python runs, so all of these are there from the start.
@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"ALEXNET_NUM_THREADS": "3"}, "3 ALEXNET_NUM_THREADS"),
        ({"ALEXNET_NUM_THREADS": " 3\t"}, "3 ALEXNET_NUM_THREADS"),
        ({"OMP_NUM_THREADS": "5"}, "5 OMP_NUM_THREADS"),
        ({"OMP_NUM_THREADS": "4,2"}, "4 OMP_NUM_THREADS"),
        ({"OMP_NUM_THREADS": " 4 "}, "4 OMP_NUM_THREADS"),
        ({"OMP_NUM_THREADS": "\t3 , 2,1\n"}, "3 OMP_NUM_THREADS"),
        ({"OMP_NUM_THREADS": "4097"}, "4096 OMP_NUM_THREADS"),
        ({"ALEXNET_NUM_THREADS": " ", "OMP_NUM_THREADS": " 5"}, "5 OMP_NUM_THREADS"),
        ({"ALEXNET_NUM_THREADS": "3", "OMP_NUM_THREADS": "5"}, "3 ALEXNET_NUM_THREADS"),
        ({"OMP_NUM_THREADS": "5", "OMP_THREAD_LIMIT": "3"}, "3 OMP_THREAD_LIMIT"),
        ({"ALEXNET_NUM_THREADS": "5", "OMP_THREAD_LIMIT": " 3 "}, "3 OMP_THREAD_LIMIT"),
        ({"OMP_NUM_THREADS": "5", "OMP_THREAD_LIMIT": "5"}, "5 OMP_NUM_THREADS"),
        ({"OMP_NUM_THREADS": "5", "OMP_THREAD_LIMIT": "none"}, "5 OMP_NUM_THREADS"),
    ],
)
def test_threads_from_the_environment(variables: dict[str, str], expected: str) -> None:
    assert output_of(PRINT_SOURCE, **variables) == (expected if OPENMP else "1 no OpenMP")


BAD_THREADS = ["0", "-2", "two", "2.5", "3x", "4,", ",4", "4,two", "4,0", "4 2", "4;2"]
BAD_THREADS += ["99999999999999999999"]


@pytest.mark.parametrize("value", ["", " ", *BAD_THREADS])
def test_openmp_ignores_what_is_no_number_and_so_do_we(value: str) -> None:
    expected = str(THREADS if OPENMP else 1)
    assert output_of(PRINT_THREADS, ALEXNET_NUM_THREADS="", OMP_NUM_THREADS=value) == expected


@pytest.mark.parametrize("value", [*BAD_THREADS, "4097", "4,2"])
def test_a_bad_number_of_threads_is_an_error_at_first_use(value: str) -> None:
    result = python(PRINT_THREADS, ALEXNET_NUM_THREADS=value)
    assert result.returncode == 1
    expected = f"ValueError: ALEXNET_NUM_THREADS is '{value}', expected an integer from 1 to 4096"
    assert result.stderr.strip().splitlines()[-1] == expected


def test_threads_from_the_affinity() -> None:
    code = f"import os; os.sched_setaffinity(0, [{PROCESSORS[-1]}]); {PRINT_SOURCE}"
    source = "CPU affinity" if (os.cpu_count() or 1) > 1 else "all processors"
    assert output_of(code) == f"1 {source if OPENMP else 'no OpenMP'}"


# --- a container's CPU quota ----------------------------------------------------------------------

VERSION_2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
VERSION_1 = "33 31 0:30 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
MEMORY_1 = "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"


def _quota(root: Path, mountinfo: str, cgroup: str, files: dict[str, str]) -> int:
    """Processors by files of `root`; those of the groups are below /sys/fs/cgroup."""
    paths = {f"sys/fs/cgroup/{name}": text for name, text in files.items()}
    paths |= {"proc/self/mountinfo": mountinfo, "proc/self/cgroup": cgroup}
    for name, text in paths.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return _cpu.cpu_quota(str(root))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("max 100000\n", 0),
        ("200000 100000\n", 2),
        ("150000 100000\n", 2),  # rounded up
        ("100001 100000\n", 2),
        ("50000 100000\n", 1),
        ("1000 100000\n", 1),
        ("1600000 50000\n", 32),
        ("9223372036854775807 1\n", 2**31 - 1),
        ("0 100000\n", 0),
        ("-1 100000\n", 0),
        ("200000 0\n", 0),
        ("200000\n", 0),
        ("", 0),
        ("many few\n", 0),
    ],
)
def test_a_quota_of_version_2(tmp_path: Path, text: str, expected: int) -> None:
    assert _quota(tmp_path, VERSION_2, "0::/box\n", {"box/cpu.max": text}) == expected


@pytest.mark.parametrize(("quota", "expected"), [("-1", 0), ("300000", 3), ("250000", 3)])
def test_a_quota_of_version_1(tmp_path: Path, quota: str, expected: int) -> None:
    files = {"cpu/box/cpu.cfs_quota_us": quota, "cpu/box/cpu.cfs_period_us": "100000"}
    groups = "9:memory:/other\n4:cpu,cpuacct:/box\n0::/\n"
    assert _quota(tmp_path, MEMORY_1 + VERSION_1, groups, files) == expected


@pytest.mark.parametrize("smallest", ["", "a/", "a/b/", "a/b/c/"])
def test_the_smallest_quota_on_the_way_to_the_root_counts(tmp_path: Path, smallest: str) -> None:
    files = {f"{group}cpu.max": "700000 100000" for group in ("", "a/", "a/b/", "a/b/c/")}
    files |= {f"{smallest}cpu.max": "300000 100000", "a/other/cpu.max": "100000 100000"}
    assert _quota(tmp_path, VERSION_2, "0::/a/b/c\n", files) == 3


@pytest.mark.parametrize(
    ("mounted", "group"),
    [
        ("/", "/"),  # a container with a name space of its own for control groups
        ("/docker/abc", "/docker/abc"),  # one that sees the path that its group has outside
        ("/docker/abc", "/docker/abc/"),
        ("/docker/abc", "/docker/abcdef"),
        ("/docker/abc", "/elsewhere"),
        ("/", "/../elsewhere"),
        ("/", "no path"),
        (r"/a\040b", "/a b"),
    ],
)
def test_the_mounted_group_is_a_containers_own(tmp_path: Path, mounted: str, group: str) -> None:
    mountinfo = VERSION_2.replace(" / ", f" {mounted} ", 1)
    files = {"cpu.max": "300000 100000", "../cpu.max": "100000 100000"}
    assert _quota(tmp_path, mountinfo, f"0::{group}\n", files) == 3


def test_groups_below_the_mounted_one_count(tmp_path: Path) -> None:
    mountinfo = VERSION_2.replace(" / ", " /docker/abc ", 1)
    files = {"cpu.max": "max 100000", "job/cpu.max": "200000 100000"}
    assert _quota(tmp_path, mountinfo, "0::/docker/abc/job\n", files) == 2


@pytest.mark.parametrize(
    ("mountinfo", "cgroup"),
    [("", ""), (VERSION_2, ""), ("\n - \n30 23\n", "::\n:\n\n0"), (MEMORY_1, "9:memory:/\n")],
)
def test_no_groups_no_quota(tmp_path: Path, mountinfo: str, cgroup: str) -> None:
    assert _quota(tmp_path, mountinfo, cgroup, {}) == 0
    assert _cpu.cpu_quota(str(tmp_path / "nothing there")) == 0


@pytest.fixture
def group_of_one_processor() -> Iterator[Path]:
    """A control group of this machine with a quota of half a processor, where one can be made."""
    with ExitStack() as stack:
        for folder, files in {
            "/sys/fs/cgroup/cpu": {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "50000"},
            "/sys/fs/cgroup": {"cpu.max": "50000 100000"},
        }.items():
            group = Path(folder) / f"alexnet-test-{os.getpid()}"
            if not (group.parent / "cgroup.procs").exists():
                continue
            with suppress(OSError):
                group.mkdir()
                stack.callback(group.rmdir)
                for name, text in files.items():
                    (group / name).write_text(text)
                yield group
                return
    pytest.skip("no control group can be made here")


def test_a_real_quota(group_of_one_processor: Path) -> None:
    procs = group_of_one_processor / "cgroup.procs"
    join = f"import os; open({str(procs)!r}, 'w').write(str(os.getpid()))"
    source = "CPU quota" if len(PROCESSORS) > 1 else "all processors"
    assert output_of(f"{join}; {PRINT_SOURCE}") == f"1 {source if OPENMP else 'no OpenMP'}"


# --- the call -------------------------------------------------------------------------------------


def test_set_num_threads() -> None:
    for threads in (1, 3, np.int64(2), 4096):
        alexnet.set_num_threads(threads)  # type: ignore[arg-type]
        assert alexnet.get_num_threads() == (threads if OPENMP else 1)
        assert alexnet.num_threads_from() == ("set_num_threads" if OPENMP else "no OpenMP")
    alexnet.set_num_threads(2)
    for bad in (0, -1, 4097, 2**70):
        with pytest.raises(ValueError, match=f"threads is {bad}, expected an integer from 1 to"):
            alexnet.set_num_threads(bad)
    for bad in (True, 1.5, "2", None):
        message = re.escape(f"set_num_threads: threads is {bad!r}, expected an integer")
        with pytest.raises(TypeError, match=message):
            alexnet.set_num_threads(bad)  # type: ignore[arg-type]
    assert alexnet.get_num_threads() == (2 if OPENMP else 1)
