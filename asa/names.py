"""The objectives of a domain, under its operator's prefix. No I/O."""

from __future__ import annotations

from dataclasses import dataclass

from objectives import agent, holdings, pact, params, reach, resource, revoked


@dataclass(frozen=True, slots=True)
class Names:
    """The objectives, under the operator's prefix."""

    resource: str
    params: str
    holdings: str
    agent: str
    pact: str
    reach: str
    revoked: str

    @classmethod
    def under(cls, prefix: str) -> Names:
        modules = (resource, params, holdings, agent, pact, reach, revoked)
        return cls(*(prefix + each.NAME for each in modules))
