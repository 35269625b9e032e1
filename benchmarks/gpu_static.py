"""What GPUs would make of the CUDA kernels, without a GPU.

    python benchmarks/gpu_static.py tf-tutorial --precision tf32 --architectures 86,90
    python benchmarks/gpu_static.py --calibrate

The first prints, for each kernel that a training step launches: registers, spills (in the main
loop, and in all), shared memory, blocks a multiprocessor, the main loop's instructions by kind, the
bytes a lane that global loads (L), stores (S) and asynchronous copies (C) move, how many times the
least number of sectors they touch, and bank conflicts: wavefronts of shared memory beyond those
that loads, stores and copies need. Then, for each launch, how long each part of the device is busy
with it, and which of them binds. All of that is a prediction. The second says by how much
predictions are off on the device that ran the kernels.

Needs nvcc, and: pip install nvidia-cuda-cuobjdump nvidia-cuda-nvdisasm. No GPU, no driver.
"""

from __future__ import annotations

import argparse
import functools
import json
import re
import sys
from collections import Counter
from typing import Any

from gpu_model import calibration
from gpu_model.bounds import Prediction, predict
from gpu_model.disassembly import Kernel, MissingToolError, kernels
from gpu_model.launches import step
from gpu_model.machine import DEVICES, LAUNCH_SECONDS, Device

# Directions of a product by the operands of its tiles.
OPERANDS = (
    ("WindowDepths|RunDepths", "conv dw"),
    ("PhaseWeights", "conv dx"),
    ("WindowRows|RunRows", "conv"),
    (r"MatrixOperand<true, \w+>, MatrixOperand<true", "dense dx"),
    (r"MatrixOperand<false, \w+>, MatrixOperand<false", "dense dw"),
    ("MatrixOperand<true", "dense"),
)
SHOWN_KINDS = 6

compiled = functools.cache(lambda architecture: {k.name: k for k in kernels(architecture)})
launched = functools.cache(step)


def short(kernel: Kernel) -> str:
    """A name for people: operator, precision, tile, and floats a copy of each operand."""
    tile = r"TileGemm<(true|false), Tile<(\d+), (\d+), \d+, \d+>, (\d), (\d)"
    product = re.search(tile, kernel.name)
    operands = next((name for text, name in OPERANDS if re.search(text, kernel.name)), "")
    if product:
        narrow = re.search(r"Bfloat16|Float16", kernel.name)
        arithmetic = narrow[0].lower() if narrow else {"true": "tf32"}.get(product[1], "float32")
        return f"{operands} {arithmetic} {product[2]}x{product[3]} {product[4]}/{product[5]}"
    if "sum_splits" in kernel.name:
        return f"{operands} sum_splits"
    gemm = r"hopper_gemm<(?:alexnet::)?(\w+), HopperTile<(\d+)u, (\d+)u>, (\w+), (\w+)>"
    if tiles := re.search(gemm, kernel.name):
        arithmetic = {"float": "tf32"}.get(tiles[1], tiles[1].lower())
        order = "".join("k" if along_depth == "true" else "m" for along_depth in tiles.groups()[3:])
        return f"hopper {arithmetic} {tiles[2]}x{tiles[3]} {order}"
    name = re.sub(r"^void |\(.*", "", kernel.name)
    return f"{kernel.file} {name.replace('elementwise', '')}"[:34]


def predictions(
    device: Device, network: str, batch_size: int, precision: str, only: str = ""
) -> list[Prediction]:
    """Of every launch of a step whose layer has `only` in its name."""
    code = compiled(device.architecture)
    return [
        predict(launch, code[launch.kernel], device)
        for launch in launched(network, batch_size, precision, device.launched_as)
        if only in launch.layer
    ]


# --- kernels --------------------------------------------------------------------------------------


def kernel_record(prediction: Prediction) -> dict[str, Any]:
    """All that is known of a kernel, in one launch of it."""
    kernel, launch = prediction.kernel, prediction.launch
    loop = kernel.main_loop
    return {
        "kernel": short(kernel),
        "name": kernel.name,
        "registers": kernel.registers,
        "spills": {"loop": kernel.spills(loop), "all": kernel.spills(kernel.instructions)},
        "shared_bytes": launch.shared_bytes,
        "threads": launch.threads,
        "resident_blocks": prediction.resident,
        "loop": {"instructions": len(loop), **Counter(i.kind for i in loop)},
        "widths": {kind: kernel.widths(kind) for kind in ("LDG", "STG", "LDGSTS")},
        "sectors_of_least": launch.sectors,
        "conflicts": {
            "L": launch.conflicts(writes=False),
            "S": launch.conflicts(writes=True, copies=False),
            "C": launch.conflicts(writes=True, copies=True),
        },
        "bytes_in_flight": launch.counts["bytes_in_flight"],
    }


