"""Records as they come, together and in pieces: a connection waits only when there is nothing to read."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv6Address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grasp.transport.secured import TlsConnection
from tests.pki import Authority
from tests.tls.pairs import contexts, meet

CA = Authority()
ENDS = tuple(contexts(CA.identity(name)) for name in ("one", "other"))
PIECE = 4_096
HEADER = 5


class Wire:
    """Gives out pieces, and notes how many bytes it had given whenever it was asked for more."""

    peer, peer_name, peer_port, interface = IPv6Address("::1"), "::1", 1, 0

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self.pieces = pieces
        self.given = 0
        self.asked: list[int] = []

    def receive(self, seconds: float) -> bytes:
        self.asked.append(self.given)
        piece = next(self.pieces, None)
        if piece is None:
            raise TimeoutError("nothing received in time")
        self.given += len(piece)
        return piece

    def finish(self, data: bytes) -> bytes:
        raise AssertionError(f"it has nothing to say: {data!r}")


def pieces(data: bytes, cuts: list[int]) -> Iterator[bytes]:
    """As TCP may deliver it: in pieces that end wherever it likes."""
    ends = sorted({each % (len(data) + 1) for each in cuts} | {*range(0, len(data), PIECE), len(data)})
    begin = 0
    for end in ends:
        # An empty piece would be the end of the connection.
        if end > begin:
            yield data[begin:end]
        begin = end


@given(
    messages=st.lists(st.integers(1, 20_000), min_size=1, max_size=6),
    cuts=st.lists(st.integers(0, 2**20), max_size=6),
    whole=st.booleans(),
)
def test_it_waits_for_more_only_when_everything_that_came_is_read(
    messages: list[int], cuts: list[int], whole: bool
) -> None:
    met = meet(*ENDS)
    said = [bytes([number]) * size for number, size in enumerate(messages, 1)]
    sent = []
    for each in said:
        met.client.write(each)
        sent.append(met.client.outgoing())
    # Either each message comes alone, as most do, or all of them anyhow.
    arriving = (part for each in sent for part in pieces(each, [])) if whole else pieces(b"".join(sent), cuts)
    kernel: Any = Wire(arriving)
    connection = TlsConnection(kernel, met.server, b"", (0, 0), lambda _: None, lambda _: True)
    plain, read = b"".join(said), b""
    while len(read) < len(plain):
        before = len(kernel.asked)
        data = connection.receive(1.0)
        # What whole records had come when it asked, it had already given out.
        for given_then in kernel.asked[before:]:
            assert len(read) == _readable(b"".join(sent)[:given_then])
        read += data
    assert read == plain
    with pytest.raises(TimeoutError):
        connection.receive(1.0)


def _readable(data: bytes) -> int:
    """Bytes of messages in the whole records of ``data``: TLS 1.3 adds one for the kind and 16 that prove it."""
    total = 0
    while len(data) >= HEADER and len(data) >= (end := HEADER + int.from_bytes(data[3:HEADER])):
        total += end - HEADER - 17
        data = data[end:]
    return total
