"""Messages, options and objectives of RFC 8990 and their CBOR form, both ways. No I/O."""

from grasp.wire.address import Address, address_from_bytes, address_from_text, address_text
from grasp.wire.codec import (
    InvalidMessage,
    UnknownMessage,
    decode_message,
    encode_message,
    message_from_item,
    session_of,
)
from grasp.wire.locator import FQDNLocator, IPv4Locator, IPv6Locator, Locator, URILocator
from grasp.wire.message import (
    Accept,
    Decline,
    Discovery,
    Divert,
    End,
    Flood,
    FloodEntry,
    Invalid,
    Message,
    Negotiation,
    Noop,
    RequestNegotiation,
    RequestSynchronization,
    Response,
    Synchronization,
    Wait,
)
from grasp.wire.objective import NO_VALUE, Objective
from grasp.wire.relay import with_loop_count

__all__ = [
    "NO_VALUE",
    "Accept",
    "Address",
    "Decline",
    "Discovery",
    "Divert",
    "End",
    "FQDNLocator",
    "Flood",
    "FloodEntry",
    "IPv4Locator",
    "IPv6Locator",
    "Invalid",
    "InvalidMessage",
    "Locator",
    "Message",
    "Negotiation",
    "Noop",
    "Objective",
    "RequestNegotiation",
    "RequestSynchronization",
    "Response",
    "Synchronization",
    "URILocator",
    "UnknownMessage",
    "Wait",
    "address_from_bytes",
    "address_from_text",
    "address_text",
    "decode_message",
    "encode_message",
    "message_from_item",
    "session_of",
    "with_loop_count",
]
