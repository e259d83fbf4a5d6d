"""Admitting, changing and ending consumers' reservations: rules on the ledger. No I/O."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import Final

from asa import caps
from asa.caps import Whole, seeded_here
from asa.errors import (
    BadRequest,
    BadWindow,
    Conflict,
    Duplicate,
    Ended,
    Forbidden,
    KeyReused,
    UnknownPool,
    UnknownReservation,
)
from asa.ledger import Ledger
from asa.lifecycle import State, over, state_of
from asa.records import (
    TAKING,
    Change,
    Kind,
    Notice,
    Once,
    Plan,
    Reservation,
    ReservationState,
    is_link,
    made,
)
from asa.shortage import NOTHING, Said, needs, short
from objectives import InvalidValue, NodeId, Window, node_from_text
from objectives.block import before, earlier
from objectives.fields import MAX_RATE, check_name
from objectives.params import Params

_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
LONGEST_WHY: Final = 200
"""Characters of why something ended or is parked."""


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


def check_kind(wanted: Reservation) -> None:
    """Whether its rates are those of its kind. Raises BadRequest."""
    rates = {"rate": wanted.rate, "back": wanted.back}
    needed = {Kind.TWO_WAY: {"rate", "back"}, Kind.ONE_WAY: {"rate"}}.get(wanted.kind, set())
    for name, value in rates.items():
        if name in needed:
            check_rate(value)
        elif value != 0:
            raise BadRequest(f"{wanted.kind} has no {name}", hint=f"leave {name} out, or ask for another kind")


def admit(
    ledger: Ledger,
    now: int,
    wanted: Reservation,
    whole: Whole = seeded_here,
    old: Reservation | None = None,
    said: Said = NOTHING,
) -> None:
    """Whether a reservation fits at every instant, with the capacity of ``old`` if it takes its place.

    Raises Duplicate, OverCap, LinkShort, Short.
    """
    duplicate = ledger.duplicate(replace(wanted, window=wanted.window.overlap(Window(now, None)) or wanted.window))
    if duplicate is not None:
        raise Duplicate(
            f"{duplicate.id} is for the same flow in an overlapping window",
            hint="change or cancel it, or name another flow",
            details={"id": duplicate.id},
        )
    if old is None and not wanted.demand():
        caps.check_banned(ledger, wanted)
    pieces = growth(old, now, wanted)
    for window, amounts in pieces:
        caps.check(ledger, wanted.owner, amounts, window, whole, extra=old is not None)
    # What it takes nothing of does not stand in its way, however much of that is booked.
    taken = [(window, {each: amount for each, amount in amounts.items() if amount}) for window, amounts in pieces]
    every = [(window, amounts, each) for window, amounts in taken for each in amounts]
    # Links first: what no peer can change.
    for window, amounts, resource in sorted(every, key=lambda each: not is_link(each[2])):
        if ledger.free(resource, window) < amounts[resource]:
            raise short(ledger, wanted, resource, amounts, window, said, _has(old, resource, window))


def _has(old: Reservation | None, resource: str, window: Window) -> int:
    """What it has already over a window counts in what would fit."""
    if old is None or old.state not in TAKING or not old.window.covers(window):
        return 0
    return old.demand().get(resource, 0)


def growth(old: Reservation | None, now: int, wanted: Reservation) -> list[tuple[Window, dict[str, int]]]:
    """Where ``wanted`` takes more than ``old`` does, and how much of each resource; both begin at once."""
    amounts = wanted.demand()
    if old is None or old.state not in TAKING:
        # Of seconds that passed while peers were asked nothing can be had any more, and nothing is needed.
        return [(wanted.window.overlap(Window(now, None)) or wanted.window, amounts)]
    start = max(now, wanted.window.start)
    pieces: list[tuple[Window, dict[str, int]]] = []
    common_end = earlier(old.window.end, wanted.window.end)
    if common_end is None or start < common_end:
        had = old.demand()
        more = {each: amount - had.get(each, 0) for each, amount in amounts.items() if amount > had.get(each, 0)}
        pieces.append((Window(start, common_end), more))
    if old.window.end is not None and before(old.window.end, wanted.window.end):
        pieces.append((Window(max(start, old.window.end), wanted.window.end), amounts))
    return [(piece, more) for piece, more in pieces if more]


def lacking(ledger: Ledger, now: int, wanted: Reservation) -> list[tuple[str, int, Window]]:
    """What has to be obtained of pools before a reservation fits, instead of what it is now if it is there: pool,
    bit/s, window; of what is left of its own. In order of time."""
    start = max(now, wanted.window.start)
    if wanted.window.end is not None and wanted.window.end <= start:
        return []
    pieces = growth(ledger.reservations.get(wanted.id), now, replace(wanted, window=Window(start, wanted.window.end)))
    return [each for window, amounts in pieces for each in needs(ledger, amounts, window)]


def book(
    ledger: Ledger,
    now: int,
    wanted: Reservation,
    key: str | None = None,
    digest: str = "",
    whole: Whole = seeded_here,
    said: Said = NOTHING,
) -> Plan[Reservation]:
    """Admit a reservation if it fits at every instant. Raises what :func:`admit` does, KeyReused, Conflict."""
    earlier_one = repeated(ledger, key, digest)
    if earlier_one is not None:
        return Plan((), earlier_one)
    if wanted.id in ledger.reservations:
        raise Conflict(f"the id {wanted.id} is taken")
    admit(ledger, now, wanted, whole, said=said)
    return _made(ledger, now, wanted, key, digest)


def _made(ledger: Ledger, now: int, wanted: Reservation, key: str | None, digest: str) -> Plan[Reservation]:
    stale = ledger.onces.get(key) if key is not None else None
    once = (Change(stale, Once(key, digest, wanted.id, now)),) if key is not None else ()
    return Plan((*made(wanted), *once), wanted)


def park(
    ledger: Ledger, now: int, wanted: Reservation, why: str, key: str | None = None, digest: str = ""
) -> Plan[Reservation]:
    """Keep what cannot be placed now, to be tried again. Raises Duplicate, KeyReused, Conflict."""
    earlier_one = repeated(ledger, key, digest)
    if earlier_one is not None:
        return Plan((), earlier_one)
    if wanted.id in ledger.reservations:
        raise Conflict(f"the id {wanted.id} is taken")
    parked = replace(wanted, state=ReservationState.PARKED, why=why[:LONGEST_WHY], claims=(), until=None)
    admit(ledger, now, _placeless(parked))
    return _made(ledger, now, parked, key, digest)


def _placeless(parked: Reservation) -> Reservation:
    """What of it has to be admitted."""
    return replace(parked, pool="", claims=(), rate=0, back=0)


def unpark(
    ledger: Ledger,
    now: int,
    parked: Reservation,
    placed: Reservation,
    whole: Whole = seeded_here,
    said: Said = NOTHING,
) -> Plan[Reservation]:
    """Book what was ``parked``, as it is placed now. Raises what :func:`admit` does, Ended, UnknownReservation,
    Conflict."""
    old = find(ledger, placed.id)
    if old.state is not ReservationState.PARKED or old.window.passed(now):
        raise Ended(f"{old.id} is not parked any more")
    check_same(old, parked)
    new = replace(placed, state=ReservationState.BOOKED, why="", changed=now)
    admit(ledger, now, new, whole, said=said)
    return Plan((Change(old, new),), new)


def find(ledger: Ledger, identifier: str) -> Reservation:
    """Raises UnknownReservation."""
    found = ledger.reservations.get(identifier)
    if found is None:
        raise UnknownReservation(
            f"there is no reservation {identifier[:40]!r}", hint="asa list --all shows what there is"
        )
    return found


Opened = frozenset[str] | None
"""The hashes of secrets whoever asks has shown to know; None is the administrator, to whom everything is open."""


def check_opened(reservation: Reservation, opened: Opened) -> None:
    """Raises Forbidden."""
    if reservation.secret and opened is not None and reservation.secret not in opened:
        raise Forbidden(
            f"{reservation.id} is changed with its owner's secret only", hint="--secret-file, or the administrator's"
        )


def check_same(found: Reservation, expected: Reservation) -> None:
    """Raises Conflict if it is not what it was when somebody began to change it."""
    if found != expected:
        raise Conflict(f"{found.id} was changed meanwhile", hint="try again")


def check_running(reservation: Reservation, now: int) -> None:
    """Raises Ended."""
    if over(reservation, now):
        raise Ended(f"the reservation is {state_of(reservation, now)} and cannot be changed")


def cancel(
    ledger: Ledger, now: int, identifier: str, opened: Opened = None, why: str = "cancelled"
) -> Plan[Reservation]:
    """Free its capacity from now on. Raises Ended, UnknownReservation, Forbidden; a cancelled one stays cancelled.

    The agent at the other end, if there is one, has yet to be told.
    """
    old = find(ledger, identifier)
    check_opened(old, opened)
    if old.state is ReservationState.CANCELLED:
        return Plan((), old)
    if state_of(old, now) is State.ENDED:
        raise Ended("the reservation has ended and cannot be cancelled")
    new = replace(old, state=ReservationState.CANCELLED, why=why[:LONGEST_WHY], changed=now)
    return Plan((Change(old, new), *told_off(ledger, now, old, new.why)), new)


def moved(ledger: Ledger, now: int, located: Reservation, node: NodeId) -> Plan[Reservation]:
    """End here what ``node`` has taken over under the same id; ``located``: with its ends where they are now.

    Raises Ended, UnknownReservation.
    """
    old = find(ledger, located.id)
    check_running(old, now)
    new = replace(
        old,
        source=located.source,
        destination=located.destination,
        state=ReservationState.CANCELLED,
        partner=str(node),
        why=f"moved to {node.name}"[:LONGEST_WHY],
        changed=now,
    )
    return Plan((Change(old, new),), new)


def told_off(ledger: Ledger, now: int, old: Reservation, why: str) -> tuple[Change, ...]:
    """The agent that has the other end is to be told that it is over here."""
    if not old.partner or (old.id, old.partner) in ledger.notices:
        return ()
    return made(Notice(old.id, node_from_text(old.partner), why, now, old.window.end))


def mine(ledger: Ledger, opened: Opened, owner: str | None, now: int, most: int) -> list[str]:
    """The ids of what can be cancelled of all that ``opened`` opens, ``most`` at a time; ``owner``: only of this one.

    Of the administrator, whom everything is open to, only what an owner is named of.
    """
    if opened is None:
        found = [each.id for each in ledger.reservations.values() if owner is not None and each.owner == owner]
    else:
        found = [each for secret in opened for each in ledger.secrets.get(secret, ())]
    known = (ledger.reservations[each] for each in sorted(found))
    some = (each.id for each in known if owner in (None, each.owner) and not over(each, now))
    return list(islice(some, most))


def confirm(ledger: Ledger, now: int, identifier: str, opened: Opened = None) -> Plan[Reservation]:
    """Book what is held. Raises Ended, UnknownReservation, Forbidden, Conflict; what is booked stays so."""
    old = find(ledger, identifier)
    check_opened(old, opened)
    check_running(old, now)
    if old.state is ReservationState.BOOKED:
        return Plan((), old)
    if old.state is not ReservationState.HELD:
        raise Conflict(f"{identifier} is {state_of(old, now)}, not held")
    new = replace(old, state=ReservationState.BOOKED, until=None, changed=now)
    return Plan((Change(old, new),), new)


def changed(
    old: Reservation,
    now: int,
    params: Params,
    rate: int | None = None,
    back: int | None = None,
    end: int | None = None,
    keep_end: bool = True,
) -> Reservation:
    """What a reservation becomes by a change of its rates or end. Raises Ended, BadRequest, BadWindow, Conflict."""
    check_running(old, now)
    if old.state is ReservationState.PREPARED:
        raise Conflict(f"{old.id} waits for the agent at its other end", hint="try again in a moment")
    if not keep_end:
        window_of(now, old.window.start, end, params)
    new = replace(
        old,
        rate=old.rate if rate is None else rate,
        back=old.back if back is None else back,
        window=Window(old.window.start, old.window.end if keep_end else end),
    )
    check_kind(new)
    return replace(new, changed=now) if new != old else old


def exchange(
    ledger: Ledger, now: int, new: Reservation, whole: Whole = seeded_here, said: Said = NOTHING
) -> Plan[Reservation]:
    """Put a changed or newly placed reservation in the place of what it was, as a whole or not at all.

    Raises what :func:`admit` does, Ended, UnknownReservation.
    """
    old = find(ledger, new.id)
    check_running(old, now)
    if old == new:
        return Plan((), old)
    admit(ledger, now, _placeless(new) if new.state is ReservationState.PARKED else new, whole, old, said)
    return Plan((Change(old, new),), new)
