"""docs/security.md names a test for each line of its threat model, and each of them exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCUMENT = (ROOT / "docs" / "security.md").read_text()
ROWS = [line for line in DOCUMENT.splitlines() if re.match(r"\| [A-Z][0-9]+ \|", line)]


def test_every_threat_is_a_row_with_a_number_of_its_own() -> None:
    numbers = [row.split("|")[1].strip() for row in ROWS]
    assert len(numbers) >= 30
    assert len(set(numbers)) == len(numbers)
    assert {number[0] for number in numbers} == {"L", "P", "M", "U", "O"}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip())
def test_every_threat_has_what_is_done_about_it_and_tests_that_exist(row: str) -> None:
    _, _, threat, done, tests, _ = (each.strip() for each in row.split("|"))
    assert len(threat) > 10
    assert len(done) > 5
    named = re.findall(r"`(tests/[^`:]+\.py)::(\w+)`", tests)
    assert named, "no test"
    for file, name in named:
        tree = ast.parse((ROOT / file).read_text())
        found = {each.name for each in ast.walk(tree) if isinstance(each, ast.FunctionDef)}
        assert name in found, f"{file} has no {name}"
