"""``serve`` and ``relay``: be a node others can talk to."""

from __future__ import annotations

import argparse
import time
from typing import Any

from grasp.api import Negotiation, Node
from grasp.cli.arguments import given
from grasp.cli.events import Event, Events, stopped_by_signals, write_until
from grasp.cli.nodes import (
    ASA_NAME,
    deadline_in,
    node_of,
    note_unusable,
    ready_json,
    ready_text,
    timeout_of,
    wait_for_interface,
)
from grasp.cli.output import Output, error_json, text_of
from grasp.cli.values import JSON, value_to_json
from grasp.constants import GRASP_DEF_MAX_SIZE
from grasp.errors import ErrorCode, GraspError
from grasp.wire import Objective, encode_message, message


def serve(arguments: argparse.Namespace, output: Output) -> None:
    """Answer for one objective until stopped."""
    events = Events()
    output.stream()
    with stopped_by_signals(events), node_of(arguments) as node, node.register_asa(ASA_NAME) as asa:
        if given(arguments.synchronize):
            value = Objective.synchronization(arguments.name, arguments.synchronize)
            asa.register(value, ttl=arguments.ttl)
            asa.publish(value)
        else:
            offer = Objective.negotiation(arguments.name, arguments.negotiate)
            # Better said now than in the middle of somebody's negotiation.
            encode_message(message.Negotiation(message.UINT32_MAX, offer), GRASP_DEF_MAX_SIZE)
            asa.register(offer, ttl=arguments.ttl)
            asa.on_negotiate(arguments.name, Responder(arguments.negotiate, events).answer)
        _run(arguments, output, node, events)


def relay(arguments: argparse.Namespace, output: Output) -> None:
    """Relay discoveries and floods between interfaces until stopped."""
    events = Events()
    output.stream()
    with stopped_by_signals(events), node_of(arguments) as node:
        _run(arguments, output, node, events)


def _run(arguments: argparse.Namespace, output: Output, node: Node, events: Events) -> None:
    deadline = deadline_in(timeout_of(arguments))
    if not wait_for_interface(lambda: node.interfaces, arguments.interface, deadline, lambda: events.stopped):
        return
    note_unusable(node, arguments.interface, output)
    interfaces = node.interfaces
    if arguments.command == "relay" and len(interfaces) == 1:
        output.note("grasp: one interface only, so nothing to relay to yet")
    address = None if node.address is None else str(node.address)
    output.ready(ready_json(node.port, interfaces, address=address), ready_text(node.port, interfaces))
    write_until(events, output, deadline)


class Responder:
    """Accepts a request that is within ``limit``, else offers ``limit``; tells ``events`` of each negotiation."""

    def __init__(self, limit: Any, events: Events) -> None:
        self._limit = limit
        self._events = events

    def answer(self, negotiation: Negotiation) -> None:
        peer, dry_run = str(negotiation.peer), negotiation.dry_run
        steps: list[tuple[str, JSON]] = [("request", value_to_json(negotiation.offer.value))]
        error: GraspError | None = None
        try:
            while not negotiation.agreed and not within(negotiation.offer.value, self._limit):
                steps.append(("offer", value_to_json(self._limit)))
                if not negotiation.propose(self._limit):
                    steps.append(("counter", value_to_json(negotiation.offer.value)))
            if not negotiation.agreed:
                negotiation.accept()
        except GraspError as failure:
            error = failure
        self._events.put(_event(peer, dry_run, steps, value_to_json(negotiation.offer.value), error))


def _event(peer: str, dry_run: bool, steps: list[tuple[str, JSON]], agreed: JSON, error: GraspError | None) -> Event:
    element: dict[str, JSON] = {
        "event": "negotiation",
        "time": time.time(),
        "peer": peer,
        "dry_run": dry_run,
        "steps": [{"step": kind, "value": value} for kind, value in steps],
        "outcome": "agreed" if error is None else "declined" if error.code is ErrorCode.declined else "failed",
    }
    if error is None:
        element["agreed"] = agreed
        last = f"agreed {text_of(agreed)}"
    else:
        element["error"] = error_json(error)
        last = str(error)
    said = "  ".join(f"{kind} {text_of(value)}" for kind, value in steps)
    return Event(element, f"{peer}  {'dry run  ' if dry_run else ''}{said}  {last}")


def within(request: Any, limit: Any) -> bool:
    """Whether ``request`` may be granted: numbers up to ``limit``, lists item by item, the rest if equal."""
    if _is_number(request) and _is_number(limit):
        return bool(request <= limit)
    if isinstance(request, list) and isinstance(limit, list):
        return len(request) == len(limit) and all(map(within, request, limit))
    return _same(request, limit)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _same(one: Any, other: Any) -> bool:
    """Equal as CBOR values: Python's 1 == True == 1.0 are three."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(value, other[key]) for key, value in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)
