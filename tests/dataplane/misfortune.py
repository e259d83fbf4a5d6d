"""What there is of reservations on a road whose agent has misfortune, and how long it may take to put it right."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lab import Lab, unavailable_reason
from lab.traffic import missing, refusal
from tests.agents.domain import eventually
from tests.dataplane.road import Road

REPAIRED_S = 60.0
"""Generous: the agent looks every second, and hears of interfaces at once, but this machine may be busy."""
OURS = (0x1, 0xFFFF)
"""Classes that are there without any reservation."""
OVER = ("ending", "ended", "cancelled")


@contextmanager
def troubled(directory) -> Iterator[Road]:
    """A road whose agent looks every second."""
    if reason := unavailable_reason() or missing():
        pytest.skip(reason)
    with Lab() as lab:
        if reason := refusal(lab.host("trial")):
            pytest.skip(reason)
        yield Road.build(lab, directory, more="reconcile_s = 1")


def classes(road: Road, device: str) -> dict[int, str]:
    """Of reservations, by number, as tc(8) tells them."""
    said = road.middle.run(["tc", "class", "show", "dev", device], check=False).stdout
    found = re.findall(r"^class htb a5a:([0-9a-f]+) (.*)$", said, re.MULTILINE)
    return {int(number, 16): text for number, text in found if int(number, 16) not in OURS}


def elements(road: Road) -> int:
    """Rules of reservations."""
    done = road.middle.run(["nft", "-j", "list", "table", "netdev", "asa"], check=False)
    listed = json.loads(done.stdout)["nftables"] if done.returncode == 0 else []
    return sum(len(each["map"].get("elem", ())) for each in listed if "map" in each)


def in_place(road: Road) -> tuple[int, int, int]:
    """Classes on the way out and on the way in, and rules."""
    return len(classes(road, "eth1")), len(classes(road, "asa-eth1")), elements(road)


def put_right(road: Road, reservations: int) -> None:
    """Each has a class and a rule both ways, and is in force."""
    expected = reservations, reservations, 2 * reservations
    eventually(lambda: in_place(road) == expected, REPAIRED_S, f"{expected} in place: {in_place(road)}")
    eventually(lambda: [road.state(each) for each in road.ids] == ["active"] * reservations, REPAIRED_S, "in force")


def nothing_left(road: Road) -> None:
    """Once no reservation is."""
    road.tidy()
    eventually(lambda: in_place(road) == (0, 0, 0), REPAIRED_S, "nothing is left")


def drifts(road: Road) -> int:
    return len(road.agent.events("enforcement-drift"))
