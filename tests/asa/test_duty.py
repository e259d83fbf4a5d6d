"""Threads that repeat their work, are seen to be alive, and are replaced when they are not."""

from __future__ import annotations

import random
import threading
import time

import pytest

from asa.threads import duty as duty_module
from asa.threads.duty import Duty
from asa.threads.monitor import MOST_RESTARTS, PERIOD_S, Monitor

PATIENCE = 30.0


def until(condition, what=""):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.002)


class Worker(Duty):
    """Counts its turns, and does in each what the test put into ``script``."""

    name = "worker"
    pause = 30.0

    def __init__(self, reported):
        super().__init__(lambda *said: reported.append(said), random.Random(7))
        self.turns = 0
        self.script = lambda: None

    def turn(self):
        self.turns += 1
        return self.script()


@pytest.fixture
def reported():
    return []


@pytest.fixture
def worker(reported):
    made = Worker(reported)
    yield made
    made.stop()
    assert made.join(PATIENCE)


@pytest.fixture
def monitor(worker, reported):
    gave_up = []
    made = Monitor([worker], lambda *said: reported.append(said), gave_up.append, random.Random(7))
    made.gave_up = gave_up
    return made


def test_the_first_turn_comes_at_once_and_the_next_when_it_is_woken_or_its_pause_is_over(worker):
    worker.start()
    until(lambda: worker.turns == 1)
    assert worker.state() == "alive"
    worker.wake()
    until(lambda: worker.turns == 2)
    worker.script = lambda: 0.001
    worker.wake()
    until(lambda: worker.turns > 20)


def test_a_wake_during_a_turn_makes_another_turn(worker):
    inside, go = threading.Event(), threading.Event()

    def script():
        inside.set()
        assert go.wait(PATIENCE)

    worker.script = script
    worker.start()
    assert inside.wait(PATIENCE)
    worker.wake()
    go.set()
    until(lambda: worker.turns == 2, "what changed during a turn is not slept over")


def test_what_a_turn_raises_is_reported_and_the_thread_goes_on_after_a_pause_that_grows(worker, reported, monkeypatch):
    rests = []
    monkeypatch.setattr(worker, "_rest", lambda seconds: rests.append(seconds) or (len(rests) > 9 and worker.stop()))

    def script():
        raise ZeroDivisionError("a defect")

    worker.script = script
    worker.start()
    until(lambda: len(rests) > 9)
    assert reported[0] == ("worker", "ZeroDivisionError: a defect")
    assert len(reported) == 10
    for number, rest in enumerate(rests, 1):
        usual = min(duty_module.LONGEST_PAUSE_S, 2.0 ** min(number, 6))
        assert 0.5 * usual <= rest <= usual


def test_stop_ends_a_pause_and_is_seen(worker):
    worker.start()
    until(lambda: worker.turns == 1)
    worker.stop()
    assert worker.join(PATIENCE)
    assert worker.state() == "stopped"
    assert worker.stopping


def test_one_that_was_never_started_is_stopped(worker):
    assert worker.state() == "stopped"


class Die(BaseException):
    """What no thread survives."""


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_dead_thread_is_replaced_and_works_again(worker, monitor, reported):
    def script():
        worker.script = lambda: None
        raise Die

    worker.script = script
    worker.start()
    until(lambda: worker.state() == "dead")
    monitor.turn()
    until(lambda: worker.turns == 2)
    assert worker.state() == "alive"
    assert worker.restarts == 1
    assert ("worker", "the thread is dead; a new one takes its place") in reported
    monitor.turn()
    assert worker.restarts == 1


def test_a_thread_that_hangs_is_replaced_and_the_old_one_ends_when_it_comes_back(worker, monitor, reported):
    worker.limit = 0.05
    hanging, go = threading.Event(), threading.Event()

    def hang():
        worker.script = lambda: None
        hanging.set()
        assert go.wait(PATIENCE)

    worker.script = hang
    worker.start()
    assert hanging.wait(PATIENCE)
    old = worker._thread
    until(lambda: worker.state() == "hung")
    worker.limit = PATIENCE
    worker._beat -= 2 * PATIENCE
    monitor.turn()
    until(lambda: worker.turns == 2)
    assert worker.state() == "alive"
    assert worker.restarts == 1
    assert any("hung" in what for _, what in reported)
    go.set()
    old.join(PATIENCE)
    assert not old.is_alive()
    # What is left of it does nothing, and spoils nothing.
    worker.wake()
    until(lambda: worker.turns == 3)
    assert worker.state() == "alive"


def test_a_thread_that_rests_is_not_taken_for_one_that_hangs(worker):
    worker.pause = 3_600.0
    worker.start()
    until(lambda: worker.turns == 1)
    # It shows a sign of life every ten seconds, which is less than any limit.
    assert worker.limit > 10.0
    assert worker.state() == "alive"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_where_restarting_threads_does_not_help_the_agent_is_given_up_with_the_reason(worker, monitor):
    def script():
        raise Die

    worker.script = script
    worker.start()
    for number in range(MOST_RESTARTS):
        until(lambda: worker.state() == "dead")
        monitor.turn()
        assert worker.restarts == number + 1
        assert monitor.gave_up == []
    until(lambda: worker.state() == "dead")
    monitor.turn()
    assert monitor.gave_up == ["the thread worker is dead, and restarting threads has not helped"]
    assert worker.restarts == MOST_RESTARTS


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_restarts_long_ago_are_forgiven(worker, monitor, monkeypatch):
    def script():
        raise Die

    worker.script = script
    worker.start()
    clock = [time.monotonic()]
    monkeypatch.setattr("asa.threads.monitor.time.monotonic", lambda: clock[0])
    for _ in range(3 * MOST_RESTARTS):
        deadline = time.time() + PATIENCE
        while worker.state() != "dead":
            assert time.time() < deadline
        monitor.turn()
        clock[0] += PERIOD_S / MOST_RESTARTS + 1
    assert monitor.gave_up == []
    assert worker.restarts == 3 * MOST_RESTARTS


def test_who_was_stopped_is_left_in_peace(worker, monitor):
    worker.start()
    until(lambda: worker.turns == 1)
    worker.stop()
    assert worker.join(PATIENCE)
    monitor.turn()
    assert (worker.restarts, worker.turns) == (0, 1)
