"""SEEDER: brings into its pools what the mandate gives an origin ("obtain initial resource_pool contents from NOC")."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Final

from asa.books import Books
from asa.config import PoolSeed
from asa.errors import Conflict
from asa.peers import Peers
from asa.seeding import strays
from asa.threads.duty import Duty
from objectives import Block

LISTEN_S: Final = 1.0
"""It is listened so long before the first seeding: those who hear a new agent say at once who they are."""

DONE_S: Final = 3_600.0
WITHHELD: Final = "seed-withheld"


class Seeder(Duty):
    """Seeds once. A place behind all others has to be known first; and where agents hold blocks of a pool that nobody
    is heard to have seeded, this may be their origin come back without its state: it must not seed the same again.

    ``listen`` waits, and returns the blocks other agents hold, by pool.
    """

    name = "seeder"
    pause = 2.0

    def __init__(
        self,
        pools: Sequence[PoolSeed],
        books: Books,
        peers: Peers,
        listen: Callable[[float], dict[str, list[Block]]],
        seed: Callable[[PoolSeed], None],
        problem: Callable[[str, str | None], None],
        report: Callable[[str, str], None],
        rng: Random,
    ) -> None:
        super().__init__(report, rng)
        self._pools = pools
        self._books = books
        self._peers = peers
        self._listen = listen
        self._seed = seed
        self._problem = problem

    def turn(self) -> float | None:
        missing = [
            each
            for each in self._pools
            if not self._books.read(lambda ledger, name=each.name: ledger.account(name).seeds)  # type: ignore[misc]
        ]
        if not missing:
            return DONE_S
        held = self._listen(LISTEN_S)
        for pool in missing:
            code = f"{WITHHELD}:{pool.name}"
            if strays(held.get(pool.name, ()), self._peers.seeds(pool.name)):
                self._problem(
                    code,
                    f"agents hold blocks of {pool.name} whose origin is not heard: it is not seeded here, in case they"
                    " are this agent's of an earlier life; if not, use asa pool add with a place of its own",
                )
                continue
            try:
                self._seed(pool)
            except Conflict as error:
                self._problem(code, f"{pool.name} is not seeded: {error.message}")
            else:
                self._problem(code, None)
        return None
