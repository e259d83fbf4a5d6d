"""docs/objectives.md and docs/agent.md against the code: the CDDL decides what a value is, and the decoders agree."""

from __future__ import annotations

import ast
import copy
import json
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import pytest
from cbor2 import dumps, loads

import asa
from asa import (
    agenda,
    asking,
    audit,
    auditor,
    books,
    desk,
    enforcement,
    expiry,
    installation,
    ledger,
    lending,
    main,
    membership,
    metrics,
    neighbourhood,
    records,
    refusals,
    removal,
    seals,
    transfer,
    troubles,
    whereabouts,
)
from asa.config import EnforcementSection
from asa.dataplane import commands
from asa.dataplane.tc import htb
from asa.errors import NotInstalled, StoreFailed
from asa.events import Complaints
from asa.northbound import limits
from asa.threads import delegator, enforcer, garbage_collector, monitor, negotiator, seeder, settler, settling
from asa.threads.duty import Duty
from objectives import InvalidValue, pact
from objectives.agent import announcement_from_value
from objectives.block import block_from_item, disjoint
from objectives.holdings import MAX_SIZE as HOLDINGS_SIZE
from objectives.holdings import page_from_value
from objectives.params import AHEAD_MS, PARAMETERS, Params, params_from_value
from objectives.reach import MAX_PARTS, MAX_PREFIXES, reach_from_value
from objectives.resource import MAX_BLOCKS, MAX_SIZE, answer_from_value, request_from_value
from objectives.revoked import MAX_BYTES, MAX_CRL, revoked_from_value
from tests.cddl import Cddl
from tests.pki import Authority

ROOT = Path(asa.__file__).parent
DOCS = ROOT.parent / "docs"
PAGE = (DOCS / "objectives.md").read_text()
AGENT = (DOCS / "agent.md").read_text()


def _blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


CDDL = Cddl("\n".join(_blocks(PAGE, "cddl")))
RULES = CDDL.rules


def _octets(value: Any) -> Any:
    """What JSON has no notation for, put back."""
    if isinstance(value, str) and value.startswith("\0"):
        return bytes.fromhex(value[1:])
    if isinstance(value, list):
        return [_octets(each) for each in value]
    return {key: _octets(each) for key, each in value.items()} if isinstance(value, dict) else value


def _diagnostic(text: str) -> Any:
    """CBOR diagnostic notation (RFC 8949 §8): JSON, and h'…'."""
    return _octets(json.loads(re.sub(r"h'([0-9a-f]*)'", r'"\\u0000\1"', text)))


def _name(value: Mapping[str, Any]) -> str:
    if "op" in value:
        return "pact-settle" if value["op"] == "settle" and "id" in value else str(value["op"])
    names = {"rows": "holdings", "state": "agent", "values": "params", "prefixes": "reach", "crls": "revoked"}
    return next(name for key, name in names.items() if key in value)


EXAMPLES = {_name(value): value for value in map(_diagnostic, _blocks(PAGE, "cbor-diag"))}
ANSWERS = {"offer", "hold", "settled", "confirmed"}
DECODERS: dict[str, Callable[[object], Any]] = {
    "holdings": page_from_value,
    "agent": announcement_from_value,
    "params": lambda value: params_from_value(value, Params())[0],
    "reach": reach_from_value,
    "revoked": revoked_from_value,
    "arrange": pact.request_from_value,
    "pact-settle": pact.request_from_value,
    "call-off": pact.request_from_value,
    "arranged": pact.answer_from_value,
}


def decode(name: str, value: object) -> Any:
    return DECODERS.get(name, answer_from_value if name in ANSWERS else request_from_value)(value)


def _sound(value: Any) -> bool:
    """The rules of the page that CDDL cannot say."""
    blocks: list[Any] = []

    def walk(item: Any) -> bool:
        if isinstance(item, dict):
            return all(walk(each) for each in item.values())
        if isinstance(item, str):
            return item.isprintable()
        if not isinstance(item, list):
            return True
        if len(item) == 4 and all(type(each) is int for each in item[:3]):
            blocks.append(item)
            return bool(item[0] < item[1] and (item[3] is None or item[2] < item[3]))
        if len(item) == 2 and all(type(each) is int for each in item):
            return bool(item[0] < item[1])
        if item[:1] == ["s"]:
            return bool(item[2] < item[3])
        return all(walk(each) for each in item)

    if not isinstance(value, dict) or not walk(value):
        return False
    if "least" in value and value["least"] > value["rate"]:
        return False
    if "from" in value and value.get("to") is not None and value["to"] <= value["from"]:
        return False
    if "terms" in value and not _sound_terms(value["terms"]):
        return False
    if "prefixes" in value and not _sound_prefixes(value["prefixes"]):
        return False
    if "page" in value and value["page"] >= value["pages"]:
        return False
    if "serial" in value and bool(value["serial"]) != bool(value["issuer"]):
        return False
    if sum(map(len, value.get("crls", []))) > MAX_BYTES:
        return False
    return "rows" in value or disjoint([block_from_item(each) for each in blocks])


