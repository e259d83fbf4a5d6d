from __future__ import annotations

import json
import signal
import subprocess

import cbor2
import dpkt
import pytest

from bench.report import Result, machine, rss_kib, threads
from lab import Capture

EXCHANGES = {
    "negotiate": [[3, ["EX3", 3, 6, ["NZD", 47]]], [5, ["EX3", 3, 5, ["NZD", 40]]], [6, [101]]],
    "synchronize": [[4, ["EX2", 5, 6, None]], [8, ["EX2", 5, 6, ["Example 2 value=", 200]]]],
}


@pytest.mark.parametrize("exchange", EXCHANGES)
@pytest.mark.parametrize("ending", ["SIGTERM", "end of stdin"])
def test_the_floor_puts_the_bytes_of_grasp_on_the_wire(lab, exchange, ending):
    a, b = lab.host("a"), lab.host("b")
    lab.link(a, b)
    server = b.python(
        *["-m", "bench.floor", "serve", exchange, "--threads", "2"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    port = json.loads(server.stdout.readline())["port"]
    assert threads(server.pid) == 3
    assert rss_kib(server.pid) > 1000
    to = [f"{b.link_local('eth0')}%eth0", "--port", str(port), "--sessions", "1"]
    with Capture(a, "eth0") as capture:
        client = a.python("-m", "bench.floor", "client", exchange, *to, stdout=subprocess.PIPE, text=True)
        found = json.loads(client.communicate(timeout=30)[0])
    assert found["rate"] > 0

    packets = [dpkt.ethernet.Ethernet(frame.data).data.data for frame in capture.frames]
    payloads = [packet.data for packet in packets if isinstance(packet, dpkt.tcp.TCP) and packet.data]
    messages = [cbor2.loads(payload) for payload in payloads]
    assert [[kind, *rest] for kind, _, *rest in messages] == EXCHANGES[exchange]
    assert len({session for _, session, *_ in messages}) == 1

    if ending == "SIGTERM":
        server.send_signal(signal.SIGTERM)
    else:
        server.stdin.close()
    assert server.wait(30) == 0
    server.stdout.close()


def test_a_result_is_one_json_object_and_is_held_against_the_floor():
    result = Result("negotiations", 6000.0, "1/s", floor=10_000.0, aim=0.5)
    assert json.loads(str(result)) == {
        "name": "negotiations",
        "value": 6000.0,
        "unit": "1/s",
        "floor": 10_000.0,
        "ratio": 0.6,
        "aim": 0.5,
        "met": True,
    }


@pytest.mark.parametrize(
    ("result", "met"),
    [
        (Result("rate", 4000, "1/s", floor=10_000, aim=0.5), False),
        (Result("rss", 30_000, "KiB", aim=32_768, lower_is_better=True), True),
        (Result("rss", 40_000, "KiB", aim=32_768, lower_is_better=True), False),
        (Result("threads", 7, "threads"), None),
    ],
)
def test_an_aim_is_for_the_ratio_or_without_a_floor_for_the_value(result, met):
    assert result.met is met


def test_the_facts_of_the_machine_can_be_printed():
    assert set(json.loads(json.dumps(machine()))) == {"cpus", "python", "kernel"}
