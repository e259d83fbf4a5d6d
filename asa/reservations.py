"""Admitting, changing and ending consumers' reservations: rules on the ledger. No I/O."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Final, Literal

from asa.errors import BadRequest, BadWindow, Conflict, Ended, KeyReused, Short, UnknownPool, UnknownReservation
from asa.ledger import Ledger
from asa.records import Change, Once, Plan, Reservation, ReservationState, made
from asa.views import Offer, Page, Refusal, ReservationView, Shortage
from objectives import InvalidValue, Window
from objectives.block import before, earlier
from objectives.fields import MAX_RATE, check_name
from objectives.params import Params

_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
KEY_S: Final = 86_400
"""An idempotency key is remembered this long."""

SHORTAGES: Final = 16
"""Windows named in one refusal."""

FEW: Final = 6
"""Windows obtained one by one for one reservation."""

PIECES: Final = 64
"""Changes looked at within one window that falls short."""

State = Literal["pending", "active", "ended", "cancelled"]


def identifier(now_ms: int, chance: int) -> str:
    """An id that sorts by time of creation: nine characters of time, five of ``chance`` (25 bits)."""
    number = (now_ms & (1 << 45) - 1) << 25 | chance & (1 << 25) - 1
    return "r-" + "".join(_ALPHABET[number >> shift & 31] for shift in range(65, -5, -5))


def window_of(now: int, start: int | None, end: int | None, params: Params) -> Window:
    """The window a consumer means; no start, or one in the past, is now. Raises BadWindow."""
    begin = now if start is None else max(start, now)
    if end is not None and end <= now:
        raise BadWindow(f"the window ended {now - end} s ago", hint="give an end in the future")
    if end is not None and end <= begin:
        raise BadWindow(f"the window ends at {end}, not after its start {begin}")
    if end is not None and end - begin > params["max_window"]:
        raise BadWindow(
            f"the window is {end - begin} s long; the policy allows {params['max_window']} s",
            hint="make it shorter, or open-ended",
        )
    try:
        return Window(begin, end)
    except InvalidValue as error:
        raise BadWindow(str(error)) from None


def check_rate(rate: int) -> None:
    """Raises BadRequest."""
    if type(rate) is not int or not 1 <= rate <= MAX_RATE:
        raise BadRequest(f"the rate must be 1..{MAX_RATE} bit/s, not {rate!r:.40}")


def check_pool(ledger: Ledger, pool: str, known: frozenset[str]) -> None:
    """Raises UnknownPool, which is not the same as an exhausted pool."""
    try:
        check_name(pool, "the pool")
    except InvalidValue as error:
        raise BadRequest(str(error)) from None
    if pool not in ledger.accounts and pool not in known:
        there = ", ".join(sorted(known | set(ledger.accounts))) or "none yet"
        raise UnknownPool(f"no pool {pool} is known here", hint=f"known pools: {there}")


def repeated(ledger: Ledger, key: str | None, digest: str) -> Reservation | None:
    """What an idempotency key made before. Raises KeyReused if that was for another request."""
    once = ledger.onces.get(key) if key is not None else None
    if once is None:
        return None
    if once.digest != digest:
        raise KeyReused("this idempotency key was used for another request", hint="use a new key for a new request")
    return ledger.reservations.get(once.reservation)


def book(ledger: Ledger, now: int, wanted: Reservation, key: str | None = None, digest: str = "") -> Plan[Reservation]:
    """Admit a reservation if it fits at every instant. Raises Short, explained, or KeyReused."""
    earlier_one = repeated(ledger, key, digest)
    if earlier_one is not None:
        return Plan((), earlier_one)
    if ledger.free(wanted.pool, wanted.window) < wanted.rate:
        raise short(ledger, wanted.pool, wanted.rate, wanted.window)
    if wanted.id in ledger.reservations:
        raise Conflict(f"the id {wanted.id} is taken")
    stale = ledger.onces.get(key) if key is not None else None
    once = (Change(stale, Once(key, digest, wanted.id, now)),) if key is not None else ()
    return Plan((*made(wanted), *once), wanted)


def find(ledger: Ledger, identifier: str) -> Reservation:
    """Raises UnknownReservation."""
    found = ledger.reservations.get(identifier)
    if found is None:
        raise UnknownReservation(
            f"there is no reservation {identifier[:40]!r}", hint="asa list --all shows what there is"
        )
    return found


def cancel(ledger: Ledger, now: int, identifier: str) -> Plan[Reservation]:
    """Free its capacity from now on. Raises Ended, UnknownReservation; a cancelled one stays cancelled."""
    old = find(ledger, identifier)
    if old.state is ReservationState.CANCELLED:
        return Plan((), old)
    if old.window.passed(now):
        raise Ended(f"the reservation ended at {old.window.end}")
    new = _with(old, now, state=ReservationState.CANCELLED)
    return Plan((Change(old, new),), new)


def change(
    ledger: Ledger,
    now: int,
    identifier: str,
    params: Params,
    rate: int | None,
    end: int | None,
    keep_end: bool,
    peers_asked: Sequence[str] = (),
) -> Plan[Reservation]:
    """Resize, extend or shorten, as a whole or not at all. Raises Short, Ended, BadWindow, UnknownReservation."""
    old = find(ledger, identifier)
    if old.state is ReservationState.CANCELLED or old.window.passed(now):
        raise Ended(f"the reservation is {state_of(old, now)} and cannot be changed")
    new_rate = old.rate if rate is None else rate
    check_rate(new_rate)
    new_end = old.window.end if keep_end else end
    if not keep_end:
        window_of(now, old.window.start, end, params)
    window = Window(old.window.start, new_end)
    for piece, more in _growth(old, now, new_rate, window):
        if ledger.free(old.pool, piece) < more:
            # More of the same time, or more time of the same: what it has already counts in what would fit.
            same_time = before(piece.start, old.window.end) if old.window.end is not None else True
            raise short(ledger, old.pool, more, piece, peers_asked, has=old.rate if same_time else 0)
    new = _with(old, now, rate=new_rate, window=window)
    return Plan((Change(old, new),) if new != old else (), new)


def growth(old: Reservation, now: int, rate: int, end: int | None) -> tuple[int, Window] | None:
    """The most that a change needs beyond what is booked, over the hull of where it does; None if nothing."""
    pieces = [(more, piece) for piece, more in _growth(old, now, rate, Window(old.window.start, end))]
    if not pieces:
        return None
    last = None if any(piece.end is None for _, piece in pieces) else max(piece.end or 0 for _, piece in pieces)
    return max(more for more, _ in pieces), Window(min(piece.start for _, piece in pieces), last)


def _growth(old: Reservation, now: int, rate: int, window: Window) -> list[tuple[Window, int]]:
    """Where a change needs more than is booked, and how much."""
    start = max(now, window.start)
    pieces: list[tuple[Window, int]] = []
    common_end = earlier(old.window.end, window.end)
    if common_end is None or start < common_end:
        pieces.append((Window(start, common_end), rate - old.rate))
    if old.window.end is not None and before(old.window.end, window.end):
        pieces.append((Window(max(start, old.window.end), window.end), rate))
    return [(piece, more) for piece, more in pieces if more > 0]


def state_of(reservation: Reservation, now: int) -> State:
    if reservation.state is ReservationState.CANCELLED:
        return "cancelled"
    if reservation.window.passed(now):
        return "ended"
    return "active" if reservation.window.start <= now else "pending"


def view_of(reservation: Reservation, now: int) -> ReservationView:
    state = state_of(reservation, now)
    window = reservation.window
    remaining: int | None = 0
    if state == "pending":
        remaining = window.start - now
    elif state == "active":
        remaining = None if window.end is None else window.end - now
    return ReservationView(
        reservation.id, reservation.pool, reservation.rate, window.start, window.end, state, reservation.source,
        reservation.destination, reservation.owner, reservation.label, reservation.created, remaining,
    )  # fmt: skip


def page(
    ledger: Ledger,
    now: int,
    *,
    pool: str | None = None,
    state: str | None = None,
    owner: str | None = None,
    after: str | None = None,
    limit: int = 100,
) -> Page:
    """Reservations in order of id; without ``state`` those pending and active, with ``all`` every one."""
    states = {"pending", "active"} if state is None else {state}

    def wanted(each: Reservation) -> bool:
        return (
            (pool is None or each.pool == pool)
            and (owner is None or each.owner == owner)
            and (state == "all" or state_of(each, now) in states)
        )

    total = sum(map(wanted, ledger.reservations.values()))
    found: list[ReservationView] = []
    more = False
    for index in range(bisect_right(ledger.order, after or ""), len(ledger.order)):
        each = ledger.reservations[ledger.order[index]]
        if not wanted(each):
            continue
        if len(found) == limit:
            more = True
            break
        found.append(view_of(each, now))
    return Page(found, total, found[-1].id if more else None)


def short(
    ledger: Ledger,
    pool: str,
    rate: int,
    window: Window,
    peers_asked: Sequence[str] = (),
    could: int = 0,
    has: int = 0,
) -> Short:
    """The refusal of a rate over a window: where it falls short, by how much, and what would fit instead.

    ``could``: bit/s peers said they would add. ``has``: what a reservation to be changed has already.
    """
    account = ledger.account(pool)
    start = max(window.start, ledger.floor)
    gaps = shortages(ledger, pool, rate, window, SHORTAGES)
    free = max(0, account.free.lowest(start, window.end)) + could
    lower = max(has + 1, _readable(has + free)) if 0 < free < rate else 0
    duration = None if window.end is None else window.end - window.start
    later = account.free.earliest(rate, duration, start) if not has else None
    shorter = gaps[0].start if gaps and gaps[0].start > start else None
    refusal = Refusal(
        shortages=gaps,
        lower_rate=Offer(lower, window.start, window.end) if lower else None,
        later_start=Offer(rate, later, None if duration is None else later + duration) if later is not None else None,
        shorter=Offer(has + rate, window.start, shorter) if shorter is not None else None,
        peers_asked=list({each.partition(":")[0]: each for each in peers_asked}.values()),
    )
    missing = max((each.missing for each in gaps), default=0)
    windows = "1 window" if len(gaps) == 1 else f"{len(gaps)} windows{' or more' if len(gaps) == SHORTAGES else ''}"
    return Short(
        f"{pool}: {missing} bit/s of {rate} are missing at worst, in {windows}, first at"
        f" {gaps[0].start if gaps else start}",
        hint="see details for what would fit",
        details=asdict(refusal),
    )


def _readable(rate: int) -> int:
    """Rounded down to four significant digits."""
    step: int = 10 ** max(0, len(str(rate)) - 4)
    return rate // step * step


def shortages(ledger: Ledger, pool: str, rate: int, window: Window, most: int) -> list[Shortage]:
    """Where a rate falls short, in order of time: windows of one shortage each. If there are more than ``most``,
    neighbours are drawn together, at their worst, and the last stands for all that follow."""
    start = max(window.start, ledger.floor)
    free = ledger.account(pool).free
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


def needs(ledger: Ledger, pool: str, rate: int, window: Window) -> list[tuple[int, Window]]:
    """What has to be obtained so that a rate fits, in order of time: bit/s over a window, FEW at most."""
    return [(each.missing, Window(each.start, each.end)) for each in shortages(ledger, pool, rate, window, FEW)]


def elapsed(ledger: Ledger, now: int, params: Params, most: int = 512) -> Plan[None]:
    """The garbage collector's: reservations nobody may look at any more, and idempotency keys."""
    changes: list[Change] = []
    for reservation in ledger.reservations.values():
        over = reservation.changed if reservation.state is ReservationState.CANCELLED else reservation.window.end
        if over is not None and over + params["history"] <= now and over <= ledger.floor:
            changes.append(Change(reservation, None))
            if len(changes) >= most:
                break
    changes += [Change(each, None) for each in ledger.onces.values() if each.at + KEY_S <= now]
    return Plan(tuple(changes[:most]), None)


def _with(
    old: Reservation,
    now: int,
    *,
    state: ReservationState | None = None,
    rate: int | None = None,
    window: Window | None = None,
) -> Reservation:
    new = replace(old, state=state or old.state, rate=rate or old.rate, window=window or old.window)
    return replace(new, changed=now) if new != old else old
