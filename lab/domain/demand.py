"""What consumers will ask for: the rows of a reservations file. No I/O but :func:`read`."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from asa.errors import BadRequest
from asa.quantities import MAX_RATE, parse_duration, parse_rate

COLUMNS: Final = ("node", "pool", "rate", "start", "end", "endpoints", "at", "label", "back")
REQUIRED: Final = COLUMNS[:4]
MOST_ROWS: Final = 100_000
LAST_S: Final = 31_622_400
"""Seconds after the begin a time may be: a year."""
LABEL: Final = 200

_POOL: Final = re.compile(r"[A-Za-z0-9_.-]{1,63}", re.ASCII)
_TIMES: Final = "seconds from the begin of the file, or a duration such as 7h30m"


class DemandError(ValueError):
    """A file that cannot be played: where and why."""


@dataclass(frozen=True, slots=True)
class Row:
    """A reservation somebody will ask for. Times are seconds from the begin of the file."""

    number: int
    """Of the row, from 1."""
    node: str
    pool: str
    rate: int
    start: int
    end: int | None
    """None: for ever."""
    source: str = "any"
    destination: str = "any"
    at: int = 0
    """When it is asked for; before ``start`` is a booking ahead."""
    label: str = ""
    back: int = 0
    """bit/s the other way; 0: it is one-way."""


@dataclass(frozen=True, slots=True)
class Demand:
    """The rows in order of ``at``."""

    name: str
    rows: tuple[Row, ...]

    @property
    def pools(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(each.pool for each in self.rows))

    @property
    def last(self) -> int:
        """Seconds until the last row has been asked for."""
        return max((each.at for each in self.rows), default=0)


def demand(name: str, records: Iterable[Mapping[str, Any]], nodes: Collection[str]) -> Demand:
    """Rows of a file as :class:`Demand`, each checked. Raises :class:`DemandError`."""
    rows = []
    for number, record in enumerate(records, 1):
        if number > MOST_ROWS:
            raise DemandError(f"{name}: more than {MOST_ROWS} reservations")
        try:
            rows.append(_row(number, record, nodes))
        except (DemandError, BadRequest) as error:
            hint = f"; {error.hint}" if isinstance(error, BadRequest) and error.hint else ""
            raise DemandError(f"{name}: reservation {number}: {error}{hint}") from None
    if not rows:
        raise DemandError(f"{name}: no reservations in it")
    return Demand(name, tuple(sorted(rows, key=lambda row: (row.at, row.number))))


def read(path: Path, nodes: Collection[str]) -> Demand:
    """A .csv file with a line of column names, or a .json file with a list of objects. Raises :class:`DemandError`."""
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            records = json.loads(text)
            if not isinstance(records, list) or not all(isinstance(each, dict) for each in records):
                raise DemandError(f"{path}: not a list of objects")
            return demand(str(path), records, nodes)
        lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
        return demand(str(path), csv.DictReader(lines, strict=True, skipinitialspace=True), nodes)
    except (OSError, ValueError, csv.Error) as error:
        if isinstance(error, DemandError):
            raise
        raise DemandError(f"{path}: {error}") from None


def _row(number: int, record: Mapping[str, Any], nodes: Collection[str]) -> Row:
    if unknown := next((key for key in record if key not in COLUMNS), None):
        raise DemandError(f"no column is called {unknown!r:.40}; there are {', '.join(COLUMNS)}")
    # What a short line of CSV leaves out is None there, like null in JSON.
    given = {key: value for key, value in record.items() if value is not None and value != ""}
    if missing := next((key for key in REQUIRED if key not in given), None):
        raise DemandError(f"{missing} is missing")
    node, pool, label = (_text(given, key) for key in ("node", "pool", "label"))
    if node not in nodes:
        raise DemandError(f"node {node!r:.40} is no agent of this network; there are {', '.join(nodes)}")
    if not _POOL.fullmatch(pool):
        raise DemandError(f"pool {pool!r:.40}: 1..63 letters, digits, - _ or .")
    start = _time(given["start"], "start")
    end = None if given.get("end") in (None, "never") else _time(given["end"], "end")
    at = _time(given["at"], "at") if "at" in given else start
    if end is not None and end <= start:
        raise DemandError(f"it ends at {end} s, not after its start at {start} s")
    if at > start:
        raise DemandError(f"it is asked for at {at} s, after its start at {start} s")
    source, destination = _endpoints(given.get("endpoints"))
    back = _rate(given["back"]) if "back" in given else 0
    return Row(number, node, pool, _rate(given["rate"]), start, end, source, destination, at, label[:LABEL], back)


def _text(given: Mapping[str, Any], key: str) -> str:
    value = given.get(key, "")
    if not isinstance(value, str) or not value.isprintable():
        raise DemandError(f"{key} must be a line of text")
    return value.strip()


def _rate(value: object) -> int:
    if isinstance(value, str):
        return parse_rate(value)
    if type(value) is not int or not 1 <= value <= MAX_RATE:
        raise DemandError(f"rate {value!r:.40}: bit/s, or text such as 500Mbit")
    return value


def _time(value: object, what: str) -> int:
    seconds = value
    if isinstance(value, str):
        text = value.strip()
        try:
            seconds = int(text) if re.fullmatch("[0-9]{1,9}", text, re.ASCII) else parse_duration(text)
        except BadRequest:
            raise DemandError(f"{what} {value!r:.40}: {_TIMES}") from None
    if type(seconds) is not int or not 0 <= seconds <= LAST_S:
        raise DemandError(f"{what} {value!r:.40}: {_TIMES}, within a year")
    return seconds


def _endpoints(value: object) -> tuple[str, str]:
    """``SOURCE>DESTINATION``, either side empty for any, or a list of the two."""
    if value is None:
        return "any", "any"
    parts = value.split(">") if isinstance(value, str) else value
    if not isinstance(parts, list) or len(parts) != 2 or not all(isinstance(each, str) for each in parts):
        raise DemandError(f"endpoints {value!r:.60}: SOURCE>DESTINATION, or in JSON [source, destination]")
    source, destination = (each.strip() or "any" for each in parts)
    if not (source.isprintable() and destination.isprintable()):
        raise DemandError("endpoints must be a line of text")
    return source, destination
