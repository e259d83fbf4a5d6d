"""FLOODER: repeats the policy, if this agent is an origin, and what this agent says of itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from random import Random
from typing import Final, Protocol

import grasp
from asa.policy import Policy
from asa.seals import Seals
from asa.threads.duty import Duty
from grasp import FloodItem, GraspError, Locator, Objective
from objectives.agent import Announcement
from objectives.reach import Reach

PEERS_PER_SECOND: Final = 10
"""The more agents there are, the more rarely each floods: so many announcements a second reach each node."""

SOON_S: Final = 0.5
"""After a change, so that several changes make one flood."""

LOOP_COUNT: Final = 32
"""Relays a flood may pass: more than the default of six (RFC 8990 §2.6), for networks with longer paths."""

LIVES: Final = 3
"""A flood is valid for so many intervals."""


class Names(Protocol):
    """The objectives, as they are called here."""

    @property
    def agent(self) -> str: ...
    @property
    def params(self) -> str: ...
    @property
    def reach(self) -> str: ...


class Presence(Protocol):
    """What there is to say of this agent: :class:`asa.presence.Presence`."""

    def announcement(self, state: str | None = None) -> Announcement: ...
    def reach(self) -> Reach | None: ...
    def locator(self) -> Locator: ...


class Flooder(Duty):
    """``presence`` is what to say of this agent; ``crowd`` tells how many others are known."""

    name = "flooder"

    def __init__(
        self,
        asa: grasp.ASA,
        names: Names,
        policy: Policy,
        seals: Seals,
        origin: bool,
        presence: Presence,
        crowd: Callable[[], int],
        report: Callable[[str, str], None],
        rng: Random,
    ) -> None:
        super().__init__(report, rng)
        self._asa = asa
        self._names = names
        self._policy = policy
        self._seals = seals
        self._origin = origin
        self._presence = presence
        self._crowd = crowd
        self._last = 0.0
        self._pause = SOON_S
        self._greeting = False

    def greet(self) -> None:
        """Somebody new is there who has not heard of this agent."""
        self._greeting = True
        self.wake()

    def turn(self) -> float | None:
        now = time.monotonic()
        crowd = self._crowd()
        if self._greeting:
            # All who know the newcomer as little want to say so; they take turns by chance.
            self._greeting = False
            self._pause = SOON_S
            return self._rng.uniform(0.0, max(SOON_S, crowd / PEERS_PER_SECOND))
        if now - self._last < SOON_S:
            return SOON_S - (now - self._last)
        interval = max(self._policy.params["flood_interval"], crowd / PEERS_PER_SECOND)
        self.flood(self._presence.announcement(), interval)
        self._last = now
        # Often at first, for a multicast may be lost; with a little chance, lest all flood together for ever.
        self._pause = min(interval, self._pause * 2)
        return self._pause * self._rng.uniform(0.8, 1.0)

    def flood(self, said: Announcement, interval: float) -> None:
        """Once, now."""
        ttl = int(LIVES * interval * 1000)
        for part in said.parts():
            self._say(self._names.agent, part.to_value(), ttl)
        reach = self._presence.reach() if said.state != "left" else None
        for prefixes in reach.parts() if reach is not None else ():
            self._say(self._names.reach, prefixes.to_value(), ttl)
        if self._origin and self._policy.known:
            self._send(FloodItem(self._objective(self._names.params, self._policy.to_value())), ttl)

    def _say(self, name: str, value: object, ttl: int) -> None:
        """Something of this agent itself, with where it is."""
        self._send(FloodItem(self._objective(name, self._seals.wrap(name, value)), self._presence.locator()), ttl)

    def _objective(self, name: str, value: object) -> Objective:
        return Objective.synchronization(name, value, loop_count=LOOP_COUNT)

    def _send(self, item: FloodItem, ttl: int) -> None:
        try:
            self._asa.flood(item, ttl)
        except GraspError as error:
            if error.code is not grasp.ErrorCode.noInterface:
                raise
