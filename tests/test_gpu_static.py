"""The model of GPUs: listings, loops, occupancy, and what it says where a tool is missing."""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from support.documents import ROOT

USAGE = """
 Function _Z4loopPf:
  REG:24 STACK:8 SHARED:0 LOCAL:0 CONSTANT[0]:560
"""
LISTING = """
\t\tFunction : _Z4loopPf
\t.headerflags\t@"EF_CUDA_SM90"
        /*0000*/                   LDC R1, c[0x0][0x28] ;          /* 0x0000000000000000 */
                                                                   /* 0x0000000000000000 */
        /*0010*/                   LDG.E.128 R4, desc[UR4][R2.64] ;  /* 0x0000000000000000 */
        /*0020*/                   LDG.E R5, desc[UR4][R2.64+0x4] ;  /* 0x0000000000000000 */
        /*0030*/              @!P0 BRA 0x20 ;                      /* 0x0000000000000000 */
        /*0040*/                   LDS.64 R6, [R9] ;               /* 0x0000000000000000 */
        /*0050*/                   LDL R7, [R1] ;                  /* 0x0000000000000000 */
        /*0060*/                   HMMA.1688.F32.TF32 R8, R4, R6, R8 ;  /* 0x0000000000000000 */
        /*0070*/               @P1 BRA 0x40 ;                      /* 0x0000000000000000 */
        /*0080*/               @P2 BRA 0x10 ;                      /* 0x0000000000000000 */
        /*0090*/                   STG.E.64 desc[UR4][R2.64], R8 ;  /* 0x0000000000000000 */
        /*00a0*/                   EXIT ;                          /* 0x0000000000000000 */
        /*00b0*/                   BRA 0xb0;                       /* 0x0000000000000000 */
        /*00c0*/                   NOP;                            /* 0x0000000000000000 */
"""


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Import a module of benchmarks/gpu_model by name."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")

    def module(name: str) -> ModuleType:
        return importlib.import_module(name)

    yield module
    for name in [name for name in sys.modules if name.startswith("gpu_")]:
        del sys.modules[name]


def test_listing(model: Any) -> None:
    (kernel,) = model("gpu_model.disassembly").parse("file", USAGE, LISTING)
    assert (kernel.name, kernel.registers, kernel.stack_bytes) == ("loop(float*)", 24, 8)
    assert len(kernel.instructions) == 12, "all but the padding"
    assert [[i.kind for i in loop] for loop in kernel.loops] == [
        ["LDG", "BRA"],
        ["LDS", "LDL", "HMMA", "BRA"],
    ], "innermost ones, without the jump to itself"
    assert kernel.main_loop == kernel.loops[1]
    assert kernel.spills(kernel.main_loop) == 1
    assert (kernel.widths("LDG"), kernel.widths("STG")) == ([4, 16], [8])


def test_main_loop_of_a_kernel_without_products_has_most_loads(model: Any) -> None:
    listing = LISTING.replace("HMMA.1688.F32.TF32", "FADD").replace("LDS.64", "FMUL")
    (kernel,) = model("gpu_model.disassembly").parse("file", USAGE, listing)
    assert kernel.main_loop == kernel.loops[0]


def test_of_two_main_loops_most_blocks_run_the_shorter(model: Any) -> None:
    disassembly = model("gpu_model.disassembly")
    waits = ("HMMA.1688.F32.TF32", "LDGDEPBAR", "DEPBAR.LE")
    names = [*waits, "FADD", "BRA 0x0", *waits, "BRA 0x50", "EXIT"]
    kernel = disassembly.Kernel(
        "file",
        "product",
        24,
        0,
        tuple(
            disassembly.Instruction(16 * place, *f"{name} ".split(" ")[:2])
            for place, name in enumerate(names)
        ),
    )
    assert [len(loop) for loop in kernel.loops] == [5, 4]
    assert kernel.main_loop == kernel.loops[1]
    counts = {"blocks_run": 1, "waits": 64 * 10, "accesses": []}
    launch = model("gpu_model.launches").Launch("conv", "backward", "", 9, 64, 0, counts, 1)
    bounds = model("gpu_model.bounds")
    assert bounds.turns(kernel, launch) == [0, 10]
    assert bounds.executed(kernel, launch)["issue"] == 10 * 4 + 1 / 2, "EXIT is not in a loop"


