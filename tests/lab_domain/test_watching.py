"""What the lab sees of its agents: nothing of one that is gone, and nobody looks behind the end."""

from __future__ import annotations

import threading
from typing import Any, cast

from asa.errors import Unreachable
from lab.domain.agents import Agent
from lab.domain.watching import Seen, Watch

PATIENCE_S = 30.0
POOL = {"held": 5, "committed": 2, "free": 3, "in_doubt": 0, "reservations": 1}


class Answering:
    """An agent that holds its answers back."""

    name = "a"
    life = 1

    def __init__(self) -> None:
        self.there = True
        self.asked = threading.Semaphore(0)
        self.free = threading.Event()
        self.free.set()

    def request(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        self.asked.release()
        assert self.free.wait(PATIENCE_S)
        if not self.there:
            raise Unreachable("no agent")
        return [POOL] if path == "pools" else {"events": [], "next": 0}


def watch(*agents: Answering) -> Watch:
    return Watch([cast(Agent, each) for each in agents])


def test_an_agent_that_is_gone_is_seen_as_down() -> None:
    agent = Answering()
    found = watch(agent)
    found.look()
    assert found.seen["a"] == Seen(True, 5, 2, 3, 0, 1)
    agent.there = False
    found.look()
    assert found.seen["a"] == Seen()
    found.stop()


def test_nobody_looks_any_more_once_it_has_stopped() -> None:
    agents = Answering(), Answering()
    found = watch(*agents)
    found.start()
    while agents[0].asked.acquire(blocking=False):
        pass
    agents[0].free.clear()
    assert agents[0].asked.acquire(timeout=PATIENCE_S)
    while agents[1].asked.acquire(blocking=False):
        pass
    stopping = threading.Thread(target=found.stop)
    stopping.start()
    assert found._stopping.wait(PATIENCE_S)
    agents[0].free.set()
    stopping.join(PATIENCE_S)
    assert not found._thread.is_alive()
    assert not agents[1].asked.acquire(blocking=False), "the rest is not asked"
    found.stop()
