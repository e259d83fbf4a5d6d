"""What the parts of a core have in common.

Lock order: ``lock`` is the only lock of the core. It is never held while something is sent, received or
connected, or while a function of an ASA runs.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address

from grasp.calls import Peer
from grasp.constants import IPPROTO_TCP
from grasp.core.channel import Channel
from grasp.core.registry import Registered, Registry
from grasp.core.tasks import TaskPool
from grasp.errors import ErrorCode, LocalError
from grasp.limits import Limits
from grasp.locators import Discovered, LocatorCache
from grasp.member import Member
from grasp.session import SessionIds
from grasp.transport import Interface, Substrate
from grasp.wire import Address, FQDNLocator, IPv4Locator, IPv6Locator, Locator, address_from_text

_log = logging.getLogger("grasp.core")


class Shared:
    """State and services that discovery, negotiation, synchronization and flooding share."""

    def __init__(
        self,
        substrate: Substrate,
        limits: Limits,
        random_id: Callable[[], int],
        jitter: Callable[[], float],
        rapid: bool,
        require_security: bool,
        name: str,
    ) -> None:
        self.substrate = substrate
        self.limits = limits
        self.rapid = rapid
        self.jitter = jitter
        self.lock = threading.Lock()
        self.registry = Registry(limits, random_id)
        self.ids = SessionIds(limits.recent_session_ids, random_id)
        self.locators = LocatorCache(limits)
        self.tasks = TaskPool(limits.task_threads, limits.tasks, f"{name}-task")
        self.counts: Counter[str] = Counter()
        self.secure_enough = substrate.secured or not require_security
        self.running = False

    def check_running(self) -> None:
        """Raises ``stopped`` or ``noSecurity``."""
        if not self.running:
            raise LocalError(ErrorCode.stopped, "start the node first")
        if not self.secure_enough:
            raise LocalError(ErrorCode.noSecurity, "security is required and this substrate has none")

    def refusal(self, registered: Registered | None, member: Member | None) -> str | None:
        """Why ``member`` may not ask for this objective; None if it may. The lock is not held."""
        admit = registered.registration.admit if registered is not None else None
        if registered is None or admit is None:
            return None
        try:
            why = admit(member)
        except Exception:
            _log.exception("whom to admit to %s could not be decided", registered.name)
            why = "not decided"
        if why is not None:
            self.counts["not admitted"] += 1
        return why

    def initiator(self, interface: Interface) -> Address | None:
        """The address that tells this node's session IDs from others' (RFC 8990 §2.8.4)."""
        return self.substrate.address or interface.link_local or next(iter(interface.ipv4), None)

    def own_locators(self, interface: int, local: bool, ipv4: bool = False) -> tuple[Locator, ...]:
        """How to reach this node from a link: by a routed address, or the link's own if ``local`` or none.

        ``ipv4``: asked over IPv4, so prefer that family.
        """
        found = next((each for each in self.substrate.interfaces if each.index == interface), None)
        node, six, four, link = self.substrate.address, None, None, None
        if found is not None:
            six, four, link = next(iter(found.routed), None), next(iter(found.ipv4), None), found.link_local
        candidates: tuple[Address | None, ...]
        if local:
            candidates = (four, link) if ipv4 else (link, four)
        elif ipv4:
            candidates = (four, node, link)
        else:
            # Another family only if there is nothing in the one the asker surely has.
            candidates = (six, node if node is not None and node.version == 6 else None, link, node)
        chosen = next((each for each in candidates if each is not None), None)
        return () if chosen is None else (locator_for(chosen, self.substrate.port),)

    def connect(self, peer: Peer, deadline: float, limit: int) -> Channel:
        """A channel to ``peer``. Raises OSError, or ``invalidLoc`` for a locator GRASP cannot reach."""
        seconds = deadline - time.monotonic()
        if seconds <= 0:
            raise TimeoutError("no time left")
        locator = peer.locator
        if isinstance(locator, IPv6Locator | IPv4Locator):
            address: Address = locator.address
        elif isinstance(locator, FQDNLocator):
            address = _resolve(locator)
        else:
            raise LocalError(ErrorCode.invalidLoc, "a URI does not say where a GRASP peer listens")
        if locator.protocol != IPPROTO_TCP:
            raise LocalError(ErrorCode.invalidLoc, "negotiation and synchronization need TCP (RFC 8990 §2.5.3)")
        try:
            connection = self.substrate.connect(address, locator.port, peer.interface, seconds, peer.member)
            return Channel(connection, limit, ours=True)
        except OSError:
            if isinstance(address, IPv6Address) and address.is_link_local and not peer.interface:
                raise LocalError(ErrorCode.invalidLoc, f"{address} is link-local: it needs an interface") from None
            raise


def locator_for(address: Address, port: int) -> Locator:
    """A TCP locator of either family."""
    if isinstance(address, IPv4Address):
        return IPv4Locator(address, IPPROTO_TCP, port)
    return IPv6Locator(address, IPPROTO_TCP, port)


def peer_of(discovered: Discovered) -> Peer:
    return Peer(discovered.locator, discovered.interface if discovered.link_local else 0)


def milliseconds(timeout: int, name: str = "timeout") -> int:
    """A timeout argument, 0 replaced by nothing: the caller knows its default. Raises ``badArgument``."""
    if type(timeout) is not int or not 0 <= timeout <= 0xFFFF_FFFF:
        raise LocalError(ErrorCode.badArgument, f"{name} must be 0..2^32-1 ms, not {timeout!r:.40}")
    return timeout


def _resolve(locator: FQDNLocator) -> Address:
    import socket

    try:
        found = socket.getaddrinfo(locator.name, locator.port, type=socket.SOCK_STREAM)
    except ValueError as error:
        # A label that is empty or too long, a NUL: no name at all.
        raise OSError(f"{locator.name[:80]!r} is no domain name: {error}") from None
    found.sort(key=lambda each: each[0] != socket.AF_INET6)
    return address_from_text(str(found[0][4][0]))
