"""How much other processes, and other virtual machines, disturb a measurement.

Linux counts the time that each processor was busy, and the time that each process has used. What
this process and all that it started have not used, of the processors that they may run on, others
have. How much of it was missing depends on the number of threads that are measured: beside two
threads on eight processors, six may be busy with something else.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

PROC = Path("/proc")
SHORTEST = 0.5  # seconds; processors count in steps of a hundredth
NOTABLE_MISSING = 0.05
NOTABLE_PEAK = 0.9


@dataclass(frozen=True)
class Disturbance:
    """What a measurement lacked.

    Attributes
    ----------
    others
        Share of the processors' time that others took; None where the system does not tell, or
        not for so short a time.
    missing
        Share of the measured threads' time that they could not have had at the same time; None as
        well.
    peak
        Median of the arithmetic peak over the rounds, relative to the best of them; None where
        it was not measured. What slows the processor itself shows here.

    """

    others: float | None
    missing: float | None
    peak: float | None = None

    @property
    def notable(self) -> bool:
        """Whether figures should not be trusted: 5 % missing, or a peak that varies by 10 %."""
        missing, peak = self.missing, self.peak
        return (missing or 0) >= NOTABLE_MISSING or (peak is not None and peak < NOTABLE_PEAK)

    def remarks(self) -> list[str]:
        """Say in words what was measured; nothing where nothing was."""
        parts = []
        if self.others is not None:
            parts.append(f"other processes took {self.others:.0%} of the processors' time")
        if self.peak is not None and self.peak < NOTABLE_PEAK:
            parts.append(f"the median FMA peak was {self.peak:.0%} of the best")
        return parts

    def figures(self) -> dict[str, Any]:
        """Everything as plain JSON values."""
        return {**asdict(self), "notable": self.notable}


class Watch:
    """Measures from when it is made. `proc` is where the system tells of processes."""

    def __init__(self, proc: Path = PROC) -> None:
        self._proc, self._start = proc, perf_counter()
        self._before = _used(proc)

    def stop(self, threads: int, *, seconds: float | None = None) -> Disturbance:
        """Return what was missing for `threads` threads; `seconds` have passed if not None."""
        seconds = perf_counter() - self._start if seconds is None else seconds
        after = _used(self._proc)
        if self._before is None or after is None or seconds < SHORTEST:
            return Disturbance(None, None)
        (busy, own), (busy_before, own_before) = after, self._before
        processors = len(os.sched_getaffinity(0))
        taken = (busy - busy_before - (own - own_before)) / seconds  # in processors
        taken = min(max(taken, 0.0), float(processors))
        wanted = min(threads, processors)
        missing = min(max(wanted + taken - processors, 0.0) / wanted, 1.0)
        return Disturbance(taken / processors, missing)


def _used(proc: Path) -> tuple[float, float] | None:
    """Seconds that our processors were busy, and that we have used; None where nobody counts."""
    try:
        return _busy(proc), _own(proc)
    except (OSError, ValueError, IndexError, AttributeError):  # not Linux, or not its /proc
        return None


def _busy(proc: Path) -> float:
    """Seconds since the start that the processors of our affinity were not idle.

    That is: user, nice, system, irq, softirq and steal, which other virtual machines had.
    """
    ours = {f"cpu{number}" for number in os.sched_getaffinity(0)}
    ticks = 0
    for line in (proc / "stat").read_text(encoding="ascii").splitlines():
        name, *counts = line.split()
        if name in ours:
            user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, counts[:8])
            ticks += user + nice + system + irq + softirq + steal
    return ticks / os.sysconf("SC_CLK_TCK")


def _own(proc: Path) -> float:
    """Seconds that this process and those below it have used, with the ended ones' of each."""
    parents, ticks = {}, {}
    for file in proc.glob("[0-9]*/stat"):
        try:
            text = file.read_text(encoding="utf-8", errors="replace")
        except OSError:  # it has ended
            continue
        fields = text.rpartition(")")[2].split()  # behind the name, from the state on
        process = int(file.parent.name)
        parents[process], ticks[process] = int(fields[1]), sum(map(int, fields[11:15]))
    tree, last = {os.getpid()}, 0
    while len(tree) > last:
        last = len(tree)
        tree |= {process for process, parent in parents.items() if parent in tree}
    return sum(ticks.get(process, 0) for process in tree) / os.sysconf("SC_CLK_TCK")
