"""Taking in what other agents flood: who they are, and the policy."""

from __future__ import annotations

import time
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from socket import IPPROTO_TCP
from typing import TYPE_CHECKING, Final

from asa import oversight, pacts
from asa.errors import StoreFailed
from asa.ledger import Ledger
from asa.peers import MOST_INSTANCES
from asa.performer import peer_of, text_of
from asa.records import Change, Contact, Plan, removed
from asa.seals import Opened, Unsealed, check_age
from asa.threads.flooder import LIVES, PEERS_PER_SECOND
from asa.views import SeedView
from grasp import GraspError, IPv4Locator, IPv6Locator, Locator, Objective, TaggedObjective
from grasp.calls import Peer
from objectives import Block, InvalidValue, NodeId
from objectives.agent import Announcement, PoolSummary, announcement_from_value
from objectives.block import peak
from objectives.holdings import EscrowRow, HeldRow, HoldingsPage, SeedRow, page_from_value
from objectives.reach import Prefix, Reach, reach_from_value

if TYPE_CHECKING:
    from asa.agent import Agent

NAMESAKE: Final = "namesake"
RIVALS: Final = "seeds-overlap"
SEARCH_S: Final = 5.0
SEARCH_MS: Final = 300
LINKS_S: Final = 4.0
LOOK_S: Final = 0.05
MOST_READ: Final = 32
"""Agents asked what they hold before a first seeding."""


