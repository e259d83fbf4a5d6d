"""Asking every agent of the domain for its holdings, until what they say belongs to one moment."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Final

import grasp
from asa import audit, oversight
from asa.books import Books
from asa.identity import forgotten_by
from asa.performer import peer_of
from asa.steps import Party
from asa.views import Audit
from grasp import GraspError
from grasp.arguments import Somewhere
from objectives import InvalidValue, NodeId
from objectives.holdings import HoldingsPage, SeedRow, page_from_value

MOST_ROUNDS: Final = 8
"""Readings of all agents; two alike in a row show one moment."""

READERS: Final = 8
"""Agents read at once."""

TIMEOUT_MS: Final = 3_000
TRIES: Final = 3
"""For the pages of one agent to be of one version."""

PAUSE_S: Final = 0.2


def collect(
    asa: grasp.ASA,
    objective: str,
    party: Party,
    books: Books,
    pool: str | None,
    may_seed: Callable[[str, str], bool] = lambda name, pool: True,
) -> Audit:
    """Read all agents known, this one too, twice or more, and judge.

    What an agent says it has seeded counts if ``may_seed`` says that it may, by its name and the pool's.
    """
    before: dict[NodeId, int] = {}
    states: dict[NodeId, Sequence[HoldingsPage]] = {}
    unreachable: set[str] = set()
    at_rest = False
    rounds = 0
    with ThreadPoolExecutor(READERS, "asa-auditor") as readers:
        while not at_rest and rounds < MOST_ROUNDS:
            if rounds > 1:
                time.sleep(PAUSE_S * party.rng.uniform(0.5, 1.5))
            rounds += 1
            whereabouts = {each.node: each.locator for each in party.peers.everyone() if each.state != "left"}
            read = {node: readers.submit(_read, asa, objective, node, where) for node, where in whereabouts.items()}
            found = {node: future.result() for node, future in read.items()}
            states = {node: pages for node, pages in found.items() if pages is not None}
            states[party.me] = books.read(oversight.holdings)
            unreachable = {str(node) for node in whereabouts if node not in states}
            for told in states.values():
                unreachable |= {str(each) for each in told[0].known if each not in states and _missed(party, each)}
            versions = audit.versions(states)
            at_rest = rounds > 1 and versions == before
            before = versions
    unreachable -= books.read(forgotten_by)
    states = {node: [_seeded(page, may_seed) for page in pages] for node, pages in states.items()}
    return audit.judge(states, unreachable, party.clock(), at_rest=at_rest, rounds=rounds, only=pool)


def _seeded(page: HoldingsPage, may_seed: Callable[[str, str], bool]) -> HoldingsPage:
    rows = (each for each in page.rows if not isinstance(each, SeedRow) or may_seed(page.node.name, each.pool))
    return replace(page, rows=tuple(rows))


def _missed(party: Party, node: NodeId) -> bool:
    """Whether a node others know should have been read: not if it has said that it left."""
    return all(each.node != node or each.state != "left" for each in party.peers.everyone())


def _read(asa: grasp.ASA, objective: str, node: NodeId, where: str) -> list[HoldingsPage] | None:
    for _ in range(TRIES):
        try:
            peer = peer_of(where, node.name)
            pages = [_page(asa, objective, peer, 0)]
            pages += [_page(asa, objective, peer, number) for number in range(1, pages[0].pages)]
        except (GraspError, InvalidValue, ValueError, OSError):
            return None
        if audit.whole(pages):
            return pages if pages[0].node == node else None
    return None


def _page(asa: grasp.ASA, objective: str, peer: Somewhere, number: int) -> HoldingsPage:
    name = f"{objective}.{number}" if number else objective
    return page_from_value(asa.synchronize(name, peer, TIMEOUT_MS).value)
