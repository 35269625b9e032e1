"""What a multiprocessor can do in a cycle, and one device of each architecture.

Where the figures are from:

  occupancy   CUDA C++ Programming Guide, "Technical specifications per compute capability"
  lanes       the same, "Throughput of native arithmetic instructions": results a cycle and
              multiprocessor; of sm_120 NVIDIA's RTX Blackwell white paper (its INT32 and FP32
              units are the same)
  tensor      dense tf32 rates of NVIDIA's white papers, divided by multiprocessors and clock: FMA
              a cycle. Of sm_90 that is 1,024, by wgmma alone, and 62.9 % of it by mma.sync, as
              measured by Luo et al., "Benchmarking and Dissecting the Nvidia Hopper GPU
              Architecture via Microbenchmarking" (2024)
  shared      128 bytes a cycle and multiprocessor, 32 banks of 4 (Programming Guide), with the L1
              cache in the same memory
  L2          5,120 bytes a cycle is NVIDIA's figure for A100 (white paper); taken for H100 as well.
              The others: 64 bytes a cycle and multiprocessor, an assumption
  memory      data sheets; kernels are held to be able to reach 89 % of them, as copies do on an
              H100 (docs/gpu.md: 2,980 of 3,350 GB/s)
  clock       boost clocks of the data sheets; a device under load may run below
"""

from __future__ import annotations

from dataclasses import dataclass

WARP = 32
SUBPARTITIONS = 4  # of a multiprocessor, each with a scheduler that issues an instruction a cycle
COPY_SHARE = 0.89  # of the memory's rate
LAUNCH_SECONDS = 2e-6  # from one kernel to the next on a stream; an assumption


@dataclass(frozen=True)
class Device:
    """One device; rates are those of a multiprocessor in a cycle unless they say otherwise."""

    architecture: int
    name: str
    multiprocessors: int
    clock: float  # Hz
    memory: float  # bytes a second
    l2_bytes: float  # of all multiprocessors together
    fma_lanes: int  # float32
    integer_lanes: int  # additions, comparisons, logic, shifts
    double_lanes: int
    tensor_fma: float  # tf32 by mma.sync
    wgmma_fma: float  # tf32 by wgmma
    warps: int  # resident at most
    blocks: int
    shared_kib: int  # of all resident blocks, 1 KiB of each being the system's

    @property
    def launched_as(self) -> str:
        """A compute capability for which the launchers choose the same kernels."""
        return "9.0" if self.wgmma_fma else "8.0"

    @property
    def special_lanes(self) -> int:
        """Reciprocals, roots, conversions between sizes."""
        return 16


REGISTERS = 65536  # of a multiprocessor, handed out by 256 a warp
RESERVED_SHARED = 1024  # bytes a block

DEVICES = {
    device.architecture: device
    for device in (
        Device(80, "A100 SXM4", 108, 1.41e9, 1555e9, 5120, 64, 64, 32, 512, 0, 64, 32, 164),
        Device(86, "RTX 3090", 82, 1.695e9, 936e9, 64 * 82, 128, 64, 2, 128, 0, 48, 16, 100),
        Device(89, "RTX 4090", 128, 2.52e9, 1008e9, 64 * 128, 128, 64, 2, 128, 0, 48, 24, 100),
        Device(90, "H100 SXM5", 132, 1.83e9, 3350e9, 5120, 128, 64, 64, 644, 1024, 64, 32, 228),
        Device(120, "RTX 5090", 170, 2.407e9, 1792e9, 64 * 170, 128, 128, 2, 128, 0, 48, 24, 100),
    )
}


def resident_blocks(device: Device, threads: int, registers: int, shared_bytes: int) -> int:
    """How many blocks a multiprocessor holds at once; 0 where not even one fits."""
    warps = -(-threads // WARP)
    by_registers = REGISTERS // (-(-registers * WARP // 256) * 256 * (-(-warps // 4) * 4))
    by_shared = device.shared_kib * 1024 // (shared_bytes + RESERVED_SHARED)
    return min(device.blocks, device.warps // warps, by_registers, by_shared)
