"""A negotiation session that has a connection, and what its failures are called."""

from __future__ import annotations

from typing import Final

from grasp.calls import SessionHandle
from grasp.constants import MessageType
from grasp.core.channel import Channel
from grasp.errors import ErrorCode
from grasp.session import NegotiationSession
from grasp.wire import End, Invalid, Negotiation, RequestNegotiation, Wait

INVALID: Final[dict[int | None, ErrorCode]] = {
    MessageType.M_NEGOTIATE: ErrorCode.invalidNeg,
    MessageType.M_END: ErrorCode.invalidEnd,
}
"""What a message that breaks the CDDL means to the one who waits for it; CBORfail if of another type."""
SOCKET_ERRORS: Final[dict[type, ErrorCode]] = {
    RequestNegotiation: ErrorCode.sockErrNegRq,
    Negotiation: ErrorCode.sockErrNegStep,
    Wait: ErrorCode.sockErrWait,
    End: ErrorCode.sockErrEnd,
    Invalid: ErrorCode.sockErrEnd,
}
"""What it is called when one cannot be sent (RFC 8991 Appendix A)."""


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
