from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from typing import Any

import pytest

from asa.errors import AsaError, Busy, NotReady
from asa.views import Event
from tests.asa_cli import views
from tests.asa_cli.conftest import PATIENCE, Outcome, Run, command, environment
from tests.asa_cli.fake import Asked, Fake, Hangup, Open, as_json
from tests.asa_cli.views import NOON

STREAM = "/v1/events/stream"


def stream(*events: Event) -> bytes:
    """As docs of server-sent events have it, with a comment that keeps it alive."""
    return b": here\n\n" + b"".join(
        f"id: {each.number}\nevent: {each.kind}\ndata: {json.dumps(as_json(each))}\n\n".encode() for each in events
    )


RECONNECT_S = 60.0
IMPATIENT = f"""
import sys, types
from asa.cli import events, main
# Its time is what it has slept, and it sleeps in no time.
slept = [0.0]
events.time = types.SimpleNamespace(monotonic=lambda: sum(slept), sleep=slept.append)
events.RECONNECT_S = {RECONNECT_S}
sys.exit(main(sys.argv[1:]))
"""
REPLACED = "asa: the agent was replaced; its events are numbered from 1 again\n"


def follow(fake: Fake, *words: str) -> Outcome:
    """With an agent that is not waited for long."""
    done = subprocess.run(
        [sys.executable, "-c", IMPATIENT, "events", "--follow", *words], env=environment(fake.socket),
        capture_output=True, text=True, timeout=PATIENCE, cwd="/", stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    return Outcome(done.returncode, done.stdout, done.stderr)


def answers(fake: Fake, started: list[int], streams: list[bytes | AsaError]) -> None:
    """When the agent says it started, and what its streams tell, in order; then nobody answers any more."""
    starts, told = iter(started), iter(streams)

    def status(_: Asked) -> Any:
        found = next(starts, None)
        return Hangup() if found is None else as_json(views.STATUS) | {"started": found}

    fake.answers["GET", "/v1/status"] = status
    fake.answers["GET", STREAM] = lambda _: next(told, None) or Hangup()


def lives(fake: Fake, *told: tuple[int, bytes | AsaError]) -> None:
    """The agent at each opening of the stream: when it started, what the stream tells until it ends."""
    started = []
    for index, (start, content) in enumerate(told):
        # Before it opens, and once it tells something after a stream that broke.
        started += [start, start] if index and isinstance(content, bytes) and b"data:" in content else [start]
    answers(fake, started, [content for _, content in told])


def opened(fake: Fake) -> list[dict[str, str]]:
    return [each.query for each in fake.asked if each.path == STREAM]


def test_following_in_json_is_an_object_a_line_until_the_agent_is_gone(fake: Fake) -> None:
    lives(fake, (NOON, stream(*views.EVENTS)))
    done = follow(fake, "--after", "7", "--json")
    assert opened(fake)[0] == {"after": "7"}
    *lines, last = map(json.loads, done.stdout.splitlines())
    assert lines == as_json(views.EVENTS)
    assert last["error"]["code"] == "unreachable"
    assert (done.status, done.stderr) == (3, "")


def test_following_in_text_is_a_line_an_event(fake: Fake) -> None:
    lives(fake, (NOON, stream(*views.EVENTS)))
    done = follow(fake)
    assert [line.split()[2] for line in done.stdout.splitlines()] == ["reserved", "peer-lost"]
    assert done.status == 3
    assert done.stderr.startswith("asa: the agent has ended the stream of events and is not back after 60 s\n")


def tick(number: int, kind: str = "tick") -> Event:
    return Event(number, float(NOON), kind, "", {})


@pytest.mark.parametrize("as_it_ends", [b"", Busy("ending"), NotReady("starting")])
def test_following_goes_on_in_the_next_life_from_its_first_event(fake: Fake, as_it_ends: bytes | AsaError) -> None:
    """Also where that has told more than the last life had: what is asked for then are not the numbers behind."""
    lives(
        fake,
        (NOON, stream(tick(1), tick(2))),
        (NOON, as_it_ends),
        (NOON + 9, stream(tick(1, "new"), tick(2, "new"), tick(3, "new"))),
    )
    done = follow(fake, "--json")
    *told, _ = map(json.loads, done.stdout.splitlines())
    assert [(each["number"], each["kind"]) for each in told] == [
        (1, "tick"), (2, "tick"), (1, "new"), (2, "new"), (3, "new"),
    ]  # fmt: skip
    assert [each["after"] for each in opened(fake)[:3]] == ["0", "2", "0"]
    assert done.stderr == ""


def test_that_the_agent_was_replaced_is_told_once(fake: Fake) -> None:
    lives(fake, (NOON, stream(tick(1))), (NOON + 9, stream()), (NOON + 9, stream(tick(1))))
    done = follow(fake)
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["1", "1"]
    assert done.stderr.count(REPLACED) == 1
    assert (done.status, done.stderr.startswith(REPLACED)) == (3, True)


def test_a_stream_that_breaks_goes_on_behind_what_it_told(fake: Fake) -> None:
    lives(fake, (NOON, stream(tick(1), tick(2))), (NOON, stream(tick(3))))
    done = follow(fake)
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["1", "2", "3"]
    assert [each["after"] for each in opened(fake)[:2]] == ["0", "2"]
    assert REPLACED not in done.stderr


def test_a_stream_asked_of_one_life_and_answered_by_the_next_loses_nothing(fake: Fake) -> None:
    """As when the connection waits in the backlog while the program is replaced."""
    answers(
        fake,
        [NOON, NOON, NOON + 9, NOON + 9, NOON + 9],
        [stream(tick(1), tick(2)), stream(tick(3, "new")), stream(tick(1, "new"), tick(2, "new"))],
    )
    done = follow(fake)
    assert [line.split()[2] for line in done.stdout.splitlines()] == ["tick", "tick", "new", "new"]
    assert [each["after"] for each in opened(fake)[:3]] == ["0", "2", "0"]
    assert done.stderr.count(REPLACED) == 1


def test_numbers_that_begin_again_are_a_new_life_too(fake: Fake) -> None:
    lives(fake, (NOON, stream(tick(1), tick(2))), (NOON, stream(tick(1, "new"), tick(2, "new"))))
    done = follow(fake)
    assert [line.split()[2] for line in done.stdout.splitlines()] == ["tick", "tick", "new", "new"]
    assert done.stderr.count(REPLACED) == 1


def test_a_stream_that_is_refused_at_once_is_not_asked_for_again(asa: Run, fake: Fake) -> None:
    fake.answers["GET", "/v1/status"] = views.STATUS
    fake.answers["GET", STREAM] = Busy("8 clients wait for events already")
    done = asa("events", "--follow")
    assert (done.status, done.stderr) == (1, "asa: 8 clients wait for events already\n")
    assert len(opened(fake)) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_each_event_comes_when_it_happens_and_a_signal_is_the_end(fake: Fake, number: signal.Signals) -> None:
    release = threading.Event()
    fake.answers["GET", "/v1/status"] = views.STATUS
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
