"""Our kernels as nvcc compiles them: registers, spills, instructions, loops.

Needs nvcc, and cuobjdump with nvdisasm, which need neither a GPU nor a driver.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sysconfig
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
KERNELS = ROOT / "cpp" / "cuda"
BUILD = ROOT / "build" / "gpu_static"
HOPPER = 90  # the architecture that has kernels of its own, hopper_*.cu
# The flags of cpp/cuda/CMakeLists.txt that change code.
FLAGS = ("-std=c++17", "-O3", "--fmad=false", f"-I{ROOT / 'cpp' / 'include'}", f"-I{KERNELS}")

INSTALL = "pip install nvidia-cuda-cuobjdump nvidia-cuda-nvdisasm"

_LINE = re.compile(r"^\s+/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)\s*([^;]*);")
_USAGE = re.compile(r"Function (\S+):\s+REG:(\d+) STACK:(\d+)")


class MissingToolError(RuntimeError):
    """A program that is needed is not there; the message says what to install."""


def tool(name: str) -> str:
    """Path of one of CUDA's programs: on PATH, or where the packages of PyPI put it."""
    packages = Path(sysconfig.get_path("purelib")) / "nvidia"
    folders = [os.environ.get("PATH", ""), *map(str, sorted(packages.glob("*/bin")))]
    found = shutil.which(name, path=os.pathsep.join(folders))
    if found is None:
        how = "the CUDA toolkit, 12 or 13" if name == "nvcc" else INSTALL
        raise MissingToolError(f"gpu_static: {name} is missing; to install it: {how}")
    return found


@dataclass(frozen=True)
class Instruction:
    """One instruction: the address of it, its name with all suffixes, its operands as text."""

    address: int
    name: str
    operands: str

    @property
    def kind(self) -> str:
        """The name without suffixes."""
        return self.name.partition(".")[0]

    @property
    def width(self) -> int:
        """Bytes a lane that an access to memory moves."""
        for bits in ("128", "64"):
            if f".{bits}" in self.name:
                return int(bits) // 8
        return 2 if "16" in self.name else 1 if re.search(r"\.[US]8", self.name) else 4


Loop = tuple[Instruction, ...]


@dataclass(frozen=True)
class Kernel:
    """One compiled kernel."""

    file: str  # without suffix
    name: str  # demangled, see `normalised`
    registers: int
    stack_bytes: int
    instructions: tuple[Instruction, ...]

    @functools.cached_property
    def loops(self) -> list[Loop]:
        """The innermost loops: from the target of a jump back to the jump, no such loop within."""
        spans = []
        for instruction in self.instructions:
            if instruction.kind != "BRA":
                continue
            target = int(re.findall(r"0x([0-9a-f]+)", instruction.operands)[-1], 16)
            if target < instruction.address:  # a jump to itself is the padding at the end
                spans.append((target, instruction.address))
        inner = [
            span
            for span in sorted(set(spans))
            if not any(span[0] <= a and b <= span[1] and (a, b) != span for a, b in spans)
        ]
        return [
            tuple(i for i in self.instructions if first <= i.address <= last)
            for first, last in inner
        ]

    @functools.cached_property
    def main_loop(self) -> Loop:
        """The loop with most products, else with most loads; all of a kernel without loops.

        Of several with as many products it is the shortest: what most blocks run, where some have
        a loop of their own that does something besides.
        """

        def worth(loop: Loop) -> tuple[int, int, int]:
            kinds = Counter(i.kind for i in loop)
            loads = kinds["LDG"] + kinds["LDS"] + kinds["LDGSTS"]
            tensor, fma = kinds["HMMA"] + kinds["HGMMA"], kinds["FFMA"] if loads else 0
            return tensor, fma, -len(loop) if tensor or fma else loads

        best = max(self.loops, key=worth, default=())
        return best if best and any(worth(best)) else self.instructions

    def spills(self, instructions: Loop) -> int:
        """How many of the instructions write or read registers that were put into memory."""
        return sum(i.kind in ("LDL", "STL") for i in instructions)

    def widths(self, kind: str) -> list[int]:
        """Bytes a lane of the kernel's global accesses of a kind (LDG, STG, LDGSTS)."""
        return sorted({i.width for i in self.instructions if i.kind == kind})


def normalised(symbol: str) -> str:
    """One name for what g++ and nvcc, which name anonymous namespaces differently, demangle."""
    symbol = re.sub(r"_GLOBAL__N__\w+", "(anonymous namespace)", symbol)
    return symbol.replace("(anonymous namespace)::", "").replace("alexnet::cuda::", "")


def demangle(symbols: list[str]) -> list[str]:
    """What `c++filt` makes of the symbols, normalised."""
    run = subprocess.run(
        ["c++filt"], input="\n".join(symbols), capture_output=True, text=True, check=True
    )
    return [normalised(line) for line in run.stdout.splitlines()]


def is_hoppers(file: Path) -> bool:
    """Whether the file is compiled for sm_90a alone."""
    return file.stem.startswith("hopper_")


def compile_kernels(file: Path, architecture: int) -> Path:
    """Compile one of the kernels' files unless nothing changed since; the path of the cubin."""
    cubin = BUILD / f"{file.stem}.sm_{architecture}.cubin"
    target = f"sm_{architecture}{'a' if is_hoppers(file) else ''}"
    sources = [file, *KERNELS.glob("*.cuh"), *(ROOT / "cpp" / "include").rglob("*.h")]
    if not cubin.exists() or cubin.stat().st_mtime < max(s.stat().st_mtime for s in sources):
        BUILD.mkdir(parents=True, exist_ok=True)
        command = [tool("nvcc"), *FLAGS, "-cubin", f"-arch={target}"]
        command += ["-DALEXNET_CUDA_HOPPER"] if architecture == HOPPER else []
        subprocess.run([*command, "-o", str(cubin), str(file)], check=True)
    return cubin


def parse(file: str, usage: str, listing: str) -> Iterator[Kernel]:
    """Kernels of what `cuobjdump -res-usage` and `cuobjdump -sass` print."""
    resources = {name: (int(reg), int(stack)) for name, reg, stack in _USAGE.findall(usage)}
    functions = re.split(r"\n\s+Function : (\S+)\n", listing)[1:]
    symbols, bodies = functions[::2], functions[1::2]
    for symbol, name, body in zip(symbols, demangle(symbols), bodies, strict=True):
        lines = map(_LINE.match, body.splitlines())
        instructions = tuple(
            Instruction(int(line[1], 16), line[2], line[3].strip())
            for line in lines
            if line and line[2] != "NOP"
        )
        yield Kernel(file, name, *resources[symbol], instructions)


def kernels(architecture: int, only: str = "") -> list[Kernel]:
    """All kernels of the files whose name has `only` in it, compiled for an architecture."""
    result = []
    for file in sorted(KERNELS.glob("*.cu")):
        if only not in file.stem or (is_hoppers(file) and architecture != HOPPER):
            continue
        cubin = str(compile_kernels(file, architecture))
        command = tool("cuobjdump")
        path = os.pathsep.join([str(Path(tool("nvdisasm")).parent), os.environ.get("PATH", "")])
        environment = {**os.environ, "PATH": path}
        usage, listing = (
            subprocess.run(
                [command, what, cubin], capture_output=True, text=True, check=True, env=environment
            ).stdout
            for what in ("-res-usage", "-sass")
        )
        result += parse(file.stem, usage, listing)
    return result
