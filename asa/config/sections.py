"""The sections of the mandate as frozen dataclasses, and what they must fulfil together. No I/O."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from typing import ClassVar, Final, Literal

from asa.config.api import ApiSection, tcp_together
from asa.config.section import Problems, Rules, Section
from asa.config.security import DOMAIN, PLAIN, AllowSection, DomainSection, allowed_together
from asa.config.values import (
    a_boolean,
    a_choice,
    a_list,
    a_name,
    a_path,
    a_prefix,
    a_rate,
    a_routed_address,
    a_socket_path,
    an_integer,
    an_interface_name,
    an_objective_prefix,
    an_optional,
    as_read,
    interface_names,
    unfit,
)
from asa.traffic import BUILT_IN, TrafficClass, TrafficClasses
from objectives.fields import MAX_RATE

RECORD: Final = "record"
"""The back end that leaves packets alone."""

SLOWEST: Final = 1_000
"""bit/s of a link that is shaped: a percent of it is not below the least the kernel knows."""


@dataclass(frozen=True, slots=True)
class AgentSection(Section):
    name: str
    """1..63 letters, digits, ``-``, ``_``, ``.``; one of its own for each agent of the domain."""
    mode: Literal["origin", "delegator"]
    state_dir: Path = Path("/var/lib/asa")
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    RULES: ClassVar[Rules] = {
        "name": a_name,
        "mode": a_choice("origin", "delegator"),
        "state_dir": a_path,
        "log_level": a_choice("debug", "info", "warning", "error"),
    }


@dataclass(frozen=True, slots=True)
class GraspSection(Section):
    interfaces: tuple[str, ...] | None = None
    """None: all that can multicast."""
    port: int = 0
    """0: the one of the last run, or any free one."""
    address: IPv4Address | IPv6Address | None = None
    """The routed address peers several hops away reach this agent at; None: found by itself."""
    ipv4: bool = False
    objective_prefix: str = "EX1."
    substrate: Literal["domain", "plain"] = "domain"
    """``domain``: every message authenticated and encrypted, by the certificates of ``[domain]``; ``plain``: none, for
    links that are secured below IP."""

    RULES: ClassVar[Rules] = {
        "interfaces": an_optional(interface_names),
        "port": an_integer(0, 65_535),
        "address": an_optional(a_routed_address),
        "ipv4": a_boolean,
        "objective_prefix": an_objective_prefix,
        "substrate": a_choice(DOMAIN, PLAIN),
    }

    def together(self, problems: Problems) -> None:
        if isinstance(self.address, IPv4Address) and not self.ipv4:
            problems.add("address", f"is {self.address}", "an IPv4 address only together with ipv4 = true")


@dataclass(frozen=True, slots=True)
class PoolSeed(Section):
    """Capacity an origin brings into the world, at its first start only."""

    name: str
    capacity: int
    """bit/s."""
    at: int | None = None
    """bit/s on the pool's line; None: behind all that is known."""

    RULES: ClassVar[Rules] = {"name": a_name, "capacity": a_rate(1), "at": an_optional(a_rate(0))}

    def together(self, problems: Problems) -> None:
        if self.at is not None and self.at + self.capacity > MAX_RATE:
            problems.add("at", "and capacity reach too far together", f"at most {MAX_RATE} bit/s")


@dataclass(frozen=True, slots=True)
class LimitsSection(Section):
    reservations: int = 200_000
    """Kept ones, those that ended within the policy's history too; one more is refused with ``busy``."""
    peers: int = 4_096
    """Remembered ones; the one not heard for longest makes room."""
    negotiations: int = 8
    """Threads that obtain capacity at once; above it requests wait within their patience."""
    events: int = 10_000
    """Kept for whoever asks; the oldest makes room."""

    RULES: ClassVar[Rules] = {
        "reservations": an_integer(1, 2_000_000),
        "peers": an_integer(1, 65_536),
        "negotiations": an_integer(1, 64),
        "events": an_integer(100, 1_000_000),
    }


