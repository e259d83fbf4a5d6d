"""What a user may paste to try the agents. No I/O but looking where the command is."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

from lab.domain.agents import Agent


def asa() -> str:
    """The command, as short as it can be written from here."""
    beside = Path(sys.executable).with_name("asa")
    if os.access(beside, os.X_OK):
        return _short(beside)
    return f"{_short(Path(sys.executable))} -m asa"


def _short(path: Path) -> str:
    here = os.path.relpath(path)
    return shlex.quote(str(path) if here.startswith("..") else here)


def commands(agent: Agent, victim: Agent, pool: str) -> Iterator[str]:
    """``agent`` is asked; ``victim`` may be killed."""
    yield f"export ASA_SOCKET={shlex.quote(str(agent.socket))}   # {agent.name}; the others are beside it"
    yield f"{asa()} status"
    yield f"{asa()} reserve {pool} 2Gbit --for 10m --label mine"
    yield f"{asa()} list"
    yield f"{asa()} transfers"
    yield f"{asa()} audit"
    yield f"{asa()} events --follow"
    yield f"kill -9 {victim.pid}   # {victim.name}, which is started again"
