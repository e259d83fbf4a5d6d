"""The privileged process: whoever speaks to it, it does what its vocabulary has and nothing else, and stays alive."""

from __future__ import annotations

import logging
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from asa.dataplane.backend import Reading
from asa.dataplane.deputy.remote import Remote
from asa.dataplane.deputy.vocabulary import MOST_FRAMES
from asa.dataplane.deputy.wire import MAX_FRAME
from asa.dataplane.record import Record
from tests.dataplane.deputies import IN, OUT, PATIENCE, VARIED, Raw, eventually, plan, serving
from tests.dataplane.test_wire import GOOD, INJECTED, WRONG, changed

CODES = {"garbled", "bad-request", "bad-flow", "forbidden"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deputy.sock"


@pytest.fixture
def backend() -> Record:
    return Record()


@pytest.fixture
def deputy(path: Path, backend: Record) -> Iterator[Path]:
    with serving(backend, path, interfaces=["eth0"], frame_s=PATIENCE):
        yield path


def alive(path: Path) -> None:
    with Raw(path) as raw:
        assert raw.ask({"is": "probe", "lines": []})["is"] == "able"


def test_it_does_what_it_is_asked(deputy: Path, backend: Record) -> None:
    with Raw(deputy) as raw:
        assert raw.ask(GOOD) == {"is": "changed"}
        there = raw.ask({"is": "read", "everything": True})
        assert there == {"is": "there", "lines": {"eth0:out": ""}, "more": True}
        assert raw.heard()["entries"][0]["number"] == 1
        assert raw.ask({"is": "change", "gone": [1]}) == {"is": "changed"}
        assert backend.read().found == {}
        assert raw.ask(GOOD | {"lines": None}) == {"is": "changed"}
        assert raw.ask({"is": "count"}) == {"is": "counted"}
        assert raw.ask({"is": "clear"}) == {"is": "cleared"}
        assert backend.read() == Reading()


# -- what is not of the vocabulary: answered, and hung up


def test_random_bytes(deputy: Path) -> None:
    rng = random.Random(7)
    for _ in range(200):
        with Raw(deputy, hello=rng.random() < 0.5) as raw:
            body = rng.randbytes(rng.choice([1, 3, 4, 5, 100, 5_000]))
            if rng.random() < 0.5:
                body = len(body).to_bytes(4, "big") + body
            raw.bytes(body)
            raw.sock.shutdown(1)
            answer = raw.heard()
            assert answer is None or (answer["is"], answer["code"]) == ("refused", "garbled")
            assert answer is None or raw.heard() is None
    alive(deputy)


def test_a_frame_that_is_too_long(deputy: Path) -> None:
    for length in (MAX_FRAME + 1, 0xFFFF_FFFF):
        with Raw(deputy) as raw:
            raw.bytes(length.to_bytes(4, "big"))
            assert raw.heard()["code"] == "garbled"
            assert raw.heard() is None
    with Raw(deputy) as raw:
        raw.say(b'{"is":"clear"' + b" " * (MAX_FRAME - 14) + b"}")
        assert raw.heard() == {"is": "cleared"}
    alive(deputy)


def test_half_a_frame_and_gone(deputy: Path) -> None:
    whole = len(changed()).to_bytes(4, "big") + changed()
    for length in range(1, len(whole), 37):
        with Raw(deputy) as raw:
            raw.bytes(whole[:length])
    alive(deputy)


def test_half_a_frame_and_silence(path: Path) -> None:
    with serving(Record(), path, frame_s=0.2):
        for piece in (b"\0", b"\0\0\0\5{", b"\0\0\1\0" + b"x" * 255):
            with Raw(path) as raw:
                raw.bytes(piece)
                answer = raw.heard()
                assert (answer["code"], "not whole after" in answer["message"]) == ("garbled", True)
                assert raw.heard() is None
        with Raw(path) as raw:
            time.sleep(0.6)
            assert raw.ask({"is": "count"}) == {"is": "counted"}


@pytest.mark.parametrize(
    "frames",
    [
        [{"is": "count"}],
        [{"is": "hello", "version": 2}],
        [{"is": "hello", "version": 1}, {"is": "change", "more": True}, {"is": "count"}],
        [{"is": "hello", "version": 1}, {"is": "welcome", "version": 1, "backend": "x"}],
        [{"is": "hello", "version": 1}, {"is": "run", "command": "reboot"}],
        [{"is": "hello", "version": 1}, *[GOOD | {"more": True, "come": []}] * (MOST_FRAMES + 1)],
    ],
)
def test_out_of_turn(deputy: Path, backend: Record, frames: list[Any]) -> None:
    with Raw(deputy, hello=False) as raw:
        for each in frames:
            raw.say(each)
        answers = [raw.heard()]
        if answers[0]["is"] == "welcome":
            answers.append(raw.heard())
        assert (answers[-1]["is"], answers[-1]["code"]) == ("refused", "garbled")
        assert raw.heard() is None
    assert backend.read() == Reading()
    alive(deputy)


# -- what is not allowed: answered, and nothing changed


@pytest.mark.parametrize(("key", "value"), WRONG)
def test_values_out_of_their_range(deputy: Path, backend: Record, key: str, value: Any) -> None:
    refused(deputy, backend, changed(**{key: value}))


@pytest.mark.parametrize("text", INJECTED)
def test_text_that_means_something_to_a_program(deputy: Path, backend: Record, text: str) -> None:
    for key in ("lines__0__interface", "come__0__line", "come__0__matches__0__destination"):
        refused(deputy, backend, changed(**{key: text}))
    question = {"is": "read", "keys": [{"line": f"{text}:out", "action": "keep", "matches": [{"family": 4}]}]}
    refused(deputy, backend, msgspec.json.encode(question))


def refused(path: Path, backend: Record, body: bytes) -> None:
    with Raw(path) as raw:
        raw.say(body)
        answer = raw.heard()
        assert answer["is"] == "refused"
        assert answer["code"] in CODES
        assert answer["message"].isascii()
        if answer["code"] == "garbled":
            assert raw.heard() is None
        else:
            assert raw.ask({"is": "count"}) == {"is": "counted"}
    assert backend.read() == Reading()


def test_other_lines_and_more_than_there_is(deputy: Path) -> None:
    eth1 = {"interface": "eth1", "way": "out", "rate": 800_000, "floor": 8_000}
    (line,), (one,) = GOOD["lines"], GOOD["come"]
    greedy = one | {"number": 2, "share": {"guarantee": 792_000, "ceiling": 792_000, "priority": 1}}
    elsewhere = greedy | {"matches": [{"family": 4, "destination": "10.0.0.2/32"}]}
    with Raw(deputy) as raw:
        assert raw.ask(GOOD) == {"is": "changed"}
        for ask, code, text in (
            (GOOD | {"lines": [line, eth1]}, "forbidden", "leaves eth1 alone"),
            ({"is": "probe", "lines": [eth1]}, "forbidden", "leaves eth1 alone"),
            (GOOD | {"lines": [line, line]}, "bad-request", "twice"),
            ({"is": "change", "lines": []}, "bad-request", "no line"),
            ({"is": "change", "come": [one | {"number": 2}]}, "bad-request", "different"),
            ({"is": "change", "come": [elsewhere]}, "bad-request", "800000 bit/s guaranteed on eth0:out"),
            ({"is": "change", "gone": [5]}, "bad-request", "no entry 5"),
            ({"is": "read", "numbers": [5]}, "bad-request", "no entry 5"),
            ({"is": "read", "keys": [{"line": "eth1:out", "action": "keep", "matches": [{"family": 4}]}]},
             "bad-request", "eth1:out is no line"),
        ):  # fmt: skip
            answer = raw.ask(ask)
            assert (answer["is"], answer["code"]) == ("refused", code)
            assert text in answer["message"]
        raw.say({"is": "read", "everything": True})
        assert raw.heard()["lines"] == {"eth0:out": ""}
        assert [each["number"] for each in raw.heard()["entries"]] == [1]


def test_a_good_frame_that_was_spoilt(deputy: Path) -> None:
    """One leaf at a time becomes something else: whatever it is, it is answered, and the deputy lives."""
    rng = random.Random(11)
    odd = (None, True, -1, 0, 2**70, 1e308, "", "x" * 10_000, "\x1b[2J\n", "eth0;reboot", [], {}, [[]], {"is": "clear"})
    for _ in range(300):
        value = msgspec.json.decode(changed())
        parent, at = rng.choice(list(leaves(value)))
        if rng.random() < 0.1:
            del parent[at]
        else:
            parent[at] = rng.choice(odd)
        with Raw(deputy) as raw:
            answer = raw.ask(value)
            assert answer["is"] in ("changed", "refused", "cleared", "counted")
            assert answer["is"] != "refused" or answer["code"] in CODES
    alive(deputy)


def leaves(value: Any) -> Iterator[tuple[Any, Any]]:
    for at in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, at
        yield from leaves(value[at])


# -- who comes and goes


def test_the_log_is_one_line_for_each_refusal(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "asa.deputy")
    with serving(Record(), path, frame_s=PATIENCE):
        for body in (b'{"is":"\\n\\u001b[2J' + b"x" * 100_000 + b'"}', b"\xff" * 1_000):
            with Raw(path) as raw:
                raw.say(body)
                assert raw.heard()["code"] == "garbled"
        with Raw(path), Raw(path, hello=False) as second:
            assert second.heard()["code"] == "busy"
    with serving(Record(), path, uids=[os.getuid() + 1]), Raw(path, hello=False) as stranger:
        assert stranger.heard()["code"] == "forbidden"
        assert stranger.heard() is None
    said = [each.getMessage() for each in caplog.records]
    assert all(each.isprintable() and len(each) < 600 for each in said)
    warnings = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    me = f"process {os.getpid()} of user {os.getuid()}"
    assert [re.sub(":.*", "", each) for each in warnings] == [
        f"{me} is not understood", f"{me} is not understood", f"{me} is sent away", f"{me} is sent away",
    ]  # fmt: skip


def test_an_agent_that_ends_leaves_what_is_in_place_and_the_next_takes_it_over(deputy: Path, backend: Record) -> None:
    for _ in range(3):
        remote = Remote(deputy)
        remote.probe([OUT, IN])
        eventually(lambda of=remote: of.apply(plan(VARIED)) == {})  # type: ignore[misc]
        before = backend.read()
        remote.close()
        assert backend.read() == before


def test_an_agent_that_never_reads_its_answers_is_left(path: Path) -> None:
    with serving(Record(), path, frame_s=0.2):
        with Raw(path) as raw:
            raw.ask(GOOD)
            raw.sock.settimeout(5)
            question = msgspec.json.encode({"is": "read", "everything": True})
            try:
                for _ in range(20_000):
                    raw.sock.sendall(len(question).to_bytes(4, "big") + question)
            except OSError:
                pass
            else:
                pytest.fail("it was answered all the same")
        eventually(lambda: alive(path) is None)


# -- as a process


def deputy_process(path: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "asa", "deputy", "--listen", str(path), "--backend", "record", *words],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(path: Path, number: int) -> None:
    process = deputy_process(path, "--interface", "eth0", "--uid", "root", "--uid", str(os.getuid()))
    try:
        eventually(lambda: path.exists() or process.poll() is not None)
        assert oct(path.stat().st_mode & 0o777) == "0o660"
        with Raw(path) as raw:
            assert raw.ask(GOOD) == {"is": "changed"}
            process.send_signal(number)
            said = process.communicate(timeout=PATIENCE)[1]
            assert raw.heard() is None
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    assert not path.exists()
    assert f"serving {path} with record, for eth0 only" in said
    assert f"serving process {os.getpid()} of user {os.getuid()}" in said


def test_one_deputy_for_a_socket(path: Path) -> None:
    first = deputy_process(path)
    try:
        eventually(lambda: path.exists() or first.poll() is not None)
        second = deputy_process(path)
        assert "already" in second.communicate(timeout=PATIENCE)[1]
        assert second.returncode == 1
        alive(path)
    finally:
        first.kill()
        first.communicate()
    third = deputy_process(path)
    try:
        eventually(lambda: third.poll() is not None or _answers(path))
        alive(path)
    finally:
        third.kill()
        third.communicate()


def _answers(path: Path) -> bool:
    try:
        alive(path)
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--uid", "nobody-of-that-name"], "no such user"),
        (["--interface", "eth0;reboot"], "--interface"),
        (["--interface", "..%"], "--interface"),
        (["--backend", "auto"], "there is no 'auto'"),
        (["--group", "nobody-of-that-name"], "cannot listen"),
    ],
)
def test_a_command_line_that_is_wrong(path: Path, words: list[str], text: str) -> None:
    process = deputy_process(path, *words)
    assert text in process.communicate(timeout=PATIENCE)[1]
    assert process.returncode in (1, 2)
