"""What does not work is tried again, ever more rarely, and told once."""

from __future__ import annotations

from random import Random

from asa.troubles import FIRST_S, LONGEST_S, LONGEST_WHY, Troubles


def test_each_is_tried_again_after_a_time_that_doubles_and_is_bounded() -> None:
    troubles: Troubles[str] = Troubles(Random(3))
    ticks, waits = 0.0, []
    for _ in range(10):
        troubles.told({"a": "it hangs"}, ticks)
        again = troubles.again()
        assert again is not None
        waits.append(again - ticks)
        ticks = again
    for index, wait in enumerate(waits):
        most = min(LONGEST_S, FIRST_S * 2**index)
        assert 0.8 * most <= wait <= most
    assert len(set(waits)) == len(waits)


def test_one_that_is_new_does_not_wait_for_one_that_is_old_nor_makes_it_wait_longer() -> None:
    troubles: Troubles[str] = Troubles(Random(3))
    ticks = 0.0
    for _ in range(6):
        troubles.told({"a": "no"}, ticks)
        ticks = troubles.again() or 0.0
    troubles.told({"a": "no"}, ticks)
    later = troubles.again()
    assert later is not None
    troubles.told({"a": "no", "b": "no"}, ticks)
    assert (troubles.again() or 0.0) <= ticks + FIRST_S
    assert troubles.told({"a": "no"}, ticks) == ([], ["b"])
    assert troubles.again() == later


def test_it_is_told_when_it_begins_and_when_its_reason_changes_and_when_it_is_over() -> None:
    troubles: Troubles[str] = Troubles(Random(3))
    assert troubles.told({"a": "x" * 1_000}, 0.0) == (["a"], [])
    assert troubles.why("a") == "x" * LONGEST_WHY
    assert troubles.told({"a": "x" * 1_000}, 0.1) == ([], [])
    assert troubles.told({"a": "y", "b": "z"}, 0.2) == (["a", "b"], [])
    assert troubles.items() == [("a", "y"), ("b", "z")]
    assert troubles.told({}, 0.3) == ([], ["a", "b"])
    assert (troubles.why("a"), len(troubles), troubles.again(), "a" in troubles) == ("", 0, None, False)
