"""What a DULL instance discards, caches and answers: RFC 8990 §2.5.2 rule by rule."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest

from grasp import Dull, ErrorCode, LocalError, Objective
from grasp.discovery import Ignore, Source
from grasp.onlink import DULL_LIMITS, DullRules, Question
from grasp.wire import IPv6Locator, Message, Response, decode_message
from tests.wire.by_hand import pack

OWN = IPv6Address("fe80::1")
NEIGHBOUR = IPv6Address("fe80::2")
ROUTED = IPv6Address("2001:db8::2")
HERE = Source(NEIGHBOUR, 40_000, 3)
LOCATOR = [103, NEIGHBOUR.packed, 17, 15_000]
FAR_LOCATOR = [103, ROUTED.packed, 6, 443]
M_DISCOVERY, M_RESPONSE, M_FLOOD, M_INVALID = 1, 2, 9, 99
O_DIVERT = 100


class Instance:
    def __init__(self) -> None:
        self.rules = DullRules(["AN_ACP", "AN_Proxy"], DULL_LIMITS)
        self.rules.served["AN_ACP"] = IPv6Locator(IPv6Address("::"), 17, 15_000), 210_000
        self.now = 1000.0

    def hears(self, message: list[Any], source: Source = HERE, own: IPv6Address = OWN) -> Any:
        return self.rules.multicast(self.now, decode_message(pack(message)), source, own)

    def asks(self, name: str = "AN_ACP") -> tuple[Question, int]:
        question = Question(name)
        message = self.rules.ask(self.now, question, OWN)
        assert message is not None
        return question, message.session_id

    def is_told(self, message: list[Any], source: Source = HERE) -> Any:
        return self.rules.unicast(self.now, decode_message(pack(message)), source)


@pytest.fixture
def dull() -> Instance:
    return Instance()


def flood(loop_count: int = 1, name: str = "AN_ACP", locator: list[Any] | None = None, *more: Any) -> list[Any]:
    entry = [[name, 4, loop_count, "IKEv2"], LOCATOR if locator is None else locator]
    return [M_FLOOD, 7, NEIGHBOUR.packed, 210_000, entry, *more]


def discovery(loop_count: int = 1, name: str = "AN_ACP", session_id: int = 8) -> list[Any]:
    return [M_DISCOVERY, session_id, NEIGHBOUR.packed, [name, 1, loop_count]]


def response(session_id: int, *where: Any, initiator: IPv6Address = OWN) -> list[Any]:
    return [M_RESPONSE, session_id, initiator.packed, 5_000, *(where or [LOCATOR])]


DISCARDED_MULTICASTS = [
    *[pytest.param(flood(n), HERE, "loop count not 1", id=f"flood, loop count {n}") for n in (0, 2, 6, 255)],
    *[pytest.param(discovery(n), HERE, "loop count not 1", id=f"discovery, loop count {n}") for n in (0, 2, 6, 255)],
    pytest.param(
        flood(1, "AN_ACP", None, [["AN_Proxy", 4, 2, ""], []]), HERE, "loop count not 1", id="second loop count"
    ),
    pytest.param(flood(1, "EX1"), HERE, "foreign objective", id="foreign flood"),
    pytest.param(flood(1, "an_acp"), HERE, "foreign objective", id="names are compared letter by letter"),
    pytest.param(flood(1, "AN_ACP", None, [["EX1", 4, 1, ""], []]), HERE, "foreign objective", id="one is foreign"),
    pytest.param(discovery(1, "EX1"), HERE, "foreign objective", id="foreign discovery"),
    *[
        pytest.param(message, source, "source not link-local", id=f"{source.address}%{source.interface} {message[0]}")
        for message in (flood(), discovery())
        for source in (
            Source(ROUTED, 40_000, 3),
            Source(IPv6Address("fec0::1"), 40_000, 3),
            Source(IPv6Address("::1"), 40_000, 3),
            Source(IPv6Address("::ffff:169.254.1.1"), 40_000, 3),
            Source(IPv4Address("169.254.1.1"), 40_000, 3),
            Source(IPv4Address("192.0.2.1"), 40_000, 3),
            Source(NEIGHBOUR, 40_000, 0),
        )
    ],
    *[
        pytest.param(flood(1, "AN_ACP", locator), HERE, "locator not link-local", id=f"flood, locator {locator[:2]}")
        for locator in (FAR_LOCATOR, [104, b"\xa9\xfe\1\1", 6, 1], [105, "fe80.example", 6, 1], [106, "x", None, None])
    ],
    pytest.param(discovery(1, "AN_Proxy"), HERE, "not served", id="nobody serves it"),
    *[
        pytest.param(message, HERE, "message type", id=f"type {message[0]}")
        for message in (
            [0],
            response(8),
            [3, 8, ["AN_ACP", 3, 1, 0]],
            [4, 8, ["AN_ACP", 5, 1]],
            [5, 8, ["AN_ACP", 3, 1, 0]],
            [6, 8, [101]],
            [7, 8, 1_000],
            [8, 8, ["AN_ACP", 5, 1, 0]],
            [M_INVALID, 8],
        )
    ],
]


@pytest.mark.parametrize(("message", "source", "reason"), DISCARDED_MULTICASTS)
def test_a_multicast_is_discarded(dull: Instance, message: list[Any], source: Source, reason: str) -> None:
    assert dull.hears(message, source) == Ignore(reason)
    assert dull.rules.floods.get(dull.now) == []


def told(session_id: int) -> list[Any]:
    """Each is a message by TCP, where from, and why it is discarded; the session is that of a question."""
    objective = ["AN_ACP", 1, 1]
    return [
        (response(session_id, [O_DIVERT, FAR_LOCATOR]), HERE, "response with Divert"),
        (response(session_id, [O_DIVERT, LOCATOR]), HERE, "response with Divert"),
        (response(session_id, FAR_LOCATOR), HERE, "locator not link-local"),
        (response(session_id, LOCATOR, FAR_LOCATOR), HERE, "locator not link-local"),
        (response(session_id, [104, b"\xa9\xfe\1\1", 6, 1]), HERE, "locator not link-local"),
        (response(session_id, [105, "neighbour", 6, 1]), HERE, "locator not link-local"),
        (response(session_id, [106, "x", None, None]), HERE, "locator not link-local"),
        (response(session_id, [103, NEIGHBOUR.packed, 6, 0]), HERE, "locator not link-local"),
        (response(session_id), Source(ROUTED, 1, 3), "source not link-local"),
        (response(session_id), Source(NEIGHBOUR, 1, 0), "source not link-local"),
        (response(session_id ^ 1), HERE, "unsolicited response"),
        (response(session_id, initiator=NEIGHBOUR), HERE, "unsolicited response"),
        (response(session_id, LOCATOR, ["AN_Proxy", 1, 1]), HERE, "unsolicited response"),
        (response(session_id, LOCATOR, ["EX1", 1, 1]), HERE, "foreign objective"),
        (response(session_id, LOCATOR, ["AN_ACP", 1, 2]), HERE, "loop count not 1"),
        (flood(), HERE, "message type"),
        (discovery(), HERE, "message type"),
        ([3, session_id, objective], HERE, "message type"),
        ([4, session_id, objective], HERE, "message type"),
        ([5, session_id, objective], HERE, "message type"),
        ([6, session_id, [101]], HERE, "message type"),
        ([7, session_id, 1], HERE, "message type"),
        ([8, session_id, objective], HERE, "message type"),
        ([M_INVALID, session_id], HERE, "message type"),
    ]


@pytest.mark.parametrize("number", range(len(told(0))))
def test_a_unicast_is_discarded(dull: Instance, number: int) -> None:
    question, session_id = dull.asks()
    message, source, reason = told(session_id)[number]
    assert dull.is_told(message, source) == Ignore(reason)
    assert dull.rules.known(dull.now, question) == []


def test_a_flood_is_cached_with_its_tag_and_forgotten_in_time(dull: Instance) -> None:
    (entry,) = dull.hears(flood())
    assert entry.objective == Objective("AN_ACP", 4, 1, "IKEv2")
    assert entry.locator == IPv6Locator(NEIGHBOUR, 17, 15_000)
    assert (entry.interface, entry.expires) == (3, 1210.0)
    assert dull.hears(flood(1, "AN_ACP", [])) != []
    assert len(dull.rules.floods.get(1209.9)) == 2
    assert dull.rules.floods.get(1210.0) == []


def test_a_discovery_is_answered_with_exactly_one_link_local_locator(dull: Instance) -> None:
    """§2.5.2, §2.8.5."""
    answer = dull.hears(discovery())
    assert answer == Response(8, NEIGHBOUR, 210_000, (IPv6Locator(OWN, 17, 15_000),))
    assert not answer.diverted


def test_the_answer_has_the_address_of_the_moment(dull: Instance) -> None:
    dull.hears(discovery())
    moved = IPv6Address("fe80::abcd")
    assert dull.hears(discovery(session_id=9), own=moved).locators[0].address == moved
    assert dull.hears(discovery(session_id=10), own=IPv6Address("::")) == Ignore("not served")


def test_what_was_discovered_is_not_passed_on(dull: Instance) -> None:
    """No Divert: what is only known from others is not answered."""
    question, session_id = dull.asks("AN_Proxy")
    assert dull.is_told(response(session_id)) is question
    assert dull.hears(discovery(1, "AN_Proxy"), Source(IPv6Address("fe80::3"), 1, 4)) == Ignore("not served")


def test_a_discovery_is_answered_once_to_each_that_asks(dull: Instance) -> None:
    assert isinstance(dull.hears(discovery()), Response)
    assert dull.hears(discovery()) == Ignore("answered already")
    assert isinstance(dull.hears(discovery(), Source(IPv6Address("fe80::3"), 40_000, 3)), Response)


def test_answers_are_limited_in_rate(dull: Instance) -> None:
    verdicts = [dull.hears(discovery(session_id=n)) for n in range(100)]
    assert sum(isinstance(each, Response) for each in verdicts) == DULL_LIMITS.relay_rate
    assert verdicts[-1] == Ignore("answer rate exceeded")
    dull.now += 1
    assert isinstance(dull.hears(discovery(session_id=1_000)), Response)


def test_a_question_goes_out_with_a_loop_count_of_1_and_a_link_local_initiator(dull: Instance) -> None:
    message = dull.rules.ask(dull.now, Question("AN_ACP"), OWN)
    assert message is not None
    assert message.objective == Objective("AN_ACP", 1, 1)
    assert message.initiator == OWN
    assert dull.rules.ask(dull.now, Question("AN_ACP"), IPv6Address("::")) is None


def test_questions_are_limited_in_rate_for_each_objective(dull: Instance) -> None:
    asked = [dull.rules.ask(dull.now, Question("AN_ACP"), OWN) for _ in range(50)]
    assert sum(each is not None for each in asked) == DULL_LIMITS.discovery_rate
    assert dull.rules.ask(dull.now, Question("AN_Proxy"), OWN) is not None


def test_responses_are_collected_and_cached_until_they_expire(dull: Instance) -> None:
    question, session_id = dull.asks()
    other = [103, IPv6Address("fe80::3").packed, 6, 1]
    for where in (LOCATOR, other):
        assert dull.is_told(response(session_id, where, ["AN_ACP", 1, 1])) is question
    assert len(dull.rules.known(dull.now, question)) == 2
    dull.rules.forget(question)
    assert dull.is_told(response(session_id)) == Ignore("unsolicited response")
    found = dull.rules.known(dull.now, Question("AN_ACP"))
    assert [each.locator for each in found] == [
        IPv6Locator(NEIGHBOUR, 17, 15_000),
        IPv6Locator(IPv6Address("fe80::3"), 6, 1),
    ]
    assert all(each.link_local and each.interface == 3 and not each.diverted for each in found)
    assert dull.rules.known(dull.now + 5, Question("AN_ACP")) == []


def test_what_was_learnt_on_an_interface_goes_with_it(dull: Instance) -> None:
    _, session_id = dull.asks()
    dull.is_told(response(session_id))
    dull.hears(flood())
    dull.rules.gone(dull.now, frozenset({4}))
    assert dull.rules.floods.get(dull.now)
    assert dull.rules.known(dull.now, Question("AN_ACP"))
    dull.rules.gone(dull.now, frozenset({3}))
    assert dull.rules.floods.get(dull.now) == dull.rules.known(dull.now, Question("AN_ACP")) == []


def test_everything_a_neighbour_can_fill_is_bounded() -> None:
    dull = Instance()
    question, session_id = dull.asks()
    for n in range(1, 1_000):
        locator = [103, IPv6Address((0xFE80 << 112) | n).packed, 6, 1]
        dull.hears(flood(1, "AN_ACP", locator))
        dull.is_told(response(session_id, locator))
        dull.hears(discovery(session_id=n))
    assert len(dull.rules.floods) == DULL_LIMITS.cached_floods
    assert len(dull.rules.known(dull.now, question)) == DULL_LIMITS.cached_locators


# -- the instance's own calls, without a network


@pytest.mark.parametrize(
    ("interface", "objectives"), [("", []), ("eth0", []), ("eth0", "AN_ACP"), ("eth0", [1]), (["eth0"], ["AN_ACP"])]
)
def test_an_instance_needs_one_interface_and_a_list_of_objectives(interface: Any, objectives: Any) -> None:
    with pytest.raises(LocalError) as caught:
        Dull(interface, objectives)
    assert caught.value.code is ErrorCode.badArgument


CALLS = [
    lambda dull: dull.flood(Objective("AN_ACP", 4), 1_000),
    lambda dull: dull.floods(),
    lambda dull: dull.wait_flood("AN_ACP", 1),
    lambda dull: dull.on_flood(None, print),
    lambda dull: dull.serve("AN_ACP", 1),
    lambda dull: dull.stop_serving("AN_ACP"),
    lambda dull: dull.discover("AN_ACP", 1),
]


@pytest.mark.parametrize("call", CALLS)
def test_an_instance_that_does_not_run_says_so(call: Any) -> None:
    with pytest.raises(LocalError) as caught:
        call(Dull("eth0", ["AN_ACP"]))
    assert caught.value.code is ErrorCode.stopped


def test_it_has_no_call_that_sends_anything_but_a_discovery_or_a_flood() -> None:
    public = {name for name in dir(Dull) if not name.startswith("_")}
    assert public == {
        "start", "stop", "port", "interface", "discarded",
        "flood", "floods", "wait_flood", "on_flood",
        "serve", "stop_serving", "discover",
    }  # fmt: skip


def test_every_message_type_is_judged() -> None:
    """`Message` gained no type since these tables were written."""
    judged = {param.values[0][0] for param in DISCARDED_MULTICASTS}
    assert len(judged) == len(Message.__args__)  # type: ignore[attr-defined]
