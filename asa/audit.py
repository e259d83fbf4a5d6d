"""Whether the blocks of all agents partition what was seeded: nothing missing, nothing twice. No I/O."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from asa.pool import merged
from asa.views import Audit, AuditPool, BlockView, SeedView
from objectives import Block, NodeId
from objectives.block import before
from objectives.holdings import AcceptedRow, EscrowRow, HeldRow, HoldingsPage, SeedRow

MOST_EXAMPLES: Final = 16
_FOREVER: Final = 2**62

State = Sequence[HoldingsPage]
"""All pages of one agent, of one version."""


def whole(pages: State) -> bool:
    """Whether these pages are one complete state."""
    return (
        bool(pages)
        and [each.page for each in pages] == list(range(pages[0].pages))
        and {(each.node, each.version, each.pages) for each in pages}
        == {(pages[0].node, pages[0].version, pages[0].pages)}
    )


def versions(states: Mapping[NodeId, State]) -> dict[NodeId, int]:
    return {node: pages[0].version for node, pages in states.items()}


def judge(
    states: Mapping[NodeId, State],
    unreachable: Iterable[str],
    now: int,
    *,
    at_rest: bool,
    rounds: int,
    only: str | None = None,
) -> Audit:
    """The verdict on what all agents reported.

    ``at_rest``: nothing changed between two readings of every agent, so that there was a moment at which all of it
    was true together. A block in escrow is the requester's if that reports to have accepted it, else it is in motion.
    """
    missing_agents = sorted(unreachable)
    accepted = {
        (row.txn, row.peer, node)
        for node, pages in states.items()
        for page in pages
        for row in page.rows
        if isinstance(row, AcceptedRow)
    }
    seeds: dict[str, list[tuple[Block, NodeId]]] = defaultdict(list)
    held: dict[str, list[Block]] = defaultdict(list)
    motion: dict[str, list[Block]] = defaultdict(list)
    for node, pages in states.items():
        for page in pages:
            for row in page.rows:
                match row:
                    case SeedRow():
                        seeds[row.pool].append((Block(row.low, row.high, now, None), node))
                    case HeldRow():
                        held[row.pool] += _from(row.block, now)
                    case EscrowRow() if (row.txn, node, row.peer) not in accepted:
                        motion[row.pool] += _from(row.block, now)
    names = sorted({*seeds, *held, *motion} if only is None else {only})
    pools = [_pool(name, seeds[name], held[name], motion[name], now) for name in names]
    ok = at_rest and not missing_agents and all(each.ok for each in pools)
    return Audit(ok, at_rest, rounds, sorted(map(str, states)), missing_agents, pools)


def _from(block: Block, now: int) -> list[Block]:
    if block.window.passed(now):
        return []
    return [Block(block.low, block.high, max(block.start, now), block.end)]


def _pool(name: str, seeds: list[tuple[Block, NodeId]], held: list[Block], motion: list[Block], now: int) -> AuditPool:
    whole_seed, overlapping = _union([each for each, _ in seeds])
    found, twice = _union([*held, *motion])
    missing = _without(whole_seed, found)
    foreign = _without(found, whole_seed)
    rivals = [
        SeedView(seed.low, seed.high, str(node))
        for seed, node in seeds
        if any(seed.low < each.high and each.low < seed.high for each in overlapping)
    ]
    return AuditPool(
        pool=name,
        seeded=sum(each.amount for each in whole_seed),
        held=sum(each.amount for each in held if each.start <= now),
        in_motion=sum(each.amount for each in motion if each.start <= now),
        ok=not (missing or twice or foreign or rivals),
        missing=_examples(missing),
        twice=_examples(twice),
        foreign=_examples(foreign),
        overlapping_seeds=rivals[:MOST_EXAMPLES],
    )


def _examples(blocks: list[Block]) -> list[BlockView]:
    return [BlockView(each.low, each.high, each.start, each.end) for each in blocks[:MOST_EXAMPLES]]


def lacking(whole: list[Block], parts: list[Block]) -> list[Block]:
    """What of ``whole`` the ``parts`` do not cover; whole is disjoint in itself."""
    return _without(whole, _union(parts)[0])


def _union(blocks: list[Block]) -> tuple[list[Block], list[Block]]:
    """What the blocks cover, as disjoint blocks, and what they cover more than once.

    Sweeps over time: between two of the times at which a block starts or ends, the same ranges are covered.
    """
    times = sorted({each.start for each in blocks} | {each.end for each in blocks if each.end is not None})
    starting: dict[int, list[Block]] = defaultdict(list)
    for block in blocks:
        starting[block.start].append(block)
    covered: list[Block] = []
    twice: list[Block] = []
    active: list[Block] = []
    for index, time in enumerate(times):
        end = times[index + 1] if index + 1 < len(times) else None
        active = [each for each in active if before(time, each.end)]
        active = sorted(active + starting[time], key=lambda each: each.low)
        reach: int | None = None
        begin = 0
        for block in active:
            if reach is not None and block.low < reach:
                twice.append(Block(block.low, min(reach, block.high), time, end))
            if reach is None:
                begin, reach = block.low, block.high
            elif block.low <= reach:
                reach = max(reach, block.high)
            else:
                covered.append(Block(begin, reach, time, end))
                begin, reach = block.low, block.high
        if reach is not None:
            covered.append(Block(begin, reach, time, end))
    return merged(covered), twice


def _without(blocks: list[Block], others: list[Block]) -> list[Block]:
    """What ``blocks`` cover and ``others`` do not; both disjoint in themselves."""
    left: list[Block] = []
    for block in blocks:
        rest = [block]
        for other in others:
            if other.overlaps(block):
                rest = [piece for each in rest for piece in each.minus(other)]
        left += rest
    return merged(left)
