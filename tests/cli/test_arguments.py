from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest

from grasp.cli.arguments import PeerAddress, UsageError, parse
from grasp.cli.responder import within
from grasp.cli.values import parse_value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[fd00::1]:7017", PeerAddress(IPv6Address("fd00::1"), "", 7017)),
        ("[fe80::1%eth0]:1", PeerAddress(IPv6Address("fe80::1"), "eth0", 1)),
        ("[fe80::1%2]:65535", PeerAddress(IPv6Address("fe80::1"), "2", 65535)),
        ("192.0.2.1:80", PeerAddress(IPv4Address("192.0.2.1"), "", 80)),
    ],
)
def test_peers_are_read_in_every_form(text: str, expected: PeerAddress) -> None:
    assert parse(["synchronize", "EX", "--peer", text]).peer == expected


@pytest.mark.parametrize(
    "text",
    ["", ":", "fd00::1:80", "[fd00::1]", "[fd00::1]:0", "[fd00::1]:65536", "[fd00::1]:-1", "[fe80::1%]:80",
     "[192.0.2.1]:80", "192.0.2.1", "example.com:80", "[fd00::1]:8_0", "[fd00::1]:٣"],
)  # fmt: skip
def test_what_is_no_peer_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not"):
        parse(["synchronize", "EX", "--peer", text])


def test_null_is_a_value_to_serve() -> None:
    assert parse(["serve", "EX", "--synchronize", "null"]).synchronize is None


def test_json_may_stand_before_or_behind_the_command() -> None:
    assert parse(["--json", "discover", "EX"]).json
    assert parse(["discover", "EX", "--json"]).json
    assert not parse(["discover", "--", "--json"]).json


@pytest.mark.parametrize("value", ["-5", "-1.5"])
def test_negative_numbers_are_values(value: str) -> None:
    assert parse(["negotiate", "EX", value]).value == parse_value(value)


@pytest.mark.parametrize(
    ("request_text", "limit", "granted"),
    [
        ("5", "5", True),
        ("6", "5", False),
        ("4.5", "5", True),
        ("-1", "5", True),
        ('{"$float": "NaN"}', "5", False),
        ("true", "5", False),
        ("1", "true", False),
        ("true", "true", True),
        ('["NZD", 410]', '["NZD", 410]', True),
        ('["NZD", 411]', '["NZD", 410]', False),
        ('["NZD", 9]', '["NZD", 410]', True),
        ('["AUD", 9]', '["NZD", 410]', False),
        ('["NZD", 9, 1]', '["NZD", 410]', False),
        ('["NZD", "9"]', '["NZD", 410]', False),
        ("[[1, 2], 3]", "[[1, 2], 4]", True),
        ("[[1, 3], 3]", "[[1, 2], 4]", False),
        ('"a"', '"a"', True),
        ('"a"', '"b"', False),
        ('{"a": 1}', '{"a": 1}', True),
        ('{"a": 0}', '{"a": 1}', False),
        ('{"a": true}', '{"a": 1}', False),
        ('{"b": 2, "a": 1}', '{"a": 1, "b": 2}', True),
        ('{"$cbor": "01"}', '{"$bytes": "01"}', False),
        ("null", "5", False),
        ("null", "null", True),
    ],
)
def test_requests_are_granted_up_to_the_limit(request_text: str, limit: str, granted: bool) -> None:
    assert within(parse_value(request_text), parse_value(limit)) is granted


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["nonsense"],
        ["discover"],
        ["discover", ""],
        ["discover", "\udcff"],
        ["discover", "EX", "extra"],
        ["discover", "EX", "--nonsense"],
        ["discover", "EX", "--count", "0"],
        ["discover", "EX", "--count", "2", "--all"],
        ["discover", "EX", "--timeout", "0"],
        ["discover", "EX", "--timeout", "4294967296"],
        ["discover", "EX", "--timeout", "soon"],
        ["discover", "EX", "--timeout"],
        ["discover", "EX", "--port", "65536"],
        ["discover", "EX", "--peer", "nonsense"],
        ["discover", "EX", "--peer", "\x1b[31m:\n"],
        ["negotiate", "EX"],
        ["negotiate", "EX", "hello"],
        ["negotiate", "EX", "1", "--counter", "{"],
        ["negotiate", "EX", "1", "--loop-count", "0"],
        ["negotiate", "EX", "1", "--loop-count", "256"],
        ["negotiate", "EX", "-1e3"],
        ["flood", "EX", "1"],
        ["flood", "EX", "1", "--ttl", "-1"],
        ["flood", "EX", "NaN", "--ttl", "1"],
        ["serve", "EX"],
        ["serve", "EX", "--synchronize", "1", "--negotiate", "1"],
        ["relay", "EX"],
        ["decode"],
    ],
)
def test_a_wrong_command_line_is_one_error_and_status_2(argv: list[str], call: Any) -> None:
    outcome = call(*argv, "--json")
    assert outcome.status == 2
    assert outcome.stderr == ""
    error = outcome.json["error"]
    assert set(error) == {"code", "number", "message", "detail"}
    assert (error["code"], error["number"]) == ("badArgument", 101)
    assert error["detail"]
    text = call(*argv)
    assert text.status == 2
    assert text.stdout == ""
    assert text.stderr.startswith("usage: grasp")
    assert text.stderr.replace("\n", "").isprintable()


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("", "badArgument"),
        ("nonsense", "badArgument"),
        ("/", "badArgument"),
        ("x" * 5000, "badArgument"),
        ("00\x0000", "badArgument"),
        ("83", "CBORfail"),
        ("ff", "CBORfail"),
        ("8100ff", "CBORfail"),
        ("820304", "CBORfail"),
        ("811903e7", "CBORfail"),
        ("9b00000000ffffffff", "tooLong"),
        ("/dev/null", "CBORfail"),
        ("/dev/zero", "tooLong"),
    ],
)
def test_what_cannot_be_decoded_is_one_error(source: str, code: str, call: Any) -> None:
    outcome = call("decode", source, "--json")
    assert outcome.status == 1
    assert outcome.json["error"]["code"] == code
    assert len(outcome.json["error"]["detail"]) < 400


def test_help_is_no_error(call: Any) -> None:
    outcome = call("--help")
    assert outcome.status == 0
    for command in ("discover", "synchronize", "negotiate", "flood", "floods", "serve", "relay", "monitor", "decode"):
        assert command in outcome.stdout
        assert call(command, "--help").status == 0
