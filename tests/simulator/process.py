"""One conversation of a simulated agent: each step its generator yields is one event of the network."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from asa.errors import AsaError
from asa.steps import (
    Agree,
    Begin,
    Broken,
    Deny,
    Drop,
    Finish,
    Look,
    Propose,
    Refused,
    Step,
    Steps,
    Tell,
    Transact,
    Wait,
)
from objectives import InvalidValue, pact, resource
from tests.simulator.session import Answered, End, Ended, Message, Said, Session, Waits, describe

if TYPE_CHECKING:
    from tests.simulator.network import Event
    from tests.simulator.node import Node

ANSWERS = {resource.NAME: resource.answer_from_value, pact.NAME: pact.answer_from_value}
PATIENCE = 10.0
"""Seconds an answering end waits for what the other decides."""
Outcome = Callable[[Any, BaseException | None], object]


class Process:
    """One generator being run: each step it yields is one event of the world."""

    def __init__(self, node: Node, steps: Steps[Any], label: str, served: End | None, done: Outcome | None) -> None:
        self.node = node
        self.world = node.world
        self.label = label
        self._steps = steps
        self._served = served
        self._done = done
        self._begun: End | None = None
        self._reading: End | None = None
        self._deadline: Event | None = None
        self._event: Event | None = None
        self._step: Step | None = None
        node.processes.add(self)

    def resume(self, value: Any = None, error: BaseException | None = None) -> None:
        """Run on to the next step, which becomes an event."""
        self._step = None
        try:
            step = self._steps.throw(error) if error is not None else self._steps.send(value)
        except StopIteration as stop:
            self._end(stop.value, None)
        except (AsaError, Refused, Broken, ValueError) as raised:
            self._end(None, raised)
        else:
            self._step = step
            label = f"{self.label}: {describe(step) if self.world.tracing else type(step).__name__}"
            self._event = self.world.at(self.world.now + self.world.pace(), label, self.node.name, self._perform)

    def _end(self, value: Any, error: BaseException | None) -> None:
        if self._served is not None:
            self._served.close()
        if self._begun is not None:
            self._begun.close()
        self.node.processes.discard(self)
        self.world.ended(self, value, error)
        if self._done is not None:
            self._done(value, error)
        self.node.look_for_doubt()

    def kill(self) -> None:
        """The node crashed: nothing of this is left."""
        for event in (self._event, self._deadline):
            if event is not None:
                event.done = True
        self._done = None
        self._steps.close()

    def _perform(self) -> None:
        step, node, world = self._step, self.node, self.world
        match step:
            case Transact():
                if world.fault == "crash before commit":
                    world.strikes(node.name)
                    return
                node.disk_written = False
                try:
                    value = node.books.transact(step.rule)
                except (AsaError, ValueError) as error:
                    self.resume(error=error)
                    return
                if world.fault == "crash after commit" and node.disk_written:
                    world.strikes(node.name)
                    return
                self.resume(value)
            case Look():
                try:
                    seen = node.books.read(step.look)
                except (AsaError, ValueError) as error:
                    self.resume(error=error)
                    return
                self.resume(seen)
            case Begin():
                self._begun = Session(world, node.name, step.peer.name).client
                self._begun.process = self
                self._begun.send(Said(step.request, step.dry, step.objective))
                self._read(self._begun, step.patience_ms / 1000 + 1)
            case Finish():
                if self._begun is not None:
                    self._begun.send(Ended(step.accept, step.reason))
                    self._begun.close()
                    self._begun = None
                self.resume()
            case Drop():
                if self._begun is not None:
                    self._begun.close()
                    self._begun = None
                self.resume()
            case Propose():
                assert self._served is not None
                if self._served.send(Answered(step.answer)):
                    self._read(self._served, PATIENCE)
                else:
                    self.resume(error=Broken("the session is over"))
            case Agree() | Deny():
                assert self._served is not None
                self._served.send(Ended(True) if isinstance(step, Agree) else Ended(False, step.reason))
                self._served.close()
                self.resume()
            case Wait():
                assert self._served is not None
                if self._served.send(Waits(step.milliseconds)):
                    self.resume()
                else:
                    self.resume(error=Broken("the session is over"))
            case Tell():
                world.told(node.name, step)
                self.resume()
            case _:
                raise AssertionError(f"no step: {step}")

    def _read(self, end: End, seconds: float) -> None:
        self._reading = end
        self._deadline = self.world.at(self.world.now + seconds, f"{self.label}: timeout", self.node.name, self._late)
        self.readable()

    def _late(self) -> None:
        self._stop_reading().close()
        self.resume(error=Broken("no answer in time"))

    def _stop_reading(self) -> End:
        assert self._reading is not None
        assert self._deadline is not None
        end, self._reading = self._reading, None
        self._deadline.done = True
        if end is self._begun and end.closed:
            self._begun = None
        return end

    def readable(self) -> None:
        """Something came, or may have come before."""
        end = self._reading
        if end is None or not end.inbox:
            return
        message = end.inbox.popleft()
        if isinstance(message, Waits) and end is self._begun:
            self._stop_reading()
            self._read(end, message.milliseconds / 1000 + 1)
            return
        self._stop_reading()
        if end is self._begun:
            self._answered(end, message)
        else:
            match message:
                case Ended():
                    end.close()
                    self.resume(message.accept)
                case _:
                    end.close()
                    self.resume(error=Broken("the session ended without a decision"))

    def _answered(self, end: End, message: Message) -> None:
        if isinstance(message, Answered):
            try:
                read = ANSWERS[end.session.objective]
                value = read(message.value.to_value()) if self.world.wire else message.value
            except InvalidValue as error:
                end.close()
                self.resume(error=Broken(f"its answer is refused: {error}"))
                return
            self.resume(value)
            return
        end.close()
        self._begun = None
        match message:
            case Ended(accept=True):
                self.resume(None)
            case Ended():
                self.resume(error=Refused(message.reason))
            case _:
                self.resume(error=Broken("the session ended without a decision"))
