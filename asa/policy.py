"""The policy in force at this agent, remembered over restarts, and what follows from it."""

from __future__ import annotations

import json
import threading
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from asa.books import Books
from asa.errors import BadRequest
from asa.events import EventLog
from asa.ledger import Ledger
from asa.records import Change, Fact, Plan
from asa.seals import Opened, Sealed, Seals, Unsealed
from grasp import cbor
from objectives import InvalidValue
from objectives.params import Params, highest_serial, params_from_value

FACT = "params"


class Policy:
    """One policy for all pools. It changes at run time and is obeyed from then on.

    In a domain it is taken only as sealed by its issuer, if ``may_set`` allows that, and passed on as it came.
    ``me`` is the name of this agent, ``objective`` that of ``EX1.Params`` here, ``clock`` UNIX s.
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
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._books = books
        self._events = events
        self._changed = changed
        self._complain = complain
        self._me = me
        self._objective = objective
        self._seals = seals
        self._may_set = may_set
        self._clock = clock
        self._lock = threading.Lock()
        self._params = Params()
        self._sealed: Sealed | None = None
        fact = books.read(lambda ledger: ledger.facts.get(FACT))
        if fact is not None:
            self._recall(json.loads(fact.value))

    def _recall(self, value: Mapping[str, Any]) -> None:
        try:
            self._params, refused = params_from_value(value, Params())
        except InvalidValue as error:
            self._events.tell("params-refused", f"remembered policy: {error}; the defaults are in force")
            return
        self._sealed = _kept(value)
        for each in refused:
            self._events.tell("params-refused", f"remembered policy: {each}")

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
        """The next policy, made here, with a serial that others take. Raises BadRequest."""
        with self._lock:
            old = replace(self._params, serial=min(self._params.serial, highest_serial(self._clock())))
            try:
                new = old.changed(issuer, values)
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
                old = Params() if self._outlived() else self._params
                new, refused = params_from_value(said.value, old)
                self._check(said, new)
            except InvalidValue as error:
                self._complain(f"a policy: {error}")
                return False
            # By itself, not with what is in force here in the place of what it lacks.
            if params_from_value(said.value, Params()) == (self._params, []):
                self._seal_again(said.sealed)
                return False
            if not new.newer_than(old):
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
        """Raises :class:`InvalidValue`."""
        if new.serial > highest_serial(self._clock()):
            raise InvalidValue("params.serial is higher than any can be by now")
        if not new.serial:
            return
        said.claimed_by(new.issuer)
        if said.member is not None and not self._may_set(new.issuer):
            raise Unsealed(f"{new.issuer} may not set it")

    def _outlived(self) -> bool:
        """Whether what is in force would not be taken any more, so that any policy that is taken supersedes it.

        A certificate that has merely ended does not do that: an issuer away for long would lose to an older policy.
        """
        params, sealed, seals = self._params, self._sealed, self._seals
        if params.serial > highest_serial(self._clock()):
            return True
        if seals is None or not seals.needed or not params.serial or self._issued_here():
            return False
        return not self._may_set(params.issuer) or (sealed is not None and seals.revoked(sealed))

    def _seal_again(self, new: Sealed | None) -> None:
        """The issuer's certificate may have been renewed: what its seal proves must stay provable."""
        old = self._sealed
        if new is None:
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
