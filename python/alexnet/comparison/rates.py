"""What a time means: work done a second, and its share of what the machine can do."""

from __future__ import annotations

from alexnet.comparison.cases import Case
from alexnet.comparison.peaks import Peaks


def rates(case: Case, seconds: float, peaks: Peaks) -> dict[str, float]:
    """GFLOP/s of the products and GB/s of the compulsory traffic, beside their shares of peak.

    An algorithm that needs fewer multiplications is credited with all of them, so its share can
    exceed 1. Only what the case counts is in the result.
    """
    figures = {}
    if case.flops:
        figures["gflops_per_second"] = case.flops / seconds / 1e9
        figures["share_of_fma_peak"] = figures["gflops_per_second"] / peaks.fma_gflops
    if case.bytes:
        figures["gbytes_per_second"] = case.bytes / seconds / 1e9
        figures["share_of_copy_peak"] = figures["gbytes_per_second"] / peaks.copy_gbs
    return figures
