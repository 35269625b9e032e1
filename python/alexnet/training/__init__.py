"""Training: one step (`Trainer`), or a run with a folder, evaluations and checkpoints (`Run`)."""

from alexnet.network.checkpoint import Checkpoint
from alexnet.training.configuration import Configuration
from alexnet.training.optimizers import SGD, Adam, Optimizer
from alexnet.training.run import Run
from alexnet.training.schedules import Schedule
from alexnet.training.trainer import Trainer

__all__ = [
    "SGD",
    "Adam",
    "Checkpoint",
    "Configuration",
    "Optimizer",
    "Run",
    "Schedule",
    "Trainer",
]
