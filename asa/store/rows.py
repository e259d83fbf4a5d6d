"""Records as rows: for each kind its table, its columns, and the way there and back. No I/O.

To add a field: its column at the end of ``columns``, its value in both functions below, and a migration that adds it
(:mod:`asa.store.schema`). Every row ends with a seal over its other columns, for SQLite notices a damaged page but not
a damaged value.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, Generic, TypeVar

from asa.records import (
    Contact,
    Fact,
    Given,
    GivenState,
    Held,
    Once,
    Promise,
    Reservation,
    ReservationState,
    Seed,
    Taken,
    TakenState,
)
from objectives import Block, Window, node_from_text
from objectives.block import block_from_item

R = TypeVar("R")
Row = tuple[Any, ...]

SEAL: Final = "seal"
"""The last column of a table of version 1; columns added later stand behind it, and are sealed like the others."""


@dataclass(frozen=True)
class Table(Generic[R]):
    """Where records of one kind are. The ``keys`` first columns are the record's key."""

    kind: type[R]
    name: str
    keys: int
    columns: tuple[str, ...]
    to_row: Callable[[R], Row]
    from_row: Callable[[Row], R]
    """Raises ValueError (InvalidValue among them) for a row that makes no record."""
    select: str = field(init=False)
    insert: str = field(init=False)
    update: str = field(init=False)
    """Takes the columns behind the key, their seal, then key and seal of what is replaced."""
    delete: str = field(init=False)

    def __post_init__(self) -> None:
        quoted = [f'"{each}"' for each in (*self.columns, SEAL)]
        every = ", ".join(quoted)
        where = " AND ".join(f"{each} = ?" for each in (*quoted[: self.keys], SEAL))
        values = ", ".join(f"{each} = ?" for each in quoted[self.keys :])
        for name, statement in {
            "select": f"SELECT {every} FROM {self.name}",
            "insert": f"INSERT INTO {self.name} ({every}) VALUES ({', '.join('?' * len(quoted))})",
            "update": f"UPDATE {self.name} SET {values} WHERE {where}",
            "delete": f"DELETE FROM {self.name} WHERE {where}",
        }.items():
            object.__setattr__(self, name, statement)


def seal(table: str, row: Iterable[Any]) -> int:
    """The check sum of a row without its seal. The table counts too, so that no row passes for one of another."""
    return zlib.crc32("\x1f".join(map(str, row)).encode(), zlib.crc32(table.encode()))


_node = lru_cache(4096)(node_from_text)


def _to_json(blocks: tuple[Block, ...]) -> str:
    return json.dumps([each.to_item() for each in blocks], separators=(",", ":"))


def _from_json(text: str) -> tuple[Block, ...]:
    items = json.loads(text)
    if type(items) is not list:
        raise ValueError("blocks must be a list")
    return tuple(map(block_from_item, items))


def _seed(record: Seed) -> Row:
    return record.pool, record.low, record.high, record.at


def _held(record: Held) -> Row:
    block = record.block
    return record.pool, block.low, block.start, block.high, block.end


def _to_held(row: Row) -> Held:
    pool, low, start, high, end = row
    return Held(pool, Block(low, high, start, end))


def _transfer(record: Given | Taken) -> Row:
    blocks = _to_json(record.blocks)
    return record.txn, record.pool, str(record.peer), blocks, str(record.state), record.at


def _to_given(row: Row) -> Given:
    txn, pool, peer, blocks, state, at = row
    return Given(txn, pool, _node(peer), _from_json(blocks), GivenState(state), at)


def _to_taken(row: Row) -> Taken:
    txn, pool, peer, blocks, state, at = row
    return Taken(txn, pool, _node(peer), _from_json(blocks), TakenState(state), at)


def _promise(record: Promise) -> Row:
    window = record.window
    return record.txn, record.pool, str(record.peer), record.rate, window.start, window.end, record.until


def _to_promise(row: Row) -> Promise:
    txn, pool, peer, rate, start, end, until = row
    return Promise(txn, pool, _node(peer), rate, Window(start, end), until)


def _reservation(record: Reservation) -> Row:
    return (
        record.id, record.pool, record.rate, record.window.start, record.window.end, str(record.state),
        record.created, record.changed, record.source, record.destination, record.owner, record.label,
    )  # fmt: skip


_RESERVATION_STATES: Final = {str(each): each for each in ReservationState}


def _to_reservation(row: Row) -> Reservation:
    identifier, pool, rate, start, end, state, created, changed, source, destination, owner, label = row
    # A look-up, for the call of an enumeration costs as much as the rest of the row.
    known = _RESERVATION_STATES.get(state)
    if known is None:
        raise ValueError(f"{state!r} is no state of a reservation")
    return Reservation(
        identifier, pool, rate, Window(start, end), known, created, changed, source, destination, owner, label
    )  # fmt: skip


def _once(record: Once) -> Row:
    return record.name, record.digest, record.reservation, record.at


def _fact(record: Fact) -> Row:
    return record.name, record.value


def _contact(record: Contact) -> Row:
    return str(record.node), record.locator, record.seen


def _to_contact(row: Row) -> Contact:
    node, locator, seen = row
    return Contact(_node(node), locator, seen)


_TRANSFER: Final = ("txn", "pool", "peer", "blocks", "state", "at")

TABLES: Final[tuple[Table[Any], ...]] = (
    Table(Seed, "seeds", 2, ("pool", "low", "high", "at"), _seed, lambda row: Seed(*row)),
    Table(Held, "held", 3, ("pool", "low", "start", "high", "end"), _held, _to_held),
    Table(Given, "given", 1, _TRANSFER, _transfer, _to_given),
    Table(Taken, "taken", 1, _TRANSFER, _transfer, _to_taken),
    Table(
        Promise, "promises", 1, ("txn", "pool", "peer", "rate", "start", "end", "until"),
        _promise, _to_promise,
    ),
    Table(
        Reservation, "reservations", 1,
        (
            "id", "pool", "rate", "start", "end", "state", "created", "changed", "source", "destination", "owner",
            "label",
        ),
        _reservation, _to_reservation,
    ),
    Table(Once, "onces", 1, ("name", "digest", "reservation", "at"), _once, lambda row: Once(*row)),
    Table(Fact, "facts", 1, ("name", "value"), _fact, lambda row: Fact(*row)),
    Table(Contact, "contacts", 1, ("node", "locator", "seen"), _contact, _to_contact),
)  # fmt: skip
