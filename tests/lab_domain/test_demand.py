"""Files of reservations, and the day that comes with the lab."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from examples.day import DAY, HOUR, NODES, day
from lab.domain.demand import COLUMNS, DemandError, Row, demand, read
from lab.domain.scenario import DAY as FILE
from lab.domain.scenario import wanted
from lab.domain.settings import settings

CSV = """\
# what a Monday looks like
node, pool, rate, start, end, endpoints, at, label

a,wan,2.5Gbit,1h30m,2h,10.0.0.0/8 > 10.9.0.1,1h,meeting
b,lan,300,60,never,,,
a,wan,1Mbit,0,1
"""
JSON = [
    {
        "node": "a", "pool": "wan", "rate": "2500Mbit", "start": 5_400, "end": "2h",
        "endpoints": ["10.0.0.0/8", "10.9.0.1"], "at": "1h", "label": "meeting",
    },
    {"node": "b", "pool": "lan", "rate": 300, "start": 60, "end": None},
    {"node": "a", "pool": "wan", "rate": 1_000_000, "start": 0, "end": 1},
]  # fmt: skip
ROWS = (
    Row(3, "a", "wan", 1_000_000, 0, 1),
    Row(2, "b", "lan", 300, 60, None, at=60),
    Row(1, "a", "wan", 2_500_000_000, 5_400, 7_200, "10.0.0.0/8", "10.9.0.1", 3_600, "meeting"),
)


def test_csv_and_json_say_the_same_in_order_of_when_it_is_asked_for(tmp_path):
    (tmp_path / "d.csv").write_text(CSV)
    (tmp_path / "d.json").write_text(json.dumps(JSON))
    for name in "d.csv", "d.json":
        found = read(tmp_path / name, "ab")
        assert found.rows == ROWS
        assert found.pools == ("wan", "lan")
        assert found.last == 3_600


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"node": "c"}, "node 'c' is no agent of this network; there are a, b"),
        ({"node": None}, "node is missing"),
        ({"pool": "w an"}, "pool 'w an'"),
        ({"rate": "10GB"}, "bytes are not accepted"),
        ({"rate": 0}, "rate 0"),
        ({"rate": True}, "rate True"),
        ({"start": "-1"}, "start '-1'"),
        ({"start": "noon"}, "start 'noon': seconds"),
        ({"start": 1.5}, "start 1.5"),
        ({"start": "60w"}, "within a year"),
        ({"end": 10}, "it ends at 10 s, not after its start at 10 s"),
        ({"at": 11}, "asked for at 11 s, after its start"),
        ({"endpoints": "here"}, "SOURCE>DESTINATION"),
        ({"endpoints": ["a", "b", "c"]}, "SOURCE>DESTINATION"),
        ({"label": "two\nlines"}, "label must be a line"),
        ({"colour": "red"}, "no column is called 'colour'"),
    ],
)
def test_a_wrong_value_is_told_with_the_number_of_its_reservation(change, wrong):
    good = {"node": "a", "pool": "wan", "rate": 1, "start": 10, "end": 20}
    assert len(demand("x", [good], "ab").rows) == 1
    with pytest.raises(DemandError, match="x: reservation 2: ") as caught:
        demand("x", [good, good | change], "ab")
    assert wrong in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content"), [("d.csv", ""), ("d.csv", "node,pool\n"), ("d.json", "[]"), ("d.json", "{}"), ("d.json", "[")]
)
def test_a_file_without_reservations_is_refused(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    with pytest.raises(DemandError):
        read(tmp_path / name, "ab")


# -- the day


def test_the_file_is_what_its_generator_writes():
    made = subprocess.run(
        [sys.executable, "-m", "examples.day"], cwd=FILE.parents[1], capture_output=True, text=True, check=True
    )
    assert FILE.read_text() == made.stdout


def test_the_day_is_hundreds_of_reservations_more_at_day_than_at_night_and_some_ahead_and_for_ever():
    rows = read(FILE, NODES).rows
    assert 200 <= len(rows) <= 999
    assert {each.node for each in rows} == set(NODES)
    people = [each for each in rows if not each.label.startswith(("backup", "broadcast"))]
    by_night = [each for each in people if each.start < 6 * HOUR]
    by_day = [each for each in people if 9 * HOUR <= each.start < 18 * HOUR]
    assert len(by_day) / 9 > 4 * len(by_night) / 6
    assert any(each.end is None for each in rows)
    assert sum(each.at < each.start for each in rows) > 20
    assert all(each.at < DAY for each in rows)


@pytest.mark.parametrize("label", ["backup", "broadcast"])
def test_backups_want_more_than_there_is_and_the_broadcast_a_large_part(label):
    rows = [each for each in read(FILE, NODES).rows if each.label.startswith(label)]
    most = max(sum(each.rate for each in rows if each.start <= at < each.end) for at in range(0, DAY, 300))
    assert most > 10_000_000_000 * (1.2 if label == "backup" else 0.7)


def test_for_other_agents_a_day_is_made_like_it():
    made = wanted(settings({"NODES": "7", "TOPOLOGY": "star"}))
    assert {each.node for each in made.rows} == {"origin", *(f"r{n}" for n in range(1, 7))}
    assert wanted(settings({})).rows == read(FILE, NODES).rows
    assert day(["x", "y"]) == day(["x", "y"])
    assert tuple(day()[0]) == COLUMNS


def test_the_columns_are_documented():
    text = (Path(FILE).parents[1] / "docs" / "lab.md").read_text()
    assert [each for each in COLUMNS if f"| `{each}` |" not in text] == []
