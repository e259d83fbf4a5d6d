"""A pool of IPv6 prefixes that are lent by negotiation: the pythonic face of the API.

    python -m examples.prefix_pool                   # both sides, in two hosts made for it
    python -m examples.prefix_pool lend eth0         # or each side where you like
    python -m examples.prefix_pool borrow eth0

A router asks for a prefix length; the pool offers a prefix, perhaps a longer one than asked for; the
router accepts or declines. EX1 carries ``{"length": 56}``, then ``{"prefix": "2001:db8:100::/56"}``, and
``{"return": "2001:db8:100::/56"}`` in the end. (RFC 8992 specifies an ASA that does this in earnest.)
"""

from __future__ import annotations

import signal
import sys
import threading
from ipaddress import IPv6Network
from typing import Any

import grasp
from examples.stage import play, say
from grasp import Negotiation, Objective

POOL = IPv6Network("2001:db8:100::/40")
SHORTEST = 48
"""The pool lends no shorter prefix than this."""


class Pool:
    """Prefixes that are free and prefixes that are lent. Handlers run side by side, hence the lock."""

    def __init__(self, whole: IPv6Network) -> None:
        self._lock = threading.Lock()
        self._free = [whole]
        self._lent: set[IPv6Network] = set()

    def take(self, length: int) -> IPv6Network | None:
        """The first prefix of that length out of the smallest free one that has room for it."""
        with self._lock:
            candidates = [each for each in self._free if each.prefixlen <= length]
            if not candidates:
                return None
            source = max(candidates, key=lambda each: each.prefixlen)
            taken = next(source.subnets(new_prefix=length))
            self._free.remove(source)
            self._free += source.address_exclude(taken)
            self._lent.add(taken)
            return taken

    def give_back(self, prefix: IPv6Network) -> bool:
        """False if it was not lent."""
        with self._lock:
            if prefix not in self._lent:
                return False
            self._lent.remove(prefix)
            self._free.append(prefix)
            return True


def answer(pool: Pool, negotiation: Negotiation) -> None:
    """One request. The node calls this in a thread of its own for each."""
    request = negotiation.offer.value
    # GRASP checks that the value is CBOR; that it makes sense is up to us (RFC 8991 §2.3.2.4).
    if not isinstance(request, dict):
        negotiation.decline("a map with length or return is expected")
    elif "return" in request:
        take_back(pool, negotiation, request["return"])
    elif type(request.get("length")) is int and 1 <= request["length"] <= 128:
        lend(pool, negotiation, request["length"])
    else:
        negotiation.decline("a length of 1..128 is expected")


def lend(pool: Pool, negotiation: Negotiation, length: int) -> None:
    peer = negotiation.peer
    prefix = pool.take(max(length, SHORTEST))
    if prefix is None:
        negotiation.decline(f"no /{length} is left")
        return
    try:
        accepted = negotiation.propose({"prefix": str(prefix)})
    except grasp.Declined as no:
        pool.give_back(prefix)
        say(f"{peer} wanted a /{length} and declined {prefix}: {no.reason}")
    except grasp.PeerError as error:
        # It may have accepted. A prefix too few is better than a prefix lent twice.
        say(f"{peer}: {error}; {prefix} stays lent")
    else:
        if accepted:
            say(f"lent {prefix} to {peer}")
        else:
            pool.give_back(prefix)
            negotiation.decline("this pool makes one offer")


def take_back(pool: Pool, negotiation: Negotiation, prefix: Any) -> None:
    try:
        known = pool.give_back(IPv6Network(prefix))
    except (ValueError, TypeError):
        known = False
    if not known:
        negotiation.decline("it was not lent")
        return
    negotiation.accept()
    say(f"{prefix} came back")


def serve(node: grasp.Node) -> None:
    """The lending side: until SIGTERM or Ctrl-C."""
    pool = Pool(POOL)
    with node.register_asa("prefix-pool") as asa:
        asa.register(Objective.negotiation("EX1"))
        asa.on_negotiate("EX1", lambda negotiation: answer(pool, negotiation))
        say(f"lends out {POOL}")
        signal.sigwait({signal.SIGTERM, signal.SIGINT})


def borrow(asa: grasp.ASA, length: int, longest: int) -> IPv6Network | None:
    """A prefix of ``length`` if possible, of ``longest`` at the worst, or none."""
    with asa.negotiate(Objective.negotiation("EX1", {"length": length}), timeout=5_000) as negotiation:
        prefix = IPv6Network(negotiation.offer.value["prefix"])
        if prefix.prefixlen > longest:
            say(f"wanted a /{length}, is offered {prefix}, declines")
            negotiation.decline(f"a /{longest} is needed")
            return None
        negotiation.accept()
        say(f"wanted a /{length}, borrowed {prefix}")
        return prefix


def route(node: grasp.Node) -> None:
    """The borrowing side: a few prefixes, which it returns."""
    with node.register_asa("router") as asa:
        asa.register(Objective.negotiation("EX1"))
        borrowed = [borrow(asa, length, longest) for length, longest in ((56, 56), (44, 48), (64, 64), (32, 40))]
        mine = [each for each in borrowed if each is not None]
        assert not any(one.overlaps(other) for one in mine for other in mine if one is not other)
        for prefix in mine:
            returned = asa.negotiate(Objective.negotiation("EX1", {"return": str(prefix)}), timeout=5_000)
            say(f"returned {prefix}" if returned.agreed else f"could not return {prefix}")


def main(arguments: list[str]) -> int:
    if not arguments:
        return play("examples.prefix_pool", ("lend", "borrow"), serving=("lend",))
    role, interface = arguments
    # Blocked before any thread starts, so that only sigwait sees them.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT} if role == "lend" else ())
    with grasp.Node([interface]) as node:
        {"lend": serve, "borrow": route}[role](node)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
