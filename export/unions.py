"""Groups of things that belong together, found by joining two at a time."""

from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


class Unions(Generic[T]):
    """Disjoint sets (Galler and Fischer 1964), with paths halved."""

    def __init__(self) -> None:
        self._parent: dict[T, T] = {}

    def __iter__(self) -> Iterator[T]:
        """All that was looked up or joined, in that order."""
        return iter(self._parent)

    def find(self, item: T) -> T:
        """The one that stands for the group of `item`; by itself it is a group of its own."""
        parent = self._parent
        parent.setdefault(item, item)
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    def join(self, first: T, *others: T) -> None:
        """Make one group of several; what stood for the first one stands for it."""
        root = self.find(first)
        for other in others:
            self._parent[self.find(other)] = root
