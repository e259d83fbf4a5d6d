from __future__ import annotations

import json
from typing import Any

import pytest

from asa.tegu import (
    Code,
    Endpoint,
    Entry,
    Middlebox,
    Mirror,
    OneWay,
    Passthrough,
    Pledge,
    Protocol,
    Secret,
    Steering,
    Traffic,
    TwoWay,
    read_checkpoint,
)
from objectives import Window
from tests.tegu.lines import ALL, HOUR, MIRROR, NOW, ONE_WAY, PASSTHROUGH, STEERING, TWO_WAY, line

COMMON: dict[str, Any] = {"window": Window(NOW, HOUR), "owner": "p1", "secret": Secret("biscuit")}


def read(content: bytes) -> tuple[Pledge, Entry]:
    found = read_checkpoint(content, NOW)
    (entry,) = found.report.entries
    assert entry.taken, entry
    return found.pledges[0], entry


def refused(content: bytes) -> tuple[Code, str]:
    found = read_checkpoint(content, NOW)
    assert found.pledges == ()
    (entry,) = found.report.entries
    return entry.code, entry.why


@pytest.mark.parametrize(
    ("record", "pledge"),
    [
        (TWO_WAY, TwoWay(
            id="res3fbe_00000", own=Endpoint("vm1", "p1", 80, vlan=3), other=Endpoint("vm2", "p1"),
            rate_in=10_000_000, rate_out=20_000_000, traffic=Traffic(46, False), protocol=Protocol("tcp"),
            force_v6=None, **COMMON)),
        (STEERING, Steering(
            id="res3fbe_00001", source=Endpoint("vm1", "p1"), destination=Endpoint("E*"),
            boxes=(Middlebox("mb1", "fa:16:3e:00:00:01", "sw1", 7),), protocol=Protocol("tcp", port=80), **COMMON)),
        (MIRROR, Mirror(
            id="mir-5a_0", ports=("p1/vm1", "fa:16:3e:00:00:02"), output="label:tap", vlans=(1, 4095),
            options="df_default=true", physical_host="compute7", **COMMON)),
        (ONE_WAY, OneWay(
            id="res3fbe_00002", source=Endpoint("vm1", "p1", 80, 0xFFF0, 3),
            destination=Endpoint("203.0.113.9", "", 443, vouched=False, external=True), rate=5_000_000,
            traffic=Traffic(18, False), protocol=None, force_v6=None, **COMMON)),
        (PASSTHROUGH, Passthrough(
            id="res3fbe_00003", host=Endpoint("vm1", "p1"), protocol=Protocol("udp", None, "198.51.100.4", 8800),
            **COMMON)),
    ],
)  # fmt: skip
def test_every_field_of_every_kind_is_taken_over(record: dict[str, Any], pledge: Pledge) -> None:
    found, entry = read(line(record))
    assert found == pledge
    assert (entry.kind, entry.id) == (pledge.kind, pledge.id)


@pytest.mark.parametrize(
    ("record", "without", "changed"),
    [
        (TWO_WAY, ("bandwin", "bandwout"), {"bandw_in": 10_000_000, "bandw_out": 20_000_000}),
        (TWO_WAY, (), {"host1": "p1/vm1", "port1": 80, "vlan1": 3}),
        (TWO_WAY, (), {"host1": "p1/vm1:", "port1": "0x50", "vlan1": "3"}),
        (TWO_WAY, ("commence", "expiry"), {"window": {"commence": NOW, "expiry": HOUR}}),
        (TWO_WAY, ("dscp_koe", "protocol"), {"koe": False, "proto": "tcp"}),
        (TWO_WAY, ("qid",), {"state": "ACTIVE", "time": 3_600, "pushed": True, "paused": False, "match_v6": None}),
        (TWO_WAY, ("usrkey",), {"cookie": "biscuit"}),
        (TWO_WAY, (), {"host1": "t0ken/p1/vm1:80{3}", "host2": "t0ken/p1/vm2"}),
        (STEERING, ("host1", "host2"), {"ep1": "p1/vm1", "ep2": "E*", "tenant_id": "p1"}),
        (STEERING, (), {"mbox_list": [{"id": "mb1", "mac": "fa:16:3e:00:00:01", "swid": "sw1", "swport": 7}]}),
        (MIRROR, ("host1", "qid"), {"ports": "t0ken/p1/vm1 fa:16:3e:00:00:02", "vlan": "1,4095",
                                    "physical_host": "compute7"}),
        (MIRROR, ("host2", "tenant_id"), {"output": "label:tap", "tenant": "p1"}),
        (ONE_WAY, (), {"src": "p1/vm1", "src_port": "80/0xfff0", "src_vlan": 3, "dest_port": 443}),
        (PASSTHROUGH, (), {"proto": "udp:198.51.100.4:8800", "physical_host": "compute7"}),
    ],
)  # fmt: skip
def test_a_field_by_another_of_its_names_says_the_same(
    record: dict[str, Any], without: tuple[str, ...], changed: dict[str, Any]
) -> None:
    found, entry = read(line(record, without, **changed))
    plain, plain_entry = read(line(record))
    assert (found, entry.notes) == (plain, plain_entry.notes)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"bandw_in": 1}, "bandwin and bandw_in say different things"),
        ({"koe": True}, "dscp_koe and koe say different things"),
        ({"koe": 0}, "dscp_koe and koe say different things"),
        ({"port1": 81}, "port1 is not the port of its host"),
        ({"vlan1": 4}, "vlan1 is not the VLAN of its host"),
    ],
)
def test_names_that_contradict_each_other_are_refused(changed: dict[str, Any], why: str) -> None:
    assert refused(line(TWO_WAY, **changed))[1] == why


