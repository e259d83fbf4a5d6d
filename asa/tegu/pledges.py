"""What a checkpoint promises, as plain values: caps of projects, and pledges by kind. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from asa.tegu.endpoints import Endpoint
from asa.tegu.report import Kind
from objectives import Window

PERCENT: Final = 101
"""A cap below this is a percentage of each link, else bit/s."""

CLASSES: Final = {46: "voice", 26: "control", 18: "data"}
"""Tegu's classes of traffic by their DSCP, which are all it has."""


class Secret:
    """A consumer's cookie, in clear. It is there to be hashed, and shown by nothing."""

    __slots__ = ("_clear",)

    def __init__(self, clear: str) -> None:
        self._clear = clear

    def reveal(self) -> str:
        return self._clear

    def __repr__(self) -> str:
        return "Secret(…)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._clear == self._clear

    def __hash__(self) -> int:
        return hash(self._clear)

    def __reduce__(self) -> str:
        raise TypeError("a secret is not written anywhere")


@dataclass(frozen=True, slots=True)
class Cap:
    """The most a project may have of each link: ``percent`` of it, 0..100, or ``rate`` bit/s; the other one is None."""

    project: str
    percent: int | None
    rate: int | None

    @classmethod
    def of(cls, project: str, value: int) -> Cap:
        """``value``: 0..100 is a percentage, from 101 on bit/s."""
        return cls(project, value, None) if value < PERCENT else cls(project, None, value)


@dataclass(frozen=True, slots=True)
class Traffic:
    """How packets are marked: ``dscp`` 0..63, and whether the mark is kept where they leave the cloud."""

    dscp: int
    keep_on_exit: bool

    @property
    def name(self) -> str:
        """Tegu's word for the class; empty if it has none."""
        word = CLASSES.get(self.dscp, "")
        return f"global_{word}" if word and self.keep_on_exit else word


@dataclass(frozen=True, slots=True)
class Protocol:
    """``tcp`` or ``udp``, of one version of IP (4, 6) or both (None), and the remote address and port if any."""

    name: str
    version: int | None = None
    address: str = ""
    port: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pledge:
    """What all kinds have. ``window``: UNIX seconds, half-open; it may have begun and has not ended."""

    kind: ClassVar[Kind] = Kind.NONE
    id: str
    window: Window
    owner: str
    """The project; empty if only a token told it."""
    secret: Secret | None
    """None: anybody may cancel it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoWay(Pledge):
    """Bandwidth between an own end and another one. Without a protocol a port means tcp and udp."""

    kind: ClassVar[Kind] = Kind.TWO_WAY
    own: Endpoint
    other: Endpoint
    rate_in: int
    """bit/s towards the own end."""
    rate_out: int
    """bit/s from the own end."""
    traffic: Traffic
    protocol: Protocol | None
    force_v6: bool | None
    """None: not told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OneWay(Pledge):
    """Bandwidth from a source to a destination, which may be ``any``."""

    kind: ClassVar[Kind] = Kind.ONE_WAY
    source: Endpoint
    destination: Endpoint
    rate: int
    """bit/s."""
    traffic: Traffic
    protocol: Protocol | None
    force_v6: bool | None
    """None: not told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Passthrough(Pledge):
    """What a host marks itself keeps its mark; with a protocol only that."""

    kind: ClassVar[Kind] = Kind.PASSTHROUGH
    host: Endpoint
    protocol: Protocol | None


@dataclass(frozen=True, slots=True)
class Middlebox:
    """One that traffic is led through; ``port`` is a switch's port."""

    id: str
    mac: str = ""
    switch: str = ""
    port: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Steering(Pledge):
    """Traffic between two ends led through middleboxes, in their order. None is any end."""

    kind: ClassVar[Kind] = Kind.STEERING
    source: Endpoint | None
    destination: Endpoint | None
    boxes: tuple[Middlebox, ...]
    protocol: Protocol | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirror(Pledge):
    """Copies of what passes some ports. ``ports`` and ``output`` are as Tegu had them, without tokens."""

    kind: ClassVar[Kind] = Kind.MIRROR
    ports: tuple[str, ...]
    output: str
    vlans: tuple[int, ...]
    """0..4095; none: all."""
    options: str
    physical_host: str
