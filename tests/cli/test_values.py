from __future__ import annotations

import json
import math

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grasp.cbor import RawCBOR, Tag, decode, encode, unwrap, wrap
from grasp.cli.values import NotAValue, parse_value, value_from_json, value_to_json

TEXT = st.text(max_size=8) | st.sampled_from(["$bytes", "$map", "$", "value", "\x7f", "\x1b[31m"])
SIMPLE = st.one_of(st.integers(0, 19), st.integers(32, 255)).map(cbor2.CBORSimpleValue)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(1 << 64), (1 << 64) - 1),
    st.floats(),
    TEXT,
    st.binary(max_size=8),
    SIMPLE,
    st.just(cbor2.undefined),
)
KEYS = st.one_of(TEXT, st.binary(max_size=4), st.integers(-9, 9), st.tuples(st.integers(2, 9), st.text(max_size=2)))
TAGS = st.integers(0, (1 << 64) - 1)


def _containers(inner: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=4), st.builds(Tag, TAGS, inner))


VALUES = st.recursive(SCALARS, _containers, max_leaves=12)


@given(VALUES | st.binary(max_size=8).map(lambda data: RawCBOR(encode(data))))
@settings(max_examples=400, deadline=None)
def test_every_cbor_value_survives_json_text(value: object) -> None:
    # What a peer's decoder makes of the value, which is what there is to show.
    seen = unwrap(decode(encode(wrap(value))))
    text = json.dumps(value_to_json(seen), allow_nan=False)
    back = parse_value(text)
    assert encode(wrap(back)) == encode(wrap(seen))
    assert json.dumps(value_to_json(back)) == text


@pytest.mark.parametrize(
    ("cbor", "text"),
    [
        # RFC 8949, Appendix A.
        ("1bffffffffffffffff", "18446744073709551615"),
        ("3bffffffffffffffff", "-18446744073709551616"),
        ("c249010000000000000000", '{"$tag": 2, "value": {"$bytes": "010000000000000000"}}'),
        ("fb3ff199999999999a", "1.1"),
        ("f97c00", '{"$float": "Infinity"}'),
        ("f97e00", '{"$float": "NaN"}'),
        ("f9fc00", '{"$float": "-Infinity"}'),
        ("f4", "false"),
        ("f6", "null"),
        ("f7", '{"$simple": 23}'),
        ("f0", '{"$simple": 16}'),
        ("f8ff", '{"$simple": 255}'),
        ("c11a514b67b0", '{"$tag": 1, "value": 1363896240}'),
        ("d818456449455446", '{"$cbor": "6449455446"}'),
        ("4401020304", '{"$bytes": "01020304"}'),
        ("62c3bc", '"\\u00fc"'),
        ("8301820203820405", "[1, [2, 3], [4, 5]]"),
        ("a201020304", '{"$map": [[1, 2], [3, 4]]}'),
        ("a26161016162820203", '{"a": 1, "b": [2, 3]}'),
        ("a1612401", '{"$map": [["$", 1]]}'),
    ],
)
def test_each_kind_has_one_form(cbor: str, text: str) -> None:
    value = unwrap(decode(bytes.fromhex(cbor)))
    assert json.dumps(value_to_json(value)) == text
    assert encode(wrap(parse_value(text))).hex() == cbor


def test_an_integer_beyond_cbors_is_what_a_peer_would_get() -> None:
    assert parse_value(str(1 << 64)) == Tag(2, bytes.fromhex("010000000000000000"))
    assert parse_value(str(-(1 << 64) - 1)) == Tag(3, bytes.fromhex("010000000000000000"))


def test_raw_cbor_inside_a_value_is_a_tag() -> None:
    assert parse_value('[{"$cbor": "01"}]') == [Tag(24, b"\x01")]
    assert type(parse_value('{"$cbor": "01"}')) is RawCBOR


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("hello", "single quotes"),
        ("[NZD, 410]", "single quotes"),
        ("", "not JSON"),
        ("NaN", "$float"),
        ("[-Infinity]", "$float"),
        ("1e400", "beyond"),
        ('{"a": 1, "a": 2}', "twice"),
        ('{"$bytes": "0"}', "hex"),
        ('{"$bytes": 1}', "hex"),
        ('{"$bytes": "00", "x": 1}', "keys"),
        ('{"$byte": "00"}', "means nothing"),
        ('{"$map": [[1]]}', "list of [key, value]"),
        ('{"$map": [[1, 2], [true, 3]]}', "twice"),
        ('{"$float": 1}', "$float wants"),
        ('{"$simple": 21}', "$simple wants"),
        ('{"$simple": true}', "$simple wants"),
        ('{"$tag": -1, "value": 0}', "$tag wants"),
        ('{"$tag": 1}', "keys"),
        ('{"$cbor": "8201"}', "cut short"),
        ('"\\ud800"', "surrogates"),
        ("[" * 40 + "]" * 40, "max"),
        ("[" * 100_000 + "]" * 100_000, "nested too deep"),
        ("9" * 5000, "not JSON"),
    ],
)
def test_what_is_no_value_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(NotAValue) as refusal:
        parse_value(text)
    assert reason in str(refusal.value)
    assert len(str(refusal.value)) < 500


def test_no_infinity_reaches_json() -> None:
    assert "Infinity" not in json.dumps(value_to_json([1e308, -0.0]), allow_nan=False)
    assert math.copysign(1, value_from_json(json.loads("-0.0"))) == -1
