"""Records for tests: a few of every kind, and any there can be."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from ipaddress import ip_network

from hypothesis import strategies as st

from asa.records import (
    BACK,
    BOTH,
    OUT,
    Cap,
    Change,
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
    Record,
    Reservation,
    ReservationState,
    Seed,
    Taken,
    TakenState,
    Verdict,
    VerdictState,
    made,
)
from asa.store import Store
from objectives import Block, NodeId, Window
from objectives.fields import MAX_RATE, MAX_TIME

NOW = 1_800_000_000
PEER = NodeId("hv-7.example", "00112233445566ff")
BLOCK = Block(0, 10**9, NOW, NOW + 3600)
FOREVER = Block(10**9, 2 * 10**9, 0, None)


def reservation(number: int, rate: int = 10**6) -> Reservation:
    return Reservation(
        f"r-{number:08d}", "wan", rate, Window(NOW, NOW + 60), ReservationState.BOOKED, NOW, NOW, labels=("é\n\0 ✓",)
    )


FULL = Reservation(
    "r-00000009", "wan", 10**7, Window(NOW + 5, None), ReservationState.HELD, NOW - 9, NOW - 3,
    source="10.0.0.1:80/0xfff0{3}", destination="[fd00::/64]:53{4094}", owner="alice", labels=("é\n\0 ✓", "", "x"),
    kind=Kind.TWO_WAY, protocol="tcp", back=10**6, traffic="global_voice", through=("mb1", "10.0.0.7"), output="eth3",
    names=("web1", "db.example"), claims=(("wan", BOTH), ("eth0:out", OUT), ("eth0:in", BACK)), until=NOW + 60,
    secret="$argon2$x", partner=str(PEER), why="no route; é",
)  # fmt: skip
"""A reservation of which no field is as it is by default."""


def some(count: int = 8) -> list[Record]:
    """A few of every kind, in the order in which they are loaded."""
    records: list[Record] = [Seed("wan", index * 10**9, (index + 1) * 10**9, NOW) for index in range(count)]
    records += [Held("wan", Block(index * 10**9, (index + 1) * 10**9, 0, None)) for index in range(count)]
    states = list(GivenState)
    records += [
        Given(bytes([index]) * 16, "wan", PEER, (BLOCK, FOREVER), states[index % 5], NOW + index, index % 3 == 0)
        for index in range(count)
    ]
    records += [Taken(bytes([index]) * 16, "wan", PEER, (BLOCK,), TakenState.ACCEPTED, NOW) for index in range(count)]
    records += [Promise(bytes([index]) * 16, "wan", PEER, 5, Window(NOW, None), NOW + 9) for index in range(count)]
    records += [Lent("hv", "wan", NOW + index, (-1) ** index * 10**6) for index in range(count)]
    records += [reservation(index) for index in range(count)]
    records += [FULL]
    records += [Once(f"key-{index}", "ab" * 32, f"r-{index}", NOW) for index in range(count)]
    records += [Fact("active", "true"), Fact("params", '{"serial": 1, "' + "x" * 9000 + '": 2}')]
    records += [Contact(PEER, "[fe80::1%eth0]:7017", NOW, (ip_network("10.0.0.0/8"), ip_network("fd00::/64")))]
    records += [Cap("*", "*", 0, False), Cap("alice", "eth0:out", 100, True)]
    records += [Pact(b"\1" * 16, PEER, None, FULL, NOW), Pact(b"\2" * 16, PEER, FULL, reservation(3), NOW)]
    records += [
        Verdict(bytes([index]) * 16, PEER, "r-00000009", state, NOW) for index, state in enumerate(VerdictState)
    ]
    records += [Notice("r-00000001", PEER, "cancelled: é", NOW, NOW + 9), Notice("r-00000002", PEER, "", NOW, None)]
    return records


texts = st.text(st.characters(codec="utf-8"), max_size=60)
integers = st.integers(-(2**63), 2**63 - 1)
rates = st.integers(0, 2**63 - 1)
txns = st.binary(min_size=0, max_size=64)
names = st.text("abcXYZ019-_.", min_size=1, max_size=63)
nodes = st.builds(NodeId, names, st.text("0123456789abcdef", min_size=16, max_size=16))


@st.composite
def windows(draw: st.DrawFn) -> Window:
    start = draw(st.integers(0, MAX_TIME - 1))
    return Window(start, draw(st.none() | st.integers(start + 1, MAX_TIME)))


@st.composite
def blocks(draw: st.DrawFn) -> Block:
    low = draw(st.integers(0, MAX_RATE - 1))
    window = draw(windows())
    return Block(low, draw(st.integers(low + 1, MAX_RATE)), window.start, window.end)


@st.composite
def seeds(draw: st.DrawFn) -> Seed:
    low = draw(st.integers(0, 2**63 - 2))
    return Seed(draw(texts), low, draw(st.integers(low + 1, 2**63 - 1)), draw(integers))


many = st.lists(blocks(), max_size=5).map(tuple)
labels = st.lists(texts, max_size=3).map(tuple)
claims = st.lists(st.tuples(texts, st.sampled_from([OUT, BACK, BOTH])), max_size=3).map(tuple)
states = st.sampled_from
reservations = st.builds(
    Reservation, texts, texts, rates, windows(), states(ReservationState), integers, integers, texts, texts, texts,
    labels, states(Kind), texts, rates, texts, labels, texts, st.tuples(texts, texts), claims, st.none() | integers,
    texts, texts, texts,
)  # fmt: skip
plain = st.builds(
    Reservation, texts, texts, rates, windows(), states(ReservationState), integers, integers, labels=labels
)
any_record = st.one_of(
    seeds(),
    st.builds(Held, texts, blocks()),
    st.builds(Given, txns, texts, nodes, many, states(GivenState), integers, st.booleans()),
    st.builds(Taken, txns, texts, nodes, many, states(TakenState), integers),
    st.builds(Promise, txns, texts, nodes, rates, windows(), integers),
    st.builds(Lent, texts, texts, integers, integers),
    reservations,
    plain,
    st.builds(Once, texts, texts, texts, integers),
    st.builds(Fact, texts, texts),
    st.builds(Contact, nodes, texts, integers),
    st.builds(Cap, texts, texts, rates, st.booleans()),
    st.builds(Pact, txns, nodes, st.none() | plain, reservations, integers),
    st.builds(Verdict, txns, nodes, texts, states(VerdictState), integers),
    st.builds(Notice, texts, nodes, texts, integers, st.none() | integers),
)


def counted(number: int) -> Change:
    """The fact ``count`` goes from ``number`` to the next; from nothing to 0 for -1."""
    before = None if number < 0 else Fact("count", str(number))
    return Change(before, Fact("count", str(number + 1)))


_BEFORE = {
    **{(Given, each): GivenState.ESCROW for each in GivenState},
    (Taken, TakenState.CONFIRMED): TakenState.ACCEPTED,
    (Reservation, ReservationState.CANCELLED): ReservationState.BOOKED,
    (Reservation, ReservationState.LAPSED): ReservationState.HELD,
}
"""By which state a record gets into one that its table does not let it begin in."""


def put(store: Store, records: Iterable[Record]) -> None:
    """Commit records of any state, each by way of a state that its table lets it begin in."""
    records = list(records)
    begun = []
    for each in records:
        if isinstance(each, Given | Taken | Reservation):
            begun.append(dataclasses.replace(each, state=_BEFORE.get((type(each), each.state), each.state)))
        else:
            begun.append(each)
    store.commit(made(*begun))
    store.commit([Change(old, new) for old, new in zip(begun, records, strict=True) if old != new])
