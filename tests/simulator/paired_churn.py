"""A network under load and misfortune, in which agents have reservations in common too."""

from __future__ import annotations

from asa.records import ReservationState
from objectives import NodeId
from objectives.pact import Arrange, CallOff, Settle, Terms
from tests.simulator.churn import Churn
from tests.simulator.world import M

LENGTHS = (5, 60, 600, 3_600, None)


class PairedChurn(Churn):
    """``paired``: the share of acts that are about reservations two agents have in common."""

    paired = 0.4

    def act(self) -> None:
        if self.rng.random() >= self.paired:
            super().act()
            return
        self.rng.choice((self.arrange, self.arrange, self.change_pair, self.change_pair, self.end_pair, self.meddle))()

    def arrange(self) -> None:
        name, peer = self._pair()
        self.world.couples.reserve(
            name,
            peer,
            self._rate(),
            self._rate(),
            self.rng.choice((0, 0, 30, 300)),
            self.rng.choice(LENGTHS[1:]),
            self.rng.choice((0, 0, 5, 100)),
            self.rng.choice(("", "", "one", "another")),
        )

    def change_pair(self) -> None:
        name = self._name()
        for chosen in self.rng.sample(there := self.world.couples.there(name), min(2, len(there))):
            if self.world.nodes[name].ledger.reservations[chosen].state is ReservationState.HELD:
                self.world.couples.confirm(name, chosen)
            else:
                self.world.couples.change(
                    name,
                    chosen,
                    self.rng.choice((None, self._rate())),
                    self.rng.choice((None, self._rate())),
                    self.rng.choice((None, 400, 2_000)),
                )

    def end_pair(self) -> None:
        name = self._name()
        if there := self.world.couples.there(name):
            self.world.couples.cancel(name, self.rng.choice(there))

    def meddle(self) -> None:
        """What no honest agent says about a reservation of two others."""
        name, other = self._pair()
        node = self.world.nodes[name]
        if not (there := self.world.couples.there(name)):
            return
        chosen, now, txn = self.rng.choice(there), node.clock(), self.rng.randbytes(16)
        posing = self.rng.choice((self.fresh, node.me, NodeId(other, "f" * 16)))
        request: Arrange | CallOff | Settle = CallOff(posing, node.me, chosen, now)
        if self.rng.random() < 0.3:
            request = Settle(txn, posing, self.fresh, chosen)
        elif self.rng.random() < 0.5:
            terms = Terms("two-way", chosen, f"{chosen}'", "any", M, M, now, now + 60)
            request = Arrange(txn, posing, node.me, chosen, terms, now, 1_000)
        self.world.adversary.speak(name, request)
