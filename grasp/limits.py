"""Every bound of a node, with its unit and what it stops.

These are the defaults of :class:`Limits`; an operator changes one by passing
``Node(limits=Limits(sessions=1000))``.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

from grasp.constants import GRASP_DEF_MAX_SIZE, GRASP_DEF_TIMEOUT

MAX_DEPTH: Final = 32
"""Nesting of a message, value included. Stops stacks of containers."""

MAX_MESSAGE_SIZE: Final = 65_536
"""Bytes. The most an objective may raise its unicast limit to; also bounds the items of a message."""

MULTICAST_SIZE: Final = 1_232
"""Bytes: an IPv6 packet of 1280 less its headers, so nothing is ever fragmented (§2.5.3)."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one node. Every value is positive; the docstring beside it says what happens at the bound."""

    asas: int = 64
    """Registered ASAs; one more gets ``ASAfull``."""
    objectives: int = 1_024
    """Registered objectives; one more gets ``objFull``."""
    sessions: int = 512
    """Sessions open at once, both directions. Incoming above it are closed unread, outgoing get ``busy``."""
    sessions_per_peer: int = 96
    """Incoming connections open at once from one address; one more is closed unread."""
    sessions_per_member: int = 48
    """Of those of one member of a domain, whatever its addresses: its oldest that is idle makes room, or it is closed.

    Well below :attr:`workers`: no member alone keeps the others out.
    """
    workers: int = 160
    """Threads that serve connections. Above it connections wait in the kernel's backlog."""
    backlog: int = 512
    """Connections the kernel keeps before they are accepted."""
    pending_requests: int = 64
    """Requests waiting for one objective's ``listen_negotiate``; one more is closed at once."""
    tasks: int = 256
    """Replies to multicasts still connecting, and as many callbacks waiting for a thread.

    Of replies the oldest makes room (its asker repeats); one more callback is not made.
    """
    task_threads: int = 8
    """Threads for those."""
    cached_objectives: int = 1_024
    """Objectives with discovered locators; the one that expires first makes room."""
    cached_locators: int = 32
    """Locators of one objective; the one that expires first makes room."""
    cached_floods: int = 1_024
    """Flooded objectives; the oldest of the initiator that has most makes room."""
    seen: int = 16_384
    """(Session ID, initiator) pairs remembered; above what the relay rate can use in their lifetime."""
    relay_rate: int = 100
    """Discoveries, and floods, relayed per second each (§2.5.4.4, §2.5.6.2); above it they are not relayed."""
    discovery_rate: int = 5
    """Unanswered discoveries of one objective sent per second; above it the sender waits."""
    recent_session_ids: int = 4_096
    """Session IDs not used again although closed (§2.7)."""
    first_message_ms: int = 5_000
    """Time for a connection's first whole message, and for a TLS handshake as a whole. Stops who says nothing."""
    neighbours: int = 256
    """Candidates known, and links held, on one interface of a domain; one more is not taken."""
    kept: int = 64
    """Connections this node opened and keeps for another session; the one idle longest makes room."""
    kept_per_peer: int = 4
    """Those to one peer; the one idle longest makes room."""
    kept_ms: int = 10_000
    """How long they are kept; less than :attr:`idle_ms`, so that the peer has not given them up before."""
    idle_ms: int = 30_000
    """Time for the next request on a connection that a session has ended on; then it is closed."""
    reply_connect_ms: int = 2_000
    """Time to connect back to the sender of a multicast. Stops forged sources from holding a thread."""
    wait_ms: int = 10 * GRASP_DEF_TIMEOUT
    """The most one M_WAIT adds; a longer one counts as this."""
    session_ms: int = 60 * GRASP_DEF_TIMEOUT
    """The most one session lasts, however many M_WAITs it has."""
    multicast_size: int = MULTICAST_SIZE
    """Bytes of a multicast message, sent or received; raise it only where every link's MTU is known (§2.5.3)."""
    message_size: int = GRASP_DEF_MAX_SIZE
    """Bytes of a unicast message whose objective does not say otherwise (§2.8.3)."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if type(value) is not int or value < 1:
                raise ValueError(f"Limits.{field.name} must be a positive integer, not {value!r}")
        # A full bucket, and then the rate.
        if self.seen <= self.relay_rate * (1 + 2 * GRASP_DEF_TIMEOUT // 1000):
            raise ValueError("Limits.seen must exceed what relay_rate uses in twice GRASP_DEF_TIMEOUT (§2.5.6.2)")
        if not GRASP_DEF_MAX_SIZE <= self.message_size <= MAX_MESSAGE_SIZE:
            raise ValueError(f"Limits.message_size must be {GRASP_DEF_MAX_SIZE}..{MAX_MESSAGE_SIZE} bytes (§2.8.3)")
        if self.multicast_size > MAX_MESSAGE_SIZE - 48:
            raise ValueError(f"Limits.multicast_size must not exceed {MAX_MESSAGE_SIZE - 48} bytes")
