"""How large a network is: the figures of `alexnet summary`, and their plain-text table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from alexnet.contract.arguments import Shape


@dataclass(frozen=True)
class SummaryRow:
    """One layer. Neurons and MACs are those of one image; the shape is the whole batch's."""

    name: str
    kind: str
    output_shape: Shape
    neurons: int
    parameters: int
    macs: int

    @property
    def flops(self) -> int:
        """Floating-point operations of the products in forward: two for each MAC."""
        return 2 * self.macs


@dataclass(frozen=True)
class Summary:
    """All layers of a network and their totals.

    MACs count the products of convolution and dense layers, as is customary; a training step's
    backward does as many for the gradient of the weights and, but for the first layer, as many
    again for the gradient of the input.
    """

    variant: str
    input_shape: Shape
    rows: tuple[SummaryRow, ...]

    @property
    def neurons(self) -> int:
        """Units with weights of their own, for one image."""
        return sum(row.neurons for row in self.rows)

    @property
    def parameters(self) -> int:
        """Trainable numbers."""
        return sum(row.parameters for row in self.rows)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of forward, for one image."""
        return sum(row.macs for row in self.rows)

    @property
    def flops(self) -> int:
        """Twice the MACs."""
        return sum(row.flops for row in self.rows)

    def table(self) -> list[tuple[str, ...]]:
        """Header, one line a layer, totals: cells as text, numbers with thousands separated."""
        header = ("layer", "kind", "output shape", "neurons", "parameters", "MACs", "FLOPs")
        lines = [header, ("input", "", str(list(self.input_shape)), *[""] * 4)]
        for row in self.rows:
            figures = (row.neurons, row.parameters, row.macs, row.flops)
            cells = (f"{figure:,}" if figure else "" for figure in figures)
            lines.append((row.name, row.kind, str(list(row.output_shape)), *cells))
        totals = (self.neurons, self.parameters, self.macs, self.flops)
        lines.append(("total", "", "", *(f"{total:,}" for total in totals)))
        return lines

    def _repr_html_(self) -> str:
        """Write the table for a notebook."""
        header, *lines = self.table()
        rows = [_html_row("th", header), *(_html_row("td", line) for line in lines)]
        return f"<table><caption>{escape(self.title)}</caption>{''.join(rows)}</table>"

    def __repr__(self) -> str:
        return str(self)

    @property
    def title(self) -> str:
        """What `table` tells."""
        return f"{self.variant}: neurons, MACs and FLOPs (2 per MAC) of one image, forward"

    def __str__(self) -> str:
        lines = [line[:-1] for line in self.table()]  # FLOPs, twice the MACs: fits 80 columns
        widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
        texts = [f"{self.variant}: neurons, parameters and MACs of one image, forward"]
        for number, line in enumerate(lines):
            if number in (1, len(lines) - 1):
                texts.append("  ".join("-" * width for width in widths))
            cells = [
                cell.ljust(width) if column < 3 else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(line, widths, strict=True))
            ]
            texts.append("  ".join(cells).rstrip())
        return "\n".join(texts)


def _html_row(tag: str, cells: Sequence[str]) -> str:
    """Row of a table in HTML: text to the left, numbers, from the fourth cell on, to the right."""
    sides = ("left" if column < 3 else "right" for column in range(len(cells)))
    return "<tr>{}</tr>".format(
        "".join(
            f'<{tag} style="text-align: {side}">{escape(cell)}</{tag}>'
            for cell, side in zip(cells, sides, strict=True)
        )
    )
