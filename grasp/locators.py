"""The cache of discovered locators (RFC 8990 §2.5.4.3). No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from grasp.constants import GRASP_DEF_TIMEOUT
from grasp.limits import Limits
from grasp.wire import FQDNLocator, IPv4Locator, IPv6Locator, Locator, URILocator

_INDEFINITE_TTL: Final = 10 * GRASP_DEF_TIMEOUT
_AUTHORITY: Final = re.compile(r"[^:/?#]+://(?:[^@/?#]*@)?([^:/?#]*)")


@dataclass(frozen=True, slots=True)
class Discovered:
    """A locator, the index of the interface it was learnt on, when it expires (monotonic s), how it came."""

    locator: Locator
    interface: int
    expires: float
    diverted: bool

    @property
    def link_local(self) -> bool:
        return isinstance(self.locator, IPv6Locator | IPv4Locator) and self.locator.address.is_link_local

    @property
    def divertible(self) -> bool:
        """Whether it means the same on every link, so that a Divert may hold it (§2.9.5.1, §2.9.5.3, §2.9.5.4)."""
        if isinstance(self.locator, FQDNLocator):
            return not _is_mdns(self.locator.name)
        if isinstance(self.locator, URILocator):
            return not _is_mdns(_host_of(self.locator.uri))
        return not self.link_local


def _is_mdns(name: str) -> bool:
    return name.rstrip(".").lower().endswith(".local")


def _host_of(uri: str) -> str:
    authority = _AUTHORITY.match(uri)
    return authority[1] if authority else ""


class LocatorCache:
    """Who supports which objective. Not thread-safe; the owner locks. ``now`` is monotonic seconds.

    At its bounds (``Limits.cached_objectives``, ``cached_locators``) what expires first makes room.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._entries: dict[str, dict[tuple[Locator, int], Discovered]] = {}

    def add(
        self, now: float, name: str, locators: Iterable[Locator], interface: int, ttl: int, diverted: bool
    ) -> list[Discovered]:
        """Remember a response; ``ttl`` ms, 0 for ten times GRASP_DEF_TIMEOUT (§2.8.5)."""
        expires = now + (ttl or _INDEFINITE_TTL) / 1000
        locators = list(locators)
        if not locators:
            return []
        entries = self._entries.get(name)
        if entries is None:
            if len(self._entries) >= self._limits.cached_objectives:
                self._make_room(now)
            entries = self._entries[name] = {}
        learnt = []
        for locator in locators:
            key = (locator, interface)
            entry = Discovered(locator, interface, expires, diverted)
            known = entries.get(key)
            if known is not None and known.expires > now and not known.diverted and diverted:
                # The responder's own word stands; what somebody else says of it only prolongs it.
                entry = Discovered(locator, interface, max(expires, known.expires), False)
            elif known is None and len(entries) >= self._limits.cached_locators:
                del entries[min(entries, key=lambda each: entries[each].expires)]
            entries[key] = entry
            learnt.append(entry)
        return learnt

    def _make_room(self, now: float) -> None:
        for name in list(self._entries):
            # Looking drops what has expired.
            self.get(now, name)
        if len(self._entries) >= self._limits.cached_objectives:
            last = {name: max(entry.expires for entry in each.values()) for name, each in self._entries.items()}
            del self._entries[min(last, key=last.__getitem__)]

    def get(self, now: float, name: str) -> list[Discovered]:
        """What is known and has not expired: responders' own answers first, then as they arrived.

        A routed locator learnt on two interfaces stands once, a link-local one means two neighbours.
        """
        entries = self._entries.get(name)
        if not entries:
            return []
        for key in [key for key, entry in entries.items() if entry.expires <= now]:
            del entries[key]
        if not entries:
            del self._entries[name]
        found: dict[object, Discovered] = {}
        for entry in sorted(entries.values(), key=lambda entry: entry.diverted):
            found.setdefault((entry.locator, entry.interface if entry.link_local else None), entry)
        return list(found.values())

    def learnt_elsewhere(self, now: float, name: str, interface: int) -> list[Discovered] | None:
        """What may be said on ``interface``: nothing learnt there (§2.5.4.3), nothing of local meaning (§2.9.5).

        None if nothing at all is known of the objective.
        """
        if not self.get(now, name):
            return None
        entries = self._entries[name].values()
        said = {each.locator: each for each in entries if each.interface != interface and each.divertible}
        return list(said.values())

    def drop_below(self, now: float, name: str, minimum_ttl: int) -> None:
        """Forget locators with no more than ``minimum_ttl`` ms left (RFC 8991 §2.3.4); 0 forgets all."""
        entries = self._entries.get(name, {})
        for key in [key for key, entry in entries.items() if not 0 < minimum_ttl < (entry.expires - now) * 1000]:
            del entries[key]
        if not entries:
            self._entries.pop(name, None)

    def forget(self, name: str, locator: Locator) -> None:
        """A locator that did not answer."""
        entries = self._entries.get(name, {})
        for key in [key for key in entries if key[0] == locator]:
            del entries[key]
        if not entries:
            self._entries.pop(name, None)

    def forget_interface(self, interface: int) -> None:
        """An interface is gone; what was learnt through it may be wrong now."""
        for name in list(self._entries):
            entries = self._entries[name]
            for key in [key for key in entries if key[1] == interface]:
                del entries[key]
            if not entries:
                del self._entries[name]

    def names(self) -> list[str]:
        return list(self._entries)
