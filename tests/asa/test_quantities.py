from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asa import quantities
from asa.errors import BadRequest
from asa.quantities import (
    MAX_RATE,
    MAX_TIME,
    exact_rate,
    format_duration,
    format_milliseconds,
    format_rate,
    format_time,
    parse_duration,
    parse_milliseconds,
    parse_rate,
    parse_time,
    roughly,
)
from objectives import fields

NOW = 1_795_132_800
"""2026-11-20T00:00:00Z."""
BERLIN = ZoneInfo("Europe/Berlin")
RATES = st.integers(1, MAX_RATE)
UNITS = {"bit": 1, "kbit": 10**3, "Mbit": 10**6, "Gbit": 10**9, "Tbit": 10**12}
HOW_RATES = "write 500Mbit, 2.5Gbit, 100Mibit or a plain number of bit/s"
HOW_DURATIONS = "write 90s, 15m, 2h, 1d, 1w or several of them, the largest first: 1h30m"
HOW_TIMES = "write now, +90m, 2026-12-31T18:00 (local time), 2026-12-31T18:00Z, UNIX seconds, or never"


def hint(error: pytest.ExceptionInfo[BadRequest]) -> str:
    assert error.value.code == "bad-request"
    assert error.value.message.isprintable()
    return error.value.hint


# -- rates


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("1", 1), ("1000", 1_000), ("1bit", 1), ("8bits", 8), ("10kbit", 10_000), ("500Mbit", 500_000_000),
        ("500Mbit/s", 500_000_000), ("500Mbit/sec", 500_000_000), ("2.5Gbit", 2_500_000_000), ("1Tbit", 10**12),
        ("1Kibit", 1_024), ("100Mibit", 104_857_600), ("1Gibit/s", 2**30), ("1Tibit", 2**40), ("0.5Kibit", 512),
        ("500mbit", 500_000_000), ("500MBIT", 500_000_000), ("500mBit", 500_000_000), ("10Kbit", 10_000),
        ("1kIBIT", 1_024), ("0.3kbit", 300), ("0.001kbit", 1), ("2.50Gbit", 2_500_000_000), ("2.5 Gbit", 2_500_000_000),
        (" 5Mbit\n", 5_000_000), ("007", 7), ("9223372036854775807", MAX_RATE), ("1.0", 1),
        ("9223372036854775.807kbit", MAX_RATE),
    ],
)  # fmt: skip
def test_rates_are_read(text: str, rate: int) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("500MB", "bytes are not accepted; did you mean 4Gbit?"),
        ("500MB/s", "bytes are not accepted; did you mean 4Gbit?"),
        ("500mB", "bytes are not accepted; did you mean 4Gbit?"),
        ("500MBps", "bytes are not accepted; did you mean 4Gbit?"),
        ("0.3MB", "bytes are not accepted; did you mean 2.4Mbit?"),
        ("5Bytes", "bytes are not accepted; did you mean 40bit?"),
        ("5kbyte", "bytes are not accepted; did you mean 40kbit?"),
        ("3GiB/s", "bytes are not accepted; did you mean 24Gibit?"),
        ("0.5GiB", "bytes are not accepted; did you mean 4Gibit?"),
        ("5Mo", "bytes are not accepted; did you mean 40Mbit?"),
        ("0B", "bytes are not accepted; did you mean 500Mbit?"),
        ("99999999999999999999TB", "bytes are not accepted; did you mean 500Mbit?"),
        ("500Mb", "a single b may be read as bytes; did you mean 500Mbit?"),
        ("500mbps", "a single b may be read as bytes; did you mean 500Mbit?"),
        ("500Mib", "a single b may be read as bytes; did you mean 500Mibit?"),
        ("500M", "the unit is missing; did you mean 500Mbit?"),
        ("2.5g", "the unit is missing; did you mean 2.5Gbit?"),
        ("500Mi", "the unit is missing; did you mean 500Mibit?"),
        ("5/s", "the unit is missing; did you mean 5bit?"),
        ("1,5Gbit", "did you mean 1.5Gbit?"),
        ("1,000,000", "did you mean 1000000?"),
        ("1_000_000", "did you mean 1000000?"),
        ("-5Mbit", "a rate is not negative"),
        ("−5Mbit", "a rate is not negative"),
        ("0.5bit", "the nearest is 1bit"),
        ("1.0001kbit", "the nearest is 1kbit"),
        ("1234.5678kbit", "the nearest is 1.234568Mbit"),
        ("0", f"a rate is 1 to {MAX_RATE} bit/s, about 9.2 million Tbit/s"),
        ("9223372036854775808", f"a rate is 1 to {MAX_RATE} bit/s, about 9.2 million Tbit/s"),
        ("10000000Tbit", f"a rate is 1 to {MAX_RATE} bit/s, about 9.2 million Tbit/s"),
        *((each, HOW_RATES) for each in (
            "", " ", "x", "Mbit", "5Xbit", "5Pbit", "1e9", "0x10", "1.", ".5Gbit", "٣Mbit", "5 0Mbit", "+5Mbit",
            "5Mbit/h", "5Mbit/s/s", "inf", "nan", "1/2", "5\0", "5Mbit\x1b", "5ms", "9" * 31, "1." + "0" * 31,
            "5\u212abit",
        )),
    ],
)  # fmt: skip
def test_what_is_no_rate_is_refused_with_a_suggestion(text: str, expected: str) -> None:
    with pytest.raises(BadRequest) as error:
        parse_rate(text)
    assert hint(error) == expected


