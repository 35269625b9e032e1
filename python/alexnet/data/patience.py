"""Reading that waits while the system is short of something."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")

# What passes when other threads or processes have let go of something, or a server has answered.
PASSING = frozenset(
    (
        errno.EAGAIN,
        errno.EBUSY,
        errno.EIO,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOBUFS,
        errno.ENOMEM,
        errno.ESTALE,
        errno.ETIMEDOUT,
    )
)
PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)  # seconds between one try and the next


def patiently(read: Callable[[], Result]) -> Result:
    """Call `read`, and again for three seconds while the system is short of something.

    Raises
    ------
    OSError, MemoryError
        What `read` raised at last, or at once where waiting is of no use.
    """
    for pause in PAUSES:
        try:
            return read()
        except MemoryError:
            pass
        except OSError as error:
            if error.errno not in PASSING:
                raise
        time.sleep(pause)
    return read()
