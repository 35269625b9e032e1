"""A training run and its folder: what is recorded, when it is evaluated, saved and continued.

The folder holds

- config.json: settings, classes, preprocessing, where it ran;
- metrics.csv: a row for each step; norms.csv: norms of parameters, gradients and updates;
- curves.png, conv1.png: loss and accuracy, and the first layer's filters;
- last.safetensors, best.safetensors: checkpoints, of the last saved step (to continue from) and of
  the highest test accuracy (to use);
- log.txt: what was said, with the time of day.

After a kill at any moment `Run.resume` goes on from last.safetensors, or from the start where there
is none yet, and the result is that of an uninterrupted run, bit for bit.
"""

from __future__ import annotations

import dataclasses
import fcntl
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from alexnet import plots
from alexnet.checkpoint import BEST, LAST, Checkpoint
from alexnet.checks import check_callable, check_instance
from alexnet.configuration import (
    Configuration,
    build_trainer,
    read_description,
    write_description,
)
from alexnet.console import timestamp
from alexnet.data import Dataset, Preprocessing
from alexnet.evaluation import Evaluation, evaluate
from alexnet.files import remove_remains
from alexnet.metrics import METRICS, NORMS, Table
from alexnet.models import variant_named
from alexnet.training import StepResult

CONFIG = "config.json"
NORMS_EVERY = 100  # steps: a few passes over the parameters stay below 1 % of the time


@dataclasses.dataclass(frozen=True)
class StepReport:
    """A step, and the evaluation on the test images that followed it, if one did."""

    result: StepResult
    test: Evaluation | None


