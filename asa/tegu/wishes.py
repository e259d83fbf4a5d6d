"""From a pledge of Tegu's to the request that makes it a reservation here, or why there is none. No I/O.

No text here holds anything of the file but what :mod:`asa.tegu.report` lets through.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from functools import singledispatch
from typing import Any, Final

from asa.flows import Flow, InvalidFlow, check_ends_differ, endpoint_from_text, protocol_from_text
from asa.tegu.endpoints import ANY, WILDCARDS, Endpoint
from asa.tegu.pledges import (
    Cap,
    Middlebox,
    Mirror,
    OneWay,
    Passthrough,
    Pledge,
    Protocol,
    Secret,
    Steering,
    Traffic,
    TwoWay,
)
from asa.views import ReservationRequest

MAX_BOXES: Final = 16
MAX_SECRET: Final = 255
LABEL: Final = "tegu:"
"""Before a pledge's id it is the label of what became of it."""

EVERY: Final = "*"
"""The resource a cap of Tegu's is of: each."""


class Unfit(Exception):
    """A pledge that can be no reservation here, and ``why``."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


@dataclass(frozen=True, slots=True)
class Wish:
    """What to ask the agent for. ``notes`` are what an operator should look at."""

    request: ReservationRequest
    secret: Secret | None
    label: str
    """Tells what became of the pledge from anything else."""
    notes: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The idempotency key: of the same pledge it is the same, of a pledge that says something else another.

        As to the agent, two requests are the same whatever their patience.
        """
        content = json.dumps(asdict(replace(self.request, patience_ms=0)), sort_keys=True)
        return f"tegu-{hashlib.sha256(content.encode()).hexdigest()[:40]}"


def wish_of(pledge: Pledge, now: int, *, pool: str = "", patience_ms: int = 5_000, dry_run: bool = False) -> Wish:
    """``now``: what the checkpoint was read at; ``pool``: of bandwidth, instead of what follows from the route.

    Raises :class:`Unfit`.
    """
    notes: list[str] = []
    secret = None if pledge.secret is None else pledge.secret.reveal()
    if secret is None:
        notes.append("it has no cookie: anybody may change or cancel it")
    elif not (len(secret) <= MAX_SECRET and secret.isascii() and secret.isprintable() and secret == secret.strip()):
        raise Unfit(f"its cookie is not 1..{MAX_SECRET} printable ASCII characters: change it in a copy of the file")
    values = _values(pledge, notes)
    label = f"{LABEL}{pledge.id}"
    request = ReservationRequest(
        **values,
        pool=pool if values.get("rate") else "",
        # One that begins when it is read would be another request each time.
        start=None if pledge.window.start == now else pledge.window.start,
        end=pledge.window.end,
        owner=pledge.owner,
        labels=[label],
        patience_ms=patience_ms,
        dry_run=dry_run,
        park=True,
    )
    _check(request)
    return Wish(request, pledge.secret, label, tuple(notes))


def cap_body(cap: Cap) -> dict[str, Any]:
    """What sets a cap, of every resource as Tegu's are of every link."""
    percent = cap.rate is None
    return {
        "project": cap.project,
        "resource": EVERY,
        "amount": cap.percent if percent else cap.rate,
        "percent": percent,
    }


@singledispatch
def _values(pledge: Pledge, notes: list[str]) -> dict[str, Any]:
    """The fields of the request that its kind has."""
    raise Unfit("nothing here is of its kind")


@_values.register
def _(pledge: TwoWay, notes: list[str]) -> dict[str, Any]:
    _tell_version(pledge.force_v6, pledge.protocol, notes)
    return _ends(pledge.own, pledge.other, pledge.protocol) | {
        "kind": "two-way",
        "rate": pledge.rate_out,
        "back": pledge.rate_in,
        "traffic": _class(pledge.traffic, notes),
    }


@_values.register
def _(pledge: OneWay, notes: list[str]) -> dict[str, Any]:
    _tell_version(pledge.force_v6, pledge.protocol, notes)
    return _ends(pledge.source, pledge.destination, pledge.protocol) | {
        "kind": "one-way",
        "rate": pledge.rate,
        "traffic": _class(pledge.traffic, notes),
    }


@_values.register
def _(pledge: Passthrough, notes: list[str]) -> dict[str, Any]:
    _tell_version(None, pledge.protocol, notes)
    return _ends(pledge.host, Endpoint(ANY), pledge.protocol) | {"kind": "passthrough"}


