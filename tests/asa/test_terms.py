"""A reservation as two agents speak of it: seen from there, and seen from there again."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asa.errors import BadRequest
from asa.records import BACK, BOTH, OUT, Kind, Reservation, ReservationState
from asa.terms import asked_for, terms_of
from objectives import NodeId, Window
from objectives.fields import MAX_RATE
from objectives.pact import MAX_LABEL_BYTES, terms_from_item

PEER = NodeId("peer", "1" * 16)
NOW = 1_000

ONE = Reservation(
    id="r-1",
    pool="wan",
    rate=7,
    window=Window(NOW + 10, NOW + 20),
    state=ReservationState.HELD,
    created=NOW - 5,
    changed=NOW - 5,
    source="10.0.1.5:80",
    destination="10.0.2.5{3}",
    owner="physics",
    labels=("a", "b"),
    kind=Kind.TWO_WAY,
    protocol="tcp",
    back=3,
    traffic="global_voice",
    names=("web1:80", ""),
    claims=(("wan", OUT), ("eth0:out", OUT), ("eth0:in", BACK)),
    until=NOW + 9,
    secret="scrypt$00$00",
    partner=str(PEER),
)

ENDS = st.sampled_from(["any", "10.0.0.1", "10.0.0.2:80{7}", "[fd00::1]:443", "02:00:00:00:00:01"])
RATES = st.integers(1, MAX_RATE)
RESERVATIONS = st.builds(
    Reservation,
    id=st.just("r-1"),
    pool=st.sampled_from(["", "wan"]),
    rate=RATES,
    window=st.builds(
        lambda start, length: Window(start, None if length is None else start + length),
        st.integers(0, 2**40 - 100),
        st.none() | st.integers(1, 100),
    ),
    state=st.sampled_from([ReservationState.HELD, ReservationState.BOOKED]),
    created=st.just(NOW),
    changed=st.just(NOW),
    source=ENDS,
    destination=ENDS,
    owner=st.sampled_from(["", "physics"]),
    labels=st.sampled_from([(), ("a",), ("a", "ä")]),
    kind=st.sampled_from([Kind.TWO_WAY, Kind.ONE_WAY]),
    protocol=st.sampled_from(["any", "tcp", "47"]),
    back=RATES,
    traffic=st.sampled_from(["default", "global_voice"]),
    until=st.none() | st.integers(0, 2**40),
    secret=st.sampled_from(["", "scrypt$00$00"]),
).map(lambda each: each if each.kind is Kind.TWO_WAY else replace(each, back=0))


def test_what_leaves_there_is_what_comes_in_here() -> None:
    terms = terms_of(ONE)
    assert (terms.source, terms.destination) == ("10.0.2.5{3}", "10.0.1.5:80")
    assert (terms.rate, terms.back) == (3, 7)
    assert (terms.start, terms.end, terms.window) == (NOW + 10, NOW + 20, ONE.window)
    assert (terms.kind, terms.protocol, terms.traffic, terms.pool) == ("two-way", "tcp", "global_voice", "wan")
    assert (terms.owner, terms.labels, terms.secret, terms.hold) == ("physics", ("a", "b"), "scrypt$00$00", NOW + 9)


def test_what_only_moves_stays_as_it_is() -> None:
    terms = terms_of(replace(ONE, kind=Kind.ONE_WAY, back=0))
    assert (terms.source, terms.destination, terms.rate, terms.back) == ("10.0.1.5:80", "10.0.2.5{3}", 7, 0)


def test_what_is_asked_for_is_to_be_placed_where_it_is_asked() -> None:
    made = asked_for("r-9", terms_of(ONE), PEER, NOW)
    assert made == Reservation(
        id="r-9",
        pool="wan",
        rate=3,
        window=ONE.window,
        state=ReservationState.HELD,
        created=NOW,
        changed=NOW,
        source="10.0.2.5{3}",
        destination="10.0.1.5:80",
        owner="physics",
        labels=("a", "b"),
        kind=Kind.TWO_WAY,
        protocol="tcp",
        back=7,
        traffic="global_voice",
        until=NOW + 9,
        secret="scrypt$00$00",
        partner=str(PEER),
    )


@given(RESERVATIONS)
def test_mirrored_twice_it_is_the_same(one: Reservation) -> None:
    there = asked_for(one.id, terms_of(one), PEER, NOW)
    again = asked_for(one.id, terms_of(there), PEER, NOW)
    state = ReservationState.BOOKED if one.until is None else ReservationState.HELD
    assert again == replace(one, state=state, partner=str(PEER))
    assert terms_of(again) == terms_of(one)


@given(RESERVATIONS)
def test_what_comes_over_the_wire_asks_for_the_same(one: Reservation) -> None:
    assert terms_from_item(terms_of(one).to_item()) == terms_of(one)


@given(RESERVATIONS, st.sampled_from([None, 0, NOW + 50]))
def test_what_is_there_already_keeps_its_place(wanted: Reservation, until: int | None) -> None:
    terms = terms_of(replace(wanted, until=until))
    made = asked_for("r-other", terms, NodeId("third", "2" * 16), NOW + 7, ONE)
    state = ReservationState.BOOKED if until is None else ReservationState.HELD
    changed = replace(
        ONE, rate=terms.rate, back=terms.back, window=wanted.window, until=until, state=state, changed=NOW + 7
    )
    ends = terms.source, terms.destination, terms.protocol
    if ends != (ONE.source, ONE.destination, ONE.protocol):
        changed = replace(changed, source=ends[0], destination=ends[1], protocol=ends[2], names=("", ""))
    assert made == changed


def test_a_deadline_makes_it_held_and_none_booked() -> None:
    held = asked_for("r-1", terms_of(ONE), PEER, NOW)
    booked = asked_for("r-1", terms_of(replace(ONE, until=None)), PEER, NOW, held)
    assert (held.state, held.until) == (ReservationState.HELD, NOW + 9)
    assert (booked.state, booked.until) == (ReservationState.BOOKED, None)


def test_what_this_agent_takes_of_its_own_is_none_of_the_others_business() -> None:
    plain = replace(ONE, claims=(), names=("", ""), why="", created=0, changed=0)
    full = replace(ONE, claims=(("wan", BOTH), ("eth0:in", OUT)), why="a reason")
    assert terms_of(plain) == terms_of(full)


@pytest.mark.parametrize("kind", sorted(set(Kind) - {Kind.TWO_WAY, Kind.ONE_WAY}))
def test_kinds_without_bandwidth_are_of_one_agent(kind: Kind) -> None:
    with pytest.raises(BadRequest):
        terms_of(replace(ONE, kind=kind, rate=0, back=0))


def test_labels_too_long_for_a_message_are_the_consumers_to_shorten() -> None:
    label = "🎻" * 250
    most = MAX_LABEL_BYTES // len(label.encode())
    assert terms_of(replace(ONE, labels=(label,) * most)).labels == (label,) * most
    with pytest.raises(BadRequest, match=r"^terms\.labels must be at most 12288 bytes together$"):
        terms_of(replace(ONE, labels=(label,) * (most + 1)))
