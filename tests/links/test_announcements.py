"""Announcements as RFC 8990 §2.5.2 and the pattern of RFC 8994 §6.4 have them, packed by hand."""

from __future__ import annotations

from collections import Counter
from ipaddress import IPv6Address
from itertools import pairwise
from typing import Any

import pytest

from grasp.discovery import Source
from grasp.limits import Limits
from grasp.transport.links.announcements import Announced, Announcements, Place, Schedule, announcement
from grasp.wire import encode_message
from tests.wire.by_hand import pack

THEM = IPv6Address("fe80::2")
OTHER = IPv6Address("fe80::3")
ROUTED = IPv6Address("2001:db8::2")
HERE = Source(THEM, 7001, 3)
LOCATOR = [103, THEM.packed, 6, 7001]
FOUND = Announced(Place(THEM, 7001), 210.0)


def flood(
    value: Any = "TLS", *, name: str = "EX9.Neighbor", flags: int = 4, loop: int = 1, ttl: int = 210_000,
    initiator: IPv6Address = THEM, locator: Any = LOCATOR,
) -> list[Any]:  # fmt: skip
    return [9, 7, initiator.packed, ttl, [[name, flags, loop, value], locator]]


class Ear:
    def __init__(self, **limits: int) -> None:
        self.counts: Counter[str] = Counter()
        self.ear = Announcements(Limits(**limits), "EX9.Neighbor", self.counts)
        self.now = 100.0

    def hears(self, message: Any, source: Source = HERE, own: frozenset[Place] = frozenset()) -> Announced | None:
        data = message if isinstance(message, bytes) else pack(message)
        return self.ear.heard(self.now, data, source, own)


@pytest.fixture
def ear() -> Ear:
    return Ear()


def test_ours_is_byte_for_byte_what_the_rfc_shows_with_our_names() -> None:
    data = encode_message(announcement(7, Place(THEM, 7001), "EX9.Neighbor"), 1_232)
    assert data == pack(flood())


@pytest.mark.parametrize(
    "value", ["TLS", ["TLS"], ["TLS", 1, "x"], [["TLS"]], [["TLS", {"a": 1}], "extension", None]], ids=repr
)
def test_the_method_may_have_parameters_and_extensions_which_are_ignored(ear: Ear, value: Any) -> None:
    assert ear.hears(flood(value)) == FOUND


@pytest.mark.parametrize("value", ["DTLS", "tls", "", None, 1, [], [[]], [[["TLS"]]], {"TLS": 1}, b"TLS"], ids=repr)
def test_another_method_is_not_ours(ear: Ear, value: Any) -> None:
    assert ear.hears(flood(value)) is None


def test_of_several_methods_ours_is_taken(ear: Ear) -> None:
    message = flood("IKEv2", locator=[103, THEM.packed, 17, 500])
    message.append([["EX9.Neighbor", 4, 1, "TLS"], LOCATOR])
    assert ear.hears(message) == FOUND


@pytest.mark.parametrize(
    ("message", "source"),
    [
        pytest.param(flood(), Source(OTHER, 7001, 3), id="somebody else sends it"),
        pytest.param(flood(initiator=OTHER), HERE, id="another initiator"),
        pytest.param(flood(locator=[103, OTHER.packed, 6, 7001]), HERE, id="another address"),
        pytest.param(flood(locator=[103, ROUTED.packed, 6, 7001]), HERE, id="a routed address"),
        pytest.param(
            flood(initiator=ROUTED, locator=[103, ROUTED.packed, 6, 1]), Source(ROUTED, 1, 3), id="all routed"
        ),
        pytest.param(flood(), Source(THEM, 7001, 0), id="no interface"),
        pytest.param(flood(locator=[103, THEM.packed, 17, 7001]), HERE, id="UDP"),
        pytest.param(flood(locator=[103, THEM.packed, 6, 0]), HERE, id="port 0"),
        pytest.param(flood(locator=[]), HERE, id="no locator"),
        pytest.param(flood(locator=[104, bytes([169, 254, 0, 2]), 6, 7001]), HERE, id="IPv4"),
        pytest.param(flood(locator=[105, "host.example", 6, 7001]), HERE, id="a name"),
        pytest.param(flood(loop=2), HERE, id="loop count 2"),
        pytest.param(flood(loop=0), HERE, id="loop count 0"),
        pytest.param(flood(flags=5 | 2), HERE, id="to be negotiated"),
        pytest.param(flood(name="EX9.neighbor"), HERE, id="another objective"),
        pytest.param([1, 7, THEM.packed, ["EX9.Neighbor", 5, 1]], HERE, id="a discovery of it"),
        pytest.param([2, 7, THEM.packed, 1000, LOCATOR], HERE, id="a response"),
        pytest.param([0], HERE, id="M_NOOP"),
        pytest.param(b"\xff\x00", HERE, id="no CBOR"),
    ],
)
def test_anything_else_is_discarded_and_counted(ear: Ear, message: Any, source: Source) -> None:
    assert ear.hears(message, source) is None
    assert ear.counts.total() == 1


