"""The whole lab, as ``make run`` starts it: what it reports, how it ends, and that it leaves nothing behind."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from asa.errors import Short
from asa.northbound.client import Client
from lab import unavailable_reason
from lab.hosts import NETNS
from lab.traffic import missing
from tests.lab_domain.captured import announcements, streams
from tests.test_lab import eventually

ROOT = Path(__file__).parents[2]
DAY = """\
node,pool,rate,start,end,endpoints,at,label
origin,wan,1Gbit,0,4h,10.0.0.0/8>10.9.0.1,,at home
r1,wan,3Gbit,30m,4h,,,needs capacity of others
r3,wan,3Gbit,1h,4h,,,two hops away
r2,wan,9Gbit,2h,3h,,,more than is left
r2,wan,100Mbit,4h,never,,200m,ahead and for ever
r3,lan,8Gbit,1h,4h,,,most of another pool
r1,lan,3Gbit,3h,4h,,,more than is left of it
"""
ADMITTED, REFUSED = 5, 2
LINKS = (("origin", "r1"), ("origin", "r2"), ("origin", "relay"), ("relay", "r3"))
VOLLEY = 6


class Lab:
    """A run with a mark in its environment, which every process it starts inherits."""

    def __init__(self, tmp_path: Path, out: int = subprocess.PIPE, **environment: str) -> None:
        self.mark = f"LAB_MARK={uuid.uuid4().hex}"
        self.tmp = tmp_path / "t"
        self.tmp.mkdir()
        file = tmp_path / "day.csv"
        file.write_text(DAY)
        name, _, value = self.mark.partition("=")
        usual = {"RESERVATIONS": str(file), "SPEED": "3600", "ONCE": "1", "TMPDIR": str(self.tmp), name: value}
        self.process = subprocess.Popen(
            [str(ROOT / "lab" / "enter"), sys.executable, "-m", "lab.domain"],
            cwd=ROOT, env=os.environ | usual | environment, text=True, stdout=out, stderr=subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip

    def processes(self) -> list[str]:
        """The command lines of what runs of it."""
        found = []
        for each in Path("/proc").iterdir():
            try:
                if each.name.isdigit() and self.mark.encode() in (each / "environ").read_bytes():
                    found.append((each / "cmdline").read_text().replace("\0", " "))
            except OSError:
                continue
        return [each for each in found if each]

    def agents(self) -> int:
        return sum(" asa run " in each for each in self.processes())

    def leaves(self) -> list[str]:
        """What is left of it, once it had the time to go: processes and files."""
        eventually(lambda: not self.processes() and not any(self.tmp.iterdir()))
        return [*self.processes(), *map(str, self.tmp.rglob("*"))]


def abandoned() -> list[str]:
    """Namespaces whose lab is no more: labs name theirs after their process. Other tests have some of their own."""
    names = sorted(path.name for path in NETNS.glob("gl*"))
    return [each for each in names if not Path("/proc", each[2:].partition("-")[0]).exists()]


@contextmanager
def running(tmp_path: Path, out: int = subprocess.PIPE, **environment: str) -> Iterator[Lab]:
    lab = Lab(tmp_path, out, **environment)
    try:
        yield lab
    finally:
        if lab.process.poll() is None:
            lab.process.kill()
        lab.process.communicate()


@pytest.mark.parametrize("ground", ["namespaces", "loopback"])
def test_a_day_is_played_one_agent_killed_in_a_transfer_and_everything_held(tmp_path, ground):
    if ground == "namespaces" and (reason := unavailable_reason()):
        pytest.skip(reason)
    capture = tmp_path / "links.pcap"
    with running(tmp_path, LAB=ground, JSON="1", CAPTURE=str(capture)) as lab:
        out, err = lab.process.communicate(timeout=110)
        assert lab.process.returncode == 0, out + err
        assert lab.leaves() == []
    assert abandoned() == []
    report = json.loads(out)
    assert (report["ok"], report["failures"]) == (True, [])
    assert report["seed"] == {"wan": 10_000_000_000, "lan": 10_000_000_000}
    asked = report["asked"]
    assert asked["refused"] == REFUSED, asked["refusals"]
    assert asked["reasons"] == {"short": REFUSED}
    assert asked["admitted"] == ADMITTED + VOLLEY * report["crash"]["attempts"]
    assert asked["by_node"]["r2"] == {
        "asked": 2, "admitted": 1, "refused": 1, "unanswered": 0, "admitted_rate": 100_000_000
    }  # fmt: skip
    moved = report["moved"]
    assert moved["transfers"] == sum(each["transfers"] for each in moved["between"])
    assert moved["rate"] == sum(each["rate"] for each in moved["between"])
    assert sum(each["rate"] for each in moved["between"] if each["to"] == "r1") >= 3_000_000_000
    crash = report["crash"]
    assert (crash["node"], crash["kills_in_transfer"], crash["settled"]) == ("r3", 1, True)
    assert {each["outcome"] for each in crash["transfers"]} <= {"closed", "returned"}
    assert report["kept"] == {"admitted": asked["admitted"], "refused": REFUSED}
    audit = report["audit"]
    assert (audit["ok"], audit["at_rest"], audit["unreachable"]) == (True, True, [])
    assert sorted(each.partition("#")[0] for each in audit["agents"]) == ["origin", "r1", "r2", "r3"]
    assert {each["pool"]: each["held"] for each in audit["pools"]} == report["seed"]
    contest, where = report["contest"], report["network"]
    obeyed = ground == "namespaces" and missing() is None
    assert where["enforcement"] == ("tc-nft" if obeyed else "record")
    if obeyed:
        assert (contest["agent"], contest["failed"]) == ("r1", "")
        # How little a flow gets without a reservation is others' affair; that it is less says that something was done.
        assert contest["without"] < contest["reserved"] >= contest["rate"] * 9 // 10
        assert contest["others_reserved"] >= contest["capacity"] * 6 // 10
    else:
        assert contest == {}
    assert where["relays"] == (["relay"] if ground == "namespaces" else [])
    assert ("namespaces" in where["ground"]) == (ground == "namespaces")
    assert where["substrate"] == ("domain" if ground == "namespaces" else "plain")
    if ground == "namespaces":
        assert len(announcements(capture)) == 2 * len(LINKS)
        found = streams(capture)
        # A neighbour link each, and sessions between agents.
        assert found["with data"] == found["tls"] > len(LINKS)
        assert found | {"with data": 0, "tls": 0} == dict.fromkeys(found, 0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_lab_that_is_stopped_while_it_plays_leaves_nothing_behind(tmp_path, number):
    with running(tmp_path, SPEED="60") as lab:
        assert eventually(lambda: lab.agents() == 4), lab.processes()
        if number == signal.SIGINT:
            # As a terminal has it: for the whole group.
            os.killpg(lab.process.pid, number)
        else:
            lab.process.send_signal(number)
        _, err = lab.process.communicate(timeout=60)
        expected = -number if number == signal.SIGKILL else 128 + number
        assert lab.process.returncode == expected, err
        assert lab.leaves() == []
    assert abandoned() == []


def test_on_a_terminal_it_stays_up_for_the_user_who_may_kill_an_agent_until_ctrl_c(tmp_path):
    ours, theirs = pty.openpty()
    shown = bytearray()

    def screen() -> str:
        """All that was shown; what comes last may be cut off anywhere."""
        # Reading is an error once the lab has closed its end.
        with suppress(OSError):
            while select.select([ours], [], [], 0)[0]:
                shown.extend(os.read(ours, 65_536))
        return shown.decode(errors="replace")

    def said(pattern: str, timeout: float = 30.0) -> str:
        """The part in parentheses, or all of it, once it is shown."""
        assert eventually(lambda: re.search(pattern, screen()), timeout), screen()
        return re.findall(pattern, screen())[0]

    with running(tmp_path, theirs, ONCE="", TERM="xterm", COLUMNS="120") as lab:
        os.close(theirs)
        said("The agents stay up until Ctrl-C", 90.0)
        pid = said(r"kill -9 ([0-9]+)\s")
        wish = {"pool": "wan", "rate": 1_000_000_000, "end": int(time.time()) + 3_600, "patience_ms": 20_000}
        try:
            view = Client(said(r"export ASA_SOCKET=(\S+)\s"), timeout=60.0).request("POST", "/v1/reservations", wish)
        except Short as refused:
            pytest.fail(str(refused.details))
        assert view["state"] in ("installing", "active")
        os.kill(int(pid), signal.SIGKILL)
        said("r3 is down; it is started again")
        assert eventually(lambda: lab.agents() == 4)
        lab.process.send_signal(signal.SIGINT)
        said("nothing is left")
        assert lab.process.wait(30) == 0
        assert lab.leaves() == []
    os.close(ours)


def test_a_lab_whose_agent_dies_by_itself_fails_and_says_which(tmp_path):
    with running(tmp_path, SPEED="60", JSON="1") as lab:
        assert eventually(lambda: lab.agents() == 4), lab.processes()
        for each in Path("/proc").iterdir():
            try:
                line = (each / "cmdline").read_text() if each.name.isdigit() else ""
            except OSError:
                continue
            if line.endswith("r2.toml\0") and str(lab.tmp) in line:
                os.kill(int(each.name), signal.SIGKILL)
        out, err = lab.process.communicate(timeout=60)
        assert lab.process.returncode == 1, err
        assert "r2 ended by SIGKILL" in err
        assert json.loads(out)["ok"] is False
        assert lab.leaves() == []
