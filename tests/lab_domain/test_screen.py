"""What is shown, and stopping where nothing is half done."""

from __future__ import annotations

import io
import os
import signal

import pytest
from rich.console import Console

from lab.domain.demand import Row
from lab.domain.screen import EVERY_S, NAMED, Lines, Scene, screen, summary, table
from lab.domain.stop import Stop, Stopped
from lab.domain.verdicts import Verdict, Verdicts
from lab.domain.watching import Seen, Watch


def scene(agents: int = 3) -> Scene:
    watch = Watch([])
    watch.seen = {f"a{n}": Seen(True, 2_000_000_000, 500_000_000, 1_500_000_000) for n in range(agents)}
    watch.seen["a1"] = Seen(False)
    watch.seen["a2"].in_doubt = 50_000_000
    verdicts = Verdicts()
    verdicts.add(Verdict(Row(1, "a0", "wan", 1, 0, None), "row-1", "admitted"))
    verdicts.add(Verdict(Row(2, "a0", "wan", 1, 0, None), "row-2", "refused"))
    return Scene(watch, verdicts, 10_000_000_000, "a0", lambda: "[12:00] of the demand")


def test_a_line_tells_what_agents_hold_who_is_down_and_what_is_in_doubt():
    assert summary(scene()) == "a0 2Gbit, a1 down, a2 2Gbit; 0 transfers, 50Mbit in doubt"
    many = summary(scene(40))
    assert "a1 down" in many
    assert f", {40 - NAMED} others; " in many


def test_a_line_about_all_comes_every_few_seconds_and_what_is_said_at_once():
    out = io.StringIO()
    lines = Lines(out)
    for now in (0.0, 1.0, EVERY_S - 0.1, EVERY_S, EVERY_S + 1):
        lines.show(scene(), now)
    lines.say("[bold]as it is")
    shown = out.getvalue().splitlines()
    assert len(shown) == 3
    assert shown[-1] == "[bold]as it is"


def test_the_table_has_a_row_for_every_agent():
    console = Console(file=io.StringIO(), record=True, width=120)
    console.print(table(scene()))
    text = console.export_text()
    assert "[12:00] of the demand" in text
    (first,) = (line for line in text.splitlines() if "a0 (origin)" in line)
    assert [each.strip() for each in first.split("│")[1:-1]] == [
        "a0 (origin)", "2Gbit", "500Mbit", "1.5Gbit", "▓▓░░░░", "2", "1", "1", ""
    ]  # fmt: skip
    assert "down" in next(line for line in text.splitlines() if "│ a1" in line)
    assert "50Mbit" in next(line for line in text.splitlines() if "│ a2" in line)


def test_what_is_no_terminal_gets_lines():
    assert isinstance(screen(io.StringIO()), Lines)


# -- stopping


@pytest.mark.parametrize("number", Stop.SIGNALS)
def test_a_signal_is_noted_and_obeyed_at_the_next_wait(number):
    before = signal.getsignal(number)
    with Stop() as stop:
        os.kill(os.getpid(), number)
        assert stop.asked == number
        for wait in (
            stop.check,
            lambda: stop.sleep(1),
            lambda: stop.until(lambda: False, 1),
            lambda: stop.during(lambda: signal.pause()),
        ):
            with pytest.raises(Stopped) as caught:
                wait()
            assert caught.value.signal == number
    assert signal.getsignal(number) == before


def test_a_wait_ticks_until_its_condition_is_true_or_its_time_is_over():
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    stop = Stop(lambda: now[0], sleep)
    ticks: list[float] = []
    stop.tick = lambda: ticks.append(now[0])
    assert stop.until(lambda: now[0] >= 1, 5)
    assert 1 <= now[0] < 1.1
    assert len(ticks) >= 10
    assert not stop.until(lambda: False, 5)
    assert 6 <= now[0] < 6.2


def test_what_a_call_returns_or_raises_comes_out_of_its_thread():
    stop = Stop()
    assert stop.during(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        stop.during(lambda: 1 // 0)
