"""The sections ``[domain]`` and ``[[allow]]``, alone and beside the others."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asa.config import AgentSection, AllowSection, Config, DomainSection, GraspSection, parse
from asa.config.patterns import covered
from asa.config.security import notices
from asa.errors import BadConfig

ORIGIN = '[agent]\nname = "o"\nmode = "origin"\n'
DELEGATOR = '[agent]\nname = "d"\nmode = "delegator"\n'
DOMAIN = '[grasp]\nsubstrate = "domain"\n'
PLAIN = '[grasp]\nsubstrate = "plain"\n'
CORE = '[[allow]]\nmembers = ["core-1"]\norigin = ["*"]\nparams = true\n'
ALL = '[[allow]]\nmembers = ["*"]\nask = "1Gbit"\n'
PATTERN = "a name, or a pattern of names with *, ? or [...], at most 127 characters"
WITHOUT = 'one [[allow]] at least with it, or [grasp] substrate = "plain"'
NO_ORIGIN = ("names no origin: nobody's capacity would count", f"origin: {WITHOUT}")
NO_PARAMS = ("names nobody who may set the parameters", f"params: {WITHOUT}")


def problems(text: str) -> list[tuple[str, str, str]]:
    with pytest.raises(BadConfig) as error:
        parse(text, "asa.toml")
    return [(each["key"], each["problem"], each["allowed"]) for each in error.value.details["problems"]]


def test_every_key_is_read() -> None:
    config = parse(
        f"""{DELEGATOR}{DOMAIN}
        [domain]
        identity = "/srv/identity"
        [[allow]]
        members = ["core-[12]", "spare?"]
        origin = ["wan", "lan-*"]
        params = true
        [[allow]]
        members = ["*"]
        ask = "2.5Gbit"
        audit = false
        give = true
        """,
        "x",
    )
    assert config.domain == DomainSection(Path("/srv/identity"))
    assert config.grasp.substrate == "domain"
    assert config.allow == (
        AllowSection(("core-[12]", "spare?"), ("wan", "lan-*"), True, None, True),
        AllowSection(("*",), (), False, 2_500_000_000, False, True),
    )


def test_what_is_left_out_allows_what_needs_no_trust() -> None:
    (only,) = parse(f'{ORIGIN}[[allow]]\nmembers = ["x"]\n', "x").allow
    assert (only.origin, only.params, only.ask, only.audit) == ((), False, None, True)
    assert parse(ORIGIN, "x").domain.identity == Path("/var/lib/asa/identity")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [("allow[0].members", "is missing", "required")]),
        ("members = []", [("allow[0].members", "is empty", 'patterns of names, such as ["core-1", "rack-*"]')]),
        ('members = "x"', [("allow[0].members", "is 'x'", "a list of patterns of names")]),
        ('members = ["a b"]', [("allow[0].members", "[0] is 'a b'", PATTERN)]),
        ('members = [""]', [("allow[0].members", "[0] is ''", PATTERN)]),
        ('members = ["x", "x"]', [("allow[0].members", "[1] is 'x', as [0] is", "each once")]),
        ('members = ["x"]\norigin = true', [("allow[0].origin", "is true", "a list of patterns of pools")]),
        ('members = ["x"]\nparams = "yes"', [("allow[0].params", "is 'yes'", "true or false")]),
        ('members = ["x"]\naudit = 0', [("allow[0].audit", "is 0", "true or false")]),
        ('members = ["x"]\ngive = "no"', [("allow[0].give", "is 'no'", "true or false")]),
        (
            'members = ["x"]\nmember = "y"',
            [("allow[0].member", "does not exist; did you mean members?", "members, origin, params, ask, audit, give")],
        ),
    ],
)
def test_a_wrong_section_is_told(text: str, expected: list[tuple[str, str, str]]) -> None:
    assert problems(f"{ORIGIN}[[allow]]\n{text}\n") == expected


@pytest.mark.parametrize("rate", ["-1", '"fast"', "1.5", "true"])
def test_a_limit_is_a_rate(rate: str) -> None:
    ((key, _, allowed),) = problems(f'{ORIGIN}[[allow]]\nmembers = ["x"]\nask = {rate}\n')
    assert (key, allowed[:3]) == ("allow[0].ask", "0..")


def test_a_limit_of_nothing_keeps_members_from_asking_at_all() -> None:
    assert parse(f'{ORIGIN}[[allow]]\nmembers = ["x"]\nask = 0\n', "x").allow[0].ask == 0


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ("", [("allow", *NO_ORIGIN), ("allow", *NO_PARAMS)]),
        (ALL, [("allow", *NO_ORIGIN), ("allow", *NO_PARAMS)]),
        ('[[allow]]\nmembers = ["c"]\norigin = ["wan"]\n', [("allow", *NO_PARAMS)]),
        ('[[allow]]\nmembers = ["c"]\nparams = true\n', [("allow", *NO_ORIGIN)]),
    ],
)
def test_a_delegator_of_a_domain_needs_somebody_to_obey(sections: str, expected: list[tuple[str, str, str]]) -> None:
    assert problems(f"{DELEGATOR}{DOMAIN}{sections}") == expected
    parse(f"{DELEGATOR}{PLAIN}{sections}", "x")
    parse(f"{ORIGIN}{DOMAIN}{sections}", "x")


def test_two_sections_may_share_the_work() -> None:
    origin, params = ('[[allow]]\nmembers = ["c"]\norigin = ["wan"]\n', '[[allow]]\nmembers = ["p"]\nparams = true\n')
    assert len(parse(f"{DELEGATOR}{DOMAIN}{origin}{params}", "x").allow) == 2


def allowing(*members: list[str]) -> str:
    return ORIGIN + "".join(f"[[allow]]\nmembers = {json.dumps(each)}\n" for each in members)


def unreached(at: int, *before: int) -> tuple[str, str, str]:
    named = " and ".join(f"allow[{each}]" for each in before)
    return (f"allow[{at}]", "is never reached", f"a place before {named}, which leaves it no member")


def test_a_section_that_is_never_reached_is_told() -> None:
    assert problems(f"{ORIGIN}{ALL}{CORE}") == [unreached(1, 0)]
    assert len(parse(f"{ORIGIN}{CORE}{ALL}", "x").allow) == 2


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ([["**"], ["x"]], [unreached(1, 0)]),
        ([["?*"], ["rack-*"]], [unreached(1, 0)]),
        ([["?*"], ["*"]], [unreached(1, 0)]),
        ([["rack-*"], ["rack-7"]], [unreached(1, 0)]),
        ([["rack-[5-9]"], ["rack-7"]], [unreached(1, 0)]),
        ([["rack-?"], ["rack-[5-9]"]], [unreached(1, 0)]),
        ([["rack-[5-9]"], ["rack-[5-9]"]], [unreached(1, 0)]),
        ([["a", "rack-*"], ["core-*"], ["core-1", "rack-7"]], [unreached(2, 0, 1)]),
        ([["*"], ["x"], ["y"]], [unreached(1, 0), unreached(2, 0)]),
        ([["c*"], ["rack-*"], ["rack-7"], ["core-1"]], [unreached(2, 1), unreached(3, 0)]),
    ],
)
def test_a_section_whose_members_are_all_named_before_is_told(
    members: list[list[str]], expected: list[tuple[str, str, str]]
) -> None:
    assert problems(allowing(*members)) == expected


@pytest.mark.parametrize(
    "members",
    [
        [["rack-7"], ["rack-*"]],
        [["rack-*"], ["rack-7", "core-1"]],
        [["rack-?"], ["rack-10"]],
        [["rack-?"], ["rack-*"]],
        [["rack-?*"], ["rack-*"]],
        [["[ab]*"], ["c"]],
        [["*ab*"], ["[ab]"]],
        [["*]"], ["[ab]"]],
        [["*!*"], ["[!a]"]],
        [["?"], ["*"]],
        [["Rack-*"], ["rack-7"]],
    ],
)
def test_a_section_that_somebody_can_reach_is_right(members: list[list[str]]) -> None:
    assert len(parse(allowing(*members), "x").allow) == len(members)


@given(*[st.text("ab*?[]!-", min_size=1, max_size=6)] * 2, st.text("ab-]!", min_size=1, max_size=4))
def test_a_pattern_is_called_covered_only_if_it_is(pattern: str, by: str, name: str) -> None:
    if covered(pattern, by) and fnmatchcase(name, pattern):
        assert fnmatchcase(name, by)


def test_rules_without_a_domain_are_no_error_and_are_told_of() -> None:
    (told,) = notices("plain", parse(f"{DELEGATOR}{PLAIN}{CORE}", "x").allow)
    assert "[[allow]] has no effect" in told
    assert notices("domain", parse(f"{DELEGATOR}{DOMAIN}{CORE}", "x").allow) == []
    assert notices("plain", parse(f"{DELEGATOR}{PLAIN}", "x").allow) == []


def test_a_section_that_is_wrong_hides_nothing_and_is_told_once() -> None:
    found = problems(f'{DELEGATOR}{DOMAIN}[[allow]]\nmembers = ["c"]\norigin = [1]\nparams = true\n')
    assert [key for key, _, _ in found] == ["allow[0].origin"]


def test_what_is_made_is_checked_like_what_is_read() -> None:
    with pytest.raises(BadConfig):
        AllowSection(())
    with pytest.raises(BadConfig):
        AllowSection(("x",), ask=-1)
    with pytest.raises(BadConfig):
        Config(AgentSection("d", "delegator"), GraspSection(substrate="domain"))
