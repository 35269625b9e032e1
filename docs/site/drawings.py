"""The drawings of the ladders' pages, as SVG that stands in the page and takes its colours.

Each function gives one `<svg>`; the numbers in it are computed from what it
draws. `style.css` has the colours: `one`, `two` and `three` set apart what belongs together,
`faint` is beside the point.
"""

from __future__ import annotations

import math
from html import escape

CELL = 26  # side of a cell


class Drawing:
    """Shapes of one picture, in units that are pixels where there is room."""

    def __init__(self, width: int, height: int, meaning: str) -> None:
        self.width, self.height, self.meaning = width, height, meaning
        self.shapes: list[str] = []

    def box(self, x: float, y: float, width: float, height: float, kind: str = "") -> None:
        """Draw a rectangle with its upper left corner at (x, y)."""
        self.shapes.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" class="{kind}"/>'
        )

    def text(
        self, x: float, y: float, words: object, kind: str = "", anchor: str = "middle"
    ) -> None:
        """Write on the base line y."""
        self.shapes.append(
            f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" class="{kind}">'
            f"{escape(str(words))}</text>"
        )

    def line(self, x: float, y: float, to_x: float, to_y: float, kind: str = "") -> None:
        """Draw a straight line."""
        self.shapes.append(
            f'<line x1="{x:g}" y1="{y:g}" x2="{to_x:g}" y2="{to_y:g}" class="{kind}"/>'
        )

    def cells(
        self, x: float, y: float, values: list[tuple[object, str]], width: float = CELL
    ) -> None:
        """Draw cells side by side, each with its text and kind."""
        for number, (value, kind) in enumerate(values):
            self.box(x + number * width, y, width, CELL, kind)
            self.text(x + (number + 0.5) * width, y + 0.68 * CELL, value)

    def svg(self) -> str:
        """Give the element, in one line: Markdown would end it at an empty one."""
        return (
            f'<svg viewBox="0 0 {self.width} {self.height}" role="img" '
            f'style="width: {self.width}px" xmlns="http://www.w3.org/2000/svg">'
            f"<title>{escape(self.meaning)}</title>{''.join(self.shapes)}</svg>"
        )


def register_tile(
    left_side: str, rows_of: str, sums_over: str, top_side: str, *, rows: int = 6, vectors: int = 4
) -> str:
    """Draw the sums in registers, what one step reads, and how a packed panel lies in memory.

    `left_side` is the matrix whose values are broadcast, `top_side` the one read in vectors of 16.
    """
    depth = 7
    d = Drawing(700, 490, "A register tile, and a packed panel in memory")
    left, top, column = 262, 54, 70
    now = 3  # the step that is drawn
    d.text(left + vectors * column / 2, 16, f"{top_side}: {vectors} vectors of 16")
    for k in range(depth):
        for v in range(vectors):
            d.box(left + v * column, top - 30 + k * 18, column, 18, "one" if k == now else "faint")
    d.text(
        left + vectors * column + 10, top - 30 + (now + 0.75) * 18, "step k: a row", anchor="start"
    )
    y = top + depth * 18 - 12
    for i in range(rows):
        for k in range(depth):
            d.box(
                left - 26 - (depth - k) * 18, y + i * CELL, 18, CELL, "two" if k == now else "faint"
            )
        for v in range(vectors):
            d.box(left + v * column, y + i * CELL, column, CELL, "three")
            d.text(left + (v + 0.5) * column, y + i * CELL + 18, f"sum[{i}][{v}]", "small")
    d.text(left - 26 - depth * 9, y - 10, left_side)
    d.text(100, y + 20, f"{rows} {rows_of}", anchor="end")
    d.text(100, y + 40, "k runs over", "small", anchor="end")
    d.text(100, y + 55, sums_over, "small", anchor="end")
    beside = left + vectors * column + 10
    for number, words in enumerate(
        (
            f"{rows * vectors} registers",
            "stay until",
            "all k are done",
        )
    ):
        d.text(beside, y + 20 + 18 * number, words, anchor="start")
    y += rows * CELL + 26
    d.text(
        350,
        y,
        f"step k: {vectors} vectors, {rows} single values, {rows * vectors} fused multiply-adds",
        "strong",
    )
    y += 36
    d.text(
        10, y, "as the matrix lies: a row of the tile, then all its other columns", anchor="start"
    )
    for k in range(4):
        d.box(10 + k * 170, y + 10, 170, 20, "faint")
        d.box(10 + k * 170, y + 10, 40, 20, "one")
        d.text(30 + k * 170, y + 25, f"k={k}", "small")
    y += 58
    d.text(
        10,
        y,
        "packed: the rows of one tile's columns one after the other, read from end to end",
        anchor="start",
    )
    for k in range(17):
        d.box(10 + k * 40, y + 10, 40, 20, "one")
        d.text(30 + k * 40, y + 25, f"k={k}", "small")
    return d.svg()


