"""Starting and stopping: nothing stays behind, nobody stays blocked."""

from __future__ import annotations

import time

import pytest

from .raw import M_NEGOTIATE, NEG, Raw
from .steer import Failed, eventually

PATIENCE = 15.0  #: seconds a call that blocked may take to return after stop()


@pytest.fixture(scope="module")
def link(shared_lab):
    a, b = shared_lab.host("a"), shared_lab.host("b")
    shared_lab.link(a, b)
    a.address("fd00::a/64", "eth0")
    b.address("fd00::b/64", "eth0")
    return a, b


def test_50_starts_and_stops_leave_no_thread_and_no_descriptor(link, start):
    agent = start(link[0], ["eth0"])
    (threads, descriptors), after = agent.cycles(50, ["eth0"])
    assert after == [threads, descriptors]


# What may block, as (command, arguments, whether it has a session with the raw neighbour by then).
BLOCKING = {
    "discover": ("discover", ("nothing",), {"timeout": 30_000}),
    "discover all": ("discover", ("nothing",), {"timeout": 30_000, "count": None}),
    "discover paced": ("discover", ("paced",), {"timeout": 30_000}),
    "discover by unicast": ("discover", ("nothing",), {"timeout": 30_000, "peer": "silent"}),
    "negotiate, discovering": ("negotiate", ("neg", 1), {"timeout": 30_000}),
    "negotiate rapidly": ("negotiate", ("neg", 1), {"timeout": 30_000, "rapid": True}),
    "negotiate, waiting": ("negotiate", ("neg", 1), {"timeout": 30_000, "peer": "silent"}),
    "negotiate, connecting": ("negotiate", ("neg", 1), {"timeout": 30_000, "peer": "black hole"}),
    "listen": ("listen", ("neg",), {"timeout": 30_000}),
    "listen for ever": ("listen", ("neg", None), {}),
    "synchronize, discovering": ("synchronize", ("syn",), {"timeout": 30_000}),
    "synchronize rapidly": ("synchronize", ("syn",), {"timeout": 30_000, "rapid": True}),
    "synchronize, waiting": ("synchronize", ("syn",), {"timeout": 30_000, "peer": "silent"}),
    "synchronize, connecting": ("synchronize", ("syn",), {"timeout": 30_000, "peer": "black hole"}),
    "wait_flood": ("wait_flood", ("syn",), {"timeout": 30_000}),
}


@pytest.mark.parametrize("what", BLOCKING)
def test_stop_ends_a_call_that_blocks(link, start, what):
    command, arguments, keywords = BLOCKING[what]
    agent = start(link[0], ["eth0"])
    agent.register("neg")
    agent.register("syn", "synchronize")
    if what == "discover paced":
        for _ in range(7):
            agent.discover("paced", timeout=1)
    with Raw(link[1], "eth0") as silent:
        if keywords.get("peer") == "silent":
            keywords = keywords | {"peer": [["fd00::b", 6, silent.port], 0]}
        elif keywords.get("peer") == "black hole":
            keywords = keywords | {"peer": [["fd00::b", 6, silent.port], 0]}
            # Nothing comes back from there, not even a refusal.
            link[1].ip("route add blackhole fd00::a/128")
        try:
            future = agent.begin(command, *arguments, **keywords)
            with pytest.raises(TimeoutError):
                future.result(0.4)
            assert agent.stop() < PATIENCE
            with pytest.raises(Failed) as failed:
                future.result(PATIENCE)
            assert failed.value.code == "stopped"
        finally:
            if keywords.get("peer") and what.endswith("connecting"):
                link[1].ip("route delete blackhole fd00::a/128")
    assert eventually(lambda: agent.thread_names() == ["MainThread"])


def test_stop_ends_a_negotiation_in_the_middle(link, start):
    agent = start(link[0], ["eth0"])
    agent.register("neg")
    with Raw(link[1], "eth0") as peer:
        future = agent.begin("negotiate", "neg", 1, peer=[["fd00::b", 6, peer.port], 0])
        with peer.accept() as wire:
            number = wire.receive()[1]
            wire.send([M_NEGOTIATE, number, ["neg", NEG, 5, 2]])
            offer = future.result(10)
            step = agent.begin("propose", offer["session"], 3)
            assert wire.receive()[0] == M_NEGOTIATE
            agent.stop()
            with pytest.raises(Failed) as failed:
                step.result(PATIENCE)
            assert failed.value.code == "stopped"
            assert wire.receive(PATIENCE) is None


def test_peers_of_open_negotiations_learn_of_a_stop_at_once(link, start):
    one, other = (start(host, ["eth0"]) for host in link)
    other.register("neg")
    other.serve("neg", [["hold", "never"]])
    one.register("neg")
    future = one.begin("negotiate", "neg", 1, timeout=30_000, peer=[["fd00::b", 6, other.port], 0])
    assert eventually(lambda: other.served())
    stopping = other.begin("stop")
    before = time.monotonic()
    with pytest.raises(Failed) as failed:
        future.result(PATIENCE)
    assert failed.value.code == "noPeer"
    assert time.monotonic() - before < PATIENCE
    other.open_gate("never")
    assert stopping.result(PATIENCE) < PATIENCE
    assert eventually(lambda: other.thread_names() == ["MainThread"])


def test_after_a_stop_every_call_says_so(link, start):
    agent = start(link[0], ["eth0"])
    agent.register("neg")
    agent.register("syn", "synchronize")
    agent.stop()
    assert agent.stop() < PATIENCE
    nowhere = [["fd00::b", 6, 4711], 0]
    for command, *arguments in (
        ("discover", "x"),
        ("negotiate", "neg", 1),
        ("listen", "neg"),
        ("serve", "neg", []),
        ("synchronize", "syn"),
        ("publish", "syn", 1),
        ("flood", [["syn", 1, None]]),
        ("floods", "syn"),
        ("wait_flood", "syn"),
        ("register", "new"),
    ):
        assert agent.code_of(command, *arguments) == "stopped", command
    for command, *arguments in (("discover", "x"), ("negotiate", "neg", 1), ("synchronize", "syn")):
        assert agent.code_of(command, *arguments, peer=nowhere) == "stopped", command


def test_a_fixed_port_can_be_taken_again_at_once(link, start):
    one, other = (start(host, ["eth0"]) for host in link)
    other.stop()
    for n in range(3):
        assert other.start(["eth0"], port=4_711)["port"] == 4_711
        other.register("restarted")
        other.serve("restarted", [["accept"]])
        one.register(f"unused {n}")
        if n == 0:
            one.register("restarted")
        # The locator cached before the restart is good after it.
        assert one.negotiate("restarted", n)["agreed"]
        assert one.discover("restarted", timeout=0)[0]["locator"] == ["fd00::b", 6, 4_711]
        other.stop()


def test_a_port_in_use_is_refused_and_nothing_stays_open(link, start):
    one, other = start(link[0], ["eth0"], port=4_712), start(link[0], ["eth0"])
    other.stop()
    assert eventually(lambda: other.thread_names() == ["MainThread"])
    before = other.descriptors()
    assert other.code_of("start", ["eth0"], port=4_712) == "noSocket"
    assert other.descriptors() == before
    assert other.thread_names() == ["MainThread"]
    assert one.port == 4_712


def test_a_node_warns_that_its_links_must_be_secure(link, start):
    agent = start(link[0], ["eth0"])
    assert "WARNING GRASP on eth0 has no security of its own" in agent.log()
    strict = start(link[0], ["eth0"], require_security=True)
    assert strict.code_of("discover", "x") == "noSecurity"
