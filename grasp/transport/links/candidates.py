"""Candidates: where a neighbour may listen, and when it is worth trying (RFC 8994 §6.7). No I/O.

``now`` is monotonic seconds, ``random`` draws from [0, 1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from grasp.transport.links.announcements import Place

FIRST_S: Final = 10.0
LONGEST_S: Final = 640.0
_REMEMBERED_S: Final = 60.0
_PER_ADDRESS: Final = 8
_QUICK_S: Final = 0.5
_QUICK_EVERY_S: Final = 10.0


@dataclass(slots=True, eq=False)
class Candidate:
    """Heard first at ``since``, not to be tried before ``due``. ``held``: connections there or in the making."""

    interface: int
    place: Place
    since: float
    expires: float
    due: float
    failures: int = 0
    held: int = 0
    proven: bool = False
    """A member has answered there: nobody who has not makes it leave the table."""
    quick: float = -_QUICK_EVERY_S
    why: str = ""
    """How the last connection ended."""


class Candidates:
    """At most ``limit`` on an interface, and a few at one address.

    When it is full who was tried in vain makes room, who never has proved anything first. If there is none the
    newcomer is not taken, unless it is a member that has connected: who babbles displaces nobody who was not looked
    at. Who forges enough addresses makes newcomers wait for as long as that goes on, and never touches who has proved
    itself.
    """

    def __init__(self, limit: int, random: Callable[[], float]) -> None:
        self._limit = limit
        self._random = random
        self._tables: dict[int, dict[Place, Candidate]] = {}

    def __iter__(self) -> Iterator[Candidate]:
        for table in self._tables.values():
            yield from table.values()

    def heard(
        self, now: float, interface: int, place: Place, seconds: float, wait: float, member: bool = False
    ) -> tuple[Candidate | None, bool]:
        """The candidate, if there is room, and whether it is new; a new one is to be tried in ``wait`` seconds.

        ``member``: one has said so on a connection, so that whoever has proved nothing makes room.
        """
        table = self._tables.setdefault(interface, {})
        found = table.get(place)
        if found is not None and (found.held or found.expires > now):
            found.expires = max(found.expires, now + seconds)
            return found, False
        if found is None and not (self._room_at(table, place, member) and self._room(now, table, member)):
            return None, False
        made = table[place] = Candidate(interface, place, now, now + seconds, now + wait)
        return made, True

    def _room_at(self, table: dict[Place, Candidate], place: Place, member: bool) -> bool:
        there = [each for each in table.values() if each.place.address == place.address]
        return len(there) < _PER_ADDRESS or _displaced(table, there, member)

    def _room(self, now: float, table: dict[Place, Candidate], member: bool) -> bool:
        if len(table) < self._limit:
            return True
        self.expire(now)
        return len(table) < self._limit or _displaced(table, table.values(), member)

    def expire(self, now: float) -> None:
        for table in self._tables.values():
            for each in [each for each in table.values() if each.expires <= now and not each.held]:
                del table[each.place]

    def failed(self, now: float, candidate: Candidate) -> None:
        """An attempt of ours failed: the next one is not before 10 s, doubling to 640 s, have passed (§6.7)."""
        interval = min(FIRST_S * 2.0 ** min(candidate.failures, 10), LONGEST_S)
        candidate.failures += 1
        candidate.due = now + interval * (0.75 + self._random() / 2)

    def lost(self, now: float, candidate: Candidate, wait: float) -> None:
        """What was up broke: it is tried soon, but not each time if that happens again and again."""
        candidate.expires = max(candidate.expires, now + _REMEMBERED_S)
        if now - candidate.quick < _QUICK_EVERY_S:
            self.failed(now, candidate)
            return
        candidate.quick = now
        candidate.due = now + _QUICK_S * (1 + self._random()) + wait

    def gone(self, interface: int) -> None:
        self._tables.pop(interface, None)


def _displaced(table: dict[Place, Candidate], among: Iterable[Candidate], member: bool) -> bool:
    spare = [each for each in among if not each.held and (each.failures or (member and not each.proven))]
    if not spare:
        return False
    worst = max(spare, key=lambda each: (not each.proven, each.failures))
    del table[worst.place]
    return True
