"""One agent: its parts, and how they start and stop (the main program of RFC 9222 Appendix C)."""

from __future__ import annotations

import logging
import queue
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import SystemRandom
from typing import TYPE_CHECKING, Any, Final

from asa import oversight, removal, seeding
from asa.alarms import Alarms
from asa.books import Books
from asa.clock import Clock
from asa.config import Config
from asa.config.sections import RECORD
from asa.credentials import SALT_LENGTH, Credentials
from asa.dataplane.planning import lines_of
from asa.desk import Desk
from asa.enforcement import Enforcement
from asa.errors import BadConfig, Conflict, StoreFailed
from asa.events import Complaints, EventLog
from asa.identity import identify, remembered, remembering
from asa.ledger import Ledger
from asa.listing import view_of
from asa.membership import MULTICAST_SIZE, admitting, authority_of, identity_of, node_for
from asa.names import Names
from asa.neighbourhood import Neighbourhood
from asa.operations import ACTIVE, Operations
from asa.peers import Peers
from asa.performer import Performer
from asa.policy import Policy
from asa.predecessor import ENFORCED
from asa.presence import Presence
from asa.problems import Problems
from asa.records import Reservation
from asa.relocation import Relocation
from asa.seals import Seals
from asa.steps import Party
from asa.store import Store
from asa.threads.delegator import Delegator
from asa.threads.duty import Duty
from asa.threads.enforcer import Enforcer
from asa.threads.flooder import Flooder
from asa.threads.garbage_collector import GarbageCollector
from asa.threads.keeper import Keeper
from asa.threads.monitor import Monitor
from asa.threads.negotiator import MainNegotiator
from asa.threads.pact_settler import PactSettler
from asa.threads.seeder import Seeder
from asa.threads.settler import Settler
from asa.threads.synchronizer import Synchronizer
from asa.version import VERSION
from asa.views import Health, ReservationView, Status
from asa.whereabouts import Whereabouts, limits, thresholds
from grasp import GraspError, Objective, TaggedObjective
from objectives import NodeId, holdings, pact, resource, revoked
from objectives.reach import Reach

if TYPE_CHECKING:
    from asa.threads.warden import Warden

_log = logging.getLogger("asa")

PORT: Final = "grasp-port"
PAUSED: Final = "paused"
SALT: Final = "salt"
STOP_S: Final = 5.0


