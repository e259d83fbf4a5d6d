"""What a section of the mandate is, and how its problems are told. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from asa.config.values import Read, Wrong
from asa.errors import BadConfig

Rules = Mapping[str, Read]


class Problems:
    """What is wrong, in the order of the file: JSON-ready."""

    def __init__(self) -> None:
        self.found: list[dict[str, str]] = []

    def add(self, key: str, wrong: str, allowed: str = "") -> None:
        self.found.append({"key": key, "problem": wrong, "allowed": allowed})

    def reading(self, key: str, read: Read, value: Any) -> Any:
        """What ``read`` makes of ``value``; None, and a problem, if it refuses it."""
        try:
            return read(value)
        except Wrong as error:
            self.add(key, error.wrong, error.allowed)
            return None

    def raise_any(self, source: str) -> None:
        if not self.found:
            return
        count = "one problem" if len(self.found) == 1 else f"{len(self.found)} problems"
        listed = "; ".join(problem_text(each) for each in self.found)
        raise BadConfig(
            f"{source}: {count}: {listed}", hint="see docs/configuration.md", details={"problems": self.found}
        )


def problem_text(problem: Mapping[str, str]) -> str:
    """One of ``details["problems"]`` of a :class:`BadConfig` in a line."""
    text = f"{problem['key']} {problem['problem']}".strip()
    return f"{text}; allowed: {problem['allowed']}" if problem["allowed"] else text


class Section:
    """Checked when made, like what is read; raises :class:`BadConfig`."""

    RULES: ClassVar[Rules] = {}
    """What each field may be in TOML."""
    MADE: ClassVar[Rules] = {}
    """What a field may be once it was read, where the rule does not take that."""
    ONE_OF: ClassVar[tuple[str, ...]] = ()
    """Fields of which one at least is not None."""

    def __post_init__(self) -> None:
        problems = Problems()
        for name, rule in (dict(self.RULES) | dict(self.MADE)).items():
            problems.reading(name, rule, getattr(self, name))
        if self.ONE_OF and all(getattr(self, name) is None for name in self.ONE_OF):
            problems.add(self.ONE_OF[0], "is missing", f"{' or '.join(self.ONE_OF)}, or both")
        if not problems.found:
            self.together(problems)
        problems.raise_any(type(self).__name__)

    def together(self, problems: Problems) -> None:
        """What several values, each right by itself, must fulfil together."""
