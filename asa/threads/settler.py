"""SETTLER: asks what became of transfers in doubt, and lets givers confirm what may be forgotten."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from random import Random

from asa.asking import confirm, settle
from asa.books import Books
from asa.errors import AsaError
from asa.events import EventLog
from asa.ledger import Ledger
from asa.performer import Performer
from asa.records import Given, TakenState
from asa.steps import Broken, Party, Refused
from asa.threads.settling import GRACE_S, LONGEST_S, Settling
from objectives import NodeId
from objectives.resource import MAX_TXNS


class Settler(Settling):
    name = "settler"

    def __init__(
        self,
        party: Party,
        performer: Performer,
        books: Books,
        events: EventLog,
        report: Callable[[str, str], None],
        rng: Random,
    ) -> None:
        super().__init__(party, performer, books, events, report, rng)
        self._confirmed: dict[NodeId, float] = {}

    def turn(self) -> float | None:
        for given in self._books.read(self._doubtful):
            if self.stopping:
                return None
            if time.monotonic() >= self._next.get(given.txn, 0.0):
                self._settle(given)
        for giver, txns in self._books.read(self._unconfirmed).items():
            if self.stopping:
                return None
            if time.monotonic() >= self._confirmed.get(giver, 0.0):
                self._confirm(giver, txns)
        return None

    def _doubtful(self, ledger: Ledger) -> list[Given]:
        """Escrows whose session is over."""
        open_ = ledger.escrows
        for txn in [each for each in self._next if each not in open_]:
            self._forget(txn)
        self._said &= open_.keys()
        return [each for each in open_.values() if each.txn not in self._party.talking]

    def _settle(self, given: Given) -> None:
        if given.txn not in self._said:
            self._said.add(given.txn)
            self._events.tell(
                "transfer-in-doubt",
                f"a transfer to {given.peer.name} is in doubt",
                peer=str(given.peer),
                pool=given.pool,
                txn=given.txn.hex(),
            )
        try:
            self._performer.run(settle(self._party, given))
        except (Refused, Broken, AsaError) as error:
            self._later(given.txn)
            if isinstance(error, Refused):
                self._report(self.name, f"{given.peer.name} does not say what became of {given.txn.hex()}: {error}")

    def _unconfirmed(self, ledger: Ledger) -> dict[NodeId, list[bytes]]:
        """Transfers accepted here that their givers may have closed long since."""
        now = self._party.clock()
        found: dict[NodeId, list[bytes]] = defaultdict(list)
        for taken in ledger.taken.values():
            if taken.state is TakenState.ACCEPTED and taken.at + GRACE_S <= now and len(found[taken.peer]) < MAX_TXNS:
                found[taken.peer].append(taken.txn)
        return found

    def _confirm(self, giver: NodeId, txns: list[bytes]) -> None:
        try:
            done = self._performer.run(confirm(self._party, giver, txns))
        except (Refused, Broken, AsaError):
            done = 0
        pause = self._party.params()["settle_interval"] if done else LONGEST_S / 10
        self._confirmed[giver] = time.monotonic() + pause * self._rng.uniform(0.5, 1.0)
