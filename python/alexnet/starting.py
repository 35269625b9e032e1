"""A Ctrl-C while `python -m alexnet` imports the package: a line and 130, without a traceback.

Python imports `alexnet` itself before `alexnet.__main__` can catch anything: NumPy and the kernels,
some tenths of a second. So the package imports this module first. `sys.argv` begins with "-m" for
as long as Python looks for the module to run, and `sys.orig_argv` has its name before the same
arguments: whatever else is run, and imports alexnet on the way, keeps its handlers.
"""

from __future__ import annotations

import sys

from alexnet_command import take_interrupts

if sys.argv[:1] == ["-m"] and sys.orig_argv[-len(sys.argv)] in ("alexnet", "-malexnet"):
    take_interrupts()
