"""Agents killed at random under load: whatever a consumer was told stays true, and no bit/s is lost or used twice."""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter

import pytest

from asa.errors import AsaError, BadWindow, Ended, Short, Unreachable

from .domain import Domain, G, M, eventually

SECONDS = float(os.environ.get("CHAOS_SECONDS", "12"))
KILLS = 6
"""At least, one of them in a transfer, however long that takes."""
SEED = 20 * G
CONSUMERS = 3
"""Threads at each agent."""
LONGEST_S = 4_000


class Consumer:
    """One consumer of one agent. It asks until it has an answer, however often the agent dies meanwhile.

    ``yes``: what it was promised, by id; ``no``: labels of what it was refused; ``cancelled``: ids.
    """

    def __init__(self, agent, number, stop, counts):
        self.agent = agent
        self.rng = random.Random(f"{agent.name}-{number}")
        self.name = f"{agent.name}-{number}"
        self.stop = stop
        self.counts = counts
        self.yes = {}
        self.no = set()
        self.cancelled = set()
        self.defects = []

    def run(self):
        turn = 0
        while not self.stop.is_set():
            turn += 1
            try:
                dice = self.rng.random()
                live = [each for each in self.yes if each not in self.cancelled]
                if dice < 0.55 or not live:
                    self.reserve(f"{self.name}-{turn}")
                elif dice < 0.85:
                    self.cancel(self.rng.choice(live))
                else:
                    self.change(self.rng.choice(live))
            except Exception as error:
                self.defects.append(f"{self.name}: {type(error).__name__}: {error}")

    def answer(self, ask):
        """What ``ask`` returns or raises once the agent answers."""
        deadline = time.monotonic() + 60
        while True:
            try:
                return ask()
            except AsaError as error:
                # Of the agent's own answers those that say "not now" are none.
                if not isinstance(error, Unreachable) and error.code not in ("not-ready", "busy"):
                    raise
                self.counts["asked again"] += 1
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def reserve(self, label):
        now = int(time.time())
        start = now + self.rng.choice([0, 0, 5, 60, self.rng.randrange(LONGEST_S)])
        end = self.rng.choice([None, start + self.rng.randrange(2, 12), start + self.rng.randrange(30, LONGEST_S)])
        rate = self.rng.choice([M, 50 * M, 400 * M, 2 * G, self.rng.randrange(1, 3 * G)])
        wanted = {"start": start, "end": end, "labels": [label], "patience_ms": self.rng.choice([0, 1_000, 3_000])}
        try:
            booked = self.answer(lambda: self.agent.reserve("wan", rate, key=label, **wanted))
        except Short:
            self.counts["refused"] += 1
            self.no.add(label)
            return
        except BadWindow:
            # It passed while the agent was down.
            self.no.add(label)
            return
        self.counts["booked"] += 1
        if (booked["rate"], booked["end"], booked["labels"]) != (rate, end, [label]) or booked["start"] < start:
            self.defects.append(f"asked for {rate} {wanted}, booked {booked}")
        self.yes[booked["id"]] = (rate, booked["start"], end, label)

    def cancel(self, identifier):
        try:
            self.answer(lambda: self.agent.cancel(identifier))
            self.cancelled.add(identifier)
            self.counts["cancelled"] += 1
        except Ended:
            pass

    def change(self, identifier):
        rate, start, end, label = self.yes[identifier]
        new = max(1, rate + self.rng.randrange(-rate, rate + 1))
        try:
            self.agent.request("PATCH", f"reservations/{identifier}", {"rate": new, "patience_ms": 1_000})
            self.counts["changed"] += 1
            self.yes[identifier] = (new, start, end, label)
        except (Short, Ended):
            pass
        except AsaError as error:
            if not isinstance(error, Unreachable) and error.code not in ("not-ready", "busy"):
                raise
            # It may have been done: only looking tells.
            found = self.answer(lambda: self.agent.get(f"reservations/{identifier}"))["rate"]
            if found not in (rate, new):
                self.defects.append(f"{identifier}: neither {rate} nor {new} but {found}")
            self.yes[identifier] = (found, start, end, label)


class Killer:
    """Kills agents, the origin too, now and then at the sight of a transfer, and starts them again."""

    def __init__(self, domain, stop):
        self.agents = list(domain.agents.values())
        self.rng = random.Random(4711)
        self.stop = stop
        self.kills = Counter()
        self.in_transfer = 0

    def enough(self):
        return sum(self.kills.values()) >= KILLS and len(self.kills) > 1 and self.in_transfer > 0

    def run(self):
        while not self.stop.wait(self.rng.uniform(0.1, 0.8)):
            victim = self.rng.choice(self.agents)
            others = [each for each in self.agents if each is not victim]
            if self.rng.random() < 0.7:
                self.sight(victim)
            before = self.doubtful(self.agents)
            victim.kill()
            self.kills[victim.name] += 1
            # Only a giver whose session broke has its transfer in doubt: at the victim's peers now, or at itself later.
            hit = self.doubtful(others, victim.name) - before
            if self.rng.random() < 0.3:
                self.stop.wait(self.rng.uniform(0.0, 1.0))
            victim.start()
            self.in_transfer += bool(hit | (self.doubtful([victim]) - before))

    def sight(self, victim):
        until = time.monotonic() + 1.0
        while time.monotonic() < until:
            for each in self.agents:
                found = self.transfers(each)
                if any(
                    each["state"] == "escrow" and (each is victim or each["peer"].startswith(f"{victim.name}#"))
                    for each in found
                ):
                    return

    def doubtful(self, agents, peer=""):
        """The transfers in doubt that these agents gave."""
        return {
            each["txn"]
            for agent in agents
            for each in self.transfers(agent)
            if each["in_doubt"] and each["peer"].startswith(f"{peer}#" if peer else "")
        }

    @staticmethod
    def transfers(agent):
        try:
            return agent.get("transfers")
        except AsaError:
            return []


