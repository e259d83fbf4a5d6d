"""``monitor``: every multicast message heard on the interfaces, as it comes."""

from __future__ import annotations

import argparse
import time
from typing import Final

from grasp.cbor import decode
from grasp.cli.events import Event, Events, stopped_by_signals, write_until
from grasp.cli.messages import endpoint, interface_name, message_json, message_name, message_text
from grasp.cli.nodes import deadline_in, ready_json, socket_error, timeout_of, wait_for_interface
from grasp.cli.output import Output, error_json, safe, text_of
from grasp.cli.values import value_to_json
from grasp.errors import LocalError, WireError
from grasp.limits import MAX_MESSAGE_SIZE, MULTICAST_SIZE, Limits
from grasp.transport import Connection, Source
from grasp.transport.plain import PlainSubstrate
from grasp.wire import Message, decode_message

VALUE_LIMIT: Final = 160
"""Characters of a value in a line for people, without --verbose."""

_UNLIMITED: Final = 100_000
_HEX_BYTES: Final = 64
_UDP_OVERHEAD: Final = 48
_COLOURS: Final = {
    "M_DISCOVERY": "cyan",
    "M_RESPONSE": "cyan",
    "M_FLOOD": "green",
    "M_SYNCH": "green",
    "M_REQ_SYN": "green",
    "M_REQ_NEG": "yellow",
    "M_NEGOTIATE": "yellow",
    "M_END": "magenta",
    "M_WAIT": "magenta",
    "M_INVALID": "red",
}


def clock(seconds: float) -> str:
    """UNIX s as the local time of day; the time in a file may be any."""
    try:
        return time.strftime("%H:%M:%S", time.localtime(seconds)) + f".{int(seconds * 1000) % 1000:03d}"
    except (ValueError, OverflowError, OSError):
        return "??:??:??.???"


def message_event(
    message: Message, size: int, output: Output, where: dict[str, object], head: str, limit: int
) -> Event:
    """A message of ``size`` bytes; ``where`` and ``head`` say when and whence, values are cut to ``limit``."""
    name = message_name(message)
    text = f"{head}  {output.colour(name.ljust(11), _COLOURS.get(name, 'dim'))}  {message_text(message, limit)}"
    return Event(where | {"bytes": size, "message": message_json(message)}, text)


def unreadable(data: bytes, error: WireError, output: Output, where: dict[str, object], head: str, limit: int) -> Event:
    """Bytes that are no message: why, and the CBOR item they are, or else some of them in hex."""
    element = where | {"bytes": len(data), "error": error_json(error), "hex": data[:_HEX_BYTES].hex()}
    try:
        item = value_to_json(decode(data))
        element["item"] = item
        shown = text_of(item, limit)
    except WireError:
        shown = data[:_HEX_BYTES].hex() + ("…" if len(data) > _HEX_BYTES else "")
    return Event(element, f"{head}  {output.colour('unreadable ', 'red')}  {safe(error.detail, 200)}: {shown}")


class Listener:
    """Receives from a substrate that never sends, so its node stays unknown to others."""

    def __init__(self, events: Events, output: Output, limit: int) -> None:
        self._events = events
        self._output = output
        self._limit = limit

    def multicast_received(self, data: bytes, source: Source) -> None:
        now = time.time()
        interface = interface_name(source.interface)
        sender = endpoint(source.address, source.port, source.interface)
        where: dict[str, object] = {"event": "message", "time": now, "interface": interface, "from": sender}
        head = self._output.colour(f"{clock(now)}  {interface}  {sender}", "dim")
        try:
            event = message_event(decode_message(data), len(data), self._output, where, head, self._limit)
        except WireError as error:
            event = unreadable(data, error, self._output, where, head, self._limit)
        if len(data) > MULTICAST_SIZE:
            event = Event(event.element, f"{event.text}  ({len(data)} bytes, above the {MULTICAST_SIZE} nodes take)")
        self._events.put(event)

    def connected(self, connection: Connection) -> None:
        connection.close()

    def interfaces_changed(self, gone: frozenset[int]) -> None: ...

    def neighbour_up(self, interface: int) -> None: ...

    def upkeep(self, now: float) -> None: ...


def monitor(arguments: argparse.Namespace, output: Output) -> None:
    """Show what is heard until stopped. Multicasts of other instances on this host are heard too."""
    deadline = deadline_in(timeout_of(arguments))
    events = Events()
    output.stream()
    limits = Limits(multicast_size=MAX_MESSAGE_SIZE - _UDP_OVERHEAD)
    substrate = PlainSubstrate(arguments.interface, port=arguments.port, ipv4=arguments.ipv4, limits=limits)
    with stopped_by_signals(events):
        try:
            substrate.start(Listener(events, output, _UNLIMITED if arguments.verbose else VALUE_LIMIT))
        except LocalError as error:
            raise socket_error(error, arguments.port) from error
        try:
            found = wait_for_interface(
                lambda: substrate.interfaces, arguments.interface, deadline, lambda: events.stopped
            )
            if found:
                interfaces = substrate.interfaces
                names = ", ".join(each.name for each in interfaces)
                output.ready(ready_json(substrate.port, interfaces), f"ready: listening on {names}")
                write_until(events, output, deadline)
        finally:
            substrate.stop()
