"""A training run and its folder: what is recorded, when it is evaluated, saved and continued.

The folder holds

- config.json: settings, classes, preprocessing, where it ran;
- metrics.csv: a row for each step; norms.csv: norms of parameters, gradients and updates;
- curves.png, conv1.png: loss and accuracy, and the first layer's filters, drawn at the end, and
  with a checkpoint when 20 seconds have passed since they were;
- last.safetensors, previous.safetensors, best.safetensors: checkpoints, of the last saved step (to
  continue from), of the one saved before (should the last be damaged) and of the highest test
  accuracy (to use);
- log.txt: what was said, with the time of day.

After a kill at any moment `Run.resume` goes on from last.safetensors, or from the start where there
is none yet, and the result is that of an uninterrupted run, bit for bit.
"""

from __future__ import annotations

import dataclasses
import errno
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from alexnet.contract.arguments import check_callable, check_instance, check_path
from alexnet.data import Dataset, Preprocessing
from alexnet.files import check_folder, check_regular, lock, naming, remove_remains, replacing
from alexnet.inference.evaluation import Evaluation, evaluate
from alexnet.messages import summarised, timestamp
from alexnet.network.checkpoint import BEST, LAST, PREVIOUS, Checkpoint
from alexnet.network.freezing import FLOAT32
from alexnet.training.configuration import (
    Configuration,
    build_trainer,
    continued_description,
    read_description,
    write_description,
)
from alexnet.training.folder import (
    CONFIG,
    FILES,
    LOG,
    check_files,
    check_holds_no_run,
    last_checkpoint,
    new_folder,
)
from alexnet.training.metrics import Table
from alexnet.training.records import Records
from alexnet.training.trainer import StepResult

