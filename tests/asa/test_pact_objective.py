"""What two agents say to each other of one reservation survives the wire; what is not within its bounds is refused."""

from __future__ import annotations

import math
from dataclasses import replace

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from objectives import InvalidValue, NodeId, Window
from objectives.fields import MAX_RATE, MAX_TIME
from objectives.pact import (
    KINDS,
    MAX_ENDPOINT,
    MAX_ID,
    MAX_LABEL_BYTES,
    MAX_LABELS,
    MAX_PATIENCE_MS,
    MAX_PROTOCOL,
    MAX_SIZE,
    MAX_TEXT,
    MAX_TRAFFIC,
    MAX_TXNS,
    Arrange,
    Arranged,
    CallOff,
    Confirm,
    Confirmed,
    Settle,
    Settled,
    Terms,
    answer_from_value,
    request_from_value,
    terms_from_item,
)

from .test_objectives import BAD, GARBAGE, NAMES, NODES, TIMES, TXNS, WINDOWS, over_the_wire

TXN = bytes(range(16))
A, B = NodeId("a", "0" * 16), NodeId("b", "1" * 16)
HUGE = 2**70

PRINTABLE = st.characters(exclude_categories=("C", "Z"), include_characters=" ")
ASCII = st.characters(min_codepoint=0x20, max_codepoint=0x7E)


def texts(longest, shortest=0, of=PRINTABLE):
    return st.text(of, min_size=shortest, max_size=longest)


TERMS = st.builds(
    lambda kind, ends, protocol, rates, window, traffic, owner, labels, secret, hold, pool: Terms(
        kind, *ends, protocol, *rates, window.start, window.end, traffic, owner, labels, secret, hold, pool
    ),
    st.sampled_from(sorted(KINDS)),
    st.tuples(texts(MAX_ENDPOINT, 1, ASCII), texts(MAX_ENDPOINT, 1, ASCII)),
    texts(MAX_PROTOCOL),
    st.tuples(st.integers(0, MAX_RATE), st.integers(0, MAX_RATE)).filter(any),
    WINDOWS,
    texts(MAX_TRAFFIC, 1),
    texts(MAX_TEXT),
    st.lists(texts(MAX_TEXT), max_size=MAX_LABELS).map(tuple),
    texts(MAX_TEXT, of=ASCII),
    st.none() | TIMES,
    st.just("") | NAMES,
)
IDS = texts(MAX_ID, 1)
REQUESTS = (
    st.builds(Arrange, TXNS, NODES, NODES, IDS, TERMS, TIMES, st.integers(0, MAX_PATIENCE_MS))
    | st.builds(Settle, TXNS, NODES, NODES, IDS)
    | st.builds(Confirm, NODES, NODES, st.lists(TXNS, max_size=MAX_TXNS).map(tuple))
    | st.builds(CallOff, NODES, NODES, IDS, TIMES, texts(MAX_TEXT))
)
ANSWERS = (
    st.builds(Arranged, TXNS, NODES, IDS)
    | st.builds(Settled, TXNS, NODES, st.sampled_from(["accepted", "never"]))
    | st.builds(Confirmed, NODES, st.lists(TXNS, max_size=MAX_TXNS).map(tuple))
)


@given(REQUESTS)
@settings(max_examples=200, deadline=None)
def test_every_request_survives_the_wire_and_fits_into_a_message(request_):
    value = request_.to_value()
    assert len(cbor2.dumps(value)) < MAX_SIZE
    assert request_from_value(over_the_wire(value)) == request_


@given(ANSWERS)
@settings(max_examples=100, deadline=None)
def test_every_answer_survives_the_wire_and_fits_into_a_message(answer):
    value = answer.to_value()
    assert len(cbor2.dumps(value)) < MAX_SIZE
    assert answer_from_value(over_the_wire(value)) == answer


@pytest.mark.parametrize("read", [request_from_value, answer_from_value, terms_from_item])
@given(garbage=GARBAGE)
@settings(max_examples=150, deadline=None)
def test_garbage_is_refused_and_nothing_else_happens(read, garbage):
    with pytest.raises(InvalidValue):
        read(garbage)


