"""`alexnet verify`: a table of errors beside their bounds, and a status that tells of any over."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from alexnet import cpu, runtime
from alexnet.commands.console import Progress
from alexnet.commands.options import (
    add_batch_size,
    add_json,
    add_kernels,
    add_parser,
    add_seed,
    add_variant,
    described_variant,
    say,
    say_sentence,
    say_table,
    write_figures,
)
from alexnet.messages import counted
from alexnet.ops import implementation_on
from alexnet.random import Generator
from alexnet.verification import odd_shapes
from alexnet.verification.hosted import hosted
from alexnet.verification.verify import (
    CUDA,
    Check,
    Comparison,
    NetworkVerification,
    verify_operators,
)


def add_parsers(subparsers: Any) -> None:
    """Add the command."""
    parser = add_parser(
        subparsers,
        "verify",
        _run,
        description="compare every operator and layer with the float64 reference",
        example="alexnet verify cifar10-bn --isa avx2",
    )
    add_variant(parser)
    add_batch_size(parser, 2)
    add_kernels(parser, device="cpu", several_isas=True)
    add_seed(parser, 0)
    add_json(parser)


def _run(options: argparse.Namespace) -> bool:
    variant = described_variant(options)
    isas, kernels = _kernels(options)
    operators, layers = Comparison(isas, kernels), Comparison(isas, kernels)
    calls = sum(1 for _ in odd_shapes.calls(Generator(options.seed)))
    steps = 2 * len(variant.layers)
    with Progress("odd shapes", calls + steps + len(isas)) as progress:
        verify_operators(operators, options.seed, progress.advance)
        network = NetworkVerification(
            variant, layers, batch_size=options.batch_size, seed=options.seed
        )
        layer_checks = network.layers(progress.advance)
        whole = []
        for isa in isas:
            whole += network.whole(isa, layer_checks, kernels)
            progress.advance(f"network {isa}")

    shapes = variant.shapes(options.batch_size)[0]
    say_sentence(options, "operators on odd shapes: relative L2 error, at the worst shape of each")
    _print_checks(options, isas, operators.checks)
    say(options)
    say_sentence(options, f"layers of {variant.name}, input {list(shapes)}")
    _print_checks(options, isas, layer_checks)
    say(options)
    say_sentence(options, f"{variant.name} as a whole: output, and gradient of each parameter")
    _print_checks(options, isas, whole)

    checks = [*operators.checks, *layer_checks, *whole]
    failed = [check for check in checks if not check.passed]
    for check in failed:
        say_sentence(options, _failure(check))
    say(options)
    say(options, f"{counted(len(checks), 'comparison')}, {len(failed)} over their bound")
    figures = {
        "variant": variant.name,
        "lrn": not options.no_lrn,
        "batch_size": options.batch_size,
        "seed": options.seed,
        "passed": not failed,
        "checks": [check.figures() for check in checks],
    }
    write_figures(options, figures)
    return not failed


def _kernels(options: argparse.Namespace) -> tuple[tuple[str, ...], ModuleType]:
    """Instruction sets, or "cuda" in their place, and the operators that are compared."""
    if options.device == "cpu":
        return tuple(dict.fromkeys(options.isa or runtime.available_isas())), cpu
    return (CUDA,), hosted(implementation_on(options.device))


def _print_checks(
    options: argparse.Namespace, isas: Sequence[str], checks: Sequence[Check]
) -> None:
    """One row for each result of each operator and algorithm, at the shape that is worst for any.

    Rows of one operator and shape stand below a line that tells both, the instruction sets side by
    side.
    """
    rows: dict[tuple[str, ...], dict[str, list[Check]]] = {}
    for check in checks:
        place = (check.subject, check.operator, check.result, check.algorithm)
        rows.setdefault(place, {}).setdefault(check.case, []).append(check)
    lines: list[Sequence[str] | str] = []
    heading = ""
    for row, cases in rows.items():
        subject, operator, result, algorithm = row
        worst = max(cases.values(), key=lambda same: max(map(_severity, same)))
        names = dict.fromkeys((subject, operator, worst[0].case.strip()))  # the whole is its own
        line = " ".join(filter(None, names))
        if line != heading:
            lines.append(line)
            heading = line
        errors = {check.isa: f"{check.error:.1e}" for check in worst}
        verdict = "ok" if all(check.passed for check in worst) else "OVER"
        bound = f"{worst[0].bound:.1e}"
        lines.append((f"  {result}", algorithm, *(errors[isa] for isa in isas), bound, verdict))
    say_table(
        options, ("  result", "algorithm", *isas, "bound", ""), lines, right=range(2, 3 + len(isas))
    )


def _severity(check: Check) -> tuple[bool, float]:
    """Order by failure, which NaN is, then by the share of the bound."""
    return (not check.passed, check.error / check.bound if check.bound else check.error)


def _failure(check: Check) -> str:
    where = " ".join(filter(None, (check.subject, check.operator, check.algorithm, check.isa)))
    return f"OVER: {where}: {check.result} of {check.case}: {check.error:.3e} > {check.bound:.3e}"
