"""What agents say to each other survives the wire, and whatever else a peer may send is refused with a reason."""

from __future__ import annotations

import math
from ipaddress import IPv4Network, IPv6Network, ip_network

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from objectives import Block, InvalidValue, NodeId, Window, node_from_text
from objectives.agent import (
    MAX_PARTS,
    MAX_POOLS,
    MAX_SEEDS,
    Announcement,
    PoolSummary,
    announcement_from_value,
)
from objectives.block import block_from_item
from objectives.fields import MAX_RATE, MAX_TIME, check_name
from objectives.holdings import (
    MAX_PAGES,
    MAX_SIZE,
    ROWS_PER_PAGE,
    AcceptedRow,
    EscrowRow,
    HeldRow,
    SeedRow,
    page_from_value,
    pages_of,
)
from objectives.params import PARAMETERS, Params, highest_serial, params_from_value
from objectives.reach import MAX_PARTS as MAX_REACH_PARTS
from objectives.reach import MAX_PREFIXES, Reach, reach_from_value
from objectives.resource import (
    MAX_BLOCKS,
    MAX_PATH,
    MAX_PATIENCE_MS,
    MAX_TXNS,
    Ask,
    Confirm,
    Confirmed,
    Give,
    Hold,
    Offer,
    Settle,
    Settled,
    answer_from_value,
    request_from_value,
)
from objectives.resource import MAX_SIZE as RESOURCE_SIZE

TXN = bytes(range(16))
A, B = NodeId("a", "0" * 16), NodeId("b", "1" * 16)
BLOCK = Block(0, 10, 5, None)


def over_the_wire(value):
    return cbor2.loads(cbor2.dumps(value))


NAMES = st.text("abcdefghijklmnopqrstuvwxyzABCXYZ0189-_.", min_size=1, max_size=63)
NODES = st.builds(NodeId, NAMES, st.text("0123456789abcdef", min_size=16, max_size=16))
TXNS = st.binary(min_size=16, max_size=16)
RATES = st.integers(1, MAX_RATE)
TIMES = st.integers(0, MAX_TIME - 1)
WINDOWS = st.builds(
    lambda start, length: Window(start, None if length is None else min(MAX_TIME, start + length)),
    TIMES,
    st.none() | st.integers(1, 10**9),
)
BLOCKS = st.builds(
    lambda low, height, window: Block(low, min(MAX_RATE, low + height), window.start, window.end),
    st.integers(0, MAX_RATE - 1),
    RATES,
    WINDOWS,
)
LISTS = st.lists(BLOCKS, min_size=1, max_size=1).map(tuple) | st.integers(2, MAX_BLOCKS).map(
    lambda count: tuple(Block(2 * each, 2 * each + 1, 0, None) for each in range(count))
)
ASKS = st.builds(
    lambda txn, node, of, pool, rates, window, at, urgent, patience, path, held: Ask(
        txn, node, of, pool, max(rates), min(rates), window.start, window.end, at, urgent, patience, path, held
    ),
    TXNS, NODES, NODES, NAMES, st.tuples(RATES, RATES), WINDOWS, TIMES, st.booleans(), st.integers(0, MAX_PATIENCE_MS),
    st.lists(NAMES, max_size=MAX_PATH).map(tuple), st.none() | TXNS,
)  # fmt: skip
REQUESTS = (
    ASKS
    | st.builds(Give, TXNS, NODES, NODES, NAMES, LISTS, TIMES)
    | st.builds(Settle, TXNS, NODES, NODES, NAMES, LISTS)
    | st.builds(Confirm, NODES, NODES, st.lists(TXNS, max_size=MAX_TXNS).map(tuple))
)
ANSWERS = (
    st.builds(Offer, TXNS, NODES, LISTS)
    | st.builds(Hold, TXNS, NODES, RATES, TIMES)
    | st.builds(Settled, TXNS, NODES, st.sampled_from(["accepted", "never"]))
    | st.builds(Confirmed, NODES, st.lists(TXNS, max_size=MAX_TXNS).map(tuple))
)
GARBAGE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=4),
    max_leaves=10,
)


@given(REQUESTS)
@settings(max_examples=200, deadline=None)
def test_every_request_survives_the_wire_and_fits_into_a_message(request_):
    value = request_.to_value()
    assert len(cbor2.dumps(value)) < RESOURCE_SIZE
    assert request_from_value(over_the_wire(value)) == request_


