"""The nodes of the calendar's B+-tree. No I/O."""

from __future__ import annotations

from itertools import accumulate
from operator import add


class Node:
    """A leaf's entries are changes: ``keys`` their times, ``sums`` their deltas, none of them 0.

    An inner node's entries are its children: no time in the i-th is before ``keys[i]`` or at or after ``keys[i + 1]``,
    save that the first node of each level takes all that is earlier too; ``sums`` their deltas' sums; ``lows`` and
    ``highs`` the extremes of the sums of their first 1, 2, ... deltas. Those of a single change are its delta, so a
    leaf has one list for all three.
    """

    __slots__ = ("children", "highs", "keys", "lows", "sums")

    def __init__(self, keys: list[int], sums: list[int], children: list[Node] | None = None) -> None:
        self.keys = keys
        self.sums = sums
        self.lows = sums if children is None else [0] * len(keys)
        self.highs = sums if children is None else [0] * len(keys)
        self.children = children

    def extremes(self) -> tuple[int, int]:
        """The lowest and the highest sum of a beginning of the deltas below. The node has entries."""
        if self.children is None:
            levels = list(accumulate(self.sums))
            return min(levels), max(levels)
        befores = list(accumulate(self.sums, initial=0))
        return min(map(add, befores, self.lows)), max(map(add, befores, self.highs))

    def first(self) -> int:
        """The time of the first change below."""
        node = self
        while node.children is not None:
            node = node.children[0]
        return node.keys[0]

    def size(self) -> int:
        """The number of changes below."""
        return len(self.keys) if self.children is None else sum(child.size() for child in self.children)

    def cut(self, begin: int, end: int) -> None:
        """Drop the entries from ``begin`` up to ``end``."""
        del self.keys[begin:end], self.sums[begin:end]
        if self.children is not None:
            del self.lows[begin:end], self.highs[begin:end], self.children[begin:end]

    def split(self, index: int) -> None:
        """Give the second half of a child's entries to a new one after it, and look up the extremes of both."""
        assert self.children is not None
        left = self.children[index]
        half, end = len(left.keys) // 2, len(left.keys)
        right = Node(left.keys[half:], left.sums[half:])
        if left.children is not None:
            right.lows, right.highs, right.children = left.lows[half:], left.highs[half:], left.children[half:]
        left.cut(half, end)
        low, high = right.extremes()
        self.keys.insert(index + 1, right.keys[0])
        self.sums.insert(index + 1, sum(right.sums))
        self.lows.insert(index + 1, low)
        self.highs.insert(index + 1, high)
        self.children.insert(index + 1, right)
        self.sums[index] = sum(left.sums)
        self.lows[index], self.highs[index] = left.extremes()

    def join(self, index: int) -> Node:
        """Give the entries of the child after this one to it. Its extremes are then still to be looked up."""
        assert self.children is not None
        left, right = self.children[index], self.children[index + 1]
        left.keys += right.keys
        left.sums += right.sums
        if left.children is not None and right.children is not None:
            left.lows += right.lows
            left.highs += right.highs
            left.children += right.children
        self.sums[index] += self.sums[index + 1]
        self.cut(index + 1, index + 2)
        return left


def above(children: list[Node]) -> Node:
    """The node above these, which are in order."""
    node = Node([child.keys[0] for child in children], [sum(child.sums) for child in children], children)
    extremes = [child.extremes() for child in children]
    node.lows, node.highs = [low for low, _ in extremes], [high for _, high in extremes]
    return node
