"""What an agent measures, in the text format of Prometheus."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from asa.dataplane.proof import Verdict
from asa.enforcement import Picture, Sampled
from asa.errors import NotInstalled
from asa.ledger import Ledger
from asa.lifecycle import Phase, State, state_of
from asa.oversight import link_views, pool_views

if TYPE_CHECKING:
    from asa.agent import Agent

MOST: Final = 1_000
"""Reservations with series of their own, in order of id; how many are left out is told."""

_POOL: Final = {
    "seeded": "all origins brought into it",
    "held": "this agent holds now",
    "committed": "promised to consumers and peers now",
    "free": "free now",
    "spare": "free over the policy's horizon",
    "in_doubt": "in transfers whose outcome is not known",
}
_LINK: Final = {
    "capacity": "that may be reserved",
    "booked": "booked now",
    "free": "free at the worst instant from now on",
}
_LINE: Final = {
    "rate": "it is shaped to",
    "floor": "kept for packets nobody reserved for",
    "guaranteed": "guaranteed to reservations now",
}
_COUNTED: Final[dict[str, tuple[str, Callable[[Sampled], int]]]] = {
    "sent_bytes": ("Bytes its packets sent", lambda sampled: sampled.usage.total.bytes),
    "sent_packets": ("Packets it sent", lambda sampled: sampled.usage.total.packets),
    "dropped_packets": ("Packets of it that were dropped", lambda sampled: sampled.usage.total.dropped),
    "borrowed_packets": ("Packets it sent beyond its guarantee", lambda sampled: sampled.usage.total.borrowed),
}


def exposition(agent: Agent) -> str:
    """Raises NotInstalled. The library is loaded when somebody asks."""
    try:
        from prometheus_client import CollectorRegistry, generate_latest
    except ImportError:
        raise NotInstalled(
            "metrics need the library prometheus_client", hint="install grasp-asa[metrics] where the agent runs"
        ) from None
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected(agent))
    return generate_latest(registry).decode()


class _Collected:
    """As the library wants it: something that yields families of metrics."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def collect(self) -> Iterator[Any]:
        agent = self._agent
        party, now = agent.party, agent.party.clock()
        known = party.peers.pools()

        def look(ledger: Ledger) -> tuple[Any, Any, Counter[State], int]:
            phases = agent.enforcement.standing
            states = Counter(state_of(each, now, agent.paused, phases) for each in ledger.reservations.values())
            doubtful = sum(each.txn not in party.talking for each in ledger.escrows.values())
            return pool_views(party, ledger, known), link_views(ledger, now), states, doubtful

        pools, links, states, doubtful = agent.books.read(look)
        for name, about in _POOL.items():
            values = [((each.name,), getattr(each, name)) for each in pools]
            yield _gauge(f"asa_pool_{name}_bits_per_second", f"Of a pool {about}", ("pool",), values)
        for name, about in _LINK.items():
            values = [((each.name,), getattr(each, name)) for each in links]
            yield _gauge(
                f"asa_link_{name}_bits_per_second", f"Of a direction of an interface {about}", ("link",), values
            )
        counts = [((each.value,), states[each]) for each in State]
        yield _gauge("asa_reservations", "Kept here, by their state", ("state",), counts)
        yield _gauge("asa_transfers_in_doubt", "Transfers whose outcome is not known", (), [((), doubtful)])
        yield _gauge("asa_peers", "Agents known", (), [((), len(party.peers.everyone()))])
        yield _gauge("asa_ready", "Whether reservations are accepted", (), [((), int(agent.ready))])
        yield from _of_lines(agent)
        yield from _of_reservations(agent.enforcement.picture)


def _of_lines(agent: Agent) -> Iterator[Any]:
    view = agent.enforcement.view(agent.paused)
    yield _gauge(
        "asa_enforcement_effect", "Whether packets obey", ("back_end",), [((view.back_end,), int(view.effect))]
    )
    for name, about in _LINE.items():
        values = [((each.name,), getattr(each, name)) for each in view.lines]
        yield _gauge(f"asa_line_{name}_bits_per_second", f"Of a shaped line {about}", ("line",), values)
    troubles = [((each.name,), int(bool(each.trouble))) for each in view.lines]
    yield _gauge("asa_line_trouble", "Whether a line is not shaped as it shall be", ("line",), troubles)
    phases = {
        Phase.INSTALLED: view.installed, Phase.INSTALLING: view.installing, Phase.FAILED: view.failed,
        Phase.REMOVING: view.removing,
    }  # fmt: skip
    counts = [((phase.value,), count) for phase, count in phases.items()]
    yield _gauge("asa_enforced_reservations", "How far the data plane is with reservations", ("phase",), counts)


def _of_reservations(picture: Picture) -> Iterator[Any]:
    from prometheus_client.core import CounterMetricFamily

    ids = sorted(picture.entries)
    of = [(each, entry) for each in islice(ids, MOST) for entry in picture.entries[each]]
    left_out = max(0, len(ids) - MOST)
    yield _gauge("asa_enforced_reservations_left_out", "Those without series of their own", (), [((), left_out)])
    shares = [((each, entry.line), entry.share.guarantee) for each, entry in of if entry.share is not None]
    labels = "reservation", "line"
    yield _gauge("asa_reservation_guarantee_bits_per_second", "Guaranteed to its packets", labels, shares)
    samples = [(each, entry.line, sampled) for each, entry in of if (sampled := picture.samples.get(entry.key))]
    rates = [((each, line), sampled.usage.rate) for each, line, sampled in samples]
    yield _gauge("asa_reservation_rate_bits_per_second", "What went through in the last interval", labels, rates)
    for name, (about, value) in _COUNTED.items():
        family = CounterMetricFamily(f"asa_reservation_{name}", f"{about}, since its class was made", labels=labels)
        for each, line, sampled in samples:
            family.add_metric([each, line], value(sampled))
        yield family
    verdicts = [
        ((each, line, verdict.value), int(sampled.usage.verdict is verdict))
        for each, line, sampled in samples
        for verdict in Verdict
    ]
    about = "Whether its packets got what was reserved in the last interval"
    yield _gauge("asa_reservation_verdict", about, (*labels, "verdict"), verdicts)


def _gauge(name: str, about: str, labels: Sequence[str], values: Iterable[tuple[Sequence[str], float]]) -> Any:
    from prometheus_client.core import GaugeMetricFamily

    family = GaugeMetricFamily(name, about, labels=labels)
    for given, value in values:
        family.add_metric(list(given), value)
    return family
