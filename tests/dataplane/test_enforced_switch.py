"""An agent whose lines are ports of an Open vSwitch: what is reserved with it is in the switch, and in its packets."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from asa.dataplane.openvswitch import kernel
from asa.dataplane.tc.htb import Rates
from tests.agents.domain import QUIET, Agent, G, M, eventually

from .ovs import Ear, Node, mac_of, more, node, sent

EF = 46
PORT = "br0-b"
OURS = "cookie=0xa5a000000000000/0xffff000000000000"
CONFIG = """
[flows]
serves = ["10.0.0.1/32"]
[enforcement]
backend = "openvswitch"
{where}
lead_s = 1
rule_life_s = 60
reconcile_s = 1
sample_s = 1
[[link]]
interface = "br0-b"
capacity = 100_000_000
[[route]]
prefix = "0.0.0.0/0"
interface = "br0-b"
"""
_ports = iter(range(9_100, 9_200))


class Switched:
    """An agent on a node between 10.0.0.1, which it serves, and 10.0.0.2, with what is in its switch."""

    def __init__(self, here: Node, directory: Path, where: str) -> None:
        self.here = here
        side = here.lab.host("side")
        here.lab.link(here.host, side)
        here.host.ip("address add fd00::1/128 dev lo nodad")
        self.agent = Agent(
            here.host, "fd00::1", directory, "switch", "origin", {"wan": 10 * G}, more=CONFIG.format(where=where)
        )
        self.agent.start()
        self.agent.params(**QUIET)

    def reserve(self, port: int, rate: int = 10 * M, **wanted: Any) -> str:
        """The id, once it is in force."""
        flow = {"source": "10.0.0.1", "destination": f"10.0.0.2:{port}", "protocol": "udp"}
        identifier = str(self.agent.reserve("wan", rate, **flow | wanted)["id"])
        self.comes(identifier, "active")
        return identifier

    def view(self, identifier: str) -> dict[str, Any]:
        found: dict[str, Any] = self.agent.get(f"reservations/{identifier}")
        return found

    def comes(self, identifier: str, state: str) -> None:
        eventually(lambda: self.view(identifier)["state"] == state, what=f"{state}: {self.view(identifier)}")

    def cancel(self, *identifiers: str) -> None:
        for each in identifiers:
            self.agent.cancel(each)
        for each in identifiers:
            self.comes(each, "cancelled")

    def queues(self) -> dict[int, Rates]:
        """The classes of reservations the kernel has, by the number of the queue."""
        found = {number - 1: rates for number, rates in kernel.classes(PORT).items()}
        return {number: rates for number, rates in found.items() if number not in (0, kernel.WHOLE - 1)}

    def flows(self, *words: str) -> list[str]:
        """Those of reservations with all of some words."""
        told = self.here.switch.ofctl("dump-flows", "br0", OURS)
        lines = [each.strip() for each in told.splitlines() if re.search(r"table=24[0-3],", each)]
        return [each for each in lines if "priority=2," not in each and "priority=3," not in each
                and all(word in each for word in words)]  # fmt: skip

    def meters(self) -> int:
        return self.here.switch.ofctl("dump-meters", "br0").count("meter=")

    def empty(self) -> bool:
        """No entry is left; the line is shaped."""
        return not self.flows() and not self.queues() and not self.meters() and kernel.shaped(PORT)

    def marked(self, port: int) -> int:
        """The DSCP with which a packet sent without any arrives."""
        text = b"to %d" % port
        self.here.settle()
        with Ear(self.here.b) as ear:
            sent(self.here.a, text, 0, port)
            ((_, dscp),) = eventually(lambda: ear.of(text))
        return int(dscp)


@contextmanager
def switched(directory: Path, where: Callable[[Node], str]) -> Iterator[Switched]:
    with node() as here:
        here.a.run(["ping", "-c", "1", "10.0.0.2"])
        found = Switched(here, directory, where(here))
        yield found
        found.agent.kill()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Switched]:
    with switched(tmp_path_factory.mktemp("switch"), lambda here: f'ovsdb = "{here.switch.socket}"') as found:
        yield found


@pytest.fixture
def its(shared: Switched) -> Iterator[Switched]:
    yield shared
    for each in shared.agent.reservations():
        if each["state"] not in ("ended", "cancelled"):
            shared.agent.cancel(each["id"])
    eventually(shared.empty, what="nothing is left of a test")


def test_what_is_reserved_is_in_the_switch_and_read_back(its: Switched) -> None:
    port = next(_ports)
    made = its.reserve(port, kind="two-way", back=2 * M, traffic="voice")
    lines = {each["line"]: each for each in its.view(made)["enforcement"]["lines"]}
    assert {name: each["guarantee"] for name, each in lines.items()} == {"br0-b:out": 10 * M, "br0-b:in": 2 * M}
    ((queue, rates),) = its.queues().items()
    assert (rates.guarantee, its.meters()) == (10 * M, 1)
    (flow,) = its.flows("table=242", f"tp_dst={port}")
    assert f"set_queue:{queue}" in flow
    assert its.flows("table=241", f"tp_src={port}", "meter:")
    assert its.marked(port) == EF
    before = kernel.counters(PORT)[kernel.class_of(queue)].packets
    its.marked(port)
    assert kernel.counters(PORT)[kernel.class_of(queue)].packets > before
    seen = its.agent.get("enforcement")
    assert (seen["back_end"], seen["effect"], seen["trouble"]) == ("openvswitch", True, "")
    its.agent.request("PATCH", f"reservations/{made}", {"rate": 20 * M})
    eventually(lambda: [each.guarantee for each in its.queues().values()] == [20 * M])
    assert set(its.queues()) == {queue}
    its.cancel(made)
    assert its.empty()
    assert its.marked(port) == 0


def test_paused_and_resumed(its: Switched) -> None:
    port = next(_ports)
    made = its.reserve(port, traffic="voice")
    its.agent.post("agent/pause")
    eventually(its.empty)
    assert its.marked(port) == 0
    its.agent.post("agent/resume")
    its.comes(made, "active")
    assert its.marked(port) == EF


def test_packets_are_steered_and_copied(its: Switched) -> None:
    here = its.here
    box, tap = more(here, "box", "10.0.0.11/24"), more(here, "tap", "10.0.0.21/24")
    box.forwarding(True)
    for key in ("all", "eth0"):
        box.sysctl(f"net.ipv4.conf.{key}.send_redirects", "0")
    box.run(["ping", "-c", "1", "10.0.0.2"])
    here.switch.vsctl("set", "Interface", "br0-tap", f'external_ids:attached-mac="{mac_of(tap)}"')
    port = next(_ports)
    steered = its.reserve(port, 0, kind="steering", through=[str(mac_of(box))])
    copied = its.reserve(port, 0, kind="mirroring", output=str(mac_of(tap)))
    here.settle()
    with Ear(box) as way, Ear(here.b) as end, Ear(tap) as copies:
        sent(here.a, b"both", port=port)
        eventually(lambda: end.of(b"both") and copies.of(b"both"))
        assert (mac_of(box), 0) in way.of(b"both")
        assert {each[22] for each in end.frames if b"both" in each} == {63}, "the box has forwarded it"
    assert len(its.flows("table=240")) == 1
    assert len(its.flows("table=243")) == 2
    its.cancel(steered, copied)
    assert its.empty()
    here.settle()
    with Ear(box) as way, Ear(here.b) as end, Ear(tap) as copies:
        sent(here.a, b"neither", port=port)
        eventually(lambda: end.of(b"neither"))
        assert way.of(b"neither") == copies.of(b"neither") == []


def test_all_comes_back_after_ovs_vswitchd_was_killed(its: Switched) -> None:
    ports = [next(_ports) for _ in range(3)]
    made = [its.reserve(each, rate * M, traffic="voice") for each, rate in zip(ports, (10, 20, 30), strict=True)]
    assert sorted(each.guarantee for each in its.queues().values()) == [10 * M, 20 * M, 30 * M]
    its.here.switch.kill_daemon()
    eventually(lambda: "data-plane" in its.agent.problems())
    # What is cancelled and what is new meanwhile is not forgotten.
    its.agent.cancel(made[0])
    port = next(_ports)
    flow = {"source": "10.0.0.1", "destination": f"10.0.0.2:{port}", "protocol": "udp", "traffic": "voice"}
    late = its.agent.reserve("wan", 5 * M, **flow)["id"]
    its.here.switch.start_daemon()
    its.here.a.run(["ping", "-c", "1", "10.0.0.2"])
    for each in made[1:], [late]:
        for identifier in each:
            its.comes(identifier, "active")
    its.comes(made[0], "cancelled")
    assert sorted(each.guarantee for each in its.queues().values()) == [5 * M, 20 * M, 30 * M]
    assert len(its.flows()) == 3
    assert {its.marked(each) for each in (*ports[1:], port)} == {EF}
    assert its.marked(ports[0]) == 0
    eventually(lambda: "data-plane" not in its.agent.problems())
    seen = its.agent.get("enforcement")
    assert (seen["installed"], seen["failed"]) == (3, 0)


def test_what_is_reserved_while_ovsdb_server_is_gone_comes_with_it(its: Switched) -> None:
    before, port = its.reserve(next(_ports), 20 * M, traffic="voice"), next(_ports)
    its.here.switch.kill_server()
    flow = {"source": "10.0.0.1", "destination": f"10.0.0.2:{port}", "protocol": "udp", "traffic": "voice"}
    made = its.agent.reserve("wan", 5 * M, **flow)["id"]
    its.here.switch.start_server()
    its.comes(made, "active")
    its.comes(before, "active")
    assert sorted(each.guarantee for each in its.queues().values()) == [5 * M, 20 * M]
    assert its.marked(port) == EF


def test_the_same_by_a_deputy(tmp_path: Path) -> None:
    path = tmp_path / "deputy.sock"
    deputies: list[subprocess.Popen[Any]] = []

    def where(here: Node) -> str:
        words = ["--backend", "openvswitch", "--ovsdb", str(here.switch.socket), "--interface", PORT]
        deputies.append(here.host.popen([sys.executable, "-m", "asa", "deputy", "--listen", str(path), *words]))
        eventually(path.exists)
        return f'deputy = "{path}"'

    with switched(tmp_path, where) as its:
        port = next(_ports)
        made = its.reserve(port, traffic="voice")
        assert its.agent.get("enforcement")["back_end"] == "openvswitch"
        assert [each.guarantee for each in its.queues().values()] == [10 * M]
        assert its.marked(port) == EF
        its.cancel(made)
        assert its.empty()
        its.agent.post("agent/remove", {"confirm": "switch"})
        assert its.agent.process is not None
        assert its.agent.process.wait(30) == 0
        assert not kernel.shaped(PORT)
        assert (
            its.here.switch.ofctl("dump-flows", "br0", "cookie=0xa5a000000000000/0xffff000000000000").count("n_") == 0
        )
        for each in deputies:
            each.terminate()
            assert each.wait(30) == 0
