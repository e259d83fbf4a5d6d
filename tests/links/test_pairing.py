"""One link to each neighbour, whatever order things happen in."""

from __future__ import annotations

import random
from collections import Counter
from ipaddress import IPv6Address
from itertools import count, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grasp.transport.links.announcements import Announced, Place
from grasp.transport.links.pairing import Pairing
from grasp.transport.links.phases import TABLE, Action, Do, Event, Link, Phase, Timing

from .world import World, explore

KILL = ("kill",)
OWN, LOW, HIGH = (Place(IPv6Address(f"fe80::{number}"), 7000) for number in (5, 1, 9))


def settled(world: World) -> None:
    world.settle()
    world.check_mesh()


def begun(names: str = "ab", *extras: tuple[str, ...]) -> World:
    world = World(names)
    world.announce_all()
    world.tick()
    world.extras = list(extras)
    return world


def linked(names: str = "ab", *extras: tuple[str, ...]) -> World:
    world = begun(names)
    settled(world)
    world.extras = list(extras)
    return world


# -- every order


def test_two_that_connect_to_each_other_at_once_have_one_link_when_they_have_said_all() -> None:
    assert explore(begun(), World.check_mesh) > 40


def test_two_that_have_a_link_and_renew_at_once_have_one_when_they_have_said_all() -> None:
    def renewed(world: World) -> None:
        world.check_mesh()
        # An attempt that was refused has given up before the other's had come; it is repeated if need be.
        world.settle()
        world.check_mesh()
        for node in world.nodes.values():
            assert [each.generation for each in node.pairing.links.values()] == [node.pairing.generation]

    assert explore(linked("ab", ("renew", "a"), ("renew", "b")), renewed) > 300


TROUBLE = [
    [KILL],
    [KILL, KILL],
    [("restart", "a")],
    [("restart", "b")],
    [("vanish", "a")],
    [("vanish", "b")],
    [("renew", "a")],
    [("renew", "b")],
]
MORE_TROUBLE = [
    [("restart", "a"), ("restart", "b")],
    [("renew", "a"), ("restart", "b")],
    [("renew", "b"), ("vanish", "b")],
    [("renew", "b"), KILL, KILL],
    [("vanish", "a"), ("vanish", "b"), KILL],
]


def _named(extras: list[tuple[str, ...]]) -> str:
    return ", ".join(" ".join(each) for each in extras)


@pytest.mark.parametrize("extras", TROUBLE, ids=_named)
def test_whatever_happens_while_they_connect_one_link_is_left(extras: list[tuple[str, ...]]) -> None:
    assert explore(begun("ab", *extras), settled) > 200


@pytest.mark.parametrize("extras", TROUBLE + MORE_TROUBLE, ids=_named)
def test_whatever_happens_to_a_link_one_is_left(extras: list[tuple[str, ...]]) -> None:
    assert explore(linked("ab", *extras), settled) > 4


@pytest.mark.parametrize(("renewing", "saying"), [("a", "aab"), ("b", "abb"), ("ab", "a"), ("ab", "b")])
def test_nothing_said_is_lost_when_a_link_is_made_anew(renewing: str, saying: str) -> None:
    def all_heard(world: World) -> None:
        world.settle()
        world.check_mesh()
        a, b = world.nodes["a"], world.nodes["b"]
        assert sorted(a.heard) == [f"b{each + 1}" for each in range(b.said)]
        assert sorted(b.heard) == [f"a{each + 1}" for each in range(a.said)]

    extras = [("renew", each) for each in renewing] + [("say", each) for each in saying]
    assert explore(linked("ab", *extras), all_heard) > 20


# -- any order, of many


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 4), st.integers(0, 6))
def test_any_number_of_nodes_and_faults_ends_with_one_link_between_every_two(seed: int, size: int, faults: int) -> None:
    draw = random.Random(seed)
    names = "abcd"[:size]
    world = World(names, Timing(follower=draw.choice([0.0, 1.0])), draw.random)
    extras = [KILL, *((kind, name) for kind in ("restart", "vanish", "renew", "say") for name in names)]
    world.extras = draw.choices(extras, k=faults)
    world.announce_all()
    for _ in range(300):
        choices = list(world.choices())
        if choices and draw.random() < 0.9:
            world.act(draw.choice(choices))
        else:
            world.now += draw.random()
            world.tick()
    world.extras = []
    world.announce_all()
    settled(world)


