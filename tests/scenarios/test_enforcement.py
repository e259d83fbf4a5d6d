"""What packets get of what is reserved, on the kernel's own queues: the rest of docs/tegu.md's scenarios.

What is in place is what ``tc`` and ``nft`` say, and what a neighbour receives.
"""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest

from lab import Host, Lab, unavailable_reason
from lab.markings import Kind, Markings
from tests.agents.domain import QUIET, Agent, Domain, G, M, eventually

LIFE_S = 30
LEAD_S = 2
FLOOR = 5 * M
EF = 46
_ports = iter(range(7_001, 8_000))


@dataclass(frozen=True)
class Rule:
    """One element of a map of the agent's."""

    key: str
    number: int
    expires: int
    """Seconds."""


class Queues:
    """What the kernel of a host has for an interface."""

    def __init__(self, host: Host, device: str = "eth0") -> None:
        self.host = host
        self.device = device

    def classes(self) -> dict[int, int]:
        """Guarantees in bit/s by number, without the two that are always there; as tc(8) rounds them."""
        said = self.host.run(["tc", "class", "show", "dev", self.device], check=False).stdout
        found = {}
        for number, rate, unit in re.findall(r"class htb a5a:([0-9a-f]+) parent .*? rate (\d+)([KMG]?)bit", said):
            found[int(number, 16)] = int(rate) * {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}[unit]
        return {number: rate for number, rate in found.items() if number not in (0x1, 0xFFFF)}

    def rules(self) -> list[Rule]:
        listed = (
            self.host.run(["nft", "-j", "list", "table", "netdev", "asa"], check=False).stdout or '{"nftables": []}'
        )
        found = []
        for each in json.loads(listed)["nftables"]:
            for key, *number in each.get("map", {}).get("elem", []):
                found.append(_rule(key, number[0]))
        return found

    def rule(self, port: int) -> Rule | None:
        """The one of packets to a port."""
        found = [each for each in self.rules() if f"{port}" in re.findall(r"\d+", each.key)]
        assert len(found) <= 1, found
        return found[0] if found else None


def _rule(key: Any, number: Any) -> Rule:
    element = key["elem"] if isinstance(key, dict) and "elem" in key else {"val": key}
    major, minor = (
        (int(each, 16) for each in str(number).split(":")) if ":" in str(number) else divmod(int(number), 1 << 16)
    )
    assert major == 0xA5A, number
    return Rule(json.dumps(element["val"]), minor, element.get("expires", 0))


@dataclass
class Bound:
    """``a``, which enforces what is reserved of its eth0, and ``b`` beside it, which only receives."""

    domain: Domain
    queues: Queues

    @property
    def a(self) -> Agent:
        return self.domain.agents["a"]

    @property
    def b(self) -> Host:
        return self.domain.hosts["b"]

    def reserve(self, rate: int, port: int, **wanted: Any) -> dict[str, Any]:
        flow = {"source": "fd00::1", "destination": f"[fd00::2]:{port}", "protocol": "udp"}
        return self.a.reserve("wan", rate, **flow | wanted)

    def named(self, address: str) -> None:
        """Where the host vm is, to a."""
        new = self.domain.directory / "new"
        new.write_text(f'[hosts.vm]\naddresses = ["{address}"]\n')
        new.replace(self.domain.directory / "hosts")

    def state(self, identifier: str) -> str:
        return str(self.a.get(f"reservations/{identifier}")["state"])

    def active(self, made: dict[str, Any], state: str = "active") -> None:
        eventually(lambda: self.state(made["id"]) == state, 30, f"{made['id']} is {state}")

    def marked(self, port: int, dscp: int, count: int = 20) -> dict[int, int]:
        """By the DSCP they arrive with, packets that are sent to a port of b with ``dscp``."""
        kind = Kind(6, "udp", port)
        with Markings(self.b, [kind]) as seen, self.a.host.entered():
            with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sender:
                sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, dscp << 2)
                sender.bind(("fd00::1", 0))
                for _ in range(count):
                    sender.sendto(b"x" * 100, ("fd00::2", port))
            eventually(lambda: sum(seen.seen()[kind].values()) == count, what=f"{count} packets at b")
            return dict(seen.seen()[kind])


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bound]:
    if reason := unavailable_reason():
        pytest.skip(reason)
    with Lab() as lab:
        domain = Domain.line(lab, tmp_path_factory.mktemp("enforcement"), ["a", "b"])
        bound = Bound(domain, Queues(domain.hosts["a"]))
        bound.named("fd00:a::5")
        more = f"""[flows]
hosts_file = "{domain.directory / "hosts"}"
serves = ["fd00::1/128", "fd00:a::/64"]
[enforcement]
backend = "tc-nft"
rule_life_s = {LIFE_S}
lead_s = {LEAD_S}
reconcile_s = 2
sample_s = 1
[[link]]
interface = "eth0"
capacity = 100_000_000
[[route]]
prefix = "::/0"
interface = "eth0"
"""
        domain.agent("a", "origin", {"wan": 10 * G}, more=more)
        domain.agent("b", more='[flows]\nserves = ["fd00:b::/64"]\n')
        domain.start(**QUIET | {"flood_interval": 1})
        eventually(lambda: domain.agents["a"].events("peer-serves"), 30, "a knows who serves what")
        yield bound


