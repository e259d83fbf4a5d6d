from __future__ import annotations

import json
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from grasp.cli import main
from lab import Host, Lab, unavailable_reason

PATIENCE = 60.0
"""Seconds a command may take on a busy machine before a test gives up."""

ALL_GRASP_NEIGHBORS = "ff02000000000000000000000000" + "0013"


class Outcome(NamedTuple):
    status: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """The one JSON value of stdout; NaN and the like are none."""
        return parse_json(self.stdout)


def parse_json(text: str) -> Any:
    def refuse(name: str) -> Any:
        raise AssertionError(f"{name} is not JSON")

    return json.loads(text, parse_constant=refuse)


def run(host: Host, *argv: str) -> Outcome:
    process = host.python("-m", "grasp", *argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    stdout, stderr = process.communicate(timeout=PATIENCE)
    return Outcome(process.returncode, stdout, stderr)


class Running:
    """A command that goes on, with --json: its elements as they come, its exit status in the end."""

    def __init__(self, host: Host, *argv: str) -> None:
        self.process = host.python(
            "-m", "grasp", *argv, "--json", stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
        )
        self._buffer = b""
        self.stdout = ""
        assert self.process.stdout is not None
        self._pipe = self.process.stdout

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def _line(self) -> str:
        deadline = time.monotonic() + PATIENCE
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([self._pipe], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, "no line in time"
            read = self._pipe.read(65_536)
            assert read, f"ended: {self.process.communicate()}"
            self._buffer += read
        line, _, self._buffer = self._buffer.partition(b"\n")
        self.stdout += line.decode() + "\n"
        return line.decode()

    def element(self) -> Any:
        line = self._line()
        assert line[0] in "[,"
        return parse_json(line[1:])

    def end(self, number: int = signal.SIGTERM) -> Outcome:
        self.process.send_signal(number)
        stdout, stderr = self.process.communicate(timeout=PATIENCE)
        return Outcome(self.process.returncode, self.stdout + self._buffer.decode() + stdout.decode(), stderr.decode())


def eventually(condition: Any) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.01)


def listens(host: Host, dev: str) -> bool:
    """Whether something on ``host`` is a member of the group on ``dev``, as the kernel says."""
    with host.entered():
        rows = Path("/proc/thread-self/net/igmp6").read_text().split("\n")
    return any(row.split()[1:3] == [dev, ALL_GRASP_NEIGHBORS] for row in rows if row)


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[Host, Host]]:
    """Two hosts on one link, eth0 on both."""
    if reason := unavailable_reason():
        pytest.skip(reason)
    with Lab() as lab:
        a, b = lab.host("a"), lab.host("b")
        lab.link(a, b)
        yield a, b


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Any:
    """The command in this process, for what needs no network."""

    def call(*argv: str) -> Outcome:
        capsys.readouterr()
        status = main(argv)
        captured = capsys.readouterr()
        return Outcome(status, captured.out, captured.err)

    return call
