"""Asking the kernel about u32 filters, and telling it: one netlink socket for as long as a question takes."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from typing import Final

from asa.dataplane.u32 import messages
from asa.dataplane.u32.messages import HEADER, Node, Table, messages_of, node_of, queue_of

PATIENCE: Final = 10.0
"""Seconds the kernel has for each answer; others may have its lock of all links."""

LARGEST_REPLY: Final = 262_144
"""Bytes of a datagram; the kernel makes them of up to 32 KiB (NLMSG_GOODSIZE)."""

MOST_AT_ONCE: Final = 64
"""Messages in a datagram: the answers to all have to fit into the socket's buffer."""

MOST_QUESTIONS: Final = 8
"""Of those the answer is as large as a buffer, however short it is."""

_ERROR: Final = 2
_DONE: Final = 3
_ACKNOWLEDGE: Final = 0x4
_CODE: Final = struct.Struct("=i")
_ATTRIBUTE: Final = struct.Struct("=HH")
_SOL_NETLINK: Final = 270
_SHORT_ERRORS: Final = 10
_ERRORS_IN_WORDS: Final = 11


class KernelFailed(OSError):
    """It does not answer, or not what can be read."""


def queues() -> list[int]:
    """Indices of the interfaces with a root qdisc of ours, in order. Raises OSError."""
    with _connection() as netlink:
        found = {index for each in _dump(netlink, messages.all_queues()) if (index := queue_of(each)) is not None}
    return sorted(found)


def nodes(index: int) -> list[Node]:
    """All of our preference on an interface; none if it has no such qdisc. Raises OSError."""
    with _connection() as netlink:
        try:
            return [found for each in _dump(netlink, messages.all_filters(index)) if (found := _node(each))]
        except OSError as error:
            if error.errno in (errno.ENODEV, errno.ENOENT, errno.EINVAL):
                return []
            raise


def root(index: int) -> int:
    """The handle of the root table; 0 if there is none. Raises OSError."""
    with _connection() as netlink:
        for message in _exchange(netlink, [messages.root_question(index)]):
            if HEADER.unpack_from(message)[1] != _ERROR and isinstance(found := _node(message), Table):
                return found.handle
    return 0


def others(index: int) -> bool:
    """Whether the same queue has filters that are not of ours. Raises OSError."""
    with _connection() as netlink:
        # To the end, as nothing else can be asked meanwhile.
        found = list(_dump(netlink, messages.all_filters(index, 0)))
    return any(messages.is_foreign(each) for each in found)


def node(index: int, handles: Sequence[int]) -> list[Node]:
    """Those of the handles that are there. Raises OSError."""
    found: list[Node] = []
    with _connection() as netlink:
        for start in range(0, len(handles), MOST_QUESTIONS):
            questions = [messages.question(index, each) for each in handles[start : start + MOST_QUESTIONS]]
            for message in _exchange(netlink, questions):
                if HEADER.unpack_from(message)[1] != _ERROR and (each := _node(message)):
                    found.append(each)
    return found


def change(messages: Sequence[bytes]) -> dict[int, str]:
    """Tell the kernel all of it, in order; by number what it refused, and why; ENOENT as ``""``. Raises OSError."""
    refused: dict[int, str] = {}
    with _connection() as netlink:
        for start in range(0, len(messages), MOST_AT_ONCE):
            for message in _exchange(netlink, messages[start : start + MOST_AT_ONCE]):
                length, kind, _, serial, _ = HEADER.unpack_from(message)
                code = -_CODE.unpack_from(message, HEADER.size)[0] if kind == _ERROR else 0
                if code:
                    refused[start + serial - 1] = "" if code == errno.ENOENT else _in_words(message[:length], code)
    return refused


def _connection() -> socket.socket:
    netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    try:
        netlink.settimeout(PATIENCE)
        for option in (_SHORT_ERRORS, _ERRORS_IN_WORDS):
            netlink.setsockopt(_SOL_NETLINK, option, 1)
        # Nobody but the kernel is heard then.
        netlink.connect((0, 0))
    except OSError:
        netlink.close()
        raise
    return netlink


def _numbered(message: bytes, serial: int, flags: int = 0) -> bytes:
    length, kind, its, _, _ = HEADER.unpack_from(message)
    numbered = HEADER.pack(length, kind, its | flags, serial, 0) + message[HEADER.size :]
    return numbered + bytes(-length % 4)


def _exchange(netlink: socket.socket, messages: Sequence[bytes]) -> Iterator[bytes]:
    """Answers and errors, each with the number of its message from 1. Only the last one's success is told."""
    last = len(messages)
    netlink.send(b"".join(_numbered(each, at, _ACKNOWLEDGE * (at == last)) for at, each in enumerate(messages, 1)))
    while True:
        for message in _received(netlink):
            _, kind, _, serial, _ = HEADER.unpack_from(message)
            yield message
            if kind == _ERROR and serial == last:
                return


def _dump(netlink: socket.socket, question: bytes) -> Iterator[bytes]:
    netlink.send(_numbered(question, 1))
    while True:
        for message in _received(netlink):
            kind = HEADER.unpack_from(message)[1]
            if kind in (_ERROR, _DONE):
                code = -_CODE.unpack_from(message, HEADER.size)[0] if len(message) > HEADER.size else 0
                if code > 0:
                    raise OSError(code, os.strerror(code))
                return
            yield message


def _received(netlink: socket.socket) -> list[bytes]:
    try:
        return list(messages_of(netlink.recv(LARGEST_REPLY)))
    except TimeoutError:
        raise KernelFailed(f"the kernel did not answer within {PATIENCE:g} s") from None
    except (struct.error, ValueError) as error:
        raise KernelFailed(f"the kernel's answer cannot be read: {error}") from None


def _node(message: bytes) -> Node | None:
    try:
        return node_of(message)
    except (struct.error, ValueError) as error:
        raise KernelFailed(f"a filter cannot be read: {error}") from None


def _in_words(message: bytes, code: int) -> str:
    """What the kernel says of an error beside its code (NLMSGERR_ATTR_MSG), if it does."""
    at = HEADER.size + _CODE.size + HEADER.size
    said = ""
    while at + _ATTRIBUTE.size <= len(message):
        size, kind = _ATTRIBUTE.unpack_from(message, at)
        if size < _ATTRIBUTE.size:
            break
        if kind == 1:
            said = message[at + _ATTRIBUTE.size : at + size].rstrip(b"\0").decode("ascii", "replace")[:200]
        at += (size + 3) & ~3
    return f"{os.strerror(code)}: {said}" if said else os.strerror(code)
