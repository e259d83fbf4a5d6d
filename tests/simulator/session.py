"""A session between two simulated nodes: two directions, each in order, which a fault may cut, silence or slow down."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from asa.steps import Answer, Request
from objectives import resource

if TYPE_CHECKING:
    from tests.simulator.network import Event, Network
    from tests.simulator.process import Process


@dataclass(frozen=True)
class Said:
    """What a request message carries."""

    value: Request
    dry: bool
    objective: str = resource.NAME


@dataclass(frozen=True)
class Answered:
    value: Answer


@dataclass(frozen=True)
class Ended:
    accept: bool
    reason: str = ""


@dataclass(frozen=True)
class Waits:
    milliseconds: int


@dataclass(frozen=True)
class Over:
    """The connection is closed: not sent by an agent, noticed."""


Message = Said | Answered | Ended | Waits | Over


class End:
    """One end. What arrived and was not read outlives the connection, as it does in a socket's buffer."""

    def __init__(self, session: Session, node: str) -> None:
        self.session = session
        self.node = node
        self.inbox: deque[Message] = deque()
        self.process: Process | None = None
        self.other: End
        self.closed = False
        self.silenced = False
        """What is sent from here is lost from now on."""
        self._latest = 0.0
        self._coming: list[Event] = []

    def send(self, message: Message) -> bool:
        """False if the connection is known to be over; a message that is lost is sent all the same."""
        if self.closed or any(isinstance(each, Over) for each in self.inbox):
            return False
        self.session.said(self, message)
        world = self.session.world
        world.counts["messages"] += 1
        if world.fault == "lose":
            world.fired()
            self.silenced = True
        if self.silenced or self.session.cut:
            world.counts["losses"] += 1
        else:
            self.other.arrive(message)
        return True

    def arrive(self, message: Message) -> None:
        """Schedule what is on its way here, after all that is on its way already."""
        world = self.session.world
        time = world.now + world.delay() + world.held_up(message)
        self._latest = max(self._latest, time)
        self._coming.append(world.at(self._latest, f"deliver {_name(message)}", self.node, lambda: self._got(message)))

    def _got(self, message: Message) -> None:
        self._coming = [each for each in self._coming if not each.done]
        if self.closed:
            return
        world = self.session.world
        if world.fault == "lose" and not isinstance(message, Over):
            world.fired()
            world.counts["losses"] += 1
            self.other.silenced = True
            for event in self._coming:
                event.done = True
            return
        self.inbox.append(message)
        if self.process is None:
            self.session.served(self)
        else:
            self.process.readable()

    def close(self) -> None:
        """This end will neither read nor send any more; the other reads what was sent, then notices."""
        if not self.closed:
            self.closed = True
            if not self.silenced and not self.session.cut:
                self.other.arrive(Over())

    def lose_incoming(self) -> None:
        """What is on its way here, or in the buffer, is gone."""
        self.inbox.clear()
        for event in self._coming:
            event.done = True

    @property
    def flying(self) -> bool:
        """Whether something is on its way here."""
        return any(not each.done for each in self._coming)


class Session:
    """Between a node that begins and one that answers."""

    def __init__(self, world: Network, begins: str, answers: str) -> None:
        self.world = world
        self.cut = False
        self.forged = False
        """What it begins with was made up by the adversary."""
        self.client = End(self, begins)
        self.server = End(self, answers)
        self.client.other, self.server.other = self.server, self.client
        self.objective = resource.NAME
        self.script: list[Message] = []
        """What the node that began has sent, for a replay."""
        world.sessions.append(self)

    def said(self, end: End, message: Message) -> None:
        if end is self.client:
            if isinstance(message, Said):
                self.objective = message.objective
            if not self.script:
                self.world.scripts.append((self.world.nodes[self.server.node].me, self.script))
            self.script.append(message)

    def served(self, end: End) -> None:
        self.world.serve(end)

    def sever(self, keep: bool) -> None:
        """Cut the connection. ``keep``: what was sent before still arrives, then the end is noticed."""
        if self.cut or (self.client.closed and self.server.closed):
            return
        for end in (self.client, self.server):
            if not keep:
                end.lose_incoming()
            end.arrive(Over())
        self.cut = True
        self.world.counts["cuts"] += 1

    @property
    def flying(self) -> bool:
        return self.client.flying or self.server.flying

    @property
    def going(self) -> bool:
        """Whether anything can still happen in it."""
        return self.open or self.flying

    @property
    def open(self) -> bool:
        return not self.cut and not (self.client.closed and self.server.closed)


def _name(message: Message) -> str:
    value = getattr(message, "value", None)
    if isinstance(message, Ended):
        return f"{'accept' if message.accept else 'decline'} {message.reason}".rstrip()
    return str(getattr(value, "op", type(message).__name__.lower())) if value is not None else type(message).__name__


def describe(value: Any) -> str:
    """A step or message in one line of a trace."""
    text = repr(value)
    return text if len(text) < 160 else text[:157] + "..."
