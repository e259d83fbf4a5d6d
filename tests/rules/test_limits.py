"""Bounds that could not hold are refused when they are set."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from grasp.limits import MAX_DEPTH, MAX_MESSAGE_SIZE, MULTICAST_SIZE, Limits


@pytest.mark.parametrize("name", [field.name for field in fields(Limits)])
@pytest.mark.parametrize("value", [0, -1, 1.5, True, "10", None])
def test_a_bound_is_a_positive_integer(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        Limits(**{name: value})


def test_the_defaults_are_those_of_the_rfc() -> None:
    """RFC 8990 §2.6: 2048 bytes; §2.5.3: multicasts fit an IPv6 packet of 1280 bytes, UDP header included."""
    assert Limits().message_size == 2048
    assert Limits().multicast_size == MULTICAST_SIZE == 1280 - 40 - 8
    assert MAX_DEPTH >= 16


def test_the_table_of_what_was_relayed_must_hold_what_the_relay_rate_lets_through_in_120_seconds() -> None:
    """A full bucket, and then the rate for twice GRASP_DEF_TIMEOUT (§2.5.6.2)."""
    for rate in (1, 100, 1000):
        most = rate + 120 * rate
        with pytest.raises(ValueError, match="seen"):
            Limits(relay_rate=rate, seen=most - 1)
        Limits(relay_rate=rate, seen=2 * most)


def test_no_message_is_longer_than_the_most_there_is_room_for() -> None:
    Limits(message_size=MAX_MESSAGE_SIZE)
    for limits in ({"message_size": MAX_MESSAGE_SIZE + 1}, {"multicast_size": MAX_MESSAGE_SIZE}):
        with pytest.raises(ValueError, match=next(iter(limits))):
            Limits(**limits)
