"""Rates, times and durations as text, and back to the integers everything else works with. No I/O.

Rates are bit/s. A prefix and the word ``bit`` may be in upper or lower case, as tc(8) has it: nobody means a millibit,
and the word leaves no doubt. A unit of one letter does: ``B`` is a byte, ``b`` is a bit, and ``bps`` is bytes to tc and
bits to everybody else. So these are refused, with what was probably meant.

Nothing is rounded on the way in: ``0.3kbit`` is 300 bit/s, and what is not a whole number of bit/s is refused.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo
from fractions import Fraction
from typing import Final

from asa.errors import BadRequest

MAX_RATE: Final = 2**63 - 1
"""bit/s."""

MAX_TIME: Final = 2**40
"""UNIX seconds: the last time a window may have, and the longest duration."""

_FACTORS: Final = {
    "": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40,
}  # fmt: skip
_BINARY: Final = {"ki": "Ki", "mi": "Mi", "gi": "Gi", "ti": "Ti"}
_SHOWN: Final = ((10**12, "Tbit"), (10**9, "Gbit"), (10**6, "Mbit"), (10**3, "kbit"), (1, "bit"))
_DIGITS: Final = 4
"""Significant digits of a rate that is rounded."""

_RATES: Final = "write 500Mbit, 2.5Gbit, 100Mibit or a plain number of bit/s"

# Bounded, for the time int() takes grows with the square of the digits.
_RATE: Final = re.compile(r"([0-9]{1,30}(?:\.[0-9]{1,30})?) ?([A-Za-z]{0,8})(/s|/sec)?", re.ASCII)
_UNIT: Final = re.compile(r"(?i:([kmgt]i?)?(bits?)?)", re.ASCII)
_BYTES: Final = re.compile(r"((?i:[kmgt]i?))?(?:B|(?i:bytes?)|o)(?i:ps)?", re.ASCII)
_LETTER: Final = re.compile(r"((?i:[kmgt]i?))?b(?i:ps)?", re.ASCII)

_SECONDS: Final = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
_DURATION: Final = re.compile(
    r"(?:([0-9]{1,13})w)?(?:([0-9]{1,13})d)?(?:([0-9]{1,13})h)?(?:([0-9]{1,13})m)?(?:([0-9]{1,13})s)?", re.ASCII
)
_DURATIONS: Final = "write 90s, 15m, 2h, 1d, 1w or several of them, the largest first: 1h30m"

_DATE: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?:[T ]([0-9]{2}:[0-9]{2}(?::[0-9]{2})?))?\s?(Z|[+-][0-9]{2}:?[0-9]{2})?", re.ASCII
)
_TIMES: Final = "write now, +90m, 2026-12-31T18:00 (local time), 2026-12-31T18:00Z, UNIX seconds, or never"


def _quoted(text: str) -> str:
    return ascii(text) if len(text) <= 40 else ascii(text[:40]) + "…"


# -- rates


def parse_rate(text: str, *, least: int = 1) -> int:
    """bit/s, ``least``..2^63-1. Raises :class:`BadRequest` whose hint says what to write."""
    found = _RATE.fullmatch(text.strip())
    if found is None:
        raise BadRequest(f"{_quoted(text)} is no rate", hint=_rate_hint(text.strip()))
    number, unit, per_second = found.groups()
    factor = _factor(text, number, unit, per_second is not None)
    rate = Fraction(number) * factor
    if rate.denominator != 1:
        nearest = max(least, round(rate))
        raise BadRequest(
            f"{_quoted(text)} is not a whole number of bit/s", hint=f"the nearest is {exact_rate(nearest)}"
        )
    if not least <= rate.numerator <= MAX_RATE:
        raise BadRequest(
            f"{_quoted(text)} is out of range", hint=f"a rate is {least} to {MAX_RATE} bit/s, about 9.2 million Tbit/s"
        )
    return rate.numerator


def _rate_hint(text: str) -> str:
    if text.startswith(("-", "−")):
        return "a rate is not negative"
    if re.fullmatch(r"[0-9]+,[0-9]+[A-Za-z/]*", text):
        return f"did you mean {text.replace(',', '.')}?"
    if re.fullmatch(r"[0-9]{1,3}(?:[,_' ][0-9]{3})+[A-Za-z/]*", text):
        return f"did you mean {re.sub('[,_ ]', '', text)}?"
    return _RATES


def _factor(text: str, number: str, unit: str, per_second: bool) -> int:
    """What one of ``unit`` is in bit/s."""
    known = _UNIT.fullmatch(unit)
    if known is not None and (known[2] or not (known[1] or per_second)):
        return _FACTORS[(known[1] or "").lower()]
    for pattern, eight, why in (
        (_BYTES, 8, "bytes are not accepted"),
        (_LETTER, 1, "a single b may be read as bytes"),
        (_UNIT, 1, "the unit is missing"),
    ):
        meant = pattern.fullmatch(unit)
        if meant is not None:
            suggested = _suggestion(Fraction(number) * eight, (meant[1] or "").lower())
            raise BadRequest(f"{_quoted(text)} is no rate", hint=f"{why}; did you mean {suggested}?")
    raise BadRequest(f"{_quoted(text)} is no rate", hint=_RATES)


def _suggestion(count: Fraction, prefix: str) -> str:
    """``count`` prefixed bits as a rate that is accepted, or an example where it is none."""
    rate = count * _FACTORS[prefix]
    if rate.denominator != 1 or not 1 <= rate <= MAX_RATE:
        return "500Mbit"
    if prefix.endswith("i") and count.denominator == 1:
        return f"{count}{_BINARY[prefix]}bit"
    return exact_rate(rate.numerator)


def exact_rate(rate: int) -> str:
    """A rate that reads back as itself: in the largest unit it has one of, with all the decimals it needs."""
    size, unit = _unit(rate)
    whole, rest = divmod(abs(rate), size)
    decimals = str(size + rest)[1:].rstrip("0")
    return f"{'-' if rate < 0 else ''}{whole}{'.' if decimals else ''}{decimals}{unit}"


def format_rate(rate: int) -> str:
    """A rate for a table: exact where three decimals are enough, else four significant digits with ``~`` before."""
    size, _ = _unit(rate)
    if rate * 1000 % size == 0:
        return exact_rate(rate)
    step: int = 10 ** (len(str(abs(rate))) - _DIGITS)
    return "~" + exact_rate(round(Fraction(rate, step)) * step)


def _unit(rate: int) -> tuple[int, str]:
    """The largest unit a rate has one of, and what that is in bit/s."""
    return next((each for each in _SHOWN if abs(rate) >= each[0]), _SHOWN[-1])


# -- durations


def parse_duration(text: str) -> int:
    """Seconds, 1..2^40. Raises :class:`BadRequest`."""
    stripped = text.strip()
    found = _DURATION.fullmatch(stripped)
    if not stripped or found is None:
        raise BadRequest(f"{_quoted(text)} is no duration", hint=_duration_hint(stripped))
    seconds = sum(int(count or 0) * size for count, size in zip(found.groups(), _SECONDS.values(), strict=True))
    if not 1 <= seconds <= MAX_TIME:
        raise BadRequest(f"{_quoted(text)} is out of range", hint=f"a duration is 1 to {MAX_TIME} seconds")
    return seconds


def _duration_hint(text: str) -> str:
    if re.fullmatch("[0-9]{1,13}", text, re.ASCII):
        return f"the unit is missing; did you mean {text}s?"
    if text.lower() != text and _DURATION.fullmatch(text.lower()):
        return f"units are in lower case; did you mean {text.lower()}?"
    if found := re.fullmatch(r"([0-9]{1,13}) ?(s|m|h|d|w)[a-z]*", text, re.ASCII):
        if text.endswith(("ms", "month", "months", "mon")):
            return _DURATIONS
        return f"did you mean {found[1]}{found[2]}?"
    if found := re.fullmatch(r"([0-9]{1,9}\.[0-9]{1,3})([mhdw])", text, re.ASCII):
        seconds = Fraction(found[1]) * _SECONDS[found[2]]
        if seconds.denominator == 1 and seconds:
            return f"whole numbers only; did you mean {format_duration(seconds.numerator)}?"
    return _DURATIONS


def format_duration(seconds: int) -> str:
    """``1d2h``: exact, and reads back as itself if it is positive."""
    if seconds == 0:
        return "0s"
    rest, parts = abs(seconds), []
    for unit, size in _SECONDS.items():
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    return ("-" if seconds < 0 else "") + "".join(parts)


def roughly(seconds: float) -> str:
    """A duration for people: the two largest units, the rest cut off; below a minute, a decimal if there is one."""
    if 0 < seconds < 60 and seconds != int(seconds):
        return f"{max(0.1, round(seconds, 1)):g}s"
    found = re.findall("[0-9]+[a-z]", format_duration(int(seconds)))
    return ("-" if seconds < 0 else "") + "".join(found[:2])


def parse_milliseconds(text: str) -> int:
    """Milliseconds, 0..2^40: a duration, ``500ms``, or 0. Raises :class:`BadRequest`."""
    stripped = text.strip()
    if stripped == "0":
        return 0
    if found := re.fullmatch("([0-9]{1,13})ms", stripped, re.ASCII):
        milliseconds = int(found[1])
    elif re.fullmatch("[0-9]{1,13}", stripped, re.ASCII):
        raise BadRequest(
            f"{_quoted(text)} is no duration",
            hint=f"the unit is missing; did you mean {stripped}ms or {stripped}s?",
        )
    else:
        milliseconds = parse_duration(stripped) * 1000
    if milliseconds > MAX_TIME:
        raise BadRequest(f"{_quoted(text)} is out of range", hint=f"0 to {MAX_TIME} milliseconds")
    return milliseconds


def format_milliseconds(milliseconds: int) -> str:
    """Reads back as itself."""
    if milliseconds == 0:
        return "0"
    return f"{milliseconds}ms" if milliseconds % 1000 else format_duration(milliseconds // 1000)


# -- times


def parse_time(text: str, now: int, zone: tzinfo | None = None) -> int | None:
    """UNIX seconds 0..2^40, None for ``never``; ``now`` is the present.

    A time without a zone is in ``zone``, None for the local one; a date alone is its midnight there. What the clocks
    of that zone skip or show twice is refused, for it has no one meaning. Raises :class:`BadRequest`.
    """
    stripped = text.strip()
    if stripped.lower() == "now":
        return now
    if stripped.lower() == "never":
        return None
    if stripped.startswith("+"):
        return _in_range(text, now + _ahead(text, stripped[1:]))
    if re.fullmatch("[0-9]{1,30}", stripped, re.ASCII):
        return _epoch(text, stripped)
    found = _DATE.fullmatch(stripped)
    if found is None:
        raise BadRequest(f"{_quoted(text)} is no time", hint=_time_hint(stripped, now, zone))
    date, clock, offset = found.groups()
    try:
        local = datetime.fromisoformat(f"{date}T{clock or '00:00'}")
        if offset is not None:
            aware = datetime.fromisoformat(f"{date}T{clock or '00:00'}{offset}")
            return _in_range(text, int((aware - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()))
        return _in_range(text, _unambiguous(text, local, zone))
    except (ValueError, OverflowError, OSError):
        raise BadRequest(f"{_quoted(text)} is no time", hint="there is no such date or time of day") from None


def _ahead(text: str, duration: str) -> int:
    try:
        return parse_duration(duration)
    except BadRequest as error:
        raise BadRequest(f"{_quoted(text)} is no time", hint=error.hint.replace("mean ", "mean +")) from None


def _in_range(text: str, time: int) -> int:
    if not 0 <= time <= MAX_TIME:
        raise BadRequest(f"{_quoted(text)} is out of range", hint=f"a time is 0 to {MAX_TIME} UNIX seconds, or never")
    return time


def _epoch(text: str, digits: str) -> int:
    time = int(digits)
    if re.fullmatch("(19|20)[0-9]{2}(0[1-9]|1[0-2])[0-3][0-9]", digits):
        raise BadRequest(
            f"{_quoted(text)} looks like a date and would be UNIX seconds",
            hint=f"did you mean {digits[:4]}-{digits[4:6]}-{digits[6:]}?",
        )
    if len(digits) == 13 and time > MAX_TIME:
        raise BadRequest(
            f"{_quoted(text)} looks like milliseconds", hint=f"did you mean {digits[:10]}? Times are UNIX seconds"
        )
    return _in_range(text, time)


def _time_hint(text: str, now: int, zone: tzinfo | None) -> str:
    if re.fullmatch("[0-2]?[0-9]:[0-5][0-9](:[0-5][0-9])?", text, re.ASCII):
        today = datetime.fromtimestamp(now, UTC).astimezone(zone).date().isoformat()
        return f"the date is missing; did you mean {today}T{text.zfill(5)}?"
    if _DURATION.fullmatch(text) and text:
        return f"did you mean +{text}?"
    if text.startswith("-"):
        return "times before now are given as dates"
    if re.match(r"[0-9]{4}-[0-9]{2}-[0-9]{2}.*\.[0-9]+", text, re.ASCII):
        return "times are whole seconds"
    return _TIMES


def _unambiguous(text: str, local: datetime, zone: tzinfo | None) -> int:
    """The one instant at which the clocks of ``zone`` show ``local``."""
    both = [_instant(local.replace(fold=fold), zone) for fold in (0, 1)]
    fitting = sorted({each for each in both if _shown_at(each, zone) == local})
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        raise BadRequest(
            f"{_quoted(text)} does not exist: the clocks skip it", hint=f"did you mean {format_time(both[0], zone)}?"
        )
    raise BadRequest(
        f"{_quoted(text)} happens twice: the clocks are set back",
        hint=f"write {' or '.join(format_time(each, zone) for each in fitting)}",
    )


def _instant(local: datetime, zone: tzinfo | None) -> int:
    aware = local.astimezone() if zone is None else local.replace(tzinfo=zone)
    return int((aware - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds())


def _shown_at(time: int, zone: tzinfo | None) -> datetime:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=time)).astimezone(zone).replace(tzinfo=None, fold=0)


def format_time(time: int | None, zone: tzinfo | None = None) -> str:
    """ISO 8601 in ``zone``, None for the local one, with its offset; ``never`` for None. Reads back as itself.

    A time that has no date of four digits is given as UNIX seconds.
    """
    if time is None:
        return "never"
    try:
        shown = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=time)).astimezone(zone).isoformat()
    except (OverflowError, ValueError, OSError):
        return str(time)
    # An offset with seconds (local mean time of the 19th century) is no ISO 8601.
    if re.search(r"[+-][0-9]{2}:[0-9]{2}:[0-9]{2}$", shown):
        return str(time)
    return shown.removesuffix("+00:00") + "Z" if shown.endswith("+00:00") else shown
