from __future__ import annotations

import json
from dataclasses import FrozenInstanceError
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asa.errors import BadConfig, BadRequest
from asa.traffic import TrafficClass, TrafficClasses, UnknownClass, classes_from

KNOWN = "known classes: control, data, default, voice, each also with global_ before it"
DSCP = "an integer 0..63"
KEYS = "dscp, keep, guarantee, ceiling, priority"
GUARANTEE = "an integer 1..100 percent of the rate that is reserved"
CEILING = "an integer 100..100000 percent of the rate that is reserved"
PRIORITY = "an integer 0..6, where 0 borrows first"
NAME = "1..63 lower-case letters, digits, - _ or ., without global_ before it"


def problems(value: Any) -> dict[str, tuple[str, str]]:
    """What is wrong with ``value``, and what is allowed, by key."""
    with pytest.raises(BadConfig) as error:
        classes_from(value)
    found = error.value.details["problems"]
    assert json.loads(json.dumps(found)) == found
    assert error.value.message.startswith("classes: ")
    assert error.value.message.isprintable()
    return {each["key"]: (each["problem"], each["allowed"]) for each in found}


@pytest.mark.parametrize(("name", "dscp"), [("voice", 46), ("control", 26), ("data", 18), ("default", 0)])
def test_the_built_in_classes_have_their_code_points(name: str, dscp: int) -> None:
    found = TrafficClasses().find(name)
    assert found == TrafficClass(name, dscp, keep=False)
    assert str(found) == name


def test_no_class_is_no_marking() -> None:
    assert TrafficClasses().find() == TrafficClass("default", 0)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("voise", f"did you mean voice? {KNOWN}"),
        ("VOICE", f"did you mean voice? {KNOWN}"),
        ("global_date", f"did you mean global_data? {KNOWN}"),
        ("global-voice", f"did you mean global_voice? {KNOWN}"),
        ("global_global_voice", f"did you mean global_voice? {KNOWN}"),
        ("", KNOWN),
        ("global_", f"did you mean global_data? {KNOWN}"),
        ("46", KNOWN),
        ("x" * 1_000, KNOWN),
    ],
)
def test_scenario_12_an_unknown_class_is_refused_naming_the_known_ones(name: str, hint: str) -> None:
    with pytest.raises(UnknownClass) as error:
        TrafficClasses().find(name)
    assert isinstance(error.value, BadRequest)
    assert (error.value.code, error.value.status) == ("unknown-class", 400)
    assert error.value.hint == hint
    assert len(error.value.message) < 100


def test_scenario_12_global_voice_is_46_and_kept_on_leaving() -> None:
    found = TrafficClasses().find("global_voice")
    assert (found.name, found.dscp, found.keep) == ("voice", 46, True)
    assert str(found) == "global_voice"


def test_a_table_takes_the_place_of_the_built_in_classes() -> None:
    table = classes_from({"gold": {"dscp": 40, "keep": True}, "silver": {"dscp": 32}})
    assert table == TrafficClasses((TrafficClass("gold", 40, True), TrafficClass("silver", 32)))
    assert table.find("gold") == table.find("global_gold") == TrafficClass("gold", 40, True)
    assert table.find("default").dscp == 0
    with pytest.raises(UnknownClass):
        table.find("voice")


def test_a_class_says_how_its_packets_share_a_link() -> None:
    assert all((each.guarantee, each.ceiling, each.priority) == (100, 100, 1) for each in TrafficClasses().classes)
    table = {
        "bulk": {"dscp": 8, "guarantee": 1, "ceiling": 100_000, "priority": 6},
        "default": {"dscp": 0, "priority": 0},
    }
    classes = classes_from(table)
    bulk = classes.find("global_bulk")
    assert (bulk.guarantee, bulk.ceiling, bulk.priority, bulk.keep) == (1, 100_000, 6, True)
    assert (classes.find().priority, classes.find().guarantee) == (0, 100)


