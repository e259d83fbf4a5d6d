"""Every form of the CDDL (RFC 8990 §4), both ways, and everything that breaks it."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest

from grasp.cbor import RawCBOR, Tag
from grasp.errors import ErrorCode, LocalError, WireError
from grasp.wire import (
    NO_VALUE,
    Accept,
    Decline,
    Discovery,
    Divert,
    End,
    Flood,
    FloodEntry,
    FQDNLocator,
    Invalid,
    InvalidMessage,
    IPv4Locator,
    IPv6Locator,
    Locator,
    Message,
    Negotiation,
    Noop,
    Objective,
    RequestNegotiation,
    RequestSynchronization,
    Response,
    Synchronization,
    UnknownMessage,
    URILocator,
    Wait,
    decode_message,
    encode_message,
)
from tests.wire.by_hand import pack, tagged

SID = 0xCAFE
IP4, IP6 = bytes([192, 0, 2, 1]), bytes.fromhex("20010db8000000000000000000000001")
A4, A6 = IPv4Address("192.0.2.1"), IPv6Address("2001:db8::1")
TOP = 2**32 - 1
OBJ: list[Any] = ["EX1", 1, 6]
OBJECTIVE = Objective("EX1", 1, 6)

LOCATORS: dict[str, tuple[list[Any], Locator]] = {
    "IPv6 TCP": ([103, IP6, 6, 7017], IPv6Locator(A6, 6, 7017)),
    "IPv6 UDP, lowest port": ([103, IP6, 17, 0], IPv6Locator(A6, 17, 0)),
    "IPv4, highest port": ([104, IP4, 6, 65535], IPv4Locator(A4, 6, 65535)),
    "FQDN": ([105, "example.com", 6, 443], FQDNLocator("example.com", 6, 443)),
    "URI": ([106, "coap://x", 17, 5683], URILocator("coap://x", 17, 5683)),
    "URI, both null": ([106, "coap://x", None, None], URILocator("coap://x")),
    "URI, no protocol": ([106, "coap://x", None, 1], URILocator("coap://x", None, 1)),
    "URI, no port": ([106, "coap://x", 6, None], URILocator("coap://x", 6, None)),
}
LOC, LOCATOR = LOCATORS["IPv6 TCP"]

OBJECTIVES: dict[str, tuple[list[Any], Objective]] = {
    "no value": (["EX1", 1, 6], Objective("EX1", 1, 6)),
    "null is a value": (["EX1", 3, 6, None], Objective("EX1", 3, 6, None)),
    "no flag, loop count 0": (["EX1", 0, 0, 0], Objective("EX1", 0, 0, 0)),
    "all flags, loop count 255": (["EX1", 15, 255, 0], Objective("EX1", 15, 255, 0)),
    "empty name": (["", 1, 6], Objective("", 1, 6)),
    "non-ASCII name": (["例:µ", 1, 6], Objective("例:µ", 1, 6)),
    "nested": (["EX1", 5, 6, {"a": [-1, 1.5, b"x", True]}], Objective("EX1", 5, 6, {"a": [-1, 1.5, b"x", True]})),
    "integers of 64 bits": (["EX1", 5, 6, [2**64 - 1, -(2**64)]], Objective("EX1", 5, 6, [2**64 - 1, -(2**64)])),
    "encoded CBOR": (["EX1", 5, 6, tagged(24, pack(pack([1])))], Objective("EX1", 5, 6, RawCBOR(pack([1])))),
    "any other tag": (["EX1", 5, 6, tagged(1, pack(0))], Objective("EX1", 5, 6, Tag(1, 0))),
}  # fmt: skip

FORMS: dict[str, tuple[list[Any], Message]] = {
    "noop": ([0], Noop()),
    "discovery, IPv6": ([1, SID, IP6, OBJ], Discovery(SID, A6, OBJECTIVE)),
    "discovery, IPv4": ([1, SID, IP4, OBJ], Discovery(SID, A4, OBJECTIVE)),
    "discovery, lowest session ID": ([1, 0, IP6, OBJ], Discovery(0, A6, OBJECTIVE)),
    "discovery, highest session ID": ([1, TOP, IP6, OBJ], Discovery(TOP, A6, OBJECTIVE)),
    "response, one locator": ([2, SID, IP6, 0, LOC], Response(SID, A6, 0, (LOCATOR,))),
    "response, every locator": (
        [2, SID, IP6, TOP, *(item for item, _ in LOCATORS.values())],
        Response(SID, A6, TOP, tuple(each for _, each in LOCATORS.values())),
    ),
    "response, objective": ([2, SID, IP4, 1, LOC, OBJ], Response(SID, A4, 1, (LOCATOR,), OBJECTIVE)),
    "response, divert": ([2, SID, IP6, 1, [100, LOC]], Response(SID, A6, 1, Divert((LOCATOR,)))),
    "response, long divert, objective": (
        [2, SID, IP6, 1, [100, *(item for item, _ in LOCATORS.values())], OBJ],
        Response(SID, A6, 1, Divert(tuple(each for _, each in LOCATORS.values())), OBJECTIVE),
    ),
    "request negotiation": ([3, SID, [*OBJ, None]], RequestNegotiation(SID, Objective("EX1", 1, 6, None))),
    "request synchronization": ([4, SID, OBJ], RequestSynchronization(SID, OBJECTIVE)),
    "negotiation": ([5, SID, [*OBJ, 9]], Negotiation(SID, Objective("EX1", 1, 6, 9))),
    "end, accept": ([6, SID, [101]], End(SID, Accept())),
    "end, decline": ([6, SID, [102]], End(SID, Decline())),
    "end, empty reason": ([6, SID, [102, ""]], End(SID, Decline(""))),
    "end, reason": ([6, SID, [102, "non"]], End(SID, Decline("non"))),
    "wait, shortest": ([7, SID, 0], Wait(SID, 0)),
    "wait, longest": ([7, SID, TOP], Wait(SID, TOP)),
    "synchronization": ([8, SID, [*OBJ, "v"]], Synchronization(SID, Objective("EX1", 1, 6, "v"))),
    "flood, null locator": ([9, SID, IP6, 0, [OBJ, []]], Flood(SID, A6, 0, (FloodEntry(OBJECTIVE),))),
    "flood, several": (
        [9, SID, IP4, TOP, *([OBJ, item] for item, _ in LOCATORS.values())],
        Flood(SID, A4, TOP, tuple(FloodEntry(OBJECTIVE, each) for _, each in LOCATORS.values())),
    ),
    "invalid, no content": ([99, SID], Invalid(SID)),
    "invalid, null": ([99, SID, None], Invalid(SID, None)),
    "invalid, bytes": ([99, SID, b"\xff"], Invalid(SID, b"\xff")),
    "invalid, an option": ([99, SID, [101]], Invalid(SID, [101])),
    "invalid, a map": ([99, SID, {"a": [None]}], Invalid(SID, {"a": [None]})),
    "invalid, a tag": ([99, SID, tagged(35, pack("("))], Invalid(SID, Tag(35, "("))),
}
FORMS |= {
    f"objective: {name}": ([8, SID, item], Synchronization(SID, each)) for name, (item, each) in OBJECTIVES.items()
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_of_the_cddl_is_decoded(name: str) -> None:
    item, message = FORMS[name]
    decoded = decode_message(pack(item))
    assert decoded == message
    assert type(decoded) is type(message)


@pytest.mark.parametrize("name", FORMS)
def test_every_form_of_the_cddl_is_encoded(name: str) -> None:
    item, message = FORMS[name]
    assert encode_message(message, 2048) == pack(item)


def test_a_value_that_is_absent_and_one_that_is_null_are_told_apart() -> None:
    absent = decode_message(pack([8, SID, ["EX1", 1, 6]]))
    null = decode_message(pack([8, SID, ["EX1", 1, 6, None]]))
    assert isinstance(absent, Synchronization)
    assert isinstance(null, Synchronization)
    assert not absent.objective.has_value
    assert absent.objective.value is NO_VALUE
    assert null.objective.has_value
    assert null.objective.value is None


def test_a_byte_string_that_is_encoded_cbor_stays_a_byte_string_without_tag_24() -> None:
    message = decode_message(pack([8, SID, ["EX1", 1, 6, pack([1])]]))
    assert isinstance(message, Synchronization)
    assert type(message.objective.value) is bytes


def test_a_message_at_the_limit_is_encoded_and_one_byte_above_it_is_not() -> None:
    overhead = len(pack([8, SID, ["EX1", 1, 6, b"x" * 1000]])) - 1000
    message = Synchronization(SID, Objective("EX1", 1, 6, b"x" * 1000))
    assert len(encode_message(message, 1000 + overhead)) == 1000 + overhead
    with pytest.raises(LocalError) as caught:
        encode_message(message, 1000 + overhead - 1)
    assert caught.value.code is ErrorCode.tooLong


def _nested(depth: int) -> Synchronization:
    """A message ``depth`` arrays deep, its own two included."""
    value: Any = 0
    for _ in range(depth - 2):
        value = [value]
    return Synchronization(SID, Objective("EX1", 1, 6, value))


@pytest.mark.parametrize("depth", [3, 31, 32])
def test_a_message_nested_as_deep_as_is_allowed_goes_both_ways(depth: int) -> None:
    message = _nested(depth)
    data = encode_message(message, 65_536)
    assert data == pack(message.to_item())
    assert decode_message(data) == message


@pytest.mark.parametrize("depth", [33, 34, 40, 5000])
def test_what_would_be_refused_for_its_depth_is_not_sent(depth: int) -> None:
    with pytest.raises(LocalError) as caught:
        encode_message(_nested(depth), 65_536)
    assert caught.value.code is ErrorCode.badArgument


@pytest.mark.parametrize("depth", [33, 34, 400, 5000])
def test_a_message_nested_too_deep_is_refused(depth: int) -> None:
    value = b"\x81" * (depth - 2) + b"\x00"
    with pytest.raises(WireError):
        decode_message(b"\x83\x08\x19\xca\xfe\x84\x63EX1\x01\x06" + value)


def _loop() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    "value",
    [object(), _loop(), "\ud800", {1: object()}, *map(RawCBOR, (b"", b"\x00\x00", b"\x18", b"\xff"))],
    ids=["object", "cycle", "surrogate", "in a map", "raw empty", "raw two items", "raw cut", "raw break"],
)  # fmt: skip
def test_a_value_without_cbor_form_is_the_callers_error(value: Any) -> None:
    with pytest.raises(LocalError) as caught:
        encode_message(Synchronization(SID, Objective("EX1", 1, 6, value)), 2048)
    assert caught.value.code is ErrorCode.badArgument


# -- violations. What each must keep: (item, session ID an M_INVALID can copy)

BAD_UINT: dict[str, Any] = {
    "negative": -1, "bool": True, "null": None, "text": "1", "bytes": b"\x01", "float": 1.0, "array": [1], "map": {},
    "tagged": tagged(0, pack("x")), "bignum": tagged(2, pack(b"\x01")),
}  # fmt: skip
BAD_UINT32 = BAD_UINT | {"2^32": 2**32, "2^64-1": 2**64 - 1, "2^64": tagged(2, pack(bytes([1]) + bytes(8)))}
BAD_ADDRESS: dict[str, Any] = {
    "0 bytes": b"", "3 bytes": IP4[:3], "5 bytes": bytes(5), "15 bytes": IP6[:15], "17 bytes": bytes(17),
    "text": "2001:db8::1", "int": 1, "null": None, "tag 54": tagged(54, pack(IP6)), "tag 260": tagged(260, pack(IP4)),
}  # fmt: skip
BAD_OBJECTIVE: dict[str, Any] = {
    "int": 5, "null": None, "map": {}, "text": "EX1", "empty": [], "1 item": ["EX1"], "2 items": ["EX1", 1],
    "5 items": ["EX1", 1, 6, 0, 0], "name bytes": [b"EX1", 1, 6], "name null": [None, 1, 6], "name int": [1, 1, 6],
    "name tagged": [tagged(32, pack("EX1")), 1, 6],
    "flags 16": ["EX1", 16, 6], "flags 255": ["EX1", 255, 6], "loop 256": ["EX1", 1, 256],
    **{f"flags {name}": ["EX1", value, 6] for name, value in BAD_UINT.items()},
    **{f"loop {name}": ["EX1", 1, value] for name, value in BAD_UINT.items()},
}  # fmt: skip
BAD_LOCATOR: dict[str, Any] = {
    "3 items": LOC[:3], "5 items": [*LOC, 0], "only its type": [103], "protocol 7": [103, IP6, 7, 1],
    "protocol 0": [103, IP6, 0, 1], "port 65536": [103, IP6, 6, 65536], "port -1": [103, IP6, 6, -1],
    "protocol null": [103, IP6, None, 1], "port null": [103, IP6, 6, None],
    "FQDN protocol null": [105, "a", None, 1], "FQDN port null": [105, "a", 6, None],
    "IPv4 protocol null": [104, IP4, None, 1], "FQDN bytes": [105, b"a", 6, 1], "FQDN null": [105, None, 6, 1],
    "URI bytes": [106, b"a", 6, 1], "URI null": [106, None, None, None], "URI port 65536": [106, "a", 6, 65536],
    "URI protocol 1": [106, "a", 1, 1], "URI protocol false": [106, "a", False, 1],
    **{f"IPv6 of {name}": [103, value, 6, 1] for name, value in BAD_ADDRESS.items()},
    "IPv6 of 4 bytes": [103, IP4, 6, 1],
    **{f"IPv4 of {name}": [104, value, 6, 1] for name, value in BAD_ADDRESS.items()},
    "IPv4 of 16 bytes": [104, IP6, 6, 1],
    **{f"port {name}": [103, IP6, 6, value] for name, value in BAD_UINT.items()},
    **{f"protocol {name}": [103, IP6, value, 1] for name, value in BAD_UINT.items()},
}  # fmt: skip
NO_OPTION: dict[str, Any] = {
    "int": 5, "null": None, "text": "x", "bytes": b"x", "map": {}, "empty array": [], "array of text": ["x"],
    "array of bool": [True], "array of negative": [-1],
}  # fmt: skip

ONE_OBJECTIVE = {3: "M_REQ_NEG", 4: "M_REQ_SYN", 5: "M_NEGOTIATE", 8: "M_SYNCH"}
EXAMPLES: dict[str, list[Any]] = {
    "M_DISCOVERY": [1, SID, IP6, OBJ],
    "M_RESPONSE": [2, SID, IP6, 9, LOC],
    **{name: [kind, SID, OBJ] for kind, name in ONE_OBJECTIVE.items()},
    "M_END": [6, SID, [101]],
    "M_WAIT": [7, SID, 1],
    "M_FLOOD": [9, SID, IP6, 9, [OBJ, []]],
    "M_INVALID": [99, SID],
}

VIOLATIONS: dict[str, tuple[Any, int | None]] = {}
for _name, _item in EXAMPLES.items():
    for _length in range(1, len(_item)):
        VIOLATIONS[f"{_name} of {_length} items"] = (_item[:_length], SID if _length > 1 else None)
    for _what, _value in BAD_UINT32.items():
        VIOLATIONS[f"{_name} session ID {_what}"] = ([_item[0], _value, *_item[2:]], None)
for _name in ("M_DISCOVERY", "M_RESPONSE", "M_FLOOD"):
    for _what, _value in BAD_ADDRESS.items():
        VIOLATIONS[f"{_name} initiator {_what}"] = ([*EXAMPLES[_name][:2], _value, *EXAMPLES[_name][3:]], SID)
for _name in ("M_RESPONSE", "M_FLOOD"):
    for _what, _value in BAD_UINT32.items():
        VIOLATIONS[f"{_name} ttl {_what}"] = ([*EXAMPLES[_name][:3], _value, *EXAMPLES[_name][4:]], SID)
for _what, _value in BAD_UINT32.items():
    VIOLATIONS[f"M_WAIT for {_what}"] = ([7, SID, _value], SID)
for _what, _value in BAD_OBJECTIVE.items():
    VIOLATIONS[f"M_DISCOVERY objective {_what}"] = ([1, SID, IP6, _value], SID)
    VIOLATIONS[f"M_FLOOD objective {_what}"] = ([9, SID, IP6, 9, [_value, []]], SID)
    VIOLATIONS[f"M_RESPONSE objective {_what}"] = ([2, SID, IP6, 9, LOC, _value], SID)
    for _kind, _name in ONE_OBJECTIVE.items():
        VIOLATIONS[f"{_name} objective {_what}"] = ([_kind, SID, _value], SID)
for _what, _value in BAD_LOCATOR.items():
    VIOLATIONS[f"M_RESPONSE locator {_what}"] = ([2, SID, IP6, 9, _value], SID)
    VIOLATIONS[f"M_RESPONSE second locator {_what}"] = ([2, SID, IP6, 9, LOC, _value], SID)
    VIOLATIONS[f"divert with locator {_what}"] = ([2, SID, IP6, 9, [100, _value]], SID)
    VIOLATIONS[f"M_FLOOD tag {_what}"] = ([9, SID, IP6, 9, [OBJ, _value]], SID)
for _what, _value in NO_OPTION.items():
    for _name in ("M_DISCOVERY", *ONE_OBJECTIVE.values(), "M_END", "M_WAIT", "M_FLOOD"):
        VIOLATIONS[f"{_name} followed by {_what}"] = ([*EXAMPLES[_name], _value], SID)
    VIOLATIONS[f"M_NOOP followed by {_what}"] = ([0, _value], None)
    VIOLATIONS[f"M_RESPONSE with {_what} for locator"] = ([2, SID, IP6, 9, _value], SID)
    VIOLATIONS[f"M_END with {_what} for option"] = ([6, SID, _value], SID)
VIOLATIONS |= {
    "M_RESPONSE with objective, no locator": ([2, SID, IP6, 9, OBJ], SID),
    "M_RESPONSE with two objectives": ([2, SID, IP6, 9, LOC, OBJ, OBJ], SID),
    "M_RESPONSE with objective before the locator": ([2, SID, IP6, 9, OBJ, LOC], SID),
    "M_RESPONSE with only misplaced options": ([2, SID, IP6, 9, [101], [102]], SID),
    "M_RESPONSE with a locator in an array": ([2, SID, IP6, 9, [LOC]], SID),
    "M_RESPONSE with two diverts": ([2, SID, IP6, 9, [100, LOC], [100, LOC]], SID),
    "divert of nothing": ([2, SID, IP6, 9, [100]], SID),
    "divert in a divert": ([2, SID, IP6, 9, [100, [100, LOC]]], SID),
    "divert to an objective": ([2, SID, IP6, 9, [100, OBJ]], SID),
    "accept with content": ([6, SID, [101, None]], SID),
    "decline reason bytes": ([6, SID, [102, b"no"]], SID),
    "decline reason null": ([6, SID, [102, None]], SID),
    "decline reason int": ([6, SID, [102, 1]], SID),
    "decline of three items": ([6, SID, [102, "no", "no"]], SID),
    "M_END with accept and decline": ([6, SID, [101], [102]], SID),
    "M_END with only a divert": ([6, SID, [100, LOC]], SID),
    "M_END with accept not in an array": ([6, SID, 101], SID),
    "M_FLOOD of nothing": ([9, SID, IP6, 9], SID),
    "M_FLOOD of only an option": ([9, SID, IP6, 9, [101]], SID),
    "M_FLOOD entry int": ([9, SID, IP6, 9, 5], SID),
    "M_FLOOD entry null": ([9, SID, IP6, 9, None], SID),
    "M_FLOOD entry map": ([9, SID, IP6, 9, {}], SID),
    "M_FLOOD entry text": ([9, SID, IP6, 9, "EX1"], SID),
    "M_FLOOD entry empty": ([9, SID, IP6, 9, []], SID),
    "M_FLOOD entry bare objective": ([9, SID, IP6, 9, OBJ], SID),
    "M_FLOOD entry without tag": ([9, SID, IP6, 9, [OBJ]], SID),
    "M_FLOOD entry of three": ([9, SID, IP6, 9, [OBJ, [], []]], SID),
    "M_FLOOD entry, objective and locator unpacked": ([9, SID, IP6, 9, OBJ, []], SID),
    "M_FLOOD second entry int": ([9, SID, IP6, 9, [OBJ, []], 5], SID),
    "M_FLOOD tag null": ([9, SID, IP6, 9, [OBJ, None]], SID),
    "M_FLOOD tag int": ([9, SID, IP6, 9, [OBJ, 103]], SID),
    "M_FLOOD tag map": ([9, SID, IP6, 9, [OBJ, {}]], SID),
    "M_FLOOD tag text": ([9, SID, IP6, 9, [OBJ, ["x"]]], SID),
    "M_INVALID of 4 items": ([99, SID, 0, 0], None),
    "empty array": ([], None),
    "not an array: int": (5, None),
    "not an array: text": ("x", None),
    "not an array: map": ({0: SID}, None),
    "not an array: null": (None, None),
    "not an array: tag": (tagged(55799, pack([0])), None),
    "type bool": ([True, SID, IP6, OBJ], None),
    "type null": ([None], None),
    "type text": (["1", SID], None),
    "type float": ([1.0, SID, IP6, OBJ], None),
    "type tagged": ([tagged(1, pack(1)), SID, IP6, OBJ], None),
}
# An M_INVALID is never answered with one (§2.8.12), so it has no session ID to copy.
for _name in list(VIOLATIONS):
    if _name.startswith("M_INVALID"):
        VIOLATIONS[_name] = (VIOLATIONS[_name][0], None)
# Behind the locators an array that starts with an unsigned integer is an option nobody knows: discarded.
del VIOLATIONS["M_RESPONSE objective name int"]


@pytest.mark.parametrize("name", VIOLATIONS)
def test_what_breaks_the_cddl_is_refused_and_its_session_id_kept_for_the_answer(name: str) -> None:
    item, session_id = VIOLATIONS[name]
    with pytest.raises(InvalidMessage) as caught:
        decode_message(pack(item))
    assert not isinstance(caught.value, UnknownMessage)
    assert caught.value.session_id == session_id
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("name", EXAMPLES)
def test_of_what_is_refused_the_message_type_is_told(name: str) -> None:
    with pytest.raises(InvalidMessage) as caught:
        decode_message(pack([*EXAMPLES[name], "x", "x"]))
    assert caught.value.kind == EXAMPLES[name][0]


@pytest.mark.parametrize("kind", [10, 11, 98, 100, 255, 256, 2**64 - 1, -1])
@pytest.mark.parametrize(("rest", "session_id"), [([SID, 1], SID), ([], None), (["x"], None), ([2**32], None)])
def test_an_unknown_message_type_is_told_apart_from_a_violation(kind: int, rest: list[Any], session_id: Any) -> None:
    with pytest.raises(UnknownMessage) as caught:
        decode_message(pack([kind, *rest]))
    assert caught.value.session_id == session_id


OPTIONS: dict[str, list[Any]] = {
    "divert": [100, LOC], "accept": [101], "decline": [102, "x"], "locator": LOC, "an option to come": [107, {}],
    "any unsigned integer": [2**40],
}  # fmt: skip


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("name", ["M_DISCOVERY", *ONE_OBJECTIVE.values(), "M_WAIT", "M_FLOOD"])
def test_an_option_in_a_message_it_does_not_belong_to_is_discarded(name: str, option: str) -> None:
    """RFC 8990 §2.8.2, §2.9.2-2.9.4."""
    item = EXAMPLES[name]
    assert decode_message(pack([*item, OPTIONS[option], OPTIONS[option]])) == decode_message(pack(item))


@pytest.mark.parametrize("option", OPTIONS)
def test_a_noop_with_options_is_a_noop(option: str) -> None:
    assert decode_message(pack([0, OPTIONS[option]])) == Noop()


@pytest.mark.parametrize("option", ["accept", "decline", "an option to come", "any unsigned integer"])
def test_a_misplaced_option_among_the_locators_of_a_response_is_discarded(option: str) -> None:
    message = decode_message(pack([2, SID, IP6, 9, OPTIONS[option], LOC, OPTIONS[option], OBJ]))
    assert message == Response(SID, A6, 9, (LOCATOR,), OBJECTIVE)


@pytest.mark.parametrize("option", ["divert", "locator", "an option to come", "any unsigned integer"])
def test_a_misplaced_option_before_that_of_an_end_is_discarded(option: str) -> None:
    assert decode_message(pack([6, SID, OPTIONS[option], [102, "no"]])) == End(SID, Decline("no"))


@pytest.mark.parametrize("option", ["divert", "accept", "decline"])
def test_a_misplaced_option_in_place_of_the_tag_of_a_flood_is_the_null_locator(option: str) -> None:
    message = decode_message(pack([9, SID, IP6, 9, [OBJ, OPTIONS[option]]]))
    assert message == Flood(SID, A6, 9, (FloodEntry(OBJECTIVE),))


def test_a_locator_beside_a_divert_is_taken_for_the_nearer_answer() -> None:
    for options in ([LOC, [100, LOCATORS["FQDN"][0]]], [[100, LOCATORS["FQDN"][0]], LOC]):
        assert decode_message(pack([2, SID, IP6, 9, *options])) == Response(SID, A6, 9, (LOCATOR,))


@pytest.mark.parametrize(
    "data",
    [b"", b"\x81", b"\x82\x00", pack([0])[:-1], pack([0]) + b"\x00", pack([0]) * 2, b"\xff", b"\x81\xff", b"\x1c"],
)
def test_bytes_that_are_not_one_item_are_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        decode_message(data)


def test_longer_heads_than_needed_and_indefinite_lengths_are_accepted() -> None:
    """RFC 8949 §3: well-formed is enough; RFC 8990 asks for no particular form."""
    parts = [
        "9f",  # a message of indefinite length
        "1801",  # M_DISCOVERY in two bytes
        "1b000000000000cafe",  # the session ID in nine
        "5f 42c000 580102 4101 ff",  # the initiator in three chunks
        "9f 7f 61 45 62 5831 ff 190001 1806 bf ff ff",  # an objective whose value is an empty map
        "ff",
    ]
    assert decode_message(bytes.fromhex("".join(parts).replace(" ", ""))) == Discovery(
        SID, IPv4Address("192.0.2.1"), Objective("EX1", 1, 6, {})
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "00"), (23, "17"), (24, "1818"), (1000, "1903e8"), (1000000, "1a000f4240"), (-1, "20"), (-1000, "3903e7"),
        (2**64 - 1, "1bffffffffffffffff"), (1.1, "fb3ff199999999999a"), (False, "f4"), (None, "f6"),
        (b"\1\2", "420102"), ("ü", "62c3bc"), ([1, [2, 3]], "8201820203"), ({"a": 1, "b": [2]}, "a261610161628102"),
        (tagged(32, pack("a")), "d8206161"),
    ],
)  # fmt: skip
def test_the_encoder_of_these_tests_writes_what_rfc_8949_appendix_a_shows(value: Any, text: str) -> None:
    assert pack(value).hex() == text
