"""What consumers at either end do with reservations of two simulated agents, and what they are told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from asa import pairing, reservations
from asa.errors import AsaError
from asa.ledger import Ledger
from asa.lifecycle import over
from asa.records import Kind, Plan, Reservation, ReservationState
from asa.steps import Steps, Transact
from asa.terms import terms_of
from objectives import Window, node_from_text
from tests.simulator.network import POOL
from tests.simulator.node import Node
from tests.simulator.pairs import Told, booking

if TYPE_CHECKING:
    from tests.simulator.world import World

Then = Callable[[bool], object]


class Couples:
    """The consumers of a world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._pairs = world.checker.pairs
        self._changed: set[str] = set()
        """What was changed by whom was not told of it, or has not been yet: what is on disk is not what was told."""

    def reserve(
        self,
        name: str,
        peer: str,
        rate: int,
        back: int,
        start: int,
        seconds: int | None,
        hold: int = 0,
        flow: str = "",
        then: Then | None = None,
    ) -> str:
        """``rate`` bit/s from ``name`` to ``peer``, ``back`` the other way, ``start`` s from now; the id it gets.

        ``hold``: seconds for which it is held only. ``flow``: what tells a duplicate; its own by default.
        """
        world, node = self._world, self._world.nodes[name]
        now = node.clock()
        identifier = reservations.identifier(int(world.now * 1000), world.rng.getrandbits(25))
        if not node.alive or identifier in self._pairs.ids:
            return identifier
        state = ReservationState.HELD if hold else ReservationState.BOOKED
        wanted = Reservation(
            identifier, POOL, rate, Window(now + start, None if seconds is None else now + start + seconds), state,
            now, now, flow or identifier, f"{flow or identifier}'", kind=Kind.TWO_WAY, back=back,
            until=now + hold if hold else None, partner=str(world.nodes[peer].me),
        )  # fmt: skip

        def told(booked: Reservation | None) -> None:
            world.counts["arranged" if booked is not None else "not arranged"] += 1
            if booked is None:
                self._pairs.refused.add((node.me, identifier))
            elif identifier not in self._changed:
                self._pairs.told[identifier] = Told(node.me, booking(booked))

        self._arrange(
            node, wanted, lambda ledger: reservations.book(ledger, node.clock(), wanted), "arranges", told, then
        )
        return identifier

    def change(
        self,
        name: str,
        identifier: str,
        rate: int | None = None,
        back: int | None = None,
        seconds: int | None = None,
        then: Then | None = None,
    ) -> None:
        """Other rates, seen from ``name``, or an end ``seconds`` from now."""
        node = self._world.nodes[name]
        end = None if seconds is None else node.clock() + seconds

        def changed(ledger: Ledger) -> Reservation:
            found = reservations.find(ledger, identifier)
            return reservations.changed(found, node.clock(), self._world.params, rate, back, end, seconds is None)

        self._alter(node, identifier, changed, reservations.exchange, "changes", then)

    def confirm(self, name: str, identifier: str, then: Then | None = None) -> None:
        """Book what is held."""
        self._alter(
            self._world.nodes[name],
            identifier,
            lambda ledger: replace(reservations.find(ledger, identifier), state=ReservationState.BOOKED, until=None),
            lambda ledger, now, new: reservations.confirm(ledger, now, new.id),
            "confirms",
            then,
        )

    def _alter(
        self,
        node: Node,
        identifier: str,
        wanted: Callable[[Ledger], Reservation],
        book: Callable[[Ledger, int, Reservation], Plan[Reservation]],
        label: str,
        then: Then | None,
    ) -> None:
        if not node.alive:
            return
        try:
            new = wanted(node.ledger)
        except AsaError:
            return
        if not new.partner:
            return
        known = self._pairs.told.get(identifier)
        if known is not None and known.node != node.me:
            # Somebody at the other end changes it: what those there were told is stale.
            del self._pairs.told[identifier]
            known = None
        if known is not None:
            known.pending.append(booking(new))
        else:
            self._changed.add(identifier)

        def told(booked: Reservation | None) -> None:
            self._world.counts[label if booked is not None else f"{label} in vain"] += 1
            if known is not None:
                known.pending.remove(booking(new))
                if booked is not None:
                    # Unless another has changed it once more since.
                    there = node.disk.of(Reservation).get((identifier,))
                    others = [each for each in known.pending if there is not None and each == booking(there)]
                    known.sure = (others or [booking(booked)])[0]

        # What it is computed from may change before it is decided, in which case it has to fail.
        self._arrange(node, new, lambda ledger: book(ledger, node.clock(), wanted(ledger)), label, told, then)

    def _arrange(
        self,
        node: Node,
        wanted: Reservation,
        book: Callable[[Ledger], Plan[Reservation]],
        label: str,
        told: Callable[[Reservation | None], object],
        then: Then | None,
    ) -> None:
        def done(booked: Reservation | None, error: BaseException | None) -> None:
            told(None if error is not None else booked)
            self._pairs.check_told()
            if then is not None:
                then(error is None)

        steps = pairing.arrange(
            node.party, node_from_text(wanted.partner), wanted.id, terms_of(wanted), book, self._world.now + 10,
            lambda ledger: reservations.lacking(ledger, node.clock(), wanted),
        )  # fmt: skip
        node.run(steps, label, done=done)

    def cancel(self, name: str, identifier: str) -> None:
        node = self._world.nodes[name]
        if not node.alive:
            return
        self._pairs.wishes.add(identifier)

        def cancel() -> Steps[Any]:
            yield Transact(lambda ledger: reservations.cancel(ledger, node.clock(), identifier))

        def done(_: Any, error: BaseException | None) -> None:
            self._world.counts["cancels" if error is None else "cancels in vain"] += 1

        node.run(cancel(), "cancels", done=done)

    def there(self, name: str) -> list[str]:
        """The ids of what has its one end at a node."""
        node = self._world.nodes[name]
        if not node.alive:
            return []
        return [each.id for each in node.ledger.reservations.values() if each.partner and not over(each, node.clock())]