DEAL = Terms(
    "two-way", "10.0.0.1", "10.0.1.1:443", "tcp", 10, 5, 100, 200, "voice", "astronomy", ("night", "run"), "hash", 150,
    "wan",
)  # fmt: skip
PLAIN = Terms("one-way", "a", "b", "any", 1, 0, 0, None)
ARRANGE = Arrange(TXN, A, B, "r-1", DEAL, 50, 1_000).to_value()
SETTLE = Settle(TXN, A, B, "r-1").to_value()
CONFIRM = Confirm(A, B, (TXN,)).to_value()
CALL_OFF = CallOff(A, B, "r-1", 50, "it is over").to_value()
ARRANGED = Arranged(TXN, A, "r-1").to_value()
SETTLED = Settled(TXN, A, "never").to_value()
CONFIRMED = Confirmed(A, (TXN,)).to_value()
REQUEST_VALUES = (ARRANGE, SETTLE, CONFIRM, CALL_OFF)
ANSWER_VALUES = (ARRANGED, SETTLED, CONFIRMED)
MESSAGES = [(request_from_value, each) for each in REQUEST_VALUES] + [
    (answer_from_value, each) for each in ANSWER_VALUES
]

NO_TEXT = [None, 7, b"x", ["x"], True, "x\n", "\0", "\x7f", "\u202e", "\ud800"]
BAD_FIELDS = {key: BAD[key] for key in ("txn", "node", "of", "txns", "outcome", "op", "patience", "at")} | {
    "id": [*NO_TEXT, "", "x" * (MAX_ID + 1)],
    "why": [*NO_TEXT, "x" * (MAX_TEXT + 1)],
    "terms": [None, [], "x", 7, {}],
}
BAD_RATES = [None, -1, MAX_RATE + 1, HUGE, 1.0, True, "10", [10], math.nan, math.inf]
BAD_ENDPOINTS = [*NO_TEXT, "", "é", "x" * (MAX_ENDPOINT + 1)]
BAD_TERMS = {
    "kind": [None, "", "mirroring", "passthrough", "Two-Way", 1, b"two-way", ["two-way"], {}],
    "source": BAD_ENDPOINTS,
    "destination": BAD_ENDPOINTS,
    "protocol": [*NO_TEXT, "x" * (MAX_PROTOCOL + 1)],
    "rate": BAD_RATES,
    "back": BAD_RATES,
    "from": [None, -1, MAX_TIME + 1, HUGE, 1.5, True, "0", 200, 300],
    "to": [0, 100, 99, -5, MAX_TIME + 1, HUGE, 150.0, True, "never", []],
    "traffic": [*NO_TEXT, "", "x" * (MAX_TRAFFIC + 1)],
    "owner": [*NO_TEXT, "x" * (MAX_TEXT + 1)],
    "labels": [None, "x", {}, 7, ["x"] * (MAX_LABELS + 1), [7], [None], [["x"]], ["x\n"], ["x" * (MAX_TEXT + 1)],
               ["\U0001f600" * MAX_TEXT] * MAX_LABELS],
    "secret": [*NO_TEXT, "é", "x" * (MAX_TEXT + 1)],
    "hold": [-1, MAX_TIME + 1, HUGE, 1.5, True, "0", []],
    "pool": [None, "a b", "x" * 64, "wan\n", "wän", 7, b"wan", b"", "a/b", []],
}  # fmt: skip


def test_every_bad_field_is_refused_and_the_text_is_short_and_printable():
    cases = [
        (read, value, {key: bad})
        for read, value in MESSAGES
        for key in value
        for bad in BAD_FIELDS[key]
    ] + [
        (request_from_value, ARRANGE, {"terms": {**ARRANGE["terms"], key: bad}})
        for key in ARRANGE["terms"]
        for bad in BAD_TERMS[key]
    ]  # fmt: skip
    assert len(cases) > 300
    for read, value, change in cases:
        with pytest.raises(InvalidValue) as refused:
            read({**value, **change})
        assert str(refused.value).isprintable(), change
        assert len(str(refused.value)) < 250, change


@pytest.mark.parametrize(("read", "value"), MESSAGES)
def test_a_message_without_one_of_its_fields_is_refused(read, value):
    for key in value:
        with pytest.raises(InvalidValue, match=rf"{key} is missing"):
            read({name: each for name, each in value.items() if name != key})


def test_terms_without_one_of_their_fields_are_refused_but_for_the_ends_that_may_be_left_out():
    item = DEAL.to_item()
    for key in item:
        without = {name: each for name, each in item.items() if name != key}
        if key in ("to", "hold"):
            assert terms_from_item(without) == terms_from_item({**item, key: None})
        else:
            with pytest.raises(InvalidValue, match=rf"terms.{key} is missing"):
                terms_from_item(without)


