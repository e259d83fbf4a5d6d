"""Windows, and blocks: capacity × time, the unit of ownership. No I/O."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from objectives.fields import MAX_RATE, MAX_TIME, InvalidValue, shown


def before(end: int | None, other: int | None) -> bool:
    """Whether ``end`` comes before ``other``; None is never."""
    return end is not None and (other is None or end < other)


def earlier(end: int | None, other: int | None) -> int | None:
    """The earlier of two ends; None is never."""
    return end if before(end, other) else other


@dataclass(frozen=True, slots=True)
class Window:
    """Half-open ``[start, end)`` in UNIX seconds; ``end`` None is for ever. Raises :class:`InvalidValue`."""

    start: int
    end: int | None

    def __post_init__(self) -> None:
        if type(self.start) is not int or not 0 <= self.start <= MAX_TIME:
            raise InvalidValue(f"a window's start must be 0..{MAX_TIME} s, not {shown(self.start)}")
        if self.end is not None and (type(self.end) is not int or not self.start < self.end <= MAX_TIME):
            raise InvalidValue(f"a window's end must be after its start {self.start} or never, not {shown(self.end)}")

    def covers(self, other: Window) -> bool:
        return self.start <= other.start and not before(self.end, other.end)

    def overlap(self, other: Window) -> Window | None:
        """What both have in common."""
        start = max(self.start, other.start)
        end = earlier(self.end, other.end)
        return Window(start, end) if end is None or start < end else None

    def passed(self, now: int) -> bool:
        return self.end is not None and self.end <= now


@dataclass(frozen=True, slots=True)
class Block:
    """A rectangle: the capacity range ``[low, high)`` in bit/s on its pool's own line, in a window.

    Raises :class:`InvalidValue`.
    """

    low: int
    high: int
    start: int
    end: int | None

    def __post_init__(self) -> None:
        if type(self.low) is not int or type(self.high) is not int or not 0 <= self.low < self.high <= MAX_RATE:
            raise InvalidValue(
                f"a block's range must be 0 <= low < high <= {MAX_RATE} bit/s,"
                f" not {shown(self.low)}..{shown(self.high)}"
            )
        Window(self.start, self.end)

    @property
    def amount(self) -> int:
        """bit/s."""
        return self.high - self.low

    @property
    def window(self) -> Window:
        return Window(self.start, self.end)

    def overlaps(self, other: Block) -> bool:
        return self.low < other.high and other.low < self.high and self.window.overlap(other.window) is not None

    def cut(self, window: Window) -> Block | None:
        """The part within ``window``."""
        common = self.window.overlap(window)
        return Block(self.low, self.high, common.start, common.end) if common is not None else None

    def minus(self, other: Block) -> list[Block]:
        """What is left of this when ``other`` is taken out: at most four rectangles."""
        common = self.window.overlap(other.window)
        low, high = max(self.low, other.low), min(self.high, other.high)
        if common is None or low >= high:
            return [self]
        left = []
        # Bands keep their whole window: leases of different windows then do not cut the pool into slices of time.
        if self.low < low:
            left.append(Block(self.low, low, self.start, self.end))
        if high < self.high:
            left.append(Block(high, self.high, self.start, self.end))
        if self.start < common.start:
            left.append(Block(low, high, self.start, common.start))
        if common.end is not None and before(common.end, self.end):
            left.append(Block(low, high, common.end, self.end))
        return left

    def to_item(self) -> list[int | None]:
        return [self.low, self.high, self.start, self.end]


def block_from_item(item: object, where: str = "block") -> Block:
    """Raises :class:`InvalidValue`."""
    if type(item) is not list or len(item) != 4:
        raise InvalidValue(f"{where} must be [low, high, start, end], not {shown(item)}")
    try:
        return Block(*item)
    except InvalidValue as error:
        raise InvalidValue(f"{where}: {error}") from None


def disjoint(blocks: Iterable[Block]) -> bool:
    """Whether no two overlap."""
    active: list[Block] = []
    for block in sorted(blocks, key=lambda each: each.low):
        active = [each for each in active if each.high > block.low]
        if any(each.overlaps(block) for each in active):
            return False
        active.append(block)
    return True


def peak(blocks: Iterable[Block]) -> int:
    """bit/s: the most the blocks add up to at any instant."""
    changes: dict[int, int] = {}
    for block in blocks:
        changes[block.start] = changes.get(block.start, 0) + block.amount
        if block.end is not None:
            changes[block.end] = changes.get(block.end, 0) - block.amount
    most = total = 0
    for time in sorted(changes):
        total += changes[time]
        most = max(most, total)
    return most


def trough(blocks: Iterable[Block], window: Window) -> int:
    """bit/s: the least the blocks add up to at any instant of ``window``."""
    changes: dict[int, int] = {window.start: 0}
    for block in blocks:
        common = block.window.overlap(window)
        if common is None:
            continue
        changes[common.start] = changes.get(common.start, 0) + block.amount
        if common.end is not None and before(common.end, window.end):
            changes[common.end] = changes.get(common.end, 0) - block.amount
    least: int | None = None
    total = 0
    for time in sorted(changes):
        total += changes[time]
        least = total if least is None else min(least, total)
    return least or 0


def within(low: int, high: int, ranges: Iterable[tuple[int, int]]) -> bool:
    """Whether ``[low, high)`` lies in the union of ranges."""
    for start, end in sorted(ranges):
        if start <= low < end:
            low = end
            if low >= high:
                return True
    return False
