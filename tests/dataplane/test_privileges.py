"""Who needs which privileges: CAP_NET_ADMIN is enough for a back end, and with a deputy the agent needs none."""

from __future__ import annotations

import configparser
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from asa.cli.arguments import parse
from asa.config import load
from asa.dataplane.choice import backend_for
from asa.dataplane.deputy.remote import Remote
from lab import Host, Lab
from tests.dataplane.deputies import PATIENCE, eventually

AGENT, DEPUTY = 65_533, 65_532
"""Users, and groups, of nobody's."""

NET_ADMIN = 1 << 12
ROOT = Path(__file__).parent.parent.parent
BOTH = pytest.mark.parametrize("name", ["tc-nft", "tc-u32"])

# What an agent does with its data plane; prints what came of each step.
STORY = """
import json, sys, time
from asa.config import EnforcementSection
from asa.dataplane.choice import backend_for
from asa.dataplane.match import Match
from asa.dataplane.plan import Action, Entry, Line, Plan, Share
from asa.errors import AgentError
from asa.flows import Port
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

name, deputy, *steps = sys.argv[1:]
backend = backend_for(EnforcementSection(backend=name, deputy=Path(deputy) if deputy else None), ())
lines = tuple(Line("eth0", way, 100_000_000, 5_000_000) for way in ("out", "in"))
entries = [
    Entry(line, Action.GUARANTEE, frozenset({Match(family, None, network, 6, None, Port(5201))}), ("r1",),
          int(time.time()) + 300, Share(20_000_000, 20_000_000), None if name == "tc-u32" else 46)
    for line in ("eth0:out", "eth0:in")
    for family, network in ((4, IPv4Network("10.0.0.2/32")), (6, IPv6Network("fd00::2/128")))
]
plan = Plan(lines, {each.key: each for each in entries})

def in_place():
    reading = backend.read()
    shares = [None if each.share is None else each.share.guarantee for each in reading.found.values()]
    return {"lines": dict(reading.lines), "shares": shares, "strays": list(reading.strays)}

DO = {
    "probe": lambda: sorted(backend.probe(lines).ways),
    "apply": lambda: list(backend.apply(plan).values()),
    "read": in_place,
    "count": lambda: len(backend.count()),
    "clear": backend.clear,
}
for step in steps:
    try:
        print(json.dumps([step, DO[step]()]))
    except AgentError as error:
        print(json.dumps([step, [error.code, f"{error.message}; {error.hint}"]]))
"""


def as_user(uid: int, *, capable: bool, gid: int | None = None) -> list[str]:
    gained = "-all,+net_admin" if capable else "-all"
    return [
        "setpriv", f"--reuid={uid}", f"--regid={uid if gid is None else gid}", "--clear-groups", "--no-new-privs",
        f"--inh-caps={gained}", f"--ambient-caps={gained}", f"--bounding-set={gained}",
    ]  # fmt: skip


