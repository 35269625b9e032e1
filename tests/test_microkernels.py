"""The objects of each instruction set: symbols that a linker may not merge, and no foreign code.

A weak symbol, such as an instance of an inline function or template, may be defined in several
objects, and the linker keeps one copy. If it is the one compiled with AVX-512, a machine without
it dies of an illegal instruction in code that was meant for every machine. So the micro-kernels
define nothing weak, and nothing global outside the namespace of their instruction set. The same
goes for the rungs of the study ladders, whose functions have the instruction set in their names.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OBJECT_FOLDER = re.compile(r"\b(microkernels|study)_(portable|avx2|avx512)\.dir\b")
ALL_ISAS = {"portable", "avx2", "avx512"}

# What rungs take from cpp/study/study.cpp, which is compiled for every processor.
SHARED = ("alexnet::study::threads()", "alexnet::study::scratch(")

# Registers and instructions that an instruction set may not use, as objdump prints them. AVX code
# on 128 bits has mnemonics with a v; 512 bits, and registers from 16 on, belong to AVX-512.
FOREIGN = {
    "portable": re.compile(r"%[yz]mm\d|\tv[a-z0-9]+ "),
    "avx2": re.compile(r"%zmm\d|%[xy]mm(1[6-9]|2\d|3[01])|%k[0-7]"),
}


def run(*command: str | Path) -> str:
    """Output of a program, which must exist and succeed."""
    # CMake and ninja are installed beside this Python, whose folder need not be on the path.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    program = shutil.which(str(command[0]), path=path)
    assert program, f"{command[0]} is not installed: the tests need a C++ compiler and binutils"
    result = subprocess.run(
        [program, *command[1:]],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="session")
def objects(build: Path) -> dict[str, list[Path]]:
    """Object files of the micro-kernels by instruction set, compiled as for the package."""
    return found(build, "microkernels")


@pytest.fixture(scope="session")
def rungs(build: Path) -> dict[str, list[Path]]:
    """Those of the study ladders' rungs."""
    return found(build, "study")


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the objects are: those of the package's own build, if nothing has changed since."""
    folder = ROOT / "build" / str(sys.implementation.cache_tag)
    compiled = [path for path in folder.rglob("*.o") if OBJECT_FOLDER.search(str(path))]
    sources = [ROOT / "CMakeLists.txt", *ROOT.glob("cpp/**/*.*")]
    changed = max(path.stat().st_mtime for path in sources)
    if compiled and min(path.stat().st_mtime for path in compiled) > changed:
        return folder
    folder = tmp_path_factory.mktemp("microkernels")
    run("cmake", "-S", ROOT, "-B", folder, "-G", "Ninja", "-DALEXNET_PYTHON=OFF")
    run("cmake", "--build", folder, "--target", "microkernels")
    return folder


def found(build: Path, library: str) -> dict[str, list[Path]]:
    objects: dict[str, list[Path]] = {}
    for path in sorted(build.rglob("*.o")):
        match = OBJECT_FOLDER.search(str(path))
        if match and match[1] == library:
            objects.setdefault(match[2], []).append(path)
    return objects


def symbols(listing: str) -> list[tuple[str, str]]:
    """Type letter and name of every symbol in the output of ``nm -C``."""
    lines = re.findall(r"^(?:[0-9a-f]+| +) ([A-Za-z]) (.+)$", listing, re.MULTILINE)
    return [(kind, name) for kind, name in lines]


def violations(isa: str, listing: str) -> list[str]:
    """Symbols of one instruction set's object that could meet another's."""
    own = f"alexnet::{isa}::"
    rung = re.compile(rf"alexnet_study_\w+_\d\d_{isa}")
    found = []
    for kind, name in symbols(listing):
        if kind in "VWu":
            found.append(f"weak: {name}")
        elif kind.isupper() and kind != "U" and not (name.startswith(own) or rung.fullmatch(name)):
            found.append(f"global outside {own} {name}")
        elif kind in "Uvw" and "::" in name and not name.startswith((own, *SHARED)):
            found.append(f"taken from elsewhere: {name}")
    return found


