"""Connections that are kept for the next session with the same peer."""

from __future__ import annotations

import threading
from typing import Generic, Protocol, TypeVar

from grasp.limits import Limits
from grasp.member import Member
from grasp.wire import Address

Place = tuple[Address, int, int]
"""Address, port and interface that were connected to."""


class Keepable(Protocol):
    """What can be kept."""

    @property
    def place(self) -> Place: ...

    @property
    def member(self) -> Member: ...

    def close(self) -> None: ...


K = TypeVar("K", bound=Keepable)


class Kept(Generic[K]):
    """Idle connections, at most ``Limits.kept`` in all and ``kept_per_peer`` to one place. Thread-safe.

    The one used last is used first: the others then grow old and go. ``now`` is monotonic s.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        # Until when; in order of their ages.
        self._idle: dict[K, float] = {}
        self._open = True

    def __len__(self) -> int:
        return len(self._idle)

    def put(self, connection: K, now: float) -> bool:
        """Keep it, and close those that make room; False, and it is the caller's, after the last :meth:`clear`."""
        with self._lock:
            if not self._open:
                return False
            self._idle[connection] = now + self._limits.kept_ms / 1000
            same = [each for each in self._idle if each.place == connection.place]
            surplus = same[: max(0, len(same) - self._limits.kept_per_peer)]
            if not surplus and len(self._idle) > self._limits.kept:
                surplus = [next(iter(self._idle))]
            for each in surplus:
                del self._idle[each]
        for each in surplus:
            each.close()
        return True

    def take(self, place: Place, member: str, now: float) -> K | None:
        """One to ``place``, whoever put it there not using it any more; to ``member`` if that is not empty."""
        with self._lock:
            for each, until in reversed(self._idle.items()):
                if each.place == place and until > now and member in ("", each.member.name):
                    del self._idle[each]
                    return each
        return None

    def remove(self, connection: K) -> bool:
        """Whoever calls closes it; whether it was there."""
        with self._lock:
            return self._idle.pop(connection, None) is not None

    def expire(self, now: float) -> None:
        """Close those that nobody has used for long enough."""
        with self._lock:
            old = [each for each, until in self._idle.items() if until <= now]
            for each in old:
                del self._idle[each]
        for each in old:
            each.close()

    def clear(self, last: bool = False) -> None:
        """Close all; after the ``last`` time none is kept any more."""
        with self._lock:
            self._open = self._open and not last
            idle = list(self._idle)
            self._idle.clear()
        for each in idle:
            each.close()
