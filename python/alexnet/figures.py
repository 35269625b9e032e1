"""How every picture looks, and how it reaches its file: one style for matplotlib.

Colours are those of Okabe and Ito ("Color universal design", 2008), which people with any common
colour blindness tell apart. Text is large enough to be read where a picture is shown 600 pixels
wide. matplotlib takes half a second to load, so only what draws loads it.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alexnet.files import replacing
from alexnet.messages import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg", ".pdf")
BLUE, VERMILION, GREY = "#0072B2", "#D55E00", "#999999"
INK, GRID = "#222222", "#dddddd"
DOTS_PER_INCH = 120
MOST_PIXELS = 60_000  # of a side; matplotlib draws less than 2^16
LONGEST_NAME = 24  # characters of a name beside an axis, which would take the picture's place
STYLE: Any = {
    "font.size": 12,
    "text.color": INK,
    "text.parse_math": False,  # a class may be called "$5"
    "axes.titlesize": 12,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "svg.hashsalt": "alexnet",  # the same picture is the same bytes
}
UNDATED = {".png": {}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}

_drawing = threading.Lock()


@contextmanager
def styled() -> Iterator[None]:
    """Have matplotlib draw in our style, whatever the program or the user has set.

    Its settings are those of the whole process, so one thread draws at a time; afterwards they are
    as they were. It serves as a decorator as well.
    """
    from matplotlib import rc_context, rcdefaults, rcParams

    with _drawing, rc_context():
        rcdefaults()
        rcParams.update(STYLE)
        yield


def new_figure(width: float, height: float) -> Figure:
    """Empty figure of `width` × `height` inches, whose parts make room for each other."""
    from matplotlib.figure import Figure

    dots = min(DOTS_PER_INCH, MOST_PIXELS / max(width, height))
    return Figure(figsize=(width, height), dpi=dots, layout="constrained")


def name_on_axis(name: str) -> str:
    """Name of a class as it can be drawn: printable, in at most 24 characters."""
    name = printable(name)
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def check_name(path: Path) -> None:
    """ValueError unless the name ends in .png, .svg or .pdf, which choose the format."""
    if path.suffix.lower() not in FORMATS:
        raise ValueError(f"{path}: expected a file whose name ends in {', '.join(FORMATS)}")


@styled()
def save(figure: Figure, path: Path) -> None:
    """Write a figure in the format that the file's name ends in; an earlier file is replaced.

    Raises
    ------
    ValueError
        The name does not end in .png, .svg or .pdf.
    OSError
        The file cannot be written; an earlier one is as it was.
    """
    check_name(path)
    kind = path.suffix.lower()
    with warnings.catch_warnings(), replacing(path) as file:
        # A character that the font has not, a Chinese one say, is drawn as a box: no warning each.
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        figure.savefig(file, format=kind[1:], metadata=UNDATED[kind])
