"""The text for tc and ip, and what tc says about it."""

from __future__ import annotations

import pytest

from asa.dataplane.plan import Line, Share
from asa.dataplane.tc import htb
from asa.dataplane.tc.classifier import DEFAULT, FIRST, LAST, MAJOR, WHOLE
from asa.dataplane.tc.htb import Rates

LINE = Line("eth0", "out", 100_000_000, 5_000_000)
INWARD = Line("eth0", "in", 100_000_000, 5_000_000)


def test_a_line_in_words() -> None:
    assert [
        htb.root_come("eth0"),
        *htb.class_come("eth0", WHOLE, htb.whole(LINE)),
        *htb.class_come("eth0", DEFAULT, htb.default(LINE)),
    ] == [
        "qdisc replace dev eth0 root handle a5a: htb default ffff",
        "class add dev eth0 parent a5a: classid a5a:1 htb rate 100000000bit burst 62500 ceil 100000000bit cburst 62500 "
        "prio 0 quantum 125000",
        "class add dev eth0 parent a5a:1 classid a5a:ffff htb rate 5000000bit burst 3200 ceil 100000000bit "
        "cburst 62500 prio 7 quantum 6250",
        # ffff: is the handle of an ingress qdisc.
        "qdisc replace dev eth0 parent a5a:ffff handle 1: pfifo limit 100",
    ]


def test_the_way_in_in_words() -> None:
    assert htb.device_come(INWARD) == [
        "link add name asa-eth0 type ifb",
        "link set dev asa-eth0 alias asa:eth0:in up",
    ]
    assert htb.redirect("eth0", "asa-eth0", own_ingress=True) == (
        "filter add dev eth0 parent ffff:fff2 protocol all pref 2650 "
        "u32 match u32 0 0 action mirred egress redirect dev asa-eth0"
    )
    assert "pref 2651" in htb.redirect("eth0", "asa-eth0", own_ingress=False)


def test_a_class_in_words() -> None:
    rates = htb.rates(Share(20_000_000, 30_000_000, 2))
    text = "rate 20000000bit burst 12500 ceil 30000000bit cburst 18750 prio 2 quantum 25000"
    assert htb.class_come("eth0", 0x10, rates) == [
        f"class add dev eth0 parent a5a:1 classid a5a:10 htb {text}",
        "qdisc replace dev eth0 parent a5a:10 handle 10: pfifo limit 100",
    ]
    assert htb.class_changed("eth0", 0x10, rates) == f"class change dev eth0 parent a5a:1 classid a5a:10 htb {text}"
    assert htb.class_gone("eth0", 0x10) == "class del dev eth0 classid a5a:10"


@pytest.mark.parametrize("rate", [8, 16, 80, 8_000, 999_992, 20_000_000, 10**9, 4 * 10**11])
def test_the_parameters_are_what_the_kernel_takes_without_a_warning(rate: int) -> None:
    words = htb.parameters(Rates(rate, rate, 1)).split()
    said = dict(zip(words[::2], words[1::2], strict=True))
    assert said["rate"] == said["ceil"] == f"{rate}bit"
    assert 1_000 <= int(said["quantum"]) <= 200_000
    # Counted as time it fits into 32 bits of 64 ns.
    assert 0 < int(said["burst"]) * 8 / rate < 2**32 * 64e-9


def test_a_floor_of_nothing_is_the_least_the_kernel_has() -> None:
    assert htb.default(Line("eth0", "out", 800, 0)) == Rates(8, 800, 7)


def test_no_number_is_of_something_else() -> None:
    out, inward = set(htb.NUMBERS["out"]), set(htb.NUMBERS["in"])
    # What a packet had on the way in means nothing on the way out; the queue of a class has its number as handle.
    assert not out & inward
    assert (out | inward) == set(range(FIRST, LAST + 1)) - {MAJOR}
    assert not {0, WHOLE, DEFAULT} & (out | inward)
    for number in (0, WHOLE, MAJOR, DEFAULT, FIRST, FIRST + 1, LAST - 1, LAST):
        assert htb.is_of_entry("eth0:out", number) == (number in out)
        assert htb.is_of_entry("eth0:in", number) == (number in inward)


def test_which_command_failed_and_why() -> None:
    said = (
        "RTNETLINK answers: File exists\nCommand failed -:2\n"
        "Error: Specified class not found.\nWe have an error talking to the kernel\nCommand failed -:3\n"
        "Command failed -:9\n"
    )
    assert htb.failures(said, ["a", "b", "c"]) == {
        1: "RTNETLINK answers: File exists",
        2: "Error: Specified class not found. We have an error talking to the kernel",
    }
    assert htb.failures("something else altogether", ["a"]) == {}


@pytest.mark.parametrize("name", ["eth0", "br-lan", "eth0.100", "veth@x", "a" * 15])
def test_names_that_can_be_written(name: str) -> None:
    assert htb.writable(name)


@pytest.mark.parametrize("name", ["", "-x", "a b", "a" * 16, "a;b", 'a"b', "a#b", "a\nb", ".."])
def test_names_that_cannot(name: str) -> None:
    assert not htb.writable(name)
