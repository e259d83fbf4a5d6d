"""The promise about reservations of two agents, checked from the disks alone: never half booked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from asa.records import (
    LIVING,
    Change,
    Notice,
    Pact,
    Reservation,
    ReservationState,
    Verdict,
    VerdictState,
)
from objectives import NodeId, Window
from tests.simulator.disk import Disk

Booking = tuple[int, int, Window, ReservationState]


class HalfBooked(AssertionError):
    """The promise is broken: a defect."""


def booking(record: Reservation) -> Booking:
    return record.rate, record.back, record.window, record.state


def mirrored(one: Reservation, other: Reservation) -> bool:
    return (one.rate, one.back, one.window, one.state) == (other.back, other.rate, other.window, other.state)


@dataclass
class Told:
    """What consumers of a node were told that a reservation is, and what they are about to make of it."""

    node: NodeId
    sure: Booking
    pending: list[Booking] = field(default_factory=list)


class Pairs:
    """What is on the disks of reservations with a partner, and what consumers were told of them."""

    def __init__(self, disks: Mapping[NodeId, Disk]) -> None:
        self._disks = disks
        self.latest = 0
        """By the clock that is furthest ahead."""
        self.lost: set[NodeId] = set()
        self.told: dict[str, Told] = {}
        """Of the agent whose consumer changed it last."""
        self.refused: set[tuple[NodeId, str]] = set()
        self.wishes: set[str] = set()
        """What somebody, at either end, wanted cancelled."""
        self.ended: set[str] = set()
        self.ids: set[str] = set()

    def committed(self, node: NodeId, now: int, changes: Sequence[Change]) -> None:
        """Judge what a node has just made durable. Raises AssertionError."""
        self.latest = max(self.latest, now)
        touched: set[str] = set()
        for change in changes:
            match change.after or change.before:
                case Reservation() as record if record.partner:
                    touched.add(record.id)
                    self._reservation(node, change)
                case Pact() as record:
                    touched.add(record.after.id)
                case Verdict() | Notice() as record:
                    touched.add(record.id)
        self.ids |= touched
        for identifier in touched:
            self.check(identifier)

    def _reservation(self, node: NodeId, change: Change) -> None:
        record = change.after
        if not isinstance(record, Reservation):
            return
        if (node, record.id) in self.refused and record.state in LIVING:
            raise HalfBooked(f"{record.id} was refused, and is on the disk of {node.name}")
        if record.state is ReservationState.CANCELLED:
            self.ended.add(record.id)
            if record.id not in self.wishes:
                raise HalfBooked(f"{record.id} is cancelled at {node.name}, which nobody wanted")

    def check(self, identifier: str) -> None:
        for node, disk in self._disks.items():
            found = disk.of(Reservation).get((identifier,))
            open_ = [each for each in disk.of(Pact).values() if each.after.id == identifier]
            if len(open_) > 1:
                raise HalfBooked(f"{node.name} has {len(open_)} open pacts about {identifier}")
            if found is None:
                continue
            if found.state is ReservationState.PREPARED and not open_:
                raise HalfBooked(f"{identifier} is prepared at {node.name} without a pact")
            if open_:
                self._check_covers(node, found, open_[0])
            if found.state is ReservationState.BOOKED and found.partner:
                wrong = self._half(node, found)
                if wrong:
                    raise HalfBooked(f"{found} is booked at {node.name}, and {wrong}")

    def _check_covers(self, node: NodeId, found: Reservation, pact: Pact) -> None:
        if found.state not in LIVING:
            return
        for each in (pact.before, pact.after):
            if each is not None and not (
                found.window.covers(each.window)
                and all(found.demand().get(name, 0) >= amount for name, amount in each.demand().items())
            ):
                raise HalfBooked(f"{found.id} takes less at {node.name} than it may become: {found} {pact}")

    def _half(self, node: NodeId, found: Reservation) -> str:
        """What is wrong with a booked reservation's other end; empty if nothing is."""
        partner = next((each for each in self._disks if str(each) == found.partner), None)
        if partner is None or found.window.passed(self.latest):
            return ""
        there = self._disks[partner]
        if (found.id, str(node)) in there.of(Notice):
            return ""
        other = there.of(Reservation).get((found.id,))
        if other is None or other.state not in LIVING:
            return f"the other end is {other}"
        mine, theirs = self._decided(node, found), self._decided(partner, other)
        if mine is None or theirs is None or not mirrored(mine, theirs):
            return f"will be {mine}, the other end {theirs}"
        return ""

    def _decided(self, node: NodeId, found: Reservation) -> Reservation | None:
        """What a reservation is, or will be when its open pact is settled as it is decided by now."""
        pact = next((each for each in self._disks[node].of(Pact).values() if each.after.id == found.id), None)
        if pact is None:
            return found
        verdict = self._disks[pact.peer].of(Verdict).get((pact.txn,)) if pact.peer in self._disks else None
        accepted = verdict is not None and verdict.peer == node and verdict.state is VerdictState.ACCEPTED
        return pact.after if accepted else pact.before

    def check_told(self) -> None:
        """That what consumers were told is on disk. Raises AssertionError."""
        for identifier, told in self.told.items():
            found = self._disks[told.node].of(Reservation).get((identifier,))
            either = {told.sure, *told.pending}
            lapsed = all(state is ReservationState.HELD for *_, state in either)
            if identifier in self.ended or lapsed or told.node in self.lost:
                continue
            if all(window.passed(self.latest - 100) for _, _, window, _ in either):
                continue
            if found is None or booking(found) not in either:
                raise HalfBooked(f"{identifier} was told to be one of {either}, on disk is {found}")

    def unrest(self) -> str:
        """What is not settled; empty if all is."""
        for node, disk in self._disks.items():
            if node in self.lost:
                continue
            waiting: list[Pact | Notice] = [*disk.of(Pact).values(), *disk.of(Notice).values()]
            for each in waiting:
                if each.peer not in self.lost:
                    return f"{node.name} has {each}"
        return ""

    def unconfirmed(self) -> str:
        for node, disk in self._disks.items():
            for each in disk.of(Verdict).values():
                if each.state is VerdictState.ACCEPTED and not self.lost & {node, each.peer}:
                    return f"{node.name} has {each}"
        return ""

    def check_final(self) -> None:
        """That when all is settled either both ends are booked alike, or neither is. Raises AssertionError."""
        for identifier in self.ids:
            ends = [
                (node, found)
                for node, disk in self._disks.items()
                if (found := disk.of(Reservation).get((identifier,))) is not None and node not in self.lost
            ]
            for node, found in ends:
                partner = next((each for each in self._disks if str(each) == found.partner), None)
                if partner in self.lost or found.state not in LIVING or found.window.passed(self.latest):
                    continue
                if found.state is ReservationState.HELD and found.until is not None and found.until <= self.latest:
                    continue
                assert found.state is not ReservationState.PREPARED, f"{found} is prepared for good"
                others = [other for there, other in ends if there == partner]
                if not others or not mirrored(found, others[0]):
                    raise HalfBooked(f"half booked at {node.name}: {found}, at the other end {others}")
