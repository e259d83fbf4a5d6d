"""What the lab shows while it runs: a live table on a terminal, lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, TextIO

from asa.quantities import format_rate
from lab.domain.verdicts import Verdicts
from lab.domain.watching import Watch

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

BAR: Final = 24
"""Characters that stand for the whole seed."""
NAMED: Final = 6
"""Agents in a line; those that are down or hold most."""
EVERY_S: Final = 5.0
"""Between two lines about all agents, where there is no table."""


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything that can be shown."""

    watch: Watch
    verdicts: Verdicts
    seeded: int
    """bit/s, over all pools."""
    origin: str
    title: Callable[[], str]


class Screen(Protocol):
    def say(self, text: str) -> None:
        """A line that stays."""

    def show(self, scene: Scene, now: float) -> None:
        """How it stands; called often. ``now``: monotonic seconds."""

    def close(self) -> None:
        """No more tables; lines may follow."""


class Lines:
    """For pipes and logs: what is said, and every now and then a line about all agents."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._next = 0.0

    def say(self, text: str) -> None:
        self._out.write(text + "\n")
        self._out.flush()

    def show(self, scene: Scene, now: float) -> None:
        if now >= self._next:
            self._next = now + EVERY_S
            self.say(f"{scene.title()}: {summary(scene)}")

    def close(self) -> None:
        """Nothing to do."""


def summary(scene: Scene) -> str:
    seen = dict(scene.watch.seen)
    named = sorted(seen, key=lambda name: (seen[name].up, -seen[name].held))[:NAMED]
    parts = [f"{name} {_short(each.held) if each.up else 'down'}" for name, each in seen.items() if name in named]
    others = [f"{len(seen) - NAMED} others"] if len(seen) > NAMED else []
    doubt = sum(each.in_doubt for each in seen.values())
    tail = f"; {scene.watch.transfers()} transfers" + (f", {_short(doubt)} in doubt" if doubt else "")
    return ", ".join([*parts, *others]) + tail


class Live:
    """For a terminal: one table, drawn anew in place."""

    def __init__(self, console: Console) -> None:
        from rich.live import Live as Drawn

        self._console = console
        self._drawn = Drawn(console=console, auto_refresh=False, transient=False)
        self._open = False

    def say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def show(self, scene: Scene, now: float) -> None:
        if not self._open:
            self._drawn.start()
            self._open = True
        self._drawn.update(table(scene), refresh=True)

    def close(self) -> None:
        if self._open:
            self._drawn.stop()
            self._open = False


def screen(out: TextIO) -> Screen:
    """A table if ``out`` is a terminal that can show one, and rich is there."""
    if out.isatty():
        try:
            from rich.console import Console
        except ImportError:
            return Lines(out)
        console = Console(file=out)
        if console.is_terminal and not console.is_dumb_terminal:
            return Live(console)
    return Lines(out)


def table(scene: Scene) -> Table:
    from rich.table import Table
    from rich.text import Text

    drawn = Table(title=Text(scene.title()), title_justify="left", caption_justify="left")
    drawn.add_column("agent", no_wrap=True)
    for name in ("holds", "promised", "free"):
        drawn.add_column(name, justify="right", min_width=9)
    drawn.add_column("▓ promised ░ free", no_wrap=True)
    for name in ("asked", "yes", "no", "in doubt"):
        drawn.add_column(name, justify="right")
    for name, seen in scene.watch.seen.items():
        counts = [scene.verdicts.count(name, each) for each in ("admitted", "refused", "unanswered")]
        rates = [_short(each) for each in (seen.held, seen.committed, seen.free)] if seen.up else ["down", "", ""]
        doubt = _short(seen.in_doubt) if seen.in_doubt else ""
        drawn.add_row(
            Text(name + (" (origin)" if name == scene.origin else ""), style="" if seen.up else "bold red"),
            *rates, bar(seen.committed, seen.free, scene.seeded), str(sum(counts)), *map(str, counts[:2]),
            Text(doubt, style="bold yellow"),
        )  # fmt: skip
    held = sum(each.held for each in scene.watch.seen.values())
    drawn.caption = f"held by all {_short(held)} of {_short(scene.seeded)}; {scene.watch.transfers()} transfers so far"
    return drawn


def bar(committed: int, free: int, whole: int) -> str:
    """BAR characters for ``whole``; what is not nothing is seen."""
    full = min(BAR, -(-committed * BAR // max(1, whole)))
    return "▓" * full + "░" * min(BAR - full, -(-free * BAR // max(1, whole)))


def _short(rate: int) -> str:
    """Two decimals are enough to see it move."""
    for size in (10**12, 10**9, 10**6, 10**3):
        if rate >= size:
            return format_rate(round(rate / size * 100) * (size // 100)).lstrip("~")
    return format_rate(rate)


def plain(out: TextIO | None = None) -> Screen:
    """Lines, whatever ``out`` is; stderr without."""
    return Lines(sys.stderr if out is None else out)
