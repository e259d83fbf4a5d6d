from __future__ import annotations

import json
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asa.tegu import MAX_BYTES, MAX_LINE, MAX_LINES, Cap, Code, Secret, checkpoint, read_checkpoint
from tests.tegu.lines import ALL, HOUR, MIRROR, NOW, ONE_WAY, PASSTHROUGH, TWO_WAY, line

TOKEN = "gAAAAABt0kenT0KEN"
COOKIE = "s3cr3t-biscuit"


def codes(data: bytes) -> list[tuple[int, str]]:
    return [(each.line, each.code.value) for each in read_checkpoint(data, NOW).report.entries]


def test_a_whole_file_with_good_and_bad_records() -> None:
    data = b"".join(
        [
            b"ucap: p1 50\n",
            b"ucap: p2 500000000\n",
            b"ucap: p3\n",
            line(TWO_WAY),
            b"\n",
            line(TWO_WAY, host1="p1/vm3:"),
            line(ONE_WAY, expiry=NOW - 1),
            b"expired\n",
            b"{ not json }\n",
            line(MIRROR, ptype=9),
            line(PASSTHROUGH),
            line(ONE_WAY, bandwout=0),
            b"\xff\xfe{}\n",
            line(ONE_WAY),
        ]
    )
    found = read_checkpoint(data, NOW)
    assert found.caps == {"p1": Cap("p1", 50, None), "p2": Cap("p2", None, 500_000_000)}
    assert [each.id for each in found.pledges] == ["res3fbe_00000", "res3fbe_00003", "res3fbe_00002"]
    assert codes(data) == [
        (1, "taken"), (2, "taken"), (3, "unparsable"), (4, "taken"), (6, "duplicate-id"), (7, "expired"),
        (8, "expired"), (9, "unparsable"), (10, "unknown-kind"), (11, "taken"), (12, "zero-bandwidth"),
        (13, "not-utf-8"), (14, "taken"),
    ]  # fmt: skip
    text = found.report.text()
    assert "line 6: two-way res3fbe_00000: duplicate-id: line 4 has its id" in text
    assert "line 9: unparsable: no JSON from character 3 on" in text
    assert text.endswith(
        "5 taken, 2 unparsable, 1 duplicate-id, 2 expired, 1 unknown-kind, 1 zero-bandwidth, 1 not-utf-8"
    )
    assert "not in a checkpoint, one-way: the VLAN" in text
    assert "not in a checkpoint, mirror" not in text


@pytest.mark.parametrize(
    ("value", "percent", "rate"), [(0, 0, None), (100, 100, None), (101, None, 101), (2**53, None, 2**53)]
)
def test_a_cap_below_101_is_a_percentage(value: int, percent: int | None, rate: int | None) -> None:
    assert read_checkpoint(b"ucap: p1 %d\n" % value, NOW).caps == {"p1": Cap("p1", percent, rate)}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"ucap: p1 -1\n", "bad-field"), (b"ucap: p1 9007199254740993\n", "bad-field"),
        (b"ucap: p1 1.5\n", "unparsable"),
        (b"ucap: p1 50%\n", "unparsable"), (b"ucap: p/1 50\n", "unparsable"), (b"ucap:\n", "unparsable"),
        (b"ucap: p1 5", "cut-off"), (b"ucap p1 5\n", "unparsable"),
    ],
)  # fmt: skip
def test_what_is_no_cap_is_told(text: bytes, code: str) -> None:
    assert codes(text) == [(1, code)]
    assert read_checkpoint(text, NOW).caps == {}


def test_the_last_cap_of_a_project_counts() -> None:
    found = read_checkpoint(b"ucap: p1 50\nucap: p1 60\n", NOW)
    assert found.caps == {"p1": Cap("p1", 60, None)}
    assert found.report.entries[1].notes == ("it replaces that of line 1",)


