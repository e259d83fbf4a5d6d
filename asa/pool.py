"""The blocks an agent holds of one pool: disjoint rectangles, split, merged, picked from. No I/O.

Not thread-safe; the owner locks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from objectives import Block, Window
from objectives.block import before

_FOREVER: Final = 2**62


class Pool:
    """The blocks held of one pool, by their key (low, start)."""

    __slots__ = ("_blocks",)

    def __init__(self, blocks: Iterable[Block] = ()) -> None:
        self._blocks: dict[tuple[int, int], Block] = {}
        for block in blocks:
            self.add(block)

    def __iter__(self) -> Iterator[Block]:
        return iter(self._blocks.values())

    def __len__(self) -> int:
        return len(self._blocks)

    def __contains__(self, block: object) -> bool:
        return isinstance(block, Block) and self._blocks.get((block.low, block.start)) == block

    def at(self, low: int, start: int) -> Block | None:
        """The block of this key."""
        return self._blocks.get((low, start))

    def add(self, block: Block) -> None:
        """Raises ValueError if it is here already; overlaps are the caller's to look for (:meth:`overlapping`)."""
        if (block.low, block.start) in self._blocks:
            raise ValueError(f"{block} stands where {self._blocks[block.low, block.start]} is")
        self._blocks[block.low, block.start] = block

    def remove(self, block: Block) -> None:
        """Raises ValueError if exactly this block is not here."""
        if block not in self:
            raise ValueError(f"{block} is not held")
        del self._blocks[block.low, block.start]

    def overlapping(self, block: Block) -> Block | None:
        """A held block that shares an instant and a bit/s with ``block``."""
        return next((each for each in self._blocks.values() if each.overlaps(block)), None)

    def pick(self, amount: int, window: Window) -> list[Block]:
        """Parts of held blocks that add up to exactly ``amount`` bit/s at every instant of ``window``.

        Blocks that reach least beyond the window are used first, so that those with most life stay whole; only what
        cannot be had over the whole window is put together from one instant to the next. Raises ValueError where the
        pool holds less.
        """
        whole = [each for each in self._blocks.values() if each.window.covers(window)]
        picked: list[Block] = []
        for block in sorted(whole, key=lambda each: (_slack(each, window), each.amount, each.low)):
            if amount == 0:
                break
            part = min(amount, block.amount)
            picked.append(Block(block.low, block.low + part, window.start, window.end))
            amount -= part
        if amount:
            partial = [each for each in self._blocks.values() if not each.window.covers(window)]
            picked += _patchwork(partial, amount, window)
        return picked

    def taking(self, parts: Iterable[Block]) -> tuple[list[Block], list[Block]]:
        """Which held blocks go, and which come in their place, when ``parts`` are taken out.

        Raises ValueError if a part is not held whole.
        """
        gone: list[Block] = []
        left: list[Block] = []
        parts = list(parts)
        for block in list(self._blocks.values()):
            mine = [each for each in parts if each.overlaps(block)]
            if not mine:
                continue
            gone.append(block)
            rest = [block]
            for part in mine:
                rest = [piece for each in rest for piece in each.minus(part)]
            left += rest
        if area(gone, parts) != area(parts, parts):
            raise ValueError("more is to be taken out than is held")
        return gone, merged(left)

    def tidy(self, floor: int) -> tuple[list[Block], list[Block]]:
        """The garbage collector's work: which blocks go and which come when what touches is merged.

        Time before ``floor`` does not count: blocks that ended go, and starts before it are alike.
        """
        old = list(self._blocks.values())
        living = [each for each in old if not each.window.passed(floor)]
        new = set(merged(_from(each, floor) for each in living))
        kept = {each for each in old if each in new}
        # A start that merely lies in the past is no reason to write.
        for each in living:
            shifted = _from(each, floor)
            if shifted != each and shifted in new:
                new.remove(shifted)
                new.add(each)
                kept.add(each)
        return [each for each in old if each not in kept], [each for each in new if each not in kept]


def _slack(block: Block, window: Window) -> int:
    """Seconds a block lives beyond the window, on both sides."""
    beyond = (_FOREVER if block.end is None else block.end) - (_FOREVER if window.end is None else window.end)
    return beyond + window.start - block.start


def _from(block: Block, floor: int) -> Block:
    return Block(block.low, block.high, floor, block.end) if block.start < floor else block


def _patchwork(blocks: list[Block], amount: int, window: Window) -> list[Block]:
    """``amount`` bit/s at every instant of ``window`` from blocks that cover parts of it."""
    cuts = {window.start}
    for block in blocks:
        common = block.window.overlap(window)
        if common is not None:
            cuts.add(common.start)
            if common.end is not None and before(common.end, window.end):
                cuts.add(common.end)
    times = sorted(cuts)
    picked: list[Block] = []
    previous: list[Block] = []
    for number, time in enumerate(times):
        piece = Window(time, times[number + 1] if number + 1 < len(times) else window.end)
        here = [each for each in blocks if each.window.covers(piece)]
        # What was used in the piece before goes on, so that the parts merge again.
        used = {(each.low, each.high) for each in previous}
        here.sort(key=lambda each: (not any(low >= each.low and high <= each.high for low, high in used), each.low))
        missing = amount
        previous = []
        for block in here:
            if missing == 0:
                break
            part = min(missing, block.amount)
            previous.append(Block(block.low, block.low + part, piece.start, piece.end))
            missing -= part
        if missing:
            raise ValueError(f"{missing} bit/s are missing at {time}")
        picked += previous
    return merged(picked)


def merged(blocks: Iterable[Block]) -> list[Block]:
    """The same rectangles, those that touch over a whole side joined; the input must be disjoint."""
    blocks = list(blocks)
    while True:
        count = len(blocks)
        blocks = _in_capacity(_in_time(blocks))
        if len(blocks) == count:
            return blocks


def _in_time(blocks: list[Block]) -> list[Block]:
    out: list[Block] = []
    for block in sorted(blocks, key=lambda each: (each.low, each.high, each.start)):
        last = out[-1] if out else None
        if last is not None and (last.low, last.high, last.end) == (block.low, block.high, block.start):
            out[-1] = Block(last.low, last.high, last.start, block.end)
        else:
            out.append(block)
    return out


def _in_capacity(blocks: list[Block]) -> list[Block]:
    out: list[Block] = []
    order = sorted(blocks, key=lambda each: (each.start, _FOREVER if each.end is None else each.end, each.low))
    for block in order:
        last = out[-1] if out else None
        if last is not None and (last.start, last.end, last.high) == (block.start, block.end, block.low):
            out[-1] = Block(last.low, block.high, last.start, last.end)
        else:
            out.append(block)
    return out


def area(blocks: Iterable[Block], within: Iterable[Block]) -> int:
    """bit: how much of ``within`` the ``blocks`` cover; both disjoint. For ever counts as very long."""
    within = list(within)
    total = 0
    for block in blocks:
        for other in within:
            common = block.window.overlap(other.window)
            breadth = min(block.high, other.high) - max(block.low, other.low)
            if common is not None and breadth > 0:
                total += breadth * ((_FOREVER if common.end is None else common.end) - common.start)
    return total