# -- step by step


class Shell:
    """One machine, and what it has told its shell to do."""

    def __init__(self, limit: int = 8, draw: float = 0.5) -> None:
        self.now = 100.0
        self.pairing = Pairing(limit, lambda: draw)
        self.pairing.addressed(self.now, 1, OWN)
        self.pairing.addressed(self.now, 2, Place(OWN.address, 7001))

    def hears(self, place: Place = LOW, seconds: float = 210.0, interface: int = 1) -> bool:
        return self.pairing.heard(self.now, interface, Announced(place, seconds))

    def after(self, seconds: float) -> list[Action]:
        self.now += seconds
        return self.pairing.due(self.now)

    def opens(self, place: Place = LOW, within: float = 3.0) -> Link:
        self.hears(place)
        (action,) = self.after(within)
        assert action.do is Do.OPEN
        assert action.link.place == place
        return action.link

    def link(self, place: Place = LOW, member: str = "them") -> Link:
        link = self.opens(place)
        self.pairing.secured(self.now, link, member, 0)
        self.pairing.message(self.now, link, noop=True)
        assert link.phase is Phase.UP
        return link

    def takes(self, place: Place = LOW, member: str = "them", confirmed: bool = True) -> tuple[Link, list[Action]]:
        link, actions = self.pairing.adopted(self.now, 1, member, 0)
        actions = actions + self.pairing.greeted(self.now, link, Announced(place, 210.0))
        if confirmed and link.phase is Phase.OFFERED:
            actions += self.pairing.message(self.now, link, noop=True)
        return link, actions

    def attempts(self, seconds: float, step: float = 0.25) -> list[float]:
        """When connecting was tried, each attempt failing at once."""
        begin, found = self.now, []
        while self.now < begin + seconds:
            for action in self.after(step):
                found.append(self.now - begin)
                self.pairing.closed(self.now, action.link, "refused")
        return found


def kinds(actions: list[Action]) -> list[Do]:
    return [each.do for each in actions]


def test_the_table_has_an_end_for_every_phase_and_no_way_back() -> None:
    order = list(Phase)
    assert all(order.index(after) > order.index(before) for (before, _), after in TABLE.items())
    assert {before for before, event in TABLE if event is Event.END} == set(Phase) - {Phase.CLOSED}
    with pytest.raises(KeyError):
        Link(1, 1, 0, 0, 0, 0, 0, Phase.CONNECTING).on(Event.AGREED, 0)


def test_the_one_with_the_greater_place_connects_at_once_and_the_other_leaves_it_time() -> None:
    decider, follower = Shell(), Shell()
    decider.hears(LOW)
    follower.hears(HIGH)
    assert kinds(decider.after(0.1)) == [Do.OPEN]
    assert follower.after(0.9) == []
    assert kinds(follower.after(1.1)) == [Do.OPEN]


def test_a_place_of_our_own_is_no_candidate_on_any_interface() -> None:
    shell = Shell()
    assert not shell.hears(OWN)
    assert not shell.hears(Place(OWN.address, 7001))
    assert shell.hears(Place(OWN.address, 7002))


def test_who_connects_to_itself_does_not_keep_it() -> None:
    shell = Shell()
    link, actions = shell.takes(OWN)
    assert kinds(actions) == [Do.CLOSE]
    assert link.phase is Phase.CLOSED


@pytest.mark.parametrize(("draw", "factor"), [(0.0, 0.75), (0.5, 1.0), (0.999, 1.25)])
def test_attempts_that_fail_are_repeated_after_10_s_doubling_to_640_s(draw: float, factor: float) -> None:
    shell = Shell(draw=draw)
    shell.hears(LOW, 100_000.0)
    times = shell.attempts(4_000)
    gaps = [after - before for before, after in pairwise(times)]
    expected = [10, 20, 40, 80, 160, 320, 640, 640, 640]
    assert gaps[: len(expected)] == [pytest.approx(each * factor, rel=0.01, abs=0.5) for each in expected][: len(gaps)]
    assert len(gaps) >= 7


def test_being_refused_as_a_responder_throttles_nobody() -> None:
    shell = Shell()
    for _ in range(5):
        link, _ = shell.pairing.adopted(shell.now, 1, "them", 0)
        shell.pairing.closed(shell.now, link, "said nothing")
    shell.hears(LOW)
    assert kinds(shell.after(0.1)) == [Do.OPEN]


