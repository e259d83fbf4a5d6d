"""``python -m lab.domain``: the lab, as ``docs/lab.md`` tells; what to do is in the environment."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping

from lab.domain.demand import DemandError
from lab.domain.domain import Broken
from lab.domain.scenario import Run, wanted
from lab.domain.screen import plain, screen
from lab.domain.settings import BadSetting, settings
from lab.domain.stop import Stop, Stopped
from lab.domain.workplace import NoRoom


def main(environment: Mapping[str, str] = os.environ) -> int:
    """0 if everything held, 1 if not, 2 for a bad variable or file, 128 and the signal's number if stopped."""
    try:
        chosen = settings(environment)
        rows = wanted(chosen)
    except BadSetting as error:
        print(error, file=sys.stderr)
        return 2
    except DemandError as error:
        print(f"RESERVATIONS is no file that can be played: {error}", file=sys.stderr)
        return 2
    told = plain() if chosen.json else screen(sys.stdout)
    stay = sys.stdout.isatty() and not (chosen.once or chosen.json)
    try:
        with Stop() as stop:
            report = Run(chosen, rows, told, stop, stay).run()
    except Stopped as error:
        print(f"stopped by {error}; nothing is left", file=sys.stderr)
        return 128 + error.signal
    except BrokenPipeError:
        # Who read the lines has gone, as head(1) does; Python must not try to write the rest at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (Broken, NoRoom) as error:
        print(f"the lab failed: {error}", file=sys.stderr)
        if chosen.json:
            print(json.dumps({"ok": False, "failures": [str(error)]}))
        return 1
    if chosen.json:
        print(json.dumps(report.as_json(), indent=2))
    if stay:
        told.say("stopped; nothing is left")
    return 0 if report.ok else 1


if __name__ == "__main__":
    sys.exit(main())
