"""The phases of a link, and what is to be done with one. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from grasp.transport.links.announcements import Place
from grasp.transport.links.candidates import Candidate


class Phase(StrEnum):
    CONNECTING = "connecting"
    """Ours: TCP and TLS."""
    ASKED = "asked"
    """Ours: we have said where we listen."""
    AWAITED = "awaited"
    """Theirs: secured; where they listen is still to be said."""
    OFFERED = "offered"
    """Theirs: we have taken it."""
    UP = "up"
    RETIRED = "retired"
    """Another has taken its place; what is on its way still arrives."""
    CLOSED = "closed"


class Event(StrEnum):
    ASK = "ask"
    TAKE = "take"
    AGREED = "agreed"
    REPLACED = "replaced"
    END = "end"


TABLE: Final[Mapping[tuple[Phase, Event], Phase]] = {
    (Phase.CONNECTING, Event.ASK): Phase.ASKED,
    (Phase.ASKED, Event.AGREED): Phase.UP,
    (Phase.AWAITED, Event.TAKE): Phase.OFFERED,
    (Phase.OFFERED, Event.AGREED): Phase.UP,
    (Phase.UP, Event.REPLACED): Phase.RETIRED,
    **{(each, Event.END): Phase.CLOSED for each in Phase if each is not Phase.CLOSED},
}


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds."""

    attempt: float = 10.0
    """From connecting to the other's M_NOOP."""
    reach: float = 2.0
    """For TCP, with one packet lost: what forged announcements name is not there, and shall not be in the way long."""
    greeting: float = 5.0
    """For each of the peer's steps on a connection it made, and for what a retired link has still to say."""
    silence: float = 10.0
    """After which M_NOOP is sent."""
    dead: float = 30.0
    """Without a byte."""
    follower: float = 1.0
    """What the Follower waits for the Decider to connect, and up to twice that."""
    decider: float = 0.1
    """What the Decider waits at most, so that many do not connect at the same instant."""


@dataclass(slots=True, eq=False)
class Link:
    """One connection, since ``begun``; its phase since ``step``. ``generation``: of our own identity, when it was made.

    ``reached``: the other end has answered. ``heard`` and ``said``: when bytes came and went last. ``place``: where the
    other end listens, once it is known.
    """

    number: int
    interface: int
    generation: int
    begun: float
    step: float
    heard: float
    said: float
    phase: Phase
    place: Place | None = None
    candidate: Candidate | None = None
    member: str = ""
    reached: bool = False

    def on(self, event: Event, now: float) -> None:
        """Raises KeyError for what cannot happen in this phase."""
        self.phase = TABLE[self.phase, event]
        self.step = now


class Do(StrEnum):
    """What the shell is to do with a link."""

    OPEN = "open"
    """Connect to the candidate's place and secure it as a client."""
    GREET = "greet"
    """Send the announcement."""
    NOOP = "noop"
    UP = "up"
    """It carries messages from now on."""
    RETIRE = "retire"
    """Send what is queued, and then the end; read until the other end's."""
    DRAIN = "drain"
    """Send what is queued; read until the other end's end, which comes when it knows of the new link."""
    PROVE = "prove"
    """Send M_NOOP; if that is not acknowledged soon, the connection ends."""
    CLOSE = "close"


@dataclass(frozen=True, slots=True)
class Action:
    do: Do
    link: Link
    why: str = ""
