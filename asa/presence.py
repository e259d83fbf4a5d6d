"""What an agent says of itself to all others: its state and pools, the prefixes it serves, where it is."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv6Address
from socket import IPPROTO_TCP

import grasp
from asa import oversight
from asa.books import Books
from asa.steps import Party
from grasp import IPv4Locator, IPv6Locator, Locator
from objectives.agent import Announcement
from objectives.reach import Prefix, Reach


class Presence:
    """``active`` tells whether the agent takes part, ``serves`` are the prefixes whose hosts reserve at it."""

    def __init__(
        self, party: Party, books: Books, node: grasp.Node, active: Callable[[], bool], serves: tuple[Prefix, ...]
    ) -> None:
        self._party = party
        self._books = books
        self._node = node
        self._active = active
        self._serves = serves

    def announcement(self, state: str | None = None) -> Announcement:
        """What it says of itself now."""
        said = state or ("active" if self._active() else "inactive")
        made = self._books.read(lambda ledger: oversight.announcement(self._party, ledger, _sequence(), said))
        address = self._node.address
        if not self._node.secured or address is None:
            return made
        return replace(made, at=(address.packed, self._node.port))

    def reach(self) -> Reach | None:
        """What it says it serves; None if it serves nothing by name."""
        return Reach(self._party.me, _sequence(), self._serves) if self._serves else None

    def locator(self) -> Locator:
        """Where it is; ``::`` stands for each link's own address."""
        address = self._node.address or IPv6Address("::")
        if isinstance(address, IPv6Address):
            return IPv6Locator(address, IPPROTO_TCP, self._node.port)
        return IPv4Locator(address, IPPROTO_TCP, self._node.port)


def _sequence() -> int:
    return time.time_ns() // 1_000_000