@pytest.mark.parametrize(
    ("record", "changed", "code"),
    [
        (TWO_WAY, {"bandwin": 0}, Code.ZERO_BANDWIDTH), (TWO_WAY, {"bandwout": 0}, Code.ZERO_BANDWIDTH),
        (ONE_WAY, {"bandwout": 0}, Code.ZERO_BANDWIDTH), (TWO_WAY, {"bandwin": -1}, Code.BAD_FIELD),
        (TWO_WAY, {"bandwin": 2**53 + 1}, Code.BAD_FIELD), (TWO_WAY, {"bandwin": 1.5}, Code.BAD_FIELD),
        (TWO_WAY, {"bandwin": "10M"}, Code.BAD_FIELD), (TWO_WAY, {"bandwin": True}, Code.BAD_FIELD),
        (TWO_WAY, {"bandwin": None}, Code.BAD_FIELD), (TWO_WAY, {"dscp": 64}, Code.BAD_FIELD),
        (TWO_WAY, {"dscp": "voice"}, Code.BAD_FIELD), (TWO_WAY, {"dscp_koe": 1}, Code.BAD_FIELD),
        (TWO_WAY, {"protocol": "icmp"}, Code.BAD_FIELD), (TWO_WAY, {"protocol": "tcp5"}, Code.BAD_FIELD),
        (TWO_WAY, {"protocol": 6}, Code.BAD_FIELD), (TWO_WAY, {"usrkey": 7}, Code.BAD_FIELD),
        (TWO_WAY, {"usrkey": "x" * 1_025}, Code.BAD_FIELD), (TWO_WAY, {"usrkey": "\udc80"}, Code.BAD_FIELD),
        (TWO_WAY, {"id": ""}, Code.BAD_FIELD), (TWO_WAY, {"id": "a b"}, Code.BAD_FIELD),
        (TWO_WAY, {"id": None}, Code.BAD_FIELD), (TWO_WAY, {"id": 5}, Code.BAD_FIELD),
        (TWO_WAY, {"ptype": 5}, Code.UNKNOWN_KIND), (TWO_WAY, {"ptype": "0"}, Code.UNKNOWN_KIND),
        (TWO_WAY, {"ptype": False}, Code.UNKNOWN_KIND), (TWO_WAY, {"ptype": None}, Code.UNKNOWN_KIND),
        (TWO_WAY, {"host1": ""}, Code.BAD_HOST), (TWO_WAY, {"host2": None}, Code.BAD_HOST),
        (TWO_WAY, {"host2": "any:"}, Code.BAD_HOST), (TWO_WAY, {"host2": "!//any:"}, Code.BAD_HOST),
        (TWO_WAY, {"host2": "p1/vm1:81"}, Code.BAD_HOST), (TWO_WAY, {"host2": "p1/fd00::1:80"}, Code.BAD_HOST),
        (TWO_WAY, {"host1": "!//192.0.2.1", "host2": "!//192.0.2.2"}, Code.BAD_HOST),
        (ONE_WAY, {"src": "!//192.0.2.1:"}, Code.BAD_HOST), (ONE_WAY, {"dest": "any:"}, Code.BAD_HOST),
        (ONE_WAY, {"dest": "p1/vm1:1"}, Code.BAD_HOST), (PASSTHROUGH, {"host": "vm1:"}, Code.BAD_HOST),
        (PASSTHROUGH, {"host": "!//192.0.2.1:"}, Code.BAD_HOST),
        (PASSTHROUGH, {"protocol": "udp:x:1"}, Code.BAD_HOST), (PASSTHROUGH, {"protocol": "udp:1/1"}, Code.BAD_HOST),
        (PASSTHROUGH, {"protocol": "udp:[fd00::1]:81/0xff"}, Code.BAD_FIELD),
        (PASSTHROUGH, {"protocol": "udp6:192.0.2.1:1"}, Code.BAD_FIELD),
        (PASSTHROUGH, {"protocol": "udp:[fd00::1]1"}, Code.BAD_FIELD),
        (PASSTHROUGH, {"protocol": "udp:fd00::1:80"}, Code.BAD_HOST),
        (PASSTHROUGH, {"protocol": "udp:p/1:2:3:4:5:6:7:8"}, Code.BAD_FIELD),
        (STEERING, {"host1": ":", "host2": ":"}, Code.BAD_HOST), (STEERING, {"mbox_list": []}, Code.BAD_FIELD),
        (STEERING, {"mbox_list": "mb1"}, Code.BAD_FIELD), (STEERING, {"mbox_list": [{}]}, Code.BAD_FIELD),
        (STEERING, {"mbox_list": [7]}, Code.BAD_FIELD), (STEERING, {"mbox_list": ["m b"]}, Code.BAD_HOST),
        (STEERING, {"mbox_list": ["mb"] * 65}, Code.BAD_FIELD),
        (MIRROR, {"host1": ""}, Code.BAD_HOST), (MIRROR, {"host2": ""}, Code.BAD_HOST),
        (MIRROR, {"host1": "p1/vm1 vlan:4096"}, Code.BAD_FIELD), (MIRROR, {"host1": "a/b/c/d"}, Code.BAD_HOST),
        (MIRROR, {"tenant_id": "p 1"}, Code.BAD_FIELD), (MIRROR, {"options": ["x"]}, Code.BAD_FIELD),
        (TWO_WAY, {"expiry": NOW}, Code.EXPIRED), (TWO_WAY, {"expiry": NOW - 5, "bandwin": 0}, Code.EXPIRED),
        (TWO_WAY, {"expiry": None}, Code.BAD_WINDOW), (TWO_WAY, {"commence": HOUR}, Code.BAD_WINDOW),
        (TWO_WAY, {"commence": HOUR + 1}, Code.BAD_WINDOW), (TWO_WAY, {"expiry": 2**40 + 1}, Code.BAD_FIELD),
        (TWO_WAY, {"commence": -1}, Code.BAD_FIELD), (TWO_WAY, {"commence": "now"}, Code.BAD_FIELD),
    ],
)  # fmt: skip
def test_what_cannot_be_taken_over_says_why(record: dict[str, Any], changed: dict[str, Any], code: Code) -> None:
    found, why = refused(line(record, **changed))
    assert (found, bool(why)) == (code, True)