def _sound_terms(terms: Mapping[str, Any]) -> bool:
    return (
        terms["rate"] + terms["back"] > 0
        and (terms.get("to") is None or terms["from"] < terms["to"])
        and sum(len(each.encode()) for each in terms["labels"]) <= pact.MAX_LABEL_BYTES
    )


def _sound_prefixes(prefixes: list[list[Any]]) -> bool:
    # Items behind the known ones do not make another prefix.
    known = [(address, length) for address, length, *_ in prefixes]
    return len(set(known)) == len(known) and all(
        int.from_bytes(address) % 2 ** (8 * len(address) - length) == 0 for address, length in known
    )


ODD: list[Any] = [
    None, True, False, -1, 0, 1, 199, 200, 255, 256, 257, 599_999, 600_000, 600_001, 2**40 - 1, 2**40, 2**40 + 1,
    2**53 - 1, 2**53, 2**53 + 1, 2**64, 1.0, "", "x", "x" * 63, "x" * 64, "a b", "é", "x\n",
    "rack-7#0123456789abcdef", "rack-7#0123456789ABCDEF", "rack-7", "#0123456789abcdef", "left", "never", "ask", b"",
    bytes(15), bytes(16), bytes(17), [], {}, [[]], [None], [0, 1], [1, 0], [0, 1, 2, 3], [0, 1, 2, None],
    [0, 1, 3, 2], ["x"], ["a b"], [bytes(16)], [b""], ["x"] * 8, ["x"] * 9, [bytes(16)] * 256, [bytes(16)] * 257,
    [[n, n + 1, 0, None] for n in range(256)], [[n, n + 1, 0, None] for n in range(257)], ["s", "x", 0, 1],
    ["s", "x", 0, 1, "new"], ["s", "x", 0], ["z", "x", 0, 1], [["s", "x", 0, 1]] * 200, [["s", "x", 0, 1]] * 201,
    ["x", 0, []], ["x", 0, [], "new"], ["x", 0, [[0, 1]] * 8], ["x", 0, [[0, 1]] * 9], ["x", 0], [["x", 0, []]] * 24,
    "x" * 16, "x" * 17, "x" * 71, "x" * 72, "x" * 255, "x" * 256, "x" * 300, "x" * 301, "é" * 255, "x\x7f", "two-way",
    "one-way", 127, 128, 129, 32, 33, bytes(4), b"\xff" * 4, b"\xff" * 16, [bytes(4), 0], [bytes(4), 33],
    [bytes(16), 0], [bytes(16), 129], [b"\x0a\0\0\1", 8], [b"\x0a\0\0\1", 32, "new"], [bytes(4)], [bytes(4), True],
    [[bytes([1, n, 0, 0]), 16] for n in range(64)], [[bytes([1, n, 0, 0]), 16] for n in range(65)], ["x" * 255] * 16,
    ["x"] * 16, ["x"] * 17, ["\U0001f600" * 255] * 12 + ["\U0001f600" * 12], ["\U0001f600" * 255] * 12 + ["x" * 49],
    b"x" * 12_288, b"x" * 12_289, [b"x" * 12_288] * 4, [b"x" * 12_288] * 4 + [b"x"], [b"x"] * 8, [b"x"] * 9, [b""],
    [bytes(4), 65_535], [bytes(16), 65_535, "new"], [bytes(4), 65_536], [bytes(5), 1],
    [["x", 0, []]] * 25, ["rack-7#0123456789abcdef"] * 256, ["rack-7#0123456789abcdef"] * 257,
]  # fmt: skip


