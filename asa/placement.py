"""Where a reservation stands: whose ends are where, which interfaces and pools it takes, who has the other end. No I/O.

What has to be looked up - routes, names, who serves what - is handed in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Protocol

from asa.errors import BadRequest, Elsewhere
from asa.flows import Flow, HostName, InvalidFlow, Place, check_ends_differ, endpoint_from_text, protocol_from_text
from asa.flows import protocol_text as text_of
from asa.hosts import HostTable, Preference
from asa.reach import covers
from asa.records import BACK, BANDWIDTH, BOTH, OUT, Claim, Kind, Reservation, is_link
from asa.routing import Hop
from asa.traffic import TrafficClasses
from objectives import NodeId
from objectives.reach import Prefix

MAX_BOXES: Final = 16
"""Middleboxes of one reservation."""


class Serving(Protocol):
    """As :meth:`asa.reach.Map.serving`."""

    def __call__(self, place: Place, longer: int = -1) -> NodeId | None: ...


class NoRoute(BadRequest):
    """No pool follows from where it goes, and none is named."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What an agent knows of where things are."""

    hosts: HostTable
    classes: TrafficClasses
    toward: Callable[[Place], Hop]
    """The way to a place."""
    serves: tuple[Prefix, ...]
    """What is behind this agent; empty: everything a consumer calls its source."""
    serving: Serving
    """Which other agent a place is behind."""
    limited: frozenset[str]
    """The directions of interfaces that have a limit (``eth0:out``)."""
    prefer: Preference = "ipv6"

    def local(self, place: Place) -> bool:
        """Whether a place is behind this agent: another that serves it by a longer prefix goes before."""
        if place is None or not self.serves:
            return True
        own = [each.prefixlen for each in self.serves if covers(each, place)]
        return bool(own) and self.serving(place, max(own)) is None


def place(
    wanted: Reservation, around: Surroundings, *, anew: bool = False, partner: NodeId | None = None
) -> Reservation:
    """``wanted`` with its ends resolved, its own end first, and what it takes.

    A pool the consumer named is the one it takes, unless it is placed ``anew``: then the route comes first.
    ``partner``: the agent that has the other end, if it has said so.

    Raises InvalidFlow, UnknownHost, UnknownClass, Elsewhere, BadRequest, and what the look-ups raise.
    """
    wanted = replace(wanted, traffic=str(around.classes.find(wanted.traffic)))
    asked = _flow(wanted)
    names = tuple(str(end) if isinstance(end.place, HostName) else "" for end in (asked.source, asked.destination))
    flow = around.hosts.resolved(asked, around.prefer)[0]
    if flow.source.place is not None or flow.destination.place is not None:
        check_ends_differ(flow)
    here = around.local(flow.source.place)
    there = flow.destination.place is not None and around.local(flow.destination.place)
    if not here and there and wanted.kind is Kind.TWO_WAY:
        # Whoever asks, this agent's own end is the source.
        flow, names, here, there = flow.reversed(), names[::-1], there, here
        wanted = replace(wanted, rate=wanted.back, back=wanted.rate)
    if not here and (server := around.serving(flow.source.place)) is not None:
        raise Elsewhere(f"{server.name} serves {flow.source}", hint="reserve there", details={"node": str(server)})
    wanted = replace(
        wanted,
        source=str(flow.source),
        destination=str(flow.destination),
        protocol=text_of(flow.protocol),
        names=(names[0], names[1]),
        through=_boxes(wanted, around),
        output=_output(wanted, around),
    )
    both_here = here and there and bool(around.serves)
    if partner is None and wanted.kind is Kind.TWO_WAY and not both_here:
        partner = around.serving(flow.destination.place)
    # No look-up where nothing would follow from it.
    known = bool(wanted.pool) and not anew and not around.limited
    hop = around.toward(flow.destination.place) if not known else Hop(None, None)
    pools = _pools(wanted, hop, anew)
    claims = [(pool, _way(wanted, partner)) for pool in pools]
    claims += _links(wanted, hop.interface, around.limited, leaving=True)
    if flow.source.place is not None and around.limited:
        near = around.toward(flow.source.place).interface
        if near != hop.interface:
            claims += _links(wanted, near, around.limited, leaving=False)
    first = pools[0] if pools else ""
    return replace(
        wanted,
        pool=first,
        claims=() if claims in ([], [(first, OUT)]) else tuple(claims),
        partner=str(partner) if partner is not None else "",
    )


