"""From the fields of a record to a pledge of its kind, or why there is none. No I/O."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from asa.tegu.endpoints import (
    ANY,
    MAX_HOST,
    Endpoint,
    is_project,
    read_address,
    read_endpoint,
    read_port,
    read_vlan,
    without_token,
)
from asa.tegu.fields import Fields
from asa.tegu.pledges import (
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
from asa.tegu.report import PTYPES, Code, Kind, Refused
from objectives import Window
from objectives.fields import MAX_RATE, MAX_TIME

END_OF_TIME: Final = 1_767_243_600
"""UNIX seconds: Tegu allows no later end, so for ever and this are one to it."""

VOICE: Final = 46
"""The DSCP where none is named."""

MAX_COOKIE: Final = 1_024
MAX_TEXT: Final = 4_096
MAX_BOXES: Final = 64
MAX_PORTS: Final = 256
MAX_MIRROR_VLAN: Final = 4_095

_ID: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,127}", re.ASCII)
_PROTOCOL: Final = re.compile(r"(tcp|udp)([46]?)(?::(.*))?", re.ASCII | re.DOTALL)
_PLACE: Final = re.compile(r"!?[A-Za-z0-9_./:@+*-]{1,128}", re.ASCII)

Common = dict[str, Any]
"""The arguments every kind's pledge is made with."""


def kind_of(values: Mapping[str, object]) -> Kind:
    """:attr:`Kind.NONE` if it is none of Tegu's."""
    ptype = values.get("ptype")
    return PTYPES.get(ptype, Kind.NONE) if type(ptype) is int else Kind.NONE


def id_of(values: Mapping[str, object]) -> str:
    """Empty if there is none that can be shown."""
    found = values.get("id")
    return found if isinstance(found, str) and _ID.fullmatch(found) else ""


def read_pledge(values: Mapping[str, object], now: int) -> tuple[Pledge, tuple[str, ...]]:
    """The pledge, and what an operator should look at. ``now``: UNIX seconds. Raises :class:`Refused`."""
    kind = kind_of(values)
    if kind is Kind.NONE:
        raise Refused(Code.UNKNOWN_KIND, "ptype is not 0..4")
    fields, notes = Fields(values), list[str]()
    # An end that has come is told before anything else: nobody misses the rest.
    window = _window(values, fields, now, notes)
    identifier = id_of(values)
    if not identifier:
        raise Refused(Code.BAD_FIELD, "id is missing or is not one of Tegu's")
    common = {"id": identifier, "window": window, "secret": _secret(fields)}
    pledge = _READERS[kind](fields, common, notes)
    if not pledge.owner:
        notes.append("no project is named: its owner is not known")
    if unknown := fields.unknown():
        notes.append(f"{unknown} unknown field{'s' if unknown > 1 else ''} left out")
    return pledge, tuple(notes)


def _window(values: Mapping[str, object], fields: Fields, now: int, notes: list[str]) -> Window:
    nested = values.get("window")
    times = Fields(nested) if isinstance(nested, dict) else fields
    start = times.integer("commence", low=0, high=MAX_TIME)
    end = times.integer("expiry", low=0, high=MAX_TIME)
    if end is None:
        raise Refused(Code.BAD_WINDOW, "expiry is missing")
    if end <= now:
        unbounded = ", at Tegu's end of time: it may have been meant for ever" if end == END_OF_TIME else ""
        raise Refused(Code.EXPIRED, f"it ended {now - end} s ago{unbounded}")
    if start is None:
        notes.append("commence is missing: it begins now")
    if start is not None and start >= end:
        raise Refused(Code.BAD_WINDOW, "it ends before it starts, or as it does")
    if end == END_OF_TIME:
        notes.append("it ends at Tegu's end of time: it may have been meant for ever")
    return Window(start or now, end)


def _secret(fields: Fields) -> Secret | None:
    clear = fields.text("usrkey", "cookie", most=MAX_COOKIE)
    if any("\ud800" <= each <= "\udfff" for each in clear):
        raise Refused(Code.BAD_FIELD, "usrkey is not Unicode")
    return Secret(clear) if clear else None


def _end(fields: Fields, host: tuple[str, ...], port: tuple[str, ...], vlan: tuple[str, ...]) -> Endpoint:
    """An endpoint from its text and from fields of its own; where both say something they say the same."""
    text = fields.text(*host, most=MAX_HOST)
    if not text:
        raise Refused(Code.BAD_HOST, f"{host[0]} is missing")
    return _completed(fields, read_endpoint(text), port, vlan)


