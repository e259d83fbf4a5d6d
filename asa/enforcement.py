"""What the data plane says, as the rest of the agent reads it: how far it is with each reservation, and what it saw."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal, cast

from asa.agenda import left_until
from asa.dataplane.backend import Abilities
from asa.dataplane.plan import Action, Entry, Key, Line
from asa.dataplane.proof import Usage
from asa.lifecycle import Phase, Standing
from asa.records import Change, Reservation, ReservationState
from asa.views import DifferenceView, Enforced, EnforcedLine, EnforcementView, ShapedLine, UsageView
from asa.views.enforcement import PhaseName

MOST_TOUCHED: Final = 50_000
"""Reservations changed and not looked at; beyond, all are looked at."""

LIFE_S: Final = 300
"""Seconds after which a rule ends by itself, unless the configuration says something else."""

_ONCE_BOOKED: Final = frozenset({ReservationState.BOOKED, ReservationState.CANCELLED})
_INSTALLING: Final = Standing(Phase.INSTALLING)
_REMOVING: Final = Standing(Phase.REMOVING)


@dataclass(frozen=True, slots=True)
class Sampled:
    """What packets of an entry did until ``at``, UNIX s."""

    at: int
    usage: Usage


@dataclass(frozen=True, slots=True)
class Picture:
    """Everything there is to say of the data plane at one moment; the mappings are never changed."""

    back_end: str = ""
    effect: bool = False
    """Whether packets obey."""
    trouble: str = ""
    abilities: Abilities = field(default_factory=lambda: Abilities(frozenset(), frozenset(), False, False))
    lines: tuple[Line, ...] = ()
    line_troubles: Mapping[str, str] = field(default_factory=dict)
    standings: Mapping[str, Standing] = field(default_factory=dict)
    """Of the reservations there is something to do for, or to undo."""
    entries: Mapping[str, tuple[Entry, ...]] = field(default_factory=dict)
    """What they get, by their ids."""
    since: Mapping[Key, int] = field(default_factory=dict)
    """UNIX s when an entry was first read back as it shall be; without those that are not."""
    samples: Mapping[Key, Sampled] = field(default_factory=dict)
    reconciled: int | None = None
    differences: tuple[DifferenceView, ...] = ()
    """The newest first."""
    unread: int | None = None
    """UNIX s since when nothing was put in place, nor was it read what there is: what is older, and over since
    ``read``, may be in place. None: all that is over and in place is in ``standings``."""
    read: int = 0
    """UNIX s when it was last known what is in place; 0: never."""
    looked: int | None = None
    """Reservations that begin until then were looked at, UNIX s; None: all."""

    def obeyed(self, paused: bool) -> bool:
        """Whether packets obey now, for all that is known: where the back end has a trouble it is in doubt."""
        return self.effect and not paused and not self.trouble


@dataclass(frozen=True, slots=True)
class Touched:
    """What the enforcer has to look at. ``everything``: all reservations, whatever ``booked`` says."""

    booked: Mapping[str, bool]
    """Ids, and whether they are booked; if not there is only something to undo."""
    everything: bool


class Enforcement:
    """Thread-safe; nothing else is locked under its lock. ``wake`` is called when there is something to look at.

    ``enabled``: whether anything is enforced, or only kept on record, on this node. ``effect``: whether packets shall
    obey. Then a reservation counts as in force only when the system has been read back: from the commit that books or
    changes it until then it is being installed. A record is not waited for. ``life_s``: rules end by themselves after
    so long.
    """

    def __init__(self, enabled: bool, effect: bool, life_s: int = LIFE_S) -> None:
        self.enabled: Final = enabled
        self.effect: Final = effect
        self._life_s = life_s
        self.wake: Callable[[], None] = lambda: None
        self._lock = threading.Lock()
        self._picture = Picture()
        self._touched: dict[str, bool] = {}
        self._working: Mapping[str, bool] = {}
        self._everything = enabled
        self._working_all = False
        self._doubtful = self._working_doubtful = False

    # What changed.

    def changed(self, changes: Sequence[Change]) -> None:
        """Reservations have other records now, durably; told before anybody sees it."""
        if not self.enabled:
            return
        with self._lock:
            for each in changes:
                if each.kind is Reservation:
                    booked = isinstance(each.after, Reservation) and each.after.state is ReservationState.BOOKED
                    self._note(str(each.key[0]), booked)
            if len(self._touched) > MOST_TOUCHED:
                self._everything = True
                self._touched = {}
            some = self._everything or bool(self._touched)
        if some:
            self.wake()

    def _note(self, identifier: str, booked: bool) -> None:
        coming = self._touched.get(identifier) or self._working.get(identifier) or self._working_all
        # What never was booked, or is over and gone, leaves nothing to undo.
        if booked or coming or identifier in self._picture.standings:
            self._touched[identifier] = booked

    def take(self) -> Touched:
        """The enforcer's: what has changed since the last time. It is being worked on until :meth:`publish`."""
        with self._lock:
            self._working, self._touched = {**self._working, **self._touched}, {}
            self._working_all |= self._everything
            self._everything = False
            self._working_doubtful |= self._doubtful
            self._doubtful = False
            return Touched(self._working, self._working_all)

    def again(self) -> None:
        """The enforcer's: look at all reservations."""
        with self._lock:
            self._everything = True

    def resumed(self) -> None:
        """The node's enforcement goes on: what was in place before its pause is not until it was read back."""
        if not self.enabled:
            return
        with self._lock:
            self._doubtful = True
        self.wake()

    def publish(self, picture: Picture, settled: bool = True) -> None:
        """The enforcer's: how it is. ``settled``: all that was taken is in it."""
        with self._lock:
            self._picture = picture
            if settled:
                self._working, self._working_all, self._working_doubtful = {}, False, False

    # How far it is.

    def standing(self, reservation: Reservation, now: int) -> Standing | None:
        """See :data:`~asa.lifecycle.Phases`."""
        if not self.enabled:
            return None
        identifier = reservation.id
        with self._lock:
            picture = self._picture
            touched = self._touched.get(identifier, self._working.get(identifier))
            coming = self._working.get(identifier, False)
            unknown = self._everything or self._working_all
            doubtful = self._doubtful or self._working_doubtful
        found = picture.standings.get(identifier)
        if not self.effect:
            return found if found is not None and found.phase is Phase.FAILED else None
        if touched is False or reservation.state is not ReservationState.BOOKED or reservation.window.passed(now):
            return self._leaving(reservation, now, picture, bool(touched) or coming, unknown)
        if found is None:
            late = picture.looked is not None and reservation.window.start > picture.looked
            waits = late and any(each.name == name for each in picture.lines for name, _ in reservation.claims)
            return _INSTALLING if touched or unknown or waits else None
        # Without its enforcer what is in place ends by itself.
        if found.phase is Phase.INSTALLED and (touched or doubtful or _expired(picture, identifier, now)):
            return _INSTALLING
        return found

    def _leaving(
        self, reservation: Reservation, now: int, picture: Picture, coming: bool, unknown: bool
    ) -> Standing | None:
        """Of one that is not to be in place any more."""
        found = picture.standings.get(reservation.id)
        if found is not None:
            return replace(found, phase=Phase.REMOVING)
        if coming:
            return _REMOVING
        if reservation.state not in _ONCE_BOOKED:
            return None
        # A rule does not say whose it is, so only the clock tells what cannot be there any more.
        perhaps = unknown or (picture.unread is not None and reservation.created <= picture.unread)
        left = perhaps and _over_at(reservation) >= picture.read and now < left_until(reservation, self._life_s)
        return _REMOVING if left else None

    # What is shown.

    @property
    def picture(self) -> Picture:
        with self._lock:
            return self._picture

    def enforced(self, reservation: Reservation, now: int) -> Enforced | None:
        """What is seen of one reservation."""
        picture, identifier = self.picture, reservation.id
        known = picture.standings.get(identifier)
        standing = self.standing(reservation, now) if self.effect else known
        if standing is None or standing.phase is Phase.ABSENT:
            return None
        lines = [self._line(each, picture) for each in picture.entries.get(identifier, ())]
        return Enforced(cast(PhaseName, standing.phase.value), standing.why, picture.effect, lines)

    def _line(self, entry: Entry, picture: Picture) -> EnforcedLine:
        share, sampled = entry.share, picture.samples.get(entry.key)
        return EnforcedLine(
            line=entry.line,
            action=entry.action.value,
            guarantee=share.guarantee if share is not None else None,
            ceiling=share.ceiling if share is not None else None,
            dscp=entry.dscp,
            shared_with=len(entry.ids) - 1,
            since=picture.since.get(entry.key),
            expires=entry.expires,
            usage=_usage_view(sampled) if sampled is not None else None,
        )

    def view(self, paused: bool) -> EnforcementView:
        picture = self.picture
        able = picture.abilities
        phases = Counter(each.phase for each in picture.standings.values())
        guaranteed: Counter[str] = Counter()
        count: Counter[str] = Counter()
        # Of several reservations of the same packets there is one entry.
        for entry in {each.key: each for some in picture.entries.values() for each in some}.values():
            if entry.key in picture.since:
                guaranteed[entry.line] += entry.share.guarantee if entry.share is not None else 0
                count[entry.line] += 1
        return EnforcementView(
            back_end=picture.back_end,
            effect=picture.obeyed(paused),
            paused=paused,
            trouble=picture.trouble,
            ways=_listed(able.ways, ("out", "in")),
            actions=[each.value for each in Action if each in able.actions],
            marks=able.marks,
            expires=able.expires,
            notes=list(able.notes),
            lines=[
                ShapedLine(
                    each.name, each.rate, each.floor, guaranteed[each.name], count[each.name],
                    picture.line_troubles.get(each.name, ""),
                )
                for each in picture.lines
            ],
            installed=phases[Phase.INSTALLED],
            # What a pause keeps away waits for nobody but the operator.
            installing=0 if paused else phases[Phase.INSTALLING],
            failed=phases[Phase.FAILED],
            removing=phases[Phase.REMOVING],
            reconciled=picture.reconciled,
            differences=list(picture.differences),
        )  # fmt: skip


def _over_at(reservation: Reservation) -> int:
    """UNIX s: of one that is."""
    end = reservation.window.end
    return reservation.changed if reservation.state is ReservationState.CANCELLED or end is None else end


def _expired(picture: Picture, identifier: str, now: int) -> bool:
    return picture.abilities.expires and any(each.expires <= now for each in picture.entries.get(identifier, ()))


def _listed(found: Collection[str], known: Sequence[str]) -> list[Literal["out", "in"]]:
    return cast(list[Literal["out", "in"]], [each for each in known if each in found])


def _usage_view(sampled: Sampled) -> UsageView:
    usage = sampled.usage
    return UsageView(
        verdict=usage.verdict.value,
        at=sampled.at,
        seconds=round(usage.seconds, 1),
        rate=usage.rate,
        dropped=usage.dropped,
        borrowed=usage.borrowed,
        backlog=usage.backlog,
        sent_bytes=usage.total.bytes,
        sent_packets=usage.total.packets,
        dropped_packets=usage.total.dropped,
        borrowed_packets=usage.total.borrowed,
    )
