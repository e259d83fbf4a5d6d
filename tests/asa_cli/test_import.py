"""Taking over a checkpoint of Tegu's: what is asked for each line, and what is told of it."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from asa.errors import Busy, Duplicate, Elsewhere, Forbidden, Short, UnknownReservation, Unreachable
from asa.northbound import bodies
from asa.views import ReservationView
from tests.asa_cli import views
from tests.asa_cli.conftest import PATIENCE, Run, command, environment
from tests.asa_cli.fake import Asked, Fake, Hangup
from tests.tegu.lines import MIRROR, ONE_WAY, PASSTHROUGH, STEERING, TWO_WAY, line

COOKIE = "s3cr3t-biscuit"
ADMIN = "the administrator's"
WINDOW = {"commence": int(time.time()) - 3_600, "expiry": int(time.time()) + 86_400, "usrkey": COOKIE}
RESERVATIONS = "/v1/reservations"
PLEDGES = [
    line(TWO_WAY, **WINDOW),
    line(ONE_WAY, **WINDOW),
    line(PASSTHROUGH, **WINDOW | {"usrkey": ""}),
]


def made(asked: Asked) -> ReservationView:
    """What an agent makes of a request; the passthrough it cannot place."""
    body = asked.body
    parked = body["kind"] == "passthrough"
    return views.reservation(
        "" if body["dry_run"] else f"r-{body['labels'][0][-1]}", kind=body["kind"],
        state="parked" if parked else "active", why="there is no host vm1" if parked else "", labels=body["labels"],
    )  # fmt: skip


@pytest.fixture
def file(tmp_path: Path, fake: Fake) -> Path:
    fake.answers["POST", RESERVATIONS] = made
    fake.answers["PUT", "/v1/caps"] = views.CAPS
    path = tmp_path / "resmgr_a1.ckpt"
    path.write_bytes(b"ucap: p1 50\n" + b"".join(PLEDGES))
    return path


@pytest.fixture
def admin(tmp_path: Path) -> str:
    path = tmp_path / "admin"
    path.write_text(ADMIN)
    path.chmod(0o600)
    return str(path)


def reserved(fake: Fake) -> list[Asked]:
    return [each for each in fake.asked if each.path == RESERVATIONS]


def test_all_of_it_is_taken_over(asa: Run, fake: Fake, file: Path, admin: str) -> None:
    done = asa("import-tegu", str(file), "--pool", "wan", "--secret-file", admin, "--patience", "1s")
    assert (done.status, done.stderr) == (0, "")
    two_way, one_way, passthrough, cap = fake.asked
    assert two_way.body["rate"] == 20_000_000
    assert two_way.body["back"] == 10_000_000
    for each in (two_way, one_way, passthrough):
        msgspec.convert(each.body, bodies.Reserve)
        assert (each.body["park"], each.body["dry_run"], each.body["patience_ms"]) == (True, False, 1_000)
    assert [each.body["pool"] for each in (two_way, one_way, passthrough)] == ["wan", "wan", ""]
    assert [each.secret for each in fake.asked] == [COOKIE, COOKIE, None, ADMIN]
    assert len({each.key for each in (two_way, one_way, passthrough)}) == 3
    assert cap.body == {"project": "p1", "resource": "*", "amount": 50, "percent": True}
    lines = done.stdout.splitlines()
    assert lines[:4] == [
        "TEGU           KIND         ID   STATE   WHY",
        "res3fbe_00000  two-way      r-0  active",
        "res3fbe_00002  one-way      r-2  active",
        "res3fbe_00003  passthrough  r-3  parked  there is no host vm1",
    ]
    assert "p1       50%" in lines
    assert "  line 4: it has no cookie: anybody may change or cancel it" in lines
    assert lines[-1] == "3 taken over, 1 of them parked, 1 cap, 0 left out"
    assert COOKIE not in done.stdout
    assert ADMIN not in done.stdout


def test_in_json_it_is_one_value(asa: Run, fake: Fake, file: Path) -> None:
    done = asa("import-tegu", str(file), "--json")
    assert (done.status, done.stderr) == (0, "")
    found = done.json
    assert (found["file"], found["dry_run"], found["left_out"]) == (str(file), False, [])
    assert [(each["line"], each["tegu"], each["id"], each["state"]) for each in found["reservations"]] == [
        (2, "res3fbe_00000", "r-0", "active"), (3, "res3fbe_00002", "r-2", "active"),
        (4, "res3fbe_00003", "r-3", "parked"),
    ]  # fmt: skip
    assert found["reservations"][2]["why"] == "there is no host vm1"
    assert found["caps"] == [
        {"line": 1, "kind": "cap", "tegu": "p1", "notes": [], "project": "p1", "resource": "*", "amount": 50,
         "percent": True}
    ]  # fmt: skip
    assert set(found["not_in_a_checkpoint"]) == {"two-way", "one-way", "passthrough"}
    assert COOKIE not in done.stdout


def test_it_can_be_repeated(asa: Run, fake: Fake, file: Path) -> None:
    for _ in range(2):
        assert asa("import-tegu", str(file)).status == 0
    asked = reserved(fake)
    assert [(each.key, each) for each in asked[:3]] == [(each.key, each) for each in asked[3:]]


def test_what_an_import_before_has_made_is_found_again(asa: Run, fake: Fake, file: Path) -> None:
    def refuse(asked: Asked) -> Any:
        label = asked.body["labels"][0]
        identifier = {"0": "r-mine", "2": "r-other", "3": "r-gone"}[label[-1]]
        return Duplicate(f"{identifier} is for the same flow", details={"id": identifier})

    fake.answers["POST", RESERVATIONS] = refuse
    fake.answers["GET", f"{RESERVATIONS}/r-mine"] = views.reservation("r-mine", labels=["x", "tegu:res3fbe_00000"])
    fake.answers["GET", f"{RESERVATIONS}/r-gone"] = UnknownReservation("it is gone")
    fake.answers["GET", f"{RESERVATIONS}/r-other"] = views.reservation("r-other", labels=["tegu:other"])
    done = asa("import-tegu", str(file), "--json")
    assert done.status == 1
    assert [each["id"] for each in done.json["reservations"]] == ["r-mine"]
    assert [(each["tegu"], each["code"]) for each in done.json["left_out"]] == [
        ("res3fbe_00002", "duplicate"), ("res3fbe_00003", "duplicate"),
    ]  # fmt: skip


def test_what_is_left_out_is_told_and_a_failure(asa: Run, fake: Fake, file: Path) -> None:
    file.write_bytes(
        b"ucap: p1 50\n{ not json }\n" + line(STEERING, **WINDOW) + line(MIRROR, **WINDOW) + PLEDGES[0] + b"expired\n"
    )
    fake.answers["PUT", "/v1/caps"] = Forbidden("the administrator's secret is needed")
    done = asa("import-tegu", str(file))
    assert (done.status, done.stderr) == (1, "")
    left = done.stdout[done.stdout.index("left out:") :].split("\n\n")[0].splitlines()
    assert [each.split() for each in left[:2]] == [["left", "out:"], ["LINE", "KIND", "TEGU", "CODE", "WHY"]]
    assert [each.split()[0] for each in left[2:]] == ["2", "3", "4", "6", "1"]
    assert "   3  steering  res3fbe_00001  unfit       one of its ends is E* or L*" in done.stdout
    assert "   4  mirror    mir-5a_0       unfit       it copies 2 ports" in done.stdout
    assert "   1  cap       p1             forbidden   the administrator's secret is needed" in done.stdout
    assert done.stdout.endswith("\n1 taken over, 0 caps, 5 left out\n")


def test_what_the_agent_refuses_is_left_out_and_the_others_are_not(asa: Run, fake: Fake, file: Path) -> None:
    fake.answers["POST", RESERVATIONS] = lambda asked: (
        Busy("enough") if asked.body["kind"] == "two-way" else Unreachable("b") if asked.body["rate"] else made(asked)
    )
    found = asa("import-tegu", str(file), "--json")
    assert found.status == 1
    assert [(each["code"], each["why"]) for each in found.json["left_out"]] == [
        ("busy", "enough"),
        ("unreachable", "b"),
    ]
    assert [each["tegu"] for each in found.json["reservations"]] == ["res3fbe_00003"]
    assert len(found.json["caps"]) == 1


def test_what_has_ended_is_nothing_to_take_over(asa: Run, fake: Fake, file: Path) -> None:
    file.write_bytes(PLEDGES[0] + line(ONE_WAY, commence=1_000, expiry=2_000) + b"expired\n")
    done = asa("import-tegu", str(file), "--json")
    assert done.status == 0
    assert [each["code"] for each in done.json["left_out"]] == ["expired", "expired"]


def test_a_dry_run_changes_nothing(asa: Run, fake: Fake, file: Path) -> None:
    done = asa("import-tegu", str(file), "--dry-run", "--json", ASA_SECRET_FILE="/nowhere")
    assert done.status == 0
    assert [(each.method, each.path, each.key) for each in fake.asked] == [("POST", RESERVATIONS, None)] * 3
    assert all(each.body["dry_run"] for each in fake.asked)
    assert [each["id"] for each in done.json["reservations"]] == [""] * 3
    assert len(done.json["caps"]) == 1
    text = asa("import-tegu", str(file), "--dry-run").stdout
    assert text.endswith("\nnothing was changed; would be: 3 taken over, 1 of them parked, 1 cap, 0 left out\n")


def test_a_dry_run_tells_what_would_be_parked(asa: Run, fake: Fake, file: Path) -> None:
    fake.answers["POST", RESERVATIONS] = lambda asked: (
        Short("too little") if asked.body["back"] else Elsewhere("b serves it") if asked.body["rate"] else Busy("full")
    )
    found = asa("import-tegu", str(file), "--dry-run", "--json")
    assert found.status == 1
    assert [(each["state"], each["why"]) for each in found.json["reservations"]] == [
        ("parked", "short: too little"), ("parked", "elsewhere: b serves it"),
    ]  # fmt: skip
    assert [each["code"] for each in found.json["left_out"]] == ["busy"]


def test_a_secret_that_cannot_be_read_is_told_before_anything_is_done(asa: Run, fake: Fake, file: Path) -> None:
    assert asa("import-tegu", str(file), "--secret-file", "/nowhere").status == 2
    assert fake.asked == []


def test_without_an_agent_the_rest_is_not_asked_for(asa: Run, fake: Fake, file: Path) -> None:
    fake.answers["POST", RESERVATIONS] = lambda asked: made(asked) if asked.body["back"] else Hangup()
    done = asa("import-tegu", str(file), "--json")
    assert (done.status, done.json["error"]["code"]) == (3, "unreachable")
    assert [each["tegu"] for each in done.json["reservations"]] == ["res3fbe_00000"]
    assert len(reserved(fake)) == 3
    done = asa("import-tegu", str(file))
    assert (done.status, done.stdout) == (3, "")
    assert done.stderr.endswith("\nthe rest was not asked for; the same command goes on with it\n")
    assert COOKIE not in done.stderr


def test_an_import_that_is_stopped_tells_what_is_done(fake: Fake, file: Path) -> None:
    silent = Hangup(at_once=False)
    fake.answers["POST", RESERVATIONS] = lambda asked: made(asked) if asked.body["back"] else silent
    process = subprocess.Popen(
        command("import-tegu", str(file), "--json"), env=environment(fake.socket), stdout=subprocess.PIPE, text=True
    )
    assert silent.before.wait(PATIENCE)
    process.send_signal(signal.SIGTERM)
    stdout, _ = process.communicate(timeout=PATIENCE)
    silent.until.set()
    assert process.returncode == 128 + signal.SIGTERM
    found = json.loads(stdout)
    assert (found["error"]["code"], len(found["reservations"])) == ("stopped", 1)


@pytest.mark.parametrize("content", [b"", b"\xff" * 100, b"[" * 10_000])
def test_a_file_with_nothing_in_it_is_a_failure(asa: Run, fake: Fake, file: Path, content: bytes) -> None:
    file.write_bytes(content)
    done = asa("import-tegu", str(file), "--json")
    assert (done.status, len(done.json["left_out"])) == (1, 1)
    assert fake.asked == []


def test_what_an_agent_names_cannot_drive_a_terminal(asa: Run, fake: Fake, file: Path) -> None:
    fake.answers["POST", RESERVATIONS] = lambda asked: (
        views.reservation("\x1b[31m", why="\x07") if asked.body["back"] else Busy("\x1b]0;x\x07")
    )
    shown = asa("import-tegu", str(file)).stdout
    assert [each for each in shown if not each.isprintable() and each != "\n"] == []