@given(ANSWERS)
@settings(max_examples=200, deadline=None)
def test_every_answer_survives_the_wire_and_fits_into_a_message(answer):
    value = answer.to_value()
    assert len(cbor2.dumps(value)) < RESOURCE_SIZE
    assert answer_from_value(over_the_wire(value)) == answer


@pytest.mark.parametrize(
    "read",
    [
        request_from_value,
        answer_from_value,
        page_from_value,
        announcement_from_value,
        reach_from_value,
        lambda v: params_from_value(v, Params()),
    ],
)
@given(garbage=GARBAGE)
@settings(max_examples=150, deadline=None)
def test_garbage_is_refused_and_nothing_else_happens(read, garbage):
    with pytest.raises(InvalidValue):
        read(garbage)


ASK = Ask(TXN, A, B, "wan", 10, 5, 100, 200, 50, True, 1_000, ("x", "y"), bytes(16)).to_value()
GIVE = Give(TXN, A, B, "wan", (BLOCK,), 50).to_value()
SETTLE = Settle(TXN, A, B, "wan", (BLOCK,)).to_value()
CONFIRM = Confirm(A, B, (TXN,)).to_value()
OFFER = Offer(TXN, A, (BLOCK,)).to_value()
HOLD = Hold(TXN, A, 10, 50).to_value()
SETTLED = Settled(TXN, A, "never").to_value()
CONFIRMED = Confirmed(A, (TXN,)).to_value()

HUGE = 2**70
BAD = {
    "txn": [None, b"", b"short", bytes(17), "0123456789abcdef", 7],
    "node": [None, "", "a", "a#", "a#123", "a#" + "g" * 16, "#" + "0" * 16, "a b#" + "0" * 16, "ä#" + "0" * 16, b"a", 1,
             "a" * 64 + "#" + "0" * 16, "a#" + "0" * 17, "a\n#" + "0" * 16],
    "of": [None, "b", 7, "b#" + "G" * 16],
    "pool": [None, "", "a b", "x" * 64, "wan\n", "wän", 7, b"wan", "a/b"],
    "rate": [None, 0, -1, MAX_RATE + 1, HUGE, 1.0, 10.5, True, "10", [10], math.nan, math.inf],
    "least": [None, 0, -1, 11, HUGE, 1.0, True],
    "from": [None, -1, MAX_TIME + 1, HUGE, 1.5, True, "0", 200, 300],
    "to": [0, 100, 99, -5, MAX_TIME + 1, HUGE, 150.0, True, "never"],
    "at": [None, -1, HUGE, 1.5, "now", True],
    "urgent": [None, 0, 1, "true"],
    "patience": [None, -1, MAX_PATIENCE_MS + 1, 1.5, HUGE, True],
    "path": [None, "x", ["x"] * (MAX_PATH + 1), [1], [""], ["a b"], {"x": 1}],
    "held": [b"", bytes(15), "x" * 16, 7],
    "blocks": [None, [], {}, "x", [[0, 10, 5, None]] * (MAX_BLOCKS + 1), [[0, 10, 5, None], [9, 11, 6, 7]], [7], [[]],
               [[0, 10, 5]], [[0, 10, 5, None, 1]], [[10, 10, 5, None]], [[11, 10, 5, None]], [[-1, 10, 5, None]],
               [[0, HUGE, 5, None]], [[0, 10, 5, 5]], [[0, 10, 5, 4]], [[0, 10, -5, None]], [[0, 10, 5, HUGE]],
               [[0.0, 10, 5, None]], [[0, True, 5, None]], [[0, 10, "5", None]], [[None, 10, 5, None]]],
    "txns": [None, [b""], ["x"], [bytes(17)], [bytes(16)] * (MAX_TXNS + 1), bytes(16), {}],
    "until": [None, -1, HUGE, 1.5],
    "outcome": [None, "", "maybe", "ACCEPTED", 1, b"never", ["never"]],
    "op": [None, "", "asks", 1, b"ask", ["ask"], "ASK"],
}  # fmt: skip
CASES = [
    (read, value, key, bad)
    for read, values in (
        (request_from_value, (ASK, GIVE, SETTLE, CONFIRM)),
        (answer_from_value, (OFFER, HOLD, SETTLED, CONFIRMED)),
    )
    for value in values
    for key in value
    for bad in BAD[key]
    if not (key == "least" and bad == 11 and "least" not in value)
]


