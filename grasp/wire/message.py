"""Messages (RFC 8990 §2.8) and the options they carry (§2.9), as values."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Final

from grasp.constants import MessageType, OptionType
from grasp.errors import ErrorCode, LocalError
from grasp.wire.address import Address
from grasp.wire.locator import FQDNLocator, IPv4Locator, IPv6Locator, Locator, URILocator
from grasp.wire.objective import NO_VALUE, Objective

UINT32_MAX: Final = 0xFFFF_FFFF
# Plain numbers: a member of an Enum class costs a call each time it is looked up.
_M_DISCOVERY: Final = int(MessageType.M_DISCOVERY)
_M_END: Final = int(MessageType.M_END)
_M_FLOOD: Final = int(MessageType.M_FLOOD)
_M_INVALID: Final = int(MessageType.M_INVALID)
_M_NEGOTIATE: Final = int(MessageType.M_NEGOTIATE)
_M_NOOP: Final = int(MessageType.M_NOOP)
_M_REQ_NEG: Final = int(MessageType.M_REQ_NEG)
_M_REQ_SYN: Final = int(MessageType.M_REQ_SYN)
_M_RESPONSE: Final = int(MessageType.M_RESPONSE)
_M_SYNCH: Final = int(MessageType.M_SYNCH)
_M_WAIT: Final = int(MessageType.M_WAIT)
_O_ACCEPT: Final = int(OptionType.O_ACCEPT)
_O_DECLINE: Final = int(OptionType.O_DECLINE)
_O_DIVERT: Final = int(OptionType.O_DIVERT)

_LOCATORS = (IPv6Locator, IPv4Locator, FQDNLocator, URILocator)


def _fail(detail: str) -> None:
    raise LocalError(ErrorCode.badArgument, detail)


def _check_session(session_id: object) -> None:
    if type(session_id) is not int or not 0 <= session_id <= UINT32_MAX:
        _fail(f"session ID must be 0..2^32-1, not {session_id!r:.40}")


def _check_milliseconds(name: str, value: object) -> None:
    if type(value) is not int or not 0 <= value <= UINT32_MAX:
        _fail(f"{name} must be 0..2^32-1 ms, not {value!r:.40}")


def _check_initiator(initiator: object) -> None:
    if type(initiator) is not IPv6Address and type(initiator) is not IPv4Address:
        _fail("initiator must be an ipaddress.IPv6Address or IPv4Address")


def _check_objective(objective: object) -> None:
    if type(objective) is not Objective:
        _fail("not an Objective")


def _check_locators(locators: object) -> None:
    if type(locators) is not tuple or not locators or not all(isinstance(each, _LOCATORS) for each in locators):
        _fail("locators must be a non-empty tuple of locators")


@dataclass(frozen=True, slots=True)
class Divert:
    """O_DIVERT (§2.9.2): where else to go; no link-local address among the locators."""

    locators: tuple[Locator, ...]

    def __post_init__(self) -> None:
        _check_locators(self.locators)

    def to_item(self) -> list[Any]:
        return [_O_DIVERT, *(locator.to_item() for locator in self.locators)]


@dataclass(frozen=True, slots=True)
class Accept:
    """O_ACCEPT (§2.9.3)."""

    def to_item(self) -> list[Any]:
        return [_O_ACCEPT]


@dataclass(frozen=True, slots=True)
class Decline:
    """O_DECLINE (§2.9.4), with a reason for people or None."""

    reason: str | None = None

    def __post_init__(self) -> None:
        if self.reason is not None and type(self.reason) is not str:
            _fail("a reason must be text")

    def to_item(self) -> list[Any]:
        return [_O_DECLINE] if self.reason is None else [_O_DECLINE, self.reason]


@dataclass(frozen=True, slots=True)
class Noop:
    """M_NOOP (§2.8.13): ignored."""

    def to_item(self) -> list[Any]:
        return [_M_NOOP]


@dataclass(frozen=True, slots=True)
class Discovery:
    """M_DISCOVERY (§2.8.4). An objective with a value asks for rapid mode (§2.5.4.5)."""

    session_id: int
    initiator: Address
    objective: Objective

    def __post_init__(self) -> None:
        _check_session(self.session_id)
        _check_initiator(self.initiator)
        _check_objective(self.objective)

    def to_item(self) -> list[Any]:
        return [
            _M_DISCOVERY, self.session_id, self.initiator.packed, self.objective.to_item()
        ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Response:
    """M_RESPONSE (§2.8.5): the responder's own locators or a Divert, valid for ``ttl`` ms.

    ``ttl`` 0 stands for much more than GRASP_DEF_TIMEOUT.
    """

    session_id: int
    initiator: Address
    ttl: int
    where: tuple[Locator, ...] | Divert
    objective: Objective | None = None

    def __post_init__(self) -> None:
        _check_session(self.session_id)
        _check_initiator(self.initiator)
        _check_milliseconds("ttl", self.ttl)
        if type(self.where) is not Divert:
            _check_locators(self.where)
        if self.objective is not None:
            _check_objective(self.objective)

    @property
    def diverted(self) -> bool:
        return type(self.where) is Divert

    @property
    def locators(self) -> tuple[Locator, ...]:
        return self.where.locators if isinstance(self.where, Divert) else self.where

    def to_item(self) -> list[Any]:
        options = [self.where] if isinstance(self.where, Divert) else self.where
        item = [_M_RESPONSE, self.session_id, self.initiator.packed, self.ttl]
        item += [option.to_item() for option in options]
        if self.objective is not None:
            item.append(self.objective.to_item())
        return item


@dataclass(frozen=True, slots=True)
class _OneObjective:
    session_id: int
    objective: Objective

    def __post_init__(self) -> None:
        if type(self.session_id) is not int or not 0 <= self.session_id <= UINT32_MAX:
            _check_session(self.session_id)
        if type(self.objective) is not Objective:
            _check_objective(self.objective)


@dataclass(frozen=True, slots=True)
class RequestNegotiation(_OneObjective):
    """M_REQ_NEG (§2.8.6)."""

    def to_item(self) -> list[Any]:
        return [_M_REQ_NEG, self.session_id, self.objective.to_item()]


@dataclass(frozen=True, slots=True)
class RequestSynchronization(_OneObjective):
    """M_REQ_SYN (§2.8.6)."""

    def to_item(self) -> list[Any]:
        return [_M_REQ_SYN, self.session_id, self.objective.to_item()]


@dataclass(frozen=True, slots=True)
class Negotiation(_OneObjective):
    """M_NEGOTIATE (§2.8.7)."""

    def to_item(self) -> list[Any]:
        return [_M_NEGOTIATE, self.session_id, self.objective.to_item()]


@dataclass(frozen=True, slots=True)
class Synchronization(_OneObjective):
    """M_SYNCH (§2.8.10)."""

    def to_item(self) -> list[Any]:
        return [_M_SYNCH, self.session_id, self.objective.to_item()]


@dataclass(frozen=True, slots=True)
class End:
    """M_END (§2.8.8) with its Accept or Decline."""

    session_id: int
    option: Accept | Decline

    def __post_init__(self) -> None:
        _check_session(self.session_id)
        if type(self.option) is not Accept and type(self.option) is not Decline:
            _fail("an end must carry Accept or Decline")

    def to_item(self) -> list[Any]:
        return [_M_END, self.session_id, self.option.to_item()]


@dataclass(frozen=True, slots=True)
class Wait:
    """M_WAIT (§2.8.9): milliseconds from now until the next message of the sender."""

    session_id: int
    waiting_time: int

    def __post_init__(self) -> None:
        _check_session(self.session_id)
        _check_milliseconds("waiting time", self.waiting_time)

    def to_item(self) -> list[Any]:
        return [_M_WAIT, self.session_id, self.waiting_time]


@dataclass(frozen=True, slots=True)
class FloodEntry:
    """An objective of a flood and the locator it is tagged with, None for the null locator."""

    objective: Objective
    locator: Locator | None = None

    def __post_init__(self) -> None:
        _check_objective(self.objective)
        if self.locator is not None and not isinstance(self.locator, _LOCATORS):
            _fail("a flood is tagged with a locator or None")

    def to_item(self) -> list[Any]:
        return [self.objective.to_item(), [] if self.locator is None else self.locator.to_item()]


@dataclass(frozen=True, slots=True)
class Flood:
    """M_FLOOD (§2.8.11), valid for ``ttl`` ms, 0 for ever. Loops are counted in the first objective."""

    session_id: int
    initiator: Address
    ttl: int
    entries: tuple[FloodEntry, ...]

    def __post_init__(self) -> None:
        _check_session(self.session_id)
        _check_initiator(self.initiator)
        _check_milliseconds("ttl", self.ttl)
        if type(self.entries) is not tuple or not self.entries:
            _fail("a flood carries one objective or more")
        if not all(type(entry) is FloodEntry for entry in self.entries):
            _fail("the entries of a flood must be FloodEntry")

    def to_item(self) -> list[Any]:
        head = [_M_FLOOD, self.session_id, self.initiator.packed, self.ttl]
        return head + [entry.to_item() for entry in self.entries]


@dataclass(frozen=True, slots=True)
class Invalid:
    """M_INVALID (§2.8.12) with any diagnostic content, or NO_VALUE."""

    session_id: int
    content: Any = NO_VALUE

    def __post_init__(self) -> None:
        _check_session(self.session_id)

    def to_item(self) -> list[Any]:
        item: list[Any] = [_M_INVALID, self.session_id]
        if self.content is not NO_VALUE:
            item.append(self.content)
        return item


Message = (
    Noop
    | Discovery
    | Response
    | RequestNegotiation
    | RequestSynchronization
    | Negotiation
    | End
    | Wait
    | Synchronization
    | Flood
    | Invalid
)
