"""PACT_SETTLER: asks what was decided about pacts in doubt, tells other agents what is over, has verdicts confirmed."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Hashable
from typing import Any, Final

from asa import pacts
from asa.errors import AsaError
from asa.ledger import Ledger
from asa.pairing import call_off, confirm_verdicts, settle_pact
from asa.records import Notice, Pact, VerdictState
from asa.steps import Broken, Refused, Steps
from asa.threads.settling import GRACE_S, Settling
from objectives import NodeId
from objectives.pact import MAX_TXNS

TURN_S: Final = 60.0
"""Nothing new is begun in a turn after so long; what is left comes in the next."""


class PactSettler(Settling):
    """Nothing is said to an agent that did not answer until its pause is over, whatever there is to say."""

    name = "pact-settler"
    _until = 0.0

    def turn(self) -> float | None:
        self._until = time.monotonic() + TURN_S
        doubtful, notices, unconfirmed = self._books.read(self._look)
        for pact in doubtful:
            if pact.txn not in self._said:
                self._said.add(pact.txn)
                self._tell_doubt(pact)
            self._say(pact.peer, pact.txn, settle_pact(self._party, pact))
        for notice in notices:
            self._say(notice.peer, notice.key, call_off(self._party, notice))
        for peer, txns in unconfirmed.items():
            done = self._say(peer, ("confirm", peer), confirm_verdicts(self._party, peer, txns))
            if done == 0:
                self._later(("confirm", peer))
        return None

    def _look(self, ledger: Ledger) -> tuple[list[Pact], list[Notice], dict[NodeId, list[bytes]]]:
        """Pacts whose session is over, what is to be told, and transactions accepted here long since."""
        now = self._party.clock()
        unconfirmed: dict[NodeId, list[bytes]] = defaultdict(list)
        for verdict in ledger.verdicts.values():
            old = verdict.state is VerdictState.ACCEPTED and verdict.at + GRACE_S <= now
            if old and len(unconfirmed[verdict.peer]) < MAX_TXNS:
                unconfirmed[verdict.peer].append(verdict.txn)
        notices = pacts.to_tell(ledger)
        living: set[Hashable] = {*ledger.pacts, *ledger.notices, *unconfirmed}
        living |= {("confirm", peer) for peer in unconfirmed} | {each.peer for each in ledger.pacts.values()}
        living |= {each.peer for each in ledger.notices.values()}
        for key in [each for each in self._next if each not in living]:
            self._forget(key)
        self._said &= ledger.pacts.keys()
        return [each for each in ledger.pacts.values() if each.txn not in self._party.talking], notices, unconfirmed

    def _say(self, peer: NodeId, key: Hashable, steps: Steps[Any]) -> Any:
        """What came of a conversation; None if it failed, or is not to be had yet."""
        now = time.monotonic()
        if self.stopping or now >= self._until or now < max(self._next.get(key, 0.0), self._next.get(peer, 0.0)):
            steps.close()
            return None
        try:
            done = self._performer.run(steps)
        except Broken:
            self._later(key)
            self._later(peer)
        except (Refused, AsaError) as error:
            self._later(key)
            if isinstance(error, Refused):
                self._report(self.name, f"{peer.name} does not take what it is asked or told: {error}")
        else:
            self._forget(peer)
            return done
        return None

    def _tell_doubt(self, pact: Pact) -> None:
        self._events.tell(
            "pact-in-doubt",
            f"what {pact.peer.name} decided about {pact.after.id} is in doubt",
            peer=str(pact.peer),
            id=pact.after.id,
            txn=pact.txn.hex(),
        )
