"""Secrets: where they are read, which commands show them to the agent, and that nobody else sees them."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from asa.cli.arguments import parse
from asa.errors import Forbidden, NotReady, Short
from asa.northbound.resources import ROUTES
from tests.asa_cli import views
from tests.asa_cli.conftest import PATIENCE, Run, command, environment
from tests.asa_cli.fake import Fake, Hangup, as_json
from tests.asa_cli.views import GBIT, NOON

SECRET = "open sesame-0815"
R1 = "/v1/reservations/r1"


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "my secret"
    path.write_text(f"{SECRET}\n")
    path.chmod(0o640)
    return str(path)


ASKING: list[tuple[list[str], str, str, Any]] = [
    (["reserve", "wan", "1Gbit"], "POST", "/v1/reservations", views.reservation()),
    (["reserve", "wan", "1Gbit", "--dry-run"], "POST", "/v1/reservations", views.reservation()),
    (["confirm", "r1"], "POST", f"{R1}/confirm", views.reservation()),
    (["cancel", "r1"], "DELETE", R1, views.reservation(state="cancelled")),
    (["cancel", "--all"], "DELETE", "/v1/reservations", views.CANCELLED),
    (["extend", "r1", "--end", "never"], "PATCH", R1, views.reservation()),
    (["resize", "r1", "1Gbit"], "PATCH", R1, views.reservation()),
    (["refresh", "r1"], "POST", f"{R1}/refresh", views.REFRESHED),
    (["refresh", "--host", "web1"], "POST", "/v1/refresh", views.REFRESHED),
    (["caps", "set", "p1", "10%"], "PUT", "/v1/caps", views.CAPS),
    (["caps", "remove", "p1"], "PUT", "/v1/caps", views.CAPS),
    (["pause"], "POST", "/v1/agent/pause", views.STATUS),
    (["resume"], "POST", "/v1/agent/resume", views.STATUS),
]


@pytest.mark.parametrize(("argv", "method", "path", "answer"), ASKING, ids=[" ".join(case[0]) for case in ASKING])
def test_a_secret_goes_to_the_agent_and_nowhere_else(
    asa: Run, fake: Fake, file: str, argv: list[str], method: str, path: str, answer: Any
) -> None:
    fake.answers[method, path] = answer
    shown = []
    for more, environ in ((["--secret-file", file], {}), ([], {"ASA_SECRET_FILE": file})):
        for form in ([], ["--json"]):
            done = asa(*argv, *more, *form, **environ)
            assert (done.status, done.stderr) == (0, "")
            shown.append(done.stdout)
    fake.answers[method, path] = Forbidden("no")
    done = asa(*argv, "--secret-file", file)
    assert done.stderr.startswith("asa: no\n     the secret given is not the one that opens it, ")
    assert [each.secret for each in fake.asked] == [SECRET] * 5
    assert SECRET not in "".join(shown)


def test_every_route_that_takes_a_secret_has_a_command_that_gives_it() -> None:
    taking = {(each.method, each.path.replace("{id}", "r1")) for each in ROUTES if each.secret}
    assert taking == {(method, path) for _, method, path, _ in ASKING}


def test_without_a_file_no_secret_is_sent(asa: Run, fake: Fake) -> None:
    fake.answers["DELETE", R1] = views.reservation(state="cancelled")
    assert asa("cancel", "r1", ASA_SECRET_FILE="").status == 0
    assert fake.asked[0].secret is None
    assert asa("cancel", "--all").status == 2


def test_what_only_looks_shows_no_secret(asa: Run, fake: Fake) -> None:
    fake.answers["GET", "/v1/reservations"] = views.page()
    assert asa("list", ASA_SECRET_FILE="/nowhere").status == 0
    assert fake.asked[0].secret is None


def test_a_secret_from_standard_input(fake: Fake) -> None:
    fake.answers["DELETE", R1] = views.reservation(state="cancelled")
    words = command("cancel", "r1", "--secret-file", "-")
    done = subprocess.run(
        words, env=environment(fake.socket), input=f"  {SECRET}\r\n", capture_output=True, text=True, timeout=PATIENCE
    )
    assert (done.returncode, fake.asked[0].secret) == (0, SECRET)
    closed = subprocess.run(
        ["sh", "-c", f"{shlex.join(words)} <&-"], env=environment(fake.socket), capture_output=True, text=True,
        timeout=PATIENCE,
    )  # fmt: skip
    assert closed.returncode == 2
    assert closed.stderr.startswith("asa: --secret-file -: ")
    assert len(fake.asked) == 1


def test_a_file_that_others_may_read_is_refused(asa: Run, fake: Fake, file: str) -> None:
    for mode in (0o644, 0o602, 0o601):
        os.chmod(file, mode)
        done = asa("cancel", "r1", "--secret-file", file)
        assert (done.status, done.stdout) == (2, "")
        assert done.stderr == f"asa: --secret-file {file}: it is open to everybody on this host\n     chmod o= {file}\n"
    assert fake.asked == []


@pytest.mark.parametrize("content", ["", "\n", "two\nlines", "né", "x" * 256, "tab\there", "\x00"])
def test_what_is_no_secret_is_refused_and_not_shown(asa: Run, fake: Fake, file: str, content: str) -> None:
    Path(file).write_text(content)
    done = asa("cancel", "r1", "--secret-file", file, "--json")
    assert (done.status, done.json["error"]["code"]) == (2, "usage")
    assert done.json["error"]["message"] == f"--secret-file {file}: no secret in it"
    assert fake.asked == []


@pytest.mark.parametrize(("name", "why"), [("nothing", "No such file or directory"), (".", "Is a directory")])
def test_a_file_that_is_not_there_is_a_wrong_command_line(
    asa: Run, fake: Fake, tmp_path: Path, name: str, why: str
) -> None:
    path = str(tmp_path / name)
    done = asa("reserve", "1Gbit", "--secret-file", path, "--json")
    assert (done.status, done.json["error"]["message"]) == (2, f"--secret-file {path}: {why}")
    assert fake.asked == []


def test_an_attempt_is_repeated_with_all_it_had_and_the_name_of_the_file(asa: Run, fake: Fake, file: str) -> None:
    fake.answers["POST", "/v1/reservations"] = Hangup()
    wishes = [
        ["reserve", "1Gbit", "--back", "2Gbit", "--source", "web1:80{3}", "--destination=-x", "--for", "2h"],
        ["reserve", "wan", "1Gbit", "--protocol", "tcp", "--class", "voice", "--hold", "2m", "--park", "--label=-a",
         "--label", "b c", "--patience", "0", "--start", str(NOON)],
        ["reserve", "--kind", "steering", "--through", "fw1", "--through", "fw2", "--source", "web1"],
        ["reserve", "--kind", "mirroring", "--output", "tap1", "--source", "web1", "--owner", "p1"],
        ["reserve", "wan", "--kind", "passthrough"],
    ]  # fmt: skip
    for wish in wishes:
        done = asa(*wish, "--json", ASA_SECRET_FILE=file)
        assert (done.status, SECRET in done.stdout) == (3, False)
        again = shlex.split(done.json["again"])
        assert again[-2:] == ["--secret-file", file]
        # A closed connection is tried once more.
        first, second = fake.asked
        fake.asked.clear()
        asa(*again[1:])
        repeated = fake.asked[0]
        fake.asked.clear()
        assert repeated == first == second
        assert (repeated.key, repeated.secret) == (first.key, SECRET)


def test_offers_keep_the_name_of_the_file(asa: Run, fake: Fake, file: str) -> None:
    fake.answers["PATCH", R1] = Short("no", details=as_json(views.REFUSAL))
    done = asa("resize", "r1", "3Gbit", "--secret-file", file)
    assert done.stderr.splitlines()[-1] == f"  less  asa resize r1 2Gbit --secret-file '{file}'"


def test_cancelling_all_tells_how_many_there_were(asa: Run, fake: Fake, file: str) -> None:
    fake.answers["DELETE", "/v1/reservations"] = views.CANCELLED
    argv = ["cancel", "--all", "--owner", "p1", "--secret-file", file]
    assert asa(*argv).stdout == "r1 cancelled\nr2 cancelled\n2 in all\n"
    assert fake.asked[0].query == {"owner": "p1"}
    assert asa(*argv, "--json").json == as_json(views.CANCELLED)
    fake.answers["DELETE", "/v1/reservations"] = views.Cancelled(1_002, ["r1", "r2"])
    assert asa(*argv).stdout.endswith("r2 cancelled\nand 1000 more\n1002 in all\n")
    fake.answers["DELETE", "/v1/reservations"] = views.Cancelled(0, [])
    assert asa(*argv).stdout == "none was there to cancel\n"
    fake.answers["DELETE", "/v1/reservations"] = NotReady("starting")
    assert asa(*argv).status == 1


def test_confirming_goes_on_after_one_that_cannot_be(asa: Run, fake: Fake) -> None:
    booked = views.reservation("r2", state="pending")
    fake.answers["POST", f"{R1}/confirm"] = Forbidden("no")
    fake.answers["POST", "/v1/reservations/r2/confirm"] = booked
    done = asa("confirm", "r1", "r2", "--patience", "1s", "--json")
    assert done.status == 1
    assert done.json["confirmed"] == [as_json(booked)]
    assert [(each["id"], each["error"]["code"]) for each in done.json["failed"]] == [("r1", "forbidden")]
    assert [each.body for each in fake.asked] == [{"patience_ms": 1_000}] * 2
    assert asa("confirm", "r2").stdout == "r2 pending\n"


def test_what_cannot_be_placed_anew_is_a_failure(asa: Run, fake: Fake) -> None:
    found = views.Refreshed(["r1"], [], {"r3": "no way to web1"})
    fake.answers["POST", "/v1/refresh"] = found
    done = asa("refresh", "--host", "web1")
    assert (done.status, done.stderr) == (1, "")
    assert re.search(r"r3  FAILED  no way to web1\n\Z", done.stdout)
    done = asa("refresh", "--host", "web1", "--json")
    assert (done.status, done.json) == (1, as_json(found))


@pytest.mark.parametrize(
    "argv",
    [
        ["wan", "1Gbit", "--owner", "x"], ["--owner", "x", "wan", "1Gbit"], ["wan", "--owner", "x", "1Gbit"],
        ["wan", "1Gbit", "--owner=x"], ["--owner=x", "--", "wan", "1Gbit"],
    ],
)  # fmt: skip
def test_options_stand_anywhere_among_the_operands(argv: list[str]) -> None:
    found = parse(["reserve", *argv])
    assert (found.pool, found.rate, found.owner, found.kind) == ("wan", GBIT, "x", "one-way")
