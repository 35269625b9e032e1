"""What a trained network is used for: classes of images, and how well it does on labelled ones."""

from alexnet.inference.evaluation import Evaluation, evaluate
from alexnet.inference.prediction import predict, top_classes

__all__ = ["Evaluation", "evaluate", "predict", "top_classes"]
