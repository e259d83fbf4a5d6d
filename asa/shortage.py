"""Why capacity falls short: where, by how much, and what would fit instead. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final

from asa.calendar import Calendar
from asa.errors import LinkShort, Short
from asa.ledger import Ledger
from asa.records import Reservation, is_link
from asa.views import Offer, Refusal, Shortage
from objectives import Window

SHORTAGES: Final = 16
"""Windows named in one refusal."""

FEW: Final = 6
"""Windows obtained one by one for one reservation."""

PIECES: Final = 64
"""Changes looked at within one window that falls short."""

LOOKS: Final = 16
"""Times every resource is looked at for a start that suits all."""


@dataclass(frozen=True, slots=True)
class Said:
    """What peers answered who were asked for more."""

    refusals: Sequence[str] = ()
    """A line each, the peer's name first."""
    could: int = 0
    """bit/s they said they would add."""


NOTHING: Final = Said()


def short(
    ledger: Ledger,
    wanted: Reservation,
    resource: str,
    amounts: Mapping[str, int],
    window: Window,
    said: Said = NOTHING,
    has: int = 0,
) -> Short:
    """The refusal of ``amounts``, each above 0, over a window because of one resource: where it falls short, by how
    much, and what would fit instead, of all of them. ``has``: what a reservation to be changed has of it already.
    """
    rate = amounts[resource]
    start = max(window.start, ledger.floor)
    gaps = shortages(ledger, resource, rate, window, SHORTAGES)
    duration = None if window.end is None else window.end - window.start
    # A lower rate is of those that reserve their rate everywhere; of two directions it would not be one.
    alike = not wanted.back and has + rate == wanted.rate and set(amounts.values()) == {rate}
    free = min(max(0, ledger.free(each, window)) + (said.could if each == resource else 0) for each in amounts)
    lower = max(has + 1, _readable(has + free)) if alike and 0 < free < rate else 0
    later = None if has else _earliest(ledger, amounts, duration, start)
    first = [each[0].start for each in (shortages(ledger, name, amounts[name], window, 1) for name in amounts) if each]
    shorter = min(first) if first and min(first) > start else None
    refusal = Refusal(
        resource=resource,
        shortages=gaps,
        lower_rate=Offer(lower, window.start, window.end) if lower else None,
        later_start=Offer(wanted.rate, later, None if duration is None else later + duration)
        if later is not None
        else None,
        shorter=Offer(wanted.rate, window.start, shorter) if shorter is not None else None,
        peers_asked=list({each.partition(":")[0]: each for each in said.refusals}.values()),
    )
    missing = max((each.missing for each in gaps), default=0)
    windows = "1 window" if len(gaps) == 1 else f"{len(gaps)} windows{' or more' if len(gaps) == SHORTAGES else ''}"
    return (LinkShort if is_link(resource) else Short)(
        f"{resource}: {missing} bit/s of {rate} are missing at worst, in {windows}, first at"
        f" {gaps[0].start if gaps else start}",
        hint="see details for what would fit",
        details=asdict(refusal),
    )


def _earliest(ledger: Ledger, amounts: Mapping[str, int], duration: int | None, start: int) -> int | None:
    """When all of it fits; None if never, or not within LOOKS steps from one resource's first time to another's."""
    at: int | None = start
    for _ in range(LOOKS):
        began = at
        for resource, amount in amounts.items():
            calendar = _calendar(ledger, resource)
            if calendar is not None and at is not None:
                at = calendar.earliest(amount, duration, at)
        if at is None or at == began:
            return at
    return None


def _calendar(ledger: Ledger, resource: str) -> Calendar | None:
    """None if it is without limit."""
    if is_link(resource):
        return ledger.calendar(resource)
    return ledger.account(resource).free


def _readable(rate: int) -> int:
    """Rounded down to four significant digits."""
    step: int = 10 ** max(0, len(str(rate)) - 4)
    return rate // step * step


def shortages(ledger: Ledger, resource: str, rate: int, window: Window, most: int) -> list[Shortage]:
    """Where a rate falls short, in order of time: windows of one shortage each. If there are more than ``most``,
    neighbours are drawn together, at their worst, and the last stands for all that follow."""
    start = max(window.start, ledger.floor)
    free = _calendar(ledger, resource)
    if free is None:
        return []
    gaps = free.shortfalls(rate, start, window.end, most + 1)
    rest: list[Shortage] = []
    if len(gaps) > most:
        last = gaps[most - 1].start
        rest = [Shortage(last, window.end, rate - free.lowest(last, window.end))]
        gaps = gaps[: most - 1]
    pieces: list[Shortage] = []
    for gap in gaps:
        steps = free.steps(gap.start, gap.end, PIECES)
        levels = [rate - level for _, level in steps]
        ends = [time for time, _ in steps[1:]] + [gap.end]
        if len(steps) == PIECES:
            # There may be more of them: the last stands for the rest.
            levels[-1] = gap.missing
        for (time, _), end, missing in zip(steps, ends, levels, strict=True):
            if pieces and pieces[-1].end == time and pieces[-1].missing == missing:
                pieces[-1] = Shortage(pieces[-1].start, end, missing)
            else:
                pieces.append(Shortage(time, end, missing))
    pieces += rest
    while len(pieces) > most:
        # The two neighbours that differ least become one.
        at = min(range(len(pieces) - 1), key=lambda i: abs(pieces[i].missing - pieces[i + 1].missing))
        one, other = pieces[at], pieces.pop(at + 1)
        pieces[at] = Shortage(one.start, other.end, max(one.missing, other.missing))
    return pieces


def needs(ledger: Ledger, amounts: Mapping[str, int], window: Window) -> list[tuple[str, int, Window]]:
    """What has to be obtained so that ``amounts`` fit, pool by pool in order of time: bit/s over a window, FEW at most
    of each."""
    return [
        (pool, each.missing, Window(each.start, each.end))
        for pool, rate in amounts.items()
        if rate and not is_link(pool)
        for each in shortages(ledger, pool, rate, window, FEW)
    ]
