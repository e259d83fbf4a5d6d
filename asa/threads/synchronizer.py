"""SYNCHRONIZER: answers requests for the policy and the holdings, and obtains the policy from others."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Final

import grasp
from asa.performer import peer_of
from asa.policy import Policy
from asa.threads.duty import Duty
from grasp import GraspError, Objective
from grasp.calls import Admit
from objectives.holdings import MAX_PAGES, HoldingsPage

ASK_S: Final = 2.0
ASK_MS: Final = 1_000
LONGEST_S: Final = 300.0
SAME_S: Final = 1.0
"""Pages of one reading come from one state if they are asked for within this time."""


class Synchronizer(Duty):
    """``pages`` makes the holdings anew; ``admit`` says why a member may not read them; ``obtained`` tells whether a
    policy ever was."""

    name = "synchronizer"
    pause = ASK_S

    def __init__(
        self,
        asa: grasp.ASA,
        params_name: str,
        holdings_name: str,
        policy: Policy,
        pages: Callable[[], Sequence[HoldingsPage]],
        admit: Admit,
        report: Callable[[str, str], None],
        rng: Random,
    ) -> None:
        super().__init__(report, rng)
        self._asa = asa
        self._params_name = params_name
        self._holdings_name = holdings_name
        self._policy = policy
        self._pages = pages
        self._admit = admit
        self._kept: tuple[float, Sequence[HoldingsPage]] = (0.0, ())
        self._wait = ASK_S
        self._peer: tuple[str, str] | None = None
        self.obtained = False

    def listen(self) -> None:
        """Answer M_REQ_SYN from now on."""
        self._asa.on_synchronize(self._params_name, self._policy.to_value)
        self._asa.on_synchronize(self._holdings_name, self._first_page)
        # All of them, whether this agent has so much or not: what may be read of others is bounded by the same entry.
        for number in range(1, MAX_PAGES):
            self._offer(number)

    def _first_page(self) -> Any:
        pages = self._pages()
        self._kept = time.monotonic(), pages
        return pages[0].to_value()

    def _offer(self, number: int) -> None:
        name = f"{self._holdings_name}.{number}"
        self._asa.register(Objective.synchronization(name), max_size=65_536, admit=self._admit)
        self._asa.on_synchronize(name, lambda: self._page(number))

    def _page(self, number: int) -> Any:
        at, pages = self._kept
        if time.monotonic() - at > SAME_S or number >= len(pages):
            pages = self._pages()
        if number >= len(pages):
            number = len(pages) - 1
        return pages[number].to_value()

    def heard(self, where: str, name: str) -> None:
        """A peer of that name is there, which may know the policy; asked if none was obtained yet."""
        if not self.obtained:
            self._peer = where, name
            self._wait = ASK_S
            self.wake()

    def turn(self) -> float | None:
        """Ask for the policy until there is one; later rarely, in case floods are lost.

        An origin asks too: if it lost its state, what it sets next must not be older than what the others obey.
        """
        known, self._peer = self._peer, None
        try:
            peer = peer_of(*known) if known is not None else None
            found = self._asa.synchronize(self._params_name, peer, ASK_MS)
        except (GraspError, ValueError, OSError):
            self._wait = min(LONGEST_S, self._wait * 2)
        else:
            self._policy.received(found.value)
            self.obtained = self._policy.params.serial > 0
            self._wait = LONGEST_S if self.obtained else min(LONGEST_S, self._wait * 2)
        return self._wait * self._rng.uniform(0.5, 1.0)
