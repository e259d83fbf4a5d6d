"""Random steps at three agents for as long as you like: ``python -m tests.stateful 600``.

The last line of output is the verdict, as JSON; the exit status is 1 if the agents and the model differ.
"""

from __future__ import annotations

import argparse
import json
import secrets
import sys
import time
from collections import Counter

from tests.stateful.play import steps_of
from tests.stateful.shrink import failure, shrunk, told


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.stateful", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("seconds", type=float, nargs="?", default=60.0, help="how long (default 60)")
    parser.add_argument("--steps", type=int, default=250, help="in one sequence (default 250)")
    parser.add_argument("--seed", type=int, default=None, help="repeat the one sequence of this seed")
    parser.add_argument("--stored", action="store_true", help="with real databases in a temporary directory")
    arguments = parser.parse_args()
    seed = secrets.randbits(32) if arguments.seed is None else arguments.seed
    print(f"seed {seed}", flush=True)
    begun = time.monotonic()
    counts: Counter[str] = Counter()
    done = sequences = 0
    while True:
        steps = steps_of(seed + sequences, arguments.steps)
        wrong, play = failure(steps, arguments.stored)
        done += play.done
        if wrong is not None:
            print(told(seed + sequences, *shrunk(steps[: play.done + 1], wrong, 60.0)), file=sys.stderr)
            print(json.dumps({"ok": False, "seed": seed + sequences, "step": play.done}))
            return 1
        sequences += 1
        counts.update(play.outcomes)
        taken = time.monotonic() - begun
        if arguments.seed is not None or taken >= arguments.seconds:
            break
    verdict = {"ok": True, "seed": seed, "sequences": sequences, "steps": done, "steps_per_second": round(done / taken)}
    print(json.dumps(verdict | {"outcomes": dict(sorted(counts.items()))}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
