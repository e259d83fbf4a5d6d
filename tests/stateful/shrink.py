"""A failing sequence made shorter: steps are left out as long as it still fails in the same way."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.stateful.play import Play, Step, Wrong, played


def failure(steps: Sequence[Step], stored: bool = False) -> tuple[Wrong | None, Play]:
    """Why these steps fail, in a world of their own; None if they do not."""
    with tempfile.TemporaryDirectory() as directory, played(Path(directory), stored) as play:
        try:
            play.run(steps)
        except Wrong as error:
            return error, play
        return None, play


def kind(error: Wrong) -> str:
    """What went wrong, without ids, numbers and the step it was after."""
    return re.sub(r"r-[0-9a-z]+|\d+", "#", str(error).partition("\n")[2])[:60]


def shrunk(steps: Sequence[Step], wrong: Wrong, seconds: float = 20.0) -> tuple[list[Step], Wrong]:
    """Fewer steps that fail like that, and how; in larger pieces first."""
    rest, like = list(steps), kind(wrong)
    until = time.monotonic() + seconds
    size = max(1, len(rest) // 2)
    while size:
        index = 0
        while index < len(rest) and time.monotonic() < until:
            less = rest[:index] + rest[index + size :]
            error, _ = failure(less)
            if error is not None and kind(error) == like:
                rest, wrong = less, error
            else:
                index += size
        size //= 2
    return rest, wrong


def told(seed: int, steps: Sequence[Step], wrong: Wrong) -> str:
    """What somebody has to know to find the reason."""
    return "\n".join((f"seed {seed}, at last {len(steps)} steps:", *(f"  {each}" for each in steps), str(wrong)))