def test_the_first_record_of_an_id_counts_unless_it_was_refused() -> None:
    found = read_checkpoint(line(TWO_WAY, bandwin=0) + line(TWO_WAY, bandwin=7) + line(TWO_WAY, bandwin=8), NOW)
    assert [each.code.value for each in found.report.entries] == ["zero-bandwidth", "taken", "duplicate-id"]
    assert [each.rate_in for each in found.pledges] == [7]  # type: ignore[attr-defined]


@pytest.mark.parametrize("cut", range(1, len(line(TWO_WAY)) - 1, 7))
def test_a_file_that_is_cut_off_keeps_what_is_before(cut: int) -> None:
    data = b"ucap: p1 50\n" + line(ONE_WAY) + line(TWO_WAY)[:cut]
    found = read_checkpoint(data, NOW)
    assert [each.id for each in found.pledges] == [ONE_WAY["id"]]
    assert codes(data)[-1] == (3, "cut-off")


def test_a_last_record_without_its_line_feed_is_whole() -> None:
    assert codes(line(TWO_WAY).rstrip()) == [(1, "taken")]


def test_line_feeds_of_other_systems_are_fine() -> None:
    assert codes(b"ucap: p1 5\r\n" + line(TWO_WAY).replace(b"\n", b"\r\n")) == [(1, "taken"), (2, "taken")]


@pytest.mark.parametrize("data", [b"", b"\n", b"  \n\n \t\n"])
def test_an_empty_file_is_told_for_tegu_would_forget_everything(data: bytes) -> None:
    assert codes(data) == [(1, "empty")]


@pytest.mark.parametrize(
    "text",
    [
        "[]", "7", "null", '"x"', "{", "}", '{"a": NaN}', '{"a": Infinity}', '{"a": 1, "a": 2}', "[" * 60_000,
        '{"a":' * 10_000, '{"id": ' + "9" * 5_000 + "}", "\x00", "{}{}", "ucap", "# comment", "\ufeff{}",
    ],
)  # fmt: skip
def test_what_is_no_record_is_unparsable(text: str) -> None:
    assert codes(text.encode() + b"\n") == [(1, "unparsable")]


def test_a_file_in_another_encoding_is_told_line_by_line() -> None:
    data = (b"ucap: p1 50\n" + line(TWO_WAY)).decode().encode("utf-16")
    assert {code for _, code in codes(data)} <= {"not-utf-8", "unparsable", "cut-off"}
    assert codes(line(TWO_WAY, usrkey="\xe9").replace(b"\\u00e9", b"\xe9")) == [(1, "not-utf-8")]


def test_a_line_that_is_too_long_is_not_looked_at() -> None:
    fits = line(TWO_WAY, new="")
    padded = line(TWO_WAY, new="x" * (MAX_LINE - len(fits) + 1))
    assert len(padded) - 1 == MAX_LINE
    assert codes(padded + padded.replace(b"xx", b"xxx", 1) + line(ONE_WAY)) == [
        (1, "taken"), (2, "too-long"), (3, "taken"),
    ]  # fmt: skip


def test_lines_are_bounded_and_blank_ones_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_LINES == 200_000
    monkeypatch.setattr(checkpoint, "MAX_LINES", 3)
    data = b"\n\n" + b"".join(map(line, ALL))
    assert codes(data) == [(3, "taken"), (4, "taken"), (5, "taken"), (6, "not-read")]
    assert codes(b"\n".join(map(line, ALL[:3]))) == [(1, "taken"), (3, "taken"), (5, "taken")]


def test_bytes_are_bounded_and_a_record_that_crosses_the_bound_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_BYTES == 64 * 2**20
    first, second = line(ONE_WAY), line(TWO_WAY)
    monkeypatch.setattr(checkpoint, "MAX_BYTES", len(first) + len(second))
    assert codes(first + second) == [(1, "taken"), (2, "taken")]
    assert codes(first + second + first) == [(1, "taken"), (2, "taken"), (3, "not-read")]
    monkeypatch.setattr(checkpoint, "MAX_BYTES", len(first) + len(second) - 3)
    assert codes(first + second) == [(1, "taken"), (2, "not-read")]