def test_the_default_may_be_written_down_too() -> None:
    assert classes_from({"default": {"dscp": 0}}).find() == classes_from({}).find() == TrafficClass("default", 0)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, {"": ("is None", "a section for each class, such as [classes.voice]")}),
        ({"voice": 46}, {"voice": ("is 46", f"a section with dscp and, where wanted, {KEYS[6:]}")}),
        ({"voice": {}}, {"voice.dscp": ("is missing", DSCP)}),
        ({"voice": {"dscp": 64}}, {"voice.dscp": ("is 64; did you mean 16, whose TOS octet that is?", DSCP)}),
        ({"voice": {"dscp": 184}}, {"voice.dscp": ("is 184; did you mean 46, whose TOS octet that is?", DSCP)}),
        ({"voice": {"dscp": 185}}, {"voice.dscp": ("is 185", DSCP)}),
        ({"voice": {"dscp": 256}}, {"voice.dscp": ("is 256", DSCP)}),
        ({"voice": {"dscp": -1}}, {"voice.dscp": ("is -1", DSCP)}),
        ({"voice": {"dscp": "46"}}, {"voice.dscp": ("is '46'", DSCP)}),
        ({"voice": {"dscp": True}}, {"voice.dscp": ("is True", DSCP)}),
        ({"voice": {"dscp": 46, "keep": 1}}, {"voice.keep": ("is 1", "true or false")}),
        ({"voice": {"dscp": 46, "keeps": True}}, {"voice.keeps": ("does not exist; did you mean keep?", KEYS)}),
        ({"voice": {"dscp": 46, "colour": 1}}, {"voice.colour": ("does not exist", KEYS)}),
        ({"voice": {"dscp": 46, "guarantee": 0}}, {"voice.guarantee": ("is 0", GUARANTEE)}),
        ({"voice": {"dscp": 46, "guarantee": 101}}, {"voice.guarantee": ("is 101", GUARANTEE)}),
        ({"voice": {"dscp": 46, "ceiling": 99}}, {"voice.ceiling": ("is 99", CEILING)}),
        ({"voice": {"dscp": 46, "ceiling": 100_001}}, {"voice.ceiling": ("is 100001", CEILING)}),
        ({"voice": {"dscp": 46, "ceiling": 100.5}}, {"voice.ceiling": ("is float", CEILING)}),
        ({"voice": {"dscp": 46, "priority": -1}}, {"voice.priority": ("is -1", PRIORITY)}),
        ({"voice": {"dscp": 46, "priority": 7}}, {"voice.priority": ("is 7", PRIORITY)}),
        ({"voice": {"dscp": 46, "priority": True}}, {"voice.priority": ("is True", PRIORITY)}),
        ({"Voice": {"dscp": 46}}, {"'Voice'": ("is 'Voice'", NAME)}),
        ({"global_voice": {"dscp": 46}}, {"'global_voice'": ("is 'global_voice'", NAME)}),
        ({"": {"dscp": 46}}, {"''": ("is ''", NAME)}),
        ({"\a": {"dscp": 46}}, {"'\\x07'": ("is '\\x07'", NAME)}),
        ({"default": {"dscp": 8}}, {"default.dscp": ("is 8", "0 for default")}),
        ({"bulk": {"dscp": 0}}, {"bulk.dscp": ("is 0, as that of default", "each DSCP once")}),
        ({"a": {"dscp": 8}, "b": {"dscp": 8}}, {"b.dscp": ("is 8, as that of a", "each DSCP once")}),
    ],
)
def test_what_is_wrong_is_told_with_what_is_allowed(value: Any, expected: dict[str, tuple[str, str]]) -> None:
    assert problems(value) == expected


def test_every_problem_is_told_at_once() -> None:
    found = problems({"A": {"dscp": 99, "x": 1}, "b": {"keep": 0}, "c": {"dscp": 1}, "d": {"dscp": 1}, "e": None})
    assert list(found) == ["'A'", "'A'.x", "'A'.dscp", "b.dscp", "b.keep", "e", "d.dscp"]


@pytest.mark.parametrize(
    "values",
    [
        ("Voice", 46),
        ("voice", 64),
        ("voice", True),
        ("voice", 46, 1),
        ("default", 1),
        ("global_x", 1),
        (1, 1),
        ("x", 1, False, 0),
        ("x", 1, False, 100, 99),
        ("x", 1, False, 100, 100, 7),
    ],
)
def test_a_class_is_checked_when_made(values: tuple[Any, ...]) -> None:
    with pytest.raises(BadConfig):
        TrafficClass(*values)


def test_a_table_is_checked_when_made_and_cannot_be_changed() -> None:
    with pytest.raises(BadConfig):
        TrafficClasses((TrafficClass("a", 1), TrafficClass("a", 2)))
    with pytest.raises(BadConfig):
        TrafficClasses((TrafficClass("a", 1), TrafficClass("b", 1)))
    with pytest.raises(FrozenInstanceError):
        TrafficClasses().find().dscp = 1  # type: ignore[misc]  # Wrong on purpose.
    with pytest.raises(TypeError):
        TrafficClasses().by_name["x"] = TrafficClass("x", 1)  # type: ignore[index]  # Wrong on purpose.


NAMES = st.from_regex("[a-z0-9][a-z0-9_.-]{0,20}", fullmatch=True).filter(
    lambda name: name != "default" and not name.startswith("global_")
)
ENTRIES = st.tuples(NAMES, st.integers(1, 63), st.booleans())


@given(st.lists(ENTRIES, max_size=20, unique_by=(lambda each: each[0], lambda each: each[1])))
def test_each_class_is_found_by_its_name_and_by_its_text(entries: list[tuple[str, int, bool]]) -> None:
    table = classes_from({name: {"dscp": dscp, "keep": keep} for name, dscp, keep in entries})
    for name, dscp, keep in entries:
        assert table.find(name) == TrafficClass(name, dscp, keep)
        assert table.find(f"global_{name}") == TrafficClass(name, dscp, True)
        assert table.find(str(table.find(name))) == table.find(name)
    assert len(table.by_name) == len(entries) + 1
