from __future__ import annotations

import json
import os
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grasp.cli.output import dumps, safe, text_of
from grasp.wire import NO_VALUE, End, Invalid, Objective, RequestNegotiation, encode_message
from grasp.wire.message import Decline

DANGEROUS = ("Cc", "Cf", "Cs", "Zl", "Zp", "Co", "Cn")


@given(st.text())
def test_nothing_shown_can_move_a_cursor(text: str) -> None:
    for shown in (safe(text), text_of(text), text_of({text: [text]}), dumps(text)):
        assert not [each for each in shown if unicodedata.category(each) in DANGEROUS]
    assert json.loads(dumps(text)) == text


@given(st.text(max_size=50), st.integers(0, 60))
def test_what_is_shown_is_bounded(text: str, limit: int) -> None:
    assert len(safe(text, limit)) <= limit * len("\\U0010ffff") + 1


@pytest.mark.parametrize(
    "message",
    [
        RequestNegotiation(1, Objective.negotiation("\x1b]0;owned\x07", "\x9b31m\u202e" * 40)),
        End(1, Decline("line\nline\x1b[2J")),
        Invalid(1, {"\x1b": b"\x1b"}),
        Invalid(1, NO_VALUE),
    ],
)
def test_hostile_messages_are_one_harmless_line(message: Any, call: Any) -> None:
    outcome = call("decode", encode_message(message, 2048).hex())
    assert outcome.status == 0
    assert outcome.stdout.endswith("\n")
    assert outcome.stdout[:-1].isprintable()
    assert len(outcome.stdout) < 2000


def test_colours_are_for_terminals_that_want_them(tmp_path: Path) -> None:
    hexadecimal = encode_message(Invalid(1), 2048).hex()

    def on_terminal(**environment: str) -> bytes:
        parent, child = os.openpty()
        with os.fdopen(child, "wb") as terminal:
            subprocess.run(
                [sys.executable, "-m", "grasp", "decode", hexadecimal],
                stdout=terminal,
                env={**os.environ, "TERM": "xterm", **environment},
                check=True,
                timeout=60,
            )
        with os.fdopen(parent, "rb") as read:
            return os.read(read.fileno(), 4096)

    assert b"\x1b[" in on_terminal()
    assert b"\x1b" not in on_terminal(NO_COLOR="1")
    assert b"\x1b" not in on_terminal(TERM="dumb")


def test_a_reader_that_leaves_causes_no_complaint(tmp_path: Path) -> None:
    file = tmp_path / "messages"
    file.write_bytes(encode_message(Invalid(1), 2048) * 20_000)
    process = subprocess.Popen(
        [sys.executable, "-m", "grasp", "decode", str(file)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.read(1)
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(60) == 141


def test_a_full_disk_is_reported() -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "grasp", "decode", "8100", "--json"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    assert done.returncode == 1
    assert done.stderr == "grasp: cannot write: [Errno 28] No space left on device\n"
