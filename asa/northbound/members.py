"""Clients of the API who are members of the domain: the same check as between agents (RFC 8994 §6.2.3)."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from asa.errors import BadConfig, Unauthorized

if TYPE_CHECKING:
    from cryptography import x509

    from grasp.security import Identity, Membership, Revocations

_log = logging.getLogger(__name__)

_LOOK_S: Final = 1.0
"""Between two looks whether the identity's files are others."""


class DomainMembers:
    """By the domain and the trust anchors of the identity in ``directory``, and what is known to be revoked."""

    def __init__(self, directory: Path, revocations: Callable[[], Revocations | None]) -> None:
        """Raises BadConfig for an identity that cannot be used."""
        # A plain agent, and one without TCP, does without loading it.
        from grasp import GraspError
        from grasp.security import Identity, stamp

        self._directory = directory
        self._revocations = revocations
        self._lock = threading.Lock()
        self._looked = time.monotonic()
        self._stamp = stamp(directory)
        try:
            self._membership = self._of(Identity.load(directory))
        except GraspError as error:
            raise BadConfig(f"the identity in {directory}: {error}", hint="asa domain check tells more") from None

    def name(self, chain: Sequence[bytes]) -> str:
        """The common name of the client, a member now. Raises Unauthorized."""
        from grasp.security import BadCertificate, NotMember

        try:
            return self._current().check(_certificates(tuple(chain)), time.time()).name
        except (BadCertificate, NotMember) as error:
            raise Unauthorized(
                f"the certificate is none of a member of the domain: {error}", hint="asa domain check tells more"
            ) from None

    def _current(self) -> Membership:
        from grasp import GraspError
        from grasp.security import Identity, stamp

        with self._lock:
            now = time.monotonic()
            if now - self._looked >= _LOOK_S:
                self._looked = now
                if (found := stamp(self._directory)) != self._stamp:
                    self._stamp = found
                    try:
                        self._membership = self._of(Identity.load(self._directory))
                    except GraspError as error:
                        _log.warning("clients of the API are judged by the old identity: %s", error)
            return self._membership

    def _of(self, identity: Identity) -> Membership:
        return identity.membership(self._revocations())


@lru_cache(256)
def _certificates(chain: tuple[bytes, ...]) -> tuple[x509.Certificate, ...]:
    from grasp.security import certificate_from_der

    return tuple(map(certificate_from_der, chain))
