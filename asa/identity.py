"""What an agent remembers of itself over restarts: who it is, and a few facts as JSON."""

from __future__ import annotations

import json
from typing import Any, Final, Protocol

from asa.books import Books, Journal
from asa.errors import BadConfig
from asa.ledger import Ledger
from asa.records import Change, Fact, Plan, Record
from objectives import NodeId, node_from_text

NODE: Final = "node"
FORGOTTEN: Final = "forgotten"
"""Peers that are gone for ever, by an operator's word."""
MOST_FORGOTTEN: Final = 256


class Loadable(Journal, Protocol):
    def load(self) -> list[Record]: ...


def identify(name: str, store: Loadable, instance: str) -> tuple[NodeId, list[Record]]:
    """Who this agent is, and all its records; at the first start ``instance`` is drawn for it, durably.

    Raises BadConfig if the state is another agent's: its transfers could not be answered for under another name.
    """
    records = store.load()
    for record in records:
        if isinstance(record, Fact) and record.name == NODE:
            me = node_from_text(json.loads(record.value))
            if me.name != name:
                raise BadConfig(
                    f"the state directory is that of {me.name}, and the configuration names the agent {name}",
                    hint="an agent keeps its name: put the old one back, or use another state directory",
                )
            return me, records
    me = NodeId(name, instance)
    fact = Fact(NODE, json.dumps(str(me)))
    store.commit([Change(None, fact)])
    return me, [*records, fact]


def remembered(books: Books, name: str, default: Any) -> Any:
    """A fact's value, or the default."""
    fact = books.read(lambda ledger: ledger.facts.get(name))
    return json.loads(fact.value) if fact is not None else default


def remembering(ledger: Ledger, name: str, value: object) -> Plan[None]:
    """Keep a fact from now on."""
    return Plan((Change(ledger.facts.get(name), Fact(name, json.dumps(value))),), None)


def forgotten_by(ledger: Ledger) -> frozenset[str]:
    """The peers an operator said are gone for ever."""
    fact = ledger.facts.get(FORGOTTEN)
    return frozenset(json.loads(fact.value)) if fact is not None else frozenset()
