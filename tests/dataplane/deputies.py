"""A deputy in a thread of its own, what to tell it, and how to speak to it without a Remote."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from asa.dataplane.backend import Backend
from asa.dataplane.deputy.server import MODE, Deputy
from asa.dataplane.match import Match
from asa.dataplane.plan import Action, Entry, Key, Line, Plan, Share
from asa.dataplane.record import Record
from asa.flows import Mac, Port
from asa.northbound.listening import UnixListener

PATIENCE = 30.0
UNTIL = 1_900_000_000

OUT = Line("eth0", "out", 800_000_000, 40_000_000, (46, 26), (IPv4Network("10.0.0.0/8"), IPv6Network("fd00::/8")))
IN = Line("eth0", "in", 800_000_000, 40_000_000)


def entry(number: int, **changes: Any) -> Entry:
    """Of 8,000 bit/s to a host of its own."""
    match = Match(4, None, IPv4Network((0x0A00_0000 + number, 32)), 6, None, Port(443))
    given: dict[str, Any] = {
        "line": OUT.name, "action": Action.GUARANTEE, "matches": frozenset({match}), "ids": (f"r{number}",),
        "expires": UNTIL, "share": Share(8_000, 16_000), "dscp": 46,
    }  # fmt: skip
    return Entry(**given | changes)


VARIED = (
    entry(1),
    entry(2, line=IN.name, dscp=None, share=Share(8_000, 8_000, 7)),
    entry(3, action=Action.KEEP, share=None, dscp=None, ids=("a", "b")),
    entry(4, action=Action.STEER, share=None, through=("10.0.0.9", "fd00::9", "aa:bb:cc:dd:ee:ff")),
    entry(5, action=Action.MIRROR, share=None, dscp=None, output="fd00::7"),
    entry(6, matches=frozenset({Match(0, Mac("aa:bb:cc:dd:ee:01"), Mac("aa:bb:cc:dd:ee:02"), vlan=7)})),
    entry(7, matches=frozenset({
        Match(6, IPv6Network("fd00::/64"), IPv6Network("fd01::1/128"), 17, Port(0x50, 0xFFF0), Port(53)),
        Match(6, IPv6Network("fd00::/64"), IPv6Network("fd01::1/128"), 6, Port(0x50, 0xFFF0), Port(53)),
        Match(4, IPv4Network("10.1.0.0/16"), Mac("aa:bb:cc:dd:ee:02"), 132),
    })),
)  # fmt: skip


def plan(entries: Sequence[Entry], lines: Sequence[Line] = (OUT, IN)) -> Plan:
    return Plan(tuple(lines), MappingProxyType({each.key: each for each in entries}))


class Faulty(Record):
    """Fails as it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.raises: Exception | None = None
        self.refuses: dict[Key, str] = {}

    def apply(self, plan: Plan) -> Mapping[Key, str]:
        if self.raises is not None:
            raise self.raises
        super().apply(plan)
        return self.refuses


@contextmanager
def serving(
    backend: Backend,
    path: Path,
    uids: Collection[int] | None = None,
    interfaces: Collection[str] | None = None,
    frame_s: float = PATIENCE,
) -> Iterator[Callable[[], None]]:
    """A deputy at ``path``; what is given ends it early."""
    listener = UnixListener(path, MODE, None)
    deputy = Deputy(backend, listener.sock, {os.getuid()} if uids is None else uids, interfaces, frame_s)
    thread = threading.Thread(target=deputy.serve, name="deputy", daemon=True)
    thread.start()

    def end() -> None:
        deputy.stop()
        thread.join(PATIENCE)
        assert not thread.is_alive()
        listener.close(unlink=True)

    try:
        yield end
    finally:
        end()
        deputy.close()


class Raw:
    """Says what it likes to a deputy."""

    def __init__(self, path: Path, hello: bool = True) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(str(path))
        if hello:
            assert self.ask({"is": "hello", "version": 1})["is"] == "welcome"

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def say(self, value: Any) -> None:
        body = value if isinstance(value, bytes) else msgspec.json.encode(value)
        self.bytes(len(body).to_bytes(4, "big") + body)

    def bytes(self, said: bytes) -> None:
        try:
            self.sock.sendall(said)
        except (BrokenPipeError, ConnectionResetError):
            pass  # What it answered before it hung up can still be read.

    def heard(self) -> Any:
        """The next answer, None if it hung up."""
        head = self._exactly(4)
        return None if head is None else msgspec.json.decode(self._exactly(int.from_bytes(head, "big")) or b"")

    def ask(self, value: Any) -> Any:
        self.say(value)
        return self.heard()

    def _exactly(self, length: int) -> bytes | None:
        found = b""
        while len(found) < length:
            try:
                piece = self.sock.recv(length - len(found))
            except ConnectionResetError:
                return None
            if not piece:
                return None
            found += piece
        return found


def eventually(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.01)
