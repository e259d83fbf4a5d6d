"""Rules of reservations, broken on purpose: what a plausible mistake in each would be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from asa import caps, credentials, diary, expiry, ledger, lifecycle, listing, pacts, placement, reservations
from asa.agent import Agent
from asa.calendar import Calendar
from asa.desk import Desk
from asa.diary import Diary
from asa.ledger import Ledger
from asa.records import LIVING, Change, Plan, Reservation, ReservationState
from asa.threads.keeper import Keeper
from objectives import Window

Replaced = tuple[Any, str, Any]

_CHECK, _GROWTH, _FLOW, _LOWEST = caps.check, reservations.growth, diary.flow_of, Calendar.lowest
_STATE, _LINKS, _FREE, _DUPLICATE = lifecycle.state_of, placement._links, Ledger.free, Ledger.duplicate
_TOLD, _CLOSE, _PLACE, _FILE = reservations.told_off, pacts.close, placement.place, Ledger._file
_CANCEL, _EXCHANGE, _HULL, _CAP_OF = reservations.cancel, reservations.exchange, pacts.hull, caps.cap_of
_CONFIRM, _UNPARK, _PLACE_LINKS = reservations.confirm, reservations.unpark, placement._links


def _caps_of_new_ones_only(*given: Any, extra: bool = False) -> None:
    if not extra:
        _CHECK(*given, extra=extra)


def _growth_of_all(old: Reservation | None, now: int, wanted: Reservation) -> Any:
    return _GROWTH(None, now, wanted)


def _growth_of_what_is_common(old: Reservation | None, now: int, wanted: Reservation) -> Any:
    found = _GROWTH(old, now, wanted)
    return (
        found if old is None or old.window.end is None else [each for each in found if each[0].start < old.window.end]
    )


def _closed(self: Diary, window: Window, but: str) -> str | None:
    return next(
        (
            identifier
            for start, identifier, end in self._entries
            if identifier != but
            and (end is None or end >= window.start)
            and (window.end is None or start <= window.end)
        ),
        None,
    )


def _secrets_kept(self: Ledger, record: Reservation, sign: int) -> None:
    _FILE(self, replace(record, secret="") if sign > 0 and record.secret and record.back else record, sign)


def _ended_when_asked(each: Reservation, now: int, *more: Any) -> Any:
    """A hold whose deadline is no deadline."""
    return _STATE(replace(each, until=None) if each.state is ReservationState.HELD else each, now, *more)


def _no_way_back(wanted: Reservation, *given: Any, **more: Any) -> Any:
    return [each for each in _LINKS(wanted, *given, **more) if each[1] != "back"]


def _own_direction_only(wanted: Reservation, interface: Any, limited: Any, *, leaving: bool) -> Any:
    return _LINKS(wanted, interface, limited, leaving=True) if leaving else []


def _free_a_second_longer(self: Ledger, resource: str, window: Window) -> int:
    end = None if window.end is None else window.end + 1
    return _FREE(self, resource, Window(window.start, end))


def _free_at_first(self: Ledger, resource: str, window: Window) -> int:
    return _FREE(self, resource, Window(window.start, window.start + 1))


def _nobody_told(*given: Any) -> tuple[Change, ...]:
    return ()


def _all_accepted(ledger: Ledger, now: int, txn: bytes, accepted: bool) -> Any:
    return _CLOSE(ledger, now, txn, True)


def _new_only(old: Reservation, new: Reservation) -> Reservation:
    return replace(old, rate=new.rate, back=new.back, window=new.window, until=None)


def _caps_of_all_first(known: Ledger, project: str, resource: str) -> Any:
    return known.caps.get(("*", resource)) or known.caps.get(("*", "*")) or _CAP_OF(known, project, resource)


def _confirmed_still_held(*given: Any) -> Plan[Reservation]:
    plan = _CONFIRM(*given)
    if not plan.changes:
        return plan
    kept = replace(plan.result, until=plan.result.changed + 10, state=ReservationState.HELD)
    return Plan((Change(plan.changes[0].before, kept),), kept)


def _unpark_unchecked(known: Ledger, now: int, placed: Reservation, *more: Any, **rest: Any) -> Plan[Reservation]:
    old = reservations.find(known, placed.id)
    new = replace(placed, state=ReservationState.BOOKED, why="", changed=now)
    return Plan((Change(old, new),), new)


def _exchange_keeps_capacity(known: Ledger, now: int, new: Reservation, *more: Any) -> Plan[Reservation]:
    plan = _EXCHANGE(known, now, new, *more)
    return plan if plan.result.window.end is not None else Plan(plan.changes[:0], plan.result)


def _forgotten_pause(self: Agent, paused: bool) -> None:
    self._paused = paused


def _not_trying(self: Keeper, identifier: str, parked: Reservation | None) -> None:
    pass


def _cancel_all_of_owner(known: Ledger, opened: Any, owner: str | None, now: int, most: int) -> list[str]:
    return [each.id for each in known.reservations.values() if owner in (None, each.owner)][:most]


def _one_way_only(self: Diary, *given: Any) -> None:
    return None


def _opened_by_any(self: Any, secret: str | None, stored: Any) -> Any:
    return frozenset(stored) if secret is not None else frozenset()


def _everywhere(name: str, new: Any, *modules: Any) -> list[Replaced]:
    return [(each, name, new) for each in modules]


VARIANTS: Mapping[str, list[Replaced]] = {
    "caps-not-checked-on-change": [(caps, "check", _caps_of_new_ones_only)],
    "caps-of-all-before-those-of-the-project": [(caps, "cap_of", _caps_of_all_first)],
    "change-counts-what-it-has": [(reservations, "growth", _growth_of_all)],
    "extension-not-checked": [(reservations, "growth", _growth_of_what_is_common)],
    "duplicates-touch": [(Diary, "overlapping", _closed)],
    "duplicates-not-forgotten": [(ledger, "LIVING", LIVING | {ReservationState.CANCELLED})],
    "duplicates-one-way-only": [(ledger, "flow_of", lambda each: tuple(map(str, (each.source, each.destination))))],
    "no-duplicates": [(Diary, "overlapping", _one_way_only)],
    "secret-not-indexed": [(Ledger, "_file", _secrets_kept)],
    "any-secret-opens": [(credentials.Credentials, "opened", _opened_by_any)],
    "hold-does-not-lapse": _everywhere("state_of", _ended_when_asked, lifecycle, reservations, listing, expiry),
    "link-ignored-for-back": [(placement, "_links", _no_way_back)],
    "link-of-the-source-ignored": [(placement, "_links", _own_direction_only)],
    "windows-a-second-longer": [(Ledger, "free", _free_a_second_longer)],
    "only-the-first-second": [(Ledger, "free", _free_at_first)],
    "nobody-told": [(reservations, "told_off", _nobody_told)],
    "decline-taken-for-accept": [(pacts, "close", _all_accepted)],
    "only-the-new-kept": [(pacts, "hull", _new_only)],
    "confirmed-still-held": [(reservations, "confirm", _confirmed_still_held)],
    "parked-placed-unchecked": [(reservations, "unpark", _unpark_unchecked)],
    "parked-not-tried": [(Keeper, "_place", _not_trying)],
    "endless-not-changed": [(reservations, "exchange", _exchange_keeps_capacity)],
    "pause-forgotten": [(Agent, "set_paused", _forgotten_pause)],
    "cancels-what-is-not-opened": [(reservations, "mine", _cancel_all_of_owner)],
    "admin-not-asked": [(Desk, "check_admin", lambda self, secret: None)],
}


@contextmanager
def broken(replaced: list[Replaced]) -> Iterator[None]:
    patches: list[Any] = [patch.object(where, name, new) for where, name, new in replaced]
    for each in patches:
        each.start()
    try:
        yield
    finally:
        for each in reversed(patches):
            each.stop()
