"""Messages no well-meaning neighbour sends: made up at random, or valid ones spoilt. Deterministic in ``rng``."""

from __future__ import annotations

import struct
from random import Random
from typing import Any

import cbor2

from tests.network.raw import (
    F_DRY,
    M_DISCOVERY,
    M_END,
    M_FLOOD,
    M_INVALID,
    M_NEGOTIATE,
    M_NOOP,
    M_REQ_NEG,
    M_REQ_SYN,
    M_RESPONSE,
    M_SYNCH,
    M_WAIT,
    NEG,
    O_ACCEPT,
    O_DECLINE,
    O_DIVERT,
    O_FQDN,
    O_IPV4,
    O_IPV6,
    O_URI,
    SYN,
)

MARK = "HOSTILE"  #: in every name and text of a stranger, so that it can be looked for in logs
NAMES = ["neg", "syn", "queue", "bait", "", MARK, MARK + "\u202e\0\n", "x" * 500, "ü" * 100, "neg ", "NEG"]
UINT32 = 0xFFFF_FFFF
MULTICAST = (M_DISCOVERY, M_FLOOD)
KINDS = (
    *(M_NOOP, M_DISCOVERY, M_RESPONSE, M_REQ_NEG, M_REQ_SYN, M_NEGOTIATE, M_END, M_WAIT, M_SYNCH, M_FLOOD, M_INVALID),
)
BOMBS = [
    bytes([0x81]) * 1_000,
    bytes([0xA1]) * 1_000,
    bytes([0xC6]) * 1_000,
    bytes([0x9F]) * 1_000,
    bytes.fromhex("9b7fffffffffffffff"),
    bytes.fromhex("bb7fffffffffffffff"),
    bytes.fromhex("5b7fffffffffffffff"),
    bytes.fromhex("7b4000000000000000"),
    bytes.fromhex("9affffffff") + bytes(100),
    bytes.fromhex("c2590400") + b"\xff" * 1_024,
    bytes.fromhex("c482 1b7fffffffffffffff 01".replace(" ", "")),
    bytes.fromhex("d823 67 28612b292b2b24".replace(" ", "")),
    bytes.fromhex("fb7ff0000000000000"),
    b"\xff",
    b"\xf8\x00",
    b"\x1c",
]


def shared_reference_bomb(levels: int = 60) -> bytes:
    """Small to decode, without end to print or to copy where tags 28 and 29 are honoured."""
    data = bytes([0x98, levels]) + bytes.fromhex("d81c80")
    for level in range(levels - 1):
        reference = bytes.fromhex("d81d") + cbor2.dumps(level)
        data += bytes.fromhex("d81c82") + 2 * reference
    return data


def value(rng: Random, depth: int = 3) -> Any:
    kind = rng.randrange(14 if depth else 9)
    if kind == 0:
        return rng.choice([0, -1, 23, 24, 255, 256, UINT32, 1 << 32, (1 << 64) - 1, 1 << 64, -(1 << 70)])
    if kind == 1:
        return rng.randbytes(rng.choice([0, 1, 4, 15, 16, 17, 300]))
    if kind == 2:
        return MARK * rng.choice([0, 1, 40])
    if kind == 3:
        return rng.choice([None, True, False, cbor2.undefined, cbor2.CBORSimpleValue(99)])
    if kind == 4:
        return rng.choice([0.0, -0.0, 1.5, float("inf"), float("nan"), 1e300])
    if kind < 9:
        return rng.randrange(1 << 16)
    if kind < 11:
        return [value(rng, depth - 1) for _ in range(rng.randrange(5))]
    if kind < 13:
        return {rng.choice(["a", 1, b"k", None, -1.5]): value(rng, depth - 1) for _ in range(rng.randrange(4))}
    return cbor2.CBORTag(rng.choice([0, 1, 2, 4, 24, 28, 29, 35, 36, 258, 55799, 1 << 63]), value(rng, depth - 1))


def _sometimes(rng: Random, usual: Any, chance: float = 0.05) -> Any:
    return value(rng) if rng.random() < chance else usual


def objective(rng: Random) -> Any:
    name = _sometimes(rng, rng.choice(NAMES))
    flags = _sometimes(rng, rng.choice([NEG, SYN, NEG | F_DRY, 1, 0, 15, 16, 255]))
    count = _sometimes(rng, rng.choice([0, 1, 2, 6, 23, 24, 255, 256, 300, -1]))
    item = [name, flags, count]
    if rng.random() < 0.7:
        item.append(value(rng))
    if rng.random() < 0.03:
        item.append(value(rng))
    return _sometimes(rng, item, 0.03)