@dataclass(frozen=True, slots=True)
class LinkSection(Section):
    """What a network interface of this node carries, each way."""

    interface: str
    capacity: int
    """bit/s, out of this node."""
    capacity_in: int | None = None
    """bit/s, into this node; None: as much as out."""
    headroom: int = 0
    """Percent of both that are never reserved."""
    alarm: int | None = None
    """Percent of what may be reserved from which on an event tells; 0: never, None: what the policy says."""

    RULES: ClassVar[Rules] = {
        "interface": an_interface_name,
        "capacity": a_rate(1),
        "capacity_in": an_optional(a_rate(1)),
        "headroom": an_integer(0, 99),
        "alarm": an_optional(an_integer(0, 100)),
    }
    MADE: ClassVar[Rules] = {key: as_read(rule) for key, rule in RULES.items()}

    def usable(self, floor: int = 0) -> tuple[int, int]:
        """bit/s that may be reserved out of this node and into it, if ``floor`` percent are kept for all others."""
        percent = 100 - max(self.headroom, floor)
        return self.capacity * percent // 100, self.whole_in * percent // 100

    @property
    def whole_in(self) -> int:
        """bit/s, into this node."""
        return self.capacity if self.capacity_in is None else self.capacity_in


@dataclass(frozen=True, slots=True)
class RouteSection(Section):
    """What lies on the way to a prefix (:mod:`asa.routing`)."""

    prefix: IPv4Network | IPv6Network
    interface: str | None = None
    """None: what a shorter prefix says, or the kernel."""
    pools: tuple[str, ...] | None = None
    """Empty: none is needed; None: what a shorter prefix says, or the consumer."""

    RULES: ClassVar[Rules] = {
        "prefix": a_prefix,
        "interface": an_optional(an_interface_name),
        "pools": an_optional(a_list(a_name, "names of pools")),
    }
    MADE: ClassVar[Rules] = {key: as_read(rule) for key, rule in RULES.items()}
    ONE_OF: ClassVar[tuple[str, ...]] = ("interface", "pools")


@dataclass(frozen=True, slots=True)
class FlowsSection(Section):
    """Where flows are, as far as no ``[[route]]`` says it."""

    kernel_routes: bool = True
    """Whether the kernel is asked for the interface where no ``[[route]]`` names one."""
    hosts_file: Path | None = None
    """The host table (:mod:`asa.hosts`); None: flows have no names."""
    prefer: Literal["ipv6", "ipv4"] = "ipv6"
    """The IP version of the flow of two hosts that have both."""
    serves: tuple[IPv4Network | IPv6Network, ...] = ()
    """Where this agent's consumers are: announced to the other agents."""

    RULES: ClassVar[Rules] = {
        "kernel_routes": a_boolean,
        "hosts_file": an_optional(a_path),
        "prefer": a_choice("ipv6", "ipv4"),
        "serves": a_list(a_prefix, "prefixes"),
    }
    MADE: ClassVar[Rules] = {key: as_read(rule) for key, rule in RULES.items()}


@dataclass(frozen=True, slots=True)
class EnforcementSection(Section):
    """How packets are made to get what is reserved for them (:mod:`asa.dataplane`)."""

    backend: Literal["record", "auto", "tc-nft", "tc-u32", "openvswitch"] = "record"
    """``record``: packets are left alone; ``auto``: tc-nft, or tc-u32 where that cannot be done."""
    take_over: bool = False
    """Whether queues of an interface that somebody else set up are replaced."""
    floor: int = 5
    """Percent of each link that is for packets nobody reserved anything for; a greater headroom counts instead."""
    lead_s: int = 5
    """How long before its window a reservation is put in place."""
    rule_life_s: int = 300
    """What is in place ends by itself after that, unless this agent goes on refreshing it."""
    reconcile_s: int = 10
    """How often the system is asked what is in place."""
    sample_s: int = 10
    """How often what packets got is counted."""
    remark: bool = True
    """Whether packets nobody reserved anything for lose the markings of the classes."""
    deputy: Path | None = None
    """The socket of the process that has the privileges (``asa deputy``); None: this one has them."""
    ovsdb: Path = Path("/run/openvswitch/db.sock")

    RULES: ClassVar[Rules] = {
        "backend": a_choice(RECORD, "auto", "tc-nft", "tc-u32", "openvswitch"),
        "take_over": a_boolean,
        "floor": an_integer(1, 50),
        "lead_s": an_integer(0, 300),
        # 64800: Open vSwitch counts 16 bits of seconds.
        "rule_life_s": an_integer(30, 64_800),
        "reconcile_s": an_integer(1, 3_600),
        "sample_s": an_integer(1, 3_600),
        "remark": a_boolean,
        "deputy": an_optional(a_socket_path),
        "ovsdb": a_socket_path,
    }