def test_a_candidate_that_was_forgotten_begins_anew() -> None:
    shell = Shell()
    shell.hears(LOW, 30.0)
    assert len(shell.attempts(29.0)) == 2
    assert shell.attempts(10.0) == []
    assert shell.hears(LOW, 30.0)
    assert shell.attempts(1.0) == [0.25]


def test_a_candidate_that_expired_unnoticed_begins_anew_too() -> None:
    shell = Shell()
    shell.hears(LOW, 5.0)
    (tried,) = shell.after(3.0)
    shell.pairing.closed(shell.now, tried.link, "refused")
    shell.now += 3.0
    assert shell.hears(LOW, 5.0)
    assert kinds(shell.after(0.1)) == [Do.OPEN]


def test_a_candidate_heard_again_does_not_begin_anew() -> None:
    shell = Shell()
    shell.hears(LOW, 30.0)
    assert len(shell.attempts(15.0)) == 2
    assert not shell.hears(LOW, 30.0)
    assert shell.attempts(10.0) == []


def test_a_link_that_breaks_is_tried_soon_once_and_then_as_any_other() -> None:
    shell = Shell()
    link = shell.link()
    shell.pairing.closed(shell.now, link, "reset")
    (again,) = shell.after(0.75)
    shell.pairing.secured(shell.now, again.link, "them", 0)
    shell.pairing.message(shell.now, again.link, noop=True)
    shell.pairing.closed(shell.now, again.link, "reset")
    assert shell.after(7.0) == []
    assert kinds(shell.after(6.0)) == [Do.OPEN]


def test_a_success_resets_the_back_off() -> None:
    shell = Shell()
    shell.hears(LOW, 100_000.0)
    shell.attempts(100.0)
    link, _ = shell.takes(LOW)
    assert link.phase is Phase.UP
    shell.pairing.closed(shell.now, link, "reset")
    assert len(shell.attempts(12.0)) == 2


def test_an_attempt_has_10_s_in_all() -> None:
    shell = Shell()
    link = shell.opens()
    link.reached = True
    shell.after(6.0)
    shell.pairing.secured(shell.now, link, "them", 0)
    assert shell.after(3.9) == []
    (action,) = shell.after(0.2)
    assert (action.do, action.link) == (Do.CLOSE, link)


def test_who_is_not_there_is_not_waited_for() -> None:
    shell = Shell()
    link = shell.opens()
    assert shell.after(1.9) == []
    (action,) = shell.after(0.2)
    assert (action.do, action.link) == (Do.CLOSE, link)


def test_a_member_that_connects_takes_the_place_of_who_has_proved_nothing() -> None:
    shell = Shell()
    candidates = shell.pairing.candidates
    for number in count():
        place = Place(IPv6Address((0xFE80 << 112) + 0xBAD_0000 + number), 7000)
        if candidates.heard(shell.now, 1, place, 60.0, 60.0)[0] is None:
            break
    member = Place(IPv6Address("fe80::77"), 7000)
    assert candidates.heard(shell.now, 1, member, 60.0, 0.0) == (None, False)
    assert candidates.heard(shell.now, 1, member, 60.0, 0.0, member=True)[1]
    assert sum(1 for _ in candidates) == number


@pytest.mark.parametrize("greeted", [False, True])
def test_who_connects_has_5_s_for_each_step(greeted: bool) -> None:
    shell = Shell()
    link, _ = shell.takes(confirmed=False) if greeted else shell.pairing.adopted(shell.now, 1, "them", 0)
    assert shell.after(4.9) == []
    actions = shell.after(0.2)
    assert [(each.do, each.link) for each in actions if each.do is Do.CLOSE] == [(Do.CLOSE, link)]


def test_ten_seconds_of_silence_are_broken_and_thirty_end_the_link() -> None:
    shell = Shell()
    link = shell.link()
    actions = [(seconds, each) for seconds in range(1, 35) for each in shell.after(1.0)]
    assert [(seconds, each.do) for seconds, each in actions][:4] == [
        (10, Do.NOOP), (20, Do.NOOP), (30, Do.CLOSE), (31, Do.OPEN),
    ]  # fmt: skip
    assert link.phase is Phase.CLOSED


