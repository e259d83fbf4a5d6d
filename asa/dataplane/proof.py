"""Whether packets got what was reserved for them: counters of an interval against the contract. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from asa.dataplane.backend import Counters
from asa.dataplane.plan import Share
from asa.errors import BadRequest

STARVED_BELOW: Final = 90
"""Percent of the guarantee."""

IDLE_BELOW: Final = 1
"""Percent of the guarantee."""

EXCEEDED_FROM: Final = 95
"""Percent of the ceiling."""

LONG_QUEUE: Final = 15_000
"""Bytes that wait, from which on a queue is no accident of the instant it was looked at: ten full packets, a tenth of
what a queue holds. One of small packets shows by those it drops."""


class Verdict(StrEnum):
    KEPT = "kept"
    """They got what they sent."""
    IDLE = "idle"
    """They sent next to nothing."""
    EXCEEDED = "exceeded"
    """More came than the ceiling lets through."""
    STARVED = "starved"
    """They got less than the guarantee, and others than they themselves held them up."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What the packets of an entry did in an interval of ``seconds``."""

    verdict: Verdict
    seconds: float
    rate: int
    """bit/s that went through on average, rounded down."""
    bytes: int
    packets: int
    dropped: int
    """Packets."""
    borrowed: int
    """Packets sent beyond the guarantee."""
    total: Counters
    """Since the class was made, at the end of the interval."""

    @property
    def backlog(self) -> int:
        """Bytes that wait at the end of the interval."""
        return self.total.backlog


def judged(before: Counters, after: Counters, seconds: float, share: Share) -> Usage:
    """The interval between two counts, ``seconds`` apart. Raises BadRequest if that is no time.

    A class that was made anew in between counts from 0 again: then the interval has what it counted, which is less
    than there was, and nobody is said to have starved.

    - starved: less than STARVED_BELOW percent of the guarantee went through, though packets were dropped or a long
      queue waits at the end; and it was not the ceiling that held them up: they never were at it, or a long queue
      waited at the beginning too. A transfer that began within the interval has not starved.
    - idle: else, less than IDLE_BELOW percent of the guarantee went through.
    - exceeded: else, EXCEEDED_FROM percent of the ceiling or more went through, and packets were held up or dropped.
    - kept: else.
    """
    if not seconds > 0:
        raise BadRequest(f"an interval of {seconds!r:.20} s")
    anew = after.bytes < before.bytes or after.packets < before.packets or after.dropped < before.dropped
    since = Counters(0, 0, 0, 0, 0) if anew else before
    sent, dropped = after.bytes - since.bytes, after.dropped - since.dropped
    overlimits = max(0, after.overlimits - since.overlimits)
    rate = int(sent * 8 / seconds)
    waits, waited = after.backlog >= LONG_QUEUE, before.backlog >= LONG_QUEUE
    verdict = Verdict.KEPT
    if (
        not anew
        and rate * 100 < share.guarantee * STARVED_BELOW
        and (dropped > 0 or waits)
        and (overlimits == 0 or (waited and waits))
    ):
        verdict = Verdict.STARVED
    elif rate * 100 < share.guarantee * IDLE_BELOW:
        verdict = Verdict.IDLE
    elif rate * 100 >= share.ceiling * EXCEEDED_FROM and (overlimits > 0 or dropped > 0):
        verdict = Verdict.EXCEEDED
    borrowed = max(0, after.borrowed - since.borrowed)
    return Usage(verdict, seconds, rate, sent, after.packets - since.packets, dropped, borrowed, after)
