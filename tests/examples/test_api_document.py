"""docs/api.md: its programs run, its tables are complete."""

from __future__ import annotations

import re
import subprocess
from dataclasses import fields
from itertools import product
from pathlib import Path

import pytest

import grasp
from grasp import rfc8991
from tests.rfc8991.test_signatures import PARAMETERS

TEXT = (Path(grasp.__file__).parent.parent / "docs" / "api.md").read_text()
PROGRAMS = {
    name: source for source, name in re.findall(r"```python\n(# (\w+)\.py\n.*?)```", TEXT, re.DOTALL)
}  # fmt: skip


def table(heading: str) -> list[list[str]]:
    """The rows below a heading, cells stripped."""
    section = TEXT.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def names(cell: str) -> list[str]:
    return re.findall(r"`([\w.]+)`", cell)


@pytest.mark.parametrize(
    ("responder", "requester"),
    list(product(("responder", "responder_rfc8991"), ("requester", "requester_rfc8991", "requester_events"))),
)
def test_every_responder_agrees_with_every_requester(lab, responder, requester):
    hosts = lab.host("a"), lab.host("b")
    devices = lab.link(*hosts)
    processes = [
        host.python("-c", PROGRAMS[name], device, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for host, name, device in zip(hosts, (responder, requester), devices, strict=True)
    ]
    (answered, errors), (asked, more) = (each.communicate(timeout=60) for each in processes)
    assert [each.returncode for each in processes] == [0, 0], errors + more
    assert answered.splitlines() == ["asked for 100", "agreed on 50"]
    assert asked.splitlines() == ["EX2 is {'mtu': 9000}", "agreed on 50"]


def test_every_call_is_in_the_table():
    rows = table("The calls")
    assert [names(row[0])[0] for row in rows] == list(PARAMETERS)
    for row in rows:
        assert hasattr(rfc8991, names(row[0])[0])
        for method in names(row[1]):
            kind, _, name = method.partition(".")
            assert callable(getattr(getattr(grasp, kind), name)), method


def test_every_method_is_in_the_table():
    shown = {method for row in table("The calls") for method in names(row[1])}
    not_calls = {"Node.start", "Node.stop", "Node.renew", "Node.on_neighbour"}
    existing = {
        f"{kind.__name__}.{name}"
        for kind in (grasp.Node, grasp.ASA, grasp.Negotiation)
        for name, member in vars(kind).items()
        if callable(member) and not name.startswith("_")
    }
    assert existing == shown | not_calls


def test_every_errorcode_is_in_the_table():
    rows = [(int(row[0]), names(row[1])[0]) for row in table("Errors")]
    assert rows == [(each.value, each.name) for each in rfc8991.errors]


def test_every_bound_is_in_the_table():
    rows = [(names(row[0])[0], int(row[1])) for row in table("Bounds")]
    assert rows == [(each.name, each.default) for each in fields(grasp.Limits)]
