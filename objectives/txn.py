"""What transactions of all objectives have in common: ids, outcomes, and how they are settled and forgotten. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Final

from objectives.fields import Fields, InvalidValue, shown
from objectives.node import NodeId, node_from_text

TXN_LENGTH: Final = 16
MAX_TXNS: Final = 256

ACCEPTED: Final = "accepted"
NEVER: Final = "never"
"""What became of a transaction: it holds, or never will. Either is final."""

OUTCOMES: Final = frozenset({ACCEPTED, NEVER})


def check_txn(txn: object, where: str = "a transaction id") -> bytes:
    """Raises :class:`InvalidValue`."""
    if type(txn) is not bytes or len(txn) != TXN_LENGTH:
        raise InvalidValue(f"{where} must be {TXN_LENGTH} bytes, not {shown(txn)}")
    return txn


def read_txn(fields: Fields) -> bytes:
    return fields.octets("txn", TXN_LENGTH)


def read_node(fields: Fields, key: str = "node") -> NodeId:
    return node_from_text(fields.text(key, 96), key)


def _check_txns(txns: tuple[bytes, ...]) -> None:
    if len(txns) > MAX_TXNS:
        raise InvalidValue(f"there must be at most {MAX_TXNS} transactions, not {len(txns)}")
    for txn in txns:
        check_txn(txn)


@dataclass(frozen=True, slots=True)
class Settled:
    """The final answer of the agent whose word decides: ``accepted`` or ``never``. Raises :class:`InvalidValue`."""

    op: ClassVar[str] = "settled"
    txn: bytes
    node: NodeId
    outcome: str

    def __post_init__(self) -> None:
        check_txn(self.txn)
        if type(self.outcome) is not str or self.outcome not in OUTCOMES:
            raise InvalidValue(f"settled.outcome must be {ACCEPTED} or {NEVER}, not {shown(self.outcome)}")

    def to_value(self) -> dict[str, Any]:
        return {"op": self.op, "txn": self.txn, "node": str(self.node), "outcome": self.outcome}


@dataclass(frozen=True, slots=True)
class Confirm:
    """The agent whose word decided asks ``of`` which accepted transactions it has closed, so that it may forget them.

    Raises :class:`InvalidValue`.
    """

    op: ClassVar[str] = "confirm"
    node: NodeId
    of: NodeId
    txns: tuple[bytes, ...]

    def __post_init__(self) -> None:
        _check_txns(self.txns)

    def to_value(self) -> dict[str, Any]:
        return {"op": self.op, "node": str(self.node), "of": str(self.of), "txns": list(self.txns)}


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The answer: ``node`` has closed these, and will never ask about them again. Raises :class:`InvalidValue`."""

    op: ClassVar[str] = "confirmed"
    node: NodeId
    txns: tuple[bytes, ...]

    def __post_init__(self) -> None:
        _check_txns(self.txns)

    def to_value(self) -> dict[str, Any]:
        return {"op": self.op, "node": str(self.node), "txns": list(self.txns)}


def settled_from_fields(fields: Fields) -> Settled:
    return Settled(read_txn(fields), read_node(fields), fields.value("outcome"))


def confirm_from_fields(fields: Fields) -> Confirm:
    return Confirm(read_node(fields), read_node(fields, "of"), fields.items("txns", MAX_TXNS, check_txn))


def confirmed_from_fields(fields: Fields) -> Confirmed:
    return Confirmed(read_node(fields), fields.items("txns", MAX_TXNS, check_txn))
