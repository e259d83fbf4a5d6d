"""``flood`` and ``floods``: send one, see those of others."""

from __future__ import annotations

import argparse
import time

from grasp.cli.events import Event, Events, stopped_by_signals, write_until
from grasp.cli.messages import NAME_LIMIT, interface_name, locator_json, locator_text, objective_json
from grasp.cli.nodes import (
    ASA_NAME,
    deadline_in,
    node_of,
    note_unusable,
    ready_json,
    ready_text,
    timeout_of,
    wait_for_interface,
    wait_for_neighbours,
)
from grasp.cli.output import Output, safe, table, text_of
from grasp.cli.values import JSON, value_to_json
from grasp.errors import ErrorCode, LocalError
from grasp.flooding import TaggedObjective
from grasp.wire import Objective


def flood(arguments: argparse.Namespace, output: Output) -> None:
    """Flood one objective once, and answer requests for it until that is done (RFC 8990 §2.5.6.2)."""
    deadline = deadline_in(timeout_of(arguments))
    objective = Objective.synchronization(arguments.name, arguments.value, loop_count=arguments.loop_count)
    with node_of(arguments) as node, node.register_asa(ASA_NAME) as asa:
        asa.register(objective)
        asa.publish(objective)
        wait_for_interface(lambda: node.interfaces, arguments.interface, deadline)
        note_unusable(node, arguments.interface, output)
        names = [each.name for each in node.interfaces]
        if not wait_for_neighbours(node, deadline):
            raise LocalError(ErrorCode.noInterface, f"no neighbour of the domain on {', '.join(names)}")
        on_link = node.address is None
        links = asa.flood(objective, arguments.ttl)
    if not links:
        raise LocalError(ErrorCode.noInterface, f"nothing could be sent on {', '.join(names)}")
    result = {
        "objective": arguments.name,
        "value": value_to_json(arguments.value),
        "ttl": arguments.ttl,
        # Without a routed address the node floods with loop count 1 (§2.5.6.2).
        "loop_count": 1 if on_link else arguments.loop_count,
        "links": links,
        "interfaces": names,
    }
    where = f"{links} link{'s' if links > 1 else ''} ({', '.join(names)})"
    reach = "; not beyond, for want of a routed address" if on_link else ""
    output.result(result, f"flooded {safe(arguments.name, NAME_LIMIT)} on {where}{reach}")


def floods(arguments: argparse.Namespace, output: Output) -> None:
    """What is in the flood cache after listening, or each flood as it arrives."""
    timeout = arguments.timeout if arguments.follow else timeout_of(arguments)
    deadline = deadline_in(timeout)
    if arguments.follow:
        output.stream()
    events = Events()
    with stopped_by_signals(events), node_of(arguments) as node, node.register_asa(ASA_NAME) as asa:
        if arguments.follow:
            asa.on_flood(arguments.name, lambda tagged: events.put(_event(tagged)))
        found = wait_for_interface(lambda: node.interfaces, arguments.interface, deadline, lambda: events.stopped)
        if found:
            note_unusable(node, arguments.interface, output)
        if arguments.follow:
            if found:
                output.ready(ready_json(node.port, node.interfaces), ready_text(node.port, node.interfaces))
            write_until(events, output, deadline)
            return
        for _ in events.until(deadline):
            pass
        now = time.monotonic()
        cached = sorted(asa.floods(arguments.name), key=lambda tagged: tagged.objective.name)
    rows = [_row(tagged, now) for tagged in cached]
    output.result([_tagged_json(tagged, now) for tagged in cached], table(rows) if rows else "")


def _event(tagged: TaggedObjective) -> Event:
    now = time.monotonic()
    text = "  ".join(_row(tagged, now))
    return Event({"event": "flood", "time": time.time()} | _tagged_json(tagged, now), text)


def _expires_in(tagged: TaggedObjective, now: float) -> int | None:
    return None if tagged.expires is None else max(0, round((tagged.expires - now) * 1000))


def _tagged_json(tagged: TaggedObjective, now: float) -> dict[str, JSON]:
    """The objective and where it came from; ``expires_in`` in ms, null for never."""
    return objective_json(tagged.objective) | {
        "locator": None if tagged.locator is None else locator_json(tagged.locator),
        "interface": interface_name(tagged.interface),
        "initiator": None if tagged.initiator is None else str(tagged.initiator),
        "expires_in": _expires_in(tagged, now),
    }


def _row(tagged: TaggedObjective, now: float) -> tuple[str, ...]:
    expires = _expires_in(tagged, now)
    return (
        safe(tagged.objective.name, NAME_LIMIT),
        interface_name(tagged.interface),
        f"from {tagged.initiator}",
        "for ever" if expires is None else f"{expires / 1000:.0f} s",
        "-" if tagged.locator is None else locator_text(tagged.locator, tagged.interface),
        text_of(value_to_json(tagged.objective.value)) if tagged.objective.has_value else "no value",
    )