def test_zero_is_a_place_on_a_line() -> None:
    assert parse_rate("0", least=0) == 0
    assert parse_rate("0Gbit", least=0) == 0


@given(RATES)
def test_an_exact_rate_reads_back_as_itself(rate: int) -> None:
    assert parse_rate(exact_rate(rate)) == rate


@given(RATES)
def test_a_shown_rate_is_exact_or_says_that_it_is_not(rate: int) -> None:
    shown = format_rate(rate)
    number = Decimal(shown.removeprefix("~").rstrip("TGMkbit"))
    unit = shown[len(shown.rstrip("TGMkbit")) :]
    value = Fraction(number) * UNITS[unit]
    assert shown.startswith("~") is (value != rate)
    assert abs(value - rate) <= Fraction(5, 10_000) * rate
    assert 1 <= number < 1_000 or unit in ("Tbit", "bit")
    assert number == round(number, 3)
    if value != rate:
        assert len(number.normalize().as_tuple().digits) <= 4


@given(st.integers(1_000, 9_999), st.integers(0, 15))
def test_four_significant_digits_are_exact_everywhere(digits: int, zeros: int) -> None:
    rate = digits * 10**zeros
    assert format_rate(rate) == exact_rate(rate)
    assert len(exact_rate(rate)) <= len("9.999Mbit") or rate >= 10**15


@given(st.integers(1, 10**9), st.sampled_from(["k", "m", "g", "ki", "mi"]), st.booleans())
def test_case_does_not_change_a_rate(number: int, prefix: str, upper: bool) -> None:
    text = f"{number}{prefix}bit"
    assert parse_rate(text.upper() if upper else text) == parse_rate(text.title())


@pytest.mark.parametrize(
    ("rate", "shown", "exact"),
    [
        (0, "0bit", "0bit"), (1, "1bit", "1bit"), (999, "999bit", "999bit"), (1_000, "1kbit", "1kbit"),
        (2_500_000_000, "2.5Gbit", "2.5Gbit"), (1_234_567_890, "~1.235Gbit", "1.23456789Gbit"),
        (999_999_999, "~1Gbit", "999.999999Mbit"), (999_949_999, "~999.9Mbit", "999.949999Mbit"),
        (2_500_000_002, "~2.5Gbit", "2.500000002Gbit"), (104_857_600, "~104.9Mbit", "104.8576Mbit"),
        (123_456_000, "123.456Mbit", "123.456Mbit"), (1_001, "1.001kbit", "1.001kbit"),
        (-1_500_000, "-1.5Mbit", "-1.5Mbit"), (-999_999_999, "~-1Gbit", "-999.999999Mbit"),
        (10**16, "10000Tbit", "10000Tbit"), (MAX_RATE, "~9223000Tbit", "9223372.036854775807Tbit"),
    ],
)  # fmt: skip
def test_rates_are_shown(rate: int, shown: str, exact: str) -> None:
    assert (format_rate(rate), exact_rate(rate)) == (shown, exact)


