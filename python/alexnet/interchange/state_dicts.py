"""The arrays of a PyTorch module, freed of what people save them in and of what wrappers name them.

    {"epoch": 3, "state_dict": {"module.features.0.weight": ...}}    a checkpoint of DataParallel
    {"features.module.0.weight": ...}                                features alone in DataParallel
    {"_orig_mod.features.0.weight": ...}                             torch.compile
    {"model.features.0.weight": ...}                                 a module inside another

all become {"features.0.weight": ...}.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from alexnet.files.descriptions import Entry
from alexnet.messages import shown

Tensor = TypeVar("Tensor")

# Keys under which checkpoints hold a state_dict, the most telling one first.
WRAPPERS = (
    *("state_dict", "model_state_dict", "model_state", "model", "net", "network", "module"),
    *("weights", "params"),
)
DEEPEST = 4  # checkpoints in checkpoints
MODULE_WRAPPERS = ("module", "_orig_mod")  # DataParallel, torch.compile
OWN = ("features", "classifier")  # the parts of torchvision's AlexNet


def bare_state(value: Any, kind: type[Tensor]) -> dict[str, Tensor]:
    """Find the arrays, of type `kind`, in a state_dict or in a checkpoint that holds one.

    Raises
    ------
    ValueError
        There are none, or an entry beside them is of another type.
    """
    for _ in range(DEEPEST):
        inner = (value[key] for key in WRAPPERS if key in value) if _is_mapping(value) else ()
        found = next((entry for entry in inner if _is_mapping(entry)), None)
        if found is None:
            break
        value = found
    if not _is_mapping(value) or not value:
        raise ValueError(f"it holds {shown(value)}, expected a dictionary of arrays")
    for name, entry in value.items():
        if not isinstance(name, str) or not isinstance(entry, kind):
            raise ValueError(f"its entry {shown(name)} is {shown(entry)}, expected an array")
        Entry("the name of an array", name).name()
    bare = _bare_names(list(value))
    if len(set(bare)) < len(bare):
        raise ValueError("two of its arrays have one name without those of the modules around them")
    return dict(zip(bare, value.values(), strict=True))


def _is_mapping(value: Any) -> bool:
    return isinstance(value, Mapping)


def _bare_names(names: list[str]) -> list[str]:
    parts = [[part for part in name.split(".") if part not in MODULE_WRAPPERS] for name in names]
    while all(len(part) > 2 for part in parts):  # a name ends in a module and a kind of array
        first = {part[0] for part in parts}
        if len(first) > 1 or first & set(OWN):
            break
        parts = [part[1:] for part in parts]
    return [".".join(part) for part in parts]