@pytest.mark.parametrize("value", [ASK, GIVE, SETTLE, CONFIRM], ids=lambda value: value["op"])
def test_a_request_without_one_of_its_fields_is_refused_but_for_those_that_may_be_left_out(value):
    for key in value:
        without = {name: each for name, each in value.items() if name != key}
        if key in ("to", "held"):
            assert request_from_value(without) == request_from_value({**value, key: None})
        else:
            with pytest.raises(InvalidValue, match=rf"{key} is missing"):
                request_from_value(without)


def test_every_bad_field_is_refused_and_the_text_is_short_and_printable():
    assert len(CASES) > 250
    for read, value, key, bad in CASES:
        with pytest.raises(InvalidValue) as refused:
            read({**value, key: bad})
        text = str(refused.value)
        assert text.isprintable(), (key, bad)
        assert len(text) < 250, (key, bad)


def test_unknown_keys_are_ignored_so_that_versions_understand_each_other():
    for value in ASK, GIVE, SETTLE, CONFIRM:
        assert request_from_value({**value, "new": [1, {}], 7: None}) == request_from_value(value)
    for value in OFFER, HOLD, SETTLED, CONFIRMED:
        assert answer_from_value({**value, "new": [1, {}]}) == answer_from_value(value)


def test_a_request_is_no_answer_and_an_answer_no_request():
    for value in ASK, GIVE, SETTLE, CONFIRM:
        with pytest.raises(InvalidValue):
            answer_from_value(value)
    for value in OFFER, HOLD, SETTLED, CONFIRMED:
        with pytest.raises(InvalidValue):
            request_from_value(value)


def test_a_block_is_half_open_on_both_axes():
    one = Block(0, 10, 100, 200)
    assert not one.overlaps(Block(10, 20, 100, 200))
    assert not one.overlaps(Block(0, 10, 200, None))
    assert one.overlaps(Block(9, 20, 199, None))
    assert (one.amount, one.window) == (10, Window(100, 200))
    assert Block(0, MAX_RATE, 0, MAX_TIME).amount == MAX_RATE


CELLS = st.builds(
    lambda low, height, start, length: Block(low, low + height, start, None if length == 0 else start + length),
    st.integers(0, 5), st.integers(1, 5), st.integers(0, 5), st.integers(0, 5),
)  # fmt: skip


def cells(*blocks):
    return {
        (level, second)
        for each in blocks
        for level in range(each.low, each.high)
        for second in range(each.start, 12 if each.end is None else each.end)
    }


@given(CELLS, CELLS)
def test_block_arithmetic_is_that_of_sets_of_cells(one, other):
    assert one.overlaps(other) == bool(cells(one) & cells(other))
    rest = one.minus(other)
    assert cells(*rest) == cells(one) - cells(other)
    assert sum(len(cells(each)) for each in rest) == len(cells(*rest))
    cut = one.cut(other.window)
    assert (cells(cut) if cut else set()) == {each for each in cells(one) if each[1] in {s for _, s in cells(other)}}
    assert block_from_item(one.to_item()) == one


def test_a_node_is_its_name_and_its_instance():
    assert node_from_text("rack-7.a_b#0123456789abcdef") == NodeId("rack-7.a_b", "0123456789abcdef")
    assert node_from_text(str(A)) == A
    assert A < B
    for bad in BAD["node"]:
        with pytest.raises(InvalidValue):
            node_from_text(bad)
    for good in "a", "A-b_c.9", "x" * 63:
        assert check_name(good, "it") == good


# -- EX1.Agent


@given(
    st.builds(
        Announcement,
        NODES,
        st.integers(0, 2**53),
        st.sampled_from(["active", "inactive", "left"]),
        st.lists(
            st.builds(
                PoolSummary, NAMES, st.integers(0, MAX_RATE),
                st.lists(st.tuples(st.integers(0, 99), st.integers(100, MAX_RATE)), max_size=MAX_SEEDS).map(tuple),
            ),
            max_size=MAX_POOLS,
        ).map(tuple),
    )
)  # fmt: skip
@settings(max_examples=100, deadline=None)
def test_every_announcement_survives_the_wire(said):
    assert announcement_from_value(over_the_wire(said.to_value())) == said


SAID = Announcement(A, 7, "active", (PoolSummary("wan", 5, ((0, 10),)),)).to_value()


