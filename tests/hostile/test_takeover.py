"""A stranger takes over the link-local address of a member: it gets what is sent there, and cannot read it."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from ipaddress import IPv6Address

import pytest

from lab import Capture
from lab.capture import ETH_P_IPV6
from tests.network.raw import Wire
from tests.network.steer import eventually

from .fortress import Fortress
from .tlsends import SESSION, server_context
from .wires import checksum, records, streams

OVERRIDE = 0x2000_0000
NEIGHBOUR_ADVERTISEMENT, TARGET_LINK_ADDRESS = 136, 2


class Spoofer:
    """Says to the target, again and again, that an address is the attacker's (RFC 4861 §4.4)."""

    def __init__(self, stronghold: Fortress, address: str) -> None:
        host = stronghold.attacker
        own = IPv6Address(address).packed
        to = IPv6Address(stronghold.link_local).packed
        with host.entered():
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            self._socket.bind(("eth0", ETH_P_IPV6))
        mac = self._socket.getsockname()[4]
        body = struct.pack("!BBHL", NEIGHBOUR_ADVERTISEMENT, 0, 0, OVERRIDE) + own
        body += struct.pack("!BB", TARGET_LINK_ADDRESS, 1) + mac
        body = body[:2] + struct.pack("!H", checksum(own + to + struct.pack("!LL", len(body), 58) + body)) + body[4:]
        header = struct.pack("!LHBB", 6 << 28, len(body), 58, 255) + own + to
        listed = stronghold.target.host.run(["cat", "/sys/class/net/eth0/address"]).stdout.strip()
        self._frame = bytes.fromhex(listed.replace(":", "")) + mac + struct.pack("!H", ETH_P_IPV6) + header + body
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="spoofer", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.wait(0.02):
            self._socket.send(self._frame)

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        self._socket.close()


@contextlib.contextmanager
def taken_over(stronghold: Fortress, address: str) -> Iterator[None]:
    host = stronghold.attacker
    host.ip(f"address add {address}/64 dev eth0 nodad")
    spoofer = Spoofer(stronghold, address)
    try:
        yield
    finally:
        spoofer.close()
        host.delete_address(f"{address}/64", "eth0")


@pytest.mark.parametrize("who", ["a stranger", "another member"])
def test_who_has_a_members_address_is_told_nothing(stronghold: Fortress, who: str) -> None:
    honest = stronghold.honest.host.link_local("eth0")
    # The kernel asks soon again where an address is.
    for key, value in (("base_reachable_time_ms", "200"), ("delay_first_probe_time", "0"), ("retrans_time_ms", "100")):
        stronghold.target.host.sysctl(f"net.ipv6.neigh.eth0.{key}", value)
    port = stronghold.honest.port
    place = [[honest, 6, port], "eth0", "honest"]
    assert stronghold.target.negotiate("neg", 1, peer=place) is not None
    identity = stronghold.identity("honest", stronghold.foreign) if who == "a stranger" else stronghold.identity("eve")
    context = server_context(identity, SESSION)
    told: list[bytes] = []

    def serve(wire: Wire) -> None:
        with context.wrap_socket(wire.socket, server_side=True) as secured:
            told.append(secured.recv(65_536))

    def refused() -> bool:
        return stronghold.target.code_of("negotiate", "neg", 1, peer=place, timeout=2_000) == "notMember"

    with Capture(stronghold.attacker, "eth0") as capture, stronghold.listening(serve, port):  # noqa: SIM117 - in turn
        with taken_over(stronghold, honest):
            assert eventually(refused)
    assert not any(told)
    heard = [each for each in streams(capture.frames) if each.destination == (honest, port)]
    assert heard
    for stream in heard:
        assert all(each[0] in (20, 21, 22, 23) for each in records(stream.data))
    # As soon as the address is the member's again.
    assert eventually(lambda: stronghold.target.code_of("negotiate", "neg", 1, peer=place, timeout=2_000) is None)
    assert eventually(stronghold.linked, 60.0)
    assert stronghold.serves()
    assert stronghold.accepted() == []
