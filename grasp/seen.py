"""Which messages were already here. No I/O."""

from __future__ import annotations

from collections.abc import Hashable


class SeenTable:
    """Keys remembered for a lifetime or longer, ``limit`` at most: at the bound the oldest is forgotten."""

    __slots__ = ("_expires", "_lifetime", "_limit")

    def __init__(self, limit: int, lifetime: float) -> None:
        self._expires: dict[Hashable, float] = {}
        self._limit = limit
        self._lifetime = lifetime

    def __contains__(self, key: Hashable) -> bool:
        return key in self._expires

    def __len__(self) -> int:
        return len(self._expires)

    def add(self, now: float, key: Hashable) -> bool:
        """Remember ``key`` for the lifetime in seconds. False if it was remembered already."""
        if self._expires.get(key, 0.0) > now:
            return False
        self._expires.pop(key, None)
        while self._expires:
            oldest = next(iter(self._expires))
            if self._expires[oldest] > now and len(self._expires) < self._limit:
                break
            del self._expires[oldest]
        self._expires[key] = now + self._lifetime
        return True
