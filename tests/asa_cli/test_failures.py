"""What a command does when it is refused, misused, interrupted or alone."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from asa.cli.arguments import parse
from asa.errors import (
    AsaError,
    Duplicate,
    Elsewhere,
    Forbidden,
    KeyReused,
    LinkShort,
    OverCap,
    Short,
    Unreachable,
)
from tests.asa_cli import views
from tests.asa_cli.conftest import PATIENCE, Run, command, environment
from tests.asa_cli.fake import Asked, Fake, Hangup, as_json
from tests.asa_cli.views import GBIT, NOON
from tests.northbound.remote import Pki
from tests.pki import Authority, pem

RESERVATIONS = "/v1/reservations"
R1 = f"{RESERVATIONS}/r1"
SHORT = Short("wan has not 2.5Gbit free", hint="ask for less", details=as_json(views.REFUSAL))
WISH = ["reserve", "wan", "2.5Gbit", "--start", str(NOON), "--end", str(NOON + 7_200), "--label", "it's"]


def test_a_refusal_says_which_windows_fall_short_and_what_would_fit(asa: Run, fake: Fake) -> None:
    fake.answers["POST", RESERVATIONS] = SHORT
    done = asa(*WISH)
    assert (done.status, done.stdout) == (1, "")
    window = "--end 2026-12-31T14:00:00Z --label 'it'\"'\"'s'"
    assert done.stderr == (
        "asa: refused: there is too little of wan for 2.5Gbit\n"
        "  short of 500Mbit from 2026-12-31T12:00:00Z until 2026-12-31T13:00:00Z\n"
        "  short of 1Gbit from 2026-12-31T14:00:00Z until never\n"
        "peers asked:\n"
        "  b#2: nothing to spare\n"
        "  c#3: \\u001b[31mtimed out\n"
        "what would fit now:\n"
        f"  less     asa reserve wan 2Gbit --start 2026-12-31T12:00:00Z {window}\n"
        "  later    asa reserve wan 2.5Gbit --start 2026-12-31T13:00:00Z --end 2026-12-31T15:00:00Z"
        " --label 'it'\"'\"'s'\n"
        "  shorter  asa reserve wan 2.5Gbit --start 2026-12-31T12:00:00Z --end 2026-12-31T12:30:00Z"
        " --label 'it'\"'\"'s'\n"
    )


def test_the_interface_that_is_short_is_named(asa: Run, fake: Fake) -> None:
    refusal = as_json(views.REFUSAL) | {"resource": "eth0:out", "peers_asked": []}
    fake.answers["POST", RESERVATIONS] = LinkShort("no", details=refusal)
    done = asa(*WISH)
    assert done.status == 1
    assert done.stderr.startswith("asa: refused: there is too little of eth0:out for 2.5Gbit\n  short of 500Mbit ")
    assert "\neth0:out is an interface of this node: no peer can add to it\nwhat would fit now:\n" in done.stderr
    assert asa(*WISH, "--json").json["error"]["code"] == "link-short"


def test_offers_for_two_directions_keep_both_rates(asa: Run, fake: Fake) -> None:
    fake.answers["POST", RESERVATIONS] = SHORT
    done = asa(*WISH, "--back", "1Gbit")
    assert done.stderr.startswith("asa: refused: there is too little of wan for 2.5Gbit and 1Gbit back\n")
    found = [line.split() for line in done.stderr.splitlines() if " asa reserve " in line]
    assert [line[:7] for line in found] == [
        [word, "asa", "reserve", "wan", "2.5Gbit", "--back", "1Gbit"] for word in ("later", "shorter")
    ]
    fake.answers["PATCH", R1], fake.answers["GET", R1] = SHORT, views.reservation(**views.TWO_WAY)
    done = asa("resize", "r1", "3Gbit", "--back", "2Gbit")
    assert done.stderr.startswith("asa: refused: there is too little of wan for such a change of r1\n")
    assert "what would fit" not in done.stderr


OVER = {"project": "p1", "resource": "wan", "cap": GBIT, "booked": 800_000_000, "wanted": 500_000_000}


@pytest.mark.parametrize("argv", [WISH, ["resize", "r1", "3Gbit"], ["extend", "r1", "--end", "never"]])
def test_a_cap_that_is_reached_is_explained(asa: Run, fake: Fake, argv: list[str]) -> None:
    error = OverCap("project p1 may have 1000000000 bit/s", hint="ask the operator", details=OVER)
    fake.answers["POST", RESERVATIONS] = fake.answers["PATCH", R1] = error
    done = asa(*argv)
    assert (done.status, done.stdout) == (1, "")
    assert done.stderr == (
        "asa: refused: project p1 would have more of wan than it may\n"
        "  cap     1Gbit\n  booked  800Mbit\n  wanted  500Mbit\n"
        "ask the operator\nasa caps shows every cap\n"
    )
    assert asa(*argv, "--json").json["error"] == {
        "code": "over-cap", "message": error.message, "hint": error.hint, "details": OVER,
    }  # fmt: skip
    fake.answers["POST", RESERVATIONS] = fake.answers["PATCH", R1] = OverCap("no", details={"cap": "much"})
    assert asa(*argv).stderr == "asa: no\n"


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (
            Duplicate("r7 is for the same flow", details={"id": "r 7"}),
            "asa show 'r 7' shows it: change or cancel that one, or name another flow",
        ),
        (Duplicate("no", hint="as it was", details={"id": 7}), "as it was"),
        (Elsewhere("b serves it", details={"node": "b#2"}), "ask the agent on b: the same command, given there"),
        (Elsewhere("no", hint="as it was"), "as it was"),
        (Forbidden("no"), "--secret-file FILE with the secret that opens it, or the administrator's"),
    ],
)
def test_what_to_do_about_a_refusal_is_told(asa: Run, fake: Fake, error: AsaError, hint: str) -> None:
    fake.answers["POST", RESERVATIONS] = fake.answers["DELETE", R1] = error
    for argv in (WISH, ["cancel", "r1"]):
        done = asa(*argv)
        assert (done.status, done.stderr) == (1, f"asa: {error.message}\n     {hint}\n")
        found = asa(*argv, "--json").json["error"]
        assert (found["code"], found["hint"], found["details"]) == (error.code, hint, error.details)


def test_a_counter_offer_can_be_pasted_and_asks_for_what_was_offered(asa: Run, fake: Fake) -> None:
    fake.answers["POST", RESERVATIONS] = SHORT
    wish = [*WISH, "--owner=-x", "--source", "a b", "--destination", "$(reboot)", "--patience", "0", "--dry-run"]
    lines = [line for line in asa(*wish, "--timeout", "9s").stderr.splitlines() if " asa reserve " in line]
    fake.asked.clear()
    for line in lines:
        asa(*shlex.split(line)[2:])
    refusal = views.REFUSAL
    wished = {
        "pool": "wan", "source": "a b", "destination": "$(reboot)", "owner": "-x", "labels": ["it's"], "back": 0,
        "patience_ms": 0, "dry_run": True, "kind": "one-way", "protocol": "any", "traffic": "default", "through": [],
        "output": "", "hold_s": 0, "park": False,
    }  # fmt: skip
    assert [each.body for each in fake.asked] == [
        wished | as_json(each) for each in (refusal.lower_rate, refusal.later_start, refusal.shorter)
    ]


def test_an_offer_from_now_on_is_not_in_the_past_when_it_is_pasted(asa: Run, fake: Fake) -> None:
    fake.answers["POST", RESERVATIONS] = SHORT
    past = as_json(views.REFUSAL) | {"lower_rate": {"rate": GBIT, "start": 1_000, "end": None}}
    fake.answers["POST", RESERVATIONS] = Short("no", details=past)
    assert "  less     asa reserve wan 1Gbit\n" in asa("reserve", "wan", "2Gbit").stderr


def test_a_refusal_in_json_is_as_the_agent_gave_it(asa: Run, fake: Fake) -> None:
    fake.answers["POST", RESERVATIONS] = SHORT
    done = asa(*WISH, "--json")
    assert (done.status, done.stderr) == (1, "")
    assert done.json == {
        "error": {
            "code": "short", "message": SHORT.message, "hint": SHORT.hint, "details": as_json(views.REFUSAL)
        }
    }  # fmt: skip


def test_a_refused_change_offers_changes(asa: Run, fake: Fake) -> None:
    fake.answers["PATCH", "/v1/reservations/r1"] = SHORT
    done = asa("resize", "r1", "3Gbit")
    assert done.stderr.splitlines()[-2:] == ["what would fit now:", "  less  asa resize r1 2Gbit"]
    done = asa("extend", "r1", "--end", "never", "--socket", fake.socket, "--patience", "9s")
    assert done.stderr.splitlines()[-1] == (
        f"  shorter  asa extend r1 --end 2026-12-31T12:30:00Z --patience 9s --socket {fake.socket}"
    )


def test_what_a_changed_reservation_could_have_as_a_whole_is_offered_exactly(asa: Run, fake: Fake) -> None:
    def refuse(**offers: Any) -> None:
        none = {"lower_rate": None, "later_start": None, "shorter": None}
        fake.answers["PATCH", "/v1/reservations/r1"] = Short("no", details=as_json(views.REFUSAL) | none | offers)

    refuse(lower_rate={"rate": 2_500_000_002, "start": NOON, "end": None})
    assert asa("resize", "r1", "3Gbit").stderr.splitlines()[-1] == "  less  asa resize r1 2.500000002Gbit"
    refuse(shorter={"rate": GBIT, "start": NOON, "end": NOON + 9_000})
    pasted = asa("extend", "r1", "--end", "never").stderr.splitlines()[-1]
    assert pasted == "  shorter  asa extend r1 --end 2026-12-31T14:30:00Z"
    fake.asked.clear()
    asa(*shlex.split(pasted)[2:])
    assert fake.asked[0].body == {"end": NOON + 9_000, "patience_ms": 5_000}
    refuse()
    assert "what would fit" not in asa("resize", "r1", "3Gbit").stderr


def test_what_peers_could_give_is_readable(asa: Run, fake: Fake) -> None:
    said = ["b: short: at most 2500000000 bit/s can be granted over the window", "at most 1 bit/s: not-asked: at most"]
    fake.answers["POST", RESERVATIONS] = Short("no", details=as_json(views.REFUSAL) | {"peers_asked": said})
    done = asa(*WISH)
    assert "\n  b: short: at most 2.5Gbit can be granted over the window\n" in done.stderr
    assert "\n  at most 1bit: not-asked: at most\n" in done.stderr
    assert asa(*WISH, "--json").json["error"]["details"]["peers_asked"] == said


def test_a_key_of_another_request_is_explained(asa: Run, fake: Fake) -> None:
    fake.answers["POST", RESERVATIONS] = KeyReused("this idempotency key was used for another request", hint="no")
    done = asa("reserve", "wan", "1Gbit", "--for", "2h", "--key", "k")
    assert done.status == 1
    assert done.stderr == (
        "asa: this idempotency key was used for another request\n"
        "     a repeat has the same times too: give absolute ones together with --key, for +2h and --for count from now"
        "; another request needs another key\n"
    )
    done = asa("reserve", "wan", "1Gbit", "--for", "2h", "--key", "k", "--json")
    assert done.json["error"]["code"] == "idempotency-key-reused"
    assert "absolute" in done.json["error"]["hint"]


@pytest.mark.parametrize("words", [["reserve", "wan", "1Gbit"], ["availability", "wan"],
                                   ["availability", "wan", "--rate", "1Gbit"]])  # fmt: skip
def test_a_window_that_ends_before_it_starts_is_not_asked_for(asa: Run, fake: Fake, words: list[str]) -> None:
    for end in ("11:59:59", "12:00:00"):
        done = asa(*words, "--start", "2026-12-31T12:00Z", "--end", f"2026-12-31T{end}Z")
        assert (done.status, done.stdout) == (2, "")
        assert done.stderr.startswith(
            f"asa: the window would end at 2026-12-31T{end}Z, not after its start at 2026-12-31T12:00:00Z\n"
        )
    assert asa(*words, "--start", "+1h", "--end", "now", "--json").json["error"]["code"] == "usage"
    assert fake.asked == []


def test_an_attempt_can_be_repeated_when_its_end_has_passed(asa: Run, fake: Fake) -> None:
    fake.answers["POST", RESERVATIONS] = views.reservation()
    assert asa("reserve", "wan", "1Gbit", "--end", "2020-01-01T00:00Z", "--key", "k").status == 0


@pytest.mark.parametrize("details", [{}, {"shortages": "many"}])
def test_a_refusal_without_its_reasons_is_still_a_refusal(asa: Run, fake: Fake, details: dict[str, Any]) -> None:
    fake.answers["POST", RESERVATIONS] = Short("no", details=details)
    done = asa(*WISH)
    assert (done.status, done.stderr) == (1, "asa: no\n")


USAGE = [
    ([], "the following arguments are required: COMMAND"),
    (["lst"], "argument COMMAND: there is no 'lst'; did you mean list?"),
    (["pool"], "the following arguments are required: ACTION"),
    (["pool", "drop"], "argument ACTION: there is no 'drop'; there are list, show, add"),
    (["reserve", "wan"], "the following arguments are required: RATE"),
    (["reserve", "wan", "500MB"], "argument RATE: '500MB' is no rate; bytes are not accepted; did you mean 4Gbit?"),
    (["reserve", "", "1Gbit"], "argument POOL: must not be empty"),
    (["reserve", "wan", "1Gbit", "--start", "never"], "argument --start: a start is never never; write now or a time"),
    (["reserve", "wan", "1Gbit", "--for", "2"],
     "argument --for: '2' is no duration; the unit is missing; did you mean 2s?"),
    (["reserve", "wan", "1Gbit", "--for", "2h", "--end", "+2h"], "argument --end: not allowed with argument --for"),
    (["reserve", "wan", "1Gbit", "--key", "a b"],
     "argument --key: 1..128 printable ASCII characters without spaces"),
    (["extend", "r1"], "one of the arguments --end --by is required"),
    (["availability", "wan", "--end", "never"],
     "argument --end: the window needs an end; leave it out for the policy's horizon"),
    (["reserve"], "the following arguments are required: RATE"),
    (["reserve", "wan", "1Gbit", "2Gbit"], "unrecognized arguments: 2Gbit"),
    (["reserve", "2,5Gbit"], "argument RATE: '2,5Gbit' is no rate; did you mean 2.5Gbit?"),
    (["reserve", "wan", "1Gbit", "--kind", "both-ways"],
     "argument --kind: there is no 'both-ways'; did you mean two-way?"),
    (["reserve", "wan", "1Gbit", "--kind", "two-way"], "--kind two-way needs --back"),
    (["reserve", "wan", "1Gbit", "--kind", "one-way", "--back", "1Gbit"], "--back is for --kind two-way"),
    (["reserve", "wan", "1Gbit", "--through", "fw1"], "--through is for --kind steering"),
    (["reserve", "--kind", "steering"], "--kind steering needs --through"),
    (["reserve", "--kind", "mirroring"], "--kind mirroring needs --output"),
    (["reserve", "wan", "1Gbit", "--kind", "passthrough"], "passthrough reserves no bandwidth"),
    (["reserve", "1Gbit", "--kind", "passthrough"], "passthrough reserves no bandwidth"),
    (["reserve", "wan", "1Gbit", "--hold", "0.5s"],
     "argument --hold: '0.5s' is no duration; write 90s, 15m, 2h, 1d, 1w or several of them, the largest first: 1h30m"),
    (["cancel"], "cancel takes either IDs or --all"),
    (["cancel", "r1", "--all", "--secret-file", "/nowhere"], "cancel takes either IDs or --all"),
    (["cancel", "r1", "--owner", "p1"], "--owner is for --all"),
    (["cancel", "--all"], "--all needs --secret-file"),
    (["confirm"], "the following arguments are required: ID"),
    (["refresh"], "one of the arguments ID --host is required"),
    (["refresh", "r1", "--host", "web1"], "argument --host: not allowed with argument ID"),
    (["caps", "set", "p1", "101%"], "argument CAP: '101%' is no cap; write 10%, 0% to 100%, or a rate as 500Mbit"),
    (["caps", "set", "p1", "1MB"], "argument CAP: '1MB' is no rate; bytes are not accepted; did you mean 8Mbit?"),
    (["caps", "drop"], "argument ACTION: there is no 'drop'; there are list, set, remove"),
    (["import-tegu", "/nowhere"], "/nowhere: No such file or directory"),
    (["list", "--state", "gone"],
     "argument --state: there is no 'gone'; there are held, parked, pending, installing, active, paused, failed,"
     " ending, ended, cancelled"),
    (["list", "--owner", "\udcff"], "argument --owner: must be UTF-8 text"),
    (["list", "--sta", "ended"], "unrecognized arguments: --sta ended"),
    (["events", "--after", "-1"], "argument --after: '-1' is no number; write 0, 1, 2 and so on"),
    (["params", "set", "lease"], "argument PARAMETER=VALUE: 'lease' is not NAME=VALUE; write lease=2h"),
    (["forfeit", "00ff"], "forfeit 00ff without --yes does nothing"),
    (["remove"], "the following arguments are required: --confirm"),
    (["run"], "the following arguments are required: -c/--config"),
    (["completion", "tcsh"], "argument SHELL: there is no 'tcsh'; there are bash, zsh, fish"),
    (["list", "--timeout", "0"], "argument --timeout: 0 is out of range; a timeout is 1ms to 1d"),
    (["list", "--timeout", "5000"],
     "argument --timeout: '5000' is no duration; the unit is missing; did you mean 5000ms or 5000s?"),
    (["list", "--tcp", "127.0.0.1"],
     "argument --tcp: '127.0.0.1' is not HOST:PORT; write 127.0.0.1:7180 or [::1]:7180"),
    (["list", "--tcp", "[::1]:7180"], "--tcp needs --token-file, or --cert and --cert-key"),
    (["list", "--tcp", "[::1]:7180", "--cert", "x"], "--cert and --cert-key go together"),
    (["list", "--cacert", "x"], "--cacert is for --tcp"),
    (["list", "--node", "x"], "--node is for --tcp"),
    (["list", "--tcp", "[::1]:7180", "--cert", "/nowhere", "--cert-key", "/nothing"],
     "TLS with /nowhere, /nothing: No such file or directory"),
    (["list", "--tcp", "[::1]:7180", "--token-file", "/nowhere"], "--token-file /nowhere: No such file or directory"),
    (["list", "--tcp", "[::1]:7180", "--token-file", "/dev/null"], "--token-file /dev/null: no token in it"),
    (["list", "--token-file", "x"], "--token-file is for --tcp"),
    (["list", "--tcp", "[::1]:1", "--socket", "x", "--token-file", "x"], "--socket and --tcp do not go together"),
]  # fmt: skip


@pytest.mark.parametrize(("argv", "message"), USAGE, ids=[ascii(" ".join(argv)) for argv, _ in USAGE])
def test_a_wrong_command_line_is_explained(asa: Run, fake: Fake, argv: list[str], message: str) -> None:
    done = asa(*argv)
    assert (done.status, done.stdout) == (2, "")
    assert f"asa: {message}\n" in done.stderr
    done = asa(*argv, "--json")
    assert (done.status, done.stderr) == (2, "")
    assert (done.json["error"]["code"], done.json["error"]["message"]) == ("usage", message)
    assert fake.asked == []


@pytest.mark.parametrize("argv", [["list", "--json"], ["--json", "list"]])
def test_options_for_all_commands_stand_before_or_behind(asa: Run, fake: Fake, argv: list[str]) -> None:
    fake.answers["GET", RESERVATIONS] = views.page()
    assert asa(*argv, ASA_SOCKET="/nowhere").status == 3
    assert asa("--socket", fake.socket, *argv, ASA_SOCKET="/nowhere").json == as_json(views.page())
    assert asa(*argv, "--socket", fake.socket, ASA_SOCKET="/nowhere").json == as_json(views.page())


def test_an_option_before_the_command_is_not_undone_by_the_command() -> None:
    before = parse(["--socket", "/a", "--timeout", "2s", "pool", "show", "wan"])
    behind = parse(["pool", "show", "wan", "--socket", "/a", "--timeout", "2s"])
    assert before == behind
    assert (before.socket, before.timeout) == ("/a", 2.0)


def test_over_tcp_with_a_token(asa: Run, secured: Fake, pki: Pki, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("0123456789abcdef\n")
    secured.answers["GET", "/v1/pools"] = []
    where = ["--tcp", f"127.0.0.1:{secured.port}", "--cacert", str(pki.trust), "--token-file", str(token)]
    done = asa("pool", "list", *where)
    assert (done.status, done.stdout) == (0, "no pools\n")
    assert secured.asked == [Asked("GET", "/v1/pools")]
    assert secured.asked[0].token == "Bearer 0123456789abcdef"


def test_over_tcp_with_a_certificate(asa: Run, secured: Fake, pki: Pki) -> None:
    secured.answers["GET", "/v1/pools"] = []
    certificate, key = pki.pair(pki.ca.issue("rack-1", ()))
    where = ["--tcp", f"127.0.0.1:{secured.port}", "--cacert", str(pki.trust)]
    done = asa("pool", "list", *where, "--cert", str(certificate), "--cert-key", str(key))
    assert (done.status, done.stdout) == (0, "no pools\n")
    assert secured.asked[0].token is None
    foreign, its_key = pki.pair(Authority("elsewhere.example").issue("rack-1", ()))
    done = asa("pool", "list", *where, "--cert", str(foreign), "--cert-key", str(its_key))
    assert (done.status, done.stdout) == (3, "")
    assert "no TLS with the agent" in done.stderr


def test_over_tcp_an_agent_has_to_be_believed_before_a_token_is_shown(
    asa: Run, secured: Fake, pki: Pki, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("0123456789abcdef\n")
    secured.answers["GET", "/v1/pools"] = []
    other = tmp_path / "other.pem"
    other.write_bytes(pem(Authority("elsewhere.example").certificate))
    where = ["--tcp", f"127.0.0.1:{secured.port}", "--token-file", str(token)]
    for more, said in (
        ([], "--cacert"),
        (["--cacert", str(other)], "--cacert"),
        (["--cacert", str(pki.trust), "--node", "rack-7"], "server, not rack-7"),
    ):
        done = asa("pool", "list", *where, *more)
        assert (done.status, done.stdout) == (3, "")
        assert said in done.stderr
    assert secured.asked == []
    done = asa("pool", "list", *where, "--cacert", str(pki.trust), "--node", "server")
    assert (done.status, done.stdout) == (0, "no pools\n")


def test_a_role_that_is_too_low_is_told_as_the_agent_tells_it(asa: Run, fake: Fake) -> None:
    fake.answers["POST", "/v1/agent/restart"] = Forbidden(
        "this takes the role operator", hint="ask an operator", details={"role": "consumer", "needed": "operator"}
    )
    done = asa("restart", "--json")
    assert (done.status, done.json["error"]["code"], done.json["error"]["hint"]) == (1, "forbidden", "ask an operator")


def test_no_agent_has_a_status_of_its_own(asa: Run, tmp_path: Path) -> None:
    for path in (tmp_path / "nothing", tmp_path / ("long" * 40)):
        done = asa("list", "--socket", str(path), "--json")
        assert (done.status, done.json["error"]["code"]) == (3, "unreachable")
        done = asa("list", "--socket", str(path))
        assert (done.status, done.stdout) == (3, "")
        assert done.stderr.startswith("asa: no agent at ")


def test_what_only_peers_do_not_answer_is_no_missing_agent(asa: Run, fake: Fake) -> None:
    fake.answers["POST", "/v1/audit"] = Unreachable("no peer answers")
    done = asa("audit", "--json")
    assert (done.status, done.json["error"]["code"]) == (1, "unreachable")


def test_something_else_behind_the_socket_is_no_agent(asa: Run, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            for _ in range(2):
                connection, _ = server.accept()
                connection.sendall(b"SSH-2.0-x\r\n")
                connection.recv(1_000)
                connection.close()

        thread = threading.Thread(target=greet)
        thread.start()
        token = tmp_path / "token"
        token.write_text("0123456789abcdef")
        where = ["--tcp", f"127.0.0.1:{server.getsockname()[1]}", "--token-file", str(token)]
        assert asa("list", "--json", *where).status == 3
        assert asa("events", "--follow", "--json", *where).status == 3
        thread.join()


@pytest.mark.parametrize("answer", [[1], {"reservations": [{"id": 1}]}, {"reservations": [1], "next": None}, 5])
def test_an_answer_of_another_shape_is_an_error_that_says_so(asa: Run, fake: Fake, answer: Any) -> None:
    fake.answers["GET", RESERVATIONS] = answer
    fake.answers["GET", "/v1/reservations/r1"] = answer
    for words in (["list"], ["show", "r1"]):
        done = asa(*words)
        assert (done.status, done.stdout) == (1, "")
        assert done.stderr.startswith("asa: the agent's answer is")


def test_what_the_agent_adds_later_is_ignored(asa: Run, fake: Fake) -> None:
    fake.answers["GET", "/v1/reservations/r1"] = as_json(views.reservation()) | {"colour": "blue"}
    assert asa("show", "r1").status == 0


def test_without_an_answer_the_same_attempt_can_be_repeated(asa: Run, fake: Fake) -> None:
    fake.answers["POST", RESERVATIONS] = Hangup()
    done = asa("reserve", "wan", "1Gbit", "--for", "2h", "--json")
    assert done.status == 3
    assert done.json["error"]["code"] == "unreachable"
    first = fake.asked[0]
    assert done.json["key"] == first.key
    fake.answers["POST", RESERVATIONS] = views.reservation()
    fake.asked.clear()
    assert asa(*shlex.split(done.json["again"])[1:]).status == 0
    assert (fake.asked[0].key, fake.asked[0].body) == (first.key, first.body)

    fake.answers["POST", RESERVATIONS] = Hangup()
    done = asa("reserve", "wan", "1Gbit")
    assert "It may have been reserved." in done.stderr
    assert done.stderr.splitlines()[-1] == f"  asa reserve wan 1Gbit --key {fake.asked[-1].key}"


def _interrupt(fake: Fake, argv: list[str], number: int) -> tuple[int, str, str]:
    silent = Hangup(at_once=False)
    fake.answers["POST", RESERVATIONS] = fake.answers["GET", RESERVATIONS] = silent
    process = subprocess.Popen(
        command(*argv), env=environment(fake.socket), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert silent.before.wait(PATIENCE)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=PATIENCE)
    silent.until.set()
    return process.returncode, stdout, stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_command_with_a_word(fake: Fake, number: signal.Signals) -> None:
    assert _interrupt(fake, ["list"], number) == (128 + number, "", f"asa: stopped by {number.name}\n")
    status, stdout, stderr = _interrupt(fake, ["list", "--json"], number)
    assert (status, json.loads(stdout)["error"]["code"], stderr) == (128 + number, "stopped", "")


def test_a_reservation_that_was_interrupted_can_be_repeated(fake: Fake) -> None:
    status, stdout, stderr = _interrupt(fake, ["reserve", "wan", "1Gbit", "--json"], signal.SIGINT)
    assert (status, stderr) == (130, "")
    assert json.loads(stdout)["key"] == fake.asked[0].key


def test_a_slow_agent_is_waited_for_as_long_as_it_may_ask_peers(asa: Run, fake: Fake) -> None:
    release = threading.Timer(1.0, lambda: None)

    def slowly(asked: Asked) -> Any:
        release.join()
        return views.reservation()

    fake.answers["POST", RESERVATIONS] = slowly
    release.start()
    assert asa("reserve", "wan", "1Gbit", "--timeout", "500ms", "--patience", "30s").status == 0
    silent = Hangup(at_once=False)
    fake.answers["GET", RESERVATIONS] = silent
    assert asa("list", "--timeout", "50ms").status == 3
    silent.until.set()


@pytest.mark.parametrize("argv", [["pool", "list"], ["--help"], ["completion", "bash"], ["pool", "list", "--json"]])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_went_away_is_no_drama(fake: Fake, argv: list[str], unbuffered: str) -> None:
    fake.answers["GET", "/v1/pools"] = [views.POOL]
    read, write = os.pipe()
    os.close(read)
    process = subprocess.Popen(
        command(*argv), env=environment(fake.socket, PYTHONUNBUFFERED=unbuffered), stdout=write, stderr=subprocess.PIPE
    )
    os.close(write)
    _, stderr = process.communicate(timeout=PATIENCE)
    assert stderr == b""
    # argparse does not tell that its help could not be written.
    assert process.returncode == 141 or (argv == ["--help"] and process.returncode == 0)


def test_a_full_disk_is_a_failure(fake: Fake) -> None:
    fake.answers["GET", "/v1/pools"] = [views.POOL]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command("pool", "list"), env=environment(fake.socket), stdout=full, stderr=subprocess.PIPE, timeout=PATIENCE
        )
    assert (done.returncode, done.stderr) == (1, b"asa: cannot write: No space left on device\n")


HOSTILE = "\x1b]0;x\x07\x9b31m\u202egnp.\n\r\x00\x7f"
ASKING: list[tuple[list[str], str, Callable[[str], Any]]] = [
    (["show", "r1"], "/v1/reservations/r1", lambda text: views.reservation(
        text, owner=text, labels=[text], source=text, why=text, traffic=text, takes={text: 1}, partner=text,
        through=[text], output=text, protocol=text, source_address=text)),
    (["list"], RESERVATIONS, lambda text: views.page(views.reservation(text, owner=text, labels=[text]))),
    (["caps"], "/v1/caps", lambda text: [views.CapView(text, text, 1, False)]),
    (["enforcement"], "/v1/enforcement", lambda text: as_json(views.ENFORCEMENT) | {
        "back_end": text, "trouble": text, "notes": [text],
        "lines": [as_json(views.ENFORCEMENT.lines[0]) | {"name": text, "trouble": text}],
        "differences": [as_json(views.ENFORCEMENT.differences[0]) | {"ids": [text], "before": text, "after": text}]}),
    (["usage"], RESERVATIONS, lambda text: views.page(views.reservation(text, enforcement=as_json(views.FAILED) | {
        "why": text, "lines": [as_json(views.ENFORCED.lines[0]) | {"line": text}]}))),
    (["links"], "/v1/links", lambda text: [views.LinkView(text, 1, 1, 1, 1)]),
    (["pool", "list"], "/v1/pools", lambda text: [as_json(views.POOL) | {"name": text, "problems": [text]}]),
    (["pool", "show", "wan"], "/v1/pools/wan",
     lambda text: as_json(views.DETAIL) | {"pool": as_json(views.POOL) | {"name": text}}),
    (["peers"], "/v1/peers", lambda text: [as_json(views.PEERS[0]) | {"node": text, "pools": {text: 1}}]),
    (["transfers"], "/v1/transfers", lambda text: [as_json(views.TRANSFER) | {"note": text, "peer": text}]),
    (["params"], "/v1/params", lambda text: as_json(views.PARAMS) | {"issuer": text}),
    (["status"], "/v1/status",
     lambda text: as_json(views.STATUS) | {"node": text, "interfaces": [text], "serves": [text]}),
    (["health"], "/v1/health", lambda text: as_json(views.HEALTH) | {"threads": {text: text}, "status": text}),
    (["manifest"], "/v1/manifest", lambda text: {text: [text]}),
    (["availability", "wan"], "/v1/availability", lambda text: as_json(views.AVAILABILITY) | {"pool": text}),
    (["events"], "/v1/events",
     lambda text: views.Events([views.Event(1, 1.0, text, text, {text: text})], 1, 0)),
    (["show", "r1"], "/v1/reservations/r1", lambda text: Short(text, hint=text)),
]  # fmt: skip


@pytest.mark.parametrize(("argv", "path", "answer"), ASKING, ids=[" ".join(case[0]) for case in ASKING])
def test_what_others_named_cannot_drive_a_terminal(
    asa: Run, fake: Fake, argv: list[str], path: str, answer: Callable[[str], Any]
) -> None:
    fake.answers["GET", path] = answer(HOSTILE)
    done = asa(*argv)
    shown = done.stdout + done.stderr
    assert "gnp." in shown
    assert [each for each in shown if not each.isprintable() and each != "\n"] == []
    done = asa(*argv, "--json")
    assert "\x7f" not in done.stdout
    given = fake.answers["GET", path]
    assert done.json["error"]["message"] == HOSTILE if isinstance(given, Short) else done.json == as_json(given)


def test_the_same_audit_cannot_drive_a_terminal(asa: Run, fake: Fake) -> None:
    bad = as_json(views.BAD_AUDIT)
    fake.answers["POST", "/v1/audit"] = bad | {
        "unreachable": [HOSTILE],
        "pools": [bad["pools"][0] | {"pool": HOSTILE, "overlapping_seeds": [{"low": 0, "high": 1, "origin": HOSTILE}]}],
    }
    shown = asa("audit").stdout
    assert [each for each in shown if not each.isprintable() and each != "\n"] == []


@pytest.mark.parametrize("streams", [">&-", "2>&-", ">&- 2>&-"])
@pytest.mark.parametrize("words", ["pool list", "pool list --json", "lst", "lst --json", "--help"])
def test_closed_streams_are_no_drama(fake: Fake, streams: str, words: str) -> None:
    fake.answers["GET", "/v1/pools"] = [views.POOL]
    line = f"{shlex.join(command(*words.split()))} {streams}"
    done = subprocess.run(
        ["sh", "-c", line], env=environment(fake.socket), capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == (2 if "lst" in words else 0)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("argv", [["--help"], ["reserve", "--help"], ["pool", "--help"], ["pool", "add", "-h"]])
def test_help_is_no_failure(asa: Run, argv: list[str]) -> None:
    done = asa(*argv)
    assert (done.status, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: asa")
