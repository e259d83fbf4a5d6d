"""Traffic of the laboratory: what is measured is what was sent, and nothing goes on after its time."""

from __future__ import annotations

import subprocess

import pytest

from lab import Host, Lab
from lab.hosts import LabError
from lab.markings import Kind, Markings
from lab.traffic import Flow, Interval, Stream, TrafficError, measure, missing, refusal, streams

M = 10**6

if reason := missing():
    pytest.skip(reason, allow_module_level=True)


@pytest.fixture
def pair(lab: Lab) -> tuple[Host, Host]:
    a, b = lab.host("a"), lab.host("b")
    lab.link(a, b)
    for host, number in (a, 1), (b, 2):
        host.ip(f"address add 10.0.0.{number}/24 dev eth0", f"address add fd00::{number}/64 dev eth0 nodad")
    return a, b


def running(*hosts: Host) -> list[str]:
    pids = [pid for host in hosts for pid in host._strays()]
    return [
        subprocess.run(["ps", "-o", "comm=", "-p", str(pid)], capture_output=True, text=True).stdout for pid in pids
    ]


def test_flows_bring_what_was_sent_are_counted_by_their_markings_and_end(pair):
    a, b = pair
    flows = [
        Flow(a, b, "10.0.0.2", 5_001, udp=True, rate=5 * M, length=1_000, dscp=46),
        Flow(a, b, "fd00::2", 5_002, rate=2 * M, streams=3, length=4_096, dscp=10),
        Flow(b, a, "10.0.0.1", 5_003, rate=8 * M, length=4_096),
    ]
    with Markings(b, [Kind(4, "udp", 5_001), Kind(6, "tcp", 5_002), Kind(4, "tcp", 5_003)]) as markings:
        rates = measure(flows, 1.0)
        seen = markings.seen()
    assert rates == pytest.approx([5 * M, 6 * M, 8 * M], rel=0.3)
    assert seen[Kind(4, "udp", 5_001)][46] > 500
    # The first packets of a flow go before its marking is set.
    assert [set(each) - {0} for each in seen.values()] == [{46}, {10}, set()]
    assert seen[Kind(4, "tcp", 5_003)] == {}
    assert running(a, b) == []


def test_a_flow_to_nowhere_is_told_and_leaves_no_process(pair):
    a, b = pair
    with pytest.raises(TrafficError, match="port 5001 ended"):
        measure([Flow(a, b, "10.0.0.9", 5_001)], 1.0)
    assert running(a, b) == []


def test_a_port_that_is_taken_is_told(pair):
    a, b = pair
    flow = Flow(a, b, "10.0.0.2", 5_001, rate=M)
    with streams([flow], 10.0), pytest.raises(TrafficError, match="port 5001"):
        measure([flow], 1.0)


def test_the_rate_between_two_times_takes_intervals_in_part(pair):
    stream = Stream(Flow(*pair, "10.0.0.2", 5_001), 1.0)
    stream.intervals += [Interval(10.0, 10.5, 100.0, 1, 10), Interval(10.5, 11.0, 300.0, 3, 10)]
    assert stream.rate(10.0, 11.0) == 200.0
    assert stream.rate(10.25, 10.75) == 200.0
    assert stream.rate(11.0, 12.0) == 0.0
    assert stream.lost(10.0, 11.0) == 0.2
    assert stream.lost(10.5, 11.0) == 0.3
    assert stream.lost(11.0, 12.0) == 0.0


def test_what_the_kernel_would_not_do_is_told_and_trying_it_leaves_nothing(pair):
    host, _ = pair
    assert refusal(host) is None
    assert "lab_try" not in host.run(["nft", "list", "ruleset"]).stdout + host.run(["ip", "link"]).stdout
    assert "htb" not in host.run(["tc", "qdisc"]).stdout
    host.run(["tc", "qdisc", "add", "dev", "lo", "root", "handle", "7:", "pfifo"])
    assert "tc fails here" in (refusal(host) or "")


def test_markings_that_cannot_be_counted_are_told(pair):
    with Markings(pair[0], [Kind(4, "udp", 1)]), pytest.raises(LabError, match="markings"):
        Markings(pair[0], [Kind(4, "sctpx", 1)]).__enter__()  # type: ignore[arg-type]  # on purpose


def test_what_is_missing_is_named():
    assert missing(lambda name: f"/usr/bin/{name}") is None
    assert missing(lambda name: None if name == "nft" else name) == "there is no nft"
