"""Which link a node makes, takes, keeps and gives up, so that there is one to each neighbour. No I/O.

Two nodes may connect to each other at once. Whose place is greater is the Decider, the other the Follower (RFC 8994
§6.6 compares what certificates say; places are known before the handshake, so that the Follower can wait, and differ
for two instances with one certificate). On a connection, secured and with both ends members:

1. who made it, and has no link with the other, says where it listens itself (the announcement, now authenticated);
2. the other takes it and says M_NOOP; or closes it, if it is the Decider and has asked for one itself;
3. M_NOOP again: now it is the link, and one there was before is retired, after what was on its way has arrived.

``now`` is monotonic seconds, ``random`` draws from [0, 1). Not thread-safe.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from typing import Final

from grasp.transport.links.announcements import Announced, Place
from grasp.transport.links.candidates import Candidate, Candidates
from grasp.transport.links.phases import Action, Do, Event, Link, Phase, Timing

_MAKING: Final = (Phase.CONNECTING, Phase.ASKED)
_LIVE: Final = (Phase.OFFERED, Phase.UP)
_ATTEMPTS: Final = 64
_AWAITED: Final = 64
_PER_MEMBER: Final = 8
_SPREAD_S: Final = 1.0


class Pairing:
    """All links of a node. What it returns is to be done in that order; it counts as done."""

    def __init__(self, limit: int, random: Callable[[], float], timing: Timing | None = None) -> None:
        self.timing: Final = timing or Timing()
        self.candidates: Final = Candidates(limit, random)
        self.links: Final[dict[int, Link]] = {}
        self.own: Final[dict[int, Place]] = {}
        self.generation = 0
        self._random = random
        self._numbers = count(1)

    # -- where neighbours are

    def addressed(self, now: float, interface: int, place: Place | None) -> list[Action]:
        """Where this node listens on an interface; None: it is gone. Links over another address end."""
        if self.own.get(interface) == place:
            return []
        ended = [each for each in self.links.values() if each.interface == interface]
        if place is None:
            del self.own[interface]
            actions = [self._end(now, each, "the interface is gone") for each in ended]
            self.candidates.gone(interface)
            return actions
        self.own[interface] = place
        for candidate in {each.candidate for each in ended if each.candidate is not None}:
            candidate.due = now + self._wait(interface, candidate.place)
        return [self._end(now, each, "our address has changed") for each in ended]

    def heard(self, now: float, interface: int, found: Announced) -> bool:
        """An announcement; True if nothing was known of that place."""
        if interface not in self.own or found.place in self.own.values():
            return False
        wait = self._wait(interface, found.place)
        return self.candidates.heard(now, interface, found.place, found.seconds, wait)[1]

    def _decides(self, interface: int, place: Place) -> bool:
        return self.own[interface] > place

    def _wait(self, interface: int, place: Place) -> float:
        """For the Decider next to nothing, for the Follower longer than the Decider needs."""
        if self._decides(interface, place):
            return self.timing.decider * self._random()
        return self.timing.follower * (1 + self._random())

    # -- time

    def due(self, now: float) -> list[Action]:
        """What is to be done by now: attempts, keep-alives, and the end of what takes too long."""
        actions = []
        for link in list(self.links.values()):
            if self._deadline(link) <= now:
                actions.append(self.closed(now, link, f"{link.phase} for too long"))
            elif link.phase is Phase.UP and link.said + self.timing.silence <= now:
                link.said = now
                actions.append(Action(Do.NOOP, link))
        self.candidates.expire(now)
        free = _ATTEMPTS - sum(each.phase in _MAKING for each in self.links.values())
        ready = sorted((each for each in self._wanted() if each.due <= now), key=lambda each: each.due)
        return actions + [self._open(now, each) for each in ready[: max(0, free)]]

    def next(self) -> float:
        """When :meth:`due` has something to do."""
        times = [self._deadline(each) for each in self.links.values()]
        times += [each.said + self.timing.silence for each in self.links.values() if each.phase is Phase.UP]
        if sum(each.phase in _MAKING for each in self.links.values()) < _ATTEMPTS:
            times += [each.due for each in self._wanted()]
        # Who is gone is not told of as failing for as long as it would have been left alone.
        times += [each.expires for each in self.candidates if each.failures and not each.held]
        return min(times, default=float("inf"))

    def _deadline(self, link: Link) -> float:
        timing = self.timing
        if link.phase is Phase.UP:
            return link.heard + timing.dead
        if link.phase is Phase.CONNECTING and not link.reached:
            return link.begun + timing.reach
        if link.phase in _MAKING:
            # Both phases are one attempt: being secured gives no more time.
            return link.begun + timing.attempt
        return link.step + timing.greeting

    def _wanted(self) -> Iterator[Candidate]:
        """Candidates without a link, and those whose link shows a certificate that was renewed since."""
        old = {
            each.candidate
            for each in self.links.values()
            if each.phase is Phase.UP and each.generation < self.generation
        }
        fresh = {
            each.candidate
            for each in self.links.values()
            if each.phase in (*_MAKING, Phase.OFFERED)
            or (each.phase is Phase.UP and each.generation >= self.generation)
        }
        for each in self.candidates:
            if each.interface in self.own and (not each.held or each in old) and each not in fresh:
                yield each

    def renew(self, now: float, generation: int) -> None:
        """We have another certificate: links are made anew beside the old ones, and who refused us is asked again."""
        self.generation = generation
        for each in self.candidates:
            each.failures = 0
            each.due = now + _SPREAD_S * self._random()

    # -- connections

    def _made(self, now: float, interface: int, phase: Phase, generation: int) -> Link:
        link = Link(next(self._numbers), interface, generation, now, now, now, now, phase)
        self.links[link.number] = link
        return link

    def _open(self, now: float, candidate: Candidate) -> Action:
        link = self._made(now, candidate.interface, Phase.CONNECTING, self.generation)
        self._attach(link, candidate)
        return Action(Do.OPEN, link)

    def _attach(self, link: Link, candidate: Candidate) -> None:
        link.candidate, link.place = candidate, candidate.place
        candidate.held += 1

    def adopted(self, now: float, interface: int, member: str, generation: int) -> tuple[Link, list[Action]]:
        """A neighbour has connected and proved to be ``member``; the link is closed already if there is no room."""
        link = self._made(now, interface, Phase.AWAITED, generation)
        link.member = member
        if interface not in self.own:
            return link, [self._end(now, link, "not an interface of ours")]
        awaited = [each for each in self.links.values() if each.phase is Phase.AWAITED]
        if len(awaited) > _AWAITED:
            return link, [self._end(now, awaited[0], "others wait too")]
        return link, []

    def secured(self, now: float, link: Link, member: str, generation: int) -> list[Action]:
        """A connection of ours stands, and the other end has proved to be ``member``."""
        link.member = member
        link.generation = generation
        link.on(Event.ASK, now)
        return [Action(Do.GREET, link)]

    def greeted(self, now: float, link: Link, found: Announced) -> list[Action]:
        """The first message on a connection of theirs says where they listen."""
        if found.place in self.own.values():
            return [self._end(now, link, "it is ourselves")]
        candidate, _ = self.candidates.heard(now, link.interface, found.place, found.seconds, 0.0, member=True)
        if candidate is None:
            return [self._end(now, link, "too many neighbours")]
        mine = [each for each in self.links.values() if each.candidate is candidate and each.phase in _MAKING]
        asked = [each for each in mine if each.phase is Phase.ASKED and each.member == link.member]
        if asked and self._decides(link.interface, found.place):
            return [self._end(now, link, "ours goes first")]
        actions = []
        self._attach(link, candidate)
        for each in mine:
            if each.phase is Phase.CONNECTING or each in asked:
                actions.append(self._end(now, each, "theirs goes first"))
        # It asks again: it has given up what it asked for before.
        actions += [
            self._end(now, each, "asked for another") for each in self._live(link) if each.phase is Phase.OFFERED
        ]
        candidate.due = max(candidate.due, now + self._wait(link.interface, found.place))
        link.on(Event.TAKE, now)
        link.said = now
        return [*actions, Action(Do.NOOP, link), *self._crowded(now, link)]

    def _crowded(self, now: float, link: Link) -> list[Action]:
        """One member has room for a few instances on an interface; those it made first go."""
        same = [
            each
            for each in self.links.values()
            if each.interface == link.interface and each.member == link.member and each.phase in _LIVE
        ]
        return [
            self._end(now, each, "too many links of one member") for each in same[: max(0, len(same) - _PER_MEMBER)]
        ]

    def message(self, now: float, link: Link, noop: bool) -> list[Action]:
        """A message came; none but a greeting may come on a link that is awaited, which the shell sees to."""
        if link.phase is Phase.ASKED:
            if not noop:
                return [self.closed(now, link, "it did not take our link")]
            link.said = now
            return [Action(Do.NOOP, link), *self._agreed(now, link)]
        if link.phase is Phase.OFFERED:
            return self._agreed(now, link)
        return []

    def _agreed(self, now: float, link: Link) -> list[Action]:
        # Who asked sees it first. Were it to end the old link, the other would have none for a moment.
        leave = Do.DRAIN if link.phase is Phase.ASKED else Do.RETIRE
        link.on(Event.AGREED, now)
        link.heard = now
        candidate = link.candidate
        assert candidate is not None
        candidate.failures = 0
        candidate.proven = True
        actions = []
        for each in [each for each in self.links.values() if each.candidate is candidate and each.phase is Phase.UP]:
            # A certificate that was renewed may have another AcpNodeName; that of an older one of ours does not count.
            if each is not link and (each.member == link.member or each.generation < link.generation):
                each.on(Event.REPLACED, now)
                self._detach(each)
                actions.append(Action(leave, each, "replaced"))
        for each in self.links.values():
            doubtful = each.member == link.member or each.candidate is candidate
            if each is not link and each.phase is Phase.UP and each.interface == link.interface and doubtful:
                # The same node with another address, or another node with its address: one may be gone.
                actions.append(Action(Do.PROVE, each))
        return [*actions, Action(Do.UP, link)]

    def _live(self, link: Link) -> list[Link]:
        """Other links with the same instance of the same member, there or about to be."""
        return [
            each
            for each in self.links.values()
            if each is not link
            and each.phase in _LIVE
            and each.candidate is link.candidate
            and each.member == link.member
        ]

    def closed(self, now: float, link: Link, why: str, detail: str = "") -> Action:
        """A connection ended by itself, or has to: something about it was not as it shall be."""
        phase, candidate = link.phase, link.candidate
        if candidate is not None:
            candidate.why = detail or why
        action = self._end(now, link, why)
        if candidate is not None and candidate.interface in self.own:
            if phase in _MAKING:
                self.candidates.failed(now, candidate)
            elif phase is Phase.UP:
                follows = not self._decides(link.interface, candidate.place)
                self.candidates.lost(now, candidate, self.timing.follower if follows else 0.0)
        return action

    def cut(self, now: float, link: Link, why: str) -> Action:
        """The other end is no member any more: not tried again soon."""
        candidate = link.candidate
        action = self._end(now, link, why)
        if candidate is not None:
            candidate.why = why
            self.candidates.failed(now, candidate)
        return action

    def _end(self, now: float, link: Link, why: str) -> Action:
        link.on(Event.END, now)
        del self.links[link.number]
        self._detach(link)
        return Action(Do.CLOSE, link, why)

    def _detach(self, link: Link) -> None:
        if link.candidate is not None:
            link.candidate.held -= 1
            link.candidate = None
