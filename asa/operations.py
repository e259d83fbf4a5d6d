"""What consumers and operators may ask of a running agent: :class:`~asa.service.Service` made real."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from asa import inquiry, oversight, reservations, transfer
from asa.auditor import collect
from asa.errors import BadRequest, Busy, Conflict, NotFound, NotReady, Short, UnknownTransfer
from asa.ledger import Ledger
from asa.manifest import manifest
from asa.records import Change, Fact, Plan, Reservation, ReservationState
from asa.threads.flooder import LIVES
from asa.views import (
    Audit,
    Availability,
    Events,
    Health,
    Page,
    ParamsView,
    ParamView,
    PeerView,
    PoolDetail,
    PoolView,
    ReservationRequest,
    ReservationView,
    Status,
    TransferView,
)
from objectives import Window, node_from_text
from objectives.params import PARAMETERS

if TYPE_CHECKING:
    from asa.agent import Agent

LONGEST_TEXT: Final = 255
LONGEST_PATIENCE_MS: Final = 60_000
STEPS: Final = 200
ACTIVE: Final = "active"


class Operations:
    """The north side of one agent. Every method may be called from any thread."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    # Reservations.

    def reserve(self, request: ReservationRequest, key: str | None = None) -> ReservationView:
        agent = self._ready()
        party, now = agent.party, agent.party.clock()
        reservations.check_rate(request.rate)
        for name in "source", "destination", "owner", "label":
            text = getattr(request, name)
            if len(text) > LONGEST_TEXT or not text.isprintable():
                raise BadRequest(f"{name} must be a printable text of at most {LONGEST_TEXT} characters")
        if not 0 <= request.patience_ms <= LONGEST_PATIENCE_MS:
            raise BadRequest(f"patience_ms must be 0..{LONGEST_PATIENCE_MS}")
        digest = _digest(request) if key is not None else ""

        def before(ledger: Ledger) -> Reservation | None:
            found = reservations.repeated(ledger, key, digest)
            if found is None:
                if request.pool not in ledger.accounts:
                    reservations.check_pool(ledger, request.pool, party.peers.pools())
                if len(ledger.reservations) >= agent.config.limits.reservations:
                    raise Busy(
                        "no more reservations are kept here", hint="raise limits.reservations in the configuration"
                    )
            return found

        repeated = agent.books.read(before)
        if repeated is not None:
            return reservations.view_of(repeated, now)
        wanted = Reservation(
            id=reservations.identifier(time.time_ns() // 1_000_000, party.rng.getrandbits(25)),
            pool=request.pool,
            rate=request.rate,
            window=reservations.window_of(now, request.start, request.end, party.params()),
            state=ReservationState.BOOKED,
            created=now,
            changed=now,
            source=request.source,
            destination=request.destination,
            owner=request.owner,
            label=request.label,
        )
        if request.dry_run:
            inquiry.admissible(agent, wanted, request.patience_ms)
            return replace(reservations.view_of(wanted, now), id="")
        booked = agent.delegator.reserve(wanted, request.patience_ms / 1000, key, digest)
        if booked.id == wanted.id:
            agent.events.tell(
                "reservation-booked",
                f"{booked.rate} bit/s of {booked.pool} are booked as {booked.id}",
                id=booked.id,
                pool=booked.pool,
                rate=booked.rate,
            )
        return reservations.view_of(booked, now)

    def reservation(self, identifier: str) -> ReservationView:
        now = self._agent.party.clock()
        return reservations.view_of(self._agent.books.read(lambda ledger: reservations.find(ledger, identifier)), now)

    def reservations(
        self,
        *,
        pool: str | None = None,
        state: str | None = None,
        owner: str | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> Page:
        now = self._agent.party.clock()
        return self._agent.books.read(
            lambda ledger: reservations.page(ledger, now, pool=pool, state=state, owner=owner, after=after, limit=limit)
        )

    def cancel(self, identifier: str) -> ReservationView:
        agent = self._ready()
        now = agent.party.clock()
        cancelled = agent.books.transact(lambda ledger: reservations.cancel(ledger, now, identifier))
        agent.events.tell("reservation-cancelled", f"{identifier} is cancelled", id=identifier)
        agent.flooder.wake()
        return reservations.view_of(cancelled, now)

    def change(
        self, identifier: str, *, rate: int | None = None, end: int | str | None = None, patience_ms: int = 5_000
    ) -> ReservationView:
        agent = self._ready()
        if rate is None and end is None:
            raise BadRequest("give a rate or an end")
        if isinstance(end, str) and end != "never":
            raise BadRequest('the end must be UNIX seconds or "never"')
        new_end = end if isinstance(end, int) else None
        until = time.monotonic() + min(patience_ms, LONGEST_PATIENCE_MS) / 1000
        asked: list[str] = []
        more = True
        while True:
            now = agent.party.clock()
            try:
                changed = agent.books.transact(
                    lambda ledger, now=now: reservations.change(  # type: ignore[misc]
                        ledger, now, identifier, agent.party.params(), rate, new_end, end is None, asked
                    )
                )
                break
            except Short:
                if not more:
                    raise
                # Once nothing more comes it is tried a last time, and the refusal tells what peers said.
                more = self._obtain_for(identifier, rate, new_end, end is None, until, asked)
        agent.events.tell("reservation-changed", f"{identifier} is changed", id=identifier, rate=changed.rate)
        return reservations.view_of(changed, now)

    def _obtain_for(
        self, identifier: str, rate: int | None, end: int | None, keep: bool, until: float, asked: list[str]
    ) -> bool:
        """Bring what a change lacks; False if nothing came."""
        agent = self._agent
        left = until - time.monotonic()
        if left <= 0 or not agent.party.active():
            return False

        def lacking(ledger: Ledger) -> tuple[str, int, Window] | None:
            old = reservations.find(ledger, identifier)
            more = reservations.growth(old, agent.party.clock(), rate or old.rate, old.window.end if keep else end)
            missing = reservations.needs(ledger, old.pool, *more) if more is not None else []
            return (old.pool, *missing[0]) if missing else None

        missing = agent.books.read(lacking)
        if missing is None:
            return False
        got = agent.delegator.obtain(*missing, left)
        asked += got.refusals
        return got.rate > 0

    def availability(
        self,
        pool: str,
        *,
        start: int | None = None,
        end: int | None = None,
        rate: int | None = None,
        duration: int | None = None,
        patience_ms: int = 0,
    ) -> Availability:
        return inquiry.availability(self._agent, pool, start, end, rate, duration, patience_ms)

    # Pools, peers, transfers.

    def pools(self) -> list[PoolView]:
        party = self._agent.party
        known = party.peers.pools()
        return self._agent.books.read(lambda ledger: oversight.pool_views(party, ledger, known))

    def pool(self, name: str) -> PoolDetail:
        party = self._agent.party
        known = party.peers.pools()

        def look(ledger: Ledger) -> PoolDetail:
            reservations.check_pool(ledger, name, known)
            held = sorted(ledger.account(name).held, key=lambda each: (each.low, each.start))
            return PoolDetail(oversight.pool_view(party, ledger, name), [oversight.block_view(each) for each in held])

        return self._agent.books.read(look)

    def seed(self, name: str, capacity: int, at: int | None = None) -> PoolView:
        agent = self._ready()
        agent.seed(name, capacity, at)
        return agent.books.read(lambda ledger: oversight.pool_view(agent.party, ledger, name))

    def peers(self) -> list[PeerView]:
        return oversight.peer_views(self._agent.party)

    def forget(self, node: str) -> PeerView:
        agent = self._ready()
        found = [each for each in self.peers() if node in (each.node, each.node.partition("#")[0])]
        if not found:
            raise NotFound(f"there is no peer {node[:80]!r}", hint="asa peers shows who is known")
        if len(found) > 1:
            raise Conflict(f"{node} is the name of {len(found)} peers", hint="give NAME#INSTANCE")
        heard = found[0].heard_s
        if heard is not None and heard < LIVES * agent.policy.params["flood_interval"]:
            raise Conflict(f"{found[0].node} was heard {heard} s ago", hint="stop it, and wait until it is silent")
        agent.forget(node_from_text(found[0].node))
        return found[0]

    def transfers(self, *, in_doubt: bool = False) -> list[TransferView]:
        return self._agent.books.read(lambda ledger: oversight.transfer_views(self._agent.party, ledger, in_doubt))

    def forfeit(self, txn: str) -> TransferView:
        agent = self._ready()
        try:
            number = bytes.fromhex(txn)
        except ValueError:
            raise UnknownTransfer(f"there is no transfer {txn[:40]!r}") from None
        if number in agent.party.talking:
            raise Conflict("the transfer's session is running", hint="wait until it has ended")
        given = agent.books.transact(lambda ledger: transfer.forfeit(ledger, agent.party.clock(), number))
        agent.events.tell(
            "transfer-forfeited", f"a transfer to {given.peer.name} was forfeited by an operator", txn=txn
        )
        return agent.books.read(lambda ledger: oversight.transfer_view(agent.party, ledger.given[number]))

    # Policy, audit, oversight.

    def params(self) -> ParamsView:
        params = self._agent.policy.params
        return ParamsView(
            params.serial,
            params.issuer,
            [
                ParamView(name, params.values[name], each.default, each.low, each.high, each.unit, each.about)
                for name, each in PARAMETERS.items()
            ],
        )

    def set_params(self, values: dict[str, int | bool]) -> ParamsView:
        agent = self._ready()
        if agent.config.agent.mode != "origin":
            origins = sorted({each.node.name for each in agent.party.peers.everyone() if each.seeds})
            raise Conflict("only an origin sets the policy", hint=f"ask at {', '.join(origins) or 'an origin'}")
        agent.policy.set(agent.config.agent.name, values)
        return self.params()

    def audit(self, pool: str | None = None) -> Audit:
        agent = self._ready()
        if pool is not None:
            known = agent.party.peers.pools()
            agent.books.read(lambda ledger: reservations.check_pool(ledger, pool, known))
        return collect(agent.asa, agent.names.holdings, agent.party, agent.books, pool)

    def health(self) -> Health:
        return self._agent.health()

    def status(self) -> Status:
        return self._agent.status()

    def manifest(self) -> dict[str, Any]:
        return manifest(self._agent.config, self._agent.party.me, self.pools())

    def events(self, after: int = 0, *, limit: int = 100, wait_ms: int = 0) -> Events:
        return self._agent.events.after(after, limit, wait_ms / 1000)

    # Life cycle.

    def activate(self) -> Status:
        return self._set_active(True)

    def deactivate(self) -> Status:
        return self._set_active(False)

    def _set_active(self, active: bool) -> Status:
        agent = self._ready()

        def remember(ledger: Ledger) -> Plan[None]:
            return Plan((Change(ledger.facts.get(ACTIVE), Fact(ACTIVE, json.dumps(active))),), None)

        agent.books.transact(remember)
        agent.set_active(active)
        return agent.status()

    def restart(self) -> Status:
        status = self._agent.status()
        self._agent.end("restart", "an operator asked for it")
        return status

    def remove(self, confirm: str) -> dict[str, Any]:
        agent = self._ready()
        if confirm != agent.config.agent.name:
            raise BadRequest("to confirm the removal give the node's name", hint=f"it is {agent.config.agent.name}")
        return agent.remove()

    def _ready(self) -> Agent:
        if not self._agent.ready:
            raise NotReady(f"the agent is {self._agent.phase}", hint="try again shortly")
        return self._agent


def _digest(request: ReservationRequest) -> str:
    """What makes two requests the same: all of it but the patience."""
    return hashlib.sha256(repr(replace(request, patience_ms=0)).encode()).hexdigest()[:32]