def test_a_huge_file_of_nothing_is_read_in_no_time() -> None:
    assert codes(b"x" * (MAX_BYTES + 1)) == [(1, "not-read")]
    assert codes(b"\0" * 2**20) == [(1, "too-long")]


def test_no_token_is_kept() -> None:
    mirror = line(MIRROR, host1=f"{TOKEN}/p1/vm1 {TOKEN}/p1/vm2", host2=f"{TOKEN}/p1/vm3", qid=f"{TOKEN}/p1/c")
    two_way = line(TWO_WAY, host1=f"{TOKEN}/p1/vm1:80/0xfff0{{3}}", host2=f"{TOKEN}//vm2:")
    found = read_checkpoint(two_way + mirror + line(ONE_WAY, src=f"!{TOKEN}/p1/vm1:", dest=f"!{TOKEN}/p1/vm2"), NOW)
    assert [each.code.value for each in found.report.entries] == ["taken"] * 3
    assert TOKEN not in repr(found)


def test_a_secret_is_not_pickled() -> None:
    with pytest.raises(TypeError):
        pickle.dumps(Secret(COOKIE))


# -- anything at all

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
    | st.sampled_from(["p1/vm1:80{3}", "!//any:", "!//192.0.2.1:", f"{TOKEN}/p1/vm9:", "tcp:80", ":"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip
KEYS = sorted({key for record in ALL for key in record} | {"window", "port1", "vlan1", "tenant", "ports", "match_v6"})


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A record with some of its fields replaced, and perhaps some of its bytes."""
    record: dict[str, Any] = dict(draw(st.sampled_from(ALL)), usrkey=COOKIE)
    for key in ("host1", "host2", "src", "dest", "host"):
        if "/" in record.get(key, "") and " " not in record[key]:
            record[key] = f"{TOKEN}/{record[key]}"
    record |= draw(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=3))
    content = bytearray(json.dumps(record).encode("utf-8", "surrogatepass"))
    for at, byte in draw(st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)), max_size=2)):
        content[at] = byte
    return bytes(content) + draw(st.sampled_from([b"\n", b"", b"\r\n", b"\n\n"]))


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_are_read(data: bytes) -> None:
    found = read_checkpoint(data, NOW)
    assert found.report.entries
    assert found.report.text()


@given(st.lists(damaged(), min_size=1, max_size=4).map(b"".join))
def test_whatever_is_read_no_cookie_and_no_token_is_told(data: bytes) -> None:
    found = read_checkpoint(data, NOW)
    for hidden in (TOKEN[:8], COOKIE[:6]):
        assert hidden not in found.report.text()
    assert COOKIE[:6] not in repr(found)
    assert found.report.text().replace("\n", "").isprintable()


@given(st.lists(damaged(), max_size=4).map(b"".join))
def test_whatever_is_taken_over_has_been_checked(data: bytes) -> None:
    found = read_checkpoint(data, NOW)
    assert len({each.id for each in found.pledges}) == len(found.pledges)
    taken = [each for each in found.report.entries if each.taken]
    assert [each.id for each in taken] == [each.id for each in found.pledges]
    for each in found.pledges:
        assert each.window.end is not None
        assert each.window.end > NOW
        assert each.window.start < each.window.end
        for rate in ("rate", "rate_in", "rate_out"):
            assert getattr(each, rate, 1) > 0


@given(st.integers(0, 2**40), st.integers(0, 2**40), st.integers(0, 2**40))
def test_windows_are_taken_over_if_they_are_not_empty_and_have_not_ended(now: int, start: int, end: int) -> None:
    (entry,) = read_checkpoint(line(TWO_WAY, commence=start, expiry=end), now).report.entries
    begin = start or now
    assert entry.code is (Code.EXPIRED if end <= now else Code.TAKEN if begin < end else Code.BAD_WINDOW)


def test_the_examples_are_within_their_hour() -> None:
    assert all(each["expiry"] == HOUR for each in ALL)
