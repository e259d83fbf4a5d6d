"""Retrieving the revocation lists that certificates name (RFC 8994 §6.2.5.3), in the background.

A list proves itself by its signature, so neither the server nor the way to it is trusted; what is no list, or not of
an issuer of the certificate that named it, is dropped and counted. OCSP responders are not asked.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from cryptography import x509

from grasp.security.certificates import crl_points
from grasp.security.download import DownloadFailed, download, is_downloadable
from grasp.security.revocation import MAX_LIST, BadCrl, RevocationList, Revocations, read_crl

POINTS: Final = 64
"""Distribution points followed; the one that was not named for longest makes room."""

SECONDS: Final = 10.0
"""For one retrieval."""

FIRST_RETRY_S: Final = 10.0
LAST_RETRY_S: Final = 640.0
"""Retries after a failure: from the first, doubled each time, to the last (§6.7)."""

SOONEST_S: Final = 60.0
LATEST_S: Final = 86_400.0
"""A list is retrieved again at half of what is left of its life, within these."""

_NO_END_S: Final = 3_600.0
_ISSUERS: Final = 8
_ALTERNATIVES: Final = 8
_JITTER: Final = 0.2

_log = logging.getLogger("grasp.security")


def refresh_after(found: RevocationList, now: float) -> float:
    """Seconds until a list is retrieved again; ``now`` is UNIX s."""
    if found.next_update is None:
        return _NO_END_S
    return min(max((found.next_update - now) / 2, SOONEST_S), LATEST_S)


def retry_after(failures: int) -> float:
    """Seconds after that many failures in a row, at least one."""
    return min(FIRST_RETRY_S * 2.0 ** min(failures - 1, 16), LAST_RETRY_S)


@dataclass(slots=True)
class _Point:
    """A distribution point: URLs of one and the same list."""

    urls: tuple[str, ...]
    issuers: tuple[x509.Certificate, ...]
    due: float
    failures: int = 0


class CrlFetcher:
    """Keeps ``revocations`` up to date from the distribution points it was shown.

    One thread, ``grasp-crl``, from the first point on. ``taken`` is called in it, without a lock, after a newer list
    has come. ``clock``: UNIX s; ``ticks``: monotonic s; ``fetch``: URL to bytes, raising DownloadFailed.
    """

    def __init__(
        self,
        revocations: Revocations,
        taken: Callable[[], None],
        *,
        clock: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
        fetch: Callable[[str], bytes] = lambda url: download(url, seconds=SECONDS, most=MAX_LIST),
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._revocations = revocations
        self._taken = taken
        self._clock = clock
        self._ticks = ticks
        self._fetch = fetch
        self._chance = chance
        self._wake = threading.Condition()
        self._points: OrderedDict[tuple[str, ...], _Point] = OrderedDict()
        self._thread: threading.Thread | None = None
        self._stopped = False
        self._counts = {"retrieved": 0, "failed": 0, "refused": 0}

    def watch(self, path: Sequence[x509.Certificate]) -> None:
        """Follow the points that a path names; it was validated (``Membership.path``), leaf first, anchor last."""
        issuers = tuple(path[1:])
        for certificate in path[:-1]:
            for urls in crl_points(certificate):
                fitting = tuple(each for each in urls if is_downloadable(each))[:_ALTERNATIVES]
                if fitting:
                    self._follow(fitting, issuers)

    def stop(self) -> None:
        """What is being retrieved is dropped; waits a second for the thread, which ends by itself."""
        with self._wake:
            self._stopped = True
            self._wake.notify()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(1.0)

    @property
    def statistics(self) -> dict[str, int]:
        """Lists retrieved, retrievals that failed, and what came that was no list or not of the issuer."""
        with self._wake:
            return dict(self._counts)

    def _follow(self, urls: tuple[str, ...], issuers: tuple[x509.Certificate, ...]) -> None:
        with self._wake:
            if self._stopped:
                return
            point = self._points.get(urls)
            if point is not None:
                self._points.move_to_end(urls)
                more = tuple(each for each in issuers if each not in point.issuers)
                if more:
                    # A CA with a new key signs with that.
                    point.issuers = (*more, *point.issuers)[:_ISSUERS]
                return
            if len(self._points) >= POINTS:
                self._points.popitem(last=False)
            self._points[urls] = _Point(urls, issuers[:_ISSUERS], due=self._ticks())
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="grasp-crl", daemon=True)
                self._thread.start()
            self._wake.notify()

    def _run(self) -> None:
        while (point := self._next()) is not None:
            found = self._retrieved(point)
            newer = False
            if found is not None:
                try:
                    newer = self._revocations.take(found)
                except BadCrl as error:
                    _log.warning("a revocation list from %s is not kept: %s", point.urls[0], error)
            with self._wake:
                if self._stopped:
                    return
                now = self._clock()
                if found is not None and found.current(now):
                    point.failures = 0
                    wait = refresh_after(found, now)
                else:
                    point.failures += 1
                    wait = retry_after(point.failures)
                # Members that started together shall not all ask together for ever.
                point.due = self._ticks() + wait * (1 - _JITTER * self._chance())
            if newer:
                _log.info("a newer revocation list: %s", point.urls[0])
                self._tell()

    def _tell(self) -> None:
        try:
            self._taken()
        except Exception:
            # The lists to come count more than what was made of this one.
            _log.exception("what follows from a new revocation list was not done")

    def _next(self) -> _Point | None:
        """The point that is due; None at the end."""
        with self._wake:
            while not self._stopped:
                point = min(self._points.values(), key=lambda each: each.due)
                wait = point.due - self._ticks()
                if wait <= 0:
                    return point
                self._wake.wait(wait)
            return None

    def _retrieved(self, point: _Point) -> RevocationList | None:
        """From the first URL that gives a list of the issuer."""
        for url in point.urls:
            try:
                data = self._fetch(url)
            except DownloadFailed as error:
                self._count("failed")
                reason = str(error)
            else:
                try:
                    found = read_crl(data, point.issuers, self._clock())
                except BadCrl as error:
                    self._count("refused")
                    reason = str(error)
                else:
                    self._count("retrieved")
                    return found
            # Once in a row of failures is enough for people.
            level = logging.WARNING if point.failures == 0 else logging.DEBUG
            _log.log(level, "no revocation list from %s: %s", url, reason)
        return None

    def _count(self, what: str) -> None:
        with self._wake:
            self._counts[what] += 1
