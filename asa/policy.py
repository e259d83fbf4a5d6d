"""The policy in force at this agent, remembered over restarts, and what follows from it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping

from asa.books import Books
from asa.errors import BadRequest
from asa.events import EventLog
from asa.ledger import Ledger
from asa.records import Change, Fact, Plan
from objectives import InvalidValue
from objectives.params import Params, params_from_value

FACT = "params"


class Policy:
    """One policy for all pools. It changes at run time and is obeyed from then on."""

    def __init__(
        self,
        books: Books,
        events: EventLog,
        changed: Callable[[], None] = lambda: None,
        complain: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._books = books
        self._events = events
        self._changed = changed
        self._complain = complain
        self._lock = threading.Lock()
        fact = books.read(lambda ledger: ledger.facts.get(FACT))
        self._params = Params()
        if fact is not None:
            self._params, refused = params_from_value(json.loads(fact.value), Params())
            for each in refused:
                events.tell("params-refused", f"remembered policy: {each}")

    @property
    def params(self) -> Params:
        return self._params

    def set(self, issuer: str, values: Mapping[str, object]) -> Params:
        """The next policy, made here. Raises BadRequest."""
        with self._lock:
            try:
                new = self._params.changed(issuer, values)
            except InvalidValue as error:
                raise BadRequest(str(error), hint="asa params get shows names, bounds and units") from None
            self._keep(new)
        return new

    def received(self, value: object) -> bool:
        """A policy somebody sent: True if it is in force now. What is out of bounds in it keeps its old value."""
        with self._lock:
            try:
                new, refused = params_from_value(value, self._params)
            except InvalidValue as error:
                self._complain(f"a policy: {error}")
                return False
            if not new.newer_than(self._params):
                return False
            for each in refused:
                self._events.tell("params-refused", f"policy {new.serial} of {new.issuer}: {each}")
            self._keep(new)
        return True

    def _keep(self, new: Params) -> None:
        value = json.dumps(new.to_value())

        def remember(ledger: Ledger) -> Plan[None]:
            return Plan((Change(ledger.facts.get(FACT), Fact(FACT, value)),), None)

        self._books.transact(remember)
        self._params = new
        self._events.tell("params-changed", f"policy {new.serial} of {new.issuer} is in force", serial=new.serial)
        self._changed()