@pytest.mark.parametrize(
    ("key", "bad"),
    [
        ("node", "a"), ("seq", -1), ("seq", 2**53 + 1), ("seq", 1.0), ("seq", True), ("state", "asleep"),
        ("pools", None), ("pools", [["wan", 5, []]] * (MAX_POOLS + 1)), ("pools", ["wan"]), ("pools", [["wan", 5]]),
        ("pools", [["w n", 5, []]]), ("pools", [["wan", -1, []]]), ("pools", [["wan", MAX_RATE + 1, []]]),
        ("pools", [["wan", True, []]]), ("pools", [["wan", 5, [[0, 10]] * (MAX_SEEDS + 1)]]),
        ("pools", [["wan", 5, [[10, 10]]]]), ("pools", [["wan", 5, [[10, 5]]]]), ("pools", [["wan", 5, [[-1, 5]]]]),
        ("pools", [["wan", 5, [[0, MAX_RATE + 1]]]]), ("pools", [["wan", 5, [[0, 1, 2]]]]),
        ("pools", [["wan", 5, [[False, True]]]]), ("pools", [["wan", 5, {}]]), ("pools", [["wan", 5, [7]]]),
        ("state", None),
    ],
)  # fmt: skip
def test_a_bad_announcement_is_refused(key, bad):
    assert announcement_from_value(SAID)
    with pytest.raises(InvalidValue):
        announcement_from_value({**SAID, key: bad})


# -- EX1.Reach

PREFIXES = st.builds(
    lambda address, length: IPv4Network((address, length), strict=False), st.binary(min_size=4, max_size=4),
    st.integers(0, 32),
) | st.builds(
    lambda address, length: IPv6Network((address, length), strict=False), st.binary(min_size=16, max_size=16),
    st.integers(0, 128),
)  # fmt: skip
REACHES = st.builds(
    Reach, NODES, st.integers(0, 2**53), st.lists(PREFIXES, max_size=MAX_PREFIXES, unique=True).map(tuple)
)
SERVED = Reach(A, 7, (IPv4Network("192.0.2.0/24"), IPv6Network("2001:db8::/48")))
FAR = NodeId("n" * 63, "f" * 16)


@given(REACHES)
@settings(max_examples=100, deadline=None)
def test_every_reach_survives_the_wire(said):
    assert reach_from_value(over_the_wire(said.to_value())) == said


@given(REACHES)
@settings(max_examples=100, deadline=None)
def test_the_parts_of_a_reach_fit_into_multicasts_and_add_up(said):
    said = Reach(FAR, 2**53, said.prefixes)
    parts = said.parts()
    assert 1 <= len(parts) <= MAX_REACH_PARTS
    assert tuple(each for part in parts for each in part.prefixes) == said.prefixes
    for part in parts:
        item = ["example.com:bandwidth.Reach", 5, 32, over_the_wire(part.to_value())]
        assert len(cbor2.dumps([9, 2**32 - 1, bytes(16), 2**32 - 1, [item, [103, bytes(16), 6, 65_535]]])) <= 1_232


def test_the_longest_reach_there_can_be_comes_in_two_parts_and_one_of_nothing_in_one():
    longest = tuple(IPv6Network((number << 64, 64)) for number in range(MAX_PREFIXES))
    assert [len(each.prefixes) for each in Reach(FAR, 1, longest).parts()] == [50, 14]
    assert Reach(FAR, 1, ()).parts() == [Reach(FAR, 1, ())]


@pytest.mark.parametrize(
    ("key", "bad"),
    [
        ("node", "a"), ("seq", -1), ("seq", 2**53 + 1), ("seq", 1.0), ("seq", True), ("prefixes", None),
        ("prefixes", {}), ("prefixes", [7]), ("prefixes", [[]]), ("prefixes", [[bytes(4)]]),
        ("prefixes", ["10.0.0.0/8"]), ("prefixes", [["10.0.0.0", 8]]), ("prefixes", [[0, 8]]),
        ("prefixes", [[bytes(5), 0]]), ("prefixes", [[b"", 0]]), ("prefixes", [[bytes(4), 33]]),
        ("prefixes", [[bytes(4), -1]]), ("prefixes", [[bytes(16), 129]]), ("prefixes", [[bytes(4), True]]),
        ("prefixes", [[bytes(4), 8.0]]), ("prefixes", [[bytes(4), "8"]]), ("prefixes", [[bytes(4), None]]),
        ("prefixes", [[bytes(4), HUGE]]), ("prefixes", [[b"\x0a\0\0\1", 31]]),
        ("prefixes", [[bytes(15) + b"\1", 127]]), ("prefixes", [[bytes(4), 8]] * 2),
        ("prefixes", [[bytes([number, 0, 0, 0]), 8] for number in range(MAX_PREFIXES + 1)]),
    ],
)  # fmt: skip
def test_a_bad_reach_is_refused(key, bad):
    assert reach_from_value(SERVED.to_value()) == SERVED
    with pytest.raises(InvalidValue) as refused:
        reach_from_value({**SERVED.to_value(), key: bad})
    assert len(str(refused.value)) < 250