class Run:
    """A training run in a folder of its own; make one by `start` or `resume`.

    Attributes
    ----------
    folder
        Where everything is written.
    configuration, dataset, preprocessing
        What is trained, how, and on what.
    trainer
        The network, the optimizer and the batches, at the step where the run is.
    best_accuracy
        Highest accuracy on the test images so far; None before the first evaluation.

    """

    def __init__(
        self,
        folder: Path,
        configuration: Configuration,
        dataset: Dataset,
        preprocessing: Preprocessing,
        step: int = 0,
        device: str = "cpu",
    ) -> None:
        self.folder = folder
        self.configuration = configuration
        self.dataset = dataset
        self.preprocessing = preprocessing
        self.trainer = build_trainer(configuration, dataset, preprocessing, step, device)
        self.best_accuracy: float | None = None
        self._open_files = ExitStack()
        self._open_files.callback(self.trainer.batches.close)

    # --- beginning --------------------------------------------------------------------------------

    @classmethod
    def start(
        cls,
        folder: str | os.PathLike[str],
        configuration: Configuration,
        dataset: Dataset,
        environment: Mapping[str, Any] | None = None,
        *,
        device: str = "cpu",
    ) -> Run:
        """Begin a run in `folder`, which is made if it is missing.

        `environment` is recorded in config.json; `device`, "cpu" or "cuda", is where the network
        runs, and may be another after a resume.

        Raises
        ------
        ValueError
            `folder` holds a run already, or the settings do not fit the images.
        OSError
            It cannot be written to.
        """
        check_instance("training", "configuration", configuration, Configuration)
        check_instance("training", "dataset", dataset, Dataset)
        folder = Path(folder)
        if (folder / CONFIG).exists():
            raise ValueError(f"{folder} holds a run already: continue it, or choose another folder")
        configuration = configuration.resolved()
        variant = variant_named(configuration.variant).with_classes(len(dataset.class_names))
        preprocessing = Preprocessing.fit(
            dataset.train,
            variant.input_shape,
            augment=configuration.augment,
            seed=configuration.seed,
        )
        run = cls(folder, configuration, dataset, preprocessing, device=device)
        with run._closed_on_error():
            folder.mkdir(parents=True, exist_ok=True)
            run._open()
            write_description(
                folder / CONFIG, configuration, dataset, preprocessing, environment or {}
            )
        return run

    @classmethod
    def resume(
        cls,
        folder: str | os.PathLike[str],
        dataset: Dataset,
        given: Mapping[str, Any] | None = None,
        *,
        device: str = "cpu",
    ) -> Run:
        """Go on with the run in `folder` from its last checkpoint.

        `given` are settings by their names in `Configuration`. They have to be those of the run,
        but for "epochs" and "steps", which set its length anew.

        Raises
        ------
        ValueError
            There is no run, it is of other images or settings, a file in it is damaged, or another
            process is at work on it.
        OSError
            A file cannot be read or written.
        """
        check_instance("training", "dataset", dataset, Dataset)
        folder = Path(folder)
        if not (folder / CONFIG).exists():
            raise ValueError(f"{folder}: holds no run: there is no {CONFIG}")
        configuration, preprocessing = read_description(folder / CONFIG, dataset)
        try:
            configuration = configuration.continued(given or {})
        except ValueError as error:
            raise ValueError(f"{folder}: {error}") from error
        last = folder / LAST
        # It may have been killed before it had saved anything.
        checkpoint = Checkpoint.read(last) if last.exists() else None
        step = 0 if checkpoint is None else checkpoint.step
        run = cls(folder, configuration, dataset, preprocessing, step, device)
        with run._closed_on_error():
            if checkpoint is not None:
                run._restore(checkpoint)
            run._open()
        return run

    def _restore(self, checkpoint: Checkpoint) -> None:
        try:
            self.trainer.restore(checkpoint)
        except ValueError as error:
            raise ValueError(f"{self.folder / LAST}: {error}") from error
        self.best_accuracy = checkpoint.best_accuracy

    def _open(self) -> None:
        """Open the log and the tables as they were at the trainer's step."""
        log = self._log = (self.folder / "log.txt").open("a", encoding="utf-8")
        self._open_files.callback(log.close)
        try:
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(f"{self.folder}: another process is training there") from error
        remove_remains(self.folder)
        self.metrics = Table(self.folder / "metrics.csv", METRICS, self.trainer.steps)
        self._open_files.callback(self.metrics.close)
        self._norms = Table(self.folder / "norms.csv", NORMS, self.trainer.steps)
        self._open_files.callback(self._norms.close)

    @contextmanager
    def _closed_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.close()
            raise

    # --- running ----------------------------------------------------------------------------------

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        return self.configuration.total_steps(self.trainer.batches.per_epoch)

    def train(
        self,
        *,
        after_step: Callable[[StepReport], None] = lambda _: None,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """Take the steps that remain, and record, evaluate and save as the settings say.

        Parameters
        ----------
        after_step
            Called after each step, when it is recorded and, where that is due, saved.
        stop
            Asked after each step; if it is true, the run is saved and `train` returns early.

        Raises
        ------
        FloatingPointError
            The loss or a parameter is not finite; the last checkpoint is from before that.
        OSError
            A file could not be written; the earlier checkpoint is intact.

        """
        check_callable("training", "after_step", after_step)
        check_callable("training", "stop", stop)
        while self.trainer.steps < self.total_steps:
            number = self.trainer.steps + 1
            result = self.trainer.step(measure_norms=_measures_norms(number))
            last = number == self.total_steps
            test = (
                self._evaluate() if last or self._due(self.configuration.evaluate_every) else None
            )
            self._record(result, test)
            stopped = stop()
            if stopped or last or self._due(self.configuration.checkpoint_every) or self._due(None):
                self.save()
            after_step(StepReport(result, test))
            if stopped:
                return

    def _due(self, every: int | None) -> bool:
        return self.trainer.steps % (every or self.trainer.batches.per_epoch) == 0

    def _evaluate(self) -> Evaluation | None:
        if self.dataset.test is None:
            return None
        test = evaluate(self.trainer.network, self.dataset.test, self.preprocessing)
        if self.best_accuracy is None or test.accuracy > self.best_accuracy:
            self.best_accuracy = test.accuracy
            self._checkpoint(for_evaluation=True).write(self.folder / BEST)
        return test

    def _record(self, result: StepResult, test: Evaluation | None) -> None:
        batches = self.trainer.batches
        self.metrics.append(
            step=result.step,
            epoch=(result.step - 1) // batches.per_epoch + 1,
            loss=result.loss,
            accuracy=result.accuracy,
            learning_rate=result.learning_rate,
            images_per_second=batches.batch_size / result.seconds,
            waiting_share=result.waited / result.seconds,
            test_loss=None if test is None else test.loss,
            test_accuracy=None if test is None else test.accuracy,
        )
        for name, norms in (result.norms or {}).items():
            self._norms.append(
                step=result.step,
                parameter=name,
                weight_norm=norms.weight,
                gradient_norm=norms.gradient,
                update_norm=norms.update,
            )

    def _checkpoint(self, *, for_evaluation: bool) -> Checkpoint:
        return self.trainer.checkpoint(
            class_names=self.dataset.class_names,
            best_accuracy=self.best_accuracy,
            for_evaluation=for_evaluation,
        )

    def save(self) -> None:
        """Write the last checkpoint, everything up to it, and the pictures."""
        checkpoint = self._checkpoint(for_evaluation=False)
        self.metrics.sync()
        self._norms.sync()
        train, test = (
            (self.metrics.column(f"{part}loss"), self.metrics.column(f"{part}accuracy"))
            for part in ("", "test_")
        )
        plots.draw_curves(self.folder / "curves.png", train, test)
        filters = (array for array in checkpoint.network.values() if array.ndim == 4)
        plots.draw_filters(self.folder / "conv1.png", next(filters))
        checkpoint.write(self.folder / LAST)

    def log(self, line: str) -> None:
        """Add a line to log.txt, with the time of day."""
        self._log.write(f"{timestamp()} {line}\n")
        self._log.flush()

    def close(self) -> None:
        """Close the files; another process may then continue the run."""
        self._open_files.close()


def _measures_norms(step: int) -> bool:
    """Whether the norms of this step are recorded: often at first, when layers die."""
    return step % NORMS_EVERY == 0 or (step < NORMS_EVERY and step.bit_count() == 1)