def _changed(value: Any, top: bool = True) -> Iterator[Any]:
    """The value with one part of it, however deep, replaced by each odd one, left out, or with one more beside it."""
    if not top:
        yield from ODD
    if isinstance(value, dict):
        yield {**value, "new": [1, "unknown"]}
        for key in value:
            yield {each: other for each, other in value.items() if each != key}
            for other in _changed(value[key], top=False):
                yield {**value, key: other}
    elif isinstance(value, list):
        yield [*value, "new"]
        yield [*value, *copy.deepcopy(value)]
        for index in range(len(value)):
            yield value[:index] + value[index + 1 :]
            for other in _changed(value[index], top=False):
                yield [*value[:index], other, *value[index + 1 :]]


def test_there_is_an_example_of_every_message() -> None:
    ops = {"ask", "offer", "hold", "give", "settle", "settled", "confirm", "confirmed"}
    pacts = {"arrange", "arranged", "pact-settle", "call-off"}
    assert set(EXAMPLES) == ops | pacts | {"params", "agent", "holdings", "reach", "revoked"}


@pytest.mark.parametrize("name", ["settled", "confirm", "confirmed"])
def test_both_negotiated_objectives_have_these_in_common(name: str) -> None:
    read = pact.answer_from_value if name in ANSWERS else pact.request_from_value
    for value in _changed(EXAMPLES[name]):
        try:
            made = read(value)
        except InvalidValue:
            assert _refusal(name, value) is not None
        else:
            assert made == decode(name, value)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_fits_the_cddl_and_is_what_the_code_makes_of_it(name: str) -> None:
    value = EXAMPLES[name]
    assert RULES[name](value)
    made = decode(name, loads(dumps(value))).to_value()
    if name == "params":
        assert made == value | {"values": {**Params().values, **value["values"]}}
    else:
        assert made == value
    assert RULES[name](made)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_keys_are_those_of_the_cddl_and_no_others(name: str) -> None:
    keys = CDDL.keys[name]
    made = decode(name, EXAMPLES[name]).to_value()
    assert set(made) <= set(keys)
    assert {key for key in keys if key not in made} <= {"held", "at"}
    if "terms" in made:
        assert set(made["terms"]) == set(CDDL.keys["terms"])


def _refusal(name: str, value: object) -> InvalidValue | None:
    try:
        decode(name, value)
    except InvalidValue as error:
        return error
    return None


@pytest.mark.parametrize("name", EXAMPLES)
def test_code_and_cddl_agree_on_what_is_refused(name: str) -> None:
    tried = 0
    for value in _changed(EXAMPLES[name]):
        values = value.get("values")
        if type(values) is dict and values is not EXAMPLES[name]["values"]:
            # A parameter alone is no reason to refuse a policy: see the next test.
            continue
        tried += 1
        fits = RULES[name](value) and _sound(value)
        refusal = _refusal(name, value)
        assert (refusal is None) is fits, f"{str(value)[:300]}: {refusal or 'taken'}"
    assert tried > 100


@pytest.mark.parametrize("name", ["params", "agent", "reach"])
@pytest.mark.parametrize("algorithm", ["P-256", "P-384", "P-521", "RSA-2048"])
def test_a_sealed_value_fits_the_cddl_and_the_bare_one_does_not(name: str, algorithm: str) -> None:
    ca = Authority()
    above = Authority(name="below", issuer=ca, algorithm=algorithm)
    for issued in ca.issue("rack-7", algorithm=algorithm), above.issue("rack-7"):
        sealing = seals.Seals(ca.identity("rack-7", issued), lambda: None, time.time, time.monotonic)
        wrapped = loads(dumps(sealing.wrap(f"EX1.{name.title()}", EXAMPLES[name])))
        assert RULES[f"sealed-{name}"](wrapped)
        assert not RULES[name](wrapped)
        assert not RULES[f"sealed-{name}"](EXAMPLES[name])
        assert not RULES[f"sealed-{name}"]([dumps({}), wrapped[1]])
        assert not RULES[f"sealed-{name}"]([wrapped[0], wrapped[1][:3]])
        assert len(dumps(wrapped)) < membership.MULTICAST_SIZE / 2