def test_a_reach_is_checked_when_it_is_made_and_unknown_items_are_ignored():
    for sequence, prefixes in (-1, ()), (0, (ip_network("::/0"),) * 2), (0, tuple(ip_network("0.0.0.0/24").subnets(8))):
        with pytest.raises(InvalidValue):
            Reach(A, sequence, prefixes)
    value = {**SERVED.to_value(), "new": 1, "prefixes": [[*each, "new"] for each in SERVED.to_value()["prefixes"]]}
    assert reach_from_value(value) == SERVED


# -- EX1.Holdings

ROWS = (
    st.builds(HeldRow, NAMES, BLOCKS)
    | st.builds(EscrowRow, NAMES, BLOCKS, TXNS, NODES)
    | st.builds(AcceptedRow, TXNS, NODES)
    | st.builds(SeedRow, NAMES, st.integers(0, 99), st.integers(100, MAX_RATE))
)


@given(st.lists(ROWS, max_size=20), st.lists(NODES, max_size=20))
@settings(max_examples=100, deadline=None)
def test_holdings_survive_the_wire(rows, known):
    (page,) = pages_of(A, 7, rows, known)
    assert page_from_value(over_the_wire(page.to_value())) == page
    assert list(page.rows) == rows
    assert list(page.known) == known


def test_the_longest_page_there_can_be_fits_into_a_message():
    longest = NodeId("n" * 63, "f" * 16)
    row = EscrowRow("p" * 63, Block(MAX_RATE - 1, MAX_RATE, MAX_TIME - 1, MAX_TIME), bytes(16), longest)
    pages = pages_of(longest, 2**53, [row] * (ROWS_PER_PAGE + 1), [longest] * 300)
    assert len(pages) == 2
    assert max(len(cbor2.dumps(each.to_value())) for each in pages) < MAX_SIZE
    assert len(pages[0].known) == 256


def test_pages_hold_all_rows_in_order_and_there_are_only_so_many():
    rows = [HeldRow("wan", Block(each, each + 1, 0, None)) for each in range(ROWS_PER_PAGE * 3 + 1)]
    pages = pages_of(A, 7, rows, [B])
    assert [row for page in pages for row in page.rows] == rows
    assert [(each.page, each.pages, each.version) for each in pages] == [(number, 4, 7) for number in range(4)]
    assert [each.known for each in pages] == [(B,), (), (), ()]
    assert len(pages_of(A, 7, [], [])) == 1
    with pytest.raises(InvalidValue):
        pages_of(A, 7, [rows[0]] * (ROWS_PER_PAGE * MAX_PAGES + 1), [])


PAGE = pages_of(A, 7, [HeldRow("wan", BLOCK)], [B])[0].to_value()


@pytest.mark.parametrize(
    ("key", "bad"),
    [
        ("version", -1), ("version", 2**53 + 1), ("page", 1), ("page", -1), ("pages", 0), ("pages", MAX_PAGES + 1),
        ("pages", True), ("rows", {}), ("rows", [["h", "wan"]]), ("rows", [["z", "wan", [0, 1, 2, 3]]]), ("rows", [[]]),
        ("rows", [[["h"], "wan", [0, 1, 0, None]]]), ("rows", [["h", "wan", [0, 1, 0, None]]] * (ROWS_PER_PAGE + 1)),
        ("rows", [["h", "w n", [0, 1, 0, None]]]), ("rows", [["h", "wan", [1, 1, 0, None]]]), ("rows", [7]),
        ("rows", [["s", "wan", 5, 5]]), ("rows", [["s", "wan", True, 5]]), ("rows", [["s", "wan", 0, MAX_RATE + 1]]),
        ("rows", [["e", "wan", [0, 1, 0, None], b"short", str(A)]]),
        ("rows", [["e", "wan", [0, 1, 0, None], TXN, "a"]]),
        ("rows", [["a", "text", str(A)]]), ("rows", [["a", TXN]]), ("known", ["a"]), ("known", [str(B)] * 257),
        ("node", 7),
    ],
)  # fmt: skip
def test_a_bad_page_is_refused(key, bad):
    assert page_from_value(PAGE)
    with pytest.raises(InvalidValue):
        page_from_value({**PAGE, key: bad})