def test_next_is_when_something_is_due_and_not_before() -> None:
    shell = Shell()
    shell.hears(LOW, 100_000.0)
    shell.hears(HIGH, 100_000.0)
    shell.takes(Place(IPv6Address("fe80::7"), 1))
    for _ in range(30):
        then = shell.pairing.next()
        assert shell.pairing.due(then - 0.001) == []
        shell.now = then
        for action in shell.pairing.due(then):
            if action.do is Do.OPEN:
                shell.pairing.closed(then, action.link, "refused")
        assert shell.pairing.next() > then


def test_a_second_connection_of_the_same_instance_replaces_the_first_once_it_is_confirmed() -> None:
    shell = Shell()
    first = shell.link()
    second, actions = shell.takes(confirmed=False)
    assert kinds(actions) == [Do.NOOP]
    assert first.phase is Phase.UP
    actions = shell.pairing.message(shell.now, second, noop=True)
    assert [(each.do, each.link) for each in actions] == [(Do.RETIRE, first), (Do.UP, second)]
    assert [(each.do, each.link) for each in shell.after(5.1)] == [(Do.CLOSE, first)]


def test_the_first_stays_if_the_second_is_not_confirmed() -> None:
    shell = Shell()
    first = shell.link()
    second, _ = shell.takes(confirmed=False)
    assert shell.pairing.closed(shell.now, second, "reset").do is Do.CLOSE
    assert first.phase is Phase.UP
    assert shell.after(5.0) == []


def test_two_instances_with_one_certificate_have_a_link_each_and_are_put_to_the_proof() -> None:
    shell = Shell()
    first = shell.link(LOW)
    second, actions = shell.takes(Place(LOW.address, 9999))
    assert [(each.do, each.link) for each in actions[-2:]] == [(Do.PROVE, first), (Do.UP, second)]
    assert first.phase is second.phase is Phase.UP


def test_another_member_at_a_place_does_not_replace_who_was_there() -> None:
    shell = Shell()
    first = shell.link(LOW)
    second, actions = shell.takes(LOW, "another")
    assert [(each.do, each.link) for each in actions[-2:]] == [(Do.PROVE, first), (Do.UP, second)]


def test_the_same_member_on_two_interfaces_has_a_link_on_each() -> None:
    shell = Shell()
    shell.link(LOW)
    shell.hears(LOW, interface=2)
    assert kinds(shell.after(2.0)) == [Do.OPEN]


def test_a_member_with_many_instances_loses_its_own_first_ones() -> None:
    shell = Shell(limit=64)
    honest = shell.link(HIGH, "honest")
    links = [shell.takes(Place(IPv6Address(f"fe80::3:{number:x}"), 7000))[0] for number in range(12)]
    assert honest.phase is Phase.UP
    assert Counter(each.phase for each in links) == {Phase.UP: 8, Phase.CLOSED: 4}
    assert all(each.phase is Phase.CLOSED for each in links[:4])


def test_one_address_has_a_few_places_and_leaves_room_for_others() -> None:
    shell = Shell(limit=64)
    assert [shell.hears(Place(LOW.address, port)) for port in range(1, 13)] == [True] * 8 + [False] * 4
    assert shell.hears(HIGH)
    links = [shell.takes(Place(OWN.address, port))[0] for port in range(1, 13)]
    assert Counter(each.phase for each in links) == {Phase.UP: 8, Phase.CLOSED: 4}


def test_who_takes_a_link_up_and_says_anything_but_a_noop_does_not_get_it() -> None:
    shell = Shell()
    link = shell.opens()
    assert kinds(shell.pairing.secured(shell.now, link, "them", 0)) == [Do.GREET]
    assert kinds(shell.pairing.message(shell.now, link, noop=False)) == [Do.CLOSE]
    assert link.phase is Phase.CLOSED


def test_candidates_are_bounded_and_who_was_not_tried_yet_is_not_displaced() -> None:
    shell = Shell(limit=4)
    places = [Place(IPv6Address(f"fe80::1:{number:x}"), 7000) for number in range(1, 8)]
    assert [shell.hears(each) for each in places[:6]] == [True] * 4 + [False] * 2
    for action in shell.after(3.0):
        shell.pairing.closed(shell.now, action.link, "refused")
    assert shell.hears(places[6])
    assert len(list(shell.pairing.candidates)) == 4
    assert places[6] in {each.place for each in shell.pairing.candidates}


