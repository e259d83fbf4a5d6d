"""Compressed time, and asking until there is an answer: with a clock that only moves when it is slept on."""

from __future__ import annotations

import math
import random
import threading

import pytest

from asa.errors import BadWindow, Busy, NotReady, Short, Unreachable
from lab.domain.demand import Row
from lab.domain.player import GIVE_UP_S, SHORTEST_S, Player, Timing, reserve


class Clock:
    def __init__(self, now: float = 1_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def row(number: int = 1, start: int = 0, end: int | None = 3_600, at: int = 0) -> Row:
    return Row(number, "a", "wan", 5, start, end, at=at)


def test_times_are_divided_by_the_speed_and_whole():
    timing = Timing(1_000.0, 1_200)
    assert timing.due(row(at=7_200)) == 1_006.0
    assert timing.window(row(start=7_200, end=14_400), 1_000) == (1_006, 1_012)
    assert timing.window(row(start=7_200, end=None), 1_000) == (1_006, None)
    assert timing.file_time(1_006.0) == 7_200
    assert timing.file_time(999.0) == 0


def test_no_window_is_shorter_than_two_seconds_nor_mostly_past():
    chance = random.Random(1)
    for _ in range(2_000):
        timing = Timing(chance.uniform(0, 10), chance.uniform(0.5, 100_000))
        start = chance.randrange(86_400)
        this = row(start=start, end=start + chance.randrange(1, 10_000), at=chance.randrange(start + 1))
        now = timing.due(this) + chance.choice([0, 0, 3.7])
        begin, end = timing.window(this, now)
        assert end is not None
        assert end - max(begin, math.ceil(now)) >= SHORTEST_S
        assert abs(begin - (timing.origin + this.start / timing.speed)) <= 0.5


def test_rows_are_asked_for_when_due_and_late_ones_say_so():
    clock = Clock()
    seen: list[tuple[int, tuple[int, int | None], float]] = []
    lock = threading.Lock()

    def ask(this: Row, window: tuple[int, int | None], late_s: float) -> None:
        with lock:
            seen.append((this.number, window, late_s))

    rows = [row(1, 0, 7_200), row(2, 1_200, 9_000, at=600), row(3, 6_000, None, at=6_000)]
    player = Player(rows, Timing(1_001.0, 60), ask, clock, clock.sleep)
    player.play()
    assert player.done
    assert sorted(each[:2] for each in seen) == [(1, (1_001, 1_121)), (2, (1_021, 1_151)), (3, (1_101, None))]
    # A thread may be a while on its way, while the clock runs on.
    assert all(late >= 0 for _, _, late in seen)
    assert clock.now >= 1_101


def test_a_stopped_player_asks_for_nothing_more():
    clock = Clock()
    asked: list[int] = []
    player = Player([row(1, at=0), row(2, at=60)], Timing(1_000, 1), lambda *_: None, clock, clock.sleep)
    player.stop()
    player.play()
    assert player.done
    assert asked == []


def test_what_goes_wrong_in_a_consumers_thread_is_told():
    def ask(*_: object) -> None:
        raise ZeroDivisionError

    clock = Clock()
    player = Player([row()], Timing(1_000, 1), ask, clock, clock.sleep)
    player.play()
    with pytest.raises(ZeroDivisionError):
        _ = player.done


class Agent:
    """Answers each request with the next of ``answers``, the last one for ever."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[object, object]] = []

    def client(self, patience_ms: int = 0) -> Agent:
        return self

    def request(self, method: str, path: str, body: object, headers: object) -> object:
        assert (method, path) == ("POST", "/v1/reservations")
        self.asked.append((body, headers))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


VIEW = {"id": "r-1", "start": 10, "end": 20}


def ask(agent: Agent, clock: Clock | None = None, stopped: bool = False):
    clock = clock or Clock()
    return reserve(agent, row(), (10, 20), "row-1", lambda: stopped, clock, clock.sleep)


def test_a_yes_is_kept_with_what_was_promised():
    agent = Agent(VIEW)
    found = ask(agent)
    assert (found.outcome, found.id, found.start, found.end, found.attempts) == ("admitted", "r-1", 10, 20, 1)
    ((body, headers),) = agent.asked
    assert headers == {"Idempotency-Key": "row-1"}
    assert body["owner"] == "row-1"
    assert (body["pool"], body["rate"], body["start"], body["end"]) == ("wan", 5, 10, 20)


@pytest.mark.parametrize(
    ("error", "reason"), [(Short("no"), "short"), (Busy("no"), "busy"), (BadWindow("no"), "bad-window")]
)
def test_a_no_is_one_at_once(error, reason):
    found = ask(Agent(error))
    assert (found.outcome, found.reason, found.attempts) == ("refused", reason, 1)


def test_an_agent_that_is_gone_is_asked_again_with_the_same_key_and_body():
    agent = Agent(Unreachable("killed"), NotReady("starting"), VIEW)
    found = ask(agent)
    assert (found.outcome, found.attempts) == ("admitted", 3)
    assert agent.asked[0] == agent.asked[1] == agent.asked[2]


def test_what_a_crash_left_open_stays_unanswered_if_its_window_passed_meanwhile():
    found = ask(Agent(Unreachable("killed"), BadWindow("past")))
    assert (found.outcome, found.lost) == ("unanswered", False)


def test_an_agent_that_never_comes_back_is_given_up():
    clock = Clock()
    found = ask(Agent(Unreachable("gone")), clock)
    assert (found.outcome, found.reason, found.lost) == ("unanswered", "unreachable", True)
    assert GIVE_UP_S < clock.now - 1_000 < GIVE_UP_S + 1
    assert ask(Agent(VIEW), stopped=True).outcome == "unanswered"
