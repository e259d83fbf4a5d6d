from __future__ import annotations

import json
import signal
import subprocess
import threading
from typing import Any

import pytest

from asa.views import Event
from tests.asa_cli import views
from tests.asa_cli.conftest import PATIENCE, Run, command, environment
from tests.asa_cli.fake import Asked, Fake, Open, as_json
from tests.asa_cli.views import NOON

STREAM = "/v1/events/stream"


def stream(*events: Event) -> bytes:
    """As docs of server-sent events have it, with a comment that keeps it alive."""
    return b": here\n\n" + b"".join(
        f"id: {each.number}\nevent: {each.kind}\ndata: {json.dumps(as_json(each))}\n\n".encode() for each in events
    )


def test_following_in_json_is_an_object_a_line_until_the_agent_ends_it(asa: Run, fake: Fake) -> None:
    fake.answers["GET", STREAM] = stream(*views.EVENTS)
    done = asa("events", "--follow", "--after", "7", "--json")
    assert fake.asked == [Asked("GET", STREAM, {"after": "7"})]
    *lines, last = map(json.loads, done.stdout.splitlines())
    assert lines == as_json(views.EVENTS)
    assert last["error"]["code"] == "unreachable"
    assert (done.status, done.stderr) == (3, "")


def test_following_in_text_is_a_line_an_event(asa: Run, fake: Fake) -> None:
    fake.answers["GET", STREAM] = stream(*views.EVENTS)
    done = asa("events", "--follow")
    assert [line.split()[2] for line in done.stdout.splitlines()] == ["reserved", "peer-lost"]
    assert (done.status, done.stderr.splitlines()[0]) == (3, "asa: the agent has ended the stream of events")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_each_event_comes_when_it_happens_and_a_signal_is_the_end(fake: Fake, number: signal.Signals) -> None:
    release = threading.Event()
    fake.answers["GET", STREAM] = Open(stream(views.EVENTS[0]), release)
    process = subprocess.Popen(
        command("events", "--follow", "--json"), env=environment(fake.socket), stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert json.loads(process.stdout.readline()) == as_json(views.EVENTS[0])
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=PATIENCE)
    release.set()
    assert (process.returncode, stdout, stderr) == (0, "", "")


def test_what_is_kept_is_read_to_its_end_and_what_is_not_is_counted(asa: Run, fake: Fake) -> None:
    many = [Event(number, float(NOON), "tick", "", {}) for number in range(11, 1_014)]

    def answer(asked: Asked) -> Any:
        after = max(10, int(asked.query["after"]))
        found = [each for each in many if each.number > after][: int(asked.query["limit"])]
        return views.Events(found, found[-1].number if found else after, 10 if asked.query["after"] == "0" else 0)

    fake.answers["GET", "/v1/events"] = answer
    found = asa("events", "--json").json
    assert [each["number"] for each in found["events"]] == list(range(11, 1_014))
    assert (found["next"], found["missed"]) == (1_013, 10)
    assert asa("events").stderr == "asa: 10 older events are no longer kept\n"
    done = asa("events", "--after", "1013")
    assert (done.stdout, done.stderr) == ("no events\n", "")
