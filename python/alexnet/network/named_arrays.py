"""A network's arrays by name, to look at and to write into, not to replace."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from alexnet.arrays import Array
from alexnet.messages import listed, shown


class NamedArrays(Mapping[str, Array]):
    """Read-only view of `arrays` by name, whose `repr` has their shapes and not their numbers.

    KeyError for another name says which there are.
    """

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        self._arrays = arrays

    def __getitem__(self, name: str) -> Array:
        try:
            return self._arrays[name]
        except KeyError:
            there_are = listed(self._arrays, room=1000)
            raise KeyError(f"there is no array {shown(name)}, but {there_are}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __repr__(self) -> str:
        lines = (f"  {name}: {array.shape} {array.dtype}" for name, array in self._arrays.items())
        return "\n".join([f"<{type(self).__name__} of {len(self)}>", *lines])