def test_there_are_objects_of_every_source(objects: dict[str, list[Path]]) -> None:
    sources = {path.name for path in ROOT.glob("cpp/cpu/microkernels/*.cpp")}
    assert len(sources) > 5
    assert objects.keys() in ({"portable"}, ALL_ISAS)
    for isa, paths in objects.items():
        assert {path.stem for path in paths} == sources, isa


def test_micro_kernels_include_intrinsics_and_each_other_only() -> None:
    folder = ROOT / "cpp/cpu/microkernels"
    paths = sorted(folder.glob("*.cpp")) + sorted(folder.glob("*.h"))
    allowed = {"<immintrin.h>", "<emmintrin.h>", "<cstddef>", "<cstdint>"}
    allowed |= {f'"{path.name}"' for path in folder.glob("*.h")}
    for path in paths:
        included = set(re.findall(r"^ *# *include (\S+)", path.read_text(), re.MULTILINE))
        assert included, path.name
        assert included <= allowed, path.name


def test_instruction_sets_share_no_symbols(objects: dict[str, list[Path]]) -> None:
    for isa, paths in objects.items():
        for path in paths:
            listing = run("nm", "-C", path)
            assert violations(isa, listing) == [], f"{isa}: {path.name}"
        names = [name for kind, name in symbols(run("nm", "-C", *paths)) if kind.isupper()]
        assert f"alexnet::{isa}::table" in names


def test_rungs_of_the_study_share_no_symbols(rungs: dict[str, list[Path]]) -> None:
    sources = {f"{path.stem}.cpp" for path in ROOT.glob("cpp/study/*/[0-9][0-9]_*.cpp")}
    sources = {name for name in sources if not name.endswith("_product.cpp")}
    assert rungs.keys() in ({"portable"}, ALL_ISAS)
    for isa, paths in rungs.items():
        assert {path.stem for path in paths} == sources, isa
        for path in paths:
            assert violations(isa, run("nm", "-C", path)) == [], f"{isa}: {path.name}"


def test_instruction_sets_use_their_own_registers_only(
    objects: dict[str, list[Path]], rungs: dict[str, list[Path]]
) -> None:
    if objects.keys() != ALL_ISAS:
        pytest.skip("this processor has one instruction set only")
    for isa, foreign in FOREIGN.items():
        for path in [*objects[isa], *rungs[isa]]:
            found = foreign.search(run("objdump", "-d", "--no-show-raw-insn", path))
            assert found is None, f"{isa}: {path.name} has {found and found[0]!r}"
    # What is looked for does occur where it belongs.
    gemm = [path for path in objects["avx512"] if path.stem == "gemm.cpp"]
    code = run("objdump", "-d", "--no-show-raw-insn", *gemm)
    assert all(foreign.search(code) for foreign in FOREIGN.values())


def test_a_planted_violation_is_found(tmp_path: Path) -> None:
    source = tmp_path / "planted.cpp"
    source.write_text(
        """
        #include <algorithm>
        namespace alexnet::avx2 {
        __attribute__((noinline)) inline float weak(float x) { return x + 1; }
        float fine(float x) { return weak(x); }
        void sorted(float* x) { std::sort(x, x + 100); }
        }
        float outside(float x) { return alexnet::avx2::fine(x); }
        namespace alexnet::avx512 { float foreign(float); }
        namespace alexnet::avx2 { float call(float x) { return avx512::foreign(x); } }
        """
    )
    planted = tmp_path / "planted.o"
    run(os.environ.get("CXX", "c++"), "-std=c++20", "-O1", "-c", source, "-o", planted)
    found = violations("avx2", run("nm", "-C", planted))
    assert "weak: alexnet::avx2::weak(float)" in found
    assert "global outside alexnet::avx2:: outside(float)" in found
    assert "taken from elsewhere: alexnet::avx512::foreign(float)" in found
    assert any(name.startswith("weak: void std::__") for name in found)
    assert not any("alexnet::avx2::fine" in name for name in found)
