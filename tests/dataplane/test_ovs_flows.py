"""Flows as text, both ways, and which of two matches a packet gets."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asa.dataplane.match import Match
from asa.dataplane.openvswitch import pipeline
from asa.dataplane.openvswitch.flows import LONGEST, Flow, Seen, fields_of, match_of, note, noted, seen_in
from asa.dataplane.openvswitch.pipeline import Laid
from asa.dataplane.plan import Action, Line, Share
from asa.errors import BadRequest
from asa.flows import Mac, Port

A, B, C = Mac("02:00:00:00:00:0a"), Mac("02:00:00:00:00:0b"), Mac("02:00:00:00:00:0c")

WEB = Match(4, ip_network("10.0.0.0/24"), ip_network("10.0.1.7/32"), 6, None, Port(0x50, 0xFFF0), 7)

WRITTEN = [
    (WEB, "tcp,dl_vlan=7,nw_dst=10.0.1.7,nw_src=10.0.0.0/24,tp_dst=0x50/0xfff0"),
    (Match(4, None, ip_network("10.0.1.7/32")), "ip,nw_dst=10.0.1.7"),
    (Match(6, ip_network("fd00::/64"), None, 17, Port(53), None), "udp6,ipv6_src=fd00::/64,tp_src=53"),
    (Match(6, ip_network("fd00::1/128"), None, 58), "icmp6,ipv6_src=fd00::1"),
    (Match(6, ip_network("fd00::1/128"), None, 132, None, Port(9)), "sctp6,ipv6_src=fd00::1,tp_dst=9"),
    (Match(4, ip_network("10.0.0.1/32"), None, 47), "ip,nw_proto=47,nw_src=10.0.0.1"),
    (Match(4, A, ip_network("10.0.0.1/32")), "ip,dl_src=02:00:00:00:00:0a,nw_dst=10.0.0.1"),
    (Match(0, A, B, vlan=3), "dl_dst=02:00:00:00:00:0b,dl_src=02:00:00:00:00:0a,dl_vlan=3"),
]


@pytest.mark.parametrize(("match", "text"), WRITTEN, ids=[text for _, text in WRITTEN])
def test_a_match_is_written_and_read_back(match: Match, text: str) -> None:
    assert fields_of(match) == frozenset(text.split(","))
    assert match_of(frozenset(text.split(","))) == match


@pytest.mark.parametrize(
    "text", ["arp", "ip,nw_src=10.0.0.1/255.0.255.0", "tp_dst=80", "tcp,tp_dst=0x50/0xfff0,nw_ttl=3", "nw_src=x", "ip,"]
)
def test_a_match_nobody_could_have_reserved_is_none(text: str) -> None:
    assert match_of(frozenset(text.split(","))) is None


@given(st.sets(st.text("abdilnoprstv_=0123456789:./x", max_size=20), max_size=4))
def test_any_fields_are_a_match_or_none(fields: set[str]) -> None:
    found = match_of(frozenset(fields))
    assert found is None or fields_of(found) == fields


def test_what_the_switch_prints_is_read() -> None:
    dump = """OFPST_FLOW reply (OF1.4) (xid=0x2):
 cookie=0xa5a000000000000, duration=12.500s, table=242, n_packets=7, n_bytes=700, hard_timeout=300, hard_age=2, \
priority=102,tcp,nw_src=10.0.0.1,tp_dst=5201 actions=set_queue:256
 cookie=0xa5a000000000000, duration=1.250s, table=241, n_packets=0, n_bytes=0, hard_timeout=300, \
priority=7,ip actions=drop
 cookie=0xa5a000000000000, duration=1.250s, n_packets=0, n_bytes=0 actions=NORMAL
 cookie=0xa5a000000000000, duration=soon, table=0, priority=1 actions=NORMAL
