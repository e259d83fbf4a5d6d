"""Classes and rules of the lines of a node: which there are, whose they are, and the steps to what a plan says. No I/O.

A class has a number on its line. The number an entry has is that of the rules that are there for its matches, if it can
be; so what a predecessor of this agent set up goes on as it is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from asa.dataplane.backend import Spot
from asa.dataplane.plan import LOWEST_RATE, Action, Entry, Key, Line, Plan
from asa.dataplane.tc import htb
from asa.dataplane.tc.classifier import DEFAULT, WHOLE, Rule
from asa.dataplane.tc.htb import NUMBERS, Rates

ACTIONS: Final = frozenset({Action.GUARANTEE, Action.KEEP})

SLACK_S: Final = 2.0
"""By which a rule may end sooner or later than it shall: systems tell it in whole seconds."""

OVER: Final = "its time is over"


@dataclass(slots=True)
class Ground:
    """The classes of a line that can be shaped."""

    line: Line
    device: str
    classes: dict[int, Rates]
    leaves: set[int]
    """Numbers of the classes that have a queue of their own."""
    owners: dict[int, Key] = field(default_factory=dict)
    used: set[int] = field(default_factory=set)
    """Numbers that rules or classes have."""
    next: int = 0
    """Position in its numbers of the one to be tried first."""

    @property
    def numbers(self) -> tuple[int, ...]:
        return NUMBERS[self.line.way]

    def free(self) -> int | None:
        numbers = self.numbers
        for step in range(len(numbers)):
            number = numbers[(self.next + step) % len(numbers)]
            if number not in self.used:
                self.next = (self.next + step + 1) % len(numbers)
                return number
        return None

    def guaranteed(self, ending: Collection[int] = ()) -> int:
        """bit/s, of all classes below the line's. Those ``ending`` are about to go: they count only for what they would
        not give up."""
        return sum(
            rates.guarantee
            for number, rates in self.classes.items()
            if number != WHOLE and (number not in ending or rates.guarantee > LOWEST_RATE)
        )

    @property
    def most(self) -> int:
        """bit/s: what may be guaranteed at most, to packets nobody reserved for too."""
        return self.line.guaranteeable + htb.default(self.line).guarantee


@dataclass(frozen=True, slots=True)
class Step:
    """Of a class; ``rates`` None: it goes."""

    ground: Ground
    number: int
    rates: Rates | None

    @property
    def place(self) -> tuple[str, int]:
        return self.ground.line.name, self.number

    @property
    def owned(self) -> bool:
        return self.number in self.ground.owners

    def commands(self) -> list[str]:
        device, ground = self.ground.device, self.ground
        if self.rates is None:
            return [htb.class_gone(device, self.number)]
        if (before := ground.classes.get(self.number)) is None:
            return htb.class_come(device, self.number, self.rates)
        changed = [] if before == self.rates else [htb.class_changed(device, self.number, self.rates)]
        return changed if self.number in (WHOLE, *ground.leaves) else [*changed, htb.leaf(device, self.number)]

    def commit(self) -> None:
        ground, number = self.ground, self.number
        if self.rates is None:
            ground.classes.pop(number, None)
            ground.leaves.discard(number)
            if number not in ground.owners:
                ground.used.discard(number)
        else:
            ground.classes[number] = self.rates
            ground.leaves.add(number)


@dataclass(slots=True)
class Steps:
    """In this order."""

    gone: set[Spot] = field(default_factory=set)
    """Rules that go."""
    shrinks: list[Step] = field(default_factory=list)
    grows: list[Step] = field(default_factory=list)
    come: dict[Spot, Rule] = field(default_factory=dict)
    """Rules that come, or come in place of others."""
    ends: list[Step] = field(default_factory=list)
    """Classes other rules led to until now."""
    entries: list[Entry] = field(default_factory=list)
    """Those it is about."""
    lost: list[Key] = field(default_factory=list)
    """Entries that were in place and are no more wanted."""
    failed: dict[Key, str] = field(default_factory=dict)
    """What needs no try."""


class Register:
    """What is in place, as far as is known."""

    def __init__(
        self, grounds: Mapping[str, Ground], rules: Mapping[Spot, Rule], before: Mapping[Key, int] | None = None
    ) -> None:
        """``rules``: of the lines ``grounds``. ``before``: numbers entries had, whose classes may have outlived their
        rules."""
        self.grounds = grounds
        self.rules = dict(rules)
        self.placed: dict[Key, Entry] = {}
        """Entries everything is in place of."""
        self.numbers: dict[Key, int] = {}
        self._before = before or {}
        self._swept = False
        # Whether all there is beside what is placed has been looked through.
        for ground in grounds.values():
            ground.used.update(ground.classes)
        for (line, _, _), rule in self.rules.items():
            if line in grounds:
                grounds[line].used.add(rule.number)

    def steps(self, plan: Plan, now: float) -> Steps:
        """What leads to the plan; numbers are given to entries at once. ``now``: UNIX s."""
        steps, placed = Steps(), self.placed
        changed = [entry for key, entry in plan.entries.items() if placed.get(key) is not entry]
        wanted = []
        for entry in changed:
            if entry.line not in self.grounds:
                continue
            if entry.action not in ACTIONS:
                steps.failed[entry.key] = f"the kernel's traffic control cannot {entry.action}"
            elif entry.expires <= now:
                steps.failed[entry.key] = OVER
            else:
                wanted.append(entry)
        steps.entries = wanted
        kept = len(plan.entries) - len(changed)
        lost = [key for key in placed if key not in plan.entries] if self._other_than(kept, changed) else []
        lost += [key for key in steps.failed if key in placed]
        steps.lost = lost
        released = self._release(lost)
        for entry in wanted:
            if entry.share is not None and entry.key not in self.numbers:
                self._number(entry, steps)
        steps.entries = [each for each in wanted if each.key not in steps.failed]
        for entry in steps.entries:
            self._compare(entry, steps)
        self._rest(lost, released, wanted, steps)
        self._of_lines(steps)
        return steps

    def _other_than(self, kept: int, changed: Iterable[Entry]) -> bool:
        return len(self.placed) > kept + sum(each.key in self.placed for each in changed)

    def _release(self, lost: Iterable[Key]) -> set[tuple[str, int]]:
        released = set()
        for key in lost:
            number = self.numbers.pop(key, None)
            if number is not None:
                released.add((key[0], number))
                self.grounds[key[0]].owners.pop(number, None)
        return released

    def _number(self, entry: Entry, steps: Steps) -> None:
        ground = self.grounds[entry.line]
        rules = (self.rules.get((entry.line, entry.action, match)) for match in entry.matches)
        numbers = {rule.number for rule in rules if rule is not None}
        if (before := self._before.get(entry.key)) in ground.classes:
            numbers.add(before)
        can_be = [each for each in numbers if htb.is_of_entry(entry.line, each) and each not in ground.owners]
        number = min(can_be, key=lambda each: (each not in ground.classes, each)) if can_be else ground.free()
        if number is None:
            steps.failed[entry.key] = f"all {len(ground.numbers)} classes of {entry.line} are taken"
            return
        ground.owners[number] = entry.key
        ground.used.add(number)
        self.numbers[entry.key] = number

    def _compare(self, entry: Entry, steps: Steps) -> None:
        ground, number = self.grounds[entry.line], 0
        if entry.share is not None:
            number = self.numbers[entry.key]
            rates, before = htb.rates(entry.share), ground.classes.get(number)
            if before is not None and rates.guarantee < before.guarantee:
                steps.shrinks.append(Step(ground, number, rates))
            elif rates != before or number not in ground.leaves:
                steps.grows.append(Step(ground, number, rates))
        rule = Rule(number, entry.dscp, float(entry.expires))
        for match in entry.matches:
            spot = (entry.line, entry.action, match)
            if not _same(self.rules.get(spot), rule):
                steps.come[spot] = rule

    def _rest(self, lost: Iterable[Key], released: set[tuple[str, int]], wanted: Iterable[Entry], steps: Steps) -> None:
        """What nobody wants any more: of entries that are lost, and at first of everything that is there."""
        spots = {(each.line, each.action, match) for each in wanted for match in each.matches}
        if self._swept:
            steps.gone = {(line, action, match) for line, action, matches in lost for match in matches} - spots
            steps.gone &= self.rules.keys()
            numbers = released
        else:
            steps.gone = self.rules.keys() - spots
            numbers = {(name, number) for name, ground in self.grounds.items() for number in ground.classes}
        moved = {(spot[0], self.rules[spot].number) for spot in steps.come if spot in self.rules}
        for name, number in sorted(numbers):
            ground = self.grounds[name]
            if number in (WHOLE, DEFAULT) or number in ground.owners or number not in ground.classes:
                continue
            if (name, number) in moved:
                least = ground.classes[number]._replace(guarantee=LOWEST_RATE)
                steps.shrinks.append(Step(ground, number, least))
                steps.ends.append(Step(ground, number, None))
            else:
                steps.shrinks.append(Step(ground, number, None))
        self._swept = True

    def _of_lines(self, steps: Steps) -> None:
        for ground in self.grounds.values():
            for number, rates in ((WHOLE, htb.whole(ground.line)), (DEFAULT, htb.default(ground.line))):
                before = ground.classes.get(number)
                if before is not None and rates < before:
                    steps.shrinks.append(Step(ground, number, rates))
                elif before != rates:
                    steps.grows.insert(0, Step(ground, number, rates))

    def commit_rules(self, gone: Iterable[Spot], come: Mapping[Spot, Rule]) -> None:
        for spot in gone:
            self.rules.pop(spot, None)
        self.rules.update(come)

    def commit(self, steps: Steps, failed: Mapping[Key, str]) -> None:
        for key in (*steps.lost, *failed):
            self.placed.pop(key, None)
        for entry in steps.entries:
            if entry.key not in failed:
                self.placed[entry.key] = entry


def _same(there: Rule | None, wanted: Rule) -> bool:
    if there is None or there.number != wanted.number or there.dscp != wanted.dscp:
        return False
    if there.expires is None or wanted.expires is None:
        return there.expires == wanted.expires
    return abs(there.expires - wanted.expires) <= SLACK_S
