"""Frames between an agent and its deputy, and what they stand for. No I/O.

A frame is four bytes, the length of the rest, most significant first, and one JSON object of
:mod:`asa.dataplane.deputy.vocabulary`. Values are made anew from it on the side that receives them, so that they are
checked there as everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import ip_network
from typing import Final, TypeVar

import msgspec
from msgspec import Struct, structs

from asa.dataplane.backend import Abilities, Counters, Found, Spot
from asa.dataplane.deputy.vocabulary import (
    LONGEST_TEXT,
    MOST_IDS,
    MOST_ITEMS,
    NAME,
    Able,
    Answer,
    Asked,
    CountersFrame,
    EntryFrame,
    FoundFrame,
    KeyFrame,
    LineFrame,
    MatchFrame,
    Other,
    ShareFrame,
)
from asa.dataplane.match import Match, Where
from asa.dataplane.plan import Entry, Key, Line, Share
from asa.errors import AgentError, BadRequest
from asa.flows import Mac, Port
from objectives.reach import Prefix

MAX_FRAME: Final = 4 * 2**20
"""Bytes of a frame behind its length."""

FULL_FRAME: Final = 2**20
"""Bytes of items after which the next frame begins."""

_HEAD: Final = 4

T = TypeVar("T")
Item = TypeVar("Item", bound=Struct)


class Garbled(AgentError):
    """What came is not of the vocabulary."""

    code = "garbled"
    status = 400


# -- frames

_encoder: Final = msgspec.json.Encoder()
_asked: Final[msgspec.json.Decoder[Asked]] = msgspec.json.Decoder(Asked)
_answer: Final[msgspec.json.Decoder[Answer]] = msgspec.json.Decoder(Answer)


def encoded(frame: Struct) -> bytes:
    """With its length before it. Raises :class:`Garbled` if it is too long."""
    body = _encoder.encode(frame)
    _check_length(len(body))
    return len(body).to_bytes(_HEAD, "big") + body


def asked_from(body: bytes) -> Asked:
    """Raises :class:`Garbled`."""
    return _decoded(_asked, body)


def answer_from(body: bytes) -> Answer:
    """Raises :class:`Garbled`."""
    return _decoded(_answer, body)


def _decoded(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Garbled(cut(ascii(str(error))[1:-1]), hint="agent and deputy have to be of one release") from None


def _check_length(length: int) -> None:
    if length > MAX_FRAME:
        raise Garbled(f"a frame of {length} bytes; at most {MAX_FRAME}")


class Splitter:
    """Makes frames of what arrives in pieces."""

    def __init__(self) -> None:
        self._held = bytearray()

    @property
    def amid(self) -> bool:
        """Whether a frame has begun and not ended."""
        return bool(self._held)

    def feed(self, piece: bytes) -> None:
        self._held += piece

    def take(self) -> bytes | None:
        """The next frame without its length, if it is whole. Raises :class:`Garbled` for one that is too long."""
        if len(self._held) < _HEAD:
            return None
        end = _HEAD + int.from_bytes(self._held[:_HEAD], "big")
        _check_length(end - _HEAD)
        if len(self._held) < end:
            return None
        body = bytes(self._held[_HEAD:end])
        del self._held[:end]
        return body


def batches(items: Iterable[Item]) -> Iterator[tuple[Item, ...]]:
    """As many as fit into a frame each time; one of nothing, if there is nothing."""
    held: list[Item] = []
    size = 0
    for each in items:
        if len(held) == MOST_ITEMS or size >= FULL_FRAME:
            yield tuple(held)
            held, size = [], 0
        held.append(each)
        size += len(_encoder.encode(each))
    yield tuple(held)


def series(frames: Sequence[Item]) -> list[Item]:
    """The frames of one question or answer: all but the last say that there are more."""
    return [*(structs.replace(each, more=True) for each in frames[:-1]), frames[-1]]


def cut(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 1]}…"


# -- values


def line_frame(line: Line) -> LineFrame:
    return LineFrame(
        line.interface, line.way, line.rate, line.floor, line.cleared, tuple(str(each) for each in line.vouched)
    )


def line_of(frame: LineFrame) -> Line:
    """Raises :class:`~asa.errors.BadRequest`, as do all below that read."""
    vouched = tuple(_prefix(each) for each in frame.vouched)
    return Line(frame.interface, frame.way, frame.rate, frame.floor, frame.cleared, vouched)


def match_frame(match: Match) -> MatchFrame:
    return MatchFrame(
        match.family,
        None if match.source is None else str(match.source),
        None if match.destination is None else str(match.destination),
        match.protocol,
        None if match.source_port is None else (match.source_port.number, match.source_port.mask),
        None if match.destination_port is None else (match.destination_port.number, match.destination_port.mask),
        match.vlan,
    )


def match_of(frame: MatchFrame) -> Match:
    return Match(
        frame.family,
        _place(frame.source),
        _place(frame.destination),
        frame.protocol,
        None if frame.source_port is None else Port(*frame.source_port),
        None if frame.destination_port is None else Port(*frame.destination_port),
        frame.vlan,
    )


def _place(text: str | None) -> Where:
    return None if text is None else _prefix(text) if "/" in text else Mac(text)


def _prefix(text: str) -> Prefix:
    try:
        found = ip_network(text)
    except ValueError:
        raise BadRequest(f"{text!a:.60} is no prefix") from None
    if str(found) != text:
        raise BadRequest(f"{text!a:.60} is not how a prefix is written; that is {found}")
    return found


def key_frame(key: Key) -> KeyFrame:
    line, action, matches = key
    return KeyFrame(line, action, tuple(match_frame(each) for each in matches))


def key_of(frame: KeyFrame) -> Key:
    return frame.line, frame.action, frozenset(_matches(frame))


def _matches(frame: KeyFrame) -> tuple[Match, ...]:
    found = tuple(match_of(each) for each in frame.matches)
    if len(set(found)) < len(found):
        raise BadRequest(f"an entry on {frame.line} has a match twice")
    return found


def entry_frame(number: int, entry: Entry) -> tuple[EntryFrame, tuple[Spot, ...]]:
    """And its spots in the order of the frame's matches."""
    matches = tuple(entry.matches)
    frame = EntryFrame(
        entry.line,
        entry.action,
        tuple(match_frame(each) for each in matches),
        number,
        entry.expires,
        tuple(each for each in entry.ids[:MOST_IDS] if _told(each)),
        _share_frame(entry.share),
        entry.dscp,
        entry.through,
        entry.output,
    )
    return frame, tuple((entry.line, entry.action, each) for each in matches)


