"""The crash: SIGKILL for an agent in the middle of a transfer, its restart, and what becomes of the transfer.

The agent is made to need capacity for windows far ahead, for which only its peers have some, several at a time. Its
peers are asked without a pause which transfers they have open with it, and at the first sight of one it is killed.
It may have finished that one meanwhile: then nothing is in doubt afterwards, and it is tried again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from asa.errors import AsaError
from asa.quantities import format_rate
from lab.domain.agents import Agent
from lab.domain.demand import Row
from lab.domain.stop import Stop

ATTEMPTS: Final = 12
VOLLEY: Final = 6
"""Reservations asked for at once."""
RATE: Final = 50_000_000
"""bit/s of each beyond what the agent has itself, or a part of the seed if that is small."""
AHEAD_S: Final = 7_200
"""The window of the first volley begins so long from now, those of the next later: nobody has anything there yet."""
WINDOW_S: Final = 60
WATCHED: Final = 6
"""Peers that are asked without a pause."""
SIGHT_S: Final = 5.0
NOTICED_S: Final = 2.0
"""Givers have noticed by then that their requester is gone."""
READY_S: Final = 30.0
SETTLED_S: Final = 90.0


@dataclass(slots=True)
class Crash:
    """What happened. Transfers as the givers tell them."""

    node: str
    attempts: int = 0
    kills: int = 0
    kills_in_transfer: int = 0
    transfers: list[dict[str, Any]] = field(default_factory=list)
    """Those in doubt after the kill that counts, before the restart; ``outcome`` is what the giver has in the end."""
    settled: bool = False
    down_s: float = 0.0
    """From the last kill until reservations were accepted again."""
    settled_s: float | None = None
    """From then until none of the transfers was in doubt."""

    @property
    def ok(self) -> bool:
        return self.kills_in_transfer > 0 and self.settled

    def summary(self) -> dict[str, Any]:
        return asdict(self)


def crash(
    victim: Agent,
    peers: Sequence[Agent],
    pool: str,
    seed: int,
    ask: Callable[[Row, tuple[int, int | None], float], None],
    stop: Stop,
    say: Callable[[str], None],
) -> Crash:
    """Kill ``victim`` until it hit an open transfer, at most ATTEMPTS times; it runs again at the end.

    ``ask`` reserves like any consumer, and waits for the answer. ``seed``: bit/s of the pool.
    """
    found = Crash(victim.name)
    while found.attempts < ATTEMPTS and not found.kills_in_transfer:
        shots = _volley(victim, pool, seed, found.attempts, ask)
        found.attempts += 1
        if not _kill_on_sight(victim, peers[:WATCHED], shots, stop):
            say(f"{victim.name} had no transfer to be seen; once more")
        elif not _recovered(found, victim, peers, stop, say):
            break
        _answered(shots, stop)
    return found


def _recovered(found: Crash, victim: Agent, peers: Sequence[Agent], stop: Stop, say: Callable[[str], None]) -> bool:
    """After a kill: what it left in doubt, the restart, what became of it. False if there is no coming back."""
    found.kills += 1
    at = time.monotonic()
    # They show as in doubt once the givers have noticed that the sessions are over.
    stop.until(lambda: not any(_running(peer, victim) for peer in peers), NOTICED_S)
    found.transfers = in_doubt(victim, peers)
    if found.transfers:
        found.kills_in_transfer += 1
        say(f"{victim.name} was killed with SIGKILL in {_counted(len(found.transfers))}, in doubt now:")
        for each in found.transfers:
            say(f"  {each['from']} → {victim.name} {format_rate(each['rate'])} ({each['txn'][:8]})")
    else:
        say(f"{victim.name} was killed with SIGKILL, just after its transfers")
    victim.start()
    ready = stop.until(victim.ready, READY_S)
    found.down_s = round(time.monotonic() - at, 3)
    if not ready:
        say(f"{victim.name} does not come back: {victim.tail()}")
        return False
    say(f"{victim.name} is back after {found.down_s:.1f} s")
    if found.transfers:
        _settle(found, peers, stop, say)
    return True


def _answered(shots: Sequence[threading.Thread], stop: Stop) -> None:
    """Wait until nobody of a volley waits any more."""
    stop.until(lambda: not any(each.is_alive() for each in shots), SETTLED_S)


def _volley(
    victim: Agent,
    pool: str,
    seed: int,
    attempt: int,
    ask: Callable[[Row, tuple[int, int | None], float], None],
) -> list[threading.Thread]:
    """Consumers that ask for windows of their own, all at once."""
    first = int(time.time()) + AHEAD_S + attempt * VOLLEY * 2 * WINDOW_S
    shots = []
    own = victim.request("GET", "availability", pool=pool, start=first, end=first + VOLLEY * 2 * WINDOW_S)["free"]
    rate = own + max(1, min(RATE, seed // 100))
    for number in range(VOLLEY):
        start = first + number * 2 * WINDOW_S
        row = Row(0, victim.name, pool, rate, 0, WINDOW_S, label="asked for before the crash")
        shots.append(threading.Thread(target=ask, args=(row, (start, start + WINDOW_S), 0.0), daemon=True))
    for each in shots:
        each.start()
    return shots


def _kill_on_sight(victim: Agent, peers: Sequence[Agent], shots: Sequence[threading.Thread], stop: Stop) -> bool:
    """Kill at the first sight of an open transfer, or not at all if all shots are answered before."""
    sighted = threading.Event()
    over = threading.Event()

    def look(peer: Agent) -> None:
        while not over.is_set():
            try:
                if _running(peer, victim):
                    sighted.set()
                    return
            except AsaError:
                return

    for peer in peers:
        threading.Thread(target=look, args=(peer,), daemon=True).start()
    try:
        deadline = time.monotonic() + SIGHT_S
        while not sighted.wait(0.01):
            stop.check()
            if time.monotonic() > deadline or not any(each.is_alive() for each in shots):
                return False
        victim.kill()
        return True
    finally:
        over.set()


def _given(peer: Agent, **query: Any) -> list[dict[str, Any]]:
    listed = peer.request("GET", "transfers", **query)
    return [{**each, "from": peer.name} for each in listed if each["direction"] == "given"]


def _running(peer: Agent, victim: Agent) -> bool:
    """Whether ``peer`` has anything in escrow for the victim, in a session that is not over."""
    return any(each["state"] == "escrow" and not each["in_doubt"] and _to(each) == victim.name for each in _given(peer))


def in_doubt(victim: Agent, peers: Sequence[Agent]) -> list[dict[str, Any]]:
    """Transfers to the victim that are in doubt, by those who gave."""
    found = [each for peer in peers for each in _given(peer, in_doubt=True) if _to(each) == victim.name]
    return [{key: each[key] for key in ("txn", "from", "pool", "rate", "blocks")} for each in found]


def _to(transfer: dict[str, Any]) -> str:
    name: str = transfer["peer"].partition("#")[0]
    return name


def _settle(found: Crash, peers: Sequence[Agent], stop: Stop, say: Callable[[str], None]) -> None:
    """Wait until no transfer of the crash is in escrow any more, and note what became of each."""
    begin = time.monotonic()
    states: dict[str, str] = {}

    def settled() -> bool:
        for peer in peers:
            states.update({each["txn"]: each["state"] for each in _given(peer)})
        return all(states.get(each["txn"]) != "escrow" for each in found.transfers)

    found.settled = stop.until(settled, SETTLED_S, 0.2)
    found.settled_s = round(time.monotonic() - begin, 3)
    for each in found.transfers:
        each["outcome"] = states.get(each["txn"], "unknown")
    outcomes = ", ".join(f"{each['outcome']} ({each['txn'][:8]})" for each in found.transfers)
    say(f"settled after {found.settled_s:.1f} s: {outcomes}" if found.settled else f"still not settled: {outcomes}")


def _counted(transfers: int) -> str:
    return "a transfer" if transfers == 1 else f"{transfers} transfers"
