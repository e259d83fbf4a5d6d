"""What a deputy answers: a frame of its agent's in, frames out, and the back end told to do it in between."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType

from asa.dataplane.backend import Backend, Spot
from asa.dataplane.deputy.vocabulary import (
    MOST_ENTRIES,
    MOST_FRAMES,
    VERSION,
    Answer,
    Asked,
    Change,
    Changed,
    Clear,
    Cleared,
    Count,
    Counted,
    Failure,
    Hello,
    KeyFrame,
    LineFrame,
    OfEntry,
    Probe,
    Read,
    Refused,
    There,
    Welcome,
)
from asa.dataplane.deputy.wire import (
    Garbled,
    able_frame,
    asked_from,
    batches,
    counters_frame,
    cut,
    entry_of,
    found_frame,
    key_of,
    line_of,
    other_frame,
    series,
)
from asa.dataplane.plan import Entry, Key, Line, Plan
from asa.errors import AsaError, BadRequest, Forbidden

_log = logging.getLogger("asa.deputy")


@dataclass(frozen=True, slots=True)
class _Held:
    """``spots`` in the order they came."""

    entry: Entry
    spots: tuple[Spot, ...]


class Conversation:
    """With one agent, from its connecting to its end. ``interfaces``: those it may have; None is all."""

    def __init__(self, backend: Backend, interfaces: frozenset[str] | None) -> None:
        self._backend = backend
        self._interfaces = interfaces
        self._welcomed = False
        self._probed: tuple[Line, ...] = ()
        self._lines: tuple[Line, ...] = ()
        self._held: dict[int, _Held] = {}
        self._parts: list[Change] = []

    def hear(self, body: bytes) -> Sequence[Answer]:
        """The answers to a frame, none if more belongs to it. Raises :class:`Garbled`: nothing that comes after it can
        be understood. Whatever else is refused or fails is an answer too."""
        asked = asked_from(body)
        if not self._welcomed and not isinstance(asked, Hello):
            raise Garbled("the first frame is a hello")
        if self._parts and not isinstance(asked, Change):
            raise Garbled("the rest of a change is missing")
        try:
            return self._answers(asked)
        except Garbled:
            raise
        except AsaError as error:
            return [refusal(error)]
        except Exception as error:
            _log.exception("%s failed", type(asked).__name__.lower())
            return [Refused("internal", cut(f"{type(error).__name__}: {error}"), "the deputy's log tells more")]

    def _answers(self, asked: Asked) -> Sequence[Answer]:
        if isinstance(asked, Hello):
            return [self._welcome(asked)]
        if isinstance(asked, Probe):
            lines = self._allowed(asked.lines)
            able = able_frame(self._backend.probe(lines))
            self._probed = lines
            return [able]
        if isinstance(asked, Change):
            return self._change(asked)
        if isinstance(asked, Read):
            return self._read(asked)
        if isinstance(asked, Count):
            return self._count()
        assert isinstance(asked, Clear)
        self._backend.clear()
        self._lines, self._held = (), {}
        return [Cleared()]

    def _welcome(self, hello: Hello) -> Welcome:
        if hello.version != VERSION:
            raise Garbled(f"version {hello.version}; here it is {VERSION}", hint="run agent and deputy of one release")
        self._welcomed = True
        return Welcome(VERSION, self._backend.name)

    def _allowed(self, frames: Sequence[LineFrame]) -> tuple[Line, ...]:
        lines = tuple(line_of(each) for each in frames)
        for each in lines:
            if self._interfaces is not None and each.interface not in self._interfaces:
                raise Forbidden(f"this deputy leaves {each.interface} alone", hint=f"--interface {each.interface}")
        if len({each.name for each in lines}) < len(lines):
            raise BadRequest("a line is there twice")
        return lines

    def _change(self, part: Change) -> Sequence[Answer]:
        self._parts.append(part)
        if len(self._parts) > MOST_FRAMES or sum(len(each.come) for each in self._parts) > MOST_ENTRIES:
            raise Garbled(f"a change of more than {MOST_FRAMES} frames or {MOST_ENTRIES} entries")
        if part.more:
            return []
        parts, self._parts = self._parts, []
        lines, held = self._lines, dict(self._held)
        for each in parts:
            lines = lines if each.lines is None else self._allowed(each.lines)
            for number in each.gone:
                if held.pop(number, None) is None:
                    raise BadRequest(f"there is no entry {number}")
            for frame in each.come:
                held[frame.number] = _Held(*entry_of(frame))
        entries = {each.entry.key: each.entry for each in held.values()}
        if len(entries) < len(held) or len(held) > MOST_ENTRIES:
            raise BadRequest(f"{len(held)} entries, {len(entries)} of them different; at most {MOST_ENTRIES}")
        plan = Plan(lines, MappingProxyType(entries))
        before, self._lines, self._held = self._held, lines, held
        failed = self._backend.apply(plan)
        numbers = {each.entry.key: number for of in (before, held) for number, each in of.items()} if failed else {}
        failures = (Failure(numbers[key], cut(why)) for key, why in failed.items() if key in numbers)
        return series([Changed(each) for each in batches(failures)])

    def _read(self, asked: Read) -> Sequence[Answer]:
        if asked.everything:
            wanted = self._held
            reading = self._backend.read()
        else:
            try:
                wanted = {number: self._held[number] for number in asked.numbers}
            except KeyError as error:
                raise BadRequest(f"there is no entry {error}") from None
            keys = [each.entry.key for each in wanted.values()]
            reading = self._backend.read(keys + [self._key(each) for each in asked.keys])
        places = {spot: (number, at) for number, each in wanted.items() for at, spot in enumerate(each.spots)}
        known = [OfEntry(*places[spot], found_frame(found)) for spot, found in reading.found.items() if spot in places]
        others = [other_frame(spot, found) for spot, found in reading.found.items() if spot not in places]
        head = There(
            {name: cut(wrong) for name, wrong in reading.lines.items()},
            strays=tuple(cut(each) for each in reading.strays),
        )
        return series([
            head,
            *(There(entries=each) for each in batches(known) if each),
            *(There(others=each) for each in batches(others) if each),
        ])  # fmt: skip

    def _key(self, frame: KeyFrame) -> Key:
        """Of an entry there is none of; its line is one all the same, for a line's name gets into commands."""
        if all(frame.line != each.name for each in (*self._lines, *self._probed)):
            raise BadRequest(f"{frame.line} is no line")
        return key_of(frame)

    def _count(self) -> Sequence[Answer]:
        numbers = {each.entry.key: number for number, each in self._held.items()}
        counted = self._backend.count()
        frames = (counters_frame(numbers[key], each) for key, each in counted.items() if key in numbers)
        return series([Counted(each) for each in batches(frames)])


def refusal(error: AsaError) -> Refused:
    return Refused(error.code, cut(error.message), cut(error.hint))
