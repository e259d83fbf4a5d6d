"""The sections ``[domain]`` and ``[[allow]]``: who this agent is to others, and which of them may do what. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

from asa.config.patterns import covered
from asa.config.section import Problems, Rules, Section
from asa.config.values import a_boolean, a_list, a_path, a_pattern, a_rate, an_optional, as_read

PLAIN: Final = "plain"
DOMAIN: Final = "domain"

ALLOW_UNUSED: Final = (
    '[[allow]] has no effect: [grasp] substrate = "plain" knows no members, so whoever can send on a link may do'
    " everything that members could be allowed"
)


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
    give: bool | None = None
    """Whether capacity is taken that they hand over or offer; None: if there is no limit for what they ask."""

    RULES: ClassVar[Rules] = {
        "members": a_list(a_pattern, "patterns of names"),
        "origin": a_list(a_pattern, "patterns of pools"),
        "params": a_boolean,
        "ask": an_optional(a_rate(0)),
        "audit": a_boolean,
        "give": an_optional(a_boolean),
    }
    MADE: ClassVar[Rules] = {key: as_read(rule) for key, rule in RULES.items()}

    @property
    def gives(self) -> bool:
        """Nobody can tell whose the blocks of a gift are, and any gift lessens what is out at its giver."""
        return self.ask is None if self.give is None else self.give

    def together(self, problems: Problems) -> None:
        if not self.members:
            problems.add("members", "is empty", 'patterns of names, such as ["core-1", "rack-*"]')


def allowed_together(
    mode: str | None, substrate: str | None, sections: Sequence[AllowSection], problems: Problems
) -> None:
    """Which sections an agent may have beside each other; None is a mode or substrate that could not be read.

    The first section that names a member decides, so one of whose members all are named before never counts.
    """
    for index, each in enumerate(sections):
        before = {_before(pattern, sections[:index]) for pattern in each.members}
        found = sorted(earlier for earlier in before if earlier is not None)
        if None not in before and found:
            named = " and ".join(f"allow[{earlier}]" for earlier in found)
            problems.add(f"allow[{index}]", "is never reached", f"a place before {named}, which leaves it no member")
    if mode != "delegator" or substrate != DOMAIN:
        return
    hint = 'one [[allow]] at least with it, or [grasp] substrate = "plain"'
    if not any(each.origin for each in sections):
        problems.add("allow", "names no origin: nobody's capacity would count", f"origin: {hint}")
    if not any(each.params for each in sections):
        problems.add("allow", "names nobody who may set the parameters", f"params: {hint}")


def _before(pattern: str, sections: Sequence[AllowSection]) -> int | None:
    """The first section that leaves nothing to ``pattern``; None: there is none."""
    for index, each in enumerate(sections):
        if any(covered(pattern, other) for other in each.members):
            return index
    return None


def notices(substrate: str, sections: Sequence[AllowSection]) -> list[str]:
    """What is right, and yet may not be what was meant."""
    return [ALLOW_UNUSED] if sections and substrate == PLAIN else []
