"""What a plan refuses."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest

from asa.dataplane.match import Match
from asa.dataplane.plan import Action, Entry, Line, Plan, Share
from asa.errors import BadRequest
from asa.flows import Port

OUT, IN = Line("eth0", "out", 800, 80), Line("eth0", "in", 400, 80)
LINES = (OUT, IN)
WEB = Match(4, ip_network("10.0.0.1"), None, 6, None, Port(80))
DNS = Match(4, None, ip_network("10.0.0.2"), 17, None, Port(53))
VOICE = Match(4, None, ip_network("10.0.0.3"))
GUARANTEE, KEEP, STEER, MIRROR = Action


def entry(
    name: str, *matches: Match, guarantee: int = 80, action: Action = GUARANTEE, line: Line = OUT, **more: Any
) -> Entry:
    ceiling, priority = more.pop("ceiling", guarantee), more.pop("priority", 1)
    share = Share(guarantee, ceiling, priority) if action is GUARANTEE else None
    return Entry(line.name, action, frozenset(matches), (name,), more.pop("expires", 100), share, **more)


# -- what is refused


@pytest.mark.parametrize(
    "make",
    [
        lambda: Share(0, 8),
        lambda: Share(16, 8),
        lambda: Share(9, 16),
        lambda: Share(8, 17),
        lambda: Share(8, 8, 8),
        lambda: Share(8, 8, -1),
        lambda: Line("eth0", "out", 80, 88),
        lambda: Line("eth0", "out", 81, 8),
        lambda: Line("eth0", "out", 80, 9),
        lambda: Line("eth0", "out", 80, -8),
        lambda: Line("eth0", "out", 0, 0),
        lambda: Line("eth0", "up", 80, 8),  # type: ignore[arg-type]
        lambda: Line("eth0;", "out", 80, 8),
        lambda: Line("-x", "out", 80, 8),
        lambda: Line("eth0", "out", 80, 8, (64,)),
        lambda: entry("r"),
        lambda: Entry("eth0:out", GUARANTEE, frozenset({WEB}), ("r",), 1),
        lambda: Entry("eth0:out", KEEP, frozenset({WEB}), ("r",), 1, Share(8, 8)),
        lambda: entry("r", WEB, action=STEER),
        lambda: entry("r", WEB, through=("10.0.0.9",)),
        lambda: entry("r", WEB, action=MIRROR),
        lambda: entry("r", WEB, action=MIRROR, output="; reboot"),
        lambda: entry("r", WEB, dscp=64),
        lambda: entry("r", WEB, dscp=-1),
    ],
)
def test_what_no_kernel_can_do_is_refused(make: Any) -> None:
    with pytest.raises(BadRequest):
        make()


def plan(*entries: Entry, lines: tuple[Line, ...] = LINES) -> Plan:
    return Plan(lines, {each.key: each for each in entries})


def test_a_plan_keeps_its_guarantees() -> None:
    full = plan(entry("a", WEB, guarantee=360), entry("b", DNS, guarantee=360), entry("c", WEB, guarantee=320, line=IN))
    assert len(full.entries) == 3
    with pytest.raises(BadRequest, match="728 bit/s guaranteed on eth0:out, which has 720"):
        plan(entry("a", WEB, guarantee=360), entry("b", DNS, guarantee=368))


def test_a_packet_of_a_line_is_wanted_once_for_each_action() -> None:
    with pytest.raises(BadRequest, match="two entries want the same packets on eth0:out"):
        plan(entry("a", WEB, DNS), entry("b", DNS, VOICE))
    both = plan(entry("a", WEB), entry("b", WEB, action=MIRROR, output="10.0.0.9"), entry("c", WEB, line=IN))
    assert len(both.entries) == 3


def test_an_entry_is_on_a_line_of_its_plan_under_its_own_key() -> None:
    with pytest.raises(BadRequest, match="which is no line"):
        plan(entry("a", WEB, line=IN), lines=(OUT,))
    with pytest.raises(BadRequest):
        Plan(LINES, {entry("a", WEB).key: entry("a", DNS)})
