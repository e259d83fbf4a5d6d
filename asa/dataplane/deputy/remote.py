"""The data plane of an agent without privileges: that of its deputy (:mod:`~asa.dataplane.deputy.server`)."""

from __future__ import annotations

import itertools
import socket
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from msgspec import Struct

from asa.dataplane.backend import Abilities, Counters, EnforcementFailed, Found, Reading, Spot, Unfit
from asa.dataplane.deputy.vocabulary import (
    MOST_FRAMES,
    MOST_ITEMS,
    MOST_MATCHES,
    VERSION,
    Able,
    Answer,
    Change,
    Changed,
    Clear,
    Cleared,
    Count,
    Counted,
    EntryFrame,
    Hello,
    Probe,
    Read,
    Refused,
    There,
    Welcome,
)
from asa.dataplane.deputy.wire import (
    Garbled,
    Splitter,
    abilities_of,
    answer_from,
    batches,
    counters_of,
    encoded,
    entry_frame,
    found_of,
    key_frame,
    line_frame,
    other_of,
    series,
)
from asa.dataplane.plan import Entry, Key, Line, Plan
from asa.errors import BadRequest

ANSWER_S: Final = 120.0
"""Seconds for a whole answer: each program a deputy runs has less."""

CONNECT_S: Final = 5.0

_PIECE: Final = 262_144
_HINT: Final = "see that asa deputy runs and that this agent may use its socket, or run the agent with CAP_NET_ADMIN"

T = TypeVar("T", bound=Answer)


class _Refusal(Exception):
    """The deputy answered that it does not."""

    def __init__(self, said: Refused) -> None:
        super().__init__(said.message)
        self.said = said


@dataclass(frozen=True, slots=True)
class _Sent:
    """What the deputy knows of an entry; ``spots`` in the order they were sent."""

    number: int
    entry: Entry
    spots: tuple[Spot, ...]