def _completed(fields: Fields, found: Endpoint, port: tuple[str, ...], vlan: tuple[str, ...]) -> Endpoint:
    number, mask = read_port(fields.text_or_integer(*port)) if port else (None, None)
    tag = read_vlan(fields.text_or_integer(*vlan)) if vlan else None
    if number is not None:
        if found.port is not None and (found.port, found.mask) != (number, mask):
            raise Refused(Code.BAD_HOST, f"{port[0]} is not the port of its host")
    else:
        number, mask = found.port, found.mask
    if tag is not None and found.vlan is not None and found.vlan != tag:
        raise Refused(Code.BAD_HOST, f"{vlan[0]} is not the VLAN of its host")
    return Endpoint(
        found.name, found.project, number, mask, found.vlan if tag is None else tag, found.vouched, found.external
    )


def _rate(fields: Fields, *names: str) -> int:
    rate = fields.integer(*names, low=0, high=MAX_RATE)
    if rate is None:
        raise Refused(Code.BAD_FIELD, f"{names[0]} is missing")
    if rate == 0:
        raise Refused(Code.ZERO_BANDWIDTH, f"{names[0]} is 0")
    return rate


def _traffic(fields: Fields, notes: list[str]) -> Traffic:
    dscp = fields.integer("dscp", low=0, high=63)
    if dscp is None:
        notes.append(f"dscp is missing: {VOICE}, Tegu's default, is taken")
    return Traffic(VOICE if dscp is None else dscp, bool(fields.boolean("dscp_koe", "koe")))


def _protocol(fields: Fields) -> Protocol | None:
    text = fields.text("protocol", "proto", most=128)
    if not text:
        return None
    found = _PROTOCOL.fullmatch(text)
    if found is None:
        raise Refused(Code.BAD_FIELD, "protocol is neither tcp nor udp")
    version = int(found[2]) if found[2] else None
    address, port = _remote(found[3] or "")
    if address and version not in (None, 6 if ":" in address else 4):
        raise Refused(Code.BAD_FIELD, "protocol has an address of the other version of IP")
    return Protocol(found[1], version, address, port)


def _remote(text: str) -> tuple[str, int | None]:
    """``port``, ``address``, ``address:port``: an IPv6 address needs brackets to have a port."""
    if text.isdecimal() or text[:2] in ("0x", "0X"):
        address, port = "", text
    elif text.startswith("["):
        address, _, rest = text[1:].partition("]")
        if rest and not rest.startswith(":"):
            raise Refused(Code.BAD_FIELD, "protocol has an address that cannot be read")
        port = rest[1:]
        address = read_address(address)
    elif text.count(":") > 1:
        # The rule of hosts: refused where it can be read in two ways.
        found = read_endpoint(text)
        if found != Endpoint(found.name, port=found.port):
            raise Refused(Code.BAD_FIELD, "protocol has more than an address and a port")
        return found.name, found.port
    else:
        address, _, port = text.partition(":")
        address = read_address(address) if address else ""
    number, mask = read_port(port)
    if mask is not None:
        raise Refused(Code.BAD_FIELD, "protocol has a port with a mask")
    return address, number


def _two_way(fields: Fields, common: Common, notes: list[str]) -> TwoWay:
    own = _end(fields, ("host1",), ("port1",), ("vlan1",))
    other = _end(fields, ("host2",), ("port2",), ("vlan2",))
    rate_in, rate_out = _rate(fields, "bandwin", "bandw_in"), _rate(fields, "bandwout", "bandw_out")
    if (own.external and not other.external) or (not own.vouched and other.vouched):
        own, other, rate_in, rate_out = other, own, rate_out, rate_in
        notes.append("host1 was marked with !: hosts exchanged, and in and out with them")
    elif not other.vouched and rate_in != rate_out:
        notes.append("if its consumer named host2 first, Tegu exchanged the hosts and not in and out: check them")
    if own.external:
        raise Refused(Code.BAD_HOST, "both hosts are outside")
    if other.name == ANY:
        raise Refused(Code.BAD_HOST, "host2 is any, which only a one-way pledge may have")
    _differ(own, other)
    if other.project and own.project and other.project != own.project:
        notes.append("the hosts are of two projects: that of the own end is its owner")
    return TwoWay(
        **common, owner=own.project or other.project, own=own, other=other, rate_in=rate_in, rate_out=rate_out,
        traffic=_traffic(fields, notes), protocol=_protocol(fields), force_v6=fields.boolean("match_v6", "ipv6"),
    )  # fmt: skip


def _one_way(fields: Fields, common: Common, notes: list[str]) -> OneWay:
    source = _end(fields, ("src",), ("src_port",), ("src_vlan",))
    destination = _end(fields, ("dest",), ("dest_port",), ())
    if source.external:
        raise Refused(Code.BAD_HOST, "src is outside: only what an own host sends can be reserved")
    _differ(source, destination)
    rate, protocol = _rate(fields, "bandwout", "bandw_out"), _protocol(fields)
    if source.vlan is None:
        notes.append("no VLAN: Tegu loses it, so it may be meant for one only")
    if protocol is None:
        notes.append("no protocol: Tegu may have lost it")
    return OneWay(
        **common, owner=source.project, source=source, destination=destination, rate=rate,
        traffic=_traffic(fields, notes), protocol=protocol, force_v6=fields.boolean("match_v6", "ipv6"),
    )  # fmt: skip


