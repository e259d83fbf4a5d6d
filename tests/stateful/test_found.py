"""What chance has found once, each as the few steps it took."""

from __future__ import annotations

from typing import Any

import pytest

from tests.stateful.model import End
from tests.stateful.play import Step
from tests.stateful.shrink import failure

ANY = {"which": 1, "secret": None, "fault": "", "right": True}
WISH: dict[str, Any] = {
    "kind": "one-way",
    "rate": 100,
    "back": 0,
    "start": None,
    "span": 400,
    "pool": "",
    "owner": "",
    "labels": (),
    "protocol": "any",
    "traffic": "default",
    "through": (),
    "output": "",
    "hold": 0,
    "park": False,
    "dry": False,
    "key": None,
    "joins": "",
}


def end(place: str) -> End:
    return place, "", None


def step(what: str, agent: str, **said: Any) -> Step:
    return Step(what, agent, ANY | said)


def wish(agent: str, source: str, destination: str, **said: Any) -> Step:
    return step("reserve", agent, **{**WISH, "source": end(source), "destination": end(destination), **said})


FOUND = {
    "no-route-is-parked": [
        step("routes", "c"),
        wish("c", "10.3.0.3", "172.16.0.1", park=True),
        step("routes", "c"),
        step("advance", "c", seconds=1),
    ],
    "what-is-parked-keeps-the-pool-that-was-named": [
        wish("c", "10.1.0.1", "10.2.0.2", rate=500, span=10),
        wish("c", "10.1.0.5", "10.2.0.2", rate=500, pool="s", park=True),
        step("advance", "c", seconds=5),
        wish("a", "10.1.0.1", "10.2.0.2", rate=700, pool="q", span=10),
        wish("a", "10.1.0.5", "10.2.0.2", rate=200, pool="q", park=True),
        step("advance", "a", seconds=10),
    ],
    "what-has-ended-is-no-duplicate-of-what-began-before-its-end": [
        step("host", "a", name="h9", network="10.1.0", agents="a"),
        wish("a", "10.1.0.9", "10.2.0.2", span=50),
        step("host", "a", name="h9", network=None, agents="a"),
        wish("a", "h9", "10.2.0.2", park=True),
        step("host", "a", name="h9", network="10.1.0", agents="a"),
        step("advance", "a", seconds=20),
        step("advance", "a", seconds=40),
    ],
    "what-is-parked-by-a-name-is-a-duplicate-of-the-same": [
        wish("a", "10.1.0.5", "10.2.0.2", rate=700, span=10),
        wish("a", "h1", "h2", park=True, rate=300),
        step("cancel", "a", which=1),
        wish("a", "h1", "h2", rate=300),
        wish("a", "10.1.0.1", "10.2.0.2", rate=300),
    ],
    "interfaces-come-before-pools-in-a-change": [
        wish("a", "10.1.0.8", "10.2.0.2", kind="two-way", rate=300, back=200, pool="q", span=50),
        wish("a", "10.1.0.5", "10.2.0.2", rate=400, pool="q", span=20),
        wish("a", "10.1.0.6", "10.2.0.2", rate=700, pool="p", start=60),
        step("change", "a", rate=500, back=None, end=300),
        *(step("change", "a", rate=400, back=None, end=300, which=each) for each in range(12)),
    ],
    "who-is-told-twice-that-it-moved": [
        wish("c", "10.1.0.1", "10.2.0.2", kind="two-way", back=200, start=120, span=50),
        step("advance", "c", seconds=5),
        step("cancel", "c"),
        step("settle", "c"),
        step("settle", "b"),
    ],
}


@pytest.mark.parametrize("name", FOUND)
def test_it_stays_found(name: str) -> None:
    wrong, play = failure(FOUND[name])
    assert wrong is None
    assert play.done == len(FOUND[name])
