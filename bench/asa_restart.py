"""How long an agent with many reservations takes until its API accepts more, and where that time goes.

python -m bench.asa_restart
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import grasp
from asa.ledger import Ledger
from asa.records import Fact, Held, Record, Reservation, ReservationState, Seed
from asa.reservations import identifier
from asa.store import Store
from bench.agents import POOL, agent_on, running
from bench.pair import two_hosts
from bench.report import Result
from objectives import Block, NodeId, Window

LIVE = 100_000
YEAR, DAY = 365 * 86_400, 86_400
SEED = 10**15
ME = NodeId("origin", "0123456789abcdef")
ROUNDS = 3
AIM_S = 5


def records(now: int) -> Iterator[Record]:
    """What an origin has on disk that booked LIVE reservations over the coming year."""
    chance = random.Random(9222)
    yield Fact("node", json.dumps(str(ME)))
    yield Seed(POOL, 0, SEED, now)
    yield Held(POOL, Block(0, SEED, now, None))
    for number in range(LIVE):
        start = now + chance.randrange(YEAR)
        window = Window(start, start + chance.randint(60, DAY))
        yield Reservation(
            identifier(now * 1000 + number, chance.getrandbits(25)), POOL, chance.randint(1, 100) * 10**6, window,
            ReservationState.BOOKED, now, now, "10.0.0.1", "10.1.0.0/16", "alice", ("backup",),
        )  # fmt: skip


def parts(state: str, interface: str) -> dict[str, float]:
    """Seconds of what an agent does one after the other when it starts."""
    now = int(time.time())
    begun = time.perf_counter()
    with Store.open(Path(state), now=now) as store:
        loaded = store.load()
        read = time.perf_counter()
        Ledger(ME, now, loaded)
        entered = time.perf_counter()
        with grasp.Node([interface]):
            up = time.perf_counter()
    return {"load": read - begun, "ledger": entered - read, "GRASP": up - entered}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.asa_restart", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "parts", nargs="*", help="the state directory and interface of an agent: tell what takes how long"
    )
    args = parser.parse_args()
    if args.parts:
        print(json.dumps(parts(*args.parts)))
        return
    with (
        tempfile.TemporaryDirectory(prefix="asa-bench-") as name,
        two_hosts() as (_, _, server, server_end),
    ):
        state = Path(name, "origin")
        Store.create_from(state, records(int(time.time())), now=int(time.time())).close()
        agent = agent_on(server, server_end, "origin", "origin", Path(name), {POOL: SEED})
        totals = []
        split = []
        for _ in range(ROUNDS):
            begun = time.perf_counter()
            with running(agent):
                totals.append(time.perf_counter() - begun)
                booked = agent.request("GET", "status")["reservations"]
                assert booked == LIVE, booked
            command = [sys.executable, "-m", "bench.asa_restart", str(state), server_end]
            split.append(json.loads(server.run(command, timeout=60).stdout))
        total = statistics.median(totals)
        Result(f"asa restart with {LIVE} reservations", round(total, 2), "s", aim=AIM_S, lower_is_better=True).print()
        shares = {part: statistics.median(each[part] for each in split) for part in split[0]}
        for part, seconds in shares.items():
            Result(f"of that, {part}", round(seconds, 3), "s").print()
        rest = max(0.0, total - sum(shares.values()))
        Result("of that, the interpreter, its imports and the rest", round(rest, 2), "s").print()


if __name__ == "__main__":
    main()