def entry_of(frame: EntryFrame) -> tuple[Entry, tuple[Spot, ...]]:
    matches = _matches(frame)
    entry = Entry(
        frame.line, frame.action, frozenset(matches), frame.ids, frame.expires, _share(frame.share), frame.dscp,
        frame.through, frame.output,
    )  # fmt: skip
    return entry, tuple((entry.line, entry.action, each) for each in matches)


def _told(identifier: str) -> bool:
    return re.fullmatch(NAME, identifier) is not None


def _share_frame(share: Share | None) -> ShareFrame | None:
    return None if share is None else ShareFrame(share.guarantee, share.ceiling, share.priority)


def _share(frame: ShareFrame | None) -> Share | None:
    return None if frame is None else Share(frame.guarantee, frame.ceiling, frame.priority)


def found_frame(found: Found) -> FoundFrame:
    return FoundFrame(found.group, _share_frame(found.share), found.dscp, found.expires, found.through, found.output)


def found_of(frame: FoundFrame) -> Found:
    return Found(frame.group, _share(frame.share), frame.dscp, frame.expires, frame.through, frame.output)


def other_frame(spot: Spot, found: Found) -> Other:
    line, action, match = spot
    return Other(line, action, match_frame(match), found_frame(found))


def other_of(frame: Other) -> tuple[Spot, Found]:
    return (frame.line, frame.action, match_of(frame.match)), found_of(frame.found)


def counters_frame(number: int, counters: Counters) -> CountersFrame:
    return CountersFrame(
        number,
        counters.bytes,
        counters.packets,
        counters.dropped,
        counters.borrowed,
        counters.backlog,
        counters.overlimits,
    )


def counters_of(frame: CountersFrame) -> Counters:
    return Counters(frame.bytes, frame.packets, frame.dropped, frame.borrowed, frame.backlog, frame.overlimits)


def able_frame(abilities: Abilities) -> Able:
    return Able(
        tuple(way for way in ("out", "in") if way in abilities.ways),
        tuple(sorted(abilities.actions)),
        abilities.marks,
        abilities.expires,
        tuple(cut(each) for each in abilities.notes),
    )


def abilities_of(frame: Able) -> Abilities:
    return Abilities(frozenset(frame.ways), frozenset(frame.actions), frame.marks, frame.expires, frame.notes)