class Agent:
    """Made from a mandate and a store; :attr:`operations` is its north side from then on, refusing until it is ready.

    :attr:`endings` gets what ends it: ``("restart" | "removed" | "fatal", why)``.
    """

    def __init__(self, config: Config, store: Store, clock: Callable[[], float] = time.time) -> None:
        self.config = config
        self.identity = identity_of(config)
        self.authority = authority_of(config)
        self.names = Names.under(config.grasp.objective_prefix)
        self.started = int(clock())
        self.phase = "starting"
        self.endings: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()
        self._store = store
        self.wall = clock
        """UNIX s."""
        self._clock = Clock(clock)
        rng = SystemRandom()
        me, records = identify(config.agent.name, store, secrets.token_hex(8))
        ledger = Ledger(me, self.started, records, version=time.time_ns() // 1_000, links=limits(config))
        self.events = EventLog(config.limits.events, clock)
        self._problems = Problems(self.events, self._clock)
        self._complaints = Complaints()
        self._lines = lines_of(config)
        section = config.enforcement
        self.enforcement = Enforcement(bool(self._lines), section.backend != RECORD, section.rule_life_s)
        self.books = Books(ledger, store, self._store_failed, self._store_works, self.enforcement.changed)
        self.peers = Peers(me, rng, config.limits.peers, self.authority.may_give)
        self.seals = Seals(self.identity, lambda: self.node.revocations, clock, time.monotonic)
        self.policy = Policy(
            self.books, self.events, self._policy_changed, self.complain, me=me.name, objective=self.names.params,
            seals=self.seals, may_set=self.authority.may_set_params, clock=clock,
        )  # fmt: skip
        self._active: bool = remembered(self.books, ACTIVE, True)
        self._paused: bool = remembered(self.books, PAUSED, False)
        self.credentials = Credentials(self._salt(), _secret(config.api.admin_file))
        self.whereabouts = Whereabouts(config, me, self.problem)
        self.surroundings = self.whereabouts.surroundings
        self.party = Party(
            me=me,
            clock=self._clock,
            ticks=time.monotonic,
            rng=rng,
            peers=self.peers,
            params=lambda: self.policy.params,
            lends=self.authority.lends,
            gives=self.authority.may_give,
            members=self.authority.enforced,
            active=lambda: self._active and self.phase in ("starting", "running") and not self.books.failed,
        )
        self.node = node_for(config, self.identity, remembered(self.books, PORT, 0))
        self.presence = Presence(self.party, self.books, self.node, lambda: self._active, config.flows.serves)
        self.warden: Warden | None = None
        if self.identity is not None:
            # Here, for a plain agent has no use for what reads certificates.
            from asa.threads.warden import Warden

            self.warden = Warden(self, self.identity, self._report, rng)
        self.desk = Desk(self)
        self.relocation = Relocation(self)
        self.operations = Operations(self)
        self.enforcer: Enforcer | None = None
        self.duties: list[Duty] = []

    # Life.

    def start(self) -> None:
        """Raises :class:`~asa.errors.AgentError` or GraspError if it cannot."""
        contacts = self.books.read(lambda ledger: sorted(ledger.contacts.values(), key=lambda each: each.seen))
        for contact in contacts:
            self.peers.remember(contact.node, contact.locator)
            if contact.serves:
                # Whatever it floods is newer.
                self.whereabouts.map.heard(time.monotonic(), Reach(contact.node, 0, contact.serves))
        self._check_mode()
        if self.warden is not None:
            self.warden.prepare()
        self.node.start()
        self._remember_port()
        self.asa = self.node.register_asa(f"bandwidth {self.config.agent.name}")
        self._register()
        self._make_threads()
        self.synchronizer.listen()
        self.negotiator.listen()
        self.neighbourhood.listen()
        if self.warden is not None:
            self.warden.listen()
        self.flooder.start()
        # So that an origin that says it is ready has its pools.
        self.seeder.turn()
        self.keeper.remember()
        for duty in self.duties:
            if duty is not self.flooder:
                duty.start()
        self.phase = "running"
        self.flooder.wake()
        self.events.tell("agent-started", f"{self.party.me} {VERSION} is up", version=VERSION)

    def _check_mode(self) -> None:
        """Raises BadConfig if an origin is to become a delegator: its seeds would have nobody who answers for them."""
        seeded = self.books.read(lambda ledger: sorted(name for name, each in ledger.accounts.items() if each.seeds))
        if seeded and self.config.agent.mode != "origin":
            raise BadConfig(
                f"this agent is the origin of {', '.join(seeded)} and cannot be a delegator",
                hint='mode = "origin", or remove the agent first (asa remove)',
            )

    def _register(self) -> None:
        self.asa.register(Objective.negotiation(self.names.resource, dry_run=True), max_size=resource.MAX_SIZE)
        self.asa.register(Objective.negotiation(self.names.pact), max_size=pact.MAX_SIZE)
        # With its seal it may be longer than a message usually is.
        self.asa.register(Objective.synchronization(self.names.params), max_size=MULTICAST_SIZE)
        self.asa.register(Objective.synchronization(self.names.reach))
        self.asa.register(Objective.synchronization(self.names.agent))
        self.asa.register(Objective.synchronization(self.names.revoked), max_size=revoked.MAX_SIZE)
        pages = Objective.synchronization(self.names.holdings)
        self.asa.register(pages, max_size=holdings.MAX_SIZE, admit=admitting(self.authority))

    def _make_threads(self) -> None:
        performer = Performer(self.asa, self.names.resource, self.names.pact, self.books, self.peers, self.events)
        self.performer = performer
        party, books, rng, origin = self.party, self.books, self.party.rng, self.config.agent.mode == "origin"
        report = self._report
        self.flooder = Flooder(
            self.asa, self.names, self.policy, self.seals, origin, self.presence, self.peers.crowd, report, rng,
        )  # fmt: skip
        self.synchronizer = Synchronizer(
            self.asa, self.names.params, self.names.holdings, self.policy,
            lambda: books.read(oversight.holdings), admitting(self.authority), report, rng,
        )  # fmt: skip
        self.negotiator = MainNegotiator(
            self.asa, self.names.resource, self.names.pact, party, performer, self.authority, self.desk.asked,
            self.events, self._complaints, report, rng,
        )  # fmt: skip
        self.neighbourhood = Neighbourhood(self)
        self.delegator = Delegator(
            party, performer, books, self.config.limits.negotiations, self.neighbourhood.search, report, rng
        )
        self.settler = Settler(party, performer, books, self.events, report, rng)
        self.pact_settler = PactSettler(party, performer, books, self.events, report, rng)
        self.keeper = Keeper(party, books, self.events, Alarms(thresholds(self.config)), self.relocation, report, rng)
        collector = GarbageCollector(party, books, self.events, report, rng, self.enforcement.standing, self.problem)
        self.seeder = Seeder(
            self.config.pools, books, self.peers, self.neighbourhood.listen_for,
            lambda pool: self.seed(pool.name, pool.capacity, pool.at), self.problem, report, rng,
        )  # fmt: skip
        watched = [
            self.seeder,
            self.flooder,
            self.synchronizer,
            self.negotiator,
            self.delegator,
            self.settler,
            self.pact_settler,
            self.keeper,
            collector,
        ]
        if self.enforcement.enabled or remembered(books, ENFORCED, None) is not None:
            self.enforcer = Enforcer(
                self.config.enforcement, self._lines, self.config.classes,
                lambda place: self.surroundings().local(place), books, party.clock, self.enforcement,
                lambda: self._paused, self.events, self.problem, report, rng, self.wall,
            )  # fmt: skip
            watched.append(self.enforcer)
        watched += [self.warden] if self.warden is not None else []
        self.duties = [*watched, Monitor(watched, report, lambda why: self.end("fatal", why), rng)]

    def stop(self) -> None:
        """Sessions that are running end in doubt, and are settled by the next life. The store stays open."""
        self.phase = "stopping"
        for duty in self.duties:
            duty.stop()
        self.node.stop()
        until = time.monotonic() + STOP_S
        for duty in self.duties:
            if not duty.join(max(0.0, until - time.monotonic())):
                _log.warning("the thread %s has not ended", duty.name)
        self.events.tell("agent-stopped", f"{self.party.me} has stopped")
        self.events.close()

    def farewell(self) -> None:
        """Tell the others that this agent has handed over all it had and is gone."""
        self.flooder.flood(self.presence.announcement("left"), self.policy.params["flood_interval"])

    def end(self, how: str, why: str) -> None:
        """Ask whoever runs this agent to end it."""
        self.endings.put((how, why))

    @property
    def ready(self) -> bool:
        return self.phase == "running"

    @property
    def active(self) -> bool:
        return self._active

    def set_active(self, active: bool) -> None:
        """Takes part in the domain, or only keeps what it has promised."""
        if active != self._active:
            self._active = active
            self.events.tell("agent-activated" if active else "agent-deactivated", "an operator asked for it")
            self.flooder.wake()

    @property
    def paused(self) -> bool:
        return self._paused

    def set_paused(self, paused: bool) -> None:
        """Whether this node enforces what is booked, also after a restart. Raises StoreFailed."""
        if paused != self._paused:
            self.books.transact(lambda ledger: remembering(ledger, PAUSED, paused))
            if not paused:
                self.enforcement.resumed()
            self._paused = paused
            self.enforcement.wake()
            self.events.tell("enforcement-paused" if paused else "enforcement-resumed", "an operator asked for it")

    def remove(self) -> dict[str, Any]:
        """See :mod:`asa.removal`."""
        outcome = removal.hand_everything_over(self)
        self.end("removed", "its capacity is handed back")
        return outcome

    def forget(self, node: NodeId) -> None:
        """A peer that is gone for ever, by an operator's word."""
        removal.forget(self, node)

    # What the parts tell each other.

    def seed(self, name: str, capacity: int, at: int | None) -> None:
        """Raises Conflict, BadRequest, StoreFailed."""
        if self.config.agent.mode != "origin":
            raise Conflict("only an origin brings capacity into a pool", hint='mode = "origin" in its configuration')
        others = self.peers.seeds(name)
        now = self.party.clock()
        made = self.books.transact(lambda ledger: seeding.seed(ledger, now, name, capacity, at, others))
        self.events.tell(
            "pool-seeded", f"{capacity} bit/s came into {name} at {made.low}", pool=name, low=made.low, high=made.high
        )
        if self.ready:
            self.flooder.wake()

    def _salt(self) -> bytes:
        """Of this agent's hashes; drawn at the first start."""
        found = remembered(self.books, SALT, "")
        if not found:
            found = secrets.token_hex(SALT_LENGTH)
            self.books.transact(lambda ledger: remembering(ledger, SALT, found))
        return bytes.fromhex(found)

    def _remember_port(self) -> None:
        port = self.node.port
        if remembered(self.books, PORT, 0) != port:
            self.books.transact(lambda ledger: remembering(ledger, PORT, port))

    def _policy_changed(self) -> None:
        for duty in self.duties:
            duty.wake()

    def _report(self, thread: str, what: str) -> None:
        self.events.tell("thread-trouble", f"{thread}: {what}", thread=thread)

    def discard(self, tagged: TaggedObjective) -> None:
        """Let nobody find in the cache what was flooded by who may not."""
        with suppress(GraspError):
            self.asa.expire_flood(tagged)

    def complain(self, what: str) -> None:
        """A peer sent something that is refused."""
        self._complaints.add(what)

    def problem(self, code: str, message: str | None) -> None:
        """Something that is wrong from now on, or with None no longer is; told once each time."""
        self._problems.set(code, message)

    def _store_failed(self, error: StoreFailed) -> None:
        if error.code not in self._problems:
            # It tries again and again from now on.
            for duty in self.duties:
                if isinstance(duty, GarbageCollector):
                    duty.wake()
        self.problem(error.code, f"{error.message}: nothing is granted or booked until it works again")

    def _store_works(self) -> None:
        self.problem(StoreFailed.code, None)

    # What it shows.

    def health(self) -> Health:
        status = self.phase
        if status == "running":
            behind = self._clock.behind
            late = f"the system's clock was set back; time stands still here for {behind} s" if behind > 1 else None
            self.problem("clock-back", late)
            now = self.party.clock()
            pools = ", ".join(self.books.read(lambda ledger: oversight.overbooked(ledger, now)))
            self.problem("no-interface", None if self.node.interfaces else "no interface can be used: see the log")
            self.problem("overbooked", f"more is promised than held of {pools}" if pools else None)
            status = "inactive" if not self._active else ("degraded" if self._problems else "ok")
        return oversight.health(
            status, self.ready, self.config.agent.name, VERSION, self.books, self.duties,
            self._problems.all, oversight.notices(self.config, self.node.secured),
        )  # fmt: skip

    def status(self) -> Status:
        return oversight.status(self)

    def view_of(self, reservation: Reservation) -> ReservationView:
        """One reservation, now."""
        seen = self.enforcement
        return view_of(reservation, self.party.clock(), self._paused, seen.standing, seen.enforced)


def _secret(file: Path | None) -> str | None:
    return file.read_text().strip() if file is not None else None