def test_an_outside_host_named_first_is_exchanged_with_its_rates_and_said_so() -> None:
    pledge, entry = read(line(TWO_WAY, host1="!//203.0.113.9:443", host2="p1/vm1:80{3}"))
    assert isinstance(pledge, TwoWay)
    assert (str(pledge.own), str(pledge.other)) == ("vm1:80{3}", "203.0.113.9:443")
    # To host1 is from host2, so what came in at the one goes out at the other.
    assert (pledge.rate_in, pledge.rate_out) == (20_000_000, 10_000_000)
    assert "exchanged" in entry.notes[0]


def test_hosts_tegu_may_have_exchanged_without_their_rates_are_to_be_checked() -> None:
    pledge, entry = read(line(TWO_WAY, host2="!//203.0.113.9:443"))
    assert isinstance(pledge, TwoWay)
    assert (pledge.rate_in, pledge.rate_out) == (10_000_000, 20_000_000)
    assert any("check" in note for note in entry.notes)
    _, alike = read(line(TWO_WAY, host2="!//203.0.113.9:443", bandwin=20_000_000))
    assert alike.notes == ()


@pytest.mark.parametrize(
    ("record", "without", "changed", "word"),
    [
        (TWO_WAY, ("dscp",), {}, "46"), (TWO_WAY, (), {"new": 1}, "1 unknown field left out"),
        (TWO_WAY, (), {"new": 1, "newer": 2}, "2 unknown fields left out"), (TWO_WAY, ("commence",), {}, "begins now"),
        (TWO_WAY, (), {"host1": "vm1:", "host2": "vm2:"}, "owner"), (TWO_WAY, (), {"host2": "p2/vm2:"}, "two projects"),
        (ONE_WAY, (), {"src": "p1/vm1:80"}, "VLAN"), (ONE_WAY, (), {}, "protocol"),
        (PASSTHROUGH, ("protocol",), {}, "more than was asked for"), (STEERING, (), {}, "does not restore"),
    ],
)  # fmt: skip
def test_what_tegu_loses_is_told_where_it_may_matter(
    record: dict[str, Any], without: tuple[str, ...], changed: dict[str, Any], word: str
) -> None:
    _, entry = read(line(record, without, **changed))
    assert any(word in note for note in entry.notes)