def _differ(one: Endpoint, other: Endpoint) -> None:
    if (one.project, one.name) == (other.project, other.name):
        raise Refused(Code.BAD_HOST, "both hosts are the same")


def _passthrough(fields: Fields, common: Common, notes: list[str]) -> Passthrough:
    host = _end(fields, ("host",), ("port",), ("vlan",))
    fields.text("physical_host", "phost", most=MAX_TEXT)
    if host.external or not host.project:
        raise Refused(Code.BAD_HOST, "host is not project/name")
    protocol = _protocol(fields)
    if protocol is None:
        notes.append("no protocol: Tegu loses it, so it may let through more than was asked for")
    return Passthrough(**common, owner=host.project, host=host, protocol=protocol)


def _steering(fields: Fields, common: Common, notes: list[str]) -> Steering:
    ends: list[Endpoint | None] = []
    for names, port in ((("host1", "ep1"), ("port1",)), (("host2", "ep2"), ("port2",))):
        text = fields.text(*names, most=MAX_HOST)
        # Tegu puts the colon of the port behind an end that is none, too.
        found = read_endpoint(text, wildcards=True) if text.strip(":0") else None
        ends.append(None if found is None else _completed(fields, found, port, ()))
    source, destination = ends
    if source is None and destination is None:
        raise Refused(Code.BAD_HOST, "both ends are missing")
    boxes = tuple(_middlebox(each) for each in fields.objects("mbox_list", most=MAX_BOXES))
    if not boxes:
        raise Refused(Code.BAD_FIELD, "mbox_list is missing or empty")
    owner = _tenant(fields) or next((each.project for each in ends if each is not None and each.project), "")
    notes.append("Tegu itself does not restore steering")
    return Steering(
        **common, owner=owner, source=source, destination=destination, boxes=boxes, protocol=_protocol(fields)
    )


def _middlebox(value: object) -> Middlebox:
    fields = Fields(value if isinstance(value, dict) else {"id": value})
    port = fields.integer("port", "swport", low=-(2**31), high=2**31)
    texts = [_place(fields.text(*names, most=MAX_TEXT)) for names in (("id",), ("mac",), ("switch", "swid"))]
    if not texts[0]:
        raise Refused(Code.BAD_FIELD, "a middlebox has no id")
    return Middlebox(texts[0], texts[1], texts[2], port)


def _mirror(fields: Fields, common: Common, notes: list[str]) -> Mirror:
    ports, vlans = list[str](), list[int]()
    for word in fields.text("host1", "ports", most=MAX_TEXT).split():
        if word.startswith("vlan:"):
            vlans += _mirror_vlans(word.removeprefix("vlan:"))
        else:
            ports.append(_place(word))
    vlans += _mirror_vlans(fields.text("vlan", most=MAX_TEXT))
    output = _place(fields.text("host2", "output", most=MAX_HOST))
    if not output or not 1 <= len(ports) <= MAX_PORTS:
        raise Refused(Code.BAD_HOST, f"a mirror has an output and 1..{MAX_PORTS} ports")
    return Mirror(
        **common, owner=_tenant(fields), ports=tuple(ports), output=output, vlans=tuple(dict.fromkeys(vlans)),
        options=fields.text("options", most=MAX_TEXT),
        # Tegu keeps the physical host where other kinds have their queue.
        physical_host=_place(fields.text("physical_host", "qid", most=MAX_TEXT)),
    )  # fmt: skip


def _mirror_vlans(text: str) -> list[int]:
    found = [int(each) if re.fullmatch("[0-9]{1,4}", each, re.ASCII) else -1 for each in text.split(",") if text]
    if any(not 0 <= each <= MAX_MIRROR_VLAN for each in found):
        raise Refused(Code.BAD_FIELD, f"a mirror's VLAN is not 0..{MAX_MIRROR_VLAN}")
    return found


def _place(text: str) -> str:
    """A port, switch or host Tegu names, without a token; empty if it is not there."""
    place = without_token(text)
    if text and (not _PLACE.fullmatch(place) or place.count("/") > 1):
        raise Refused(Code.BAD_HOST, "a port or a host has characters that are not accepted")
    return place


def _tenant(fields: Fields) -> str:
    tenant = fields.text("tenant_id", "tenant", most=MAX_TEXT)
    if tenant and not is_project(tenant):
        raise Refused(Code.BAD_FIELD, "tenant_id is not a name that is accepted")
    # Tegu's word for not knowing.
    return "" if tenant == "unknown" else tenant


_READERS: Final[Mapping[Kind, Callable[[Fields, Common, list[str]], Pledge]]] = {
    Kind.TWO_WAY: _two_way,
    Kind.STEERING: _steering,
    Kind.MIRROR: _mirror,
    Kind.ONE_WAY: _one_way,
    Kind.PASSTHROUGH: _passthrough,
}
