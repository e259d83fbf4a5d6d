"""An agent that enforces with the kernel, through its life: upgraded, measured, removed."""

from __future__ import annotations

import http.client
import re
import socket

import pytest

from lab import Lab, unavailable_reason

from .domain import QUIET, Domain, G, M, eventually

pytest.importorskip("prometheus_client")
from prometheus_client.parser import text_string_to_metric_families

MORE = """[enforcement]
backend = "tc-nft"
reconcile_s = 1
sample_s = 1
[[link]]
interface = "eth0"
capacity = 100_000_000
[[route]]
prefix = "::/0"
interface = "eth0"
"""


@pytest.fixture
def node(tmp_path):
    if reason := unavailable_reason():
        pytest.skip(reason)
    with Lab() as lab:
        domain = Domain.line(lab, tmp_path, ["a", "b"])
        domain.agent("a", "origin", {"wan": 10 * G}, more=MORE)
        domain.start(**QUIET)
        yield domain.origin
        domain.origin.kill()


def qdiscs(node):
    return node.host.run(["tc", "qdisc", "show"]).stdout


def sent(node):
    """Bytes each class of a reservation sent, by its number."""
    said = node.host.run(["tc", "-s", "class", "show", "dev", "eth0"]).stdout
    found = dict(re.findall(r"class htb a5a:([0-9a-f]+) parent a5a:1 .*?\n Sent ([0-9]+) bytes", said))
    return {number: int(count) for number, count in found.items() if number != "ffff"}


def metrics(node):
    """Samples by name and labels."""
    connection = http.client.HTTPConnection("x")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(node.socket))
    connection.request("GET", "/v1/metrics")
    answer = connection.getresponse()
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    text = answer.read().decode()
    connection.close()
    return {
        (each.name, *sorted(each.labels.items())): each.value
        for family in text_string_to_metric_families(text)
        for each in family.samples
    }


def shows(node, identifier):
    return node.get(f"reservations/{identifier}")


def test_an_upgrade_interrupts_nothing_and_a_removal_leaves_nothing(node):
    made = node.reserve("wan", 10 * M, source="fd00::1", destination="fd00::2", traffic="voice")
    identifier = made["id"]
    eventually(lambda: shows(node, identifier)["state"] == "active")
    line = shows(node, identifier)["enforcement"]["lines"][0]
    assert (line["line"], line["guarantee"], line["dscp"]) == ("eth0:out", 10 * M, 46)

    with node.host.entered(), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sender:
        for _ in range(100):
            sender.sendto(b"x" * 1_000, ("fd00::2", 9))
    ((number, before),) = sent(node).items()
    assert before > 0
    key = ("asa_reservation_sent_bytes_total", ("line", "eth0:out"), ("reservation", identifier))
    eventually(lambda: metrics(node).get(key, 0) >= before)
    found = metrics(node)
    assert found["asa_reservations", ("state", "active")] == 1
    assert found["asa_line_guaranteed_bits_per_second", ("line", "eth0:out")] == 10 * M
    assert found["asa_pool_held_bits_per_second", ("pool", "wan")] == 10 * G
    assert found["asa_enforcement_effect", ("back_end", "tc-nft")] == 1
    assert found["asa_enforced_reservations", ("phase", "installed")] == 1
    verdicts = {labels: value for labels, value in found.items() if labels[0] == "asa_reservation_verdict"}
    assert sum(verdicts.values()) == 1

    pid = node.get("status")["pid"]
    instance = node.get("status")["started"]
    node.post("agent/restart")
    eventually(lambda: node.get("status")["started"] > instance or node.events("enforcement-adopted"))
    assert node.get("status")["pid"] == pid
    eventually(lambda: shows(node, identifier)["state"] == "active")
    ((after, count),) = sent(node).items()
    assert (after, count >= before) == (number, True), "the class is the same one"

    node.cancel(identifier)
    eventually(lambda: shows(node, identifier)["state"] == "cancelled")
    assert sent(node) == {}
    assert "a5a:" in qdiscs(node)
    node.post("agent/remove", {"confirm": "a"})
    assert node.process.wait(30) == 0
    assert "a5a:" not in qdiscs(node)
    assert "asa" not in node.host.run(["nft", "list", "ruleset"]).stdout
    assert "asa-eth0" not in node.host.run(["ip", "link"]).stdout


def test_without_its_links_it_leaves_nothing_of_what_they_had(node):
    identifier = node.reserve("wan", 10 * M, source="fd00::1", destination="fd00::2", traffic="voice")["id"]
    eventually(lambda: shows(node, identifier)["state"] == "active")
    status = node.get("status")
    assert (status["back_end"], status["effect"]) == ("tc-nft", True)
    node.kill()
    assert "a5a:" in qdiscs(node)
    node.config.write_text(node.config.read_text().replace(MORE, ""))
    node.start()
    assert shows(node, identifier)["state"] == "active"
    eventually(lambda: "a5a:" not in qdiscs(node))
    eventually(lambda: node.events("enforcement-cleared"))
    assert "asa" not in node.host.run(["nft", "list", "tables"]).stdout
    status = node.get("status")
    assert (status["back_end"], status["effect"]) == ("", False)
