"""Agents under misfortune for as long as you like: ``python -m tests.simulator --seconds 600 --nodes 8``.

The last line of output is the verdict, as JSON; the exit status is 1 if the promise was broken.
"""

from __future__ import annotations

import argparse
import json
import secrets
import sys
import time
from collections import Counter

from tests.simulator.pair_scenarios import PAIR_SCENARIOS
from tests.simulator.paired_churn import PairedChurn
from tests.simulator.scenarios import SCENARIOS
from tests.simulator.systematic import pairs, singly

COUNTED = {
    "events": "events",
    "messages": "messages",
    "crashes": "crashes",
    "cuts": "cuts",
    "losses": "losses",
    "store_failures": "store failures",
    "transfers": "capacity-given",
    "hand_overs": "capacity-returned",
    "settled": "settled",
    "booked": "booked",
    "refused": "refused",
    "arranged": "arranged",
    "not_arranged": "not arranged",
    "replays": "replays",
    "forgeries": "forgeries",
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulator", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="how long (default 60)")
    parser.add_argument("--nodes", type=int, default=5, help="agents in one network (default 5)")
    parser.add_argument("--acts", type=int, default=400, help="acts in the life of one network (default 400)")
    parser.add_argument("--seed", type=int, default=None, help="repeat the one network of this seed, with its trace")
    parser.add_argument(
        "--systematic", action="store_true", help="instead: every fault, and pair of faults, everywhere"
    )
    arguments = parser.parse_args()
    if arguments.systematic:
        return systematic()
    seed = secrets.randbits(32) if arguments.seed is None else arguments.seed
    print(f"seed {seed}", flush=True)
    counts: Counter[str] = Counter()
    ends = time.monotonic() + arguments.seconds
    networks = 0
    while True:
        churn = PairedChurn(seed + networks, arguments.nodes, tracing=arguments.seed is not None)
        try:
            churn.run(arguments.acts)
        except AssertionError as error:
            print("\n".join(churn.world.trace))
            print(f"seed {seed + networks}: {error}", file=sys.stderr)
            print(json.dumps({"ok": False, "seed": seed + networks, "wrong": str(error)}))
            return 1
        networks += 1
        counts += churn.world.counts
        counts["checks"] += churn.world.checker.checks
        counts["audits"] += churn.world.checker.audits
        if arguments.seed is not None or time.monotonic() >= ends:
            break
    verdict = {"ok": True, "seed": seed, "nodes": arguments.nodes, "networks": networks}
    verdict |= {name: counts[of] for name, of in COUNTED.items()}
    print(json.dumps(verdict | {"invariant_checks": counts["checks"], "audits": counts["audits"]}))
    return 0


def systematic() -> int:
    """Every fault at every event of every scenario, and every pair in the smallest."""
    for scenario in (*SCENARIOS, *PAIR_SCENARIOS):
        for eager in (False, True):
            tried = singly(scenario, eager)
            print(json.dumps({"scenario": scenario.name, "restless": eager, **tried}), flush=True)
    for scenario in (*SCENARIOS, *PAIR_SCENARIOS):
        tried = pairs(scenario, None if scenario.smallest else 20_000)
        print(json.dumps({"scenario": scenario.name, "faults": 2, **tried}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
