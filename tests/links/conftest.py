from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from grasp import Node
from lab import Host
from tests.pki import Authority, Issued

Join = Callable[..., Node]


def eventually(condition: Callable[[], Any], timeout: float = 30.0) -> Any:
    """What ``condition`` returns as soon as that is true, or its last value after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while not (found := condition()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return found


def linked(node: Node) -> list[str]:
    """With whom it has a link."""
    return sorted(each.member.name for each in node.neighbours if each.member is not None)


@pytest.fixture(scope="session")
def ca() -> Authority:
    return Authority("acp.example.com")


@pytest.fixture
def join(ca: Authority) -> Iterator[Join]:
    """Starts members of the domain in this process: the threads and sockets of each live in its host."""
    with ExitStack() as running:

        def start(
            host: Host, name: str = "", issued: Issued | None = None, authority: Authority | None = None, **kw: Any
        ) -> Node:
            name = name or host.name
            identity = (authority or ca).identity(name, issued)
            with host.entered():
                return running.enter_context(Node(kw.pop("interfaces", None), identity=identity, name=name, **kw))

        yield start