@dataclass(frozen=True, slots=True)
class Config:
    """One agent's mandate. Raises :class:`BadConfig`."""

    agent: AgentSection
    grasp: GraspSection = GraspSection()
    api: ApiSection = ApiSection()  # noqa: RUF009  # frozen
    pools: tuple[PoolSeed, ...] = ()
    limits: LimitsSection = LimitsSection()
    links: tuple[LinkSection, ...] = ()
    routes: tuple[RouteSection, ...] = ()
    flows: FlowsSection = FlowsSection()
    traffic_classes: tuple[TrafficClass, ...] = BUILT_IN
    """Without ``default``, which is always there."""
    enforcement: EnforcementSection = EnforcementSection()
    domain: DomainSection = DomainSection()  # noqa: RUF009  # frozen
    allow: tuple[AllowSection, ...] = ()

    def __post_init__(self) -> None:
        problems = Problems()
        pools_together(self.agent.mode, [each.name for each in self.pools], problems)
        each_once("link", "interface", [each.interface for each in self.links], problems)
        each_once("route", "prefix", [each.prefix for each in self.routes], problems)
        links = [(each.interface, each.capacity, each.capacity_in) for each in self.links]
        links_together(self.enforcement.backend, links, problems)
        allowed_together(self.agent.mode, self.grasp.substrate, self.allow, problems)
        tcp_together(self.grasp.substrate, self.api, problems)
        problems.raise_any("Config")
        TrafficClasses(self.traffic_classes)

    @property
    def classes(self) -> TrafficClasses:
        return TrafficClasses(self.traffic_classes)

    @property
    def floor(self) -> int:
        """Percent of each link that nobody can reserve: none where packets are left alone anyway."""
        return 0 if self.enforcement.backend == RECORD else self.enforcement.floor


def pools_together(mode: str | None, names: Sequence[str | None], problems: Problems) -> None:
    """Which pools an agent of ``mode`` may have beside each other; None is what could not be read."""
    if mode == "delegator" and names:
        problems.add(
            "pool", "is for an origin", 'mode = "origin", or no [[pool]]: a delegator gets its capacity from peers'
        )
    each_once("pool", "name", names, problems)


def links_together(
    backend: str | None, links: Sequence[tuple[str | None, int | None, int | None]], problems: Problems
) -> None:
    """Interface, capacity and capacity_in of links an agent with a back end may have; None is what could not be read,
    or is not there."""
    for index, (interface, *capacities) in enumerate(links) if backend not in (None, RECORD) else ():
        if interface is not None and (why := unfit(interface)) is not None:
            problems.add(f"link[{index}].interface", why.wrong, f'{why.allowed}, or backend = "{RECORD}"')
        for key, capacity in zip(("capacity", "capacity_in"), capacities, strict=True):
            if capacity is not None and capacity < SLOWEST:
                allowed = f'at least {SLOWEST} bit/s, or backend = "{RECORD}"'
                problems.add(f"link[{index}].{key}", f"is {capacity}", allowed)


def each_once(path: str, key: str, values: Sequence[Hashable | None], problems: Problems) -> None:
    """Of a list of sections each has another value of ``key``; None is what could not be read."""
    first: dict[Hashable, int] = {}
    for index, value in enumerate(values):
        if value is not None and (before := first.setdefault(value, index)) != index:
            problems.add(f"{path}[{index}].{key}", f"is {value}, as {path}[{before}] is", f"each {key} once")