def test_our_own_places_are_nobody_and_nothing_to_count(ear: Ear) -> None:
    assert ear.hears(flood(), own=frozenset({FOUND.place})) is None
    assert ear.counts.total() == 0


@pytest.mark.parametrize(("ttl", "seconds"), [(1, 0.001), (210_000, 210), (2**32 - 1, 3_600), (0, 3_600)])
def test_nobody_is_remembered_for_ever(ear: Ear, ttl: int, seconds: float) -> None:
    assert ear.hears(flood(ttl=ttl)) == Announced(FOUND.place, seconds)


# -- GRASP without security


def test_who_speaks_plain_grasp_is_noted_with_when_it_was_heard_last(ear: Ear) -> None:
    ear.hears([1, 7, THEM.packed, ["EX1", 5, 6]])
    ear.now += 50
    ear.hears(flood(name="EX1", loop=6, locator=[]), Source(OTHER, 7001, 4))
    ear.hears(flood(name="EX1", loop=1, initiator=ROUTED, locator=[]))
    ear.now += 10
    assert sorted(ear.ear.plain(ear.now)) == [(3, THEM, 10.0), (4, OTHER, 10.0)]
    ear.ear.gone(3)
    assert ear.ear.plain(ear.now) == [(4, OTHER, 10.0)]
    ear.now += 600
    assert ear.ear.plain(ear.now) == []


@pytest.mark.parametrize(
    "message",
    [flood(), flood(name="AN_ACP"), flood(name="AN_Proxy"), flood(loop=3), [0], b"x", [2, 7, THEM.packed, 1, LOCATOR]],
    ids=repr,
)
def test_other_dull_instances_and_garbage_are_not_taken_for_it(ear: Ear, message: Any) -> None:
    ear.hears(message)
    assert ear.ear.plain(ear.now) == []


def test_a_link_full_of_them_is_noted_within_bounds(ear: Ear) -> None:
    for number in range(200):
        ear.now += 0.1
        ear.hears([1, 7, THEM.packed, ["EX1", 5, 6]], Source(IPv6Address(f"fe80::1:{number:x}"), 7001, 3))
    found = ear.ear.plain(ear.now)
    assert len(found) == 64
    assert min(ago for _, _, ago in found) == 0


def test_a_storm_is_not_listened_to_in_full_and_disturbs_no_other_interface() -> None:
    ear = Ear(relay_rate=1)
    heard = [ear.hears(flood()) for _ in range(100)]
    assert heard.count(FOUND) == 10
    assert ear.counts == {"multicast: more than can be listened to": 90}
    assert ear.hears(flood(), Source(THEM, 7001, 4)) == FOUND
    ear.now += 1.0
    assert [ear.hears(flood()) for _ in range(100)].count(FOUND) == 10


# -- when to announce ourselves


def told(schedule: Schedule, begin: float, end: float, step: float = 0.05) -> list[float]:
    times = []
    now = begin
    while now < end:
        if schedule.due(now):
            times.append(now - begin)
        now += step
    return times


@pytest.mark.parametrize("draw", [0.0, 0.5, 0.999])
def test_it_begins_with_a_burst_and_goes_on_every_minute(draw: float) -> None:
    times = told(Schedule(100.0, lambda: draw), 100.0, 400.0)
    assert times[:4] == pytest.approx([0.0, 1.0, 3.0, 7.0], abs=0.3)
    gaps = [after - before for before, after in pairwise(times[3:])]
    assert len(gaps) >= 4
    assert gaps == [pytest.approx(60 * (0.9 + draw / 5), abs=0.1)] * len(gaps)


def test_somebody_unknown_is_told_soon_and_a_crowd_no_more_often_than_every_two_seconds() -> None:
    schedule = Schedule(100.0, lambda: 0.5)
    told(schedule, 100.0, 120.0)
    schedule.unknown(120.0)
    assert len(told(schedule, 120.0, 120.3)) == 1
    times = []
    for tenth in range(100):
        now = 121.0 + tenth / 10
        schedule.unknown(now)
        if schedule.due(now):
            times.append(now)
    assert 4 <= len(times) <= 6
    assert all(after - before >= 2 for before, after in pairwise(times))


def test_another_address_is_announced_at_once() -> None:
    schedule = Schedule(100.0, lambda: 0.0)
    told(schedule, 100.0, 130.0)
    schedule.begin(130.0)
    assert told(schedule, 130.0, 140.0) == pytest.approx([0.0, 1.0, 3.0, 7.0], abs=0.1)
