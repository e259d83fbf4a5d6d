"""``EX1.Pact``: two agents have one reservation, an end each: made, changed and ended exactly once. No I/O.

The value of every message of a session is one of the classes here. ``docs/objectives.md`` has the CDDL and the rules.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from objectives.block import Window
from objectives.fields import MAX_RATE, MAX_TIME, Fields, InvalidValue, check_integer, check_name, check_text, shown
from objectives.node import NodeId
from objectives.resource import MAX_PATIENCE_MS as MAX_PATIENCE_MS
from objectives.txn import MAX_TXNS as MAX_TXNS
from objectives.txn import Confirm as Confirm
from objectives.txn import Confirmed as Confirmed
from objectives.txn import Settled as Settled
from objectives.txn import (
    check_txn,
    confirm_from_fields,
    confirmed_from_fields,
    read_node,
    read_txn,
    settled_from_fields,
)

NAME: Final = "Pact"
MAX_SIZE: Final = 16_384
"""Bytes of a unicast message of this objective (RFC 8990 §2.8.3)."""

KINDS: Final = frozenset({"two-way", "one-way"})

MAX_ID: Final = 64
MAX_ENDPOINT: Final = 300
MAX_PROTOCOL: Final = 16
MAX_TRAFFIC: Final = 71
MAX_TEXT: Final = 255
"""Characters of an owner, a label, a hash or a reason."""
MAX_LABELS: Final = 16
MAX_LABEL_BYTES: Final = 12_288
"""Of all labels together in UTF-8, so that whatever is arranged fits MAX_SIZE."""


def _check_ascii(value: object, shortest: int, longest: int, where: str) -> None:
    if not check_text(value, shortest, longest, where).isascii():
        raise InvalidValue(f"{where} must be ASCII, not {shown(value)}")


def _check_id(value: object, where: str) -> None:
    check_text(value, 1, MAX_ID, where)


def _label(item: object, where: str) -> str:
    return check_text(item, 0, MAX_TEXT, where)


@dataclass(frozen=True, slots=True)
class Terms:
    """What a reservation is to be at the agent that is asked. Raises :class:`InvalidValue`.

    ``rate`` is bit/s from ``source`` to ``destination``, ``back`` the other way. ``secret``: the owner's, hashed.
    ``hold``: UNIX s until which it is only held; None: it is booked. ``pool``: empty for that of the asked agent's own
    routes.
    """

    kind: str
    source: str
    destination: str
    protocol: str
    rate: int
    back: int
    start: int
    end: int | None
    traffic: str = "default"
    owner: str = ""
    labels: tuple[str, ...] = ()
    secret: str = field(default="", repr=False)
    hold: int | None = None
    pool: str = ""

    def __post_init__(self) -> None:
        if type(self.kind) is not str or self.kind not in KINDS:
            raise InvalidValue(f"terms.kind must be {' or '.join(sorted(KINDS))}, not {shown(self.kind)}")
        _check_ascii(self.source, 1, MAX_ENDPOINT, "terms.source")
        _check_ascii(self.destination, 1, MAX_ENDPOINT, "terms.destination")
        check_text(self.protocol, 0, MAX_PROTOCOL, "terms.protocol")
        check_integer(self.rate, 0, MAX_RATE, "terms.rate")
        check_integer(self.back, 0, MAX_RATE, "terms.back")
        if self.rate + self.back < 1:
            raise InvalidValue("terms: rate and back must not both be 0 bit/s")
        Window(self.start, self.end)
        check_text(self.traffic, 1, MAX_TRAFFIC, "terms.traffic")
        check_text(self.owner, 0, MAX_TEXT, "terms.owner")
        if type(self.labels) is not tuple or len(self.labels) > MAX_LABELS:
            raise InvalidValue(f"terms.labels must be at most {MAX_LABELS}")
        if sum(len(_label(each, "terms.labels").encode()) for each in self.labels) > MAX_LABEL_BYTES:
            raise InvalidValue(f"terms.labels must be at most {MAX_LABEL_BYTES} bytes together")
        _check_ascii(self.secret, 0, MAX_TEXT, "terms.secret")
        if self.hold is not None:
            check_integer(self.hold, 0, MAX_TIME, "terms.hold")
        if self.pool != "":
            check_name(self.pool, "terms.pool")

    @property
    def window(self) -> Window:
        return Window(self.start, self.end)

    def to_item(self) -> dict[str, Any]:
        return {
            "kind": self.kind, "source": self.source, "destination": self.destination, "protocol": self.protocol,
            "rate": self.rate, "back": self.back, "from": self.start, "to": self.end, "traffic": self.traffic,
            "owner": self.owner, "labels": list(self.labels), "secret": self.secret, "hold": self.hold,
            "pool": self.pool,
        }  # fmt: skip


def terms_from_item(item: object) -> Terms:
    """Raises :class:`InvalidValue`."""
    fields = Fields(item, "terms")
    return Terms(
        kind=fields.value("kind"),
        source=fields.value("source"),
        destination=fields.value("destination"),
        protocol=fields.value("protocol"),
        rate=fields.value("rate"),
        back=fields.value("back"),
        start=fields.value("from"),
        end=fields.value("to") if fields.has("to") else None,
        traffic=fields.value("traffic"),
        owner=fields.value("owner"),
        labels=fields.items("labels", MAX_LABELS, _label),
        secret=fields.value("secret"),
        hold=fields.value("hold") if fields.has("hold") else None,
        pool=fields.value("pool"),
    )


@dataclass(frozen=True, slots=True)
class Arrange:
    """``node`` asks ``of`` to have the reservation ``id`` as ``terms`` say: to make it, or to change what it has.

    ``at``: UNIX s when, by the clock of ``node``. ``patience``: ms it will wait. Raises :class:`InvalidValue`.
    """

    op: ClassVar[str] = "arrange"
    txn: bytes
    node: NodeId
    of: NodeId
    id: str
    terms: Terms
    at: int
    patience: int = 0

    def __post_init__(self) -> None:
        check_txn(self.txn)
        _check_id(self.id, "arrange.id")
        check_integer(self.at, 0, MAX_TIME, "arrange.at")
        check_integer(self.patience, 0, MAX_PATIENCE_MS, "arrange.patience")

    def to_value(self) -> dict[str, Any]:
        return {
            "op": self.op, "txn": self.txn, "node": str(self.node), "of": str(self.of), "id": self.id,
            "terms": self.terms.to_item(), "at": self.at, "patience": self.patience,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Arranged:
    """The answer: it is held, on disk, for the transaction. Raises :class:`InvalidValue`."""

    op: ClassVar[str] = "arranged"
    txn: bytes
    node: NodeId
    id: str

    def __post_init__(self) -> None:
        check_txn(self.txn)
        _check_id(self.id, "arranged.id")

    def to_value(self) -> dict[str, Any]:
        return {"op": self.op, "txn": self.txn, "node": str(self.node), "id": self.id}


@dataclass(frozen=True, slots=True)
class Settle:
    """The asked agent ``node`` asks ``of`` what became of a transaction in doubt. Raises :class:`InvalidValue`."""

    op: ClassVar[str] = "settle"
    txn: bytes
    node: NodeId
    of: NodeId
    id: str

    def __post_init__(self) -> None:
        check_txn(self.txn)
        _check_id(self.id, "settle.id")

    def to_value(self) -> dict[str, Any]:
        return {"op": self.op, "txn": self.txn, "node": str(self.node), "of": str(self.of), "id": self.id}


@dataclass(frozen=True, slots=True)
class CallOff:
    """The reservation ``id`` is over at ``node``, since ``at`` (UNIX s): ``of`` is to end its part of it.

    Raises :class:`InvalidValue`.
    """

    op: ClassVar[str] = "call-off"
    node: NodeId
    of: NodeId
    id: str
    at: int
    why: str = ""

    def __post_init__(self) -> None:
        _check_id(self.id, "call-off.id")
        check_integer(self.at, 0, MAX_TIME, "call-off.at")
        check_text(self.why, 0, MAX_TEXT, "call-off.why")

    def to_value(self) -> dict[str, Any]:
        return {
            "op": self.op, "node": str(self.node), "of": str(self.of), "id": self.id, "at": self.at, "why": self.why,
        }  # fmt: skip


Request = Arrange | Settle | Confirm | CallOff
"""What a session begins with."""

Answer = Arranged | Settled | Confirmed
"""What its other end answers; to a call-off nothing but the end."""


def _arrange(fields: Fields) -> Arrange:
    return Arrange(
        txn=read_txn(fields),
        node=read_node(fields),
        of=read_node(fields, "of"),
        id=fields.value("id"),
        terms=terms_from_item(fields.value("terms")),
        at=fields.value("at"),
        patience=fields.value("patience"),
    )


_REQUESTS: Final[dict[str, Callable[[Fields], Request]]] = {
    Arrange.op: _arrange,
    Settle.op: lambda f: Settle(read_txn(f), read_node(f), read_node(f, "of"), f.value("id")),
    Confirm.op: confirm_from_fields,
    CallOff.op: lambda f: CallOff(read_node(f), read_node(f, "of"), f.value("id"), f.value("at"), f.value("why")),
}

_ANSWERS: Final[dict[str, Callable[[Fields], Answer]]] = {
    Arranged.op: lambda f: Arranged(read_txn(f), read_node(f), f.value("id")),
    Settled.op: settled_from_fields,
    Confirmed.op: confirmed_from_fields,
}


def request_from_value(value: object) -> Request:
    """What a session began with. Raises :class:`InvalidValue`."""
    fields = Fields(value, "request")
    return _REQUESTS[fields.choice("op", frozenset(_REQUESTS))](fields)


def answer_from_value(value: object) -> Answer:
    """What the other end answered. Raises :class:`InvalidValue`."""
    fields = Fields(value, "answer")
    return _ANSWERS[fields.choice("op", frozenset(_ANSWERS))](fields)
