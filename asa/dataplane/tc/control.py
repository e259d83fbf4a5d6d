"""The back end for the Linux kernel's own traffic control: a class of HTB for each share, and a
:class:`~asa.dataplane.tc.classifier.Classifier` that tells the packets apart."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Final

from asa.dataplane.backend import MOST_STRAYS, Abilities, Counters, EnforcementFailed, Found, Reading, Spot
from asa.dataplane.plan import Key, Line, Plan, Share
from asa.dataplane.tc import netlink, shaper
from asa.dataplane.tc.classes import ACTIONS, Ground, Register, Step, Steps
from asa.dataplane.tc.classifier import DEFAULT, WHOLE, Classifier, Rule
from asa.dataplane.tc.htb import Rates
from asa.dataplane.tc.shaper import Leftover, Seen
from asa.errors import BadRequest

MOST_LOOKED_AT: Final = 64
"""Classes of a line that are asked for one by one; with more all of it are read."""


class TrafficControl:
    """A :class:`~asa.dataplane.backend.Backend`."""

    def __init__(self, classifier: Classifier, take_over: bool, now: Callable[[], float] = time.time) -> None:
        """``take_over``: replace root qdiscs of somebody else's. ``now``: UNIX s."""
        self.name = f"tc-{classifier.name}"
        self._classifier = classifier
        self._take_over = take_over
        self._redirect = not classifier.redirects
        self._now = now
        self._lines: tuple[Line, ...] = ()
        self._seen: dict[str, Seen] = {}
        self._leftovers: list[Leftover] = []
        self._filtered: dict[str, int] = {}
        # Devices with filters that are no more wanted, and their indices.
        self._rules: Mapping[Spot, Rule] = {}
        self._hindered: dict[str, str] = {}
        self._known = False
        # Whether the last reading of everything, with what was applied since, says how things are.
        self._settled = False
        self._register = Register({}, {})

    def probe(self, lines: Sequence[Line]) -> Abilities:
        if not self._lines:
            self._lines = tuple(lines)
        shaping, telling = shaper.probe(self._redirect), self._classifier.probe(lines)
        return replace(
            telling,
            ways=shaping.ways & telling.ways,
            actions=telling.actions & ACTIONS,
            notes=(*shaping.notes, *telling.notes),
        )

    # -- reading

    def read(self, keys: Collection[Key] | None = None) -> Reading:
        return self._whole() if keys is None else self._some(keys)

    def _whole(self) -> Reading:
        self._known = self._settled = False
        self._seen, self._leftovers = shaper.survey(self._lines, self._redirect)
        self._filtered = {} if self._classifier.filters else shaper.filtered(self._seen.values())
        there = [each.line for each in self._seen.values() if each.link is not None]
        self._rules, wrong, strays = self._classifier.read(there)
        self._known = True
        lines = {name: self._trouble(seen, wrong.get(name, "")) for name, seen in self._seen.items()}
        classes = {name: seen.classes for name, seen in self._seen.items()}
        led_to = {(spot[0], rule.number) for spot, rule in self._rules.items()}
        orphans = (
            f"class {number:x} of {seen.device}, which no rule leads to"
            for name, seen in self._seen.items()
            for number in seen.classes
            if number not in (WHOLE, DEFAULT) and (name, number) not in led_to
        )
        filters = (f"u32 filters of ours on {device}" for device in self._filtered)
        all_strays = [*(each.words for each in self._leftovers), *filters, *strays, *orphans]
        return Reading(lines, _found(self._rules, classes), tuple(all_strays[:MOST_STRAYS]))

    def _trouble(self, seen: Seen, wrong: str) -> str:
        return seen.hindrance(self._take_over) or seen.wrong() or wrong

    def _some(self, keys: Collection[Key]) -> Reading:
        lines = {each.name: each for each in self._lines}
        seen = {
            name: shaper.look(lines[name], self._redirect) for name in sorted({key[0] for key in keys} & lines.keys())
        }
        spots = [
            (line, action, match)
            for line, action, matches in keys
            if line in seen and seen[line].link is not None
            for match in matches
        ]
        rules = self._classifier.look(spots)
        wrong = self._classifier.amiss([each.line for each in seen.values() if each.link is not None])
        if any(wrong.values()):
            self._known = False
        classes: dict[str, dict[int, Rates]] = {}
        for name, each in seen.items():
            numbers = {rule.number for spot, rule in rules.items() if spot[0] == name and rule.number}
            classes[name] = _classes(each, numbers)
        troubles = {name: self._trouble(each, wrong.get(name, "")) for name, each in seen.items()}
        return Reading(troubles, _found(rules, classes))

    def count(self) -> Mapping[Key, Counters]:
        found: dict[Key, Counters] = {}
        for ground in self._register.grounds.values():
            link = netlink.link(ground.device) if ground.owners else None
            counters = {} if link is None else netlink.counters(link.index)
            found |= {key: counters[number] for number, key in ground.owners.items() if number in counters}
        return found

    # -- changing

    def apply(self, plan: Plan) -> Mapping[Key, str]:
        if plan.lines != self._lines or not self._known:
            self._lines = plan.lines
            self._whole()
        try:
            return self._applied(plan)
        except BaseException:
            self._known = False
            raise

    def _applied(self, plan: Plan) -> dict[Key, str]:
        if not self._settled:
            self._settle()
        register = self._register
        steps = register.steps(plan, self._now())
        failed = self._done(steps)
        if failed:
            # What has become of the rest of these is not known.
            self._known = False
        failed |= steps.failed
        if self._hindered:
            failed |= {key: self._hindered[key[0]] for key in plan.entries if key[0] in self._hindered}
        register.commit(steps, failed)
        return failed

    def _settle(self) -> None:
        self._hindered = shaper.settle(self._seen, self._take_over)
        usable = [each.line for name, each in self._seen.items() if name not in self._hindered]
        self._hindered |= self._classifier.prepare(usable)
        shaper.remove(self._leftovers)
        self._leftovers = []
        self._unfilter()
        grounds = {
            name: Ground(each.line, each.device, dict(each.classes), set(each.leaves))
            for name, each in self._seen.items()
            if name not in self._hindered
        }
        rules = {spot: rule for spot, rule in self._rules.items() if spot[0] in grounds}
        self._register = Register(grounds, rules, self._register.numbers)
        self._settled = True

    def _unfilter(self) -> None:
        """Of queues that the u32 classifier had before: its filters lead packets, and hold the classes they lead to."""
        if self._filtered:
            # Seldom needed.
            from asa.dataplane.u32.classifier import sweep

            for index in self._filtered.values():
                sweep(index)
        self._filtered = {}

    def _done(self, steps: Steps) -> dict[Key, str]:
        failed: dict[Key, str] = {}
        kept = self._ruled(steps.gone, {})
        # Where a rule could not go its class stays, and what it guarantees.
        held = {(spot[0], self._register.rules[spot].number) for spot in kept if spot in self._register.rules}
        failed |= self._stepped([each for each in steps.shrinks if each.owned or each.place not in held])
        failed |= self._stepped(self._fitting(steps, failed))
        come = {}
        for entry in steps.entries:
            for match in entry.matches if entry.key not in failed else ():
                if (spot := (entry.line, entry.action, match)) in steps.come:
                    come[spot] = steps.come[spot]
        refused = self._ruled(come.keys() & self._register.rules.keys(), come)
        for entry in steps.entries if refused else ():
            for match in entry.matches:
                if (spot := (entry.line, entry.action, match)) in refused:
                    failed[entry.key] = refused[spot]
        held = {(spot[0], self._register.rules[spot].number) for spot in refused if spot in self._register.rules}
        self._stepped([each for each in steps.ends if each.place not in held])
        return failed

    def _ruled(self, gone: Collection[Spot], come: Mapping[Spot, Rule]) -> Mapping[Spot, str]:
        if not gone and not come:
            return {}
        refused = self._classifier.change(gone, come)
        if refused:
            self._known = False
        self._register.commit_rules(
            [spot for spot in gone if spot not in refused],
            {spot: rule for spot, rule in come.items() if spot not in refused},
        )
        return refused

    def _fitting(self, steps: Steps, failed: dict[Key, str]) -> list[Step]:
        """Those that may grow although something else could not shrink: HTB would give away more than there is."""
        ending: dict[str, set[int]] = {}
        for each in steps.ends:
            ending.setdefault(each.ground.line.name, set()).add(each.number)
        total: dict[str, int] = {}
        fitting = []
        for step in steps.grows:
            ground, name = step.ground, step.ground.line.name
            if step.number == WHOLE or step.rates is None:
                fitting.append(step)
                continue
            before = ground.classes.get(step.number)
            more = step.rates.guarantee - (0 if before is None else before.guarantee)
            now = total[name] if name in total else ground.guaranteed(ending.get(name, ()))
            if now + more > ground.most and (key := ground.owners.get(step.number)) is not None:
                failed[key] = f"{name} has classes that should have gone, and no room beside them"
                continue
            total[name] = now + more
            fitting.append(step)
        return fitting

    def _stepped(self, steps: Sequence[Step]) -> dict[Key, str]:
        """Why classes could not be had; one that cannot go is no failure of anybody's, and found again."""
        texts = [(position, text) for position, step in enumerate(steps) for text in step.commands()]
        refused: dict[int, str] = {}
        if texts:
            for line, why in shaper.run("tc", [text for _, text in texts]).items():
                refused.setdefault(texts[line][0], why)
        failed: dict[Key, str] = {}
        for position, step in enumerate(steps):
            if position not in refused:
                step.commit()
                continue
            self._known = False
            key = step.ground.owners.get(step.number)
            if key is not None:
                failed[key] = f"its class cannot be made: {refused[position]}"
        return failed

    def clear(self) -> None:
        self._known = False
        self._register = Register({}, {})
        self._classifier.clear()
        shaper.remove(shaper.survey((), self._redirect)[1])
        if left := shaper.survey((), self._redirect)[1]:
            raise EnforcementFailed(f"cannot be removed: {'; '.join(each.words for each in left)[:400]}")

    def close(self) -> None:
        self._classifier.close()


def _classes(seen: Seen, numbers: Collection[int]) -> dict[int, Rates]:
    if seen.link is None or not seen.shaped:
        return {}
    if len(numbers) > MOST_LOOKED_AT:
        return netlink.classes(seen.link.index)
    found = {number: netlink.one_class(seen.link.index, number) for number in numbers}
    return {number: rates for number, rates in found.items() if rates is not None}


def _found(rules: Mapping[Spot, Rule], classes: Mapping[str, Mapping[int, Rates]]) -> dict[Spot, Found]:
    nothing: dict[int, Rates] = {}
    return {
        spot: Found(rule.number, _share(classes.get(spot[0], nothing).get(rule.number)), rule.dscp, rule.expires)
        for spot, rule in rules.items()
    }


def _share(rates: Rates | None) -> Share | None:
    if rates is None:
        return None
    try:
        return Share(*rates)
    except BadRequest:
        # Somebody else's idea of a class.
        return None
