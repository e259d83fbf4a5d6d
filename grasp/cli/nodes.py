"""The node behind a command, its peer and its deadline."""

from __future__ import annotations

import argparse
import errno
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from grasp.api import Node
from grasp.calls import Peer
from grasp.cli.arguments import PeerAddress
from grasp.cli.output import Output
from grasp.cli.values import JSON
from grasp.constants import GRASP_LISTEN_PORT, IPPROTO_TCP
from grasp.errors import ErrorCode, LocalError
from grasp.transport import Interface
from grasp.wire import IPv4Locator, IPv6Locator, Locator

ASA_NAME: Final = "grasp-cli"
_POLL_S: Final = 0.02
_SETTLED_S: Final = 0.5


def timeout_of(arguments: argparse.Namespace) -> int | None:
    """``--timeout`` in ms, else the command's own; None for no end."""
    chosen: int | None = arguments.timeout if arguments.timeout is not None else arguments.default_timeout
    return chosen


def deadline_in(milliseconds: int | None) -> float | None:
    """Monotonic s."""
    return None if milliseconds is None else time.monotonic() + milliseconds / 1000


def left_until(deadline: float) -> int:
    """Milliseconds, 1 at least: 0 has meanings of its own in the API."""
    return max(1, int((deadline - time.monotonic()) * 1000))


@contextmanager
def node_of(arguments: argparse.Namespace) -> Iterator[Node]:
    """A running node on the wanted interfaces, a member of a domain with ``--identity``.

    Raises ``noSocket`` with what is in the way, ``badIdentity``.
    """
    options: dict[str, Any] = {} if arguments.identity is None else _member(arguments.identity)
    node = Node(arguments.interface, port=arguments.port, ipv4=arguments.ipv4, **options)
    try:
        node.start()
    except LocalError as error:
        raise socket_error(error, arguments.port) from error
    try:
        yield node
    finally:
        node.stop()


def _member(directory: Path) -> dict[str, Any]:
    """What a node is a member with."""
    from grasp.security import BadCrl, Identity, Revocations, load_crls

    identity = Identity.load(directory)
    revocations = Revocations()
    for each in load_crls(directory):
        try:
            revocations.add(each, (*identity.trust, *identity.chain), time.time())
        except BadCrl as error:
            raise LocalError(ErrorCode.badIdentity, f"{directory}/crl.pem: {error}") from None
    return {"identity": identity, "revocations": revocations}


def wait_for_neighbours(node: Node, deadline: float | None) -> bool:
    """In a domain, wait until there is a link to a neighbour, and no more have come for a moment.

    False if there was none by the deadline; True at once outside a domain, where nobody knows.
    """
    if not node.secured:
        return True
    found, since = 0, time.monotonic()
    while True:
        now = time.monotonic()
        up = sum(each.member is not None for each in node.neighbours)
        if up != found:
            found, since = up, now
        if found and now - since >= _SETTLED_S:
            return True
        if deadline is not None and now >= deadline:
            return found > 0
        time.sleep(_POLL_S)


def socket_error(error: LocalError, port: int) -> LocalError:
    """``error`` with a hint, where it is about sockets that cannot be opened."""
    number = error.__cause__.errno if isinstance(error.__cause__, OSError) else None
    if number in (errno.EACCES, errno.EPERM):
        hint = f"port {port}: ports below 1024 are for root, or CAP_NET_BIND_SERVICE" if port else "not permitted"
    elif number == errno.EADDRINUSE:
        hint = f"UDP port {GRASP_LISTEN_PORT} is held by a program that does not share it"
        if port:
            hint = f"port {port} is taken (it must be free for TCP and UDP), or {hint}"
    elif number == errno.EAFNOSUPPORT:
        hint = "GRASP needs IPv6, and this system has it switched off"
    else:
        return error
    return LocalError(error.code, f"{error.detail}; {hint}")


def wait_for_interface(
    interfaces: Callable[[], tuple[Interface, ...]],
    wanted: list[str] | None,
    deadline: float | None,
    stopped: Callable[[], bool] = lambda: False,
) -> bool:
    """Wait until an interface is usable; False if stopped before. Raises ``noInterface`` at the deadline."""
    while not interfaces():
        if stopped():
            return False
        if deadline is not None and time.monotonic() >= deadline:
            names = ", ".join(wanted) if wanted else "none found"
            raise LocalError(
                ErrorCode.noInterface, f"{names}: needs to be up, capable of multicast, with a link-local address"
            )
        time.sleep(_POLL_S)
    return True


def note_unusable(node: Node, wanted: list[str] | None, output: Output) -> None:
    """Tell people which of the wanted interfaces a command goes on without."""
    usable = {each.name for each in node.interfaces}
    missing = [name for name in wanted or () if name not in usable]
    if missing:
        output.note(f"grasp: not usable now: {', '.join(missing)}")


def peer_of(arguments: argparse.Namespace) -> Peer | None:
    """``--peer``. Raises ``noInterface`` for an unknown zone, ``invalidLoc`` for a link-local without one."""
    given: PeerAddress | None = arguments.peer
    if given is None:
        return None
    locator: Locator
    if given.address.version == 4:
        locator = IPv4Locator(given.address, IPPROTO_TCP, given.port)
        return Peer(locator)
    locator = IPv6Locator(given.address, IPPROTO_TCP, given.port)
    zone = given.zone
    if not zone and given.address.is_link_local and arguments.interface and len(arguments.interface) == 1:
        zone = arguments.interface[0]
    index = _index(zone) if zone else 0
    if not given.address.is_link_local:
        return Peer(locator)
    if not index:
        raise LocalError(
            ErrorCode.invalidLoc,
            f"{given.address} is link-local: write [{given.address}%INTERFACE]:{given.port}, or give one --interface",
        )
    return Peer(locator, index)


def _index(zone: str) -> int:
    try:
        return int(zone) if zone.isascii() and zone.isdecimal() else socket.if_nametoindex(zone)
    except OSError:
        raise LocalError(ErrorCode.noInterface, f"this host has no interface {zone!r:.40}") from None


def ready_json(port: int, interfaces: tuple[Interface, ...], **more: JSON) -> dict[str, JSON]:
    """The first element of a command that streams."""
    return {"event": "ready", "port": port, "interfaces": [each.name for each in interfaces]} | more


def ready_text(port: int, interfaces: tuple[Interface, ...]) -> str:
    return f"ready: port {port} on {', '.join(each.name for each in interfaces)}"
