"""Messages <-> bytes, strictly by the CDDL of RFC 8990 §4.

Beyond the CDDL only what the text asks for is accepted: an option in a message it does not belong to is
discarded (§2.8.2, §2.9.2-2.9.4), where "option" is an array that starts with an unsigned integer (§2.9.1).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from grasp.cbor import decode, encode
from grasp.constants import MessageType, OptionType
from grasp.errors import ErrorCode, LocalError, WireError
from grasp.wire.address import Address, address_from_bytes
from grasp.wire.locator import is_locator, locator_from_item
from grasp.wire.message import (
    UINT32_MAX,
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
from grasp.wire.objective import NO_VALUE, objective_from_item


class InvalidMessage(WireError):
    """CBOR that breaks the CDDL; ``session_id`` and ``kind`` are the ID and message type it carried, if any."""

    def __init__(self, detail: str, session_id: int | None = None, kind: int | None = None) -> None:
        super().__init__(detail)
        self.session_id = session_id
        self.kind = kind


class UnknownMessage(InvalidMessage):
    """Well-formed, with a message type RFC 8990 does not define (§2.8.2)."""


def encode_message(message: Message, limit: int) -> bytes:
    """The bytes of ``message``. Raises :class:`LocalError` ``tooLong`` above ``limit`` bytes (§2.8.3)."""
    data = encode(message.to_item())
    if len(data) > limit:
        hint = (
            "" if isinstance(message, Discovery | Flood) else "; an objective can be registered with a larger max_size"
        )
        raise LocalError(ErrorCode.tooLong, f"message of {len(data)} bytes, the limit is {limit}{hint}")
    return data


def decode_message(data: bytes) -> Message:
    """The message that ``data`` is.

    Raises :class:`~grasp.cbor.Truncated`, :class:`~grasp.cbor.TrailingBytes`, :class:`UnknownMessage`,
    :class:`InvalidMessage` or, where it is no valid CBOR, plain :class:`WireError`.
    """
    return message_from_item(decode(data))


def message_from_item(item: Any) -> Message:
    """The message a decoded item is."""
    if type(item) is not list or not item or type(item[0]) is not int:
        raise InvalidMessage("a message is an array that starts with its type")
    build = _BUILDERS.get(item[0])
    if build is None:
        raise UnknownMessage(f"message type {item[0]!r:.20} is not defined", session_of(item))
    try:
        return build(item)
    except IndexError:
        detail = "message is too short"
    except InvalidMessage:
        raise
    except (WireError, LocalError) as error:
        detail = error.detail
    # Neither is ever answered with an M_INVALID (§2.8.12, §2.8.13), so they need no session ID here.
    session_id = None if item[0] in (MessageType.M_INVALID, MessageType.M_NOOP) else session_of(item)
    raise InvalidMessage(f"{MessageType(item[0]).name}: {detail}", session_id, item[0])


def session_of(item: Any) -> int | None:
    """The session ID of a decoded item, for an M_INVALID about it; None where there is none to copy."""
    if type(item) is list and len(item) > 1 and type(item[1]) is int and 0 <= item[1] <= UINT32_MAX:
        return item[1]
    return None


def _is_option(item: Any) -> bool:
    return type(item) is list and len(item) > 0 and type(item[0]) is int and item[0] >= 0


def _drop_options(item: list[Any], length: int) -> None:
    """Discard options behind the items a message has (§2.8.2); anything else there breaks the CDDL."""
    for extra in item[length:]:
        if not _is_option(extra):
            raise WireError("an item too many, or one out of place")


def _initiator(field: Any) -> Address:
    if type(field) is bytes and len(field) in (4, 16):
        return address_from_bytes(field)
    raise WireError("initiator is not an address of 4 or 16 bytes")


def _noop(item: list[Any]) -> Noop:
    _drop_options(item, 1)
    return Noop()


def _discovery(item: list[Any]) -> Discovery:
    if len(item) != 4:
        _drop_options(item, 4)
    return Discovery(item[1], _initiator(item[2]), objective_from_item(item[3]))


def _response(item: list[Any]) -> Response:
    locators, divert, objective = [], None, None
    for field in item[4:]:
        if objective is not None:
            _drop_options([field], 0)
        elif is_locator(field):
            locators.append(locator_from_item(field))
        elif _is_option(field):
            if field[0] == OptionType.O_DIVERT:
                if divert is not None:
                    raise WireError("more than one divert option")
                divert = Divert(tuple(locator_from_item(each) for each in field[1:]))
        else:
            objective = objective_from_item(field)
    # The CDDL has one or the other; where a peer sends both, its own locators are the nearer answer.
    where = tuple(locators) if locators or divert is None else divert
    return Response(item[1], _initiator(item[2]), item[3], where, objective)


def _one_objective(kind: Callable[[int, Any], Any]) -> Callable[[list[Any]], Any]:
    def build(item: list[Any]) -> Any:
        if len(item) != 3:
            _drop_options(item, 3)
        return kind(item[1], objective_from_item(item[2]))

    return build


def _end(item: list[Any]) -> End:
    found: Accept | Decline | None = None
    for field in item[2:]:
        if not _is_option(field):
            raise WireError("not an option")
        if field[0] in _ENDINGS:
            if found is not None:
                raise WireError("more than one accept or decline option")
            found = _ending(field)
    if found is None:
        raise WireError("neither accept nor decline option")
    return End(item[1], found)


def _ending(option: list[Any]) -> Accept | Decline:
    if option[0] == _O_ACCEPT:
        if len(option) != 1:
            raise WireError(f"accept option of {len(option)} items")
        return Accept()
    if len(option) > 2 or (len(option) == 2 and type(option[1]) is not str):
        raise WireError("decline option must hold at most a text")
    return Decline(option[1] if len(option) == 2 else None)


_O_ACCEPT = int(OptionType.O_ACCEPT)
_ENDINGS = (_O_ACCEPT, int(OptionType.O_DECLINE))


def _wait(item: list[Any]) -> Wait:
    if len(item) != 3:
        _drop_options(item, 3)
    return Wait(item[1], item[2])


def _flood_entry(field: Any) -> FloodEntry:
    if type(field) is not list or len(field) != 2 or type(field[1]) is not list:
        raise WireError("flood entry is not an objective and a locator")
    objective, tag = objective_from_item(field[0]), field[1]
    # A misplaced divert, accept or decline is ignored, which leaves the null locator (§2.9.2-2.9.4).
    if not tag or (_is_option(tag) and tag[0] in _NEVER_IN_FLOOD):
        return FloodEntry(objective)
    return FloodEntry(objective, locator_from_item(tag))


_NEVER_IN_FLOOD = (OptionType.O_DIVERT, OptionType.O_ACCEPT, OptionType.O_DECLINE)


def _flood(item: list[Any]) -> Flood:
    entries = tuple(_flood_entry(field) for field in item[4:] if not _is_option(field))
    return Flood(item[1], _initiator(item[2]), item[3], entries)


def _invalid(item: list[Any]) -> Invalid:
    if len(item) > 3:
        raise WireError("more than 3 items")
    return Invalid(item[1], item[2] if len(item) == 3 else NO_VALUE)


_BUILDERS: dict[int, Callable[[list[Any]], Message]] = {
    MessageType.M_NOOP: _noop,
    MessageType.M_DISCOVERY: _discovery,
    MessageType.M_RESPONSE: _response,
    MessageType.M_REQ_NEG: _one_objective(RequestNegotiation),
    MessageType.M_REQ_SYN: _one_objective(RequestSynchronization),
    MessageType.M_NEGOTIATE: _one_objective(Negotiation),
    MessageType.M_END: _end,
    MessageType.M_WAIT: _wait,
    MessageType.M_SYNCH: _one_objective(Synchronization),
    MessageType.M_FLOOD: _flood,
    MessageType.M_INVALID: _invalid,
}
