"""The sections ``[domain]`` and ``[[allow]]``: who this agent is to others, and which of them may do what. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

from asa.config.section import Problems, Rules, Section
from asa.config.values import a_boolean, a_list, a_path, a_pattern, a_rate, an_optional, as_read

PLAIN: Final = "plain"
DOMAIN: Final = "domain"


@dataclass(frozen=True, slots=True)
class DomainSection(Section):
    identity: Path = Path("/var/lib/asa/identity")
    """The directory with ``certificate.pem``, ``key.pem`` and ``trust.pem`` (docs/identity.md)."""

    RULES: ClassVar[Rules] = {"identity": a_path}


@dataclass(frozen=True, slots=True)
class AllowSection(Section):
    """What members of the domain may do, above being members (RFC 8994 §6.2.3 says who is one)."""

    members: tuple[str, ...]
    """Patterns of the names in their certificates: ``*``, ``?``, ``[…]``; case counts."""
    origin: tuple[str, ...] = ()
    """Patterns of the pools they may bring capacity into."""
    params: bool = False
    """Whether they may set the domain's parameters."""
    ask: int | None = None
    """bit/s of one pool: the most that is out at each of them at a time by what it asked this agent for; None: any."""
    audit: bool = True
    """Whether they may read what this agent holds."""

    RULES: ClassVar[Rules] = {
        "members": a_list(a_pattern, "patterns of names"),
        "origin": a_list(a_pattern, "patterns of pools"),
        "params": a_boolean,
        "ask": an_optional(a_rate(0)),
        "audit": a_boolean,
    }
    MADE: ClassVar[Rules] = {key: as_read(rule) for key, rule in RULES.items()}

    def together(self, problems: Problems) -> None:
        if not self.members:
            problems.add("members", "is empty", 'patterns of names, such as ["core-1", "rack-*"]')


def allowed_together(
    mode: str | None, substrate: str | None, sections: Sequence[AllowSection], problems: Problems
) -> None:
    """Which sections an agent may have beside each other; None is a mode or substrate that could not be read.

    The first section that names a member decides, so nothing behind one for all counts.
    """
    for index, each in enumerate(sections[:-1]):
        if "*" in each.members:
            problems.add(f"allow[{index + 1}]", "is never reached", f"before allow[{index}], which is for all members")
            break
    if mode != "delegator" or substrate != DOMAIN:
        return
    hint = 'one [[allow]] at least with it, or [grasp] substrate = "plain"'
    if not any(each.origin for each in sections):
        problems.add("allow", "names no origin: nobody's capacity would count", f"origin: {hint}")
    if not any(each.params for each in sections):
        problems.add("allow", "names nobody who may set the parameters", f"params: {hint}")
