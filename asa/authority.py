"""Which member of the domain may do what, by the name in its certificate. No I/O.

Membership says who somebody is (RFC 8994 §6.2.3); the sections ``[[allow]]`` of this agent say what that one may do
here. What a message claims counts for nothing: every question is about a name that was verified.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Final

from asa.config.security import AllowSection
from objectives import NodeId
from objectives.fields import MAX_RATE, shown

ANYBODY: Final = AllowSection(("*",))
"""What counts for a member that no section names: it may ask, give and audit, and seeds nothing."""

REMEMBERED: Final = 8_192
"""Names whose section is remembered."""


class Authority:
    """``rules``: the first that names a member decides; None: over a substrate that knows nobody (``plain``), where
    everything is allowed. ``me`` and ``mode`` are this agent's own: an origin may seed and set parameters.
    """

    def __init__(self, rules: Sequence[AllowSection] | None, me: str, mode: str) -> None:
        self._rules = rules
        self._me = me
        self._mode = mode
        self._rule = lru_cache(REMEMBERED)(self._found)

    @property
    def enforced(self) -> bool:
        """Whether members are known at all."""
        return self._rules is not None

    def _found(self, name: str) -> AllowSection | None:
        """None: everything is allowed."""
        if self._rules is None:
            return None
        matching = (each for each in self._rules if any(fnmatchcase(name, pattern) for pattern in each.members))
        return next(matching, ANYBODY)

    def may_seed(self, name: str, pool: str) -> bool:
        """Whether ``name`` may bring capacity into a pool."""
        if self.enforced and name == self._me:
            return self._mode == "origin"
        rule = self._rule(name)
        return rule is None or any(fnmatchcase(pool, pattern) for pattern in rule.origin)

    def may_set_params(self, name: str) -> bool:
        """Whether ``name`` may set the domain's parameters."""
        if self.enforced and name == self._me:
            return self._mode == "origin"
        rule = self._rule(name)
        return rule is None or rule.params

    def ask_limit(self, name: str) -> int | None:
        """bit/s of one pool that may be out at ``name`` at a time; None: any."""
        rule = self._rule(name)
        return rule.ask if rule is not None and name != self._me else None

    def lends(self, name: str) -> int | None:
        """The same as a number of bit/s where members are known; None where they are not, and nothing is counted."""
        limit = self.ask_limit(name)
        return limit if limit is not None or not self.enforced else MAX_RATE

    def may_give(self, name: str) -> bool:
        """Whether capacity is taken that ``name`` hands over or offers; of others none is asked."""
        rule = self._rule(name)
        return rule is None or name == self._me or rule.gives

    def may_audit(self, name: str) -> bool:
        """Whether ``name`` may read what this agent holds."""
        rule = self._rule(name)
        return rule is None or rule.audit or name == self._me

    def impostor(self, member: str | None, node: NodeId) -> str:
        """Why a message of ``node`` is refused that came in a session of ``member``; empty if it is not.

        ``member``: the name in the session's certificate, None where the substrate knows none.
        """
        if not self.enforced or member == node.name:
            return ""
        return f"not-you: this session is of {shown(member) if member else 'nobody'}, not of {node.name}"
