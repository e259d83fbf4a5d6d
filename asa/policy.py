"""The policy in force at this agent, remembered over restarts, and what follows from it."""

from __future__ import annotations

import json
import threading
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from typing import Any

from asa.books import Books
from asa.errors import BadRequest
from asa.events import EventLog
from asa.ledger import Ledger
from asa.records import Change, Fact, Plan
from asa.seals import Opened, Sealed, Seals, Unsealed
from grasp import cbor
from objectives import InvalidValue
from objectives.params import Params, params_from_value

FACT = "params"


class Policy:
    """One policy for all pools. It changes at run time and is obeyed from then on.

    In a domain it is taken only as sealed by its issuer, if ``may_set`` allows that, and passed on as it came.
    ``me`` is the name of this agent, ``objective`` that of ``EX1.Params`` here.
    """

    def __init__(
        self,
        books: Books,
        events: EventLog,
        changed: Callable[[], None] = lambda: None,
        complain: Callable[[str], None] = lambda _: None,
        *,
        me: str = "",
        objective: str = "",
        seals: Seals | None = None,
        may_set: Callable[[str], bool] = lambda _: True,
    ) -> None:
        self._books = books
        self._events = events
        self._changed = changed
        self._complain = complain
        self._me = me
        self._objective = objective
        self._seals = seals
        self._may_set = may_set
        self._lock = threading.Lock()
        self._params = Params()
        self._sealed: Sealed | None = None
        fact = books.read(lambda ledger: ledger.facts.get(FACT))
        if fact is not None:
            value = json.loads(fact.value)
            self._params, refused = params_from_value(value, Params())
            self._sealed = _kept(value)
            for each in refused:
                events.tell("params-refused", f"remembered policy: {each}")

    @property
    def params(self) -> Params:
        return self._params

    @property
    def known(self) -> bool:
        """Whether there is a policy others would take; serial 0 is the defaults, which all have."""
        plain = self._seals is None or not self._seals.needed
        return self._params.serial > 0 and (plain or self._issued_here() or self._sealed is not None)

    def _issued_here(self) -> bool:
        return self._params.issuer == self._me and self._may_set(self._me)

    def to_value(self) -> Any:
        """What others are told: sealed anew by its issuer, as it was received by all others.

        The defaults stand for what cannot be proven: a policy from before there was a domain.
        """
        params, sealed = self._params, self._sealed
        if self._seals is None or not self._seals.needed or not params.serial:
            return params.to_value()
        if self._issued_here():
            return self._seals.wrap(self._objective, params.to_value())
        return sealed.to_value() if sealed is not None else Params().to_value()

    def set(self, issuer: str, values: Mapping[str, object]) -> Params:
        """The next policy, made here. Raises BadRequest."""
        with self._lock:
            try:
                new = self._params.changed(issuer, values)
            except InvalidValue as error:
                raise BadRequest(str(error), hint="asa params get shows names, bounds and units") from None
            seals = self._seals
            self._keep(new, seals.seal(self._objective, new.to_value()) if seals is not None else None)
            self._tell()
        return new

    def received(self, value: object) -> bool:
        """A policy somebody sent: True if it is in force now. What is out of bounds in it keeps its old value."""
        with self._lock:
            try:
                said = self._open(value)
                new, refused = params_from_value(said.value, self._params)
                self._check(said, new)
            except InvalidValue as error:
                self._complain(f"a policy: {error}")
                return False
            if not new.newer_than(self._params):
                self._seal_again(said)
                return False
            for each in refused:
                self._events.tell("params-refused", f"policy {new.serial} of {new.issuer}: {each}")
            self._keep(new, said.sealed)
            self._tell()
        return True

    def _open(self, value: object) -> Opened:
        # The defaults prove nothing and change nothing.
        if self._seals is None or (isinstance(value, dict) and value.get("serial") == 0):
            return Opened(value)
        return self._seals.open(self._objective, value)

    def _check(self, said: Opened, new: Params) -> None:
        """Raises :class:`Unsealed`."""
        said.claimed_by(new.issuer)
        if said.member is not None and not self._may_set(new.issuer):
            raise Unsealed(f"{new.issuer} may not set it")

    def _seal_again(self, said: Opened) -> None:
        """The issuer's certificate may have been renewed: what its seal proves must stay provable."""
        old, new = self._sealed, said.sealed
        # By itself, not with what is in force here in the place of what it lacks.
        if new is None or params_from_value(said.value, Params()) != (self._params, []):
            return
        if old is None or old.payload != new.payload or old.seal[:-1] != new.seal[:-1]:
            self._keep(self._params, new)

    def _keep(self, new: Params, sealed: Sealed | None) -> None:
        value = new.to_value()
        if sealed is not None:
            value["sealed"] = [b64encode(each).decode() for each in (sealed.payload, cbor.encode(sealed.seal))]
        text = json.dumps(value)

        def remember(ledger: Ledger) -> Plan[None]:
            return Plan((Change(ledger.facts.get(FACT), Fact(FACT, text)),), None)

        self._books.transact(remember)
        self._params, self._sealed = new, sealed

    def _tell(self) -> None:
        new = self._params
        self._events.tell("params-changed", f"policy {new.serial} of {new.issuer} is in force", serial=new.serial)
        self._changed()


def _kept(value: Mapping[str, Any]) -> Sealed | None:
    sealed = value.get("sealed")
    if sealed is None:
        return None
    payload, seal = (b64decode(each) for each in sealed)
    return Sealed(payload, cbor.decode(seal))
