"""``EX1.Holdings``: what an agent holds, has in escrow and has accepted, so that anyone can audit. No I/O.

Rows are paged: page 0 is the objective ``EX1.Holdings``, page *n* is ``EX1.Holdings.n``. All pages of one state carry
its ``version``; a reader that sees two versions reads again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from objectives.block import Block, block_from_item
from objectives.fields import MAX_RATE, Fields, InvalidValue, check_name
from objectives.node import NodeId, node_from_text
from objectives.resource import TXN_LENGTH

NAME: Final = "Holdings"
MAX_SIZE: Final = 65_536
ROWS_PER_PAGE: Final = 200
"""With names of full length a page stays below MAX_SIZE."""
MAX_PAGES: Final = 256


@dataclass(frozen=True, slots=True)
class SeedRow:
    """Capacity this agent seeded: the whole it is held against."""

    kind: ClassVar[str] = "s"
    pool: str
    low: int
    high: int

    def to_item(self) -> list[Any]:
        return [self.kind, self.pool, self.low, self.high]


@dataclass(frozen=True, slots=True)
class HeldRow:
    kind: ClassVar[str] = "h"
    pool: str
    block: Block

    def to_item(self) -> list[Any]:
        return [self.kind, self.pool, self.block.to_item()]


@dataclass(frozen=True, slots=True)
class EscrowRow:
    """A block in escrow for ``peer`` under a transaction: the peer's if it accepted, else this agent's."""

    kind: ClassVar[str] = "e"
    pool: str
    block: Block
    txn: bytes
    peer: NodeId

    def to_item(self) -> list[Any]:
        return [self.kind, self.pool, self.block.to_item(), self.txn, str(self.peer)]


@dataclass(frozen=True, slots=True)
class AcceptedRow:
    """A transaction of the giver ``peer`` this agent has accepted and not yet forgotten."""

    kind: ClassVar[str] = "a"
    txn: bytes
    peer: NodeId

    def to_item(self) -> list[Any]:
        return [self.kind, self.txn, str(self.peer)]


Row = SeedRow | HeldRow | EscrowRow | AcceptedRow


@dataclass(frozen=True, slots=True)
class HoldingsPage:
    """One page of the state numbered ``version`` of ``node``; ``known``: the nodes it has ever dealt with."""

    node: NodeId
    version: int
    page: int
    pages: int
    rows: tuple[Row, ...]
    known: tuple[NodeId, ...] = ()

    def to_value(self) -> dict[str, Any]:
        return {
            "node": str(self.node),
            "version": self.version,
            "page": self.page,
            "pages": self.pages,
            "rows": [each.to_item() for each in self.rows],
            "known": [str(each) for each in self.known],
        }


def pages_of(node: NodeId, version: int, rows: Sequence[Row], known: Sequence[NodeId]) -> list[HoldingsPage]:
    """A state cut into pages; ``known`` travels on the first, at most 256 of them.

    Raises :class:`InvalidValue` if there are more rows than MAX_PAGES pages hold.
    """
    count = max(1, -(-len(rows) // ROWS_PER_PAGE))
    if count > MAX_PAGES:
        raise InvalidValue(f"{len(rows)} rows are more than {MAX_PAGES} pages of {ROWS_PER_PAGE}")
    return [
        HoldingsPage(
            node,
            version,
            number,
            count,
            tuple(rows[number * ROWS_PER_PAGE : (number + 1) * ROWS_PER_PAGE]),
            tuple(known[:256]) if number == 0 else (),
        )
        for number in range(count)
    ]


def page_from_value(value: object) -> HoldingsPage:
    """Raises :class:`InvalidValue`."""
    fields = Fields(value, "holdings")
    pages = fields.integer("pages", 1, MAX_PAGES)
    return HoldingsPage(
        node_from_text(fields.text("node", 96)),
        fields.integer("version", 0, 2**53),
        fields.integer("page", 0, pages - 1),
        pages,
        fields.items("rows", ROWS_PER_PAGE, _row),
        fields.items("known", 256, node_from_text),
    )


def _seed(item: list[Any], where: str) -> SeedRow:
    _, pool, low, high = item
    if type(low) is not int or type(high) is not int or not 0 <= low < high <= MAX_RATE:
        raise InvalidValue(f"{where}: a seed must be 0 <= low < high <= {MAX_RATE} bit/s")
    return SeedRow(check_name(pool, where), low, high)


def _txn(value: object, where: str) -> bytes:
    if type(value) is not bytes or len(value) != TXN_LENGTH:
        raise InvalidValue(f"{where}: a transaction id must be {TXN_LENGTH} bytes")
    return value


_ROWS: Final[dict[str, tuple[int, Callable[[list[Any], str], Row]]]] = {
    SeedRow.kind: (4, _seed),
    HeldRow.kind: (3, lambda item, where: HeldRow(check_name(item[1], where), block_from_item(item[2], where))),
    EscrowRow.kind: (
        5,
        lambda item, where: EscrowRow(
            check_name(item[1], where),
            block_from_item(item[2], where),
            _txn(item[3], where),
            node_from_text(item[4], where),
        ),
    ),
    AcceptedRow.kind: (3, lambda item, where: AcceptedRow(_txn(item[1], where), node_from_text(item[2], where))),
}


def _row(item: object, where: str) -> Row:
    if type(item) is not list or not item or type(item[0]) is not str or item[0] not in _ROWS:
        raise InvalidValue(f"{where} must hold rows that begin with {', '.join(_ROWS)}")
    length, read = _ROWS[item[0]]
    if len(item) < length:
        raise InvalidValue(f"{where}: a row {item[0]} must have {length} items")
    return read(item[:length], where)