"""
    found = list(seen_in(dump))
    assert found[0] == Seen(
        Flow(242, 102, frozenset({"tcp", "nw_src=10.0.0.1", "tp_dst=5201"}), "set_queue:256"), 298.0, 7, 700
    )
    assert found[1] == Seen(Flow(241, 7, frozenset({"ip"}), ""), 298.75, 0, 0)
    assert found[2] == Seen(Flow(0, 32768, frozenset(), "NORMAL"), None, 0, 0)
    assert isinstance(found[3], str)
    assert "duration=soon" in found[3]


def test_a_flow_is_added_with_its_end_and_deleted_by_our_cookie_alone() -> None:
    flow = Flow(242, 102, frozenset({"tp_dst=80", "tcp"}), "set_queue:256")
    # What a field needs comes before it.
    assert flow.added(300) == (
        "add cookie=0xa5a000000000000,table=242,priority=102,tcp,tp_dst=80,hard_timeout=300,actions=set_queue:256"
    )
    assert flow.deleted == (
        "delete_strict cookie=0xa5a000000000000/0xffff000000000000,table=242,priority=102,tcp,tp_dst=80"
    )
    assert Flow(0, 1, frozenset(), "").added(None).endswith("priority=1,actions=drop")
    assert LONGEST == 65_535


@given(st.lists(st.text("abcdefghijklmnopqrstuvwxyz0123456789:.-", min_size=1, max_size=60), max_size=12))
def test_words_in_a_note_are_read_back(words: list[str]) -> None:
    text = note(*words)
    assert noted(f"set_queue:1,{text},set_field:46->ip_dscp") == tuple(words)
    # Else the switch would print another one than was written.
    assert (text.count(".") + 1) % 8 == 6


LAID = [
    Laid(("eth0:out", Action.GUARANTEE, WEB), 7, 0, 256, 46),
    Laid(("eth0:out", Action.GUARANTEE, Match(0, A, B)), 3, 0, 257, 10),
    Laid(("eth0:out", Action.KEEP, Match(0, A, B)), 3, 0),
    Laid(("eth0:out", Action.KEEP, WEB), 7, 0),
    Laid(("eth1:in", Action.GUARANTEE, WEB), 7, 5, 256, 46, Share(8_000, 16_000, 2)),
    Laid(("eth1:in", Action.KEEP, WEB), 7, 5),
    Laid(("eth0:out", Action.MIRROR, WEB), 7, 0, output="10.0.0.9", macs=(C,), port=4),
    Laid(("eth0:out", Action.STEER, WEB), 7, 0, through=("10.0.0.9", str(C)), macs=(A, C)),
    Laid(("eth0:out", Action.STEER, Match(4, A, ip_network("10.0.0.1/32"))), 8, 0, through=(str(C),), macs=(C,)),
    Laid(("eth0:in", Action.STEER, Match(0, A)), 9, 3, through=(str(B), str(C)), macs=(B, C)),
]


def dumped(flows: list[Flow]) -> list[Seen]:
    return [Seen(each, 100.0, 0, 0) for each in flows]


def test_all_that_is_laid_is_known_again_from_its_flows() -> None:
    flows = [flow for laid in LAID for flow in pipeline.flows_of(laid)]
    assert len({each.place for each in flows}) == len(flows)
    found = pipeline.read(dumped([pipeline.DISPATCH, *flows]))
    assert {spot: laid for spot, (laid, _) in found.laid.items()} == {laid.spot: laid for laid in LAID}
    assert found.odd == []
    assert list(found.common) == [pipeline.DISPATCH]


@pytest.mark.parametrize("laid", LAID, ids=[f"{each.spot[1]} {at}" for at, each in enumerate(LAID)])
def test_a_spot_with_a_flow_missing_or_altered_is_not_there(laid: Laid) -> None:
    flows = list(pipeline.flows_of(laid))
    for at in range(len(flows)):
        rest = flows[:at] + flows[at + 1 :]
        found = pipeline.read(dumped(rest))
        assert found.laid == {}
        assert set(found.odd) == set(rest)
        altered = replace(flows[at], actions=flows[at].actions + ",set_field:1->ip_dscp")
        assert pipeline.read(dumped([*rest, altered])).laid == {}


def test_the_flow_of_each_kind() -> None:
    words = note("eth0:out", "46")
    assert pipeline.flows_of(LAID[0]) == (
        Flow(242, 130, fields_of(WEB), f"{words},set_field:46->ip_dscp,set_queue:256"),
    )  # fmt: skip
    # Only IP packets have a DSCP; the rest of the frames gets the queue.
    plain, v4, v6 = pipeline.flows_of(LAID[1])
    assert "ip_dscp" not in plain.actions
    assert (v4.fields - plain.fields, v6.fields - plain.fields) == ({"ip"}, {"ipv6"})
    assert v4.priority == v6.priority == plain.priority + 1
    metered = pipeline.flows_of(LAID[4])[0]
    assert metered.actions.startswith(f"meter:{0xA5A0000 + 256},note:")
    assert "in_port=5" in metered.fields
    (copy,) = pipeline.flows_of(LAID[6])
    assert copy.actions.endswith(f",clone(set_field:{C}->eth_dst,output:4)")


def test_packets_are_steered_hop_by_hop_and_the_last_box_comes_first() -> None:
    first, second, last = pipeline.flows_of(LAID[7])
    assert first.priority < second.priority < last.priority
    assert first.actions.endswith(f"set_field:{A}->eth_dst")
    assert f"dl_src={A}" in second.fields
    assert second.actions.endswith(f"set_field:{C}->eth_dst")
    assert f"dl_src={C}" in last.fields
    assert "set_field" not in last.actions


def test_unreserved_packets_lose_markings_unless_they_come_by_a_line() -> None:
    line = Line("eth0", "out", 8_000_000, 800_000, (46,), (ip_network("10.0.0.0/8"), ip_network("fd00::/8")))
    found = pipeline.common([(line, 4), (Line("eth1", "in", 8_000, 800), 5)])
    assert found == {
        pipeline.DISPATCH,
        Flow(242, 3, frozenset({"in_port=4"}), note("eth0")),
        Flow(242, 3, frozenset({"in_port=5"}), note("eth1")),
        Flow(242, 2, frozenset({"ip", "nw_src=10.0.0.0/8", "nw_tos=184"}), "set_field:0->ip_dscp"),
        Flow(242, 2, frozenset({"ipv6", "ipv6_src=fd00::/8", "nw_tos=184"}), "set_field:0->ip_dscp"),
    }
    assert pipeline.common([]) == set()


SHAPES = [
    Match(4, None if a is None else ip_network((10 << 24, a)), None if b is None else ip_network((11 << 24, b)), 6,
          None, None if mask is None else Port(0, mask) if mask != 0xFFFF else Port(9)).shape
    for a in (None, 8, 24) for b in (None, 16, 32) for mask in (None, 0xFF00, 0xFFFF)
]  # fmt: skip


@given(st.lists(st.lists(st.sampled_from(SHAPES), max_size=12), min_size=1, max_size=8))
def test_priorities_follow_the_rank_and_stay_where_there_is_room(turns: list[list[object]]) -> None:
    found: dict[object, int] = {}
    for wanted in turns:
        numbers = pipeline.slots(found, wanted)  # type: ignore[arg-type]
        assert set(numbers) == set(wanted)
        ordered = sorted(numbers, key=lambda each: each.rank)
        assert all(numbers[a] < numbers[b] for a, b in pairwise(ordered))
        assert all(0 < each < pipeline.SLOTS for each in numbers.values())
        if len(wanted) == 1 and wanted[0] in found:
            assert numbers[wanted[0]] == found[wanted[0]]  # type: ignore[index]
        found = dict(numbers)


def test_shapes_without_room_between_them_are_numbered_anew() -> None:
    low, middle, high = sorted(SHAPES[:3], key=lambda each: each.rank)
    numbers = pipeline.slots({low: 10, high: 11}, [low, middle, high])
    assert 0 < numbers[low] < numbers[middle] < numbers[high]
    kept = pipeline.slots({low: 10, high: 20}, [low, middle, high])
    assert (kept[low], kept[high]) == (10, 20)
    assert 10 < kept[middle] < 20


def test_more_shapes_than_numbers_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "SLOTS", 3)
    with pytest.raises(BadRequest, match="3 shapes"):
        pipeline.slots({}, SHAPES[:3])