@_values.register
def _(pledge: Steering, notes: list[str]) -> dict[str, Any]:
    for end in (pledge.source, pledge.destination):
        if end is not None and end.name in WILDCARDS:
            raise Unfit("one of its ends is E* or L*: name the hosts or prefixes that are meant, and reserve it anew")
    if len(pledge.boxes) > MAX_BOXES:
        raise Unfit(f"it goes through more than {MAX_BOXES} middleboxes")
    _tell_version(None, pledge.protocol, notes)
    if any(box.switch or box.port is not None for box in pledge.boxes):
        notes.append("the switches and ports of its middleboxes are left out: where they are is found by their names")
    return _ends(pledge.source or Endpoint(ANY), pledge.destination or Endpoint(ANY), pledge.protocol) | {
        "kind": "steering",
        "through": [_box(each) for each in pledge.boxes],
    }


@_values.register
def _(pledge: Mirror, notes: list[str]) -> dict[str, Any]:
    if len(pledge.ports) != 1:
        raise Unfit(f"it copies {len(pledge.ports)} ports, a reservation one host: reserve each by itself")
    if len(pledge.vlans) > 1 or not all(1 <= each <= 4_094 for each in pledge.vlans):
        raise Unfit("it copies VLANs that are not one of 1..4094: reserve each by itself")
    vlan = f"{{{pledge.vlans[0]}}}" if pledge.vlans else ""
    notes.append("only what its port sends is copied: reserve what it receives by itself, with the ends exchanged")
    if pledge.options:
        notes.append("its options are left out")
    return {
        "kind": "mirroring",
        "source": _place(pledge.ports[0], "its port") + vlan,
        "output": _place(pledge.output, "its output"),
    }


def _ends(source: Endpoint, destination: Endpoint, protocol: Protocol | None) -> dict[str, Any]:
    found = {"source": str(source), "destination": str(_remote(destination, protocol))}
    return found if protocol is None else found | {"protocol": protocol.name}


def _remote(end: Endpoint, protocol: Protocol | None) -> Endpoint:
    """The far end, with the address and port its protocol may name."""
    if protocol is None:
        return end
    if protocol.address and end.name not in (ANY, protocol.address):
        raise Unfit("its protocol names another address than its far end is")
    if protocol.port is not None and end.port is not None and (end.port, end.mask) != (protocol.port, None):
        raise Unfit("its protocol names another port than its far end has")
    name, port = protocol.address or end.name, end.port if protocol.port is None else protocol.port
    return Endpoint(name, end.project, port, end.mask, end.vlan, end.vouched, end.external)


def _class(traffic: Traffic, notes: list[str]) -> str:
    if traffic.name:
        return traffic.name
    if traffic.dscp:
        notes.append(f"DSCP {traffic.dscp} is of no class of Tegu's: it is default now; name a class to mark it")
        return "default"
    return "global_default" if traffic.keep_on_exit else "default"


def _tell_version(force_v6: bool | None, protocol: Protocol | None, notes: list[str]) -> None:
    if force_v6 or (protocol is not None and protocol.version is not None):
        notes.append("it was of one version of IP only: here that follows from its addresses")


def _box(box: Middlebox) -> str:
    return _place(box.mac or box.id, "a middlebox")


def _place(text: str, what: str) -> str:
    """A host, without the project before it. Raises :class:`Unfit`."""
    try:
        found = endpoint_from_text(text.removeprefix("!").rpartition("/")[2])
    except InvalidFlow:
        found = None
    if found is None or found.place is None or found.port is not None:
        raise Unfit(f"{what} is not a host's name, an address or a MAC address")
    return str(found)


def _check(request: ReservationRequest) -> None:
    """Whether an agent could read it, wherever its hosts are. Raises :class:`Unfit`."""
    ends = []
    for name, text in (("first", request.source), ("second", request.destination)):
        try:
            ends.append(endpoint_from_text(text))
        except InvalidFlow:
            raise Unfit(f"its {name} host has a name, port or address that no host can have here") from None
    try:
        flow = Flow(ends[0], ends[1], protocol_from_text(request.protocol))
        if (flow.source.place, flow.destination.place) != (None, None):
            check_ends_differ(flow)
    except InvalidFlow:
        raise Unfit("both hosts have one name here, or no packet goes between them") from None