def located(placed: Reservation, around: Surroundings) -> Reservation:
    """With its ends where they are now, for the agent that takes it over. Raises InvalidFlow, UnknownHost."""
    flow = around.hosts.resolved(_flow(placed), around.prefer)[0]
    return replace(placed, source=str(flow.source), destination=str(flow.destination))


def _flow(wanted: Reservation) -> Flow:
    """As the consumer wrote it, if that was by name."""
    source, destination = (
        endpoint_from_text(name or text, where)
        for name, text, where in zip(
            wanted.names, (wanted.source, wanted.destination), ("source", "destination"), strict=True
        )
    )
    return Flow(source, destination, protocol_from_text(wanted.protocol))


def _way(wanted: Reservation, partner: NodeId | None) -> str:
    """What of it the pools carry: the other direction too, if no other agent accounts for that."""
    return BOTH if wanted.kind is Kind.TWO_WAY and partner is None else OUT


def _pools(wanted: Reservation, hop: Hop, anew: bool) -> tuple[str, ...]:
    if wanted.pool and not (anew and hop.pools is not None):
        # Those it has, if it was placed before.
        return tuple(dict.fromkeys(each for each, _ in wanted.claims if not is_link(each))) or (wanted.pool,)
    if hop.pools is not None:
        return hop.pools
    if wanted.kind in BANDWIDTH:
        raise NoRoute(
            f"no pool follows from the route to {wanted.destination}",
            hint="name one, or give this agent a [[route]] with its pools",
        )
    return ()


def _links(wanted: Reservation, interface: str | None, limited: frozenset[str], *, leaving: bool) -> list[Claim]:
    """The directions of an interface that it takes, where its packets leave through it, or come in."""
    if interface is None:
        return []
    ways = {f"{interface}:{'out' if leaving else 'in'}": OUT}
    if wanted.kind is Kind.TWO_WAY:
        ways[f"{interface}:{'in' if leaving else 'out'}"] = BACK
    return [(resource, way) for resource, way in ways.items() if resource in limited]


def _boxes(wanted: Reservation, around: Surroundings) -> tuple[str, ...]:
    if (wanted.kind is Kind.STEERING) != bool(wanted.through):
        if wanted.through:
            raise BadRequest(f"{wanted.kind} goes through no middleboxes", hint="that is kind steering")
        raise BadRequest("steering needs middleboxes", hint="name them in order: through")
    if len(wanted.through) > MAX_BOXES:
        raise BadRequest(f"a reservation goes through at most {MAX_BOXES} middleboxes")
    return tuple(_resolved(each, f"through[{index}]", around) for index, each in enumerate(wanted.through))


def _output(wanted: Reservation, around: Surroundings) -> str:
    if (wanted.kind is Kind.MIRRORING) != bool(wanted.output):
        if wanted.output:
            raise BadRequest(f"{wanted.kind} has no output", hint="that is kind mirroring")
        raise BadRequest("mirroring needs to know where the copies go", hint="name it: output")
    return _resolved(wanted.output, "output", around) if wanted.output else ""


def _resolved(text: str, where: str, around: Surroundings) -> str:
    """One host, by its address."""
    end = endpoint_from_text(text, where)
    several = isinstance(end.place, Prefix) and end.place.num_addresses > 1
    if end.place is None or end.port is not None or several:
        raise InvalidFlow(f"{where} is no host: {end}", hint="write an address, a MAC address or a host's name")
    return str(around.hosts.resolved(Flow(end, end), around.prefer)[0].source)
