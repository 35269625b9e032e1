"""What `alexnet train` says: how a run goes, how it ended, and which command comes next."""

from __future__ import annotations

import argparse
import math
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

from alexnet import runtime
from alexnet.commands.console import LINE_EVERY, Progress, shell_line, silence
from alexnet.commands.options import say, text_file
from alexnet.commands.table import sentence
from alexnet.data import PhotoSet
from alexnet.inference.evaluation import BATCH_SIZE
from alexnet.messages import counted, described, duration
from alexnet.network.checkpoint import BEST
from alexnet.training.run import Run, StepReport


class TrainingReport:
    """Shows how a run goes: a live line on a terminal, plain lines elsewhere."""

    def __init__(self, options: argparse.Namespace, run: Run) -> None:
        self._options = options
        self._run = run
        self._steps, self._seconds, self._waited = 0, 0.0, 0.0
        self._test_batches = 0
        self._start = self._last_line = time.monotonic()
        self._muted = False
        step, last = run.trainer.steps, run.total_steps
        self.progress = Progress(self._place(step + 1), last, done=step, lines=False)
        self._lines = not (self.progress.drawn and text_file(options).isatty())
        if step < last:
            where = f"step {step} of {last}"
            self.tell(f"Training {run.configuration.variant} in {run.folder}, {where}")
            self.tell(self._images())
        elif step == last:
            self.tell(f"The run in {run.folder} is finished: {step} of {counted(last, 'step')}")
        else:
            self.tell(
                f"The run in {run.folder} is at step {step} already, beyond the {last} asked for"
            )

    def _images(self) -> str:
        """Say what the network is trained on, in a line."""
        dataset = self._run.dataset
        tested = 0 if dataset.test is None else len(dataset.test)
        return (
            f"{counted(len(dataset.train), 'training image')}, {counted(tested, 'test image')}, "
            f"{counted(len(dataset.class_names), 'class', 'classes')}, "
            f"{counted(self._run.trainer.batches.per_epoch, 'step')} an epoch"
        )

    def tell(self, text: str) -> None:
        """Print a sentence and log it, as a line."""
        self._print(sentence(text, text_file(self._options)))
        self._run.log(text)

    def _tell_commands(self, commands: Iterable[str]) -> None:
        """Print commands and log them, each in a line: one that is broken can't be copied."""
        for command in commands:
            self._print(f"  {command}")
            self._run.log(f"  {command}")

    def _print(self, text: str) -> None:
        """Print in the place of the bar, which may be on the same terminal behind a pipe."""
        self._show(self.progress.clear)
        for line in text.split("\n"):
            self._show(partial(say, self._options, line))

    def _show(self, write: Callable[[], None]) -> None:
        """Write to the terminal or the pipe; training goes on where that is gone or full."""
        if self._muted:
            return
        try:
            write()
        except OSError as error:
            self._muted = True
            silence(text_file(self._options))
            if self.progress.drawn:
                silence(sys.stderr)
            self._run.log(f"nothing is printed any more: {described(error)}; training goes on")

    # --- while it trains --------------------------------------------------------------------------

    def begin(self) -> None:
        """Show the bar before the first step, which takes long in large networks."""
        if self._run.trainer.steps < self._run.total_steps:
            self._show(partial(self.progress.show, at_once=True))

    def after_step(self, report: StepReport) -> None:
        """Show a step, and tell of the evaluation that followed it."""
        result, per_epoch = report.result, self._run.trainer.batches.per_epoch
        self._steps += 1
        self._seconds += result.seconds
        self._waited += result.waited
        epoch, iteration = self._run.epoch_of(result.step), (result.step - 1) % per_epoch + 1
        place = self._place(result.step)
        measures = f"Loss: {result.loss:.4f}", f"Accuracy: {result.accuracy:.4f}"
        details = *measures, f"{self._shown_rate()} images/s"
        self._show(partial(self.progress.advance, place, details))
        if self._lines and self._is_line(result.step, ends=iteration == per_epoch):
            self._print_progress(f"{place}, Iter [{iteration}/{per_epoch}] {' '.join(measures)}")
        if report.test is not None:
            test = report.test
            self._test_batches = 0
            self.tell(
                f"Test loss: {test.loss:.4f}, accuracy: {test.accuracy:.4f} "
                f"(epoch {epoch}, step {result.step})"
            )

    def _is_line(self, step: int, *, ends: bool) -> bool:
        """Whether a step has a line of its own, off a terminal; the first one always has."""
        if self._options.log_interval is not None:
            return bool(step % self._options.log_interval == 0)
        return self._steps == 1 or ends or self._is_late() or step == self._run.total_steps

    def _is_late(self) -> bool:
        return time.monotonic() - self._last_line >= LINE_EVERY

    def _print_progress(self, line: str) -> None:
        self._print(line)
        self._last_line = time.monotonic()

    def on_test_batch(self) -> None:
        """Show how far the evaluation on the test images is."""
        assert self._run.dataset.test is not None
        self._test_batches += 1
        batches = math.ceil(len(self._run.dataset.test) / BATCH_SIZE)
        testing = f"testing, {self._test_batches / batches:.0%}"
        place = self._place(self._run.trainer.steps)
        self._show(partial(self.progress.show, place, [testing]))
        if self._lines and self._is_late():
            self._print_progress(f"{place}, {testing}")

    def _place(self, step: int) -> str:
        """Where in the run a step is."""
        epochs = math.ceil(self._run.total_steps / self._run.trainer.batches.per_epoch)
        return f"Epoch [{self._run.epoch_of(step)}/{epochs}]"

    def _shown_rate(self) -> str:
        """Images in a second of the steps so far, which may be fewer than one."""
        rate = self._steps * self._run.configuration.batch_size / self._seconds
        return f"{rate:.0f}" if rate >= 100 else f"{rate:.1f}"

    # --- when it ends -----------------------------------------------------------------------------

    def stopped(self, number: signal.Signals) -> None:
        """Tell of a run that a signal has stopped, and how to go on."""
        self._tell_time()
        step, last = self._run.trainer.steps, self._run.total_steps
        self.tell(f"Stopped by {number.name} at step {step} of {last}; to go on:")
        self._tell_commands([self._going_on({})])

    def finish(self) -> None:
        """Tell what came of a run that is at its end, and what to do with it."""
        run = self._run
        if self._steps:
            self._tell_time()
        self._tell_skipped()
        if run.best_accuracy is not None:
            where = ""
            if run.best_step is not None:
                where = f" at epoch {run.epoch_of(run.best_step)}, step {run.best_step}"
            self.tell(f"Best test accuracy: {run.best_accuracy:.4f}{where}, in {BEST}")
        self.tell(f"Folder: {run.folder}")
        if self._steps == 0:
            self.tell("To train it further, here to twice its length:")
            self._tell_commands([self._going_on(self._twice())])
        self.tell("To use it:")
        self._tell_commands(self._uses())

    def _tell_time(self) -> None:
        seconds = time.monotonic() - self._start
        waited = self._waited / self._seconds
        self.tell(
            f"Trained {counted(self._steps, 'step')} in {duration(seconds)}, "
            f"{self._shown_rate()} images/s, waiting for data {waited:.1%} of it"
        )

    def _tell_skipped(self) -> None:
        sources = self._run.dataset.train, self._run.dataset.test
        skipped = sum(len(source.skipped) for source in sources if source is not None)
        if skipped:
            self.tell(f"Skipped {counted(skipped, 'file')} that cannot be read")

    def _twice(self) -> dict[str, object]:
        """Options that double the length of the run."""
        run = self._run
        step = max(run.trainer.steps, run.total_steps)
        if run.configuration.steps is not None:
            return {"--steps": 2 * step}
        return {"--epochs": 2 * run.epoch_of(step)}

    def _going_on(self, length: Mapping[str, object]) -> str:
        """Give the command that goes on with this run, on the same images, to that length."""
        options = self._options
        chosen = {
            "--device": "cpu" if options.device == "cpu" and runtime.has_cuda() else None,
            "--threads": options.threads,
            "--log-interval": options.log_interval,
            "--json": options.json,
        }
        resume = ["--resume", _path(self._run.folder), *_flags(length), *_flags(chosen)]
        return self._command("train", *self._data(), *resume)

    def _uses(self) -> list[str]:
        """Commands that make something of the run."""
        folder, dataset = _path(self._run.folder), self._run.dataset
        images = dataset.train if dataset.test is None else dataset.test
        split = {"--split": "train" if dataset.test is None else None}
        commands = [self._command("evaluate", folder, *self._data(), *_flags(split))]
        if isinstance(images, PhotoSet):
            commands.append(self._command("predict", folder, _path(images.paths[0])))
        return commands

    def _data(self) -> list[str]:
        """Give DATA, and how it was split, as the options have it."""
        options = self._options
        split = {"--test-share": options.test_share, "--split-seed": options.split_seed or None}
        return [_path(options.data), *_flags(split)]

    def _command(self, *words: str) -> str:
        return shell_line(["alexnet", *words], text_file(self._options))


def _flags(values: Mapping[str, object]) -> list[str]:
    """Words of a command for the options that have a value."""
    given = {flag: value for flag, value in values.items() if value is not None}
    return [word for flag, value in given.items() for word in (flag, str(value))]


def _path(path: str | Path) -> str:
    """Give a path that no command takes for an option."""
    return f"./{path}" if str(path).startswith("-") else str(path)
