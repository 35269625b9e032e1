"""Commands on a terminal of a given width."""

from __future__ import annotations

import fcntl
import os
import re
import struct
import subprocess
import termios
from collections.abc import Mapping, Sequence
from pathlib import Path

from support.processes import default_signals

CONTROL_C = b"\x03"
# Beginning of the line, erasing it, going up: what is written next is another drawing.
NEW_DRAWING = re.compile(r"\r|\n|\x1b\[2K|\x1b\[1A")
INVISIBLE = re.compile(r"\x1b\[[?0-9;]*[A-Za-z]")


def on_terminal(
    command: Sequence[str],
    columns: int,
    *,
    cwd: Path,
    environment: Mapping[str, str],
    interrupt_at: str | None = None,
) -> tuple[int, list[str]]:
    """Run a command on a terminal: exit status, and every line that it drew, one over another.

    Where `interrupt_at` is shown, Ctrl-C is pressed.
    """
    terminal, inside = os.openpty()
    fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))

    def take_terminal() -> None:
        default_signals()
        fcntl.ioctl(inside, termios.TIOCSCTTY, 0)

    with subprocess.Popen(
        command,
        cwd=cwd,
        stdin=inside,
        stdout=inside,
        stderr=inside,
        start_new_session=True,
        env={"TERM": "xterm", **environment},
        preexec_fn=take_terminal,
    ) as process:
        os.close(inside)
        shown = b""
        while piece := _read(terminal):
            shown += piece
            if interrupt_at is not None and interrupt_at.encode() in shown:
                os.write(terminal, CONTROL_C)
                interrupt_at = None
    os.close(terminal)
    drawn = NEW_DRAWING.split(shown.decode())
    return process.returncode, [line for each in drawn if (line := INVISIBLE.sub("", each))]


def _read(terminal: int) -> bytes:
    """Read what is there; nothing at the end, which Linux tells by an error."""
    try:
        return os.read(terminal, 65536)
    except OSError:
        return b""