def lrn_row(radius: int = 2, lanes: int = 4) -> str:
    """Draw a pixel's row of squares with its margins, and the windows of the first vector."""
    channels = 2 * lanes
    d = Drawing(700, 390, "The row of squares with margins of zeros, and the loads of one vector")
    names = ["0"] * lanes + [f"x{c}²" for c in range(channels)] + ["0"] * lanes
    kinds = ["faint"] * lanes + ["one"] * channels + ["faint"] * lanes
    width, left = 36, 62
    d.text(left + lanes * width / 2, 16, "margin")
    d.text(left + (lanes + channels / 2) * width, 16, "squares of a pixel's channels")
    d.text(left + (1.5 * lanes + channels) * width, 16, "margin")
    d.cells(left, 26, list(zip(names, kinds, strict=True)), width)
    for number, offset in enumerate(range(-radius, radius + 1)):
        y = 66 + number * 22
        d.box(left + (lanes + offset) * width, y, lanes * width, 16, "two")
        d.text(
            left + (lanes + offset + lanes / 2) * width,
            y + 12,
            f"load at c {offset:+d}" if offset else "load at c",
            "small",
        )
    y = 66 + (2 * radius + 1) * 22 + 28
    d.text(left, y, "the same loads, lane under lane:", anchor="start")
    for number, offset in enumerate(range(-radius, radius + 1)):
        first = lanes + offset
        row = [(name, "faint" if name == "0" else "two") for name in names[first : first + lanes]]
        d.cells(left + 60, y + 10 + number * CELL, row, 50)
    below = y + 10 + (2 * radius + 1) * CELL + 6
    d.cells(left + 60, below, [(f"sum {c}", "three") for c in range(lanes)], 50)
    d.text(left + 50, below + 18, "added:", anchor="end")
    for number, words in enumerate(
        (
            f"Drawn with {lanes} lanes and radius {radius}.",
            "A window needs no test of its bounds:",
            "the zeros of the margin add nothing.",
            f"{2 * radius + 1} loads and {2 * radius} additions give {lanes} windows,",
            "each summed anew: nothing is taken away",
            "from a running sum, so nothing cancels.",
        )
    ):
        d.text(left + 60 + lanes * 50 + 24, y + 28 + 20 * number, words, anchor="start")
    return d.svg()


