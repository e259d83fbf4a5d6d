"""The steps from what is in place to what a plan says: their order, and that nothing else is touched."""

from __future__ import annotations

from dataclasses import replace

import pytest

from asa.dataplane.match import Match
from asa.dataplane.plan import Action, Entry, Line, Plan, Share
from asa.dataplane.tc import htb
from asa.dataplane.tc.classes import Ground, Register, Step, Steps
from asa.dataplane.tc.classifier import DEFAULT, WHOLE, Rule
from asa.dataplane.tc.htb import Rates

from .between import MBIT, entry, line, plan, v4

NOW = 1_000.0
LINE = line()
NUMBERS = htb.NUMBERS["out"]
A, B, C = v4("10.0.0.1/32"), v4("10.0.0.2/32"), v4("10.0.0.3/32")


def ground(its: Line = LINE) -> Ground:
    return Ground(its, its.interface, {WHOLE: htb.whole(its), DEFAULT: htb.default(its)}, {DEFAULT})


def wanted(*matches: Match, share: int = 1, id: str = "r1", expires: int = 1_300) -> Entry:
    return entry(*matches, id=id, expires=expires, share=Share(share * MBIT, share * MBIT))


def done(register: Register, steps: Steps) -> Steps:
    """As if the kernel took all of it."""
    register.commit_rules(steps.gone, {})
    for step in (*steps.shrinks, *steps.grows):
        step.commit()
    register.commit_rules((), steps.come)
    for step in steps.ends:
        step.commit()
    register.commit(steps, steps.failed)
    return steps


