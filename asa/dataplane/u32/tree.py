"""The u32 filters of one device: which there are, and where another one goes. No I/O.

The root table has links, in the order of the shapes' ranks, to tables of 256 buckets, each of one shape; the filters of
spots are in these. A table is searched by a few bits of one word, so that a packet is compared with few filters even
where there are many. Where too many share these bits, as all packets to one server do, there are more tables of that
shape, searched by other words: matches of one shape exclude each other, so their order does not matter.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable
from typing import Final

from asa.dataplane.match import Match, Shape
from asa.dataplane.plan import Action
from asa.dataplane.tc.classifier import DEFAULT, MAJOR, Rule
from asa.dataplane.u32.filters import Key, Unsuitable, Way, keys_of, match_of, ways_of
from asa.dataplane.u32.messages import LAST_SECOND, NODES, TABLES, Leaf, Link, Node, Other, Table

Label = tuple[Action, Match]

CROWDED: Final = 8
"""Filters in a bucket, from which on another table may be better."""

MOST_LINKS: Final = 1_000
STEP: Final = 16
"""Between the numbers of links, so that others get in between."""

_HALF: Final = 0x800
"""From here on in each bucket filters of KEEP: who has a guarantee of the same packets is asked first."""


def label_of(leaf: Leaf) -> Label | None:
    match = match_of(leaf.keys)
    if match is None or leaf.classid >> 16 != MAJOR:
        return None
    return (Action.KEEP if leaf.classid & 0xFFFF == DEFAULT else Action.GUARANTEE), match


def rule_of(leaf: Leaf) -> Rule:
    number = leaf.classid & 0xFFFF
    return Rule(0 if number == DEFAULT else number, None, leaf.expires or None)


def _meaning(rule: Rule) -> tuple[int, int]:
    """The class and when it expires; a marking is nothing u32 could have."""
    expires = 0 if rule.expires is None else max(1, min(LAST_SECOND, round(rule.expires)))
    return MAJOR << 16 | (rule.number or DEFAULT), expires


class Tree:
    """What there is, and what will be when all that was placed has been put in place."""

    def __init__(self, found: Iterable[Node]) -> None:
        self.leaves: dict[Label, Leaf] = {}
        self.surplus: list[int] = []
        """Handles of what is of ours, but of no use: filters, links, and tables no link leads to, in this order."""
        self._links: list[tuple[Shape, Link]] = []
        """In the order in which they are asked."""
        self._used: dict[int, set[int]] = {}
        """By table and bucket, which is a handle without its last 12 bits: the nodes that are taken."""
        self._last: dict[int, int] = {}
        """By bucket and half: the number given last. One that is free again is given late, lest it be taken for its
        predecessor by whoever is about to remove that."""
        nodes = list(found)
        links = {each.table: each for each in nodes if isinstance(each, Link)}
        self._taken = {each.node for each in links.values()}
        self._numbers = {each.handle >> 20 for each in nodes if isinstance(each, Table)}
        shapes: dict[int, Shape] = {}
        self.shared = any(isinstance(each, Other) for each in nodes)
        """Whether somebody else has filters of our preference."""
        strangers = {each.handle & 0xFFF00000 for each in nodes if isinstance(each, Other)}
        for other in (each for each in nodes if isinstance(each, Other)):
            if other.handle >> 20 in TABLES:
                self._take(other.handle)
            else:
                self._taken.add(other.handle & 0xFFF)
        for leaf in sorted((each for each in nodes if isinstance(each, Leaf)), key=lambda each: each.expires):
            self._adopt(leaf, links, shapes)
        for table, link in links.items():
            if table in shapes:
                self._links.append((shapes[table], link))
            else:
                self.surplus.append(link.handle)
        self._links.sort(key=lambda each: each[1].node)
        # A table goes after the link to it.
        self.surplus += [
            each.handle
            for each in nodes
            if isinstance(each, Table)
            and each.handle not in shapes
            and each.handle >> 20 in TABLES
            and each.handle not in strangers
        ]

    def _adopt(self, leaf: Leaf, links: dict[int, Link], shapes: dict[int, Shape]) -> None:
        table, label = leaf.handle & 0xFFF00000, label_of(leaf)
        link = links.get(table)
        self._take(leaf.handle)
        if label is None or link is None or label[1].family != link.family:
            self.surplus.append(leaf.handle)
            return
        shape = label[1].shape
        bucket = leaf.handle >> 12 & 0xFF
        if (
            shapes.setdefault(table, shape) != shape
            or link.way not in ways_of(shape)
            or link.way.bucket(leaf.keys) != bucket
        ):
            self.surplus.append(leaf.handle)
            return
        # Of two for the same packets, which a replacement that was cut short leaves, the one that lasts longer stays.
        if (older := self.leaves.get(label)) is not None:
            self.surplus.append(older.handle)
        self.leaves[label] = leaf

    @property
    def in_order(self) -> bool:
        ranks = [shape.rank for shape, _ in self._links]
        return ranks == sorted(ranks, reverse=True)

    @property
    def strays(self) -> list[int]:
        """Filters that are of no use. Empty tables and links to them are no stray: what expires leaves them."""
        return [each for each in self.surplus if each & 0xFFFFF and each >> 20 in TABLES]

    def _take(self, handle: int) -> None:
        bucket, node = handle & 0xFFFFF000, handle & 0xFFF
        self._used.setdefault(bucket, set()).add(node)
        self._last[bucket | (node & _HALF)] = node

    # -- placing

    def place(self, label: Label, rule: Rule) -> tuple[Leaf, list[int | Link]]:
        """A new filter, and what there has to be before it: numbers of new tables, and links to them. What has been
        there for the same packets is still there. Raises Unsuitable."""
        action, match = label
        if action not in (Action.GUARANTEE, Action.KEEP) or (action is Action.KEEP) != (rule.number == 0):
            raise Unsuitable(f"u32 has no rule of {action} to the class {rule.number:x}")
        keys = keys_of(match)
        needed: list[int | Link] = []
        way, table = self._table_for(label, keys)
        if table is None:
            table, needed = self._new_table(match.shape, way)
        bucket = table | way.bucket(keys) << 12
        half = _HALF if action is Action.KEEP else 0
        leaf = Leaf(self._next(bucket, half), keys, *_meaning(rule))
        self._take(leaf.handle)
        return leaf, needed

    def has(self, label: Label, rule: Rule) -> bool:
        """Whether it is there already, as far as u32 can have it."""
        leaf = self.leaves.get(label)
        return leaf is not None and (leaf.classid, leaf.expires) == _meaning(rule)

    def _table_for(self, label: Label, keys: tuple[Key, ...]) -> tuple[Way, int | None]:
        """Where a filter goes: how the table is searched, and the table, if it is there already."""
        action, match = label
        shape = match.shape
        tables = {link.way: link.table for its, link in self._links if its == shape}
        other = self.leaves.get((Action.GUARANTEE if action is Action.KEEP else Action.KEEP, match))
        if other is not None:
            # Both in one bucket, else the order of tables would decide which one is asked first.
            return next((way, table) for way, table in tables.items() if table == other.handle & 0xFFF00000)
        least: tuple[int, Way, int | None] | None = None
        for way in ways_of(shape):
            table = tables.get(way)
            load = 0 if table is None else len(self._used.get(table | way.bucket(keys) << 12, ()))
            if least is None or load < least[0]:
                least = load, way, table
            if load < CROWDED:
                break
        assert least is not None
        return least[1], least[2]

    def _new_table(self, shape: Shape, way: Way) -> tuple[int, list[int | Link]]:
        number = next((each for each in TABLES if each not in self._numbers), None)
        if number is None or len(self._links) >= MOST_LINKS:
            raise Unsuitable(
                f"there are reservations of {len(self._links)} different shapes on this line already",
                hint="reserve with prefixes and masks of the same lengths",
            )
        # Bigger ranks first; behind those of the same rank.
        at = bisect_left([tuple(-each for each in its.rank) for its, _ in self._links], tuple(-x for x in shape.rank))
        while at < len(self._links) and self._links[at][0] == shape:
            at += 1
        before = self._links[at - 1][1].node if at else 0
        after = self._links[at][1].node if at < len(self._links) else NODES.stop
        if not self._links:
            node = NODES.stop // 2
        elif at == len(self._links):
            node = min(before + STEP, (before + after) // 2)
        elif at == 0:
            node = max(after - STEP, after // 2)
        else:
            node = (before + after) // 2
        # Somebody else may have that one.
        node = next((each for each in range(node, after) if each > before and each not in self._taken), 0)
        if not node:
            raise Cramped
        self._numbers.add(number)
        self._taken.add(node)
        link = Link(node, shape.family, way, number << 20)
        self._links.insert(at, (shape, link))
        return number << 20, [number, link]

    def spread(self) -> tuple[list[Link], list[Link]]:
        """All links anew, in order and with room between them; and those they replace, which go when they are there."""
        self._links.sort(key=lambda each: tuple(-x for x in each[0].rank))
        free = [each for each in NODES if each not in self._taken]
        step = len(free) / (len(self._links) + 1)
        old = [link for _, link in self._links]
        new = [
            Link(free[int(step * (at + 1))], link.family, link.way, link.table) for at, link in enumerate(old)
        ]  # fmt: skip
        self._links = [(shape, link) for (shape, _), link in zip(self._links, new, strict=True)]
        self._taken = self._taken - {each.node for each in old} | {each.node for each in new}
        return new, old

    def _next(self, bucket: int, half: int) -> int:
        used: Collection[int] = self._used.get(bucket, frozenset())
        last = self._last.get(bucket | half, 0)
        for step in range(_HALF):
            node = half | (last + 1 + step) % _HALF
            if node and node not in used:
                return bucket | node
        raise Unsuitable("there are too many reservations that u32 looks up in the same place: 2047 at most")

    # -- what happened

    def settle(self, label: Label, leaf: Leaf) -> Leaf | None:
        """It is in place; what it replaces, which can go now."""
        replaced = self.leaves.get(label)
        self.leaves[label] = leaf
        return replaced

    def forget(self, handle: int) -> None:
        """Of a filter: it is no longer there, or never came to be."""
        bucket = self._used.get(handle & 0xFFFFF000)
        if bucket is not None:
            bucket.discard(handle & 0xFFF)
            if not bucket:
                del self._used[handle & 0xFFFFF000]

    def discard(self, handles: Collection[int]) -> None:
        """Of what was of no use: it is gone."""
        self.surplus = [each for each in self.surplus if each not in handles]
        for handle in handles:
            if handle & 0xFFFFF:
                self.forget(handle)
            else:
                self._numbers.discard(handle >> 20)

    def drop_empty(self) -> list[Link]:
        """Links to tables where nothing is: they go, and later their tables, which are surplus."""
        busy = {bucket & 0xFFF00000 for bucket in self._used}
        empty = [link for _, link in self._links if link.table not in busy]
        self._links = [each for each in self._links if each[1].table in busy]
        for link in empty:
            self._taken.discard(link.node)
            self.surplus.append(link.table)
        return empty


class Cramped(Exception):
    """There is no number between two links; they are to be spread."""