def test_products_of_warpgroups(model: Any) -> None:
    """Their loop is the main one; how long they take is what the emulation counted of them."""
    listing = LISTING.replace("HMMA.1688.F32.TF32 R8,", "HGMMA.64x128x8.F32.TF32 R8,")
    (kernel,) = model("gpu_model.disassembly").parse("file", USAGE, listing)
    assert kernel.main_loop == kernel.loops[1]
    counts = {"blocks_run": 2, "waits": 0, "read_sectors": 0, "written_sectors": 0}
    # Of a block 500 products of 64 x 128 x 8, whose operand B is 4,096 bytes, and tensors copied by
    # 125 requests of 16,384.
    counts |= {"warpgroup_fma": 2 * 500 * 64 * 128 * 8, "accesses": []}
    counts |= {"bypassing_units": 250 * 16384 // 32, "l1_sectors": 0}
    bulk = {"width": 128, "lanes": 0, "bytes": 0}
    for space, writes, copies, requests, units in (
        ("shared", False, False, 1000, 1000 * 4096 // 128),
        ("shared", True, True, 250, 250 * 16384 // 128),
        ("global", False, True, 250, 250 * 16384 // 32),
    ):
        access = {"space": space, "writes": writes, "copies": copies, "requests": requests}
        counts["accesses"].append({**bulk, **access, "units": units, "least": units})
    launch = model("gpu_model.launches").Launch(
        "conv", "forward", kernel.name, 132, 384, 200 * 1024, counts, 10**9
    )
    device = model("gpu_model.machine").DEVICES[90]
    seconds = model("gpu_model.bounds").predict(launch, kernel, device).seconds
    cycles = {part: device.clock * seconds[part] for part in ("wgmma", "shared", "L2", "tensor")}
    assert cycles["wgmma"] == 500 * 64 * 128 * 8 / 1024
    assert cycles["shared"] == 500 * 4096 / 128 + 125 * 16384 / 128
    assert cycles["L2"] == pytest.approx(132 * 125 * 16384 / 5120)
    assert cycles["tensor"] == 0
    assert launch.requests()["LDS"] == launch.requests()["LDGSTS"] == 0


def test_names_of_both_compilers(model: Any) -> None:
    normalised = model("gpu_model.disassembly").normalised
    ours = "void alexnet::cuda::(anonymous namespace)::forward<4>(float const*)"
    nvcc = "void alexnet::cuda::_GLOBAL__N__1f2e3d_6_lrn_cu_0a::forward<4>(float const*)"
    assert normalised(ours) == normalised(nvcc) == "void forward<4>(float const*)"


@pytest.mark.parametrize(
    ("architecture", "threads", "registers", "shared_bytes", "blocks"),
    [
        (90, 256, 128, 65536, 2),  # registers
        (90, 256, 64, 65536, 3),  # shared memory: 228 KiB in parts of 65
        (86, 256, 64, 65536, 1),  # 100 KiB
        (90, 256, 32, 0, 8),  # threads: 2,048
        (86, 256, 32, 0, 6),  # 1,536
        (86, 32, 16, 0, 16),  # blocks
        (89, 32, 16, 0, 24),
        (90, 1024, 65, 0, 0),  # 32 warps of 72 registers a thread are too many
    ],
)
def test_occupancy(
    model: Any, architecture: int, threads: int, registers: int, shared_bytes: int, blocks: int
) -> None:
    machine = model("gpu_model.machine")
    device = machine.DEVICES[architecture]
    assert machine.resident_blocks(device, threads, registers, shared_bytes) == blocks


def test_rates_are_those_of_the_data_sheets(model: Any) -> None:
    """Dense tf32, by mma.sync and wgmma, and float32 TFLOP/s; of H100 its boost would give 67."""
    for device, tf32, wgmma, float32 in zip(
        model("gpu_model.machine").DEVICES.values(),
        (156, 35.6, 82.6, 311, 104.8),
        (0, 0, 0, 495, 0),
        (19.5, 35.6, 82.6, 61.8, 104.8),
        strict=True,
    ):
        each = 2 * device.multiprocessors * device.clock / 1e12
        assert each * device.tensor_fma == pytest.approx(tf32, rel=0.01)
        assert each * device.wgmma_fma == pytest.approx(wgmma, rel=0.01)
        assert each * device.fma_lanes == pytest.approx(float32, rel=0.01)


def test_what_to_install_is_one_line(
    model: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = model("gpu_static")
    monkeypatch.setattr(shutil, "which", lambda name, **_: name if name == "nvcc" else None)
    monkeypatch.setattr(model("gpu_model.disassembly"), "compile_kernels", lambda *_: "a.cubin")
    assert script.main(["--architectures", "90"]) == 2
    assert capsys.readouterr().err == (
        "gpu_static: cuobjdump is missing; to install it: "
        "pip install nvidia-cuda-cuobjdump nvidia-cuda-nvdisasm\n"
    )


def test_unknown_architecture(model: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        model("gpu_static").main(["--architectures", "90,42"])
    assert "--architectures: 42 is none of 80, 86, 89, 90, 120" in capsys.readouterr().err