def words(steps: list[Step]) -> list[tuple[int, int | None]]:
    """Numbers, and Mbit/s guaranteed."""
    return [(each.number, None if each.rates is None else each.rates.guarantee // MBIT) for each in steps]


def nothing(steps: Steps) -> bool:
    return not (steps.gone or steps.shrinks or steps.grows or steps.come or steps.ends or steps.failed)


def spot(match: Match, action: Action = Action.GUARANTEE) -> tuple[str, Action, Match]:
    return LINE.name, action, match


def test_an_entry_comes_stays_and_goes() -> None:
    register = Register({LINE.name: ground()}, {})
    first = plan(LINE, wanted(A, B))
    steps = done(register, register.steps(first, NOW))
    assert words(steps.grows) == [(0x10, 1)]
    assert steps.come == {spot(A): Rule(0x10, None, 1_300.0), spot(B): Rule(0x10, None, 1_300.0)}
    assert (steps.gone, steps.shrinks, steps.ends) == (set(), [], [])
    assert nothing(register.steps(first, NOW))
    # The same again, but made anew.
    assert nothing(done(register, register.steps(plan(LINE, wanted(A, B)), NOW)))
    steps = done(register, register.steps(plan(LINE), NOW))
    assert (steps.gone, words(steps.shrinks)) == ({spot(A), spot(B)}, [(0x10, None)])
    assert (steps.grows, steps.come, steps.ends) == ([], {}, [])
    assert register.rules == {}
    assert register.grounds[LINE.name].classes.keys() == {WHOLE, DEFAULT}
    assert nothing(register.steps(plan(LINE), NOW))


def test_who_changes_the_share_only_keeps_the_class_and_its_rules() -> None:
    register = Register({LINE.name: ground()}, {})
    done(register, register.steps(plan(LINE, wanted(A, share=40), wanted(B, share=20)), NOW))
    steps = done(register, register.steps(plan(LINE, wanted(A, share=20), wanted(B, share=40)), NOW))
    assert (words(steps.shrinks), words(steps.grows)) == ([(0x10, 20)], [(0x12, 40)])
    assert (steps.gone, steps.come, steps.ends) == (set(), {}, [])
    assert steps.shrinks[0].commands() == []


def test_what_is_renewed_keeps_the_class() -> None:
    register = Register({LINE.name: ground()}, {})
    done(register, register.steps(plan(LINE, wanted(A)), NOW))
    assert nothing(register.steps(plan(LINE, wanted(A, expires=1_302)), NOW))
    steps = register.steps(plan(LINE, wanted(A, expires=1_303)), NOW)
    assert steps.come == {spot(A): Rule(0x10, None, 1_303.0)}
    assert (steps.gone, steps.shrinks, steps.grows, steps.ends) == (set(), [], [], [])


def test_a_predecessor_s_classes_are_gone_on_with() -> None:
    its = ground()
    its.classes |= {0x20: Rates(MBIT, MBIT, 1), 0x30: Rates(MBIT, MBIT, 1), 0x40: Rates(8, 8, 0)}
    its.leaves |= {0x20, 0x40}
    register = Register(
        {LINE.name: its},
        {spot(A): Rule(0x20, None, 1_300.0), spot(B): Rule(0x30, None, 1_300.0), spot(C): Rule(0, None, None)},
    )
    steps = done(register, register.steps(plan(LINE, wanted(A), wanted(B, share=2), wanted(v4("10.0.0.9/32"))), NOW))
    # One is as it shall be; one has another share and no queue; one is new, and takes no number that is in use.
    assert words(steps.grows) == [(0x30, 2), (0x10, 1)]
    assert steps.grows[0].commands() == []
    assert steps.gone == {spot(C)}
    assert words(steps.shrinks) == [(0x40, None)]
    assert set(steps.come) == {spot(v4("10.0.0.9/32"))}


def test_classes_that_outlived_their_rules_are_gone_on_with() -> None:
    its = ground()
    its.classes |= {0x20: Rates(MBIT, MBIT, 1), 0x30: Rates(8, 8, 0)}
    its.leaves |= {0x20, 0x30}
    kept, lost = wanted(A), wanted(B)
    register = Register({LINE.name: its}, {}, {kept.key: 0x20, lost.key: 0x40})
    steps = register.steps(plan(LINE, kept, lost), NOW)
    assert (words(steps.shrinks), words(steps.grows)) == ([(0x30, None)], [(0x10, 1)])
    assert steps.come[spot(A)].number == 0x20


@pytest.mark.parametrize("number", [WHOLE, 0x11, DEFAULT])
def test_a_rule_that_leads_to_what_is_no_entry_s_is_put_right(number: int) -> None:
    register = Register({LINE.name: ground()}, {spot(A): Rule(number, None, 1_300.0)})
    steps = register.steps(plan(LINE, wanted(A)), NOW)
    assert steps.come == {spot(A): Rule(0x10, None, 1_300.0)}
    assert steps.shrinks == steps.ends == []


def test_a_queue_that_is_missing_is_put_back() -> None:
    its = ground()
    its.classes[0x20] = Rates(MBIT, MBIT, 1)
    register = Register({LINE.name: its}, {spot(A): Rule(0x20, None, 1_300.0)})
    steps = register.steps(plan(LINE, wanted(A)), NOW)
    assert [text for each in steps.grows for text in each.commands()] == [htb.leaf("eth1", 0x20)]


def test_entries_that_merge_and_part_keep_a_class() -> None:
    register = Register({LINE.name: ground()}, {})
    done(register, register.steps(plan(LINE, wanted(A), wanted(B)), NOW))
    steps = done(register, register.steps(plan(LINE, wanted(A, B, share=2)), NOW))
    # The class B's packets are led away from guarantees nothing from now on, and goes when they are.
    assert words(steps.shrinks) == [(0x12, 0)]
    assert steps.shrinks[0].rates == Rates(8, MBIT, 1)
    assert words(steps.grows) == [(0x10, 2)]
    assert set(steps.come) == {spot(B)}
    assert (steps.gone, words(steps.ends)) == (set(), [(0x12, None)])
    assert register.grounds[LINE.name].classes.keys() == {WHOLE, DEFAULT, 0x10}
    steps = done(register, register.steps(plan(LINE, wanted(A), wanted(B)), NOW))
    assert set(steps.come) < {spot(A), spot(B)}
    assert steps.gone == set()
    assert nothing(register.steps(plan(LINE, wanted(A), wanted(B)), NOW))


def test_one_that_becomes_a_passage_has_no_class() -> None:
    register = Register({LINE.name: ground()}, {})
    done(register, register.steps(plan(LINE, wanted(A)), NOW))
    steps = done(register, register.steps(plan(LINE, entry(A, action=Action.KEEP, expires=1_300)), NOW))
    assert steps.come == {spot(A, Action.KEEP): Rule(0, None, 1_300.0)}
    assert (steps.gone, words(steps.shrinks), steps.grows) == ({spot(A)}, [(0x10, None)], [])


def test_a_line_that_shrinks_does_so_last_and_grows_first() -> None:
    small, large = LINE, replace(LINE, rate=200 * MBIT, floor=10 * MBIT)
    register = Register({LINE.name: replace(ground(small), line=large)}, {})
    steps = done(register, register.steps(plan(large, wanted(A, share=150)), NOW))
    assert words(steps.grows) == [(DEFAULT, 10), (WHOLE, 200), (0x10, 150)]
    register.grounds[LINE.name].line = small
    steps = register.steps(plan(small, wanted(A, share=50)), NOW)
    assert words(steps.shrinks) == [(0x10, 50), (WHOLE, 100), (DEFAULT, 5)]


@pytest.mark.parametrize("expires", [0, 999, 1_000])
def test_what_is_over_is_not_put_in_place(expires: int) -> None:
    register = Register({LINE.name: ground()}, {})
    done(register, register.steps(plan(LINE, wanted(A)), NOW))
    over = wanted(A, expires=expires)
    steps = done(register, register.steps(plan(LINE, over), NOW))
    assert steps.failed == {over.key: "its time is over"}
    assert (steps.gone, words(steps.shrinks)) == ({spot(A)}, [(0x10, None)])


def test_what_it_cannot_do_holds_up_nobody() -> None:
    register = Register({LINE.name: ground()}, {})
    steer = entry(A, action=Action.STEER, through=("10.0.0.9",), expires=1_300)
    steps = register.steps(plan(LINE, steer, wanted(B)), NOW)
    assert list(steps.failed) == [steer.key]
    assert set(steps.come) == {spot(B)}


def test_numbers_are_bounded_and_come_again() -> None:
    its = ground()
    taken = NUMBERS[:5] + NUMBERS[6:]
    its.classes |= dict.fromkeys(taken, Rates(8, 8, 1))
    its.leaves |= set(taken)
    match = {number: v4(f"10.1.{number >> 8}.{number & 255}/32") for number in taken}
    rules = {spot(match[number]): Rule(number, None, 1_300.0) for number in taken}
    register = Register({LINE.name: its}, rules)
    entries = {
        each.key: each
        for each in (entry(match[number], share=Share(8, 8), expires=1_300) for number in taken)
    }  # fmt: skip
    one, other = (entry(each, share=Share(8, 8), expires=1_300) for each in (B, C))
    steps = done(register, register.steps(Plan.unchecked((LINE,), entries | {one.key: one, other.key: other}), NOW))
    assert words(steps.grows) == [(NUMBERS[5], 0)]
    assert steps.failed == {other.key: f"all {len(NUMBERS)} classes of eth1:out are taken"}
    # A number is free when its class is gone.
    del entries[next(iter(entries))]
    done(register, register.steps(Plan.unchecked((LINE,), entries | {one.key: one}), NOW))
    steps = register.steps(Plan.unchecked((LINE,), entries | {one.key: one, other.key: other}), NOW)
    assert steps.failed == {}
    assert words(steps.grows) == [(taken[0], 0)]


def test_one_change_among_thousands_is_found_without_looking_at_the_others() -> None:
    register = Register({LINE.name: ground(line(rate=10_000 * MBIT))}, {})
    entries = [entry(v4(f"10.1.{each >> 8}.{each & 255}/32"), expires=1_300) for each in range(5_000)]
    all_of_them = Plan.unchecked((LINE,), {each.key: each for each in entries})
    done(register, register.steps(all_of_them, NOW))
    changed = replace(entries[7], share=Share(2 * MBIT, 2 * MBIT))
    steps = register.steps(Plan.unchecked((LINE,), {**all_of_them.entries, changed.key: changed}), NOW)
    assert steps.entries == [changed]
    assert words(steps.grows) == [(0x1E, 2)]
    assert (steps.gone, steps.come, steps.shrinks) == (set(), {}, [])
