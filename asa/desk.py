"""The reservation desk: what consumers ask of an agent about their reservations, from the wish to the end."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from asa import inquiry, pacts, reservations
from asa.errors import (
    BadRequest,
    Busy,
    Conflict,
    Elsewhere,
    Forbidden,
    NotFound,
    OverCap,
    RefusedThere,
    Short,
    Unreachable,
)
from asa.hosts import UnknownHost
from asa.ledger import Ledger
from asa.lifecycle import over
from asa.pairing import arrange
from asa.placement import NoRoute, place
from asa.records import Kind, Plan, Reservation, ReservationState
from asa.reservations import Opened
from asa.shortage import NOTHING, Said
from asa.steps import Broken, Refused
from asa.terms import asked_for, same_ends, terms_of
from asa.turns import Turns
from asa.views import Cancelled, ReservationRequest, ReservationView
from objectives import NodeId, Window, node_from_text
from objectives.fields import MAX_TIME
from objectives.pact import Arrange

if TYPE_CHECKING:
    from asa.agent import Agent

LONGEST_TEXT: Final = 255
LONGEST_PATIENCE_MS: Final = 60_000
MAX_LABELS: Final = 16
MOST_AT_ONCE: Final = 256
"""Cancelled in one transaction, so that others never wait long."""

MOST_TOLD: Final = 1_000
"""Ids in an answer."""

UNPLACEABLE: Final = (Short, OverCap, UnknownHost, NoRoute, Unreachable, RefusedThere, Elsewhere, NotFound, Busy)
"""What may pass: a consumer who wants it parked gets it parked."""


class Desk:
    """Every method may be called from any thread; the agent is ready when one is."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._keys = Turns()

    # Making one.

    def reserve(self, request: ReservationRequest, key: str | None, secret: str | None) -> ReservationView:
        agent = self._agent
        wanted = self._wanted(request, secret, agent.party.clock())
        digest = _digest(request, wanted.secret) if key is not None else ""
        with self._keys.turn(key):
            repeated = agent.books.read(lambda ledger: self._before(ledger, wanted, key, digest))
            if repeated is not None:
                return self._view(repeated)
            agent.keeper.lapse()
            return self._reserve(request, wanted, key, digest)

    def _reserve(
        self, request: ReservationRequest, wanted: Reservation, key: str | None, digest: str
    ) -> ReservationView:
        agent = self._agent
        party, now = agent.party, agent.party.clock()
        try:
            placed = place(wanted, agent.surroundings())
            # Should it be parked, its flow is known by where its ends are, as those of others are.
            wanted = replace(placed, pool=wanted.pool, claims=(), partner="")
            self._check_pool(wanted.pool)
            if request.dry_run:
                inquiry.admissible(agent, placed, request.patience_ms)
                return replace(self._view(placed), id="")
            booked = self.book(
                placed,
                lambda ledger, said: reservations.book(ledger, party.clock(), placed, key, digest, party.seeded, said),
                request.patience_ms,
            )
        except UNPLACEABLE as error:
            if not request.park or request.dry_run:
                raise
            why = f"{error.code}: {error.message}"
            booked = agent.books.transact(lambda ledger: reservations.park(ledger, now, wanted, why, key, digest))
        if booked.id == wanted.id:
            self.told(booked)
        return self._view(booked)

    def _wanted(self, request: ReservationRequest, secret: str | None, now: int) -> Reservation:
        """What is asked for, checked as far as it can be without looking anything up."""
        # The ends are checked when they are read.
        texts = {"owner": request.owner, "protocol": request.protocol}
        texts |= {f"labels[{index}]": each for index, each in enumerate(request.labels)}
        for name, text in texts.items():
            if len(text) > LONGEST_TEXT or not text.isprintable():
                raise BadRequest(f"{name} must be a printable text of at most {LONGEST_TEXT} characters")
        if len(request.labels) > MAX_LABELS:
            raise BadRequest(f"a reservation has at most {MAX_LABELS} labels")
        _check_patience(request.patience_ms)
        agent = self._agent
        params = agent.party.params()
        if not 0 <= request.hold_s <= params["max_hold"]:
            raise BadRequest(f"hold_s must be 0..{params['max_hold']} s, as the policy says, not {request.hold_s}")
        if request.hold_s and request.park:
            raise BadRequest("what is parked cannot be held too", hint="hold it, or park it")
        if request.kind not in {each.value for each in Kind}:
            raise BadRequest(f"there is no kind {request.kind[:40]!r}", hint=", ".join(Kind))
        wanted = Reservation(
            id=reservations.identifier(time.time_ns() // 1_000_000, agent.party.rng.getrandbits(25)),
            pool=request.pool,
            rate=request.rate,
            window=reservations.window_of(now, request.start, request.end, params),
            state=ReservationState.HELD if request.hold_s else ReservationState.BOOKED,
            created=now,
            changed=now,
            source=request.source,
            destination=request.destination,
            owner=request.owner,
            labels=tuple(request.labels),
            kind=Kind(request.kind),
            protocol=request.protocol,
            back=request.back,
            traffic=request.traffic,
            through=tuple(request.through),
            output=request.output,
            until=min(now + request.hold_s, request.end or MAX_TIME) if request.hold_s else None,
            secret=agent.credentials.hash(secret) if secret is not None else "",
        )
        reservations.check_kind(wanted)
        return wanted

    def _before(self, ledger: Ledger, wanted: Reservation, key: str | None, digest: str) -> Reservation | None:
        found = reservations.repeated(ledger, key, digest)
        if found is None and len(ledger.reservations) >= self._agent.config.limits.reservations:
            raise Busy("no more reservations are kept here", hint="raise limits.reservations in the configuration")
        return found

    def _check_pool(self, pool: str) -> None:
        known = self._agent.party.peers.pools
        if pool:
            self._agent.books.read(lambda ledger: reservations.check_pool(ledger, pool, known()))

    def book(
        self, wanted: Reservation, rule: Callable[[Ledger, Said], Plan[Reservation]], patience_ms: int
    ) -> Reservation:
        """Perform a rule that books ``wanted``, at the other end too if another agent has that."""
        agent = self._agent

        def lacking(ledger: Ledger) -> list[tuple[str, int, Window]]:
            return reservations.lacking(ledger, agent.party.clock(), wanted)

        def checked(ledger: Ledger, said: Said) -> Plan[Reservation]:
            plan = rule(ledger, said)
            if plan.result.id == wanted.id and plan.result.partner != wanted.partner:
                raise Conflict(f"{wanted.id} was changed meanwhile", hint="try again")
            return plan

        if not wanted.partner:
            return agent.delegator.fit(checked, lacking, patience_ms / 1000)
        peer = node_from_text(wanted.partner)
        return self.arrange(peer, wanted, checked, lacking, patience_ms)

    def arrange(
        self,
        peer: NodeId,
        wanted: Reservation,
        rule: Callable[[Ledger, Said], Plan[Reservation]],
        lacking: Callable[[Ledger], list[tuple[str, int, Window]]],
        patience_ms: int,
    ) -> Reservation:
        """Both ends, or none. Raises RefusedThere, Unreachable, and what the rule does."""
        agent, terms = self._agent, terms_of(wanted)
        try:
            return agent.delegator.converse(
                lambda until: arrange(
                    agent.party, peer, wanted.id, terms, lambda ledger: rule(ledger, NOTHING), until, lacking
                ),
                max(patience_ms, 1) / 1000,
            )
        except Refused as error:
            raise RefusedThere(
                f"{peer.name}, which serves the other end, refuses its part: {error.reason}",
                hint="nothing has changed at either end",
                details={"node": str(peer), "reason": error.reason},
            ) from None
        except Broken as error:
            raise Unreachable(
                f"{peer.name}, which serves the other end, did not answer: {error}",
                hint="nothing has changed at either end; try again",
                details={"node": str(peer)},
            ) from None

    # Changing one.

    def confirm(self, identifier: str, secret: str | None, patience_ms: int) -> ReservationView:
        agent = self._agent
        _check_patience(patience_ms)
        old, opened = self.opened(identifier, secret)
        now = agent.party.clock()
        reservations.check_opened(old, opened)
        wanted = replace(old, state=ReservationState.BOOKED, until=None)
        free = self.free(identifier)

        def rule(ledger: Ledger, said: Said) -> Plan[Reservation]:
            free(ledger)
            return reservations.confirm(ledger, agent.party.clock(), identifier, opened)

        held = old.state is ReservationState.HELD and not over(old, now)
        booked = (
            self.book(wanted, rule, patience_ms) if held else agent.books.transact(lambda ledger: rule(ledger, NOTHING))
        )
        agent.events.tell("reservation-confirmed", f"{identifier} is confirmed", id=identifier)
        return self._view(booked)

    def change(
        self,
        identifier: str,
        rate: int | None,
        back: int | None,
        end: int | str | None,
        patience_ms: int,
        secret: str | None,
    ) -> ReservationView:
        if rate is None and back is None and end is None:
            raise BadRequest("give a rate, back or an end")
        if isinstance(end, str) and end != "never":
            raise BadRequest('the end must be UNIX seconds or "never"')
        _check_patience(patience_ms)
        new_end = end if isinstance(end, int) else None
        agent = self._agent
        old, opened = self.opened(identifier, secret)
        reservations.check_opened(old, opened)
        free = self.free(identifier)

        def changed(ledger: Ledger) -> Reservation:
            free(ledger)
            found = reservations.find(ledger, identifier)
            reservations.check_opened(found, opened)
            return reservations.changed(
                found, agent.party.clock(), agent.party.params(), rate, back, new_end, end is None
            )

        wanted = agent.books.read(changed)
        made = self.book(
            wanted,
            lambda ledger, said: reservations.exchange(
                ledger, agent.party.clock(), changed(ledger), agent.party.seeded, said
            ),
            patience_ms,
        )
        agent.events.tell("reservation-changed", f"{identifier} is changed", id=identifier, rate=made.rate)
        agent.keeper.wake()
        return self._view(made)

    def free(self, identifier: str) -> Callable[[Ledger], None]:
        return lambda ledger: pacts.check_free(ledger, identifier)

    # Ending them.

    def cancel(self, identifier: str, secret: str | None) -> ReservationView:
        agent = self._agent
        now = agent.party.clock()
        _, opened = self.opened(identifier, secret)
        cancelled = agent.books.transact(lambda ledger: reservations.cancel(ledger, now, identifier, opened))
        self._ended([cancelled])
        return self._view(cancelled)

    def cancel_all(self, secret: str, owner: str | None) -> Cancelled:
        agent = self._agent
        stored = agent.books.read(lambda ledger: list(ledger.secrets))
        opened = agent.credentials.opened(secret, stored)
        if opened is None and owner is None:
            raise BadRequest("the administrator has to say whose reservations", hint="name an owner")
        count, ids = 0, list[str]()
        while True:
            now = agent.party.clock()
            gone = agent.books.transact(lambda ledger, now=now: _cancelled(ledger, now, opened, owner))  # type: ignore[misc]
            self._ended(gone)
            count += len(gone)
            ids += [each.id for each in gone][: MOST_TOLD - len(ids)]
            if len(gone) < MOST_AT_ONCE:
                return Cancelled(count, ids)

    def _ended(self, gone: list[Reservation]) -> None:
        agent = self._agent
        for each in gone:
            agent.events.tell("reservation-cancelled", f"{each.id} is cancelled", id=each.id)
        agent.flooder.wake()
        agent.keeper.wake()
        if any(each.partner for each in gone):
            agent.pact_settler.wake()

    # The other end of what another agent's consumer wants.

    def asked(self, arrange: Arrange) -> Reservation:
        """What another agent asks for, as it stands here. Raises what placing it does, Busy, Elsewhere."""
        agent = self._agent
        now, terms = agent.party.clock(), arrange.terms
        existing = agent.books.read(lambda ledger: ledger.reservations.get(arrange.id))
        ours = existing is not None and existing.partner == str(arrange.node)
        wanted = asked_for(arrange.id, terms, arrange.node, now, existing if ours else None)
        if existing is not None and ours and same_ends(existing, wanted):
            return wanted
        if not ours:
            agent.books.read(lambda ledger: self._before(ledger, wanted, None, ""))
        agent.keeper.lapse()
        placed = place(wanted, agent.surroundings(), anew=True, partner=arrange.node)
        if placed.source != wanted.source:
            raise Elsewhere(f"{terms.source} is not behind {agent.party.me.name}", hint="it serves other prefixes")
        if placed.kind is Kind.TWO_WAY:
            return placed
        # It moves here, and is this agent's alone from now on.
        if existing is not None:
            raise Conflict(f"the id {arrange.id} is taken")
        return replace(placed, partner="")

    # Who may.

    def check_admin(self, secret: str | None) -> None:
        """Raises Forbidden if there is an administrator's secret and this is not it."""
        credentials = self._agent.credentials
        if credentials.guarded and credentials.opened(secret, ()) is not None:
            raise Forbidden("this takes the administrator's secret", hint="--secret-file")

    def opened(self, identifier: str, secret: str | None) -> tuple[Reservation, Opened]:
        """A reservation, and what the secret opens of it."""
        found = self._agent.books.read(lambda ledger: reservations.find(ledger, identifier))
        return found, self._agent.credentials.opened(secret, [found.secret] if found.secret else [])

    # What is shown and told.

    def _view(self, reservation: Reservation) -> ReservationView:
        return self._agent.view_of(reservation)

    def told(self, booked: Reservation) -> None:
        what = f"{booked.rate} bit/s of {booked.pool}" if booked.rate else str(booked.kind)
        fields = {"id": booked.id, "pool": booked.pool, "rate": booked.rate}
        events = self._agent.events
        if booked.state is ReservationState.PARKED:
            events.tell("reservation-parked", f"{what} is parked as {booked.id}: {booked.why}", **fields)
        elif booked.state is ReservationState.HELD:
            events.tell("reservation-held", f"{what} is held as {booked.id}", **fields)
        else:
            events.tell("reservation-booked", f"{what} is booked as {booked.id}", **fields)
        self._agent.keeper.booked(booked)


def _cancelled(ledger: Ledger, now: int, opened: Opened, owner: str | None) -> Plan[list[Reservation]]:
    plans = [
        reservations.cancel(ledger, now, each, opened)
        for each in reservations.mine(ledger, opened, owner, now, MOST_AT_ONCE)
    ]
    return Plan(tuple(change for plan in plans for change in plan.changes), [plan.result for plan in plans])


def _check_patience(patience_ms: int) -> None:
    if not 0 <= patience_ms <= LONGEST_PATIENCE_MS:
        raise BadRequest(f"patience_ms must be 0..{LONGEST_PATIENCE_MS}")


def _digest(request: ReservationRequest, secret: str) -> str:
    """What makes two requests the same: all of it but the patience, and the owner's secret, hashed."""
    return hashlib.sha256(repr((replace(request, patience_ms=0), secret)).encode()).hexdigest()[:32]
