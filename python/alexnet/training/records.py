"""What a training run writes down of its steps: two tables, the curves in them, the pictures."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from alexnet import figures
from alexnet.inference.evaluation import Evaluation
from alexnet.network.network import Network
from alexnet.training import plots
from alexnet.training.folder import CURVES, FILTERS, METRICS_FILE, NORMS_FILE
from alexnet.training.metrics import METRICS, NORMS, Curve, Table
from alexnet.training.trainer import StepResult

CURVE_COLUMNS = ("loss", "accuracy", "test_loss", "test_accuracy")


class Records:
    """metrics.csv and norms.csv in the folder of a run, and the curves of the first.

    Parameters
    ----------
    folder
        Of the run.
    step
        The step where the run is: what the tables say of later ones is dropped.

    Attributes
    ----------
    metrics
        The table with a row for each step.

    Raises
    ------
    OSError
        A table cannot be read or written.
    ValueError
        It has other columns, or a line that is no row.

    """

    def __init__(self, folder: Path, step: int) -> None:
        self._folder = folder
        self._curves = {name: Curve() for name in CURVE_COLUMNS}
        with ExitStack() as opened:
            self.metrics = Table(folder / METRICS_FILE, METRICS, step)
            opened.callback(self.metrics.close)
            self._norms = Table(folder / NORMS_FILE, NORMS, step)
            opened.callback(self._norms.close)
            for row in self.metrics.rows():
                for name, curve in self._curves.items():
                    if row[name]:
                        curve.add(int(row["step"]), float(row[name]))
            self._open_files = opened.pop_all()

    def step_of(self, test_accuracy: float) -> int | None:
        """Give the first step at which the test images had this accuracy; None if there is none."""
        for row in self.metrics.rows():
            tested = row["test_accuracy"]
            if tested and float(tested) == test_accuracy:
                return int(row["step"])
        return None

    def add(
        self, result: StepResult, test: Evaluation | None, *, epoch: int, batch_size: int
    ) -> None:
        """Record a step, and the evaluation on the test images that followed it, if one did."""
        measures = {"loss": result.loss, "accuracy": result.accuracy}
        if test is not None:
            measures |= {"test_loss": test.loss, "test_accuracy": test.accuracy}
        for name, value in measures.items():
            self._curves[name].add(result.step, value)
        self.metrics.append(
            step=result.step,
            epoch=epoch,
            learning_rate=result.learning_rate,
            images_per_second=batch_size / result.seconds,
            waiting_share=result.waited / result.seconds,
            **measures,
        )
        for name, norms in (result.norms or {}).items():
            self._norms.append(
                step=result.step,
                parameter=name,
                weight_norm=norms.weight,
                gradient_norm=norms.gradient,
                update_norm=norms.update,
            )

    def draw(self, network: Network, title: str) -> None:
        """Write the pictures: the curves under a title, and the first layer's filters."""
        curves = {name: curve.points() for name, curve in self._curves.items()}
        train, test = ((curves[f"{part}loss"], curves[f"{part}accuracy"]) for part in ("", "test_"))
        figures.save(plots.curves(train, test, title), self._folder / CURVES)
        name, weight = next(
            (name, weight) for name, weight in network.tensors().items() if weight.ndim == 4
        )
        filters = plots.filters(weight, name.removesuffix(".weight"))
        figures.save(filters, self._folder / FILTERS)

    def sync(self) -> None:
        """Wait until every row is on the disk."""
        self.metrics.sync()
        self._norms.sync()

    def close(self) -> None:
        """Close the tables."""
        self._open_files.close()
