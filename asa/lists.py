"""The lists of revoked certificates this agent goes by, and keeps for its next start."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from grasp.rates import TokenBucket
from grasp.security import BadCrl, Revocations, crl_pem, crls_from_pem
from objectives.revoked import MAX_CRL, Revoked

if TYPE_CHECKING:
    from cryptography import x509

FILE: Final = "revoked.pem"
"""In the state directory."""
RATE: Final = 5.0
"""Lists of others verified a second, and BURST at once; what comes above that comes again."""
BURST: Final = 64.0


class Lists:
    """``issuers`` are the CAs proven to be of the domain. Times are UNIX s, and monotonic s for ``ticks``."""

    def __init__(
        self,
        directory: Path,
        revocations: Revocations,
        issuers: Callable[[], Sequence[x509.Certificate]],
        clock: Callable[[], float],
        ticks: Callable[[], float],
    ) -> None:
        self._file = directory / FILE
        self._revocations = revocations
        self._issuers = issuers
        self._clock = clock
        self._ticks = ticks
        self._lock = threading.Lock()
        self._bucket = TokenBucket(RATE, BURST)
        self._kept: bytes | None = None

    @property
    def version(self) -> int:
        """Grows when a newer list comes into force, from wherever."""
        return self._revocations.version

    def remember(self) -> None:
        """Those of an earlier life. What is none, or no CA's any more, is left out."""
        try:
            data = self._file.read_bytes()
        except OSError:
            return
        self._kept = data
        for each in crls_from_pem(data):
            try:
                self._revocations.add(each, self._issuers(), self._clock())
            except BadCrl:
                continue

    def keep(self) -> None:
        """All there are, for the next life; raises OSError."""
        data = b"".join(sorted(map(crl_pem, self._revocations.lists())))
        if data == self._kept:
            return
        new = self._file.with_suffix(".new")
        with open(new, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._file)
        self._kept = data

    def given(self, crls: Iterable[bytes]) -> list[str]:
        """Lists an operator gave this node; what is wrong with them."""
        wrong = []
        for each in crls:
            try:
                self._revocations.add(each, self._issuers(), self._clock())
            except BadCrl as error:
                wrong.append(str(error))
        return wrong

    def heard(self, said: Revoked) -> tuple[bool, list[str]]:
        """Take in what somebody passed on: whether some of it is older than what is here, and why some is refused."""
        older, wrong = False, []
        known = {each.der for each in self._revocations.lists()}
        for each in said.crls:
            if each in known:
                continue
            with self._lock:
                if not self._bucket.take(self._ticks()):
                    wrong.append("too many lists at once to verify them all")
                    break
            try:
                older |= not self._revocations.add(each, self._issuers(), self._clock())
            except BadCrl as error:
                wrong.append(str(error))
        return older, wrong

    def told(self) -> Revoked:
        """What others are told, the shortest first."""
        return Revoked.fitting(
            sorted((each.der for each in self._revocations.lists()), key=lambda der: (len(der), der))
        )

    def too_long(self) -> list[str]:
        """Whose lists are too long to be passed on."""
        return sorted(each.issuer.rfc4514_string() for each in self._revocations.lists() if len(each.der) > MAX_CRL)


class Turn:
    """When to say something that others may say too: after a pause by chance, and not if it was said meanwhile.

    ``rest``: s between two times at least, unless there is news. ``ticks`` are monotonic s.
    """

    def __init__(self, rest: float) -> None:
        self._rest = rest
        self._lock = threading.Lock()
        self._due: float | None = None
        self._last = -rest

    def come(self, ticks: float, pause: float, *, news: bool = False) -> None:
        """Somebody ought to say it in ``pause`` s."""
        with self._lock:
            due = ticks + pause if news else max(ticks, self._last + self._rest) + pause
            self._due = due if self._due is None else min(self._due, due)

    def said(self, ticks: float) -> None:
        """Somebody has."""
        with self._lock:
            self._due, self._last = None, ticks

    def take(self, ticks: float) -> bool:
        """Whether it is time now; then it is said."""
        with self._lock:
            if self._due is None or ticks < self._due:
                return False
            self._due, self._last = None, ticks
            return True

    def wait(self, ticks: float) -> float | None:
        """Seconds until it may be; None if there is nothing to say."""
        with self._lock:
            return None if self._due is None else max(0.0, self._due - ticks)
