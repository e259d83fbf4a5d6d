"""docs/tegu.md names tests and files that are there, and has every scenario."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parent.parent
ROOT = TESTS.parent
TEXT = (ROOT / "docs" / "tegu.md").read_text()
ROW = re.compile(r"^\| (\d+) \| [^|]+ \| ([^|]+) \|$", re.MULTILINE)
ROWS = {int(number): shown for number, shown in ROW.findall(TEXT.partition("## The acceptance scenarios")[2])}


def named(text: str) -> list[tuple[str, str]]:
    """File and function of each test, the file being the one named last before it."""
    found, file = [], ""
    for name in re.findall(r"`([^`]+)`", text):
        if name.endswith(".py"):
            file = name
        elif name.startswith("test_"):
            found.append((file, name))
    return found


def functions(file: Path) -> set[str]:
    return set(re.findall(r"^def (test_\w+)\(", file.read_text(), re.MULTILINE))


def test_every_scenario_has_a_line_with_a_test():
    assert list(ROWS) == list(range(1, 41))
    assert [number for number, shown in ROWS.items() if not named(shown)] == []


def test_every_test_that_is_named_is_there():
    missing = [(file, name) for file, name in named(TEXT) if name not in functions(TESTS / file)]
    assert named(TEXT)
    assert missing == []


def test_every_test_of_a_scenario_is_in_its_line():
    for file in sorted(Path(__file__).parent.glob("test_*.py")):
        for name in functions(file):
            if number := re.match(r"test_scenario_(\d\d)_", name):
                assert (f"scenarios/{file.name}", name) in named(ROWS[int(number[1])])


def test_every_file_and_name_of_the_agent_is_there():
    text = TEXT.partition("## The acceptance scenarios")[0]
    paths = re.findall(r"`(asa/[\w/.]*)`", text)
    assert [each for each in paths if not (ROOT / each).exists()] == []
    for path, name in re.findall(r"`(asa/[\w/.]+\.py)` `(\w+)`", text):
        assert re.search(rf"def {name}\b|class {name}\b", (ROOT / path).read_text()), (path, name)


def test_every_message_of_the_flow_and_queue_manager_has_a_line():
    section = TEXT.partition("## Messages of the flow and queue manager")[2].partition("\n## ")[0]
    messages = (
        "GEN_FMOD BW_RESERVE BWOW_RESERVE PT_RESERVE ST_RESERVE IE_RESERVE SK_RESERVE SETQUEUES CHOSTLIST IP2MACMAP"
    )
    assert [each for each in messages.split() if f"\n| {each} | " not in section] == []


def test_nothing_is_left_for_later():
    assert re.findall("`later|later:|with enforcement", TEXT) == []
