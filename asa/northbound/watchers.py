"""Calls that take their time: those that wait for peers, and those that wait for events."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import msgspec

from asa.errors import AsaError, Busy
from asa.northbound.bodies import EventsQuery
from asa.northbound.limits import KEEP_ALIVE_S, STREAM_BATCH, WAIT_SLICE_MS
from asa.service import Service
from asa.views import Event, Events

_log = logging.getLogger(__name__)
_ENCODER: Final = msgspec.json.Encoder()
_SILENCE: Final = b": keep-alive\n\n"


class Lane:
    """``places`` calls that may wait for peers run at once, and ``waiting`` wait for a place; one more is refused."""

    def __init__(self, places: int, waiting: int) -> None:
        self._places = threading.BoundedSemaphore(places)
        self._most = places + waiting
        self._lock = threading.Lock()
        self._calls = 0

    @property
    def free(self) -> bool:
        """Whether one more would be let wait."""
        return self._calls < self._most

    @contextmanager
    def place(self, patience_s: float) -> Iterator[None]:
        """A place, waited for so long. Raises Busy."""
        with self._lock:
            if not self.free:
                raise _crowded()
            self._calls += 1
        try:
            if not self._places.acquire(timeout=patience_s):
                raise _crowded()
            try:
                yield
            finally:
                self._places.release()
        finally:
            with self._lock:
                self._calls -= 1


def _crowded() -> Busy:
    return Busy("too many calls wait for peers already", hint="try again, or with more patience")


class Watchers:
    """At most ``most`` clients wait for events at once, by streams and by long polls; one more is refused as busy.

    Before anything is told, and every slice, ``judge`` raises what the client is told that may no longer ask.
    """

    def __init__(self, service: Service, most: int) -> None:
        self._service = service
        self._most = most
        self._stopping = False
        self._slots = threading.BoundedSemaphore(most)

    def stop(self) -> None:
        """Let those that wait now end, within a slice."""
        self._stopping = True

    def wait(self, query: EventsQuery, gone: Callable[[], bool], judge: Callable[[], None]) -> Events:
        """A long poll; ends early when the server stops or its client is ``gone``. Raises Busy, and as ``judge``."""
        self._enter()
        try:
            until = time.monotonic() + query.wait_ms / 1000
            while True:
                left_ms = max(0, int((until - time.monotonic()) * 1000))
                found = self._service.events(query.after, limit=query.limit, wait_ms=min(left_ms, WAIT_SLICE_MS))
                judge()
                if found.events or found.missed or left_ms <= WAIT_SLICE_MS or self._stopping or gone():
                    return found
        finally:
            self._slots.release()

    def stream(self, after: int, gone: Callable[[], bool], judge: Callable[[], None]) -> Stream:
        """What is told to a stream that begins behind ``after``, until ``judge`` ends it. Raises Busy."""
        self._enter()
        return Stream(self._next(after, gone, judge), self._slots.release)

    def _enter(self) -> None:
        if self._stopping or not self._slots.acquire(blocking=False):
            raise Busy(
                f"{self._most} clients wait for events already",
                hint="close one of the streams, or ask GET /v1/events with wait_ms=0",
            )

    def _next(self, after: int, gone: Callable[[], bool], judge: Callable[[], None]) -> Iterator[bytes]:
        try:
            # The client has its answer's head at once, also where nothing happens.
            quiet_since, wait_ms = -KEEP_ALIVE_S, 0
            while not self._stopping and not gone():
                found = self._service.events(after, limit=STREAM_BATCH, wait_ms=wait_ms)
                judge()
                after, wait_ms = found.next, WAIT_SLICE_MS
                data = _gap(found) if found.missed else b""
                data += b"".join(_record(event, identified=True) for event in found.events)
                now = time.monotonic()
                if data or now - quiet_since >= KEEP_ALIVE_S:
                    quiet_since = now
                    yield data or _SILENCE
        except AsaError as error:
            _log.info("an event stream ended: %s", error.message)
        except Exception:
            _log.exception("an event stream ended")


class Stream:
    """The bytes of a stream, for WSGI to iterate and to close, in this order or without the first."""

    def __init__(self, chunks: Iterator[bytes], leave: Callable[[], None]) -> None:
        self._chunks = chunks
        self._leave = leave

    def __iter__(self) -> Iterator[bytes]:
        return self._chunks

    def close(self) -> None:
        """Give its place back."""
        self._leave()


def _gap(found: Events) -> bytes:
    """What tells a client that events before the next one are no longer kept."""
    number = found.events[0].number - 1 if found.events else 0
    at = found.events[0].at if found.events else time.time()
    text = f"{found.missed} events are no longer kept"
    return _record(Event(number, at, "missed", text, {"missed": found.missed}), identified=False)


def _record(event: Event, *, identified: bool) -> bytes:
    # A line end in a kind would end the field; JSON has none.
    kind = event.kind.replace("\r", " ").replace("\n", " ").encode()
    number = b"id: %d\n" % event.number if identified else b""
    return b"%bevent: %b\ndata: %b\n\n" % (number, kind, _ENCODER.encode(event))
