"""Who asks, and what that one may: three roles, each with all of the one before."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Role(IntEnum):
    """What a principal may."""

    READER = 1
    """Look at everything that is no secret."""
    CONSUMER = 2
    """Reserve, and change and cancel what nobody's secret guards, or its own secret opens."""
    OPERATOR = 3
    """Everything: pools, caps, the policy, lost peers, the agent itself."""

    @property
    def text(self) -> str:
        """As a configuration and an answer have it."""
        return self.name.lower()


READER, CONSUMER, OPERATOR = Role


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody who asks, as far as it is known who that is."""

    name: str
    """By which requests are counted: a user's number, a token's file, a member, an address."""
    role: Role | None
    """None: known, and may nothing."""
