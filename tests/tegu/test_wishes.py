from __future__ import annotations

import re
from dataclasses import asdict
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asa.northbound.bodies import Cap as CapBody
from asa.northbound.bodies import Reserve
from asa.tegu import Cap, read_checkpoint
from asa.tegu.wishes import Unfit, Wish, cap_body, wish_of
from asa.views import ReservationRequest
from tests.tegu.lines import ALL, HOUR, MIRROR, NOW, ONE_WAY, PASSTHROUGH, STEERING, TWO_WAY, line

COMMON: dict[str, Any] = {"end": HOUR, "owner": "p1", "park": True}


def wish(content: bytes, **how: Any) -> Wish:
    (pledge,) = read_checkpoint(content, NOW).pledges
    return wish_of(pledge, NOW, **how)


def unfit(content: bytes) -> str:
    with pytest.raises(Unfit) as found:
        wish(content)
    assert "biscuit" not in found.value.why
    return found.value.why


@pytest.mark.parametrize(
    ("record", "request_"),
    [
        (TWO_WAY, ReservationRequest(
            kind="two-way", rate=20_000_000, back=10_000_000, source="vm1:80{3}", destination="vm2", protocol="tcp",
            traffic="voice", labels=["tegu:res3fbe_00000"], **COMMON)),
        (STEERING | {"host2": "p1/vm2:"}, ReservationRequest(
            kind="steering", source="vm1", destination="vm2:80", protocol="tcp", through=["fa:16:3e:00:00:01"],
            labels=["tegu:res3fbe_00001"], **COMMON)),
        (MIRROR | {"host1": "p1/vm1 vlan:7", "host2": "p1/tap"}, ReservationRequest(
            kind="mirroring", source="vm1{7}", output="tap", labels=["tegu:mir-5a_0"], **COMMON)),
        (ONE_WAY, ReservationRequest(
            kind="one-way", rate=5_000_000, source="vm1:80/0xfff0{3}", destination="203.0.113.9:443", traffic="data",
            labels=["tegu:res3fbe_00002"], **COMMON)),
        (PASSTHROUGH, ReservationRequest(
            kind="passthrough", source="vm1", destination="198.51.100.4:8800", protocol="udp",
            labels=["tegu:res3fbe_00003"], **COMMON)),
    ],
)  # fmt: skip
def test_each_kind_becomes_a_request_of_its_kind(record: dict[str, Any], request_: ReservationRequest) -> None:
    found = wish(line(record))
    assert found.request == request_
    assert found.secret is not None
    assert found.secret.reveal() == "biscuit"
    assert found.label == request_.labels[0]


@pytest.mark.parametrize("record", [*ALL, STEERING | {"host2": ""}, MIRROR | {"host1": "p1/vm1", "host2": "tap"}])
def test_what_is_asked_for_is_what_the_api_takes(record: dict[str, Any]) -> None:
    for pledge in read_checkpoint(line(record), NOW).pledges:
        try:
            msgspec.convert(asdict(wish_of(pledge, NOW).request), Reserve)
        except Unfit:
            assert record in (STEERING, MIRROR)


@pytest.mark.parametrize(
    ("dscp", "keep", "traffic", "noted"),
    [
        (46, False, "voice", False), (46, True, "global_voice", False), (26, True, "global_control", False),
        (18, False, "data", False), (0, False, "default", False), (0, True, "global_default", False),
        (10, False, "default", True), (10, True, "default", True),
    ],
)  # fmt: skip
def test_a_mark_is_a_class_where_tegu_has_one(dscp: int, keep: bool, traffic: str, noted: bool) -> None:
    found = wish(line(ONE_WAY, dscp=dscp, dscp_koe=keep))
    assert found.request.traffic == traffic
    assert any("DSCP 10 is of no class" in each for each in found.notes) is noted


@pytest.mark.parametrize(
    ("record", "changed", "note"),
    [
        (TWO_WAY, {"usrkey": ""}, "it has no cookie: anybody may change or cancel it"),
        (TWO_WAY, {"match_v6": True}, "it was of one version of IP only"),
        (TWO_WAY, {"protocol": "tcp6"}, "it was of one version of IP only"),
        (STEERING, {"host2": "p1/vm2"}, "the switches and ports of its middleboxes are left out"),
        (MIRROR, {"host1": "p1/vm1", "host2": "tap"}, "only what its port sends is copied"),
        (MIRROR, {"host1": "p1/vm1", "host2": "tap"}, "its options are left out"),
    ],
)
def test_what_is_not_the_same_is_noted(record: dict[str, Any], changed: dict[str, Any], note: str) -> None:
    assert any(each.startswith(note) for each in wish(line(record, **changed)).notes)


