"""Who may do what, by the name in its certificate."""

from __future__ import annotations

import pytest

from asa.authority import Authority
from asa.config.security import AllowSection
from objectives import NodeId
from objectives.fields import MAX_RATE

RULES = (
    AllowSection(("core-1",), origin=("*",), params=True),
    AllowSection(("core-[23]", "spare?"), origin=("wan", "lan-*")),
    AllowSection(("rack-1",), ask=0, audit=False),
    AllowSection(("rack-*", "core-2"), ask=5_000, params=True),
)
ME = "rack-9"
DELEGATOR = Authority(RULES, ME, "delegator")
ORIGIN = Authority(RULES, "core-9", "origin")
PLAIN = Authority(None, ME, "delegator")


@pytest.mark.parametrize(
    ("name", "pool", "may"),
    [
        ("core-1", "anything", True),
        ("core-2", "wan", True),
        ("core-3", "lan-7", True),
        ("core-3", "lan", False),
        ("core-4", "wan", False),
        ("spare1", "wan", True),
        ("spare12", "wan", False),
        ("Core-1", "wan", False),
        ("core-1x", "wan", False),
        ("rack-2", "wan", False),
        ("", "wan", False),
        (ME, "wan", False),
    ],
)
def test_only_who_is_named_brings_capacity_into_the_pools_that_are_named(name: str, pool: str, may: bool) -> None:
    assert DELEGATOR.may_seed(name, pool) is may


def test_only_who_is_named_sets_the_parameters() -> None:
    names = ("core-1", "core-2", "rack-1", "rack-7", "stranger")
    assert [each for each in names if DELEGATOR.may_set_params(each)] == ["core-1", "rack-7"]


def test_the_first_section_that_names_a_member_decides() -> None:
    assert (DELEGATOR.ask_limit("rack-1"), DELEGATOR.ask_limit("rack-2"), DELEGATOR.ask_limit("core-2")) == (
        0,
        5_000,
        None,
    )


def test_a_member_that_no_section_names_may_ask_and_audit_and_nothing_else() -> None:
    for authority in (DELEGATOR, Authority((), ME, "delegator")):
        assert authority.ask_limit("stranger") is None
        assert authority.may_audit("stranger")
        assert not authority.may_seed("stranger", "wan")
        assert not authority.may_set_params("stranger")


def test_only_who_is_kept_from_it_does_not_audit() -> None:
    assert [each for each in ("core-1", "rack-1", "rack-2") if not DELEGATOR.may_audit(each)] == ["rack-1"]


@pytest.mark.parametrize(("ask", "given", "taken"), [(None, None, True), (5, None, False), (5, True, True)])
@pytest.mark.parametrize("mode", ["delegator", "origin"])
def test_capacity_of_who_has_a_limit_is_taken_only_if_that_is_said(
    ask: int | None, given: bool | None, taken: bool, mode: str
) -> None:
    authority = Authority((AllowSection(("rack-1",), ask=ask, give=given),), ME, mode)
    assert authority.may_give("rack-1") is taken
    assert authority.may_give("stranger")


def test_capacity_of_who_may_not_give_is_not_taken_with_or_without_a_limit() -> None:
    authority = Authority((AllowSection(("*",), give=False),), ME, "delegator")
    assert (authority.may_give("rack-1"), authority.may_give(ME)) == (False, True)
    assert PLAIN.may_give("x")


def test_an_agent_itself_may_what_its_mode_says_whatever_the_rules_are() -> None:
    assert ORIGIN.may_seed("core-9", "wan")
    assert ORIGIN.may_set_params("core-9")
    assert not DELEGATOR.may_set_params(ME)
    assert DELEGATOR.ask_limit(ME) is None


def test_over_a_substrate_that_knows_nobody_everything_is_allowed() -> None:
    assert not PLAIN.enforced
    assert PLAIN.may_seed("x", "wan")
    assert PLAIN.may_set_params("x")
    assert PLAIN.may_audit("x")
    assert PLAIN.ask_limit("x") is None


def test_what_is_lent_is_counted_only_where_members_are_known() -> None:
    assert [PLAIN.lends("x"), DELEGATOR.lends("core-1"), DELEGATOR.lends("rack-2")] == [None, MAX_RATE, 5_000]


@pytest.mark.parametrize("member", ["rack-2", "RACK-1", "rack-1x", "", None])
def test_a_message_of_another_than_the_sessions_member_is_told_so(member: str | None) -> None:
    why = DELEGATOR.impostor(member, NodeId("rack-1", "0" * 16))
    assert why.startswith("not-you: ")


def test_a_member_speaks_for_each_of_its_instances() -> None:
    assert not DELEGATOR.impostor("rack-1", NodeId("rack-1", "0" * 16))
    assert not DELEGATOR.impostor("rack-1", NodeId("rack-1", "f" * 16))


def test_over_a_substrate_that_knows_nobody_everybody_is_who_it_says() -> None:
    assert not PLAIN.impostor(None, NodeId("rack-1", "0" * 16))


def test_a_name_that_would_spoil_a_log_is_not_repeated_as_it_is() -> None:
    why = DELEGATOR.impostor("x\n2026 INFO root: all is well" + "y" * 500, NodeId("rack-1", "0" * 16))
    assert why.isprintable()
    assert len(why) < 120
