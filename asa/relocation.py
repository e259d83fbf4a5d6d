"""Placing reservations anew: ends that moved, and what was parked."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from asa import reservations
from asa.errors import AsaError, BadRequest, Conflict, Elsewhere
from asa.flows import endpoint_from_text
from asa.ledger import Ledger
from asa.lifecycle import over
from asa.listing import names_host
from asa.placement import located, place
from asa.reach import covers
from asa.records import BANDWIDTH, Kind, Plan, Reservation, ReservationState
from asa.shortage import Said
from asa.views import Refreshed
from objectives import NodeId, node_from_text
from objectives.reach import Prefix

if TYPE_CHECKING:
    from asa.agent import Agent

PATIENCE_MS: Final = 10_000
"""Peers may be asked so long for one reservation."""

MOST_TOLD: Final = 1_000
"""Reservations of a host placed anew at once."""


class Relocation:
    """Every method may be called from any thread."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._desk = agent.desk

    def refresh(self, host: str | None, identifier: str | None, secret: str | None) -> Refreshed:
        agent = self._agent
        if (host is None) == (identifier is None):
            raise BadRequest("give a host or the id of a reservation")
        if identifier is not None:
            found, opened = self._desk.opened(identifier, secret)
            reservations.check_opened(found, opened)
            reservations.check_running(found, agent.party.clock())
            ids = [identifier]
        else:
            self._desk.check_admin(secret)
            now = agent.party.clock()
            ids = agent.books.read(
                lambda ledger: [
                    each.id
                    for each in ledger.reservations.values()
                    if host is not None and names_host(each, host) and not over(each, now)
                ][:MOST_TOLD]
            )
        result = Refreshed([], [], {})
        for each in ids:
            try:
                (result.moved if self.place(each) else result.same).append(each)
            except AsaError as error:
                result.failed[each] = error.message
        return result

    def place(self, identifier: str) -> bool:
        """Place one anew; whether it takes something else then. Raises what placing and booking it does."""
        agent = self._agent
        party = agent.party
        old = agent.books.read(lambda ledger: reservations.find(ledger, identifier))
        if old.state is ReservationState.PARKED:
            return self.retry(old)
        around = agent.surroundings()
        try:
            new = place(old, around, anew=True)
            here = bool(around.serves) and around.local(endpoint_from_text(new.destination).place)
            if old.partner and not new.partner and old.kind is Kind.TWO_WAY and not here:
                # Nobody says that the agent there has it no more.
                new = place(old, around, anew=True, partner=node_from_text(old.partner))
        except Elsewhere as error:
            self._move(old, node_from_text(error.details["node"]))
            return True
        if new == old:
            return False
        new = replace(new, changed=party.clock())
        free = self._desk.free(identifier)

        def rule(ledger: Ledger, said: Said) -> Plan[Reservation]:
            free(ledger)
            reservations.check_same(reservations.find(ledger, identifier), old)
            plan = reservations.exchange(ledger, party.clock(), new, party.seeded, said)
            moved = old.partner != new.partner
            told = reservations.told_off(ledger, party.clock(), old, "the other end moved") if moved else ()
            return Plan((*plan.changes, *told), plan.result)

        self._desk.book(new, rule, PATIENCE_MS)
        agent.pact_settler.wake()
        agent.events.tell("reservation-moved", f"{identifier} is placed anew", id=identifier)
        return True

    def _move(self, old: Reservation, node: NodeId) -> None:
        """Its own end is behind another agent now, which takes it over under the same id."""
        if old.kind is not Kind.ONE_WAY:
            raise Conflict(
                f"{node.name} serves {old.source} now",
                hint="the agent at its other end places it anew; without one, cancel it here and reserve it there",
            )
        agent = self._agent
        new = located(old, agent.surroundings())

        def rule(ledger: Ledger, said: Said) -> Plan[Reservation]:
            return reservations.moved(ledger, agent.party.clock(), new, node)

        self._desk.arrange(node, new, rule, lambda ledger: [], PATIENCE_MS)
        agent.events.tell("reservation-moved", f"{old.id} is at {node.name} now", id=old.id, peer=str(node))

    def astray(self, node: NodeId, prefixes: Collection[Prefix]) -> list[str]:
        """The ids of reservations with an end within prefixes that ``node`` serves now, who does not have that end.

        Nobody may have had it until now: then this agent has both directions.
        """
        agent = self._agent
        now, local = agent.party.clock(), agent.surroundings().local
        known = agent.books.read(lambda ledger: list(ledger.reservations.values()))

        def within(text: str) -> bool:
            end = endpoint_from_text(text).place
            return any(covers(each, end) for each in prefixes) and not local(end)

        return [
            each.id
            for each in known
            if each.kind in BANDWIDTH
            and not over(each, now)
            and (
                (each.kind is Kind.TWO_WAY and each.partner != str(node) and within(each.destination))
                or within(each.source)
            )
        ]

    def retry(self, parked: Reservation) -> bool:
        """Try again to place what is parked; True if it is booked. Raises what keeps it parked."""
        agent = self._agent
        party = agent.party
        # It never had a pool but the one its consumer named.
        placed = place(parked, agent.surroundings())
        booked = self._desk.book(
            replace(placed, state=ReservationState.BOOKED),
            lambda ledger, said: reservations.unpark(ledger, party.clock(), parked, placed, party.seeded, said),
            PATIENCE_MS,
        )
        self._desk.told(booked)
        return True