# -- durations


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90), ("15m", 900), ("2h", 7_200), ("1d", 86_400), ("1w", 604_800), ("1h30m", 5_400),
        ("1w1d1h1m1s", 694_861), ("0h5m", 300), ("90m", 5_400), (" 5s ", 5), (f"{MAX_TIME}s", MAX_TIME),
    ],
)  # fmt: skip
def test_durations_are_read(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90", "the unit is missing; did you mean 90s?"),
        ("2H", "units are in lower case; did you mean 2h?"),
        ("1H30M", "units are in lower case; did you mean 1h30m?"),
        ("2hours", "did you mean 2h?"),
        ("5 min", "did you mean 5m?"),
        ("1 day", "did you mean 1d?"),
        ("1.5h", "whole numbers only; did you mean 1h30m?"),
        ("0.5d", "whole numbers only; did you mean 12h?"),
        ("0s", f"a duration is 1 to {MAX_TIME} seconds"),
        (f"{MAX_TIME + 1}s", f"a duration is 1 to {MAX_TIME} seconds"),
        ("9999999999999w", f"a duration is 1 to {MAX_TIME} seconds"),
        *((each, HOW_DURATIONS) for each in (
            "", "x", "s", "30m1h", "1h1h", "-5m", "+5m", "5ms", "3months", "2mon", "1y", "1.0001m", "٣s", "1h 30m",
            "9" * 99,
        )),
    ],
)  # fmt: skip
def test_what_is_no_duration_is_refused_with_a_suggestion(text: str, expected: str) -> None:
    with pytest.raises(BadRequest) as error:
        parse_duration(text)
    assert hint(error) == expected


@given(st.integers(1, MAX_TIME))
def test_a_duration_reads_back_as_itself(seconds: int) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (59, "59s"), (90, "1m30s"), (93_784, "1d2h"), (694_861, "1w1d"), (12.54, "12.5s"), (0.01, "0.1s"),
     (3_600.9, "1h"), (-90, "-1m30s"), (5.0, "5s"), (59.99, "60s")],
)  # fmt: skip
def test_durations_for_people_have_two_units(seconds: float, text: str) -> None:
    assert roughly(seconds) == text


@given(st.integers(0, 10**12))
def test_milliseconds_read_back_as_themselves(milliseconds: int) -> None:
    assert parse_milliseconds(format_milliseconds(milliseconds)) == milliseconds


def test_milliseconds_have_a_unit_too() -> None:
    assert [parse_milliseconds(text) for text in ("0", "500ms", "5s", "1m")] == [0, 500, 5_000, 60_000]
    with pytest.raises(BadRequest) as error:
        parse_milliseconds("500")
    assert hint(error) == "the unit is missing; did you mean 500ms or 500s?"
    with pytest.raises(BadRequest) as error:
        parse_milliseconds(f"{MAX_TIME}s")
    assert hint(error) == f"0 to {MAX_TIME} milliseconds"


# -- times


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("now", NOW), ("NOW", NOW), ("never", None), ("Never", None), ("+90m", NOW + 5_400), ("+1h30m", NOW + 5_400),
        ("+2d", NOW + 172_800), ("0", 0), ("1795132800", NOW), (str(MAX_TIME), MAX_TIME),
        ("2026-11-20T00:00Z", NOW), ("2026-11-20T00:00:00Z", NOW), ("2026-11-20T01:00:00+01:00", NOW),
        ("2026-11-20T01:00+0100", NOW), ("2026-11-19T19:00-05:00", NOW), ("2026-11-20 00:00:00 Z", NOW),
        ("2026-11-20Z", NOW), (" 2026-11-20T00:00Z ", NOW),
        # Without a zone: where the reader is.
        ("2026-11-20T01:00", NOW), ("2026-11-20 01:00:30", NOW + 30), ("2026-11-20", NOW - 3_600),
        ("2026-07-01T02:00", 1_782_864_000),
    ],
)  # fmt: skip
def test_times_are_read(text: str, time: int | None) -> None:
    assert parse_time(text, NOW, BERLIN) == time


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1795132800000", "did you mean 1795132800? Times are UNIX seconds"),
        ("20261120", "did you mean 2026-11-20?"),
        ("14:30", "the date is missing; did you mean 2026-11-20T14:30?"),
        ("9:05", "the date is missing; did you mean 2026-11-20T09:05?"),
        ("2h", "did you mean +2h?"),
        ("+90", "the unit is missing; did you mean +90s?"),
        ("+", HOW_DURATIONS),
        ("-2h", "times before now are given as dates"),
        ("2026-11-20T00:00:00.5Z", "times are whole seconds"),
        ("2026-13-01", "there is no such date or time of day"),
        ("2026-02-29", "there is no such date or time of day"),
        ("2026-11-20T24:00Z", "there is no such date or time of day"),
        ("2026-11-20T00:00+24:00", "there is no such date or time of day"),
        ("0000-01-01", "there is no such date or time of day"),
        ("1969-12-31T23:59:59Z", f"a time is 0 to {MAX_TIME} UNIX seconds, or never"),
        (str(MAX_TIME + 1)[:12] + "0" * 5, f"a time is 0 to {MAX_TIME} UNIX seconds, or never"),
        (f"+{MAX_TIME}s", f"a time is 0 to {MAX_TIME} UNIX seconds, or never"),
        ("2026-03-29T02:30", "did you mean 2026-03-29T03:30:00+02:00?"),
        ("2026-10-25T02:30", "write 2026-10-25T02:30:00+02:00 or 2026-10-25T02:30:00+01:00"),
        *((each, HOW_TIMES) for each in (
            "", "tomorrow", "2026-11", "11/20/2026", "2026-11-20T", "2026-W47", "2026-11-20T10", "٢٠٢٦-11-20", "1.5",
            "9" * 99,
        )),
    ],
)  # fmt: skip
def test_what_is_no_time_is_refused_with_a_suggestion(text: str, expected: str) -> None:
    with pytest.raises(BadRequest) as error:
        parse_time(text, NOW, BERLIN)
    assert hint(error) == expected


