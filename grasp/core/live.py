"""A negotiation session that has a connection."""

from __future__ import annotations

from grasp.calls import SessionHandle
from grasp.core.channel import Channel
from grasp.session import NegotiationSession


class Live:
    """A session, its connection, and until when whose turn it is."""

    __slots__ = ("asa", "channel", "ends", "handle", "limit", "machine", "turn_ends")

    def __init__(
        self, asa: int, handle: SessionHandle, machine: NegotiationSession, channel: Channel, limit: int, ends: float
    ) -> None:
        self.asa = asa
        self.handle = handle
        self.machine = machine
        self.channel = channel
        self.limit = limit
        self.ends = ends
        self.turn_ends = ends