@pytest.fixture
def bound(shared: Bound) -> Iterator[Bound]:
    yield shared
    a = shared.a
    if a.process is None or a.process.poll() is not None:
        a.start()
    if a.get("status")["paused"]:
        a.post("agent/resume")
    for each in a.reservations(state=None):
        if each["state"] != "ending":
            a.cancel(each["id"])
    eventually(lambda: not shared.queues.rules() and not shared.queues.classes(), 30, "nothing is left of a test")


def watched(condition: Callable[[], bool], seconds: float, pause: float = 0.1) -> list[float]:
    """When it did not hold within so many seconds."""
    failures, until = [], time.monotonic() + seconds
    while time.monotonic() < until:
        if not condition():
            failures.append(time.time())
        time.sleep(pause)
    return failures


def test_scenario_12_and_26_packets_leave_with_the_marking_of_their_class(bound: Bound) -> None:
    voice, plain = next(_ports), next(_ports)
    bound.active(bound.reserve(10 * M, voice, traffic="voice"))
    bound.active(bound.reserve(10 * M, plain))
    assert bound.marked(voice, 0) == {EF: 20}
    assert bound.marked(plain, EF) == {0: 20}
    assert Queues(bound.a.host, "asa-eth0").classes() == {}, "one-way: nothing is done on the way in"


def test_scenario_14_cancelled_rules_go_at_once_and_others_are_untouched(bound: Bound) -> None:
    gone, stays = next(_ports), next(_ports)
    made = bound.reserve(10 * M, gone)
    bound.active(made)
    bound.active(bound.reserve(20 * M, stays))
    before = bound.queues.rule(stays)
    assert before is not None
    assert bound.queues.rule(gone) is not None
    bound.a.cancel(made["id"])
    eventually(lambda: bound.queues.rule(gone) is None and len(bound.queues.classes()) == 1, 10, "rule and queue gone")
    after = bound.queues.rule(stays)
    assert after is not None
    assert after.number == before.number
    assert bound.queues.classes() == {before.number: 20 * M}
    eventually(lambda: bound.state(made["id"]) == "cancelled", what="nothing of it is left")


def test_scenario_16_what_has_ended_has_no_rule_and_no_queue(bound: Bound) -> None:
    port = next(_ports)
    made = bound.reserve(10 * M, port, end=int(time.time()) + 4)
    bound.active(made)
    assert bound.queues.rule(port) is not None
    eventually(lambda: time.time() >= made["end"])
    eventually(lambda: bound.queues.rule(port) is None and not bound.queues.classes(), 10, "rule and queue gone")
    eventually(lambda: bound.state(made["id"]) == "ended", what="it has ended")


def test_scenario_17_and_18_the_queue_and_then_the_rule_are_in_place_before_the_start_and_not_sooner(
    bound: Bound,
) -> None:
    port, start = next(_ports), int(time.time()) + 7
    made = bound.reserve(10 * M, port, start=start, end=start + 60)
    assert made["state"] == "pending"
    seen: float | None = None
    while seen is None:
        rule = bound.queues.rule(port)
        if rule is not None:
            assert bound.queues.classes().get(rule.number) == 10 * M, "no rule leads to a queue that is not there"
            seen = time.time()
        assert time.time() < start, "in place before the start"
    assert seen > start - LEAD_S - 1
    assert bound.state(made["id"]) == "pending"
    bound.active(made)


def test_scenario_21_no_two_share_a_queue_and_all_guarantees_leave_the_floor(bound: Bound) -> None:
    made = [bound.reserve(19 * M, next(_ports)) for _ in range(5)]
    for each in made:
        bound.active(each)
    numbers = [each.number for each in bound.queues.rules()]
    assert len(set(numbers)) == len(numbers) == 5
    assert sum(bound.queues.classes().values()) == 100 * M - FLOOR
    # The next begins when they end: not a moment has both.
    port, now = next(_ports), int(time.time())
    for each in made:
        bound.a.request("PATCH", f"reservations/{each['id']}", {"end": now + 5})
    bound.reserve(95 * M, port, start=now + 5)
    sums = []
    while bound.queues.rule(port) is None:
        sums.append(sum(bound.queues.classes().values()))
        assert time.time() < now + 15
    assert max(sums) <= 100 * M - FLOOR


