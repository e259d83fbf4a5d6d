"""The command as people run it, between two hosts."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from typing import Any

import pytest

from lab import Host, Lab, unavailable_reason
from tests.cli.conftest import PATIENCE, Running, eventually, listens, parse_json, run

Pair = tuple[Host, Host]
PATIENT = ("--timeout", "30000")
"""For what is answered at once."""


def test_a_served_objective_is_discovered(pair: Pair) -> None:
    a, b = pair
    with Running(b, "serve", "EX3", "--negotiate", '["NZD", 410]', "--ttl", "20000") as serving:
        ready = serving.element()
        assert ready["event"] == "ready"
        assert ready["interfaces"] == ["eth0"]
        where = f"[{b.link_local('eth0')}%eth0]:{ready['port']}"
        found = run(a, "discover", "EX3", "--json", *PATIENT)
        assert found.status == 0
        assert [each["peer"] for each in found.json] == [where]
        assert found.json[0]["interface"] == "eth0"
        assert 0 < found.json[0]["ttl"] <= 20_000
        assert found.json[0]["locator"]["protocol"] == 6
        asked = run(a, "discover", "EX3", "--peer", where, "--json", *PATIENT)
        assert [each["peer"] for each in asked.json] == [where]
        for_people = run(a, "discover", "EX3", *PATIENT)
        assert for_people.stdout.split()[:2] == [where, "eth0"]
        assert for_people.stderr == ""


def test_negotiations_end_with_what_both_said(pair: Pair) -> None:
    a, b = pair
    with Running(b, "serve", "EX3", "--negotiate", '["NZD", 410]', "--port", "4321") as serving:
        assert serving.element()["port"] == 4321
        peer = ["--peer", f"[{b.link_local('eth0')}%eth0]:4321", *PATIENT]

        granted = run(a, "negotiate", "EX3", '["NZD", 300]', "--json", *peer)
        assert granted.status == 0
        assert granted.json["agreed"] == ["NZD", 300]
        assert granted.json["steps"] == [{"step": "request", "value": ["NZD", 300]}]
        seen = serving.element()
        assert (seen["event"], seen["outcome"], seen["agreed"]) == ("negotiation", "agreed", ["NZD", 300])
        assert seen["peer"] == a.link_local("eth0")

        offered = run(a, "negotiate", "EX3", '["NZD", 500]', "--json", "--dry-run", *peer)
        assert offered.json["agreed"] == ["NZD", 410]
        assert offered.json["dry_run"] is True
        assert serving.element()["dry_run"] is True

        countered = run(a, "negotiate", "EX3", '["NZD", 500]', "--counter", '["NZD", 450]', "--json", *peer)
        assert [each["step"] for each in countered.json["steps"]] == ["request", "offer", "counter", "offer"]
        assert countered.json["agreed"] == ["NZD", 410]
        assert [each["value"][1] for each in serving.element()["steps"]] == [500, 410, 450, 410]

        met = run(a, "negotiate", "EX3", '["NZD", 500]', "--counter", '["NZD", 9]', "--json", *PATIENT)
        assert met.json["agreed"] == ["NZD", 9]
        assert serving.element()["agreed"] == ["NZD", 9]

        exhausted = run(a, "negotiate", "EX3", '["NZD", 500]', "--counter", "1", "--loop-count", "2", "--json", *peer)
        assert exhausted.status == 1
        assert exhausted.json["error"]["code"] == "loopExhausted"
        assert len(exhausted.json["steps"]) == 3

        ended = serving.end()
        assert ended.status == 0
        assert [each["event"] for each in ended.json][:2] == ["ready", "negotiation"]


def test_values_json_has_no_word_for_are_negotiated(pair: Pair) -> None:
    a, b = pair
    limit = '[{"$bytes": "00ff"}, {"$tag": 1, "value": 2}, {"$simple": 23}, {"$float": "-Infinity"}]'
    with Running(b, "serve", "EX3", "--negotiate", limit) as serving:
        serving.element()
        assert run(a, "negotiate", "EX3", '{"$cbor": "01"}', "--json", *PATIENT).json["agreed"] == parse_json(limit)
        assert serving.element()["steps"][0] == {"step": "request", "value": {"$cbor": "01"}}


def test_a_served_value_is_synchronized(pair: Pair) -> None:
    a, b = pair
    value = '{"$map": [[1, {"$bytes": "00ff"}], ["x", 2.5]]}'
    with Running(b, "serve", "EX4", "--synchronize", value) as serving:
        port = serving.element()["port"]
        for more in ([], ["--peer", f"[{b.link_local('eth0')}]:{port}", "--interface", "eth0"]):
            found = run(a, "synchronize", "EX4", "--json", *PATIENT, *more)
            assert found.status == 0
            assert found.json["value"] == parse_json(value)
            assert found.json["flags"] == ["F_DISC", "F_SYNCH"]
        assert run(a, "synchronize", "EX4", *PATIENT).stdout == value + "\n"
        assert serving.end(signal.SIGINT).status == 0


def test_floods_arrive(pair: Pair) -> None:
    a, b = pair
    with Running(b, "floods", "EX5", "--follow") as following:
        assert following.element()["event"] == "ready"
        assert run(a, "flood", "OTHER", "0", "--ttl", "1000", "--json").status == 0
        sent = run(a, "flood", "EX5", '{"mtu": 9000}', "--ttl", "60000", "--json")
        assert sent.status == 0
        assert (sent.json["links"], sent.json["interfaces"]) == (1, ["eth0"])
        # No routed address here, so it stays on the link (RFC 8990 §2.5.6.2).
        assert sent.json["loop_count"] == 1
        heard = following.element()
        assert (heard["event"], heard["name"], heard["value"]) == ("flood", "EX5", {"mtu": 9000})
        assert heard["initiator"] == a.link_local("eth0")
        assert 0 < heard["expires_in"] <= 60_000
        ended = following.end()
        assert ended.status == 0
        assert len(ended.json) == 2


def test_the_flood_cache_is_shown_after_listening(pair: Pair, call: Any) -> None:
    a, b = pair
    eventually(lambda: not listens(b, "eth0"))
    listening = b.python("-m", "grasp", "floods", "--timeout", "2500", "--json", stdout=subprocess.PIPE, text=True)
    eventually(lambda: listens(b, "eth0"))
    with a.entered():
        # In this process: one of its own may take longer to start than is listened for.
        assert call("flood", "EX6", "[1]", "--ttl", "0").stdout.startswith("flooded EX6 on 1 link (eth0)")
    stdout, _ = listening.communicate(timeout=PATIENCE)
    assert listening.returncode == 0
    (cached,) = parse_json(stdout)
    assert (cached["name"], cached["value"], cached["expires_in"]) == ("EX6", [1], None)


def test_an_empty_flood_cache_is_no_error(pair: Pair) -> None:
    assert run(pair[0], "floods", "--timeout", "50", "--json")[:2] == (0, "[]\n")
    assert run(pair[0], "floods", "--timeout", "50") == (0, "", "")


def test_monitor_shows_all_that_is_heard(pair: Pair) -> None:
    a, b = pair
    with Running(b, "monitor") as monitoring:
        assert monitoring.element()["event"] == "ready"
        run(a, "discover", "EX\x1b7", "--timeout", "100")
        heard = monitoring.element()
        assert heard["message"]["type"] == "M_DISCOVERY"
        assert heard["message"]["objective"]["name"] == "EX\x1b7"
        assert heard["from"].startswith(f"[{a.link_local('eth0')}%eth0]:")
        assert heard["interface"] == "eth0"
        with a.entered(), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sender:
            for data in (b"\x1b[2Jhello", b"\x82\x19\x03\xe7\x01"):
                sender.sendto(data, ("ff02::13", 7017, 0, socket.if_nametoindex("eth0")))
        nonsense = monitoring.element()
        assert nonsense["error"]["code"] == "CBORfail"
        assert nonsense["hex"] == b"\x1b[2Jhello".hex()
        unknown = monitoring.element()
        assert unknown["item"] == [999, 1]
        # A monitor is no GRASP node that others could find.
        assert run(a, "discover", "grasp-cli", "--timeout", "100", "--json").json["error"]["code"] == "noDiscReply"
        ended = monitoring.end()
        assert ended.status == 0
        assert len(ended.json) >= 4


def test_people_get_lines_that_are_harmless(pair: Pair) -> None:
    a, b = pair
    monitoring = b.python("-m", "grasp", "monitor", stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert monitoring.stderr is not None
    assert monitoring.stdout is not None
    assert monitoring.stderr.readline() == "ready: listening on eth0\n"
    run(a, "flood", "EX\x1b[31m", '"\x7f"', "--ttl", "1")
    line = monitoring.stdout.readline().rstrip("\n")
    assert line.isprintable()
    assert "M_FLOOD" in line
    monitoring.send_signal(signal.SIGINT)
    assert monitoring.communicate(timeout=PATIENCE) == ("", "")
    assert monitoring.returncode == 0


def test_a_timeout_ends_a_running_command(pair: Pair) -> None:
    ended = run(pair[0], "relay", "--timeout", "100", "--json")
    assert ended.status == 0
    assert [each["event"] for each in ended.json] == ["ready"]


def test_a_signal_before_there_is_an_interface_still_ends_cleanly(pair: Pair) -> None:
    waiting = pair[0].python(
        "-m", "grasp", "serve", "EX", "--negotiate", "1", "--interface", "nosuch0", "--json",
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert waiting.stderr is not None
    assert "nosuch0 is not usable yet" in waiting.stderr.readline()
    waiting.send_signal(signal.SIGTERM)
    stdout, _ = waiting.communicate(timeout=PATIENCE)
    assert (waiting.returncode, stdout) == (0, "[]\n")


def test_an_interrupted_request_is_one_error(pair: Pair) -> None:
    a, b = pair
    with Running(b, "monitor") as monitoring:
        monitoring.element()
        asking = a.python("-m", "grasp", "discover", "EX", "--timeout", "60000", "--json", stdout=subprocess.PIPE)
        monitoring.element()
        asking.send_signal(signal.SIGTERM)
        stdout, _ = asking.communicate(timeout=PATIENCE)
    assert asking.returncode == 128 + signal.SIGTERM
    assert parse_json(stdout.decode())["error"]["code"] == "stopped"


LONG = '"' + "x" * 3000 + '"'
BROKEN: list[tuple[list[str], str]] = [
    (["discover", "EX", "--timeout", "100"], "noDiscReply"),
    (["discover", "E" * 2000], "tooLong"),
    (["discover", "EX", "--interface", "nosuch0", "--timeout", "50"], "noInterface"),
    (["discover", "EX", "--peer", "[::1]:1"], "noDiscReply"),
    (["discover", "EX", "--peer", "[fe80::1]:1"], "invalidLoc"),
    (["discover", "EX", "--peer", "[fe80::1%nosuch0]:1"], "noInterface"),
    (["synchronize", "EX", "--timeout", "100"], "notFloodDisc"),
    (["synchronize", "EX", "--peer", "[::1]:1"], "sockErrSynRq"),
    (["synchronize", "EX", "--peer", "127.0.0.1:1"], "sockErrSynRq"),
    (["negotiate", "EX", "1", "--timeout", "100"], "noDiscReply"),
    (["negotiate", "EX", "1", "--peer", "[::1]:1"], "sockErrNegRq"),
    (["flood", "EX", LONG, "--ttl", "1000"], "tooLong"),
    (["flood", "EX", "1", "--ttl", "1000", "--interface", "nosuch0", "--timeout", "50"], "noInterface"),
    (["floods", "--interface", "nosuch0", "--timeout", "50"], "noInterface"),
    (["serve", "EX", "--synchronize", LONG], "tooLong"),
    (["serve", "EX", "--negotiate", LONG], "tooLong"),
    (["serve", "EX", "--negotiate", "1", "--interface", "nosuch0", "--timeout", "50"], "noInterface"),
    (["relay", "--port", "7018"], "noSocket"),
    (["monitor", "--port", "7018"], "noSocket"),
    (["discover", "EX", "--port", "7018"], "noSocket"),
]


@pytest.fixture(scope="module")
def taken(pair: Pair) -> Any:
    """TCP port 7018 of the first host belongs to somebody else."""
    with pair[0].entered(), socket.socket(socket.AF_INET6) as holder:
        holder.bind(("::", 7018))
        holder.listen()
        yield


@pytest.mark.parametrize(
    ("argv", "code"), BROKEN, ids=[f"{argv[0]}-{code}-{n}" for n, (argv, code) in enumerate(BROKEN)]
)
def test_whatever_goes_wrong_is_one_error(pair: Pair, taken: Any, argv: list[str], code: str) -> None:
    outcome = run(pair[0], *argv, "--json")
    assert outcome.status == 1
    error = outcome.json["error"]
    assert set(error) == {"code", "number", "message", "detail"}
    assert error["code"] == code
    assert len(error["detail"]) < 3000
    if code == "noSocket":
        assert "7018" in error["detail"]


def test_people_get_errors_on_stderr(pair: Pair) -> None:
    outcome = run(pair[0], "discover", "NOPE", "--timeout", "100")
    assert outcome == (1, "", "grasp: No reply to discovery: NOPE within 100 ms on eth0\n")


def test_a_value_too_long_for_a_session_is_refused(pair: Pair) -> None:
    a, b = pair
    with Running(b, "serve", "EX3", "--negotiate", "1") as serving:
        serving.element()
        outcome = run(a, "negotiate", "EX3", LONG, "--json", *PATIENT)
        assert (outcome.status, outcome.json["error"]["code"]) == (1, "tooLong")


def test_verbose_says_more_on_stderr_only(pair: Pair) -> None:
    outcome = run(pair[0], "floods", "--timeout", "50", "--json", "--verbose")
    assert outcome.stdout == "[]\n"
    assert "RFC 8990 §2.5.1" in outcome.stderr


def test_discovery_and_floods_cross_a_relay() -> None:
    if reason := unavailable_reason():
        pytest.skip(reason)
    with Lab() as lab:
        left, middle, right = lab.chain(3)
        with (
            Running(middle, "relay") as relaying,
            Running(right, "serve", "EX3", "--negotiate", "10") as serving,
            Running(right, "floods", "--follow") as following,
        ):
            assert sorted(relaying.element()["interfaces"]) == ["eth0", "eth1"]
            ready = serving.element()
            following.element()
            found = run(left, "discover", "EX3", "--json", *PATIENT)
            assert [(each["peer"], each["diverted"]) for each in found.json] == [
                (f"[fd00:0:0:1::2]:{ready['port']}", True)
            ]
            assert run(left, "negotiate", "EX3", "11", "--json", *PATIENT).json["agreed"] == 10
            assert run(left, "flood", "EX4", "1", "--ttl", "9", "--loop-count", "2", "--json").json["loop_count"] == 2
            heard = following.element()
            assert (heard["name"], heard["loop_count"]) == ("EX4", 1)
            assert relaying.end().status == 0


def test_the_module_and_the_entry_point_are_one_command() -> None:
    done = subprocess.run([sys.executable, "-m", "grasp"], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: grasp ")
