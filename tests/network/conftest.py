from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from lab import Host, Lab, unavailable_reason

from .steer import Agent

Start = Callable[..., Agent]


@pytest.fixture(scope="module")
def shared_lab() -> Iterator[Lab]:
    """A lab for all the tests of a module, where one does not disturb the next."""
    if reason := unavailable_reason():
        pytest.skip(reason)
    with Lab() as lab:
        yield lab


def starter() -> Iterator[Start]:
    agents: list[Agent] = []

    def start(host: Host, *args: object, **node: object) -> Agent:
        """A running node on ``host``; the arguments are those of `grasp.Node`."""
        agent = Agent(host)
        agents.append(agent)
        agent.start(*args, **node)
        return agent

    yield start
    endings = {agent: agent.end() for agent in agents}
    for agent, ending in endings.items():
        assert agent.excused or "Traceback" not in agent.log(), agent.log()
        assert ending == 0, f"{agent.host} ended with {ending}:\n{agent.log()[-2000:]}"


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts nodes for this test; none of them may end badly or have logged a traceback."""
    yield from starter()


@pytest.fixture(scope="module")
def start_shared() -> Iterator[Start]:
    """The same for all the tests of a module."""
    yield from starter()