def test_scenario_27_passthrough_keeps_its_marking_of_its_protocol_and_port_alone(bound: Bound) -> None:
    port, other = next(_ports), next(_ports)
    bound.active(bound.reserve(0, port, kind="passthrough", owner="shop"))
    assert bound.marked(port, EF) == {EF: 20}
    assert bound.marked(other, EF) == {0: 20}
    bound.a.kill()
    bound.a.start()
    assert bound.marked(port, EF) == {EF: 20}


def test_scenario_28_a_priority_nobody_reserved_is_taken_off(bound: Bound) -> None:
    port = next(_ports)
    eventually(lambda: bound.marked(port, EF) == {0: 20}, what="the interface is looked after")
    # What is no class of this domain is none of its business.
    assert bound.marked(port, 10) == {10: 20}


def test_scenario_29_between_two_ends_on_one_node_nothing_is_marked_or_done_on_the_way_in(bound: Bound) -> None:
    port = next(_ports)
    inside = {"source": "fd00::1", "destination": f"[fd00:a::9]:{port}", "traffic": "voice", "back": 10 * M}
    made = bound.a.reserve("wan", 10 * M, kind="two-way", protocol="udp", **inside)
    bound.active(made)
    assert Queues(bound.a.host, "asa-eth0").classes() == {}
    listed = bound.a.host.run(["nft", "list", "table", "netdev", "asa"]).stdout
    rule = bound.queues.rule(port)
    assert rule is not None
    assert rule.number in bound.queues.classes()
    assert "dscp set ef" not in listed


def test_scenario_30_and_31_a_long_one_is_refreshed_while_the_agent_lives_and_ends_with_it(bound: Bound) -> None:
    port = next(_ports)
    bound.active(bound.reserve(10 * M, port))
    first = bound.queues.rule(port)
    assert first is not None
    assert first.expires <= LIFE_S
    lives: list[int] = []

    def there() -> bool:
        rule = bound.queues.rule(port)
        lives.append(0 if rule is None else rule.expires)
        return rule is not None and rule.number == first.number

    assert watched(there, LIFE_S * 0.75) == []
    assert any(later > earlier + 1 for earlier, later in pairwise(lives)), "it was refreshed"
    assert max(lives) <= LIFE_S
    bound.a.kill()
    assert bound.queues.rule(port) is not None, "it does not end with the agent at once"
    eventually(lambda: bound.queues.rule(port) is None, LIFE_S + 10, "the rule of a dead agent ends")


def test_scenario_32_a_pause_takes_rules_away_and_a_restart_does_not_bring_them_back(bound: Bound) -> None:
    port, later = next(_ports), next(_ports)
    made = bound.reserve(10 * M, port)
    bound.active(made)
    bound.a.post("agent/pause")
    eventually(lambda: not bound.queues.rules() and not bound.queues.classes(), 10, "no rule and no queue")
    new = bound.reserve(20 * M, later)
    assert bound.state(new["id"]) == "paused"
    assert bound.a.stop() == 0
    bound.a.start()
    assert watched(lambda: not bound.queues.rules(), 1.5) == []
    assert bound.state(made["id"]) == "paused"
    bound.a.post("agent/resume")
    for each in made, new:
        bound.active(each)
    assert sorted(bound.queues.classes().values()) == [10 * M, 20 * M]


def test_scenario_33_after_a_crash_what_is_in_place_stays_in_place(bound: Bound) -> None:
    port = next(_ports)
    made = bound.reserve(10 * M, port, traffic="voice")
    bound.active(made)
    before = bound.queues.rule(port)
    assert before is not None
    bound.marked(port, 0)
    statistics = bound.a.host.run(
        ["tc", "-s", "class", "show", "dev", "eth0", "classid", f"a5a:{before.number:x}"]
    ).stdout
    sent = int(re.findall(r"Sent (\d+) bytes", statistics)[0])
    assert sent > 0
    bound.a.kill()
    bound.a.start()
    bound.active(made)
    after = bound.queues.rule(port)
    assert after is not None
    assert after.number == before.number
    statistics = bound.a.host.run(
        ["tc", "-s", "class", "show", "dev", "eth0", "classid", f"a5a:{after.number:x}"]
    ).stdout
    assert int(re.findall(r"Sent (\d+) bytes", statistics)[0]) >= sent, "the queue is the same one"


