"""WARDEN: looks after what makes this agent a member of its domain, and after who is none any more."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING, Final

import grasp
from asa.config.security import PLAIN
from asa.errors import BadConfig
from asa.lists import Lists, Turn
from asa.membership import identity_of
from asa.oversight import neighbours
from asa.performer import peer_of
from asa.quantities import format_time
from asa.threads.duty import Duty
from asa.threads.flooder import LIVES, LOOP_COUNT, PEERS_PER_SECOND, SOON_S
from asa.views import DomainView, NeighbourView
from grasp import FloodItem, GraspError, Objective, TaggedObjective
from grasp.security import BadIdentity, Identity, NotMember, Stamp, load_crls, stamp
from grasp.security.crl_fetch import CrlFetcher
from objectives import InvalidValue
from objectives.revoked import revoked_from_value

if TYPE_CHECKING:
    from asa.agent import Agent

PATIENT: Final = 2
"""Looks at which an identity must be bad before it is told: its files are not replaced all at once."""
REST_S: Final = 10.0
"""Between two floods of the same lists, lest who repeats old ones has all others answer each time."""
FIRST_ASK_S: Final = 2.0
ASK_S: Final = 600.0
ASK_MS: Final = 1_000
ALONE_S: Final = 30.0
FORGOTTEN_S: Final = 15.0
"""A neighbour that is being tried does not show as failing meanwhile, which may take 10 s."""


class Warden(Duty):
    """In a domain only. Follows the identity directory, renews, and has the lists of revoked certificates go round."""

    name = "warden"
    pause = 2.0

    def __init__(self, agent: Agent, identity: Identity, report: Callable[[str, str], None], rng: Random) -> None:
        super().__init__(report, rng)
        self._agent = agent
        self._identity = identity
        self._directory = agent.config.domain.identity
        revocations = agent.node.revocations
        assert revocations is not None
        self._revocations = revocations
        state = agent.config.agent.state_dir
        self._lists = Lists(state, revocations, agent.seals.issuers, agent.wall, time.monotonic)
        self._fetcher = CrlFetcher(revocations, self.wake, clock=agent.wall)
        self._turn = Turn(REST_S)
        # None is no stamp of what is there: the first look is a change, for there may have been one since it was read.
        self._stamp: Stamp | None = None
        self._bad = 0
        self._plain: str | None = None
        # Without a link: when a neighbour was seen failing first and last.
        self._failing: tuple[float, float] | None = None
        self._alone: str | None = None
        self._version = -1
        self._ask_at = 0.0
        self._ask_s = FIRST_ASK_S

    def prepare(self) -> None:
        """Who is no member any more, before anybody is spoken to."""
        self._lists.remember()
        self._take_given()
        self._follow()

    def stop(self) -> None:
        super().stop()
        self._fetcher.stop()

    def listen(self) -> None:
        """Take in lists, and tell them, from now on."""
        name = self._agent.names.revoked
        self._agent.asa.on_synchronize(name, lambda: self._lists.told().to_value())
        self._agent.asa.on_flood(name, self._flooded)
        self._agent.seals.met = self._fetcher.watch

    def greet(self) -> None:
        """A neighbour is there, which may not have heard of what was revoked."""
        if self._lists.told().crls:
            self._soon()

    def view(self) -> DomainView:
        member, lists = self._identity.member, self._revocations
        return DomainView(member.domain, member.acp_name, member.expires, len(lists.lists()), lists.version)

    def turn(self) -> float | None:
        self._look_at_identity()
        self._look_at_life()
        self._look_at_lists()
        self._look_at_links()
        self._ask()
        if self._turn.take(time.monotonic()):
            self._flood()
        wait = self._turn.wait(time.monotonic())
        return self.pause if wait is None else min(self.pause, wait)

    # The own certificate.

    def _look_at_identity(self) -> None:
        found = stamp(self._directory)
        if found == self._stamp and not self._bad:
            return
        self._stamp = found
        agent = self._agent
        # First: they may be why the identity is bad.
        self._take_given()
        try:
            new = identity_of(agent.config)
            assert new is not None
            if _whole(new) != _whole(self._identity):
                agent.node.renew(new)
                self._renewed(new)
        except (BadConfig, GraspError) as error:
            # Which stays so if nothing is done about it; until then the old certificate is as good as it was.
            self._bad += 1
            if self._bad >= PATIENT:
                agent.problem("identity", f"{error}: what was there before stays in force"[:600])
            return
        self._bad = 0
        agent.problem("identity", None)

    def _renewed(self, new: Identity) -> None:
        agent = self._agent
        self._identity = agent.identity = new
        agent.seals.renew(new)
        until = new.member.expires
        agent.events.tell("identity-renewed", f"a certificate until {format_time(until)} is in force", expires=until)
        # Lists may be of a CA that is known now.
        self._take_given()
        self._follow()
        # What others know by the old one may end with it.
        agent.flooder.greet()

    def _follow(self) -> None:
        """The lists that the own certificate and those above it name."""
        with suppress(NotMember):
            membership = self._identity.membership(self._revocations)
            self._fetcher.watch(membership.path(self._identity.whole, self._agent.wall()))

    def _look_at_life(self) -> None:
        agent, identity, now = self._agent, self._identity, self._agent.wall()
        until, began = identity.member.expires, identity.certificate.not_valid_before_utc.timestamp()
        what = f"the end of the certificate of this agent is {format_time(until)}"
        ends = 0 < until - now < (until - began) / 3
        agent.problem("certificate-ends", f"{what}: have it renewed" if ends else None)
        agent.problem(
            "certificate-expired",
            f"the certificate of this agent has ended {format_time(until)}: no member accepts it"
            if now >= until
            else None,
        )
        revoked = any(self._revocations.revoked(each) for each in identity.whole)
        agent.problem(
            "certificate-revoked",
            "the certificate of this agent is revoked: no member accepts it" if revoked else None,
        )

    # Those of others.

    def _take_given(self) -> None:
        """What the operator put into the identity directory."""
        agent = self._agent
        try:
            wrong = self._lists.given(load_crls(self._directory))
        except BadIdentity as error:
            wrong = list(error.problems)
        agent.problem("crl-refused", f"{self._directory / 'crl.pem'}: {'; '.join(wrong[:4])}" if wrong else None)

    def _look_at_lists(self) -> None:
        version = self._lists.version
        if version == self._version:
            return
        agent = self._agent
        try:
            self._lists.keep()
        except OSError as error:
            agent.problem("crl-not-kept", f"the lists of revoked certificates cannot be written: {error.strerror}")
            return
        agent.problem("crl-not-kept", None)
        if version:
            agent.events.tell("revocations-changed", "a newer list of revoked certificates is in force")
            self._soon(news=True)
        self._version = version
        long = ", ".join(self._lists.too_long()[:4])
        agent.problem("crl-too-long", f"too long to be passed on, use a CRL URL: the list of {long}" if long else None)

    def _flooded(self, tagged: TaggedObjective) -> None:
        """In a thread of the GRASP node's. Its relays pass on what all must hear."""
        self._take(tagged.objective.value)

    def _take(self, value: object) -> None:
        agent = self._agent
        try:
            said = revoked_from_value(value)
        except InvalidValue as error:
            agent.complain(f"revoked certificates: {error}")
            return
        before = self._lists.version
        older, wrong = self._lists.heard(said)
        for why in wrong:
            agent.complain(f"revoked certificates: {why}")
        if self._lists.version != before:
            self.wake()
        elif older:
            # Whoever said that has not heard of what there is here, and others may not have either.
            self._soon()
        elif set(self._lists.told().crls) <= set(said.crls):
            self._turn.said(time.monotonic())

    def _soon(self, news: bool = False) -> None:
        """One of those who know ought to say it."""
        spread = max(SOON_S, self._agent.peers.crowd() / PEERS_PER_SECOND)
        self._turn.come(time.monotonic(), self._rng.uniform(0.0, spread), news=news)
        self.wake()

    def _flood(self) -> None:
        agent = self._agent
        ttl = int(LIVES * agent.policy.params["flood_interval"] * 1000)
        for part in self._lists.told().parts():
            item = FloodItem(
                Objective.synchronization(agent.names.revoked, part.to_value(), loop_count=LOOP_COUNT)
            )  # fmt: skip
            try:
                agent.asa.flood(item, ttl)
            except GraspError as error:
                if error.code is not grasp.ErrorCode.noInterface:
                    raise

    def _ask(self) -> None:
        """One of the others, in case floods were lost or came before this agent."""
        now = time.monotonic()
        known = [each for each in self._agent.peers.everyone() if each.locator and each.state == "active"]
        if now < self._ask_at or not known:
            return
        peer = self._rng.choice(known)
        try:
            where = peer_of(peer.locator, peer.node.name)
            self._take(self._agent.asa.synchronize(self._agent.names.revoked, where, ASK_MS).value)
        except (GraspError, ValueError, OSError):
            self._ask_s = min(ASK_S, self._ask_s * 2)
        else:
            self._ask_s = ASK_S
        self._ask_at = time.monotonic() + self._ask_s * self._rng.uniform(0.5, 1.0)

    # Links.

    def _look_at_links(self) -> None:
        """Who speaks plain GRASP here is no member, or is configured otherwise; it is not answered."""
        there = neighbours(self._agent.node)
        self._look_for_links(there)
        found = [f"{each.address} on {each.interface}" for each in there if each.state == PLAIN]
        if not found:
            self._plain = None
        elif self._plain is None:
            # As it began: whoever goes on under ever new addresses is not told of each time.
            self._plain = (
                f"plain GRASP is spoken on links of this agent, and not listened to: by {', '.join(found[:4])}"
            )
        self._agent.problem("plain-neighbour", self._plain)

    def _look_for_links(self, there: list[NeighbourView]) -> None:
        """Neighbours without a link to any of them: this agent may well be the one that is not believed."""
        now = time.monotonic()
        failing = [each for each in there if each.state == "failing"]
        if any(each.state == "up" for each in there):
            self._failing = None
        elif failing:
            self._failing = (self._failing[0] if self._failing is not None else now, now)
        elif self._failing is not None and now - self._failing[1] > FORGOTTEN_S:
            self._failing = None
        if self._failing is None:
            self._alone = None
        elif self._alone is None and failing and now - self._failing[0] >= ALONE_S:
            # As it began, as with plain ones.
            which = "; ".join(f"{each.address} on {each.interface}: {each.why or 'no answer'}" for each in failing[:4])
            self._alone = (
                f"no link with any neighbour ({which}). See whether the certificate of this agent was revoked or is of"
                f" another domain (asa domain check {self._directory}), and the clock, here and there"
            )
        self._agent.problem("no-neighbour", self._alone)


def _whole(identity: Identity) -> tuple[object, ...]:
    """What tells one identity from another; the key goes with the certificate."""
    return identity.whole, frozenset(identity.trust)
