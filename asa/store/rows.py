"""Records as rows: for each kind its table, its columns, and the way there and back. No I/O.

To add a field: its column at the end of ``columns``, its value in both functions below, and a migration that adds it
(:mod:`asa.store.schema`); one that few reservations use goes into ``more`` and needs none. Every row ends with a seal
over its other columns, for SQLite notices a damaged page but not a damaged value.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import ip_network
from operator import attrgetter
from typing import Any, Final, Generic, TypeVar

from asa.records import (
    BACK,
    BOTH,
    OUT,
    Cap,
    Claim,
    Contact,
    Fact,
    Given,
    GivenState,
    Held,
    Kind,
    Lent,
    Notice,
    Once,
    Pact,
    Promise,
    Reservation,
    ReservationState,
    Seed,
    Taken,
    TakenState,
    Verdict,
    VerdictState,
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


def _given(record: Given) -> Row:
    return *_transfer(record), int(record.lent)


def _to_given(row: Row) -> Given:
    txn, pool, peer, blocks, state, at, lent = row
    return Given(txn, pool, _node(peer), _from_json(blocks), GivenState(state), at, bool(lent))


def _to_taken(row: Row) -> Taken:
    txn, pool, peer, blocks, state, at = row
    return Taken(txn, pool, _node(peer), _from_json(blocks), TakenState(state), at)


def _promise(record: Promise) -> Row:
    window = record.window
    return record.txn, record.pool, str(record.peer), record.rate, window.start, window.end, record.until


def _to_promise(row: Row) -> Promise:
    txn, pool, peer, rate, start, end, until = row
    return Promise(txn, pool, _node(peer), rate, Window(start, end), until)


def _lent(record: Lent) -> Row:
    return record.member, record.pool, record.at, record.change


# -- reservations: what most have in columns of their own, what few have as JSON in one


def _text(value: object) -> str:
    if type(value) is not str:
        raise ValueError(f"{value!r:.40} is no text")
    return value


def _number(value: object) -> int:
    if type(value) is not int:
        raise ValueError(f"{value!r:.40} is no integer")
    return value


def _rate(value: object) -> int:
    if not 0 <= _number(value) < 2**63:
        raise ValueError(f"{value!r:.40} is no rate")
    return _number(value)


def _list(value: object) -> list[object]:
    if type(value) is not list:
        raise ValueError(f"{value!r:.40} is no list")
    return value


def _texts(value: object) -> tuple[str, ...]:
    return tuple(map(_text, _list(value)))


def _two_texts(value: object) -> tuple[str, str]:
    first, second = _texts(value)
    return first, second


def _claims(value: object) -> tuple[Claim, ...]:
    found = tuple(map(_two_texts, _list(value)))
    if any(way not in (OUT, BACK, BOTH) for _, way in found):
        raise ValueError("a claim is of out, back or both")
    return found


_RARE: Final[dict[str, tuple[Any, Callable[[object], Any]]]] = {
    "labels": ((), _texts),
    "kind": (Kind.ONE_WAY, lambda value: Kind(_text(value))),
    "protocol": ("any", _text),
    "back": (0, _rate),
    "traffic": ("default", _text),
    "through": ((), _texts),
    "output": ("", _text),
    "names": (("", ""), _two_texts),
    "claims": ((), _claims),
    "until": (None, _number),
    "secret": ("", _text),
    "partner": ("", _text),
    "why": ("", _text),
}
"""What ``more`` may have of a reservation: the value that is left out, and how another is read."""

_rare: Final = attrgetter(*_RARE)
_LEFT_OUT: Final = tuple(default for default, _ in _RARE.values())
_COLUMNS: Final = (
    "id", "pool", "rate", "start", "end", "state", "created", "changed", "source", "destination", "owner", "label",
)  # fmt: skip
_READ_COLUMNS: Final[tuple[Callable[[object], Any], ...]] = (
    _text, _text, _rate, _number, lambda value: None if value is None else _number(value), _text,
    _number, _number, _text, _text, _text, _text,
)  # fmt: skip


def _reservation(record: Reservation) -> Row:
    """One label is in its column, any other number of them in ``more``."""
    rare = _rare(record)
    label = rare[0][0] if len(rare[0]) == 1 else ""
    more = ""
    if rare != _LEFT_OUT and (not label or rare[1:] != _LEFT_OUT[1:]):
        used = {name: value for name, value in zip(_RARE, rare, strict=True) if value != _RARE[name][0]}
        if label:
            del used["labels"]
        if not 0 <= record.back < 2**63:
            raise OverflowError(f"{record.back} is no rate")
        more = json.dumps(used, ensure_ascii=False, separators=(",", ":"))
    window = record.window
    return (
        record.id, record.pool, record.rate, window.start, window.end, str(record.state), record.created,
        record.changed, record.source, record.destination, record.owner, label, more,
    )  # fmt: skip


_labels = lru_cache(4096)(lambda label: (label,) if label else ())
_RESERVATION_STATES: Final = {str(each): each for each in ReservationState}


def _to_reservation(row: Row) -> Reservation:
    identifier, pool, rate, start, end, state, created, changed, source, destination, owner, label, more = row
    # A look-up, for the call of an enumeration costs as much as the rest of the row.
    known = _RESERVATION_STATES.get(state)
    if known is None:
        raise ValueError(f"{state!r} is no state of a reservation")
    window, labels = Window(start, end), _labels(label)
    if not more:
        return Reservation(
            identifier, pool, rate, window, known, created, changed, source, destination, owner, labels
        )  # fmt: skip
    rare = _read_rare(more)
    if label and "labels" in rare:
        raise ValueError("its labels are in two places")
    return Reservation(
        identifier, pool, rate, window, known, created, changed, source, destination, owner,
        **{"labels": labels} | rare,
    )  # fmt: skip


def _object(text: str) -> dict[str, Any]:
    found = json.loads(text)
    if type(found) is not dict:
        raise ValueError("it must be an object")
    return found


def _read_rare(text: str) -> dict[str, Any]:
    found = _object(text)
    for name, value in found.items():
        if name not in _RARE:
            raise ValueError(f"{name!r:.40} is nothing of a reservation")
        found[name] = _RARE[name][1](value)
    return found


def _in_full(record: Reservation | None) -> str | None:
    """A reservation as JSON: its columns, and ``more`` as an object among them."""
    if record is None:
        return None
    *columns, more = _reservation(record)
    if not 0 <= record.rate < 2**63:
        raise OverflowError(f"{record.rate} is no rate")
    item = dict(zip(_COLUMNS, columns, strict=True)) | {"more": json.loads(more or "{}")}
    return json.dumps(item, ensure_ascii=False, separators=(",", ":"))


def _from_full(text: str) -> Reservation:
    item = _object(text)
    if item.keys() != {*_COLUMNS, "more"} or type(item["more"]) is not dict:
        raise ValueError("it is no reservation")
    row = tuple(read(item[name]) for name, read in zip(_COLUMNS, _READ_COLUMNS, strict=True))
    return _to_reservation((*row, json.dumps(item["more"])))


def _once(record: Once) -> Row:
    return record.name, record.digest, record.reservation, record.at


def _fact(record: Fact) -> Row:
    return record.name, record.value


def _contact(record: Contact) -> Row:
    return str(record.node), record.locator, record.seen, " ".join(map(str, record.serves))


def _to_contact(row: Row) -> Contact:
    node, locator, seen, serves = row
    return Contact(_node(node), locator, seen, tuple(map(ip_network, serves.split())))


def _cap(record: Cap) -> Row:
    return record.project, record.resource, record.amount, int(record.percent)


def _to_cap(row: Row) -> Cap:
    project, resource, amount, percent = row
    return Cap(project, resource, amount, bool(percent))


def _pact(record: Pact) -> Row:
    return record.txn, str(record.peer), _in_full(record.before), _in_full(record.after), record.at


def _to_pact(row: Row) -> Pact:
    txn, peer, before, after, at = row
    return Pact(txn, _node(peer), None if before is None else _from_full(before), _from_full(after), at)


def _verdict(record: Verdict) -> Row:
    return record.txn, str(record.peer), record.id, str(record.state), record.at


def _to_verdict(row: Row) -> Verdict:
    txn, peer, identifier, state, at = row
    return Verdict(txn, _node(peer), identifier, VerdictState(state), at)


def _notice(record: Notice) -> Row:
    return record.id, str(record.peer), record.why, record.at, record.end


def _to_notice(row: Row) -> Notice:
    identifier, peer, why, at, end = row
    return Notice(identifier, _node(peer), why, at, end)


_TRANSFER: Final = ("txn", "pool", "peer", "blocks", "state", "at")

TABLES: Final[tuple[Table[Any], ...]] = (
    Table(Seed, "seeds", 2, ("pool", "low", "high", "at"), _seed, lambda row: Seed(*row)),
    Table(Held, "held", 3, ("pool", "low", "start", "high", "end"), _held, _to_held),
    Table(Given, "given", 1, (*_TRANSFER, "lent"), _given, _to_given),
    Table(Taken, "taken", 1, _TRANSFER, _transfer, _to_taken),
    Table(
        Promise, "promises", 1, ("txn", "pool", "peer", "rate", "start", "end", "until"),
        _promise, _to_promise,
    ),
    Table(Lent, "lent", 3, ("member", "pool", "at", "change"), _lent, lambda row: Lent(*row)),
    Table(Reservation, "reservations", 1, (*_COLUMNS, "more"), _reservation, _to_reservation),
    Table(Once, "onces", 1, ("name", "digest", "reservation", "at"), _once, lambda row: Once(*row)),
    Table(Fact, "facts", 1, ("name", "value"), _fact, lambda row: Fact(*row)),
    Table(Contact, "contacts", 1, ("node", "locator", "seen", "serves"), _contact, _to_contact),
    Table(Cap, "caps", 2, ("project", "resource", "amount", "percent"), _cap, _to_cap),
    Table(Pact, "pacts", 1, ("txn", "peer", "before", "after", "at"), _pact, _to_pact),
    Table(Verdict, "verdicts", 1, ("txn", "peer", "id", "state", "at"), _verdict, _to_verdict),
    Table(Notice, "notices", 2, ("id", "peer", "why", "at", "end"), _notice, _to_notice),
)  # fmt: skip
