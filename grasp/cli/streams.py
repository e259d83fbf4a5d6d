"""GRASP messages out of captured TCP segments. No I/O.

Segments may be lost, repeated, overlap and come in any order; sequence numbers wrap (RFC 9293 §3.4).
Where bytes overlap, those captured first count.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from grasp.cbor import Framer
from grasp.errors import WireError
from grasp.limits import MAX_MESSAGE_SIZE
from grasp.wire import Message, decode_message

_MODULUS: Final = 1 << 32
_WAITING: Final = 512
_WAITING_BYTES: Final = 1 << 20
_SAMPLE: Final = 256


@dataclass(frozen=True, slots=True)
class Item:
    """A message, or bytes that are none, and when the last of them was captured (UNIX s)."""

    time: float
    data: bytes
    message: Message | WireError


class Stream:
    """One direction of a connection. ``items`` is what it carried so far.

    At its bounds (``_WAITING`` segments or ``_WAITING_BYTES``) bytes that are still missing count as lost.
    """

    def __init__(self) -> None:
        self.items: list[Item] = []
        self.valid = 0
        self._first: int | None = None
        self._next: int | None = None
        self._waiting: dict[int, tuple[float, bytes]] = {}
        self._waiting_bytes = 0
        self._buffer = bytearray()
        self._framer = Framer(MAX_MESSAGE_SIZE)
        self._time = 0.0
        self._lost = False

    def may_start_at(self, sequence: int) -> bool:
        """Whether a SYN before ``sequence`` belongs to what was seen; if not, the ports are used again."""
        if self._first is not None:
            return self._first == sequence
        return all(_distance(sequence, each) in range(_WAITING_BYTES) for each in self._waiting)

    def add(self, time: float, sequence: int, syn: bool, data: bytes) -> None:
        """A captured segment."""
        if syn:
            sequence = (sequence + 1) % _MODULUS
            if self._next is None:
                self._first = self._next = sequence
        if self._lost:
            return
        if data:
            self._keep(time, sequence, data)
        full = len(self._waiting) > _WAITING or self._waiting_bytes > _WAITING_BYTES
        if self._next is None and full:
            self._start_without_syn()
        self._read()
        if full and self._waiting and not self._lost:
            self._give_up(f"{self._gap()} bytes are missing from the capture")

    def _start_without_syn(self) -> None:
        """The capture began later than the connection: the lowest sequence number seen is the first."""
        reference = next(iter(self._waiting))
        self._first = self._next = min(self._waiting, key=lambda each: _distance(reference, each))

    def _keep(self, time: float, sequence: int, data: bytes) -> None:
        before = self._waiting.get(sequence)
        if before is not None:
            if len(before[1]) >= len(data):
                return
            self._waiting_bytes -= len(before[1])
            data = before[1] + data[len(before[1]) :]
        self._waiting[sequence] = (time, data)
        self._waiting_bytes += len(data)

    def _read(self) -> None:
        while self._next is not None and self._waiting and not self._lost:
            sequence = self._nearest()
            ahead = _distance(self._next, sequence)
            if ahead > 0:
                return
            time, data = self._waiting.pop(sequence)
            self._waiting_bytes -= len(data)
            if len(data) > -ahead:
                self._deliver(time, data[-ahead:])

    def _nearest(self) -> int:
        assert self._next is not None
        start = self._next
        return min(self._waiting, key=lambda each: _distance(start, each))

    def _gap(self) -> int:
        assert self._next is not None
        return _distance(self._next, self._nearest())

    def _deliver(self, time: float, data: bytes) -> None:
        assert self._next is not None
        self._next = (self._next + len(data)) % _MODULUS
        # A segment that closes a gap may have been captured after those behind it.
        self._time = max(self._time, time)
        self._buffer += data
        while self._buffer and not self._lost:
            try:
                end = self._framer.end(self._buffer)
            except WireError as error:
                self._fail(error)
                return
            if end is None:
                return
            self._take(end)

    def _take(self, end: int) -> None:
        data = bytes(self._buffer[:end])
        del self._buffer[:end]
        self._framer = Framer(MAX_MESSAGE_SIZE)
        try:
            self.items.append(Item(self._time, data, decode_message(data)))
            self.valid += 1
        except WireError as error:
            self.items.append(Item(self._time, data, error))
            # Something else than GRASP: its bytes may look like CBOR for a while.
            if not self.valid:
                self._lose()

    def _fail(self, error: WireError) -> None:
        self.items.append(Item(self._time, bytes(self._buffer[:_SAMPLE]), error))
        self._lose()

    def _lose(self) -> None:
        self._lost = True
        self._buffer.clear()
        self._waiting.clear()
        self._waiting_bytes = 0

    def _give_up(self, detail: str) -> None:
        self._fail(WireError(detail))

    def finish(self) -> None:
        """No more segments: what is left over becomes an item of its own."""
        if self._next is None and self._waiting:
            self._start_without_syn()
            self._read()
        if self._lost:
            return
        if self._waiting:
            self._give_up(f"{self._gap()} bytes are missing from the capture")
        elif self._buffer:
            self._give_up(f"{len(self._buffer)} bytes of a message that does not end in the capture")


def _distance(start: int, sequence: int) -> int:
    """How far ``sequence`` is beyond ``start``; negative if it is before."""
    distance = (sequence - start) % _MODULUS
    return distance if distance < _MODULUS // 2 else distance - _MODULUS