PICTURES_EVERY = 20.0  # seconds at least between drawing, which takes half of one
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
    best_step
        The step of it; None where it is not known, as metrics.csv has lost it.

    """

    def __init__(
        self,
        folder: Path,
        configuration: Configuration,
        dataset: Dataset,
        preprocessing: Preprocessing,
        step: int = 0,
        device: str = "cpu",
        graph: bool = True,
        precision: str = FLOAT32,
    ) -> None:
        self.folder = folder
        self.configuration = configuration
        self.dataset = dataset
        self.preprocessing = preprocessing
        self.trainer = build_trainer(
            configuration, dataset, preprocessing, step, device, graph, precision
        )
        self.best_accuracy: float | None = None
        self.best_step: int | None = None
        self._drawn = time.monotonic()
        self._open_files = ExitStack()
        self._open_files.callback(self.trainer.batches.close)

    def __repr__(self) -> str:
        steps = f"step {self.trainer.steps} of {self.total_steps}"
        return summarised(self, f"{self.folder} of {self.trainer.network.variant.name}", steps)

    # --- beginning --------------------------------------------------------------------------------

    @classmethod
    def start(
        cls,
        folder: str | os.PathLike[str],
        configuration: Configuration,
        dataset: Dataset,
        environment: Mapping[str, Any] | None = None,
        *,
        numbered: bool = False,
        device: str = "cpu",
        graph: bool = True,
        precision: str = FLOAT32,
        on_image: Callable[[], None] = lambda: None,
    ) -> Run:
        """Begin a run in `folder`, which is made if it is missing.

        If it is `numbered`, a new folder is made whose name is that of `folder` with "-1" after it,
        or "-2" and so on where there is one already. `environment` is recorded in config.json;
        `device`, "cpu" or "cuda", is where the network runs, `graph` whether it launches CUDA
        graphs there, and `precision` that of `Network`; all three may be others after a resume.
        `on_image` is that of `Preprocessing.fit`.

        Raises
        ------
        ValueError
            `folder` holds a run already, or a file of one, or the settings do not fit the images.
        OSError
            It cannot be written to.
        NotImplementedError
            The device does not train in that precision.
        """
        check_instance("training", "configuration", configuration, Configuration)
        check_instance("training", "dataset", dataset, Dataset)
        folder = check_path("training", "folder", folder)
        check_folder(folder.parent if numbered else folder)  # before the images are read
        if not numbered:
            check_holds_no_run(folder)
        configuration = configuration.resolved()
        variant = configuration.described.with_classes(len(dataset.class_names))
        preprocessing = Preprocessing.fit(
            dataset.train,
            variant.input_shape,
            augment=configuration.augment,
            seed=configuration.seed,
            pixel_range=variant.pixel_range,
            on_image=on_image,
        )
        where = (device, graph, precision)
        run = cls(folder, configuration, dataset, preprocessing, 0, *where)
        with run._closed_on_error():
            if numbered:
                run.folder = new_folder(folder)
            else:
                folder.mkdir(parents=True, exist_ok=True)
            run._hold(lock(run.folder))
            check_holds_no_run(run.folder)  # another process may have been faster
            write_description(
                run.folder / CONFIG, configuration, dataset, preprocessing, environment or {}
            )
            run._open()
        return run

    @classmethod
    def resume(
        cls,
        folder: str | os.PathLike[str],
        dataset: Dataset,
        given: Mapping[str, Any] | None = None,
        *,
        device: str = "cpu",
        graph: bool = True,
        precision: str = FLOAT32,
    ) -> Run:
        """Go on with the run in `folder` from its last checkpoint.

        Where that is damaged, the one before it takes its place, which is logged as a warning.
        `given` are settings by their names in `Configuration`. They have to be those of the run,
        but for "epochs" and "steps", which set its length anew: config.json has it from the next
        checkpoint on.

        Raises
        ------
        ValueError
            There is no run, it is of other images or settings, a file in it is damaged, or another
            process is at work on it.
        OSError
            A file cannot be read or written.
        """
        check_instance("training", "dataset", dataset, Dataset)
        folder = check_path("training", "folder", folder)
        if not (folder / CONFIG).exists():
            raise ValueError(f"{folder}: holds no run: there is no {CONFIG}")
        held = lock(folder)
        try:
            configuration, preprocessing = read_description(folder / CONFIG, dataset)
            before = configuration
            try:
                configuration = configuration.continued(given or {})
            except ValueError as error:
                raise ValueError(f"{folder}: {error}") from error
            checkpoint = last_checkpoint(folder)
            step = 0 if checkpoint is None else checkpoint.step
            where = (device, graph, precision)
            run = cls(folder, configuration, dataset, preprocessing, step, *where)
        except BaseException:
            os.close(held)
            raise
        with run._closed_on_error():
            run._hold(held)
            if checkpoint is not None:
                run._restore(checkpoint)
            run._open()
            if configuration != before:
                run._description = continued_description(run._description, configuration)
                run._described = False
        return run

    def _restore(self, checkpoint: Checkpoint) -> None:
        try:
            self.trainer.restore(checkpoint)
        except ValueError as error:
            raise ValueError(f"{self.folder / LAST}: {error}") from error
        self.best_accuracy = checkpoint.best_accuracy

    def _hold(self, held: int) -> None:
        """Keep a lock until the run is closed, and remember which folder it is of."""
        self._open_files.callback(os.close, held)
        self._identity = self.folder.stat()

    def _open(self) -> None:
        """Open the tables as they were at the trainer's step."""
        remove_remains(self.folder / name for name in FILES)
        self._description = (self.folder / CONFIG).read_bytes()
        self._described = True  # config.json is what it should be
        self._records = Records(self.folder, self.trainer.steps)
        self._open_files.callback(self._records.close)
        if self.best_accuracy is not None:
            self.best_step = self._records.step_of(self.best_accuracy)

    @contextmanager
    def _closed_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.close()
            raise

    # --- running ----------------------------------------------------------------------------------

    @property
    def metrics(self) -> Table:
        """The table metrics.csv."""
        return self._records.metrics

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        return self.configuration.total_steps(self.trainer.batches.per_epoch)

    def epoch_of(self, step: int) -> int:
        """Pass over the images that a step is in, both counted from 1."""
        return (step - 1) // self.trainer.batches.per_epoch + 1

    def train(
        self,
        *,
        after_step: Callable[[StepReport], None] = lambda _: None,
        on_test_batch: Callable[[], None] = lambda: None,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """Take the steps that remain, and record, evaluate and save as the settings say.

        Parameters
        ----------
        after_step
            Called after each step, when it is recorded and, where that is due, saved.
        on_test_batch
            Called after each batch of test images, which come before `after_step`.
        stop
            Asked after each step; if it is true, the run is saved and `train` returns early.

        Raises
        ------
        FloatingPointError
            The loss of the step or of the test images, or a parameter, is not finite; the
            checkpoints are from before that.
        OSError
            A file could not be written, and the earlier checkpoint is intact; or the folder was
            removed.

        """
        check_callable("training", "after_step", after_step)
        check_callable("training", "on_test_batch", on_test_batch)
        check_callable("training", "stop", stop)
        if self.trainer.steps == self.total_steps:
            self.draw()  # of a run that was killed behind its last checkpoint
        while self.trainer.steps < self.total_steps:
            number = self.trainer.steps + 1
            result = self.trainer.step(measure_norms=_measures_norms(number))
            self._check_folder()
            last = number == self.total_steps
            test = None
            if last or self._due(self.configuration.evaluate_every):
                test = self._evaluate(on_test_batch)
            self._records.add(
                result,
                test,
                epoch=self.epoch_of(result.step),
                batch_size=self.trainer.batches.batch_size,
            )
            if test is not None:
                self._keep_best(test)
            stopped = stop()
            if stopped or last or self._due(self.configuration.checkpoint_every) or self._due(None):
                self.save()
                if stopped or last or time.monotonic() - self._drawn > PICTURES_EVERY:
                    self.draw()
            after_step(StepReport(result, test))
            if stopped:
                return

    def _due(self, every: int | None) -> bool:
        return self.trainer.steps % (every or self.trainer.batches.per_epoch) == 0

    def _check_folder(self) -> None:
        """OSError where the folder is no longer the one that the run began in.

        All that is written into a removed folder is lost, and nothing else would tell.
        """
        try:
            in_place = os.path.samestat(self.folder.stat(), self._identity)
        except (FileNotFoundError, NotADirectoryError):
            in_place = False
        if not in_place:
            reason = "the run's folder was removed or replaced while it trained"
            raise FileNotFoundError(errno.ENOENT, reason, str(self.folder))

    def _evaluate(self, on_batch: Callable[[], None]) -> Evaluation | None:
        if self.dataset.test is None:
            return None
        return evaluate(
            self.trainer.network, self.dataset.test, self.preprocessing, on_batch=on_batch
        )

    def _keep_best(self, test: Evaluation) -> None:
        """Save the network for use if it is the best so far; FloatingPointError if it is ruined."""
        if not math.isfinite(test.loss):
            raise FloatingPointError(
                f"training: the loss of the test images after step {self.trainer.steps} is "
                f"{test.loss}; {self.trainer.hint()}"
            )
        if self.best_accuracy is None or test.accuracy > self.best_accuracy:
            check_files(self.folder)
            checkpoint = self._checkpoint(test.accuracy, for_evaluation=True)
            checkpoint.write(self.folder / BEST)
            self.best_accuracy, self.best_step = test.accuracy, self.trainer.steps

    def _checkpoint(self, best_accuracy: float | None, *, for_evaluation: bool) -> Checkpoint:
        return self.trainer.checkpoint(
            class_names=self.dataset.class_names,
            best_accuracy=best_accuracy,
            for_evaluation=for_evaluation,
        )

    def save(self) -> None:
        """Write the last checkpoint, and everything up to it."""
        self._check_folder()
        check_files(self.folder)
        # Somebody may have removed it, and nothing goes on without.
        if not self._described or not (self.folder / CONFIG).exists():
            with replacing(self.folder / CONFIG) as file:
                file.write(self._description)
            self._described = True
        checkpoint = self._checkpoint(self.best_accuracy, for_evaluation=False)
        self._records.sync()
        checkpoint.write(self.folder / LAST, previous=self.folder / PREVIOUS)

    def draw(self) -> None:
        """Write the pictures: curves up to now, and the first layer's filters."""
        self._drawn = time.monotonic()
        title = f"{self.trainer.network.variant.name}, to step {self.trainer.steps}"
        if self.best_accuracy is not None:
            title += f": best test accuracy {self.best_accuracy:.1%}"
        self._records.draw(self.trainer.network, title)

    def log(self, line: str) -> None:
        """Add a line to log.txt, with the time of day.

        OSError if it cannot be written, ValueError if it is no regular file.
        """
        self._check_folder()
        path = self.folder / LOG
        if path.exists():
            check_regular(path)
        with naming(path), path.open("ab", buffering=0) as file:
            file.write(f"{timestamp()} {line}\n".encode(errors="backslashreplace"))

    def close(self) -> None:
        """Close the files; another process may then continue the run."""
        self._open_files.close()


def _measures_norms(step: int) -> bool:
    """Whether the norms of this step are recorded: often at first, when layers die."""
    return step % NORMS_EVERY == 0 or (step < NORMS_EVERY and step.bit_count() == 1)
