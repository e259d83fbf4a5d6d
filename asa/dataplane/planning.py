"""What packets of reservations shall get on the lines of this node, and which lines there are. No I/O."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final, Literal

from asa.config import Config
from asa.dataplane.composition import Composition as Composition
from asa.dataplane.composition import compose as compose
from asa.dataplane.match import Match, matches_of
from asa.dataplane.plan import INTERFACE, LOWEST_RATE, Action, Entry, Line, Share
from asa.flows import Endpoint, Flow, HostName, InvalidFlow, Place, endpoint_from_text, protocol_from_text
from asa.records import BACK, OUT, Kind, Reservation
from asa.traffic import DEFAULT, GLOBAL, TrafficClass, TrafficClasses, UnknownClass

_ACTIONS: Final = {
    Kind.TWO_WAY: Action.GUARANTEE,
    Kind.ONE_WAY: Action.GUARANTEE,
    Kind.PASSTHROUGH: Action.KEEP,
    Kind.STEERING: Action.STEER,
    Kind.MIRRORING: Action.MIRROR,
}
_ONCE: Final = frozenset({Action.STEER, Action.MIRROR})
"""What is done to a packet on one line only, however many it crosses."""


# -- lines


def lines_of(config: Config) -> tuple[Line, ...]:
    """Both directions of each ``[[link]]`` whose interface can be shaped; empty: nothing is enforced."""
    found = []
    cleared = {each.dscp for each in config.classes.by_name.values()} - {0} if config.enforcement.remark else ()
    for link in config.links:
        if not re.fullmatch(INTERFACE, link.interface):
            continue
        percent = max(link.headroom, config.floor)
        ways: tuple[tuple[Literal["out", "in"], int], ...] = (("out", link.capacity), ("in", link.whole_in))
        for way, capacity in ways:
            # The floor is rounded down as guarantees are, so that what may be reserved can be guaranteed too.
            rate, floor = max(_whole(capacity), LOWEST_RATE), _whole(capacity * percent // 100)
            found.append(Line(link.interface, way, rate, floor, tuple(sorted(cleared)), config.flows.serves))
    return tuple(found)


def _whole(rate: int) -> int:
    """bit/s, rounded down to whole bytes a second."""
    return rate // 8 * 8


# -- entries


def entries_of(
    reservation: Reservation,
    lines: Mapping[str, Line],
    classes: TrafficClasses,
    local: Callable[[Place], bool],
    expires: int,
) -> tuple[Entry, ...]:
    """One for each line the reservation takes. ``local``: as :meth:`asa.placement.Surroundings.local`.

    Empty if there is nothing to enforce: it takes no line of ``lines``, or it is a booking of capacity only, of a flow
    that says of no packets that they are its own. A class that is no longer there counts as the default one.

    Packets get the class's marking where they leave towards the destination, and lose it where they arrive from there,
    unless the class keeps it. Between two ends behind this agent bandwidth is guaranteed on the way out only, and
    packets are not marked unless the class keeps it (scenario 29 of Tegu's). A passthrough is of every line, for
    unreserved packets may lose their marking on each; steering and mirroring are of one, a way out before a way in.
    """
    taken = [(lines[resource], way) for resource, way in reservation.claims if resource in lines]
    taken.sort(key=lambda each: each[0].way == "in")
    flow = _flow(reservation) if taken else None
    if flow is None:
        return ()
    traffic = _class(reservation.traffic, classes)
    action = _ACTIONS[reservation.kind]
    here = _both_here(flow, taken[0][0], local)
    found: list[Entry] = []
    for line, way in taken:
        if way not in (OUT, BACK) or (action in _ONCE and found):
            continue
        guarantee = action is Action.GUARANTEE
        matches = frozenset(_matches(flow, line, way))
        rate = reservation.rate if way == OUT else reservation.back
        if not matches or (guarantee and (rate < 1 or (here and line.way == "in"))):
            continue
        found.append(
            Entry(
                line.name,
                action,
                matches,
                (reservation.id,),
                expires,
                _share(rate, traffic, line) if guarantee else None,
                _dscp(traffic, line, way, here) if guarantee else None,
                tuple(map(_host, reservation.through)) if action is Action.STEER else (),
                _host(reservation.output) if action is Action.MIRROR else "",
            )
        )
    return tuple(found)


def _flow(reservation: Reservation) -> Flow | None:
    """None: none of packets. Databases from before flows were checked have names, or any text."""
    try:
        source, destination = (endpoint_from_text(each) for each in (reservation.source, reservation.destination))
        flow = Flow(source, destination, protocol_from_text(reservation.protocol))
    except InvalidFlow:
        return None
    return None if isinstance(source.place, HostName) or isinstance(destination.place, HostName) else flow


def _both_here(flow: Flow, line: Line, local: Callable[[Place], bool]) -> bool:
    # An agent that serves no prefix in particular does not know what is behind it.
    ends = flow.source.place, flow.destination.place
    return bool(line.vouched) and None not in ends and all(map(local, ends))


def _matches(flow: Flow, line: Line, way: str) -> tuple[Match, ...]:
    """As packets are on that line: with the VLAN of the end it leads to."""
    toward_destination = (line.way == "out") == (way == OUT)
    end: Endpoint = flow.destination if toward_destination else flow.source
    return matches_of(flow if way == OUT else flow.reversed(), end.vlan)


def _host(text: str) -> str:
    """Its address, without what else of an endpoint there is."""
    return str(Endpoint(endpoint_from_text(text).place))


def _class(name: str, classes: TrafficClasses) -> TrafficClass:
    try:
        return classes.find(name)
    except UnknownClass:
        return classes.find(GLOBAL + DEFAULT if name.startswith(GLOBAL) else DEFAULT)


def _share(rate: int, traffic: TrafficClass, line: Line) -> Share:
    guarantee = max(_whole(rate * traffic.guarantee // 100), LOWEST_RATE)
    ceiling = max(min(_whole(rate * traffic.ceiling // 100), line.rate), guarantee)
    return Share(guarantee, ceiling, traffic.priority)


def _dscp(traffic: TrafficClass, line: Line, way: str, here: bool) -> int | None:
    if here and not traffic.keep:
        return None
    if way == OUT:
        # What came in is marked where it leaves.
        return traffic.dscp if line.way == "out" else None
    return None if traffic.keep else 0
