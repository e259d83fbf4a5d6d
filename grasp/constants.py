"""Numbers fixed by RFC 8990 (§2.6 and §4)."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

ALL_GRASP_NEIGHBORS_6: Final = "ff02::13"
ALL_GRASP_NEIGHBORS_4: Final = "224.0.0.119"

GRASP_LISTEN_PORT: Final = 7017
"""UDP port of the link-local multicasts."""

GRASP_DEF_TIMEOUT: Final = 60_000
"""Milliseconds."""

GRASP_DEF_LOOPCT: Final = 6
GRASP_DEF_MAX_SIZE: Final = 2048
"""Bytes of one message, unless its objective allows more (§2.8.3)."""

IPPROTO_TCP: Final = 6
IPPROTO_UDP: Final = 17

F_DISC: Final = 1 << 0
F_NEG: Final = 1 << 1
F_SYNCH: Final = 1 << 2
F_NEG_DRY: Final = 1 << 3
F_ALL: Final = F_DISC | F_NEG | F_SYNCH | F_NEG_DRY


class MessageType(IntEnum):
    """First item of a message (§4)."""

    M_NOOP = 0
    M_DISCOVERY = 1
    M_RESPONSE = 2
    M_REQ_NEG = 3
    M_REQ_SYN = 4
    M_NEGOTIATE = 5
    M_END = 6
    M_WAIT = 7
    M_SYNCH = 8
    M_FLOOD = 9
    M_INVALID = 99


class OptionType(IntEnum):
    """First item of an option (§4)."""

    O_DIVERT = 100
    O_ACCEPT = 101
    O_DECLINE = 102
    O_IPv6_LOCATOR = 103
    O_IPv4_LOCATOR = 104
    O_FQDN_LOCATOR = 105
    O_URI_LOCATOR = 106