@pytest.mark.parametrize("key", PARAMETERS)
def test_a_parameter_out_of_the_bounds_of_the_cddl_keeps_its_value(key: str) -> None:
    edges = [edge + step for edge in (PARAMETERS[key].low, PARAMETERS[key].high) for step in (-1, 0, 1)]
    for value in ODD + edges:
        sent = {"serial": 1, "issuer": "origin", "values": {key: value, "unknown": value}}
        found, refused = params_from_value(sent, Params())
        if RULES["params"](sent):
            assert (found.values[key], refused) == (value, [])
        else:
            assert found.values[key] == CDDL.defaults[key]
            assert len(refused) == 1


def test_every_parameter_is_there_with_its_default() -> None:
    assert CDDL.defaults == {name: each.default for name, each in PARAMETERS.items()}


def test_what_has_the_greatest_size_the_cddl_allows_fits_a_message() -> None:
    node, name = "x" * 63 + "#0123456789abcdef", "x" * 63
    txn, far = bytes(16), 2**40
    blocks = [[2**53 - 2 * number - 2, 2**53 - 2 * number - 1, far - 1, far] for number in range(256)]
    values: dict[str, dict[str, Any]] = {
        "settle": {"op": "settle", "txn": txn, "node": node, "of": node, "pool": name, "blocks": blocks},
        "give": {"op": "give", "txn": txn, "node": node, "of": node, "pool": name, "blocks": blocks, "at": far},
        "confirm": {"op": "confirm", "node": node, "of": node, "txns": [txn] * 256},
        "holdings": {
            "node": node, "version": 2**53, "page": 255, "pages": 256, "known": [node] * 256,
            "rows": [["e", name, blocks[0], txn, node]] * 200,
        },
        "arrange": {
            "op": "arrange", "txn": txn, "node": node, "of": node, "id": "\U0001f600" * 64, "at": far,
            "patience": 600_000,
            "terms": {
                "kind": "two-way", "source": "x" * 300, "destination": "x" * 300, "protocol": "\U0001f600" * 16,
                "rate": 2**53, "back": 2**53, "from": far - 1, "to": far, "traffic": "\U0001f600" * 71,
                "owner": "\U0001f600" * 255, "labels": ["\u20ac" * 255] * 16, "secret": "x" * 255, "hold": far,
                "pool": name,
            },
        },
        "call-off": {
            "op": "call-off", "node": node, "of": node, "id": "\U0001f600" * 64, "at": far, "why": "\U0001f600" * 255,
        },
    }  # fmt: skip
    header = len(dumps([3, 2**32 - 1, ["x" * 100 + ".Resource.255", 255, 255, None]]))
    for kind, value in values.items():
        assert RULES[kind](value)
        decode(kind, value)
        assert len(dumps(value)) + header <= (HOLDINGS_SIZE if kind == "holdings" else MAX_SIZE), kind


# Tables and figures.


def _rows(page: str, heading: str) -> list[list[str]]:
    """The cells of the first table behind a heading or a line."""
    text = page[page.index(heading) + len(heading) :]
    lines = text[text.index("\n|") + 1 :].split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def _codes(*names: str) -> set[str]:
    patterns = (
        r'(?:Declined|BadOffer)\(\s*"([a-z-]+)"',
        r'(?:Deny|decline)\(f?"([a-z-]+): ',
        r'Finish\([^"\n]*(?:""[^"\n]*)?"([a-z-]+): ',
    )
    texts = [(ROOT / name).read_text() for name in names]
    return {code for text in texts for pattern in patterns for code in re.findall(pattern, text)}


@pytest.mark.parametrize(
    ("heading", "table"), [("The giver's record", records.GIVEN), ("The requester's record", records.TAKEN)]
)
def test_the_state_tables_are_those_of_the_code(heading: str, table: Mapping[Any, frozenset[Any]]) -> None:
    written = {row[0]: {each.strip() for each in row[2].split(",")} for row in _rows(PAGE, heading)}
    assert written == {str(state or "none"): {str(each or "none") for each in to} for state, to in table.items()}