def tilings(outputs: int) -> list[tuple[str, list[int]]]:
    """Ways to cut an axis: a name, and the outputs of each tile, unused ones included."""
    count = -(-outputs // 5)
    ragged = [outputs // count + (tile < outputs % count) for tile in range(count)]
    return [
        ("F(2,3)", [2] * -(-outputs // 2)),
        ("F(4,3)", [4] * -(-outputs // 4)),
        ("ragged", ragged),
    ]


def winograd_tiles(outputs: int = 13, taps: int = 3) -> str:
    """Draw one axis of outputs cut in three ways, with the products that each takes."""
    d = Drawing(700, 440, f"{outputs} outputs cut into Winograd's tiles")
    left, width = 112, 29
    direct = outputs * taps
    d.text(left - 10, 44, "inputs", anchor="end")
    inputs = outputs + taps - 1
    border = [("0", "faint")]
    d.cells(left, 26, [*border, *((h, "") for h in range(inputs - 2)), *border], width)
    d.text(
        left, 76, f"direct: {outputs} outputs of {taps} taps are {direct} products", anchor="start"
    )
    y = 100
    for name, tiles in tilings(outputs):
        points = sum(tile + taps - 1 for tile in tiles)
        unused = sum(tiles) - outputs
        cut = " + ".join(map(str, tiles))
        d.text(left - 10, y + 32, name, "strong", anchor="end")
        begin = 0
        for number, tile in enumerate(tiles):
            kind = ("one", "two")[number % 2]
            row = y + (number % 2) * 14
            d.box(left + begin * width + 1, row, (tile + taps - 1) * width - 2, 12, kind)
            d.box(left + (begin + 1) * width, y + 30, tile * width, CELL, kind)
            for i in range(begin, begin + tile):
                used = i < outputs
                d.text(
                    left + (i + 1.5) * width, y + 48, i if used else "×", "" if used else "small"
                )
            begin += tile
        rest = (
            f", of which {unused} {'outputs are' if unused > 1 else 'output is'} thrown away"
            if unused
            else ""
        )
        d.text(left, y + 76, f"{cut}: {points} products an axis{rest};", anchor="start")
        d.text(
            left,
            y + 93,
            f"in two dimensions {points}² = {points**2} for {direct}² = {direct**2}: "
            f"{direct**2 / points**2:.1f} times fewer",
            "strong",
            anchor="start",
        )
        y += 113
    return d.svg()


def pooling_windows(window: int = 3, stride: int = 2, outputs: int = 4) -> str:
    """Draw three rows of pixels, and the maxima of columns that neighbouring windows share."""
    d = Drawing(700, 300, "Windows of pooling that overlap share the maxima of columns")
    columns = (outputs - 1) * stride + window
    left, width = 150, 44
    for h in range(window):
        d.text(left - 10, 38 + h * CELL, f"row {h}", anchor="end")
        d.cells(left, 20 + h * CELL, [("", "faint")] * columns, width)
    y = 20 + window * CELL + 24
    d.text(left - 10, y + 18, "column maxima", anchor="end")
    shared = [i % stride == 0 and 0 < i < columns - 1 for i in range(columns)]
    d.cells(left, y, [("max", "two" if s else "one") for s in shared], width)
    below = y + 72
    for o in range(outputs):
        middle = left + (o * stride + window / 2) * width
        for i in range(window):
            d.line(left + (o * stride + i + 0.5) * width, y + CELL, middle, below)
        d.box(middle - 22, below, 44, CELL, "three")
        d.text(middle, below + 18, f"y{o}")
    alone = window * window - 1
    together = stride * (window - 1) + window - 1
    d.text(
        left + columns * width / 2,
        below + 56,
        f"an output alone: {alone} maxima; with shared columns: {stride} new ones of {window - 1}, "
        f"and {window - 1}: {together}",
        "strong",
    )
    return d.svg()


def phases(kernel: int = 3, stride: int = 2, outputs: int = 5) -> str:
    """Draw which outputs each input pixel takes its gradient from, at stride 2."""
    d = Drawing(
        700, 270, "At stride 2 input pixels are of two phases, each a convolution of its own"
    )
    inputs = (outputs - 1) * stride + kernel
    width, left = 46, 110
    shift = (inputs - outputs * stride) * width / 2 + width * (stride - 1) / 2
    d.text(left - 10, 38, "dy", anchor="end")
    d.text(left - 10, 178, "dx", anchor="end")
    for j in range(outputs):
        x = left + shift + j * stride * width
        d.cells(x, 20, [(j, "three")], width)
        for r in range(kernel):
            d.line(
                x + width / 2,
                20 + CELL,
                left + (j * stride + r + 0.5) * width,
                160,
                ("one", "two")[r % stride],
            )
    d.cells(left, 160, [(i, ("one", "two")[i % stride]) for i in range(inputs)], width)
    for phase in range(stride):
        taps = list(range(phase, kernel, stride))
        words = " and ".join(map(str, taps))
        d.box(left, 208 + phase * 26, 16, 16, ("one", "two")[phase])
        d.text(
            left + 26,
            221 + phase * 26,
            f"phase {phase}: pixels {phase}, {phase + stride}, {phase + 2 * stride} … see tap"
            f"{'s' * (len(taps) > 1)} {words} alone: a convolution with stride 1",
            anchor="start",
        )
    return d.svg()


def owners(threads: int = 2, images: int = 6) -> str:
    """Draw sums in private copies beside ranges with one owner each."""
    d = Drawing(
        700, 330, "Private sums that are added at the end, beside ranges with an owner each"
    )
    kinds = ("one", "two")
    for half, title in enumerate(("private sums", "an owner a range")):
        left = 20 + half * 350
        d.text(left + 150, 18, title, "strong")
        share = images // threads
        for n in range(images):
            kind = kinds[n // share] if half == 0 else "faint"
            d.box(left + n * 50, 32, 50, CELL, kind)
            d.text(left + n * 50 + 25, 50, f"image {n}", "small")
        for t in range(threads):
            x = left + t * 150
            if half == 0:
                d.line(x + 75, 32 + CELL, x + 75, 100)
                d.box(x + 5, 100, 140, CELL, kinds[t])
                d.text(x + 75, 118, f"dweight of thread {t}", "small")
                d.line(x + 75, 100 + CELL, left + 150, 176)
            else:
                d.line(left + 150, 32 + CELL, x + 75, 176)
                d.box(x, 176, 150, CELL, kinds[t])
                d.text(x + 75, 194, f"thread {t}", "small")
        if half == 0:
            d.box(left, 176, 300, CELL, "three")
            d.text(left + 150, 194, "dweight: the copies, added", "small")
    notes = (
        (
            "each thread reads its images alone,",
            "and writes a whole dweight of its own;",
            "another number of threads adds in",
            "another order: other last bits",
        ),
        (
            "each thread reads every image,",
            "and writes its range of dweight once;",
            "every sum runs over the images in one",
            "order: the same bits for any number",
        ),
    )
    for half, lines in enumerate(notes):
        for number, words in enumerate(lines):
            d.text(170 + half * 350, 236 + 20 * number, words)
    return d.svg()


def thread_ranges(threads: int = 4, rows: int = 13) -> str:
    """Draw how rows of work are dealt out: contiguous, as even as whole rows allow."""
    d = Drawing(700, 130, "Each thread owns one contiguous range of rows")
    width, left = 44, 64
    kinds = ("one", "two")
    for t in range(threads):
        begin, end = rows * t // threads, rows * (t + 1) // threads
        d.cells(left + begin * width, 34, [(row, kinds[t % 2]) for row in range(begin, end)], width)
        d.text(left + (begin + end) / 2 * width, 24, f"thread {t}: {end - begin}")
    d.text(
        left + rows * width / 2,
        88,
        f"rows {rows} · t / {threads} to {rows} · (t + 1) / {threads}",
        "strong",
    )
    d.text(
        left + rows * width / 2,
        110,
        "no thread writes where another does: no lock, and the same bits for any number of threads",
    )
    return d.svg()


def shared_banks(rows: int = 8, steps: int = 4, depth: int = 16) -> str:
    """Draw which of 32 banks each lane of a fragment reads: as rows lie, and permuted."""
    d = Drawing(700, 300, "Lanes of a fragment in the banks of shared memory")
    width = 58
    for half, title in enumerate(("[row][step], 16 words a row", "step ^ row / 2 % 4 · 4")):
        left = 60 + half * 350
        banks = [
            [(q * depth + (c ^ (q // 2 % 4 * 4 if half else 0))) % 32 for c in range(steps)]
            for q in range(rows)
        ]
        flat = [bank for row in banks for bank in row]
        turns = max(flat.count(bank) for bank in flat)
        d.text(left + steps * width / 2, 18, title, "strong")
        for q, row in enumerate(banks):
            d.text(left - 8, 48 + q * CELL, f"row {q}", "small", anchor="end")
            cells = [(bank, "two" if flat.count(bank) > 1 else "one") for bank in row]
            d.cells(left, 30 + q * CELL, cells, width)
        words = (
            f"each bank {turns} times: {turns} wavefronts" if turns > 1 else "32 banks: 1 wavefront"
        )
        d.text(left + steps * width / 2, 30 + rows * CELL + 26, words)
    return d.svg()


def roofline(layers: dict[str, float], peak: float = 340, memory: float = 60) -> str:
    """Draw the roof of a processor, in GFLOP/s and GB/s, and layers by their FLOP a byte."""
    d = Drawing(
        700, 310, "A roofline: arithmetic binds on the right of the ridge, memory on the left"
    )
    left, bottom, octave = 90, 250, 55

    def place(intensity: float, rate: float) -> tuple[float, float]:
        return left + octave * (math.log2(intensity) + 1), bottom - 30 * math.log2(rate / 10)

    for power in range(-1, 10):
        x, _ = place(2.0**power, peak)
        d.line(x, bottom, x, bottom + 5)
        d.text(x, bottom + 20, f"{2.0**power:g}", "small")
    for rate in (10, 20, 40, 80, 160, 320, 640):
        _, y = place(1, rate)
        d.line(left - 5, y, left, y)
        d.text(left - 10, y + 4, rate, "small", anchor="end")
    d.line(left, bottom, 690, bottom)
    d.line(left, bottom, left, 40)
    d.text(390, bottom + 42, "FLOP for each byte that has to be moved: doubles from mark to mark")
    d.text(left - 60, 22, "GFLOP/s", anchor="start")
    ridge = peak / memory
    start, corner, end = place(0.5, 0.5 * memory), place(ridge, peak), place(400, peak)
    d.line(*start, *corner, "two roof")
    d.line(*corner, *end, "one roof")
    d.text(start[0] + 8, start[1] - 76, f"memory: {memory:g} GB/s", anchor="start")
    d.text(end[0], corner[1] - 12, f"arithmetic: {peak:g} GFLOP/s", anchor="end")
    d.text(corner[0], corner[1] - 12, f"ridge: {ridge:.1f}")
    for number, (name, intensity) in enumerate(layers.items()):
        x, y = place(intensity, min(peak, intensity * memory))
        d.line(x, bottom, x, y, "three")
        d.text(x - 6, bottom - 14 - 24 * number, f"{name}: {intensity:.0f}", "small", anchor="end")
    return d.svg()
