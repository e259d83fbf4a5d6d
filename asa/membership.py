"""Who this agent is in its domain, what other members may do here, and the GRASP node that goes by it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import grasp
from asa.authority import Authority
from asa.config import Config
from asa.config.security import DOMAIN
from asa.errors import BadConfig
from grasp import GraspError
from grasp.calls import Admit

if TYPE_CHECKING:
    from grasp.member import Member
    from grasp.security.identity import Identity

MULTICAST_SIZE: Final = 16_384
"""Bytes of a flood between members: it travels over TCP, with the seals of its values."""


def authority_of(config: Config) -> Authority:
    """What members may do at this agent."""
    rules = config.allow if config.grasp.substrate == DOMAIN else None
    return Authority(rules, config.agent.name, config.agent.mode)


def identity_of(config: Config) -> Identity | None:
    """Who this agent is in its domain; None over a substrate that knows nobody.

    Raises BadConfig if the identity cannot be used, or is that of another node.
    """
    if config.grasp.substrate != DOMAIN:
        return None
    # Here, for a plain agent has no use for certificates and the time it takes to load what reads them.
    from grasp.security.identity import Identity

    where = config.domain.identity
    try:
        identity = Identity.load(where)
    except GraspError as error:
        raise BadConfig(
            f"[domain] identity: {error}",
            hint=f'see asa domain check {where}; [grasp] substrate = "plain" is for links that are secured otherwise',
        ) from None
    if identity.name != config.agent.name:
        raise BadConfig(
            f"[domain] identity: the certificate in {where} is that of {identity.name or 'a node without a name'},"
            f" and the configuration names the agent {config.agent.name}",
            hint="an agent goes by its certificate's common name: issue another certificate, or correct [agent] name",
        )
    return identity


def admitting(authority: Authority) -> Admit:
    """Who may read what this agent holds."""

    def admit(member: Member | None) -> str | None:
        allowed = not authority.enforced or (member is not None and authority.may_audit(member.name))
        return None if allowed else "audit: this agent does not show what it holds"

    return admit


def node_for(config: Config, identity: Identity | None, port: int) -> grasp.Node:
    """The agent's GRASP node. ``port``: of the last run; the configured one goes first."""
    floods = config.limits.peers + 64
    limits = grasp.Limits(cached_floods=floods)
    if identity is not None:
        limits = grasp.Limits(cached_floods=floods, multicast_size=MULTICAST_SIZE)
    return grasp.Node(
        config.grasp.interfaces,
        port=config.grasp.port or port,
        address=config.grasp.address,
        ipv4=config.grasp.ipv4,
        limits=limits,
        name="grasp",
        identity=identity,
    )
