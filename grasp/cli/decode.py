"""``decode``: messages in hex, in a file or in a packet capture."""

from __future__ import annotations

import argparse
import io
import os
import sys
from typing import BinaryIO, Final

from grasp.cbor import Framer, Truncated
from grasp.cli.capture import Capture, Captured, is_capture
from grasp.cli.messages import endpoint
from grasp.cli.monitor import VALUE_LIMIT, clock, message_event, unreadable
from grasp.cli.output import Failed, Output
from grasp.errors import ErrorCode, LocalError, WireError
from grasp.limits import MAX_MESSAGE_SIZE
from grasp.wire import decode_message

_LARGEST: Final = 64 << 20
"""Bytes of a file that is no capture."""

_UNLIMITED: Final = 100_000


def decode(arguments: argparse.Namespace, output: Output) -> None:
    """Show every message of the source. Raises where it is not one message after the other."""
    file = _source(arguments.source)
    limit = _UNLIMITED if arguments.verbose else VALUE_LIMIT
    with file:
        try:
            if is_capture(file.peek(4)):
                _capture(file, output, limit)
            else:
                _messages(_bytes(file), output, limit)
        except OSError as error:
            raise LocalError(ErrorCode.badArgument, f"cannot read {arguments.source!r:.80}: {error.strerror}") from None


def _source(source: str) -> io.BufferedReader:
    """A file of that name goes before hex: hex can be told apart by a space in it."""
    if source == "-":
        if sys.stdin is None:
            raise LocalError(ErrorCode.badArgument, "standard input is closed")
        return open(os.dup(sys.stdin.fileno()), "rb")
    try:
        return open(source, "rb")
    except (OSError, ValueError) as error:
        if _from_hex(source) is not None:
            return io.BufferedReader(io.BytesIO(source.encode()))
        if isinstance(error, FileNotFoundError | ValueError):
            raise LocalError(ErrorCode.badArgument, f"{source!r:.80} is neither a file nor hex digits") from None
        raise LocalError(ErrorCode.badArgument, f"cannot read {source!r:.80}: {error.strerror}") from None


def _from_hex(text: str) -> bytes | None:
    """The bytes of hex digits, with spaces, line ends or colons between them, maybe after 0x; None if it is none."""
    try:
        return bytes.fromhex(text.strip().removeprefix("0x").replace(":", " ")) or None
    except ValueError:
        return None


def _bytes(file: BinaryIO) -> bytes:
    data = file.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise LocalError(ErrorCode.tooLong, f"no capture, and longer than {_LARGEST} bytes")
    # The first byte of a message is that of an array, which is no ASCII character.
    text = _from_hex(data.decode("ascii")) if data.isascii() else None
    return data if text is None else text


def _messages(data: bytes, output: Output, limit: int) -> None:
    events = []
    at = 0
    failure: WireError | None = None if data else WireError("no bytes at all")
    while at < len(data) and failure is None:
        rest = memoryview(data)[at : at + MAX_MESSAGE_SIZE + 1].tobytes()
        element: dict[str, object] = {"offset": at}
        head = output.colour(f"byte {at}".ljust(9), "dim")
        item = rest
        try:
            item = rest[: _end(rest)]
            events.append(message_event(decode_message(item), len(item), output, element, head, limit))
        except WireError as error:
            events.append(unreadable(item, error, output, element, head, limit))
            failure = WireError(f"byte {at}: {error.detail}", error.code)
        at += len(item)
    found, text = [event.element for event in events], "\n".join(event.text for event in events)
    if failure is not None:
        raise Failed(failure, {"messages": found}, text)
    output.result(found, text)


def _end(data: bytes) -> int:
    end = Framer(MAX_MESSAGE_SIZE).end(data)
    if end is None:
        raise Truncated("the message is cut short")
    return end


def _capture(file: BinaryIO, output: Output, limit: int) -> None:
    capture = Capture()
    failure: LocalError | None = None
    try:
        capture.read(file)
    except LocalError as error:
        failure = error
    elements, lines = [], []
    for each in capture.messages():
        element, line = _captured(each, output, limit)
        elements.append(element)
        lines.append(line)
    if failure is not None:
        raise Failed(failure, {"messages": elements}, "\n".join(lines))
    output.result(elements, "\n".join(lines))


def _captured(each: Captured, output: Output, limit: int) -> tuple[object, str]:
    item = each.item
    source, destination = endpoint(*each.source), endpoint(*each.destination)
    element: dict[str, object] = {
        "time": item.time,
        "transport": each.transport,
        "from": source,
        "to": destination,
    }
    head = output.colour(f"{clock(item.time)}  {each.transport}  {source} > {destination}", "dim")
    if isinstance(item.message, WireError):
        event = unreadable(item.data, item.message, output, element, head, limit)
    else:
        event = message_event(item.message, len(item.data), output, element, head, limit)
    return event.element, event.text
