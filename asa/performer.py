"""Performing the steps of conversations with GRASP, the books and the clock: where the rules meet the world."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from socket import IPPROTO_TCP, if_indextoname, if_nametoindex
from typing import Any, Final, TypeVar

import grasp
from asa.books import Books
from asa.errors import AsaError
from asa.events import EventLog
from asa.peers import Peers
from asa.steps import (
    Agree,
    Answer,
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
from grasp import GraspError, IPv4Locator, IPv6Locator, Locator, Negotiation, Objective
from grasp.arguments import Somewhere
from grasp.calls import Peer
from objectives import InvalidValue, pact, resource

ANSWER_MS: Final = 10_000
"""Time a peer has to take or leave what it was offered."""

LONGEST_REASON: Final = 200

_ANSWERS: Final[dict[str, Callable[[object], Answer]]] = {
    resource.NAME: resource.answer_from_value,
    pact.NAME: pact.answer_from_value,
}

T = TypeVar("T")


def text_of(locator: Locator | None, interface: int) -> str:
    """``[address]:port`` of a TCP locator, with ``%interface`` if it is link-local; empty for any other."""
    if not isinstance(locator, IPv6Locator | IPv4Locator) or locator.protocol != IPPROTO_TCP:
        return ""
    zone = ""
    if locator.address.is_link_local:
        try:
            zone = f"%{if_indextoname(interface)}"
        except OSError:
            return ""
    return f"[{locator.address}{zone}]:{locator.port}"


def peer_of(text: str, member: str = "") -> Somewhere:
    """The inverse of :func:`text_of`. ``member``: whose certificate has to be there. Raises ValueError, OSError."""
    address, _, port = text.rpartition(":")
    address, _, zone = address.strip("[]").partition("%")
    interface = if_nametoindex(zone) if zone else 0
    if ":" in address:
        return Peer(IPv6Locator(IPv6Address(address), IPPROTO_TCP, int(port)), interface, member)
    return Peer(IPv4Locator(IPv4Address(address), IPPROTO_TCP, int(port)), interface, member)


class Performer:
    """Runs conversations, each to its end in the caller's thread. ``resource_name`` and ``pact_name`` are those of the
    objectives, with the operator's prefix."""

    def __init__(
        self, asa: grasp.ASA, resource_name: str, pact_name: str, books: Books, peers: Peers, events: EventLog
    ) -> None:
        self._asa = asa
        self._names = {resource.NAME: resource_name, pact.NAME: pact_name}
        self._books = books
        self._peers = peers
        self._events = events

    def run(self, steps: Steps[T], incoming: Negotiation | None = None) -> T:
        """What the conversation returns or raises. ``incoming`` is the session a peer began, if one did."""
        scene = _Scene(self, incoming)
        try:
            step = next(steps)
            while True:
                try:
                    result = scene.perform(step)
                except (AsaError, Refused, Broken, InvalidValue, ValueError) as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(result)
        except StopIteration as end:
            value: T = end.value
            return value
        finally:
            scene.close()

    def _begin(self, step: Begin) -> tuple[Negotiation, Any]:
        where = self._peers.locator(step.peer)
        if where is None:
            raise Broken("nobody knows where it is")
        try:
            wanted = Objective.negotiation(self._names[step.objective], step.request.to_value(), dry_run=step.dry)
            negotiation = self._asa.negotiate(wanted, peer_of(where, step.peer.name), max(1, step.patience_ms))
        except grasp.Declined as error:
            raise Refused(printable(error.reason)) from None
        except (GraspError, ValueError, OSError) as error:
            raise Broken(printable(str(error))) from None
        if negotiation.agreed:
            return negotiation, None
        try:
            return negotiation, _ANSWERS[step.objective](negotiation.offer.value)
        except InvalidValue as error:
            _drop(negotiation)
            raise Broken(f"its answer makes no sense: {error}") from None


class _Scene:
    """One conversation while it runs: the session a peer began, and the one begun here."""

    def __init__(self, performer: Performer, incoming: Negotiation | None) -> None:
        self._performer = performer
        self._incoming = incoming
        self._outgoing: Negotiation | None = None

    def perform(self, step: Step) -> Any:
        performer = self._performer
        match step:
            case Transact():
                return performer._books.transact(step.rule)
            case Look():
                return performer._books.read(step.look)
            case Begin():
                self._outgoing, answer = performer._begin(step)
                return answer
            case Finish():
                self._finish(step)
            case Drop():
                self._leave_outgoing()
            case Propose():
                return self._propose(step)
            case Agree():
                self._quietly(lambda session: session.accept())
            case Deny():
                self._quietly(lambda session: session.decline(step.reason[:LONGEST_REASON]))
            case Wait():
                try:
                    self._served().wait(step.milliseconds)
                except GraspError as error:
                    raise Broken(printable(str(error))) from None
            case Tell():
                performer._events.tell(step.kind, step.message, **step.fields)
        return None

    def _served(self) -> Negotiation:
        assert self._incoming is not None, "a step of the asked side in a conversation nobody asked for"
        return self._incoming

    def _propose(self, step: Propose) -> bool:
        session = self._served()
        try:
            if session.propose(step.answer.to_value(), ANSWER_MS):
                return True
        except grasp.Declined:
            return False
        except GraspError as error:
            raise Broken(printable(str(error))) from None
        # There is nothing to haggle about; what the peer made of our answer is unknown.
        _drop(session)
        raise Broken("it made a counter-proposal")

    def _quietly(self, end: Any) -> None:
        session = self._served()
        if not session.ended:
            try:
                end(session)
            except GraspError:
                pass

    def _finish(self, step: Finish) -> None:
        session, self._outgoing = self._outgoing, None
        if session is None or session.ended:
            return
        try:
            if step.accept:
                session.accept()
            else:
                session.decline(step.reason[:LONGEST_REASON])
        except GraspError:
            pass

    def _leave_outgoing(self) -> None:
        session, self._outgoing = self._outgoing, None
        if session is not None:
            _drop(session)

    def close(self) -> None:
        self._leave_outgoing()
        if self._incoming is not None:
            # GRASP declines what its handler leaves open, and a decline would be taken for a decision.
            _drop(self._incoming)


def _drop(session: Negotiation) -> None:
    """Break a session off without deciding: a decline would be taken for a decision."""
    if not session.ended:
        try:
            session.invalid()
        except GraspError:
            pass


def printable(text: str) -> str:
    """A stranger's text, bounded and without control characters."""
    return "".join(each if each.isprintable() else "?" for each in text[:LONGEST_REASON])