@pytest.mark.parametrize(
    ("record", "changed", "why"),
    [
        (TWO_WAY, {"usrkey": "née"}, "its cookie is not"),
        (TWO_WAY, {"usrkey": " biscuit"}, "its cookie is not"),
        (TWO_WAY, {"usrkey": "biscuit" * 40}, "its cookie is not"),
        (TWO_WAY, {"usrkey": "biscuit\nX-Other: 1"}, "its cookie is not"),
        (TWO_WAY, {"host1": "p1/my_vm"}, "its first host has a name"),
        (TWO_WAY, {"host2": "p1/vm.2"}, "its second host has a name"),
        (TWO_WAY, {"host2": "!//[::ffff:10.0.0.1]"}, "its second host has a name"),
        (TWO_WAY, {"host2": "p2/vm1"}, "both hosts have one name here"),
        (TWO_WAY, {"host1": "p1/10.0.0.1", "host2": "p1/[fd00::1]"}, "both hosts have one name here"),
        (TWO_WAY, {"host2": "p1/vm2:80", "protocol": "tcp:81"}, "its protocol names another port"),
        (ONE_WAY, {"protocol": "tcp:192.0.2.1"}, "its protocol names another address"),
        (STEERING, {}, "one of its ends is E* or L*"),
        (STEERING, {"host2": "", "mbox_list": [{"id": f"mb{each}"} for each in range(17)]}, "it goes through more"),
        (STEERING, {"host2": "", "mbox_list": ["my_box"]}, "a middlebox is not a host's name"),
        (MIRROR, {}, "it copies 2 ports"),
        (MIRROR, {"host1": "p1/vm1 vlan:1,2", "host2": "tap"}, "it copies VLANs"),
        (MIRROR, {"host1": "p1/vm1 vlan:4095", "host2": "tap"}, "it copies VLANs"),
        (MIRROR, {"host1": "p1/vm1"}, "its output is not a host's name"),
        (MIRROR, {"host1": "my_port", "host2": "tap"}, "its port is not a host's name"),
    ],
)
def test_what_no_reservation_can_be_says_why(record: dict[str, Any], changed: dict[str, Any], why: str) -> None:
    assert unfit(line(record, **changed)).startswith(why)


def test_the_pool_is_of_bandwidth_only() -> None:
    pools = {each["ptype"]: wish(line(each), pool="wan").request.pool for each in (TWO_WAY, ONE_WAY, PASSTHROUGH)}
    assert pools == {0: "wan", 3: "wan", 4: ""}


def test_the_same_pledge_has_the_same_key_whenever_it_is_read() -> None:
    def key(content: bytes, now: int, **how: Any) -> str:
        (pledge,) = read_checkpoint(content, now).pledges
        return wish_of(pledge, now, **how).key

    for content in (line(TWO_WAY), line(TWO_WAY, without=("commence",))):
        assert len({key(content, now) for now in (NOW - 60, NOW + 60, NOW + 1_800)}) == 1
    first = key(line(TWO_WAY), NOW + 60)
    assert re.fullmatch("tegu-[0-9a-f]{40}", first)
    for changed in ({"id": "res3fbe_0000f"}, {"bandwin": 1}, {"expiry": HOUR + 1}, {"host2": "p1/vm3"}):
        assert key(line(TWO_WAY, **changed), NOW + 60) != first
    # A hash of the cookie is nobody's business.
    assert key(line(TWO_WAY, usrkey="other"), NOW + 60) == first
    assert key(line(TWO_WAY), NOW + 60, patience_ms=0) == first
    assert key(line(TWO_WAY), NOW + 60, pool="wan") != first


def test_caps_are_of_every_resource() -> None:
    assert cap_body(Cap.of("p1", 50)) == {"project": "p1", "resource": "*", "amount": 50, "percent": True}
    assert cap_body(Cap.of("p1", 5_000)) == {"project": "p1", "resource": "*", "amount": 5_000, "percent": False}
    assert msgspec.convert(cap_body(Cap.of("p1", 0)), CapBody).percent


def test_the_cookie_is_in_nothing_that_is_shown() -> None:
    found = wish(line(TWO_WAY))
    assert "biscuit" not in repr(found)
    assert "biscuit" not in found.key


@given(st.sampled_from(ALL), st.dictionaries(
    st.sampled_from(["host1", "host2", "src", "dest", "host", "protocol", "usrkey", "mbox_list"]),
    st.one_of(st.text(max_size=30), st.from_regex(r"\A!?/?(p1/)?[a-z0-9.:*\[\]-]{1,20}(\{[0-9]{1,4}\})?\Z")),
))  # fmt: skip
def test_whatever_is_read_is_a_request_or_a_reason(record: dict[str, Any], changed: dict[str, str]) -> None:
    for pledge in read_checkpoint(line(record, **changed), NOW).pledges:
        try:
            found = wish_of(pledge, NOW)
        except Unfit:
            continue
        msgspec.convert(asdict(found.request), Reserve)
