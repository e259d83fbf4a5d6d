"""Asking for the rows of a file at their time, on compressed time."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, Protocol

from asa.errors import AsaError, NotReady, Unreachable
from lab.domain.demand import Row
from lab.domain.verdicts import Outcome, Verdict

SHORTEST_S: Final = 2
"""No window is compressed below it."""
PATIENCE_MS: Final = 20_000
"""Those who are refused learn it as soon as nobody has it; a machine that is busy otherwise must not refuse any."""
WORKERS: Final = 32
"""Consumers that wait for an answer at once; above it rows are late."""
AGAIN_S: Final = 0.2
GIVE_UP_S: Final = 40.0
"""An agent that does not answer is asked again so long, always with the same key."""


class Asked(Protocol):
    """What the player needs of an agent."""

    def client(self, patience_ms: int = 0) -> Any: ...


@dataclass(frozen=True, slots=True)
class Timing:
    """From the file's seconds to the clock's. ``origin``: UNIX seconds of the file's begin."""

    origin: float
    speed: float

    def due(self, row: Row) -> float:
        """When the row is asked for."""
        return self.origin + row.at / self.speed

    def window(self, row: Row, now: float) -> tuple[int, int | None]:
        """In whole UNIX seconds; at least SHORTEST_S of it lie ahead of ``now``."""
        start = round(self.origin + row.start / self.speed)
        if row.end is None:
            return start, None
        end = round(self.origin + row.end / self.speed)
        return start, max(end, max(start, math.ceil(now)) + SHORTEST_S)

    def file_time(self, now: float) -> float:
        """Seconds of the file."""
        return max(0.0, (now - self.origin) * self.speed)


def reserve(
    agent: Asked,
    row: Row,
    window: tuple[int, int | None],
    owner: str,
    stopped: Callable[[], bool],
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
    late_s: float = 0.0,
) -> Verdict:
    """Ask until there is an answer. An agent that died was asked, perhaps in vain, so the key stays the same."""
    body = {
        "pool": row.pool, "rate": row.rate, "start": window[0], "end": window[1], "source": row.source,
        "destination": row.destination, "owner": owner, "labels": [row.label] if row.label else [],
        "patience_ms": PATIENCE_MS, "kind": "two-way" if row.back else "one-way", "back": row.back,
    }  # fmt: skip
    begin = clock()
    attempts = 0
    reason = "stopped"
    outcome: Outcome = "unanswered"
    view: dict[str, Any] = {"id": "", "start": 0, "end": None}
    peers: tuple[str, ...] = ()
    while not stopped():
        attempts += 1
        try:
            view = agent.client(PATIENCE_MS).request(
                "POST", "/v1/reservations", body, headers={"Idempotency-Key": owner}
            )
            outcome, reason = "admitted", ""
            break
        except (Unreachable, NotReady) as error:
            reason = error.code
            if "node" in error.details:
                # The agent that would have the other end, and not this one.
                outcome = "refused"
                break
            if clock() - begin > GIVE_UP_S:
                break
            sleep(AGAIN_S)
        except AsaError as error:
            reason, peers = error.code, tuple(error.details.get("peers_asked", ()))
            # What became of an attempt that was cut off by a crash, a window that passed meanwhile does not tell.
            outcome = "unanswered" if attempts > 1 and error.code == "bad-window" else "refused"
            break
    return Verdict(
        row,
        owner,
        outcome,
        reason,
        view["id"],
        view["start"],
        view["end"],
        attempts,
        late_s,
        clock() - begin,
        peers,
    )


class Player:
    """Plays rows, which are in order of time, from a thread of its own."""

    def __init__(
        self,
        rows: Sequence[Row],
        timing: Timing,
        ask: Callable[[Row, tuple[int, int | None], float], None],
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """``ask(row, window, late_s)`` is called in threads, at most WORKERS at once."""
        self.timing = timing
        self._rows = rows
        self._ask = ask
        self._clock = clock
        self._sleep = sleep
        self._stopping = False
        self._failures: list[BaseException] = []
        self._done = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self.play, name="player", daemon=True).start()

    def stop(self) -> None:
        self._stopping = True

    @property
    def stopping(self) -> bool:
        return self._stopping

    @property
    def done(self) -> bool:
        """Whether every row has its answer. Raises what went wrong in a thread."""
        if self._failures:
            raise self._failures[0]
        return self._done.is_set()

    def play(self) -> None:
        """To the end, or until stopped."""
        with ThreadPoolExecutor(WORKERS, "consumer") as consumers:
            for row in self._rows:
                while not self._stopping and (wait := self.timing.due(row) - self._clock()) > 0:
                    self._sleep(min(wait, 0.05))
                if self._stopping:
                    break
                consumers.submit(self._one, row).add_done_callback(self._note)
        self._done.set()

    def _one(self, row: Row) -> None:
        if not self._stopping:
            now = self._clock()
            self._ask(row, self.timing.window(row, now), now - self.timing.due(row))

    def _note(self, future: Future[None]) -> None:
        if not future.cancelled() and (error := future.exception()) is not None:
            self._failures.append(error)
