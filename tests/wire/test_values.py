"""Messages, options and objectives refuse bad values when they are made, not when they are sent."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest

from grasp.cbor import RawCBOR
from grasp.constants import F_DISC, F_NEG, F_NEG_DRY, F_SYNCH
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
    IPv4Locator,
    IPv6Locator,
    Negotiation,
    Noop,
    Objective,
    RequestNegotiation,
    RequestSynchronization,
    Response,
    Synchronization,
    URILocator,
    Wait,
    address_from_bytes,
    address_from_text,
)

A4, A6 = IPv4Address("192.0.2.1"), IPv6Address("2001:db8::1")
OBJ = Objective("EX1")
LOC = IPv6Locator(A6, 6, 7017)
ENTRY = FloodEntry(OBJ)

NO_UINT32: tuple[Any, ...] = (-1, 2**32, True, None, 1.0, "1", b"1")
NO_ADDRESS: tuple[Any, ...] = (None, "2001:db8::1", A6.packed, 1)
NO_LOCATORS: tuple[Any, ...] = (None, (), [LOC], LOC, (LOC, None), (A6,), (OBJ,))
NO_OBJECTIVE: tuple[Any, ...] = (None, "EX1", ["EX1", 1, 6], LOC)


class _Int(int):
    """An integer CBOR could write, though not one that can come back."""


CASES: list[tuple[str, Callable[[Any], Any], tuple[Any, ...]]] = [
    ("Discovery.session_id", lambda bad: Discovery(bad, A6, OBJ), NO_UINT32),
    ("Discovery.initiator", lambda bad: Discovery(1, bad, OBJ), NO_ADDRESS),
    ("Discovery.objective", lambda bad: Discovery(1, A6, bad), NO_OBJECTIVE),
    ("Response.session_id", lambda bad: Response(bad, A6, 1, (LOC,)), NO_UINT32),
    ("Response.initiator", lambda bad: Response(1, bad, 1, (LOC,)), NO_ADDRESS),
    ("Response.ttl", lambda bad: Response(1, A6, bad, (LOC,)), NO_UINT32),
    ("Response.where", lambda bad: Response(1, A6, 1, bad), NO_LOCATORS),
    ("Response.objective", lambda bad: Response(1, A6, 1, (LOC,), bad), NO_OBJECTIVE[1:]),
    ("Divert.locators", Divert, (*NO_LOCATORS, (Divert((LOC,)),))),
    ("RequestNegotiation.session_id", lambda bad: RequestNegotiation(bad, OBJ), NO_UINT32),
    ("RequestNegotiation.objective", lambda bad: RequestNegotiation(1, bad), NO_OBJECTIVE),
    ("RequestSynchronization.session_id", lambda bad: RequestSynchronization(bad, OBJ), NO_UINT32),
    ("RequestSynchronization.objective", lambda bad: RequestSynchronization(1, bad), NO_OBJECTIVE),
    ("Negotiation.session_id", lambda bad: Negotiation(bad, OBJ), NO_UINT32),
    ("Negotiation.objective", lambda bad: Negotiation(1, bad), NO_OBJECTIVE),
    ("Synchronization.session_id", lambda bad: Synchronization(bad, OBJ), NO_UINT32),
    ("Synchronization.objective", lambda bad: Synchronization(1, bad), NO_OBJECTIVE),
    ("End.session_id", lambda bad: End(bad, Accept()), NO_UINT32),
    ("End.option", lambda bad: End(1, bad), (None, True, "no", Accept, LOC)),
    ("Decline.reason", Decline, (1, b"no", ["no"])),
    ("Wait.session_id", lambda bad: Wait(bad, 1), NO_UINT32),
    ("Wait.waiting_time", lambda bad: Wait(1, bad), NO_UINT32),
    ("Flood.session_id", lambda bad: Flood(bad, A6, 1, (ENTRY,)), NO_UINT32),
    ("Flood.initiator", lambda bad: Flood(1, bad, 1, (ENTRY,)), NO_ADDRESS),
    ("Flood.ttl", lambda bad: Flood(1, A6, bad, (ENTRY,)), NO_UINT32),
    ("Flood.entries", lambda bad: Flood(1, A6, 1, bad), (None, (), [ENTRY], ENTRY, (OBJ,), (ENTRY, None))),
    ("FloodEntry.objective", FloodEntry, NO_OBJECTIVE),
    ("FloodEntry.locator", lambda bad: FloodEntry(OBJ, bad), (A6, (), [], Divert((LOC,)), "x")),
    ("Invalid.session_id", Invalid, NO_UINT32),
    ("Objective.name", Objective, (None, b"EX1", 1, ["EX1"])),
    ("Objective.flags", lambda bad: Objective("EX1", bad), (-1, 16, 255, True, None, 1.0, "1", _Int(1))),
    ("Objective.loop_count", lambda bad: Objective("EX1", 1, bad), (-1, 256, True, None, 6.0, "6", _Int(6))),
]
NO_PROTOCOL: tuple[Any, ...] = (0, 1, 7, -6, True, "6", 6.0)
NO_PORT: tuple[Any, ...] = (-1, 65536, True, "80", 80.0)
LOCATOR_CASES: list[tuple[str, Callable[[Any], Any], tuple[Any, ...]]] = [
    ("IPv6Locator.address", lambda bad: IPv6Locator(bad, 6, 1), (*NO_ADDRESS, A4, IPv6Address("fe80::1%eth0"))),
    ("IPv4Locator.address", lambda bad: IPv4Locator(bad, 6, 1), (*NO_ADDRESS, A6)),
    ("FQDNLocator.name", lambda bad: FQDNLocator(bad, 6, 1), (None, "", b"a", 1)),
    ("URILocator.uri", URILocator, (None, "", b"a", 1)),
    *((f"{kind.__name__}.protocol", lambda bad, kind=kind, at=at: kind(at, bad, 1), (*NO_PROTOCOL, None))
      for kind, at in ((IPv6Locator, A6), (IPv4Locator, A4), (FQDNLocator, "a"))),
    *((f"{kind.__name__}.port", lambda bad, kind=kind, at=at: kind(at, 6, bad), (*NO_PORT, None))
      for kind, at in ((IPv6Locator, A6), (IPv4Locator, A4), (FQDNLocator, "a"))),
    ("URILocator.protocol", lambda bad: URILocator("a", bad, 1), NO_PROTOCOL),
    ("URILocator.port", lambda bad: URILocator("a", 6, bad), NO_PORT),
]  # fmt: skip


def _flat(cases: list[tuple[str, Callable[[Any], Any], tuple[Any, ...]]]) -> list[Any]:
    return [pytest.param(make, bad, id=f"{name}={bad!r:.30}") for name, make, wrong in cases for bad in wrong]


@pytest.mark.parametrize(("make", "bad"), _flat(CASES))
def test_a_field_of_the_wrong_type_or_range_is_a_bad_argument(make: Callable[[Any], Any], bad: Any) -> None:
    with pytest.raises(LocalError) as caught:
        make(bad)
    assert caught.value.code in (ErrorCode.badArgument, ErrorCode.invalidLoc)


@pytest.mark.parametrize(("make", "bad"), _flat(LOCATOR_CASES))
def test_a_locator_that_cannot_be_one_is_invalid(make: Callable[[Any], Any], bad: Any) -> None:
    with pytest.raises(LocalError) as caught:
        make(bad)
    assert caught.value.code is ErrorCode.invalidLoc


VALUES: list[Any] = [
    OBJ, LOC, IPv4Locator(A4, 6, 1), FQDNLocator("a", 6, 1), URILocator("a"), Accept(), Decline(), Divert((LOC,)),
    Noop(), Discovery(1, A6, OBJ), Response(1, A6, 1, (LOC,)), RequestNegotiation(1, OBJ),
    RequestSynchronization(1, OBJ), Negotiation(1, OBJ), Synchronization(1, OBJ), End(1, Accept()), Wait(1, 1), ENTRY,
    Flood(1, A6, 1, (ENTRY,)),
    Invalid(1),
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_a_value_cannot_be_changed_once_it_is_checked(value: Any) -> None:
    for field in dataclasses.fields(value):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, field.name, getattr(value, field.name))
    with pytest.raises((AttributeError, TypeError)):
        value.surprise = 1


def test_the_two_kinds_of_objective_have_the_flags_of_the_rfc() -> None:
    """RFC 8990 §2.10.2: bit 0 discovery, 1 negotiation, 2 synchronization, 3 dry run; §2.6: loop count 6."""
    assert (F_DISC, F_NEG, F_SYNCH, F_NEG_DRY) == (1, 2, 4, 8)
    assert Objective.negotiation("EX1") == Objective("EX1", 3, 6, None)
    assert Objective.negotiation("EX1", 5, dry_run=True, loop_count=9) == Objective("EX1", 11, 9, 5)
    assert Objective.synchronization("EX1", 5, loop_count=9) == Objective("EX1", 5, 9, 5)
    assert Objective("EX1").flags == 1


@pytest.mark.parametrize("flags", range(16))
def test_flag_bits_are_independent(flags: int) -> None:
    objective = Objective("EX1", flags)
    found = (objective.negotiable, objective.synchronizable, objective.dry_run)
    assert found == (flags % 4 > 1, flags % 8 > 3, flags > 7)


def test_with_value_and_with_loop_count_change_nothing_else() -> None:
    objective = Objective("EX1", 5, 9, "a")
    assert objective.with_value(NO_VALUE) == Objective("EX1", 5, 9)
    assert objective.with_loop_count(1) == Objective("EX1", 5, 1, "a")
    with pytest.raises(LocalError):
        objective.with_loop_count(256)


def test_a_divert_says_so_and_both_ways_give_locators() -> None:
    assert Response(1, A6, 1, Divert((LOC,))).diverted
    assert not Response(1, A6, 1, (LOC,)).diverted
    assert Response(1, A6, 1, Divert((LOC,))).locators == Response(1, A6, 1, (LOC,)).locators == (LOC,)


def test_a_raw_value_shows_the_item_inside_and_refuses_what_is_none() -> None:
    assert RawCBOR(bytes.fromhex("820102")).decode_item() == [1, 2]
    for bad in (b"", b"\x18", b"\x00\x00", b"\xff"):
        with pytest.raises(WireError):
            RawCBOR(bad).decode_item()


def test_an_address_is_of_the_family_its_length_says() -> None:
    assert address_from_bytes(bytes([192, 0, 2, 1])) == A4
    assert address_from_bytes(bytes([0x20, 1, 0xD, 0xB8, *bytes(11), 1])) == A6


@pytest.mark.parametrize(("text", "address"), [
    ("192.0.2.1", A4), ("::ffff:192.0.2.1", A4), ("2001:db8::1", A6), ("fe80::1%eth0", IPv6Address("fe80::1")),
    ("::ffff:192.0.2.1%3", A4), ("::192.0.2.1", IPv6Address("::192.0.2.1")), ("::", IPv6Address("::")),
])  # fmt: skip
def test_the_address_in_a_sockets_name_has_no_scope_and_is_not_mapped(text: str, address: Any) -> None:
    assert address_from_text(text) == address
    assert type(address_from_text(text)) is type(address)