def test_an_end_at_tegus_end_of_time_may_have_been_for_ever() -> None:
    at = 1_767_243_600
    found = read_checkpoint(line(TWO_WAY, commence=at - 100, expiry=at), at - 50)
    assert any("for ever" in note for note in found.report.entries[0].notes)
    code, why = refused(line(TWO_WAY, commence=at - 100, expiry=at))
    assert (code, "for ever" in why) == (Code.EXPIRED, True)


@pytest.mark.parametrize(("commence", "start"), [(0, NOW), (NOW - 9_000, NOW - 9_000), (NOW + 60, NOW + 60)])
def test_a_start_is_kept_as_it_was_and_0_is_now(commence: int, start: int) -> None:
    pledge, _ = read(line(TWO_WAY, commence=commence))
    assert pledge.window == Window(start, HOUR)


@pytest.mark.parametrize(
    ("dscp", "koe", "name"),
    [(46, False, "voice"), (26, False, "control"), (18, False, "data"), (46, True, "global_voice"), (0, True, "")],
)
def test_a_class_of_traffic_has_its_name(dscp: int, koe: bool, name: str) -> None:
    pledge, _ = read(line(TWO_WAY, dscp=dscp, dscp_koe=koe))
    assert isinstance(pledge, TwoWay)
    assert (pledge.traffic, pledge.traffic.name) == (Traffic(dscp, koe), name)


@pytest.mark.parametrize(
    ("text", "protocol"),
    [
        ("", None), ("tcp", Protocol("tcp")), ("udp6", Protocol("udp", 6)), ("tcp4:80", Protocol("tcp", 4, "", 80)),
        ("udp:0x50", Protocol("udp", None, "", 80)), ("udp:", Protocol("udp")),
        ("udp:192.0.2.1", Protocol("udp", None, "192.0.2.1")), ("udp::8800", Protocol("udp", None, "", 8800)),
        ("udp6:[fd00::1]:53", Protocol("udp", 6, "fd00::1", 53)), ("udp:[fd00::1]", Protocol("udp", None, "fd00::1")),
        ("udp:1:2:3:4:5:6:7:8:53", Protocol("udp", None, "1:2:3:4:5:6:7:8", 53)),
    ],
)  # fmt: skip
def test_protocols_are_read(text: str, protocol: Protocol | None) -> None:
    pledge, _ = read(line(PASSTHROUGH, protocol=text))
    assert isinstance(pledge, Passthrough)
    assert pledge.protocol == protocol


def test_an_empty_cookie_is_none() -> None:
    assert read(line(TWO_WAY, usrkey=""))[0].secret is None


def test_a_missing_tenant_is_no_owner() -> None:
    pledge, entry = read(line(MIRROR, tenant_id="unknown"))
    assert pledge.owner == ""
    assert any("owner" in note for note in entry.notes)


def test_no_secret_is_shown_or_written_by_accident() -> None:
    pledges = read_checkpoint(b"".join(map(line, ALL)), NOW).pledges
    assert len(pledges) == len(ALL)
    for pledge in pledges:
        assert pledge.secret is not None
        assert pledge.secret.reveal() == "biscuit"
        for shown in (repr(pledge), str(pledge), f"{pledge.secret}", repr(pledge.secret)):
            assert "biscuit" not in shown
        with pytest.raises(TypeError):
            json.dumps({"secret": pledge.secret})
