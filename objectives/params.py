"""``EX1.Params``: the policy all agents of a domain share, flooded and synchronized. No I/O.

Every parameter has a default with which an agent works out of the box, and bounds; a value out of bounds leaves the
old one in force (RFC 9222 §8). Of two policies the one with the higher serial wins, of equal serials the one whose
issuer sorts last, so that all agents end with the same. Serial 0 is never news. An agent's fair share is what origins
seeded in a pool, divided by the number of agents.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from objectives.fields import MAX_RATE, Fields, InvalidValue, check_name, shown

NAME: Final = "Params"
MAX_SERIAL: Final = 2**53
AHEAD_MS: Final = 60_000
"""How far the clock of who set a policy may be ahead of ours."""

Value = int | bool


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter. A switch is one whose default is a bool; its bounds are 0 and 1."""

    default: Value
    low: int
    high: int
    unit: str
    about: str

    def refusal(self, value: object) -> str | None:
        """Why ``value`` is refused; None if it is not."""
        if type(self.default) is bool:
            return None if type(value) is bool else f"must be true or false, not {shown(value)}"
        if type(value) is not int or not self.low <= value <= self.high:
            return f"must be an integer {self.low}..{self.high} {self.unit}, not {shown(value)}"
        return None


PARAMETERS: Final[Mapping[str, Parameter]] = {
    "low_water": Parameter(10, 0, 100, "%", "a delegator asks peers when less of its fair share than this is free"),
    "refill": Parameter(25, 0, 100, "%", "and asks for so much that this is free; 0: never"),
    "high_water": Parameter(50, 0, 100, "%", "a delegator returns what is free above this part of it; 100: never"),
    "horizon": Parameter(3_600, 1, 31_536_000, "s", "free means free for this long from now"),
    "lease": Parameter(7_200, 0, 31_536_000, "s", "how long a stock is asked for; 0: permanently"),
    "permanent": Parameter(True, 0, 1, "", "capacity may be granted for ever"),
    "guard": Parameter(1, 0, 3_600, "s", "kept free on both sides of a borrowed window, against clock skew"),
    "hold": Parameter(120, 1, 3_600, "s", "how long what a dry run offered is kept"),
    "least_grant": Parameter(1_000_000, 1, MAX_RATE, "bit/s", "a smaller part of what is asked is not offered"),
    "relay_depth": Parameter(2, 0, 6, "", "third parties asked in a chain on behalf of one requester"),
    "max_window": Parameter(31_622_400, 60, 3_162_240_000, "s", "the longest reservation with an end"),
    "flood_interval": Parameter(60, 1, 3_600, "s", "between two floods of the policy, and of each agent's state"),
    "settle_interval": Parameter(
        5, 1, 3_600, "s", "before a transfer in doubt is asked about; doubled at each failure"
    ),
    "history": Parameter(86_400, 0, 31_536_000, "s", "how long ended reservations can be looked at"),
    "alarm": Parameter(90, 0, 100, "%", "an event tells when so much of a pool or link is booked; 0: never"),
    "max_hold": Parameter(
        3_600, 1, 86_400, "s", "the longest time a consumer may have capacity held without booking it"
    ),
    "retry": Parameter(60, 1, 3_600, "s", "between two attempts to place what is parked"),
}


def defaults() -> dict[str, Value]:
    return {name: each.default for name, each in PARAMETERS.items()}


@dataclass(frozen=True, slots=True)
class Params:
    """A policy: every parameter has a value within its bounds. Serial 0 is the defaults, issued by nobody."""

    serial: int = 0
    issuer: str = ""
    values: Mapping[str, Value] = field(default_factory=defaults)

    def __getitem__(self, name: str) -> int:
        return int(self.values[name])

    def newer_than(self, other: Params) -> bool:
        return self.serial > 0 and (self.serial, self.issuer) > (other.serial, other.issuer)

    def changed(self, issuer: str, values: Mapping[str, object]) -> Params:
        """The next policy, by ``issuer``. Raises :class:`InvalidValue` for an unknown name or a refused value."""
        merged = dict(self.values)
        for name, value in values.items():
            if name not in PARAMETERS:
                raise InvalidValue(f"there is no parameter {shown(name)}; there are {', '.join(PARAMETERS)}")
            refusal = PARAMETERS[name].refusal(value)
            if refusal is not None:
                raise InvalidValue(f"{name} {refusal}")
            assert isinstance(value, int)
            merged[name] = value
        return Params(self.serial + 1, issuer, merged)

    def to_value(self) -> dict[str, Any]:
        return {"serial": self.serial, "issuer": self.issuer, "values": dict(self.values)}


def highest_serial(now: float) -> int:
    """The highest that is believed at ``now`` (UNIX s): as if there had been a policy in every ms since 1970.

    It grows faster than anybody sets policies, so no serial taken once is the last. It is the same for an agent that
    was away and one that was not, which a longest step from what each has in force is not.
    """
    return max(0, int(now * 1000)) + AHEAD_MS


def params_from_value(value: object, old: Params) -> tuple[Params, list[str]]:
    """A received policy, and why parts of it were refused: a refused or missing parameter keeps its ``old`` value.

    Raises :class:`InvalidValue` if serial, issuer or the map itself are wrong, or serial 0 is not the defaults.
    """
    fields = Fields(value, "params")
    serial = fields.integer("serial", 0, MAX_SERIAL)
    issuer = fields.text("issuer", 63)
    if serial:
        check_name(issuer, "params.issuer")
    received = fields.map("values")
    if not serial:
        if issuer or any(received.get(name, each.default) != each.default for name, each in PARAMETERS.items()):
            raise InvalidValue("params.serial 0 is that of the defaults, which nobody issued")
        return Params(), []
    merged, refused = dict(old.values), []
    for name, parameter in PARAMETERS.items():
        if name not in received:
            continue
        refusal = parameter.refusal(received[name])
        if refusal is None:
            merged[name] = received[name]
        else:
            refused.append(f"{name} {refusal}")
    return Params(serial, issuer, merged), refused
