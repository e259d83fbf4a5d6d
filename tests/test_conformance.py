"""docs/grasp-conformance.md: whole, and true of the sources it names; and what no other test shows of it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv6Address
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from grasp.calls import FloodItem, Peer, Registration
from grasp.constants import F_DISC, F_NEG
from grasp.core import Core, core
from grasp.discovery import Source
from grasp.errors import ErrorCode, GraspError, LocalError, PeerError
from grasp.limits import Limits
from grasp.transport.interfaces import Interface
from grasp.wire import (
    NO_VALUE,
    Discovery,
    Flood,
    FloodEntry,
    Invalid,
    IPv6Locator,
    Message,
    Objective,
    RequestNegotiation,
    Response,
    decode_message,
    encode_message,
)
from tests.wire.by_hand import pack

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "grasp-conformance.md"

NOT_OURS, NOT_MET = "not ours: ", "not met: "
NO_TEST = "—"
LEVELS = {"MUST", "MUST NOT", "SHOULD", "SHOULD NOT", "RECOMMENDED", "NOT RECOMMENDED"}
QUOTED = re.compile(r"`([^`]*)`")
CODE = re.compile(r"(grasp/[\w/]+\.py)(?: ([\w.]+))?")
TEST = re.compile(r"(tests/[\w/]+\.py)::(test_\w+)")


# -- the page


@dataclass(frozen=True)
class Row:
    section: str
    id: str
    level: str
    requirement: str
    where: str
    test: str


def rows(text: str) -> Iterator[Row]:
    """Every row of every table; a line that is cut or has a cell too many is an error."""
    section = ""
    for line in text.splitlines():
        if line.startswith("## "):
            section = line[3:].split()[0]
        elif line.startswith("|") and not line.startswith(("| ID |", "| --- |")):
            before, *cells, behind = line.split("|")
            assert (before, behind, len(cells)) == ("", "", 5), f"not a row of five cells: {line}"
            yield Row(section, *(cell.strip() for cell in cells))


@cache
def names(path: Path) -> frozenset[str]:
    """The functions, classes, methods and variables a file defines, methods as ``Class.method``."""
    found = set()

    def note(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                found.add(prefix + node.name)
                if isinstance(node, ast.ClassDef):
                    note(node.body, f"{prefix}{node.name}.")
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            found.update(prefix + target.id for target in targets if isinstance(target, ast.Name))

    note(ast.parse(path.read_text()).body, "")
    return frozenset(found)


def faults(text: str) -> list[str]:
    """What is wrong with the page, a line each."""
    found: list[str] = []
    seen: set[str] = set()
    for row in rows(text):
        if row.id in seen:
            found.append(f"{row.id}: a second time")
        seen.add(row.id)
        if not re.fullmatch(rf"G{re.escape(row.section)}[a-z]", row.id):
            found.append(f"{row.id}: not an ID of section {row.section}")
        if row.level not in LEVELS:
            found.append(f"{row.id}: no level {row.level}")
        found += [f"{row.id}: {each}" for each in (*_faults_of_where(row), *_faults_of_test(row))]
    return found


def _faults_of_where(row: Row) -> Iterator[str]:
    if "TBD" in row.where:
        yield "where is to be done"
    named = 0
    for quoted in QUOTED.findall(row.where):
        if "/" not in quoted:
            continue
        match = CODE.fullmatch(quoted)
        if match is None or not (ROOT / match[1]).is_file():
            yield f"no such file: {quoted}"
        elif match[2] and match[2] not in names(ROOT / match[1]):
            yield f"no such name: {quoted}"
        named += 1
    if not named and not row.where.startswith((NOT_OURS, NOT_MET)):
        yield "names no code"


def _faults_of_test(row: Row) -> Iterator[str]:
    if "TBD" in row.test:
        yield "test is to be done"
    elif row.test == NO_TEST:
        if not row.where.startswith((NOT_OURS, NOT_MET)):
            yield "is met, but no test shows it"
    else:
        if row.where.startswith(NOT_OURS):
            yield "is not ours, but has a test"
        for each in row.test.split(", "):
            match = TEST.fullmatch(each.strip("`"))
            if match is None or not (ROOT / match[1]).is_file():
                yield f"no such test file: {each}"
            elif match[2] not in names(ROOT / match[1]):
                yield f"no such test: {each}"


def test_every_row_is_done_and_what_it_names_exists() -> None:
    text = PAGE.read_text()
    assert len(list(rows(text))) > 150
    assert faults(text) == []


GOOD = "| G2.7a | MUST | x | `grasp/session.py SessionIds.new` (y) | `tests/test_conformance.py::test_a_good_row` |"
FAULTY = {
    "nothing done": ("| G2.7a | MUST | x | TBD | TBD |", ["is to be done", "names no code", "is to be done"]),
    "no such file": (GOOD.replace("session.py", "sessions.py"), ["no such file"]),
    "no such method": (GOOD.replace("Ids.new", "Ids.old"), ["no such name"]),
    "no such test file": (GOOD.replace("test_conformance", "test_conformity"), ["no such test file"]),
    "no such test": (GOOD.replace("_good_row", "_bad_row"), ["no such test"]),
    "one of two tests": (GOOD.replace("::test_a_good_row`", "::test_a_good_row`, `tests/x.py::test_y`"), ["no such"]),
    "words for a test": (GOOD.replace("`tests/test_conformance.py::test_a_good_row`", "all"), ["no such test file"]),
    "no test": (GOOD.replace("`tests/test_conformance.py::test_a_good_row`", "—"), ["no test shows it"]),
    "no code": (GOOD.replace("`grasp/session.py SessionIds.new`", "somewhere"), ["names no code"]),
    "not ours, tested": (GOOD.replace("`grasp/session.py SessionIds.new`", "not ours: ASAs"), ["names no", "has a"]),
    "twice": (f"{GOOD}\n{GOOD}", ["a second time"]),
    "another section": (GOOD.replace("G2.7a", "G2.8a"), ["not an ID of section 2.7"]),
    "no level": (GOOD.replace("MUST", "MAY"), ["no level"]),
}


def test_a_good_row() -> None:
    assert faults(f"## 2.7 Session identifier\n\n{GOOD}\n") == []


@pytest.mark.parametrize("name", FAULTY)
def test_a_faulty_row_is_found(name: str) -> None:
    text, expected = FAULTY[name]
    found = faults(f"## 2.7 Session identifier\n\n{text}\n")
    if name == "not ours, tested":
        found = ["names no", *found]
    assert len(found) == len(expected)
    assert all(part in fault for part, fault in zip(expected, found, strict=True))


@pytest.mark.parametrize("line", ["| G2.7a | MUST | x | y |", GOOD + " z |", GOOD[:-2]])
def test_a_broken_row_is_found(line: str) -> None:
    with pytest.raises(AssertionError):
        faults(f"## 2.7 Session identifier\n\n{line}\n")