def test_scenario_37_an_end_that_moved_to_another_node_leaves_no_rule(bound: Bound) -> None:
    port = next(_ports)
    bound.named("fd00:a::5")
    made = bound.reserve(10 * M, port, source="vm")
    bound.active(made)
    bound.named("fd00:b::5")
    assert bound.a.post("refresh", {"host": "vm"})["moved"] == [made["id"]]
    eventually(lambda: not bound.queues.rules() and not bound.queues.classes(), 10, "no rule and no queue")
    eventually(lambda: bound.state(made["id"]) == "cancelled", what="it is no longer here")
    there = bound.domain.agents["b"]
    eventually(lambda: there.get(f"reservations/{made['id']}")["state"] == "active", what="it is there")
    there.cancel(made["id"])


def test_scenario_38_what_the_kernel_refuses_is_no_success_and_is_tried_again(bound: Bound) -> None:
    port, tc = next(_ports), ["tc", "qdisc"]
    bound.a.host.run([*tc, "replace", "dev", "eth0", "root", "handle", "8001:", "pfifo"])
    made = bound.reserve(10 * M, port)
    bound.active(made, "failed")
    view = bound.a.get(f"reservations/{made['id']}")
    assert "8001:" in view["why"], view
    assert bound.queues.classes() == {}
    shown = bound.a.host.run([*tc, "show", "dev", "eth0"]).stdout
    assert "pfifo 8001:" in shown, "somebody else's is left alone"
    bound.a.host.run([*tc, "delete", "dev", "eth0", "root"])
    bound.active(made)
    assert bound.queues.rule(port) is not None
    assert bound.a.get(f"reservations/{made['id']}")["why"] == ""


def test_scenario_39_with_no_time_left_nothing_is_installed(bound: Bound) -> None:
    port = next(_ports)
    bound.a.post("agent/pause")
    made = bound.reserve(10 * M, port, end=int(time.time()) + 3)
    eventually(lambda: time.time() > made["end"] - 0.5)
    bound.a.post("agent/resume")
    eventually(lambda: bound.queues.rule(port) is None and time.time() > made["end"] + 1, 20, "nothing is there")
    assert watched(lambda: bound.queues.rule(port) is None, 1.0) == []
    assert bound.queues.classes() == {}
    assert all(each.expires > 0 for each in bound.queues.rules())


@pytest.mark.parametrize("what", ["class", "ruleset", "qdisc", "element"])
def test_scenario_40_what_others_changed_is_repaired_and_told(bound: Bound, what: str) -> None:
    port, host = next(_ports), bound.a.host
    bound.active(bound.reserve(10 * M, port, traffic="voice"))
    rule = bound.queues.rule(port)
    assert rule is not None
    told = len(bound.a.events("enforcement-drift"))
    foreign = "table inet of_somebody {\n chain c {\n }\n}\n"
    if what == "class":
        host.run(["nft", "flush", "map", "netdev", "asa", _map_of(host, port)])
        host.run(["tc", "class", "delete", "dev", "eth0", "classid", f"a5a:{rule.number:x}"])
    elif what == "ruleset":
        host.run(["nft", "flush", "ruleset"])
        host.run(["nft", "-f", "-"], input=foreign)
    elif what == "qdisc":
        host.run(["tc", "qdisc", "delete", "dev", "eth0", "root"])
    else:
        host.run(["nft", "flush", "map", "netdev", "asa", _map_of(host, port)])

    def repaired() -> bool:
        found = bound.queues.rule(port)
        return found is not None and bound.queues.classes().get(found.number) == 10 * M

    eventually(lambda: len(bound.a.events("enforcement-drift")) > told, 15, "an event tells of it")
    eventually(repaired, 15, "rule and queue are back")
    assert bound.marked(port, 0) == {EF: 20}
    fields = bound.a.events("enforcement-drift")[told]["fields"]
    assert fields["before"]
    assert fields["after"]
    if what == "ruleset":
        assert "of_somebody" in host.run(["nft", "list", "tables"]).stdout
        host.run(["nft", "delete", "table", "inet", "of_somebody"])


def _map_of(host: Host, port: int) -> str:
    listed = json.loads(host.run(["nft", "-j", "list", "table", "netdev", "asa"]).stdout)["nftables"]
    found = [each["map"]["name"] for each in listed if str(port) in json.dumps(each.get("map", {}).get("elem", []))]
    return str(found[0])
