"""Messages out of a byte stream: one may arrive in pieces, several in one piece. No I/O."""

from __future__ import annotations

from grasp.cbor import Framer, TrailingBytes, Truncated
from grasp.errors import ErrorCode, WireError
from grasp.wire.codec import decode_message
from grasp.wire.message import Message


class MessageReader:
    """Feed it what was received, take messages of at most ``limit`` bytes from it.

    ``buffer`` holds the bytes no message was made of yet, ``last`` those of the last message.

    Once :meth:`next` has raised :class:`WireError` the stream has lost its framing: close it.
    """

    __slots__ = ("_framer", "buffer", "last", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.last = b""
        self.buffer = b""
        self._framer: Framer | None = None

    def feed(self, data: bytes) -> None:
        self.buffer = self.buffer + data if self.buffer else data

    @property
    def pending(self) -> int:
        """Bytes no message was made of yet."""
        return len(self.buffer)

    def next(self) -> Message | None:
        """The next whole message; None while it is incomplete."""
        data = self.buffer
        if not data:
            return None
        if self._framer is None:
            # Nearly always a read is one message, which decoding itself finds out; framing costs a pass.
            if len(data) <= self.limit:
                try:
                    message = decode_message(data)
                except (Truncated, TrailingBytes):
                    pass
                else:
                    self.buffer = b""
                    self.last = data
                    return message
            self._framer = Framer(self.limit)
        end = self._framer.end(data)
        if end is None:
            if len(data) > self.limit:
                raise WireError(f"message longer than {self.limit} bytes", ErrorCode.tooLong)
            return None
        self._framer = None
        self.buffer, self.last = data[end:], data[:end]
        return decode_message(self.last)