# -- EX1.Params


def test_every_default_is_within_its_own_bounds():
    for name, each in PARAMETERS.items():
        assert each.refusal(each.default) is None, name
        for bad in (each.low - 1, each.high + 1, 1.0, "1", None, [1]):
            assert each.refusal(bad) is not None, (name, bad)
        if type(each.default) is int:
            assert each.refusal(each.low) is None
            assert each.refusal(each.high) is None
            assert each.refusal(True) is not None


@given(
    st.dictionaries(st.sampled_from(sorted(PARAMETERS)), st.integers(-5, 2**54) | st.booleans() | st.text(max_size=3))
)
def test_what_is_in_bounds_is_taken_and_the_rest_keeps_its_old_value(values):
    old = Params(3, "a", {name: each.default for name, each in PARAMETERS.items()})
    new, refused = params_from_value(over_the_wire({"serial": 4, "issuer": "b", "values": values}), old)
    assert len(refused) == sum(PARAMETERS[name].refusal(value) is not None for name, value in values.items())
    for name, each in PARAMETERS.items():
        good = name in values and each.refusal(values[name]) is None
        assert new.values[name] == (values[name] if good else old.values[name])
    assert new.newer_than(old)


def test_policies_are_ordered_alike_at_every_agent():
    low, high, tie = Params(3, "b"), Params(4, "a"), Params(3, "c")
    assert high.newer_than(low)
    assert tie.newer_than(low)
    assert not low.newer_than(tie)
    assert not low.newer_than(low)
    assert low.newer_than(Params())
    assert low.changed("x", {"hold": 7}).newer_than(tie)
    assert not Params(0, "z").newer_than(Params())


@pytest.mark.parametrize(
    "bad", [{"serial": -1}, {"serial": 2**54}, {"serial": 1.0}, {"issuer": ""}, {"issuer": "a b"}, {"values": 7}]
)  # fmt: skip
def test_a_bad_policy_is_refused_as_a_whole(bad):
    with pytest.raises(InvalidValue):
        params_from_value({"serial": 4, "issuer": "b", "values": {}, **bad}, Params())


def test_serial_0_is_the_defaults_of_nobody_or_refused():
    defaults = Params().to_value()
    assert params_from_value(defaults, Params(3, "a")) == (Params(), [])
    assert params_from_value(defaults | {"values": {"unheard-of": 1}}, Params()) == (Params(), [])
    for bad in {"issuer": "zzz"}, {"values": {"hold": 7}}, {"values": {"hold": None}}, {"values": {"permanent": False}}:
        with pytest.raises(InvalidValue):
            params_from_value(defaults | bad, Params())


def test_the_highest_serial_grows_faster_than_policies_are_set_whatever_the_clock_says():
    assert highest_serial(2_000.5) == 2_060_500
    assert highest_serial(2_001.0) > highest_serial(2_000.999)
    assert highest_serial(0) == highest_serial(-5.0) == 60_000


def test_a_change_of_policy_with_anything_wrong_in_it_is_none():
    for bad in {"hold": 0}, {"unheard-of": 1}, {"hold": 60, "guard": -1}, {"permanent": 1}, {"hold": True}:
        with pytest.raises(InvalidValue):
            Params().changed("a", bad)
    assert Params().changed("a", {"permanent": False})["permanent"] == 0


@given(st.lists(st.tuples(st.integers(1, 63), st.integers(0, MAX_SEEDS)), max_size=300))
def test_what_an_agent_says_of_its_pools_comes_in_parts_that_fit_into_a_multicast(sizes):
    pools = tuple(
        PoolSummary(f"{number:03}".rjust(size, "x")[-max(3, size) :], 2**53, tuple((i, 2**53) for i in range(seeds)))
        for number, (size, seeds) in enumerate(sizes)
    )
    whole = Announcement(A, 2**53, "inactive", pools)
    parts = whole.parts()
    assert 1 <= len(parts) <= MAX_PARTS
    said = [pool for part in parts for pool in part.pools]
    assert tuple(said) == pools[: len(said)]
    assert len(said) == len(pools) or len(parts) == MAX_PARTS
    for part in parts:
        assert announcement_from_value(part.to_value()) == part
        item = ["example.com:bandwidth.Agent", 5, 32, part.to_value()]
        assert len(cbor2.dumps([9, 2**32 - 1, bytes(16), 2**32 - 1, [item, [103, bytes(16), 6, 65_535]]])) <= 1_232
