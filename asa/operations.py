"""What consumers and operators may ask of a running agent: :class:`~asa.service.Service` made real."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from asa import caps, inquiry, listing, metrics, oversight, reservations, transfer
from asa.auditor import collect
from asa.errors import BadRequest, Conflict, NotFound, NotReady, UnknownTransfer
from asa.ledger import Ledger
from asa.manifest import manifest
from asa.records import Change, Fact, Plan
from asa.threads.flooder import LIVES
from asa.views import (
    Audit,
    Availability,
    Cancelled,
    CapView,
    EnforcementView,
    Events,
    Health,
    LinkView,
    Page,
    ParamsView,
    ParamView,
    PeerView,
    PoolDetail,
    PoolView,
    Refreshed,
    ReservationRequest,
    ReservationView,
    Status,
    TransferView,
)
from objectives import node_from_text
from objectives.params import PARAMETERS

if TYPE_CHECKING:
    from asa.agent import Agent

ACTIVE: Final = "active"


class Operations:
    """The north side of one agent. Every method may be called from any thread."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    # Reservations.

    def reserve(
        self, request: ReservationRequest, key: str | None = None, secret: str | None = None
    ) -> ReservationView:
        return self._ready().desk.reserve(request, key, secret)

    def confirm(self, identifier: str, secret: str | None = None, patience_ms: int = 5_000) -> ReservationView:
        return self._ready().desk.confirm(identifier, secret, patience_ms)

    def reservation(self, identifier: str) -> ReservationView:
        agent = self._agent
        return agent.view_of(agent.books.read(lambda ledger: reservations.find(ledger, identifier)))

    def reservations(
        self,
        *,
        pool: str | None = None,
        state: str | None = None,
        owner: str | None = None,
        kind: str | None = None,
        label: str | None = None,
        host: str | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> Page:
        agent = self._agent
        wanted = listing.Filter(pool, state, owner, kind, label, host)
        now = agent.party.clock()
        seen = agent.enforcement
        return agent.books.read(
            lambda ledger: listing.page(ledger, now, wanted, after, limit, agent.paused, seen.standing, seen.enforced)
        )

    def cancel(self, identifier: str, secret: str | None = None) -> ReservationView:
        return self._ready().desk.cancel(identifier, secret)

    def cancel_all(self, secret: str, owner: str | None = None) -> Cancelled:
        return self._ready().desk.cancel_all(secret, owner)

    def change(
        self,
        identifier: str,
        *,
        rate: int | None = None,
        back: int | None = None,
        end: int | str | None = None,
        patience_ms: int = 5_000,
        secret: str | None = None,
    ) -> ReservationView:
        return self._ready().desk.change(identifier, rate, back, end, patience_ms, secret)

    def refresh(self, host: str | None = None, identifier: str | None = None, secret: str | None = None) -> Refreshed:
        return self._ready().relocation.refresh(host, identifier, secret)

    # Caps, interfaces, enforcement.

    def caps(self) -> list[CapView]:
        return self._agent.books.read(oversight.cap_views)

    def set_cap(
        self, project: str, resource: str, amount: int | None, percent: bool = False, secret: str | None = None
    ) -> list[CapView]:
        agent = self._ready()
        agent.desk.check_admin(secret)
        if amount is None:
            agent.books.transact(lambda ledger: caps.remove_cap(ledger, project, resource))
        else:
            agent.books.transact(lambda ledger: caps.set_cap(ledger, project, resource, amount, percent))
        agent.events.tell("cap-changed", f"the cap of {project} is changed", project=project, resource=resource)
        return self.caps()

    def links(self) -> list[LinkView]:
        now = self._agent.party.clock()
        return self._agent.books.read(lambda ledger: oversight.link_views(ledger, now))

    def enforcement(self) -> EnforcementView:
        return self._agent.enforcement.view(self._agent.paused)

    def metrics(self) -> str:
        return metrics.exposition(self._agent)

    def pause(self, secret: str | None = None) -> Status:
        return self._set_paused(True, secret)

    def resume(self, secret: str | None = None) -> Status:
        return self._set_paused(False, secret)

    def _set_paused(self, paused: bool, secret: str | None) -> Status:
        agent = self._ready()
        agent.desk.check_admin(secret)
        agent.set_paused(paused)
        return agent.status()

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
        return collect(agent.asa, agent.names.holdings, agent.party, agent.books, pool, agent.authority.may_seed)

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
