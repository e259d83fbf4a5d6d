"""One simulated agent: its disk, what a crash takes from it, and the conversations it runs as the delegator would."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from random import Random
from typing import TYPE_CHECKING, Any

from asa import answering, asking, expiry, lending, pacts, pairing, transfer
from asa.books import Books
from asa.errors import AsaError
from asa.ledger import Ledger
from asa.peers import Peers
from asa.records import Change, Given, Held, Notice, Pact, Plan, Reservation, TakenState, VerdictState, made, removed
from asa.steps import Look, Party, Request, Steps, Transact
from asa.terms import asked_for
from objectives import InvalidValue, NodeId, pact, resource
from objectives.agent import Announcement, PoolSummary, announcement_from_value
from objectives.pact import Arrange
from tests.simulator.disk import Disk
from tests.simulator.process import Outcome, Process
from tests.simulator.session import End, Ended, Said

if TYPE_CHECKING:
    from tests.simulator.network import Event, Network

READ: dict[str, Callable[[object], Request]] = {
    resource.NAME: resource.request_from_value,
    pact.NAME: pact.request_from_value,
}
COLLECT = 30.0
"""Seconds between two turns of the garbage collector."""
LONGEST = 60.0
"""Seconds: the longest back-off before a peer is asked again what became of a transfer."""


class Node:
    """``me`` may change when a node is replaced by one of its name; ``offset``: how far its clock is ahead, s."""

    def __init__(self, world: Network, me: NodeId, offset: int = 0) -> None:
        self.world = world
        self.me = me
        self.name = me.name
        self.offset = offset
        self.alive = False
        self.lives = 0
        self.disk_written = False
        self.processes: set[Process] = set()
        self.disk = self._disk()
        self.ledger: Ledger
        self.books: Books
        self.party: Party
        self._sequence = 0
        self._doubts: dict[Hashable, tuple[float, float]] = {}
        self._confirms: tuple[float, float] = 0.0, 10.0
        self._timers: list[Event] = []

    def _disk(self) -> Disk:
        me = self.me

        def committed(changes: Sequence[Change]) -> None:
            self.disk_written = True
            try:
                self.world.checker.committed(me, self.clock(), changes)
            except AssertionError as error:
                # Books takes whatever a store raises for its failure.
                self.world.violation = error

        disk = Disk(self._refuses, committed)
        self.world.checker.disks[me] = disk
        return disk

    def _refuses(self) -> bool:
        refuse = self.world.refuses()
        self.world.counts["store failures"] += refuse
        return refuse

    def clock(self) -> int:
        return int(self.world.now) + self.offset

    def start(self) -> None:
        """Come to life with what is on disk, and nothing else."""
        self.alive = True
        self.lives += 1
        rng = Random(f"{self.world.seed} {self.me} {self.lives}")
        self.ledger = Ledger(self.me, self.clock(), self.disk)
        self.world.floor(self.ledger.floor)
        self.books = Books(self.ledger, self.disk)
        self.party = Party(
            self.me, self.clock, lambda: self.world.now, rng, Peers(self.me, rng), lambda: self.world.params,
            lends=lambda name: self.world.checker.limit,
        )  # fmt: skip
        self._doubts.clear()
        self._confirms = self.world.now + 10, 10.0
        self._timer(self.world.now + COLLECT, "collect", self._collect)
        self._timer(self.world.now + 0.5, "look for doubt", self.look_for_doubt)
        self.world.introduce(self)

    def crash(self, keep: bool = True) -> None:
        """Lose all but the disk. ``keep``: what was sent before still reaches its receivers."""
        if not self.alive:
            return
        self.world.counts["crashes"] += 1
        self.alive = False
        for event in self._timers:
            event.done = True
        self._timers.clear()
        for session in self.world.sessions:
            for end in (session.client, session.server):
                if end.node == self.name and not end.closed:
                    end.lose_incoming()
                    if not keep:
                        end.other.lose_incoming()
                    end.close()
        for process in list(self.processes):
            self.world.killed(process)
            process.kill()
        self.processes.clear()

    def replace(self, instance: str) -> None:
        """Another machine under this name, with an empty disk; the old one's is kept aside, never to return."""
        self.crash()
        self.me = NodeId(self.name, instance)
        self.disk = self._disk()
        self.start()

    def run(self, steps: Steps[Any], label: str, served: End | None = None, done: Outcome | None = None) -> Process:
        process = Process(self, steps, f"{self.name} {label}", served, done)
        if served is not None:
            served.process = process
        process.resume()
        return process

    def serve(self, end: End) -> None:
        """Answer a session's first message."""
        message = end.inbox.popleft()
        if not isinstance(message, Said):
            end.close()
            return
        request = message.value
        if self.world.wire:
            try:
                request = READ[message.objective](request.to_value())
            except InvalidValue:
                end.send(Ended(False, "bad-value"))
                end.close()
                return
        if message.objective == pact.NAME:
            steps = pairing.serve_pact(self.party, request, self.place)  # type: ignore[arg-type]
        else:
            steps = answering.serve(self.party, request, message.dry)  # type: ignore[arg-type]
        self.run(steps, f"answers {request.op}", end)

    def place(self, arrange: Arrange) -> Reservation:
        """What the terms of another agent come to here: all goes through the one pool."""
        existing = self.ledger.reservations.get(arrange.id)
        wanted = asked_for(arrange.id, arrange.terms, arrange.node, self.clock(), existing)
        assert wanted.partner
        return wanted

    # What the delegator and the garbage collector do.

    def look_for_doubt(self) -> None:
        """Ask about escrows without a session, and have accepted transfers confirmed, each with a back-off."""
        if not self.alive:
            return
        self._timers = [each for each in self._timers if not each.done]
        running = set() if self.world.eager else self.party.talking
        now, pause = self.world.now, float(self.world.params["settle_interval"])
        open_: list[Given | Pact | Notice] = [*self.ledger.escrows.values(), *self.ledger.pacts.values()]
        open_ += pacts.to_tell(self.ledger)
        doubtful = {each.key if isinstance(each, Notice) else each.txn: each for each in open_}
        for key in self._doubts.keys() - doubtful.keys():
            del self._doubts[key]
        for key, each in doubtful.items():
            if key in running:
                continue
            first = now if self.world.eager or isinstance(each, Notice) else now + pause
            due, wait = self._doubts.setdefault(key, (first, pause))
            if due > now:
                self._timer(due, "look for doubt", self.look_for_doubt, once=True)
                continue
            self._doubts[key] = now + wait, min(LONGEST, wait * 2)
            self._settle(each)
        self._confirm(now)

    def settle_all(self) -> int:
        """Ask about every escrow and pact at once, its session running or not, and tell of every end. How many."""
        if not self.alive:
            return 0
        doubtful: list[Given | Pact | Notice] = [*self.ledger.escrows.values(), *self.ledger.pacts.values()]
        doubtful += self.ledger.notices.values()
        for each in doubtful:
            self._settle(each)
        return len(doubtful)

    def _settle(self, some: Given | Pact | Notice) -> None:
        if isinstance(some, Notice):
            self.run(pairing.call_off(self.party, some), "calls off")
            return
        self.world.counts["settle attempts"] += 1
        steps = asking.settle(self.party, some) if isinstance(some, Given) else pairing.settle_pact(self.party, some)
        self.run(steps, "settles", done=self._settled)

    def _settled(self, outcome: Any, error: BaseException | None) -> None:
        if error is None:
            self.world.counts["settled"] += 1

    def _confirm(self, now: float) -> None:
        accepted = self._accepted()
        due, wait = self._confirms
        if not accepted:
            self._confirms = now + 10, 10.0
            return
        if due > now:
            self._timer(due, "look for doubt", self.look_for_doubt, once=True)
            return
        self._confirms = now + wait, min(LONGEST, wait * 2)
        self.confirm_all(1)

    def confirm_all(self, most: int = 256) -> int:
        """Have givers confirm what was accepted, by chance those of ``most``. How many are asked."""
        accepted = self._accepted() if self.alive else []
        asked = sorted({each[:2] for each in accepted})
        for peer, objective in self.party.rng.sample(asked, min(most, len(asked))):
            txns = [txn for *of, txn in accepted if of == [peer, objective]][:256]
            ask = pairing.confirm_verdicts if objective == pact.NAME else asking.confirm
            self.run(ask(self.party, peer, txns), "confirms")
        return len(asked)

    def _accepted(self) -> list[tuple[NodeId, str, bytes]]:
        """What was accepted, of whom: transfers and pacts, which they may have closed."""
        taken = [each for each in self.ledger.taken.values() if each.state is TakenState.ACCEPTED]
        verdicts = [each for each in self.ledger.verdicts.values() if each.state is VerdictState.ACCEPTED]
        return [(each.peer, resource.NAME, each.txn) for each in taken] + [
            (each.peer, pact.NAME, each.txn) for each in verdicts
        ]

    def _collect(self) -> None:
        self._timer(self.world.now + COLLECT, "collect", self._collect)
        self.run(self._garbage(), "collects")

    def _garbage(self) -> Steps[None]:
        yield Look(lambda ledger: ledger.advance(self.clock()))
        self.world.floor(self.ledger.floor)
        rules: list[Callable[[Ledger], Plan[Any]]] = [
            lambda ledger: transfer.elapsed(ledger, self.clock()),
            lending.elapsed,
            lambda ledger: pacts.elapsed(ledger, self.clock()),
            lambda ledger: expiry.lapsed(ledger, self.clock()),
            lambda ledger: expiry.elapsed(ledger, self.clock(), self.world.params),
        ]
        rules += [lambda ledger, pool=pool: _tidied(ledger, pool) for pool in list(self.ledger.accounts)]  # type: ignore[misc]
        for rule in rules:
            try:
                yield Transact(rule)
            except AsaError:
                return

    def _timer(self, time: float, label: str, run: Callable[[], object], once: bool = False) -> None:
        if once and any(not each.done and each.label == label and each.time <= time for each in self._timers):
            return
        self._timers.append(self.world.at(time, label, self.name, run))

    def announcement(self) -> Announcement:
        """What it would flood: its seeds, and what it could spare over the horizon."""
        self._sequence = max(self._sequence + 1, int(self.world.now * 1000))
        now = self.clock()
        pools = []
        for name, account in self.ledger.accounts.items():
            free = account.free.lowest(max(now, self.ledger.floor), now + self.world.params["horizon"])
            spare = max(0, free - self.party.keep(self.ledger, name))
            pools.append(PoolSummary(name, spare, tuple((each.low, each.high) for each in account.seeds.values())))
        said = Announcement(self.me, self._sequence, "active", tuple(pools))
        return announcement_from_value(said.to_value()) if self.world.wire else said


def _tidied(ledger: Ledger, pool: str) -> Plan[None]:
    gone, come = ledger.account(pool).held.tidy(ledger.floor)
    return Plan((*removed(Held(pool, each) for each in gone), *made(*(Held(pool, each) for each in come))), None)
