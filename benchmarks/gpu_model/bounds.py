"""How long each part of a device is busy with a launch, and which part it waits for.

Every bound supposes that its part never idles: the prediction, the largest of them, is a lower
bound of the time, which a kernel with few warps or long chains of dependent instructions misses. By
how much is what calibration.py says.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from gpu_model.disassembly import Instruction, Kernel, Loop
from gpu_model.launches import Launch
from gpu_model.machine import COPY_SHARE, SUBPARTITIONS, WARP, Device, resident_blocks

L1_BYTES = 128  # a cycle, with shared memory
# FMA of tf32, of which all devices do half as many as of 16-bit operands.
MMA_FMA = {"1688": 16 * 8 * 8, "16816": 16 * 8 * 16 // 2, "1684": 16 * 8 * 4}

FLOAT = {"FFMA", "FMUL", "FADD", "FFMA2"}
PRODUCT = {"IMAD", "HFMA2"}  # on the units of FMA, at half the rate of float32 on most devices
SPECIAL = {"MUFU", "F2F", "F2I", "I2F", "POPC", "FLO"}
DOUBLE = {"DADD", "DMUL", "DFMA", "DSETP"}
NO_ALU = {
    *("LDG", "STG", "LDS", "STS", "LDGSTS", "LDL", "STL", "LDC", "LDCU", "LDSM", "ATOMS", "RED"),
    *("BRA", "BAR", "BSSY", "BSYNC", "EXIT", "CALL", "RET", "WARPSYNC", "DEPBAR", "LDGDEPBAR"),
    *("S2R", "S2UR", "SHFL", "HMMA", "HGMMA", "NANOSLEEP", "BREAK", "YIELD", "CS2R", "R2UR"),
    *("WARPGROUP", "SYNCS", "FENCE"),
}


def part_of(instruction: Instruction) -> str:
    """Which unit of a multiprocessor an instruction occupies."""
    kind = instruction.kind
    for part, kinds in (("fma", FLOAT), ("imad", PRODUCT), ("special", SPECIAL), ("fp64", DOUBLE)):
        if kind in kinds:
            return part
    if kind == "HMMA":
        return "tensor"
    return "other" if kind in NO_ALU or kind.startswith("U") else "alu"


def waits_for_copies(loop: Loop) -> bool:
    """Whether a loop commits asynchronous copies and waits for them."""
    return {"LDGDEPBAR", "DEPBAR"} <= {instruction.kind for instruction in loop}


def turns(kernel: Kernel, launch: Launch) -> list[float]:
    """How often a warp runs each innermost loop, from the accesses that the emulation counted.

    A loop that waits for asynchronous copies runs as often as the kernel waits, where there are
    several the main loop, as few blocks run the others. The loops that do not wait share the
    accesses that are left, in equal numbers of turns.
    """
    left = {kind: n / launch.warps for kind, n in launch.requests().items()}
    waits = launch.of_block("waits") / launch.threads
    loops = [Counter(i.kind.replace("LDSM", "LDS") for i in loop) for loop in kernel.loops]
    result = [0.0] * len(loops)
    waiting = [waits_for_copies(loop) for loop in kernel.loops]
    for index, kinds in enumerate(loops):
        if waiting[index]:
            result[index] = waits * (kernel.loops[index] == kernel.main_loop)
            left = {kind: max(0.0, n - result[index] * kinds[kind]) for kind, n in left.items()}
    for index, kinds in enumerate(loops):
        if waiting[index]:
            continue
        shared_by = {
            kind: sum(other[kind] for other, w in zip(loops, waiting, strict=True) if not w)
            for kind in left
        }
        result[index] = max((n / shared_by[k] for k, n in left.items() if kinds[k]), default=1.0)
    return result


def executed(kernel: Kernel, launch: Launch) -> Counter[str]:
    """Instructions of a warp by the unit they occupy, and all of them as "issue".

    Where several loops wait for asynchronous copies, what is around them is there as often, too,
    and a block goes one of the ways.
    """
    result: Counter[str] = Counter()
    once = list(kernel.instructions)

    def add(instructions: Loop | list[Instruction], times: float) -> None:
        for instruction in instructions:
            part = part_of(instruction)
            size = 1.0
            if part == "tensor":
                size = MMA_FMA[instruction.name.split(".")[1]]
            result[part] += size * times  # type: ignore[assignment]
            result["issue"] += times  # type: ignore[assignment]

    for loop, times in zip(kernel.loops, turns(kernel, launch), strict=True):
        add(loop, times)
        inside = {i.address for i in loop}
        once = [i for i in once if i.address not in inside]
    add(once, 1 / max(1, sum(map(waits_for_copies, kernel.loops))))
    return result


@dataclass(frozen=True)
class Prediction:
    """The bounds of one launch on one device, in seconds."""

    launch: Launch
    kernel: Kernel
    resident: int  # blocks on a multiprocessor at once
    seconds: dict[str, float]

    @property
    def bound(self) -> str:
        """The part that the launch waits for."""
        return max(self.seconds, key=lambda part: self.seconds[part])

    @property
    def time(self) -> float:
        """What it takes if that part never idles."""
        return self.seconds[self.bound]


def predict(launch: Launch, kernel: Kernel, device: Device) -> Prediction:
    """All bounds of a launch."""
    of_warp = executed(kernel, launch)
    lanes = {
        "fma": device.fma_lanes,
        "alu": device.integer_lanes,
        "special": device.special_lanes,
        "fp64": device.double_lanes,
    }
    cycles = {part: of_warp[part] * WARP / n for part, n in lanes.items()}
    cycles["fma"] += of_warp["imad"] * WARP / device.integer_lanes
    cycles["issue"] = of_warp["issue"] / SUBPARTITIONS
    cycles["tensor"] = of_warp["tensor"] / device.tensor_fma
    busy = {part: n * launch.warps for part, n in cycles.items()}
    products = launch.of_block("warpgroup_fma")
    busy["wgmma"] = products / device.wgmma_fma if products else 0.0
    through_l1 = launch.accesses("units", space="global", copies=False) * 32 / L1_BYTES
    busy["shared"] = launch.accesses("units", space="shared") + through_l1
    # The multiprocessor that has most blocks decides.
    most = -(-launch.blocks // device.multiprocessors)
    seconds = {part: n * most / device.clock for part, n in busy.items()}
    seconds["L2"] = launch.l2_bytes * launch.blocks / (device.l2_bytes * device.clock)
    seconds["memory"] = launch.memory_bytes / (device.memory * COPY_SHARE)
    resident = resident_blocks(device, launch.threads, kernel.registers, launch.shared_bytes)
    return Prediction(launch, kernel, resident, seconds)
