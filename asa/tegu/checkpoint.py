"""A checkpoint as a whole: its lines, within bounds, each taken over or reported. No I/O.

No line is fatal. Those that cannot be read are reported with their number, and the others are read all the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from asa.tegu.endpoints import is_project
from asa.tegu.fields import read_object
from asa.tegu.kinds import id_of, kind_of, read_pledge
from asa.tegu.pledges import Cap, Pledge
from asa.tegu.report import Code, Entry, Kind, Refused, Report
from objectives.fields import MAX_RATE

MAX_BYTES: Final = 64 * 2**20
"""Of a file; what follows is reported as one line that was not read. A caller reads one byte more at most."""

MAX_LINE: Final = 64 * 2**10
"""Bytes of a line; a longer one is reported and not looked at."""

MAX_LINES: Final = 200_000
"""Lines that are not blank; what follows is reported as one that was not read."""

_CAP: Final = re.compile(r"ucap:\s*(\S{1,128})\s+(-?[0-9]{1,20})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What could be taken over, and what became of every line."""

    caps: Mapping[str, Cap]
    """By project; the last one of a project counts, as in Tegu."""
    pledges: tuple[Pledge, ...]
    """In the file's order, each id once."""
    report: Report


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    content: bytes
    ended: bool
    """By a line feed: the last one of a file that was cut off is not."""


def read_checkpoint(data: bytes, now: int) -> Checkpoint:
    """``now``: UNIX seconds; what has ended by then is reported as expired. Raises nothing for any ``data``."""
    reading = _Reading(now)
    count = 0
    for line in _lines(data[:MAX_BYTES]):
        count += 1
        if count > MAX_LINES:
            reading.tell(line.number, Code.NOT_READ, f"only the first {MAX_LINES} lines are read")
            break
        if not line.ended and len(data) > MAX_BYTES:
            reading.tell(line.number, Code.NOT_READ, f"only the first {MAX_BYTES} bytes are read")
            break
        reading.line(line)
    else:
        if len(data) > MAX_BYTES:
            reading.tell(data.count(b"\n", 0, MAX_BYTES) + 1, Code.NOT_READ, f"only {MAX_BYTES} bytes are read")
    if not count:
        reading.tell(1, Code.EMPTY, "nothing is in it; Tegu leaves one behind if it fails: take an older one")
    return Checkpoint(reading.caps, tuple(reading.pledges), Report(tuple(reading.entries)))


def _lines(data: bytes) -> Iterator[_Line]:
    """Those that are not blank, one at a time: a file of line feeds would make millions."""
    at, number = 0, 0
    while at < len(data):
        number += 1
        feed = data.find(b"\n", at)
        end = len(data) if feed < 0 else feed
        content = data[at:end]
        at = end + 1
        if content.strip():
            yield _Line(number, content, feed >= 0)


class _Reading:
    """What has been read so far."""

    def __init__(self, now: int) -> None:
        self.caps: dict[str, Cap] = {}
        self.pledges: list[Pledge] = []
        self.entries: list[Entry] = []
        self._now = now
        self._cap_lines: dict[str, int] = {}
        self._id_lines: dict[str, int] = {}

    def tell(self, number: int, code: Code, why: str) -> None:
        self.entries.append(Entry(number, code, why=why))

    def line(self, line: _Line) -> None:
        if len(line.content) > MAX_LINE:
            return self.tell(line.number, Code.TOO_LONG, f"it has more than {MAX_LINE} bytes")
        try:
            text = line.content.decode().strip()
        except UnicodeDecodeError:
            return self.tell(line.number, Code.NOT_UTF8, "it is not UTF-8")
        if text == "expired":
            # What Tegu has for a pledge that ends while it writes.
            return self.tell(line.number, Code.EXPIRED, "Tegu says no more of it")
        if text.startswith("ucap:"):
            return self._cap(line, text)
        return self._pledge(line, text)

    def _cap(self, line: _Line, text: str) -> None:
        found = _CAP.fullmatch(text)
        if not line.ended:
            # Its last digits may be missing.
            return self._refused(line, Code.CUT_OFF, "the file ends in the middle of it", Kind.CAP)
        if found is None or not is_project(found[1]):
            return self._refused(line, Code.UNPARSABLE, "it is not ucap: project value", Kind.CAP)
        project, value = found[1], int(found[2])
        if not 0 <= value <= MAX_RATE:
            return self._refused(line, Code.BAD_FIELD, f"its value is not 0..{MAX_RATE}", Kind.CAP, project)
        notes: tuple[str, ...] = ()
        if project in self._cap_lines:
            notes = (f"it replaces that of line {self._cap_lines[project]}",)
        self.caps[project] = Cap.of(project, value)
        self._cap_lines[project] = line.number
        self.entries.append(Entry(line.number, Code.TAKEN, Kind.CAP, project, "", notes))

    def _pledge(self, line: _Line, text: str) -> None:
        try:
            values = read_object(text)
        except Refused as error:
            if line.ended:
                return self._refused(line, error.code, error.why)
            return self._refused(line, Code.CUT_OFF, "the file ends in the middle of it")
        kind, identifier = kind_of(values), id_of(values)
        try:
            pledge, notes = read_pledge(values, self._now)
            if identifier in self._id_lines:
                raise Refused(Code.DUPLICATE_ID, f"line {self._id_lines[identifier]} has its id")
        except Refused as error:
            return self._refused(line, error.code, error.why, kind, identifier)
        self._id_lines[identifier] = line.number
        self.pledges.append(pledge)
        self.entries.append(Entry(line.number, Code.TAKEN, kind, identifier, "", notes))

    def _refused(self, line: _Line, code: Code, why: str, kind: Kind = Kind.NONE, identifier: str = "") -> None:
        self.entries.append(Entry(line.number, code, kind, identifier, why))
