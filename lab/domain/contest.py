"""One flow against greedy ones for a line that is too small for all, without its reservation and then with it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

from asa.errors import AsaError
from asa.quantities import format_rate
from lab.domain.agents import Agent
from lab.domain.places import ACCESS, Access, guarded
from lab.traffic import Flow, TrafficError, measure

CAPACITY: Final = 100_000_000
"""bit/s of the line to the receiver."""
RATE: Final = 20_000_000
"""bit/s of the flow, offered and reserved; headers of Ethernet, IP and TCP are part of what is reserved."""
KEPT: Final = 90
"""Percent of RATE that must arrive of its content."""
GREEDY: Final = 8
PORT: Final = 5_001
SECONDS: Final = 2.0
"""Of each measurement."""
WINDOW_S: Final = 60
IN_FORCE_S: Final = 10.0

SECTIONS: Final = f"""
[[link]]
interface = "{{interface}}"
capacity = {CAPACITY}

[[route]]
prefix = "{ACCESS[0].format(0)}/24"
pools = []

[[route]]
prefix = "{ACCESS[1].format(0)}/24"
pools = []
"""
"""Of the agent's configuration: the line, and that it alone counts on this way."""


@dataclass(slots=True)
class Contest:
    """Rates in bit/s, as the receiver counts them."""

    agent: str
    capacity: int
    rate: int
    greedy: int
    without: int = 0
    """Of the flow; ``others``: of all greedy ones together."""
    others_without: int = 0
    reserved: int = 0
    others_reserved: int = 0
    failed: str = ""
    """Why it could not be held, or not to its end."""

    @property
    def failure(self) -> str | None:
        """Why the reservation is not worth its name, if it is not."""
        if self.failed:
            return f"no flow could be measured: {self.failed}"
        if self.reserved * 100 < self.rate * KEPT:
            return f"of {format_rate(self.rate)} reserved only {_shown(self.reserved)} arrived"
        return None

    def summary(self) -> dict[str, Any]:
        return asdict(self)


def contest(agent: Agent, access: Access, say: Callable[[str], None]) -> Contest:
    """Takes some seconds; the reservation is cancelled at its end."""
    found = Contest(agent.name, CAPACITY, RATE, GREEDY)
    receiver, sender = ACCESS[1].format(2), ACCESS[0].format(2)
    flows = [
        Flow(access.sender, access.receiver, receiver, PORT, rate=RATE, length=16_384),
        Flow(access.sender, access.receiver, receiver, PORT + 1, streams=GREEDY),
    ]

    def rates() -> list[int]:
        return [round(each) for each in measure(flows, SECONDS, command=guarded)]

    say(
        f"behind {agent.name}: a flow of {format_rate(RATE)} against {GREEDY} greedy ones, on a line of"
        f" {format_rate(CAPACITY)}"
    )
    try:
        found.without, found.others_without = rates()
        say(f"  without a reservation it gets {_shown(found.without)}, the others {_shown(found.others_without)}")
        wanted = {
            "kind": "two-way", "source": sender, "destination": f"{receiver}:{PORT}", "protocol": "tcp",
            "rate": RATE, "back": RATE // 10, "traffic": "voice", "end": int(time.time()) + WINDOW_S,
            "owner": "contest",
        }  # fmt: skip
        identifier = agent.request("POST", "reservations", wanted)["id"]
        _in_force(agent, identifier)
        found.reserved, found.others_reserved = rates()
        say(f"  with its reservation it gets {_shown(found.reserved)}, the others {_shown(found.others_reserved)}")
        agent.request("DELETE", f"reservations/{identifier}")
    except (AsaError, TrafficError, _NotInForce) as error:
        found.failed = str(error)
        say(f"  it could not be measured: {error}")
    return found


class _NotInForce(RuntimeError):
    """The agent says why."""


def _in_force(agent: Agent, identifier: str) -> None:
    deadline = time.monotonic() + IN_FORCE_S
    while True:
        view = agent.request("GET", f"reservations/{identifier}")
        if view["state"] == "active":
            return
        if time.monotonic() > deadline:
            raise _NotInForce(f"the reservation is {view['state']}: {view['why'] or 'no reason is given'}")
        time.sleep(0.05)


def _shown(rate: int) -> str:
    """In tenths of Mbit/s: what was measured is not more exact."""
    return f"{rate / 10**6:.1f}Mbit"
