"""What the agents hold and what moves between them, as they tell it themselves over their APIs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from asa.errors import AsaError
from lab.domain.agents import Agent

INTERVAL_S: Final = 0.5
PAGE: Final = 1_000
STOP_S: Final = 5.0
"""An agent that hangs is not waited for longer."""
MOVES: Final = {"capacity-given": True, "capacity-returned": True, "capacity-taken": False}
"""Events of a transfer, and whether the agent that tells of it is the one that gave."""


@dataclass(frozen=True, slots=True)
class Move:
    """Capacity that changed hands for a window; rate in bit/s."""

    source: str
    target: str
    pool: str
    rate: int


@dataclass(slots=True)
class Seen:
    """One agent as last seen; rates in bit/s, over all pools."""

    up: bool = False
    held: int = 0
    committed: int = 0
    free: int = 0
    in_doubt: int = 0
    """bit/s in transfers whose outcome is not known."""
    reservations: int = 0


@dataclass(slots=True)
class Moves:
    """Every transfer once, whichever side tells of it, or both. No I/O."""

    by_txn: dict[str, Move] = field(default_factory=dict)

    def note(self, agent: str, event: Mapping[str, Any]) -> Move | None:
        """The move, if the event tells of one that was not known."""
        gave = MOVES.get(event["kind"])
        said = event["fields"]
        if gave is None or "txn" not in said or said["txn"] in self.by_txn:
            return None
        peer = said["peer"].partition("#")[0]
        source, target = (agent, peer) if gave else (peer, agent)
        move = self.by_txn[said["txn"]] = Move(source, target, said["pool"], said["rate"])
        return move

    def summary(self) -> dict[str, Any]:
        """Sums, bit/s, over all and by pair."""
        pairs: dict[tuple[str, str], list[int]] = {}
        for move in self.by_txn.values():
            pairs.setdefault((move.source, move.target), []).append(move.rate)
        return {
            "transfers": len(self.by_txn),
            "rate": sum(each.rate for each in self.by_txn.values()),
            "between": [
                {"from": source, "to": target, "transfers": len(rates), "rate": sum(rates)}
                for (source, target), rates in sorted(pairs.items())
            ],
        }


class Watch:
    """Looks at every agent in turn, from a thread of its own. What it shows is at most a few intervals old."""

    def __init__(self, agents: Sequence[Agent]) -> None:
        self.seen = {agent.name: Seen() for agent in agents}
        self._agents = agents
        self._moves = Moves()
        self._after: dict[str, tuple[int, int]] = {}
        self._news: list[str] = []
        self._lock = threading.Lock()
        self._looking = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        self.look()
        self._thread.start()

    def stop(self) -> None:
        """Wait for it, in any thread but its own; what it is looking at may be gone already. Repeatable."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(STOP_S)

    def moved(self) -> dict[str, Any]:
        with self._lock:
            return self._moves.summary()

    def transfers(self) -> int:
        with self._lock:
            return len(self._moves.by_txn)

    def news(self) -> list[str]:
        """What an operator would want to see, since the last call."""
        with self._lock:
            found, self._news = self._news, []
        return found

    def _run(self) -> None:
        while not self._stopping.wait(INTERVAL_S):
            self._look(self._stopping.is_set)

    def look(self) -> None:
        """At every agent, once."""
        self._look(lambda: False)

    def _look(self, ended: Callable[[], bool]) -> None:
        with self._looking:
            for agent in self._agents:
                if ended():
                    return
                try:
                    self.seen[agent.name] = _seen(agent.request("GET", "pools"))
                    self._listen(agent)
                except AsaError:
                    self.seen[agent.name] = Seen()

    def _listen(self, agent: Agent) -> None:
        life = agent.life
        # The numbers begin anew with every life.
        before, after = self._after.get(agent.name, (life, 0))
        after = after if before == life else 0
        while True:
            page = agent.request("GET", "events", after=after, limit=PAGE)
            after = page["next"]
            with self._lock:
                for event in page["events"]:
                    self._moves.note(agent.name, event)
                    if event["kind"] in ("transfer-settled", "transfer-in-doubt"):
                        self._news.append(f"{agent.name}: {event['message']} ({event['fields']['txn'][:8]})")
            if len(page["events"]) < PAGE:
                break
        self._after[agent.name] = (life, after)


def _seen(pools: Iterable[Mapping[str, Any]]) -> Seen:
    found = Seen(up=True)
    for pool in pools:
        found.held += pool["held"]
        found.committed += pool["committed"]
        found.free += pool["free"]
        found.in_doubt += pool["in_doubt"]
        found.reservations += pool["reservations"]
    return found