ZONES = st.sampled_from(
    [UTC, BERLIN, ZoneInfo("America/St_Johns"), ZoneInfo("Asia/Kathmandu"), timezone(timedelta(hours=-11)), None]
)


@given(st.integers(0, MAX_TIME), ZONES)
def test_a_time_reads_back_as_itself_in_every_zone(time: int, zone: timezone | None) -> None:
    assert parse_time(format_time(time, zone), NOW, UTC) == time


@given(
    st.datetimes(datetime(1971, 1, 1), datetime(2037, 12, 31)), st.sampled_from([BERLIN, ZoneInfo("America/St_Johns")])
)
def test_a_local_time_is_the_one_instant_at_which_clocks_show_it_or_refused(local: datetime, zone: ZoneInfo) -> None:
    local = local.replace(microsecond=0)
    # Brute force: every offset there is, in steps of a quarter of an hour and of the half minute of old St John's.
    guess = int((local - datetime(1970, 1, 1)).total_seconds())
    fitting = [
        at
        for at in range(guess - 50_400, guess + 50_401, 450)
        if datetime.fromtimestamp(at, zone).replace(tzinfo=None, fold=0) == local
    ]
    if len(fitting) == 1:
        assert parse_time(local.isoformat(), NOW, zone) == fitting[0]
    else:
        with pytest.raises(BadRequest):
            parse_time(local.isoformat(), NOW, zone)


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused_and_never_anything_else(text: str) -> None:
    for parse in (parse_rate, parse_duration, parse_milliseconds, lambda each: parse_time(each, NOW)):
        refusal = None
        try:
            parse(text)  # type: ignore[operator]
        except BadRequest as error:
            refusal = error
        assert refusal is None or (refusal.hint and refusal.message.isprintable())


@pytest.mark.parametrize(
    ("time", "zone", "text"),
    [
        (NOW, UTC, "2026-11-20T00:00:00Z"), (NOW, BERLIN, "2026-11-20T01:00:00+01:00"), (None, UTC, "never"),
        (0, UTC, "1970-01-01T00:00:00Z"), (MAX_TIME, UTC, str(MAX_TIME)), (2**80, UTC, str(2**80)),
        (-1, UTC, "1969-12-31T23:59:59Z"),
    ],
)  # fmt: skip
def test_times_are_shown(time: int | None, zone: timezone, text: str) -> None:
    assert format_time(time, zone) == text


def test_a_refusal_quotes_little_of_what_was_said() -> None:
    with pytest.raises(BadRequest) as error:
        parse_rate("x" * 1_000_000)
    assert len(error.value.message) < 100


def test_the_agents_hold_the_same_times_and_at_least_these_rates() -> None:
    assert quantities.MAX_TIME == fields.MAX_TIME
    assert quantities.MAX_RATE >= fields.MAX_RATE