def most_at_once(windows):
    """bit/s: the most that (rate, start, end) add up to at any instant, by looking at every instant that counts."""
    times = sorted({start for _, start, _ in windows})
    return max((sum(r for r, s, e in windows if s <= t and (e is None or t < e)) for t in times), default=0)


def shortfall(held, promised, now):
    """An instant from now on at which more is promised than held, by brute force; None if there is none."""
    times = {now} | {each for window in promised for each in window[1:] if each is not None and each > now}
    times |= {each for _, _, start, end in held for each in (start, end) if each is not None and each > now}
    for time_ in sorted(times):
        has = sum(high - low for low, high, s, e in held if s <= time_ and (e is None or time_ < e))
        owes = sum(rate for rate, s, e in promised if s <= time_ and (e is None or time_ < e))
        if owes > has:
            return time_, owes, has
    return None


@pytest.mark.timeout(SECONDS + 240)
def test_whatever_consumers_were_told_is_true_after_any_number_of_crashes(shared_lab, tmp_path):
    domain = Domain.line(shared_lab, tmp_path, ["k0", "k1", "k2", "k3"])
    domain.agent("k0", "origin", {"wan": SEED})
    for name in "k1", "k2", "k3":
        domain.agent(name)
    domain.start(low_water=1, refill=3, high_water=20, horizon=30, lease=60, flood_interval=2, settle_interval=1)
    agents = list(domain.agents.values())
    stop, calm = threading.Event(), threading.Event()
    counts = Counter()
    consumers = [Consumer(agent, number, stop, counts) for agent in agents for number in range(CONSUMERS)]
    killer = Killer(domain, calm)
    threads = [threading.Thread(target=each.run, daemon=True) for each in (*consumers, killer)]
    begin = time.monotonic()
    for each in threads:
        each.start()
    try:
        # A bounded time of chaos is what is tested.
        threads[-1].join(SECONDS)
        eventually(lambda: killer.enough() or not threads[-1].is_alive(), 120.0)
        assert threads[-1].is_alive(), "the killer died"
    finally:
        calm.set()
        threads[-1].join(40)
        stop.set()
        for each in threads:
            each.join(90)
    took = time.monotonic() - begin
    assert not any(each.is_alive() for each in threads)
    for each in agents:
        each.ready()

    def settled():
        return not any(each["state"] == "escrow" for agent in agents for each in agent.get("transfers"))

    begin = time.monotonic()
    eventually(settled, 90.0, "no transfer is left in doubt", pause=0.3)
    audit = agents[0].audited("wan", 60.0)
    transfers = sum(each["direction"] == "given" for agent in agents for each in agent.get("transfers"))
    print(
        f"\n{took:.0f} s: {sum(killer.kills.values())} kills ({dict(killer.kills)}), {killer.in_transfer} of them in an"
        f" open transfer; {transfers} transfers still remembered; {dict(counts)};"
        f" settled {time.monotonic() - begin:.1f} s after the last"
    )
    assert [each for consumer in consumers for each in consumer.defects] == []
    everything = []
    for agent in agents:
        found = {each["id"]: each for each in agent.reservations("wan")}
        labels = {each["labels"][0] for each in found.values()}
        mine = [each for each in consumers if each.agent is agent]
        for consumer in mine:
            for identifier, (rate, start, end, label) in consumer.yes.items():
                there = found.pop(identifier)
                assert (there["rate"], there["start"], there["end"], there["labels"]) == (rate, start, end, [label])
                assert (there["state"] == "cancelled") == (identifier in consumer.cancelled), there
                if identifier not in consumer.cancelled:
                    everything.append((rate, start, end))
            assert not consumer.no & labels
        assert found == {}, "reservations nobody was told of"
        promised = [
            (each["rate"], each["start"], each["end"])
            for each in agent.reservations("wan")
            if each["state"] in ("pending", "active")
        ]
        assert shortfall(agent.held("wan"), promised, int(time.time()) + 1) is None
    assert most_at_once(everything) <= SEED
    assert audit["pools"][0]["held"] == SEED
    assert not any("Traceback" in each.log() for each in agents)
    assert transfers > 0
    assert counts["booked"] > 20
    assert counts["refused"] > 0