@pytest.mark.parametrize(
    ("text", "figure"),
    [
        ("within **{} s** of the receiver's clock", transfer.SKEW_S),
        ("remembered for **{} s**", transfer.TOMBSTONE_S),
        ("which is {} s", 2 * transfer.SKEW_S),
        ("at most {:,} refused txns", refusals.MOST),
        ("at most {:,} refused txns of one member", refusals.MOST_OF_ONE),
        ("at most {:.0f} requests of one member a second", negotiator.RATE),
        ("are served, and {:.0f} at once", negotiator.BURST),
        ("{} dry runs of the member are kept", lending.MOST_KEPT),
        ("past for **{} s**", ledger.MARGIN_S),
        ("at\nmost **{:,} bytes** (RFC 8990", MAX_SIZE),
        ("at\nmost **{:,} bytes**. Page 0", HOLDINGS_SIZE),
        ("those of `EX1.Resource`. Unicast messages have at most **{:,} bytes**", pact.MAX_SIZE),
        ("together at most {:,} bytes", pact.MAX_LABEL_BYTES),
        ("At most **{} prefixes**", MAX_PREFIXES),
        ("floods up to {} parts of one `seq`", MAX_PARTS),
        ("however often, up to {};", MAX_PREFIXES),
        ("three flood intervals and **{} s** old", seals.AHEAD_MS // 1_000),
        ("above the UNIX time in ms plus **{:,}** is refused", AHEAD_MS),
        ("by hash, at most {:,} of them", seals.SEEN),
        ("At most {:.0f} seals a second", seals.RATE),
        ("are verified, {:,.0f} at once", seals.BURST),
        ("in a domain have at most **{:,} bytes**", membership.MULTICAST_SIZE),
        ("DER; together at most {:,} bytes", MAX_BYTES),
        ("messages of at most {:,} bytes of lists", MAX_CRL),
    ],
)
def test_the_figures_are_those_of_the_code(text: str, figure: int) -> None:
    assert " ".join(text.format(figure).split()) in " ".join(PAGE.split())


@pytest.mark.parametrize(
    ("text", "figure"),
    [
        ("| peers asked for one need | {} |", asking.MOST_PEERS),
        ("| tries of one reservation | {} |", asking.ATTEMPTS),
        ("| patience of a consumer | {} s |", desk.LONGEST_PATIENCE_MS // 1_000),
        ("| patience of a consumer | {} s |", limits.MAX_PATIENCE_MS // 1_000),
        ("| blocks in one transfer | {}; ", MAX_BLOCKS),
        ("; {} when handing over |", delegator.MOST_BLOCKS),
        ("; {} when handing over |", removal.MOST_BLOCKS),
        ("| refused transfers remembered | {:,} |", refusals.MOST),
        ("| the same of one member, in a domain | {:,} |", refusals.MOST_OF_ONE),
        ("| requests of one member, in a domain | {:.0f} a second,", negotiator.RATE),
        ("a second, {:.0f} at once | `busy`", negotiator.BURST),
        ("| dry runs of one member kept, in a domain | {} |", lending.MOST_KEPT),
        ("was lent of one pool changes | {:,} |", lending.MOST_CHANGES),
        ("| idempotency keys | {:,} s |", expiry.KEY_S),
        ("| transactions in one commit | {} |", books.GROUP),
        ("garbage collector in one transaction | {} |", garbage_collector.MOST),
        ("between two tellings | {} |", Complaints.KINDS),
        ("| a thread's turn | {:.0f} s;", Duty.limit),
        ("delegator, settlers, keeper and enforcer {:.0f} s |", delegator.Delegator.limit),
        ("delegator, settlers, keeper and enforcer {:.0f} s |", settler.Settler.limit),
        ("delegator, settlers, keeper and enforcer {:.0f} s |", enforcer.Enforcer.limit),
        ("not looked at by the enforcer | {:,} |", enforcement.MOST_TOUCHED),
        ("after {:.0f} s, doubled up to", troubles.FIRST_S),
        ("s, doubled up to {:.0f} s |", troubles.LONGEST_S),
        ("at most {} at once, the last says", installation.MOST_TOLD),
        ("read by an audit at once | {} |", auditor.READERS),
        ("alike, at most {} times", auditor.MOST_ROUNDS),
        ("up to {} examples each", audit.MOST_EXAMPLES),
        ("after {} replacements", monitor.MOST_RESTARTS),
        ("replacements in {:.0f} s", monitor.PERIOD_S),
        ("doubled at each failure in a row up to {:.0f} s", main.LONGEST_PAUSE_S),
        ("An agent that ran for {:.0f} s", main.CALM_S),
        ("Requests have {:.0f} s to be answered", main.DRAIN_S),
        ("doubled at each failure, up to {:.0f} s. |", settling.LONGEST_S),
        ("differ by more than {} s", transfer.SKEW_S),
        ("told every {:.0f} s", negotiator.REPORT_S),
    ],
)
def test_the_figures_of_the_operators_page_are_those_of_the_code(text: str, figure: float) -> None:
    assert " ".join(text.format(figure).split()) in " ".join(AGENT.split())


@pytest.mark.parametrize(
    ("text", "figure"),
    [
        ("`lead_s` ({} s) before the window", EnforcementSection().lead_s),
        ("after `rule_life_s` ({} s)", EnforcementSection().rule_life_s),
        ("and {} s after the window at the latest", agenda.AFTER_S),
        ("every `reconcile_s` ({} s)", EnforcementSection().reconcile_s),
        ("Every `sample_s` ({} s)", EnforcementSection().sample_s),
        ("`floor` of each line, {} %", EnforcementSection().floor),
        ("a command that hangs ({:.0f} s)", commands.TIME_LIMIT_S),
        ("| classes of a line, with tc | {:,} |", min(map(len, htb.NUMBERS.values()))),
        ("in one turn of the enforcer | {:,} |", enforcer.MOST_DUE),
        ("drift or failure at once | {} |", installation.MOST_TOLD),
        ("| differences kept | {} |", installation.MOST_DIFFERENCES),
        ("the last {} in `asa enforcement`", installation.MOST_DIFFERENCES),
        ("metrics of their own | {:,} |", metrics.MOST),
        ("of at most {:,} reservations each by itself", metrics.MOST),
    ],
)
def test_the_figures_of_the_page_on_enforcement_are_those_of_the_code(text: str, figure: float) -> None:
    assert " ".join(text.format(figure).split()) in " ".join((DOCS / "enforcement.md").read_text().split())


def test_without_its_library_there_are_no_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(NotInstalled, match="prometheus_client") as caught:
        metrics.exposition(cast(Any, None))
    assert "grasp-asa[metrics]" in caught.value.hint
    assert "grasp-asa[metrics]" in (DOCS / "enforcement.md").read_text()


def test_the_policy_of_the_operators_page_is_that_of_the_code() -> None:
    rows = {row[0].strip("`"): row[1:4] for row in _rows(AGENT, "## Policy")}
    expected = {}
    for name, each in PARAMETERS.items():
        switch = type(each.default) is bool
        bounds = "true, false" if switch else f"{each.low}..{each.high}"
        expected[name] = [each.unit, str(each.default).lower(), bounds]
    assert rows == expected


def _told() -> set[str]:
    """The first text of every call of ``tell`` and ``Tell``, and the kind complaints are told as."""
    found = set()
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in ("tell", "Tell"):
                kinds = [
                    each.value for arg in node.args[:2] for each in ast.walk(arg) if isinstance(each, ast.Constant)
                ]
                found |= {each for each in kinds if isinstance(each, str) and re.fullmatch("[a-z]+(-[a-z]+)*", each)}
    return found


def test_every_kind_of_event_is_listed_and_no_other() -> None:
    written = {kind for row in _rows(AGENT, "## Events") for kind in re.findall("`([a-z-]+)`", row[0])}
    assert len(written) > 20
    assert written == _told()


SAID = {"problem", "_problem"}


def test_every_problem_of_health_is_listed() -> None:
    named = {
        "NAMESAKE": neighbourhood.NAMESAKE,
        "CROWDED": garbage_collector.CROWDED,
        "RIVALS": neighbourhood.RIVALS,
        "code": StoreFailed.code,
        "BAD_HOSTS": whereabouts.BAD_HOSTS,
    }
    found = {seeder.WITHHELD, whereabouts.BAD_HOSTS}
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in SAID:
                parts = list(ast.walk(node.args[0]))
                constants = {each.value for each in parts if isinstance(each, ast.Constant) and each.value != ":"}
                names = {each.attr if isinstance(each, ast.Attribute) else getattr(each, "id", "") for each in parts}
                found |= constants | {named[name] for name in names & set(named)}
    rows = _rows(AGENT, "## Health")
    assert {row[0].strip("`").partition(":")[0] for row in rows} == found


def test_the_pages_name_only_files_that_are_there() -> None:
    for page in PAGE, AGENT:
        named = set(re.findall(r"`((?:asa|objectives|grasp|tests|lab)/[a-z_/]+(?:\.py)?)`?", page))
        assert named
        assert {name for name in named if not (ROOT.parent / name).exists()} == set()
        links = re.findall(r"\]\(([a-z-]+\.md)", page)
        assert {link for link in links if not (DOCS / link).exists()} == set()
