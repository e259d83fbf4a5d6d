from __future__ import annotations

from ipaddress import IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asa.tegu.endpoints import Endpoint, read_endpoint
from asa.tegu.report import Code, Refused

PORTS = st.integers(1, 65_535)
VLANS = st.integers(1, 4_094)
NAMES = st.from_regex(r"[a-z][a-z0-9_.-]{0,20}", fullmatch=True).filter(lambda name: name != "any")


@pytest.mark.parametrize(
    ("tegu", "project", "ours"),
    [
        ("p/web1", "p", "web1"), ("p/web1:80", "p", "web1:80"), ("p/web1:80{3}", "p", "web1:80{3}"),
        ("p/web1:", "p", "web1"), ("p/web1:0", "p", "web1"), ("p/web1:{3}", "p", "web1{3}"), ("p/web1{0}", "p", "web1"),
        ("web1", "", "web1"), ("t0ken/p/web1:80", "p", "web1:80"), ("t0ken//web1", "", "web1"),
        ("p/10.0.0.1:80/0xfff0{3}", "p", "10.0.0.1:80/0xfff0{3}"), ("p/10.0.0.1:0x50", "p", "10.0.0.1:80"),
        ("t0ken/p/10.0.0.1:80/65520", "p", "10.0.0.1:80/0xfff0"), ("p/web1:80/0xffff", "p", "web1:80"),
        ("p/[fd00::1]:443", "p", "[fd00::1]:443"), ("p/[FD00:0::1]", "p", "fd00::1"), ("p/[::1]:", "p", "::1"),
        ("p/[fd00::1]:432/0xfff0{7}", "p", "[fd00::1]:432/0xfff0{7}"), ("p/[fd00::1]{7}", "p", "fd00::1{7}"),
        ("p/fd00::1:", "p", "fd00::1"), ("p/1:2:3:4:5:6:7:8:80", "p", "[1:2:3:4:5:6:7:8]:80"),
        ("p/1:2:3:4:5:6:7:8", "p", "1:2:3:4:5:6:7:8"), ("p/::ffff:10.0.0.1:80", "p", "[::ffff:10.0.0.1]:80"),
        ("p/b1e3a6d8-6ee8-4a5b-9c3f-0e1d2c3b4a59", "p", "b1e3a6d8-6ee8-4a5b-9c3f-0e1d2c3b4a59"),
        ("!p/web1:80", "p", "web1:80"), ("!//203.0.113.9:80", "", "203.0.113.9:80"), ("!//any", "", "any"),
        ("!//any:53", "", "any:53"), ("!/203.0.113.9", "", "203.0.113.9"), ("!//[fd00::9]:443", "", "[fd00::9]:443"),
    ],
)  # fmt: skip
def test_a_host_of_tegu_is_an_endpoint_of_ours(tegu: str, project: str, ours: str) -> None:
    found = read_endpoint(tegu)
    # IPv6Address writes an embedded IPv4 address in one of two ways, depending on the version of Python.
    expected = ours.replace("::ffff:10.0.0.1", str(IPv6Address("::ffff:10.0.0.1")))
    assert (found.project, str(found)) == (project, expected)
    assert (found.vouched, found.external) == (not tegu.startswith("!"), tegu.startswith("!/"))


@pytest.mark.parametrize(
    "tegu",
    [
        "", ":80", "p/", "p/:80", "a/b/c/d", "a/b/c/d:80", "p/web1:port", "p/web1:65536", "p/web1:-1", "p/web1:80/",
        "p/web1:80/0", "p/web1:443/0xfff0", "p/web1:80/0x10000", "p/web1:0/0xf0", "p/web1:/0xf0", "p/web1{4095}",
        "p/web1{x}", "p/web1{3",
        "p/web1{3}:80", "any", "p/any", "p/we b", "p/wéb", "p q/web1", "p/10.0.0.256", "p/10.0.0", "p/010.0.0.1",
        "p/[web1]", "p/[fd00::1", "p/[fd00::1]80", "p/[fe80::1%eth0]", "p/a:b:c", "!web1", "!//web1", "!", "!//",
        "!!//any",
        "p/E*", "p/\x1b[31m", "p/web1\n", "p/" + "x" * 129, "g" * 65 + "/web1", "x" * 4_097,
    ],
)  # fmt: skip
def test_what_is_no_host_is_refused_and_not_quoted(tegu: str) -> None:
    with pytest.raises(Refused) as error:
        read_endpoint(tegu)
    assert error.value.code is Code.BAD_HOST
    assert error.value.why.isprintable()
    assert len(tegu) < 4 or tegu not in error.value.why


@pytest.mark.parametrize("tegu", ["p/fd00::1:80", "p/fd00::1:0", "p/::1:80", "t/p/2001:db8::5:8080{3}"])
def test_an_address_that_can_be_read_with_a_port_and_without_is_refused(tegu: str) -> None:
    with pytest.raises(Refused, match="brackets"):
        read_endpoint(tegu)


def test_wildcards_are_ends_of_steering_only() -> None:
    assert str(read_endpoint("E*", wildcards=True)) == "E*"
    assert str(read_endpoint("p/L*:80", wildcards=True)) == "L*:80"
    with pytest.raises(Refused):
        read_endpoint("X*", wildcards=True)


@given(NAMES, NAMES, st.none() | PORTS, st.none() | VLANS)
def test_what_is_written_by_the_grammar_is_read(project: str, name: str, port: int | None, vlan: int | None) -> None:
    text = name + (f":{port}" if port else "") + (f"{{{vlan}}}" if vlan else "")
    for token in ("", "gAAAAA-x_y=/"):
        found = read_endpoint(f"{token}{project}/{text}")
        assert found == Endpoint(name, project, port, None, vlan)
        assert str(found) == text


@given(st.ip_addresses(v=6).filter(lambda address: address.scope_id is None), PORTS)  # type: ignore[union-attr]
def test_an_ipv6_address_in_brackets_is_itself(address: IPv6Address, port: int) -> None:
    assert read_endpoint(f"p/[{address.exploded}]:{port}") == Endpoint(str(address), "p", port)
    assert read_endpoint(f"p/{address.exploded}:{port}") == Endpoint(str(address), "p", port)


@given(st.text(max_size=40) | st.text("tp/!:[]{}0x1fad.*%", max_size=24))
def test_any_text_is_read_or_refused(text: str) -> None:
    for wildcards in (False, True):
        try:
            found = str(read_endpoint(text, wildcards=wildcards))
        except Refused:
            continue
        assert found.isascii()
        assert found.isprintable()
