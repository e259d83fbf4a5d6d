"""What the user may choose, as environment variables. A bad value is told by the name of its variable."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeVar

from asa.errors import BadRequest
from asa.quantities import parse_rate
from lab.domain.topology import FEWEST, MOST, Topology, TopologyError, line, read, ring, star, tree

SHAPES: Final[Mapping[str, Callable[[int], Topology]]] = {"line": line, "ring": ring, "star": star}
DAY_S: Final = 86_400
USUAL_S: Final = 72
"""Seconds a day takes without SPEED."""
USUAL_SPEED: Final = DAY_S / USUAL_S
USUAL_SEED: Final = 10_000_000_000
USUAL_NODES: Final = 4
FASTEST: Final = 100_000.0
SLOWEST: Final = 0.01

Where = Literal["namespaces", "loopback"]
T = TypeVar("T")


class BadSetting(ValueError):
    """A variable that cannot be used: its name, what is wrong, what is allowed."""

    def __init__(self, name: str, wrong: str, allowed: str) -> None:
        super().__init__(f"{name} {wrong}; allowed: {allowed}")
        self.name = name


@dataclass(frozen=True, slots=True)
class Settings:
    """What to build, what to play on it, and how to tell."""

    topology: Topology
    reservations: Path | None = None
    """None: the day of ``examples/``."""
    speed: float = USUAL_SPEED
    """Seconds of the file per second of the clock."""
    seed: int = USUAL_SEED
    """bit/s of each pool."""
    json: bool = False
    once: bool = False
    where: Where | None = None
    """None: namespaces, or loopback where there can be none."""
    capture: Path | None = None
    """What crosses the links is written there."""


def settings(environment: Mapping[str, str]) -> Settings:
    """An empty variable is one that is not set. Raises :class:`BadSetting`."""
    given = {name: value.strip() for name, value in environment.items() if value.strip()}

    def read_or(name: str, reader: Callable[[str], T], usual: T) -> T:
        return reader(given[name]) if name in given else usual

    return Settings(
        _topology(given.get("TOPOLOGY"), read_or("NODES", _nodes, None)),
        read_or("RESERVATIONS", _file, None),
        read_or("SPEED", _speed, USUAL_SPEED),
        read_or("SEED", _seed, USUAL_SEED),
        read_or("JSON", _switch("JSON"), False),
        read_or("ONCE", _switch("ONCE"), False),
        read_or("LAB", _where, None),
        read_or("CAPTURE", _capture, None),
    )


def _topology(text: str | None, nodes: int | None) -> Topology:
    shape = tree if text is None else SHAPES.get(text)
    try:
        if shape is not None:
            return shape(USUAL_NODES if nodes is None else nodes)
    except TopologyError as error:
        raise BadSetting("NODES", f"is {nodes}: {error}", error.allowed) from None
    assert text is not None
    path = Path(text)
    if not path.is_file():
        raise BadSetting("TOPOLOGY", f"is {text!r}: no such file", f"{', '.join(SHAPES)}, or a file (docs/lab.md)")
    if nodes is not None:
        raise BadSetting("NODES", f"is {nodes}, and TOPOLOGY a file, which names its nodes", "one of the two")
    try:
        return read(path)
    except TopologyError as error:
        raise BadSetting("TOPOLOGY", f"is {text!r}: {error}", error.allowed) from None


def _nodes(text: str) -> int:
    if not re.fullmatch("[0-9]{1,9}", text, re.ASCII) or not FEWEST <= int(text) <= MOST:
        raise BadSetting("NODES", f"is {text!r}", f"a number of agents, {FEWEST}..{MOST}")
    return int(text)


def _file(text: str) -> Path:
    path, allowed = Path(text), "a file whose name ends in .csv or .json (docs/lab.md)"
    if path.suffix not in (".csv", ".json"):
        raise BadSetting("RESERVATIONS", f"is {text!r}: neither .csv nor .json", allowed)
    if not path.is_file():
        raise BadSetting("RESERVATIONS", f"is {text!r}: no such file", allowed)
    return path


def _speed(text: str) -> float:
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not SLOWEST <= speed <= FASTEST:
        raise BadSetting("SPEED", f"is {text!r}", f"seconds of the day per second, {SLOWEST:g}..{FASTEST:g}")
    return speed


def _seed(text: str) -> int:
    try:
        return parse_rate(text)
    except BadRequest as error:
        raise BadSetting("SEED", f"is {text!r}: {error.hint}", "a rate, such as 10Gbit") from None


def _switch(name: str) -> Callable[[str], bool]:
    def read_switch(text: str) -> bool:
        if text not in ("0", "1"):
            raise BadSetting(name, f"is {text!r}", "1, or 0")
        return text == "1"

    return read_switch


def _where(text: str) -> Where:
    if text == "namespaces":
        return "namespaces"
    if text == "loopback":
        return "loopback"
    raise BadSetting("LAB", f"is {text!r}", "namespaces or loopback")


def _capture(text: str) -> Path:
    path = Path(text).absolute()
    if path.suffix != ".pcap" or not path.parent.is_dir():
        raise BadSetting("CAPTURE", f"is {text!r}", "a file whose name ends in .pcap, in a directory that is there")
    return path
