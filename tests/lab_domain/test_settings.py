"""The variables of ``make run``: what they may be, and that a bad one is told by its name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lab.domain.settings import USUAL_SPEED, BadSetting, settings

TOPOLOGIES = Path(__file__).parents[2] / "examples" / "topologies"


def test_without_variables_an_origin_and_three_delegators_one_behind_a_relay():
    usual = settings({})
    assert usual.topology.agents == ("origin", "r1", "r2", "r3")
    assert usual.topology.relays == ("relay",)
    assert usual.topology.distances("origin") == {"origin": 0, "r1": 1, "r2": 1, "relay": 1, "r3": 2}
    assert (usual.seed, usual.speed, usual.reservations) == (10_000_000_000, USUAL_SPEED, None)
    assert not usual.json
    assert not usual.once
    assert usual.where is None


def test_an_empty_variable_is_not_set():
    names = ("NODES", "TOPOLOGY", "RESERVATIONS", "SPEED", "SEED", "JSON", "ONCE", "LAB", "CAPTURE")
    assert settings(dict.fromkeys(names, "")) == settings({}) == settings(dict.fromkeys(names, "  "))


def test_every_variable_is_heard(tmp_path):
    rows = tmp_path / "rows.csv"
    rows.touch()
    chosen = settings(
        {
            "NODES": "6", "TOPOLOGY": "ring", "RESERVATIONS": str(rows), "SPEED": "2.5", "SEED": "40Gbit", "JSON": "1",
            "ONCE": "0", "LAB": "loopback", "CAPTURE": str(tmp_path / "x.pcap"), "HOME": "/root",
        }
    )  # fmt: skip
    assert chosen.topology.name == "ring"
    assert len(chosen.topology.agents) == 6
    assert (chosen.reservations, chosen.speed, chosen.seed) == (rows, 2.5, 40_000_000_000)
    assert (chosen.json, chosen.once, chosen.where) == (True, False, "loopback")
    assert chosen.capture == tmp_path / "x.pcap"


@pytest.mark.parametrize("file", sorted(TOPOLOGIES.iterdir()), ids=lambda each: each.name)
def test_a_topology_may_be_one_of_the_example_files(file):
    topology = settings({"TOPOLOGY": str(file)}).topology
    assert topology.name == file.name
    assert len(topology.agents) >= 5


@pytest.mark.parametrize(
    ("name", "environment"),
    [
        ("CAPTURE", {"CAPTURE": "x.txt"}),
        ("CAPTURE", {"CAPTURE": "/no/such/directory/x.pcap"}),
        ("NODES", {"NODES": "1"}),
        ("NODES", {"NODES": "41"}),
        ("NODES", {"NODES": "-3"}),
        ("NODES", {"NODES": "four"}),
        ("NODES", {"NODES": "2", "TOPOLOGY": "ring"}),
        ("NODES", {"NODES": "34", "TOPOLOGY": "line"}),
        ("NODES", {"NODES": "4", "TOPOLOGY": str(TOPOLOGIES / "campus.toml")}),
        ("TOPOLOGY", {"TOPOLOGY": "mesh"}),
        ("TOPOLOGY", {"TOPOLOGY": __file__}),
        ("RESERVATIONS", {"RESERVATIONS": "/nowhere.csv"}),
        ("RESERVATIONS", {"RESERVATIONS": __file__}),
        ("SPEED", {"SPEED": "0"}),
        ("SPEED", {"SPEED": "-1"}),
        ("SPEED", {"SPEED": "nan"}),
        ("SPEED", {"SPEED": "inf"}),
        ("SPEED", {"SPEED": "fast"}),
        ("SEED", {"SEED": "0"}),
        ("SEED", {"SEED": "10GB"}),
        ("SEED", {"SEED": "lots"}),
        ("JSON", {"JSON": "yes"}),
        ("ONCE", {"ONCE": "2"}),
        ("LAB", {"LAB": "moon"}),
    ],
)
def test_a_bad_value_is_told_by_the_name_of_its_variable_and_with_what_is_allowed(name, environment):
    with pytest.raises(BadSetting, match=f"^{name} .*; allowed: ") as caught:
        settings(environment)
    assert caught.value.name == name


def test_a_bad_value_ends_with_2_and_nothing_on_stdout():
    command = [sys.executable, "-m", "lab.domain"]
    done = subprocess.run(command, env={"SPEED": "0"}, cwd=TOPOLOGIES.parents[1], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("SPEED is '0'")
