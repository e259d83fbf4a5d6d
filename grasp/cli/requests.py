"""``discover``, ``synchronize`` and ``negotiate``: ask others."""

from __future__ import annotations

import argparse
import time
from typing import Any

from grasp.api import ASA, Node
from grasp.calls import Peer
from grasp.cli.arguments import given
from grasp.cli.messages import flag_names, interface_name, locator_json, locator_text
from grasp.cli.nodes import (
    ASA_NAME,
    deadline_in,
    left_until,
    node_of,
    note_unusable,
    peer_of,
    timeout_of,
    wait_for_interface,
    wait_for_neighbours,
)
from grasp.cli.output import Failed, Output, safe, table, text_of
from grasp.cli.values import JSON, value_to_json
from grasp.errors import ErrorCode, GraspError, PeerError
from grasp.locators import Discovered
from grasp.wire import Objective


def discover(arguments: argparse.Namespace, output: Output) -> None:
    """Who supports an objective. Raises ``noDiscReply`` if nobody answers."""
    timeout = timeout_of(arguments)
    assert timeout is not None
    deadline = deadline_in(timeout)
    assert deadline is not None
    peer = peer_of(arguments)
    with node_of(arguments) as node:
        wait_for_interface(lambda: node.interfaces, arguments.interface, deadline)
        note_unusable(node, arguments.interface, output)
        if peer is None:
            wait_for_neighbours(node, deadline)
        where = ", ".join(each.name for each in node.interfaces)
        with node.register_asa(ASA_NAME) as asa:
            count = None if arguments.all else arguments.count
            found = asa.discover(arguments.name, left_until(deadline), count=count, peer=peer)
            now = time.monotonic()
    if not found:
        raise PeerError(ErrorCode.noDiscReply, f"{arguments.name} within {timeout} ms on {where}")
    rows = [
        (
            locator_text(each.locator, each.interface),
            interface_name(each.interface),
            f"{_ttl(each, now) / 1000:.0f} s",
            "diverted" if each.diverted else "",
        )
        for each in found
    ]
    output.result([_discovered_json(each, now) for each in found], table(rows))


def _ttl(found: Discovered, now: float) -> int:
    return max(0, round((found.expires - now) * 1000))


def _discovered_json(found: Discovered, now: float) -> JSON:
    """``peer`` is what ``--peer`` takes; ``ttl`` in ms."""
    return {
        "peer": locator_text(found.locator, found.interface),
        "interface": interface_name(found.interface),
        "ttl": _ttl(found, now),
        "diverted": found.diverted,
        "locator": locator_json(found.locator),
    }


def synchronize(arguments: argparse.Namespace, output: Output) -> None:
    """The value at a peer, or at whoever discovery finds."""
    with node_of(arguments) as node, node.register_asa(ASA_NAME) as asa:
        peer, timeout = _reach(arguments, node, output)
        found = asa.synchronize(arguments.name, peer, timeout)
    value = value_to_json(found.value)
    output.result(
        {
            "objective": found.name,
            "value": value,
            "flags": flag_names(found.flags),
            "loop_count": found.loop_count,
        },
        text_of(value),
    )


def _reach(arguments: argparse.Namespace, node: Node, output: Output) -> tuple[Peer | None, int]:
    """The given peer, or an interface to discover one on; and what is left of the timeout, ms."""
    peer = peer_of(arguments)
    deadline = deadline_in(timeout_of(arguments))
    assert deadline is not None
    if peer is None:
        wait_for_interface(lambda: node.interfaces, arguments.interface, deadline)
        note_unusable(node, arguments.interface, output)
        wait_for_neighbours(node, deadline)
    return peer, left_until(deadline)


class _Steps:
    """What was said in a negotiation, in order."""

    def __init__(self) -> None:
        self._steps: list[tuple[str, JSON]] = []

    def add(self, kind: str, value: Any) -> None:
        self._steps.append((kind, value_to_json(value)))

    def to_json(self) -> list[JSON]:
        return [{"step": kind, "value": value} for kind, value in self._steps]

    def rows(self) -> list[tuple[str, ...]]:
        return [(kind, text_of(value)) for kind, value in self._steps]


def negotiate(arguments: argparse.Namespace, output: Output) -> None:
    """Request VALUE, propose the counter once, accept whatever is offered then."""
    steps = _Steps()
    with node_of(arguments) as node, node.register_asa(ASA_NAME) as asa:
        peer, timeout = _reach(arguments, node, output)
        asa.register(Objective.negotiation(arguments.name))
        try:
            address, agreed = _agree(asa, arguments, peer, timeout, steps)
        except GraspError as error:
            raise Failed(error, {"steps": steps.to_json()}, table(steps.rows()) if steps.rows() else "") from error
    value = value_to_json(agreed.value)
    result = {
        "objective": agreed.name,
        "dry_run": arguments.dry_run,
        "peer": address,
        "agreed": value,
        "steps": steps.to_json(),
    }
    rows = [*steps.rows(), ("agreed (dry run)" if arguments.dry_run else "agreed", text_of(value))]
    output.result(result, table(rows))


def _agree(
    asa: ASA, arguments: argparse.Namespace, peer: Peer | None, timeout: int, steps: _Steps
) -> tuple[str | None, Objective]:
    """The peer's address, where it is known, and what both agreed on."""
    each_answer = timeout_of(arguments)
    assert each_answer is not None
    objective = Objective.negotiation(
        arguments.name, arguments.value, dry_run=arguments.dry_run, loop_count=arguments.loop_count
    )
    steps.add("request", arguments.value)
    with asa.negotiate(objective, peer, timeout) as negotiation:
        address = safe(str(negotiation.peer)) if negotiation.peer is not None else None
        if negotiation.agreed:
            return address, negotiation.offer
        steps.add("offer", negotiation.offer.value)
        if given(arguments.counter):
            steps.add("counter", arguments.counter)
            if negotiation.propose(arguments.counter, each_answer):
                return address, negotiation.offer
            steps.add("offer", negotiation.offer.value)
        return address, negotiation.accept()