def test_each_bound_itself_is_within():
    edges = {
        "kind": ["two-way", "one-way"], "source": ["x", "x" * MAX_ENDPOINT], "destination": ["~", " " * MAX_ENDPOINT],
        "protocol": ["", "é" * MAX_PROTOCOL], "rate": [0, MAX_RATE], "back": [0, MAX_RATE], "from": [0, 199],
        "to": [101, MAX_TIME, None], "traffic": ["x", "x" * MAX_TRAFFIC], "owner": ["", "é" * MAX_TEXT],
        "labels": [[], ["", ""], ["é" * MAX_TEXT] * MAX_LABELS, ["\U0001f600" * 192] * MAX_LABELS],
        "secret": ["", "x" * MAX_TEXT], "hold": [None, 0, MAX_TIME], "pool": ["", "x" * 63],
    }  # fmt: skip
    for key, good in edges.items():
        for each in good:
            assert terms_from_item({**DEAL.to_item(), key: each}).to_item()[key] == each
    assert MAX_LABEL_BYTES == 16 * 192 * 4
    for key, good in {"id": ["x", "é" * MAX_ID], "at": [0, MAX_TIME], "patience": [0, MAX_PATIENCE_MS]}.items():
        for each in good:
            assert request_from_value({**ARRANGE, key: each}).to_value()[key] == each


def test_something_is_reserved_at_least_one_way():
    assert replace(DEAL, rate=0).back == 5
    assert replace(DEAL, back=0).rate == 10
    with pytest.raises(InvalidValue, match="not both be 0"):
        replace(DEAL, rate=0, back=0)


@pytest.mark.parametrize("key", BAD_TERMS)
def test_terms_are_checked_when_they_are_made(key):
    names = {"from": "start", "to": "end"}
    for bad in BAD_TERMS[key]:
        with pytest.raises(InvalidValue):
            replace(DEAL, **{names.get(key, key): tuple(bad) if type(bad) is list and key == "labels" else bad})


@pytest.mark.parametrize(
    "make",
    [
        lambda: Arrange(b"short", A, B, "r", PLAIN, 0),
        lambda: Arrange(TXN, A, B, "", PLAIN, 0),
        lambda: Arrange(TXN, A, B, "r", PLAIN, -1),
        lambda: Arrange(TXN, A, B, "r", PLAIN, 0, MAX_PATIENCE_MS + 1),
        lambda: Arranged(b"", A, "r"),
        lambda: Arranged(TXN, A, "x" * (MAX_ID + 1)),
        lambda: Settle("0" * 16, A, B, "r"),
        lambda: Settle(TXN, A, B, "r\n"),
        lambda: Settled(TXN, A, "maybe"),
        lambda: Settled(b"", A, "never"),
        lambda: Confirm(A, B, (b"",)),
        lambda: Confirm(A, B, (TXN,) * (MAX_TXNS + 1)),
        lambda: Confirmed(A, ("text",)),
        lambda: CallOff(A, B, "", 0),
        lambda: CallOff(A, B, "r", MAX_TIME + 1),
        lambda: CallOff(A, B, "r", 0, "x" * (MAX_TEXT + 1)),
    ],
)
def test_messages_are_checked_when_they_are_made(make):
    with pytest.raises(InvalidValue):
        make()


def test_unknown_keys_are_ignored_so_that_versions_understand_each_other():
    for read, value in MESSAGES:
        assert read({**value, "new": [1, {}], 7: None}) == read(value)
    assert terms_from_item({**DEAL.to_item(), "new": 1, 7: None}) == DEAL


def test_a_request_is_no_answer_and_an_answer_no_request():
    for value in REQUEST_VALUES:
        with pytest.raises(InvalidValue):
            answer_from_value(value)
    for value in ANSWER_VALUES:
        with pytest.raises(InvalidValue):
            request_from_value(value)


def test_terms_have_a_window_and_never_show_the_secret():
    assert (DEAL.window, PLAIN.window) == (Window(100, 200), Window(0, None))
    assert "hash" not in repr(Arrange(TXN, A, B, "r", DEAL, 0))
    assert (PLAIN.traffic, PLAIN.owner, PLAIN.labels, PLAIN.secret, PLAIN.hold, PLAIN.pool) == (
        "default", "", (), "", None, "",
    )  # fmt: skip