def print_kernels(device: Device, made: list[Prediction]) -> None:
    print(f"sm_{device.architecture}, {device.name}: kernels")
    print(f"{'kernel':34} {'regs':>4} {'spill':>5} {'KiB':>4} {'blk':>3}  main loop")
    seen = set()
    for prediction in made:
        if prediction.kernel.name in seen:
            continue
        seen.add(prediction.kernel.name)
        record = kernel_record(prediction)
        spills, loop = record["spills"], dict(record["loop"])
        total = loop.pop("instructions")
        mma = "HGMMA" if "HGMMA" in loop else "HMMA"
        each = f", {total / loop[mma]:.1f} an {mma}" if mma in loop else ""
        print(
            f"{record['kernel']:34} {record['registers']:4} {spills['loop']:2}/{spills['all']:<2} "
            f"{record['shared_bytes'] / 1024:4.0f} {record['resident_blocks']:3}  {total}{each}"
        )
        kinds = sorted(loop.items(), key=lambda item: -item[1])[:SHOWN_KINDS]
        print("    " + " ".join(f"{count} {kind}" for kind, count in kinds))
        letters = (("L", "LDG"), ("S", "STG"), ("C", "LDGSTS"))
        widths = " ".join(
            f"{letter}{','.join(map(str, record['widths'][kind]))}"
            for letter, kind in letters
            if record["widths"][kind]
        )
        conflicts = " ".join(f"{kind}{share:.0%}" for kind, share in record["conflicts"].items())
        print(
            f"    {widths}; sectors x{record['sectors_of_least']:.2f}; conflicts {conflicts}; "
            f"{record['bytes_in_flight'] / 1024:.0f} KiB in flight"
        )
    print()


# --- launches -------------------------------------------------------------------------------------


def launch_record(prediction: Prediction) -> dict[str, Any]:
    """One launch of a step."""
    launch = prediction.launch
    return {
        "layer": launch.layer,
        "direction": launch.direction,
        "kernel": short(prediction.kernel),
        "blocks": launch.blocks,
        "bound": prediction.bound,
        "seconds": prediction.seconds,
    }


def print_launches(device: Device, made: list[Prediction]) -> None:
    print(f"sm_{device.architecture}, {device.name}: us that each part is busy, if it never idles")
    print(
        f"{'layer':6}   {'kernel':25} {'bound':7} {'issue':>5} {'tens.':>5} {'fma':>5} {'alu':>5} "
        f"{'L1':>4} {'L2':>3} {'mem.':>4}"
    )
    for prediction in made:
        launch, us = prediction.launch, {k: 1e6 * s for k, s in prediction.seconds.items()}
        us["tensor"] += us["wgmma"]
        print(
            f"{launch.layer[:6]:6} {launch.direction[0]} {short(prediction.kernel)[:25]:25} "
            f"{prediction.bound:7} {us['issue']:5.0f} {us['tensor']:5.0f} {us['fma']:5.0f} "
            f"{us['alu']:5.0f} {us['shared']:4.0f} {us['L2']:3.0f} {us['memory']:4.0f}"
        )
    forward = 1e3 * calibration.step_seconds(made, backward=False)
    both = 1e3 * calibration.step_seconds(made, backward=True)
    print(
        f"together, with {1e6 * LAUNCH_SECONDS:.0f} us a launch: forward {forward:.2f} ms, "
        f"forward and backward {both:.2f} ms\n"
    )


# --- calibration ----------------------------------------------------------------------------------


def calibrate() -> list[calibration.Comparison]:
    from alexnet.comparison.benchmark import _bytes
    from alexnet.network.variants import variant_named

    variant, device = variant_named(calibration.NETWORK), DEVICES[calibration.ARCHITECTURE]
    moved = {
        (layer.name, direction): count
        for direction in ("forward", "backward")
        for layer, count in zip(
            variant.layers, _bytes(variant, calibration.RATES_OF[0], direction, 4), strict=True
        )
    }
    return calibration.compare(
        lambda batch_size, precision: predictions(
            device, calibration.NETWORK, batch_size, precision
        ),
        moved,
    )


def print_calibration(rows: list[calibration.Comparison]) -> None:
    device = DEVICES[calibration.ARCHITECTURE]
    print(f"{device.name}, {calibration.NETWORK}: measured (docs/gpu.md) beside predicted")
    print(f"{'':30} {'unit':5} {'measured':>10} {'predicted':>10} {'time off by':>12}")
    for row in rows:
        print(f"{row.what:30} {row.unit:5} {row.measured:>10} {row.predicted:>10} {row.off:11.2f}x")


# --- the command ----------------------------------------------------------------------------------


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("network", nargs="?", default=calibration.NETWORK)
    parser.add_argument("--batch-size", type=int, default=32, metavar="N")
    precisions = ("float32", "tf32", "bfloat16", "float16")
    parser.add_argument("--precision", choices=precisions, default="tf32")
    parser.add_argument("--architectures", default="80,86,89,90,120", metavar="A,...")
    parser.add_argument("--only", default="", metavar="LAYER", help="part of the layers' names")
    parser.add_argument("--calibrate", action="store_true", help="beside what was measured")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    options = parser.parse_args(arguments)
    unknown = set(options.architectures.split(",")) - set(map(str, DEVICES))
    if unknown:
        known = ", ".join(map(str, DEVICES))
        parser.error(f"--architectures: {', '.join(sorted(unknown))} is none of {known}")
    return options


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    try:
        if options.calibrate:
            rows = calibrate()
            if options.json:
                print(json.dumps([vars(row) for row in rows], indent=2))
            else:
                print_calibration(rows)
            return 0
        records = []
        for architecture in map(int, options.architectures.split(",")):
            device = DEVICES[architecture]
            made = predictions(
                device, options.network, options.batch_size, options.precision, options.only
            )
            if options.json:
                unique = {p.kernel.name: p for p in made}.values()
                records.append(
                    {
                        "architecture": architecture,
                        "device": device.name,
                        "kernels": [kernel_record(p) for p in unique],
                        "launches": [launch_record(p) for p in made],
                    }
                )
            else:
                print_kernels(device, made)
                print_launches(device, made)
        if options.json:
            print(json.dumps(records, indent=2))
    except MissingToolError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
