"""Names of the 1000 classes of ImageNet's challenge, in the order of the outputs of its networks.

The classes are the synsets of WordNet that the challenges since 2012 use, by ascending synset id:
the order of Caffe, torchvision and Keras. (TF-slim's networks have one more output, the first, for
none of them.) `imagenet_classes.txt` has a name a line: the first word or words of the synset in
WordNet, as torchvision 0.24.1 lists them in `torchvision/models/_meta.py`, where the second crane
is called crane bird and the second maillot a maillot tank suit. torchvision's licence, BSD
3-Clause, is beside it.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

FILE = Path(__file__).with_name("imagenet_classes.txt")


@cache
def imagenet_classes() -> tuple[str, ...]:
    """Names of ImageNet's 1000 classes, by their number: 0 is tench, 281 tabby, 999 toilet tissue.

    Of torchvision's and Caffe's weights, these are the classes of the outputs in their order.
    """
    return tuple(FILE.read_text(encoding="utf-8").splitlines())