def test_who_has_a_link_or_proved_something_stays_when_others_babble() -> None:
    shell = Shell(limit=4)
    link = shell.link(LOW)
    shell.pairing.closed(shell.now, shell.link(HIGH), "reset")
    for number in range(100):
        shell.hears(Place(IPv6Address(f"fe80::2:{number:x}"), 7000))
        for action in shell.after(1.0):
            if action.do is Do.OPEN:
                shell.pairing.closed(shell.now, action.link, "refused")
            link.heard = shell.now
    assert {LOW, HIGH} <= {each.place for each in shell.pairing.candidates}
    assert link.phase is Phase.UP


def test_there_is_no_link_for_one_neighbour_more_than_the_limit() -> None:
    shell = Shell(limit=2)
    shell.link(LOW)
    shell.link(HIGH)
    third, actions = shell.takes(Place(IPv6Address("fe80::7"), 7000), "third")
    assert [(each.do, each.why) for each in actions] == [(Do.CLOSE, "too many neighbours")]
    assert third.phase is Phase.CLOSED


def test_no_more_than_a_few_attempts_are_made_at_once() -> None:
    shell = Shell(limit=200)
    for number in range(100):
        shell.hears(Place(IPv6Address(f"fe80::1:{number:x}"), 7000))
    actions = shell.after(3.0)
    assert kinds(actions) == [Do.OPEN] * 64
    assert shell.after(1.0) == []
    shell.pairing.closed(shell.now, actions[0].link, "refused")
    assert kinds(shell.after(0.1)) == [Do.OPEN]


def test_an_interface_that_goes_takes_its_links_and_candidates_along() -> None:
    shell = Shell()
    link = shell.link()
    shell.hears(HIGH)
    actions = shell.pairing.addressed(shell.now, 1, None)
    assert [(each.do, each.link) for each in actions] == [(Do.CLOSE, link)]
    assert list(shell.pairing.candidates) == []
    assert not shell.hears(HIGH)
    late, actions = shell.pairing.adopted(shell.now, 1, "them", 0)
    assert kinds(actions) == [Do.CLOSE]
    assert late.phase is Phase.CLOSED


def test_another_address_of_ours_ends_the_links_over_the_old_one_and_makes_them_anew() -> None:
    shell = Shell()
    link = shell.link()
    new = Place(IPv6Address("fe80::6"), 7000)
    assert [each.link for each in shell.pairing.addressed(shell.now, 1, new)] == [link]
    assert shell.pairing.addressed(shell.now, 1, new) == []
    assert kinds(shell.after(0.1)) == [Do.OPEN]


def test_who_is_cut_off_is_not_tried_again_soon() -> None:
    shell = Shell()
    link = shell.link()
    assert shell.pairing.cut(shell.now, link, "revoked").do is Do.CLOSE
    assert shell.after(7.0) == []
    assert kinds(shell.after(6.0)) == [Do.OPEN]


def test_a_renewed_certificate_makes_links_anew_and_gives_everybody_who_refused_another_chance() -> None:
    shell = Shell()
    link = shell.link(LOW)
    shell.hears(HIGH, 100_000.0)
    shell.attempts(5.0)
    shell.pairing.renew(shell.now, 1)
    link.heard = shell.now
    opened = [each.link for each in shell.after(1.0) if each.do is Do.OPEN]
    assert sorted(each.place for each in opened if each.place) == [LOW, HIGH]
    again = next(each for each in opened if each.place == LOW)
    assert kinds(shell.pairing.secured(shell.now, again, "them", 1)) == [Do.GREET]
    actions = shell.pairing.message(shell.now, again, noop=True)
    assert [(each.do, each.link) for each in actions] == [(Do.NOOP, again), (Do.DRAIN, link), (Do.UP, again)]


def test_a_certificate_renewed_with_another_name_leaves_no_second_link() -> None:
    shell = Shell()
    link = shell.link(LOW, "them")
    shell.pairing.renew(shell.now, 1)
    link.heard = shell.now
    (opened,) = shell.after(1.0)
    shell.pairing.secured(shell.now, opened.link, "them, renamed too", 1)
    actions = shell.pairing.message(shell.now, opened.link, noop=True)
    assert [(each.do, each.link) for each in actions][1:] == [(Do.DRAIN, link), (Do.UP, opened.link)]