def locator(rng: Random) -> Any:
    port = _sometimes(rng, rng.choice([0, 1, 7017, 65_535, 65_536, -1]))
    protocol = _sometimes(rng, rng.choice([6, 17, 0, None]))
    item = rng.choice(
        [
            [O_IPV6, rng.randbytes(rng.choice([16, 16, 16, 4, 0, 17])), protocol, port],
            [O_IPV6, bytes.fromhex("fe80" + 28 * "0") + bytes(0), protocol, port],
            [O_IPV6, bytes(15) + b"\1", 6, port],
            [O_IPV6, bytes(10) + b"\xff\xff\x7f\0\0\1", 6, port],
            [O_IPV4, rng.randbytes(rng.choice([4, 4, 16, 3])), protocol, port],
            [O_FQDN, rng.choice(["", "a", f"{MARK}.invalid", "a" * 70, "x\0y", ".."]), protocol, port],
            [O_URI, rng.choice(["", f"https://{MARK}/", "a" * 900]), protocol, port],
        ]
    )
    return _sometimes(rng, item, 0.05)


def message(rng: Random, kinds: tuple[int, ...] = KINDS, session: int | None = None) -> list[Any]:
    """Of a shape that often is that of a GRASP message, with fields that often are not."""
    kind = _sometimes(rng, rng.choice(kinds), 0.03)
    if session is None:
        session = _sometimes(rng, rng.choice([rng.getrandbits(32), rng.randrange(50), UINT32 + 1, -1]), 0.03)
    initiator = _sometimes(rng, rng.randbytes(rng.choice([16, 16, 16, 4, 15])), 0.05)
    ttl = _sometimes(rng, rng.choice([0, 1, 1_000, UINT32, UINT32 + 1, -5]))
    item: list[Any] = [kind, session]
    if kind == M_NOOP:
        item = [kind]
    elif kind == M_DISCOVERY:
        item += [initiator, objective(rng)]
    elif kind == M_RESPONSE:
        item += [initiator, ttl]
        item += [locator(rng) for _ in range(rng.randrange(4))]
        if rng.random() < 0.4:
            item.append([O_DIVERT, *(locator(rng) for _ in range(rng.randrange(3)))])
        if rng.random() < 0.4:
            item.append(objective(rng))
    elif kind == M_FLOOD:
        item += [initiator, ttl]
        for _ in range(rng.randrange(5)):
            entry = [objective(rng), rng.choice([[], [], locator(rng)])]
            item.append(rng.choice([entry, entry, entry, entry, 5, None, {"a": 1}, locator(rng), []]))
    elif kind == M_END:
        item.append(rng.choice([[O_ACCEPT], [O_DECLINE], [O_DECLINE, MARK], [O_ACCEPT, 1], [], value(rng)]))
    elif kind == M_WAIT:
        item.append(_sometimes(rng, rng.choice([0, 1, -1, 50, UINT32, UINT32 + 1])))
    elif kind == M_INVALID:
        item += [value(rng) for _ in range(rng.randrange(3))]
    else:
        item.append(objective(rng))
    if rng.random() < 0.05:
        item.append(rng.choice([value(rng), locator(rng), [200, MARK]]))
    if rng.random() < 0.03:
        del item[rng.randrange(len(item)) :]
    return item


def spoilt(rng: Random, data: bytes) -> bytes:
    """``data`` with a few of its bytes changed, lost, doubled or added."""
    spoiling = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 5])):
        at = rng.randrange(len(spoiling) + 1)
        how = rng.randrange(7)
        if how == 0 and at < len(spoiling):
            spoiling[at] ^= 1 << rng.randrange(8)
        elif how == 1 and at < len(spoiling):
            spoiling[at] = rng.choice([0x00, 0x1F, 0x5F, 0x7F, 0x80, 0x9F, 0xBF, 0xF6, 0xFF])
        elif how == 2:
            del spoiling[at : at + rng.randrange(1, 8)]
        elif how == 3:
            spoiling[at:at] = spoiling[at : at + rng.randrange(1, 30)]
        elif how == 4:
            spoiling[at:at] = rng.choice(BOMBS)[:1_000]
        elif how == 5:
            spoiling[at:at] = struct.pack(">BQ", rng.choice([0x1B, 0x5B, 0x7B, 0x9B, 0xBB, 0xDB]), rng.getrandbits(63))
        else:
            del spoiling[at:]
    return bytes(spoiling)


def bytes_of(rng: Random, kinds: tuple[int, ...] = KINDS, session: int | None = None) -> bytes:
    """One hostile message as it goes on the wire."""
    choice = rng.random()
    if choice < 0.02:
        return rng.randbytes(rng.randrange(1, 1_200))
    if choice < 0.04:
        return rng.choice(BOMBS)
    if choice < 0.05:
        return shared_reference_bomb()
    if choice < 0.06:
        head = cbor2.dumps([M_FLOOD, rng.getrandbits(32), bytes(16), 0])
        return b"\x85" + head[1:] + b"\x82\x84\x63syn\x05\x01" + shared_reference_bomb(40) + b"\x80"
    data = cbor2.dumps(message(rng, kinds, session))
    return spoilt(rng, data) if rng.random() < 0.4 else data
