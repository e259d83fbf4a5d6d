"""What is in place on this node: a plan is applied to a back end, read back, tried again, and looked after."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from random import Random
from typing import Final, TypeVar

from asa.dataplane.backend import Abilities, Backend, Counters, EnforcementFailed, Reading, Spot, Unfit
from asa.dataplane.drift import Difference, What, differences
from asa.dataplane.plan import Entry, Key, Plan
from asa.dataplane.proof import judged
from asa.enforcement import Picture, Sampled
from asa.events import EventLog
from asa.lifecycle import Phase, Standing
from asa.troubles import Troubles
from asa.views import DifferenceView

MOST_TOLD: Final = 20
"""Events of one kind at once; the last says how many there were."""

MOST_DIFFERENCES: Final = 50
"""Kept to be looked at."""

MOST_IDS: Final = 16
"""Told of one difference."""

_NOWHERE: Final = "the back end did not say"
_BACK_END: Final = ""
_INSTALLED: Final = Standing(Phase.INSTALLED)

T = TypeVar("T")


class Abandoned(Exception):
    """Another thread has taken over with a back end of its own: whoever comes back late has nothing to do any more."""


class Installation:
    """Made with a back end that has been probed; only one thread at a time. ``problem`` is told a code and what is
    wrong, or None."""

    def __init__(
        self,
        backend: Backend,
        able: Abilities,
        effect: bool,
        rng: Random,
        events: EventLog,
        problem: Callable[[str, str | None], None],
    ) -> None:
        self.backend: Final = backend
        self.able: Final = able
        self.abandoned = False
        self.lost = 0
        """Times in a row that the back end could not be read."""
        self.tidy = False
        """Whether everything was read once, and nothing was there that nobody wants."""
        self._effect = effect
        self._events = events
        self._problem = problem
        self._troubles: Troubles[Key | str] = Troubles(rng)
        """By entry, by name of the line, or of the back end as a whole."""
        self._plan = Plan()
        self._right: dict[Key, Entry] = {}
        """What was read back as it shall be."""
        self._leaving: dict[Key, tuple[str, ...]] = {}
        """What is no longer wanted and was not read back as gone, and whose it was."""
        self._of: dict[str, dict[Key, Entry]] = {}
        """What each reservation gets."""
        self._unshaped: dict[Key | str, str] = {}
        """What was wrong with lines when they were last read."""
        self._since: dict[Key, int] = {}
        self._counted: tuple[float, Mapping[Key, Counters]] = (0.0, {})
        self._samples: dict[Key, Sampled] = {}
        self._differences: deque[DifferenceView] = deque(maxlen=MOST_DIFFERENCES)
        self._reconciled: int | None = None

    # Getting there.

    def again(self) -> float | None:
        """When something that failed is tried again, by the monotonic clock."""
        return self._troubles.again()

    def adopt(self, plan: Plan, now: int) -> None:
        """The first thing: what is there from an earlier life and is as it shall be stays as it is. Raises
        EnforcementFailed, Unfit."""
        reading = self._call(self.backend.read)
        found = differences(plan, reading, now, abilities=self.able)
        missing = sum(each.what is What.MISSING for each in found)
        if self._effect:
            self._events.tell(
                "enforcement-adopted",
                f"{len(plan.entries)} entries: {missing} were not in place, {len(found) - missing} were otherwise",
                entries=len(plan.entries), missing=missing, changed=len(found) - missing,
            )  # fmt: skip

    def settle(self, plan: Plan, now: int, ticks: float) -> bool:
        """Have it as planned, and read back what changed; whether there was anything to do."""
        changed = self._changed(plan)
        again = self.again()
        if again is not None and again <= ticks:
            self._adjust(plan, changed)
            self._look_after(plan, now, ticks, repair=True)
            return True
        if plan is self._plan:
            return False
        lines = {each.name for each in plan.lines} != {each.name for each in self._plan.lines}
        self._adjust(plan, changed)
        if changed or lines:
            self._apply(plan, now, ticks, None if lines else changed | self._leaving.keys())
        return True

    def reconcile(self, plan: Plan, now: int, ticks: float) -> bool:
        """Read everything back, and repair what is not as planned; whether there was anything to do."""
        settled = self.settle(plan, now, ticks)
        return self._look_after(plan, now, ticks) or settled

    def _look_after(self, plan: Plan, now: int, ticks: float, repair: bool = False) -> bool:
        """``repair``: also what is known not to be as planned. Whether something was done."""
        try:
            reading = self._call(self.backend.read)
        except (EnforcementFailed, Unfit) as error:
            self._unread(error.message, ticks)
            return False
        self._reconciled = now
        found = differences(plan, reading, now, abilities=self.able)
        wrong = self._judge(plan, reading, found, None, now)
        drifted = [each for each in found if not self._known(each)]
        if drifted:
            self._tell_drift(drifted, now)
        if drifted or (repair and wrong):
            self._apply(plan, now, ticks, None)
            return True
        # What the back end said when it was tried says more than what was found.
        self._told({each: self._troubles.why(each) or why for each, why in wrong.items()}, ticks)
        return False

    def _changed(self, plan: Plan) -> set[Key]:
        if plan is self._plan:
            return set()
        old, new = self._plan.entries, plan.entries
        come = {key for key, each in new.items() if (was := old.get(key)) is not each and was != each}
        return come | (old.keys() - new.keys())

    def _adjust(self, plan: Plan, changed: Iterable[Key]) -> None:
        """Who gets what by the new plan, and what of the old one has to go."""
        old, new = self._plan.entries, plan.entries
        for key in changed:
            before, after = old.get(key), new.get(key)
            if before is not None:
                for each in before.ids:
                    if (mine := self._of.get(each)) is not None:
                        mine.pop(key, None)
                        if not mine:
                            del self._of[each]
            if after is not None:
                self._leaving.pop(key, None)
                for each in after.ids:
                    self._of.setdefault(each, {})[key] = after
            elif before is not None:
                self._leaving[key] = before.ids
                self._samples.pop(key, None)
        self._plan = plan

    def _apply(self, plan: Plan, now: int, ticks: float, keys: Collection[Key] | None) -> None:
        """``keys``: what to read back; None: everything."""
        try:
            refused = dict(self._call(lambda: self.backend.apply(plan)))
        except (EnforcementFailed, Unfit) as error:
            # What is in place now is unknown. Reading may take as long again, so it waits until this is told.
            self._untold(error.message, ticks)
            return
        if refused:
            # The system may be otherwise than the back end knew.
            keys = None
        try:
            reading = self._call(lambda: self.backend.read(keys))
        except (EnforcementFailed, Unfit) as error:
            self._unread(error.message, ticks)
            return
        if keys is None:
            self._reconciled = now
            found = differences(plan, reading, now, abilities=self.able)
        else:
            part = {key: plan.entries[key] for key in keys if key in plan.entries}
            names = {each.line for each in part.values()}
            lines = tuple(each for each in plan.lines if each.name in names)
            found = differences(Plan.unchecked(lines, part), reading, now, part.keys(), self.able)
        wrong = self._judge(plan, reading, found, keys, now)
        for key, why in refused.items():
            if key in plan.entries:
                self._not_right(key)
                wrong[key] = reading.lines.get(key[0]) or why
        self._told(wrong, ticks, keys)

    def _judge(
        self, plan: Plan, reading: Reading, found: Iterable[Difference], keys: Collection[Key] | None, now: int
    ) -> dict[Key | str, str]:
        """What of ``keys`` is in place as it shall be, and what is wrong with the rest."""
        self.lost = 0
        words = {(each.line, each.ids): f"{each.before} in place of {each.after}" for each in found if each.ids}
        unshaped: dict[Key | str, str] = {name: why for name, why in reading.lines.items() if why}
        self._unshaped = {name: why for name, why in self._unshaped.items() if name not in reading.lines} | unshaped
        wrong = dict(unshaped)
        for key in plan.entries if keys is None else keys:
            entry = plan.entries.get(key)
            if entry is None:
                continue
            why = words.get((entry.line, entry.ids)) or reading.lines.get(entry.line)
            if why:
                self._not_right(key)
                wrong[key] = why
            else:
                self._right[key] = entry
                self._since.setdefault(key, now)
        leaving = {
            key: {(key[0], key[1], each) for each in key[2]} & reading.found.keys()
            for key in self._leaving
            if keys is None or key in keys
        }
        wanted = self._wanted() if any(leaving.values()) else frozenset[Spot]()
        for key, still in leaving.items():
            self._not_right(key)
            # Packets that passed on to another entry are not left over.
            if still - wanted:
                wrong[key] = "it is still there"
            else:
                del self._leaving[key]
        # Those of no reservation: what is ours and nobody wants.
        strays = [each for each in found if each.what is What.STRAY]
        self.tidy |= keys is None and not strays
        for each in strays:
            wrong.setdefault(each.line or _NOWHERE, f"{each.before} is left")
        return wrong

    def _wanted(self) -> frozenset[Spot]:
        """All spots of the plan."""
        entries = self._plan.entries.values()
        return frozenset((each.line, each.action, match) for each in entries for match in each.matches)

    def _not_right(self, key: Key) -> None:
        self._right.pop(key, None)
        self._since.pop(key, None)

    def _unread(self, why: str, ticks: float) -> None:
        self.lost += 1
        self._untold(why, ticks)

    def _untold(self, why: str, ticks: float) -> None:
        """The back end as a whole failed, and what was not in place before may not be."""
        wrong: dict[Key | str, str] = {_BACK_END: why, **self._unshaped}
        wrong |= {key: why for key, each in self._plan.entries.items() if self._right.get(key) != each}
        self._told(wrong, ticks)

    def _call(self, call: Callable[[], T]) -> T:
        """Raises Abandoned if another thread has taken over meanwhile."""
        found = call()
        if self.abandoned:
            self.backend.close()
            raise Abandoned(f"a call of the back end {self.backend.name} came back too late")
        return found

    # What is told.

    def _known(self, difference: Difference) -> bool:
        """Whether it is only what is being tried again already, or was there before it could be put in place."""
        if difference.ids:
            keys = [key for key in self._of.get(difference.ids[0], {}) if key[0] == difference.line]
            return any(key in self._troubles for key in keys)
        going = any(key[0] == difference.line for key in self._leaving)
        return going or (difference.line or _NOWHERE) in self._troubles

    def _told(self, wrong: Mapping[Key | str, str], ticks: float, keys: Collection[Key] | None = None) -> None:
        everything = dict(wrong)
        if keys is not None:
            # Of what was not looked at what is known still holds.
            everything = {each: why for each, why in self._troubles.items() if self._unseen(each, keys)} | everything
        new, over = self._troubles.told(everything, ticks)
        for count, subject in enumerate(new, 1):
            why = self._troubles.why(subject)
            self._tell_trouble(subject, why, len(new) - count if count == MOST_TOLD else 0)
            if count == MOST_TOLD:
                break
        for subject in over[:MOST_TOLD]:
            self._tell_over(subject)
        self._problem("data-plane", self._back_end_trouble())

    def _unseen(self, subject: Key | str, keys: Collection[Key]) -> bool:
        if isinstance(subject, str):
            return subject != _BACK_END and all(key[0] != subject for key in keys)
        return subject not in keys and subject in self._plan.entries

    def _back_end_trouble(self) -> str | None:
        troubles = self._troubles.items()
        texts = [f"{each}: {why}" if each else why for each, why in troubles if isinstance(each, str)]
        if failing := len(troubles) - len(texts):
            texts.append(f"{failing} entries of reservations are not in place as they shall be")
        return f"{self.backend.name}: {'; '.join(texts[:4])}" if texts else None

    def _tell_trouble(self, subject: Key | str, why: str, more: int) -> None:
        others = f", and {more} others" if more else ""
        if isinstance(subject, str):
            self._events.tell(
                "enforcement-failed", f"{subject or self.backend.name}: {why}{others}", line=subject, ids=[]
            )
        else:
            ids = self._ids(subject)
            self._events.tell(
                "enforcement-failed", f"{', '.join(ids)} on {subject[0]}: {why}{others}", line=subject[0], ids=ids
            )

    def _tell_over(self, subject: Key | str) -> None:
        if isinstance(subject, str):
            self._events.tell("enforcement-works", f"{subject or self.backend.name} works again", line=subject, ids=[])
        elif ids := self._ids(subject):
            self._events.tell("enforcement-works", f"{', '.join(ids)} is in place", line=subject[0], ids=ids)

    def _ids(self, key: Key) -> list[str]:
        entry = self._plan.entries.get(key)
        ids = entry.ids if entry is not None else self._leaving.get(key, ())
        return list(ids[:MOST_IDS])

    def _tell_drift(self, found: list[Difference], now: int) -> None:
        for count, each in enumerate(found[:MOST_TOLD], 1):
            ids = list(each.ids[:MOST_IDS])
            self._differences.appendleft(DifferenceView(now, each.line, ids, each.what.value, each.before, each.after))
            more = f"; {len(found) - MOST_TOLD} others" if count == MOST_TOLD and len(found) > MOST_TOLD else ""
            self._events.tell(
                "enforcement-drift",
                f"{each.line}: {each.before[:100]}, in place of {each.after[:100]}{more}",
                line=each.line, ids=ids, what=each.what.value, before=each.before, after=each.after,
            )  # fmt: skip

    def leaving(self) -> set[str]:
        """The ids of what is no longer wanted and was not read back as gone."""
        return {each for ids in self._leaving.copy().values() for each in ids}

    # Proof.

    def sample(self, now: int, ticks: float) -> None:
        """What packets did since the last time."""
        try:
            found = self._call(self.backend.count)
        except (EnforcementFailed, Unfit) as error:
            self._told({_BACK_END: error.message}, ticks, ())
            return
        at, before = self._counted
        self._counted = ticks, found
        self._samples = {}
        for key, counters in found.items():
            entry, first = self._plan.entries.get(key), before.get(key)
            if entry is not None and entry.share is not None and first is not None and ticks > at:
                self._samples[key] = Sampled(now, judged(first, counters, ticks - at, entry.share))

    # What is seen.

    def picture(self, hindered: Mapping[str, tuple[bool, str]]) -> Picture:
        """``hindered``: as :meth:`asa.desired.Desired.hindered`."""
        back_end = self._troubles.why(_BACK_END)
        return Picture(
            back_end=self.backend.name,
            effect=self._effect,
            trouble=back_end,
            abilities=self.able,
            lines=self._plan.lines,
            line_troubles={each.name: self._troubles.why(each.name) for each in self._plan.lines},
            standings=self._standings(hindered),
            entries={each: tuple(mine.values()) for each, mine in self._of.items()},
            since=self._since.copy(),
            samples=self._samples,
            reconciled=self._reconciled,
            differences=tuple(self._differences),
        )

    def _standings(self, hindered: Mapping[str, tuple[bool, str]]) -> dict[str, Standing]:
        found: dict[str, Standing] = {}
        for key, ids in self._leaving.items():
            for each in ids:
                found[each] = Standing(Phase.REMOVING, self._troubles.why(key))
        right = self._right
        for each, mine in self._of.items():
            found[each] = _INSTALLED
            for key, entry in mine.items():
                if right.get(key) is not entry and right.get(key) != entry:
                    why = self._troubles.why(key)
                    found[each] = Standing(Phase.FAILED if why else Phase.INSTALLING, why)
                    break
        for each, (failed, why) in hindered.items():
            found[each] = Standing(Phase.FAILED if failed else Phase.INSTALLING, why)
        return found
