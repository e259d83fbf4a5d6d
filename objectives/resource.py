"""``EX1.Resource``: asking for capacity, offering and giving blocks, settling what is in doubt. No I/O.

The value of every message of a session is one of the classes here. ``docs/objectives.md`` has the CDDL and the rules.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from objectives.block import Block, Window, block_from_item, disjoint
from objectives.fields import MAX_RATE, MAX_TIME, Fields, InvalidValue, check_name
from objectives.node import NodeId
from objectives.txn import ACCEPTED as ACCEPTED
from objectives.txn import MAX_TXNS as MAX_TXNS
from objectives.txn import NEVER as NEVER
from objectives.txn import TXN_LENGTH as TXN_LENGTH
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

NAME: Final = "Resource"
MAX_SIZE: Final = 16_384
"""Bytes of a unicast message of this objective (RFC 8990 §2.8.3)."""

MAX_BLOCKS: Final = 256
MAX_PATH: Final = 8
MAX_PATIENCE_MS: Final = 600_000


@dataclass(frozen=True, slots=True)
class Ask:
    """A request to ``of``: ``rate`` bit/s over a window, at least ``least``; ``at``: when, by the requester's clock.

    ``urgent``: a consumer waits, so the giver need not keep a stock back. ``patience``: ms the requester will wait in
    all, so that a giver knows whether third parties can be asked. ``path``: the nodes that ask third parties on behalf
    of the first of them, which are not asked again. ``held``: the dry run it follows, if any.
    """

    op: ClassVar[str] = "ask"
    txn: bytes
    node: NodeId
    of: NodeId
    pool: str
    rate: int
    least: int
    start: int
    end: int | None
    at: int
    urgent: bool = False
    patience: int = 0
    path: tuple[str, ...] = ()
    held: bytes | None = None

    def __post_init__(self) -> None:
        check_txn(self.txn)
        check_name(self.pool, "ask.pool")
        Window(self.start, self.end)
        if not 1 <= self.least <= self.rate <= MAX_RATE:
            raise InvalidValue(f"ask: 1 <= least <= rate <= {MAX_RATE} bit/s must hold")

    @property
    def window(self) -> Window:
        return Window(self.start, self.end)

    def to_value(self) -> dict[str, Any]:
        value: dict[str, Any] = {
            "op": self.op, "txn": self.txn, "node": str(self.node), "of": str(self.of), "pool": self.pool,
            "rate": self.rate, "least": self.least, "from": self.start, "to": self.end, "at": self.at,
            "urgent": self.urgent, "patience": self.patience, "path": list(self.path),
        }  # fmt: skip
        return value | ({"held": self.held} if self.held is not None else {})


@dataclass(frozen=True, slots=True)
class Offer:
    """The giver's answer: these blocks, in escrow for the transaction."""

    op: ClassVar[str] = "offer"
    txn: bytes
    node: NodeId
    blocks: tuple[Block, ...]

    def __post_init__(self) -> None:
        check_txn(self.txn)
        _check_blocks(self.blocks)

    def to_value(self) -> dict[str, Any]:
        return {
            "op": self.op, "txn": self.txn, "node": str(self.node), "blocks": [each.to_item() for each in self.blocks],
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Hold:
    """The giver's answer to a dry run: ``rate`` is kept for the transaction until ``until`` (UNIX s)."""

    op: ClassVar[str] = "hold"
    txn: bytes
    node: NodeId
    rate: int
    until: int

    def to_value(self) -> dict[str, Any]:
        return {"op": self.op, "txn": self.txn, "node": str(self.node), "rate": self.rate, "until": self.until}


@dataclass(frozen=True, slots=True)
class Give:
    """Blocks handed over unasked to ``of``, in escrow for the transaction: surplus, or all of an agent that leaves."""

    op: ClassVar[str] = "give"
    txn: bytes
    node: NodeId
    of: NodeId
    pool: str
    blocks: tuple[Block, ...]
    at: int

    def __post_init__(self) -> None:
        check_txn(self.txn)
        check_name(self.pool, "give.pool")
        _check_blocks(self.blocks)

    def to_value(self) -> dict[str, Any]:
        return {
            "op": self.op, "txn": self.txn, "node": str(self.node), "of": str(self.of), "pool": self.pool,
            "blocks": [each.to_item() for each in self.blocks], "at": self.at,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Settle:
    """The giver ``node`` asks the requester ``of`` what became of a transaction in doubt, and of which blocks."""

    op: ClassVar[str] = "settle"
    txn: bytes
    node: NodeId
    of: NodeId
    pool: str
    blocks: tuple[Block, ...]

    def __post_init__(self) -> None:
        check_txn(self.txn)
        check_name(self.pool, "settle.pool")
        _check_blocks(self.blocks)

    def to_value(self) -> dict[str, Any]:
        return {
            "op": self.op, "txn": self.txn, "node": str(self.node), "of": str(self.of), "pool": self.pool,
            "blocks": [each.to_item() for each in self.blocks],
        }  # fmt: skip


Request = Ask | Give | Settle | Confirm
"""What a session begins with."""

Answer = Offer | Hold | Settled | Confirmed
"""What its other end answers."""


_SHORT: Final = re.compile(r"(?:short|limit): at most ([0-9]{1,16}) bit/s")


def short_text(available: int) -> str:
    """What a decline ``short: …`` says: what could be granted instead, bit/s."""
    return f"at most {available} bit/s can be granted over the window"


def limit_text(room: int) -> str:
    """What a decline ``limit: …`` says: what the requester may still have out, bit/s."""
    return f"at most {room} bit/s: more is not lent to this node at a time"


def available_from(reason: str) -> int:
    """bit/s a declining giver said it could grant; 0 if it did not say."""
    found = _SHORT.match(reason)
    return min(int(found[1]), MAX_RATE) if found else 0


def _check_blocks(blocks: tuple[Block, ...]) -> None:
    if not 1 <= len(blocks) <= MAX_BLOCKS:
        raise InvalidValue(f"there must be 1..{MAX_BLOCKS} blocks, not {len(blocks)}")
    if not disjoint(blocks):
        raise InvalidValue("blocks of one transaction overlap each other")


def _blocks(fields: Fields) -> tuple[Block, ...]:
    return fields.items("blocks", MAX_BLOCKS, block_from_item)


def _ask(fields: Fields) -> Ask:
    return Ask(
        txn=read_txn(fields),
        node=read_node(fields),
        of=read_node(fields, "of"),
        pool=fields.name("pool"),
        rate=fields.integer("rate", 1, MAX_RATE),
        least=fields.integer("least", 1, MAX_RATE),
        start=fields.integer("from", 0, MAX_TIME),
        end=fields.integer("to", 1, MAX_TIME) if fields.has("to") else None,
        at=fields.integer("at", 0, MAX_TIME),
        urgent=fields.boolean("urgent"),
        patience=fields.integer("patience", 0, MAX_PATIENCE_MS),
        path=fields.items("path", MAX_PATH, check_name),
        held=fields.octets("held", TXN_LENGTH) if fields.has("held") else None,
    )


_REQUESTS: Final[dict[str, Callable[[Fields], Request]]] = {
    Ask.op: _ask,
    Give.op: lambda f: Give(
        read_txn(f), read_node(f), read_node(f, "of"), f.name("pool"), _blocks(f), f.integer("at", 0, MAX_TIME)
    ),
    Settle.op: lambda f: Settle(read_txn(f), read_node(f), read_node(f, "of"), f.name("pool"), _blocks(f)),
    Confirm.op: confirm_from_fields,
}

_ANSWERS: Final[dict[str, Callable[[Fields], Answer]]] = {
    Offer.op: lambda f: Offer(read_txn(f), read_node(f), _blocks(f)),
    Hold.op: lambda f: Hold(read_txn(f), read_node(f), f.integer("rate", 1, MAX_RATE), f.integer("until", 0, MAX_TIME)),
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
