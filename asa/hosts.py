"""The host table: what the names in flows stand for. Only :func:`load` reads a file, the rest does nothing but compute.

    [hosts.web1]
    addresses = ["10.0.0.1", "fd00::1"]
    mac = "aa:bb:cc:dd:ee:ff"

    [hosts."db.example.com"]
    addresses = ["fd00::2"]

A host has at most one address of each IP version, so that a name in a flow means one flow of each at most; more
addresses are more names. Names are in any case and kept in lower case.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Final, Literal

from asa.config.section import Problems, Rules, Section
from asa.config.values import Wrong, an_optional, as_read, shown
from asa.errors import BadConfig, BadRequest
from asa.flows import Endpoint, Flow, HostName, InvalidFlow, Mac, Place

MAX_FILE: Final = 1 << 20
"""Bytes of a file; a longer one is refused, which bounds the hosts too."""

Address = IPv4Address | IPv6Address
Preference = Literal["ipv6", "ipv4", "both"]
"""Which IP version the flow of two hosts is of that have both: one, or a flow of each."""

_ADDRESSES: Final = 'a list of one IPv4 address, one IPv6 address or both, as in ["10.0.0.1", "fd00::1"]'
_HOST: Final = "a section: [hosts.web1]"
_ORDER: Final[Mapping[Preference, tuple[int, int]]] = {"ipv6": (6, 4), "ipv4": (4, 6), "both": (6, 4)}


class UnknownHost(BadRequest):
    """A name the host table does not have."""

    code = "unknown-host"


def host_name(value: Any) -> str:
    try:
        return HostName(value.lower() if isinstance(value, str) and value.isascii() else value).text
    except InvalidFlow as error:
        raise Wrong(f"is {shown(value)}: no host's name", error.hint) from None


def host_addresses(value: Any) -> tuple[Address, ...]:
    """IPv4 before IPv6."""
    if not isinstance(value, list | tuple):
        raise Wrong(f"is {shown(value)}", _ADDRESSES)
    found: dict[int, Address] = {}
    for each in value:
        address = _address(each)
        if address.version in found:
            raise Wrong(
                f"has {found[address.version]} and {address}", f"{_ADDRESSES}; give the second a name of its own"
            )
        found[address.version] = address
    return tuple(found[version] for version in sorted(found))


def _address(value: Any) -> Address:
    try:
        address = ip_address(value if isinstance(value, str) else str(value))
        Endpoint(ip_network(address))
    except InvalidFlow as error:
        raise Wrong(f"has {shown(str(value))}: {error.message}", error.hint) from None
    except ValueError:
        raise Wrong(f"has {shown(value)}", _ADDRESSES) from None
    if address.is_unspecified or address.is_loopback or address.is_multicast:
        raise Wrong(f"has {address}", "an address that one host has and others reach")
    return address


def host_mac(value: Any) -> Mac:
    try:
        mac = value if isinstance(value, Mac) else Mac(value.lower() if isinstance(value, str) else value)
    except InvalidFlow as error:
        raise Wrong(f"is {shown(value)}", f"a MAC address: {error.hint}") from None
    # IEEE 802, §8.2.2: the lowest bit of the first octet is that of a group; 0 is nobody's.
    if int(mac.text[:2], 16) & 1 or mac.text == "00:00:00:00:00:00":
        raise Wrong(f"is {mac}", "the MAC address of one interface: the first octet is even")
    return mac


@dataclass(frozen=True, slots=True)
class Host(Section):
    """One host. Raises :class:`BadConfig`."""

    name: str
    """In lower case."""
    addresses: tuple[Address, ...] = ()
    """At most one of each IP version, IPv4 before IPv6."""
    mac: Mac | None = None

    RULES: ClassVar[Rules] = {"name": host_name, "addresses": host_addresses, "mac": an_optional(host_mac)}
    MADE: ClassVar[Rules] = {key: as_read(rule) for key, rule in RULES.items()}

    def together(self, problems: Problems) -> None:
        if not self.addresses and self.mac is None:
            problems.add("addresses", "is missing, and so is mac", _ADDRESSES)

    @property
    def places(self) -> Mapping[int, Place]:
        """Where it is for each IP version; a host of no address is at its MAC address for both."""
        if not self.addresses:
            return {4: self.mac, 6: self.mac}
        return {each.version: ip_network(each) for each in self.addresses}


@dataclass(frozen=True, slots=True)
class HostTable:
    """All hosts. No name, address or MAC address is there twice; raises :class:`BadConfig`."""

    hosts: tuple[Host, ...] = ()
    by_name: Mapping[str, Host] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        problems = Problems()
        hosts_together(self.hosts, problems)
        problems.raise_any("HostTable")
        object.__setattr__(self, "by_name", MappingProxyType({each.name: each for each in self.hosts}))

    def resolve(self, name: str) -> Host:
        """Raises :class:`UnknownHost`, which names the nearest ones."""
        found = self.by_name.get(name.lower())
        if found is None:
            near = difflib.get_close_matches(name.lower(), self.by_name, 3)
            hint = f"did you mean {' or '.join(near)}?" if near else "give its address, or write it into the host table"
            raise UnknownHost(f"there is no host {shown(name)} in the host table", hint=hint)
        return found

    def resolved(self, flow: Flow, preference: Preference = "ipv6") -> tuple[Flow, ...]:
        """The flow with addresses, or the MAC addresses of hosts that have none, in place of names.

        Of the IP versions that both ends and the protocol have it is one flow of the preferred, or with ``both`` one
        of each, IPv6 first. A flow without names stays as it is. Raises :class:`UnknownHost`, :class:`InvalidFlow`.
        """
        if not any(isinstance(each.place, HostName) for each in (flow.source, flow.destination)):
            return (flow,)
        sources, destinations = self._places(flow.source), self._places(flow.destination)
        common = [each for each in _ORDER[preference] if each in sources and each in destinations]
        if not set(common) & flow.families:
            raise InvalidFlow(
                f"{_having(flow.source, sources)}, {_having(flow.destination, destinations)}",
                hint="both ends need an address of one IP version, which the protocol is of too",
            )
        flows = [
            replace(
                flow,
                source=replace(flow.source, place=sources[each]),
                destination=replace(flow.destination, place=destinations[each]),
            )
            for each in common
            if each in flow.families
        ]
        # Between MAC addresses and any the versions make no difference.
        return tuple(dict.fromkeys(flows if preference == "both" else flows[:1]))

    def _places(self, end: Endpoint) -> Mapping[int, Place]:
        if isinstance(end.place, HostName):
            return self.resolve(end.place.text).places
        return dict.fromkeys(end.families, end.place)


def _having(end: Endpoint, places: Mapping[int, Place]) -> str:
    return f"{end} is {' and '.join(f'IPv{each}' for each in sorted(places))}"


def hosts_together(hosts: Iterable[Host], problems: Problems) -> None:
    """What several hosts, each right by itself, must fulfil together."""
    seen: dict[object, str] = {}
    for host in hosts:
        if host.name in seen:
            problems.add(f"hosts.{_key(host.name)}", "is there twice, its case aside", "each name once")
        seen[host.name] = host.name
        for key, value in [*(("addresses", each) for each in host.addresses), ("mac", host.mac)]:
            if value is None:
                continue
            owner = seen.setdefault(value, host.name)
            if owner != host.name:
                problems.add(
                    f"hosts.{_key(host.name)}.{key}", f"has {value}, as hosts.{_key(owner)} has", "each address once"
                )


def load(path: str | Path) -> HostTable:
    """The host table in a file. Raises :class:`BadConfig`."""
    file = Path(path)
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_FILE + 1)
    except OSError as error:
        raise BadConfig(f"{file} cannot be read: {error.strerror}", hint="give the name of a TOML file") from None
    if len(content) > MAX_FILE:
        raise BadConfig(f"{file} is too long", hint=f"at most {MAX_FILE} bytes")
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise BadConfig(f"{file} is not UTF-8, from byte {error.start} on", hint="TOML is UTF-8 text") from None
    return parse(text, str(file))


def parse(text: str, source: str) -> HostTable:
    """The host table in ``text``; ``source`` names it in errors. Raises :class:`BadConfig` with every problem."""
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        why = str(error) if isinstance(error, tomllib.TOMLDecodeError) else "out of bounds"
        problem = {"key": "", "problem": f"is not TOML: {why}", "allowed": ""}
        raise BadConfig(
            f"{source}: not TOML: {why}", hint="see https://toml.io", details={"problems": [problem]}
        ) from None
    problems = Problems()
    for key in document:
        if key != "hosts":
            problems.add(_key(key), "does not exist", _HOST)
    tables = document.get("hosts", {})
    hosts: list[Host] = []
    if isinstance(tables, dict):
        read = [_host(name, table, problems) for name, table in tables.items()]
        hosts = [each for each in read if each is not None]
    else:
        problems.add("hosts", f"is {shown(tables)}", _HOST)
    hosts_together(hosts, problems)
    problems.raise_any(source)
    return HostTable(tuple(hosts))


def _host(name: str, table: Any, problems: Problems) -> Host | None:
    path = f"hosts.{_key(name)}"
    before = len(problems.found)
    values = {"name": problems.reading(path, host_name, name)}
    if not isinstance(table, dict):
        problems.add(path, f"is {shown(table)}", _HOST)
        return None
    rules: Rules = {key: rule for key, rule in Host.RULES.items() if key != "name"}
    for key, value in table.items():
        if key in rules:
            values[key] = problems.reading(f"{path}.{key}", rules[key], value)
        elif isinstance(value, dict):
            # TOML takes the dots of a bare key for sections within sections.
            meant = f'a name with dots is quoted: [hosts."{_key(name)}.{_key(key)}"]'
            problems.add(f"{path}.{_key(key)}", "does not exist", meant)
        else:
            near = difflib.get_close_matches(key.lower(), rules, 1)
            wrong = f"does not exist; did you mean {near[0]}?" if near else "does not exist"
            problems.add(f"{path}.{_key(key)}", wrong, ", ".join(rules))
    if len(problems.found) > before:
        return None
    try:
        return Host(**values)
    except BadConfig as error:
        for each in error.details["problems"]:
            problems.add(f"{path}.{each['key']}", each["problem"], each["allowed"])
        return None


def _key(key: str) -> str:
    """As TOML has it, a bare key as it is."""
    return key if re.fullmatch("[A-Za-z0-9_-]{1,40}", key, re.ASCII) else shown(key)