class Remote:
    """A deputy behind a Unix socket as a :class:`~asa.dataplane.backend.Backend`.

    It connects when it is first asked, and again after the deputy was lost; what was in place stays there meanwhile
    until it expires. Then the deputy is told everything anew, with the next call, whichever it is.
    """

    def __init__(self, socket: Path, answer_s: float = ANSWER_S) -> None:
        """``answer_s``: seconds for an answer."""
        self.name = "deputy"
        """Once it has answered: that of its back end."""
        self._path = socket
        self._answer_s = answer_s
        self._connection: _Connection | None = None
        self._numbers = itertools.count(1)
        self._probed: tuple[Line, ...] | None = None
        self._plan: Plan | None = None
        self._lines: tuple[Line, ...] | None = None
        self._sent: dict[Key, _Sent] = {}
        self._by_number: dict[int, _Sent] = {}

    def probe(self, lines: Sequence[Line]) -> Abilities:
        self._probed = tuple(lines)
        if fresh := self._connected():
            return fresh
        return self._probe(self._probed)

    def apply(self, plan: Plan) -> Mapping[Key, str]:
        self._plan = plan
        self._reconnected()
        return self._change(plan)

    def read(self, keys: Collection[Key] | None = None) -> Reading:
        self._restored()
        lines: dict[str, str] = {}
        found: dict[Spot, Found] = {}
        strays: list[str] = []
        for question in [Read(everything=True)] if keys is None else self._questions(keys):
            for each in self._ask(There, question):
                try:
                    found |= {self._by_number[of.number].spots[of.at]: found_of(of.found) for of in each.entries}
                    found |= dict(other_of(other) for other in each.others)
                except (KeyError, IndexError, BadRequest) as error:
                    raise self._lost(f"it tells of what was not asked: {error}") from None
                lines |= each.lines
                strays += each.strays
        return Reading(lines, found, tuple(strays))

    def count(self) -> Mapping[Key, Counters]:
        self._restored()
        try:
            return {
                self._by_number[each.number].entry.key: counters_of(each)
                for answer in self._ask(Counted, Count())
                for each in answer.entries
            }
        except KeyError as error:
            raise self._lost(f"it counted what it was not told of: {error}") from None

    def clear(self) -> None:
        self._reconnected()
        self._ask(Cleared, Clear())
        self._plan = self._lines = None
        self._sent.clear()
        self._by_number.clear()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = self._lines = None
        self._sent.clear()
        self._by_number.clear()

    # What the deputy knows.

    def _connected(self) -> Abilities | None:
        """A new connection's deputy may be a new one, so it is asked what it can; None if there is one already."""
        if self._connection is not None and self._connection.lost():
            self.close()
        if self._connection is not None:
            return None
        try:
            self._connection = _Connection(self._path, self._answer_s)
        except OSError as error:
            raise self._lost(error.strerror or str(error)) from None
        welcome = self._ask(Welcome, Hello(VERSION))[0]
        self.name = welcome.backend
        if self._probed is None:
            return None
        try:
            return self._probe(self._probed)
        except (Unfit, EnforcementFailed):
            # So that it is probed with the next call as well.
            self.close()
            raise

    def _reconnected(self) -> None:
        try:
            self._connected()
        except Unfit as error:
            raise EnforcementFailed(error.message, hint=error.hint) from None

    def _restored(self) -> None:
        """A deputy that was lost knows all again that it knew."""
        self._reconnected()
        if self._plan is not None and self._lines is None:
            self._change(self._plan)

    def _probe(self, lines: tuple[Line, ...]) -> Abilities:
        able = self._ask(Able, Probe(tuple(line_frame(each) for each in lines)))[0]
        return abilities_of(able)

    def _change(self, plan: Plan) -> Mapping[Key, str]:
        gone = {each.number: key for key, each in self._sent.items() if key not in plan.entries}
        failed: dict[Key, str] = {}
        fresh: dict[Key, _Sent] = {}
        frames: list[EntryFrame] = []
        for key, entry in plan.entries.items():
            before = self._sent.get(key)
            if before is not None and (before.entry is entry or before.entry == entry):
                continue
            if len(entry.matches) > MOST_MATCHES:
                failed[key] = f"{len(entry.matches)} matches; a deputy takes {MOST_MATCHES}"
                if before is not None:
                    gone[before.number] = key
                continue
            number = next(self._numbers) if before is None else before.number
            frame, spots = entry_frame(number, entry)
            fresh[key] = _Sent(number, entry, spots)
            frames.append(frame)
        lines = None if plan.lines == self._lines else tuple(line_frame(each) for each in plan.lines)
        first, *others = (Change(come=each) for each in batches(frames))
        first = Change(lines, tuple(gone), first.come)
        try:
            answers = self._ask(Changed, *series([first, *others]))
        except (EnforcementFailed, Unfit):
            # Whether it was taken over is not worth knowing: everything is told anew.
            self.close()
            raise
        for number, key in gone.items():
            del self._sent[key], self._by_number[number]
        self._sent |= fresh
        self._by_number |= {each.number: each for each in fresh.values()}
        self._lines = plan.lines
        for each in (each for answer in answers for each in answer.failed):
            sent = self._by_number.get(each.number)
            failing = gone.get(each.number) if sent is None else sent.entry.key
            if failing is None:
                raise self._lost(f"it tells of an entry {each.number}, which it was not told of")
            failed[failing] = each.why
        return failed

    def _questions(self, keys: Collection[Key]) -> list[Read]:
        numbers = [self._sent[each].number for each in keys if each in self._sent]
        others = (key_frame(each) for each in keys if each not in self._sent)
        parts = (numbers[at : at + MOST_ITEMS] for at in range(0, len(numbers), MOST_ITEMS))
        return [Read(numbers=tuple(each)) for each in parts] + [Read(keys=each) for each in batches(others) if each]

    # The conversation.

    def _ask(self, kind: type[T], *frames: Struct) -> list[T]:
        assert self._connection is not None
        try:
            answers = self._connection.ask(*frames)
        except _Refusal as refusal:
            said = refusal.said
            if said.code == Unfit.code:
                raise Unfit(said.message, hint=said.hint) from None
            if said.code == EnforcementFailed.code:
                raise EnforcementFailed(said.message, hint=said.hint) from None
            self.close()
            raise EnforcementFailed(
                f"the deputy at {self._path} refuses: {said.message} ({said.code})", hint=said.hint or _HINT
            ) from None
        except OSError as error:
            raise self._lost(error.strerror or str(error)) from None
        except Garbled as error:
            raise self._lost(error.message) from None
        if wrong := [each for each in answers if not isinstance(each, kind)]:
            raise self._lost(f"it answers with {type(wrong[0]).__name__.lower()}")
        return [each for each in answers if isinstance(each, kind)]

    def _lost(self, why: str) -> EnforcementFailed:
        self.close()
        return EnforcementFailed(f"no deputy at {self._path}: {why}", hint=_HINT)


class _Connection:
    """Raises OSError, Garbled and _Refusal; after the first two it is good for nothing more."""

    def __init__(self, path: Path, answer_s: float) -> None:
        self._answer_s = answer_s
        self._splitter = Splitter()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            self._socket.settimeout(CONNECT_S)
            self._socket.connect(str(path))
        except OSError:
            self._socket.close()
            raise

    def lost(self) -> bool:
        """Whether the other end is gone, or said what was not asked for."""
        self._socket.setblocking(False)
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            pass
        return True

    def ask(self, *frames: Struct) -> list[Answer]:
        until = time.monotonic() + self._answer_s
        self._socket.settimeout(self._answer_s)
        try:
            for each in frames:
                self._socket.sendall(encoded(each))
        except (BrokenPipeError, ConnectionResetError):
            # Why it hung up is in what it had said before.
            pass
        answers: list[Answer] = []
        while len(answers) < MOST_FRAMES:
            answer = answer_from(self._receive(until))
            if isinstance(answer, Refused):
                raise _Refusal(answer)
            answers.append(answer)
            if not (isinstance(answer, Changed | There | Counted) and answer.more):
                return answers
        raise Garbled(f"an answer of more than {MOST_FRAMES} frames")

    def _receive(self, until: float) -> bytes:
        while (body := self._splitter.take()) is None:
            left = until - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"no answer within {self._answer_s:g} s")
            self._socket.settimeout(left)
            piece = self._socket.recv(_PIECE)
            if not piece:
                raise ConnectionResetError("it hung up")
            self._splitter.feed(piece)
        return body

    def close(self) -> None:
        self._socket.close()