# An interpreter in root's home, as those of some version managers are, is of no use to others.
PYTHONS = (sys.executable, f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}")
PATHS = os.pathsep.join([str(ROOT), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
ENVIRONMENT = {"PATH": os.environ["PATH"], "PYTHONPATH": PATHS, "PYTHONDONTWRITEBYTECODE": "1"}
AGAIN = "import asa.dataplane.deputy.wire, subprocess, sys; subprocess.run([sys.executable, '-c', 'pass'], check=True)"


@pytest.fixture(scope="module")
def python() -> str:
    """One that an ordinary user can run, and run again from there."""
    if os.geteuid() != 0:
        pytest.skip("only root can become an ordinary user")
    if shutil.which("setpriv") is None:
        pytest.skip("no setpriv(1)")
    said = ""
    for each in PYTHONS:
        command = [*as_user(AGENT, capable=False), each, "-c", AGAIN]
        ran = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True)
        if ran.returncode == 0:
            return each
        said = ran.stderr[-200:]
    pytest.skip(f"an ordinary user cannot run {' or '.join(PYTHONS)}: {said}")


@pytest.fixture
def host(python: str, lab: Lab) -> Host:
    here, there = lab.host("here"), lab.host("there")
    assert lab.link(here, there) == ("eth0", "eth0")
    return here


@pytest.fixture
def directory() -> Iterator[Path]:
    """The deputy's own, as systemd would make it."""
    with tempfile.TemporaryDirectory() as made:
        os.chmod(made, 0o711)
        path = Path(made) / "deputy"
        path.mkdir(mode=0o750)
        os.chown(path, DEPUTY, AGENT)
        path.chmod(0o750)
        yield path


class Users:
    """What ordinary users run on a host."""

    def __init__(self, host: Host, python: str) -> None:
        self._host = host
        self._python = python

    def told(self, user: Sequence[str], name: str, deputy: Path | str, *steps: str) -> dict[str, Any]:
        """What came of each step of an agent with a back end of that name."""
        ran = self._host.run(
            [*user, self._python, "-c", STORY, name, str(deputy), *steps], timeout=PATIENCE, cwd=ROOT, env=ENVIRONMENT
        )
        return dict(json.loads(line) for line in ran.stdout.splitlines())

    @contextmanager
    def deputy(self, path: Path, name: str, *words: str) -> Iterator[subprocess.Popen[Any]]:
        """Of a user of its own, in the agent's group, and able to administer the network, nothing else."""
        deputy = self._host.popen(
            [
                *as_user(DEPUTY, capable=True, gid=AGENT), self._python, "-m", "asa", "deputy",
                "--listen", str(path), "--backend", name, "--uid", str(AGENT), *words,
            ],
            stderr=subprocess.PIPE, text=True, cwd=ROOT, env=ENVIRONMENT,
        )  # fmt: skip
        try:
            eventually(lambda: path.exists() or deputy.poll() is not None)
            assert deputy.poll() is None, deputy.communicate()[1]
            yield deputy
        finally:
            deputy.kill()
            deputy.communicate()


@pytest.fixture
def users(host: Host, python: str) -> Users:
    return Users(host, python)


def there_is(host: Host) -> str:
    """Of queues, filters, devices and rules."""
    told = [
        host.run(words.split()).stdout
        for words in ("tc qdisc show", "tc class show dev eth0", "ip -o link show", "nft list ruleset")
    ]
    return re.sub(r"(qlen|expires) \S+", "", "\n".join(told))


IN_PLACE = {"lines": {"eth0:out": "", "eth0:in": ""}, "shares": [20_000_000] * 4, "strays": []}


@BOTH
def test_cap_net_admin_alone_is_enough(host: Host, users: Users, name: str) -> None:
    before = there_is(host)
    steps = users.told(as_user(AGENT, capable=True), name, "", "probe", "apply", "read", "count")
    assert steps == {"probe": ["in", "out"], "apply": [], "read": IN_PLACE, "count": 4}
    assert "a5a:" in there_is(host)
    assert users.told(as_user(AGENT, capable=True), name, "", "clear") == {"clear": None}
    assert there_is(host) == before


@BOTH
def test_without_it_what_is_missing_is_said_and_nothing_breaks(host: Host, users: Users, name: str) -> None:
    before = there_is(host)
    steps = users.told(as_user(AGENT, capable=False), name, "", "probe", "apply", "read", "clear")
    code, text = steps["probe"]
    assert code in ("unfit", "enforcement-failed")
    assert "CAP_NET_ADMIN" in text
    # In place is nothing, and each step says so.
    assert steps["apply"] != []
    assert there_is(host) == before


@BOTH
def test_a_deputy_does_it_for_an_agent_without_privileges(host: Host, users: Users, directory: Path, name: str) -> None:
    before, agent, path = there_is(host), as_user(AGENT, capable=False), directory / "deputy.sock"
    with users.deputy(path, name, "--interface", "eth0") as deputy:
        status = Path(f"/proc/{deputy.pid}/status").read_text()
        for each in ("CapEff", "CapBnd", "CapPrm"):
            assert re.search(rf"{each}:\s*0*{NET_ADMIN:x}\n", status)
        assert "NoNewPrivs:\t1" in status
        steps = users.told(agent, name, path, "probe", "apply", "read", "count")
        assert steps == {"probe": ["in", "out"], "apply": [], "read": IN_PLACE, "count": 4}
        # Neither the agent's end nor the deputy's takes anything away.
        placed = there_is(host)
        assert placed.count("a5a:") > 4
        deputy.send_signal(signal.SIGTERM)
        assert deputy.wait(PATIENCE) == 0
        assert there_is(host) == placed
        steps = users.told(agent, name, path, "read")
        assert steps["read"][0] == "enforcement-failed"
        assert "CAP_NET_ADMIN" in steps["read"][1]
    with users.deputy(path, name):
        assert users.told(agent, name, path, "probe", "read", "apply")["read"] == IN_PLACE
        assert users.told(agent, name, path, "clear", "probe") == {"clear": None, "probe": ["in", "out"]}
        assert there_is(host) == before


def test_an_interface_that_is_not_the_agents_stays_as_it_is(host: Host, users: Users, directory: Path) -> None:
    before, path = there_is(host), directory / "deputy.sock"
    with users.deputy(path, "tc-nft", "--interface", "eth7"):
        steps = users.told(as_user(AGENT, capable=False), "tc-nft", path, "probe", "apply", "read")
        for step in ("probe", "apply"):
            assert "leaves eth0 alone" in steps[step][1]
        assert there_is(host) == before


def test_another_user_is_sent_away(users: Users, directory: Path) -> None:
    path = directory / "deputy.sock"
    with users.deputy(path, "tc-nft"):
        steps = users.told(as_user(AGENT - 2, capable=False, gid=AGENT), "tc-nft", path, "probe")
        assert steps["probe"] == ["enforcement-failed", steps["probe"][1]]
        assert f"user {AGENT - 2} may not use this deputy" in steps["probe"][1]
        # Nor is one that is in no group the socket is for: it does not get as far as that.
        steps = users.told(as_user(AGENT - 2, capable=False), "tc-nft", path, "probe")
        assert "Permission denied" in steps["probe"][1]


# -- the units that come with it


def unit(name: str) -> configparser.SectionProxy:
    found = configparser.RawConfigParser(strict=False, interpolation=None)
    found.optionxform = str  # type: ignore[method-assign,assignment]
    found.read_string((ROOT / "examples" / name).read_text())
    return found["Service"]


@pytest.mark.parametrize("name", ["asa-deputy.service", "asa.service.d/net-admin.conf"])
def test_a_unit_gives_the_one_privilege_and_no_other(name: str) -> None:
    service = unit(name)
    assert service["AmbientCapabilities"] == service["CapabilityBoundingSet"] == "CAP_NET_ADMIN"
    # What takes rules away when they expire must outlive its parent.
    assert service["KillMode"] == "process"


def test_the_agent_and_its_deputy_fit_together(tmp_path: Path) -> None:
    agent, deputy = unit("asa.service"), unit("asa-deputy.service")
    assert "AmbientCapabilities" not in agent
    assert agent["NoNewPrivileges"] == deputy["NoNewPrivileges"] == "yes"
    words = deputy["ExecStart"].split()
    assert words[0] == agent["ExecStart"].split()[0]
    given = parse(words[1:])
    assert (given.command, given.backend, given.uids) == ("deputy", "tc-nft", ["asa"])
    assert Path(given.listen).parent == Path("/run") / deputy["RuntimeDirectory"]
    assert deputy["Group"] == "asa" != deputy["User"]
    told = (ROOT / "docs" / "privileges.md").read_text()
    assert f'deputy = "{given.listen}"' in told
    assert f'deputy = "{given.listen}"' in (ROOT / "examples" / "asa-deputy.service").read_text()
    (tmp_path / "asa.toml").write_text(
        f'[agent]\nname = "o"\nmode = "origin"\n[enforcement]\nbackend = "tc-nft"\ndeputy = "{given.listen}"\n'
    )
    config = load(str(tmp_path / "asa.toml"))
    assert config.enforcement.deputy == Path(given.listen)
    assert isinstance(backend_for(config.enforcement, ()), Remote)