class Neighbourhood:
    """Called by the GRASP node's threads, for every flood once."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._next_search = 0.0

    def listen(self) -> None:
        """Also take in what was flooded before."""
        agent = self._agent
        for name, take in (
            (agent.names.agent, self._announced),
            (agent.names.params, self._params),
            (agent.names.reach, self._reached),
        ):
            agent.asa.on_flood(name, take)
            for tagged in agent.asa.floods(name):
                take(tagged)
        agent.node.on_neighbour(self._neighbour)

    def _neighbour(self, _: int) -> None:
        """Somebody can be reached who may not have heard of anything."""
        self._agent.flooder.greet()
        if self._agent.warden is not None:
            self._agent.warden.greet()

    def listen_for(self, seconds: float) -> dict[str, list[Block]]:
        """Wait for announcements; the blocks that the agents heard or found then hold or gave away, by pool."""
        agent = self._agent
        self._await_links()
        until = time.monotonic() + seconds
        self.search()
        time.sleep(max(0.0, until - time.monotonic()))
        held: dict[str, list[Block]] = {}
        for peer in agent.peers.everyone()[:MOST_READ]:
            try:
                where = peer_of(peer.locator, peer.node.name)
                page = page_from_value(agent.asa.synchronize(agent.names.holdings, where, SEARCH_MS).value)
            except (GraspError, InvalidValue, ValueError, OSError):
                continue
            for row in page.rows:
                if isinstance(row, HeldRow | EscrowRow):
                    held.setdefault(row.pool, []).append(row.block)
        return held

    def _await_links(self) -> None:
        """In a domain nobody can be heard before there is a link with a neighbour, if there is a neighbour."""
        node, until = self._agent.node, time.monotonic() + LINKS_S
        while node.secured and time.monotonic() < until and not any(each.member for each in node.neighbours):
            time.sleep(LOOK_S)

    def search(self) -> None:
        """Discover a peer (RFC 9222 App. C), for as long as none is heard; at most once in SEARCH_S."""
        agent, now = self._agent, time.monotonic()
        if now < self._next_search:
            return
        self._next_search = now + SEARCH_S * agent.party.rng.uniform(0.5, 1.5)
        name = agent.names.holdings
        try:
            for found in agent.asa.discover(Objective.synchronization(name), SEARCH_MS, minimum_ttl=0):
                where = text_of(found.locator, found.interface)
                page = page_from_value(agent.asa.synchronize(name, found, SEARCH_MS).value)
                if agent.seals.needed:
                    # Who it says it is has to be who answers there.
                    claimed = Peer(found.locator, found.interface, page.node.name)
                    page = page_from_value(agent.asa.synchronize(name, claimed, SEARCH_MS).value)
                    if claimed.member != page.node.name:
                        continue
                if where and page.node != agent.party.me:
                    # Everything it floods is newer than this.
                    self._heard(Announcement(page.node, 0, "active", _summaries(page)), where)
        except (GraspError, InvalidValue):
            pass

    def _params(self, tagged: TaggedObjective) -> None:
        try:
            self._agent.policy.received(tagged.objective.value)
        except StoreFailed:
            # The next flood comes; what is not remembered is not obeyed either.
            pass

    def _opened(self, tagged: TaggedObjective) -> Opened:
        """What was flooded. Raises :class:`Unsealed`, and lets nobody find it in the cache."""
        try:
            return self._agent.seals.open(tagged.objective.name, tagged.objective.value)
        except Unsealed:
            self._agent.discard(tagged)
            raise

    def _check(self, said: Announcement | Reach, opened: Opened) -> None:
        """Raises :class:`Unsealed` if it was sealed by another, or is repeated by one who kept it."""
        agent = self._agent
        opened.claimed_by(said.node.name)
        if opened.member is not None:
            interval = max(agent.policy.params["flood_interval"], agent.peers.crowd() / PEERS_PER_SECOND)
            check_age(said.sequence, agent.wall(), LIVES * interval)

    def _reached(self, tagged: TaggedObjective) -> None:
        agent, now = self._agent, time.monotonic()
        try:
            opened = self._opened(tagged)
            said = reach_from_value(opened.value)
            self._check(said, opened)
        except InvalidValue as error:
            agent.complain(f"prefixes: {error}")
            return
        if agent.whereabouts.map.heard(now, said):
            self._remember(said)
            agent.events.tell(
                "peer-serves", f"{said.node.name} serves {', '.join(map(str, said.prefixes))}", peer=str(said.node)
            )
            agent.keeper.served(said.node, said.prefixes)

    def _remember(self, said: Reach) -> None:
        """So that the next life knows at once who has the other ends."""
        agent = self._agent
        prefixes = agent.whereabouts.map.of(said.node)

        def remembered(ledger: Ledger) -> Plan[None]:
            old = ledger.contacts.get(str(said.node))
            new = replace(old, serves=prefixes) if old is not None else None
            return Plan((Change(old, new),) if old is not None and new != old else (), None)

        try:
            agent.books.transact(remembered)
        except StoreFailed:
            pass

    def _announced(self, tagged: TaggedObjective) -> None:
        agent = self._agent
        try:
            opened = self._opened(tagged)
            said = announcement_from_value(opened.value)
            self._check(said, opened)
        except InvalidValue as error:
            agent.complain(f"an announcement: {error}")
            return
        if said.node == agent.party.me:
            return
        # A relay could alter the locator beside a sealed value, but not the address within.
        sealed = _locator(said) if opened.member is not None else None
        where = text_of(sealed, 0) if sealed is not None else text_of(tagged.locator, tagged.interface)
        if not where:
            agent.complain("an announcement without a locator TCP can reach")
            return
        self._heard(said, where)

    def _heard(self, said: Announcement, where: str) -> None:
        agent = self._agent
        said = self._allowed(said)
        news = agent.peers.heard(time.monotonic(), said, where)
        for gone in agent.peers.replaced(time.monotonic(), said.node, LIVES * agent.policy.params["flood_interval"]):
            self._forget(gone, said)
        if not news:
            self._look(said)
            return
        try:
            most = agent.config.limits.peers
            serves = agent.whereabouts.map.of(said.node)
            agent.books.transact(lambda ledger: _contact(ledger, said, where, agent.party.clock(), most, serves))
        except StoreFailed:
            pass
        agent.events.tell(
            "peer-heard", f"{said.node.name} is {said.state} at {where}", peer=str(said.node), state=said.state
        )
        if said.state == "left":
            agent.whereabouts.map.forget(said.node)
        if said.state == "active":
            agent.flooder.greet()
            agent.synchronizer.heard(where, said.node.name)
        agent.delegator.wake()
        agent.settler.wake()
        agent.pact_settler.wake()
        self._look(said)

    def _allowed(self, said: Announcement) -> Announcement:
        """Without the seeds of pools it may not be an origin of."""
        agent, name = self._agent, said.node.name
        usurped = {each.name for each in said.pools if each.seeds and not agent.authority.may_seed(name, each.name)}
        for pool in sorted(usurped):
            agent.complain(f"{name} may not bring capacity into {pool}")
        if not usurped:
            return said
        pools = (replace(each, seeds=()) if each.name in usurped else each for each in said.pools)
        return replace(said, pools=tuple(pools))

    def _forget(self, gone: NodeId, said: Announcement) -> None:
        def forgotten(ledger: Ledger) -> Plan[None]:
            contact = removed([ledger.contacts[str(gone)]] if str(gone) in ledger.contacts else ())
            return Plan((*contact, *pacts.forget(ledger, self._agent.party.clock(), gone).changes), None)

        try:
            self._agent.books.transact(forgotten)
        except StoreFailed:
            pass
        self._agent.events.tell("peer-replaced", f"{said.node} is in the place of {gone}", peer=str(said.node))

    def _look(self, said: Announcement) -> None:
        """What may be wrong with the domain as a whole."""
        agent = self._agent
        silent = LIVES * agent.policy.params["flood_interval"]
        others = ", ".join(sorted(map(str, agent.peers.namesakes(time.monotonic(), silent)))[:4])
        agent.problem(
            NAMESAKE, f"another agent has the name of this one, {agent.party.me}: {others}" if others else None
        )
        for pool in {each.name for each in said.pools if each.seeds}:
            own = agent.books.read(lambda ledger, pool=pool: list(ledger.account(pool).seeds.values()))  # type: ignore[misc]
            seeds = [SeedView(each.low, each.high, str(agent.party.me)) for each in own]
            seeds += [SeedView(*each) for each in agent.peers.seeds(pool)]
            found = oversight.rivals(seeds)
            text = "; ".join(f"{one} and {other} seeded overlapping ranges of {pool}" for one, other in found[:4])
            agent.problem(f"{RIVALS}:{pool}", text or None)


def _locator(said: Announcement) -> Locator | None:
    """Where an agent says it is, if it does."""
    if said.at is None:
        return None
    packed, port = said.at
    if len(packed) == 4:
        return IPv4Locator(IPv4Address(packed), IPPROTO_TCP, port)
    return IPv6Locator(IPv6Address(packed), IPPROTO_TCP, port)


def _summaries(page: HoldingsPage) -> tuple[PoolSummary, ...]:
    """What the first page of an agent's holdings tells of its pools."""
    seeds: dict[str, list[tuple[int, int]]] = {}
    held: dict[str, list[Block]] = {}
    for row in page.rows:
        if isinstance(row, SeedRow):
            seeds.setdefault(row.pool, []).append((row.low, row.high))
        elif isinstance(row, HeldRow):
            held.setdefault(row.pool, []).append(row.block)
    return tuple(
        PoolSummary(pool, peak(held.get(pool, ())), tuple(seeds.get(pool, ()))) for pool in sorted({*seeds, *held})
    )


def _contact(
    ledger: Ledger, said: Announcement, where: str, now: int, most: int, serves: tuple[Prefix, ...]
) -> Plan[None]:
    """Remember where a peer is, for the next life; one that left needs no remembering.

    Above ``most``, or MOST_INSTANCES of one name, no more are remembered: those there are were there first, and others
    will be heard again.
    """
    old = ledger.contacts.get(str(said.node))
    new = Contact(said.node, where, now, serves) if said.state != "left" else None
    if old is None:
        namesakes = sum(each.node.name == said.node.name for each in ledger.contacts.values())
        if new is None or len(ledger.contacts) >= most or namesakes >= MOST_INSTANCES:
            return Plan((), None)
    return Plan((Change(old, new),), None)
